#include "resource/process_priority.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

namespace gogrid {
namespace {

// Listing, setting what differs, listing again: a thread can begin with old values only while one
// that has them is still being set, so a second look finds it. More looks than these mean that
// threads come faster than they are counted.
constexpr int kMaxPasses = 5;

constexpr int kLeastUrgentNice = 19;

// Of the conservative mode. A step takes tens of milliseconds: one more is not felt in an answer.
constexpr std::uint64_t kQuietTimerSlack = 1'000'000;
// As if it held 30 % more of the memory than it does.
constexpr int kQuietOomScore = 300;

std::string text_of_errno(Errno error) { return std::generic_category().message(error); }

bool not_permitted(Errno error) { return error == EPERM || error == EACCES; }

// What is the same for nice, I/O, policy and timer slack: they are asked and set by thread.
template <class Value>
struct ThreadItem {
  std::size_t index;
  std::string_view name;
  std::optional<Value> PrioritySettings::* wanted;
  Answer<Value> ThreadPriority::* read;
  Answer<Value> (PrioritySystem::*get)(int);
  Errno (PrioritySystem::*set)(int, Value);
  bool (*same)(const Value& wanted, const Value& read);
  std::string (*text)(Value);
  std::string (*privilege)(Value wanted);
  // A file under /proc, which costs several microseconds, and which the kernel shows and takes of
  // other threads with CAP_SYS_NICE only: asked where it is wanted, and after one refusal no more.
  bool is_a_file;
};

template <class Value>
bool equal(const Value& wanted, const Value& read) {
  return wanted == read;
}

// A level says something of two classes only.
bool same_io(const IoPriority& wanted, const IoPriority& read) {
  const bool levels =
      wanted.io_class == IoClass::kRealTime || wanted.io_class == IoClass::kBestEffort;
  return wanted.io_class == read.io_class && (!levels || wanted.level == read.level);
}

template <class Number>
std::string number_text(Number number) {
  return std::to_string(number);
}

std::string nice_limit(int nice) {
  return "CAP_SYS_NICE, or RLIMIT_NICE of at least " + std::to_string(kLeastUrgentNice + 1 - nice);
}

std::string privilege_for_io(IoPriority io) {
  return io.io_class == IoClass::kRealTime ? "CAP_SYS_NICE or CAP_SYS_ADMIN"
                                           : "no privilege: a system call filter forbids it";
}

std::string privilege_for_policy(SchedulingPolicy policy) {
  if (policy == SchedulingPolicy::kIdle) return "no privilege: a system call filter forbids it";
  return "CAP_SYS_NICE, or RLIMIT_NICE of at least 20 less the nice value, to leave SCHED_IDLE";
}

std::string privilege_for_slack(std::uint64_t) {
  return "CAP_SYS_NICE for other threads than the one that sets it (what it starts inherits it)";
}

constexpr ThreadItem<int> kNice{0,
                                "nice",
                                &PrioritySettings::nice,
                                &ThreadPriority::nice,
                                &PrioritySystem::nice,
                                &PrioritySystem::set_nice,
                                equal<int>,
                                number_text<int>,
                                nice_limit,
                                false};
constexpr ThreadItem<IoPriority> kIo{1,
                                     "io",
                                     &PrioritySettings::io,
                                     &ThreadPriority::io,
                                     &PrioritySystem::io,
                                     &PrioritySystem::set_io,
                                     same_io,
                                     text_of,
                                     privilege_for_io,
                                     false};
constexpr ThreadItem<SchedulingPolicy> kPolicy{2,
                                               "policy",
                                               &PrioritySettings::policy,
                                               &ThreadPriority::policy,
                                               &PrioritySystem::policy,
                                               &PrioritySystem::set_policy,
                                               equal<SchedulingPolicy>,
                                               text_of,
                                               privilege_for_policy,
                                               false};
constexpr ThreadItem<std::uint64_t> kTimerSlack{3,
                                                "timer_slack_ns",
                                                &PrioritySettings::timer_slack_ns,
                                                &ThreadPriority::timer_slack_ns,
                                                &PrioritySystem::timer_slack,
                                                &PrioritySystem::set_timer_slack,
                                                equal<std::uint64_t>,
                                                number_text<std::uint64_t>,
                                                privilege_for_slack,
                                                true};
constexpr std::size_t kThreadItems = 4;

// Nice before policy: leaving SCHED_IDLE is allowed to whom the thread's nice value is allowed.
template <class Function>
void for_each_item(Function function) {
  function(kNice);
  function(kIo);
  function(kPolicy);
  function(kTimerSlack);
}

std::string threads_text(std::size_t count) {
  return std::to_string(count) + (count == 1 ? " thread" : " threads");
}

// How many threads have each value, as few as there are.
template <class Value>
class Census {
 public:
  Census(const ThreadItem<Value>& item, const std::vector<ThreadPriority>& threads) {
    for (const ThreadPriority& thread : threads) count(thread.*item.read);
  }

  // "10", or "10 (9 threads), 0 (1 thread)".
  std::string text(std::string (*text_of_value)(Value)) const {
    std::string all;
    for (const auto& [value, count] : counts_) {
      const std::string text =
          value ? text_of_value(*value) : std::string(value.error() == 0 ? "" : "unknown");
      if (counts_.size() == 1) return text;
      all += (all.empty() ? "" : ", ") + text + " (" + threads_text(count) + ")";
    }
    return all;
  }

 private:
  void count(const Answer<Value>& value) {
    for (auto& [known, count] : counts_) {
      if (known == value) return void(++count);
    }
    counts_.emplace_back(value, 1);
  }

  std::vector<std::pair<Answer<Value>, std::size_t>> counts_;
};

enum class Mode : std::uint8_t {
  kSetAll,        // asks afterwards: the values are expected to differ
  kSetDiffering,  // asks first
  kRead,          // all, also what is dear; sets nothing
};

// One apply(), reapply() or read(). Used once.
class Change {
 public:
  Change(PrioritySystem& system, const PrioritySettings& wanted, Mode mode)
      : system_(system),
        wanted_(wanted),
        set_(mode != Mode::kRead),
        self_(system.current_thread()) {
    if (mode != Mode::kSetAll) return;
    std::string ignored;  // the next listing has the same fault
    set_what_differs(list_threads(ignored));
  }

  PriorityReport run() {
    PriorityReport report;
    int passes = 0;
    do {
      report.threads = list_threads(report.warning);
      std::erase_if(report.threads, [&](ThreadPriority& thread) { return !read_thread(thread); });
    } while (set_ && ++passes < kMaxPasses && set_what_differs(report.threads));
    report.items.reserve(kThreadItems + 1);
    for_each_item(
        [&](const auto& item) { report.items.push_back(describe(item, report.threads)); });
    report.items.push_back(change_oom_score());
    return report;
  }

 private:
  std::vector<ThreadPriority> list_threads(std::string& warning) {
    auto listed = system_.threads();
    if (!listed) {
      warning = "[priority] expected the list of this process's threads: " +
                text_of_errno(listed.error()) + "; this is of the calling thread only";
      listed = std::vector<int>{self_};
    }
    std::vector<ThreadPriority> threads(listed->size());
    for (std::size_t i = 0; i < threads.size(); ++i) threads[i].thread = (*listed)[i];
    return threads;
  }

  // False when the thread has ended.
  bool read_thread(ThreadPriority& thread) {
    bool lives = true;
    for_each_item([&](const auto& item) {
      if (item.is_a_file && set_ && !(wanted_.*item.wanted)) return;
      auto& value = thread.*item.read;
      if (is_closed(item, thread.thread)) return void(value = std::unexpected(files_refused_));
      value = (system_.*item.get)(thread.thread);
      if (value) return;
      lives = lives && value.error() != ESRCH;
      remember_refusal(item, value.error());
    });
    return lives;
  }

  // Only another thread's file is ever refused.
  template <class Value>
  bool is_closed(const ThreadItem<Value>& item, int thread) const {
    return item.is_a_file && files_refused_ != 0 && thread != self_;
  }
  template <class Value>
  void remember_refusal(const ThreadItem<Value>& item, Errno error) {
    if (item.is_a_file && not_permitted(error)) files_refused_ = error;
  }

  // True when it is worth looking again: something was set, or a thread has ended.
  bool set_what_differs(const std::vector<ThreadPriority>& threads) {
    bool again = false;
    for_each_item([&](const auto& item) {
      if (!(wanted_.*item.wanted)) return;
      for (const ThreadPriority& thread : threads) again |= set_one(item, thread);
    });
    return again;
  }

  template <class Value>
  bool set_one(const ThreadItem<Value>& item, const ThreadPriority& thread) {
    const Value& value = *(wanted_.*item.wanted);
    const Answer<Value>& read = thread.*item.read;
    if (read && item.same(value, *read)) return false;
    auto& outcomes = outcomes_[item.index];
    const auto before = std::ranges::find(outcomes, thread.thread, &Outcome::thread);
    // Refused once is refused; and what cannot be read back is set once.
    if (before != outcomes.end() && (before->error != 0 || !read)) return false;
    const Errno error =
        is_closed(item, thread.thread) ? files_refused_ : (system_.*item.set)(thread.thread, value);
    remember_refusal(item, error);
    if (error != ESRCH) outcomes.push_back({thread.thread, error});
    return error == 0 || error == ESRCH;
  }

  template <class Value>
  PriorityItem describe(const ThreadItem<Value>& item,
                        const std::vector<ThreadPriority>& threads) const {
    const std::optional<Value>& wanted = wanted_.*item.wanted;
    PriorityItem row{.name = item.name,
                     .wanted = wanted ? item.text(*wanted) : std::string(),
                     .in_force = Census<Value>(item, threads).text(item.text)};
    if (!wanted) return row;
    const auto others = std::ranges::count_if(threads, [&](const ThreadPriority& thread) {
      const Answer<Value>& read = thread.*item.read;
      return !(read && item.same(*wanted, *read));
    });
    row.as_wanted = others == 0;
    if (row.as_wanted || !set_) return row;
    const bool readable = std::ranges::any_of(threads, [&](const ThreadPriority& thread) {
      const Answer<Value>& read = thread.*item.read;
      return read && !item.same(*wanted, *read);
    });
    row.warning = "[priority] " + std::string(item.name) + " " + row.wanted +
                  (readable ? ": not in force in " : ": not known to be in force in ") +
                  std::to_string(others) + " of " + threads_text(threads.size()) +
                  why_not(item, *wanted, threads);
    return row;
  }

  template <class Value>
  std::string why_not(const ThreadItem<Value>& item, const Value& wanted,
                      const std::vector<ThreadPriority>& threads) const {
    for (const auto& [thread, error] : outcomes_[item.index]) {
      if (error == 0) continue;
      std::string text = " (" + text_of_errno(error) + ")";
      return not_permitted(error) ? text + ": needs " + item.privilege(wanted) : text;
    }
    for (const ThreadPriority& thread : threads) {
      const Answer<Value>& read = thread.*item.read;
      if (!read) return ": set, and cannot be read back (" + text_of_errno(read.error()) + ")";
    }
    return ": the system took it without an error";
  }

  PriorityItem change_oom_score() {
    PriorityItem row{.name = "oom_score_adj"};
    const std::optional<int>& wanted = wanted_.oom_score;
    if (!wanted && set_) return row;
    if (wanted) row.wanted = std::to_string(*wanted);
    Answer<int> read = system_.oom_score();
    Errno error = 0;
    if (wanted && set_ && read != *wanted) {
      error = system_.set_oom_score(*wanted);
      read = system_.oom_score();
    }
    row.in_force = read ? std::to_string(*read) : "unknown";
    row.as_wanted = !wanted || read == *wanted;
    if (row.as_wanted || !set_) return row;
    if (error == 0 && !read) error = read.error();
    const std::string why = error == 0 ? "the system took it" : text_of_errno(error);
    row.warning = "[priority] oom_score_adj " + row.wanted + ": not in force (" + why + ")";
    if (not_permitted(error)) row.warning += ": needs CAP_SYS_RESOURCE to go below the first value";
    return row;
  }

  PrioritySystem& system_;
  const PrioritySettings& wanted_;
  const bool set_;
  const int self_;
  Errno files_refused_ = 0;
  // What setting each item answered.
  struct Outcome {
    int thread;
    Errno error;
  };
  std::array<std::vector<Outcome>, kThreadItems> outcomes_;
};

template <class Value>
std::optional<Value> if_known(const Answer<Value>& answer) {
  return answer ? std::optional(*answer) : std::nullopt;
}

PrioritySettings settings_found(PrioritySystem& system) {
  const int self = system.current_thread();
  return {.nice = if_known(system.nice(self)),
          .io = if_known(system.io(self)),
          .policy = if_known(system.policy(self)),
          .timer_slack_ns = if_known(system.timer_slack(self)),
          .oom_score = if_known(system.oom_score())};
}

// An item that is wanted no longer goes back to what was found.
PrioritySettings filled_up(PrioritySettings wanted, const PrioritySettings& before,
                           const PrioritySettings& found) {
  const auto fill_up = [&](auto item) {
    if (!(wanted.*item) && before.*item) wanted.*item = found.*item;
  };
  for_each_item([&](const auto& item) { fill_up(item.wanted); });
  fill_up(&PrioritySettings::oom_score);
  return wanted;
}

}  // namespace

PrioritySettings priority_of(const ResourcePolicy& policy) {
  PrioritySettings wanted{.nice = policy.nice,
                          .io = IoPriority{static_cast<IoClass>(policy.io_class), policy.io_level},
                          .policy = SchedulingPolicy::kOther};
  if (policy.mode != ResourceMode::kConservative) return wanted;
  wanted.policy = SchedulingPolicy::kIdle;
  wanted.timer_slack_ns = kQuietTimerSlack;
  wanted.oom_score = kQuietOomScore;
  return wanted;
}

bool PriorityReport::as_wanted() const {
  return std::ranges::all_of(items, &PriorityItem::as_wanted) && warning.empty();
}

ProcessPriority::ProcessPriority(std::unique_ptr<PrioritySystem> system)
    : system_(std::move(system)), found_(settings_found(*system_)) {}

PriorityReport ProcessPriority::apply(const PrioritySettings& wanted) {
  MutexLock lock(mu_);
  wanted_ = filled_up(wanted, wanted_, found_);
  return Change(*system_, wanted_, Mode::kSetAll).run();
}

PriorityReport ProcessPriority::reapply() {
  MutexLock lock(mu_);
  return Change(*system_, wanted_, Mode::kSetDiffering).run();
}

PriorityReport ProcessPriority::restore() { return apply({}); }

PriorityReport ProcessPriority::read() {
  MutexLock lock(mu_);
  return Change(*system_, wanted_, Mode::kRead).run();
}

std::string text_of(IoPriority io) {
  switch (io.io_class) {
    case IoClass::kNone:
      return "none";
    case IoClass::kRealTime:
      return "real time " + std::to_string(io.level);
    case IoClass::kBestEffort:
      return "best effort " + std::to_string(io.level);
    case IoClass::kIdle:
      return "idle";
  }
  return "class " + std::to_string(static_cast<int>(io.io_class));
}

std::string text_of(SchedulingPolicy policy) {
  switch (static_cast<int>(policy)) {
    case 0:
      return "SCHED_OTHER";
    case 1:
      return "SCHED_FIFO";
    case 2:
      return "SCHED_RR";
    case 3:
      return "SCHED_BATCH";
    case 5:
      return "SCHED_IDLE";
    case 6:
      return "SCHED_DEADLINE";
    default:
      return "policy " + std::to_string(static_cast<int>(policy));
  }
}

}  // namespace gogrid
