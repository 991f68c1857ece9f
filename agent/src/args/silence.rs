//! The flags of the group "Silences of Alertmanager": where they are made, and for which alerts.
//!
//! Not here: when a silence is made and how long it lasts ([`cordonhold_shared::reboot::silence`]), and how Alertmanager is asked
//! ([`crate::silence`]).

use std::path::PathBuf;
use std::time::Duration;

use cordonhold_shared::reboot::silence::Matchers;
use http::Uri;

use super::{ArgsError, value};
use crate::config::{HttpApiConfig, SilenceConfig};

/// Longest wait for an answer of Alertmanager, which answers from memory. Nothing but the silence waits for it.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most silences for one node, and most Alertmanagers: a node has few labels that name it, and a cluster of Alertmanagers a few members.
const EACH_MAX: usize = 8;
/// The alerts that are silenced without `--silence-matcher`. Those of kube-state-metrics and the kubelet name the node in `node`, those of
/// the node exporter in `instance` (prometheus-operator/kube-prometheus: manifests/nodeExporter-serviceMonitor.yaml).
const DEFAULT: [&str; 2] = [r#"node="%s""#, r#"instance=~"%s(:[0-9]+)?""#];

/// The URLs of one value. An alias, so that clap's derive treats the `Vec` as one value.
type Urls = Vec<Uri>;

#[expect(clippy::struct_field_names, reason = "they are the names of the flags")]
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Silences of Alertmanager")]
pub(super) struct SilenceArgs {
    /// URL of the Alertmanager that silences the node's alerts from the cordon until the cordon is given back; repeated, or separated by white
    /// space, for the members of one cluster, of which one that answers is enough. Empty for none
    #[arg(long, env = "CORDONHOLD_SILENCE_URL", value_name = "URL", value_parser = urls)]
    silence_url: Vec<Urls>,
    /// Which alerts are silenced: matchers as Alertmanager writes them, such as 'node="%s",cluster="a"'; `%s` is the node. Repeated: a silence for
    /// each [default: two, node="%s" and instance=~"%s(:[0-9]+)?"]
    #[arg(long, env = "CORDONHOLD_SILENCE_MATCHER", value_name = "MATCHERS", value_parser = str::parse::<Matchers>)]
    silence_matcher: Vec<Matchers>,
    /// File with the bearer token for Alertmanager; read for each request
    #[arg(long, env = "CORDONHOLD_SILENCE_TOKEN_FILE", value_name = "PATH", value_parser = value::absolute_path)]
    silence_token_file: Option<PathBuf>,
    /// File with the CAs, in PEM, that sign the certificate of Alertmanager; without one, those of the system
    #[arg(long, env = "CORDONHOLD_SILENCE_CA_FILE", value_name = "PATH", value_parser = value::absolute_path)]
    silence_ca_file: Option<PathBuf>,
    /// File with the client certificate for Alertmanager, in PEM
    #[arg(long, env = "CORDONHOLD_SILENCE_CERT_FILE", value_name = "PATH", value_parser = value::absolute_path, requires = "silence_key_file")]
    silence_cert_file: Option<PathBuf>,
    /// File with the key of the client certificate for Alertmanager, in PEM
    #[arg(long, env = "CORDONHOLD_SILENCE_KEY_FILE", value_name = "PATH", value_parser = value::absolute_path, requires = "silence_cert_file")]
    silence_key_file: Option<PathBuf>,
}

impl SilenceArgs {
    /// Makes the configuration; `None` if no Alertmanager is named.
    pub(super) fn config(self) -> Result<Option<SilenceConfig>, ArgsError> {
        let urls: Urls = self.silence_url.into_iter().flatten().collect();
        if urls.is_empty() && !self.silence_matcher.is_empty() {
            return Err(ArgsError::NoAlertmanager);
        }
        for (flag, count) in [
            ("silence-url", urls.len()),
            ("silence-matcher", self.silence_matcher.len()),
        ] {
            if count > EACH_MAX {
                return Err(ArgsError::TooMany {
                    flag,
                    count,
                    max: EACH_MAX,
                });
            }
        }
        let client_certificate = self.silence_cert_file.zip(self.silence_key_file);
        let reached = |url| HttpApiConfig {
            url,
            timeout: TIMEOUT,
            token_file: self.silence_token_file.clone(),
            ca_file: self.silence_ca_file.clone(),
            client_certificate: client_certificate.clone(),
        };
        let alertmanagers: Vec<HttpApiConfig> = urls.into_iter().map(reached).collect();
        let matchers = if self.silence_matcher.is_empty() {
            defaults()
        } else {
            self.silence_matcher
        };
        Ok((!alertmanagers.is_empty()).then_some(SilenceConfig {
            alertmanagers,
            matchers,
        }))
    }
}

fn defaults() -> Vec<Matchers> {
    let parsed = |text: &str| text.parse::<Matchers>();
    DEFAULT
        .into_iter()
        .map(|text| parsed(text).expect("a test parses them"))
        .collect()
}

/// Parses URLs with white space around or between them: a Secret made from a file often ends in a line break.
fn urls(text: &str) -> Result<Urls, String> {
    let url = |text| value::http_url(text, "http://alertmanager-operated.monitoring:9093");
    text.split_whitespace().map(url).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alerts_that_are_silenced_by_default_name_the_node() {
        let of = |matchers: &Matchers| matchers.of("ip-10-0-0-1.lan")[0].to_string();
        let shown: Vec<String> = defaults().iter().map(of).collect();
        assert_eq!(
            shown,
            [
                r#"node="ip-10-0-0-1.lan""#,
                r#"instance=~"ip-10-0-0-1\\.lan(:[0-9]+)?""#
            ]
        );
    }

    #[test]
    fn several_urls_may_be_in_one_value_and_an_empty_one_is_none() {
        assert_eq!(
            urls(" http://a:9093\n http://me:secret@b/alertmanager\n")
                .unwrap()
                .len(),
            2
        );
        assert_eq!(urls("").unwrap().len(), 0);
        let error = urls("http://a:9093 me:secret@b").unwrap_err();
        assert!(
            error.contains("http://alertmanager") && !error.contains("secret"),
            "{error}"
        );
    }
}
