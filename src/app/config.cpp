#include "app/config.h"

#include <charconv>
#include <toml++/toml.hpp>

#include "base/files.h"
#include "base/nearest.h"

namespace gogrid {
namespace {

constexpr Bytes kMaxConfig = kMiB;

// Reads one table: knows its allowed keys, and where each value stands.
class TableReader {
 public:
  TableReader(const toml::table& table, std::string_view file, std::string where)
      : table_(table), file_(file), where_(std::move(where)) {}

  Status check_keys(const std::vector<std::string>& known) const {
    for (const auto& [key, node] : table_) {
      if (std::ranges::find(known, key.str()) != known.end()) continue;
      return error_at(node,
                      "unknown key '" + name_of(key.str()) + "'" + suggestion(key.str(), known));
    }
    return {};
  }

  Result<std::optional<std::string>> text(const char* key) const {
    const toml::node* node = table_.get(key);
    if (node == nullptr) return std::optional<std::string>();
    if (const auto value = node->value<std::string>(); value && node->is_string()) return value;
    return error_at(*node, name_of(key) + ": expected a string");
  }

  Result<std::optional<std::uint32_t>> number(const char* key, std::int64_t low,
                                              std::int64_t high) const {
    const toml::node* node = table_.get(key);
    if (node == nullptr) return std::optional<std::uint32_t>();
    const auto value = node->is_integer() ? node->value<std::int64_t>() : std::nullopt;
    if (value && *value >= low && *value <= high) return static_cast<std::uint32_t>(*value);
    return error_at(*node, name_of(key) + ": expected a whole number " + std::to_string(low) +
                               ".." + std::to_string(high));
  }

  std::unexpected<Error> error_at(const toml::node& node, const std::string& message) const {
    return fail(
        ErrorCode::kInvalidArgument,
        std::string(file_) + ":" + std::to_string(node.source().begin.line) + ": " + message);
  }

 private:
  std::string name_of(std::string_view key) const {
    return where_.empty() ? std::string(key) : where_ + "." + std::string(key);
  }

  const toml::table& table_;
  const std::string_view file_;
  const std::string where_;
};

Status read_server(const toml::node& node, std::string_view file, Config& config) {
  const TableReader root({}, file, {});
  if (!node.is_table()) return root.error_at(node, "server: expected a table");
  const toml::table& table = *node.as_table();
  const TableReader reader(table, file, "server");
  GOGRID_RETURN_IF_ERROR(reader.check_keys({"listen", "models", "context", "parallel"}));
  GOGRID_ASSIGN_OR_RETURN(config.listen, reader.text("listen"));
  GOGRID_ASSIGN_OR_RETURN(config.context, reader.number("context", 16, 16'777'216));
  GOGRID_ASSIGN_OR_RETURN(config.parallel, reader.number("parallel", 1, 256));
  const toml::node* models = table.get("models");
  if (models == nullptr) return {};
  if (!models->is_array())
    return reader.error_at(*models, "server.models: expected an array of strings");
  for (const toml::node& model : *models->as_array()) {
    if (!model.is_string()) return reader.error_at(model, "server.models: expected strings");
    config.models.push_back(**model.as_string());
  }
  return {};
}

Status read_device(const toml::node& node, std::string_view file, Config& config) {
  const TableReader root({}, file, {});
  if (!node.is_table()) return root.error_at(node, "device: expected [[device]] tables");
  const TableReader reader(*node.as_table(), file, "device");
  GOGRID_RETURN_IF_ERROR(reader.check_keys({"id", "cores", "memory"}));
  GOGRID_ASSIGN_OR_RETURN(const auto id, reader.text("id"));
  GOGRID_ASSIGN_OR_RETURN(const auto cores, reader.text("cores"));
  GOGRID_ASSIGN_OR_RETURN(const auto memory, reader.text("memory"));
  if (!id) return reader.error_at(node, "device.id: expected, as in id = \"cpu-a\"");
  // One grammar for flags and file: the parts are checked by the flag's parser.
  std::string spec = *id;
  if (cores) spec += ":cores=" + *cores;
  if (memory) spec += ":memory=" + *memory;
  auto device = parse_device_spec(spec);
  if (!device) return reader.error_at(node, device.error().message);
  config.devices.push_back(*std::move(device));
  return {};
}

}  // namespace

Result<Config> parse_config(std::string_view text, std::string_view name) {
  toml::table root;
  try {
    root = toml::parse(text, name);
  } catch (const toml::parse_error& error) {
    return fail(ErrorCode::kInvalidArgument, std::string(name) + ":" +
                                                 std::to_string(error.source().begin.line) + ": " +
                                                 std::string(error.description()));
  }
  Config config;
  const TableReader reader(root, name, {});
  if (const toml::node* resources = root.get("resources")) {
    return reader.error_at(*resources, "resources: limits are not in this version");
  }
  GOGRID_RETURN_IF_ERROR(reader.check_keys({"server", "device"}));
  if (const toml::node* server = root.get("server"))
    GOGRID_RETURN_IF_ERROR(read_server(*server, name, config));
  const toml::node* devices = root.get("device");
  if (devices == nullptr) return config;
  if (!devices->is_array()) return reader.error_at(*devices, "device: expected [[device]] tables");
  for (const toml::node& device : *devices->as_array())
    GOGRID_RETURN_IF_ERROR(read_device(device, name, config));
  return config;
}

Result<Config> read_config(const std::filesystem::path& file) {
  GOGRID_ASSIGN_OR_RETURN(const std::string text, read_file(file, kMaxConfig));
  return parse_config(text, file.string());
}

Result<ListenAddress> parse_listen(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  std::string_view address = text.substr(0, colon == text.npos ? 0 : colon);
  if (address.starts_with('[') && address.ends_with(']'))
    address = address.substr(1, address.size() - 2);
  std::uint16_t port = 0;
  const std::string_view digits = colon == text.npos ? "" : text.substr(colon + 1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (address.empty() || digits.empty() || error != std::errc{} ||
      end != digits.data() + digits.size()) {
    return fail(ErrorCode::kInvalidArgument,
                "--listen: expected ADDR:PORT like 127.0.0.1:8080 (port 0..65535): '" +
                    std::string(text) + "'",
                "listen");
  }
  return ListenAddress{std::string(address), port};
}

}  // namespace gogrid
