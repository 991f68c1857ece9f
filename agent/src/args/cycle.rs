//! The flags of the group "The cycle": the name of the Node, the times of the cycle, and what is checked before the reboot.
//!
//! [`settings`] and [`timing`] also collect what the cycle needs from the other groups.
//! Not here: the other groups' flags, see the modules beside this one.

use std::time::Duration;

use clap::ValueEnum;
use cordonhold_rt::duration;
use cordonhold_shared::reboot::cycle::{OnUncordon, Settings};
use cordonhold_shared::reboot::timers::Timing;

use super::value;
use super::{Args, ArgsError};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The cycle")]
pub(super) struct CycleArgs {
    /// Name of the Node that the agent runs on (required)
    #[arg(long, env = "KURED_NODE_ID", value_name = "NAME", default_value = "", value_parser = value::unless_empty(value::name))]
    pub(super) node_id: value::Maybe<String>,
    /// How often to check the sentinel
    #[arg(long, env = "KURED_PERIOD", value_name = "DURATION", default_value = "1h", value_parser = value::duration_above_zero)]
    pub(super) period: Duration,
    /// Wait between the end of the drain and the reboot, while the node is watched
    #[arg(long, env = "KURED_REBOOT_DELAY", value_name = "DURATION", default_value = "0", value_parser = duration::parse)]
    pub(super) reboot_delay: Duration,
    /// How long a reboot may take before the agent reports it as stuck; 5 min 30 s after that the webhook lets others uncordon the node
    #[arg(long, env = "CORDONHOLD_REBOOT_TIMEOUT", value_name = "DURATION", default_value = "30m", value_parser = value::duration_above_zero)]
    pub(super) reboot_timeout: Duration,
    /// Whether to taint the node, watch it until the reboot, and check right before the reboot that it is still cordoned and empty
    #[arg(
        long,
        env = "CORDONHOLD_VERIFY_BEFORE_REBOOT",
        value_enum,
        default_value = "always"
    )]
    pub(super) verify_before_reboot: Verify,
    /// What to do when somebody uncordons the node, or a pod lands on it, before the reboot
    #[arg(long, env = "CORDONHOLD_ON_UNCORDON", value_enum, default_value = "redrain")]
    pub(super) on_uncordon: OnUncordonArg,
    /// How many times the node may be drained again before the reboot is called off
    #[arg(long, env = "CORDONHOLD_REDRAINS", value_name = "COUNT", default_value = "5", allow_negative_numbers = true, value_parser = value::times)]
    pub(super) redrains: u8,
    /// How long to wait after a reboot was called off before asking for the next one
    #[arg(long, env = "CORDONHOLD_BACKOFF", value_name = "DURATION", default_value = "5m", value_parser = duration::parse)]
    pub(super) backoff: Duration,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Verify {
    Always,
    /// Only if there is a reboot delay
    Auto,
    /// As in kured: an uncordon or a new pod does not stop the reboot
    Never,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum OnUncordonArg {
    /// Cordon and drain again
    Redrain,
    /// Call the reboot off and wait for --backoff
    Abort,
}

/// Collects the settings that the cycle decides by. An error means that no node is named.
pub(super) fn settings(args: &Args, timing: &Timing) -> Result<Settings, ArgsError> {
    let Args {
        cycle,
        lock,
        drain,
        returning,
        ..
    } = args;
    Ok(Settings {
        node: cycle.node_id.clone().ok_or(ArgsError::NodeMissing)?,
        pool: lock.pool_selector.clone().unwrap_or_default(),
        concurrency: lock.concurrency,
        verify: match cycle.verify_before_reboot {
            Verify::Always => true,
            Verify::Auto => !cycle.reboot_delay.is_zero(),
            Verify::Never => false,
        },
        on_uncordon: match cycle.on_uncordon {
            OnUncordonArg::Redrain => OnUncordon::Redrain,
            OnUncordonArg::Abort => OnUncordon::Abort,
        },
        redrains_max: cycle.redrains,
        reboots_kept: args.pace.reboots_max.map_or(0, |max| max.count),
        keeps_interval: args.pace.min_interval.is_some(),
        asked_by: Some(args.host.asked_by()),
        delays_release: timing.delays_release(),
        gates_return: !returning.ready_when.is_empty(),
        signs: returning.signs(),
        force_reboot: drain.force_reboot,
    })
}

/// Collects the lengths of the cycle's timers.
pub(super) fn timing(args: &Args) -> Timing {
    let Args {
        cycle,
        drain,
        returning,
        ..
    } = args;
    Timing {
        period: cycle.period,
        drain_delay: drain.drain_delay,
        drain_timeout: drain.drain_timeout,
        reboot_delay: cycle.reboot_delay,
        reboot_timeout: cycle.reboot_timeout,
        ready_timeout: returning.ready_timeout.unwrap_or(cycle.reboot_timeout),
        soak: returning.soak,
        lock_release_delay: returning.lock_release_delay,
        backoff: cycle.backoff,
    }
}
