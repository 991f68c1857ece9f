use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

/// Each kind of change once or more, in functions whose results the program prints.
const SOURCE: &str = r#"
#[derive(Clone, Debug, PartialEq)]
struct Pair { left: i32, right: i32 }

fn value(x: i32) -> i32 {
    // é moves bytes apart from columns.
    let é = x; é + 1
}
fn seven() -> i32 { 7 }
fn adds(x: i32) -> i32 { /* é */ x * 2 + x * 3 }
fn and(x: i32) -> bool { x > 0 && 6 / x == 2 }
fn or(x: i32) -> bool { x == 0 || 6 / x == 2 }
fn less(x: &str) -> bool { *x < *"b" && !x.is_empty() }
fn sums(x: i32) -> i32 { let mut all = [x, 1]; all[0] += x * 10; all[0] }
fn minus(x: i32) -> i32 { -x + 1 }
fn arm(x: i32) -> i32 {
    match x { 0 | 1 => 10, 2 | 5 if x != 5 => 20, 3 if let Some(y) = Some(x) && y > 1 => 30, _ => 40 }
}
fn field(rest: &Pair) -> Pair {
    let made = Pair { left: rest.left + 1, ..rest.clone() };
    Pair { left: made.left, right: 5, ..made }
}
const fn fixed(x: i32) -> i32 { x + 1 }
fn any() -> impl Iterator<Item = i32> { [1].into_iter() }

pub fn main() {
    let pair = Pair { left: 1, right: 2 };
    println!("value {:?} {}", value(1), seven());
    println!("adds {}", adds(4));
    println!("and {:?}", [0, 3, 4].map(and));
    println!("or {:?}", [0, 3, 4].map(or));
    println!("less {:?}", ["", "a", "b", "c"].map(less));
    println!("sums {}", sums(2));
    println!("minus {}", minus(2));
    println!("arm {:?}", [0, 1, 2, 3, 4, 5].map(arm));
    println!("field {:?}", field(&pair));
    println!("fixed {} {}", fixed(1), any().count());
}
"#;

/// The kind of a change, the function that it is in, what is changed, what cargo-mutants puts there, and the whole as text.
type Change = (Genre, &'static str, &'static str, &'static str, &'static str);

/// The changes. What each makes of the source is made by text alone, so it is right if it is read.
const CHANGES: [Change; 24] = [
    (Genre::FnValue, "value", "let é = x; é + 1", "0", "return 0;"),
    (Genre::FnValue, "value", "let é = x; é + 1", "-1", "return -1;"),
    (Genre::FnValue, "seven", "7", "1", "1"),
    (Genre::BinaryOperator, "value", "+ 1", "-", "- 1"),
    (Genre::BinaryOperator, "adds", "* 2", "+", "+ 2"),
    (Genre::BinaryOperator, "adds", "* 2", "/", "/ 2"),
    (Genre::BinaryOperator, "adds", "+ x * 3", "-", "- x * 3"),
    (Genre::BinaryOperator, "and", "&& 6", "||", "|| 6"),
    (Genre::BinaryOperator, "or", "|| 6", "&&", "&& 6"),
    (Genre::BinaryOperator, "or", "== 2", "!=", "!= 2"),
    (Genre::BinaryOperator, "less", "< *", "<=", "<= *"),
    (Genre::BinaryOperator, "less", "< *", ">", "> *"),
    (Genre::UnaryOperator, "less", "!x", "", "x"),
    (Genre::BinaryOperator, "sums", "+= x", "-=", "-= x"),
    (Genre::BinaryOperator, "sums", "+= x", "*=", "*= x"),
    (Genre::BinaryOperator, "sums", "* 10", "+", "+ 10"),
    (Genre::UnaryOperator, "minus", "-x", "", "x"),
    (Genre::MatchArm, "arm", "0 | 1 => 10, ", "", ""),
    (Genre::MatchArm, "arm", "2 | 5 if x != 5 => 20, ", "", ""),
    (Genre::MatchArmGuard, "arm", "x != 5", "false", "false"),
    (Genre::MatchArmGuard, "arm", "x != 5", "true", "true"),
    (
        Genre::MatchArm,
        "arm",
        "3 if let Some(y) = Some(x) && y > 1 => 30, ",
        "",
        "",
    ),
    (Genre::StructField, "field", "left: rest.left + 1, ", "", ""),
    (Genre::StructField, "field", "right: 5, ", "", ""),
];

/// Where the change is, in bytes.
fn found(change: &Change) -> usize {
    let (_, function, what, _, _) = change;
    let start = SOURCE.find(&format!("fn {function}(")).expect("the function");
    start + SOURCE[start..].find(what).expect("what is changed")
}

fn mutant(id: usize, change: &Change) -> Mutant {
    let (genre, _, what, replacement, _) = change;
    let before = &SOURCE[..found(change)];
    let line = before.rsplit('\n').next().unwrap_or_default();
    Mutant {
        id,
        genre: *genre,
        file: "shared/src/lib.rs".to_owned(),
        start: (before.matches('\n').count() + 1, line.chars().count() + 1),
        replacement: (*replacement).to_owned(),
        name: format!("{what} becomes {replacement}"),
    }
}

/// What the change makes of the source, without switches.
fn mutated(change: &Change) -> String {
    let (_, _, what, _, becomes) = change;
    let at = found(change);
    format!("{}{becomes}{}", &SOURCE[..at], &SOURCE[at + what.len()..])
}

/// A program of these modules, each of which has a `main`. Its argument says which runs.
fn compiled(directory: &Path, modules: &[(String, String)]) -> PathBuf {
    let text = |(name, text): &(String, String)| format!("mod {name} {{ {text} }}\n");
    let arm = |(name, _): &(String, String)| format!("Some({name:?}) => {name}::main(),\n");
    let text = format!(
        "{DEFINITION}{}fn main() {{ match std::env::args().nth(1).as_deref() {{ {} _ => unreachable!() }} }}",
        modules.iter().map(text).collect::<String>(),
        modules.iter().map(arm).collect::<String>()
    );
    let (source, program) = (directory.join("source.rs"), directory.join("program"));
    std::fs::write(&source, &text).expect("a source that is written");
    let output = Command::new("rustc")
        .args(["--edition", "2024", "--cap-lints", "allow", "-o"])
        .args([&program, &source])
        .output()
        .expect("rustc runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{text}");
    program
}

/// What the module prints, and whether it ends well.
fn printed(program: &Path, module: &str, on: Option<usize>) -> (String, bool) {
    let mut command = Command::new(program);
    let command = command.arg(module).env_remove(VARIABLE);
    let _ = on.map(|id| command.env(VARIABLE, id.to_string()));
    let output = command.output().expect("the program runs");
    let text = String::from_utf8(output.stdout).expect("text");
    (text, output.status.success())
}

/// The source with all changes switched in.
fn all() -> Switched {
    let mutants: Vec<Mutant> = CHANGES
        .iter()
        .enumerate()
        .map(|(id, change)| mutant(id, change))
        .collect();
    switched(SOURCE, &mutants.iter().collect::<Vec<_>>()).expect("a source that is read")
}

#[test]
fn each_switch_does_what_its_mutant_does_and_no_switch_does_what_the_source_does() {
    let switched = all();
    assert_eq!(switched.ids, (0..CHANGES.len()).collect());
    let mut modules = vec![
        ("source".to_owned(), SOURCE.to_owned()),
        ("switched".to_owned(), switched.text),
    ];
    let mutants = CHANGES.iter().enumerate();
    modules.extend(mutants.map(|(id, change)| (format!("mutant{id}"), mutated(change))));
    let directory = tempfile::tempdir().expect("a directory");
    let program = compiled(directory.path(), &modules);
    let source = printed(&program, "source", None);
    assert!(source.1, "{source:?}");
    assert_eq!(printed(&program, "switched", None), source);
    for (id, change) in CHANGES.iter().enumerate() {
        let mutant = printed(&program, &format!("mutant{id}"), None);
        assert_ne!(mutant, source, "nobody sees {change:?}");
        assert_eq!(printed(&program, "switched", Some(id)), mutant, "{change:?}");
    }
}

#[test]
fn each_mutant_is_at_a_place_that_has_its_switch() {
    let switched = all();
    for id in 0..CHANGES.len() {
        let mut places = switched.places.iter().filter(|place| place.ids.contains(&id));
        let place = places.next().expect("a place");
        let text = &switched.text[place.range.clone()];
        assert!(text.contains(&format!("{SWITCH}{id})")), "{id}: {text}");
    }
}

#[test]
fn what_is_compiled_before_it_runs_and_what_returns_an_impl_gets_no_switch() {
    let changes = [
        (Genre::FnValue, "fixed", "x + 1", "0", ""),
        (Genre::BinaryOperator, "fixed", "+ 1", "-", ""),
        (Genre::FnValue, "any", "[1]", "::std::iter::empty()", ""),
    ];
    let mutants = changes.iter().map(|change| mutant(0, change)).collect::<Vec<_>>();
    let switched = switched(SOURCE, &mutants.iter().collect::<Vec<_>>()).expect("a source that is read");
    assert_eq!(switched.ids, BTreeSet::new());
    assert_eq!(switched.text, SOURCE);
}
