//! The flags of the group "What postpones a reboot": alerts in Prometheus, and pods.
//!
//! Not here: asking for alerts and pods, which this version does not do yet ([`super::not_yet`]).

use cordonhold_rt::argument;
use cordonhold_shared::selector::Selector;
use http::Uri;

use super::value::{self, Maybe};
use crate::config::{BlockerConfig, Regexp};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What postpones a reboot")]
pub(super) struct BlockerArgs {
    /// URL of the Prometheus whose active alerts postpone a reboot; empty for none
    #[arg(long, env = "KURED_PROMETHEUS_URL", value_name = "URL", default_value = "", value_parser = value::unless_empty(prometheus_url))]
    pub(super) prometheus_url: Maybe<Uri>,
    /// Ignore alerts whose name matches this regular expression (RE2 syntax, matches anywhere in the name); empty ignores none
    #[arg(long, env = "KURED_ALERT_FILTER_REGEXP", value_name = "REGEXP", default_value = "", value_parser = value::unless_empty(regexp))]
    pub(super) alert_filter_regexp: Maybe<Regexp>,
    /// Count only the alerts that --alert-filter-regexp matches, instead of ignoring them
    #[arg(long, env = "KURED_ALERT_FILTER_MATCH_ONLY")]
    pub(super) alert_filter_match_only: bool,
    /// Ignore pending alerts
    #[arg(long, env = "KURED_ALERT_FIRING_ONLY")]
    pub(super) alert_firing_only: bool,
    /// Label selector of pods that postpone the reboot of their node; repeated, or separated by `;`
    #[arg(long, env = "KURED_BLOCKING_POD_SELECTOR", value_name = "SELECTOR", value_delimiter = ';', value_parser = value::selector)]
    pub(super) blocking_pod_selector: Vec<Selector>,
}

impl From<BlockerArgs> for BlockerConfig {
    fn from(args: BlockerArgs) -> BlockerConfig {
        BlockerConfig {
            prometheus: args.prometheus_url,
            alert_filter: args.alert_filter_regexp,
            match_only: args.alert_filter_match_only,
            firing_only: args.alert_firing_only,
            pods: args.blocking_pod_selector,
        }
    }
}

/// Parses a regular expression in RE2's syntax. `\Q..\E`, `\p` and octal escapes are refused; the rest means the same as in Go.
fn regexp(text: &str) -> Result<Regexp, String> {
    if argument::is_two_quotes(text) {
        return Err(format!(
            "{text:?} is two quote characters, which match no alert's name: remove them"
        ));
    }
    Regexp::new(text)
        .map_err(|error| format!("{text:?} is not a regular expression that can be used: {error}"))
}

fn prometheus_url(text: &str) -> Result<Uri, String> {
    // No error repeats the URL: it may hold a password.
    let advice = "write a URL like http://prometheus.monitoring:9090";
    let uri: Uri = text
        .parse()
        .map_err(|error| format!("not a URL: {error}: {advice}"))?;
    match uri.scheme_str() {
        Some("http" | "https") => Ok(uri),
        _ => Err(format!(
            "the URL begins with neither http:// nor https://: {advice}"
        )),
    }
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
