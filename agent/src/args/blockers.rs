//! The flags of what postpones a reboot: alerts of Prometheus, and pods.

use cordonhold_rt::argument;
use http::Uri;
use regex_lite::Regex;

use cordonhold_shared::selector::Selector;

use super::value::{self, Maybe};

/// What postpones a reboot.
#[derive(Clone, Debug, PartialEq, clap::Args)]
#[command(next_help_heading = "What postpones a reboot")]
pub struct BlockerConfig {
    /// Prometheus whose active alerts postpone a reboot; empty asks none
    #[arg(long, env = "KURED_PROMETHEUS_URL", value_name = "URL", default_value = "", value_parser = value::unless_empty(prometheus_url))]
    pub prometheus_url: Maybe<Uri>,
    /// Names of alerts that do not count: a regular expression in RE2's syntax that matches anywhere; empty is none
    #[arg(long, env = "KURED_ALERT_FILTER_REGEXP", value_name = "REGEXP", default_value = "", value_parser = value::unless_empty(regexp))]
    pub alert_filter_regexp: Maybe<Regexp>,
    /// Only alerts that the expression matches count
    #[arg(long, env = "KURED_ALERT_FILTER_MATCH_ONLY", value_name = "BOOL", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, value_parser = value::boolean)]
    pub alert_filter_match_only: bool,
    /// Pending alerts do not count
    #[arg(long, env = "KURED_ALERT_FIRING_ONLY", value_name = "BOOL", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, value_parser = value::boolean)]
    pub alert_firing_only: bool,
    /// A pod on the node that this label selector selects postpones a reboot; repeated, or separated by `;`
    #[arg(long, env = "KURED_BLOCKING_POD_SELECTOR", value_name = "SELECTOR", value_delimiter = ';', value_parser = value::selector)]
    pub blocking_pod_selector: Vec<Selector>,
}

/// An alert's name is matched by it.
#[derive(Clone, Debug)]
pub struct Regexp(Regex);

impl PartialEq for Regexp {
    fn eq(&self, other: &Regexp) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Regexp {
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// RE2's syntax without `\Q..\E`, `\p` and octal escapes, which is refused; what is taken means the same.
fn regexp(text: &str) -> Result<Regexp, String> {
    if argument::is_two_quotes(text) {
        return Err(format!("{text:?} matches no name of an alert: leave it out"));
    }
    Regex::new(text)
        .map(Regexp)
        .map_err(|error| format!("{text:?} is not a regular expression that can be used: {error}"))
}

fn prometheus_url(text: &str) -> Result<Uri, String> {
    // Not the text: it may hold a password.
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
            // ASCII only, as Go's.
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
