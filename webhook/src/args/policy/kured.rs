//! Flags for protecting stock kured.

use clap::ValueEnum;
use cordonhold_rt::argument::{self, text};
use cordonhold_shared::admission::{KuredLock, KuredPolicy, OnLookupFailure, ServiceAccount};
use cordonhold_shared::keys;

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Protection of stock kured")]
pub(super) struct KuredArgs {
    /// Keep the nodes cordoned that stock kured reboots; needs a configuration that sends every uncordon here
    #[arg(long, env = "CORDONHOLD_PROTECT_KURED", value_enum, help_heading = None::<&'static str>, default_value_t = ProtectKuredArg::Off)]
    protect_kured: ProtectKuredArg,
    /// Namespace where kured's `DaemonSet` is looked for first; if it is not there, all namespaces are searched
    #[arg(long, env = "CORDONHOLD_DS_NAMESPACE", value_name = "NAME", value_parser = argument::label_name, default_value = "kube-system")]
    ds_namespace: String,
    /// Name of kured's `DaemonSet` in --ds-namespace
    #[arg(long, env = "CORDONHOLD_DS_NAME", value_name = "NAME", value_parser = argument::name, default_value = "kured")]
    ds_name: String,
    /// Annotations of kured's lock on its `DaemonSet`, separated by commas or repeated; each can hold a node
    #[arg(
        long,
        env = "CORDONHOLD_LOCK_ANNOTATION",
        hide_short_help = true,
        value_name = "KEY",
        value_delimiter = ',',
        value_parser = text,
        default_values = [keys::KURED_LOCK, keys::KURED_V2_LOCK]
    )]
    lock_annotation: Vec<String>,
    /// Annotations by which kured marks a Node whose reboot it wants, separated by commas or repeated
    #[arg(
        long,
        env = "CORDONHOLD_REBOOT_IN_PROGRESS_ANNOTATION",
        hide_short_help = true,
        value_name = "KEY",
        value_delimiter = ',',
        value_parser = text,
        default_values = [keys::KURED_REBOOT_IN_PROGRESS, keys::KURED_V2_REBOOT_IN_PROGRESS]
    )]
    reboot_in_progress_annotation: Vec<String>,
    /// Name of kured's `ServiceAccount`, in --ds-namespace; without it, the one that its `DaemonSet` names, or `kured` with --protect-kured=marks
    #[arg(long, env = "CORDONHOLD_KURED_SERVICE_ACCOUNT", value_name = "NAME", hide_short_help = true, value_parser = argument::name)]
    kured_service_account: Option<String>,
    /// Whether kured may uncordon every node with a token that names no node. `allow` is for Kubernetes before 1.30, whose tokens never name one: any pod of kured may then uncordon every node
    #[arg(long, env = "CORDONHOLD_KURED_TOKEN_WITHOUT_NODE", value_enum, hide_short_help = true, default_value_t = WithoutNodeArg::Deny)]
    kured_token_without_node: WithoutNodeArg,
    /// What happens to an uncordon while kured's lock cannot be read
    #[arg(long, env = "CORDONHOLD_ON_LOOKUP_FAILURE", value_enum, hide_short_help = true, default_value_t = OnLookupFailureArg::Deny)]
    on_lookup_failure: OnLookupFailureArg,
}

/// How far stock kured is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ProtectKuredArg {
    /// Not at all
    Off,
    /// By kured's marks on the Node: kured must run with --annotate-nodes, and a node counts as held as long as kured wants to reboot it
    Marks,
    /// By kured's lock; a mark alone is only flagged
    Lock,
}

/// Whether a token of kured's ServiceAccount that names no node counts as kured's, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WithoutNodeArg {
    /// Such a token may be anybody's: it is not believed
    Deny,
    /// Such a token is kured's, on every node
    Allow,
}

/// [`OnLookupFailure`], as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnLookupFailureArg {
    /// Deny it
    Deny,
    /// Let it pass with a warning
    Allow,
}

impl KuredArgs {
    /// The policy for stock kured; `None`: it is not protected.
    pub(super) fn policy(&self) -> Option<KuredPolicy> {
        let lock = || KuredLock {
            ds_namespace: self.ds_namespace.clone(),
            ds_name: self.ds_name.clone(),
            annotations: self.lock_annotation.clone(),
            on_lookup_failure: match self.on_lookup_failure {
                OnLookupFailureArg::Deny => OnLookupFailure::Deny,
                OnLookupFailureArg::Allow => OnLookupFailure::Allow,
            },
        };
        let told = self.kured_service_account.as_deref();
        let (lock, service_account) = match self.protect_kured {
            ProtectKuredArg::Off => return None,
            // With marks alone no DaemonSet is read, so it cannot name the ServiceAccount.
            ProtectKuredArg::Marks => (None, Some(told.unwrap_or("kured"))),
            ProtectKuredArg::Lock => (Some(lock()), told),
        };
        Some(KuredPolicy {
            service_account: service_account.map(|name| ServiceAccount {
                namespace: self.ds_namespace.clone(),
                name: name.to_owned(),
            }),
            is_believed_without_node: self.kured_token_without_node == WithoutNodeArg::Allow,
            marks: self.reboot_in_progress_annotation.clone(),
            lock,
        })
    }
}
