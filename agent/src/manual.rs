//! For tests: writes and checks the pages that are generated from the code.
//!
//! Reads the flags that a page gives, too, so that they can be tried.
//!
//! A test compares each page with the code; if `CORDONHOLD_WRITE_MANUAL` is set, the test writes the page anew first.
//! Not here: the contents, see `args/tests/manual.rs` for `docs/flags.md`, `report/page.rs` for `docs/events.md`, and `metrics/tests/manual.rs` for the
//! table of metrics in `docs/agent.md`.

use std::path::{Path, PathBuf};

/// The page of this name in `docs/`.
fn path(page: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page)
}

/// Fails if the page of this name, in `docs/`, does not have exactly this text.
pub(crate) fn assert_written(page: &str, text: &str) {
    let path = path(page);
    if std::env::var_os("CORDONHOLD_WRITE_MANUAL").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "docs/{page} is out of date: write it anew with `CORDONHOLD_WRITE_MANUAL=1 cargo test -p cordonhold-agent manual`"
    );
}

/// Fails if the one table with this head, in the page of this name, does not have exactly these rows. The rest of the page is written
/// by hand.
pub(crate) fn assert_table_written(page: &str, head: &str, rows: &str) {
    let text = std::fs::read_to_string(path(page)).unwrap();
    let (before, after) = text.split_once(head).expect("the page has the head of the table");
    let rest = &after[after.find("\n\n").map_or(after.len(), |end| end + 1)..];
    assert_written(page, &[before, head, rows, rest].concat());
}

/// The flags that `docs/agent.md` gives for hosts without systemd: the words of each block of its section, in order.
pub(crate) fn without_systemd() -> Vec<Vec<String>> {
    let page = include_str!("../../docs/agent.md");
    let (_, after) = page.split_once("\n## Hosts without systemd\n").unwrap();
    let (section, _) = after.split_once("\n## ").unwrap();
    let blocks = section.split("```sh\n").skip(1);
    blocks
        .map(|block| shlex::split(block.split_once("```").unwrap().0).unwrap())
        .collect()
}

/// The head of a Markdown table.
pub(crate) fn head(columns: &[&str]) -> String {
    format!(
        "| {} |\n|{}\n",
        columns.join(" | "),
        " --- |".repeat(columns.len())
    )
}

/// One row of a Markdown table.
pub(crate) fn row<const N: usize>(cells: [String; N]) -> String {
    let cells = cells.map(|cell| cell.replace('|', "\\|"));
    format!("| {} |\n", cells.join(" | "))
}
