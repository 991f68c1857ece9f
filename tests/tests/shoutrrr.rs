//! Whether the requests that the agent's messages are compared with are still those of shoutrrr: the Go module `shoutrrr-peer` makes them
//! anew with the library itself.
//!
//! Not here: the comparison with the agent's own requests, see `agent/src/notify/service/tests.rs`.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// Stands for the part of a URL that differs each time: the number of a message to Matrix.
const TRANSACTION: &str = "TRANSACTION";

#[test]
fn the_requests_that_are_written_down_are_those_of_shoutrrr() -> Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = here.join("../agent/tests/shoutrrr");
    let urls = std::fs::read_to_string(directory.join("urls.txt")).context("failed to read urls.txt")?;
    let made = requests(&here.join("shoutrrr-peer"), &urls)?;
    let path = directory.join("requests.jsonl");
    if std::env::var_os("CORDONHOLD_WRITE_MANUAL").is_some() {
        std::fs::write(&path, &made).context("failed to write requests.jsonl")?;
    }
    let written = std::fs::read_to_string(&path).context("failed to read requests.jsonl")?;
    ensure!(
        written == made,
        "requests.jsonl is out of date: write it anew with `CORDONHOLD_WRITE_MANUAL=1 cargo test -p cordonhold-tests --test shoutrrr`"
    );
    Ok(())
}

/// What the Go module prints for these URLs. The first call compiles it, which takes a minute.
fn requests(module: &Path, urls: &str) -> Result<String> {
    let mut peer = Command::new("go")
        .args(["run", "-buildvcs=false", "."])
        .current_dir(module)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .with_context(|| {
            format!(
                "failed to run go in {}; install Go as README.md says",
                module.display()
            )
        })?;
    let mut stdin = peer.stdin.take().context("the module has no standard input")?;
    stdin
        .write_all(urls.as_bytes())
        .context("the module does not read the URLs")?;
    drop(stdin);
    let output = peer.wait_with_output().context("failed to wait for the module")?;
    ensure!(output.status.success(), "the module ended with {}", output.status);
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
