#include "model/pull_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gogrid {
namespace {

using ::testing::HasSubstr;

template <class T>
T source(std::string_view text) {
  const auto parsed = parse_pull_source(text);
  if (!parsed) throw std::runtime_error(parsed.error().message);
  return std::get<T>(*parsed);
}

TEST(PullSource, OfAHubHasRepositoryFileAndRevision) {
  const auto bare = source<HubSource>("hf:owner/repo-GGUF");
  EXPECT_EQ(bare.repository, "owner/repo-GGUF");
  EXPECT_EQ(bare.wanted, "");
  EXPECT_EQ(bare.revision, "main");
  const auto full = source<HubSource>("hf:o/r:sub/model.gguf@refs/pr/1");
  EXPECT_EQ(full.repository, "o/r");
  EXPECT_EQ(full.wanted, "sub/model.gguf");
  EXPECT_EQ(full.revision, "refs/pr/1");
  EXPECT_EQ(source<HubSource>("hf:o/r@v1.0").revision, "v1.0");
}

TEST(PullSource, OfARegistryHasANamespaceAndATag) {
  EXPECT_EQ(source<RegistrySource>("ollama:llama3.2").repository, "library/llama3.2");
  EXPECT_EQ(source<RegistrySource>("ollama:llama3.2").tag, "latest");
  EXPECT_EQ(source<RegistrySource>("ollama:someone/model:3b-q4").repository, "someone/model");
  EXPECT_EQ(source<RegistrySource>("ollama:someone/model:3b-q4").tag, "3b-q4");
}

TEST(PullSource, MayBeAnAddress) {
  EXPECT_EQ(source<UrlSource>("https://example.org/m.gguf").url.host, "example.org");
}

TEST(PullSource, CannotClimbOutOfItsRepository) {
  for (const std::string_view text : {"hf:",
                                      "hf:owner",
                                      "hf:../..",
                                      "hf:owner/..",
                                      "hf:a/b/c",
                                      "hf:owner/repo:",
                                      "hf:owner/repo:../x",
                                      "hf:owner/repo:/etc/x",
                                      "hf:owner/repo:a//b",
                                      "hf:owner/repo:a/./b",
                                      "hf:owner/repo@",
                                      "hf:owner/repo@../main",
                                      "hf:ow ner/repo",
                                      "hf:owner/re?po",
                                      "hf:owner/repo:a\nb",
                                      "ollama:",
                                      "ollama:a/b/c",
                                      "ollama:..",
                                      "ollama:name:",
                                      "ollama:name:a/b",
                                      "ollama:na me",
                                      "model.gguf",
                                      "",
                                      "ftp://example.org/m.gguf"}) {
    const auto parsed = parse_pull_source(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, ErrorCode::kInvalidArgument) << text;
    EXPECT_THAT(parsed.error().message, HasSubstr("expected")) << text;
  }
}

TEST(PullSource, OfAnotherGridIsItsAddressAndAName) {
  const auto parsed = parse_pull_source("gogrid:http://127.0.0.1:8081/smollm2-135m");
  ASSERT_TRUE(parsed) << parsed.error().message;
  const auto& grid = std::get<GridSource>(*parsed);
  EXPECT_EQ(grid.endpoint.text(), "http://127.0.0.1:8081/");
  EXPECT_EQ(grid.model, "smollm2-135m");
  for (const char* text :
       {"gogrid:", "gogrid:m", "gogrid:http://host", "gogrid:http://host/", "gogrid:http://host/..",
        "gogrid:http://host/a b", "gogrid:host/m", "gogrid:ftp://host/m"}) {
    const auto refused = parse_pull_source(text);
    ASSERT_FALSE(refused) << text;
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace gogrid
