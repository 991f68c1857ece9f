use super::*;

fn mutants() -> Vec<Mutant> {
    let one = |(line, file): (usize, &str)| {
        serde_json::json!({
            "genre": "BinaryOperator", "file": file, "replacement": "<=",
            "name": format!("{file}:{line}:23: replace < with <= in plan: a rule"),
            "span": {"start": {"line": line, "column": 23}},
        })
    };
    let files = ["a/lock.rs", "a/lock/read.rs", "a/reboot/cycle.rs"];
    let list: Vec<Value> = files.into_iter().cycle().take(60).enumerate().map(one).collect();
    read(Value::from(list).to_string().as_bytes()).expect("a list")
}

#[test]
fn a_lasting_name_has_neither_line_nor_column() {
    let mutant = &mutants()[1];
    assert_eq!(mutant.start, (1, 23));
    assert_eq!(
        mutant.lasting_name(),
        "a/lock/read.rs: replace < with <= in plan: a rule"
    );
}

#[test]
fn files_are_named_by_a_part_of_their_path_or_a_pattern_of_the_whole() {
    let count = |pattern: &str| of_files(mutants(), pattern).len();
    assert_eq!(count("lock"), 40);
    assert_eq!(count("a/lock.rs"), 20);
    assert_eq!(count("lock*"), 0);
    assert_eq!(count("*/lock*"), 40);
    assert_eq!(count("a/*/*.rs"), 40);
}

#[test]
fn a_sample_is_the_same_with_the_same_seed_and_has_each_mutant_once() {
    let drawn = |seed| ids(&sample(mutants(), 10, seed));
    assert_eq!(drawn(1), drawn(1));
    assert_ne!(drawn(1), drawn(2));
    assert_eq!(drawn(3).len(), 10);
    assert_eq!(sample(mutants(), 100, 1).len(), 60);
}

#[test]
fn a_list_that_cannot_be_read_is_an_error_that_shows_it() {
    let error = read(br#"[{"genre": "FnValue"}]"#).expect_err("no name");
    assert!(error.to_string().contains("FnValue"), "{error}");
}
