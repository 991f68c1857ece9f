use serde_json::json;

use super::*;

fn ceph(health: &str) -> Value {
    json!({
        "apiVersion": "ceph.rook.io/v1",
        "kind": "CephCluster",
        "metadata": { "name": "rook-ceph", "namespace": "rook-ceph", "generation": 2, "labels": { "example.com/tier": "gold" } },
        "spec": { "mon": { "count": 3 }, "ratio": 0.5, "paused": false, "nothing": null },
        "status": {
            "phase": "Ready",
            "ceph": { "health": health },
            "conditions": [
                { "type": "Ready", "status": "True" },
                { "type": "Progressing", "status": "False" },
            ],
        },
    })
}

fn eval(text: &str) -> Result<bool, String> {
    Expression::parse(text).unwrap().eval(&ceph("HEALTH_WARN"))
}

/// Expressions about [`ceph`], and whether they are true.
const MEANINGS: &[(&str, bool)] = &[
    ("self.status.ceph.health != \"HEALTH_OK\"", true),
    ("self.status.ceph.health in ['HEALTH_OK', 'HEALTH_WARN']", true),
    ("!(self.status.phase == 'Ready')", false),
    (
        "has(self.status.ceph) && self.status.ceph.health == 'HEALTH_ERR'",
        false,
    ),
    ("has(self.status.upgrade) && self.status.upgrade.running", false),
    ("!has(self.status.upgrade) || self.status.upgrade.running", true),
    (
        "self.status.conditions.exists(c, c.type == 'Ready' && c.status == 'True')",
        true,
    ),
    ("self.status.conditions.all(c, c.status == 'True')", false),
    ("self.status.conditions.exists_one(c, c.status == 'True')", true),
    (
        "self.status.conditions.filter(c, c.status != 'True').size() == 1",
        true,
    ),
    ("size(self.status.conditions.map(c, c.type)) == 2", true),
    ("'Progressing' in self.status.conditions.map(c, c.type)", true),
    (
        "self.status.conditions.map(c, c.status == 'True', c.type) == ['Ready']",
        true,
    ),
    ("self.status.conditions[0].type == 'Ready'", true),
    ("self.metadata.labels['example.com/tier'] == 'gold'", true),
    ("'example.com/tier' in self.metadata.labels", true),
    (
        "self.metadata.labels.exists(key, key.startsWith('example.com/'))",
        true,
    ),
    ("self.spec.mon.count >= 3 && self.spec.mon.count < 4", true),
    (
        "self.spec.mon.count + 1 == 4 && self.spec.mon.count * 2 - 6 == 0",
        true,
    ),
    (
        "self.spec.mon.count / 2 == 1 && self.spec.mon.count % 2 == 1 && -self.spec.mon.count == -3",
        true,
    ),
    ("self.spec.mon.count > 2.5", true),
    (
        "self.spec.ratio * 2.0 == 1.0 && double(self.spec.mon.count) * self.spec.ratio == 1.5",
        true,
    ),
    ("self.spec.paused", false),
    ("self.spec.nothing == null", true),
    (
        "self.status.phase.startsWith('Re') && self.status.phase.endsWith('dy') && self.status.phase.contains('ead')",
        true,
    ),
    ("self.status.phase.matches('^R[a-z]+$')", true),
    ("self.status.phase + '!' == 'Ready!'", true),
    ("int(string(self.spec.mon.count)) == 3", true),
    ("(self.spec.paused ? 1 : 2) == 2", true),
    ("self.?status.?upgrade.orValue('none') == 'none'", true),
    ("self.?status.?phase.orValue('none') == 'Ready'", true),
    (
        "self.status.conditions.exists(c, self.status.conditions.exists(d, c.type == d.type && c.status != d.status))",
        false,
    ),
    // An error in one operand of && and || does not matter if the other decides.
    ("self.absent == 1 || true", true),
    ("self.absent == 1 && false", false),
    ("true", true),
];

#[test]
fn an_expression_is_evaluated_as_in_kubernetes() {
    for (text, expected) in MEANINGS {
        assert_eq!(eval(text), Ok(*expected), "{text}");
    }
}

#[test]
fn an_expression_may_be_as_deep_as_the_stack_allows_and_no_deeper() {
    let sum = |terms: usize| format!("{} == {terms}", vec!["1"; terms].join(" + "));
    let brackets = |levels: usize| format!("{}true{}", "!(".repeat(levels), ")".repeat(levels));
    for deep in [sum(DEPTH_MAX - 1), brackets((DEPTH_MAX - 1) / 2 * 2)] {
        assert_eq!(eval(&deep), Ok(true), "{deep}");
    }
    for too_deep in [
        sum(DEPTH_MAX),
        sum(250),
        format!("{} == 1", vec!["1"; 500].join("+")),
        brackets(DEPTH_MAX),
        format!("self{} == 1", ".a".repeat(400)),
    ] {
        let why = Expression::parse(&too_deep).unwrap_err();
        assert!(
            why.contains("deeper than") || why.contains("recursion limit"),
            "{why}"
        );
    }
}

#[test]
fn an_expression_may_be_as_long_as_its_bound_and_no_longer() {
    let long = |len: usize| format!("true{}", " ".repeat(len - 4));
    assert_eq!(eval(&long(EXPRESSION_MAX)), Ok(true));
    for len in [EXPRESSION_MAX + 1, 2 * EXPRESSION_MAX] {
        let why = Expression::parse(&long(len)).unwrap_err();
        assert!(why.contains("longer than 1024 bytes"), "{why}");
    }
}

#[test]
fn an_expression_equals_one_of_the_same_text() {
    let written = |text| Expression::parse(text).unwrap();
    assert_eq!(written("self.a == 1"), written("self.a == 1"));
    assert_ne!(written("self.a == 1"), written("self.a == 2"));
}

/// The rounds of a loop, times what one costs, is what all cost: neither what is around the loop, nor what is in none of its rounds.
#[test]
fn each_round_of_a_loop_is_paid_for_by_what_is_in_it_alone() {
    let object = json!({ "list": vec![true; 5_000] });
    let eval = |text: &str| Expression::parse(text).unwrap().eval(&object);
    let cheap = "self.list.all(a, a)";
    assert_eq!(eval(cheap), Ok(true));
    // Sixty times as much in each round.
    let costly = format!("self.list.all(a, {})", balanced("a", 6));
    let why = eval(&costly).unwrap_err();
    assert!(why.contains("too large for so costly"), "{why}");
    assert_eq!(eval(&format!("{} && {cheap}", balanced("true", 6))), Ok(true));
}

/// Otherwise a text could be doubled again and again for nothing, or a long list not be collected at all.
#[test]
fn joining_texts_is_paid_for_in_whatever_order_and_collecting_a_list_costs_what_is_in_it() {
    let object = json!({ "texts": vec!["x".repeat(10_000); 17], "list": vec![7; 5_000] });
    let eval = |text: &str| Expression::parse(text).unwrap().eval(&object);
    let joined = format!("{}a{}", "a + (".repeat(7), ")".repeat(7));
    for joined in [joined, ["a"; 8].join(" + ")] {
        let why = eval(&format!("self.texts.all(a, {joined} != '')")).unwrap_err();
        assert!(why.contains("too large for so costly"), "{joined}: {why}");
    }
    assert_eq!(eval("size(self.list.map(a, a)) == 5000"), Ok(true));
}

#[test]
fn a_map_costs_what_is_in_it_and_no_more() {
    let labels = (0..2_200).map(|number| (format!("{number:050}"), json!("x".repeat(50))));
    let object = json!({ "labels": labels.collect::<serde_json::Map<_, _>>() });
    let same = Expression::parse("self.labels == self.labels").unwrap();
    assert_eq!(same.eval(&object), Ok(true));
}

/// As many as two to this power, joined so that the depth is this power.
fn balanced(part: &str, power: usize) -> String {
    if power == 0 {
        return part.to_owned();
    }
    let half = balanced(part, power - 1);
    format!("({half} && {half})")
}

#[test]
fn what_is_wrong_with_an_expression_is_said_at_once_in_one_line() {
    for (text, says) in [
        ("", "is empty: write CEL"),
        ("  ", "is empty"),
        ("self.status.phase ==", "line 1, column 21"),
        ("self.status.phase = 'Ready'", "line 1, column 19"),
        (
            "status.phase == 'Ready'",
            "nothing is called status: the object is `self`",
        ),
        ("self.items.all(c, d.ready)", "nothing is called d"),
        ("size(self.items)", "neither true nor false"),
        ("'Ready'", "neither true nor false"),
        ("self.a + self.b", "neither true nor false"),
        ("lower(self.a) == 'x'", "no function lower of the form f(x)"),
        (
            "self.a.lowerAscii() == 'x'",
            "no function lowerAscii of the form x.f(…)",
        ),
        ("timestamp(self.a) < self.b", "no function timestamp"),
        ("type(self.a) == int", "no function type"),
        ("self.a == {'b': 1}", "maps cannot be written"),
        ("self.a == Thing{b: 1}", "maps cannot be written"),
        ("has(self)", "invalid argument to has()"),
        (
            "self.a.matches(self.b)",
            "matches takes one pattern, written in quotes",
        ),
        ("self.a.matches('(')", "pattern '('"),
        ("self.a.matches('(a{100}){100}')", "write a shorter one"),
        (
            "self.a.all(a, a.all(b, b.all(c, c.all(d, d))))",
            "more than 3 loops",
        ),
    ] {
        let why = Expression::parse(text).unwrap_err();
        assert!(
            why.contains(says) && !why.contains('\n') && why.len() < 700,
            "{text}: {why}"
        );
    }
}

#[test]
fn an_expression_that_cannot_be_evaluated_says_why() {
    for (text, says) in [
        (
            "self.status.phase",
            "it gives a string, and neither true nor false",
        ),
        (
            "self.status.upgrade.running",
            "the object has no upgrade there: check the name, and guard",
        ),
        ("self.status.conditions[7].type == 'Ready'", "check the types"),
        ("self.status.phase > 3", "check the types"),
        (
            "self.status.phase + 1 == 2",
            "does not take values of these types",
        ),
        ("self.spec.mon.count / 0 == 1", "zero"),
        ("self.spec.paused.all(x, x)", "iterable"),
        ("self.spec.mon.count.matches('a')", "it takes a text"),
        ("int(self.status.phase) == 1", "check"),
        ("self.spec.mon.count * 9223372036854775807 > 0", "verflow"),
    ] {
        let why = eval(text).unwrap_err();
        assert!(
            why.contains(says) && !why.contains('\n') && why.len() < 400,
            "{text}: {why}"
        );
    }
}

#[test]
fn an_expression_that_costs_too_much_is_given_up() {
    let object = json!({ "text": "x".repeat(100_000), "list": vec![7; 5_000] });
    let joined = ".map(a, a + a + a)".repeat(5);
    let nested = ".map(a, [a, a, a, a])".repeat(5);
    for text in [
        // Each step doubles a text, or a list.
        format!("[self.text]{joined} == []"),
        format!("[self]{nested} == []"),
        // Loops in loops.
        "self.list.all(a, self.list.all(b, self.list.all(c, a == b && b == c)))".to_owned(),
        "self.list.map(a, self.list).all(x, x.all(y, y > 0))".to_owned(),
        "[1].all(x, self.list.all(y, self.text.contains('y') || y > 0))".to_owned(),
        "self.list.exists(a, self.list.exists(b, a + b + a + b < 0))".to_owned(),
        // An error in a loop of `exists` may not matter, so the loop goes on.
        "self.list.exists(a, self.list.exists(b, self.list.exists(c, c.absent)))".to_owned(),
        "self.list.exists(a, self.text.matches('(x+x+)+y'))".to_owned(),
        "self.list.all(a, self == self)".to_owned(),
    ] {
        let why = Expression::parse(&text).unwrap().eval(&object).unwrap_err();
        assert!(why.contains("too large for so costly"), "{text}: {why}");
    }
    // What people ask about a large object is far below.
    let text = "self.list.all(a, a == 7 || a == 8) && self.text.contains('xx') && size(self.list) == 5000";
    assert_eq!(Expression::parse(text).unwrap().eval(&object), Ok(true));
}

#[test]
fn an_object_that_is_too_large_or_too_deep_is_refused() {
    let is_anything = Expression::parse("true").unwrap();
    assert_eq!(
        is_anything.eval(&json!({ "text": "x".repeat(OBJECT_MAX - 100) })),
        Ok(true)
    );
    let of_size = |size: usize| json!("x".repeat(size - NODE_COST));
    assert_eq!(is_anything.eval(&of_size(OBJECT_MAX)), Ok(true));
    assert!(is_anything.eval(&of_size(OBJECT_MAX + 1)).is_err());
    let deep = (0..=LEVELS_MAX).fold(json!(1), |inner, _| json!([inner]));
    let many = json!(vec![0; OBJECT_MAX / NODE_COST]);
    for object in [json!({ "text": "x".repeat(OBJECT_MAX) }), deep, many] {
        let why = is_anything.eval(&object).unwrap_err();
        assert!(
            why.contains("larger than 256 KiB, or nested deeper than 64"),
            "{why}"
        );
    }
}

const ODD: &[&str] = &[
    "-9223372036854775808 / -1 == 0",
    "self.min / -1 == 0",
    "self.min - 1 == 0",
    "-self.min == 0",
    "self.min % -1 == 0",
    "self.min * -1 == 0",
    "9223372036854775808 == 0",
    "0x == 0",
    "0xffffffffffffffffff == 0",
    "1e999 == 0.0",
    "int(1e300) == 0",
    "uint(-1) == 0u",
    "uint(1e300) == 0u",
    "int('') == 0",
    "double('nan') == 0.0",
    "self.n == 1",
    "self.a[9223372036854775807] == 0",
    "self.a[-1] == 0",
    "self.a['x'] == 0",
    "self.a[1.5] == 0",
    "self.a[0u] == 1",
    "self[?'a'].hasValue()",
    "self.?z.value()",
    "[?self.?z] == []",
    "self.?a[?0].orValue(3) == 1",
    "b'abc' == b'\\377'",
    "'\\ud800' == ''",
    "'\\U00110000' == ''",
    "r'\\' == ''",
    "self.all(self, self == self)",
    "self.a.all(x, y, true)",
    "self.a.all(1, true)",
    "self.a.map(x, x, x, x) == []",
    ".self == self",
    "self.a == self.a",
    "self == null",
    "null == null",
    "self.a.exists(x, x.b == [])",
    "self.a.exists(x, x > 1)",
    "1 in self.a",
    "self.a in self.a",
    "'a' in self",
    "1 in 'a'",
    "size(1) == 1",
    "size() == 1",
    "size(1, 2) == 1",
    "self.size() == 3",
    "string(self.a) == ''",
    "bool('x')",
    "bool('true')",
    "dyn(1) == 1",
    "optional.none() == 1",
    "has(self.a.b.c)",
    "has(self[0])",
    "has(self.a[0].b)",
    "self.?a.?b.?c == 1",
    "true ? self : false",
    "self ? true : false",
    "!self",
    "self && true",
    "self || self",
    "matches('a', 'a')",
    "'a'.matches()",
    "'a'.matches('a', 'b')",
    "[1, 2] + [3] == [1, 2, 3]",
    "'a' < 'b'",
    "[1] < [2]",
    "true < false",
    "null < null",
    "1.0 < 2u",
    "1 == 1u && 1.0 == 1",
    "__result__ == 1",
    "@result == 1",
    "@charge(1, 1) == 1",
    "in == 1",
    "for == 1",
];

/// What is repeated up to the longest expression.
const REPEATED: &[&str] = &[
    "(",
    "[",
    "{",
    "!",
    "-",
    "a.",
    "self.",
    "self[",
    "1+",
    "1?2:",
    "true||",
    "true&&",
    "a(",
    "'",
    "\"",
    "`",
    "\\",
    "?",
    ".",
    ",",
    "\n",
    "\u{0}",
    "ä",
    "self.a.all(x,",
    "[1].map(x,",
    "has(",
    "1==",
    "!!",
    "r'",
    "b'",
    "'''",
    "//",
    "1 in ",
];

#[test]
fn odd_expressions_end_in_an_answer_or_an_error() {
    let object = json!({ "a": [1, 2.5, "x", null, { "b": [] }], "n": 18_446_744_073_709_551_615_u64, "min": i64::MIN });
    let repeated = |part: &str| part.repeat(EXPRESSION_MAX / part.len());
    let long = REPEATED.iter().map(|part| repeated(part));
    let balanced = [
        ("(", ")"),
        ("[", "]"),
        ("!(", ")"),
        ("-(", ")"),
        ("size(", ")"),
        ("has(", ")"),
        ("[1].all(x, ", ")"),
    ]
    .map(|(open, close)| format!("{}1{}", open.repeat(90), close.repeat(90)));
    let texts = long
        .chain(balanced)
        .chain(ODD.iter().map(|text| (*text).to_owned()));
    for text in texts {
        if let Ok(expression) = Expression::parse(&text) {
            let answer = expression.eval(&object);
            assert!(
                !format!("{answer:?}").contains("evaluating it failed"),
                "{text}: panicked"
            );
        }
    }
}
mod properties;
