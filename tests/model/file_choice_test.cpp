#include "model/file_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gogrid {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<HubFile> files(const std::vector<std::string>& paths) {
  std::vector<HubFile> result;
  for (const std::string& path : paths) result.push_back({path, 1000, std::string(64, 'a')});
  return result;
}

std::string choice(const std::vector<std::string>& paths, std::string_view wanted) {
  const auto chosen = choose_files(files(paths), wanted, "o/r");
  if (!chosen) return chosen.error().message;
  std::string names;
  for (const HubFile& file : *chosen) names += (names.empty() ? "" : " ") + file.path;
  return names;
}

const std::vector<std::string> kUsual{"README.md",     "config.json", "m.Q4_K_M.gguf",
                                      "m.Q8_0.gguf",   "m-BF16.gguf", "mmproj-m-f16.gguf",
                                      "m.imatrix.gguf"};

TEST(QuantizationIn, IsTheTypeInAName) {
  EXPECT_EQ(quantization_in("Mistral-7B-Instruct-v0.3.Q4_K_M.gguf"), "Q4_K_M");
  EXPECT_EQ(quantization_in("sub/qwen2.5-0.5b-instruct-q5_k_m.gguf"), "Q5_K_M");
  EXPECT_EQ(quantization_in("gemma-3-IQ3_XXS.gguf"), "IQ3_XXS");
  EXPECT_EQ(quantization_in("m-f16-00001-of-00003.gguf"), "F16");
  EXPECT_EQ(quantization_in("gpt-oss-MXFP4.gguf"), "MXFP4");
  EXPECT_EQ(quantization_in("model.gguf"), "");
  EXPECT_EQ(quantization_in("Falcon-7B.gguf"), "");
}

TEST(PartsOf, CountsASplitModel) {
  EXPECT_EQ(parts_of("m-00002-of-00007.gguf"), 7U);
  EXPECT_EQ(parts_of("m.gguf"), 1U);
  EXPECT_EQ(parts_of("m-2-of-7.gguf"), 1U);
  EXPECT_EQ(parts_of("-of-.gguf"), 1U);
}

TEST(FileChoice, TakesAPathAQuantizationOrTheOnlyModel) {
  EXPECT_EQ(choice(kUsual, "m.Q8_0.gguf"), "m.Q8_0.gguf");
  EXPECT_EQ(choice(kUsual, "q4_k_m"), "m.Q4_K_M.gguf");
  EXPECT_EQ(choice(kUsual, "bf16"), "m-BF16.gguf");
  EXPECT_EQ(choice(kUsual, "mmproj-m-f16.gguf"), "mmproj-m-f16.gguf");
  EXPECT_EQ(choice({"README.md", "model.gguf", "mmproj.gguf"}, ""), "model.gguf");
}

TEST(FileChoice, ListsTheQuantizationsWhenSeveralAreThere) {
  const auto file = choose_files(files(kUsual), "", "o/r");
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(
      file.error().message,
      AllOf(HasSubstr("Q4_K_M (1000 B), Q8_0 (1000 B), BF16 (1000 B)"), HasSubstr("hf:o/r:Q4_K_M"),
            Not(HasSubstr("imatrix")), Not(HasSubstr(", F16 ("))))
      << file.error().message;
  EXPECT_THAT(choice({"a-Q4_0.gguf", "b-Q4_0.gguf"}, "Q4_0"), HasSubstr("expected one model"));
}

TEST(FileChoice, NamesWhatIsNearOfWhatIsNotThere) {
  EXPECT_THAT(choice(kUsual, "m.Q8_1.gguf"), HasSubstr("did you mean m.Q8_0.gguf"));
  EXPECT_THAT(choice(kUsual, "Q2_K"), HasSubstr("it has Q4_K_M"));
  EXPECT_THAT(choice({"model.safetensors"}, ""), HasSubstr("expected a GGUF file: o/r has none"));
  EXPECT_THAT(choice({}, "Q4_0"), HasSubstr("has none"));
}

TEST(FileChoice, TakesAllPartsOfAModelInTheirOrder) {
  const std::vector<std::string> split{"q/m-Q8_0-00002-of-00002.gguf", "README.md",
                                       "q/m-Q8_0-00001-of-00002.gguf", "m-Q4_0.gguf"};
  const std::string both = "q/m-Q8_0-00001-of-00002.gguf q/m-Q8_0-00002-of-00002.gguf";
  EXPECT_EQ(choice(split, "q8_0"), both);
  EXPECT_EQ(choice(split, "q/m-Q8_0-00001-of-00002.gguf"), both);
  EXPECT_EQ(choice(split, "q/m-Q8_0-00002-of-00002.gguf"), both) << "whichever was named";
  EXPECT_EQ(choice(split, "q4_0"), "m-Q4_0.gguf");
  EXPECT_THAT(choice(split, ""), HasSubstr("Q8_0 (2.0 KiB), Q4_0 (1000 B)"));
  EXPECT_EQ(name_of_all("q/m-Q8_0-00001-of-00002.gguf"), "m-Q8_0.gguf");
}

TEST(FileChoice, NamesThePartThatIsNotThere) {
  EXPECT_THAT(choice({"m-Q8_0-00001-of-00003.gguf", "m-Q8_0-00003-of-00003.gguf"}, "q8_0"),
              AllOf(HasSubstr("expected 3 parts"), HasSubstr("no m-Q8_0-00002-of-00003.gguf")));
}

TEST(FileChoice, RefusesMorePartsThanAModelHas) {
  EXPECT_THAT(choice({"m-00001-of-00257.gguf"}, ""), HasSubstr("at most 256 parts"));
}

TEST(FileChoice, PartsInTwoFoldersAreTwoModels) {
  EXPECT_THAT(choice({"a/m-Q8_0-00001-of-00002.gguf", "a/m-Q8_0-00002-of-00002.gguf",
                      "b/m-Q8_0-00001-of-00002.gguf", "b/m-Q8_0-00002-of-00002.gguf"},
                     "q8_0"),
              HasSubstr("expected one model"));
}

TEST(FileChoice, RefusesOtherFilesByName) {
  EXPECT_THAT(choice(kUsual, "README.md"), HasSubstr("is none"));
}

TEST(FileChoice, RefusesAnEmptyFile) {
  const std::vector<HubFile> empty{{"m.gguf", 0, ""}};
  EXPECT_THAT(choose_files(empty, "", "o/r").error().message, HasSubstr("is empty"));
}

}  // namespace
}  // namespace gogrid
