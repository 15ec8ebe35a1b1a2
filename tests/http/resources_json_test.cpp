#include "http/resources_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace gogrid {
namespace {

using Json = nlohmann::json;

TEST(ResourcesJson, ShowsTheGatesCounts) {
  ResourceReport report;
  report.gate = {.seen = 9, .granted = 5, .delayed = 4, .refused = 1, .waiting = 3};
  EXPECT_EQ(Json::parse(resources_json(report))["gate"],
            Json::parse(R"({"seen":9,"granted":5,"delayed":4,"refused":1,"waiting":3})"));
}

TEST(ResourcesJson, ShowsWhoHoldsWhatToTheLastByte) {
  ResourceReport report;
  constexpr Bytes kMost = ~Bytes{0};
  report.ledger.push_back({"cpu-a", kMost, kMost - 1, {{MemoryUse::kWeights, "m", kMost - 1}}});
  const Json ledger = Json::parse(resources_json(report))["ledger"];
  ASSERT_EQ(ledger.size(), 1U);
  EXPECT_EQ(ledger[0]["device"], "cpu-a");
  EXPECT_EQ(ledger[0]["cap"], kMost);
  EXPECT_EQ(ledger[0]["held"], kMost - 1);
  EXPECT_EQ(ledger[0]["holders"][0],
            Json({{"use", "weights"}, {"holder", "m"}, {"bytes", kMost - 1}}));
}

TEST(ResourcesJson, ShowsEachStagesShareOfItsDevice) {
  ResourceReport report;
  report.duty.push_back(
      {"cpu-a", "m", {0, 15}, Share::percent(80), std::chrono::milliseconds(1500)});
  const Json duty = Json::parse(resources_json(report))["duty"][0];
  EXPECT_EQ(duty["device"], "cpu-a");
  EXPECT_EQ(duty["layers"], Json({0, 15}));
  EXPECT_EQ(duty["max_compute"], 0.8);
  EXPECT_EQ(duty["busy_s"], 1.5);
}

TEST(ResourcesJson, WhatIsNotKnownIsNullAndSaysWhy) {
  ResourceReport report;
  LoadView view;
  view.host.cpu = CpuLoad{.others = Share::percent(40), .own = Share::percent(50)};
  view.host.memory_of_others = std::unexpected("no /proc/meminfo");
  view.gpu_of_others = std::unexpected("no GPU");
  view.decision.unknown = {"gpu: no GPU", "memory: no /proc/meminfo"};
  report.load = std::make_shared<const LoadView>(view);
  const Json load = Json::parse(resources_json(report))["load"];
  EXPECT_EQ(load["state"], "running");
  EXPECT_EQ(load["cpu_of_others"], 0.4);
  EXPECT_TRUE(load["memory_of_others"].is_null());
  EXPECT_TRUE(load["gpu_of_others"].is_null());
  EXPECT_EQ(load["unknown"].size(), 2U);
}

TEST(ResourcesJson, ShowsThePriorityWantedBesideTheOneInForceAndWhy) {
  ResourceReport report;
  PriorityReport priority;
  priority.items = {{.name = "nice",
                     .wanted = "0",
                     .in_force = "10",
                     .as_wanted = false,
                     .warning = "needs CAP_SYS_NICE"},
                    {.name = "io", .wanted = "", .in_force = "none"}};
  report.priority = priority;
  const Json json = Json::parse(resources_json(report))["priority"];
  EXPECT_EQ(json["wanted"]["nice"], "0");
  EXPECT_EQ(json["in_force"]["nice"], "10");
  EXPECT_TRUE(json["wanted"]["io"].is_null());
  EXPECT_FALSE(json["as_wanted"]);
  EXPECT_EQ(json["warnings"], Json({"needs CAP_SYS_NICE"}));
}

TEST(ResourcesJson, NamesEveryPartAlsoWhenThereIsNothingOfIt) {
  const Json json = Json::parse(resources_json({}));
  for (const char* name : {"gate", "ledger", "duty", "load", "priority"})
    EXPECT_TRUE(json.contains(name)) << name;
  EXPECT_TRUE(json["gate"].is_null());
  EXPECT_TRUE(json["ledger"].empty());
}

}  // namespace
}  // namespace gogrid
