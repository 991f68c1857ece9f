//! Checks pages of metrics and files of rules with Prometheus' own parsers and promtool's linter, by the Go module `metrics-lint`.

use anyhow::{Result, bail};

use crate::go_module;

/// Media type of the `OpenMetrics` format, as a scraper asks for it.
pub const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0";
/// Media type of Prometheus' text format, as a scraper asks for it.
pub const TEXT: &str = "text/plain;version=0.0.4";

/// Lints a page of metrics. The error has what the linter prints. The first call compiles the linter, which takes a minute or two.
pub fn lint(page: &str, format: &str) -> Result<()> {
    check(page, format, "the metrics")
}

/// Checks a file of rules, in YAML or JSON, as Prometheus does when it loads it. The error names each rule and what is wrong with it.
pub fn rules(file: &str) -> Result<()> {
    check(file, "rules", "the rules")
}

fn check(input: &str, format: &str, what: &str) -> Result<()> {
    let (output, sent) = go_module::run("metrics-lint", &[format], input)?;
    if !output.status.success() {
        bail!(
            "Prometheus does not accept {what} ({}): {}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    sent
}
