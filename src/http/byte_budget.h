// Bytes that are held for a while, up to a limit.
#pragma once

#include <atomic>
#include <cstddef>
#include <optional>
#include <utility>

namespace gogrid {

// Thread-safe. Must outlive its leases.
class ByteBudget {
 public:
  // Held bytes. Move-only; given back by the destructor.
  class Lease {
   public:
    Lease(Lease&& other) noexcept
        : budget_(std::exchange(other.budget_, nullptr)), size_(other.size_) {}
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (budget_ != nullptr) budget_->held_ -= size_;
    }

   private:
    friend class ByteBudget;
    Lease(ByteBudget* budget, std::size_t size) : budget_(budget), size_(size) {}
    ByteBudget* budget_;
    std::size_t size_;
  };

  explicit ByteBudget(std::size_t limit) : limit_(limit) {}

  // Empty when it would go over the limit.
  std::optional<Lease> take(std::size_t size) {
    std::size_t held = held_.load();
    do {
      if (size > limit_ || held > limit_ - size) return std::nullopt;
    } while (!held_.compare_exchange_weak(held, held + size));
    return Lease(this, size);
  }

  std::size_t held() const { return held_; }

 private:
  const std::size_t limit_;
  std::atomic<std::size_t> held_{0};
};

}  // namespace gogrid
