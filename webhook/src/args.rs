//! The server's command line, and how it becomes a [`Config`].
//!
//! Flags that stock kured has too have the same names.

mod certs;
mod explain;
mod policy;
mod serving;
mod uninstall;

use std::path::PathBuf;

use clap::Parser;
use cordonhold_rt::argument::{self, text};
use cordonhold_rt::logging::LogFormat;
use cordonhold_shared::admission::trust::Installation;

use crate::config::Config;
pub use certs::{CertsArgs, CertsArgsError};
pub use explain::{ExplainArgs, ExplainArgsError};
use policy::PolicyArgs;
use serving::ServingArgs;
pub use uninstall::UninstallArgs;

/// Admission webhook that keeps a Node cordoned while it is held for a reboot.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "cordonhold-webhook",
    version,
    max_term_width = 110,
    after_help = "--help lists every flag, and the reasons that --mode-for takes.\n`cordonhold-webhook explain --help`: why was this request denied, or what would happen to an uncordon now?\n`cordonhold-webhook certs --help`: keep the webhook's certificates, so that nobody has to make any\n`cordonhold-webhook uninstall --help`: take Cordonhold off the cluster",
    after_long_help = policy::reasons_help()
)]
pub struct Args {
    // The flags that a first try needs come first in --help. A help heading lasts until the next one, so these flags unset it.
    #[command(flatten)]
    serving: ServingArgs,
    /// Kubeconfig of the cluster; without it, the in-cluster configuration
    #[arg(long, env = "CORDONHOLD_KUBECONFIG", value_name = "FILE", value_parser = argument::path, help_heading = None::<&'static str>)]
    kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    evidence: EvidenceArgs,
    /// Format of the log, which goes to standard output. `CORDONHOLD_LOG` filters it
    #[arg(long, env = "CORDONHOLD_LOG_FORMAT", value_enum, help_heading = None::<&'static str>, default_value_t = LogFormat::Json)]
    log_format: LogFormat,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Evidence")]
struct EvidenceArgs {
    /// Write no Events, neither about denials nor about problems with the certificate
    #[arg(long, env = "CORDONHOLD_NO_EVENTS", hide_short_help = true)]
    no_events: bool,
    /// Name of this process in its Events; in a pod, the pod's name
    #[arg(long, env = "HOSTNAME", value_name = "NAME", hide_short_help = true, default_value = "cordonhold-webhook", value_parser = text)]
    instance: String,
}

impl From<Args> for Config {
    fn from(args: Args) -> Config {
        let policy = args.policy.policy();
        let serving = args.serving;
        Config {
            kubeconfig: args.kubeconfig,
            listen: serving.listen,
            admin_listen: serving.admin_listen,
            installation: Installation {
                configuration: serving.webhook_configuration.clone(),
                // The certificate's Secret is in the webhook's own namespace, which is the agent's too.
                namespace: policy.agent.namespace.clone(),
            },
            shutdown_delay: serving.shutdown_delay,
            tls: serving.tls(),
            events_from: (!args.evidence.no_events).then_some(args.evidence.instance),
            log_format: args.log_format,
            policy,
        }
    }
}
