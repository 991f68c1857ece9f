//! One drain of the node: which pods are left, when each eviction is due, and what the cycle is told.
//!
//! Clock readings and random numbers are arguments.
//!
//! Not here: which pods a drain evicts ([`crate::reboot::pod`]) and how a [`Task`] is carried out.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::SignedDuration;

use crate::backoff::{doubled, jittered};
use crate::reboot::cycle::{Count, EvictionRefused};
use crate::reboot::moment::{Moment, Uptime};
use crate::reboot::pod::{DaemonSet, PodView};
use crate::watch::Change;

mod pods;
pub(crate) mod progress;
mod returns;

use pods::Pods;
pub use progress::{Progress, pods_left};

/// The default of `--max-parallel-evictions`: how many evictions are sent at once.
pub const EVICTIONS_DEFAULT: usize = 20;

/// What an operator decided about drains.
#[derive(Clone, Debug)]
pub struct Options {
    /// `--max-parallel-evictions`; at least 1.
    pub parallel: usize,
    /// `--drain-by-priority`: evict the pods of the lowest priority first, those of the next when they are gone.
    pub by_priority: bool,
    /// `--skip-wait-for-delete-timeout`.
    pub skip_wait: Option<SignedDuration>,
    /// `--returning-pods`.
    pub returning: Returning,
    /// `--volume-detach-timeout`: how long to wait for volumes to detach once the pods are gone. `None`: do not wait.
    pub volumes: Option<Duration>,
}

impl Default for Options {
    /// The defaults of the flags.
    fn default() -> Options {
        Options {
            parallel: EVICTIONS_DEFAULT,
            by_priority: false,
            skip_wait: None,
            returning: Returning::Leave,
            volumes: None,
        }
    }
}

/// What to do with a pod that tolerates cordon and taint, and that its owner puts back on the node each time it is evicted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Returning {
    /// Leave it once it was put back three times: its owner wants it there, as a DaemonSet does.
    #[default]
    Leave,
    /// Evict it again, ever more slowly, and wait for it.
    Wait,
}

/// Something that a drain wants carried out. The result goes to [`Drain::note`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly every task is an eviction")]
pub enum Task {
    /// Evict this very pod, not a namesake.
    Evict(PodView),
    /// Find out whether this DaemonSet exists.
    LookUp(DaemonSet),
    /// List the volumes that are attached to the node, except those of pods that stay.
    ListVolumes,
}

/// What became of a [`Task`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// What became of the eviction of the pod with this uid.
    Evicted(String, Evicted),
    /// Whether this DaemonSet exists, or why that could not be found out.
    LookedUp(DaemonSet, Result<bool, String>),
    /// The attached volumes by name, or why they could not be listed.
    Volumes(Result<Vec<String>, String>),
}

/// What became of an eviction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evicted {
    /// The pod is on its way out, or gone already.
    Accepted,
    /// It was refused for now, by a budget or by something else.
    Blocked {
        /// The name of the `PodDisruptionBudget`, in the pod's namespace.
        budget: Option<String>,
        /// What the API server says.
        why: String,
        /// How long to wait before the next try, if the API server says.
        retry_after: Option<Duration>,
    },
    /// The request failed, for this reason. It is sent again.
    Failed(String),
    /// It will be refused until somebody changes what refuses it, for this reason.
    Never(String),
}

impl Evicted {
    /// What it counts in the metrics.
    pub fn count(&self) -> Count {
        match self {
            Evicted::Accepted => Count::Eviction,
            Evicted::Blocked { budget: Some(_), .. } => Count::EvictionRefused(EvictionRefused::Budget),
            Evicted::Blocked { budget: None, .. } | Evicted::Failed(_) | Evicted::Never(_) => {
                Count::EvictionRefused(EvictionRefused::Other)
            }
        }
    }
}

/// News of a drain for the cycle.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DrainNews {
    /// How far the drain has come. Told at a bounded rate.
    Progress(Progress),
    /// Nothing is left to evict. These controllers (`kind namespace/name`) put their pods back too often: those stay.
    Drained(BTreeSet<String>),
    /// A pod can never be evicted, for this reason.
    Unevictable(String),
    /// A pod to evict appeared after [`DrainNews::Drained`], as `namespace/name`.
    PodArrived(String),
}

/// Something that went wrong in a drain and that is worth a log line, because it is not what went wrong the last time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// `namespace/name` of the pod or the DaemonSet.
    pub of: String,
    /// `namespace/name` of the `PodDisruptionBudget` that blocks.
    pub budget: Option<String>,
    /// What went wrong.
    pub why: String,
}

/// What a drain costs those whose pods it evicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// How many pods were evicted.
    pub evicted: u64,
    /// How many evictions were refused, by a budget or by something else.
    pub refused: u64,
}

/// One drain of one node.
#[derive(Debug)]
pub struct Drain {
    options: Options,
    pods: Pods,
    /// Pods that appeared after [`DrainNews::Drained`], and that the cycle was not told of yet.
    arrived: Vec<String>,
    volumes: Option<Volumes>,
    /// Whether volumes are being listed, for this wait or for one that is over.
    lists_volumes: bool,
    progress: progress::Teller,
    /// Whether the cycle was told [`DrainNews::Drained`].
    is_over: bool,
}

/// The wait for volumes, once the pods are gone.
#[derive(Debug)]
struct Volumes {
    /// When the wait is given up.
    end: Uptime,
    /// When the volumes are listed next; `None` while a list for this wait is under way.
    due: Option<Uptime>,
    looks: u32,
    has_failed: bool,
    attached: Vec<String>,
    is_done: bool,
}

/// The first pause after a refused eviction, and the longest. kubectl's is always 5 s (k8s.io/kubectl: pkg/drain/drain.go).
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(5);

impl Drain {
    /// A drain that begins now, and evicts nothing before this delay is over.
    pub fn new(options: Options, delay: Duration, now: Uptime) -> Drain {
        Drain {
            pods: Pods::new(&options, now + delay),
            options,
            arrived: Vec::new(),
            volumes: None,
            lists_volumes: false,
            progress: progress::Teller::new(now),
            is_over: false,
        }
    }

    /// Takes in a change in the watch of the pods.
    pub fn observe(&mut self, change: Change<PodView>, at: Moment) {
        let arrived = self.pods.observe(change, at);
        self.note_arrivals(arrived);
    }

    /// Takes in what became of a task, and returns what went wrong, if that is news. `random` spreads the pause that follows.
    pub fn note(&mut self, done: Done, at: Moment, random: u64) -> Option<Trouble> {
        match done {
            Done::Evicted(uid, evicted) => self.pods.note_eviction(&uid, evicted, at.now, random),
            Done::LookedUp(daemon_set, result) => {
                let (arrived, trouble) = self.pods.note_look_up(&daemon_set, result, at, random);
                self.note_arrivals(arrived);
                trouble
            }
            Done::Volumes(result) => self.note_volumes(result, at.now, random),
        }
    }

    fn note_arrivals(&mut self, arrived: Vec<String>) {
        if self.is_over {
            self.arrived.extend(arrived);
        }
    }

    fn note_volumes(
        &mut self,
        result: Result<Vec<String>, String>,
        now: Uptime,
        random: u64,
    ) -> Option<Trouble> {
        self.lists_volumes = false;
        let volumes = self.volumes.as_mut()?;
        // Volumes that were listed before a pod came late say nothing of its volumes.
        if volumes.due.is_some() {
            return None;
        }
        let is_news = result.is_err() && !volumes.has_failed;
        volumes.has_failed = result.is_err();
        volumes.due = Some(now + jittered(pause_after(volumes.looks), random));
        volumes.looks = volumes.looks.saturating_add(1);
        match result {
            Ok(attached) => {
                volumes.is_done = attached.is_empty();
                volumes.attached = attached;
                None
            }
            Err(why) => is_news.then(|| Trouble {
                of: "the node's volumes".to_owned(),
                budget: None,
                why,
            }),
        }
    }

    /// The news for the cycle at this time.
    pub fn tell(&mut self, now: Uptime) -> Vec<DrainNews> {
        if self.is_over {
            return self.arrived.drain(..).map(DrainNews::PodArrived).collect();
        }
        let mut told = Vec::new();
        if self.is_done(now) {
            self.is_over = true;
            // What stays on the node is told before the end of the drain, after which no progress is told.
            let stays = self
                .progress_now(now)
                .filter(|progress| !progress.attached.is_empty() || !progress.kept.is_empty());
            told.extend(stays.map(DrainNews::Progress));
            told.push(DrainNews::Drained(self.pods.kept().clone()));
        } else if let Some(why) = self.pods.take_unevictable() {
            told.push(DrainNews::Unevictable(why));
        } else if self.progress.is_due(now) {
            let progress = self.progress_now(now);
            told.extend(self.progress.news(progress, now).map(DrainNews::Progress));
        }
        told
    }

    /// Whether the pods are gone, and the volumes are detached or their time is up.
    fn is_done(&mut self, now: Uptime) -> bool {
        if !self.pods.is_empty(now) {
            // Pods that came late begin the wait anew.
            self.volumes = None;
            return false;
        }
        let Some(bound) = self.options.volumes else {
            return true;
        };
        let volumes = self.volumes.get_or_insert_with(|| Volumes {
            end: now + bound,
            due: Some(now),
            looks: 0,
            has_failed: false,
            attached: Vec::new(),
            is_done: false,
        });
        volumes.is_done || volumes.end <= now
    }

    fn progress_now(&self, now: Uptime) -> Option<Progress> {
        let attached = self.volumes.as_ref().map(|volumes| volumes.attached.as_slice());
        self.pods.progress(attached.unwrap_or_default(), now)
    }

    /// Takes what the drain has cost since this was last called.
    pub fn take_cost(&mut self) -> Cost {
        self.pods.take_cost()
    }

    /// How many pods must leave and have not left; `None` before the first list of pods.
    pub fn left(&self, now: Uptime) -> Option<usize> {
        self.pods.left(now)
    }

    /// Whether the cycle was told that nothing is left to evict.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// The tasks that are due now, while this many are under way. They count as under way from here on.
    pub fn take_due(&mut self, now: Uptime, under_way: usize) -> Vec<Task> {
        let room = self.options.parallel.max(1).saturating_sub(under_way);
        let mut tasks = self.pods.take_look_ups(now, room);
        if self.is_over {
            return tasks;
        }
        let evictions =
            self.pods
                .take_evictions(now, room.saturating_sub(tasks.len()), self.options.by_priority);
        tasks.extend(evictions);
        if let Some(volumes) = &mut self.volumes
            && !self.lists_volumes
            && volumes.due.is_some_and(|due| due <= now)
        {
            volumes.due = None;
            self.lists_volumes = true;
            tasks.push(Task::ListVolumes);
        }
        tasks
    }

    /// When a task or news is due next, while this many tasks are under way.
    pub fn next_due(&self, now: Uptime, under_way: usize) -> Option<Uptime> {
        let has_room = under_way < self.options.parallel.max(1);
        let look_up = self.pods.next_look_up().filter(|_| has_room);
        if self.is_over {
            return look_up;
        }
        let eviction = self
            .pods
            .next_eviction(now, self.options.by_priority)
            .filter(|_| has_room);
        let volumes = self.volumes.as_ref();
        let times = [
            look_up,
            eviction,
            self.pods.next_given_up(now),
            volumes
                .and_then(|volumes| volumes.due)
                .filter(|_| !self.lists_volumes),
            volumes.map(|volumes| volumes.end),
            Some(self.progress.next()),
        ];
        times.into_iter().flatten().min()
    }
}

fn pause_after(failures: u32) -> Duration {
    doubled(PAUSE_FIRST, failures, PAUSE_MAX)
}

/// Up to so many of these names, each once.
fn some(names: impl IntoIterator<Item = String>, max: usize) -> Vec<String> {
    let unique: BTreeSet<String> = names.into_iter().collect();
    unique.into_iter().take(max).collect()
}

#[cfg(test)]
mod tests;
