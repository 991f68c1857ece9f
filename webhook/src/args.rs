//! The server's command line, and how it becomes a [`Config`].
//!
//! Flags that stock kured has too have the same names.

mod certs;
mod explain;
mod policy;
mod serving;
mod uninstall;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;
use cordonhold_rt::argument::{self, Mistake, text};
use cordonhold_rt::command_line::{self, Parsed};
use cordonhold_rt::logging::LogFormat;
use cordonhold_shared::admission::Policy;
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
    /// Name of this process in its Events and in its answer to a probe; in a pod, the pod's name
    #[arg(long, env = "HOSTNAME", value_name = "NAME", hide_short_help = true, default_value = "cordonhold-webhook", value_parser = text)]
    instance: String,
}

/// The policy of a server that runs with these arguments in this namespace. For programs that read them from its Deployment.
pub fn policy_of(arguments: &[String], namespace: &str) -> Result<Policy, Mistake> {
    let line = std::iter::once("cordonhold-webhook").chain(arguments.iter().map(String::as_str));
    // The one variable that the manifests set.
    let variable = |name: &str| (name == "POD_NAMESPACE").then(|| namespace.into());
    match command_line::parse::<Args>(
        command_line::command::<Args>(),
        line.map(OsString::from),
        variable,
    )? {
        Parsed::Run { args, .. } => Ok(args.policy.policy(&args.evidence.instance)),
        Parsed::Tell(_) => Err(Mistake::CommandLine(
            "the arguments ask for help or version".to_owned(),
        )),
    }
}

impl From<Args> for Config {
    fn from(args: Args) -> Config {
        let policy = args.policy.policy(&args.evidence.instance);
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

#[cfg(test)]
mod tests {
    use cordonhold_shared::admission::Mode;

    use super::*;

    /// The arguments of the Deployment that the manifests ship.
    fn shipped() -> Vec<String> {
        let manifest = include_str!("../../manifests/base/deployment.yaml");
        let (_, after) = manifest.split_once("args:\n").unwrap();
        let lines = after.lines().map(str::trim).take_while(|line| *line != "env:");
        lines
            .filter_map(|line| line.strip_prefix("- "))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn the_policy_of_the_shipped_deployment_is_read_from_its_arguments() {
        let policy = policy_of(&shipped(), "elsewhere").unwrap();
        assert_eq!(policy.modes.usual(), Mode::Enforce);
        assert_eq!(
            policy.agent.user(),
            "system:serviceaccount:elsewhere:cordonhold-agent"
        );
        assert!(policy.kured.is_none());
        let more = ["--mode=defer", "--protect-kured=lock"].map(str::to_owned);
        let arguments: Vec<String> = shipped()
            .into_iter()
            .filter(|argument| !argument.starts_with("--mode"))
            .chain(more)
            .collect();
        let policy = policy_of(&arguments, "elsewhere").unwrap();
        assert!(policy.modes.may_defer() && policy.kured_lock().is_some());
    }

    #[test]
    fn arguments_of_another_version_are_a_mistake_that_names_the_flag() {
        let newer: Vec<String> = shipped().into_iter().chain(["--new-flag=1".to_owned()]).collect();
        let said = policy_of(&newer, "n").unwrap_err().to_string();
        assert!(said.contains("--new-flag"), "{said}");
    }
}
