//! The flags of the group "What postpones a reboot" that ask somebody: alerts and other queries of Prometheus, objects, pods, and budgets.
//!
//! Not here: the flags of that group that go by what the agent reads anyway ([`super::pace`]), how Prometheus is asked ([`crate::prometheus`]), and what its answers mean ([`cordonhold_shared::reboot::prometheus`]).

use std::path::PathBuf;
use std::time::Duration;

use cordonhold_rt::argument;
use cordonhold_shared::reboot::blocker::pods::PodRule;
use cordonhold_shared::reboot::blocker::{Preflight, Rules};
use cordonhold_shared::reboot::drain::Options;
use cordonhold_shared::reboot::object::ObjectRule;
use cordonhold_shared::reboot::prometheus::{AlertFilter, Regexp};
use cordonhold_shared::selector::Selector;
use http::Uri;

use super::ArgsError;
use super::value::{self, Maybe};
use crate::config::{BlockerConfig, HttpApiConfig};

#[expect(clippy::doc_markdown, reason = "it is what --help prints")]
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What postpones a reboot")]
pub(super) struct BlockerArgs {
    /// URL of the Prometheus whose active alerts postpone a reboot; Thanos, Mimir and VictoriaMetrics work too. Empty for none
    #[arg(long, env = "KURED_PROMETHEUS_URL", value_name = "URL", default_value = "", value_parser = value::unless_empty(prometheus_url))]
    prometheus_url: Maybe<Uri>,
    /// Ignore alerts whose name matches this regular expression (RE2 syntax, matches anywhere in the name); empty ignores none, `.` all
    #[arg(long, env = "KURED_ALERT_FILTER_REGEXP", value_name = "REGEXP", default_value = "", value_parser = value::unless_empty(regexp))]
    alert_filter_regexp: Maybe<Regexp>,
    /// Count only the alerts that --alert-filter-regexp matches, instead of ignoring them
    #[arg(long, env = "KURED_ALERT_FILTER_MATCH_ONLY")]
    alert_filter_match_only: bool,
    /// Ignore pending alerts
    #[arg(long, env = "KURED_ALERT_FIRING_ONLY")]
    alert_firing_only: bool,
    /// PromQL expression that postpones a reboot while it returns any series, such as 'ceph_health_status > 0'; repeated. Needs --prometheus-url
    #[arg(long, env = "CORDONHOLD_BLOCKER_PROMQL", value_name = "EXPR", value_parser = expression)]
    blocker_promql: Vec<String>,
    /// Longest wait for an answer of Prometheus
    #[arg(long, env = "CORDONHOLD_PROMETHEUS_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = value::duration_above_zero)]
    prometheus_timeout: Duration,
    /// File with the bearer token for Prometheus; read for each query
    #[arg(long, env = "CORDONHOLD_PROMETHEUS_TOKEN_FILE", value_name = "PATH", value_parser = value::absolute_path)]
    prometheus_token_file: Option<PathBuf>,
    /// File with the CAs, in PEM, that sign the certificate of Prometheus; without one, those of the system
    #[arg(long, env = "CORDONHOLD_PROMETHEUS_CA_FILE", value_name = "PATH", value_parser = value::absolute_path)]
    prometheus_ca_file: Option<PathBuf>,
    /// File with the client certificate for Prometheus, in PEM
    #[arg(long, env = "CORDONHOLD_PROMETHEUS_CERT_FILE", value_name = "PATH", value_parser = value::absolute_path, requires = "prometheus_key_file")]
    prometheus_cert_file: Option<PathBuf>,
    /// File with the key of the client certificate for Prometheus, in PEM
    #[arg(long, env = "CORDONHOLD_PROMETHEUS_KEY_FILE", value_name = "PATH", value_parser = value::absolute_path, requires = "prometheus_cert_file")]
    prometheus_key_file: Option<PathBuf>,
    /// Label selector of pods that postpone the reboot of their node; repeated, or separated by `;`
    #[arg(long, env = "KURED_BLOCKING_POD_SELECTOR", value_name = "SELECTOR", value_delimiter = ';', value_parser = value::selector)]
    blocking_pod_selector: Vec<Selector>,
    /// Pods on a node that postpone its reboot, chosen as for `kubectl get pods`: '-n NAMESPACE -l LABELS --field-selector FIELDS', of which any
    /// may be left out; repeated, or separated by `;`. As with --blocking-pod-selector, pods that have ended do not count
    #[arg(long, env = "CORDONHOLD_BLOCKING_PODS", value_name = "OPTIONS", value_delimiter = ';', allow_hyphen_values = true, value_parser = pods)]
    blocking_pods: Vec<PodRule>,
    /// An object that postpones a reboot while an expression in CEL, which calls it `self`, is true; repeated. Such as
    /// 'ceph.rook.io/v1/CephCluster/rook-ceph/rook-ceph: self.status.ceph.health != "HEALTH_OK"'.
    /// An object that does not exist, or that the agent may not read, postpones it too
    #[arg(long, env = "CORDONHOLD_BLOCKER_OBJECT", value_name = "APIVERSION/KIND[/NAMESPACE]/NAME: CEL", value_parser = str::parse::<ObjectRule>)]
    blocker_object: Vec<ObjectRule>,
    /// Before the lock is taken, read the PodDisruptionBudgets of the pods that the drain would evict, and wait while one of them allows no eviction.
    /// Nothing is evicted to find out, not even as a dry run
    #[arg(long, env = "CORDONHOLD_PREFLIGHT")]
    preflight: bool,
    /// How long a blocker that gives no answer postpones a reboot, from its first failed answer; 0 is for ever
    #[arg(long, env = "CORDONHOLD_BLOCKER_TIMEOUT", value_name = "DURATION", default_value = "0", value_parser = value::limit)]
    blocker_timeout: Maybe<Duration>,
}

impl BlockerArgs {
    /// Makes the configuration with these other rules. An expression without a Prometheus is refused.
    pub(super) fn config(self, rules: Rules, drain: &Options) -> Result<BlockerConfig, ArgsError> {
        if self.prometheus_url.is_none() && !self.blocker_promql.is_empty() {
            return Err(ArgsError::NoPrometheus);
        }
        let filter = AlertFilter {
            names: self.alert_filter_regexp,
            match_only: self.alert_filter_match_only,
            firing_only: self.alert_firing_only,
        };
        Ok(BlockerConfig {
            rules: Rules {
                alerts: self.prometheus_url.is_some().then_some(filter),
                promql: self.blocker_promql,
                pods: (self.blocking_pod_selector.into_iter())
                    .map(PodRule::of_selector)
                    .chain(self.blocking_pods)
                    .collect(),
                objects: self.blocker_object,
                preflight: self.preflight.then_some(Preflight {
                    skip_wait: drain.skip_wait,
                }),
                timeout: self.blocker_timeout,
                ..rules
            },
            prometheus: self.prometheus_url.map(|url| HttpApiConfig {
                url,
                timeout: self.prometheus_timeout,
                token_file: self.prometheus_token_file,
                ca_file: self.prometheus_ca_file,
                client_certificate: self.prometheus_cert_file.zip(self.prometheus_key_file),
            }),
        })
    }
}

/// Parses a regular expression in RE2's syntax. `\Q..\E`, `\p` and octal escapes are refused; the rest means the same as in Go.
fn regexp(text: &str) -> Result<Regexp, String> {
    Regexp::new(text)
        .map_err(|error| format!("{text:?} is not a regular expression that can be used: {error}"))
}

/// Splits the options as a shell does, and reads them.
fn pods(text: &str) -> Result<PodRule, String> {
    let words =
        shlex::split(text).ok_or_else(|| format!("{text:?} has an odd number of quotes: close them"))?;
    PodRule::of_words(&words)
}

/// Whether it is `PromQL`, only Prometheus can tell.
fn expression(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || argument::is_two_quotes(text) {
        return Err(format!(
            "{text:?} is no expression: write PromQL such as 'ceph_health_status > 0', or leave the flag out"
        ));
    }
    Ok(text.to_owned())
}

fn prometheus_url(text: &str) -> Result<Uri, String> {
    value::http_url(text, "http://prometheus.monitoring:9090")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_mean_what_they_mean_in_go() {
        for (pattern, name, matches) in [
            ("^RebootRequired$", "RebootRequired", true),
            ("^RebootRequired$", "RebootRequiredSoon", false),
            ("Reboot", "KernelRebootRequired", true),
            ("(?i)watchdog|info", "Watchdog", true),
            ("^(Kube|Node).*(Pressure)?$", "NodeDown", true),
            ("[[:upper:]]{2,}", "KubeCPUOvercommit", true),
            (r"^\w+\d$", "Alert7", true),
            // `\w` is ASCII only, as in Go.
            (r"^\w+$", "Störung", false),
        ] {
            assert_eq!(
                regexp(pattern).unwrap().matches(name),
                matches,
                "{pattern} {name}"
            );
        }
        for pattern in ["(", "[z-a]", r"\pN", r"\Qa\E", "(?=x)", r"(a)\1", "[a&&b]"] {
            let error = regexp(pattern).unwrap_err();
            assert!(error.contains("not a regular expression"), "{pattern}: {error}");
        }
    }

    #[test]
    fn a_prometheus_is_reached_over_http() {
        assert!(prometheus_url("https://user:secret@prometheus:9090/path").is_ok());
        for text in [
            "prometheus:9090",
            "ftp://user:secret@x",
            "http://",
            "user:secret@x y",
        ] {
            let error = prometheus_url(text).unwrap_err();
            assert!(
                !error.contains("secret") && error.contains("http://prometheus"),
                "{error}"
            );
        }
    }
}
