//! Pages that are generated from the code. A test holds each against the code; where `CORDONHOLD_WRITE_MANUAL` is set, it writes the page anew.
//!
//! Not here: what stands on a page.

use std::path::Path;

/// Fails where the page of this name beside `Cargo.toml` is not this text.
pub(crate) fn assert_written(page: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    if std::env::var_os("CORDONHOLD_WRITE_MANUAL").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "agent/{page} is old: write it anew with `CORDONHOLD_WRITE_MANUAL=1 cargo test -p cordonhold-agent manual`"
    );
}

/// The head of a table.
pub(crate) fn head(columns: &[&str]) -> String {
    format!(
        "| {} |\n|{}\n",
        columns.join(" | "),
        " --- |".repeat(columns.len())
    )
}

/// One row of a table.
pub(crate) fn row<const N: usize>(cells: [String; N]) -> String {
    let cells = cells.map(|cell| cell.replace('|', "\\|"));
    format!("| {} |\n", cells.join(" | "))
}
