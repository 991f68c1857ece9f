//! The flags of the group "The agent itself": its metrics, its log, and how it reaches the API server.
//!
//! Not here: `CORDONHOLD_LOG`, which is no flag, see [`cordonhold_rt::logging`].

use std::path::PathBuf;

use cordonhold_rt::argument;
use cordonhold_rt::logging::LogFormat;
use cordonhold_shared::names;

use super::value;
use crate::config::{MetricsConfig, ProcessConfig};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The agent itself")]
pub(super) struct ProcessArgs {
    /// Address to serve metrics and probes on; empty for every address
    #[arg(long, env = "KURED_METRICS_HOST", value_name = "HOST", default_value = "", value_parser = metrics_host)]
    pub(super) metrics_host: String,
    /// Port to serve metrics and probes on; 0 serves none
    #[arg(long, env = "KURED_METRICS_PORT", value_name = "PORT", default_value = "8080", allow_negative_numbers = true, value_parser = value::port)]
    pub(super) metrics_port: u16,
    /// Format of the log: text or json; any other word means text, as in kured
    #[arg(long, env = "KURED_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    log_format: String,
    /// Kubeconfig for the API server; without one, the agent uses the pod's ServiceAccount
    #[arg(long, env = "CORDONHOLD_KUBECONFIG", value_name = "PATH", value_parser = argument::path)]
    pub(super) kubeconfig: Option<PathBuf>,
}

impl ProcessArgs {
    fn is_json(&self) -> bool {
        self.log_format.eq_ignore_ascii_case("json")
    }

    /// Returns a warning if `--log-format` is an unknown word, which means text.
    pub(super) fn odd_log_format(&self) -> Option<String> {
        let is_known = self.is_json() || self.log_format.eq_ignore_ascii_case("text");
        (!is_known).then(|| {
            format!(
                "--log-format={:?} is neither text nor json: the log is text, as in kured; write text or json",
                self.log_format
            )
        })
    }
}

impl From<ProcessArgs> for ProcessConfig {
    fn from(args: ProcessArgs) -> ProcessConfig {
        ProcessConfig {
            log_format: if args.is_json() {
                LogFormat::Json
            } else {
                LogFormat::Text
            },
            metrics: (args.metrics_port != 0).then_some(MetricsConfig {
                host: args.metrics_host,
                port: args.metrics_port,
            }),
            kubeconfig: args.kubeconfig,
        }
    }
}

/// Parses an IP address, with or without brackets, or a host's name. Empty is allowed.
fn metrics_host(text: &str) -> Result<String, String> {
    let address = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let is_address = address.parse::<std::net::IpAddr>().is_ok();
    if text.is_empty() || is_address || names::is_name(text) {
        Ok(address.to_owned())
    } else {
        Err(format!(
            "{text:?} is neither an IP address nor a host name: write one like 127.0.0.1, ::1 or localhost"
        ))
    }
}
