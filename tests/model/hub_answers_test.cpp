#include "model/hub_answers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gogrid {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

const std::string kDigest(64, 'a');

std::string tree_refusal(std::string_view json) {
  const auto files = parse_tree_page(json, "hub");
  if (files) return "accepted";
  EXPECT_EQ(files.error().code, ErrorCode::kCorrupt);
  return files.error().message;
}

TEST(TreePage, GivesFilesWithTheDigestsOfLargeOnes) {
  const auto files = parse_tree_page(
      R"([{"type":"directory","oid":"x","size":0,"path":"sub"},)"
      R"({"type":"file","oid":"1234","size":12,"path":"README.md"},)"
      R"({"type":"file","oid":"5678","size":135,"path":"sub/m.gguf","lfs":{"oid":")" +
          kDigest + R"(","size":4096,"pointerSize":135},"xetHash":"y"}])",
      "hub");
  ASSERT_TRUE(files) << files.error().message;
  ASSERT_THAT(*files, SizeIs(2));
  EXPECT_EQ(files->at(0).path, "README.md");
  EXPECT_EQ(files->at(0).sha256, "");
  EXPECT_EQ(files->at(1).path, "sub/m.gguf");
  EXPECT_EQ(files->at(1).sha256, kDigest);
  EXPECT_EQ(files->at(1).size, 4096U) << "of the file, not of the pointer to it";
}

TEST(TreePage, IsBelievedOnlyAsFarAsItGoes) {
  EXPECT_THAT(tree_refusal(""), HasSubstr("hub: expected JSON"));
  EXPECT_THAT(tree_refusal("<html>"), HasSubstr("expected JSON"));
  EXPECT_THAT(tree_refusal(R"({"error":"x"})"), HasSubstr("a list of files"));
  EXPECT_THAT(tree_refusal("[1]"), HasSubstr("entries with a type"));
  EXPECT_THAT(tree_refusal(R"([{"type":"file","size":1}])"), HasSubstr("path"));
  EXPECT_THAT(tree_refusal(R"([{"type":"file","path":"a\u0007","size":1}])"), HasSubstr("path"));
  EXPECT_THAT(tree_refusal(R"([{"type":"file","path":"/etc/x","size":1}])"), HasSubstr("path"));
  EXPECT_THAT(tree_refusal(R"([{"type":"file","path":"a","size":-1}])"), HasSubstr("size"));
  EXPECT_THAT(tree_refusal(R"([{"type":"file","path":"a","size":1e9}])"), HasSubstr("size"));
  EXPECT_THAT(tree_refusal(R"([{"type":"file","path":"a","size":18446744073709551615}])"),
              HasSubstr("size"));
  EXPECT_THAT(tree_refusal(R"([{"type":"file","path":"a","size":1,"lfs":{"oid":"abc","size":1}}])"),
              HasSubstr("64 hexadecimal"));
  EXPECT_THAT(tree_refusal(R"([{"type":"file","path":"a","size":1,"lfs":7}])"),
              HasSubstr("64 hexadecimal"));
}

TEST(TreePage, IsBoundedBeforeItIsRead) {
  EXPECT_THAT(tree_refusal(std::string(100'000, '[')), HasSubstr("at most 16 levels"));
  EXPECT_THAT(tree_refusal(std::string(kMaxHubAnswer + 1, ' ')), HasSubstr("at most"));
  EXPECT_TRUE(parse_tree_page(R"([{"type":"x","a":"[[[[[[[[[[[[[[[[[[[[\"[[["}])", "hub"))
      << "brackets in texts are no nesting";
}

TEST(NextPage, IsFoundAmongTheLinks) {
  EXPECT_EQ(next_page(R"(<https://h/a?cursor=x>; rel="next")"), "https://h/a?cursor=x");
  EXPECT_EQ(next_page(R"(<https://h/1>; rel="prev", <https://h/2>; rel="next")"), "https://h/2");
  EXPECT_FALSE(next_page(R"(<https://h/1>; rel="prev")"));
  EXPECT_FALSE(next_page(""));
  EXPECT_FALSE(next_page("<<<>"));
}

std::string manifest(const std::string& layers) {
  return R"({"schemaVersion":2,"config":{"digest":"x"},"layers":[)" + layers + "]}";
}
std::string layer(const std::string& type, const std::string& digest, const std::string& size) {
  return R"({"mediaType":")" + type + R"(","digest":")" + digest + R"(","size":)" + size + "}";
}
const std::string kModel = "application/vnd.ollama.image.model";

TEST(RegistryManifest, NamesTheModelAmongItsLayers) {
  const auto blob =
      parse_registry_manifest(manifest(layer("application/vnd.ollama.image.license",
                                             "sha256:" + std::string(64, 'b'), "7") +
                                       "," + layer(kModel, "sha256:" + kDigest, "4096")),
                              "registry");
  ASSERT_TRUE(blob) << blob.error().message;
  EXPECT_EQ(blob->sha256, kDigest);
  EXPECT_EQ(blob->size, 4096U);
}

TEST(RegistryManifest, WithoutOneModelIsRefusedByName) {
  const auto refusal = [](const std::string& json) {
    const auto blob = parse_registry_manifest(json, "registry");
    return blob ? "accepted" : blob.error().message;
  };
  const std::string good = layer(kModel, "sha256:" + kDigest, "1");
  EXPECT_THAT(refusal(manifest("")), HasSubstr("expected a layer of type"));
  EXPECT_THAT(refusal(manifest(good + "," + good)), HasSubstr("in several"));
  EXPECT_THAT(
      refusal(manifest(layer("application/vnd.ollama.image.tensor", "sha256:" + kDigest, "1"))),
      HasSubstr("in several"));
  EXPECT_THAT(refusal(manifest(layer(kModel, "md5:abc", "1"))), HasSubstr("sha256:"));
  EXPECT_THAT(refusal(manifest(layer(kModel, "sha256:" + std::string(64, 'A'), "1"))),
              HasSubstr("sha256:"));
  EXPECT_THAT(refusal(manifest(layer(kModel, "sha256:" + kDigest, "0"))), HasSubstr("size"));
  EXPECT_THAT(refusal(manifest(layer(kModel, "sha256:" + kDigest, "-4"))), HasSubstr("size"));
  EXPECT_THAT(refusal("[]"), HasSubstr("a manifest with layers"));
  EXPECT_THAT(refusal(R"({"layers":{}})"), HasSubstr("a manifest with layers"));
  EXPECT_THAT(refusal(manifest("7")), HasSubstr("mediaType"));
}

}  // namespace
}  // namespace gogrid
