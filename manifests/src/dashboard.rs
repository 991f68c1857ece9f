//! The dashboard of the chart, for Grafana: one page from the fleet down to the certificate.
//!
//! Not here: what the metrics mean (docs/agent.md, docs/webhook.md, docs/certificates.md), and alerts ([`crate::alerts`]).

use serde_json::{Value, json};

/// One panel: a graph of an expression in `PromQL` over time.
struct Panel {
    title: &'static str,
    expression: &'static str,
    /// Grafana's name of the unit.
    unit: &'static str,
}

const fn panel(title: &'static str, expression: &'static str, unit: &'static str) -> Panel {
    Panel {
        title,
        expression,
        unit,
    }
}

const PANELS: [Panel; 14] = [
    panel(
        "Nodes by phase",
        "sum by (phase) (cordonhold_agent_phase)",
        "short",
    ),
    panel(
        "Reboots in an hour, by result",
        "sum by (result) (increase(cordonhold_agent_reboots_total[1h]))",
        "short",
    ),
    panel(
        "Nodes that something blocks, by blocker",
        "sum by (blocker) (cordonhold_agent_blocked)",
        "short",
    ),
    panel(
        "Oldest node that has the lock",
        "max(cordonhold_agent_lock_holder_age_seconds)",
        "s",
    ),
    panel(
        "How long each node has waited for the lock",
        "time() - cordonhold_agent_lock_waits_since_timestamp_seconds",
        "s",
    ),
    panel(
        "Pods that have yet to leave, by node",
        "cordonhold_agent_pods_left",
        "short",
    ),
    panel(
        "Length of the last reboots, by phase",
        "avg by (phase) (cordonhold_agent_last_reboot_phase_seconds)",
        "s",
    ),
    panel(
        "Reboots called off in an hour, by reason",
        "sum by (reason) (increase(cordonhold_agent_called_off_total[1h]))",
        "short",
    ),
    panel(
        "Disturbed drains in an hour, by kind",
        "sum by (reason) (increase(cordonhold_agent_disturbances_total[1h]))",
        "short",
    ),
    panel(
        "Refused evictions in an hour, by reason",
        "sum by (reason) (increase(cordonhold_agent_evictions_refused_total[1h]))",
        "short",
    ),
    panel(
        "Webhook: decisions in an hour, by verdict and reason",
        "sum by (verdict, reason) (increase(cordonhold_webhook_decisions_total[1h]))",
        "short",
    ),
    panel(
        "Webhook: time for a decision, 99th percentile",
        "histogram_quantile(0.99, sum by (le) (rate(cordonhold_webhook_decision_latency_seconds_bucket[5m])))",
        "s",
    ),
    panel(
        "Webhook: time until the certificate ends",
        "min(cordonhold_webhook_certificate_expiry_timestamp_seconds) - time()",
        "s",
    ),
    panel(
        "Agents by version",
        "count by (version) (cordonhold_agent_build_info)",
        "short",
    ),
];

/// The expressions of all panels.
#[must_use]
pub fn expressions() -> Vec<&'static str> {
    PANELS.iter().map(|panel| panel.expression).collect()
}

/// The dashboard as a file that Grafana imports.
///
/// # Errors
///
/// The JSON cannot be written.
pub fn file() -> Result<String, serde_json::Error> {
    Ok(format!("{}\n", serde_json::to_string_pretty(&dashboard())?))
}

/// The template of the chart's `ConfigMap`, which Grafana's sidecar finds by its label.
pub(crate) fn template() -> Result<String, serde_json::Error> {
    let text = serde_json::to_string_pretty(&dashboard())?;
    let lines: Vec<String> = text.lines().map(|line| format!("    {line}\n")).collect();
    Ok(format!(
        "{HEAD}{}{{{{- end }}}}\n{{{{- end }}}}\n",
        lines.concat()
    ))
}

fn dashboard() -> Value {
    let panels: Vec<Value> = PANELS
        .iter()
        .enumerate()
        .map(|(place, panel)| panel.json(place))
        .collect();
    json!({
        "title": "Cordonhold",
        "uid": "cordonhold",
        "schemaVersion": 39,
        "time": {"from": "now-24h", "to": "now"},
        "refresh": "1m",
        "templating": {"list": [{"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]},
        "panels": panels,
    })
}

impl Panel {
    /// Two panels to a row, each half of Grafana's 24 columns wide.
    fn json(&self, place: usize) -> Value {
        json!({
            "id": place + 1,
            "type": "timeseries",
            "title": self.title,
            "gridPos": {"x": place % 2 * 12, "y": place / 2 * 8, "w": 12, "h": 8},
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "fieldConfig": {"defaults": {"unit": self.unit, "min": 0}, "overrides": []},
            "targets": [{"refId": "A", "expr": self.expression, "legendFormat": "__auto"}],
        })
    }
}

const HEAD: &str = "\
{{/* Written by `cargo manifests` from manifests/src/dashboard.rs. */}}
{{- with .Values.monitoring.dashboard }}
{{- if .enabled }}
# For Grafana, whose sidecar finds it by its label.
apiVersion: v1
kind: ConfigMap
metadata:
  name: cordonhold-dashboard
  namespace: {{ default $.Release.Namespace .namespace }}
  labels:
    {{- toYaml .labels | nindent 4 }}
data:
  cordonhold.json: |-
";

#[cfg(test)]
mod tests {
    use super::*;

    /// Only metrics that a manual has are shown.
    #[test]
    fn each_panel_shows_metrics_that_there_are() {
        let manuals = [
            include_str!("../../docs/agent.md"),
            include_str!("../../docs/webhook.md"),
            include_str!("../../docs/certificates.md"),
        ]
        .concat();
        for expression in expressions() {
            let names = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
            let ours: Vec<&str> = names.filter(|name| name.starts_with("cordonhold_")).collect();
            assert!(!ours.is_empty(), "{expression}");
            for name in ours {
                let name = name.trim_end_matches("_bucket");
                let row = [format!("| `{name}`"), format!("| `{name}{{")];
                assert!(row.iter().any(|row| manuals.contains(row)), "{name}");
            }
        }
        let template = template().expect("it is JSON");
        assert_eq!(template.matches("{{").count(), template.matches("}}").count());
    }
}
