// For thread-sanitizer builds only: trantor's queue of jobs for an event loop is made of atomics in
// a library that is not instrumented, so that everything handed to a loop would look like a race,
// and suppressing that would hide the races in what runs there. This stands before the queue and
// tells the sanitizer who hands what to whom. Compiled without instrumentation itself.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include <functional>
#include <memory>

namespace {

using Job = std::function<void()>;
using Queue = void (*)(void* loop, Job&& job);

constexpr const char* kQueue = "_ZN7trantor9EventLoop11queueInLoopEOSt8functionIFvvEE";

Job with_handover(Job job) {
  const std::shared_ptr<Job> handed(new Job(std::move(job)), [](Job* last) {
    __tsan_acquire(last);
    delete last;
  });
  Job wrapped = [handed] {
    __tsan_acquire(handed.get());
    (*handed)();
  };
  __tsan_release(handed.get());
  return wrapped;
}

void queue(void* loop, Job job) {
  static const auto kReal = reinterpret_cast<Queue>(::dlsym(RTLD_NEXT, kQueue));
  kReal(loop, with_handover(std::move(job)));
}

}  // namespace

// trantor::EventLoop::queueInLoop(Func&&) and (const Func&).
extern "C" __attribute__((visibility("default"))) void gogrid_queue_moved(
    void* loop, Job&& job) __asm__("_ZN7trantor9EventLoop11queueInLoopEOSt8functionIFvvEE");
extern "C" __attribute__((visibility("default"))) void gogrid_queue_copied(
    void* loop, const Job& job) __asm__("_ZN7trantor9EventLoop11queueInLoopERKSt8functionIFvvEE");

void gogrid_queue_moved(void* loop, Job&& job) { queue(loop, std::move(job)); }
void gogrid_queue_copied(void* loop, const Job& job) { queue(loop, job); }
