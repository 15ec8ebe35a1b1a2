// Structured logging: an event name and fields, as text or JSON lines on stderr. Thread-safe.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"

namespace gogrid::log {

enum class Level : std::uint8_t { kDebug, kInfo, kWarning, kError, kOff };
enum class Format : std::uint8_t { kText, kJson };

// Before the first record; default: kWarning, text. Secrets never go into a field.
void configure(Level level, Format format);
Result<Level> parse_level(std::string_view text);
bool enabled(Level level);

struct Field {
  std::string_view name;
  std::variant<std::string_view, std::int64_t, std::uint64_t, double, bool> value;
};

// `event` is a fixed snake_case name ("stage_loaded"); `request_id` may be empty.
void write(Level level, std::string_view event, std::string_view request_id,
           std::initializer_list<Field> fields);

inline void debug(std::string_view event, std::initializer_list<Field> fields = {},
                  std::string_view request_id = {}) {
  if (enabled(Level::kDebug)) write(Level::kDebug, event, request_id, fields);
}
inline void info(std::string_view event, std::initializer_list<Field> fields = {},
                 std::string_view request_id = {}) {
  if (enabled(Level::kInfo)) write(Level::kInfo, event, request_id, fields);
}
inline void warning(std::string_view event, std::initializer_list<Field> fields = {},
                    std::string_view request_id = {}) {
  if (enabled(Level::kWarning)) write(Level::kWarning, event, request_id, fields);
}
inline void error(std::string_view event, std::initializer_list<Field> fields = {},
                  std::string_view request_id = {}) {
  if (enabled(Level::kError)) write(Level::kError, event, request_id, fields);
}

}  // namespace gogrid::log
