#include <ggml-backend.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <llama.h>
#include <sched.h>

#include <string>
#include <thread>
#include <vector>

#include "device/backend_log.h"
#include "device/device_registry.h"

namespace gogrid {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

// What libllama itself would do: through the callback it was given.
void say(ggml_log_level level, const char* text) {
  ggml_log_callback callback = nullptr;
  void* data = nullptr;
  llama_log_get(&callback, &data);
  callback(level, text, data);
}

TEST(Backends, FindACpuAndMayBeInitializedAgain) {
  initialize_backends();
  const std::size_t devices = ggml_backend_dev_count();
  initialize_backends();
  EXPECT_EQ(ggml_backend_dev_count(), devices);
  EXPECT_NE(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU), nullptr);
}

TEST(BackendLogCapture, JoinsPiecesToLines) {
  initialize_backends();
  const BackendLogCapture capture;
  say(GGML_LOG_LEVEL_INFO, "one ");
  say(GGML_LOG_LEVEL_CONT, "line\nand ");
  say(GGML_LOG_LEVEL_CONT, "another \r\n\n");
  ASSERT_EQ(capture.lines().size(), 2U);
  EXPECT_EQ(capture.lines()[0], "one line");
  EXPECT_EQ(capture.lines()[1], "and another");
  EXPECT_EQ(capture.last_error(), "");
}

TEST(BackendLogCapture, RemembersTheLastError) {
  initialize_backends();
  const BackendLogCapture capture;
  say(GGML_LOG_LEVEL_ERROR, "first\n");
  say(GGML_LOG_LEVEL_ERROR, "second\n");
  say(GGML_LOG_LEVEL_INFO, "not one\n");
  EXPECT_EQ(capture.last_error(), "second");
}

TEST(BackendLogCapture, InnermostGetsTheLines) {
  initialize_backends();
  const BackendLogCapture outer;
  {
    const BackendLogCapture inner;
    say(GGML_LOG_LEVEL_INFO, "to the inner\n");
    EXPECT_EQ(inner.lines().size(), 1U);
  }
  say(GGML_LOG_LEVEL_INFO, "to the outer\n");
  EXPECT_THAT(outer.lines(), ::testing::ElementsAre("to the outer"));
}

TEST(BackendLogCapture, HearsItsOwnThreadOnly) {
  initialize_backends();
  const BackendLogCapture capture;
  std::jthread([] { say(GGML_LOG_LEVEL_ERROR, "elsewhere\n"); }).join();
  EXPECT_TRUE(capture.lines().empty());
}

TEST(BackendLogCapture, IsBounded) {
  initialize_backends();
  const BackendLogCapture capture;
  for (std::size_t i = 0; i < BackendLogCapture::kMaxLines + 10; ++i) {
    say(GGML_LOG_LEVEL_DEBUG, "again\n");
  }
  EXPECT_EQ(capture.lines().size(), BackendLogCapture::kMaxLines);
  say(GGML_LOG_LEVEL_ERROR, (std::string(100000, 'x') + "\n").c_str());
  EXPECT_FALSE(capture.last_error().empty());
}

TEST(BackendLogCapture, SaysWhyAModelWasRefused) {
  initialize_backends();
  const BackendLogCapture capture;
  EXPECT_EQ(llama_model_load_from_file("/nonexistent.gguf", llama_model_default_params()), nullptr);
  EXPECT_THAT(capture.lines(), Contains(HasSubstr("/nonexistent.gguf")));
  EXPECT_NE(capture.last_error(), "");
}

std::vector<int> cores_of_this_thread() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof(set), &set);
  std::vector<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(static_cast<std::size_t>(core), &set)) cores.push_back(core);
  }
  return cores;
}

TEST(PinThisThread, KeepsItAndItsChildrenOnTheCores) {
  const std::vector<int> all = cores_of_this_thread();
  ASSERT_FALSE(all.empty());
  std::jthread([&] {
    ASSERT_TRUE(pin_this_thread(std::vector<int>{all.back()}));
    EXPECT_EQ(cores_of_this_thread(), std::vector<int>{all.back()});
    std::jthread([&] { EXPECT_EQ(cores_of_this_thread(), std::vector<int>{all.back()}); }).join();
  }).join();
  EXPECT_EQ(cores_of_this_thread(), all) << "other threads are left alone";
}

TEST(PinThisThread, RefusesCoresThatCannotBe) {
  std::jthread([] {
    for (const auto& cores : {std::vector<int>{}, {-1}, {4096}, {4000}}) {
      const Status pinned = pin_this_thread(cores);
      ASSERT_FALSE(pinned);
      EXPECT_EQ(pinned.error().code, ErrorCode::kInvalidArgument) << pinned.error().message;
    }
  }).join();
}

}  // namespace
}  // namespace gogrid
