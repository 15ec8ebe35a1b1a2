// std::format, compiled once: each file that calls it by itself compiles all of it, which costs
// four seconds and half a megabyte a file.
#pragma once

#include <format>
#include <string>
#include <string_view>

namespace gogrid {

std::string format_arguments(std::string_view format, std::format_args arguments);

// As std::format(): what does not fit the arguments does not compile. Thread-safe.
template <class... Arguments>
std::string format_text(std::format_string<Arguments...> format, Arguments&&... arguments) {
  return format_arguments(format.get(), std::make_format_args(arguments...));
}

}  // namespace gogrid
