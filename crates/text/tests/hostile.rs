//! Hostile templates: each of them ends with an error, soon and in little memory.
//!
//! A case here that hangs or is killed is a hole: something that the engine does for a template
//! without anybody paying for it.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use serde_json::{Map, json};
use text::{ChatTemplate, RenderInput, TemplateError};

fn render(source: &str) -> Result<String, TemplateError> {
    let input = RenderInput {
        messages: json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]),
        now: Some(text::template::LocalTime::from_unix(0, 0)),
        ..RenderInput::default()
    };
    ChatTemplate::new(source, &Map::new())?.render(&input).map(|rendered| rendered.text)
}

/// The template takes too much work, and that is what is said.
fn is_too_much(source: &str) {
    match render(source) {
        Err(TemplateError::OutOfFuel { .. } | TemplateError::TooLarge { .. }) => {}
        other => panic!("{source:.200}: {:.200}", format!("{other:?}")),
    }
}

/// The template is refused, with whatever words.
fn is_refused(source: &str) {
    let result = render(source);
    assert!(result.is_err(), "{source:.200}: {:.200}", format!("{result:?}"));
}

/// `body` once for each of `n`, with two lists, two texts and whatever else it sets in `ns`.
fn grown(n: usize, body: &str) -> String {
    format!(
        "{{% set ns = namespace(l=[1], m=[1], s='x', t='x') %}}\
         {{% for i in range({n}) %}}{body}{{% endfor %}}"
    )
}

/// `body` more often than anybody waits for.
fn forever(body: &str) -> String {
    format!(
        "{{% for a in range(99999) %}}{{% for b in range(99999) %}}{body}\
         {{% endfor %}}{{% endfor %}}"
    )
}

/// Two equal lists, tuples or dicts that hold the one before twice: as large as 2 to the 90th.
const SHARING: [&str; 4] = [
    "{% set ns.l = [ns.l, ns.l] %}{% set ns.m = [ns.m, ns.m] %}",
    "{% set ns.l = (ns.l, ns.l) %}{% set ns.m = (ns.m, ns.m) %}",
    "{% set ns.l = {'a': ns.l, 'b': ns.l} %}{% set ns.m = {'a': ns.m, 'b': ns.m} %}",
    "{% set ns.l = [(ns.l, ns.l)] %}{% set ns.m = [(ns.m, ns.m)] %}",
];

#[test]
fn joined_lists() {
    for body in [
        "{% set ns.l = ns.l + ns.l %}",
        "{% set ns.l = ns.l * 2 %}",
        "{% set ns.l = 2 * ns.l %}",
        "{% set ns.l = (ns.l + ns.l)[0:] %}",
        "{% set ns.l = (ns.l + ns.l) | reverse %}",
        "{% set ns.l = (ns.l + ns.l) | map('string') %}",
        "{% set ns.l = [ns.l, ns.l] | sum(start=[]) %}",
        "{% set ns.l = (ns.l + ns.l) | list %}",
        "{% for j in range(9999) %}{% set ns.l = ns.l + [1] %}{% endfor %}",
    ] {
        is_refused(&(grown(99, body) + "{{ ns.l | length }}"));
    }
    for use_once in ["[1] * 10**9", "([1] * 10**8) | length", "(1,) * 10**8", "range(10**9)"] {
        is_refused(&format!("{{{{ {use_once} }}}}"));
    }
    // What was joined and paid for can be looked at a few times, not without end.
    let joined = grown(18, "{% set ns.l = ns.l + ns.l %}{% set ns.m = ns.m + ns.m %}");
    for look in ["ns.l == ns.m", "2 in ns.l", "ns.l[1:]", "ns.l[::-1]", "ns.l | batch(2)"] {
        is_too_much(&(joined.clone() + &forever(&format!("{{% set x = {look} %}}"))));
    }
}

/// Looks at what was shared: the first look at each kind of it, the others at one kind each.
fn shared(looks: &[&str]) {
    for (index, look) in looks.iter().enumerate() {
        for (kind, body) in SHARING.iter().enumerate() {
            if index == 0 || index % SHARING.len() == kind {
                let source = format!("{{% for i in [1, 2] %}}{{{{ {look} }}}}{{% endfor %}}");
                is_refused(&(grown(90, body) + &source));
            }
        }
    }
}

#[test]
fn shared_values_that_are_compared() {
    shared(&[
        "ns.l == ns.m",
        "1 < ns.l < ns.m",
        "ns.l in [ns.m]",
        "{ns.l: 1}[ns.m]",
        "[ns.l].index(ns.m)",
        "[ns.l] | select('eq', ns.m) | list",
        "[ns.l, ns.m] | sort",
        "[ns.l, ns.m] | unique | list",
        "[ns.l, ns.m] | max",
        "[ns.l, ns.m] | groupby('x')",
        "loop.changed(ns.l if i == 1 else ns.m)",
    ]);
}

#[test]
fn shared_values_that_are_printed() {
    shared(&[
        "ns.l",
        "ns.l ~ ''",
        "ns.l | string | length",
        "ns.l | tojson | length",
        "ns.l | pprint | length",
        "[ns.l] | join(',')",
        "'x'.join([ns.l])",
        "'{}'.format(ns.l)",
        "'%s' | format(ns.l)",
        "ns.l | e | length",
    ]);
}

#[test]
fn long_texts_that_are_looked_at() {
    let texts = "{% set s = 'x' * 30000000 %}{% set t = 'x' * 30000000 %}";
    for look in [
        "s == t",
        "t in [s, s]",
        "{s: 1}[t]",
        "s[29999999]",
        "s[29999998:]",
        "s | length",
        "s is lower",
        "s is eq(t)",
        "'a'.find(s)",
        "'a' | replace(s, 'b')",
        "'a'.strip(s)",
        "s.startswith((t, t, t))",
        "(s,) == (t,)",
        "[[s]] == [[t]]",
        "[s] | map('upper') | list",
        "loop.changed(s if b % 2 else t)",
    ] {
        is_too_much(&(texts.to_owned() + &forever(&format!("{{% set x = {look} %}}"))));
    }
    is_too_much(&(texts.to_owned() + &forever("{% for c in s %}{% break %}{% endfor %}")));
    // One long text among many short ones is compared with each of them.
    for use_once in ["max", "sort", "unique | list"] {
        is_too_much(&format!(
            "{{{{ (['x' * 20000000] + ['y'] * 1000000) | {use_once} | length }}}}"
        ));
    }
}

#[test]
fn small_inputs_with_large_outputs() {
    for source in [
        "('a,' * 49000000).split(',') | length",
        "('a ' * 49000000).split() | length",
        "('a\n' * 49000000).splitlines() | length",
        "('{0:9999}' * 1000000).format(1)",
        "('{0}' * 1000000).format('y' * 1000000)",
        "('%(a)s' * 1000000) | format(a='y' * 1000000)",
        "'%999999999s' | format(1)",
        "([1] * 1000000) | tojson(separators=('x' * 1000000, ':'))",
        "([1] * 1000000) | tojson(indent='x' * 1000000)",
        "([1] * 1000000) | join('x' * 1000000)",
        "('x' * 1000000).join([1] * 1000000)",
        "('a' * 99000000).replace('a', 'b' * 1000000)",
        "('\n' * 99000000) | indent(1000000)",
        "'a'.center(10**12)",
        "[1] | batch(10**9, 'x') | list",
        "[1] | slice(10**9, 'x') | list",
        "('x' * 99999999) ~ ('x' * 99999999) ~ ('x' * 99999999)",
        "2 ** (10**30)",
        "strftime_now('%c' * 40000000)",
    ] {
        is_refused(&format!("{{{{ {source} }}}}"));
    }
    let doubled = "{% set x %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = x %}";
    is_too_much(&grown(99, doubled));
    is_too_much(&grown(99, "{% set ns.s = ns.s ~ ns.s %}"));
    is_too_much(&grown(99, "{% set ns.s = '%s%s' | format(ns.s, ns.s) %}"));
}

#[test]
fn recursion_without_an_end() {
    is_refused("{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}");
    is_too_much(
        "{% macro f(n) %}{% for i in range(n) %}{{ f(n - 1) }}{% endfor %}x{% endmacro %}{{ f(10) }}",
    );
    is_refused("{% for x in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}");
    is_too_much(&forever("{% macro f() %}{{ messages }}{% endmacro %}"));
    let (call, end) = ("{% call f() %}", "{% endcall %}");
    let calls = format!("{}x{}", call.repeat(8), end.repeat(8));
    let f = "{% macro f() %}{{ caller() * 20 }}{% endmacro %}";
    is_refused(&format!("{f}{calls}"));
    is_too_much(&format!("{f}{call}{calls}{end}"));
}

#[test]
fn nesting_and_values_that_hold_themselves() {
    for body in [
        "{% set ns.l = [ns.l] %}",
        "{% set ns.l = (ns.l,) %}",
        "{% set ns.l = {'a': ns.l} %}",
        "{% set ns.l = {ns.s: (ns.l, [1])} %}",
        "{% set ns.l = dict(a=ns.l) %}",
        "{% set ns.l = [ns.l] | batch(1) | list %}",
    ] {
        let message = render(&grown(9999, body)).unwrap_err().to_string();
        assert!(message.contains("nested too deeply"), "{body}: {message}");
    }
    for held in [
        "ns",
        "[ns]",
        "(ns, 1)",
        "{'a': ns}",
        "namespace(a=ns)",
        "none | default(ns, true)",
        "[{}] | map(attribute='a', default=ns) | list",
        "loop",
        "[loop]",
        "loop.cycle(a=ns)",
    ] {
        is_refused(&grown(1, &format!("{{% set ns.x = {held} %}}")));
    }
    is_refused(&grown(1, "{% set ns.x, ns.y = ns, 1 %}"));
}

#[test]
fn objects_of_the_engine_s_own() {
    // A namespace stays small, whichever way it grows, and what it keeps is paid for.
    let names =
        |each: &str| (0..100).map(|i| each.replace('#', &i.to_string())).collect::<String>();
    is_refused(&grown(1, &names("{% set ns.x# = 1 %}")));
    is_refused(&grown(1, &names("{% set ns.x# %}a{% endset %}")));
    is_refused(&grown(1, &format!("{{% set {} = [1] * 100 %}}", names("ns.x#,"))));
    is_refused("{% set d = [{}] %}{{ namespace(dict(messages[0], **{'a' ~ 1: 1}), x=1, **d) }}");
    let kept = "{% set a = namespace(s='x' * 30000000) %}{% set b = namespace(s='x' * 30000000) %}";
    for look in ["a == b", "[1].count(a)", "{}[a]", "a < b", "a in [1]"] {
        is_too_much(&(kept.to_owned() + &forever(&format!("{{% set x = {look} %}}"))));
    }
    // A macro's list of arguments is as long as its source.
    let arguments = (0..50_000).map(|i| format!("a{i}, ")).collect::<String>();
    for look in ["{}[f.arguments]", "{}[f['arguments']]", "f.arguments == g.arguments"] {
        let source = format!(
            "{{% macro f({arguments}) %}}{{% endmacro %}}{{% macro g({arguments}) %}}{{% endmacro %}}"
        );
        is_too_much(&(source + &forever(&format!("{{% set x = {look} %}}"))));
    }
    // There are no other templates, found or missing.
    is_refused(&forever("{% include 'x' * 1000000 ignore missing %}"));
    is_refused("{% for x in [1] %}{{ loop.cycle() }}{% endfor %}");
}

#[test]
fn sources_that_are_slow_to_compile() {
    let list = format!("[{}]", vec!["[1] * 99999999"; 1000].join(", "));
    is_refused(&format!("{{{{ {list} == {list} }}}}"));
    let macros = (0..100).map(|i| format!("{{% macro m{i}() %}}")).collect::<String>();
    is_too_much(&format!("{macros}{}{}", "{{ x }}".repeat(9999), "{% endmacro %}".repeat(100)));
    for chain in [" ~ 1", " and x", " - 1", " + x"] {
        // Whatever becomes of it: it is seen as a whole only once.
        let _ = render(&format!("{{{{ x{} }}}}", chain.repeat(8000)).repeat(10));
    }
}

#[test]
fn what_templates_do_is_not_refused() {
    for (source, expected) in [
        ("{{ ([1] + [2])[1] }} {{ [1] + [2] * 2 }} {{ (1,) + (2,) }}", "2 [1, 2, 2] (1, 2)"),
        ("{{ [1, 2, 3][::-1] }} {{ [1, 2, 3][-1] }} {{ 'abc'[1:] }}", "[3, 2, 1] 3 bc"),
        (
            "{{ [1, [2]] == [1, [2]] }} {{ (1, 2) == [1, 2] }} {{ {'a': [1]}['a'] }}",
            "True False [1]",
        ),
        ("{{ {1: 'a', 'b': 2} }} {{ dict(a=1, b=[2]) }}", "{1: 'a', 'b': 2} {'a': 1, 'b': [2]}"),
        ("{{ [1, 'a'] ~ ('b', 1.5) ~ none }}", "[1, 'a']('b', 1.5)None"),
        (
            "{% for g in messages | groupby('role') %}{{ g.grouper }}={{ g.list | length }} {% endfor %}",
            "assistant=1 user=1 ",
        ),
        (
            "{{ messages | sort(attribute='content') | map(attribute='role') | join(',') }}",
            "user,assistant",
        ),
        ("{% set ns = namespace(f=range, l=[]) %}{% set ns.l = ns.l + [1] %}{{ ns.l }}", "[1]"),
        (
            "{% set ns = namespace(a=1) %}{% set ns.b %}x{% endset %}{% set ns.a, ns.c = 2, 3 %}{{ ns }}",
            "{'a': 2, 'b': 'x', 'c': 3}",
        ),
        ("{% macro f(a, b) %}{% endmacro %}{{ f.arguments }} {{ f['name'] }}", "['a', 'b'] f"),
        ("{% macro f(n) %}{{ n.x }}{% endmacro %}{{ f(namespace(x=1)) }}", "1"),
    ] {
        assert_eq!(render(source).unwrap(), expected, "{source}");
    }
    // A list that grows with a long conversation.
    let appended = "{% set ns.l = ns.l + [messages[0]] %}";
    assert_eq!(render(&(grown(5000, appended) + "{{ ns.l | length }}")).unwrap(), "5001");
}

#[test]
fn lists_that_change_stay_within_their_limits() {
    for (source, expected) in [
        ("{{ messages.append(1) }}", "did not make"),
        ("{% set q = [1] %}{% for x in q %}{% set _ = q.append(x) %}{% endfor %}", "within a loop"),
        ("{% set q = [1] %}{% for x in q %}{% set _ = q.pop() %}{% endfor %}", "within a loop"),
        ("{% set q = [1] %}{% set _ = q.append(q) %}{{ q }}", "only texts, numbers"),
        ("{% set q = [1] %}{% set _ = q.append({'q': q}) %}", "only texts, numbers"),
        ("{% set q = [] %}{% set ns = namespace(q=q) %}{% set _ = q.append(ns) %}", "only texts"),
        ("{% set q = [1] %}{% set _ = q.pop(-2) %}", "no such item"),
    ] {
        let error = render(source).unwrap_err();
        assert!(error.to_string().contains(expected), "{source}: {error}");
    }
    // A loop that is over holds nothing.
    let source = "{% set q = [1, 2] %}{% for x in q %}{% if x == 1 %}{% break %}{% endif %}{% endfor %}{% set _ = q.append(3) %}{{ q | join(' ') }} {{ q == [1, 2, 3] }}{% set _ = q.append(4) %}{{ q | length }}";
    assert_eq!(render(source).unwrap(), "1 2 3 True4");
    // Steps and memory are counted.
    is_too_much(&("{% set q = [] %}".to_owned() + &forever("{% set _ = q.append('x' * 1000) %}")));
    let moved = "{% set _ = ns.l.append('x') %}{% set _ = ns.l.pop(0) %}";
    assert_eq!(render(&(grown(5000, moved) + "{{ ns.l | join }}")).unwrap(), "x");
}
