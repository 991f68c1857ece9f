//! The alerts of `OPERATING.md`, and the expressions of the chart's dashboard, in Prometheus' own parser.
//!
//! Not here: whether their metrics and labels exist, see `agent/src/metrics/tests/manual.rs`.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cordonhold_tests::metrics_lint;
use serde_json::{Value, json};

#[test]
fn alerts_parse_in_a_real_prometheus() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../OPERATING.md");
    let page =
        std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let alerts = alerts(&page)?;
    metrics_lint::rules(&file(&alerts))?;
    let shown = cordonhold_manifests::dashboard::expressions();
    let shown = shown
        .iter()
        .map(|shown| json!({ "record": "shown", "expr": shown }));
    metrics_lint::rules(&file(&shown.collect::<Vec<Value>>()))?;
    for broken in [
        json!({ "expr": "sum(up" }),
        json!({ "expr": "up", "for": "a day" }),
    ] {
        let mut alerts = alerts.clone();
        let last = alerts.last_mut().and_then(Value::as_object_mut);
        last.context("no alert")?
            .extend(broken.as_object().cloned().unwrap_or_default());
        let refused = metrics_lint::rules(&file(&alerts));
        ensure!(refused.is_err(), "Prometheus takes {broken}");
    }
    Ok(())
}

fn file(rules: &[Value]) -> String {
    json!({ "groups": [{ "name": "cordonhold", "rules": rules }] }).to_string()
}

/// The rows of the page's table of alerts, as rules.
fn alerts(page: &str) -> Result<Vec<Value>> {
    let (_, table) = page
        .split_once("| alert | expression |\n| --- | --- |\n")
        .context("OPERATING.md has no table of alerts")?;
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    rows.map(|row| alert(row).with_context(|| format!("cannot be read as an alert: {row}")))
        .collect()
}

/// `| NAME | EXPRESSION |`, where the expression may be followed by `for: TIME`, both in backticks.
fn alert(row: &str) -> Option<Value> {
    let (name, rest) = row.strip_prefix("| ")?.split_once(" | `")?;
    let (expression, rest) = rest.split_once('`')?;
    let mut alert = json!({ "alert": name, "expr": expression });
    match rest.strip_suffix(" |")? {
        "" => {}
        rest => alert["for"] = json!(rest.strip_prefix(", with `for: ")?.strip_suffix('`')?),
    }
    Some(alert)
}
