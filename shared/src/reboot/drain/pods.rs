//! The pods of a drain, what is known of each, and when its eviction is due.
//!
//! Pods are told apart by uid: one with the same name is another pod.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::SignedDuration;

use super::returns::{CHANCE_MAX, Returns};
use super::{Cost, Evicted, Options, Progress, Returning, Task, Trouble, pause_after, progress, some};
use crate::backoff::{doubled, jittered};
use crate::reboot::moment::{Moment, Uptime};
use crate::reboot::pod::{self, DaemonSet, PodView};
use crate::watch::Change;

/// The pods on the node.
#[derive(Debug)]
pub(super) struct Pods {
    /// No eviction is sent before this time.
    begin: Uptime,
    skip_wait: Option<SignedDuration>,
    returning: Returning,
    /// Whether the first list of the watch has come.
    is_listed: bool,
    /// The pods by uid, except those that stay for certain.
    known: BTreeMap<String, Known>,
    daemon_sets: BTreeMap<DaemonSet, Looked>,
    returns: Returns,
    /// A pod that can never be evicted, and why, until the cycle is told.
    unevictable: Option<String>,
    /// Until when a pod that has left may still be put back, so that the drain is not over yet.
    settled: Uptime,
    /// How many have left.
    gone: usize,
    cost: Cost,
}

#[derive(Debug)]
struct Known {
    pod: PodView,
    state: State,
    /// How many times its eviction was refused.
    refusals: u32,
    /// How many times this pod and those that it replaces were put back.
    times: u32,
    /// What refused its last eviction, in words.
    refused_by: Option<String>,
    /// Whether an eviction of it was accepted, which is sent again if the pod does not go.
    is_evicted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is of a DaemonSet, and stays unless that is found not to exist.
    OfDaemonSet,
    /// It stays, because its owner has put it back too often.
    Kept,
    /// It is to be evicted from this time on.
    Due(Uptime),
    /// Its eviction is under way.
    Evicting,
    /// It is being deleted. The drain waits for it until this time; `None`: without end.
    Ending(Option<Uptime>),
}

/// What is known of a DaemonSet.
#[derive(Debug, PartialEq, Eq)]
enum Looked {
    /// To be looked up from this time on, after so many failures.
    Due(Uptime, u32),
    /// Being looked up, after so many failures.
    Asking(u32),
    Exists,
    Missing,
}

/// The longest pause before the next eviction, whatever the API server asks for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);
/// The first pause before a pod that was put back too often is evicted again, and the longest.
const RETURN_PAUSE_FIRST: Duration = Duration::from_secs(5);
const RETURN_PAUSE_MAX: Duration = Duration::from_mins(1);
/// How long a drain waits after a pod that tolerates it has left, because it may be put back. The scheduler tries a pod that
/// had no place again after 10 s at the latest
/// (kubernetes/kubernetes: pkg/scheduler/apis/config/v1/defaults.go, `PodMaxBackoffSeconds`).
const SETTLING: Duration = Duration::from_secs(10);
/// How long after an accepted eviction it is sent again, if its pod is not being deleted.
const AGAIN: Duration = Duration::from_secs(30);

impl Known {
    /// Whether it must leave and has not left.
    fn is_left(&self, now: Uptime) -> bool {
        match self.state {
            State::OfDaemonSet | State::Kept => false,
            State::Due(_) | State::Evicting | State::Ending(None) => true,
            State::Ending(Some(end)) => end > now,
        }
    }
}

impl Pods {
    pub(super) fn new(options: &Options, begin: Uptime) -> Pods {
        Pods {
            begin,
            skip_wait: options.skip_wait,
            returning: options.returning,
            is_listed: false,
            known: BTreeMap::new(),
            daemon_sets: BTreeMap::new(),
            returns: Returns::default(),
            unevictable: None,
            settled: Uptime::START,
            gone: 0,
            cost: Cost::default(),
        }
    }

    /// Takes what was counted since this was last called.
    pub(super) fn take_cost(&mut self) -> Cost {
        std::mem::take(&mut self.cost)
    }

    /// Takes in a change, and names the pods that must leave from now on and did not have to before.
    pub(super) fn observe(&mut self, change: Change<PodView>, at: Moment) -> Vec<String> {
        match change {
            Change::Listed(pods) => {
                let is_late = std::mem::replace(&mut self.is_listed, true);
                let there: BTreeSet<&String> = pods.iter().map(|pod| &pod.metadata.uid).collect();
                let left: Vec<String> = self
                    .known
                    .keys()
                    .filter(|uid| !there.contains(uid))
                    .cloned()
                    .collect();
                for uid in left {
                    self.forget(&uid, at.now);
                }
                pods.into_iter()
                    .filter_map(|pod| self.present(pod, is_late, at))
                    .collect()
            }
            Change::Present(pod) => self.present(pod, true, at).into_iter().collect(),
            Change::Gone(pod) => {
                self.forget(&pod.metadata.uid, at.now);
                Vec::new()
            }
            // The list that follows shows what is there.
            Change::Gap => Vec::new(),
        }
    }

    /// Takes in that this pod has left.
    fn forget(&mut self, uid: &str, now: Uptime) {
        if let Some(known) = self.known.remove(uid)
            && !matches!(known.state, State::OfDaemonSet | State::Kept)
        {
            self.returns.note_left(&known.pod, known.times);
            if pod::controller(&known.pod).is_some() && pod::tolerates_drain(&known.pod) {
                self.settled = now + SETTLING;
            }
            self.gone += 1;
        }
    }

    /// Takes in a pod that is there, and names it if it must leave from now on and did not have to before.
    ///
    /// `is_late`: if the pod is new, it has come since the drain began.
    fn present(&mut self, pod: PodView, is_late: bool, at: Moment) -> Option<String> {
        let uid = pod.metadata.uid.clone();
        let stays = match pod::classify(&pod) {
            pod::Fate::Stay => {
                drop(self.known.remove(&uid));
                return None;
            }
            pod::Fate::Evict => false,
            pod::Fate::DaemonSet(name) => {
                let looked = self.daemon_sets.entry(name).or_insert(Looked::Due(at.now, 0));
                *looked != Looked::Missing
            }
        };
        let known = self.known.get(&uid);
        let before = known.map(|known| known.state);
        let times = match known {
            Some(known) => known.times,
            None if is_late => self.returns.times(&pod),
            None => 0,
        };
        let mut state = self.state_of(&pod, stays, before, at);
        let mut refused_by = None;
        if state != State::OfDaemonSet && self.is_kept(&pod, times) {
            self.returns.keep(&pod);
            state = State::Kept;
        } else if matches!(state, State::Ending(_)) {
            self.returns.note_left(&pod, times);
        // Its owner may put it back for ever: it is evicted ever more slowly, and named as what blocks the drain.
        } else if let (State::Due(due), None, Some(over)) = (state, before, times.checked_sub(CHANCE_MAX + 1))
        {
            let pause = doubled(RETURN_PAUSE_FIRST, over, RETURN_PAUSE_MAX);
            state = State::Due(due.max(at.now + pause));
            refused_by = pod::controller(&pod).map(|controller| {
                format!("{controller}, which puts its pods back on this node ({times} times)")
            });
        }
        let known = match self.known.entry(uid) {
            Entry::Occupied(entry) => {
                let known = entry.into_mut();
                (known.pod, known.state) = (pod, state);
                known
            }
            Entry::Vacant(entry) => entry.insert(Known {
                pod,
                state,
                refusals: 0,
                times,
                refused_by,
                is_evicted: false,
            }),
        };
        let is_new = before.is_none_or(|before| before == State::OfDaemonSet);
        (is_new && known.is_left(at.now)).then(|| pod::name(&known.pod))
    }

    /// Whether the pod stays because its owner wants it here: it was put back each time that it was evicted.
    fn is_kept(&self, pod: &PodView, times: u32) -> bool {
        self.returning == Returning::Leave
            && (pod::is_kept(pod, self.returns.kept()) || (times >= CHANCE_MAX && pod::tolerates_drain(pod)))
    }

    /// A pod that can never be evicted, and why. Returned once.
    pub(super) fn take_unevictable(&mut self) -> Option<String> {
        self.unevictable.take()
    }

    /// The controllers whose pods stay.
    pub(super) fn kept(&self) -> &BTreeSet<String> {
        self.returns.kept()
    }

    /// The state of a pod that is there. `before` is its state until now.
    fn state_of(&self, pod: &PodView, stays: bool, before: Option<State>, at: Moment) -> State {
        if stays {
            return State::OfDaemonSet;
        }
        if pod.metadata.deletion_timestamp.is_some() {
            let patience = pod::patience(pod, self.skip_wait, at.wall);
            let patience = patience.and_then(|patience| Duration::try_from(patience).ok());
            return State::Ending(patience.map(|patience| at.now + patience));
        }
        match before {
            Some(state @ (State::Due(_) | State::Evicting)) => state,
            _ => State::Due(at.now.max(self.begin)),
        }
    }

    /// Whether nothing is left to evict, to wait for or to look up.
    pub(super) fn is_empty(&self, now: Uptime) -> bool {
        let is_open = |looked: &Looked| matches!(looked, Looked::Due(..) | Looked::Asking(_));
        self.is_listed
            && self.settled <= now
            && !self.known.values().any(|known| known.is_left(now))
            && !self.daemon_sets.values().any(is_open)
    }

    /// Up to `max` look-ups of `DaemonSets` that are due. They count as under way from here on.
    pub(super) fn take_look_ups(&mut self, now: Uptime, max: usize) -> Vec<Task> {
        let mut tasks = Vec::new();
        for (name, looked) in &mut self.daemon_sets {
            if let Looked::Due(at, failures) = *looked
                && at <= now
                && tasks.len() < max
            {
                *looked = Looked::Asking(failures);
                tasks.push(Task::LookUp(name.clone()));
            }
        }
        tasks
    }

    /// Up to `max` evictions that are due. They count as under way from here on.
    pub(super) fn take_evictions(&mut self, now: Uptime, max: usize, by_priority: bool) -> Vec<Task> {
        let wave = by_priority.then(|| self.lowest_priority(now)).flatten();
        let due = self
            .known
            .values_mut()
            .filter(|known| wave.is_none_or(|wave| known.pod.spec.priority == wave))
            .filter(|known| matches!(known.state, State::Due(at) if at <= now))
            .take(max);
        due.map(|known| {
            known.state = State::Evicting;
            Task::Evict(known.pod.clone())
        })
        .collect()
    }

    /// The lowest priority of the pods that must leave and have not left.
    fn lowest_priority(&self, now: Uptime) -> Option<i32> {
        let left = self.known.values().filter(|known| known.is_left(now));
        left.map(|known| known.pod.spec.priority).min()
    }

    /// When the next look-up of a DaemonSet is due.
    pub(super) fn next_look_up(&self) -> Option<Uptime> {
        let due = self.daemon_sets.values().filter_map(|looked| match looked {
            Looked::Due(at, _) => Some(*at),
            _ => None,
        });
        due.min()
    }

    /// When the next eviction is due. With `--drain-by-priority` only pods of the lowest priority count.
    pub(super) fn next_eviction(&self, now: Uptime, by_priority: bool) -> Option<Uptime> {
        let wave = by_priority.then(|| self.lowest_priority(now)).flatten();
        let due = self
            .known
            .values()
            .filter(|known| wave.is_none_or(|wave| known.pod.spec.priority == wave))
            .filter_map(|known| match known.state {
                State::Due(at) => Some(at),
                _ => None,
            });
        due.min()
    }

    /// When the next pod is no longer waited for, be it to go or to come back.
    pub(super) fn next_given_up(&self, now: Uptime) -> Option<Uptime> {
        let ends = self.known.values().filter_map(|known| match known.state {
            State::Ending(Some(end)) if end > now => Some(end),
            _ => None,
        });
        ends.chain(Some(self.settled).filter(|settled| *settled > now))
            .min()
    }

    /// Takes in what became of an eviction, and returns a refusal that is news.
    pub(super) fn note_eviction(
        &mut self,
        uid: &str,
        evicted: Evicted,
        now: Uptime,
        random: u64,
    ) -> Option<Trouble> {
        let Some(known) = self.known.get_mut(uid) else {
            // The watch was faster than the answer: the pod has left.
            self.cost.evicted += u64::from(evicted == Evicted::Accepted);
            return None;
        };
        let (budget, why, asked) = match evicted {
            Evicted::Accepted => {
                let is_first = !std::mem::replace(&mut known.is_evicted, true);
                self.cost.evicted += u64::from(is_first);
                known.refused_by = None;
                if known.state == State::Evicting {
                    known.state = State::Due(now + AGAIN);
                }
                return None;
            }
            Evicted::Blocked {
                budget,
                why,
                retry_after,
            } => {
                self.cost.refused += 1;
                let budget = budget.map(|name| format!("{}/{name}", known.pod.metadata.namespace));
                (budget, why, retry_after)
            }
            Evicted::Failed(why) => (None, why, None),
            Evicted::Never(why) => {
                self.cost.refused += 1;
                self.unevictable = Some(format!("{}: {why}", pod::name(&known.pod)));
                (None, why, None)
            }
        };
        let pause = asked
            .unwrap_or_else(|| pause_after(known.refusals))
            .min(RETRY_AFTER_MAX);
        if known.state == State::Evicting {
            known.state = State::Due(now + jittered(pause, random));
        }
        known.refusals = known.refusals.saturating_add(1);
        let by = budget
            .as_ref()
            .map_or_else(|| why.clone(), |budget| format!("PodDisruptionBudget {budget}"));
        let is_news = known.refused_by.as_ref() != Some(&by);
        known.refused_by = Some(by);
        is_news.then(|| Trouble {
            of: pod::name(&known.pod),
            budget,
            why,
        })
    }

    /// Takes in whether a DaemonSet exists. Returns the pods that must leave because it does not, and a failure that is news.
    pub(super) fn note_look_up(
        &mut self,
        name: &DaemonSet,
        result: Result<bool, String>,
        at: Moment,
        random: u64,
    ) -> (Vec<String>, Option<Trouble>) {
        let Some(looked) = self.daemon_sets.get_mut(name) else {
            return (Vec::new(), None);
        };
        let failures = match looked {
            Looked::Due(_, failures) | Looked::Asking(failures) => *failures,
            Looked::Exists | Looked::Missing => 0,
        };
        match result {
            Ok(true) => *looked = Looked::Exists,
            Ok(false) => {
                *looked = Looked::Missing;
                return (self.orphan(name, at), None);
            }
            Err(why) => {
                let pause = jittered(pause_after(failures), random);
                *looked = Looked::Due(at.now + pause, failures.saturating_add(1));
                let trouble = (failures == 0).then(|| Trouble {
                    of: format!("DaemonSet {}/{}", name.namespace, name.name),
                    budget: None,
                    why,
                });
                return (Vec::new(), trouble);
            }
        }
        (Vec::new(), None)
    }

    /// Makes the pods of a DaemonSet leave that does not exist: nobody would put them back. Returns their names.
    fn orphan(&mut self, name: &DaemonSet, at: Moment) -> Vec<String> {
        let is_its = |known: &&Known| {
            known.state == State::OfDaemonSet
                && pod::classify(&known.pod) == pod::Fate::DaemonSet(name.clone())
        };
        let pods: Vec<PodView> = self
            .known
            .values()
            .filter(is_its)
            .map(|known| known.pod.clone())
            .collect();
        pods.into_iter()
            .filter_map(|pod| self.present(pod, true, at))
            .collect()
    }

    /// How many pods must leave and have not left; `None` before the first list.
    pub(super) fn left(&self, now: Uptime) -> Option<usize> {
        let left = || self.known.values().filter(|known| known.is_left(now)).count();
        self.is_listed.then(left)
    }

    /// How far the drain has come; `None` before the first list.
    pub(super) fn progress(&self, attached: &[String], now: Uptime) -> Option<Progress> {
        if !self.is_listed {
            return None;
        }
        let left = || self.known.values().filter(|known| known.is_left(now));
        let is_ending = |known: &&Known| matches!(known.state, State::Ending(_));
        let unknown = self.daemon_sets.iter().filter_map(|(name, looked)| match looked {
            Looked::Due(_, 1..) | Looked::Asking(1..) => Some(format!(
                "DaemonSet {}/{} cannot be looked up",
                name.namespace, name.name
            )),
            _ => None,
        });
        let kept = self.known.values().filter(|known| known.state == State::Kept);
        let blockers = left().filter_map(|known| known.refused_by.clone()).chain(unknown);
        Some(Progress {
            gone: self.gone,
            left: left().count(),
            ending: left().filter(is_ending).count(),
            pods: some(left().map(|known| pod::name(&known.pod)), progress::NAMED_MAX),
            blockers: some(blockers, progress::NAMED_MAX),
            kept: some(kept.map(|known| pod::name(&known.pod)), progress::NAMED_MAX),
            attached: attached.iter().take(progress::NAMED_MAX).cloned().collect(),
        })
    }
}
