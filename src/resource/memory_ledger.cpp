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

// ---- leases

MemoryLedger::Lease::Lease(Lease&& other) noexcept
    : ledger_(std::exchange(other.ledger_, nullptr)),
      account_(other.account_),
      entry_(other.entry_) {}

MemoryLedger::Lease& MemoryLedger::Lease::operator=(Lease&& other) noexcept {
  std::swap(ledger_, other.ledger_);
  std::swap(account_, other.account_);
  std::swap(entry_, other.entry_);
  return *this;
}

MemoryLedger::Lease::~Lease() {
  if (ledger_ != nullptr) ledger_->give_back(*account_, entry_);
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
    if (accounts_.size() == kMaxDevices) return;  // it has no memory to give
    accounts_.push_back(std::make_unique<Account>());
    account = accounts_.back().get();
    account->device = device;
    account->index = accounts_.size() - 1;
  }
  account->cap = cap;
  note_room(*account);
}

Result<std::vector<MemoryLedger::Lease>> MemoryLedger::acquire(
    std::span<const MemoryRequest> requests) {
  std::vector<Lease> leases;
  leases.reserve(requests.size());
  std::optional<Error> refusal;
  {
    MutexLock lock(mu_);
    for (const MemoryRequest& request : requests) {
      Account* const account = find(request.device);
      if (account == nullptr) {
        refusal = Error{ErrorCode::kDoesNotFit,
                        "[memory_ledger] " + request.device + ": no such device",
                        {},
                        {}};
        break;
      }
      if (auto fits = check(*account, request, held_by(leases, account)); !fits) {
        refusal = std::move(fits).error();
        break;
      }
      account->entries.push_back({request.use, request.holder, request.bytes});
      account->held += request.bytes;
      note_room(*account);
      leases.push_back(Lease(this, account, std::prev(account->entries.end())));
    }
  }
  // The leases so far give themselves back, outside the lock.
  if (refusal) return std::unexpected(*std::move(refusal));
  return leases;
}

Bytes MemoryLedger::held_by(std::span<const Lease> leases, const Account* account) {
  Bytes bytes = 0;
  for (const Lease& lease : leases) bytes += lease.account_ == account ? lease.bytes() : 0;
  return bytes;
}

std::optional<std::size_t> MemoryLedger::index_of(std::string_view device) const {
  MutexLock lock(mu_);
  const Account* const account = find(device);
  return account != nullptr ? std::optional(account->index) : std::nullopt;
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

Status MemoryLedger::check(const Account& account, const MemoryRequest& request, Bytes own) const {
  if (request.bytes <= account.room()) return {};
  const bool never = request.bytes > account.cap || own > account.cap - request.bytes;
  return fail(never ? ErrorCode::kDoesNotFit : ErrorCode::kExhausted,
              "[memory_ledger] " + account.device + ": asked for " + format_bytes(request.bytes) +
                  " of " + std::string(name_of(request.use)) + " for " + request.holder +
                  ", held " + format_bytes(account.held) + ", cap " + format_bytes(account.cap) +
                  ": short by " + std::to_string(request.bytes - account.room()) +
                  " bytes; held by " + holders_text(account.entries));
}

void MemoryLedger::note_room(const Account& account) {
  rooms_[account.index].store(account.room(), std::memory_order_relaxed);
}

void MemoryLedger::give_back(Account& account, std::list<Entry>::iterator entry) {
  MutexLock lock(mu_);
  account.held -= entry->bytes;
  account.entries.erase(entry);
  note_room(account);
}

Status MemoryLedger::resize(Account& account, Entry& entry, Bytes bytes) {
  MutexLock lock(mu_);
  if (bytes > entry.bytes) {
    const MemoryRequest request{account.device, entry.use, entry.holder, bytes - entry.bytes};
    GOGRID_RETURN_IF_ERROR(check(account, request, entry.bytes));
  }
  account.held = account.held - entry.bytes + bytes;
  entry.bytes = bytes;
  note_room(account);
  return {};
}

}  // namespace gogrid
