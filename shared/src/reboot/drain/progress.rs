//! How far a drain has come, as text of bounded length, and when that is reported.
//!
//! Not here: the pods that are counted ([`super::pods`]).

use std::fmt;
use std::time::Duration;

use crate::quote::one_line;
use crate::reboot::moment::Uptime;

/// How far a drain has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Progress {
    /// How many pods have left.
    pub gone: usize,
    /// How many pods must leave and have not left.
    pub left: usize,
    /// How many of those are being deleted.
    pub ending: usize,
    /// Some of the pods that have not left, as `namespace/name`.
    pub pods: Vec<String>,
    /// What keeps them there: budgets by name, anything else in its own words.
    pub blockers: Vec<String>,
    /// Some of the pods that stay because their owner put them back each time.
    pub kept: Vec<String>,
    /// Some of the volumes that are waited for.
    pub attached: Vec<String>,
}

/// How many pods, blockers and volumes are named at most.
pub(super) const NAMED_MAX: usize = 5;
/// How much of what a blocker says is repeated, at most, in characters.
const WORDS_MAX: usize = 200;
/// When progress is first reported. A drain that is over earlier reports none.
const FIRST: Duration = Duration::from_secs(5);
/// Shortest time between two reports of progress, because each costs a write of the Node.
const EVERY: Duration = Duration::from_secs(15);
/// After this time progress is reported again although it has not changed.
const REMINDER: Duration = Duration::from_mins(5);

impl Progress {
    /// Whether anything keeps pods or volumes on the node.
    pub fn is_blocked(&self) -> bool {
        !self.blockers.is_empty() || !self.attached.is_empty()
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} gone, {} left", self.gone, self.left)?;
        if self.ending > 0 {
            write!(f, " ({} ending)", self.ending)?;
        }
        for (what, names) in [
            ("blocked by", &self.blockers),
            ("waiting for pods", &self.pods),
            ("waiting for volumes", &self.attached),
            ("staying because their owner puts them back", &self.kept),
        ] {
            if !names.is_empty() {
                let names: Vec<String> = names.iter().map(|name| one_line(name, WORDS_MAX)).collect();
                write!(f, "; {what} {}", names.join(", "))?;
            }
        }
        Ok(())
    }
}

/// How many pods are gone and how many are left, by the text of a progress.
pub fn pods_left(text: &str) -> Option<(u64, u64)> {
    let (gone, rest) = text.split_once(" gone, ")?;
    let (left, _) = rest.split_once(" left")?;
    Some((gone.parse().ok()?, left.parse().ok()?))
}

/// Decides when progress is told.
#[derive(Debug)]
pub(super) struct Teller {
    next: Uptime,
    /// What was told last, and when.
    told: Option<(Progress, Uptime)>,
}

impl Teller {
    pub(super) fn new(now: Uptime) -> Teller {
        Teller {
            next: now + FIRST,
            told: None,
        }
    }

    pub(super) fn next(&self) -> Uptime {
        self.next
    }

    pub(super) fn is_due(&self, now: Uptime) -> bool {
        self.next <= now
    }

    /// Returns this progress if it is to be told now, and looks at it again after a pause.
    pub(super) fn news(&mut self, progress: Option<Progress>, now: Uptime) -> Option<Progress> {
        self.next = now + EVERY;
        let progress = progress?;
        let is_old = |(told, at): &(Progress, Uptime)| *told == progress && now < *at + REMINDER;
        if self.told.as_ref().is_some_and(is_old) {
            return None;
        }
        self.told = Some((progress.clone(), now));
        Some(progress)
    }
}
