#include "cli/manual.h"

#include <CLI/CLI.hpp>
#include <sstream>
#include <utility>
#include <vector>

#include "cli/grammar.h"

namespace gogrid {
namespace {

constexpr std::size_t kWidth = 100;
constexpr std::size_t kIndent = 2;
constexpr std::size_t kColumn = 30;  // where descriptions begin

// "  left          words of the description, wrapped at their own column".
std::string entry(const std::string& left, const std::string& description) {
  std::string text = std::string(kIndent, ' ') + left;
  std::size_t at = text.size();
  std::istringstream words(description);
  const auto start_line = [&] {
    text += "\n" + std::string(kColumn, ' ');
    at = kColumn;
  };
  if (at + 2 > kColumn) start_line();
  text.append(kColumn - at, ' ');
  at = kColumn;
  for (std::string word; words >> word;) {
    if (at > kColumn && at + 1 + word.size() > kWidth) start_line();
    if (at > kColumn) word.insert(0, 1, ' ');
    text += word;
    at += word.size();
  }
  return text + "\n";
}

// "-p, --prompt TEXT".
std::string spelling(const CLI::Option& option) {
  std::string text;
  for (const std::string& name : option.get_snames()) text += "-" + name + ", ";
  for (const std::string& name : option.get_lnames()) text += "--" + name;
  if (option.get_items_expected_max() > 0) text += " " + option.get_type_name();
  return text;
}

std::string upper(std::string text) {
  for (char& c : text) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return text;
}

std::string usage(const CLI::App& app) {
  std::string text = "USAGE\n  " + full_name(app);
  if (!commands_of(app).empty()) return text + " COMMAND [options]\n";
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) text += " " + option->get_name(true);
  }
  return text + " [options]\n";
}

std::string arguments(const CLI::App& app) {
  std::string text;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) text += entry(option->get_name(true), option->get_description());
  }
  return text.empty() ? text : "\nARGUMENTS\n" + text;
}

std::string commands(const CLI::App& app) {
  std::string text;
  for (const CLI::App* sub : commands_of(app))
    text += entry(sub->get_name(), sub->get_description());
  return text.empty() ? text : "\nCOMMANDS\n" + text;
}

// Group by group, in the order in which the groups appear; the general ones last.
std::string options(const CLI::App& app) {
  std::vector<std::pair<std::string, std::string>> groups;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) continue;
    auto group =
        std::ranges::find(groups, option->get_group(), &decltype(groups)::value_type::first);
    if (group == groups.end()) group = groups.insert(group, {option->get_group(), ""});
    group->second += entry(spelling(*option), option->get_description());
  }
  std::ranges::stable_partition(groups, [](const auto& group) { return group.first != "General"; });
  std::string text;
  for (const auto& [group, entries] : groups) text += "\n" + upper(group) + "\n" + entries;
  return text;
}

}  // namespace

std::string manual_page(const CLI::App& app) {
  std::string text = full_name(app) + " - " + app.get_description() + "\n\n" + usage(app);
  text += commands(app) + arguments(app) + options(app);
  const std::string closing = app.get_footer();
  return closing.empty() ? text : text + closing + "\n";
}

}  // namespace gogrid
