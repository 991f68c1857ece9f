//! Whether the requests and mails that the agent's messages are compared with are still those of shoutrrr: the Go module `shoutrrr-peer`
//! makes them anew with the library itself.
//!
//! Not here: the comparison with the agent's own requests, see `agent/src/notify/service/tests.rs`, and with its own mails, see
//! `agent/src/notify/tests/smtp/compared.rs`.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cordonhold_tests::go_module;
use serde_json::Value;

/// Stands for the part of a URL that differs each time: the number of a message to Matrix.
const TRANSACTION: &str = "TRANSACTION";

#[test]
fn the_requests_that_are_written_down_are_those_of_shoutrrr() -> Result<()> {
    is_as_written("urls.txt", "requests.jsonl")
}

#[test]
fn the_mails_that_are_written_down_are_those_of_shoutrrr() -> Result<()> {
    is_as_written("mail-urls.txt", "mails.jsonl")
}

/// Compares what shoutrrr sends for these URLs with what is written down.
fn is_as_written(urls: &str, written: &str) -> Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/tests/shoutrrr");
    let read = |name: &str| {
        std::fs::read_to_string(directory.join(name)).with_context(|| format!("failed to read {name}"))
    };
    let made = sent(&read(urls)?)?;
    if std::env::var_os("CORDONHOLD_WRITE_MANUAL").is_some() {
        std::fs::write(directory.join(written), &made)
            .with_context(|| format!("failed to write {written}"))?;
    }
    ensure!(
        read(written)? == made,
        "{written} is out of date: write it anew with `CORDONHOLD_WRITE_MANUAL=1 cargo test -p cordonhold-tests --test shoutrrr`"
    );
    Ok(())
}

/// What the Go module prints for these URLs.
fn sent(urls: &str) -> Result<String> {
    let (output, sent) = go_module::run("shoutrrr-peer", &[], urls)?;
    ensure!(
        output.status.success(),
        "the module ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    sent?;
    let mut made = String::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let sent: Value = serde_json::from_str(line)?;
        ensure!(
            sent.get("error").is_none(),
            "shoutrrr makes nothing of {}: {}",
            sent["url"],
            sent["error"]
        );
        made += &plain(line, &sent);
        made.push('\n');
    }
    Ok(made)
}

/// The line without the numbers of its messages to Matrix.
fn plain(line: &str, sent: &Value) -> String {
    let urls = sent["requests"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|request| request["url"].as_str());
    let numbers = urls.filter_map(|url| url.split_once("/send/m.room.message/"));
    numbers.fold(line.to_owned(), |line, (_, number)| {
        line.replace(number, TRANSACTION)
    })
}
