"""Renders small templates with the Jinja environment of transformers and writes jinja.json.

Each case is one thing that chat templates rely on. Run with transformers installed:

    FREEHOLD_SHARED=… python make_jinja.py

with the folder of shared data, where a published template lies that changes a list.
"""

import json
import os
from pathlib import Path

from jinja2.sandbox import SandboxedEnvironment
from transformers.utils import chat_template_utils
from transformers.utils.chat_template_utils import _compile_jinja_template

CONTEXT = {
    "s": "  Hello, World  ",
    "t": "one two  three\nfour",
    "u": "Äpfel ß ñ 🦙 \"x\" 'y'",
    "n": None,
    "yes": True,
    "no": False,
    "i": 7,
    "neg": -7,
    "f": 2.5,
    "big": 1e16,
    "small": 1e-7,
    "whole": 3.0,
    "l": [1, "two", None, True, 2.0, [3], {"k": "v"}],
    "words": ["b", "a", "C"],
    "d": {"b": 1, "a": [1, 2], "items": "own", "nested": {"x": None}},
    "schema": {
        "type": "object",
        "properties": {"items": {"type": "array", "items": {"type": "string"}}, "get": {"type": "number"}},
        "required": ["items"],
    },
    "people": [
        {"name": "Ann", "age": 30, "tags": ["x"]},
        {"name": "Bob", "age": 25, "tags": []},
        {"name": "Cy", "age": 30},
    ],
    "empty": "",
    "none_list": [],
    "html": "<b>&'\"</b>",
    "control": "a\u0001\u001f\u007f\u0085\u00a0\u200b\u2028b\\",
    "lines": "a\r\nb\n\nc",
}

TEMPLATES = r"""
{{ n }} {{ yes }} {{ no }} {{ i }} {{ f }} {{ big }} {{ small }} {{ whole }}
{{ l }}
{{ d }}
{{ schema }}
{{ (1, 'a') }} {{ (1,) }} {{ [1, 2.5, none, true] }} {{ {'a': 1, 2: 'b'} }}
{{ u }} {{ [u] }} {{ [control] }}
{{ l | string }} {{ n | string }} {{ yes | string }} {{ f | string }} {{ big | string }}
{{ 'a' ~ n ~ yes ~ 1 ~ 2.5 ~ [1, 'x'] ~ {'k': none} }}
{{ s | trim }}|{{ s.strip() }}|{{ s.lstrip() }}|{{ s.rstrip() }}|{{ '\n\t x \x1f' | trim }}|
{{ 'xxhixx'.strip('x') }} {{ 'xyhiyx'.lstrip('xy') }} {{ 'xyhiyx'.rstrip('xy') }} {{ 'xxhixx' | trim('x') }}
{{ t.split() }} {{ t.split(' ') }} {{ t.split(' ', 1) }} {{ t.split('\n')[-1] }} {{ t.split(maxsplit=1) }}
{{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b  c '.rsplit(none, 1) }} {{ ' a b  c '.split(none, 1) }} {{ ''.split() }} {{ ''.split(',') }}
{{ lines.splitlines() }} {{ lines.splitlines(true) }} {{ 'a\n'.splitlines() }}
{{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.partition('=') }}
{{ 'hello'.replace('l', 'L') }} {{ 'hello'.replace('l', 'L', 1) }} {{ 'aa'.replace('', '-') }} {{ 'hello' | replace('l', 'L') }}
{{ 'hello'.startswith('he') }} {{ 'hello'.endswith(('x', 'lo')) }} {{ 'hello'.startswith(('x',)) }}
{{ 'hello'.find('l') }} {{ 'hello'.rfind('l') }} {{ 'hello'.find('z') }} {{ 'ñandú'.find('d') }} {{ 'hello'.find('l', 3) }} {{ 'hello'.index('l') }}
{{ 'hello'.count('l') }} {{ 'hello'.upper() }} {{ 'HELLO'.lower() }} {{ 'hello world'.title() }} {{ 'hELLO wORLD'.capitalize() }} {{ 'aB'.swapcase() }}
{{ "they're bill's".title() }} {{ 'straße'.upper() }} {{ 'İ'.lower() }}
{{ '12'.isdigit() }} {{ 'a1'.isalnum() }} {{ 'ab'.isalpha() }} {{ ' '.isspace() }} {{ ''.isdigit() }} {{ 'aB'.islower() }} {{ 'AB'.isupper() }} {{ 'é'.isascii() }}
{{ '7'.zfill(3) }} {{ '-7'.zfill(4) }} {{ 'a'.ljust(3, '.') }}| {{ 'a'.rjust(3) }} {{ 'ab'.center(5, '*') }} {{ 'abc'.center(6, '*') }} {{ 'ab'.center(4, '*') }}
{{ 'prefix-x'.removeprefix('prefix-') }} {{ 'x.json'.removesuffix('.json') }} {{ 'x'.removeprefix('y') }}
{{ ', '.join(words) }} {{ words | join(', ') }} {{ [1, 2.0, none, true] | join('-') }} {{ people | join(', ', attribute='name') }} {{ words | join }}
{{ '{} and {}'.format('a', 1) }} {{ '{0}{1}{0}'.format('x', 'y') }} {{ '{a}'.format(a=3) }} {{ '{:>5}|{:.2f}'.format('ab', 3.14159) }}
{{ '%s is %d' | format('x', 3) }} {{ '%.2f' | format(2.345) }} {{ '%05d' | format(42) }}
{{ d.items() | list }} {{ d.keys() | list }} {{ d.values() | list }}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}
{% for k, v in d | items %}{{ k }}={{ v }};{% endfor %}
{% for k, v in d | dictsort %}{{ k }}={{ v }};{% endfor %}
{% for k in d %}{{ k }},{% endfor %}
{% for k, v in schema.properties.items() %}{{ k }}:{{ v.type }} {% endfor %}
{{ schema.properties['items'].type }} {{ schema['properties']['get'] }} {{ schema.properties.get('items').get('items') }}
{{ d.get('a') }} {{ d.get('zzz') }} {{ d.get('zzz', 5) }} {{ d['zzz'] is defined }} {{ d.zzz is defined }} {{ d.nested.x is none }} {{ d.nested.y is undefined }}
{{ 'a' in d }} {{ 'z' in d }} {{ 'a' not in d }} {{ 2 in [1, 2] }} {{ 'ell' in 'hello' }} {{ 'x' in words }} {{ none in l }}
{{ d | tojson }} {{ u | tojson }} {{ l | tojson }} {{ control | tojson }} {{ html | tojson }}
{{ d | tojson(indent=2) }}
{{ [] | tojson }} {{ {} | tojson }} {{ [] | tojson(indent=2) }} {{ {'a': []} | tojson(indent=2) }}
{{ d | tojson(indent=4, sort_keys=true) }} {{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }}
{{ u | tojson(ensure_ascii=True) }} {{ d | tojson(separators=(',', ':')) }} {{ d | tojson(separators=(',', ':'), indent=1) }}
{{ big | tojson }} {{ small | tojson }} {{ whole | tojson }} {{ n | tojson }} {{ yes | tojson }} {{ i | tojson }} {{ {1: 2, none: 3, true: 4} | tojson }}
{{ (1, 'a') | tojson }} {{ 'é' | tojson(true) }} {{ [1] | tojson(false, 2) }}
{{ undefined_thing | tojson }}
{{ s[2:7] }} {{ s[-3:] }} {{ s[:-2] }} {{ 'abcdef'[::-1] }} {{ 'abcdef'[1:5:2] }} {{ 'abc'[0] }} {{ 'abc'[-1] }} {{ '🦙x'[1] }}
{{ l[0] }} {{ l[-1] }} {{ l[1:3] }} {{ l[::-1] }} {{ l[10] is defined }} {{ l[-10:2] }} {{ l[5:1] }}
{{ l | length }} {{ s | length }} {{ d | length }} {{ '🦙' | length }} {{ none_list | length }} {{ words | count }}
{{ undefined_thing | length }} {{ undefined_thing }}|{{ undefined_thing | default('x') }} {{ empty | default('x') }} {{ empty | default('x', true) }} {{ n | default('x') }} {{ n or 'y' }}
{% for x in undefined_thing %}a{% else %}none{% endfor %}
{{ undefined_thing.attribute }}
{{ undefined_thing['x'] }}
{{ undefined_thing() }}
{{ n.attribute is defined }} {{ n['x'] is defined }} {{ i.x is defined }} {{ s.nope is defined }}
{{ undefined_thing ~ 'x' }} {{ undefined_thing == undefined_other }} {{ undefined_thing == none }} {{ not undefined_thing }} {{ undefined_thing is none }}
{{ undefined_thing + 'x' }}
{{ 'x' + 1 }}
{{ n + 'x' }}
{{ 'a' * 3 }} {{ [1] * 2 }} {{ [1] + [2] }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 6 / 2 }} {{ 2 ** 3 }} {{ 2 ** -1 }} {{ 1.5 + 1 }} {{ 10 ** 20 }}
{{ 1 == 1.0 }} {{ 1 == true }} {{ '1' == 1 }} {{ [1] == [1.0] }} {{ none == false }} {{ 1 < 2 < 3 }} {{ 'a' < 'b' }} {{ not 1 }} {{ 1 and 2 }} {{ 0 or 'x' }} {{ '' or n }}
{{ 'yes' if yes else 'no' }} {{ 'x' if no }}|{{ (i if i > 5 else f) }}
{{ s is string }} {{ i is number }} {{ f is float }} {{ i is integer }} {{ yes is number }} {{ yes is integer }} {{ yes is boolean }} {{ d is mapping }} {{ l is sequence }} {{ s is sequence }} {{ d is sequence }} {{ i is sequence }}
{{ l is iterable }} {{ s is iterable }} {{ d is iterable }} {{ i is iterable }} {{ n is none }} {{ n is defined }} {{ yes is true }} {{ 1 is true }} {{ no is false }} {{ undefined_thing is iterable }} {{ undefined_thing is sequence }} {{ undefined_thing is string }} {{ undefined_thing is mapping }}
{{ i is odd }} {{ i is even }} {{ i is divisibleby 7 }} {{ i is eq 7 }} {{ i is equalto 7 }} {{ i is gt 3 }} {{ 'a' is in ['a'] }} {{ 'abc' is lower }} {{ 'ABC' is upper }} {{ raise_exception is callable }} {{ i is sameas i }}
{{ people | map(attribute='name') | list }} {{ people | map(attribute='tags', default='-') | list }} {{ words | map('upper') | list }} {{ words | map('length') | join }}
{{ people | selectattr('age', 'equalto', 30) | map(attribute='name') | list }} {{ people | rejectattr('tags') | list | length }} {{ people | selectattr('tags', 'defined') | list | length }} {{ [0, 1, 2] | select | list }} {{ [1, 2, 3] | select('odd') | list }} {{ [1, 2, 3] | reject('odd') | list }}
{{ words | sort }} {{ words | sort(case_sensitive=true) }} {{ words | sort(reverse=true) }} {{ people | sort(attribute='age') | map(attribute='name') | join(',') }} {{ [3, 1, 2] | max }} {{ [3, 1, 2] | min }} {{ [1, 2] | sum }} {{ people | sum(attribute='age') }}
{{ words | first }} {{ words | last }} {{ none_list | first is defined }} {{ words | reverse | list }} {{ 'abc' | reverse }} {{ 'abc' | list }} {{ [1, 1, 2] | unique | list }} {{ d | list }}
{{ people | groupby('age') | length }} {% for age, group in people | groupby('age') %}{{ age }}:{{ group | length }} {% endfor %}
{{ ' 12 ' | int }} {{ '1_000' | int }} {{ none | int }} {{ true | int }} {{ '1e3' | int }} {{ 'x' | float }} {{ 'x' | float(1.5) }} {{ '3' | int }} {{ 'x' | int }} {{ 'x' | int(5) }} {{ 3.9 | int }} {{ '3.5' | float }} {{ -3 | abs }} {{ 3.14159 | round(2) }} {{ 2.5 | round }} {{ 7 | round }} {{ 2.7 | round(method='floor') }}
{{ 'a\nb' | indent(2) }} {{ 'a\nb' | indent(2, true) }} {{ 'a\n\nb' | indent }} {{ 'hello world' | capitalize }} {{ 'hello world' | title }} {{ "it's me" | title }} {{ 'X' | lower }} {{ 'x' | upper }} {{ n | upper }} {{ i | upper }}
{{ [1, 2, 3, 4, 5] | batch(2) | list }} {{ [1, 2, 3, 4, 5] | slice(2) | list }} {{ html | safe }} {{ html | e }}
{{ 'a b' | wordcount }}
{% for x in [1, 2, 3] %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }} {% endfor %}
{% for x in [1, 2, 3, 4] %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 4 %}{% break %}{% endif %}{{ x }}{% endfor %}
{% for x in [1, 2, 3] if x is odd %}{{ x }}{{ loop.length }}{% endfor %}
{% for x in [] %}x{% else %}empty{% endfor %}
{% for x in [1, 2] %}{{ loop.cycle('a', 'b') }}{{ loop.changed(1) }}{% endfor %}
{% for a, b in [[1, 2], [3, 4]] %}{{ a }}{{ b }} {% endfor %}
{% for x in range(3) %}{{ x }}{% endfor %}{% for x in range(5, 1, -2) %}{{ x }}{% endfor %} {{ range(3) | list }}
{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}
{% set ns = namespace(x=1, found=false) %}{% for i in [1, 2] %}{% set ns.x = ns.x + i %}{% set ns.found = true %}{% endfor %}{{ ns.x }}{{ ns.found }}
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set c %}block {{ a }}{% endset %}{{ c }}{{ c | length }}
{% if true %}{% set inner = 5 %}{% endif %}{{ inner }}
{% macro m(a, b='x', c=none) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 2, 3) }}{{ m(a=1, c=5) }}{{ m('q') | upper }}
{% macro rec(n) %}{{ n }}{% if n > 0 %}{{ rec(n - 1) }}{% endif %}{% endmacro %}{{ rec(3) }}
{% macro wrap() %}<{{ caller() }}>{% endmacro %}{% call wrap() %}in{% endcall %}
{% macro outer() %}{{ i }}{% endmacro %}{{ outer() }}
{% filter upper %}abc{{ i }}{% endfilter %}
{% raw %}{{ x }}{% endraw %}{# comment #}|{#- c -#} |
{%- if yes %} a {%- elif no %} b {% else %} c {% endif -%} |
{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}
{% generation %}x{{ i }}{% endgeneration %}y
{{ raise_exception('no ' ~ i) }}
{% if i == 7 %}{{ raise_exception('stop') }}{% endif %}
{{ l.append(1) }}
{{ d.pop('a') }}
{{ d.update({'z': 1}) }}
{{ s.nope() }}
{{ 'x' | nofilter }}
{{ 1 is notest }}
{{ nofunction() }}
{{ [1, 2].index(2) }} {{ [1, 1].count(1) }} {{ 'a-b'.split('-') | last }} {{ d.copy() == d }}
{{ dict(a=1, b=2) }} {{ dict({'x': 1}) }} {{ {'a': 1}.get('a') }} {{ {'a': 1}.items() | list }} {{ {'a': {'b': 2}}['a']['b'] }} {{ {'a': {'b': 2}}.a.b }}
{{ "a\tb\\n\x41\u00e9" }} {{ 'it\'s' }} {{ "say \"hi\"" }} {{ 'a' 'b' }}
{{ 1_000 }} {{ 0x1F }} {{ 1e3 }} {{ 1.0e-7 }} {{ -0.0 }} {{ 1.10 }} {{ 100000000000000000000 }} {{ 0.1 + 0.2 }}
{{ true and false }} {{ True }} {{ None }} {{ none }} {{ False or 'x' }} {{ not true }}
{{ people[0].name }} {{ people[0]['name'] }} {{ people[0].get('nope', 'd') }} {{ people[-1].name }} {{ people.0.name }} {{ (people | first).age }}
{{ people | map(attribute='name') | map('lower') | join('/') }} {{ (people | selectattr('name', 'in', ['Ann', 'Cy']) | list)[1].age }}
{{ 'abc' | replace('b', '') | upper ~ '!' }} {{ ('a' if yes else 'b') ~ ('c' if no else 'd') }} {{ -i }} {{ i - -1 }} {{ (i | string) + 'x' }}
{{ l | tojson | length }} {{ (d | tojson) is string }} {{ '{"a": 1}' | tojson }} {{ d | tojson | safe }} {{ 'a' | tojson ~ '\n' }}
{% for m in people %}{{- m.name }}{{ ', ' if not loop.last }}{% endfor %}
{% for x in [1, 2, 3] recursive %}{{ x }}{% endfor %}
{% for k, v in d.items() | list %}{{ loop.index }}{{ k }}{% endfor %} {% for p in d.items() %}{{ p[0] }}{% endfor %} {{ d.items() | map('first') | list }}
{{ [['a', 1], ['b', 2]] | map('last') | list }}
{{ t | wordwrap(5) }}
{{ 'a' < 1 }}
{{ +i }}
{{ [1] < [2] }} {{ 'abc' == "abc" }} {{ [1, 2] == (1, 2) }} {{ {} == {} }} {{ {'a': 1} == {'a': 1.0} }}
{{ namespace(a=1).a }} {{ namespace().b is defined }}
{% set ns = namespace(items=[]) %}{% set ns.items = ns.items + ['x'] %}{{ ns.items }} {{ ns.items | length }}
{% set ns = namespace(d={}) %}{% set ns.d = dict(ns.d, **{'k': 1}) %}{{ ns.d }}
{% set parts = s.strip().split(', ') %}{{ parts[0] }}-{{ parts[1] }}-{{ parts | length }}
{{ 'x' in undefined_thing }}
{{ 'x' in n }}
{{ (undefined_thing or {}).get('x') }} {{ (n or []) | length }} {{ (d.zzz or 'none') }} {{ d.zzz | default([]) | length }}
{{ d.items is defined }} {{ d['items'] }}
{{ s.upper is defined }} {{ people[0].keys is callable }}
{{ 5 | string | length }} {{ 5.0 | int }} {{ '5' * 2 }}
{{ "%s" % "x" }} {{ "%d-%s" % (1, 'a') }}
{{ l | pprint }}
{{ html }} {{ html | escape }}
{{ 'abcdefghij' | truncate(5) }}
{% set j = joiner(', ') %}{% for x in [1, 2] %}{{ j() }}{{ x }}{% endfor %}
{{ d | attr('b') is defined }} {{ l | random is defined }} {{ words | xmlattr is defined }}
{{ 'a' if undefined_thing is defined and undefined_thing.x else 'b' }} {{ 'x' if d.nested is mapping and 'x' in d.nested }}
{{- s -}} x {{+ i }} {{ i -}} y
{% if s.strip() == 'Hello, World' and l | length > 2 and (d.b == 1 or no) %}ok{% endif %}
{% if not (n is not none) %}ok{% endif %}{% if n is not defined %}x{% endif %}{% if yes is not false %}y{% endif %}
{{ ['a', 'b', 'c'][1:] | join }} {{ people[1:] | length }} {{ people[::-1] | map(attribute='name') | list }} {{ (l | reverse | list)[0] }} {{ (people | map(attribute='age') | list)[:2] }}
""".strip("\n").split("\n")

# Templates of several lines: white space control.
TEMPLATES += [
    "{% for x in [1, 2] %}\n  {{ x }}\n{% endfor %}\nend\n",
    "    {% if yes %}\n    a\n    {% endif %}\nb\n\n",
    "a\n  {%- if yes -%}  \n b {% endif +%}\n c",
    "{#- note -#}\n  x\n{# note #}\ny\n  {# note #}  \nz",
    "x\n\n\n",
    "\n\n{{ i }}\n\n",
    "a\r\n{% if yes %}\r\nb\r\n{% endif %}\r\nc",
    "  {%+ if yes %}x{% endif %}",
    "{% set x %}\n  a\n{% endset %}[{{ x }}]",
    "{% macro m() %}\n  body\n{% endmacro %}\n[{{ m() }}]",
    "{{ 'a\nb' }}\n{{ \"c\r\nd\" | tojson }}",
    "{%- for m in people -%}\n{{ m.name }}\n{%- if not loop.last %}\n{% endif %}\n{%- endfor %}\n",
    "{{ x }}{% if %}",
    "{% for %}",
    "{{ 'unclosed }}",
    "{% endif %}",
    "{% unknown %}",
    "{% if yes %}",
]

# Lists that a template makes and changes. The environment of transformers refuses that; these are
# rendered by its sandbox that does not. The context's own lists stay as they are in either.
CHANGING = [
    "{% set q = [] %}{% set _ = q.append('a') %}{% set _ = q.append(2) %}{{ q }} {{ q | length }} {{ q[0] }} {{ q[-1] }}",
    "{% set q = [] %}{{ q.append(none) }} {{ q }} {% if q %}some{% endif %}",
    "{% set ns = namespace(ids=[]) %}{% for x in words %}{% set _ = ns.ids.append(x ~ loop.index) %}{% endfor %}{{ ns.ids | join(',') }} {{ ns.ids.pop(0) }} {{ ns.ids.pop() }} {{ ns.ids }}",
    "{% set ns = namespace(ids=['a', 'b']) %}{% for x in words %}{% if ns.ids %}{{ ns.ids.pop(0) }}{% else %}none{% endif %} {% endfor %}",
    "{% macro add(q, x) %}{% set _ = q.append(x) %}{% endmacro %}{% set q = [1] %}{{ add(q, 2) }}{{ add(q, 3) }}{{ q }}",
    "{% set a = [1] %}{% set b = a %}{% set _ = b.append(2) %}{{ a }} {{ a == b }} {{ 2 in a }}",
    "{% set a = [1] %}{% set b = a + [2] %}{% set _ = b.append(3) %}{{ a }} {{ b }} {{ b[:2] }}",
    "{% for x in [1, 2] %}{% set q = [] %}{% set _ = q.append(x) %}{{ q }}{% endfor %}",
    "{% set q = s.strip().split(', ') %}{% set _ = q.append('!') %}{{ q }} {{ q.pop(1) }} {{ q.pop(-2) }} {{ q }}",
    "{% set q = [] %}{{ q.pop() }}",
    "{% set q = [1] %}{{ q.pop(1) }}",
    "{% set q = [1] %}{{ q.append() }}",
    "{% set d = {'q': [1]} %}{% set _ = d.q.append('x') %}{{ d }} {{ d | tojson }}",
]

# Conversations for Kimi-K2-Thinking's template, which keeps a queue of call ids in such a list.
CALL = {"type": "function", "function": {"name": "look_up", "arguments": {"word": "café", "n": 2}}}
OTHER = {"type": "function", "function": {"name": "ping", "arguments": "{}"}}
SYSTEM = {"role": "system", "content": "Be brief."}
QUESTION = {"role": "user", "content": "What is it?"}
ANSWER = {"role": "assistant", "content": "It is that."}


def calls(*calls, **more):
    return {"role": "assistant", "content": None, "tool_calls": list(calls), **more}


def result(text, **more):
    return {"role": "tool", "content": text, **more}


QUEUE = [
    [SYSTEM, QUESTION, calls(CALL, reasoning_content="A call.")],
    [SYSTEM, QUESTION, calls(CALL, OTHER), result("one"), result("two"), QUESTION],
    [SYSTEM, QUESTION, calls(CALL), result("one"), ANSWER, QUESTION, calls(OTHER), result("two")],
    [SYSTEM, QUESTION, calls(CALL), result("one"), result("more", name="ping"), ANSWER],
]


def queued():
    """What the published template makes of them."""
    source = Path(os.environ["FREEHOLD_SHARED"], "data/templates/Kimi-K2-Thinking.jinja")
    template = _compile_jinja_template(source.read_text())
    render = lambda messages: template.render(messages=messages, add_generation_prompt=True)
    return [{"messages": messages, "expected": render(messages)} for messages in QUEUE]


def rendered(templates):
    cases = []
    for source in templates:
        case = {"template": source}
        try:
            case["expected"] = _compile_jinja_template(source).render(**CONTEXT)
        except Exception as error:  # every refusal counts, of whatever kind
            case["error"] = f"{type(error).__name__}: {error}".split("\n")[0]
        cases.append(case)
    print(len(cases), "cases,", sum("error" in case for case in cases), "refused")
    return cases


def main():
    cases = rendered(TEMPLATES)
    chat_template_utils.ImmutableSandboxedEnvironment = SandboxedEnvironment
    found = {"context": CONTEXT, "cases": cases, "changing": rendered(CHANGING), "queue": queued()}
    out = Path(__file__).with_name("jinja.json")
    out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


main()
