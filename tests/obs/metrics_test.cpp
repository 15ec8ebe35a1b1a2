#include "obs/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <sstream>
#include <thread>

namespace gogrid {
namespace {

using ::testing::HasSubstr;

using namespace std::chrono_literals;

bool has_line(const Metrics& metrics, const std::string& wanted) {
  std::istringstream lines(metrics.expose());
  for (std::string line; std::getline(lines, line);) {
    if (line == wanted) return true;
  }
  ADD_FAILURE() << "no line " << wanted << " in\n" << metrics.expose();
  return false;
}

TEST(Metrics, CountsRequestsByRouteAndStatus) {
  Metrics metrics;
  metrics.count_request("/v1/models", 200);
  metrics.count_request("/v1/models", 200);
  metrics.count_request("/v1/models", 404);
  EXPECT_TRUE(has_line(metrics, R"(gogrid_requests_total{route="/v1/models",status="200"} 2)"));
  EXPECT_TRUE(has_line(metrics, R"(gogrid_requests_total{route="/v1/models",status="404"} 1)"));
  EXPECT_TRUE(has_line(metrics, "# TYPE gogrid_requests_total counter"));
}

TEST(Metrics, CountsTokensByKind) {
  Metrics metrics;
  metrics.count_tokens("m", 10, 4, 3);
  metrics.count_tokens("m", 1, 0, 2);
  EXPECT_TRUE(has_line(metrics, R"(gogrid_tokens_total{kind="prompt",model="m"} 11)"));
  EXPECT_TRUE(has_line(metrics, R"(gogrid_tokens_total{kind="cached",model="m"} 4)"));
  EXPECT_TRUE(has_line(metrics, R"(gogrid_tokens_total{kind="completion",model="m"} 5)"));
}

TEST(Metrics, CountsRefusalsAndPreemptions) {
  Metrics metrics;
  metrics.count_throttled("worker_queue");
  metrics.count_preemption("m", 3);
  EXPECT_TRUE(has_line(metrics, R"(gogrid_requests_throttled_total{reason="worker_queue"} 1)"));
  EXPECT_TRUE(has_line(metrics, R"(gogrid_preemptions_total{model="m"} 3)"));
}

TEST(Metrics, SortsTimesIntoCumulativeBucketsOfSeconds) {
  Metrics metrics;
  metrics.observe_time_to_first_token("m", 3ms);
  metrics.observe_time_to_first_token("m", 2s);
  const std::string name = "gogrid_time_to_first_token_seconds";
  EXPECT_TRUE(has_line(metrics, name + R"(_bucket{model="m",le="0.0025"} 0)"));
  EXPECT_TRUE(has_line(metrics, name + R"(_bucket{model="m",le="0.005"} 1)"));
  EXPECT_TRUE(has_line(metrics, name + R"(_bucket{model="m",le="2.5"} 2)"));
  EXPECT_TRUE(has_line(metrics, name + R"(_bucket{model="m",le="+Inf"} 2)"));
  EXPECT_TRUE(has_line(metrics, name + R"(_count{model="m"} 2)"));
}

TEST(Metrics, KeepsEachHistogramItsOwn) {
  Metrics metrics;
  metrics.observe_inter_token("m", 1s);
  metrics.observe_queue_wait("m", 1s);
  metrics.observe_queue_wait("m", 1s);
  EXPECT_TRUE(has_line(metrics, R"(gogrid_inter_token_seconds_count{model="m"} 1)"));
  EXPECT_TRUE(has_line(metrics, R"(gogrid_queue_wait_seconds_count{model="m"} 2)"));
  EXPECT_TRUE(has_line(metrics, R"(gogrid_queue_wait_seconds_sum{model="m"} 2)"));
}

TEST(Metrics, GaugesShowTheLastValueOnly) {
  Metrics metrics;
  metrics.set_streams("m", 5, 2);
  metrics.set_streams("m", 4, 0);
  metrics.set_stage("m", "cpu0", "[0,15)", 1.5, 1000, 900);
  EXPECT_TRUE(has_line(metrics, R"(gogrid_streams{model="m",state="running"} 4)"));
  EXPECT_TRUE(has_line(
      metrics, R"x(gogrid_stage_busy_seconds{device="cpu0",layers="[0,15)",model="m"} 1.5)x"));
  const std::string bytes =
      R"x(gogrid_stage_bytes{device="cpu0",kind="%",layers="[0,15)",model="m"} )x";
  const auto of_kind = [&](const char* kind) {
    return std::string(bytes).replace(bytes.find('%'), 1, kind);
  };
  EXPECT_TRUE(has_line(metrics, of_kind("estimated") + "1000"));
  EXPECT_TRUE(has_line(metrics, of_kind("actual") + "900"));
}

TEST(Metrics, LeasesOfAUseAddUpAndThoseThatAreGoneShowNothing) {
  Metrics metrics;
  const std::array first{Metrics::Leased{"cpu0", "m", "weights", 60},
                         Metrics::Leased{"cpu0", "m", "weights", 40},
                         Metrics::Leased{"cpu0", "m", "KV cache", 5}};
  metrics.set_leased(first);
  const std::string weights =
      R"(gogrid_memory_leased_bytes{device="cpu0",model="m",use="weights"} )";
  EXPECT_THAT(metrics.expose(), HasSubstr(weights + "100"));
  metrics.set_leased({});
  EXPECT_THAT(metrics.expose(), HasSubstr(weights + "0"));
  EXPECT_THAT(metrics.expose(), HasSubstr(R"(use="KV cache"} 0)"));
}

TEST(Metrics, HostileLabelsStayInsideTheirQuotes) {
  Metrics metrics;
  metrics.count_throttled("a\"} 1\nfake 2");
  EXPECT_TRUE(has_line(metrics, R"(gogrid_requests_throttled_total{reason="a\"} 1\nfake 2"} 1)"));
}

TEST(Metrics, LosesNothingBetweenThreads) {
  Metrics metrics;
  {
    std::array<std::jthread, 4> threads;
    for (auto& thread : threads) {
      thread = std::jthread([&] {
        for (int i = 0; i < 1000; ++i) metrics.count_request("/metrics", 200);
      });
    }
  }
  EXPECT_TRUE(has_line(metrics, R"(gogrid_requests_total{route="/metrics",status="200"} 4000)"));
}

}  // namespace
}  // namespace gogrid
