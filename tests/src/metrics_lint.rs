//! Checks a page of metrics with Prometheus' own parser and promtool's linter, by the Go module `metrics-lint`.

use anyhow::{Result, bail};

use crate::go_module;

/// Media type of the `OpenMetrics` format, as a scraper asks for it.
pub const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0";
/// Media type of Prometheus' text format, as a scraper asks for it.
pub const TEXT: &str = "text/plain;version=0.0.4";

/// Lints a page of metrics. The error has what the linter prints. The first call compiles the linter, which takes a minute or two.
pub fn lint(page: &str, format: &str) -> Result<()> {
    let (output, sent) = go_module::run("metrics-lint", &[format], page)?;
    if !output.status.success() {
        bail!(
            "Prometheus does not accept the metrics ({}): {}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    sent
}
