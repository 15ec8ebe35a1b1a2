#include "app/config.h"

#include <algorithm>
#include <charconv>
#include <sstream>
#include <toml++/toml.hpp>
#include <utility>

#include "app/resources_config.h"
#include "base/durations.h"
#include "base/files.h"
#include "base/nearest.h"

namespace gogrid {
namespace {

constexpr Bytes kMaxConfig = kMiB;

// A value as it is shown in an error: on one line, and short whatever the file holds.
std::string shown(const toml::node& node) {
  constexpr std::size_t kMaxShown = 60;
  if (node.is_table() || node.is_array()) return node.is_table() ? "a table" : "an array";
  std::ostringstream text;
  node.visit([&](const auto& value) {
    if constexpr (toml::is_value<decltype(value)>) text << value.get();
  });
  std::string value = text.str();
  std::ranges::replace(value, '\n', ' ');
  return value.size() <= kMaxShown ? value : value.substr(0, kMaxShown) + "...";
}

// Reads one table: knows its allowed keys, and where each value stands.
class TableReader {
 public:
  // `where`: the table's name in errors; empty for the file itself. Both views outlive the reader.
  TableReader(const toml::table& table, std::string_view file, std::string where)
      : table_(table), file_(file), where_(std::move(where)) {}

  Status check_keys(const std::vector<std::string>& known) const {
    for (const auto& [key, node] : table_) {
      if (std::ranges::find(known, key.str()) != known.end()) continue;
      return error_on(key.source().begin.line, "unknown key '" + name_of(key.str().substr(0, 100)) +
                                                   "'" + suggestion(key.str(), known));
    }
    return {};
  }

  const toml::node* get(const char* key) const { return table_.get(key); }

  Result<std::optional<std::string>> text(const char* key) const {
    const toml::node* node = table_.get(key);
    if (node == nullptr) return std::optional<std::string>();
    if (const auto* value = node->as_string()) return **value;
    return error_at(*node, name_of(key) + ": expected a string: " + shown(*node));
  }

  Result<std::optional<std::uint32_t>> number(const char* key, std::int64_t low,
                                              std::int64_t high) const {
    const toml::node* node = table_.get(key);
    if (node == nullptr) return std::optional<std::uint32_t>();
    const auto* value = node->as_integer();
    if (value != nullptr && **value >= low && **value <= high)
      return static_cast<std::uint32_t>(**value);
    return error_at(*node, name_of(key) + ": expected a whole number " + std::to_string(low) +
                               ".." + std::to_string(high) + ": " + shown(*node));
  }

  Result<bool> flag(const char* key) const {
    const toml::node* node = table_.get(key);
    if (node == nullptr) return false;
    if (const auto* value = node->as_boolean()) return **value;
    return error_at(*node, name_of(key) + ": expected true or false: " + shown(*node));
  }

  Result<std::vector<std::string>> texts(const char* key) const {
    std::vector<std::string> values;
    const toml::node* node = table_.get(key);
    if (node == nullptr) return values;
    if (!node->is_array())
      return error_at(*node, name_of(key) + ": expected an array of strings: " + shown(*node));
    for (const toml::node& item : *node->as_array()) {
      if (!item.is_string())
        return error_at(item, name_of(key) + ": expected strings: " + shown(item));
      values.push_back(**item.as_string());
    }
    return values;
  }

  // A string in a grammar of its own, as the command line has it too; `into` stays as it is without
  // one.
  template <class Parse, class Value>
  Status parsed(const char* key, Parse parse, Value& into) const {
    GOGRID_ASSIGN_OR_RETURN(const auto written, text(key));
    if (!written) return {};
    auto value = parse(*written);
    if (!value) return error_at(*table_.get(key), name_of(key) + ": " + value.error().message);
    into = *std::move(value);
    return {};
  }

  std::unexpected<Error> error_at(const toml::node& node, const std::string& message) const {
    return error_on(node.source().begin.line, message);
  }

 private:
  std::unexpected<Error> error_on(toml::source_index line, const std::string& message) const {
    return fail(ErrorCode::kInvalidArgument,
                std::string(file_) + ":" + std::to_string(line) + ": " + message);
  }
  std::string name_of(std::string_view key) const {
    return where_.empty() ? std::string(key) : where_ + "." + std::string(key);
  }

  const toml::table& table_;
  const std::string_view file_;
  const std::string where_;
};

Status read_server(const TableReader& reader, Config& config) {
  GOGRID_RETURN_IF_ERROR(
      reader.check_keys({"listen", "models", "context", "parallel", "pinned", "on_demand",
                         "library", "keep_alive", "load_wait", "quantize_stages"}));
  GOGRID_RETURN_IF_ERROR(reader.parsed("listen", parse_listen, config.listen));
  GOGRID_ASSIGN_OR_RETURN(config.models, reader.texts("models"));
  GOGRID_ASSIGN_OR_RETURN(config.context, reader.number("context", 16, 16'777'216));
  GOGRID_ASSIGN_OR_RETURN(config.parallel, reader.number("parallel", 1, 256));
  GOGRID_RETURN_IF_ERROR(reader.parsed("quantize_stages", parse_quantize_stages, config.quantize));
  KeepingOptions& keeping = config.keeping;
  GOGRID_ASSIGN_OR_RETURN(keeping.pinned, reader.texts("pinned"));
  GOGRID_ASSIGN_OR_RETURN(keeping.on_demand, reader.flag("on_demand"));
  GOGRID_ASSIGN_OR_RETURN(keeping.library, reader.flag("library"));
  GOGRID_RETURN_IF_ERROR(reader.parsed("keep_alive", parse_duration, keeping.keep_alive));
  GOGRID_RETURN_IF_ERROR(reader.parsed("load_wait", parse_duration, keeping.load_wait));
  return {};
}

Status read_aliases(const toml::table& table, const TableReader& reader, Config& config) {
  for (const auto& [key, node] : table) {
    if (!node.is_string()) {
      return reader.error_at(node, "aliases." + std::string(key.str().substr(0, 100)) +
                                       ": expected a model's name: " + shown(node));
    }
    config.keeping.aliases.push_back({std::string(key.str()), **node.as_string()});
  }
  return {};
}

// An id alone: the command line's ":cores=..." has keys of its own here.
Result<std::string> parse_id(std::string_view text) {
  GOGRID_ASSIGN_OR_RETURN(DeviceSpec spec, parse_device_spec(text));
  if (spec.id == text) return std::move(spec.id);
  return fail(ErrorCode::kInvalidArgument,
              "expected an id alone, with cores and memory as keys: '" + std::string(text) + "'");
}

Status read_device(const toml::node& node, const TableReader& reader, Config& config) {
  GOGRID_RETURN_IF_ERROR(reader.check_keys({"id", "cores", "memory"}));
  DeviceSpec device;
  GOGRID_RETURN_IF_ERROR(reader.parsed("id", parse_id, device.id));
  GOGRID_RETURN_IF_ERROR(reader.parsed("cores", parse_cores, device.cores));
  GOGRID_RETURN_IF_ERROR(reader.parsed("memory", parse_bytes, device.memory));
  if (device.id.empty()) return reader.error_at(node, "device.id: expected, as in id = \"cpu-a\"");
  if (std::ranges::contains(config.devices, device.id, &DeviceSpec::id))
    return reader.error_at(*reader.get("id"), "device.id: '" + device.id + "' is there twice");
  config.devices.push_back(std::move(device));
  return {};
}

Status read_devices(const TableReader& root, std::string_view file, Config& config) {
  const toml::node* devices = root.get("device");
  if (devices == nullptr) return {};
  const std::string expected = "device: expected [[device]] tables: ";
  if (!devices->is_array()) return root.error_at(*devices, expected + shown(*devices));
  for (const toml::node& device : *devices->as_array()) {
    if (!device.is_table()) return root.error_at(device, expected + shown(device));
    const TableReader reader(*device.as_table(), file, "device");
    GOGRID_RETURN_IF_ERROR(read_device(device, reader, config));
  }
  return {};
}

Result<Config> read_root(const TableReader& root, std::string_view file) {
  GOGRID_RETURN_IF_ERROR(root.check_keys({"server", "aliases", "device", "resources"}));
  Config config;
  if (const toml::node* server = root.get("server")) {
    if (!server->is_table())
      return root.error_at(*server, "server: expected a table: " + shown(*server));
    GOGRID_RETURN_IF_ERROR(read_server(TableReader(*server->as_table(), file, "server"), config));
  }
  if (const toml::node* aliases = root.get("aliases")) {
    if (!aliases->is_table())
      return root.error_at(*aliases, "aliases: expected a table: " + shown(*aliases));
    GOGRID_RETURN_IF_ERROR(read_aliases(*aliases->as_table(), root, config));
  }
  GOGRID_RETURN_IF_ERROR(read_devices(root, file, config));
  if (const toml::node* resources = root.get("resources")) {
    GOGRID_ASSIGN_OR_RETURN(ResourcesConfig read, read_resources(*resources, file));
    config.limits = std::move(read.settings);
    config.quiet_hours = std::move(read.quiet_hours);
  }
  return config;
}

}  // namespace

Result<Config> parse_config(std::string_view text, std::string_view name) {
  toml::table root;
  try {
    root = toml::parse(text, name);
  } catch (const toml::parse_error& error) {
    return fail(ErrorCode::kInvalidArgument, std::string(name) + ":" +
                                                 std::to_string(error.source().begin.line) + ": " +
                                                 std::string(error.description().substr(0, 300)));
  }
  return read_root(TableReader(root, name, {}), name);
}

Result<Config> read_config(const std::filesystem::path& file) {
  auto text = read_named(file, kMaxConfig);
  if (!text)
    return fail(ErrorCode::kInvalidArgument, "--config: " + text.error().message, "config");
  return parse_config(*text, file.string());
}

Result<PolicySetting> parse_limit(std::string_view text) {
  const std::size_t sign = text.find('=');
  if (sign == 0 || sign == std::string_view::npos || sign + 1 == text.size()) {
    return fail(ErrorCode::kInvalidArgument,
                "expected NAME=VALUE, as in max_compute=0.5: " + std::string(text.substr(0, 80)));
  }
  const std::string_view value = text.substr(sign + 1);
  PolicySetting setting{std::string(text.substr(0, sign)), std::string(value)};
  const char* const end = value.data() + value.size();
  // What does not fit stays a text, and is refused as one; as a number it would be 0, no limit.
  const auto read = [&](auto& number) {
    const auto [stopped, error] = std::from_chars(value.data(), end, number);
    return stopped == end && error == std::errc();
  };
  std::int64_t whole = 0;
  double real = 0.0;
  if (value == "true" || value == "false")
    setting.value = value == "true";
  else if (read(whole))
    setting.value = whole;
  else if (read(real))
    setting.value = real;
  return setting;
}

}  // namespace gogrid
