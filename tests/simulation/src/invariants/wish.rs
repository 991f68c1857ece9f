//! ONE-WISH-TWO-REBOOTS: how many reboot commands one hold leads to, whatever is restarted and whatever the host shows.

use cordonhold_shared::keys;
use cordonhold_shared::lock::Entry;
use cordonhold_shared::reboot::cycle::ATTEMPTS_MAX;

use super::Oracle;
use crate::api_server::Commit;

/// The commands of one hold, and what was lost since the first of them of the three places that count them.
#[derive(Debug, Default)]
pub(super) struct Wish {
    created: String,
    commands: u8,
    /// Its `/run` was emptied, by a boot or by somebody.
    is_run_lost: bool,
    /// A person removed its entry, or the whole lock; or another agent did, because the Node no longer shows the hold.
    is_entry_lost: bool,
    /// Somebody else wrote `attempt` on its Node.
    is_attempt_changed: bool,
}

impl Wish {
    /// A command for this hold; which one it is, where that is one too many.
    pub(super) fn command(&mut self, created: &str) -> Option<u8> {
        if self.created != created {
            *self = Wish {
                created: created.to_owned(),
                ..Wish::default()
            };
        }
        self.commands = self.commands.saturating_add(1);
        // The exemption: somebody took away all three. Two of them he may have.
        let is_forgotten = self.is_run_lost && self.is_entry_lost && self.is_attempt_changed;
        (self.commands > ATTEMPTS_MAX && !is_forgotten).then_some(self.commands)
    }

    /// Whether the last command was of this hold.
    pub(super) fn has_command(&self, created: &str) -> bool {
        self.created == created
    }

    pub(super) fn entry_lost(&mut self, entry: &Entry) {
        self.is_entry_lost |= entry.created == self.created;
    }

    /// It is over. Marks of it that somebody writes again are another wish.
    pub(super) fn released(&mut self, entry: &Entry) {
        if entry.created == self.created {
            *self = Wish::default();
        }
    }
}

impl Oracle {
    /// A host's `/run` is empty.
    pub(crate) fn run_lost(&mut self, index: usize) {
        if let Some(known) = self.nodes.get_mut(index) {
            known.wish.is_run_lost = true;
        }
    }

    pub(super) fn attempt_changed(&mut self, commit: &Commit, index: usize) {
        let is_own = commit.caller.process.is_some_and(|(agent, _)| agent == index);
        let (Some(old), Some(new)) = (&commit.old, &commit.new) else {
            return;
        };
        if let Some(known) = self.nodes.get_mut(index).filter(|_| !is_own) {
            known.wish.is_attempt_changed |= old.annotation(keys::ATTEMPT) != new.annotation(keys::ATTEMPT);
        }
    }
}
