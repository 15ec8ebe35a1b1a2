// config.json of a folder in the Hugging Face layout, read field by field with its ranges checked.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace gogrid {

// An object of the file. A getter that finds a value of the wrong kind or out of range remembers
// that as the file's fault and answers its default; look at status() when all is read. A field that
// is null is absent. Copies, and objects within, share the memory of the first fault. Not
// thread-safe.
class HfConfig {
 public:
  // kNotFound, kIo, kCorrupt.
  static Result<HfConfig> read(const std::filesystem::path& folder,
                               std::string_view file = "config.json");
  // kCorrupt when it is no object. `where` begins the error texts.
  static Result<HfConfig> of(nlohmann::json json, std::string where);

  // The class that the file is for: "LlamaForCausalLM"; empty when it does not say.
  std::string architecture() const;

  bool has(std::string_view key) const;
  bool is_object(std::string_view key) const;
  bool is_array(std::string_view key) const;
  std::vector<std::string> keys() const;
  // 1 to 2^31 - 1; 0 too for optional ones.
  std::uint32_t count(std::string_view key) const;
  std::optional<std::uint32_t> maybe_count(std::string_view key) const;
  std::uint32_t count_or(std::string_view key, std::uint32_t otherwise) const;
  // Of a token; absent when it is below 0, as some files say "none".
  std::optional<std::uint32_t> maybe_id(std::string_view key) const;
  // Finite.
  float number(std::string_view key) const;
  std::optional<float> maybe_number(std::string_view key) const;
  bool flag_or(std::string_view key, bool otherwise) const;
  std::string text_or(std::string_view key, std::string_view otherwise) const;
  // At most `most` finite numbers; empty when absent.
  std::vector<float> numbers(std::string_view key, std::size_t most) const;
  std::vector<std::string> texts(std::string_view key, std::size_t most) const;
  // An object within; one without fields when absent.
  HfConfig object(std::string_view key) const;
  // At most `most` objects in an array.
  std::vector<HfConfig> objects(std::string_view key, std::size_t most) const;
  // Its fields over this object's.
  HfConfig with_object(std::string_view key) const;

  // kCorrupt, naming the first field at fault.
  Status status() const;
  // Makes `what` the first fault, if there is none yet: of fields that are right only one by one.
  void refuse(std::string_view key, std::string_view what,
              ErrorCode code = ErrorCode::kCorrupt) const;

 private:
  struct Shared;
  HfConfig(std::shared_ptr<const nlohmann::json> json, std::shared_ptr<Shared> shared)
      : json_(std::move(json)), shared_(std::move(shared)) {}
  const nlohmann::json* find(std::string_view key) const;
  void expected(std::string_view key, std::string_view what) const;

  std::shared_ptr<const nlohmann::json> json_;
  std::shared_ptr<Shared> shared_;
};

}  // namespace gogrid
