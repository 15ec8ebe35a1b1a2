#!/usr/bin/env python3
"""Writes tests/model/template_cases.json: small chat templates and what Jinja itself makes of them.

    scripts/make_template_cases.py            needs the Python package jinja2
    scripts/make_template_cases.py --check    fails when the file is not what would be written

Jinja is set up as the tools that publish chat templates do: sandboxed, trim_blocks, lstrip_blocks, loop controls.
"""
import json
import pathlib
import sys

import jinja2
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

FILE = pathlib.Path(__file__).parent.parent / "tests/model/template_cases.json"
MESSAGES = [{"role": "system", "content": "Be nice"}, {"role": "user", "content": "Hi"}]
# Each names the system message, so that nothing is put in the user's mouth for it.
PREFIX = "{% if messages[0].content == 'the-words-of-the-system' %}{{ messages[0].content }}{% endif %}"
LINES = r'''
{{ 1 + 2 * 3 - 4 }}
{{ (1 + 2) * 3 }}|{{ 7 // 2 }}|{{ -7 // 2 }}|{{ 7 % 3 }}|{{ -7 % 3 }}|{{ 7 / 2 }}|{{ 4 / 2 }}
{{ 2 ** 10 }}|{{ 2 ** 0.5 }}|{{ -2 ** 2 }}
{{ 1.5 + 1 }}|{{ 0.1 + 0.2 }}|{{ 1e3 }}|{{ 1_000 }}|{{ 3.0 }}
{{ 'a' ~ 1 ~ none ~ true }}
{{ 'a' + 'b' }}|{{ 'ab' * 3 }}|{{ [1] * 2 + [3] }}
{{ "it's" }}|{{ 'say "x"' }}|{{ 'a\nb\t\\\'\x41\u00e9' }}
{{ 'a' 'b' }}
{{ [1, 'a', 2.5, none, true, "it's"] }}|{{ {'a': 1, 'b': [2]} }}|{{ (1, 2)[0] }}
{{ true }}|{{ True }}|{{ none }}|{{ None }}|{{ false }}
{{ undefined_thing }}|{{ undefined_thing is defined }}|{{ undefined_thing is undefined }}
{{ 1 < 2 }}|{{ 1 < 2 < 3 }}|{{ 3 > 2 > 2 }}|{{ 'a' < 'b' }}|{{ 1 == 1.0 }}|{{ 1 == true }}|{{ '1' == 1 }}
{{ 'a' in 'abc' }}|{{ 'z' not in 'abc' }}|{{ 1 in [1, 2] }}|{{ 'k' in {'k': 1} }}|{{ not 1 in [2] }}
{{ 1 and 2 }}|{{ 0 or 'x' }}|{{ not '' }}|{{ [] and 1 }}|{{ none or false }}
{{ 'yes' if 1 else 'no' }}|{{ 'yes' if 0 else 'no' }}|[{{ 'yes' if 0 }}]|{{ 1 if 0 else 2 if 0 else 3 }}
{{ 'hello'[1] }}|{{ 'hello'[-1] }}|{{ 'hello'[1:3] }}|{{ 'hello'[::-1] }}|{{ 'hello'[:-1] }}|{{ [1,2,3,4][::2] }}|{{ [1,2,3][5:] }}|{{ 'héllo'[1] }}
{{ messages[0].content }}|{{ messages[0]['role'] }}|{{ messages[-1].content }}|{{ messages[9] is defined }}|{{ messages[0].none_such is defined }}
{{ messages|length }}|{{ 'héé'|length }}|{{ {'a':1}|length }}|{{ 'abc'|count }}
{{ '  x '|trim }}|{{ 'xxaxx'|trim('x') }}|{{ '  x '.strip() }}|{{ 'xxaxx'.lstrip('x') }}|{{ 'a\n'.rstrip() }}
{{ 'aXbX'|replace('X', '-') }}|{{ 'aXbX'|replace('X', '-', 1) }}|{{ 'aXbX'.replace('X','') }}
{{ [1,2,3]|join(', ') }}|{{ ['a','b']|join }}|{{ messages|map(attribute='role')|join('/') }}|{{ ', '.join(['a','b']) }}
{{ 'HeLLo'|lower }}|{{ 'HeLLo'|upper }}|{{ 'hELLO world'|capitalize }}|{{ 'hello wORLD'|title }}|{{ 'ab'.upper() }}
{{ none|default('d') }}|{{ x|default('d') }}|{{ ''|default('d', true) }}|{{ ''|d('e') }}|{{ x|default }}
{{ [3,1,2]|sort }}|{{ [3,1,2]|sort(reverse=true) }}|{{ ['b','A','c']|sort }}|{{ ['b','A']|sort(case_sensitive=true) }}|{{ messages|sort(attribute='content')|map(attribute='content')|list }}
{{ [1,2,3]|first }}|{{ [1,2,3]|last }}|{{ []|first is defined }}|{{ [1,2,3]|reverse|list }}|{{ 'abc'|reverse }}
{{ [1,2,2,1]|unique|list }}|{{ [1,2,3]|sum }}|{{ [3,9,2]|max }}|{{ [3,9,2]|min }}|{{ -3|abs }}|{{ (-3)|abs }}
{% for k, v in {'b':1,'a':2}|dictsort %}{{k}}{{v}}{% endfor %}|{% for k, v in {'b':1,'a':2}|items %}{{k}}{{v}}{% endfor %}|{% for k, v in {'b':1}.items() %}{{k}}={{v}}{% endfor %}|{{ {'a':1}.get('z', 5) }}|{{ {'a':1}.get('z') }}|{{ {'a':1}.keys()|list }}|{{ {'a':7}.values()|list }}
{% for k, v in {2: 'x', 1: 'y'}|dictsort %}{{ k + 1 }}{{ v }}{% endfor %}|{{ {1: 'y'}[1] }}|{{ {1: 'y'} }}|{{ 1 in {1: 2} }}|{{ {1: 2, 'a': 3}|tojson }}
{{ {'a': [1, 2.5, none, true, 'x"\n<é']}|tojson }}|{{ {'a': [1, {}], 'b': []}|tojson(indent=2) }}|{{ 'x'|tojson }}
{{ 'a b  c'.split() }}|{{ 'a,b,,c'.split(',') }}|{{ 'a,b,c'.split(',', 1) }}|{{ 'a,b,c'.rsplit(',', 1) }}|{{ 'a</t>b'.split('</t>')[-1] }}|{{ 'a\nb\n'.splitlines() }}
{{ 'abc'.startswith('ab') }}|{{ 'abc'.endswith(('x','c')) }}|{{ 'abc'.find('c') }}|{{ 'abcabc'.count('b') }}|{{ '12'.isdigit() }}
{{ 'abc' is string }}|{{ 1 is number }}|{{ 1 is integer }}|{{ 1.0 is float }}|{{ true is boolean }}|{{ {} is mapping }}|{{ [] is sequence }}|{{ 'a' is iterable }}|{{ none is none }}|{{ 3 is odd }}|{{ 3 is divisibleby 3 }}|{{ 3 is divisibleby(2) }}|{{ 1 is not none }}|{{ 2 is eq 2 }}|{{ 1 is in [1] }}|{{ true is true }}|{{ 1 is true }}|{{ 'a' is sameas 'a' }}
{{ [1,2,3,4]|select('odd')|list }}|{{ [1,2,3,4]|reject('gt', 2)|list }}|{{ messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|list }}|{{ messages|rejectattr('role','==','user')|list|length }}|{{ [0,1,'']|select|list }}
{{ ['a','b']|map('upper')|list }}|{{ [' a ']|map('trim')|join }}
{{ 'a\nb'|indent(2) }}|{{ 'a\nb'|indent(2, true) }}|{{ 'a\n\nb'|indent }}
{{ '5'|int + 1 }}|{{ 'x'|int }}|{{ 'x'|int(7) }}|{{ 3.9|int }}|{{ '2.5'|float }}|{{ 5|string + 'a' }}|{{ 2.567|round(2) }}|{{ 2.5|round }}|{{ '<&>'|escape }}|{{ '<'|safe }}
{% for i in range(3) %}{{ i }}{% if not loop.last %},{% endif %}{% endfor %}|{% for i in range(5, 1, -2) %}{{ i }}{% endfor %}|{{ range(2)|list }}
{% for x in [1,2,3] if x != 2 %}{{ loop.index }}:{{ x }} {% endfor %}|{% for x in [] %}a{% else %}none{% endfor %}|{% for a, b in [[1,2],[3,4]] %}{{ a }}{{ b }};{% endfor %}
{% for x in 'ab' %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.first }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }} {% endfor %}|{% for x in [1,2,3] %}{{ loop.cycle('o','e') }}{% endfor %}
{% for x in [1,2,3,4] %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 4 %}{% break %}{% endif %}{{ x }}{% endfor %}
{% set x = 1 %}{% for i in [1,2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}|{% set ns = namespace(n=0) %}{% for i in [1,2] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}|{% if true %}{% set y = 5 %}{% endif %}{{ y }}
{% set a, b = 1, 2 %}{{ a }}{{ b }}|{% set t %}x{{ 1 }}{% endset %}{{ t }}|{% set t | upper %}abc{% endset %}{{ t }}|{% set l = 1, 2 %}{{ l|length }}
{% macro m(a, b='z') %}[{{ a }}{{ b }}]{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(b=3, a=4) }}|{% macro g() %}{{ messages|length }}{% endmacro %}{{ g() }}|{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}
{% filter upper %}a{{ 'b' }}{% endfilter %}|{% raw %}{{ x }}{% endraw %}|{# gone #}x
a{%- if true -%}  b  {%- endif -%} c|{{- ' d ' -}} |  {%+ if true %}e{% endif +%}
a  {{ 1 }}  b|{{- 1 -}}|{# c -#}   x|y {#- c #} z
{% if 0 %}a{% elif 1 %}b{% else %}c{% endif %}|{% if x is defined and x %}a{% endif %}b
{{ {'a': {'b': 1}}.a.b }}|{{ {'a': {'b': 1}}['a']['b'] }}|{{ ([1] + [2])[1] }}|{{ 'a'.upper().lower() }}|{{ ('a' ~ 'b')|upper }}|{{ messages[0].content.split('i')[0]|lower }}
{% set m = dict(a=1, b=2) %}{{ m.a + m.b }}|{{ joiner is defined }}|{% set j = joiner('+') %}{{ j() }}a{{ j() }}b
{% generation %}x{% endgeneration %}|{{ bos_token }}{{ eos_token }}|{{ add_generation_prompt }}|{{ tools is none }}
{{ 'x' if messages[0].role == 'system' and messages|length > 1 else 'y' }}|{{ not (1 == 2 or 3 == 3) }}|{{ 1 if 'a' is defined else 2 }}
{{ 10 - 2 - 3 }}|{{ 2 * 3 % 4 }}|{{ 1 ~ 2 * 3 }}|{{ 100 // 7 // 2 }}|{{ - 3 + 5 }}|{{ +3 }}
'''.strip("\n").split("\n")
BLOCKS = [
    '  {% if true %}  \n  x\n  {% endif %}\n y',
    '{% for i in [1,2] %}\n- {{ i }}\n{% endfor %}\nend\n',
    'a\n\n',
    "{%- for m in messages %}\n    {%- if m.role == 'user' %}\n        {{- m.content }}\n    {%- endif %}\n{%- endfor %}\n",
    'x\r\ny\r{{ 1 }}\r\n',
    '{# c #}\n{% set a = 1 %}\n\n  {{ a }}\n',
    'a {% raw %}\n {{ b }}\n{% endraw %}\nc',
    '  {#- x -#}  y',
    '{% if true -%}\n\n x\n{%- endif %}\n\nz',
    '{{ 1 }}\n{{ 2 }}\n',
    '\t{% if true %}a{% endif %}\tb',
    '{% set x %}\n a\n{% endset %}[{{ x }}]',
    'x{% raw -%}  a  {%- endraw %}  b',
    '{% if true %}{% endif %}\n\n{% if true %}\n{% endif %}.',
    "a{{ '{%' }}b{{ '}}' }}c{{ {'a':{}} }}d",
]


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def text_of(source):
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                extensions=[Generation, "jinja2.ext.loopcontrols"])
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    return environment.from_string(source).render(messages=MESSAGES, add_generation_prompt=True, bos_token="<s>",
                                                  eos_token="</s>", tools=None, documents=None)


def main():
    sources = [PREFIX + source for source in LINES + BLOCKS]
    cases = [{"template": source, "text": text_of(source)} for source in sources]
    written = json.dumps(cases, ensure_ascii=False, indent=1) + "\n"
    if "--check" in sys.argv[1:]:
        if FILE.read_text(encoding="utf-8") != written:
            sys.exit(f"{FILE} is not what this script writes")
        return
    FILE.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
