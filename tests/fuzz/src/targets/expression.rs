//! CEL expressions of an operator, on objects of anybody. An input is the expression, and below it the object.

use cordonhold_shared::reboot::expression::Expression;
use serde_json::Value;

use super::{is_one_line, text};

pub(super) const WORDS: &[&str] = &[
    "self",
    "self.a",
    ".?b.orValue(1)",
    "has(self.a)",
    "size(self)",
    "[1,2]",
    ".exists(x, x == 1)",
    ".all(x, x > 0)",
    ".matches('^a')",
    ".contains('b')",
    "int('7')",
    "string(1)",
    " && ",
    " || ",
    " == ",
    " != ",
    " in ",
    " ? ",
    " : ",
    "!",
    "-",
    "+",
    "*",
    "/",
    "%",
    "(",
    ")",
    "'",
    "\"",
    "\n",
    "{\"a\":1}",
    "9223372036854775807",
    "1e308",
    "null",
    "true",
];

pub(super) fn check(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let (expression, object) = text.split_once('\n').unwrap_or((text, "{}"));
    let expression = match Expression::parse(expression) {
        Ok(expression) => expression,
        Err(why) => return is_one_line(&why),
    };
    let Ok(object) = serde_json::from_str::<Value>(object) else {
        return;
    };
    if let Err(why) = expression.eval(&object) {
        is_one_line(&why);
    }
}
