//! Label selectors: one that is taken is shown so that it is read again as the same.

use std::collections::BTreeMap;

use cordonhold_shared::selector::Selector;

use super::{is_one_line, text};

pub(super) const WORDS: &[&str] = &[
    "a",
    "zone",
    "example.com/b",
    "=",
    "==",
    "!=",
    "!",
    ">",
    "<",
    "in",
    " in ",
    "notin",
    " notin ",
    "(",
    ")",
    ",",
    " ",
    "\t",
    "\u{a0}",
    "7",
    "-1",
    "+1",
    "in (a,b)",
    "notin (c)",
    "()",
    ",,",
];

pub(super) fn check(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let selector = match text.parse::<Selector>() {
        Ok(selector) => selector,
        Err(error) => return is_one_line(&error.to_string()),
    };
    let shown = selector.to_string();
    assert_eq!(shown.parse::<Selector>().as_ref(), Ok(&selector), "{shown}");
    let labels = BTreeMap::from([
        ("a".to_owned(), "b".to_owned()),
        ("zone".to_owned(), "7".to_owned()),
    ]);
    for labels in [BTreeMap::new(), labels] {
        assert!(!selector.is_everything() || selector.matches(&labels));
    }
}
