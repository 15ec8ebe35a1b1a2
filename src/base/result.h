// How every function that can fail answers.
#pragma once

#include <chrono>
#include <expected>
#include <optional>
#include <string>
#include <utility>

#include "base/error_code.h"

namespace gogrid {

// `message` reads "[where] what was expected: what came". `param` names the field or option at
// fault, if one is.
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
  std::string param = {};
  std::optional<std::chrono::milliseconds> retry_after =
      {};  // kRateLimited, kExhausted, kUnavailable
};

template <class T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

inline std::unexpected<Error> fail(ErrorCode code, std::string message, std::string param = {}) {
  return std::unexpected<Error>(Error{code, std::move(message), std::move(param), std::nullopt});
}

}  // namespace gogrid

// Hands an error up: GOGRID_RETURN_IF_ERROR(write(x));  GOGRID_ASSIGN_OR_RETURN(auto y, read(x));
#define GOGRID_CONCAT_INNER_(a, b) a##b
#define GOGRID_CONCAT_(a, b) GOGRID_CONCAT_INNER_(a, b)
#define GOGRID_RETURN_IF_ERROR(expression)                                  \
  do {                                                                      \
    if (auto gogrid_status_ = (expression); !gogrid_status_) [[unlikely]] { \
      return std::unexpected(std::move(gogrid_status_).error());            \
    }                                                                       \
  } while (false)
#define GOGRID_ASSIGN_OR_RETURN(declaration, expression) \
  GOGRID_ASSIGN_OR_RETURN_(GOGRID_CONCAT_(gogrid_result_, __LINE__), declaration, expression)
#define GOGRID_ASSIGN_OR_RETURN_(result, declaration, expression) \
  auto result = (expression);                                     \
  if (!result) [[unlikely]]                                       \
    return std::unexpected(std::move(result).error());            \
  declaration = *std::move(result)
