//! Tests of label selectors: what they match, which texts are refused and why, and that a printed selector can be read again.

use proptest::prelude::*;

use super::*;

fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
    let labels = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    selector.parse::<Selector>().unwrap().matches(&labels.collect())
}

#[test]
fn each_operator_as_kubectl_has_it() {
    let gpu = [("zone", "b"), ("example.com/gpus", "8"), ("spot", "")];
    for selector in [
        "",
        " ",
        "zone",
        "!rack",
        "zone=b",
        "zone==b",
        " zone = b , spot = ",
        "zone!=a",
        "rack!=a",
        "zone in (a, b)",
        "zone notin (a,c),spot",
        "rack notin (a)",
        "example.com/gpus>4",
        "example.com/gpus<9",
        "spot in ()",
    ] {
        assert!(matches(selector, &gpu), "{selector:?}");
    }
    for selector in [
        "rack",
        "!zone",
        "zone=a",
        "rack=",
        "zone!=b",
        "zone in (a,c)",
        "zone notin (b)",
        "example.com/gpus>8",
        "zone>1",
        "zone=b,rack",
    ] {
        assert!(!matches(selector, &gpu), "{selector:?}");
    }
}

#[test]
fn what_is_no_selector_is_named() {
    let error = |text: &str| text.parse::<Selector>().unwrap_err();
    assert_eq!(error("zone,"), SelectorError::Requirement(String::new()));
    assert_eq!(
        error("zone on (a)"),
        SelectorError::Requirement("zone on (a)".to_owned())
    );
    assert_eq!(error("-zone"), SelectorError::Key("-zone".to_owned()));
    assert_eq!(error("a/b/c=d"), SelectorError::Key("a/b/c".to_owned()));
    assert_eq!(
        error("Upper.example/x"),
        SelectorError::Key("Upper.example/x".to_owned())
    );
    assert_eq!(error("zone=a b"), SelectorError::Value("a b".to_owned()));
    assert_eq!(error("gpus>many"), SelectorError::Number("many".to_owned()));
    // The API server refuses these, so an agent that took them could list no pool.
    for number in ["-1", "+1", ""] {
        assert_eq!(
            error(&format!("gpus>{number}")),
            SelectorError::Number(number.to_owned())
        );
    }
    assert_eq!(error("zone\u{a0}=a"), SelectorError::Key("zone\u{a0}".to_owned()));
    for text in ["zone in (a", "zone in a)", "zone in ((a))"] {
        assert!(matches!(error(text), SelectorError::Parentheses(_)), "{text}");
    }
    assert_eq!(error(&"k".repeat(64)), SelectorError::Key("k".repeat(64)));
}

#[test]
fn its_text_is_one_that_is_read_again() {
    let text = "zone in (b,a),rack!=1, !spot,gpus>4,x notin (y),name";
    let selector: Selector = text.parse().unwrap();
    let shown = selector.to_string();
    assert_eq!(shown, "zone in (a,b),rack!=1,!spot,gpus>4,x!=y,name");
    assert_eq!(shown.parse(), Ok(selector));
    assert!("".parse::<Selector>().unwrap().is_everything());
}

/// A requirement of any kind that Kubernetes documents.
#[derive(Clone, Debug)]
enum Term {
    Exists,
    DoesNotExist,
    In(Vec<String>),
    NotIn(Vec<String>),
    GreaterThan(i64),
    LessThan(i64),
}

impl Term {
    /// What the Kubernetes documentation says about this operator, word for word.
    fn takes(&self, value: Option<&String>) -> bool {
        let number = value.and_then(|value| value.parse::<i64>().ok());
        match self {
            Term::Exists => value.is_some(),
            Term::DoesNotExist => value.is_none(),
            Term::In(values) => values.iter().any(|one| Some(one) == value),
            Term::NotIn(values) => values.iter().all(|one| Some(one) != value),
            Term::GreaterThan(bound) => number.is_some() && number > Some(*bound),
            Term::LessThan(bound) => number.is_some() && number < Some(*bound),
        }
    }

    fn text(&self, key: &str) -> String {
        match self {
            Term::Exists => format!("{key} "),
            Term::DoesNotExist => format!("! {key}"),
            Term::In(values) if values.len() == 1 => format!("{key} = {}", values[0]),
            Term::NotIn(values) if values.len() == 1 => format!(" {key}!={}", values[0]),
            Term::In(values) => format!("{key} in ( {} )", values.join(" ,")),
            Term::NotIn(values) => format!("{key}  notin ({})", values.join(", ")),
            Term::GreaterThan(bound) => format!("{key} >{bound}"),
            Term::LessThan(bound) => format!("{key}< {bound}"),
        }
    }
}

/// Few keys and values, so that a label often meets its requirement.
fn any_key() -> impl Strategy<Value = String> {
    let keys = ["zone", "gpus", "in", "notin", "example.com/zone", "A-b_c.9"];
    prop_oneof![
        9 => proptest::sample::select(keys.to_vec()).prop_map(str::to_owned),
        1 => "([a-z0-9]([-a-z0-9]{0,3}[a-z0-9])?(\\.[a-z0-9]{1,3}){0,2}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,4}[A-Za-z0-9])?",
    ]
}

fn any_value() -> impl Strategy<Value = String> {
    prop_oneof!["[ab]?", "[0-3]", "[A-Za-z0-9]([-A-Za-z0-9_.]{0,4}[A-Za-z0-9])?"]
}

fn any_term() -> impl Strategy<Value = Term> {
    let values = || proptest::collection::vec(any_value(), 1..4);
    prop_oneof![
        Just(Term::Exists),
        Just(Term::DoesNotExist),
        values().prop_map(Term::In),
        values().prop_map(Term::NotIn),
        (0..4_i64).prop_map(Term::GreaterThan),
        (0..4_i64).prop_map(Term::LessThan),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn a_selector_takes_what_each_of_its_requirements_takes(
        terms in proptest::collection::vec((any_key(), any_term()), 1..4),
        labels in proptest::collection::btree_map(any_key(), any_value(), 0..6),
    ) {
        let text: Vec<String> = terms.iter().map(|(key, term)| term.text(key)).collect();
        let selector: Selector = text.join(",").parse().unwrap();
        let expected = terms.iter().all(|(key, term)| term.takes(labels.get(key)));
        prop_assert_eq!(selector.matches(&labels), expected, "{:?}", text);
        prop_assert_eq!(selector.to_string().parse(), Ok(selector));
    }

    #[test]
    fn any_text_is_a_selector_that_is_shown_and_read_again_or_an_error(
        text in "[ab/!=<>(), 0-9in]{0,16}|(a|b|!|=|<|>|\\(|\\)|,| |in|notin|7){0,12}|.{0,16}",
    ) {
        if let Ok(selector) = text.parse::<Selector>() {
            prop_assert_eq!(selector.to_string().parse(), Ok(selector));
        }
    }
}
