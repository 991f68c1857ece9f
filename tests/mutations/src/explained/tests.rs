use crate::list::Genre;

use super::*;

/// A hundred mutants, of which two have the same name but for the line.
fn list() -> Vec<Mutant> {
    let one = |id: usize| Mutant {
        id,
        genre: Genre::FnValue,
        file: "shared/src/span.rs".to_owned(),
        start: (id, 1),
        replacement: String::new(),
        name: format!("shared/src/span.rs:{id}:1: replace {} with ()", id.max(1)),
    };
    (0..100).map(one).collect()
}

fn judged(text: &str, survivors: &[usize], is_whole: bool) -> (Vec<usize>, Vec<String>) {
    let explained = Explained::read(text).expect("rows");
    let list = list();
    let ran = Ran {
        all: &list,
        survivors: &survivors.iter().copied().collect(),
        unswitched: &BTreeSet::from([50]),
        is_whole,
    };
    let unexplained = explained.unexplained(&ran);
    let unexplained = unexplained.into_iter().map(|mutant| mutant.id);
    (unexplained.collect(), explained.faults(&ran))
}

fn row(number: usize) -> String {
    format!("shared/src/span.rs: replace {number} with ()\tnobody sees it\n")
}

#[test]
fn a_survivor_without_a_row_of_its_own_is_told() {
    let text = format!("# why\n\n{}", row(1));
    assert_eq!(judged(&text, &[0], true), (vec![], vec![]));
    assert_eq!(judged(&text, &[0, 1], true), (vec![1], vec![]));
    assert_eq!(judged(&(text + &row(1)), &[0, 1], true), (vec![], vec![]));
}

#[test]
fn a_row_for_what_does_not_survive_or_is_not_there_is_a_fault_where_all_ran() {
    for (text, fault) in [(row(7), "only 0"), (row(100), "no such mutant")] {
        let (_, faults) = judged(&text, &[], true);
        assert!(faults.len() == 1 && faults[0].contains(fault), "{faults:?}");
        assert_eq!(judged(&text, &[], false).1, Vec::<String>::new());
    }
    // cargo-mutants itself says what becomes of it.
    assert_eq!(judged(&row(50), &[], true).1, Vec::<String>::new());
}

#[test]
fn no_more_than_two_percent_are_explained() {
    let text = |rows: usize| (2..2 + rows).map(row).collect::<String>();
    assert_eq!(judged(&text(2), &[2, 3], true).1, Vec::<String>::new());
    let (_, faults) = judged(&text(3), &[2, 3, 4], true);
    assert!(faults.len() == 1 && faults[0].contains("2 %"), "{faults:?}");
}

#[test]
fn of_seal_lock_and_give_back_none_is_explained() {
    for file in [
        "lock.rs",
        "lock/read.rs",
        "reboot/cycle/sealing.rs",
        "reboot/cycle/returning.rs",
    ] {
        let text = format!("shared/src/{file}: replace x with ()\tno reason is one");
        assert_eq!(judged(&text, &[], false).1.len(), 1, "{file}");
    }
    assert_eq!(judged("shared/src/locks.rs: x\ty", &[], false).1.len(), 0);
}

#[test]
fn a_row_has_a_reason() {
    for text in ["shared/src/span.rs: x", "shared/src/span.rs: x\t "] {
        assert!(Explained::read(text).is_err(), "{text}");
    }
}
