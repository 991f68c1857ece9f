//! The command line of `uninstall`, and how it becomes an [`UninstallConfig`].

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use cordonhold_rt::{argument, duration};
use cordonhold_shared::uninstall::DeadHolds;

use crate::config::{UninstallConfig, UninstallPlace};

/// Takes Cordonhold off the cluster, before its objects are deleted.
///
/// It pauses reboots, cancels each hold up to its delay, waits for the others, and only then deletes the agents and everything
/// that Cordonhold has written: on Nodes, in the lock, and the Secrets of `certs`.
/// Each step is a line; the last line counts the nodes that still carry anything: none.
/// It stops without having removed anything if a hold does not end or its agent is silent, and says which node and what to do.
/// It can be run again at any time. `helm uninstall` runs it first.
///
/// The exit code is 0 if nothing is left, 1 if it stopped.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "cordonhold-webhook uninstall",
    bin_name = "cordonhold-webhook uninstall",
    version,
    max_term_width = 110,
    after_help = "docs/install.md says how to run it with Helm and with kustomize."
)]
pub struct UninstallArgs {
    /// Namespace of Cordonhold
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME", value_parser = argument::label_name, default_value = "cordonhold")]
    namespace: String,
    /// How long to wait for holds to end and for agents to stop
    #[arg(long, env = "CORDONHOLD_TIMEOUT", value_name = "DURATION", value_parser = duration::parse, default_value = "30m")]
    timeout: Duration,
    /// What to do about a hold whose agent is silent. A node whose host may be rebooting is never given back
    #[arg(long, env = "CORDONHOLD_DEAD_HOLDS", value_enum, default_value_t = Dead::Stop)]
    dead_holds: Dead,
    /// Where the agents keep their lock
    #[arg(long, env = "CORDONHOLD_LOCK_ON", value_enum, default_value_t = LockOn::Auto)]
    lock_on: LockOn,
    /// Namespace of kured's DaemonSet
    #[arg(long, env = "KURED_DS_NAMESPACE", value_name = "NAMESPACE", value_parser = argument::label_name, default_value = "kube-system")]
    ds_namespace: String,
    /// Name of kured's DaemonSet
    #[arg(long, env = "KURED_DS_NAME", value_name = "NAME", value_parser = argument::name, default_value = "kured")]
    ds_name: String,
    /// Annotation on kured's DaemonSet that holds the lock
    #[arg(long, env = "KURED_LOCK_ANNOTATION", value_name = "KEY", value_parser = argument::text, default_value = cordonhold_shared::keys::KURED_LOCK)]
    lock_annotation: String,
    /// Name of the Secret with the CAs that `certs` made
    #[arg(long, env = "CORDONHOLD_CA_SECRET", value_name = "NAME", value_parser = argument::name, default_value = "cordonhold-ca")]
    ca_secret: String,
    /// Name of the Secret with the webhook's certificate; it is deleted only if `certs` made it
    #[arg(long, env = "CORDONHOLD_CERTIFICATE_SECRET", value_name = "NAME", value_parser = argument::name, default_value = "cordonhold-webhook-tls")]
    certificate_secret: String,
    /// Kubeconfig of the cluster; without it, the in-cluster configuration
    #[arg(long, env = "CORDONHOLD_KUBECONFIG", value_name = "FILE", value_parser = argument::path)]
    kubeconfig: Option<PathBuf>,
}

impl From<UninstallArgs> for UninstallConfig {
    fn from(args: UninstallArgs) -> UninstallConfig {
        let kured = match args.lock_on {
            LockOn::Lease => None,
            LockOn::Auto | LockOn::Daemonset => Some((args.ds_namespace, args.ds_name)),
        };
        UninstallConfig {
            place: UninstallPlace {
                namespace: args.namespace,
                kured,
                lock_annotation: args.lock_annotation,
                secrets: vec![args.ca_secret, args.certificate_secret],
            },
            timeout: args.timeout,
            dead_holds: match args.dead_holds {
                Dead::Stop => DeadHolds::Stop,
                Dead::GiveBack => DeadHolds::GiveBack,
            },
            kubeconfig: args.kubeconfig,
        }
    }
}

/// What to do about a dead hold, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Dead {
    /// Stop, and name it
    Stop,
    /// Give its cordon back in the agent's place
    GiveBack,
}

/// Where the lock is, as the agents' flag of the same name has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LockOn {
    /// On kured's DaemonSet if it exists, or in Leases
    Auto,
    /// In Leases
    Lease,
    /// On kured's DaemonSet, shared with kured
    Daemonset,
}
