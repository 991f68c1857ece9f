//! The flags of the group "The drain": which pods leave, how long a drain may take, and what happens then.
//!
//! Not here: the drain itself, see [`cordonhold_shared::reboot::drain`].

use std::time::Duration;

use cordonhold_rt::duration;
use cordonhold_shared::reboot::drain::{Options, Returning};
use cordonhold_shared::selector::Selector;
use jiff::SignedDuration;

use super::value::{self, Maybe};
use crate::config::DrainConfig;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The drain")]
pub(super) struct DrainArgs {
    /// Wait between the cordon and the first eviction, if there is anything to evict
    #[arg(long, env = "KURED_DRAIN_DELAY", value_name = "DURATION", default_value = "0", value_parser = duration::parse)]
    pub(super) drain_delay: Duration,
    /// Longest time for each drain, after which the reboot is called off or, with --force-reboot, goes on; 0 for no limit
    #[arg(long, env = "KURED_DRAIN_TIMEOUT", value_name = "DURATION", default_value = "0", value_parser = value::limit)]
    pub(super) drain_timeout: Maybe<Duration>,
    /// Grace period in seconds for evicted pods; below 0, each pod's own
    #[arg(long, env = "KURED_DRAIN_GRACE_PERIOD", value_name = "SECONDS", default_value = "-1", allow_negative_numbers = true, value_parser = value::seconds_or_none)]
    pub(super) drain_grace_period: Maybe<u32>,
    /// Evict only pods that this label selector selects; empty selects all
    #[arg(long, env = "KURED_DRAIN_POD_SELECTOR", value_name = "SELECTOR", default_value = "", value_parser = value::unless_empty(value::selector))]
    pub(super) drain_pod_selector: Maybe<Selector>,
    /// Do not wait for pods that are still there this many seconds after their grace period ended; 0 waits for all
    #[arg(long, env = "KURED_SKIP_WAIT_FOR_DELETE_TIMEOUT", value_name = "SECONDS", default_value = "0", allow_negative_numbers = true, value_parser = value::seconds)]
    pub(super) skip_wait_for_delete_timeout: Duration,
    /// Reboot even if pods are left after --drain-timeout; the cordon and the lock are checked all the same
    #[arg(long, env = "KURED_FORCE_REBOOT")]
    pub(super) force_reboot: bool,
    /// Drain in waves: the pods of the lowest priority first, the next wave when those are gone
    #[arg(long, env = "CORDONHOLD_DRAIN_BY_PRIORITY")]
    pub(super) drain_by_priority: bool,
    /// What to do with pods that tolerate the taints of the cordon and of Cordonhold, once their owner has put them back on the node
    /// three times in one drain: leave them there, like a DaemonSet's pods, or wait for them
    #[arg(
        long,
        env = "CORDONHOLD_RETURNING_PODS",
        value_name = "leave|wait",
        value_enum,
        default_value = "leave"
    )]
    pub(super) returning_pods: ReturningPods,
    /// How long to wait for the node's volumes to be detached after the drain; 0 does not wait
    #[arg(long, env = "CORDONHOLD_VOLUME_DETACH_TIMEOUT", value_name = "DURATION", default_value = "0", value_parser = value::limit)]
    pub(super) volume_detach_timeout: Maybe<Duration>,
    /// How many evictions may be under way at once
    #[arg(long, env = "CORDONHOLD_MAX_PARALLEL_EVICTIONS", value_name = "COUNT", default_value = "20", allow_negative_numbers = true, value_parser = value::integer::<1, 1000>)]
    pub(super) max_parallel_evictions: i64,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum ReturningPods {
    Leave,
    Wait,
}

impl DrainArgs {
    /// Returns a warning if `--force-reboot` is set without `--drain-timeout`: it takes effect only when a drain takes too long.
    pub(super) fn force_without_limit(&self) -> Option<String> {
        let is_idle = self.force_reboot && self.drain_timeout.is_none();
        is_idle.then(|| "--force-reboot does nothing without --drain-timeout: a blocked drain goes on for ever; set --drain-timeout too".to_owned())
    }
}

impl From<DrainArgs> for DrainConfig {
    fn from(args: DrainArgs) -> DrainConfig {
        let skip_wait = args.skip_wait_for_delete_timeout;
        DrainConfig {
            pods: args.drain_pod_selector,
            grace_period: args.drain_grace_period,
            options: Options {
                parallel: usize::try_from(args.max_parallel_evictions).unwrap_or(1),
                by_priority: args.drain_by_priority,
                skip_wait: SignedDuration::try_from(skip_wait)
                    .ok()
                    .filter(|skip_wait| !skip_wait.is_zero()),
                returning: match args.returning_pods {
                    ReturningPods::Leave => Returning::Leave,
                    ReturningPods::Wait => Returning::Wait,
                },
                volumes: args.volume_detach_timeout,
            },
        }
    }
}
