// GET /admin/v1/models/{name} and its file: how another GoGrid fetches a model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/sha256.h"
#include "http/test_server.h"

namespace gogrid::testing {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;

const std::string kPath = "/admin/v1/models/of-library/file";

HttpReply ask(const std::string& path, const std::string& method = "GET",
              const std::string& headers = {}) {
  return TestServer::instance().connect().request(method, path, {}, headers);
}

class LibraryRoute : public ::testing::Test {
 protected:
  // Above what the framework reads into memory.
  static void SetUpTestSuite() {
    TestServer& server = TestServer::instance();
    write_tiny_model(server.state.path() / "large.gguf", {.n_embd = 256, .n_ff = 1024});
    const auto entry = server.library.import_file(server.state.path() / "large.gguf", "of-library");
    ASSERT_TRUE(entry) << entry.error().message;
    entry_ = *entry;
    content_ = read_file(entry_.path, kGiB).value();
    ASSERT_GT(content_.size(), kMiB);
  }

  static inline ModelEntry entry_;
  static inline std::string content_;
};

TEST_F(LibraryRoute, SaysWhatAModelIs) {
  const auto reply = ask("/admin/v1/models/of-library");
  ASSERT_EQ(reply.status, 200) << reply.body;
  const Json model = Json::parse(reply.body);
  EXPECT_EQ(model["name"], "of-library");
  EXPECT_EQ(model["digest"], "sha256:" + entry_.digest);
  EXPECT_EQ(model["bytes"], content_.size());
  EXPECT_EQ(model["architecture"], "llama");
}

TEST_F(LibraryRoute, SendsTheWholeFile) {
  const auto reply = ask(kPath);
  ASSERT_EQ(reply.status, 200);
  EXPECT_TRUE(reply.body == content_);
  EXPECT_EQ(reply.header("etag"), "\"sha256:" + entry_.digest + "\"");
  EXPECT_EQ(reply.header("accept-ranges"), "bytes");
}

TEST_F(LibraryRoute, SendsThePartThatIsAskedFor) {
  const auto reply = ask(kPath, "GET", "Range: bytes=1000-700999\r\n");
  ASSERT_EQ(reply.status, 206);
  EXPECT_TRUE(reply.body == content_.substr(1000, 700'000));
  EXPECT_EQ(reply.header("content-range"), "bytes 1000-700999/" + std::to_string(content_.size()));
  const auto end = ask(kPath, "GET", "Range: bytes=-5\r\n");
  EXPECT_EQ(end.status, 206);
  EXPECT_EQ(end.body, content_.substr(content_.size() - 5));
}

TEST_F(LibraryRoute, SendsTheWholeInPlaceOfAPartOfAnotherVersion) {
  const auto other = ask(kPath, "GET", "Range: bytes=0-9\r\nIf-Range: \"sha256:0\"\r\n");
  EXPECT_EQ(other.status, 200);
  EXPECT_EQ(other.body.size(), content_.size());
  const auto same =
      ask(kPath, "GET", "Range: bytes=0-9\r\nIf-Range: \"sha256:" + entry_.digest + "\"\r\n");
  EXPECT_EQ(same.status, 206);
}

TEST_F(LibraryRoute, RefusesRangesNamesAndMethodsThatAreNone) {
  const auto beyond =
      ask(kPath, "GET", "Range: bytes=" + std::to_string(content_.size()) + "-\r\n");
  EXPECT_EQ(beyond.status, 416);
  EXPECT_EQ(beyond.header("content-range"), "bytes */" + std::to_string(content_.size()));
  for (const char* path :
       {"/admin/v1/models/of-librar", "/admin/v1/models/of-librar/file", "/admin/v1/models//file"})
    EXPECT_EQ(ask(path).status, 404) << path;
  for (const char* path :
       {"/admin/v1/models/..%2f..%2fpolicy.json/file", "/admin/v1/models/../policy.json/file"})
    EXPECT_EQ(ask(path).status, 400) << path << ": names are no paths";
  EXPECT_THAT(ask("/admin/v1/models/of-librar").body, HasSubstr("of-library")) << "the nearest";
  EXPECT_EQ(ask(kPath, "POST").status, 405);
}

TEST_F(LibraryRoute, OfAHeadSendsNoBytes) {
  HttpClient client = TestServer::instance().connect();
  client.send("HEAD " + kPath +
              " HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\n"
              "Host: localhost\r\n\r\n");
  const auto head = client.receive(true);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.header("etag"), "\"sha256:" + entry_.digest + "\"");
  EXPECT_EQ(client.receive().body, R"({"status":"alive"})");
}

TEST_F(LibraryRoute, OthersAreAnsweredWhileAClientReadsSlowly) {
  HttpClient slow = TestServer::instance().connect(4096);
  slow.send_request("GET", kPath);
  EXPECT_EQ(ask("/healthz").status, 200);
  EXPECT_TRUE(slow.receive().body == content_);
}

TEST_F(LibraryRoute, SendsAtMostSoManyFilesAtOnce) {
  std::vector<HttpClient> slow;
  for (int i = 0; i < 4; ++i) {
    slow.push_back(TestServer::instance().connect(4096));
    slow.back().send_request("GET", kPath);
    ASSERT_EQ(slow.back().receive_head().status, 200);
  }
  EXPECT_EQ(ask(kPath).status, 503);
  slow.clear();
  EXPECT_TRUE(eventually([&] { return ask(kPath).status == 200; }));
}

TEST_F(LibraryRoute, ABeginningThatAPauseMeetsGoesOnAfterIt) {
  Governor& governor = TestServer::instance().governor();
  HttpClient slow = TestServer::instance().connect(4096);
  slow.send_request("GET", kPath);
  ASSERT_EQ(slow.receive_head().status, 200);
  governor.pause(PauseReason::kOperator, "a film", {});
  std::string body;
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    EXPECT_LT(body.size(), content_.size());
    governor.resume(PauseReason::kOperator);
  });
  later.join();
  while (auto piece = slow.receive_piece()) {
    if (piece->empty()) break;
    body += *piece;
  }
  EXPECT_TRUE(body == content_);
}

TEST_F(LibraryRoute, AModelWhoseFileIsGoneIsNotFound) {
  TestServer& server = TestServer::instance();
  write_tiny_model(server.state.path() / "gone.gguf", {.n_layers = 3});
  const auto entry = server.library.import_file(server.state.path() / "gone.gguf", "gone");
  ASSERT_TRUE(entry);
  std::filesystem::remove(entry->path);
  EXPECT_GE(ask("/admin/v1/models/gone/file").status, 400);
  EXPECT_EQ(ask(kPath).body.size(), content_.size()) << "others are there";
}

TEST_F(LibraryRoute, SendsNothingWhileWorkIsPaused) {
  Governor& governor = TestServer::instance().governor();
  governor.pause(PauseReason::kOperator, "lunch", {});
  const auto reply = ask(kPath);
  governor.resume(PauseReason::kOperator);
  EXPECT_EQ(reply.status, 503);
  EXPECT_THAT(reply.body, HasSubstr("lunch"));
  EXPECT_FALSE(reply.header("retry-after").empty());
  EXPECT_EQ(ask(kPath).status, 200);
}

}  // namespace
}  // namespace gogrid::testing
