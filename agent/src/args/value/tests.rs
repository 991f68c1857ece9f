//! Values are parsed as pflag and the API server parse them.

use super::*;

#[test]
fn numbers_are_read_with_go_s_base_0() {
    let number = integer::<-100_000, 100_000>;
    for (text, expected) in [
        ("0", 0),
        ("8080", 8080),
        ("+7", 7),
        ("-1", -1),
        ("0x1f90", 8080),
        ("0X1F90", 8080),
        ("0o17", 15),
        ("017", 15),
        ("0b101", 5),
        ("8_080", 8080),
        ("0x_1f", 31),
        ("-0x10", -16),
        ("00", 0),
    ] {
        assert_eq!(number(text), Ok(expected), "{text}");
    }
    for text in [
        "", "-", "0x", "08", "1e3", "1.0", " 1", "1_", "_1", "1__0", "--1", "+-1", "0x-1", "ten",
    ] {
        assert!(number(text).unwrap_err().contains("not a whole number"), "{text}");
    }
    assert!(number("100001").unwrap_err().contains("out of bounds"));
    assert!(number("99999999999999999999").is_err());
}

#[test]
fn selectors_are_those_that_the_api_server_takes() {
    for text in [
        "app",
        "!app",
        "app=web",
        "app==web",
        "app != web",
        "app=",
        "example.com/app=web,tier in (a, b),c notin (d),!e",
        "a in (),b",
        "cpu>4,cpu < 16",
    ] {
        assert!(selector(text).is_ok(), "{text}");
    }
    for text in [
        "", ",", "a,", "a,,b", "=web", "a=b=c", "a in b", "a in (b", "a is (b)", "a b", "-a", "a/b/c",
        "a=-b", "cpu>four", "!", "a=$(x)",
    ] {
        assert!(
            selector(text).unwrap_err().contains("not a label selector"),
            "{text}"
        );
    }
}

#[test]
fn labels_are_checked_before_anything_begins() {
    let read = labels("a=b,example.com/c=,d=e").unwrap();
    assert_eq!(read.len(), 3);
    assert!(labels("").unwrap().is_empty());
    for (text, says) in [
        ("a", "key=value"),
        ("a=b,c", "\"c\""),
        ("=b", "not a key"),
        ("a=b c", "not a label's value"),
        ("a=b=c", "not a label's value"),
        ("a=-b", "not a label's value"),
        ("\"a=b", "closing quote"),
        ("\"a=b\"c", "after a closing quote"),
        ("a=b,", "comma"),
    ] {
        let error = labels(text).unwrap_err();
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn amounts_are_counts_or_percentages() {
    assert_eq!(amount("3"), Ok(Share::Count(3)));
    assert_eq!(amount("0"), Ok(Share::Count(0)));
    assert_eq!(amount("25%"), Ok(Share::Percent(25)));
    assert_eq!(amount_above_zero("100%"), Ok(Share::Percent(100)));
    for text in ["", "%", "-1", "101%", "2.5%", "a", "70000"] {
        assert!(amount(text).unwrap_err().contains("25%"), "{text}");
    }
    for text in ["0", "0%"] {
        assert!(
            amount_above_zero(text).unwrap_err().contains("at least 1"),
            "{text}"
        );
    }
}
