//! Controllers that put pods back on the node while it is drained. Their pods tolerate its taints, or are bound to it without
//! the scheduler.
//!
//! Not here: what is done with such a pod ([`super::pods`]).

use std::collections::{BTreeMap, BTreeSet};

use crate::reboot::pod::{self, PodView};

/// How many times a pod may be put back by chance: the scheduler may not have seen the cordon yet.
pub(super) const CHANCE_MAX: u32 = 3;

/// What the controllers of the node's pods did since the drain began.
#[derive(Debug, Default)]
pub(super) struct Returns {
    /// For each controller with pods that are leaving or have left: how many times one of them had been put back, at most.
    ///
    /// Counted from a pod to its replacement, so that ten pods that are put back at once count as one time and not as ten.
    left: BTreeMap<String, u32>,
    /// The controllers whose pods stay on the node.
    kept: BTreeSet<String>,
}

impl Returns {
    /// Takes in that this pod, which was put back so many times, is leaving or has left.
    pub(super) fn note_left(&mut self, pod: &PodView, times: u32) {
        if let Some(controller) = pod::controller(pod) {
            let most = self.left.entry(controller).or_default();
            *most = times.max(*most);
        }
    }

    /// How many times this new pod and those that it replaces have been put back.
    pub(super) fn times(&self, pod: &PodView) -> u32 {
        let left = pod::controller(pod).and_then(|controller| self.left.get(&controller));
        left.map_or(0, |times| times.saturating_add(1))
    }

    /// From now on, leaves the pods of this pod's controller on the node if they tolerate the drain.
    pub(super) fn keep(&mut self, pod: &PodView) {
        self.kept.extend(pod::controller(pod));
    }

    pub(super) fn kept(&self) -> &BTreeSet<String> {
        &self.kept
    }
}
