//! Checks that ARCHITECTURE.md has a row for each rule of the model, and no other.

use std::collections::BTreeSet;

use cordonhold_model::Rule;

#[test]
fn architecture_has_a_row_for_each_rule_and_no_other() {
    let page = include_str!("../../../ARCHITECTURE.md");
    let section = page
        .split("## How each invariant is kept")
        .nth(1)
        .and_then(|rest| rest.split("\n## ").next())
        .expect("the section that lists the rules");
    let rows = section
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| mechanism"));
    let named: Vec<String> = rows
        .filter_map(|row| row.split('|').nth(2))
        .flat_map(|cell| cell.split_whitespace())
        .map(|word| word.trim_matches('`').to_owned())
        .filter(|word| word != "---")
        .collect();
    let unique: BTreeSet<String> = named.iter().cloned().collect();
    assert_eq!(named.len(), unique.len(), "a rule has two rows: {named:?}");
    let rules: BTreeSet<String> = Rule::ALL.iter().map(|rule| format!("{rule:?}")).collect();
    assert_eq!(unique, rules);
}
