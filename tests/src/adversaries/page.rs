//! The page `docs/who-uncordons.md`, made from the rows and from the lines of a run, and the files that keep both.
//!
//! Not here: the run, see [`super::Stage`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Before, Line, Row, RowToken};

const HEAD: &str = "\
# Who uncordons a node, and what Cordonhold answers

Each row is a program that is known to uncordon nodes.
A small client behaves like it: with its identity, its request, and what it does after a denial.
The clients are built on the libraries that those programs use (kubectl's drain library, client-go, controller-runtime), and ask a real API server with the real webhook.
The code is ours; what the programs do was read in their source in 2026, and may have changed since.

Each row is played twice in each phase of a hold, and twice without one:

* on a node that was schedulable before the hold;
* on a node that the program itself had cordoned before the hold.
  In mode `enforce` this node stays cordoned unless the program asks again after the hold, because at its end the cordon becomes what it was before.
  In [mode `defer`](webhook.md#defer) the uncordon is kept, and done when the hold ends.

The tables are about the phases `draining`, `delaying`, `sealed` and `returning`; a cell names the phases only if they differ.
Without a hold, and in the phase `wanted`, the node is not held, and an uncordon passes.
Only a write that also removes the marks of the phase `wanted` is denied there (row `b`).
";

const LIMITS: &str = "\
## What this does not show

* The hold lasts until the program has given up, or has asked five times.
  If a hold is over sooner, a program that asks only a few times may succeed.
  For that reason system-upgrade-controller is shown with a short and with a long hold.
* A program that asks again until the node is schedulable uses a work queue, whose pauses double up to 1000 s.
  So after a hold of 20 minutes its uncordon can come up to a quarter of an hour late; here the hold lasts seconds.
* Programs with long pauses run faster here than they do by themselves, so that a run ends: the column *faster* says how many times.
  The hold is shorter by the same factor, and no try is left out.
* The marks of the hold are written with the agent's identity and by its code, without an agent that drains and reboots.
* *lifts only its own cordon*: the program looks for its annotation on the node, and without it asks nothing; here it is there in both cases.
* *looks again*: the program reads the Node after a write that was accepted, and asks again if the node is still cordoned, which matters in mode `defer`.
* *guessed*: the identity or the request is not known, and a plausible one is used.
* Rows `a` to `d` are no known program: they are shapes of a request that no other row has.
";

/// The directory with the Go module, which has the files of the last run too.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("adversaries")
}

fn page_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/who-uncordons.md")
}

/// Writes the rows, the lines of a run of all of them, and the page.
pub fn write(rows: &[Row], lines: &[Line]) -> Result<()> {
    write_lines("rows.jsonl", rows)?;
    write_lines("run.jsonl", lines)?;
    write_page(&render(rows, lines))
}

fn write_page(page: &str) -> Result<()> {
    let path = page_path();
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("failed to create {}", directory.display()))?;
    }
    std::fs::write(&path, page).with_context(|| format!("failed to write {}", path.display()))
}

fn write_lines<T: Serialize>(name: &str, values: &[T]) -> Result<()> {
    let mut text = String::new();
    for value in values {
        text += &serde_json::to_string(value).context("failed to write a line of JSON")?;
        text.push('\n');
    }
    let path = directory().join(name);
    std::fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))
}

fn read_lines<T: DeserializeOwned>(name: &str) -> Result<Vec<T>> {
    let path = directory().join(name);
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    text.lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("failed to read {}", path.display())))
        .collect()
}

/// The rows of the last run that was written.
pub fn written_rows() -> Result<Vec<Row>> {
    read_lines("rows.jsonl")
}

/// The lines of the last run that was written.
pub fn written_lines() -> Result<Vec<Line>> {
    read_lines("run.jsonl")
}

fn render(rows: &[Row], lines: &[Line]) -> String {
    let mut page = HEAD.to_owned();
    let mut modes: Vec<&str> = lines.iter().map(|line| line.mode.as_str()).collect();
    modes.dedup();
    for mode in modes {
        let of_mode: Vec<&Line> = lines.iter().filter(|line| line.mode == mode).collect();
        page += &["\n## Mode `", mode, "`\n\n", &totals(rows, &of_mode), "\n"].concat();
        page += "| # | who | as | sends | answer | then | was schedulable, ends | had cordoned it itself, ends | faster |\n";
        page += "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
        for row in rows {
            page += &table_row(row, &of_mode);
        }
    }
    page += "\n## Who they are\n\n| # | user | patience after a denial | lifts only its own cordon | looks again |\n| --- | --- | --- | --- | --- |\n";
    for row in rows {
        let own = row
            .owns
            .as_ref()
            .map_or("no".to_owned(), |key| format!("by `{key}`"));
        let looks = if row.looks { "yes" } else { "no" };
        let cells = [
            row.id.clone(),
            user(row),
            row.patience.clone(),
            own,
            looks.to_owned(),
        ];
        page += &["| ", &cells.join(" | "), " |\n"].concat();
    }
    page + "\n"
        + LIMITS
        + "\nThis page is generated: `cargo adversaries --mode enforce --mode defer --write` runs all rows and writes it; a test runs a few of them and compares.\n"
}

fn is_held(line: &Line) -> bool {
    line.phase != "none" && line.phase != "wanted"
}

fn totals(rows: &[Row], lines: &[&Line]) -> String {
    let count = |held: bool, word: &str| {
        let those = lines.iter().filter(|line| is_held(line) == held);
        those.filter(|line| line.verdict.starts_with(word)).count()
    };
    let mut told = Vec::new();
    for (held, where_) in [(true, "While held"), (false, "Without a hold and in `wanted`")] {
        let all = lines.iter().filter(|line| is_held(line) == held).count();
        let (denied, deferred) = (count(held, "denied"), count(held, "allowed: deferred"));
        let allowed = count(held, "allowed") - deferred;
        let nothing = count(held, "nothing");
        let refused = all - denied - deferred - allowed - nothing;
        told.push(format!(
            "* {where_}: {all} tries; {denied} denied, {deferred} deferred, {allowed} allowed, {refused} refused otherwise; {nothing} found nothing to do.\n"
        ));
    }
    for (before, what) in [
        (Before::Schedulable, "was schedulable"),
        (Before::Cordoned, "the program itself had cordoned"),
    ] {
        let stays = stays_cordoned(rows, lines, before);
        let named = if stays.is_empty() {
            "none".to_owned()
        } else {
            stays.join(", ")
        };
        told.push(format!(
            "* A node that {what} stays cordoned after the hold, in {} of {} rows: {named}.\n",
            stays.len(),
            rows.len()
        ));
    }
    told.concat()
}

/// The rows whose node stays cordoned after a hold.
fn stays_cordoned(rows: &[Row], lines: &[&Line], before: Before) -> Vec<String> {
    let stays = |row: &&Row| {
        let mut of_row = lines
            .iter()
            .filter(|line| line.row == row.id && line.before == before);
        of_row.any(|line| is_held(line) && !line.schedulable)
    };
    rows.iter().filter(stays).map(|row| row.id.clone()).collect()
}

fn table_row(row: &Row, lines: &[&Line]) -> String {
    let of_row: Vec<&Line> = lines
        .iter()
        .copied()
        .filter(|line| line.row == row.id && is_held(line))
        .collect();
    let ends = |before: Before| {
        let of_case: Vec<&Line> = of_row
            .iter()
            .copied()
            .filter(|line| line.before == before)
            .collect();
        summary(&of_case, |line| {
            if line.schedulable {
                "schedulable"
            } else {
                "**cordoned**"
            }
            .to_owned()
        })
    };
    let guess = if row.identity.guess { " (guessed)" } else { "" };
    let factor = if row.factor > 1 {
        format!("{}×", row.factor)
    } else {
        String::new()
    };
    let cells = [
        row.id.clone(),
        row.who.clone(),
        kind(row) + guess,
        row.request.clone(),
        summary(&of_row, |line| line.verdict.clone()),
        summary(&of_row, |line| line.then.clone()),
        ends(Before::Schedulable),
        ends(Before::Cordoned),
        factor,
    ];
    format!("| {} |\n", cells.join(" | "))
}

/// One text if all lines agree; else each text with its phases.
fn summary(lines: &[&Line], text: impl Fn(&Line) -> String) -> String {
    let mut by_text: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for line in lines {
        let phases = by_text.entry(text(line)).or_default();
        if !phases.contains(&line.phase.as_str()) {
            phases.push(&line.phase);
        }
    }
    if by_text.len() == 1 {
        return by_text.into_keys().collect();
    }
    let parts: Vec<String> = by_text
        .into_iter()
        .map(|(text, phases)| format!("{text} ({})", phases.join(", ")))
        .collect();
    parts.join("; ")
}

/// What kind of identity it is.
fn kind(row: &Row) -> String {
    let identity = &row.identity;
    let is_of = |group: &str| identity.groups.iter().any(|of| of == group);
    match identity.token {
        Some(RowToken::Pod) => "ServiceAccount, token of a pod on the node",
        Some(RowToken::Proxy) => "ServiceAccount, impersonated by a proxy",
        None if is_of("system:masters") => "`system:masters`",
        None if is_of("system:nodes") => "kubelet",
        None if is_of("system:serviceaccounts") => "ServiceAccount",
        None => "user",
    }
    .to_owned()
}

fn user(row: &Row) -> String {
    format!("`{}`", row.identity.user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_the_last_run_says() {
        let page = render(&written_rows().unwrap(), &written_lines().unwrap());
        if std::env::var_os("CORDONHOLD_WRITE_MANUAL").is_some() {
            write_page(&page).unwrap();
        }
        let written = std::fs::read_to_string(page_path()).unwrap();
        assert!(
            written == page,
            "docs/who-uncordons.md is out of date: write it anew with `CORDONHOLD_WRITE_MANUAL=1 cargo test -p cordonhold-tests --lib page`"
        );
    }

    #[test]
    fn the_last_run_has_every_row_in_every_phase() {
        let lines = written_lines().unwrap();
        for row in written_rows().unwrap() {
            for phase in super::super::every_phase() {
                for before in [Before::Schedulable, Before::Cordoned] {
                    let phase = super::super::name(phase);
                    let found = lines
                        .iter()
                        .filter(|line| line.row == row.id && line.phase == phase && line.before == before);
                    assert!(found.count() > 0, "row {}, {phase}, {before:?}", row.id);
                }
            }
        }
    }
}
