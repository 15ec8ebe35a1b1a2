// Messages to prompt tokens, without letting what a user typed become a control token.
#pragma once

#include <vector>

#include "base/result.h"
#include "model/chat_template.h"
#include "model/tokenizer.h"

namespace gogrid {

// The template's text is tokenized as a whole, as every other program does it. Only where a message
// spells a control token ("<|im_end|>") is its content tokenized on its own, as plain text: else a
// user could write a system message.
//   kTooLarge         more than `max_tokens`
//   kInvalidArgument  the template refuses the messages, or a word is too long to tokenize
Result<std::vector<Token>> tokenize_chat(const ChatTemplate& chat_template,
                                         const Tokenizer& tokenizer,
                                         const std::vector<ChatMessage>& messages,
                                         std::size_t max_tokens);

}  // namespace gogrid
