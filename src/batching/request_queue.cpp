#include "batching/request_queue.h"

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

namespace gogrid {

void RequestQueue::push(QueuedRequest request) {
  Principal& principal = principals_[request.submission.request.principal];
  principal.waiting.push_back(std::move(request));
  ++size_;
}

RequestQueue::Principals::const_iterator RequestQueue::next() const {
  auto best = principals_.end();
  const auto rank = [](const Principal& p) { return std::tuple(p.running, p.served); };
  for (auto it = principals_.begin(); it != principals_.end(); ++it) {
    if (it->second.waiting.empty()) continue;
    if (best == principals_.end() || rank(it->second) < rank(best->second)) best = it;
  }
  return best;
}

const QueuedRequest* RequestQueue::front() const {
  const auto principal = next();
  return principal == principals_.end() ? nullptr : &principal->second.waiting.front();
}

std::optional<QueuedRequest> RequestQueue::pop() {
  const auto found = next();
  if (found == principals_.end()) return std::nullopt;
  Principal& principal = principals_.find(found->first)->second;
  std::optional<QueuedRequest> request(std::move(principal.waiting.front()));
  principal.waiting.pop_front();
  principal.served = ++pops_;
  ++principal.running;
  --size_;
  return request;
}

void RequestQueue::ended(const std::string& name) {
  const auto principal = principals_.find(name);
  if (principal == principals_.end() || principal->second.running == 0) return;
  --principal->second.running;
  forget_if_idle(principal);
}

void RequestQueue::forget_if_idle(Principals::iterator principal) {
  if (principal->second.waiting.empty() && principal->second.running == 0) {
    principals_.erase(principal);
  }
}

void RequestQueue::for_each(const std::function<void(QueuedRequest&)>& visit) {
  for (auto& [name, principal] : principals_) std::ranges::for_each(principal.waiting, visit);
}

std::vector<QueuedRequest> RequestQueue::remove_if(
    const std::function<bool(const QueuedRequest&)>& condition) {
  std::vector<QueuedRequest> removed;
  for (auto it = principals_.begin(); it != principals_.end();) {
    auto& waiting = it->second.waiting;
    const auto gone = std::stable_partition(waiting.begin(), waiting.end(),
                                            [&](const auto& entry) { return !condition(entry); });
    std::move(gone, waiting.end(), std::back_inserter(removed));
    waiting.erase(gone, waiting.end());
    const auto next = std::next(it);
    forget_if_idle(it);
    it = next;
  }
  size_ -= removed.size();
  return removed;
}

}  // namespace gogrid
