//! The silences of Alertmanager for a node in a reboot: what there should be, and what to do next from what there is.
//!
//! A silence is a lease, as the hold's `until` is: it ends a short time ahead, is extended while the hold lives, and is cut when the cordon is
//! given back. If the agent dies, it ends by itself. During the reboot nobody can extend it, so from the seal on it ends `--reboot-timeout`
//! after the seal. The cycle knows nothing of silences, and waits for none.
//!
//! Not here: what is sent to Alertmanager ([`wire`]), which alerts are silenced ([`Matchers`]), and how Alertmanager is reached; that is the
//! agent's part.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::backoff::{doubled, jittered};
use crate::hold::{Holder, Phase, UNTIL_AHEAD};
use crate::reboot::moment::{Moment, Uptime};

mod matchers;
pub mod wire;

pub use matchers::{Matcher, Matchers, Operator};

#[cfg(test)]
mod tests;

/// How far ahead a silence ends: as far as the hold's own `until`.
pub const LEASE: SignedDuration = UNTIL_AHEAD;
/// How often a silence is looked at while the hold lives. Extended when half of the lease is over, it never has less than 2 min left.
const LOOK_EVERY: Duration = Duration::from_mins(3);
/// The pause after the first failure. It doubles with each further one.
const RETRY_FIRST: Duration = Duration::from_secs(2);
/// The longest pause after a failure: half of a lease is enough for several tries.
const RETRY_MAX: Duration = Duration::from_mins(1);
/// Times in answers may be rounded by this much.
const ROUNDED: SignedDuration = SignedDuration::from_secs(1);

/// What a process knows of the hold on its node, as far as silences go by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Held {
    /// It is not known yet, or the host is going down, or the hold is about to be undone: a silence that is there is neither extended nor cut.
    #[default]
    Unknown,
    /// Nothing holds the node, or nothing that is ours.
    Nothing,
    /// This hold of ours has come this far.
    By(Holder, Phase),
}

/// A silence of ours that Alertmanager has, and that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Alertmanager's name for it.
    pub id: String,
    /// The hold that it is for.
    pub holder: Holder,
    /// Which alerts it silences.
    pub matchers: Vec<Matcher>,
    /// When it began. Whoever extends a silence has to repeat that.
    pub starts: Timestamp,
    /// When it ends.
    pub ends: Timestamp,
}

/// Something to ask of Alertmanager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make a silence, from now on.
    Create {
        /// The hold that it is for.
        holder: Holder,
        /// Which alerts it silences.
        matchers: Vec<Matcher>,
        /// When it ends.
        ends: Timestamp,
    },
    /// Let this silence end then.
    Extend(Found, Timestamp),
    /// End this silence now.
    Cut(Found),
}

/// What the silences of the node should be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wish {
    /// As they are: they end by themselves.
    AsTheyAre,
    /// None is left.
    Gone,
    /// One for each set of matchers, which is set to `ends` unless it ends after `at_least`.
    Until {
        holder: Holder,
        at_least: Timestamp,
        ends: Timestamp,
    },
}

/// Keeps the silences of one node as they should be, for one process of an agent.
#[derive(Clone, Debug)]
pub struct Keeper {
    reboot_timeout: Duration,
    /// The uid of the Node; empty until it is known.
    uid: String,
    /// The uid that the Node of this name had before; `None` unless it was created anew while this process ran.
    uid_before: Option<String>,
    held: Held,
    /// When the silence ends that was set at the seal. `None` unless this process has made the seal.
    seal_ends: Option<Uptime>,
    /// Whether a silence of this node may be there: no look has shown that there is none since one was made.
    may_be_there: bool,
    /// When everything has ended by itself that was set before the hold changed last, so that a cut that fails is not tried again.
    over_at: Uptime,
    /// When Alertmanager is asked next. `None`: not before the hold changes.
    next: Option<Uptime>,
    failures: u32,
}

impl Keeper {
    /// A process that has just started. An earlier one may have left a silence.
    pub fn new(reboot_timeout: Duration) -> Keeper {
        Keeper {
            reboot_timeout,
            uid: String::new(),
            uid_before: None,
            held: Held::Unknown,
            seal_ends: None,
            may_be_there: true,
            over_at: Uptime::START,
            next: None,
            failures: 0,
        }
    }

    /// Takes note of the uid of the Node and of its hold, and says whether that is a change. Only a change counts.
    pub fn show(&mut self, uid: &str, held: Held, at: Moment) -> bool {
        if self.uid == uid && self.held == held {
            return false;
        }
        self.seal_ends = match (&self.held, &held) {
            (Held::By(before, phase), Held::By(holder, Phase::Sealed)) if before == holder => match phase {
                Phase::Sealed => self.seal_ends,
                Phase::Wanted | Phase::Draining | Phase::Delaying | Phase::Returning => {
                    Some(at.now + self.reboot_timeout)
                }
            },
            (_, Held::Unknown | Held::Nothing | Held::By(..)) => None,
        };
        if self.uid != uid {
            let before = std::mem::replace(&mut self.uid, uid.to_owned());
            self.uid_before = Some(before).filter(|before| !before.is_empty());
        }
        self.held = held;
        // No silence ends later, by the clock of the node.
        self.over_at = at.now + self.reboot_timeout.max(LEASE.unsigned_abs());
        self.next = Some(at.now);
        self.failures = 0;
        true
    }

    /// When Alertmanager is to be asked which silences of ours it has. `None`: not before the next [`show`](Self::show).
    pub fn due(&self, at: Moment) -> Option<Uptime> {
        self.next.filter(|_| self.wish(at) != Wish::AsTheyAre)
    }

    fn wish(&self, at: Moment) -> Wish {
        let until = |holder: &Holder, ahead: SignedDuration, at_least: SignedDuration| Wish::Until {
            holder: holder.clone(),
            at_least: later(at.wall, at_least),
            ends: later(at.wall, ahead),
        };
        if self.uid.is_empty() {
            return Wish::AsTheyAre;
        }
        let gone = if self.may_be_there {
            Wish::Gone
        } else {
            Wish::AsTheyAre
        };
        match &self.held {
            Held::Unknown => Wish::AsTheyAre,
            Held::Nothing | Held::By(_, Phase::Wanted) => gone,
            // A hold of the Node that was there before under this name.
            Held::By(holder, _) if holder.node_uid != self.uid => gone,
            Held::By(holder, Phase::Draining | Phase::Delaying | Phase::Returning) => {
                until(holder, LEASE, LEASE / 2)
            }
            // An earlier process made the seal: what it set stays. Otherwise each restart would put the end off.
            Held::By(holder, Phase::Sealed) => match self.seal_ends {
                Some(ends) if at.now < ends => {
                    let left = signed(ends.since(at.now));
                    until(holder, left, left.saturating_sub(ROUNDED))
                }
                Some(_) | None => Wish::AsTheyAre,
            },
        }
    }

    /// What to do, from the silences that Alertmanager has, for each of these sets of matchers. The keeper counts it as done.
    ///
    /// A silence may be among those found more than once, because the lists for two sets may both have it.
    pub fn steps(&mut self, sets: &[Vec<Matcher>], found: &[Found], at: Moment) -> Vec<Step> {
        let is_ours = |uid: &String| *uid == self.uid || self.uid_before.as_ref() == Some(uid);
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let ours: Vec<&Found> = (found.iter())
            .filter(|found| is_ours(&found.holder.node_uid) && seen.insert(&found.id))
            .collect();
        let wish = self.wish(at);
        // Before anything is sent, because an answer that is lost does not undo it.
        self.may_be_there |= matches!(wish, Wish::Until { .. });
        let of_set = |set: &Vec<Matcher>| {
            let of_set = ours.iter().copied().filter(|found| is_same(&found.matchers, set));
            steps_for(&wish, set, of_set.collect())
        };
        sets.iter().flat_map(of_set).collect()
    }

    /// Takes note that all steps were carried out.
    pub fn succeeded(&mut self, at: Moment) {
        self.failures = 0;
        self.next = match self.wish(at) {
            Wish::AsTheyAre => None,
            Wish::Gone => {
                self.may_be_there = false;
                None
            }
            Wish::Until { .. } => {
                let is_sealed = matches!(self.held, Held::By(_, Phase::Sealed));
                (!is_sealed).then(|| at.now + LOOK_EVERY)
            }
        };
    }

    /// Takes note that Alertmanager could not be asked, or refused. `random` spreads the tries of many agents.
    pub fn failed(&mut self, at: Moment, random: u64) {
        let pause = doubled(RETRY_FIRST, self.failures, RETRY_MAX);
        self.failures = self.failures.saturating_add(1);
        self.next = Some(at.now + jittered(pause, random));
        if self.wish(at) == Wish::Gone && at.now >= self.over_at {
            self.may_be_there = false;
        }
    }
}

/// What to do about the silences with these matchers. The one that ends last is extended; all others are cut.
fn steps_for(wish: &Wish, set: &[Matcher], found: Vec<&Found>) -> Vec<Step> {
    let (holder, at_least, ends) = match wish {
        Wish::AsTheyAre => return Vec::new(),
        Wish::Gone => return found.into_iter().cloned().map(Step::Cut).collect(),
        Wish::Until {
            holder,
            at_least,
            ends,
        } => (holder, *at_least, *ends),
    };
    let of_hold = found.iter().copied().filter(|found| found.holder == *holder);
    let kept = of_hold.max_by_key(|found| (found.ends, &found.id));
    let set_up = match kept {
        None => Some(Step::Create {
            holder: holder.clone(),
            matchers: set.to_vec(),
            ends,
        }),
        Some(kept) if kept.ends < at_least => Some(Step::Extend(kept.clone(), ends)),
        Some(_) => None,
    };
    let others = found.into_iter().filter(|found| Some(*found) != kept);
    set_up.into_iter().chain(others.cloned().map(Step::Cut)).collect()
}

/// Whether both have the same matchers, in any order.
fn is_same(one: &[Matcher], other: &[Matcher]) -> bool {
    one.len() == other.len() && one.iter().all(|matcher| other.contains(matcher))
}

fn signed(span: Duration) -> SignedDuration {
    span.try_into().unwrap_or(SignedDuration::MAX)
}

/// This much later, as far as times go.
fn later(time: Timestamp, span: SignedDuration) -> Timestamp {
    time.checked_add(span).unwrap_or(Timestamp::MAX)
}
