#include "stage/step_check.h"

#include <algorithm>
#include <cstddef>

#include "base/format.h"

namespace gogrid {
namespace {

// What the slots will hold after the upkeep, in `lengths`.
Status check_upkeep(const StepShape& shape, const std::vector<KvOp>& ops,
                    std::vector<std::int32_t>& lengths) {
  const auto known = [&](SlotId slot) {
    return slot >= 0 && static_cast<std::size_t>(slot) < lengths.size();
  };
  for (const KvOp& op : ops) {
    const bool copies = op.kind == KvOp::Kind::kCopy;
    if (!known(op.slot) || (copies && !known(op.from))) {
      return fail(ErrorCode::kCorrupt,
                  format_text("{}: upkeep of slots 0 to {}: {} from {}", shape.where,
                              lengths.size() - 1, op.slot, op.from));
    }
    const std::int32_t source = lengths[static_cast<std::size_t>(copies ? op.from : op.slot)];
    if (op.length < 0 || (copies && op.length > source)) {
      return fail(ErrorCode::kCorrupt, format_text("{}: upkeep of slot {} within {} positions: {}",
                                                   shape.where, op.slot, source, op.length));
    }
    lengths[static_cast<std::size_t>(op.slot)] = std::min(op.length, source);
  }
  return {};
}

Status check_rows(const StepShape& shape, const StageInput& input,
                  std::vector<std::int32_t>& lengths) {
  if (input.rows.size() > shape.max_rows) {
    return fail(ErrorCode::kCorrupt, format_text("{}: at most {} rows: {}", shape.where,
                                                 shape.max_rows, input.rows.size()));
  }
  const std::size_t floats = shape.first ? 0 : input.rows.size() * shape.n_embd;
  if (input.hidden.size() != floats) {
    return fail(ErrorCode::kCorrupt, format_text("{}: hidden state of {} numbers: {}", shape.where,
                                                 floats, input.hidden.size()));
  }
  for (const StepRow& row : input.rows) {
    if (row.slot < 0 || static_cast<std::size_t>(row.slot) >= lengths.size()) {
      return fail(ErrorCode::kCorrupt, format_text("{}: a slot from 0 to {}: {}", shape.where,
                                                   lengths.size() - 1, row.slot));
    }
    std::int32_t& length = lengths[static_cast<std::size_t>(row.slot)];
    if (row.position != length || static_cast<std::uint32_t>(length) >= shape.context) {
      return fail(ErrorCode::kCorrupt,
                  format_text("{}: position {} of slot {}, below {}: {}", shape.where, length,
                              row.slot, shape.context, row.position));
    }
    ++length;
    if (shape.first && (row.token < 0 || static_cast<std::uint32_t>(row.token) >= shape.n_vocab)) {
      return fail(ErrorCode::kCorrupt, format_text("{}: a token from 0 to {}: {}", shape.where,
                                                   shape.n_vocab - 1, row.token));
    }
  }
  return {};
}

Status check_outputs(const StepShape& shape, const StageInput& input) {
  if (!shape.last) return {};
  const auto wanted = static_cast<std::size_t>(
      std::ranges::count_if(input.rows, [](const StepRow& row) { return row.wants_output; }));
  const bool complete = std::ranges::all_of(input.outputs, [](const OutputSpec& output) {
    return output.raw_logits || output.sampling != nullptr;
  });
  if (input.outputs.size() != wanted || !complete) {
    return fail(ErrorCode::kCorrupt, format_text("{}: a sampling spec for each of {} rows: {}",
                                                 shape.where, wanted, input.outputs.size()));
  }
  return {};
}

}  // namespace

Status check_step(const StepShape& shape, const StageInput& input,
                  std::vector<std::int32_t>& lengths) {
  GOGRID_RETURN_IF_ERROR(check_upkeep(shape, input.kv_ops, lengths));
  GOGRID_RETURN_IF_ERROR(check_rows(shape, input, lengths));
  return check_outputs(shape, input);
}

}  // namespace gogrid
