#include "resource/logind_messages.h"

#include <systemd/sd-bus.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string_view>

namespace gogrid {
namespace {

using std::chrono::microseconds;

constexpr std::size_t kMaxText = 64;  // none that we compare with is longer

// Each reads one variant's inside of the type that its row of kProperties names.
using ReadProperty = int (*)(sd_bus_message*, SessionFacts&);

template <std::string SessionFacts::* field>
int read_text(sd_bus_message* message, SessionFacts& facts) {
  const char* text = nullptr;
  const int result = sd_bus_message_read_basic(message, SD_BUS_TYPE_STRING, &text);
  if (result > 0) facts.*field = std::string_view(text).substr(0, kMaxText);
  return result;
}

template <bool SessionFacts::* field>
int read_flag(sd_bus_message* message, SessionFacts& facts) {
  int flag = 0;
  const int result = sd_bus_message_read_basic(message, SD_BUS_TYPE_BOOLEAN, &flag);
  if (result > 0) facts.*field = flag != 0;
  return result;
}

int read_seat(sd_bus_message* message, SessionFacts& facts) {
  const char* name = nullptr;
  const char* path = nullptr;
  const int result = sd_bus_message_read(message, "(so)", &name, &path);
  if (result > 0) facts.seat = std::string_view(name).substr(0, kMaxText);
  return result;
}

int read_idle_changed(sd_bus_message* message, SessionFacts& facts) {
  constexpr std::uint64_t kMost = std::numeric_limits<Duration::rep>::max() / 1000;
  std::uint64_t since = 0;  // microseconds of CLOCK_MONOTONIC; 0: never
  const int result = sd_bus_message_read_basic(message, SD_BUS_TYPE_UINT64, &since);
  if (result > 0 && since > 0 && since <= kMost)
    facts.idle_changed = TimePoint(microseconds(since));
  return result;
}

struct Property {
  std::string_view name;
  std::string_view type;
  ReadProperty read;
};
constexpr std::array<Property, 9> kProperties{{
    {"Class", "s", read_text<&SessionFacts::session_class>},
    {"Type", "s", read_text<&SessionFacts::type>},
    {"State", "s", read_text<&SessionFacts::state>},
    {"Seat", "(so)", read_seat},
    {"Remote", "b", read_flag<&SessionFacts::remote>},
    {"Active", "b", read_flag<&SessionFacts::active>},
    {"IdleHint", "b", read_flag<&SessionFacts::idle>},
    {"LockedHint", "b", read_flag<&SessionFacts::locked>},
    {"IdleSinceHintMonotonic", "t", read_idle_changed},
}};

// One entry "sv" of the properties.
int read_property(sd_bus_message* message, SessionFacts& facts) {
  const char* name = nullptr;
  int result = sd_bus_message_read_basic(message, SD_BUS_TYPE_STRING, &name);
  if (result < 0) return result;
  const auto* known = std::ranges::find(kProperties, std::string_view(name), &Property::name);
  char variant = 0;
  const char* type = nullptr;
  result = sd_bus_message_peek_type(message, &variant, &type);
  if (result < 0) return result;
  if (known == kProperties.end() || type == nullptr || type != known->type)
    return sd_bus_message_skip(message, "v");
  result = sd_bus_message_enter_container(message, SD_BUS_TYPE_VARIANT, type);
  if (result >= 0) result = known->read(message, facts);
  return result < 0 ? result : sd_bus_message_exit_container(message);
}

}  // namespace

int read_session_properties(sd_bus_message* message, SessionFacts& facts) {
  int result = sd_bus_message_enter_container(message, SD_BUS_TYPE_ARRAY, "{sv}");
  while (result >= 0) {
    result = sd_bus_message_enter_container(message, SD_BUS_TYPE_DICT_ENTRY, "sv");
    if (result <= 0) return result;
    result = read_property(message, facts);
    if (result >= 0) result = sd_bus_message_exit_container(message);
  }
  return result;
}

int read_session_names(sd_bus_message* message, std::vector<SessionName>& names) {
  int result = sd_bus_message_enter_container(message, SD_BUS_TYPE_ARRAY, "(susso)");
  while (result >= 0 && names.size() < kMaxSessions) {
    const char* id = nullptr;
    const char* path = nullptr;
    result = sd_bus_message_read(message, "(susso)", &id, nullptr, nullptr, nullptr, &path);
    if (result <= 0) return result;
    names.push_back({id, path});
  }
  return result;
}

}  // namespace gogrid
