//! The flags of the group "The lock": which nodes share a lock, where it is kept, and how many nodes may have it at once.
//!
//! Not here: the lock itself, see [`cordonhold_shared::lock`].

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
    /// Where the lock is kept
    #[arg(long, env = "CORDONHOLD_LOCK_ON", value_enum, default_value = "auto")]
    pub(super) lock_on: LockOn,
    /// Namespace of kured's DaemonSet
    #[arg(long, env = "KURED_DS_NAMESPACE", value_name = "NAMESPACE", default_value = "kube-system", value_parser = value::label_name)]
    pub(super) ds_namespace: String,
    /// Name of kured's DaemonSet
    #[arg(long, env = "KURED_DS_NAME", value_name = "NAME", default_value = "kured", value_parser = value::name)]
    pub(super) ds_name: String,
    /// Annotation on kured's DaemonSet that holds the lock
    #[arg(long, env = "KURED_LOCK_ANNOTATION", value_name = "KEY", default_value = "weave.works/kured-node-lock", value_parser = value::key)]
    pub(super) lock_annotation: String,
    /// Namespace of the Lease that holds the lock
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE", default_value = "cordonhold", value_parser = value::label_name)]
    pub(super) lock_namespace: String,
    /// Accepted from kured, but without effect: the agents' lock entries never expire by time
    #[arg(long, env = "KURED_LOCK_TTL", value_name = "DURATION", default_value = "0", value_parser = value::limit)]
    pub(super) lock_ttl: Maybe<Duration>,
    /// How many nodes of the pool may drain or reboot at once: a number, or a percentage of the pool, rounded down but at least 1
    #[arg(long, env = "KURED_CONCURRENCY", value_name = "N|P%", default_value = "1", allow_negative_numbers = true, value_parser = value::amount_above_zero)]
    pub(super) concurrency: Share,
    /// Name of the pool that this node belongs to; the pool's Lease is `cordonhold-NAME`
    #[arg(long, env = "CORDONHOLD_POOL", value_name = "NAME", default_value = "default", value_parser = value::label_name)]
    pub(super) pool: String,
    /// Label selector of the pool's Nodes; empty selects every Node
    #[arg(long, env = "CORDONHOLD_POOL_SELECTOR", value_name = "SELECTOR", default_value = "", value_parser = value::unless_empty(value::selector))]
    pub(super) pool_selector: Maybe<Selector>,
    /// Begin no reboot while more nodes of the pool than this are not Ready, not counting this node and those that drain or reboot; empty for no limit
    #[arg(long, env = "CORDONHOLD_MAX_UNAVAILABLE", value_name = "N|P%", default_value = "", value_parser = value::unless_empty(value::amount))]
    pub(super) max_unavailable: Maybe<Share>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum LockOn {
    /// On kured's DaemonSet if it exists, else in a Lease
    Auto,
    /// In a Lease in --lock-namespace
    Lease,
    /// On kured's DaemonSet, shared with kured
    Daemonset,
}

impl LockArgs {
    /// Returns a warning if `--lock-ttl` is set, because it has no effect.
    pub(super) fn idle_ttl(&self) -> Option<String> {
        self.lock_ttl.map(|_| {
            "--lock-ttl changes nothing: a lock entry ends when its Node shows that the reboot is over, or is deleted, never by time; remove the flag".to_owned()
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
                    name: format!("{}{}", keys::LEASE_PREFIX, args.pool),
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
