#include "engine/served_model.h"

#include <algorithm>
#include <utility>

#include "obs/log.h"

namespace gogrid {

bool ServedModel::has_name(std::string_view name) const {
  return status.name == name || std::ranges::contains(status.aliases, name);
}

bool ServedModel::is_idle() const {
  const BatcherStatus batcher = status.engine->status();
  return batcher.running + batcher.waiting + batcher.held == 0;
}

bool ServedModel::is_busy() const {
  return hold.use_count() > 1 || status.engine.use_count() > 1 || !is_idle();
}

std::stop_source ServedModel::begin() {
  retry.begin();
  given_up_.clear();
  vain.reset();
  giving_up_ = std::stop_source();
  status.state = ModelState::kLoading;
  status.progress = 0.0;
  return giving_up_;
}

void ServedModel::become_ready(std::unique_ptr<TextEngine> engine, TimePoint now) {
  log::info("model_ready", {{"model", status.name}});
  retry.loaded(now);
  gave_back_ = false;
  rests = false;
  used = ready_since = now;
  refused_.clear();
  status.engine = std::move(engine);
  status.state = ModelState::kReady;
  status.progress = 1.0;
  status.why.clear();
}

// Said once, for it is tried again and again; not where others can make room.
void ServedModel::be_refused(const Error& why, Vain try_of, bool others_can) {
  vain = try_of;
  if (why.code == ErrorCode::kExhausted && (rests || others_can)) {
    status.state = ModelState::kResting;
  } else {
    status.state = gave_back_ ? ModelState::kUnloaded : ModelState::kFailed;
    if (std::exchange(refused_, why.message) != why.message)
      log::warning("model_waits_for_memory", {{"model", status.name}, {"why", why.message}});
  }
  status.code = gave_back_ ? ErrorCode::kExhausted : why.code;
  status.why = (gave_back_ ? "gave its memory back, and gets none: " : "") + why.message;
}

RetiredEngine ServedModel::fail_for(const Error& why, TimePoint now) {
  log::error("model_failed", {{"model", status.name}, {"why", why.message}});
  status.state = ModelState::kFailed;
  status.why = why.message;
  status.code = ErrorCode::kUnavailable;
  makes_room = false;
  retry.failed(why.code, now);
  return std::exchange(status.engine, nullptr);
}

void ServedModel::give_up(const std::string& excess, const Rooms& rooms, TimePoint now) {
  if (was_told_to_give_up()) return;
  given_up_ = excess;
  giving_up_.request_stop();
  // Now, so that a cap that grows before the load has ended is not missed.
  retry.left(rooms, now);
}

void ServedModel::has_given_up() {
  log::warning("model_gave_up_loading", {{"model", status.name}, {"why", given_up_}});
  status.state = ModelState::kUnloaded;
  status.code = ErrorCode::kExhausted;
  status.why = "gave up loading: " + given_up_;
}

void ServedModel::leave_for_cap(const std::string& excess) {
  if (status.state == ModelState::kReady)
    log::warning("model_leaving", {{"model", status.name}, {"why", excess}});
  status.state = ModelState::kLeaving;
  status.code = ErrorCode::kExhausted;
  status.why = "gives its memory back once its streams have ended: " + excess;
  makes_room = false;
}

void ServedModel::leave_for(const std::string& other) {
  log::info("model_leaving", {{"model", status.name}, {"for", other}});
  status.state = ModelState::kLeaving;
  status.code = ErrorCode::kExhausted;
  status.why = "makes room for '" + other + "' once its streams have ended";
  makes_room = true;
}

void ServedModel::stay() {
  log::info("model_stays", {{"model", status.name}});
  status.state = ModelState::kReady;
  status.why.clear();
  makes_room = false;
}

RetiredEngine ServedModel::unload_for_cap(const std::string& excess, const Rooms& rooms,
                                          TimePoint now) {
  log::warning("model_unloaded", {{"model", status.name}, {"why", excess}});
  status.state = ModelState::kUnloaded;
  status.why = "gave its memory back: " + excess;
  gave_back_ = true;
  // Before it is given back: a cap that grows meanwhile is not missed, and one try is in vain.
  retry.left(rooms, now);
  return std::exchange(status.engine, nullptr);
}

void ServedModel::become_resting(std::string why) {
  status.state = ModelState::kResting;
  status.code = ErrorCode::kUnavailable;
  status.why = std::move(why);
  rests = true;
  makes_room = false;
  vain.reset();
}

RetiredEngine ServedModel::rest(std::string why) {
  log::info("model_rests", {{"model", status.name}, {"why", why}});
  become_resting(std::move(why));
  return std::exchange(status.engine, nullptr);
}

}  // namespace gogrid
