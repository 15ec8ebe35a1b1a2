#include "http/loss_json.h"

#include <nlohmann/json.hpp>

namespace gogrid {

nlohmann::ordered_json json_of(const ModelLoss& loss) {
  return {{"base", loss.base},
          {"base_digest", "sha256:" + loss.base_digest},
          {"text_digest", "sha256:" + loss.text_digest},
          {"context", loss.context},
          {"positions", loss.positions},
          {"base_perplexity", loss.base_perplexity},
          {"perplexity", loss.perplexity},
          {"mean_kl", loss.mean_kl},
          {"p99_kl", loss.p99_kl},
          {"same_top", loss.same_top}};
}

}  // namespace gogrid
