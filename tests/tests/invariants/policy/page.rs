//! The rows of `docs/policy.md`: one for each case in which policy and webhook differ.

use anyhow::{Context, Result, ensure};
use cordonhold_shared::admission::Reason;
use cordonhold_tests::install::manifests;

use super::cases::{Case, Policy};

const HEAD: &str = "| what is tried | webhook | policy | why |\n| --- | --- | --- | --- |\n";

/// Checks that the page has a row for each case in which policy and webhook differ, and no other.
pub(super) fn is_written(cases: &[Case]) -> Result<()> {
    let rows: Vec<String> = cases.iter().filter_map(row).collect();
    let table = format!("{HEAD}{}", rows.concat());
    let path = manifests("../docs/policy.md");
    let page = std::fs::read_to_string(&path).context("failed to read docs/policy.md")?;
    let (before, rest) = page
        .split_once(HEAD)
        .context("docs/policy.md has no table of differences")?;
    let after = rest.find("\n\n").map_or("", |end| &rest[end + 1..]);
    let new = format!("{before}{table}{after}");
    if std::env::var_os("CORDONHOLD_WRITE_MANUAL").is_some() {
        std::fs::write(&path, &new).context("failed to write docs/policy.md")?;
    } else {
        ensure!(
            new == page,
            "docs/policy.md is out of date: write it anew with `CORDONHOLD_WRITE_MANUAL=1 cargo test --workspace --test invariants policy_and_webhook`"
        );
    }
    Ok(())
}

fn row(case: &Case) -> Option<String> {
    let denies = |reason: Reason| format!("denies (`{}`)", reason.code());
    let passes = |reason: Reason| format!("lets pass (`{}`)", reason.code());
    let (webhook, policy, why) = match case.policy {
        Policy::Same => return None,
        Policy::Passes(why) => (denies(case.reason), "lets pass".to_owned(), why),
        Policy::Denies(reason, why) => (passes(case.reason), denies(reason), why),
    };
    Some(format!("| {} | {webhook} | {policy} | {why} |\n", case.what))
}
