//! The flags of the group "The return, and what the Node shows": what happens between the reboot and the release of the lock,
//! and what the agent writes on its Node beside the marks.
//!
//! Not here: how that is written, see [`cordonhold_shared::hold`].

use std::time::Duration;

use cordonhold_rt::duration;
use cordonhold_shared::hold::Signs;
use cordonhold_shared::reboot::readiness::Readiness;

use super::value::{self, Labels, Maybe};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The return, and what the Node shows")]
pub(super) struct ReturnArgs {
    /// How long the rebooted node must stay Ready before its cordon is given back
    #[arg(long, env = "CORDONHOLD_SOAK", value_name = "DURATION", default_value = "0", value_parser = duration::parse)]
    pub(super) soak: Duration,
    /// What must be there beside the Node's Ready before its cordon is given back: `condition=TYPE`, `condition=TYPE=STATUS`, `cel=EXPRESSION`
    /// (CEL about the Node, which is `self`), or `daemonset-pods` (each pod of a DaemonSet on the node is Ready); repeated: all of them
    #[arg(long, env = "CORDONHOLD_READY_WHEN", value_name = "WHAT", value_parser = readiness)]
    pub(super) ready_when: Vec<Readiness>,
    /// How long the node may take to be ready, from when the agent has noted the boot on it, before that is reported; it stays cordoned [default: --reboot-timeout]
    #[arg(long, env = "CORDONHOLD_READY_TIMEOUT", value_name = "DURATION", value_parser = value::duration_above_zero)]
    pub(super) ready_timeout: Option<Duration>,
    /// Wait between the node's return and the release of the lock
    #[arg(long, env = "KURED_LOCK_RELEASE_DELAY", value_name = "DURATION", default_value = "0", value_parser = duration::parse)]
    pub(super) lock_release_delay: Duration,
    /// Write kured's annotations on the Node: weave.works/kured-reboot-in-progress and weave.works/kured-most-recent-reboot-needed
    #[arg(long, env = "KURED_ANNOTATE_NODES")]
    pub(super) annotate_nodes: bool,
    /// Labels put on the Node when it is cordoned, as key=value; repeated or comma separated
    #[arg(long, env = "KURED_PRE_REBOOT_NODE_LABELS", value_name = "LABELS", value_parser = value::labels)]
    pre_reboot_node_labels: Vec<Labels>,
    /// Labels put on the Node when it is back, as key=value; repeated or comma separated
    #[arg(long, env = "KURED_POST_REBOOT_NODE_LABELS", value_name = "LABELS", value_parser = value::labels)]
    post_reboot_node_labels: Vec<Labels>,
    /// Key of a `PreferNoSchedule` taint that the Node has from the wish for a reboot until the reboot is over or called off; empty for none
    #[arg(long, env = "KURED_PREFER_NO_SCHEDULE_TAINT", value_name = "KEY", default_value = "", value_parser = value::unless_empty(value::own_key))]
    pub(super) prefer_no_schedule_taint: Maybe<String>,
    /// Keep cluster-autoscaler and Karpenter from removing or repairing the node while it drains or reboots; with --node-conditions, for as long as these show
    #[arg(long, env = "CORDONHOLD_PROTECT_FROM_AUTOSCALER")]
    pub(super) protect_from_autoscaler: bool,
    /// Write conditions on the Node: cordonhold.dev/Held, for kubectl wait, and those of KEP-5683
    #[arg(long, env = "CORDONHOLD_NODE_CONDITIONS")]
    pub(super) node_conditions: bool,
}

impl ReturnArgs {
    /// Collects what the agent writes on its Node beside the marks.
    pub(super) fn signs(&self) -> Signs {
        Signs {
            annotates: self.annotate_nodes,
            pre_reboot_labels: merged(&self.pre_reboot_node_labels),
            post_reboot_labels: merged(&self.post_reboot_node_labels),
            soft_taint: self.prefer_no_schedule_taint.clone(),
            protects: self.protect_from_autoscaler,
            shows_conditions: self.node_conditions,
        }
    }
}

fn readiness(text: &str) -> Result<Readiness, String> {
    text.parse::<Readiness>()
        .map_err(|error| format!("{text:?} is {error}"))
}

/// Merges the labels of a repeated flag. Of two values for one key the later counts, as in kured.
fn merged(labels: &[Labels]) -> Labels {
    let owned = |(key, value): (&String, &String)| (key.clone(), value.clone());
    labels.iter().flatten().map(owned).collect()
}
