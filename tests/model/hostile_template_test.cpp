// Templates that would hang, crash or fill the memory of an interpreter that believes them. Each is
// parsed and rendered in a process of its own, whose time and memory the kernel tells.
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <ranges>
#include <string>
#include <vector>

#include "base/units.h"
#include "model/chat_template.h"
#include "support/slowness.h"

namespace gogrid {
namespace {

std::string times(int count, std::string_view text) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

const std::vector<ChatMessage>& short_chat() {
  static const std::vector<ChatMessage> kChat{{"user", "a"}, {"assistant", "b"}, {"user", "c"}};
  return kChat;
}
// As long as a request can carry, and more for the template to use.
const std::vector<ChatMessage>& long_chat() {
  static const std::vector<ChatMessage> kChat{{"user", std::string(8 * kMiB, 'x')}};
  return kChat;
}

// How a process of its own fared with a template.
struct Cost {
  enum End : std::uint8_t { kText, kRefused, kCrashed };
  End end = kCrashed;
  double seconds = 0;  // of a processor
  Bytes memory = 0;    // at its peak, the test program included
};

// Keeps what does not end from taking the machine with it.
void limit_this_process() {
  const rlimit time{static_cast<rlim_t>(10 * testing::kSlowness),
                    static_cast<rlim_t>(10 * testing::kSlowness)};
  ::setrlimit(RLIMIT_CPU, &time);
  if (testing::kSlowness > 1) return;  // sanitizers reserve terabytes
  const rlimit memory{2 * kGiB, 2 * kGiB};
  ::setrlimit(RLIMIT_DATA, &memory);
}

Cost cost_of(const std::string& source, const std::vector<ChatMessage>& messages) {
  ::malloc_trim(0);
  const pid_t child = ::fork();
  if (child == 0) {
    limit_this_process();
    const auto parsed = ChatTemplate::parse(source, "", "");
    ::_exit(parsed && parsed->render(messages) ? Cost::kText : Cost::kRefused);
  }
  int status = 0;
  rusage usage{};
  ::wait4(child, &status, 0, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return {.end = WIFEXITED(status) ? static_cast<Cost::End>(WEXITSTATUS(status)) : Cost::kCrashed,
          .seconds = seconds(usage.ru_utime) + seconds(usage.ru_stime),
          .memory = static_cast<Bytes>(usage.ru_maxrss) * kKiB};
}

// Instrumented code has enough to do with a short one.
bool takes_long_chats() { return testing::kSlowness == 1; }

// No template runs in more than one thread.
#if defined(__SANITIZE_THREAD__)
constexpr std::ptrdiff_t kEvery = 10;
#else
constexpr std::ptrdiff_t kEvery = 1;
#endif

void expect_bounded(const Cost& cost) {
  EXPECT_NE(cost.end, Cost::kCrashed);
  // About a second on a machine of 2.4 GHz; half as fast, two.
  EXPECT_LT(cost.seconds, 2.0 * testing::kSlowness);
  EXPECT_LT(cost.memory, 256 * kMiB * testing::kSlowness);
}

// What is wrong, or takes more than it may however it is done.
const std::vector<std::string>& wrong_templates() {
  static const std::vector<std::string> kTemplates{
      "{{ 1 // 0 }}",
      "{{ 1 % 0 }}",
      "{{ (-9223372036854775807 - 1) // -1 }}",
      "{{ 10 ** 100 }}",
      "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
      "{% macro f(x) %}{% for a in [1] %}{{ (f(x)|upper) ~ [f(x)] }}{% endfor %}{% endmacro %}"
      "{{ f(1) }}",
      "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}",
      "{% for i in range(100000000000) %}{% endfor %}",
      "{{ range(0, 1, 0) }}",
      "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
      times(60, "{% for a in messages %}") + "x" + times(60, "{% endfor %}"),
      "{% set x = 'aaaa' %}" + times(60, "{% set x = x ~ x %}") + "{{ x }}",
      "{% set n = namespace(x=[1]) %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
      "{{ 'ab' * 4611686018427387904 }}",
      "{{ [1] * 999999999 }}",
      "{{ 'a'" + times(30, "|replace('a', 'aaaaaaaaaa')") + " }}",
      "{{ range(99999)|join('x' * 100000) }}",
      "{% set n = namespace(x=[]) %}{% for i in range(9999) %}{% set n.x = [n.x] %}{% endfor %}",
      "{% set n = namespace(l=[1]) %}{% for i in range(9999) %}{% for y in n.l %}"
      "{% set n.l = [loop] %}{% endfor %}{% endfor %}",
      "{{ 'a'|map(" + times(5000, "'map',") + "'map') }}",
      "{% for i in range(999) %}{{ ('a' * 100000 ~ 'b') in ('a' * 200000) }}{% endfor %}",
      "{{ ('a' * 1000000).rsplit('b' ~ 'a' * 500000) }}",
      "{{ range(99999)|unique|list|length }}",
      "{{ 1" + times(20'000, " + 1") + " }}",
      "{{ x" + times(20'000, "|trim") + " }}",
      "{{ " + times(20'000, "1 if 1 else ") + "1 }}",
      "{{ " + times(20'000, "-") + "1 }}",
      "{{ " + times(20'000, "not ") + "1 }}",
      "{{ strftime_now('%c' * 300) }}",
      "{{ 'a'|no_such_filter }}",
      "{{ 'a'|map(filter='upper')|list }}",
      "{{ no_such_function() }}",
      "{{ nothing.more }}",
      "{% include 'other' %}",
      "{% for a in range(1000) %}{% set l = range(1000) %}{% for b in l %}{% for c in l %}"
      "{% for d in l %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}",
      "{% for i in range(60) %}{% set l = (l or [1]) + (l or [1]) %}{% endfor %}"
      "{% for i in range(99999) %}{{ 'some text' * 9999 }}{% endfor %}",
      "{% set n = namespace(d={}) %}{% for i in range(9999) %}"
      "{% set n.d = {'a': n.d, 'b': n.d} %}{% endfor %}{{ n.d|tojson }}",
      "{{ ('a,' * 20000000).split(',')|length }}",
  };
  return kTemplates;
}

// `body` done without end, with what it may use: x, a text as long as there may be; y, of the same
// length and equal but for its end; w, white space; d, a mapping whose keys are x and y.
std::string endlessly(const std::string& body) {
  return "{% set c = messages[0].content %}"
         "{% set x = c if c|length > 99 else 'x' * 1000 * 500 %}{% set y = x ~ 'y' %}"
         "{% set x = x ~ 'x' %}{% set w = ' ' * 1000 * 500 %}{% set d = {x: 1, y: 2} %}"
         "{% set r = range(3000) %}{% for i in r %}{% for j in r %}" +
         body + "{% endfor %}{% endfor %}";
}

// Work whose price is not in the number of its words.
std::vector<std::string> costly_templates() {
  std::vector<std::string> templates;
  for (const char* work : {"w|trim",
                           "w.strip()",
                           "'a'.strip(x)",
                           "'a'|trim(x)",
                           "w|int",
                           "w|float",
                           "x is lower",
                           "x is upper",
                           "x|length",
                           "x|lower|length",
                           "x|title|length",
                           "x.find('z')",
                           "x.count('z')",
                           "('1' * 1000 * 500).isdigit()",
                           "x.split()",
                           "x.split('z')",
                           "x.rsplit('z')",
                           "w.split()",
                           "x[5]",
                           "x[1:2]",
                           "x[::-1]",
                           "x == y",
                           "x < y",
                           "y in x",
                           "y in [x, x, x, x, x, x, x]",
                           "x.startswith([y, y, y, y, y, y, y])",
                           "x.replace('x', '')",
                           "x|replace('z', '')",
                           "x|indent",
                           "x|escape",
                           "x|tojson",
                           "x|string",
                           "[x]|join",
                           "[1, 2]|join(x)",
                           "d[x ~ 'z']",
                           "d == {y: 2, x: 1}",
                           "d.get(y)",
                           "d|tojson",
                           "{x: 1, x: 1, x: 1}",
                           "x in d",
                           "d|dictsort",
                           "[x, y, x, y]|sort",
                           "[x, y, x, y]|unique",
                           "[x, y]|max",
                           "namespace(d)",
                           "joiner(x)",
                           "strftime_now('%c' * 128)",
                           "strftime_now('%%' * 128)",
                           "r|first",
                           "r|sum",
                           "r|list",
                           "r * 30",
                           "r + r",
                           "r[::-1]",
                           "r == r",
                           "7000 in r",
                           "('x' * 1000) * 1000"}) {
    templates.push_back(endlessly("{% if " + std::string(work) + " %}{% endif %}"));
  }
  const std::string name(200'000, 'n');
  const std::string arguments = times(90, "1, ") + "1";
  const std::string use_x = "{% set x = 'x' * 1000 * 500 %}";
  templates.insert(
      templates.end(),
      {
          endlessly("{{ " + name + " }}"),
          endlessly("{{ messages." + name + " }}"),
          "{% macro f(" + times(80'000, "a,") + "b) %}{% endmacro %}" + endlessly("{{ f() }}"),
          "{% macro f(" + times(80'000, "a,") + "b) %}{{ f() }}{% endmacro %}{{ f() }}",
          "{% macro f(" + times(90, "a,") + "b) %}{% endmacro %}" + endlessly("{{ f() }}"),
          "{% set l = [range(99999)] * 999 %}{% for " + times(99'998, "a,") +
              "b in l %}{% endfor %}",
          "{% set l = [range(99)] * 99999 %}{% for " + times(98, "a,") + "b in l %}{% endfor %}",
          "{{ range(99999)|map('default', " + arguments + ")|list|length }}" +
              endlessly("{% if r|map('default', " + arguments + ") %}{% endif %}"),
          endlessly("{% if r|select('lt', " + arguments + ") %}{% endif %}"),
          endlessly("{% if 1 is in(" + arguments + ") %}{% endif %}"),
          "{{ 1 is in(" + times(100'000, "1,") + "1) }}",
          use_x + "{{ {" + times(20'000, "x: 1, ") + "x: 1} }}",
          use_x + "{{ ([{x: 1}] * 20000)|tojson }}",
          use_x + "{{ [{x: 1}] * 20000 }}",
          use_x + "{{ ([x] * 20000)|tojson(indent=64) }}",
          "{{ ('\\x01' * 1000 * 1000 * 3)|tojson }}",
          "{{ ('&' * 1000 * 1000 * 3)|escape }}",
          "{% set n = namespace() %}{% set n.x = n %}"
          "{% if ([n] * 9999)|map(attribute='x.' * 1000 * 200) %}{% endif %}",
          "{{ (['x'] * 99999)|join('\\n')|indent(1000) }}",
          "{% set n = namespace(t='x' * 100) %}{% for i in range(99) %}{% set n.t = n.t ~ n.t %}"
          "{% endfor %}",
          // As many variables as can be named, in as many scopes as can be open.
          "{% macro f() %}" +
              [] {
                std::string sets;
                for (int i = 0; i < 10'000; ++i) sets += "{% set v" + std::to_string(i) + " = 1 %}";
                return sets;
              }() +
              "{{ f() }}{% endmacro %}{{ f() }}",
          // Ends, but not soon.
          times(3, "{% for i in range(99999) %}{% endfor %}"),
      });
  return templates;
}

// Sources that are large when parsed, or slow to read.
std::vector<std::string> large_templates() {
  std::vector<std::string> templates{
      std::string(500 * kKiB, '{'),
      "{% raw %}" + times(100'000, "{%"),
      "{{ '" + times(250'000, "\\\\"),
      "{{ " + std::string(500'000, '1') + " }}",
      "{{ " + std::string(500'000, '('),
      "{% if 1 %}" + times(25'000, "{% elif 1 %}") + "{% endif %}",
  };
  const int room = 500 * static_cast<int>(kKiB);
  for (const std::string piece :
       {"{{a}}", "{#", "{##}", "{%", "{% set a=1 %}", "\n{%- raw %}{% endraw %}",
        "{%if a%}{%endif%}", "{% for a in b %}{% endfor %}", "\r"})
    templates.push_back(times(room / static_cast<int>(piece.size()), piece));
  for (const std::string piece :
       {"1,", "[],", "{},", "(),", "a|b,", "a.b,", "a(),", "'',", "a[:],", "a is b,", "-1,",
        "not a,", "1==1,", "a if b,", "1<1<1<1<1<1<1<1,"})
    templates.push_back("{% set l = [" + times(room / static_cast<int>(piece.size()), piece) +
                        "] %}");
  return templates;
}

TEST(HostileTemplate, IsRefusedSoonWhereItIsWrongOrEndless) {
  for (const std::string& source : wrong_templates() | std::views::stride(kEvery)) {
    SCOPED_TRACE(source.substr(0, 200));
    const Cost cost = cost_of(source, short_chat());
    EXPECT_EQ(cost.end, Cost::kRefused);
    expect_bounded(cost);
    if (takes_long_chats()) expect_bounded(cost_of(source, long_chat()));
  }
}

TEST(HostileTemplate, PaysForWhatIsHiddenInFewWords) {
  for (const std::string& source : costly_templates() | std::views::stride(kEvery)) {
    SCOPED_TRACE(source.size() > 600 ? source.substr(0, 300) : source);
    expect_bounded(cost_of(source, short_chat()));
    if (takes_long_chats()) expect_bounded(cost_of(source, long_chat()));
  }
}

TEST(HostileTemplate, IsNoLargerParsedThanItMayBe) {
  for (const std::string& source : large_templates() | std::views::stride(kEvery)) {
    SCOPED_TRACE(source.substr(0, 100));
    expect_bounded(cost_of(source, short_chat()));
  }
}

TEST(HostileTemplate, MakesNoLongMessage) {
  const auto parsed = ChatTemplate::parse(
      "{% set x = 'x' * 1000 * 500 %}{% if messages|length > 2 %}{{ nothing[x] }}{% endif %}", "",
      "");
  ASSERT_TRUE(parsed);
  const auto text = parsed->render(short_chat());
  ASSERT_FALSE(text);
  EXPECT_LT(text.error().message.size(), 2000U);
}

}  // namespace
}  // namespace gogrid
