//! The alerts: the rules of the chart, and the table of OPERATING.md, from one list.
//!
//! Not here: what the metrics mean (agent/README.md, webhook/README.md), and alerts of the machines themselves.

/// One alert.
struct Alert {
    name: &'static str,
    /// Whether somebody should look at once.
    is_critical: bool,
    /// What is wrong, for people.
    says: &'static str,
    /// In `PromQL`.
    expression: &'static str,
    /// How long it must be true, as Prometheus writes it; empty for at once.
    lasts: &'static str,
}

const ALERTS: [Alert; 12] = [
    Alert {
        name: "CordonholdNodeDoesNotComeBack",
        is_critical: true,
        says: "a node that has the lock does not come back",
        expression: "max(cordonhold_agent_lock_holder_age_seconds) > 7200",
        lasts: "",
    },
    Alert {
        name: "CordonholdWaitsForTheLock",
        is_critical: false,
        says: "a node has waited for the lock for a day",
        expression: "time() - cordonhold_agent_lock_waits_since_timestamp_seconds > 86400",
        lasts: "",
    },
    Alert {
        name: "CordonholdRebootBlocked",
        is_critical: false,
        says: "something other than a closed window has postponed a reboot for a day",
        expression: "max by (node) (cordonhold_agent_blocked{blocker!=\"outside_window\"}) == 1",
        lasts: "1d",
    },
    Alert {
        name: "CordonholdDrainBlocked",
        is_critical: false,
        says: "a drain has not gone on for half an hour",
        expression: "cordonhold_agent_pods_left > 0 and cordonhold_agent_pods_left == cordonhold_agent_pods_left offset 30m",
        lasts: "",
    },
    Alert {
        name: "CordonholdRebootFailed",
        is_critical: false,
        says: "a reboot command failed",
        expression: "increase(cordonhold_agent_reboots_total{result=\"failed\"}[1h]) > 0",
        lasts: "",
    },
    Alert {
        name: "CordonholdRebootStuck",
        is_critical: true,
        says: "a host does not go down",
        expression: "increase(cordonhold_agent_reboots_total{result=\"stuck\"}[1h]) > 0",
        lasts: "",
    },
    Alert {
        name: "CordonholdUncordonedWhileHeld",
        is_critical: false,
        says: "an uncordon of a held node got through",
        expression: "increase(cordonhold_agent_disturbances_total{reason=\"uncordoned\"}[1h]) > 0",
        lasts: "",
    },
    Alert {
        name: "CordonholdAgentDefect",
        is_critical: false,
        says: "a bug in the agent",
        expression: "increase(cordonhold_agent_unexpected_answers_total[1h]) > 0",
        lasts: "",
    },
    Alert {
        name: "CordonholdWebhookUnreachable",
        is_critical: true,
        says: "the API server gets no answer from the webhook (its own metric)",
        expression: "sum by (name) (increase(apiserver_admission_webhook_rejection_count{name=~\".*cordonhold.dev\",error_type=\"calling_webhook_error\"}[10m])) > 0",
        lasts: "",
    },
    Alert {
        name: "CordonholdCertificateExpiring",
        is_critical: true,
        says: "the webhook's certificate ends within two weeks",
        expression: "min(cordonhold_webhook_certificate_expiry_timestamp_seconds) - time() < 1209600",
        lasts: "15m",
    },
    Alert {
        name: "CordonholdCertsProblem",
        is_critical: false,
        says: "what makes the certificates cannot do it",
        expression: "max by (problem) (cordonhold_certs_problem) == 1",
        lasts: "1h",
    },
    Alert {
        name: "CordonholdWebhookDefect",
        is_critical: false,
        says: "a bug in the webhook, or lines of its audit trail that were lost",
        expression: "increase(cordonhold_webhook_panics_total[1h]) > 0 or increase(cordonhold_webhook_log_lines_lost_total[1h]) > 0",
        lasts: "",
    },
];

/// The rows of the table in OPERATING.md.
#[must_use]
pub fn table() -> String {
    let rows = ALERTS.iter().map(|alert| {
        let lasts = match alert.lasts {
            "" => String::new(),
            lasts => format!(", with `for: {lasts}`"),
        };
        format!("| {} | `{}`{lasts} |\n", alert.says, alert.expression)
    });
    let rows: Vec<String> = rows.collect();
    format!("| alert | expression |\n| --- | --- |\n{}", rows.concat())
}

/// The template of the chart's `PrometheusRule`.
pub(crate) fn template() -> String {
    let rules: Vec<String> = ALERTS.iter().map(Alert::rule).collect();
    format!(
        "{HEAD}{{{{- with .Values.monitoring.rules }}}}\n{{{{- if .enabled }}}}\n{OBJECT}{}{{{{- end }}}}\n{{{{- end }}}}\n",
        rules.concat()
    )
}

impl Alert {
    fn rule(&self) -> String {
        let severity = if self.is_critical { "critical" } else { "warning" };
        let lasts = match self.lasts {
            "" => String::new(),
            lasts => format!("          for: {lasts}\n"),
        };
        format!(
            "        - alert: {}\n          expr: {}\n{lasts}          labels:\n            severity: {severity}\n          annotations:\n            summary: {}\n",
            self.name,
            quoted(self.expression),
            quoted(&format!("Cordonhold: {}", self.says))
        )
    }
}

/// A YAML string in double quotes, whose escapes are those of JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

const HEAD: &str = "{{/* Written by `cargo manifests` from manifests/src/alerts.rs. */}}\n";
const OBJECT: &str = "\
# For the Prometheus operator. Choose the times by how long your reboots take.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: cordonhold
  namespace: {{ default $.Release.Namespace .namespace }}
  {{- with .labels }}
  labels:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  groups:
    - name: cordonhold
      rules:
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_for_operators_has_these_alerts() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../OPERATING.md");
        let page = std::fs::read_to_string(path).expect("the page is there");
        assert!(
            page.contains(&table()),
            "OPERATING.md must have this table:\n{}",
            table()
        );
    }

    #[test]
    fn names_are_unique_and_say_whose_they_are() {
        let mut names: Vec<&str> = ALERTS.iter().map(|alert| alert.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALERTS.len());
        assert!(names.iter().all(|name| name.starts_with("Cordonhold")));
    }
}
