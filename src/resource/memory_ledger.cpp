#include "resource/memory_ledger.h"

#include <algorithm>
#include <utility>

namespace gogrid {
namespace {

constexpr std::size_t kNamedHolders = 8;

std::string holders_text(const auto& entries) {
  std::string text;
  std::size_t named = 0;
  for (const auto& entry : entries) {
    if (named++ == kNamedHolders) return text + ", …";
    if (!text.empty()) text += ", ";
    text +=
        format_bytes(entry.bytes) + ' ' + std::string(name_of(entry.use)) + " of " + entry.holder;
  }
  return text.empty() ? "nobody" : text;
}

// What a plan asks of one device.
struct Asked {
  std::string_view device;
  std::string_view holder;
  std::string uses;
  Bytes bytes = 0;  // at the top instead of wrapping
};

Asked asked_of(std::span<const MemoryRequest> requests, std::string_view device) {
  Asked asked{device, {}, {}, 0};
  for (const MemoryRequest& request : requests) {
    if (request.device != device) continue;
    asked.holder = request.holder;
    asked.bytes = checked_add(asked.bytes, request.bytes).value_or(UINT64_MAX);
    const std::string_view use = name_of(request.use);
    if (!asked.uses.contains(use))
      asked.uses += (asked.uses.empty() ? "" : ", ") + std::string(use);
  }
  return asked;
}

// `own`: bytes that the holder has there already, and would keep.
std::unexpected<Error> refuse(const auto& account, const Asked& asked, Bytes own) {
  const bool never = asked.bytes > account.cap || own > account.cap - asked.bytes;
  return fail(never ? ErrorCode::kDoesNotFit : ErrorCode::kExhausted,
              "[memory_ledger] " + account.device + ": asked for " + format_bytes(asked.bytes) +
                  " of " + asked.uses + " for " + std::string(asked.holder) + ", held " +
                  format_bytes(account.held) + ", cap " + format_bytes(account.cap) +
                  ": short by " + std::to_string(asked.bytes - account.room()) +
                  " bytes; held by " + holders_text(account.entries));
}

}  // namespace

std::string_view name_of(MemoryUse use) {
  switch (use) {
    case MemoryUse::kCache:
      return "cache";
    case MemoryUse::kCompute:
      return "compute buffers";
    case MemoryUse::kKv:
      return "KV cache";
    case MemoryUse::kWeights:
      return "weights";
  }
  return "memory";
}

bool is_for_memory(ErrorCode code) {
  return code == ErrorCode::kExhausted || code == ErrorCode::kDoesNotFit;
}

// ---- leases

MemoryLedger::Lease::Lease(Lease&& other) noexcept
    : ledger_(std::exchange(other.ledger_, nullptr)),
      account_(other.account_),
      entry_(other.entry_) {}

MemoryLedger::Lease& MemoryLedger::Lease::operator=(Lease&& other) noexcept {
  if (this == &other) return *this;
  release();
  ledger_ = std::exchange(other.ledger_, nullptr);
  account_ = other.account_;
  entry_ = other.entry_;
  return *this;
}

MemoryLedger::Lease::~Lease() { release(); }

void MemoryLedger::Lease::release() noexcept {
  if (ledger_ != nullptr) std::exchange(ledger_, nullptr)->give_back(*account_, entry_);
}

Bytes MemoryLedger::Lease::bytes() const { return ledger_ != nullptr ? entry_->bytes : 0; }

Status MemoryLedger::Lease::resize(Bytes bytes) {
  if (ledger_ == nullptr)
    return fail(ErrorCode::kInternal, "[memory_ledger] the lease was moved away");
  return ledger_->resize(*account_, *entry_, bytes);
}

// ---- the ledger

void MemoryLedger::set_cap(std::string_view device, Bytes cap) {
  MutexLock lock(mu_);
  Account* account = find(device);
  if (account == nullptr) {
    accounts_.push_back(std::make_unique<Account>());
    account = accounts_.back().get();
    account->device = device;
  }
  account->cap = cap;
  note_room(*account);
}

Result<std::vector<MemoryLedger::Lease>> MemoryLedger::acquire(
    std::span<const MemoryRequest> requests) {
  std::vector<Lease> leases;  // before the lock: should something throw, they are given back after
  leases.reserve(requests.size());
  MutexLock lock(mu_);
  GOGRID_RETURN_IF_ERROR(check_all(requests));
  for (const MemoryRequest& request : requests) {
    Account* const account = find(request.device);
    account->entries.push_back({request.use, request.holder, request.bytes});
    account->held += request.bytes;
    leases.push_back(Lease(this, account, std::prev(account->entries.end())));
    note_room(*account);
  }
  return leases;
}

Status MemoryLedger::check(std::span<const MemoryRequest> requests) const {
  MutexLock lock(mu_);
  return check_all(requests);
}

std::optional<MemoryLedger::Room> MemoryLedger::room_of(std::string_view device) const {
  MutexLock lock(mu_);
  const Account* const account = find(device);
  return account != nullptr ? std::optional(Room(&account->shown)) : std::nullopt;
}

Bytes MemoryLedger::excess(std::string_view device) const {
  MutexLock lock(mu_);
  const Account* const account = find(device);
  return account != nullptr && account->held > account->cap ? account->held - account->cap : 0;
}

std::vector<DeviceMemory> MemoryLedger::list() const {
  MutexLock lock(mu_);
  std::vector<DeviceMemory> result;
  for (const auto& account : accounts_) {
    DeviceMemory memory{account->device, account->cap, account->held, {}};
    for (const Entry& entry : account->entries) {
      memory.holders.push_back({entry.use, entry.holder, entry.bytes});
    }
    result.push_back(std::move(memory));
  }
  return result;
}

MemoryLedger::Account* MemoryLedger::find(std::string_view device) const {
  const auto found = std::ranges::find(accounts_, device, &Account::device);
  return found != accounts_.end() ? found->get() : nullptr;
}

Status MemoryLedger::check_all(std::span<const MemoryRequest> requests) const {
  std::vector<Asked> all;
  for (const MemoryRequest& request : requests) {
    const Account* const account = find(request.device);
    if (account == nullptr) {
      return fail(ErrorCode::kDoesNotFit, "[memory_ledger] " + request.device + ": no such device");
    }
    if (std::ranges::none_of(all, [&](const Asked& one) { return one.device == request.device; })) {
      all.push_back(asked_of(requests, request.device));
    }
  }
  for (const Asked& asked : all) {
    const Account& account = *find(asked.device);
    if (asked.bytes > account.room()) return refuse(account, asked, 0);
  }
  return {};
}

void MemoryLedger::note_room(Account& account) {
  account.shown.store(account.room(), std::memory_order_relaxed);
}

void MemoryLedger::give_back(Account& account, std::list<Entry>::iterator entry) {
  MutexLock lock(mu_);
  account.held -= entry->bytes;
  account.entries.erase(entry);
  note_room(account);
}

Status MemoryLedger::resize(Account& account, Entry& entry, Bytes bytes) {
  MutexLock lock(mu_);
  if (bytes > entry.bytes && bytes - entry.bytes > account.room()) {
    Bytes own = 0;
    for (const Entry& held : account.entries) own += held.holder == entry.holder ? held.bytes : 0;
    const Asked asked{account.device, entry.holder, std::string(name_of(entry.use)),
                      bytes - entry.bytes};
    return refuse(account, asked, own);
  }
  account.held = account.held - entry.bytes + bytes;
  entry.bytes = bytes;
  note_room(account);
  return {};
}

}  // namespace gogrid
