//! The command line, as typed.
//!
//! Flags that stock kured has too carry its names.

mod serving;

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Parser, ValueEnum};
use cordonhold_rt::logging::LogFormat;
use cordonhold_shared::admission::{KuredPolicy, Mode, Policy, ServiceAccount};

pub use serving::{ServingArgs, TlsVersion};

/// Admission webhook that keeps a Node cordoned while it is held for a reboot.
#[derive(Clone, Debug, Parser)]
#[command(name = "cordonhold-webhook", version)]
pub struct Args {
    /// What happens to a request that should not pass
    #[arg(long, env = "CORDONHOLD_MODE", value_enum, default_value_t = ModeArg::Enforce)]
    pub mode: ModeArg,
    #[command(flatten)]
    pub evidence: EvidenceArgs,
    /// Namespace of the agent's `ServiceAccount`
    #[arg(long, env = "POD_NAMESPACE", default_value = "cordonhold")]
    pub agent_namespace: String,
    /// Name of the agent's `ServiceAccount`
    #[arg(
        long,
        env = "CORDONHOLD_AGENT_SERVICE_ACCOUNT",
        default_value = "cordonhold-agent"
    )]
    pub agent_service_account: String,
    /// Also keep nodes cordoned that the lock of stock kured names; needs the configuration that sees every uncordon
    #[arg(long, env = "CORDONHOLD_PROTECT_KURED")]
    pub protect_kured: bool,
    /// Namespace of kured's `DaemonSet`
    #[arg(long, env = "CORDONHOLD_DS_NAMESPACE", default_value = "kube-system")]
    pub ds_namespace: String,
    /// Name of kured's `DaemonSet`
    #[arg(long, env = "CORDONHOLD_DS_NAME", default_value = "kured")]
    pub ds_name: String,
    /// Annotation of kured's lock on its `DaemonSet`
    #[arg(long, env = "CORDONHOLD_LOCK_ANNOTATION", default_value = cordonhold_shared::keys::KURED_LOCK)]
    pub lock_annotation: String,
    /// Name of kured's `ServiceAccount`, in the namespace of its `DaemonSet`
    #[arg(long, env = "CORDONHOLD_KURED_SERVICE_ACCOUNT", default_value = "kured")]
    pub kured_service_account: String,
    /// Kubeconfig of the cluster; without it, the in-cluster configuration
    #[arg(long, env = "CORDONHOLD_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// How log lines look; they go to standard output. `CORDONHOLD_LOG` filters them
    #[arg(long, env = "CORDONHOLD_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
    #[command(flatten)]
    pub serving: ServingArgs,
}

/// What is left behind of a decision, beside the log and the metrics.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Evidence")]
pub struct EvidenceArgs {
    /// Write no Events on Nodes about which something was denied
    #[arg(long, env = "CORDONHOLD_NO_EVENTS")]
    pub no_events: bool,
    /// Name of this process in its Events; in a pod, the pod's name
    #[arg(long, env = "HOSTNAME", value_name = "NAME", default_value = "cordonhold-webhook", value_parser = NonEmptyStringValueParser::new())]
    pub instance: String,
}

/// [`Mode`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModeArg {
    /// Deny it
    Enforce,
    /// Let it pass with a warning and audit annotations
    Warn,
    /// Let it pass with audit annotations
    Audit,
}

impl Args {
    /// What the decision needs to know of them.
    pub fn policy(&self) -> Policy {
        let kured = self.protect_kured.then(|| KuredPolicy {
            service_account: ServiceAccount {
                namespace: self.ds_namespace.clone(),
                name: self.kured_service_account.clone(),
            },
            ds_namespace: self.ds_namespace.clone(),
            ds_name: self.ds_name.clone(),
            lock_annotation: self.lock_annotation.clone(),
        });
        let mode = match self.mode {
            ModeArg::Enforce => Mode::Enforce,
            ModeArg::Warn => Mode::Warn,
            ModeArg::Audit => Mode::Audit,
        };
        let agent = ServiceAccount {
            namespace: self.agent_namespace.clone(),
            name: self.agent_service_account.clone(),
        };
        Policy { mode, agent, kured }
    }
}
