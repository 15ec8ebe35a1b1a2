// What fits now, what another time, and what never. No device of this machine is asked.
#include "app/plan_now.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "model/gguf_file.h"
#include "model/memory_estimator.h"
#include "model/stage_types.h"
#include "placement/plan.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class PlanNow : public ::testing::Test {
 protected:
  PlanNow() {
    testing::write_tiny_model(folder_ / "tiny.gguf");
    prepared_.source.name = "tiny";
    prepared_.profile = *read_profile(*GgufFile::open(folder_ / "tiny.gguf"));
    prepared_.question.model = "tiny";
    prepared_.question.context = 256;
    measured("a");
    device("a", kGiB, kGiB);
    need_ = plan_without_caps(prepared_)->stages.at(0).memory.total();
    ledger_.set_cap("a", 2 * need_);
  }

  void device(const std::string& id, Bytes free, Bytes total) {
    Device device;
    device.id = id;
    device.kind = DeviceKind::kGpu;  // nobody shares its memory
    device.memory_free = free;
    device.memory_total = total;
    prepared_.devices.push_back(device);
  }
  void measured(const std::string& id) {
    DeviceBudget budget;
    budget.id = id;
    budget.layer_read_ms = budget.layer_row_ms = budget.prefill_row_ms = 1;
    budget.head_read_ms = budget.head_row_ms = budget.call_ms = 1;
    prepared_.budgets.push_back(budget);
  }
  Result<Plan> plan(const std::vector<PhysicalMemory>& rooms) const {
    return plan_within(prepared_, rooms, ledger_);
  }

  const testing::TemporaryFolder folder_;
  PreparedModel prepared_;
  MemoryLedger ledger_;
  Bytes need_ = 0;
};

TEST_F(PlanNow, TakesWhatIsFreeWithinTheCapToTheByte) {
  EXPECT_TRUE(plan({{"a", need_, 4 * need_}}));
  ledger_.set_cap("a", need_);
  EXPECT_TRUE(plan({{"a", need_, need_}}));
}

TEST_F(PlanNow, WhatOthersThanGoGridHoldIsRefusedForNow) {
  const auto refused = plan({{"a", need_ - 1, 4 * need_}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kExhausted);
  EXPECT_THAT(refused.error().message,
              AllOf(HasSubstr("others than GoGrid hold"), HasSubstr("short by 1 bytes")));
}

TEST_F(PlanNow, WhatAnotherModelHoldsIsRefusedForNowInTheWordsOfTheLedger) {
  const MemoryRequest other{"a", MemoryUse::kWeights, "other", need_ + 1};
  const auto lease = ledger_.acquire({&other, 1});
  ASSERT_TRUE(lease);
  const auto refused = plan({{"a", 3 * need_, 4 * need_}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kExhausted);
  EXPECT_THAT(refused.error().message, HasSubstr("weights of other"));
}

TEST_F(PlanNow, WhatIsOverTheCapNeverFits) {
  ledger_.set_cap("a", need_ - 1);
  const auto refused = plan({{"a", 4 * need_, 4 * need_}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kDoesNotFit);
  EXPECT_THAT(refused.error().message,
              AllOf(HasSubstr("short by 1 bytes"), HasSubstr("caps (max_device_memory): a ")));
}

TEST_F(PlanNow, WhatIsOverAllTheMemoryThereIsNeverFitsWhateverTheCap) {
  EXPECT_EQ(plan({{"a", need_ - 1, need_ - 1}}).error().code, ErrorCode::kDoesNotFit);
}

TEST_F(PlanNow, ADeviceThatIsGoneOrUnknownToTheLedgerHasNothing) {
  EXPECT_EQ(plan({}).error().code, ErrorCode::kDoesNotFit);
  prepared_.budgets.clear();
  measured("b");
  device("b", kGiB, kGiB);
  EXPECT_EQ(plan({{"b", kGiB, kGiB}}).error().code, ErrorCode::kDoesNotFit);
}

TEST_F(PlanNow, NothingIsPlacedOnADeviceThatWasNotMeasuredButAnotherTimeItMayFitThere) {
  prepared_.unmeasured["b"] = Error{ErrorCode::kExhausted, "[stage] b: no memory", {}, {}};
  device("b", kGiB, kGiB);
  ledger_.set_cap("b", 2 * need_);
  const auto placed = plan({{"a", need_, need_}, {"b", kGiB, kGiB}});
  ASSERT_TRUE(placed);
  EXPECT_EQ(placed->stages.at(0).device, "a");
  const auto refused = plan({{"a", 1, 1}, {"b", kGiB, kGiB}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kExhausted);
  EXPECT_THAT(refused.error().message, HasSubstr("not measured: [stage] b: no memory"));
  ledger_.set_cap("b", 1);
  EXPECT_EQ(plan({{"a", 1, 1}, {"b", kGiB, kGiB}}).error().code, ErrorCode::kDoesNotFit);
}

TEST_F(PlanNow, WithoutAnyMeasuredDeviceIsARefusalForMemoryToo) {
  prepared_.budgets.clear();
  prepared_.unmeasured["a"] = Error{ErrorCode::kDoesNotFit, "cap 0 B", {}, {}};
  ledger_.set_cap("a", 0);
  const auto refused = plan({{"a", kGiB, kGiB}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kDoesNotFit);
  EXPECT_THAT(refused.error().message, HasSubstr("not measured: cap 0 B"));
}

TEST_F(PlanNow, WithoutCapsItCountsWhatTheDevicesHaveAndNotWhatIsFree) {
  prepared_.devices.at(0).memory_free = 1;
  EXPECT_TRUE(plan_without_caps(prepared_));
  prepared_.devices.at(0).memory_total = need_ - 1;
  EXPECT_EQ(plan_without_caps(prepared_).error().code, ErrorCode::kDoesNotFit);
}

// Two devices that hold three quarters of the model together.
class PlanNowSmaller : public PlanNow {
 protected:
  PlanNowSmaller() {
    testing::write_tiny_model(folder_ / "tiny.gguf",
                              {.n_layers = 8, .n_embd = 512, .n_heads = 8, .n_ff = 1536});
    const GgufFile file = *GgufFile::open(folder_ / "tiny.gguf");
    prepared_.profile = *read_profile(file);
    prepared_.question.smaller =
        std::make_shared<const std::vector<SmallerLayers>>(smaller_layers(file, prepared_.profile));
    measured("b");
    device("b", 8 * kGiB, 8 * kGiB);
    need_ = estimate_memory(prepared_.profile, {.layers = {0, 8},
                                                .context = prepared_.question.context,
                                                .parallel = prepared_.question.parallel})
                .total();
    cap(need_ / 2, need_ / 4);
  }
  void cap(Bytes a, Bytes b) {
    ledger_.set_cap("a", a);
    ledger_.set_cap("b", b);
  }
  Result<Plan> plan_with(Bytes free_a, Bytes free_b) const {
    return plan({{"a", free_a, 8 * kGiB}, {"b", free_b, 8 * kGiB}});
  }
};

TEST_F(PlanNowSmaller, IsRefusedForEverWithWhatWouldHelpUnlessItIsAllowed) {
  const auto refused = plan_with(kGiB, kGiB);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kDoesNotFit);
  EXPECT_THAT(refused.error().message, HasSubstr("with --quantize-stages allow it would: layers"));
  prepared_.question.quantize.allow = true;
  const auto placed = plan_with(kGiB, kGiB);
  ASSERT_TRUE(placed) << placed.error().message;
  EXPECT_TRUE(has_smaller_stages(*placed));
}

TEST_F(PlanNowSmaller, IsToldOfASplitByHandToo) {
  prepared_.split = {{{0, 4}, "a"}, {{4, 8}, "b"}};
  EXPECT_THAT(plan_with(kGiB, kGiB).error().message,
              HasSubstr("with --quantize-stages allow it would: layers"));
}

// Models of ours can leave: their memory is no reason to lose quality.
TEST_F(PlanNowSmaller, WaitsForModelsOfOursWithoutWhichItWouldLoseLess) {
  cap(need_ / 2, need_);
  prepared_.question.quantize.allow = true;
  {
    const MemoryRequest other{"b", MemoryUse::kWeights, "other", need_ * 3 / 4};
    const auto lease = ledger_.acquire({&other, 1});
    ASSERT_TRUE(lease);
    const auto refused = plan_with(kGiB, kGiB);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::kExhausted);
    EXPECT_THAT(refused.error().message, HasSubstr("weights of other"));
  }
  const auto placed = plan_with(kGiB, kGiB);
  ASSERT_TRUE(placed);
  EXPECT_FALSE(has_smaller_stages(*placed));
}

TEST_F(PlanNowSmaller, WaitsForNoOtherProgram) {
  cap(need_ / 2, need_);
  prepared_.question.quantize.allow = true;
  const auto placed = plan_with(kGiB, need_ / 4);
  ASSERT_TRUE(placed) << placed.error().message;
  EXPECT_TRUE(has_smaller_stages(*placed));
  EXPECT_GT(placed->expected_loss, 0);
  prepared_.question.quantize.allow = false;
  EXPECT_EQ(plan_with(kGiB, need_ / 4).error().code, ErrorCode::kExhausted);
}

TEST_F(PlanNowSmaller, WaitsForADeviceThatMayYetBeMeasuredButNotForOneThatNeverWill) {
  cap(need_ / 2, need_);
  prepared_.question.quantize.allow = true;
  std::erase_if(prepared_.budgets, [](const DeviceBudget& budget) { return budget.id == "b"; });
  prepared_.unmeasured["b"] = Error{ErrorCode::kExhausted, "not measured yet", {}, {}};
  EXPECT_EQ(plan_with(kGiB, kGiB).error().code, ErrorCode::kExhausted);
  prepared_.unmeasured["b"].code = ErrorCode::kDoesNotFit;
  const auto placed = plan_with(kGiB, kGiB);
  ASSERT_TRUE(placed) << placed.error().message;
  EXPECT_EQ(placed->stages.size(), 1U);
  EXPECT_TRUE(has_smaller_stages(*placed));
}

TEST_F(PlanNowSmaller, WaitsForWhatFitsMadeSmallerAnotherTime) {
  prepared_.question.quantize.allow = true;
  const auto refused = plan_with(1, 1);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kExhausted) << refused.error().message;
}

}  // namespace
}  // namespace gogrid
