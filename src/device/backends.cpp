// ggml's backends and libllama as this process sees them: loaded once, their words in our log, and
// their threads where we want them.
#include <ggml-backend.h>
#include <llama.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "device/backend_log.h"
#include "device/device_registry.h"
#include "obs/log.h"

namespace gogrid {
namespace {

thread_local BackendLogCapture* innermost_capture = nullptr;

// The libraries log in pieces; a record is a whole line.
constexpr std::size_t kMaxLine = 4096;

// Their "info" is detail to us; their errors reach the user as an Error of the call that failed.
log::Level level_of(ggml_log_level level) {
  switch (level) {
    case GGML_LOG_LEVEL_ERROR:
      return log::Level::kWarning;
    case GGML_LOG_LEVEL_WARN:
      return log::Level::kInfo;
    default:
      return log::Level::kDebug;
  }
}

void deliver(ggml_log_level level, std::string_view line) {
  while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
  if (line.empty()) return;
  if (innermost_capture != nullptr) innermost_capture->add(line, level == GGML_LOG_LEVEL_ERROR);
  const log::Level ours = level_of(level);
  if (log::enabled(ours)) log::write(ours, "backend", {}, {{"text", line}});
}

void on_backend_log(ggml_log_level level, const char* text, void*) noexcept {
  thread_local std::string pending;
  thread_local ggml_log_level pending_level = GGML_LOG_LEVEL_INFO;
  if (text == nullptr) return;
  try {
    if (level != GGML_LOG_LEVEL_CONT) pending_level = level;
    std::string_view rest(text);
    for (auto end = rest.find('\n'); end != rest.npos; end = rest.find('\n')) {
      pending.append(rest.substr(0, end));
      deliver(pending_level, pending);
      pending.clear();
      rest.remove_prefix(end + 1);
    }
    pending.append(rest.substr(0, kMaxLine - std::min(kMaxLine, pending.size())));
  } catch (...) {  // called from C: a lost log line is better than a lost process
    pending.clear();
  }
}

}  // namespace

BackendLogCapture::BackendLogCapture(std::function<void(std::string_view)> listener)
    : outer_(innermost_capture), listener_(std::move(listener)) {
  innermost_capture = this;
}

BackendLogCapture::~BackendLogCapture() { innermost_capture = outer_; }

void BackendLogCapture::add(std::string_view line, bool is_error) {
  if (lines_.size() < kMaxLines) lines_.emplace_back(line);
  if (is_error) last_error_ = line;
  if (listener_) listener_(line);
}

void initialize_backends() {
  static std::once_flag once;
  std::call_once(once, [] {
    llama_log_set(&on_backend_log, nullptr);
    ggml_log_set(&on_backend_log, nullptr);
    ggml_backend_load_all();
    llama_backend_init();
  });
}

Status pin_this_thread(std::span<const int> cores) {
  constexpr int kMaxCores = 4096;  // as parse_cores()
  if (cores.empty()) {
    return fail(ErrorCode::kInvalidArgument, "[pin_this_thread] at least one core: none");
  }
  const std::size_t bytes = CPU_ALLOC_SIZE(kMaxCores);
  const auto release = [](cpu_set_t* set) { CPU_FREE(set); };
  std::unique_ptr<cpu_set_t, decltype(release)> set(CPU_ALLOC(kMaxCores), release);
  if (set == nullptr) return fail(ErrorCode::kExhausted, "[pin_this_thread] no memory");
  CPU_ZERO_S(bytes, set.get());
  for (const int core : cores) {
    if (core < 0 || core >= kMaxCores) {
      return fail(ErrorCode::kInvalidArgument,
                  "[pin_this_thread] a core from 0 to 4095: " + std::to_string(core));
    }
    CPU_SET_S(static_cast<std::size_t>(core), bytes, set.get());
  }
  if (sched_setaffinity(0, bytes, set.get()) != 0) {
    const int error = errno;
    return fail(
        error == EINVAL ? ErrorCode::kInvalidArgument : ErrorCode::kIo,
        "[pin_this_thread] cores this process may use: " + std::generic_category().message(error));
  }
  return {};
}

}  // namespace gogrid
