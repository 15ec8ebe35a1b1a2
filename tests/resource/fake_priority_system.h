// An operating system's threads and their priorities, with errors injected by call and thread.
#pragma once

#include <cerrno>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "resource/priority_system.h"

namespace gogrid::testing {

// Not thread-safe.
class FakePrioritySystem final : public PrioritySystem {
 public:
  struct Thread {
    int nice = 0;
    IoPriority io;
    SchedulingPolicy policy = SchedulingPolicy::kOther;
    std::uint64_t slack = 50'000;
  };

  std::map<int, Thread> alive{{100, {}}, {101, {}}, {102, {}}};
  int own = 100;
  int oom = 0;
  bool oom_is_deaf = false;  // takes a score and keeps the old one
  // {"set_nice", 101} -> EPERM. Thread 0: all of them.
  std::map<std::pair<std::string, int>, Errno> errors;
  std::vector<std::string> calls;  // "set_nice 101"
  // Before each listing.
  void (*on_list)(FakePrioritySystem&) = [](FakePrioritySystem&) {};
  // After each listing: a thread can end between being listed and being set.
  void (*after_list)(FakePrioritySystem&) = [](FakePrioritySystem&) {};
  int lists = 0;

  std::size_t count(const std::string& call) const {
    std::size_t count = 0;
    for (const std::string& made : calls) count += made.starts_with(call + " ") ? 1 : 0;
    return count;
  }

  int current_thread() override { return own; }

  Answer<std::vector<int>> threads() override {
    ++lists;
    on_list(*this);
    if (const Errno error = error_of("threads", 0)) return std::unexpected(error);
    std::vector<int> threads;
    for (const auto& [id, thread] : alive) threads.push_back(id);
    after_list(*this);
    return threads;
  }

  Errno set_nice(int id, int nice) override { return set("set_nice", id, &Thread::nice, nice); }
  Answer<int> nice(int id) override { return get("nice", id, &Thread::nice); }
  Errno set_io(int id, IoPriority io) override { return set("set_io", id, &Thread::io, io); }
  Answer<IoPriority> io(int id) override { return get("io", id, &Thread::io); }
  Errno set_policy(int id, SchedulingPolicy policy) override {
    return set("set_policy", id, &Thread::policy, policy);
  }
  Answer<SchedulingPolicy> policy(int id) override { return get("policy", id, &Thread::policy); }
  Errno set_timer_slack(int id, std::uint64_t slack) override {
    return set("set_slack", id, &Thread::slack, slack);
  }
  Answer<std::uint64_t> timer_slack(int id) override { return get("slack", id, &Thread::slack); }
  Errno set_oom_score(int score) override {
    const Errno error = error_of("set_oom", 0);
    if (error == 0 && !oom_is_deaf) oom = score;
    return error;
  }
  Answer<int> oom_score() override {
    if (const Errno error = error_of("oom", 0)) return std::unexpected(error);
    return oom;
  }

 private:
  Errno error_of(const std::string& call, int id) {
    calls.push_back(call + " " + std::to_string(id));
    for (const int key : {id, 0}) {
      if (const auto found = errors.find({call, key}); found != errors.end()) return found->second;
    }
    return id == 0 || alive.contains(id) ? 0 : ESRCH;
  }
  template <class Value>
  Errno set(const std::string& call, int id, Value Thread::* member, Value value) {
    const Errno error = error_of(call, id);
    if (error == 0) alive[id].*member = value;
    return error;
  }
  template <class Value>
  Answer<Value> get(const std::string& call, int id, Value Thread::* member) {
    if (const Errno error = error_of(call, id)) return std::unexpected(error);
    return alive[id].*member;
  }
};

}  // namespace gogrid::testing
