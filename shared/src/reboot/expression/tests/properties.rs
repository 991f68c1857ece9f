//! Whatever the expression and the object, there is an answer or an error.

use proptest::prelude::*;

use super::*;

/// Something like an expression: terms joined as CEL joins them, some of them wrongly.
fn texts() -> impl Strategy<Value = String> {
    const TERMS: &[&str] = &[
        "self",
        "self.a",
        "self.b",
        "self.a.b",
        "x",
        "y",
        "1",
        "-1",
        "2u",
        "1.5",
        "'a'",
        "''",
        "true",
        "null",
        "[]",
        "[1, 'a']",
        "9223372036854775807",
        "self.?a",
        "self['a']",
        "self.b[0]",
    ];
    let leaf = prop::sample::select(TERMS).prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        const OPERATORS: &[&str] = &["==", "!=", "<", ">=", "+", "-", "*", "/", "%", "&&", "||", "in"];
        const LOOPS: &[&str] = &["all", "exists", "exists_one", "filter", "map"];
        const METHODS: &[&str] = &[
            "size()",
            "contains('a')",
            "matches('a+')",
            "orValue(1)",
            "hasValue()",
        ];
        const FUNCTIONS: &[&str] = &["size", "int", "string", "double", "uint", "bool", "has", "!", "-"];
        prop_oneof![
            (inner.clone(), prop::sample::select(OPERATORS), inner.clone())
                .prop_map(|(left, operator, right)| format!("({left} {operator} {right})")),
            (
                inner.clone(),
                prop::sample::select(LOOPS),
                prop::sample::select(&["x", "y"][..]),
                inner.clone()
            )
                .prop_map(|(range, name, variable, body)| format!("{range}.{name}({variable}, {body})")),
            (inner.clone(), prop::sample::select(METHODS))
                .prop_map(|(target, method)| format!("{target}.{method}")),
            (prop::sample::select(FUNCTIONS), inner.clone())
                .prop_map(|(function, argument)| format!("{function}({argument})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(first, second, third)| format!("({first} ? {second} : {third})")),
            (inner.clone(), inner.clone()).prop_map(|(first, second)| format!("[{first}, {second}]")),
            (inner.clone(), inner).prop_map(|(object, key)| format!("{object}[{key}]")),
        ]
    })
}

fn objects() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-c]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..4).prop_map(|fields| json!(fields)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn expressions_are_evaluated_without_a_panic(text in texts(), object in objects()) {
        if let Ok(expression) = Expression::parse(&text) {
            let answer = expression.eval(&object);
            prop_assert!(!format!("{answer:?}").contains("evaluating it failed"), "{}", text);
            // It depends on nothing else.
            prop_assert_eq!(answer, expression.eval(&object));
        }
    }

    #[test]
    fn any_text_is_parsed_without_a_panic(text in "[ -~]{0,60}|(self|x|[.()\\[\\]{}'\"?:!<>=&|+*/%, -]|all|has|[0-9a-z]){0,30}") {
        if let Err(why) = Expression::parse(&text) {
            prop_assert!(!why.contains("cannot cope") && !why.contains('\n'), "{}", why);
        }
    }
}
