// The texts of a vocabulary's special tokens, to be found in a text in one pass.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gogrid {

// Who may write a special token: templates only ("<|im_end|>"), or any text ("<think>").
enum class SpecialKind : std::uint8_t { kControl = 1, kUserDefined = 2 };

struct SpecialText {
  std::string text;
  SpecialKind kind = SpecialKind::kControl;
  bool strips_left = false;   // whitespace before it goes with it
  bool strips_right = false;  // whitespace behind it goes with it
};

// Whitespace that special tokens strip: isspace of the C locale.
constexpr bool is_stripped(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// A trie of bytes. Immutable; thread-safe.
class SpecialTexts {
 public:
  struct Match {
    std::size_t size = 0;  // 0: none
    bool strips_right = false;
  };

  // Empty texts are left out.
  explicit SpecialTexts(std::vector<SpecialText> texts = {});

  // The longest one of these kinds that `text` has at `at`.
  Match longest_at(std::string_view text, std::size_t at, bool with_control) const;
  // Whether `text` has one that only templates may write, of two bytes or more: one character is no
  // spelling that a template could be tricked with.
  bool has_control(std::string_view text) const;

  bool strips_left() const { return strips_left_; }
  bool strips_right() const { return strips_right_; }
  // Whether any begins or ends with whitespace that another one could strip.
  bool touches_whitespace() const { return touches_whitespace_; }
  // Whether one begins within a character.
  bool begins_inside_character() const { return begins_inside_character_; }

 private:
  struct Node {
    std::uint32_t first_edge = 0;
    std::uint32_t n_edges = 0;
    bool is_control = false;
    bool is_user_defined = false;
    bool strips_right = false;
  };
  static constexpr std::uint32_t kNone = 0;  // the root, which no edge leads to

  // Those of `texts[first..last)`, which are sorted, share their first `depth` bytes: `node`.
  struct Group {
    std::size_t first;
    std::size_t last;
    std::size_t depth;
    std::uint32_t node;
  };

  void build(const std::vector<SpecialText>& texts);
  void add_edges(const std::vector<SpecialText>& texts, Group group, std::vector<Group>& groups);
  std::uint32_t child(std::uint32_t node, char byte) const;

  std::vector<Node> nodes_;
  std::vector<unsigned char> edge_bytes_;  // of each node together, ascending
  std::vector<std::uint32_t> edge_nodes_;
  std::array<std::uint32_t, 256> roots_{};  // the root's edges
  bool strips_left_ = false;
  bool strips_right_ = false;
  bool touches_whitespace_ = false;
  bool begins_inside_character_ = false;
};

}  // namespace gogrid
