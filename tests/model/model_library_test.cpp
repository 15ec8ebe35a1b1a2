#include "model/model_library.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <thread>
#include <vector>

#include "base/files.h"
#include "model/model_manifest.h"
#include "support/gguf_builder.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using testing::GgufBuilder;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::TemporaryFolder;

std::string model_bytes(float seed, std::uint64_t rows = 4) {
  GgufBuilder builder;
  builder.key_text("general.architecture", "toy").key_text("general.license", "mit");
  builder.floats("a.weight", {4, rows}, seed);
  builder.tensor(
      {"b.weight", {32, 64}, GgufBuilder::kTensorQ8_0, std::string(64 * 34, 'q'), {}, {}});
  return builder.build();
}

std::string digest_of(std::string_view content) {
  Sha256 hash;
  hash.update(content);
  return hash.finish();
}

class ModelLibraryTest : public ::testing::Test {
 protected:
  fs::path file(const std::string& name, const std::string& content) {
    EXPECT_TRUE(write_file(folder_ / name, content));
    return folder_ / name;
  }
  ModelLibrary open() {
    auto library = ModelLibrary::open(folder_ / "models");
    if (!library) throw std::runtime_error(library.error().message);
    return *std::move(library);
  }
  std::size_t blobs() {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(folder_ / "models" / "blobs"), {}));
  }
  static std::vector<std::string> names(const ModelLibrary& library) {
    std::vector<std::string> found;
    for (const ModelEntry& entry : library.list()) found.push_back(entry.name);
    return found;
  }

  TemporaryFolder folder_;
};

TEST_F(ModelLibraryTest, RemembersWhatWasImported) {
  const std::string bytes = model_bytes(1);
  {
    ModelLibrary library = open();
    const auto entry = library.import_file(file("m.gguf", bytes), "my-model");
    ASSERT_TRUE(entry) << entry.error().message;
    fs::remove(folder_ / "m.gguf");
  }
  const ModelLibrary library = open();
  const auto entry = library.find("my-model");
  ASSERT_TRUE(entry) << entry.error().message;
  EXPECT_EQ(entry->name, "my-model");
  EXPECT_EQ(entry->digest, digest_of(bytes));
  EXPECT_EQ(entry->size, bytes.size());
  EXPECT_EQ(entry->architecture, "toy");
  EXPECT_EQ(entry->quantization, "q8_0");
  EXPECT_EQ(entry->license, "mit");
  EXPECT_GT(entry->imported_at, 1'600'000'000);
  EXPECT_TRUE(*read_file(entry->path, kMiB) == bytes);
  EXPECT_THAT(names(library), ElementsAre("my-model"));
  EXPECT_TRUE(library.verify("my-model"));
}

TEST_F(ModelLibraryTest, KeepsTheSameContentOnce) {
  ModelLibrary library = open();
  const fs::path path = file("m.gguf", model_bytes(1));
  ASSERT_TRUE(library.import_file(path, "b"));
  ASSERT_TRUE(library.import_file(path, "a"));
  EXPECT_EQ(blobs(), 1U);
  EXPECT_THAT(names(library), ElementsAre("a", "b"));
  ASSERT_TRUE(library.remove("a"));
  EXPECT_EQ(blobs(), 1U);
  EXPECT_TRUE(library.find("b"));
  ASSERT_TRUE(library.remove("b"));
  EXPECT_EQ(blobs(), 0U);
  EXPECT_THAT(names(library), IsEmpty());
}

TEST_F(ModelLibraryTest, KeepsDifferentContentOfTheSameSizeApart) {
  ModelLibrary library = open();
  ASSERT_TRUE(library.import_file(file("m1.gguf", model_bytes(1)), "one"));
  ASSERT_TRUE(library.import_file(file("m2.gguf", model_bytes(2)), "two"));
  EXPECT_EQ(library.find("one")->size, library.find("two")->size);
  EXPECT_NE(library.find("one")->digest, library.find("two")->digest);
  EXPECT_TRUE(*read_file(library.find("one")->path, kMiB) == model_bytes(1));
}

TEST_F(ModelLibraryTest, TakesTheSameImportTwice) {
  ModelLibrary library = open();
  const fs::path path = file("m.gguf", model_bytes(1));
  const auto first = library.import_file(path, "m");
  const auto second = library.import_file(path, "m");
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(second->imported_at, first->imported_at);
}

TEST_F(ModelLibraryTest, DoesNotGiveANameTwice) {
  ModelLibrary library = open();
  ASSERT_TRUE(library.import_file(file("m1.gguf", model_bytes(1)), "m"));
  const auto second = library.import_file(file("m2.gguf", model_bytes(2, 8)), "m");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(second.error().message, HasSubstr("already given"));
  EXPECT_EQ(blobs(), 1U) << "the refused copy is gone";
  EXPECT_TRUE(library.verify("m"));
}

TEST_F(ModelLibraryTest, AdoptsWhatCameWithoutCopyingIt) {
  ModelLibrary library = open();
  const std::string bytes = model_bytes(1);
  fs::create_directories(library.incoming());
  const fs::path came = library.incoming() / "came";
  ASSERT_TRUE(write_file(came, bytes));
  const auto entry = library.adopt_file(came, "m", digest_of(bytes));
  ASSERT_TRUE(entry) << entry.error().message;
  EXPECT_FALSE(fs::exists(came)) << "moved: the bytes have one name";
  EXPECT_EQ(fs::hard_link_count(entry->path), 1U);
  EXPECT_TRUE(library.verify("m"));
  EXPECT_EQ(library.find_digest(digest_of(bytes))->name, "m");
  EXPECT_FALSE(library.find_digest(std::string(64, '0')));
}

TEST_F(ModelLibraryTest, ACrashBeforeTheMoveCostsWhatCameNothing) {
  const std::string bytes = model_bytes(1);
  ModelLibrary library = open();
  fs::create_directories(library.incoming());
  const fs::path came = library.incoming() / "came";
  ASSERT_TRUE(write_file(came, bytes));
  const fs::path blob = library.adopt_file(came, "m", digest_of(bytes))->path;
  fs::rename(blob, came);  // as if it had not been moved yet
  ModelLibrary again = open();
  EXPECT_THAT(again.find("m").error().message, HasSubstr("pull or import it again"));
  EXPECT_TRUE(again.adopt_file(came, "m", digest_of(bytes)));
  EXPECT_TRUE(again.verify("m"));
}

TEST_F(ModelLibraryTest, DoesNotAdoptWhatIsNoModelOrHasNoNameLeft) {
  ModelLibrary library = open();
  fs::create_directories(library.incoming());
  const fs::path came = library.incoming() / "came";
  ASSERT_TRUE(write_file(came, "hello"));
  EXPECT_EQ(library.adopt_file(came, "m", digest_of("hello")).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(blobs(), 0U);
  ASSERT_TRUE(library.import_file(file("m.gguf", model_bytes(1)), "m"));
  ASSERT_TRUE(write_file(came, model_bytes(2)));
  EXPECT_EQ(library.adopt_file(came, "m", digest_of(model_bytes(2))).error().code,
            ErrorCode::kInvalidArgument);
  EXPECT_TRUE(fs::exists(came)) << "after an error it is where it was";
}

TEST_F(ModelLibraryTest, RefusesContentThatIsNotTheExpected) {
  ModelLibrary library = open();
  const std::string bytes = model_bytes(1);
  const fs::path path = file("m.gguf", bytes);
  const auto wrong = library.import_file(path, "m", std::string(64, '0'));
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(wrong.error().message, HasSubstr(digest_of(bytes)));
  EXPECT_EQ(blobs(), 0U);
  EXPECT_FALSE(library.find("m"));
  EXPECT_TRUE(library.import_file(path, "m", digest_of(bytes)));
}

TEST_F(ModelLibraryTest, RefusesFilesThatAreNoModel) {
  ModelLibrary library = open();
  EXPECT_EQ(library.import_file(file("text", "hello"), "m").error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(library.import_file(folder_ / "absent", "m").error().code, ErrorCode::kNotFound);
  GgufBuilder nameless;
  nameless.floats("t", {1});
  EXPECT_THAT(library.import_file(file("n", nameless.build()), "m").error().message,
              HasSubstr("general.architecture"));
  GgufBuilder part;
  part.key_text("general.architecture", "toy");
  part.key("split.count", GgufBuilder::kU16, GgufBuilder::number(std::uint16_t{3}));
  EXPECT_THAT(library.import_file(file("p", part.build()), "m").error().message,
              HasSubstr("-00001-of-00003.gguf"));
  EXPECT_EQ(library.adopt_file(file("p", part.build()), "m", std::string(64, 'a')).error().code,
            ErrorCode::kUnsupported)
      << "what was fetched alone is thrown away";
  EXPECT_EQ(blobs(), 0U);
}

TEST_F(ModelLibraryTest, EndsAnImportWhenToldTo) {
  ModelLibrary library = open();
  const auto entry = library.import_file(file("m.gguf", model_bytes(1)), "m", {},
                                         [](Bytes, Bytes) { return false; });
  ASSERT_FALSE(entry);
  EXPECT_EQ(entry.error().code, ErrorCode::kCancelled);
  EXPECT_EQ(blobs(), 0U);
}

TEST_F(ModelLibraryTest, SuggestsTheNameThatWasMeant) {
  ModelLibrary library = open();
  ASSERT_TRUE(library.import_file(file("m.gguf", model_bytes(1)), "smollm2-135m"));
  const auto entry = library.find("smolm2-135m");
  ASSERT_FALSE(entry);
  EXPECT_EQ(entry.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(entry.error().message, HasSubstr("did you mean smollm2-135m?"));
  EXPECT_THAT(library.remove("smolm2-135m").error().message, HasSubstr("did you mean"));
}

TEST_F(ModelLibraryTest, SeesDamagedContentWhenItVerifies) {
  ModelLibrary library = open();
  ASSERT_TRUE(library.import_file(file("m.gguf", model_bytes(1)), "m"));
  std::string bytes = model_bytes(1);
  bytes.back() ^= 1;
  ASSERT_TRUE(write_file(library.find("m")->path, bytes));
  const Status verified = library.verify("m");
  ASSERT_FALSE(verified);
  EXPECT_EQ(verified.error().code, ErrorCode::kCorrupt);
}

TEST_F(ModelLibraryTest, NamesTheModelWhoseContentIsGone) {
  ModelLibrary library = open();
  ASSERT_TRUE(library.import_file(file("m.gguf", model_bytes(1)), "m"));
  fs::remove(library.find("m")->path);
  const auto entry = library.find("m");
  ASSERT_FALSE(entry);
  EXPECT_EQ(entry.error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(entry.error().message, HasSubstr("model 'm'"));
  EXPECT_THAT(names(library), IsEmpty());
  EXPECT_TRUE(library.import_file(folder_ / "m.gguf", "m")) << "an import mends it";
  EXPECT_TRUE(library.verify("m"));
}

TEST_F(ModelLibraryTest, TakesWhatWasWrittenInItsOwnFolderWithoutACopy) {
  ModelLibrary library = open();
  auto written = library.begin("mine");
  ASSERT_TRUE(written) << written.error().message;
  const std::string model = model_bytes(1);
  ASSERT_TRUE(written->write(std::as_bytes(std::span(model))));
  const auto entry = library.import_written(*std::move(written), "mine");
  ASSERT_TRUE(entry) << entry.error().message;
  EXPECT_EQ(entry->digest, digest_of(model_bytes(1)));
  EXPECT_TRUE(library.verify("mine"));
  EXPECT_EQ(blobs(), 1U);
  EXPECT_THAT(library.begin("mine").error().message, HasSubstr("'mine'"));
  EXPECT_FALSE(library.begin("No Name"));
}

TEST_F(ModelLibraryTest, LeavesNothingOfWhatWasWrittenAndIsNoModel) {
  ModelLibrary library = open();
  auto written = library.begin("mine");
  ASSERT_TRUE(written);
  ASSERT_TRUE(written->write(std::as_bytes(std::span(std::string_view("no model")))));
  EXPECT_FALSE(library.import_written(*std::move(written), "mine"));
  EXPECT_EQ(blobs(), 0U);
  EXPECT_THAT(names(library), IsEmpty());
}

TEST_F(ModelLibraryTest, KeepsTheLossOfTheVeryModelThatWasMeasured) {
  ModelLibrary library = open();
  const auto entry = library.import_file(file("m.gguf", model_bytes(1)), "mine");
  ASSERT_TRUE(entry);
  const ModelLoss loss{.base = "base",
                       .base_digest = std::string(64, 'a'),
                       .text_digest = std::string(64, 'b'),
                       .positions = 3,
                       .perplexity = 9.5};
  ASSERT_TRUE(library.record_loss("mine", entry->digest, loss));
  EXPECT_EQ(open().find("mine")->loss, loss);
  EXPECT_EQ(library.record_loss("mine", std::string(64, '0'), loss).error().code,
            ErrorCode::kUnavailable);
  EXPECT_EQ(library.record_loss("other", entry->digest, loss).error().code, ErrorCode::kNotFound);
}

TEST_F(ModelLibraryTest, KeepsWhatRepackingCost) {
  ModelLibrary library = open();
  const RepackRecord record{"gptq 4 bit, groups of 128", 14, 0.00012, 1.0 / 3,
                            "blk.1.attn_q.weight"};
  auto written = library.begin("mine");
  ASSERT_TRUE(written);
  const std::string bytes = model_bytes(1);
  ASSERT_TRUE(written->write(std::as_bytes(std::span(bytes))));
  const auto entry = library.import_written(*std::move(written), "mine", {}, record);
  ASSERT_TRUE(entry) << entry.error().message;
  EXPECT_EQ(entry->repacked, record);
  EXPECT_EQ(open().find("mine")->repacked, record);
  EXPECT_FALSE(open().find("mine")->loss);
  const auto manifest = folder_ / "models/names/mine.model";
  const std::string text = *read_file(manifest, kMiB);
  for (const char* broken :
       {"repacked\n", "repacked 1 2 3\n", "repacked 1 x 3 t gptq\n", "repacked 1 inf 3 t gptq\n"}) {
    ASSERT_TRUE(write_file(manifest, text + broken));
    const auto kept = library.find("mine");
    ASSERT_TRUE(kept) << broken << kept.error().message;
    EXPECT_EQ(kept->repacked, record) << "the last that can be read";
  }
}

TEST_F(ModelLibraryTest, KeepsNoLossThatIsNoNumber) {
  ModelLibrary library = open();
  const auto entry = library.import_file(file("m.gguf", model_bytes(1)), "mine");
  ASSERT_TRUE(entry);
  ModelLoss loss{.base = "base",
                 .base_digest = std::string(64, 'a'),
                 .text_digest = std::string(64, 'b'),
                 .perplexity = std::numeric_limits<double>::infinity()};
  const Status refused = library.record_loss("mine", entry->digest, loss);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(refused.error().message, HasSubstr("perplexity inf"));
  EXPECT_TRUE(open().find("mine")) << "the model can still be read";
}

TEST_F(ModelLibraryTest, NamesADamagedManifestAndKeepsTheOthers) {
  ModelLibrary library = open();
  ASSERT_TRUE(library.import_file(file("m1.gguf", model_bytes(1)), "good"));
  ASSERT_TRUE(library.import_file(file("m2.gguf", model_bytes(2)), "bad"));
  const std::string manifest = *read_file(folder_ / "models/names/bad.model", kMiB);
  for (std::size_t length = 0; length < manifest.size(); ++length) {
    ASSERT_TRUE(write_file(folder_ / "models/names/bad.model", manifest.substr(0, length)));
    const auto entry = library.find("bad");
    ASSERT_FALSE(entry) << length;
    EXPECT_EQ(entry.error().code, ErrorCode::kCorrupt);
    EXPECT_THAT(entry.error().message, HasSubstr("bad.model"));
  }
  EXPECT_THAT(names(library), ElementsAre("good"));
  EXPECT_THAT(names(open()), ElementsAre("good"));
  EXPECT_EQ(blobs(), 2U) << "nobody knows what the damaged one meant, so nothing is removed";
  ASSERT_TRUE(library.remove("bad"));
  EXPECT_EQ(blobs(), 1U);
}

TEST_F(ModelLibraryTest, RemovesWhatACrashLeft) {
  {
    ASSERT_TRUE(open().import_file(file("m.gguf", model_bytes(1)), "m"));
  }
  const fs::path orphan = folder_ / "models/blobs" / (std::string(64, 'e') + ".gguf");
  const fs::path half = folder_ / "models/blobs/.gogrid-0011223344556677.tmp";
  fs::rename(file("orphan", model_bytes(2)), orphan);
  fs::rename(file("half", "hal"), half);
  const ModelLibrary library = open();
  EXPECT_FALSE(fs::exists(orphan));
  EXPECT_FALSE(fs::exists(half));
  EXPECT_TRUE(library.verify("m"));
}

TEST_F(ModelLibraryTest, SaysWhereItCannotBe) {
  const fs::path path = file("occupied", "");
  const auto library = ModelLibrary::open(path);
  ASSERT_FALSE(library);
  EXPECT_THAT(library.error().message, HasSubstr("occupied"));
}

TEST_F(ModelLibraryTest, MayBeUsedByManyThreadsAndLibrariesAtOnce) {
  const fs::path one = file("m1.gguf", model_bytes(1));
  const fs::path two = file("m2.gguf", model_bytes(2));
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      ModelLibrary library = open();
      for (int i = 0; i < 10; ++i) {
        const std::string name = "m" + std::to_string(t);
        const auto entry = library.import_file(i % 2 == 0 ? one : two, name);
        ASSERT_TRUE(entry) << entry.error().message;
        EXPECT_TRUE(library.verify(name));
        EXPECT_TRUE(library.remove(name));
      }
    });
  }
  threads.clear();
  EXPECT_THAT(names(open()), IsEmpty());
  EXPECT_EQ(blobs(), 0U);
}

TEST(ModelName, IsANameAndNeverAPath) {
  for (const std::string& good : {std::string("a"), std::string("smollm2-135m"),
                                  std::string("7b.q4_1"), std::string(63, 'x')}) {
    EXPECT_TRUE(validate_model_name(good)) << good;
  }
  for (const std::string& bad :
       {std::string(), std::string("."), std::string(".."), std::string("a/b"), std::string("../a"),
        std::string("A"), std::string("-a"), std::string("_a"), std::string("a b"),
        std::string("a\n"), std::string("a\0b", 3), std::string("ä"), std::string(64, 'x'),
        std::string(1 << 20, 'x')}) {
    const Status status = validate_model_name(bad);
    ASSERT_FALSE(status) << bad;
    EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(status.error().param, "model");
    EXPECT_LT(status.error().message.size(), 250U);
    EXPECT_EQ(status.error().message.find('\n'), std::string::npos);
  }
}

TEST_F(ModelLibraryTest, ChecksNamesEverywhere) {
  ModelLibrary library = open();
  const fs::path path = file("m.gguf", model_bytes(1));
  const std::string outside = "../../outside";
  EXPECT_EQ(library.import_file(path, outside).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(library.find(outside).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(library.verify(outside).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(library.remove(outside).error().code, ErrorCode::kInvalidArgument);
}

ModelEntry example_entry() {
  ModelEntry entry;
  entry.digest = std::string(64, 'd');
  entry.size = 98'362'432;
  entry.imported_at = 1'763'900'000;
  entry.architecture = "llama";
  entry.quantization = "q4_1";
  entry.license = "apache-2.0";
  return entry;
}

TEST(ModelManifest, ReadsWhatItWrites) {
  const auto entry = parse_manifest(format_manifest(example_entry()), "m");
  ASSERT_TRUE(entry) << entry.error().message;
  EXPECT_EQ(entry->digest, example_entry().digest);
  EXPECT_EQ(entry->size, 98'362'432U);
  EXPECT_EQ(entry->imported_at, 1'763'900'000);
  EXPECT_EQ(entry->architecture, "llama");
  EXPECT_EQ(entry->quantization, "q4_1");
  EXPECT_EQ(entry->license, "apache-2.0");
}

TEST(ModelManifest, KeepsAHostileLicenseOnItsLine) {
  ModelEntry hostile = example_entry();
  hostile.license = "mit\ndigest " + std::string(5000, 'x');
  const auto entry = parse_manifest(format_manifest(hostile), "m");
  ASSERT_TRUE(entry) << entry.error().message;
  EXPECT_TRUE(entry->license.starts_with("mit digest xxx"));
  EXPECT_EQ(entry->license.size(), 256U);
}

TEST(ModelManifest, SaysWhichLineIsWrong) {
  const std::string good = format_manifest(example_entry());
  const auto complaint = [&](std::string_view from, std::string_view to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    const auto entry = parse_manifest(text, "m.model");
    return entry ? std::string("accepted") : entry.error().message;
  };
  EXPECT_THAT(complaint("gogrid-model 1", "gogrid-model 2"), HasSubstr("line 1"));
  EXPECT_THAT(complaint("dddd", "dddD"), HasSubstr("64 hexadecimal digits"));
  EXPECT_THAT(complaint("size 98362432", "size -1"), HasSubstr("a number after 'size'"));
  EXPECT_THAT(complaint("size 98362432", "size 1 2"), HasSubstr("a number after 'size'"));
  EXPECT_THAT(complaint("size 98362432", "size 99999999999999999999999"), HasSubstr("line 3"));
  EXPECT_THAT(complaint("imported_at", "imported"), HasSubstr("'imported_at ...'"));
  EXPECT_THAT(complaint("apache-2.0\n", "apache-2.0\nmore and"), HasSubstr("whole lines"));
}

ModelLoss example_loss() {
  return {.base = "mine f16",
          .base_digest = std::string(64, 'a'),
          .text_digest = std::string(64, 'b'),
          .context = 512,
          .positions = 2550,
          .base_perplexity = 12.3456789,
          .perplexity = 13.1,
          .mean_kl = 1.25e-7,
          .p99_kl = 0.1,
          .same_top = 0.9375};
}

TEST(ModelManifest, KeepsALossToTheLastDigit) {
  ModelEntry entry = example_entry();
  entry.loss = example_loss();
  const auto again = parse_manifest(format_manifest(entry), "m");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->loss, example_loss());
  EXPECT_FALSE(parse_manifest(format_manifest(example_entry()), "m")->loss);
}

TEST(ModelManifest, PassesOverWhatLaterVersionsWrite) {
  ModelEntry entry = example_entry();
  entry.loss = example_loss();
  const auto later = parse_manifest(format_manifest(entry) + "origin hf:x/y 3\n", "m");
  ASSERT_TRUE(later) << later.error().message;
  EXPECT_TRUE(later->loss);
}

TEST(ModelManifest, BelievesNoLossButKeepsTheModel) {
  ModelEntry entry = example_entry();
  entry.loss = example_loss();
  const std::string good = format_manifest(entry);
  for (const auto& [from, to] :
       std::vector<std::pair<std::string, std::string>>{{"aaaa", "aaaA"},
                                                        {" 512 ", " x "},
                                                        {" 13.1 ", " nan "},
                                                        {" 13.1 ", " inf "},
                                                        {" 13.1 ", " 1e999 "},
                                                        {" 13.1 ", " "},
                                                        {" mine f16", ""},
                                                        {"loss ", "loss\nmore\nloss x "}}) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    const auto read = parse_manifest(text, "m");
    ASSERT_TRUE(read) << from << " -> " << to << ": " << read.error().message;
    EXPECT_FALSE(read->loss) << from << " -> " << to;
    EXPECT_EQ(read->license, "apache-2.0");
  }
}

TEST(ModelManifest, SaysWhichContentIsUsedWhateverElseIsWrong) {
  const std::string good = format_manifest(example_entry());
  EXPECT_EQ(manifest_digest(good), example_entry().digest);
  EXPECT_EQ(manifest_digest(good.substr(0, good.find("size"))), example_entry().digest);
  EXPECT_FALSE(manifest_digest(good.substr(0, good.find("size") - 1)));
  EXPECT_FALSE(manifest_digest("gogrid-model 2\n" + good.substr(good.find('\n') + 1)));
}

}  // namespace
}  // namespace gogrid
