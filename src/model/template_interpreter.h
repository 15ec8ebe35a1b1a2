// Runs a parsed chat template.
#pragma once

#include <string>
#include <vector>

#include "model/template_syntax.h"

namespace gogrid::jinja {

// The text that `body` makes of these variables. Throws TemplateError with the line: for what the
// template refuses (raise_exception), for what it does wrong, and when the budget is spent.
// Reentrant.
std::string render(const Body& body, std::vector<Entry> variables, Budget& budget);

}  // namespace gogrid::jinja
