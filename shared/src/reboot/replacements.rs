//! How long it takes until an evicted pod is replaced by one that is Ready: which controllers are followed, when their pods are listed,
//! and which pod counts as the replacement of which. It is for a metric alone, and no reboot waits for it.
//!
//! A replacement is a pod of the same controller that was created after the eviction and is Ready. The first eviction gets the first
//! such pod, the second the second. So a controller that is scaled up at the same time makes the figure too small, and a rollout, which
//! makes pods of another ReplicaSet, leaves evictions without one.
//! Not here: listing pods, and the metric (the agent).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use crate::node::null_is_default;
use crate::reboot::cycle::Unmeasured;
use crate::reboot::moment::{Moment, Uptime};
use crate::reboot::pod::{OwnerReference, PodView};

/// Most controllers that are followed at once: with a list each `EVERY`, six requests a second at most.
pub const FOLLOWED_MAX: usize = 64;
/// Most evictions of one controller that wait for a replacement: as many pods as a node has by default (kubelet's `maxPods`).
pub const EVICTIONS_MAX: usize = 110;
/// Most lists that are under way at once: the memory that one takes is the agent's, and there is no haste.
pub const LISTS_MAX: usize = 1;
/// Most bytes of a list of one controller's pods: some hundred pods. While it is read it takes twice that, of the 128 MiB that the
/// agent's container has.
pub const LIST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most evicted pods that are remembered, each for [`FOLLOWED_FOR`]: a node has [`EVICTIONS_MAX`] at once.
const KNOWN_MAX: usize = 1024;
/// The pause between two lists of one controller's pods, and before the first: hardly a pod is Ready sooner.
const EVERY: Duration = Duration::from_secs(10);
/// How long a replacement is waited for. Longer than the last bucket of the metric.
const FOLLOWED_FOR: Duration = Duration::from_mins(15);
/// The labels by which a controller's pods are listed, so that no list is as long as a namespace. Each is set by the controller itself:
/// by a Deployment on the pods of one `ReplicaSet`, and by a `StatefulSet` on each pod, which comes back under the same name
/// (k8s.io/api: apps/v1/types.go, `DefaultDeploymentUniqueLabelKey` and `StatefulSetPodNameLabel`).
const LABELS: [&str; 2] = ["pod-template-hash", "statefulset.kubernetes.io/pod-name"];
/// Controllers whose pods are not replaced, or only on the same node.
const NOT_FOLLOWED: [&str; 2] = ["DaemonSet", "Job"];

/// A controller whose pods are listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Controller {
    /// The namespace of its pods.
    pub namespace: String,
    /// The label selector of its pods.
    pub labels: String,
    uid: String,
}

/// A pod of such a list.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Candidate {
    #[serde(default, deserialize_with = "null_is_default")]
    metadata: Metadata,
    #[serde(default, deserialize_with = "null_is_default")]
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default, deserialize_with = "null_is_default")]
    uid: String,
    #[serde(default, deserialize_with = "null_is_default")]
    creation_timestamp: String,
    #[serde(default, deserialize_with = "null_is_default")]
    owner_references: Vec<OwnerReference>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Status {
    #[serde(default, deserialize_with = "null_is_default")]
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    status: String,
    #[serde(default, deserialize_with = "null_is_default")]
    last_transition_time: String,
}

/// What became of an eviction that was followed, or was to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This long after it, its replacement was Ready.
    Replaced(Duration),
    /// Nobody knows, for this reason.
    Unmeasured(Unmeasured),
}

/// The evictions whose replacements are waited for.
#[derive(Debug, Default)]
pub struct Replacements {
    followed: BTreeMap<Controller, Followed>,
    /// The uids of the pods that were evicted lately, and when. One that does not go is evicted again.
    known: BTreeMap<String, Uptime>,
}

/// What a list of a controller's pods has shown.
#[derive(Debug)]
pub enum Listed {
    /// These pods.
    Pods(Vec<Candidate>),
    /// It failed: it is made again later.
    Failed,
    /// It is longer than [`LIST_BYTES_MAX`].
    TooLong,
}

#[derive(Debug)]
struct Followed {
    /// When its pods are listed next; `None` while they are being listed.
    due: Option<Uptime>,
    /// The evictions, the oldest first.
    evictions: Vec<Moment>,
    /// The uids of the pods that have replaced one already.
    used: BTreeSet<String>,
}

impl Replacements {
    /// Takes in that this pod was evicted. Returns why it is not followed, if it should be and is not. One that is evicted again is
    /// followed once.
    pub fn evicted(&mut self, pod: &PodView, at: Moment) -> Option<Unmeasured> {
        let mut owners = pod.metadata.owner_references.iter();
        let owner = owners.find(|owner| owner.controller)?;
        if NOT_FOLLOWED.contains(&owner.kind.as_str()) {
            return None;
        }
        self.known
            .retain(|_, evicted| at.now.since(*evicted) < FOLLOWED_FOR);
        if self.known.contains_key(&pod.metadata.uid) {
            return None;
        }
        if self.known.len() >= KNOWN_MAX {
            return Some(Unmeasured::TooMany);
        }
        let _ = self.known.insert(pod.metadata.uid.clone(), at.now);
        let label = |key: &&str| Some(format!("{key}={}", pod.metadata.labels.get(*key)?));
        let Some(labels) = LABELS.iter().find_map(label) else {
            return Some(Unmeasured::Unlabelled);
        };
        let controller = Controller {
            namespace: pod.metadata.namespace.clone(),
            labels,
            uid: owner.uid.clone(),
        };
        if !self.followed.contains_key(&controller) && self.followed.len() >= FOLLOWED_MAX {
            return Some(Unmeasured::TooMany);
        }
        let followed = self.followed.entry(controller).or_insert_with(|| Followed {
            due: Some(at.now + EVERY),
            evictions: Vec::new(),
            used: BTreeSet::new(),
        });
        if followed.evictions.len() >= EVICTIONS_MAX {
            return Some(Unmeasured::TooMany);
        }
        followed.evictions.push(at);
        None
    }

    /// The next list that is due, while this many are under way. It counts as under way from here on.
    pub fn take_due(&mut self, now: Uptime, under_way: usize) -> Option<Controller> {
        if under_way >= LISTS_MAX {
            return None;
        }
        let due = self
            .followed
            .iter_mut()
            .filter(|(_, followed)| followed.due.is_some());
        let (controller, followed) = due.min_by_key(|(_, followed)| followed.due)?;
        let _ = followed.due.take_if(|due| *due <= now)?;
        Some(controller.clone())
    }

    /// When the next list is due, while this many are under way.
    pub fn next_due(&self, under_way: usize) -> Option<Uptime> {
        let due = self.followed.values().filter_map(|followed| followed.due);
        due.min().filter(|_| under_way < LISTS_MAX)
    }

    /// How many evictions are waiting for a replacement.
    pub fn waiting(&self) -> usize {
        self.followed
            .values()
            .map(|followed| followed.evictions.len())
            .sum()
    }

    /// Takes in a list. Returns what became of evictions.
    pub fn listed(&mut self, controller: &Controller, listed: &Listed, at: Moment) -> Vec<Outcome> {
        match listed {
            Listed::Pods(pods) => self.found(controller, pods, at),
            Listed::Failed => self.found(controller, &[], at),
            Listed::TooLong => self.dropped(controller),
        }
    }

    /// Follows this controller no longer.
    fn dropped(&mut self, controller: &Controller) -> Vec<Outcome> {
        let followed = self.followed.remove(controller);
        let evictions = followed.into_iter().flat_map(|followed| followed.evictions);
        evictions
            .map(|_| Outcome::Unmeasured(Unmeasured::TooMany))
            .collect()
    }

    fn found(&mut self, controller: &Controller, pods: &[Candidate], at: Moment) -> Vec<Outcome> {
        let Some(followed) = self.followed.get_mut(controller) else {
            return Vec::new();
        };
        let mut outcomes = Vec::new();
        let mut ready: Vec<Ready> = pods
            .iter()
            .filter_map(|pod| Ready::of(pod, &controller.uid))
            .filter(|pod| !followed.used.contains(pod.uid))
            .collect();
        ready.sort_by_key(|pod| pod.created);
        followed.evictions.retain(|evicted| {
            // The API server's clock has whole seconds here.
            let place = ready
                .iter()
                .position(|pod| pod.created.as_second() >= evicted.wall.as_second());
            let outcome = match place.map(|place| ready.remove(place)) {
                Some(pod) => {
                    let _ = followed.used.insert(pod.uid.to_owned());
                    Outcome::Replaced(pod.took(*evicted, at))
                }
                None if at.now.since(evicted.now) >= FOLLOWED_FOR => Outcome::Unmeasured(Unmeasured::TooLong),
                None => return true,
            };
            outcomes.push(outcome);
            false
        });
        if followed.evictions.is_empty() {
            drop(self.followed.remove(controller));
        } else {
            followed.due = Some(at.now + EVERY);
        }
        outcomes
    }
}

/// A pod that may replace another.
struct Ready<'a> {
    uid: &'a str,
    created: Timestamp,
    /// When it became Ready, by the clock of its kubelet's node.
    since: Option<Timestamp>,
}

impl<'a> Ready<'a> {
    /// The pod, if this controller made it and it is Ready.
    fn of(pod: &'a Candidate, controller: &str) -> Option<Ready<'a>> {
        let mut owners = pod.metadata.owner_references.iter();
        let _ = owners.find(|owner| owner.controller && owner.uid == controller)?;
        let mut conditions = pod.status.conditions.iter();
        let ready = conditions.find(|condition| condition.kind == "Ready" && condition.status == "True")?;
        Some(Ready {
            uid: &pod.metadata.uid,
            created: pod.metadata.creation_timestamp.parse().ok()?,
            since: ready.last_transition_time.parse().ok(),
        })
    }

    /// How long after the eviction it was Ready. What other clocks say counts only within the time that has passed by ours.
    fn took(&self, evicted: Moment, at: Moment) -> Duration {
        let passed = at.now.since(evicted.now);
        let shown = self.since.map(|since| since.duration_since(evicted.wall));
        let shown = shown.map(|shown| Duration::try_from(shown).unwrap_or_default());
        shown.map_or(passed, |shown| shown.min(passed))
    }
}

#[cfg(test)]
mod tests;
