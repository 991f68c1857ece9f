//! The bookkeeping of a drain: which pods must leave, when each eviction is due, and what the cycle is told.
//!
//! Times are since some start, and chance is passed in. Not here: which pods a drain evicts ([`crate::pod`])
//! and how an eviction is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::cycle::Input;
use crate::pod::{self, PodView};
use crate::timers::jittered;
use crate::watch::Change;

/// How many evictions are sent at once.
pub const EVICTIONS_MAX: usize = 20;

/// One drain of one node.
#[derive(Debug, Default)]
pub struct Drain {
    pods: Pods,
    /// Whether [`Input::Drained`] was said.
    is_over: bool,
}

/// What became of an eviction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evicted {
    /// The pod is on its way out, or gone already.
    Accepted,
    /// A budget, or somebody else, says: not now.
    Blocked {
        by: String,
        retry_after: Option<Duration>,
    },
    Failed(String),
}

/// The pods that must leave, by uid: a namesake is another pod.
#[derive(Debug, Default)]
struct Pods {
    is_listed: bool,
    leaving: BTreeMap<String, Leaving>,
}

/// What is left to do, in words.
#[derive(Debug, PartialEq, Eq)]
pub struct Progress {
    pub left: usize,
    pub ending: usize,
    pub named: Vec<String>,
    pub blockers: Vec<String>,
}

#[derive(Debug)]
struct Leaving {
    pod: PodView,
    state: State,
    /// How often its eviction was refused.
    refusals: u32,
    /// Who refused last.
    refused_by: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// To be evicted from this time on.
    Due(Duration),
    Evicting,
    /// On its way out.
    Ending,
}

/// The first pause after a refused eviction, and the longest. kubectl's is always 5 s (k8s.io/kubectl: pkg/drain/drain.go).
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The longest pause that the API server may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);
/// An accepted eviction that did not end its pod is sent again.
const AGAIN: Duration = Duration::from_secs(30);

impl Drain {
    /// What the cycle is told of this change.
    pub fn observe(&mut self, change: Change<PodView>, now: Duration) -> Vec<Input> {
        let arrived = self.pods.observe(change, now);
        if self.is_over {
            return arrived.into_iter().map(Input::PodArrived).collect();
        }
        if !self.pods.is_listed_and_empty() {
            return Vec::new();
        }
        self.is_over = true;
        vec![Input::Drained]
    }

    /// Whether the cycle was told that nothing is left to evict.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// The pods to evict now, while this many evictions are under way.
    pub fn take_due(&mut self, now: Duration, under_way: usize) -> Vec<PodView> {
        if self.is_over {
            return Vec::new();
        }
        self.pods.take_due(now, EVICTIONS_MAX.saturating_sub(under_way))
    }

    /// When the next eviction is due, while this many are under way.
    pub fn next_due(&self, under_way: usize) -> Option<Duration> {
        self.pods
            .next_due()
            .filter(|_| !self.is_over && under_way < EVICTIONS_MAX)
    }

    /// Notes what became of an eviction; whether a refusal is worth telling. `random` spreads the pause that follows.
    pub fn note(&mut self, uid: &str, evicted: &Evicted, now: Duration, random: u64) -> bool {
        self.pods.note(uid, evicted, now, random)
    }

    /// `namespace/name`, or the uid of a pod that is gone.
    pub fn name(&self, uid: &str) -> String {
        self.pods.name(uid)
    }

    /// What is left, at most `max` names of each kind.
    pub fn progress(&self, max: usize) -> Progress {
        self.pods.progress(max)
    }
}

impl Pods {
    /// Takes a change in, and names the pods that were not there before.
    fn observe(&mut self, change: Change<PodView>, now: Duration) -> Vec<String> {
        match change {
            Change::Listed(pods) => {
                self.is_listed = true;
                let there: BTreeSet<&String> = pods.iter().map(|pod| &pod.metadata.uid).collect();
                self.leaving.retain(|uid, _| there.contains(uid));
                pods.into_iter()
                    .filter_map(|pod| self.present(pod, now))
                    .collect()
            }
            Change::Present(pod) => self.present(pod, now).into_iter().collect(),
            Change::Gone(pod) => {
                let _ = self.leaving.remove(&pod.metadata.uid);
                Vec::new()
            }
            // The list that follows tells what is there.
            Change::Gap => Vec::new(),
        }
    }

    fn present(&mut self, pod: PodView, now: Duration) -> Option<String> {
        let uid = pod.metadata.uid.clone();
        if pod::classify(&pod) != pod::Drain::Evict {
            let _ = self.leaving.remove(&uid);
            return None;
        }
        let is_ending = pod.metadata.deletion_timestamp.is_some();
        if let Some(known) = self.leaving.get_mut(&uid) {
            if is_ending {
                known.state = State::Ending;
            }
            known.pod = pod;
            return None;
        }
        let state = if is_ending { State::Ending } else { State::Due(now) };
        let name = pod::name(&pod);
        let _ = self.leaving.insert(
            uid,
            Leaving {
                pod,
                state,
                refusals: 0,
                refused_by: None,
            },
        );
        Some(name)
    }

    fn is_listed_and_empty(&self) -> bool {
        self.is_listed && self.leaving.is_empty()
    }

    /// Up to `max` pods whose eviction is due: they are being evicted from here on.
    fn take_due(&mut self, now: Duration, max: usize) -> Vec<PodView> {
        let is_due = |leaving: &Leaving| matches!(leaving.state, State::Due(at) if at <= now);
        let due = self
            .leaving
            .values_mut()
            .filter(|leaving| is_due(leaving))
            .take(max);
        due.map(|leaving| {
            leaving.state = State::Evicting;
            leaving.pod.clone()
        })
        .collect()
    }

    /// When the next eviction is due.
    fn next_due(&self) -> Option<Duration> {
        let times = self.leaving.values().filter_map(|leaving| match leaving.state {
            State::Due(at) => Some(at),
            State::Evicting | State::Ending => None,
        });
        times.min()
    }

    /// Notes what became of an eviction; whether a refusal is worth telling.
    fn note(&mut self, uid: &str, evicted: &Evicted, now: Duration, random: u64) -> bool {
        let Some(leaving) = self.leaving.get_mut(uid) else {
            return false;
        };
        let (by, asked) = match evicted {
            Evicted::Accepted => {
                leaving.refused_by = None;
                if leaving.state == State::Evicting {
                    leaving.state = State::Due(now + AGAIN);
                }
                return false;
            }
            Evicted::Blocked { by, retry_after } => (by, *retry_after),
            Evicted::Failed(why) => (why, None),
        };
        let pause = asked
            .unwrap_or_else(|| pause_after(leaving.refusals))
            .min(RETRY_AFTER_MAX);
        if leaving.state == State::Evicting {
            leaving.state = State::Due(now + jittered(pause, random));
        }
        leaving.refusals = leaving.refusals.saturating_add(1);
        leaving.refused_by.replace(by.clone()).as_ref() != Some(by)
    }

    /// `namespace/name`, or the uid of a pod that is gone.
    fn name(&self, uid: &str) -> String {
        self.leaving
            .get(uid)
            .map_or_else(|| uid.to_owned(), |leaving| pod::name(&leaving.pod))
    }

    /// What is left, at most `max` names of each kind.
    fn progress(&self, max: usize) -> Progress {
        let blockers: BTreeSet<&String> = self
            .leaving
            .values()
            .filter_map(|leaving| leaving.refused_by.as_ref())
            .collect();
        Progress {
            left: self.leaving.len(),
            ending: self
                .leaving
                .values()
                .filter(|leaving| leaving.state == State::Ending)
                .count(),
            named: self
                .leaving
                .values()
                .take(max)
                .map(|leaving| pod::name(&leaving.pod))
                .collect(),
            blockers: blockers.into_iter().take(max).cloned().collect(),
        }
    }
}

fn pause_after(refusals: u32) -> Duration {
    PAUSE_FIRST
        .saturating_mul(2_u32.saturating_pow(refusals))
        .min(PAUSE_MAX)
}

#[cfg(test)]
mod tests;
