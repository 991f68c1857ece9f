//! Checks whether Kubernetes accepts a text as the name of an object, or as key or value of a label
//! (kubernetes/apimachinery: pkg/util/validation).
//!
//! Not here: the names that Cordonhold uses ([`crate::keys`]).

/// Longest name of an object and longest prefix of a key, in characters.
const NAME_MAX: usize = 253;
/// Longest namespace, longest name after the prefix of a key, and longest value of a label, in characters.
pub const PART_MAX: usize = 63;

/// Whether an object, such as a Node, can have this name (a DNS subdomain).
pub fn is_name(text: &str) -> bool {
    text.len() <= NAME_MAX && text.split('.').all(is_dns_label)
}

/// Whether this can be a namespace, or a part without dots of an object's name (a DNS label).
pub fn is_namespace(text: &str) -> bool {
    text.len() <= PART_MAX && is_dns_label(text)
}

/// Whether this can be the key of a label, an annotation or a taint: `name` or `prefix/name`.
pub fn is_key(text: &str) -> bool {
    match text.split_once('/') {
        None => is_word(text),
        Some((prefix, name)) => is_name(prefix) && is_word(name),
    }
}

/// Whether this can be the value of a label.
pub fn is_value(text: &str) -> bool {
    text.is_empty() || is_word(text)
}

/// Whether this is a DNS label of any length: in an object's name only the whole name has a limit.
fn is_dns_label(text: &str) -> bool {
    let is_edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    is_framed(text, is_edge, b"-")
}

fn is_word(text: &str) -> bool {
    text.len() <= PART_MAX && is_framed(text, u8::is_ascii_alphanumeric, b"-_.")
}

/// Whether the text begins and ends with a byte that `is_edge` accepts, and has only such bytes and those of `inner`.
fn is_framed(text: &str, is_edge: impl Fn(&u8) -> bool, inner: &[u8]) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(&is_edge)
        && bytes.last().is_some_and(&is_edge)
        && bytes.iter().all(|byte| is_edge(byte) || inner.contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_subdomains_and_namespaces_one_label() {
        let long = format!("{}.{}", "a".repeat(64), "b".repeat(188));
        for name in ["node-0", "0", "ip-10-0-0-1.ec2.internal", &long] {
            assert!(is_name(name), "{name}");
        }
        for text in [
            "",
            "Node",
            "a_b",
            "-a",
            "a-",
            "a..b",
            ".a",
            "a.",
            "ä",
            "a b",
            &format!("{long}c"),
        ] {
            assert!(!is_name(text), "{text}");
        }
        assert!(is_namespace("kube-system") && is_namespace(&"a".repeat(63)));
        for text in ["", "a.b", "A", &"a".repeat(64)] {
            assert!(!is_namespace(text), "{text}");
        }
    }

    #[test]
    fn keys_are_qualified_names() {
        // A part of the prefix may be longer than a namespace.
        let long = format!("{}.example/a", "p".repeat(64));
        for key in ["a", "A.b_c-d", "example.com/A_b", &"a".repeat(63), &long] {
            assert!(is_key(key), "{key}");
        }
        for text in [
            "",
            "/a",
            "a/",
            "Example.com/a",
            "a_b.c/d",
            "a/b/c",
            "a b",
            "-a",
            "a.",
            &"a".repeat(64),
        ] {
            assert!(!is_key(text), "{text}");
        }
    }

    #[test]
    fn a_value_is_a_word_or_nothing() {
        for value in ["", "a", "A_b-c.d", "0", &"v".repeat(63)] {
            assert!(is_value(value), "{value}");
        }
        for text in [" ", "a b", "-b", "b-", "a=b", "ä", &"v".repeat(64)] {
            assert!(!is_value(text), "{text}");
        }
    }
}
