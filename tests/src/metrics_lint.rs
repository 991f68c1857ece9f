//! Checks a page of metrics with Prometheus' own parser and promtool's linter, by the Go module `metrics-lint`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Media type of the `OpenMetrics` format, as a scraper asks for it.
pub const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0";
/// Media type of Prometheus' text format, as a scraper asks for it.
pub const TEXT: &str = "text/plain;version=0.0.4";

/// Lints a page of metrics. The error has what the linter prints. The first call compiles the linter, which takes a minute or two.
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
    // If the linter could not be built, writing fails too; its own message below explains more, so that comes first.
    let sent = stdin.write_all(page.as_bytes());
    drop(stdin);
    let output = linter
        .wait_with_output()
        .context("failed to wait for the linter")?;
    if !output.status.success() {
        bail!(
            "Prometheus does not accept the metrics ({}): {}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    sent.context("the linter did not read the whole page")
}
