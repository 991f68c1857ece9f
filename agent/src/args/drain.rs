//! The drain's flags: which pods leave, how long they have, and what follows when they do not.

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
    /// Longest drain, each time the node is drained, after which the reboot is called off or, with --force-reboot, goes on; 0 is no limit
    #[arg(long, env = "KURED_DRAIN_TIMEOUT", value_name = "DURATION", default_value = "0", value_parser = value::limit)]
    pub(super) drain_timeout: Maybe<Duration>,
    /// Seconds that an evicted pod has to end; below 0 each pod's own
    #[arg(long, env = "KURED_DRAIN_GRACE_PERIOD", value_name = "SECONDS", default_value = "-1", allow_negative_numbers = true, value_parser = value::seconds_or_none)]
    pub(super) drain_grace_period: Maybe<u32>,
    /// Label selector of the pods that are drained; empty is all that a drain evicts
    #[arg(long, env = "KURED_DRAIN_POD_SELECTOR", value_name = "SELECTOR", default_value = "", value_parser = value::unless_empty(value::selector))]
    pub(super) drain_pod_selector: Maybe<Selector>,
    /// Pods that should have been gone for longer than this, by their grace period, are not waited for; 0 waits for all
    #[arg(long, env = "KURED_SKIP_WAIT_FOR_DELETE_TIMEOUT", value_name = "SECONDS", default_value = "0", allow_negative_numbers = true, value_parser = value::seconds)]
    pub(super) skip_wait_for_delete_timeout: Duration,
    /// Reboot although pods are left when --drain-timeout is over; cordon and lock must hold all the same
    #[arg(long, env = "KURED_FORCE_REBOOT")]
    pub(super) force_reboot: bool,
    /// Drain in waves: the lowest priority first, the next when those pods are gone
    #[arg(long, env = "CORDONHOLD_DRAIN_BY_PRIORITY")]
    pub(super) drain_by_priority: bool,
    /// Pods that tolerate cordon and taint, and that their owner has put back on the node three times in this drain: leave them
    /// there, as a DaemonSet's pods are, or wait for them
    #[arg(
        long,
        env = "CORDONHOLD_RETURNING_PODS",
        value_name = "leave|wait",
        value_enum,
        default_value = "leave"
    )]
    pub(super) returning_pods: ReturningPods,
    /// Longest wait for the node's volumes to be detached after the drain; 0 does not wait
    #[arg(long, env = "CORDONHOLD_VOLUME_DETACH_TIMEOUT", value_name = "DURATION", default_value = "0", value_parser = value::limit)]
    pub(super) volume_detach_timeout: Maybe<Duration>,
    /// How many evictions are under way at once
    #[arg(long, env = "CORDONHOLD_MAX_PARALLEL_EVICTIONS", value_name = "COUNT", default_value = "20", allow_negative_numbers = true, value_parser = value::integer::<1, 1000>)]
    pub(super) max_parallel_evictions: i64,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum ReturningPods {
    Leave,
    Wait,
}

impl DrainArgs {
    /// Force begins where a drain takes too long, and one without a limit never does.
    pub(super) fn force_without_limit(&self) -> Option<String> {
        let is_idle = self.force_reboot && self.drain_timeout.is_none();
        is_idle.then(|| "--force-reboot does nothing without --drain-timeout: a drain that is blocked goes on for ever".to_owned())
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
