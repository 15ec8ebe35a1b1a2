// Who holds how much memory of which device, and that nobody holds more than was allowed.
//
// Enforced for what a plan asks for (weights, KV cache, compute buffers), before it is allocated.
// What no plan asks for is outside: the program itself, vocabularies, the pages of a file that the
// kernel keeps and takes back as it likes. memory_metrics.h sets what is really used beside it.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "base/units.h"

namespace gogrid {

// In the order in which they are asked to give back when a cap shrinks.
enum class MemoryUse : std::uint8_t { kCache, kCompute, kKv, kWeights };
std::string_view name_of(MemoryUse use);  // "cache", "compute buffers", "KV cache", "weights"

// What an error of want of memory has: kExhausted or kDoesNotFit.
bool is_for_memory(ErrorCode code);

struct MemoryRequest {
  std::string device;
  MemoryUse use = MemoryUse::kWeights;
  std::string holder;  // the model, for people
  Bytes bytes = 0;
};

struct MemoryHolder {
  MemoryUse use = MemoryUse::kWeights;
  std::string holder;
  Bytes bytes = 0;
};

struct DeviceMemory {
  std::string device;
  Bytes cap = 0;
  Bytes held = 0;  // more than cap after it shrank, until enough is given back
  std::vector<MemoryHolder> holders;
};

// Asked before every allocation, and exact: sums are in u64 and never wrap.
//
// A cap may shrink below what is held: then nothing new is granted until enough was given back;
// whoever owns the policy asks the holders. Thread-safe. Must outlive its leases.
class MemoryLedger {
  struct Account;
  struct Entry;

 public:
  // Bytes of one device. Move-only; its destructor gives them back.
  class Lease {
   public:
    Lease(Lease&& other) noexcept;
    // What it held is given back at once.
    Lease& operator=(Lease&& other) noexcept;
    ~Lease();

    Bytes bytes() const;
    // To what was really allocated. Less is always granted; more as a new request would be, and
    // refused it stays as it was.
    Status resize(Bytes bytes);

   private:
    friend class MemoryLedger;
    Lease(MemoryLedger* ledger, Account* account, std::list<Entry>::iterator entry)
        : ledger_(ledger), account_(account), entry_(entry) {}
    void release() noexcept;
    MemoryLedger* ledger_;
    Account* account_;
    std::list<Entry>::iterator entry_;
  };

  // One device's room, to look at without a lock. Valid as long as the ledger.
  class Room {
   public:
    // What could be granted now: a look, no promise.
    Bytes bytes() const { return bytes_->load(std::memory_order_relaxed); }

   private:
    friend class MemoryLedger;
    explicit Room(const std::atomic<Bytes>* bytes) : bytes_(bytes) {}
    const std::atomic<Bytes>* bytes_;
  };

  // A device that nobody named here has no memory to give.
  void set_cap(std::string_view device, Bytes cap) EXCLUDES(mu_);

  // All of them, or none and a refusal, with device, asked, held, cap and who holds it:
  //   kExhausted   not now: others hold it
  //   kDoesNotFit  never under this cap
  Result<std::vector<Lease>> acquire(std::span<const MemoryRequest> requests) EXCLUDES(mu_);
  // What acquire() would say now; takes nothing.
  Status check(std::span<const MemoryRequest> requests) const EXCLUDES(mu_);

  // Empty: no such device.
  std::optional<Room> room_of(std::string_view device) const EXCLUDES(mu_);
  // What must be given back until it is within its cap again.
  Bytes excess(std::string_view device) const EXCLUDES(mu_);

  std::vector<DeviceMemory> list() const EXCLUDES(mu_);

 private:
  struct Entry {
    MemoryUse use;
    std::string holder;
    Bytes bytes;
  };
  struct Account {
    std::string device;
    Bytes cap = 0;
    Bytes held = 0;
    std::list<Entry> entries;
    std::atomic<Bytes> shown{0};  // room(), for looks without the lock

    Bytes room() const { return held < cap ? cap - held : 0; }
  };

  Account* find(std::string_view device) const REQUIRES(mu_);
  Status check_all(std::span<const MemoryRequest> requests) const REQUIRES(mu_);
  static void note_room(Account& account);
  void give_back(Account& account, std::list<Entry>::iterator entry) EXCLUDES(mu_);
  Status resize(Account& account, Entry& entry, Bytes bytes) EXCLUDES(mu_);

  mutable Mutex mu_;
  std::vector<std::unique_ptr<Account>> accounts_ GUARDED_BY(mu_);
};

}  // namespace gogrid
