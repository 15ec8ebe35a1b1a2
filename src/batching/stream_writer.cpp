#include "batching/stream_writer.h"

#include <utility>

namespace gogrid {

StreamWriter::StreamWriter(const QueuedRequest& request, const Vocabulary& vocabulary)
    : sink_(request.submission.sink),
      builder_(vocabulary, request.submission.request.stop,
               request.submission.request.sampling.top_logprobs >= 0),
      submitted_(request.since) {
  usage_.prompt_tokens = static_cast<std::uint32_t>(request.submission.request.prompt.size());
}

StreamWriter::Outcome StreamWriter::write(News news, Metrics* metrics, std::string_view model) {
  Outcome outcome;
  outcome.stopped = take(std::exchange(news.tokens, {}), metrics, model);
  if (outcome.stopped && !news.error) news.finish = FinishReason::kStop;
  Delta delta = news.finish ? builder_.finish() : builder_.take();
  if (!delta.tokens.empty() || !delta.text.empty()) {
    outcome.reader = sink_->on_delta(std::move(delta));
  }
  if (!news.finish && !news.error) return outcome;
  usage_.cached_prompt_tokens = news.cached_prompt_tokens;
  tell_end(news);
  if (metrics != nullptr) measure_end(news, *metrics, model);
  outcome.told = true;
  return outcome;
}

bool StreamWriter::take(std::vector<News::Made> tokens, Metrics* metrics, std::string_view model) {
  for (News::Made& made : tokens) {
    if (metrics != nullptr && first_token_) {
      metrics->observe_inter_token(model, made.at - last_token_);
    }
    if (!first_token_) first_token_ = made.at;
    last_token_ = made.at;
    ++usage_.completion_tokens;
    if (builder_.push(std::move(made.event))) return true;
  }
  return false;
}

void StreamWriter::tell_end(const News& news) {
  const auto sink = std::exchange(sink_, nullptr);
  if (!news.finish) return sink->on_error(*news.error, usage_);
  Finish finish;
  finish.reason = *news.finish;
  finish.usage = usage_;
  if (news.first_step) finish.queued = *news.first_step - submitted_;
  if (news.first_step && first_token_) {
    finish.prefill = *first_token_ - *news.first_step;
    finish.decode = last_token_ - *first_token_;
  }
  sink->on_finish(finish);
}

void StreamWriter::measure_end(const News& news, Metrics& metrics, std::string_view model) const {
  metrics.count_tokens(model, usage_.prompt_tokens - usage_.cached_prompt_tokens,
                       usage_.cached_prompt_tokens, usage_.completion_tokens);
  if (news.first_step) metrics.observe_queue_wait(model, *news.first_step - submitted_);
  if (first_token_) metrics.observe_time_to_first_token(model, *first_token_ - submitted_);
}

}  // namespace gogrid
