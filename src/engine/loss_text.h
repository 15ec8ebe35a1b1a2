// A short text that stages with smaller types are measured on where nobody names another.
#pragma once

#include <string_view>

namespace gogrid {

// About 1,100 tokens of English: prose, talk, a recipe, code, numbers. Another text is another
// measurement: results are kept with its SHA-256.
std::string_view loss_text();

}  // namespace gogrid
