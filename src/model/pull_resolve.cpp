#include "model/pull_resolve.h"

#include <algorithm>
#include <set>
#include <type_traits>

#include "base/format.h"
#include "model/file_choice.h"
#include "model/http_ask.h"
#include "model/hub_answers.h"

namespace gogrid {
namespace {

// A repository with more files than these pages hold is no repository of models.
constexpr int kMaxPages = 16;
constexpr std::string_view kManifestType = "application/vnd.docker.distribution.manifest.v2+json";
constexpr std::string_view kOciManifestType = "application/vnd.oci.image.manifest.v1+json";

class Resolver {
 public:
  Resolver(HttpClient& client, const std::optional<Credential>& credential, const PullRules& rules,
           const PullHooks& hooks, const Clock& clock)
      : client_(client), credential_(credential), rules_(rules), hooks_(hooks), clock_(clock) {}

  Result<RemoteFile> find(const HubSource& source, const HttpUrl& endpoint);
  Result<RemoteFile> find(const RegistrySource& source, const HttpUrl& endpoint);
  Result<RemoteFile> find(const GridSource& source, const HttpUrl& endpoint);
  Result<RemoteFile> find(const UrlSource& source, const HttpUrl& endpoint);
  Result<RemoteFile> look_at(RemoteFile remote, const std::string& what);

 private:
  Result<Answer> get(const Question& question) {
    return ask(client_, question, credential_, rules_, hooks_, clock_);
  }
  Result<std::vector<HubFile>> files_of(const HubSource& source, const HttpUrl& endpoint);
  Result<RemoteFile> remote_of(const HubFile& file, const HubSource& source,
                               const HttpUrl& endpoint);

  HttpClient& client_;
  const std::optional<Credential>& credential_;
  const PullRules& rules_;
  const PullHooks& hooks_;
  const Clock& clock_;
};

// Below an endpoint, which may have a path of its own (a mirror).
Result<HttpUrl> below(const HttpUrl& endpoint, const std::string& path) {
  std::string base = endpoint.text();
  while (base.ends_with('/')) base.pop_back();
  return parse_url(base + path);
}

Result<std::vector<HubFile>> Resolver::files_of(const HubSource& source, const HttpUrl& endpoint) {
  const std::string what = "the files of " + source.repository;
  GOGRID_ASSIGN_OR_RETURN(
      HttpUrl url,
      below(endpoint, format_text("/api/models/{}/tree/{}?recursive=true", source.repository,
                                  percent_encode(source.revision, false))));
  std::vector<HubFile> files;
  for (int page = 0; page < kMaxPages; ++page) {
    GOGRID_ASSIGN_OR_RETURN(const Answer answer,
                            get({.what = what, .url = url, .most = kMaxHubAnswer}));
    GOGRID_ASSIGN_OR_RETURN(auto more, parse_tree_page(answer.body, answer.url.shown()));
    files.insert(files.end(), more.begin(), more.end());
    const auto next = next_page(answer.head.link);
    if (!next) return files;
    const HttpUrl from = url;
    GOGRID_ASSIGN_OR_RETURN(url, resolve_location(from, *next));
    if (!same_origin(url, from)) {
      return fail(ErrorCode::kCorrupt, format_text("[pull] expected the next page at {}: {}",
                                                   from.shown(), url.shown()));
    }
  }
  return fail(ErrorCode::kTooLarge,
              format_text("[pull] expected at most {} pages of files: {} has more", kMaxPages,
                          source.repository));
}

// What tells this version of all parts from every other.
std::string version_of(std::span<const RemoteFile> parts) {
  Sha256 hash;
  for (const RemoteFile& part : parts) hash.update(format_text("{} {}\n", part.sha256, part.size));
  return hash.finish();
}

Result<RemoteFile> joined(std::vector<RemoteFile> parts, const std::string& name) {
  RemoteFile whole = parts.front();
  whole.name = name;
  whole.size = 0;
  whole.sha256.clear();
  whole.part = {};
  std::set<std::string_view> digests;
  for (const RemoteFile& part : parts) {
    whole.size += part.size;  // few enough, each below kMaxModelSize
    if (part.sha256.empty()) {
      return fail(ErrorCode::kUnsupported,
                  format_text("[pull] {}: expected the SHA-256 of each of its {} parts: the hub "
                              "names none of this one; fetch all into one folder, and import the "
                              "first",
                              part.source, parts.size()));
    }
    if (digests.insert(part.sha256).second) continue;
    return fail(ErrorCode::kCorrupt,
                format_text("[pull] {}: expected parts that differ: {} is there twice", part.source,
                            part.sha256));
  }
  if (whole.size > kMaxModelSize) {
    return fail(ErrorCode::kCorrupt,
                format_text("[pull] {}: expected at most {}: its {} parts have {}", whole.source,
                            format_bytes(kMaxModelSize), parts.size(), format_bytes(whole.size)));
  }
  whole.validator = version_of(parts);
  whole.parts = std::move(parts);
  return whole;
}

Result<RemoteFile> Resolver::find(const HubSource& source, const HttpUrl& endpoint) {
  GOGRID_ASSIGN_OR_RETURN(const auto files, files_of(source, endpoint));
  GOGRID_ASSIGN_OR_RETURN(const auto chosen, choose_files(files, source.wanted, source.repository));
  if (chosen.size() == 1) return remote_of(chosen.front(), source, endpoint);
  std::vector<RemoteFile> parts;
  for (const HubFile& file : chosen) {
    GOGRID_ASSIGN_OR_RETURN(RemoteFile remote, remote_of(file, source, endpoint));
    remote.part = {parts.size() + 1, chosen.size()};
    parts.push_back(std::move(remote));
  }
  return joined(std::move(parts), name_of_all(chosen.front().path));
}

Result<RemoteFile> Resolver::remote_of(const HubFile& file, const HubSource& source,
                                       const HttpUrl& endpoint) {
  RemoteFile remote;
  GOGRID_ASSIGN_OR_RETURN(remote.url,
                          below(endpoint, format_text("/{}/resolve/{}/{}", source.repository,
                                                      percent_encode(source.revision, false),
                                                      percent_encode(file.path, true))));
  remote.source = format_text("hf:{}:{}@{}", source.repository, file.path, source.revision);
  remote.name = file.path.substr(file.path.rfind('/') + 1);
  remote.size = file.size;
  remote.sha256 = file.sha256;
  if (!remote.sha256.empty()) return remote;
  // Small files are kept in git itself, whose digest is another; then the server's head must tell
  // one version from the next.
  hooks_.say("the hub names no SHA-256 of " + file.path + ": only its size is checked");
  const Question head{.what = file.path, .url = remote.url, .range = ByteRange{0, 1}};
  GOGRID_ASSIGN_OR_RETURN(const Answer answer, get(head));
  remote.validator = answer.head.validator();
  return remote;
}

Result<RemoteFile> Resolver::find(const RegistrySource& source, const HttpUrl& endpoint) {
  GOGRID_ASSIGN_OR_RETURN(
      const HttpUrl url,
      below(endpoint, format_text("/v2/{}/manifests/{}", source.repository, source.tag)));
  const Question manifest{
      .what = format_text("the manifest of {}:{}", source.repository, source.tag),
      .url = url,
      .headers = {format_text("Accept: {}, {}", kManifestType, kOciManifestType)},
      .most = kMaxHubAnswer};
  GOGRID_ASSIGN_OR_RETURN(const Answer answer, get(manifest));
  GOGRID_ASSIGN_OR_RETURN(const RegistryBlob blob,
                          parse_registry_manifest(answer.body, answer.url.shown()));
  RemoteFile remote;
  GOGRID_ASSIGN_OR_RETURN(remote.url, below(endpoint, format_text("/v2/{}/blobs/sha256:{}",
                                                                  source.repository, blob.sha256)));
  remote.source = format_text("ollama:{}:{}", source.repository, source.tag);
  remote.name = format_text("{}-{}.gguf", source.repository.substr(source.repository.find('/') + 1),
                            source.tag);
  remote.size = blob.size;
  remote.sha256 = blob.sha256;
  return remote;
}

Result<RemoteFile> Resolver::find(const GridSource& source, const HttpUrl& endpoint) {
  const std::string path = "/admin/v1/models/" + source.model;
  GOGRID_ASSIGN_OR_RETURN(const HttpUrl url, below(endpoint, path));
  GOGRID_ASSIGN_OR_RETURN(
      const Answer answer,
      get({.what = "model " + source.model, .url = url, .most = kMaxHubAnswer}));
  GOGRID_ASSIGN_OR_RETURN(const RegistryBlob blob,
                          parse_library_entry(answer.body, answer.url.shown()));
  RemoteFile remote;
  GOGRID_ASSIGN_OR_RETURN(remote.url, below(endpoint, path + "/file"));
  remote.source = format_text("gogrid:{}/{}", endpoint.shown(), source.model);
  remote.name = source.model + ".gguf";
  remote.size = blob.size;
  remote.sha256 = blob.sha256;
  return remote;
}

Result<RemoteFile> Resolver::find(const UrlSource& source, const HttpUrl&) {
  RemoteFile remote;
  remote.url = source.url;
  remote.source = source.url.shown();
  remote.name = source.url.file_name();
  return look_at(std::move(remote), "a file");
}

// The first byte tells how long the file is, and whether parts of it can be had.
Result<RemoteFile> Resolver::look_at(RemoteFile remote, const std::string& what) {
  const Question head{.what = what, .url = remote.url, .range = ByteRange{0, 1}};
  GOGRID_ASSIGN_OR_RETURN(const Answer answer, get(head));
  const auto range = parse_content_range(answer.head.content_range);
  const auto size =
      answer.head.status == 206 ? (range ? range->size : std::nullopt) : answer.head.content_length;
  if (!size || *size == 0 || *size > kMaxModelSize) {
    return fail(
        ErrorCode::kUnsupported,
        format_text("[pull] expected the length of the file from {}: {}", answer.url.shown(),
                    size ? format_text("{} bytes", *size) : "it tells none"));
  }
  remote.size = *size;
  remote.validator = answer.head.validator();
  return remote;
}

}  // namespace

Result<HttpUrl> endpoint_of(const PullSource& source, const PullEndpoints& endpoints) {
  if (const auto* address = std::get_if<UrlSource>(&source)) return address->url;
  if (const auto* grid = std::get_if<GridSource>(&source)) return grid->endpoint;
  return parse_url(std::holds_alternative<HubSource>(source) ? endpoints.hub : endpoints.registry);
}

Result<RemoteFile> resolve_source(HttpClient& client, const PullSource& source,
                                  const PullEndpoints& endpoints,
                                  const std::optional<Credential>& credential,
                                  const PullRules& rules, const PullHooks& hooks,
                                  const Clock& clock) {
  GOGRID_ASSIGN_OR_RETURN(const HttpUrl endpoint, endpoint_of(source, endpoints));
  Resolver resolver(client, credential, rules, hooks, clock);
  return std::visit([&](const auto& one) { return resolver.find(one, endpoint); }, source);
}

Result<RemoteFile> look_again(HttpClient& client, const RemoteFile& remote,
                              const std::optional<Credential>& credential, const PullRules& rules,
                              const PullHooks& hooks, const Clock& clock) {
  return Resolver(client, credential, rules, hooks, clock).look_at(remote, remote.name);
}

}  // namespace gogrid
