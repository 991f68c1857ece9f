//! The rules for Prometheus and the expressions of the dashboard, in Prometheus' own parser and by its own unit tests.
//!
//! Not here: whether their metrics and labels exist, see `agent/src/metrics/tests/manual.rs` and `manifests/src/dashboard.rs`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cordonhold_tests::process::CommandLine;
use cordonhold_tests::{assets, metrics_lint};
use serde_json::{Value, json};

/// Longest run of the unit tests of the rules. It takes a second.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

fn monitoring() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/monitoring")
}

#[test]
fn alerts_and_dashboard_parse_in_a_real_prometheus() -> Result<()> {
    let path = monitoring().join("rules.yaml");
    let rules =
        std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    metrics_lint::rules(&rules)?;
    for (right, broken) in [
        ("sum by (phase) (", "sum by (phase) (("),
        ("for: 2h", "for: a day"),
    ] {
        ensure!(rules.contains(right), "no rule has {right}");
        let refused = metrics_lint::rules(&rules.replacen(right, broken, 1));
        ensure!(refused.is_err(), "Prometheus takes {broken}");
    }
    let shown = cordonhold_manifests::dashboard::expressions();
    let shown = shown
        .iter()
        .map(|shown| json!({ "record": "shown", "expr": shown }));
    let rules: Vec<Value> = shown.collect();
    metrics_lint::rules(&json!({ "groups": [{ "name": "shown", "rules": rules }] }).to_string())
}

/// `rules-test.yaml` has for each alert when it fires and when it does not yet; promtool compares.
#[tokio::test]
async fn each_alert_fires_when_its_unit_test_says() -> Result<()> {
    let promtool = assets::promtool()?;
    let tested = |file: PathBuf| CommandLine::new(&promtool).arg("test").arg("rules").arg(file);
    let _said = tested(monitoring().join("rules-test.yaml"))
        .run("", TEST_TIMEOUT)
        .await?;
    // An alert that would fire a minute late is seen.
    let place = tempfile::tempdir().context("failed to create a temporary directory")?;
    for (name, right, wrong) in [
        ("rules.yaml", "_seconds) > 7200", "_seconds) > 9000"),
        ("rules-test.yaml", "", ""),
    ] {
        let text = std::fs::read_to_string(monitoring().join(name)).with_context(|| name.to_owned())?;
        ensure!(text.contains(right), "{name} lacks {right}");
        std::fs::write(place.path().join(name), text.replacen(right, wrong, 1))
            .with_context(|| name.to_owned())?;
    }
    let failed = tested(place.path().join("rules-test.yaml"))
        .run("", TEST_TIMEOUT)
        .await;
    let error = failed.err().context("a rule that fires late passes its test")?;
    ensure!(
        format!("{error:#}").contains("CordonholdNodeDoesNotComeBack"),
        "{error:#}"
    );
    Ok(())
}
