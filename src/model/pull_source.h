// What a person names to be fetched: "hf:owner/repo:Q4_K_M@main", "ollama:llama3.2:3b",
// "gogrid:http://127.0.0.1:8081/smollm2-135m", an address.
#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"
#include "model/http_url.h"

namespace gogrid {

// A repository of a hub in Hugging Face's layout.
struct HubSource {
  std::string repository;         // owner/repo
  std::string wanted;             // a file's path in it, or a quantization; empty: the only one
  std::string revision = "main";  // branch, tag or commit
};

// A model of an OCI registry in Ollama's layout.
struct RegistrySource {
  std::string repository;  // library/name, or namespace/name
  std::string tag = "latest";
};

// A model of the library of another GoGrid, which answers at `endpoint`.
struct GridSource {
  HttpUrl endpoint;
  std::string model;
};

struct UrlSource {
  HttpUrl url;
};

using PullSource = std::variant<HubSource, RegistrySource, GridSource, UrlSource>;

// kInvalidArgument says what a source looks like.
Result<PullSource> parse_pull_source(std::string_view text);

}  // namespace gogrid
