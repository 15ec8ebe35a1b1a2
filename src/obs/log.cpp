#include "obs/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

namespace gogrid::log {
namespace {

constexpr std::array<std::pair<std::string_view, Level>, 5> kLevels{{{"debug", Level::kDebug},
                                                                     {"info", Level::kInfo},
                                                                     {"warning", Level::kWarning},
                                                                     {"error", Level::kError},
                                                                     {"off", Level::kOff}}};

std::atomic<Level> g_level{Level::kWarning};
std::atomic<Format> g_format{Format::kText};

std::string_view name_of(Level level) {
  for (const auto& [name, value] : kLevels) {
    if (value == level) return name;
  }
  return "off";
}

spdlog::level::level_enum spdlog_level(Level level) {
  switch (level) {
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kWarning:
      return spdlog::level::warn;
    case Level::kError:
      return spdlog::level::err;
    case Level::kOff:
      break;
  }
  return spdlog::level::off;
}

// Lines come ready-made; spdlog stamps, locks and writes them.
spdlog::logger& logger() {
  static const auto instance = [] {
    auto made = std::make_shared<spdlog::logger>("gogrid",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_level(spdlog::level::trace);
    made->flush_on(spdlog::level::trace);
    return made;
  }();
  return *instance;
}

// JSON records carry their own time stamp field, so that a line is one valid object.
void set_pattern(Format format) {
  const auto utc = spdlog::pattern_time_type::utc;
  logger().set_pattern(format == Format::kJson ? R"({"time":"%Y-%m-%dT%H:%M:%S.%fZ",%v})"
                                               : "%Y-%m-%dT%H:%M:%S.%eZ %v",
                       utc);
}

nlohmann::json value_of(const Field& field) {
  return std::visit([](const auto& value) { return nlohmann::json(value); }, field.value);
}

// Escapes what would break a line or hide in it; bytes that are no UTF-8 become U+FFFD.
std::string dump(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

bool is_plain_word(const std::string& text) {
  if (text.empty()) return false;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= ' ' || byte >= 0x7f || c == '"' || c == '=' || c == '\\') return false;
  }
  return true;
}

std::string json_record(Level level, std::string_view event, std::string_view request_id,
                        std::initializer_list<Field> fields) {
  std::string line = R"("level":)" + dump(name_of(level)) + R"(,"event":)" + dump(event);
  if (!request_id.empty()) line += R"(,"request_id":)" + dump(request_id);
  for (const Field& field : fields) line += "," + dump(field.name) + ":" + dump(value_of(field));
  return line;
}

std::string text_record(Level level, std::string_view event, std::string_view request_id,
                        std::initializer_list<Field> fields) {
  std::string line = std::string(name_of(level)) + " " + std::string(event);
  const auto append = [&line](std::string_view name, const nlohmann::json& value) {
    line += " " + std::string(name) + "=";
    const bool plain = value.is_string() && is_plain_word(value.get_ref<const std::string&>());
    line += plain ? value.get_ref<const std::string&>() : dump(value);
  };
  if (!request_id.empty()) append("request_id", request_id);
  for (const Field& field : fields) append(field.name, value_of(field));
  return line;
}

}  // namespace

void configure(Level level, Format format) {
  g_level = level;
  g_format = format;
  set_pattern(format);
}

Result<Level> parse_level(std::string_view text) {
  for (const auto& [name, level] : kLevels) {
    if (name == text) return level;
  }
  return fail(ErrorCode::kInvalidArgument,
              "[log] expected debug, info, warning, error or off: '" + std::string(text) + "'",
              "log-level");
}

bool enabled(Level level) { return level >= g_level.load(std::memory_order_relaxed); }

void write(Level level, std::string_view event, std::string_view request_id,
           std::initializer_list<Field> fields) {
  if (!enabled(level) || level == Level::kOff) return;
  static const bool pattern_is_set = (set_pattern(g_format), true);
  static_cast<void>(pattern_is_set);
  const std::string line = g_format == Format::kJson
                               ? json_record(level, event, request_id, fields)
                               : text_record(level, event, request_id, fields);
  logger().log(spdlog_level(level), spdlog::string_view_t(line));
}

}  // namespace gogrid::log
