//! What a screen shows if it is too low, and what is said of a read that failed.

use super::*;

#[test]
fn a_screen_that_is_too_low_says_how_many_lines_are_cut() {
    let drawn = |page, height| {
        let text = drawn(page, "foot", height);
        anstream::adapter::strip_str(&text).to_string()
    };
    assert_eq!(drawn("a\nb\nc\n", 5), "a\nb\nc\n\nfoot");
    let cut = drawn("a\nb\nc\n", 4);
    assert!(
        cut.starts_with("a\nb\n\n1 more lines") && cut.ends_with("foot"),
        "{cut}"
    );
    assert_eq!(cut.lines().count(), 4);
    assert_eq!(drawn("a\n", 1).lines().count(), 1);
}

#[test]
fn what_could_not_be_read_again_is_said_with_its_time() {
    let shown = Shown::Lines {
        as_json: false,
        rows: BTreeMap::new(),
        troubles: Vec::new(),
    };
    let silent = || cordonhold_rt::api::CallError::Silent(READ_EVERY);
    let mut source = Source::new("the Nodes");
    assert_eq!(source.stale(), None);
    source.failed(&shown, silent()).unwrap();
    let stale = source.stale().unwrap();
    assert_eq!(stale, format!("the Nodes not read since {}", clock::STOPPED));
    source.answered();
    assert_eq!(source.stale(), None);
    let failed = |source: &mut Source| source.failed(&shown, silent()).is_err();
    let ended = (1..=FAILURES_MAX).find(|_| failed(&mut source));
    assert_eq!(ended, Some(FAILURES_MAX));
}
