// A model in several files, fetched from a hub and made one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <thread>

#include "base/files.h"
#include "base/format.h"
#include "model/gguf_file.h"
#include "model/model_pull.h"
#include "support/gguf_builder.h"
#include "support/hub_server.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::EndsWith;
using testing::GgufBuilder;
using ::testing::HasSubstr;
using testing::HubReply;
using testing::HubRequest;
using testing::HubServer;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::TemporaryFolder;

constexpr std::array<std::string_view, 3> kTensors{"token_embd.weight", "blk.0.a.weight",
                                                   "output.weight"};

std::string digest_of(std::string_view content) {
  Sha256 hash;
  hash.update(content);
  return hash.finish();
}

std::string path_of(std::size_t i) { return format_text("q/toy-Q8_0-0000{}-of-00003.gguf", i + 1); }

// Part `i` of three, as llama-gguf-split writes them; it says that it is part `says`.
std::string part_bytes(std::size_t i, std::size_t says, std::string_view tensor) {
  GgufBuilder builder;
  if (i == 0) builder.key_text("general.architecture", "toy").key_text("general.license", "mit");
  builder.key("split.no", GgufBuilder::kU16, GgufBuilder::number(static_cast<std::uint16_t>(says)));
  builder.key("split.count", GgufBuilder::kU16, GgufBuilder::number(std::uint16_t{3}));
  builder.key("split.tensors.count", GgufBuilder::kI32, GgufBuilder::number(std::int32_t{3}));
  builder.floats(std::string(tensor), {256, 200}, static_cast<float>(100 * i));
  return builder.build();
}

class PartsPull : public ::testing::Test {
 protected:
  PartsPull() {
    rules_.piece = 64 * kKiB;
    rules_.save_every = milliseconds(0);
    rules_.retry.tries = 2;
    rules_.retry.first_wait = milliseconds(1);
    rules_.retry.patience = milliseconds(0);
    hooks_.note = [this](std::string_view line) { notes_.emplace_back(line); };
    for (std::size_t i = 0; i < parts_.size(); ++i) set_part(i, part_bytes(i, i, kTensors.at(i)));
  }
  void set_part(std::size_t i, std::string bytes) {
    digests_.at(i) = digest_of(bytes);
    parts_.at(i) = std::move(bytes);
  }
  Bytes size() const { return parts_[0].size() + parts_[1].size() + parts_[2].size(); }

  HubReply reply(const HubRequest& request) {
    HubReply reply;
    if (request.target.contains("/tree/")) {
      for (std::size_t i = parts_.size(); i-- > 0;) {  // in any order
        reply.body +=
            format_text(R"({}{{"type":"file","path":"{}","size":{}{}}})",
                        reply.body.empty() ? "[" : ",", path_of(i), parts_.at(i).size(),
                        digests_.at(i).empty() ? ""
                                               : format_text(R"(,"lfs":{{"oid":"{}","size":{}}})",
                                                             digests_.at(i), parts_.at(i).size()));
      }
      reply.body += "]";
      return reply;
    }
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      if (!request.target.ends_with(path_of(i))) continue;
      if (i == broken_) break;
      reply = testing::reply_with_file(request, parts_.at(i));
      reply.rate = rate_;
      return reply;
    }
    reply.status = 404;
    return reply;
  }
  HubServer& server() {
    if (!server_)
      server_ = std::make_unique<HubServer>([this](const HubRequest& r) { return reply(r); });
    return *server_;
  }
  Result<RemoteFile> resolve(HttpClient& client, const PullHooks& hooks,
                             const std::string& text = "hf:o/r") {
    const PullEndpoints endpoints{server().url(), server().url()};
    return resolve_source(client, parse_pull_source(text).value(), endpoints, {}, rules_, hooks,
                          clock_);
  }
  Result<PullReport> pull(const std::string& name, const PullHooks& hooks,
                          const std::string& text = "hf:o/r") {
    auto library = ModelLibrary::open(folder_ / "models").value();
    const auto client = make_http_client().value();
    const auto remote = resolve(*client, hooks, text);
    if (!remote) return std::unexpected(remote.error());
    return pull_model(library, *client, *remote, name, {}, rules_, hooks, clock_);
  }
  Result<PullReport> pull(const std::string& name = "toy") { return pull(name, hooks_); }
  Error error_of_pull() {
    const auto report = pull();
    return report ? Error{ErrorCode::kInternal, "it worked", {}, {}} : report.error();
  }
  std::vector<std::string> incoming() const {
    std::vector<std::string> names;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder_ / "models/incoming", error))
      names.push_back(entry.path().filename());
    return names;
  }
  void expect_whole_model(const std::string& name = "toy") {
    const auto library = ModelLibrary::open(folder_ / "models").value();
    const auto entry = library.find(name);
    ASSERT_TRUE(entry) << entry.error().message;
    EXPECT_EQ(entry->license, "mit");
    EXPECT_TRUE(library.verify(name));
    const GgufFile made = GgufFile::open(entry->path).value();
    EXPECT_EQ(made.find("split.count"), nullptr);
    ASSERT_EQ(made.tensors().size(), kTensors.size());
    for (std::size_t i = 0; i < kTensors.size(); ++i) {
      const auto part = GgufFile::parse(std::as_bytes(std::span(parts_.at(i))), "part").value();
      EXPECT_TRUE(std::ranges::equal(made.data(*made.tensor(kTensors.at(i))),
                                     part.data(*part.tensor(kTensors.at(i)))));
    }
  }

  const TemporaryFolder folder_;
  const SteadyClock clock_;
  std::array<std::string, 3> parts_;
  std::array<std::string, 3> digests_;
  std::size_t broken_ = 99;  // the part that cannot be had
  std::atomic<Bytes> rate_ = 0;
  PullRules rules_;
  PullHooks hooks_;
  std::vector<std::string> notes_;
  std::unique_ptr<HubServer> server_;
};

TEST_F(PartsPull, FetchesAllAndMakesOneFileOfThem) {
  Bytes last = 0;
  hooks_.progress = [&](Bytes done, Bytes total) {
    EXPECT_LE(done, total);
    if (total == size()) {
      EXPECT_GE(done, last);
      last = done;
    }
    return true;
  };
  const auto report = pull();
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->fetched, size());
  EXPECT_EQ(last, size());
  expect_whole_model();
  EXPECT_THAT(notes_, Contains(HasSubstr("all 3 parts are here")));
  EXPECT_THAT(incoming(), Not(Contains(EndsWith(".data")))) << "nor links, nor locks";
  EXPECT_LE(incoming().size(), 1U) << "what is known of the three";
}

TEST_F(PartsPull, GoesOnInThePartWhereItEnded) {
  broken_ = 1;
  EXPECT_FALSE(pull());
  EXPECT_THAT(incoming(), Contains("sha256-" + digests_[0] + ".data")) << "the first stays";
  broken_ = 99;
  const auto report = pull();
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->kept, parts_[0].size());
  EXPECT_EQ(report->fetched, parts_[1].size() + parts_[2].size());
  expect_whole_model();
}

TEST_F(PartsPull, WhatIsHereAlreadyIsNotFetched) {
  ASSERT_TRUE(pull());
  const Bytes before = server().body_bytes();
  const auto again = pull();
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_TRUE(again->was_here);
  const auto other = pull("other", hooks_, "hf:o/r:q8_0");
  ASSERT_TRUE(other) << other.error().message;
  EXPECT_TRUE(other->was_here);
  expect_whole_model("other");
  EXPECT_LT(server().body_bytes() - before, 4 * kKiB) << "lists alone";
}

TEST_F(PartsPull, LeftoversOfWhatIsHereAreRemoved) {
  ASSERT_TRUE(pull());
  const fs::path data = folder_ / "models/incoming" / ("sha256-" + digests_[1] + ".data");
  ASSERT_TRUE(write_file(data, parts_[1]));
  const auto again = pull();
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_TRUE(again->was_here);
  EXPECT_FALSE(fs::exists(data));
}

TEST_F(PartsPull, TwoPullsShareIt) {
  rate_ = 500'000;
  std::atomic<bool> begun = false;
  std::thread first([&] {
    PullHooks own;
    own.progress = [&](Bytes, Bytes) {
      begun = true;
      return true;
    };
    const auto report = pull("a", own);
    begun = true;
    EXPECT_TRUE(report) << report.error().message;
  });
  while (!begun) std::this_thread::yield();
  const auto second = pull("b");
  first.join();
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_TRUE(second->was_here);
  EXPECT_THAT(notes_, Contains(HasSubstr("waits for it")));
  expect_whole_model("a");
  expect_whole_model("b");
  EXPECT_LT(server().body_bytes(), size() + 8 * kKiB);
}

TEST_F(PartsPull, APartWithAnotherDigestIsThrownAwayAlone) {
  digests_[1] = std::string(64, 'a');
  const Error error = error_of_pull();
  EXPECT_EQ(error.code, ErrorCode::kCorrupt);
  EXPECT_THAT(error.message, AllOf(HasSubstr(path_of(1)), HasSubstr("SHA-256")));
  EXPECT_THAT(incoming(), AllOf(Contains("sha256-" + digests_[0] + ".data"),
                                Not(Contains("sha256-" + digests_[1] + ".data"))));
}

TEST_F(PartsPull, KnowsAPartInThePlaceOfAnotherByItsHeader) {
  set_part(1, part_bytes(1, 2, kTensors[1]));
  const Error error = error_of_pull();
  EXPECT_EQ(error.code, ErrorCode::kCorrupt);
  EXPECT_THAT(error.message, HasSubstr("expected part 2 of 3: it says it is part 3 of 3"));
}

TEST_F(PartsPull, PartsThatDoNotBelongTogetherAreThrownAway) {
  set_part(1, part_bytes(1, 1, kTensors[2]));  // a name twice
  const Error error = error_of_pull();
  EXPECT_EQ(error.code, ErrorCode::kCorrupt) << error.message;
  EXPECT_THAT(incoming(), IsEmpty());
}

TEST_F(PartsPull, RefusesPartsWhoseDigestNobodyTells) {
  digests_[2].clear();
  const Error error = error_of_pull();
  EXPECT_EQ(error.code, ErrorCode::kUnsupported) << error.message;
  EXPECT_THAT(error.message, AllOf(HasSubstr("SHA-256 of each"), HasSubstr(path_of(2))));
}

TEST_F(PartsPull, MakesTheOneFileOnlyWhileItMayWork) {
  std::atomic<bool> may = true;
  std::atomic<int> asked = 0;
  hooks_.progress = [&](Bytes, Bytes total) {
    if (total != size()) may = asked > 10;  // the files are here: now somebody needs the machine
    return true;
  };
  hooks_.keep_going = [&] {
    if (!may && ++asked > 3) may = true;
    return may.load();
  };
  const auto report = pull();
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_GT(asked, 3) << "it waited";
  expect_whole_model();
}

TEST_F(PartsPull, RefusesOneFileInTwoPlaces) {
  set_part(2, parts_[1]);
  const Error error = error_of_pull();
  EXPECT_EQ(error.code, ErrorCode::kCorrupt);
  EXPECT_THAT(error.message, AllOf(HasSubstr("parts that differ"), HasSubstr(digests_[1])));
}

TEST_F(PartsPull, ANameInUseIsRefusedBeforeAnythingIsFetched) {
  GgufBuilder builder;
  builder.key_text("general.architecture", "toy").floats("a.weight", {4, 4});
  ASSERT_TRUE(write_file(folder_ / "small.gguf", builder.build()));
  auto library = ModelLibrary::open(folder_ / "models").value();
  ASSERT_TRUE(library.import_file(folder_ / "small.gguf", "toy"));
  EXPECT_EQ(error_of_pull().code, ErrorCode::kInvalidArgument);
  EXPECT_LT(server().body_bytes(), 4 * kKiB);
}

TEST_F(PartsPull, WhatACrashLeftOfTheLinksIsInNobodysWay) {
  const auto client = make_http_client().value();
  const auto key = "parts-" + resolve(*client, hooks_).value().validator;
  const fs::path links = folder_ / "models/incoming" / (key + ".parts");
  fs::create_directories(links / "model-00001-of-00003.gguf");
  const auto report = pull();
  ASSERT_TRUE(report) << report.error().message;
  expect_whole_model();
  EXPECT_FALSE(fs::exists(links));
}

}  // namespace
}  // namespace gogrid
