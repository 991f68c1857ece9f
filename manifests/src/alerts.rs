//! The alerts and recording rules: those of the chart, the plain file, and the table of docs/alerts.md, from one list.
//!
//! An alert is about what people notice, and each has a page in `docs/runbooks/`. `monitoring/rules-test.yaml` is their unit test, in
//! Prometheus' own format.
//! Not here: what the metrics mean (docs/agent.md, docs/webhook.md), and alerts of the machines themselves.

use crate::chart::WRITTEN;

/// One alert.
struct Alert {
    name: &'static str,
    severity: Severity,
    /// What is wrong, for people.
    says: &'static str,
    /// In `PromQL`.
    expression: &'static str,
    /// How long it must be true, as Prometheus writes it; empty for at once.
    lasts: &'static str,
}

/// How soon somebody should look.
enum Severity {
    /// At once, also at night.
    Critical,
    /// In working hours.
    Warning,
    /// When there is time.
    Info,
}

impl Severity {
    /// The value of the label `severity`, as kube-prometheus has it.
    fn as_str(&self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
            Severity::Info => "info",
        }
    }
}

/// A rule that keeps the value of an expression as a metric of its own, for dashboards over many clusters.
struct Recording {
    /// `LABELS:METRIC:OPERATION`, as Prometheus' best practices name such rules.
    name: &'static str,
    expression: &'static str,
}

const RECORDINGS: [Recording; 3] = [
    Recording {
        name: "phase:cordonhold_agent_phase:sum",
        expression: "sum by (phase) (cordonhold_agent_phase)",
    },
    Recording {
        name: "phase:cordonhold_agent_last_reboot_phase_seconds:p95",
        expression: "quantile by (phase) (0.95, cordonhold_agent_last_reboot_phase_seconds)",
    },
    Recording {
        name: "verdict_reason:cordonhold_webhook_decisions:increase1h",
        expression: "sum by (verdict, reason) (increase(cordonhold_webhook_decisions_total[1h]))",
    },
];

const ALERTS: [Alert; 14] = [
    Alert {
        name: "CordonholdNodeDoesNotComeBack",
        severity: Severity::Critical,
        says: "a node that has the lock does not come back",
        expression: "max(cordonhold_agent_lock_holder_age_seconds) > 7200",
        lasts: "",
    },
    Alert {
        name: "CordonholdNodeHeldTooLong",
        severity: Severity::Warning,
        says: "a node has been held for two hours",
        expression: "max by (node) (cordonhold_agent_phase{phase=~\"draining|delaying|sealed|returning\"}) == 1",
        lasts: "2h",
    },
    Alert {
        name: "CordonholdRebootOverdue",
        severity: Severity::Warning,
        says: "a node has wanted a reboot for a week",
        expression: "max by (node) (cordonhold_agent_phase{phase=\"wanted\"}) == 1",
        lasts: "1w",
    },
    Alert {
        name: "CordonholdRebootFailed",
        severity: Severity::Critical,
        says: "a reboot came to nothing: its command failed, or the host does not go down",
        expression: "increase(cordonhold_agent_reboots_total{result=~\"failed|stuck\"}[1h]) > 0",
        lasts: "",
    },
    Alert {
        name: "CordonholdUncordonedWhileHeld",
        severity: Severity::Warning,
        says: "an uncordon of a held node got through",
        expression: "increase(cordonhold_agent_disturbances_total{reason=\"uncordoned\"}[1h]) > 0",
        lasts: "",
    },
    Alert {
        name: "CordonholdUncordonsDenied",
        severity: Severity::Info,
        says: "uncordons of held nodes are denied again and again",
        expression: "sum by (reason) (increase(cordonhold_webhook_decisions_total{verdict=\"deny\",reason=~\"held|kured-held\"}[1h])) > 20",
        lasts: "",
    },
    Alert {
        name: "CordonholdWebhookUnreachable",
        severity: Severity::Critical,
        says: "the API server gets no answer from the webhook (a metric of the API server)",
        expression: "sum by (name) (increase(apiserver_admission_webhook_rejection_count{name=~\".*cordonhold.dev\",error_type=\"calling_webhook_error\"}[10m])) > 0 or sum by (name) (increase(apiserver_admission_webhook_fail_open_count{name=~\".*cordonhold.dev\"}[10m])) > 0 or sum by (name) (apiserver_admission_webhook_rejection_count{name=~\".*cordonhold.dev\",error_type=\"calling_webhook_error\"} unless apiserver_admission_webhook_rejection_count offset 10m) > 0 or sum by (name) (apiserver_admission_webhook_fail_open_count{name=~\".*cordonhold.dev\"} unless apiserver_admission_webhook_fail_open_count offset 10m) > 0",
        lasts: "",
    },
    Alert {
        name: "CordonholdWebhookNotTrusted",
        severity: Severity::Critical,
        says: "the API server does not trust the webhook's certificate, or does not call the webhook",
        expression: "max by (problem) (cordonhold_webhook_trust_problem{problem=~\"certificate-(without-names|for-other-name|version-1|not-for-servers|not-yet-valid|ended)|ca-(missing|unreadable|is-another|not-yet-valid|ended)|configuration-missing\"}) == 1",
        lasts: "5m",
    },
    Alert {
        name: "CordonholdWebhookMisconfigured",
        severity: Severity::Warning,
        says: "something about the webhook is not as it was installed",
        expression: "max by (problem) (cordonhold_webhook_trust_problem{problem=~\"configuration-unreadable|conditions-missing|nothing-defers|tokens-without-node\"}) == 1",
        lasts: "15m",
    },
    Alert {
        name: "CordonholdCertificateExpiring",
        severity: Severity::Warning,
        says: "the webhook's certificate or its CA ends within a week",
        expression: "max by (problem) (cordonhold_webhook_trust_problem{problem=~\"(certificate|ca)-ends-in-(7-days|1-day)\"}) == 1",
        lasts: "15m",
    },
    Alert {
        name: "CordonholdCertificateEnds",
        severity: Severity::Critical,
        says: "the webhook's certificate or its CA ends within a day",
        expression: "max by (problem) (cordonhold_webhook_trust_problem{problem=~\"(certificate|ca)-ends-in-1-day\"}) == 1",
        lasts: "15m",
    },
    Alert {
        name: "CordonholdCertsProblem",
        severity: Severity::Warning,
        says: "what makes the certificates cannot do it",
        expression: "max by (problem) (cordonhold_certs_problem) == 1",
        lasts: "1h",
    },
    Alert {
        name: "CordonholdAuditLinesLost",
        severity: Severity::Warning,
        says: "lines of the audit trail were lost",
        expression: "increase(cordonhold_webhook_log_lines_lost_total[1h]) > 0",
        lasts: "",
    },
    Alert {
        name: "CordonholdDefect",
        severity: Severity::Warning,
        says: "a bug in the agent or the webhook",
        expression: "increase(cordonhold_agent_unexpected_answers_total[1h]) > 0 or increase(cordonhold_webhook_panics_total[1h]) > 0",
        lasts: "",
    },
];

/// The directory of the pages, one for each alert.
const RUNBOOKS: &str = "docs/runbooks";

/// The rows of the table in docs/alerts.md.
#[must_use]
pub fn table() -> String {
    let rows = ALERTS.iter().map(|alert| {
        let lasts = match alert.lasts {
            "" => String::new(),
            lasts => format!(", with `for: {lasts}`"),
        };
        format!(
            "| [{0}](runbooks/{0}.md) | {1} | {2} | `{3}`{lasts} |\n",
            alert.name,
            alert.severity.as_str(),
            alert.says,
            // A table's cell ends at a bar, also within backticks.
            alert.expression.replace('|', "\\|")
        )
    });
    let rows: Vec<String> = rows.collect();
    format!(
        "| alert | severity | what is wrong | expression |\n| --- | --- | --- | --- |\n{}",
        rows.concat()
    )
}

/// The rules as a file that Prometheus loads.
#[must_use]
pub fn file() -> String {
    format!(
        "{WRITTEN}# For a Prometheus without the operator: name it under `rule_files`.\n{}",
        groups("", "")
    )
}

/// The template of the chart's `PrometheusRule`.
pub(crate) fn template() -> String {
    format!(
        "{HEAD}{{{{- with .Values.monitoring.rules }}}}\n{{{{- if .enabled }}}}\n{OBJECT}{}{{{{- end }}}}\n{{{{- end }}}}\n",
        groups("  ", RUNBOOK_URL)
    )
}

/// All groups, indented by this. What is said of each alert's page is a line of YAML in which `NAME` is the alert; empty for none.
fn groups(indent: &str, runbook: &str) -> String {
    let alerts: Vec<String> = ALERTS.iter().map(|alert| alert.rule(runbook)).collect();
    let recordings: Vec<String> = RECORDINGS.iter().map(Recording::rule).collect();
    let lines = format!(
        "groups:\n  - name: cordonhold\n    rules:\n{}  - name: cordonhold-recorded\n    rules:\n{}",
        alerts.concat(),
        recordings.concat()
    );
    let mut text = String::new();
    for line in lines.lines() {
        text.extend([indent, line, "\n"]);
    }
    text
}

impl Alert {
    fn rule(&self, runbook: &str) -> String {
        let lasts = match self.lasts {
            "" => String::new(),
            lasts => format!("        for: {lasts}\n"),
        };
        format!(
            "      - alert: {0}\n        expr: {1}\n{lasts}        labels:\n          severity: {2}\n        annotations:\n          summary: {3}\n          runbook: {RUNBOOKS}/{0}.md\n{4}",
            self.name,
            quoted(self.expression),
            self.severity.as_str(),
            quoted(&format!("Cordonhold: {}", self.says)),
            runbook.replace("NAME", self.name)
        )
    }
}

impl Recording {
    fn rule(&self) -> String {
        format!(
            "      - record: {}\n        expr: {}\n",
            self.name,
            quoted(self.expression)
        )
    }
}

/// A YAML string in double quotes, whose escapes are those of JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

const HEAD: &str = "{{/* Written by `cargo manifests` from manifests/src/alerts.rs. */}}\n";
/// Alertmanager's messages link to the annotation of this name.
const RUNBOOK_URL: &str = "          {{- with $.Values.monitoring.rules.runbookUrl }}
          runbook_url: {{ printf \"%s/NAME.md\" . | quote }}
          {{- end }}
";
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
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use cordonhold_shared::admission::trust::Problem;

    use super::*;

    /// What each page tells, in this order.
    const HEADINGS: [&str; 4] = [
        "## What it means",
        "## How to look",
        "## How to mend it",
        "## When it can wait until morning",
    ];

    fn root() -> std::path::PathBuf {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn the_page_of_alerts_has_them() {
        let page = std::fs::read_to_string(root().join("docs/alerts.md")).expect("the page is there");
        assert!(
            page.contains(&table()),
            "docs/alerts.md must have this table:\n{}",
            table()
        );
    }

    #[test]
    fn names_are_unique_and_say_whose_they_are() {
        let names: BTreeSet<&str> = ALERTS.iter().map(|alert| alert.name).collect();
        assert_eq!(names.len(), ALERTS.len());
        assert!(names.iter().all(|name| name.starts_with("Cordonhold")));
    }

    #[test]
    fn each_alert_has_a_page_with_the_same_parts_and_each_page_an_alert() {
        let folder = std::fs::read_dir(root().join(RUNBOOKS)).expect("the pages are there");
        let pages: BTreeSet<String> = folder
            .map(|page| page.expect("the folder can be read").file_name().into_string())
            .map(|name| name.expect("the name is text"))
            .filter(|name| name != "README.md")
            .collect();
        let wanted: BTreeSet<String> = ALERTS.iter().map(|alert| format!("{}.md", alert.name)).collect();
        assert_eq!(pages, wanted);
        for alert in ALERTS {
            let path = root().join(RUNBOOKS).join(format!("{}.md", alert.name));
            let page = std::fs::read_to_string(path).expect("the page can be read");
            assert!(page.starts_with(&format!("# {}\n", alert.name)), "{}", alert.name);
            assert!(
                page.contains(&format!("\n`{}`\n", alert.expression)),
                "{}",
                alert.name
            );
            let headings: Vec<&str> = page.lines().filter(|line| line.starts_with("## ")).collect();
            assert_eq!(headings, HEADINGS, "{}", alert.name);
        }
    }

    #[test]
    fn each_problem_of_trust_is_in_the_alerts_that_it_belongs_to() {
        let alerts_of = |code: &str| -> Vec<&str> {
            let of = |alert: &&Alert| {
                let (_, selector) = alert
                    .expression
                    .split_once("trust_problem{problem=~\"")
                    .unwrap_or_default();
                let codes = selector.split('"').next().unwrap_or_default();
                regex_lite::Regex::new(&format!("^(?:{codes})$"))
                    .expect("it is a pattern")
                    .is_match(code)
            };
            ALERTS.iter().filter(of).map(|alert| alert.name).collect()
        };
        for problem in Problem::ALL {
            let wanted: &[&str] = match problem {
                // A certificate that lives for a month has this from its first day on.
                Problem::CertificateEndsIn30Days | Problem::CaEndsIn30Days => &[],
                Problem::CertificateEndsIn7Days | Problem::CaEndsIn7Days => {
                    &["CordonholdCertificateExpiring"]
                }
                Problem::CertificateEndsIn1Day | Problem::CaEndsIn1Day => {
                    &["CordonholdCertificateExpiring", "CordonholdCertificateEnds"]
                }
                Problem::ConfigurationUnreadable
                | Problem::ConditionsMissing
                | Problem::NothingDefers
                | Problem::TokensWithoutNode => &["CordonholdWebhookMisconfigured"],
                Problem::CertificateWithoutNames
                | Problem::CertificateForOtherName
                | Problem::CertificateVersion1
                | Problem::CertificateNotForServers
                | Problem::CertificateNotYetValid
                | Problem::CertificateEnded
                | Problem::CaMissing
                | Problem::CaUnreadable
                | Problem::CaIsAnother
                | Problem::CaNotYetValid
                | Problem::CaEnded
                | Problem::ConfigurationMissing => &["CordonholdWebhookNotTrusted"],
            };
            assert_eq!(alerts_of(problem.code()), wanted, "{}", problem.code());
            for name in wanted {
                let page = std::fs::read_to_string(root().join(RUNBOOKS).join(format!("{name}.md")));
                let page = page.expect("the page can be read");
                assert!(
                    page.contains(&format!("`{}`", problem.code())),
                    "{name}: {}",
                    problem.code()
                );
            }
        }
    }

    #[test]
    fn the_unit_test_of_the_rules_has_each_alert_firing_and_each_recording() {
        let path = root().join("manifests/monitoring/rules-test.yaml");
        let text = std::fs::read_to_string(path).expect("the file is there");
        for alert in ALERTS {
            let fires = format!("alertname: {}\n", alert.name);
            assert!(text.contains(&fires), "{} is not tested", alert.name);
        }
        for recording in RECORDINGS {
            assert!(text.contains(recording.name), "{} is not tested", recording.name);
        }
    }
}
