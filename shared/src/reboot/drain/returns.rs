//! Controllers that put pods back on the node while it is drained: their pods tolerate its taints, or are bound past the scheduler.
//!
//! What becomes of such a pod is decided in [`super::pods`].

use std::collections::{BTreeMap, BTreeSet};

use crate::reboot::pod::{self, PodView};

/// So many times may be chance: the scheduler had not seen the cordon yet.
pub(super) const CHANCE_MAX: u32 = 3;

/// What the controllers of the node's pods did since the drain began.
#[derive(Debug, Default)]
pub(super) struct Returns {
    /// Of each controller of which pods are leaving or have left: how often one of them had been put back.
    ///
    /// Counted down the line of a pod and its replacements, so that ten pods at once are not put back ten times.
    left: BTreeMap<String, u32>,
    /// The controllers whose pods are left here.
    kept: BTreeSet<String>,
}

impl Returns {
    /// This pod, which was put back so many times, is leaving or has left.
    pub(super) fn note_left(&mut self, pod: &PodView, times: u32) {
        if let Some(controller) = pod::controller(pod) {
            let most = self.left.entry(controller).or_default();
            *most = times.max(*most);
        }
    }

    /// How often the line of this new pod has been put back.
    pub(super) fn times(&self, pod: &PodView) -> u32 {
        let left = pod::controller(pod).and_then(|controller| self.left.get(&controller));
        left.map_or(0, |times| times.saturating_add(1))
    }

    /// The pods of this one's controller are left here from now on, where they tolerate the drain.
    pub(super) fn keep(&mut self, pod: &PodView) {
        self.kept.extend(pod::controller(pod));
    }

    pub(super) fn kept(&self) -> &BTreeSet<String> {
        &self.kept
    }
}
