#include "app/resources_config.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "base/nearest.h"
#include "resource/policy_store.h"

namespace gogrid {
namespace {

// "devices", an id, a name.
constexpr int kMaxDepth = 3;
constexpr std::size_t kMostFaults = 32;

// Everything wrong with the table, in the order of the file.
class Faults {
 public:
  explicit Faults(std::string_view file) : file_(file) {}

  void add(toml::source_index line, std::string_view message) {
    faults_.emplace(line, "resources." + std::string(message));
  }
  bool none() const { return faults_.empty(); }
  Error error() const {
    std::string text;
    std::size_t shown = 0;
    for (const auto& [line, message] : faults_) {
      if (++shown > kMostFaults) break;
      text += (text.empty() ? "" : "; ") + std::string(file_) + ":" + std::to_string(line) + ": " +
              message;
    }
    if (faults_.size() > kMostFaults)
      text += "; and " + std::to_string(faults_.size() - kMostFaults) + " more";
    return {ErrorCode::kInvalidArgument, text, "resources", {}};
  }

 private:
  const std::string_view file_;
  std::multimap<toml::source_index, std::string> faults_;
};

toml::source_index line_of(const toml::node& node) { return node.source().begin.line; }

std::optional<PolicyValue> value_of(const toml::node& node) {
  if (const auto* flag = node.as_boolean()) return PolicyValue(**flag);
  if (const auto* number = node.as_integer()) return PolicyValue(**number);
  if (const auto* number = node.as_floating_point()) return PolicyValue(**number);
  if (const auto* text = node.as_string()) return PolicyValue(**text);
  return std::nullopt;
}

class ResourcesReader {
 public:
  explicit ResourcesReader(Faults& faults) : faults_(faults) {}

  // The table's values as settings, named from its root; the schedule is not among them.
  void flatten(const toml::table& table, const std::string& prefix, int depth) {
    for (const auto& [key, node] : table) {
      const std::string name = prefix + std::string(key.str());
      if (name == "schedule") continue;
      if (node.is_table() && depth < kMaxDepth) {
        flatten(*node.as_table(), name + '.', depth + 1);
      } else if (auto value = value_of(node)) {
        lines_.emplace(name.substr(0, 80), line_of(node));
        settings_.push_back({name, *std::move(value)});
      } else {
        faults_.add(line_of(node),
                    name.substr(0, 80) + ": expected a number, a text or true/false");
      }
    }
  }

  // Names and ranges: the same over any mode.
  void check() {
    const auto policy = with_settings(ResourcePolicy::of(ResourceMode::kBalanced), settings_);
    if (policy) return;
    for (const PolicyFault& fault : policy.error()) {
      const auto line = lines_.find(fault.name);
      faults_.add(line == lines_.end() ? 0 : line->second, fault.message);
    }
  }

  std::vector<PolicySetting> take() { return std::move(settings_); }

 private:
  Faults& faults_;
  std::vector<PolicySetting> settings_;
  std::map<std::string, toml::source_index> lines_;
};

class ScheduleReader {
 public:
  explicit ScheduleReader(Faults& faults) : faults_(faults) {}

  QuietHours read(const toml::node& node) {
    const toml::array* entries = node.as_array();
    if (entries == nullptr) {
      faults_.add(line_of(node), "schedule: expected [[resources.schedule]] tables");
      return {};
    }
    for (const toml::node& entry : *entries) {
      lines_.push_back(line_of(entry));
      if (const toml::table* table = entry.as_table())
        read_entry(*table);
      else
        faults_.add(line_of(entry), "schedule: expected [[resources.schedule]] tables");
    }
    if (!faults_.none()) return {};
    auto hours = QuietHours::of(entries_);
    if (hours) return *std::move(hours);
    for (const ScheduleFault& fault : hours.error()) report(fault);
    return {};
  }

 private:
  void read_entry(const toml::table& table) {
    static const std::vector<std::string> kKeys{"days", "from", "to", "mode"};
    ScheduleEntry entry;
    for (const auto& [key, node] : table) {
      if (key == "days")
        entry.days = texts(node);
      else if (key == "from")
        entry.from = text("from", node);
      else if (key == "to")
        entry.to = text("to", node);
      else if (key == "mode")
        entry.mode = text("mode", node);
      else
        faults_.add(line_of(node), "schedule: no such key " + std::string(key.str().substr(0, 80)) +
                                       suggestion(key.str().substr(0, 80), kKeys));
    }
    entries_.push_back(std::move(entry));
  }

  std::string text(const std::string& key, const toml::node& node) {
    if (const auto* value = node.as_string()) return **value;
    faults_.add(line_of(node), "schedule." + key + ": expected a text in quotes");
    return {};
  }

  std::vector<std::string> texts(const toml::node& node) {
    std::vector<std::string> values;
    const toml::array* array = node.as_array();
    if (array == nullptr)
      faults_.add(line_of(node), "schedule.days: expected an array of texts");
    else
      for (const toml::node& item : *array) values.push_back(text("days", item));
    return values;
  }

  void report(const ScheduleFault& fault) {
    constexpr std::string_view kPrefix = "resources.";
    const std::string message = fault.message();
    faults_.add(fault.entry < lines_.size() ? lines_[fault.entry] : 0,
                message.starts_with(kPrefix) ? message.substr(kPrefix.size()) : message);
  }

  Faults& faults_;
  std::vector<ScheduleEntry> entries_;
  std::vector<toml::source_index> lines_;
};

}  // namespace

Result<ResourcesConfig> read_resources(const toml::node& resources, std::string_view file) {
  const toml::table* table = resources.as_table();
  Faults faults(file);
  if (table == nullptr) {
    return fail(ErrorCode::kInvalidArgument, std::string(file) + ":" +
                                                 std::to_string(line_of(resources)) +
                                                 ": resources: expected a table: [resources]");
  }
  ResourcesReader reader(faults);
  reader.flatten(*table, "", 1);
  reader.check();
  ResourcesConfig config;
  if (const toml::node* schedule = table->get("schedule")) {
    config.quiet_hours = ScheduleReader(faults).read(*schedule);
  }
  if (!faults.none()) return std::unexpected(faults.error());
  config.settings = reader.take();
  return config;
}

}  // namespace gogrid
