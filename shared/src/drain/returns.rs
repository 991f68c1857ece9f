//! Controllers that put pods back on the node while it is drained: their pods tolerate its taints, and fit nowhere else.
//!
//! Each pod that comes back is evicted all the same, ever more slowly, and its controller is named as what is in the way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::pod::PodView;
use crate::timers::doubled;

/// So many pods may come late by chance: the scheduler had not seen the cordon yet.
const LATE_MAX: u32 = 3;
/// How long the next one is left alone, and the longest.
const PAUSE_FIRST: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// What the controllers of the node's pods did since the drain began.
#[derive(Debug, Default)]
pub(super) struct Returns {
    /// Those of which a pod is leaving, or has left.
    left: BTreeSet<String>,
    /// How many pods each of them has put here since.
    back: BTreeMap<String, u32>,
}

impl Returns {
    /// This pod is leaving, or has left.
    pub(super) fn note_left(&mut self, pod: &PodView) {
        self.left.extend(controller(pod));
    }

    /// This pod is new. If it is one too many: how long it is left alone, and why.
    pub(super) fn note_new(&mut self, pod: &PodView) -> Option<(Duration, String)> {
        let controller = controller(pod).filter(|controller| self.left.contains(controller))?;
        let back = self.back.entry(controller.clone()).or_default();
        *back = back.saturating_add(1);
        let over = back.checked_sub(LATE_MAX + 1)?;
        let pause = doubled(PAUSE_FIRST, over, PAUSE_MAX);
        let why = format!("{controller}, which puts its pods back on this node ({back} times)");
        Some((pause, why))
    }
}

/// `kind namespace/name`.
fn controller(pod: &PodView) -> Option<String> {
    let mut owners = pod.metadata.owner_references.iter();
    let owner = owners.find(|owner| owner.controller)?;
    Some(format!(
        "{} {}/{}",
        owner.kind, pod.metadata.namespace, owner.name
    ))
}
