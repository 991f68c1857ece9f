//! Quotes texts that others wrote, for our messages, Events and command lines.
//!
//! A quoted text is on one line and has a bounded length. A plain name is shown as it is. Anything else is in single quotes, and cannot
//! end them, so neither a shell nor a reader takes it for ours.
//! Not here: the fields of a log line, which the log format quotes.

use std::borrow::Cow;

/// Default bound of a quoted text in characters: enough for a holder or a user.
pub const QUOTED_MAX: usize = 128;

/// The text for use in a message or a command, in quotes if it is not a plain name, with up to [`QUOTED_MAX`] characters.
pub fn quoted(text: &str) -> String {
    quoted_to(text, QUOTED_MAX)
}

/// The text as [`quoted`] returns it, with another bound in characters.
pub fn quoted_to(text: &str, max_chars: usize) -> String {
    if is_plain(text) && text.len() <= max_chars {
        return text.to_owned();
    }
    always_quoted(text, max_chars)
}

/// The text in single quotes even if it is a plain name: for an argument that may contain spaces. `max_chars` bounds the text inside.
pub fn always_quoted(text: &str, max_chars: usize) -> String {
    // Inside single quotes, only a single quote is special to a shell.
    let inside = one_line(text, max_chars).replace('\'', "’");
    format!("'{inside}'")
}

/// The text on one line, with at most `max_chars` characters; a longer one ends with `…`. Invisible characters become spaces.
pub fn one_line(text: &str, max_chars: usize) -> String {
    let seen = text.chars().map(|c| if is_unseen(c) { ' ' } else { c });
    if text.chars().count() <= max_chars {
        return seen.collect();
    }
    seen.take(max_chars.saturating_sub(1)).chain(['…']).collect()
}

/// The beginning of what others sent, as text: enough of it for `max_chars` characters. It is yet to be quoted.
pub fn beginning(bytes: &[u8], max_chars: usize) -> Cow<'_, str> {
    // No character has more bytes.
    String::from_utf8_lossy(bytes.get(..max_chars.saturating_mul(4)).unwrap_or(bytes))
}

/// The beginning of a text, with at most `max_bytes` bytes, for a field of an API that has such a limit.
pub fn clipped(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}

/// Whether this is a plain name, uid, time or address: nothing in it is special to a shell, and it cannot be taken for an option.
fn is_plain(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.:/@+,=%".contains(c))
}

/// Whether a character is a control character, is invisible, or changes the direction of the text after it.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn found_s8_a_foreign_text_breaks_out_of_no_sentence_and_no_command() {
        for (text, expected) in [
            ("worker-17", "worker-17"),
            ("system:serviceaccount:a:b", "system:serviceaccount:a:b"),
            ("7f1c/2026-01-01T00:00:00.5Z", "7f1c/2026-01-01T00:00:00.5Z"),
            ("", "''"),
            ("-o yaml", "'-o yaml'"),
            ("-rf", "'-rf'"),
            ("';id;'", "'’;id;’'"),
            ("$(id)", "'$(id)'"),
            ("a\nheld: nothing", "'a held: nothing'"),
            ("a\u{202e}b\u{200b}\u{1b}[2J", "'a b  [2J'"),
        ] {
            assert_eq!(quoted(text), expected, "{text:?}");
        }
        assert_eq!(quoted(&"x".repeat(200)).chars().count(), QUOTED_MAX + 2);
        assert_eq!(quoted_to("four words are here", 5), "'four…'");
    }

    #[test]
    fn a_clipped_text_ends_between_two_characters() {
        for (text, max, expected) in [("abc", 3, "abc"), ("abc", 2, "ab"), ("üü", 3, "ü"), ("ü", 1, "")] {
            assert_eq!(clipped(text, max), expected);
        }
    }

    proptest! {
        #[test]
        fn found_s8_any_text_is_one_word_to_a_shell(text in "\\PC{0,40}|[ -~\n\t]{0,40}") {
            let word = quoted(&text);
            let inside = word.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
            match inside {
                Some(inside) => prop_assert!(!inside.contains('\'')),
                None => prop_assert!(is_plain(&word)),
            }
            prop_assert!(!word.contains(is_unseen));
        }
    }
}
