//! The flags of the way back, and of what the agent writes on its Node beside the marks.

use std::time::Duration;

use cordonhold_rt::duration;
use cordonhold_shared::hold::Signs;

use super::value::{self, Labels, Maybe};

/// How the node comes back, and what it shows.
#[derive(Clone, Debug, PartialEq, clap::Args)]
#[command(next_help_heading = "The return, and what the Node shows")]
pub struct ReturnConfig {
    /// How long a node that is back and Ready waits before its cordon is given back
    #[arg(long, env = "CORDONHOLD_SOAK", value_name = "DURATION", default_value = "0", value_parser = duration::parse)]
    pub soak: Duration,
    /// Wait between the node's return and the release of the lock
    #[arg(long, env = "KURED_LOCK_RELEASE_DELAY", value_name = "DURATION", default_value = "0", value_parser = duration::parse)]
    pub lock_release_delay: Duration,
    /// Write kured's annotations on the Node: weave.works/kured-reboot-in-progress and weave.works/kured-most-recent-reboot-needed
    #[arg(long, env = "KURED_ANNOTATE_NODES", value_name = "BOOL", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, value_parser = value::boolean)]
    pub annotate_nodes: bool,
    /// Labels put on the Node as it is cordoned, as key=value; repeated or comma separated
    #[arg(long, env = "KURED_PRE_REBOOT_NODE_LABELS", value_name = "LABELS", value_parser = value::labels)]
    pre_reboot_node_labels: Vec<Labels>,
    /// Labels put on the Node when it is back, as key=value; repeated or comma separated
    #[arg(long, env = "KURED_POST_REBOOT_NODE_LABELS", value_name = "LABELS", value_parser = value::labels)]
    post_reboot_node_labels: Vec<Labels>,
    /// Key of a `PreferNoSchedule` taint for a node that wants a reboot and waits; empty is none
    #[arg(long, env = "KURED_PREFER_NO_SCHEDULE_TAINT", value_name = "KEY", default_value = "", value_parser = value::unless_empty(value::own_key))]
    pub prefer_no_schedule_taint: Maybe<String>,
    /// Keep cluster-autoscaler and Karpenter from removing the node while it is in a reboot
    #[arg(long, env = "CORDONHOLD_PROTECT_FROM_AUTOSCALER", value_name = "BOOL", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, value_parser = value::boolean)]
    pub protect_from_autoscaler: bool,
    /// Write the conditions of KEP-5683 on the Node
    #[arg(long, env = "CORDONHOLD_NODE_CONDITIONS", value_name = "BOOL", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, value_parser = value::boolean)]
    pub node_conditions: bool,
}

impl ReturnConfig {
    /// What the agent shows on its Node beside the marks.
    pub fn signs(&self) -> Signs {
        Signs {
            annotates: self.annotate_nodes,
            pre_reboot_labels: merged(&self.pre_reboot_node_labels),
            post_reboot_labels: merged(&self.post_reboot_node_labels),
            soft_taint: self.prefer_no_schedule_taint.clone(),
            protects: self.protect_from_autoscaler,
        }
    }
}

/// The later of two values for one key counts, as in kured.
fn merged(labels: &[Labels]) -> Labels {
    let owned = |(key, value): (&String, &String)| (key.clone(), value.clone());
    labels.iter().flatten().map(owned).collect()
}
