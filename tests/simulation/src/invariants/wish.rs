//! ONE-WISH-TWO-REBOOTS: counts the reboot commands of one hold, over restarts and boots.

use cordonhold_shared::keys;
use cordonhold_shared::lock::Entry;
use cordonhold_shared::reboot::cycle::ATTEMPTS_MAX;

use super::Oracle;
use crate::api_server::Commit;

/// The reboot commands of one hold, and which of the three places that count them have been lost since the first one.
#[derive(Debug, Default)]
pub(super) struct Wish {
    created: String,
    commands: u8,
    /// Whether the host's `/run` was emptied, by a boot or by somebody.
    is_run_lost: bool,
    /// Whether the lock entry was removed: by a person, or by another agent because the Node no longer shows the hold.
    is_entry_lost: bool,
    /// Whether somebody else changed `attempt` on the Node.
    is_attempt_changed: bool,
}

impl Wish {
    /// Counts a reboot command for this hold. Returns its number if that is one too many.
    pub(super) fn command(&mut self, created: &str) -> Option<u8> {
        if self.created != created {
            *self = Wish {
                created: created.to_owned(),
                ..Wish::default()
            };
        }
        self.commands = self.commands.saturating_add(1);
        // The exemption: all three places were lost. Losing two of them is not enough.
        let is_forgotten = self.is_run_lost && self.is_entry_lost && self.is_attempt_changed;
        (self.commands > ATTEMPTS_MAX && !is_forgotten).then_some(self.commands)
    }

    /// Whether the last reboot command was for this hold.
    pub(super) fn has_command(&self, created: &str) -> bool {
        self.created == created
    }

    pub(super) fn entry_lost(&mut self, entry: &Entry) {
        self.is_entry_lost |= entry.created == self.created;
    }

    /// Ends the count: the hold is over. If somebody writes its marks again, that is another wish.
    pub(super) fn released(&mut self, entry: &Entry) {
        if entry.created == self.created {
            *self = Wish::default();
        }
    }
}

impl Oracle {
    /// Notes that a host's `/run` was emptied.
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
