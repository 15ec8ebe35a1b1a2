#include "model/remote_header.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <memory>

#include "model/gguf_file.h"
#include "support/gguf_builder.h"
#include "support/hub_server.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

using std::chrono::milliseconds;
using testing::GgufBuilder;
using ::testing::HasSubstr;
using testing::HubReply;
using testing::HubRequest;
using testing::HubServer;
using testing::reply_with_file;

// A header of about so many bytes before 8 MiB of weights.
std::string model_with_header(Bytes size) {
  GgufBuilder builder;
  builder.key_text("general.architecture", "toy");
  builder.key_text("general.description", std::string(size, 'd'));
  builder.tensor(
      {"a.weight", {1024, 2048}, GgufBuilder::kTensorF32, std::string(8 * kMiB, '\1'), {}, {}});
  return builder.build();
}

class RemoteHeader : public ::testing::Test {
 protected:
  RemoteHeader() {
    rules_.stall = milliseconds(300);
    rules_.stall_bytes = 1;
    rules_.retry.tries = 3;
    rules_.retry.first_wait = milliseconds(1);
    rules_.retry.patience = milliseconds(0);
  }

  Result<AtomicFile> fetch() {
    const auto client = make_http_client();
    const RemoteFile remote{.url = parse_url(server().url() + "/m.gguf").value(),
                            .source = "hf:o/r",
                            .name = "m.gguf",
                            .size = told_size_.value_or(content_.size()),
                            .sha256 = {},
                            .validator = {}};
    return fetch_header(**client, remote, folder_.path(), std::nullopt, rules_, {}, SteadyClock());
  }
  std::size_t files_left() const {
    const std::filesystem::directory_iterator files(folder_.path());
    return static_cast<std::size_t>(std::distance(begin(files), end(files)));
  }

  std::string content_ = model_with_header(1000);
  std::optional<Bytes> told_size_;
  std::optional<std::string> told_range_;  // in place of the true one
  std::function<HubReply(const HubRequest&)> reply_ = [this](const HubRequest& request) {
    HubReply reply = reply_with_file(request, content_);
    for (std::string& line : reply.headers) {
      if (told_range_ && line.starts_with("Content-Range")) line = *told_range_;
    }
    return reply;
  };
  PullRules rules_;
  const testing::TemporaryFolder folder_;
  // Begins when it is asked for first: what it answers is settled then.
  HubServer& server() {
    if (!server_) {
      server_ = std::make_unique<HubServer>(
          [this](const HubRequest& request) { return reply_(request); });
    }
    return *server_;
  }
  std::unique_ptr<HubServer> server_;  // last: uses all of the above
};

TEST_F(RemoteHeader, IsAllThatIsFetchedOfALargeFile) {
  const auto file = fetch();
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(server().body_bytes(), kMiB);
  const auto model = GgufFile::open(file->path());
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->file_size(), content_.size());
  EXPECT_EQ(model->tensor("a.weight")->size, 8 * kMiB);
  struct stat status{};
  ASSERT_EQ(::stat(file->path().c_str(), &status), 0);
  EXPECT_LE(static_cast<Bytes>(status.st_blocks) * 512, 2 * kMiB);  // the rest is a hole
}

TEST_F(RemoteHeader, OfManyPiecesIsFetchedUntilItIsWhole) {
  content_ = model_with_header(5 * kMiB);
  const auto file = fetch();
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(server().requests().size(), 3U);
  EXPECT_EQ(server().body_bytes(), 7 * kMiB);
  const auto model = GgufFile::open(file->path());
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->string_of("general.description")->size(), 5 * kMiB);
}

TEST_F(RemoteHeader, OfASmallFileIsTheWholeFile) {
  content_ = GgufBuilder().key_text("general.architecture", "toy").floats("a", {4}).build();
  const auto file = fetch();
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(server().body_bytes(), content_.size());
}

TEST_F(RemoteHeader, GoesWithItsOwner) {
  {
    const auto file = fetch();
    EXPECT_EQ(files_left(), 1U);
  }
  EXPECT_EQ(files_left(), 0U);
}

TEST_F(RemoteHeader, OfNoGgufIsRefusedAfterTheFirstPiece) {
  content_ = std::string(4 * kMiB, 'x');
  const auto file = fetch();
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(server().body_bytes(), kMiB);
  EXPECT_EQ(files_left(), 0U);
}

TEST_F(RemoteHeader, ThatEndsTooSoonIsDamage) {
  content_ = model_with_header(3 * kMiB).substr(0, 2 * kMiB);
  const auto file = fetch();
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, ErrorCode::kCorrupt) << file.error().message;
}

TEST_F(RemoteHeader, AServerThatKnowsNoPartsIsToldOfByName) {
  reply_ = [this](const HubRequest&) {
    HubReply reply;
    reply.body = content_;
    return reply;
  };
  const auto file = fetch();
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(file.error().message, HasSubstr("pull it to look at it"));
  EXPECT_LT(server().body_bytes(), content_.size());
}

TEST_F(RemoteHeader, OtherBytesThanWereAskedForAreRefused) {
  told_range_ = "Content-Range: bytes 1-1048576/9000000";
  const auto file = fetch();
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, ErrorCode::kUnsupported);
}

TEST_F(RemoteHeader, ASizeThatNoFileSystemHasIsAnError) {
  told_size_ = UINT64_MAX / 2;
  told_range_ = "Content-Range: bytes 0-1048575/*";
  const auto file = fetch();
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, ErrorCode::kIo) << file.error().message;
  EXPECT_EQ(files_left(), 0U);
}

TEST_F(RemoteHeader, ComesThroughAServerThatIsBusyAtFirst) {
  int asked = 0;
  reply_ = [this, &asked](const HubRequest& request) {
    if (++asked > 1) return reply_with_file(request, content_);
    HubReply reply;
    reply.status = 503;
    return reply;
  };
  EXPECT_TRUE(fetch());
  EXPECT_EQ(asked, 2);
}

}  // namespace
}  // namespace gogrid
