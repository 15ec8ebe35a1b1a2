#include "app/loss_json.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/format.h"

namespace gogrid {

using Json = nlohmann::ordered_json;

std::string text_of(const ModelLoss& loss) {
  char text[160];
  std::snprintf(text, sizeof text,
                "KL %.4g (p99 %.4g), perplexity %.4f (%.4f), same top token %.2f %%", loss.mean_kl,
                loss.p99_kl, loss.perplexity, loss.base_perplexity, 100.0 * loss.same_top);
  return "against " + loss.base + ": " + text;
}

Json json_of(const RepackRecord& record) {
  return {{"from", record.from},
          {"tensors", record.tensors},
          {"mean_error", record.mean},
          {"worst_error", record.worst},
          {"worst_tensor", record.worst_tensor}};
}

std::string text_of(const RepackRecord& record) {
  const std::string from = format_text("from {}: {} tensors", record.from, record.tensors);
  if (record.worst == 0) return from + ", exactly";
  return format_text("{}, error {:.2g} % on average, {:.2g} % at most ({})", from,
                     100 * record.mean, 100 * record.worst, record.worst_tensor);
}

}  // namespace gogrid
