//! What Prometheus itself makes of a page of metrics: its parser and promtool's linter, in the Go module `metrics-lint`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The two formats that there are, as a scraper asks for them.
pub const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0";
pub const TEXT: &str = "text/plain;version=0.0.4";

/// Fails with what the linter prints. The first call compiles it, which takes a minute or two.
pub fn lint(page: &str, format: &str) -> Result<()> {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("metrics-lint");
    let mut linter = Command::new("go")
        .args(["run", "-buildvcs=false", ".", format])
        .current_dir(&module)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| {
            format!(
                "failed to run go in {}; install Go as README.md says",
                module.display()
            )
        })?;
    let mut stdin = linter.stdin.take().context("the linter has no standard input")?;
    // One that could not be built reads nothing, and says why below.
    let sent = stdin.write_all(page.as_bytes());
    drop(stdin);
    let output = linter
        .wait_with_output()
        .context("failed to wait for the linter")?;
    if !output.status.success() {
        bail!(
            "the metrics are not as Prometheus wants them ({}): {}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    sent.context("the linter did not read the whole page")
}
