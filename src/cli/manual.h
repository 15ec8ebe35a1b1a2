// `--help` as a page of the manual. Private to cli/.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace gogrid {

// At most 100 columns wide, but for words longer than that; the command's closing text as it
// stands.
std::string manual_page(const CLI::App& app);

}  // namespace gogrid
