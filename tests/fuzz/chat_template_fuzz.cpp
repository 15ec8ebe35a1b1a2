// Any bytes as a chat template: parsed or refused, rendered or refused, within its budget.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "model/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gogrid;
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const auto parsed = ChatTemplate::parse(source, "<s>", "</s>");
  if (!parsed) {
    if (parsed.error().code != ErrorCode::kUnsupported) std::abort();
    return 0;
  }
  const auto text = parsed->render({{"system", "Be brief."},
                                    {"user", "Hi {{ there }}"},
                                    {"assistant", "<think>\nhm\n</think>\n\nYes \xc3\xa9"},
                                    {"user", "x\n"}});
  if (!text && text.error().code != ErrorCode::kInvalidArgument) std::abort();
  return 0;
}
