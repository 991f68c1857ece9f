//! The lock's flags: which nodes share one, where it is, and how many may hold it.

use std::time::Duration;

use clap::ValueEnum;
use cordonhold_shared::keys;
use cordonhold_shared::lock::Share;
use cordonhold_shared::reboot::lock_object::{Carrier, LockObject, LockObjects};
use cordonhold_shared::selector::Selector;

use super::value::{self, Maybe};
use crate::config::LockConfig;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The lock")]
pub(super) struct LockArgs {
    /// Where the lock is
    #[arg(long, env = "CORDONHOLD_LOCK_ON", value_enum, default_value = "auto")]
    pub(super) lock_on: LockOn,
    /// Namespace of kured's DaemonSet
    #[arg(long, env = "KURED_DS_NAMESPACE", value_name = "NAMESPACE", default_value = "kube-system", value_parser = value::label_name)]
    pub(super) ds_namespace: String,
    /// Name of kured's DaemonSet
    #[arg(long, env = "KURED_DS_NAME", value_name = "NAME", default_value = "kured", value_parser = value::name)]
    pub(super) ds_name: String,
    /// Annotation of that DaemonSet that is the lock
    #[arg(long, env = "KURED_LOCK_ANNOTATION", value_name = "KEY", default_value = "weave.works/kured-node-lock", value_parser = value::key)]
    pub(super) lock_annotation: String,
    /// Namespace of the Lease that is the lock
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE", default_value = "cordonhold", value_parser = value::label_name)]
    pub(super) lock_namespace: String,
    /// Accepted as kured's flag, and changes nothing: an entry of ours ends by what its Node shows, never by time
    #[arg(long, env = "KURED_LOCK_TTL", value_name = "DURATION", default_value = "0", value_parser = value::limit)]
    pub(super) lock_ttl: Maybe<Duration>,
    /// How many nodes of the pool may be in a reboot at once: a number, or a percentage of them, rounded down but at least 1
    #[arg(long, env = "KURED_CONCURRENCY", value_name = "N|P%", default_value = "1", allow_negative_numbers = true, value_parser = value::amount_above_zero)]
    pub(super) concurrency: Share,
    /// The pool that this node belongs to; its Lease is `cordonhold-NAME`
    #[arg(long, env = "CORDONHOLD_POOL", value_name = "NAME", default_value = "default", value_parser = value::label_name)]
    pub(super) pool: String,
    /// Label selector of the pool's Nodes; empty is every Node
    #[arg(long, env = "CORDONHOLD_POOL_SELECTOR", value_name = "SELECTOR", default_value = "", value_parser = value::unless_empty(value::selector))]
    pub(super) pool_selector: Maybe<Selector>,
    /// No reboot begins while more nodes of the pool than this are not Ready, beside this one and those in a reboot; empty is no limit
    #[arg(long, env = "CORDONHOLD_MAX_UNAVAILABLE", value_name = "N|P%", default_value = "", value_parser = value::unless_empty(value::amount))]
    pub(super) max_unavailable: Maybe<Share>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum LockOn {
    /// On kured's DaemonSet where there is one, else in a Lease
    Auto,
    /// In a Lease in --lock-namespace
    Lease,
    /// On kured's DaemonSet, shared with kured
    Daemonset,
}

impl LockArgs {
    pub(super) fn idle_ttl(&self) -> Option<String> {
        self.lock_ttl.map(|_| {
            "--lock-ttl changes nothing: an entry ends when its Node shows that its reboot is over, or is gone; leave the flag out".to_owned()
        })
    }
}

impl From<LockArgs> for LockConfig {
    fn from(args: LockArgs) -> LockConfig {
        let (first, otherwise) = match args.lock_on {
            LockOn::Lease => (Carrier::Lease, None),
            LockOn::Daemonset => (Carrier::DaemonSet, None),
            LockOn::Auto => (Carrier::DaemonSet, Some(Carrier::Lease)),
        };
        LockConfig {
            objects: LockObjects {
                lease: LockObject {
                    carrier: Carrier::Lease,
                    namespace: args.lock_namespace,
                    name: format!("cordonhold-{}", args.pool),
                    key: keys::LOCK.to_owned(),
                },
                daemon_set: LockObject {
                    carrier: Carrier::DaemonSet,
                    namespace: args.ds_namespace,
                    name: args.ds_name,
                    key: args.lock_annotation,
                },
                first,
                otherwise,
            },
            pool: args.pool,
        }
    }
}
