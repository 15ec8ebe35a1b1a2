// A whole pull against a server that does what bad servers and bad networks do.
#include "model/model_pull.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include "base/files.h"
#include "base/format.h"
#include "support/gguf_builder.h"
#include "support/hub_server.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::Contains;
using testing::GgufBuilder;
using ::testing::HasSubstr;
using testing::HubReply;
using testing::HubRequest;
using testing::HubServer;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::reply_with_file;
using testing::TemporaryFolder;

constexpr Bytes kPiece = 64 * kKiB;

std::string model_bytes(float seed) {
  GgufBuilder builder;
  builder.key_text("general.architecture", "toy").key_text("general.license", "mit");
  builder.floats("a.weight", {256, 400}, seed);
  return builder.build();
}

std::string digest_of(std::string_view content) {
  Sha256 hash;
  hash.update(content);
  return hash.finish();
}

bool is_download(const HubRequest& request) { return request.target.contains("/resolve/"); }

class ModelPullTest : public ::testing::Test {
 protected:
  // Answers everything that `misbehave` leaves to it as a good hub does.
  explicit ModelPullTest() {
    rules_.piece = kPiece;
    rules_.stall = milliseconds(300);
    rules_.stall_bytes = 1;
    rules_.save_every = milliseconds(0);
    rules_.worthwhile = kKiB;
    rules_.retry.tries = 4;
    rules_.retry.first_wait = milliseconds(1);
    rules_.retry.patience = milliseconds(0);
    hooks_.note = [this](std::string_view line) { notes_.emplace_back(line); };
  }

  HubReply good_reply(const HubRequest& request) const {
    if (request.target == "/api/models/o/r/tree/main?recursive=true") {
      HubReply reply;
      reply.body = format_text(
          R"([{{"type":"file","path":"m.Q8_0.gguf","size":130,"lfs":{{"oid":"{}","size":{}}}}}])",
          told_digest_, content_.size());
      return reply;
    }
    if (request.target == "/v2/library/toy/manifests/latest") {
      HubReply reply;
      reply.body = format_text(
          R"({{"layers":[{{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:{}","size":{}}}]}})",
          told_digest_, content_.size());
      return reply;
    }
    const bool file = request.target == "/o/r/resolve/main/m.Q8_0.gguf" ||
                      request.target == "/m.gguf" ||
                      request.target == "/v2/library/toy/blobs/sha256:" + told_digest_;
    if (file) return reply_with_file(request, content_, etag_);
    HubReply reply;
    reply.status = 404;
    return reply;
  }

  HubServer& server() {
    if (!server_) {
      server_ = std::make_unique<HubServer>([this](const HubRequest& request) {
        auto bad = misbehave_ ? misbehave_(request) : std::nullopt;
        return bad ? *std::move(bad) : good_reply(request);
      });
    }
    return *server_;
  }

  Result<PullReport> pull(const std::string& text = "hf:o/r", const std::string& name = "m") {
    auto library = ModelLibrary::open(folder_ / "models");
    const auto client = make_http_client();
    if (!library || !client) throw std::runtime_error("no library or client");
    PullEndpoints endpoints{server().url(), server().url()};
    const auto source = parse_pull_source(text);
    if (!source) return std::unexpected(source.error());
    std::optional<Credential> credential;
    if (!token_.empty())
      credential = make_credential(endpoint_of(*source, endpoints).value(), token_).value();
    const auto remote =
        resolve_source(**client, *source, endpoints, credential, rules_, hooks_, clock_);
    if (!remote) return std::unexpected(remote.error());
    return pull_model(*library, **client, *remote, name, credential, rules_, hooks_, clock_);
  }

  Error error_of(const std::string& text = "hf:o/r") {
    const auto report = pull(text);
    if (report) return {ErrorCode::kInternal, "it worked", {}, {}};
    return report.error();
  }

  // Three pieces are here, and no more came.
  void stop_in_the_middle(const std::string& text = "hf:o/r", const std::string& name = "m") {
    const auto asked = std::make_shared<std::atomic<int>>(0);
    misbehave_ = [asked](const HubRequest& request) -> std::optional<HubReply> {
      if (!request.range || request.range->size() == 1 || ++*asked <= 3) return std::nullopt;
      HubReply reply;
      reply.status = 404;
      return reply;
    };
    const std::uint32_t before = std::exchange(rules_.connections, 1);
    EXPECT_FALSE(pull(text, name));
    rules_.connections = before;
    misbehave_ = {};
  }
  // The model is in the library with the right bytes.
  void expect_here(const std::string& name = "m") {
    const auto library = ModelLibrary::open(folder_ / "models");
    const auto entry = library->find(name);
    ASSERT_TRUE(entry) << entry.error().message;
    EXPECT_EQ(entry->digest, digest_of(content_));
    EXPECT_TRUE(library->verify(name));
  }
  std::vector<std::string> incoming() const {
    std::vector<std::string> names;
    std::error_code error;
    for (const auto& entry :
         std::filesystem::directory_iterator(folder_ / "models" / "incoming", error))
      names.push_back(entry.path().filename());
    return names;
  }
  std::size_t downloads() {
    const auto requests = server().requests();
    return static_cast<std::size_t>(std::ranges::count_if(requests, is_download));
  }

  const TemporaryFolder folder_;
  const SteadyClock clock_;
  std::string content_ = model_bytes(1);
  std::string told_digest_ = digest_of(content_);
  std::string etag_ = "\"v1\"";
  std::string token_;
  PullRules rules_;
  PullHooks hooks_;
  std::vector<std::string> notes_;
  std::function<std::optional<HubReply>(const HubRequest&)> misbehave_;
  std::unique_ptr<HubServer> server_;
};

TEST_F(ModelPullTest, FetchesSeveralPartsAtOnceAndLeavesNothingBehind) {
  misbehave_ = [&](const HubRequest& request) {
    HubReply reply = good_reply(request);
    reply.rate = is_download(request) ? 4 * kMiB : 0;
    return std::optional(reply);
  };
  const auto report = pull();
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->fetched, content_.size());
  EXPECT_EQ(report->kept, 0U);
  EXPECT_EQ(report->entry.license, "mit");
  expect_here();
  EXPECT_THAT(incoming(), IsEmpty());
  EXPECT_GE(server().most_at_once(), 2);
  EXPECT_LE(server().most_at_once(), 4);
  EXPECT_EQ(downloads(), (content_.size() + kPiece - 1) / kPiece);
}

TEST_F(ModelPullTest, ReadsARegistryAndAnAddress) {
  ASSERT_TRUE(pull("ollama:toy", "from-registry"));
  expect_here("from-registry");
  ASSERT_TRUE(pull(server().url() + "/m.gguf", "from-address"));
  expect_here("from-address");
}

TEST_F(ModelPullTest, ReadsAllPagesOfARepository) {
  misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
    if (!request.target.ends_with("recursive=true")) {
      if (!request.target.ends_with("page2")) return std::nullopt;
      HubRequest first = request;
      first.target = "/api/models/o/r/tree/main?recursive=true";
      return good_reply(first);
    }
    HubReply reply;
    reply.body = R"([{"type":"file","path":"README.md","size":1}])";
    reply.headers = {"Link: <" + server().url() + "/page2>; rel=\"next\""};
    return reply;
  };
  EXPECT_TRUE(pull());
  expect_here();
}

// --- the network

TEST_F(ModelPullTest, GoesOnWhereConnectionsAreCut) {
  misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
    HubReply reply = good_reply(request);
    if (is_download(request)) reply.cut_after = 20'000;
    return reply;
  };
  const auto report = pull();
  ASSERT_TRUE(report) << report.error().message;
  expect_here();
  EXPECT_EQ(report->fetched, content_.size()) << "no byte twice";
  EXPECT_GT(downloads(), content_.size() / 20'000);
}

TEST_F(ModelPullTest, GivesUpWhereNothingEverComes) {
  misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
    HubReply reply = good_reply(request);
    if (is_download(request)) reply.cut_after = 0;
    return reply;
  };
  const Error error = error_of();
  EXPECT_EQ(error.code, ErrorCode::kUnavailable);
  EXPECT_THAT(error.message, HasSubstr("expected bytes 0-65535 from"));
  EXPECT_EQ(downloads(), 4U) << "as many tries as were allowed";
}

TEST_F(ModelPullTest, GivesUpConnectionsThatStallAndTriesAgain) {
  std::atomic<int> stalls = 0;
  misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
    HubReply reply = good_reply(request);
    if (is_download(request) && ++stalls <= 2) reply.stall_after = 10'000;
    return reply;
  };
  const auto report = pull();
  ASSERT_TRUE(report) << report.error().message;
  expect_here();
  EXPECT_EQ(report->fetched, content_.size());
}

TEST_F(ModelPullTest, ASlowServerIsNoStall) {
  rules_.connections = 1;
  rules_.stall = milliseconds(150);
  misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
    HubReply reply = good_reply(request);
    if (is_download(request)) reply.rate = 600'000;  // 0.7 s for all, 27 ms a portion
    return reply;
  };
  EXPECT_TRUE(pull());
  EXPECT_EQ(downloads(), (content_.size() + kPiece - 1) / kPiece);
}

TEST_F(ModelPullTest, AServerThatDripsIsAStall) {
  rules_.stall_bytes = 48 * kKiB;
  std::atomic<int> drips = 0;
  misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
    HubReply reply = good_reply(request);
    if (is_download(request) && ++drips <= 4) reply.rate = 40'000;  // 12 KB in 300 ms
    return reply;
  };
  const auto report = pull();
  ASSERT_TRUE(report) << report.error().message;
  expect_here();
  EXPECT_GT(downloads(), (content_.size() + kPiece - 1) / kPiece) << "the dripping were given up";
}

TEST_F(ModelPullTest, AListThatDripsIsAskedForAgain) {
  rules_.stall_bytes = 64 * kKiB;
  std::atomic<int> asked = 0;
  misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
    HubReply reply = good_reply(request);
    if (!request.target.starts_with("/api") || ++asked > 1) return reply;
    reply.body += std::string(200'000, ' ');
    reply.rate = 80'000;
    return reply;
  };
  EXPECT_TRUE(pull());
  EXPECT_EQ(asked, 2);
}

TEST_F(ModelPullTest, NamesAServerThatStallsForever) {
  rules_.retry.tries = 2;
  misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
    HubReply reply = good_reply(request);
    if (is_download(request)) reply.stall_after = 0;
    return reply;
  };
  EXPECT_THAT(error_of().message, AllOf(HasSubstr("in 300 ms"), HasSubstr("0 bytes came")));
}

TEST_F(ModelPullTest, ANetworkThatComesBackWithinMinutesFindsItStillTrying) {
  rules_.connections = 1;
  rules_.retry.tries = 2;
  rules_.retry.first_wait = milliseconds(20);
  rules_.retry.longest_wait = milliseconds(20);
  rules_.retry.patience = std::chrono::seconds(60);
  std::atomic<int> asked = 0;
  misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
    if (!is_download(request)) return std::nullopt;
    const int which = ++asked;
    if (which <= 3 || which > 12) return std::nullopt;
    HubReply reply = good_reply(request);
    reply.cut_after = 0;
    return reply;
  };
  const auto report = pull();
  ASSERT_TRUE(report) << report.error().message;
  expect_here();
  EXPECT_EQ(std::ranges::count_if(
                notes_, [](const std::string& note) { return note.contains("keeps trying for"); }),
            1)
      << "said once";
  asked = 4;  // never a byte: the few tries are all
  content_ = model_bytes(2);
  told_digest_ = digest_of(content_);
  const auto never = pull("hf:o/r", "other");
  ASSERT_FALSE(never);
  EXPECT_EQ(asked, 6);
}

TEST_F(ModelPullTest, AListThatStallsIsAskedForAgain) {
  std::atomic<int> asked = 0;
  misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
    HubReply reply = good_reply(request);
    if (request.target.starts_with("/api") && ++asked == 1) reply.stall_after = 10;
    return reply;
  };
  EXPECT_TRUE(pull());
}

TEST_F(ModelPullTest, HoldsTheRate) {
  rules_.rate = 800'000;
  const TimePoint begin = clock_.now();
  ASSERT_TRUE(pull());
  const std::chrono::duration<double> took = clock_.now() - begin;
  EXPECT_GE(took.count(), 0.35) << "410 KB at 800 KB/s, the first portion at once";
}

// --- redirects and tokens

TEST_F(ModelPullTest, FollowsARedirectButTheTokenStays) {
  token_ = "hf_secret";
  HubServer cdn([&](const HubRequest& request) { return reply_with_file(request, content_); });
  misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
    if (!is_download(request)) return std::nullopt;
    HubReply reply;
    reply.status = 302;
    reply.headers = {"Location: " + cdn.url() + "/blob?signature=x"};
    return reply;
  };
  const auto report = pull();
  ASSERT_TRUE(report) << report.error().message;
  expect_here();
  for (const HubRequest& request : server().requests())
    EXPECT_EQ(request.headers.at("authorization"), "Bearer hf_secret");
  ASSERT_FALSE(cdn.requests().empty());
  for (const HubRequest& request : cdn.requests())
    EXPECT_FALSE(request.headers.contains("authorization"));
}

TEST_F(ModelPullTest, ASignedAddressThatExpiredIsFetchedAnew) {
  std::atomic<int> asked = 0;
  HubServer cdn([&](const HubRequest& request) {
    HubReply reply = reply_with_file(request, content_);
    if (++asked == 2) {
      reply = {};
      reply.status = 403;
    }
    return reply;
  });
  misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
    if (!is_download(request)) return std::nullopt;
    HubReply reply;
    reply.status = 307;
    reply.headers = {"Location: " + cdn.url() + "/blob"};
    return reply;
  };
  EXPECT_TRUE(pull());
  expect_here();
}

TEST_F(ModelPullTest, EndsACircleOfRedirects) {
  misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
    if (!is_download(request)) return std::nullopt;
    HubReply reply;
    reply.status = 302;
    reply.headers = {"Location: " + request.target};
    return reply;
  };
  EXPECT_THAT(error_of().message, HasSubstr("after 5 redirects"));
  EXPECT_EQ(downloads(), 6U);
}

TEST_F(ModelPullTest, DoesNotFollowToWhatIsNoHttps) {
  for (const char* location :
       {"http://example.org/x", "file:///etc/passwd", "ftp://example.org/x", ""}) {
    misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
      if (!is_download(request)) return std::nullopt;
      HubReply reply;
      reply.status = 302;
      reply.headers = {std::string("Location: ") + location};
      return reply;
    };
    EXPECT_THAT(error_of().message, HasSubstr("[url] expected")) << location;
  }
}

// --- answers that are lies

TEST_F(ModelPullTest, RefusesLengthsThatDoNotFit) {
  const std::vector<std::function<void(HubReply&)>> lies{
      [](HubReply& reply) { reply.length = "999999"; }, [](HubReply& reply) { reply.length = "1"; },
      [](HubReply& reply) { reply.headers.back() = "Content-Range: bytes 0-65535/999999"; },
      [](HubReply& reply) { reply.headers.back() = "Content-Range: bytes 1-65536/409760"; },
      [](HubReply& reply) { reply.headers.back() = "Content-Range: nonsense"; },
      [](HubReply& reply) { reply.headers.pop_back(); },
      // No length at all, and more than was asked for.
      [](HubReply& reply) {
        reply.length = "";
        reply.body += "more";
      }};
  for (std::size_t i = 0; i < lies.size(); ++i) {
    misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
      HubReply reply = good_reply(request);
      if (is_download(request)) lies[i](reply);
      return reply;
    };
    const Error error = error_of();
    EXPECT_EQ(error.code, ErrorCode::kUnavailable) << i << ": " << error.message;
    EXPECT_THAT(error.message, HasSubstr("expected")) << i;
  }
  misbehave_ = {};
  EXPECT_TRUE(pull());
  expect_here();
}

TEST_F(ModelPullTest, ThrowsAwayWhatHasAnotherDigest) {
  const std::string right = content_;
  content_[content_.size() - 1] = static_cast<char>(content_.back() ^ 1);
  const Error error = error_of();
  EXPECT_EQ(error.code, ErrorCode::kCorrupt);
  EXPECT_THAT(error.message,
              AllOf(HasSubstr("expected SHA-256 " + told_digest_), HasSubstr(digest_of(content_))));
  EXPECT_THAT(incoming(), IsEmpty());
  EXPECT_THAT(ModelLibrary::open(folder_ / "models")->list(), IsEmpty());
  content_ = right;
  EXPECT_TRUE(pull());
  expect_here();
}

TEST_F(ModelPullTest, KnowsAPageInPlaceOfAModelAfterItsFirstBytes) {
  content_ = "<html>" + std::string(8 * kMiB, ' ');
  told_digest_ = digest_of(content_);
  rules_.connections = 1;
  misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
    HubReply reply = good_reply(request);
    if (is_download(request)) reply.rate = 16 * kMiB;
    return reply;
  };
  const Error error = error_of();
  EXPECT_EQ(error.code, ErrorCode::kCorrupt);
  EXPECT_THAT(error.message, HasSubstr("expected a GGUF file"));
  EXPECT_LT(server().body_bytes(), kMiB);
  EXPECT_THAT(incoming(), IsEmpty());
}

TEST_F(ModelPullTest, AHeaderThatCannotBeReadHereEndsItBeforeTheRestCame) {
  GgufBuilder builder;
  builder.key_text("general.architecture", "toy").key_u32("split.count", 2);
  builder.key_u32("split.no", 0);
  builder.floats("a.weight", {1024, 2048});
  content_ = builder.build();
  told_digest_ = digest_of(content_);
  misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
    HubReply reply = good_reply(request);
    if (is_download(request)) reply.rate = 4 * kMiB;
    return reply;
  };
  const Error error = error_of();
  EXPECT_EQ(error.code, ErrorCode::kUnsupported) << error.message;
  EXPECT_LT(server().body_bytes(), content_.size() / 2);
  EXPECT_THAT(incoming(), IsEmpty());
}

TEST_F(ModelPullTest, WhatIsNoModelDoesNotGetIn) {
  content_ = "GGUF" + std::string(100'000, '\xFF');
  told_digest_ = digest_of(content_);
  const Error error = error_of();
  EXPECT_EQ(error.code, ErrorCode::kUnsupported) << "of that version";
  EXPECT_THAT(ModelLibrary::open(folder_ / "models")->list(), IsEmpty());
  EXPECT_THAT(incoming(), IsEmpty());
}

TEST_F(ModelPullTest, NoticesThatAnAddressHasAnotherVersionNow) {
  std::atomic<int> asked = 0;
  misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
    if (++asked == 3) etag_ = "\"v2\"";
    return reply_with_file(request, content_, etag_);
  };
  rules_.connections = 1;
  const Error error = error_of(server().url() + "/m.gguf");
  EXPECT_EQ(error.code, ErrorCode::kUnavailable);
  EXPECT_THAT(error.message,
              AllOf(HasSubstr("version \"v1\""), HasSubstr("\"v2\", as if it had changed")));
  const auto report = pull(server().url() + "/m.gguf");
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->kept, 0U) << "it was told again";
  expect_here();
}

TEST_F(ModelPullTest, OneAnswerOfAnotherVersionCostsNothing) {
  const std::string text = server().url() + "/m.gguf";
  std::atomic<int> asked = 0;
  const auto another_version_at = [&](int which) {
    asked = 0;
    misbehave_ = [&, which](const HubRequest& request) -> std::optional<HubReply> {
      return reply_with_file(request, content_, ++asked == which ? "\"other-node\"" : etag_);
    };
  };
  another_version_at(4);
  const auto report = pull(text);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->fetched, content_.size()) << "while it is fetched";
  expect_here();
  content_ = model_bytes(2);
  etag_ = "\"v2\"";
  stop_in_the_middle(text, "other");
  another_version_at(1);
  const auto again = pull(text, "other");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->kept, 3 * kPiece) << "when it is asked for";
  expect_here("other");
}

TEST_F(ModelPullTest, RefusesEncodingsAndEndlessHeads) {
  misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
    HubReply reply = good_reply(request);
    if (is_download(request)) reply.headers.push_back("Content-Encoding: br");
    return reply;
  };
  EXPECT_THAT(error_of().message, HasSubstr("encoded as br"));
  misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
    HubReply reply = good_reply(request);
    for (int i = 0; i < 100; ++i) reply.headers.push_back("X-Filler: " + std::string(1000, 'x'));
    return reply;
  };
  EXPECT_THAT(error_of().message, HasSubstr("head of the answer is too large"));
}

TEST_F(ModelPullTest, RefusesAnEndlessList) {
  misbehave_ = [&](const HubRequest&) -> std::optional<HubReply> {
    HubReply reply;
    reply.body = std::string(5 * kMiB, ' ');
    reply.length = "";
    return reply;
  };
  EXPECT_EQ(error_of().code, ErrorCode::kTooLarge);
  EXPECT_LT(server().body_bytes(), 6 * kMiB);
}

// --- refusals

TEST_F(ModelPullTest, SaysWhatToDoAboutRefusals) {
  const auto with_status = [&](int status) {
    misbehave_ = [=, this](const HubRequest& request) -> std::optional<HubReply> {
      if (!is_download(request)) return std::nullopt;
      HubReply reply;
      reply.status = status;
      reply.body = "no";
      return reply;
    };
    return error_of();
  };
  EXPECT_THAT(with_status(401).message, HasSubstr("--token-file FILE"));
  EXPECT_EQ(with_status(403).code, ErrorCode::kPermissionDenied);
  EXPECT_EQ(with_status(404).code, ErrorCode::kNotFound);
  EXPECT_THAT(with_status(416).message, HasSubstr("not as long as it was said"));
  EXPECT_THAT(with_status(204).message, HasSubstr("HTTP status 204"));
  const std::size_t before = downloads();
  EXPECT_EQ(with_status(500).code, ErrorCode::kUnavailable);
  EXPECT_EQ(downloads() - before, 4U);
}

TEST_F(ModelPullTest, NamesTheNearestFile) {
  EXPECT_THAT(error_of("hf:o/r:m.Q8_1.gguf").message, HasSubstr("did you mean m.Q8_0.gguf"));
  EXPECT_EQ(error_of("hf:o/absent").code, ErrorCode::kNotFound);
}

TEST_F(ModelPullTest, AServerThatFailsForAWhileIsAskedAgain) {
  std::mutex mu;
  std::set<std::string> refused;
  misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
    const std::string range = request.range ? std::to_string(request.range->first) : "";
    const std::lock_guard lock(mu);
    if (!refused.insert(request.target + range).second) return std::nullopt;
    HubReply reply = good_reply(request);
    reply.status = 503;
    return reply;
  };
  EXPECT_TRUE(pull());
  expect_here();
}

TEST_F(ModelPullTest, WaitsAsLongAsItIsAskedTo) {
  std::atomic<int> asked = 0;
  std::atomic<TimePoint> refused;
  std::atomic<TimePoint> asked_again;
  misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
    if (!is_download(request)) return std::nullopt;
    if (++asked == 2) asked_again = clock_.now();
    if (asked > 1) return std::nullopt;
    HubReply reply;
    reply.status = 429;
    reply.headers = {"Retry-After: 1"};
    refused = clock_.now();
    return reply;
  };
  ASSERT_TRUE(pull());
  EXPECT_GE(asked_again.load() - refused.load(), std::chrono::seconds(1));
}

TEST_F(ModelPullTest, DoesNotWaitForHours) {
  misbehave_ = [&](const HubRequest&) -> std::optional<HubReply> {
    HubReply reply;
    reply.status = 429;
    reply.headers = {"Retry-After: 7200"};
    return reply;
  };
  const Error error = error_of();
  EXPECT_EQ(error.code, ErrorCode::kUnavailable);
  EXPECT_THAT(error.message, HasSubstr("7200 s"));
  EXPECT_EQ(error.retry_after, std::chrono::hours(2));
}

// --- servers without parts

TEST_F(ModelPullTest, TakesAWholeFileFromAServerWithoutParts) {
  misbehave_ = [&](HubRequest request) -> std::optional<HubReply> {
    request.range.reset();
    return good_reply(request);
  };
  const auto report = pull();
  ASSERT_TRUE(report) << report.error().message;
  expect_here();
  EXPECT_THAT(notes_, Contains(HasSubstr("whole files only")));
}

TEST_F(ModelPullTest, WithoutPartsACutMeansAllAgainButNotForever) {
  std::atomic<int> cuts = 0;
  misbehave_ = [&](HubRequest request) -> std::optional<HubReply> {
    request.range.reset();
    HubReply reply = good_reply(request);
    if (is_download(request) && ++cuts <= 3) reply.cut_after = 100'000;
    return reply;
  };
  const auto report = pull();
  ASSERT_TRUE(report) << report.error().message;
  expect_here();
  misbehave_ = [&](HubRequest request) -> std::optional<HubReply> {
    request.range.reset();
    HubReply reply = good_reply(request);
    if (is_download(request)) reply.cut_after = 100'000;
    return reply;
  };
  content_ = model_bytes(2);
  told_digest_ = digest_of(content_);
  const auto never = pull("hf:o/r", "other");
  ASSERT_FALSE(never);
  EXPECT_EQ(never.error().code, ErrorCode::kUnavailable);
}

TEST_F(ModelPullTest, OneWholeAnswerAmongPartsCostsNothing) {
  std::atomic<int> asked = 0;
  misbehave_ = [&](HubRequest request) -> std::optional<HubReply> {
    if (!is_download(request) || ++asked != 3) return std::nullopt;
    HubReply page;
    page.body = "<html>busy</html>";
    page.length = "";
    return page;
  };
  const auto report = pull();
  ASSERT_TRUE(report) << report.error().message;
  expect_here();
  EXPECT_EQ(report->fetched, content_.size()) << "no byte twice";
  EXPECT_THAT(notes_, Not(Contains(HasSubstr("whole files only"))));
}

TEST_F(ModelPullTest, WhatIsKeptStaysWhenTheServerSendsWholeFilesOnlyFromNowOn) {
  stop_in_the_middle();
  misbehave_ = [&](HubRequest request) -> std::optional<HubReply> {
    request.range.reset();
    HubReply reply = good_reply(request);
    // It ends before it comes to what is not here, the first time.
    if (is_download(request) && downloads() < 8) reply.cut_after = 10'000;
    return reply;
  };
  const auto report = pull();
  ASSERT_TRUE(report) << report.error().message;
  expect_here();
  EXPECT_EQ(report->kept, 3 * kPiece);
  EXPECT_THAT(notes_, Contains(HasSubstr("whole files only")));
}

TEST_F(ModelPullTest, APageInPlaceOfTheFileCostsNothingOfWhatIsKept) {
  stop_in_the_middle();
  misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
    if (!is_download(request)) return std::nullopt;
    HubReply page;
    page.body = "<html>" + std::string(500'000, 'x');
    page.length = "";
    return page;
  };
  EXPECT_EQ(error_of().code, ErrorCode::kUnavailable);
  misbehave_ = {};
  const auto report = pull();
  ASSERT_TRUE(report) << report.error().message;
  expect_here();
  EXPECT_EQ(report->kept, 3 * kPiece);
}

// --- stopping, resuming, sharing

TEST_F(ModelPullTest, GoesOnWhereItWasStopped) {
  std::stop_source stop;
  hooks_.stop = stop.get_token();
  hooks_.progress = [&](Bytes done, Bytes total) {
    if (done > total / 2) stop.request_stop();
    return true;
  };
  misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
    HubReply reply = good_reply(request);
    if (is_download(request)) reply.rate = 500'000;
    return reply;
  };
  const auto stopped = pull();
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, ErrorCode::kCancelled);
  EXPECT_THAT(stopped.error().message, HasSubstr("the same command goes on there"));
  hooks_ = {};
  const auto report = pull();
  ASSERT_TRUE(report) << report.error().message;
  expect_here();
  EXPECT_GT(report->kept, content_.size() / 2);
  EXPECT_EQ(report->kept + report->fetched, content_.size());
}

TEST_F(ModelPullTest, KeepsWhatCameWhenTheServerGivesOut) {
  std::atomic<int> asked = 0;
  misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
    if (!is_download(request) || ++asked <= 3) return std::nullopt;
    HubReply reply;
    reply.status = 404;
    return reply;
  };
  rules_.connections = 1;
  EXPECT_EQ(error_of().code, ErrorCode::kNotFound);
  misbehave_ = {};
  const auto report = pull();
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->kept, 3 * kPiece);
}

TEST_F(ModelPullTest, DamageOfWhatWasKeptIsFound) {
  std::atomic<int> asked = 0;
  misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
    if (!is_download(request) || ++asked <= 3) return std::nullopt;
    HubReply reply;
    reply.status = 404;
    return reply;
  };
  rules_.connections = 1;
  ASSERT_FALSE(pull());
  misbehave_ = {};
  const auto data = folder_ / "models" / "incoming" / ("sha256-" + told_digest_ + ".data");
  auto bytes = read_file(data, kGiB).value();
  bytes[kPiece] = static_cast<char>(bytes[kPiece] ^ 1);
  ASSERT_TRUE(write_file(data, bytes));
  EXPECT_EQ(error_of().code, ErrorCode::kCorrupt);
  EXPECT_TRUE(pull()) << "begins again";
  expect_here();
}

TEST_F(ModelPullTest, PausesBetweenChunks) {
  std::atomic<int> looks = 0;
  hooks_.keep_going = [&] { return ++looks < 3 || looks > 6; };
  misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
    HubReply reply = good_reply(request);
    if (is_download(request)) reply.rate = 2'000'000;
    return reply;
  };
  const TimePoint begin = clock_.now();
  const auto report = pull();
  ASSERT_TRUE(report) << report.error().message;
  expect_here();
  EXPECT_GE(clock_.now() - begin, milliseconds(600)) << "looked three times more, 0.2 s apart";
  EXPECT_THAT(notes_, Contains(HasSubstr("paused")));
  EXPECT_EQ(report->fetched, content_.size()) << "no byte twice";
}

TEST_F(ModelPullTest, CanBeStoppedWhilePaused) {
  std::stop_source stop;
  hooks_.stop = stop.get_token();
  hooks_.keep_going = [&] {
    stop.request_stop();
    return false;
  };
  EXPECT_EQ(error_of().code, ErrorCode::kCancelled);
}

TEST_F(ModelPullTest, TwoPullsOfOneFileShareIt) {
  for (const bool by_address : {false, true}) {
    const std::string text = by_address ? server().url() + "/m.gguf" : "hf:o/r";
    const std::string first_name = by_address ? "a3" : "a1";
    const std::string second_name = by_address ? "a4" : "a2";
    if (by_address) content_ = model_bytes(3);
    const Bytes before = server().body_bytes();
    std::atomic<bool> begun = false;
    misbehave_ = [&](const HubRequest& request) -> std::optional<HubReply> {
      HubReply reply = good_reply(request);
      if (request.range && request.range->size() > 1) {
        reply.rate = 500'000;
        begun = true;
      }
      return reply;
    };
    std::thread first([&] {
      const auto report = pull(text, first_name);
      EXPECT_TRUE(report) << report.error().message;
    });
    while (!begun) std::this_thread::yield();
    PullHooks own = hooks_;
    std::vector<std::string> second_notes;
    const auto second = [&] {
      auto library = ModelLibrary::open(folder_ / "models");
      const auto client = make_http_client();
      const PullEndpoints endpoints{server().url(), server().url()};
      own.note = [&](std::string_view line) { second_notes.emplace_back(line); };
      const auto remote = resolve_source(**client, parse_pull_source(text).value(), endpoints, {},
                                         rules_, own, clock_);
      return pull_model(*library, **client, *remote, second_name, {}, rules_, own, clock_);
    }();
    first.join();
    ASSERT_TRUE(second) << second.error().message;
    EXPECT_TRUE(second->was_here);
    EXPECT_EQ(second->fetched, 0U);
    EXPECT_THAT(second_notes, Contains(HasSubstr("waits for it")));
    expect_here(first_name);
    expect_here(second_name);
    EXPECT_LT(server().body_bytes() - before, content_.size() + 4096);
  }
}

TEST_F(ModelPullTest, WhatIsHereAlreadyIsNotFetched) {
  ASSERT_TRUE(pull("hf:o/r", "first"));
  const std::size_t before = downloads();
  const auto again = pull("hf:o/r", "first");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_TRUE(again->was_here);
  const auto renamed = pull("ollama:toy", "second");
  ASSERT_TRUE(renamed) << renamed.error().message;
  EXPECT_TRUE(renamed->was_here);
  expect_here("second");
  EXPECT_EQ(downloads(), before);
}

TEST_F(ModelPullTest, MendsAModelWhoseContentIsGone) {
  for (const std::string& text : {std::string("hf:o/r"), server().url() + "/m.gguf"}) {
    ASSERT_TRUE(pull(text));
    auto library = ModelLibrary::open(folder_ / "models");
    std::filesystem::remove(library->find("m")->path);
    const auto again = pull(text);
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_FALSE(again->was_here);
    expect_here();
    ASSERT_TRUE(library->remove("m"));
  }
}

TEST_F(ModelPullTest, LeftoversOfWhatIsHereAreRemoved) {
  for (const bool by_address : {false, true}) {
    const std::string text = by_address ? server().url() + "/m.gguf" : "hf:o/r";
    const std::string name = by_address ? "a" : "h";
    ASSERT_TRUE(pull(text, name));
    const std::vector<std::string> before = incoming();
    const std::string key =
        by_address ? before.front().substr(0, before.front().rfind('.')) : "sha256-" + told_digest_;
    const auto data = folder_ / "models" / "incoming" / (key + ".data");
    ASSERT_TRUE(write_file(data, content_));
    EXPECT_TRUE(pull(text, name)->was_here);
    EXPECT_EQ(incoming(), before) << "under its name";
    ASSERT_TRUE(write_file(data, content_));
    EXPECT_TRUE(pull(text, name + "2")->was_here);
    EXPECT_EQ(incoming(), before) << "under another name";
  }
}

TEST_F(ModelPullTest, OfAServerThatTellsNoVersionOnlyFetchingShowsWhetherItIsTheSame) {
  etag_.clear();
  misbehave_ = [&](const HubRequest& request) {
    HubReply reply = reply_with_file(request, content_, etag_);
    std::erase_if(reply.headers, [](const auto& line) { return line.starts_with("ETag"); });
    return std::optional(reply);
  };
  const std::string text = server().url() + "/m.gguf";
  ASSERT_TRUE(pull(text));
  const auto again = pull(text);
  ASSERT_TRUE(again) << again.error().message;
  expect_here();
  const std::string before = content_;
  content_.back() = static_cast<char>(content_.back() ^ 1);
  EXPECT_THAT(error_of(text).message, HasSubstr("already given to other content"));
  content_ = before;
  expect_here();
}

TEST_F(ModelPullTest, ANameInUseIsRefusedBeforeAnythingIsFetched) {
  ASSERT_TRUE(pull());
  content_ = model_bytes(2);
  told_digest_ = digest_of(content_);
  const std::size_t before = downloads();
  const Error error = error_of();
  EXPECT_EQ(error.code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(error.message, HasSubstr("--name"));
  EXPECT_EQ(downloads(), before);
}

}  // namespace
}  // namespace gogrid
