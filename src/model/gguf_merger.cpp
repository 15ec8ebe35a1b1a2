#include "model/gguf_merger.h"

#include <algorithm>
#include <vector>

#include "base/format.h"
#include "model/gguf_encoder.h"

namespace gogrid {
namespace {

constexpr Bytes kStep = 8 * kMiB;

std::string header_of(const GgufFile& source) {
  GgufEncoder out;
  out.start(source.tensors().size(), source.metadata().size());
  for (const auto& [key, value] : source.metadata()) out.key(key, value.type, value.raw);
  Bytes offset = 0;
  for (const GgufTensor& tensor : source.tensors()) {
    out.tensor(tensor.name, std::span(tensor.shape).first(tensor.n_dims), tensor.type, offset);
    // No sum wraps: all of them lie in files.
    offset = *align_up(offset + tensor.size, source.alignment());
  }
  return out.buffer();
}

}  // namespace

Result<AtomicFile> write_merged(const GgufFile& source, AtomicFile file, const Progress& progress) {
  const std::vector<std::byte> zeros(source.alignment());
  const auto pad = [&] {
    const Bytes missing = *align_up(file.size(), source.alignment()) - file.size();
    return file.write(std::span(zeros).first(missing));
  };
  const std::string header = header_of(source);
  GOGRID_RETURN_IF_ERROR(file.write(std::as_bytes(std::span(header))));
  Bytes total = 0;
  for (const GgufTensor& tensor : source.tensors()) total += tensor.size;
  Bytes done = 0;
  for (const GgufTensor& tensor : source.tensors()) {
    GOGRID_RETURN_IF_ERROR(pad());
    const auto data = source.data(tensor);
    for (Bytes at = 0; at < tensor.size; at += kStep) {
      const auto step = data.subspan(at, std::min(kStep, tensor.size - at));
      GOGRID_RETURN_IF_ERROR(file.write(step));
      done += step.size();
      if (progress && !progress(done, total)) {
        return fail(ErrorCode::kCancelled,
                    format_text("[gguf_merger] merging {}: cancelled", source.path().string()));
      }
    }
  }
  GOGRID_RETURN_IF_ERROR(pad());
  return file;
}

}  // namespace gogrid
