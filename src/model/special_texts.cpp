#include "model/special_texts.h"

#include <algorithm>

namespace gogrid {

SpecialTexts::SpecialTexts(std::vector<SpecialText> texts) {
  std::erase_if(texts, [](const SpecialText& one) { return one.text.empty(); });
  std::ranges::sort(texts, {}, &SpecialText::text);
  for (const SpecialText& one : texts) {
    strips_left_ |= one.strips_left;
    strips_right_ |= one.strips_right;
    touches_whitespace_ |= is_stripped(one.text.front()) || is_stripped(one.text.back());
    begins_inside_character_ |= (static_cast<unsigned char>(one.text.front()) & 0xC0) == 0x80;
  }
  build(texts);
  for (std::uint32_t i = 0; i < nodes_.front().n_edges; ++i) {
    roots_[edge_bytes_[nodes_.front().first_edge + i]] = edge_nodes_[nodes_.front().first_edge + i];
  }
}

void SpecialTexts::build(const std::vector<SpecialText>& texts) {
  nodes_.emplace_back();
  std::vector<Group> groups{{0, texts.size(), 0, 0}};
  while (!groups.empty()) {
    const Group group = groups.back();
    groups.pop_back();
    add_edges(texts, group, groups);
  }
}

void SpecialTexts::add_edges(const std::vector<SpecialText>& texts, Group group,
                             std::vector<Group>& groups) {
  for (; group.first < group.last && texts[group.first].text.size() == group.depth; ++group.first) {
    const SpecialText& one = texts[group.first];
    Node& node = nodes_[group.node];
    (one.kind == SpecialKind::kControl ? node.is_control : node.is_user_defined) = true;
    node.strips_right |= one.strips_right;
  }
  nodes_[group.node].first_edge = static_cast<std::uint32_t>(edge_bytes_.size());
  while (group.first < group.last) {
    const char byte = texts[group.first].text[group.depth];
    std::size_t end = group.first;
    while (end < group.last && texts[end].text[group.depth] == byte) ++end;
    const auto node = static_cast<std::uint32_t>(nodes_.size());
    nodes_.emplace_back();
    edge_bytes_.push_back(static_cast<unsigned char>(byte));
    edge_nodes_.push_back(node);
    ++nodes_[group.node].n_edges;
    groups.push_back({group.first, end, group.depth + 1, node});
    group.first = end;
  }
}

std::uint32_t SpecialTexts::child(std::uint32_t node, char byte) const {
  const auto wanted = static_cast<unsigned char>(byte);
  const auto* first = edge_bytes_.data() + nodes_[node].first_edge;
  const auto* last = first + nodes_[node].n_edges;
  const auto* found = std::lower_bound(first, last, wanted);
  if (found == last || *found != wanted) return kNone;
  return edge_nodes_[static_cast<std::size_t>(found - edge_bytes_.data())];
}

SpecialTexts::Match SpecialTexts::longest_at(std::string_view text, std::size_t at,
                                             bool with_control) const {
  Match longest;
  std::uint32_t node = roots_[static_cast<unsigned char>(text[at])];
  for (std::size_t end = at + 1; node != kNone; node = child(node, text[end++])) {
    const Node& here = nodes_[node];
    if (here.is_user_defined || (with_control && here.is_control)) {
      longest = {end - at, here.strips_right};
    }
    if (end == text.size()) break;
  }
  return longest;
}

bool SpecialTexts::has_control(std::string_view text) const {
  for (std::size_t at = 0; at < text.size(); ++at) {
    std::uint32_t node = roots_[static_cast<unsigned char>(text[at])];
    for (std::size_t end = at + 1; node != kNone; node = child(node, text[end++])) {
      if (nodes_[node].is_control && end - at > 1) return true;
      if (end == text.size()) break;
    }
  }
  return false;
}

}  // namespace gogrid
