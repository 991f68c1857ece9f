//! The account of a reboot on its Node: when, why, how long each phase took, how often the drain was disturbed, and what it cost.
//!
//! Events last an hour in most clusters; the account of the last reboot stays until the next one is over. It is for people, their tools
//! and the agent's metrics. Anybody who may annotate the Node can write it, so nothing is decided by it.
//! What cannot be read, is too long or tells of another hold is dropped, and the account is begun anew as a partial one.
//!
//! Not here: when it is written ([`crate::reboot::cycle`]), and the patches that carry it ([`super::NodePatch`]).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Phase, canonical};
use crate::Reading;
use crate::keys;
use crate::node::NodeView;
use crate::quote::one_line;

/// The longest account that is read, in bytes. One that an agent writes is shorter; all annotations of a Node have 256 KiB together.
const ACCOUNT_MAX: usize = 4096;
/// How much of what asked for the reboot is kept, in characters: a path or a command, and the names of some packages.
const WHY_MAX: usize = 256;
/// Most kinds of disturbances in an account that is read, and the longest word of one: more than there are, for those of newer agents.
const KINDS_MAX: usize = 12;
const KIND_MAX: usize = 24;

/// The account of one reboot: JSON in the annotation [`keys::REBOOT_ACCOUNT`] while it goes on, in [`keys::LAST_REBOOT`] once it is over.
/// A field that would be zero, false or empty is left out. All times are those of the agent's clock, in whole seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Account {
    /// When the reboot was wished for: the `created` of its hold.
    pub created: String,
    /// What asked for the reboot, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// The phase that the last write of the account began. Only while the reboot goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Since when the time of that phase is not counted yet. Only while the reboot goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When the cordon was given back. Only once the reboot is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// How long each phase took, in seconds. One that was entered again adds up.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub seconds: BTreeMap<Phase, u64>,
    /// How often the drain was disturbed, by the word of [`crate::reboot::cycle::Disturbance`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub disturbed: BTreeMap<String, u64>,
    /// How many pods were evicted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub evicted: u64,
    /// How many evictions were refused, by a budget or by something else. One that is tried again and refused again counts again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused: u64,
    /// Whether part of the reboot is missing: the account was begun anew in the middle of it, or a clock was set back, so that a phase
    /// seems shorter than it was.
    #[serde(default, skip_serializing_if = "is_false")]
    pub partial: bool,
}

/// What has happened since the account was last written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tally {
    /// As [`Account::disturbed`].
    pub disturbed: BTreeMap<&'static str, u64>,
    /// As [`Account::evicted`].
    pub evicted: u64,
    /// As [`Account::refused`].
    pub refused: u64,
}

/// What a write of an agent makes of the account. The time is known only when the write is sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Accounting {
    so_far: Account,
    /// The phase that the write begins; `None` if it ends the reboot.
    begins: Option<Phase>,
    /// What the write adds.
    pub adds: Tally,
}

/// The account of the reboot that goes on, as the Node shows it.
pub fn account(node: &NodeView) -> Reading<Account> {
    read(node, keys::REBOOT_ACCOUNT, |account| {
        account.phase.is_some() && account.since.is_some()
    })
}

/// The account of the last reboot, as its Node shows it.
pub fn last_reboot(node: &NodeView) -> Reading<Account> {
    read(node, keys::LAST_REBOOT, |account| account.ended.is_some())
}

fn read(node: &NodeView, key: &str, is_whole: impl Fn(&Account) -> bool) -> Reading<Account> {
    let Some(text) = node.annotation(key) else {
        return Reading::Absent;
    };
    if text.len() > ACCOUNT_MAX {
        let bytes = text.len();
        return Reading::Malformed(format!("{key} has {bytes} bytes, more than {ACCOUNT_MAX}"));
    }
    match serde_json::from_str::<Account>(text) {
        Ok(account) if is_whole(&account) && account.is_bounded() => Reading::Present(Account {
            why: one_line(&account.why, WHY_MAX),
            ..account
        }),
        Ok(_) | Err(_) => Reading::Malformed(format!("{key} is no account of a reboot")),
    }
}

impl Account {
    fn is_bounded(&self) -> bool {
        let is_word = |kind: &String| {
            let is_letter = |c: char| c.is_ascii_lowercase() || c == '_';
            kind.len() <= KIND_MAX && kind.chars().all(is_letter)
        };
        self.disturbed.len() <= KINDS_MAX && self.disturbed.keys().all(is_word)
    }

    /// Counts the time of the phase that goes on, up to `now`.
    fn count(&mut self, now: Timestamp) {
        let Some((phase, since)) = self.phase.zip(self.since) else {
            return;
        };
        let passed = u64::try_from(now.as_second().saturating_sub(since.as_second()));
        // A clock that was set back counts nothing until it has caught up, so that no time is counted twice.
        self.partial |= passed.is_err();
        let seconds = self.seconds.entry(phase).or_default();
        *seconds = seconds.saturating_add(passed.unwrap_or_default());
        self.since = Some(since.max(now));
    }

    fn add(&mut self, tally: &Tally) {
        for (kind, count) in &tally.disturbed {
            let sum = self.disturbed.entry((*kind).to_owned()).or_default();
            *sum = sum.saturating_add(*count);
        }
        self.evicted = self.evicted.saturating_add(tally.evicted);
        self.refused = self.refused.saturating_add(tally.refused);
    }
}

impl Tally {
    /// Counts a disturbance of this kind.
    pub fn disturbed(&mut self, kind: &'static str) {
        let count = self.disturbed.entry(kind).or_default();
        *count = count.saturating_add(1);
    }

    /// Takes out what a write has put on the Node.
    pub fn written(&mut self, adds: &Tally) {
        self.disturbed.retain(|kind, count| {
            *count = count.saturating_sub(adds.disturbed.get(kind).copied().unwrap_or_default());
            *count > 0
        });
        self.evicted = self.evicted.saturating_sub(adds.evicted);
        self.refused = self.refused.saturating_sub(adds.refused);
    }
}

impl Accounting {
    /// The account of a hold that is stamped.
    pub(super) fn begun(created: &str, why: &str) -> Accounting {
        Accounting {
            so_far: Account {
                created: created.to_owned(),
                why: one_line(why, WHY_MAX),
                ..Account::default()
            },
            begins: Some(Phase::Wanted),
            adds: Tally::default(),
        }
    }

    /// The account of a hold that goes on, as this Node shows it.
    pub(super) fn continued(
        node: &NodeView,
        created: &str,
        why: &str,
        begins: Option<Phase>,
        adds: &Tally,
    ) -> Accounting {
        let shown = account(node).present();
        let so_far = match shown.filter(|shown| canonical(&shown.created) == canonical(created)) {
            Some(shown) => Account {
                created: created.to_owned(),
                ..shown
            },
            None => Account {
                partial: true,
                ..Accounting::begun(created, why).so_far
            },
        };
        Accounting {
            so_far,
            begins,
            adds: adds.clone(),
        }
    }

    /// The annotation to write, and its value if the write is sent at `now`.
    pub(super) fn annotation(&self, now: Timestamp) -> (&'static str, String) {
        let mut account = self.so_far.clone();
        let created: Option<Timestamp> = account.created.parse().ok();
        // A clock that is behind after the boot, before it is set, dates nothing earlier than the wish.
        let now = whole(created.map_or(now, |created| created.max(now)));
        account.count(now);
        account.add(&self.adds);
        account.phase = self.begins;
        if self.begins.is_some() {
            let _ = account.since.get_or_insert(now);
            return (keys::REBOOT_ACCOUNT, account.render());
        }
        account.since = None;
        account.ended = Some(now);
        (keys::LAST_REBOOT, account.render())
    }
}

impl Account {
    fn render(&self) -> String {
        serde_json::to_string(self).expect("strings, numbers, times and maps of them always render")
    }
}

/// The time without its fraction of a second.
fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(is: &bool) -> bool {
    !is
}

#[cfg(test)]
mod tests;
