//! Text that others wrote, for SVG and HTML.
//!
//! Not here: what is shown of it.

use crate::quote::one_line;

/// Most characters of one text: what is longer was cut before, or is nobody's name.
const SHOWN_MAX: usize = 400;

/// The text on one line, so that it is nothing but text in an element or in an attribute between double quotes.
pub fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for c in one_line(text, SHOWN_MAX).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // XML has no character for these two.
            '\u{fffe}' | '\u{ffff}' => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}
