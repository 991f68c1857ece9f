//! The pods that must leave: which there are, and when each eviction is due.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cordonhold_shared::pod::{self, PodView};
use tokio::time::Instant;

use crate::api::{Evicted, pod_name};
use crate::timers::jittered;
use crate::watch::Change;

/// The pods that must leave, by uid: a namesake is another pod.
#[derive(Debug, Default)]
pub(super) struct Pods {
    is_listed: bool,
    leaving: BTreeMap<String, Leaving>,
}

/// What is left to do, in words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) left: usize,
    pub(super) ending: usize,
    pub(super) named: Vec<String>,
    pub(super) blockers: Vec<String>,
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
    Due(Instant),
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

impl Pods {
    /// Takes a change in, and names the pods that were not there before.
    pub(super) fn observe(&mut self, change: Change<PodView>, now: Instant) -> Vec<String> {
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

    fn present(&mut self, pod: PodView, now: Instant) -> Option<String> {
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
        let name = pod_name(&pod);
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

    pub(super) fn is_listed_and_empty(&self) -> bool {
        self.is_listed && self.leaving.is_empty()
    }

    /// Up to `max` pods whose eviction is due: they are being evicted from here on.
    pub(super) fn take_due(&mut self, now: Instant, max: usize) -> Vec<PodView> {
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
    pub(super) fn next_due(&self) -> Option<Instant> {
        let times = self.leaving.values().filter_map(|leaving| match leaving.state {
            State::Due(at) => Some(at),
            State::Evicting | State::Ending => None,
        });
        times.min()
    }

    /// Notes what became of an eviction; whether a refusal is worth telling.
    pub(super) fn note(&mut self, uid: &str, evicted: &Evicted, now: Instant) -> bool {
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
            leaving.state = State::Due(now + jittered(pause));
        }
        leaving.refusals = leaving.refusals.saturating_add(1);
        leaving.refused_by.replace(by.clone()).as_ref() != Some(by)
    }

    /// `namespace/name`, or the uid of a pod that is gone.
    pub(super) fn name(&self, uid: &str) -> String {
        self.leaving
            .get(uid)
            .map_or_else(|| uid.to_owned(), |leaving| pod_name(&leaving.pod))
    }

    /// What is left, at most `max` names of each kind.
    pub(super) fn progress(&self, max: usize) -> Progress {
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
                .map(|leaving| pod_name(&leaving.pod))
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
