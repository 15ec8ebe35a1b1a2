// Any bytes at all in place of what hubs, registries and web servers answer. The first byte says
// which reader gets the rest.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "base/text.h"
#include "model/file_choice.h"
#include "model/http_head.h"
#include "model/http_url.h"
#include "model/hub_answers.h"
#include "model/partial_state.h"
#include "model/pull_source.h"

namespace {

using namespace gogrid;

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "hub_answers_fuzz: %s\n", what);
  std::abort();
}

// Whoever reads it is told whose answer it was.
bool says_where(const Error& error) {
  return error.message.starts_with("[fuzz] ") || error.message.starts_with("[json] fuzz: ");
}

void read_tree(std::string_view bytes) {
  const auto files = parse_tree_page(bytes, "fuzz");
  if (!files) return require(says_where(files.error()), "a refusal says where");
  for (const HubFile& file : *files) {
    require(file.size <= kMaxModelSize, "sizes are bounded");
    require(file.sha256.empty() || file.sha256.size() == 64, "a digest is one");
    require(parts_of(file.path) >= 1 || !file.path.empty(), "a path is one");
    static_cast<void>(choose_files(*files, quantization_in(file.path), "o/r"));
    const auto chosen = choose_files(*files, file.path, "o/r");
    if (!chosen) continue;
    require(chosen->size() == parts_of(file.path) || chosen->size() == 1, "all parts are chosen");
    for (const HubFile& one : *chosen) require(one.size > 0, "what is chosen can be fetched");
  }
  static_cast<void>(choose_files(*files, "", "o/r"));
}

void read_manifest(std::string_view bytes) {
  const auto blob = parse_registry_manifest(bytes, "fuzz");
  if (!blob) return require(says_where(blob.error()), "a refusal says where");
  require(blob->sha256.size() == 64 && blob->size > 0, "a blob has a digest and a size");
}

void read_library_entry(std::string_view bytes) {
  const auto blob = parse_library_entry(bytes, "fuzz");
  if (!blob) return require(says_where(blob.error()), "a refusal says where");
  require(blob->sha256.size() == 64 && blob->size > 0, "a model has a digest and a size");
}

// Line by line, as they come.
void read_head(std::string_view bytes) {
  HttpHeadReader reader;
  while (!bytes.empty() && reader.line(next_line(bytes))) {
  }
  const HttpHead& head = reader.head();
  static_cast<void>(head.validator());
  static_cast<void>(next_page(head.link));
  if (const auto range = parse_content_range(head.content_range)) {
    require(range->range.first < range->range.last, "a range is not empty");
    require(!range->size || range->range.last <= *range->size, "a range is within the file");
  }
}

void read_location(std::string_view bytes) {
  const HttpUrl base = parse_url("https://hub.org:444/a/b?c").value();
  const auto url = resolve_location(base, bytes);
  if (!url) return;
  const auto again = parse_url(url->text());
  require(again && same_origin(*again, *url), "an address is read as it was written");
  require(again->target == url->target, "and its path");
  require(!url->host.contains('@') && !url->host.contains('/'), "a host is a host");
}

void read_source(std::string_view bytes) {
  const auto source = parse_pull_source(bytes);
  if (!source) return;
  if (const auto* hub = std::get_if<HubSource>(&*source))
    require(!hub->wanted.starts_with('/') && !hub->wanted.contains("/../"), "no way out");
}

void read_state(std::string_view bytes) {
  const auto state = parse_partial_state(bytes, "fuzz");
  if (!state) return;
  require(state->present.total() <= state->size, "no more is there than there is");
  const auto again = parse_partial_state(format_partial_state(*state), "fuzz");
  require(again && again->present.total() == state->present.total(), "it comes back");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 8) {
    case 0:
      read_tree(bytes);
      break;
    case 1:
      read_manifest(bytes);
      break;
    case 2:
      read_head(bytes);
      break;
    case 3:
      read_location(bytes);
      break;
    case 4:
      read_source(bytes);
      break;
    case 6:
      read_library_entry(bytes);
      break;
    default:
      read_state(bytes);
  }
  return 0;
}
