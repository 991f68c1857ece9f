//! The one way in which our entry in the lock is changed: read, decide, write, try again.
//!
//! Not here: how the lock is acquired ([`super::waiting`]), which needs more than the lock's record, and what an entry says
//! ([`crate::lock`]).

use super::edit::Edit;
use super::sealing::is_outrun;
use super::stage::Stage;
use super::{Answer, Ask, CallOff, Cycle, Event, Failure, Step, is_retry};
use crate::Reading;
use crate::hold::{Hold, Phase};
use crate::lock::{Entry, EntryId, Record};
use crate::reboot::lock_object::{LockView, LockWrite};

/// A change of our entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum LockEdit {
    /// Confirms the entry before the seal.
    Confirm { tries: u8 },
    /// Writes that the cordon was given back. An agent whose host has lost its record then still knows that a cordon which it finds
    /// is somebody else's.
    Keep(EntryId),
    /// Removes the entry.
    Release { id: EntryId, ending: Ending },
}

/// How the cycle ended whose entry is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Ending {
    /// The reboot was called off: the agent waits for `--backoff` before its next wish.
    CalledOff,
    /// By a reboot, whose end is noted with the release.
    Rebooted,
    /// In an earlier process, or before `--lock-release-delay` began. The entry says whether the end of a reboot is noted.
    Earlier,
}

impl LockEdit {
    /// What is tried, in the words of a report.
    fn what(&self) -> &'static str {
        match self {
            LockEdit::Confirm { .. } => "seal the node",
            LockEdit::Keep(_) => "keep the lock entry",
            LockEdit::Release { .. } => "release the lock",
        }
    }
}

impl Cycle {
    /// Begins this change, or begins it again.
    pub(super) fn edit_lock(&mut self, edit: LockEdit) -> Step {
        self.ask(Stage::EditingLock { edit, pauses: false }, Ask::ReadLock)
    }

    /// Takes the answer to a change, or to the read that it is decided on.
    pub(super) fn lock_answered(&mut self, edit: LockEdit, answer: Answer) -> Step {
        match answer {
            Answer::Lock(Ok(lock)) => self.decide_lock(edit, lock),
            Answer::LockWritten(Ok(())) => self.lock_landed(edit),
            // Others write the lock too, so it is read again at once. Only the confirm counts its tries: it rests on the final
            // check, which grows old.
            Answer::LockWritten(Err(Failure::Conflict | Failure::NotFound)) => self.edit_lock(match edit {
                LockEdit::Confirm { tries } => LockEdit::Confirm {
                    tries: tries.saturating_add(1),
                },
                edit => edit,
            }),
            Answer::Lock(Err(failure)) | Answer::LockWritten(Err(failure)) => {
                self.lock_edit_failed(edit, &failure)
            }
            answer => self.unexpected(&answer),
        }
    }

    /// While a change waits for its next try.
    pub(super) fn lock_edit_waits(&mut self, edit: LockEdit, event: &Event) -> Step {
        if is_retry(event) {
            self.edit_lock(edit)
        } else {
            Step::rest()
        }
    }

    /// What to write on this version of the lock, if anything.
    fn decide_lock(&mut self, edit: LockEdit, lock: LockView) -> Step {
        if let LockEdit::Confirm { tries } = edit
            && is_outrun(tries)
        {
            return self.check_again(0, &Failure::Conflict);
        }
        let record = match (&edit, lock.record.as_ref()) {
            // The release reports it: it comes later, and needs the record.
            (LockEdit::Keep(_), Reading::Malformed(_)) => None,
            (_, Reading::Malformed(why)) => return self.lock_edit_failed(edit, &Failure::Refused(why)),
            (_, Reading::Absent) => None,
            (_, Reading::Present(record)) => self.edited(&edit, record),
        };
        let uses = match edit {
            // The reboot that is about to come is the one that a request asks for which has come since the acquire.
            LockEdit::Confirm { .. } if record.is_some() => self.uses(&lock, true),
            // What this process knows and the lock does not: a request that was cancelled before the lock was acquired.
            LockEdit::Release { .. } => self.uses(&lock, false),
            LockEdit::Confirm { .. } | LockEdit::Keep(_) => None,
        };
        let unchanged = || lock.record.as_ref().present().cloned().unwrap_or_default();
        let Some(record) = record.or_else(|| uses.is_some().then(unchanged)) else {
            return self.has_no_entry(edit);
        };
        let write = LockWrite {
            carrier: lock.carrier,
            version: lock.version,
            ends_reboot: self.ends_reboot(&edit, lock.record.as_ref().present()),
            record,
            uses,
        };
        self.ask(Stage::EditingLock { edit, pauses: false }, Ask::WriteLock(write))
    }

    /// The record with this change, or `None` where there is nothing to change.
    fn edited(&self, edit: &LockEdit, record: &Record) -> Option<Record> {
        match edit {
            LockEdit::Confirm { .. } => {
                // Counted before the command, in the lock, where no reboot reaches.
                let attempts = self.attempts().saturating_add(1);
                let was = self.hold.as_ref().and_then(|hold| hold.was_unschedulable);
                record.confirmed(&self.entry_id(), &self.boot, attempts, was, self.deferred())
            }
            LockEdit::Keep(id) => record.kept(id),
            LockEdit::Release { id, .. } => record.released(id),
        }
    }

    /// Whether a reboot of the pool ends with this change. It is noted once, at the end of the reboot and not of `--lock-release-delay`.
    fn ends_reboot(&self, edit: &LockEdit, record: Option<&Record>) -> bool {
        let entry = |id| record.and_then(|record| record.entry(id));
        match edit {
            LockEdit::Confirm { .. } => false,
            // Kept only after a boot.
            LockEdit::Keep(id) => entry(id).is_some_and(|entry| !entry.given_back),
            LockEdit::Release { id, ending } => match ending {
                // Called off after the boot: the marks were lost on the way back, or while the host was down.
                Ending::CalledOff => {
                    let is_returning = |hold: &Hold| hold.phase == Phase::Returning;
                    let is_earlier = |boot: String| self.boot.is_after(&boot).is_some();
                    let is_of_earlier_boot =
                        |entry: &Entry| entry.is_unnoted() && entry.boot().is_some_and(is_earlier);
                    self.hold.as_ref().is_some_and(is_returning) || entry(id).is_some_and(is_of_earlier_boot)
                }
                Ending::Rebooted => true,
                Ending::Earlier => entry(id).is_some_and(Entry::is_unnoted),
            },
        }
    }

    /// What follows if the lock has no entry of ours to change.
    fn has_no_entry(&mut self, edit: LockEdit) -> Step {
        match edit {
            // Somebody has removed it, and another node may have taken the slot: no reboot without one.
            LockEdit::Confirm { .. } => self.undo(CallOff::EntryLost),
            LockEdit::Keep(id) => self.delay_release(id),
            LockEdit::Release { ending, .. } => self.released(ending == Ending::CalledOff),
        }
    }

    /// What follows a change that has landed.
    fn lock_landed(&mut self, edit: LockEdit) -> Step {
        match edit {
            LockEdit::Confirm { tries } => {
                self.serve_request();
                self.edit(Edit::Seal { tries })
            }
            LockEdit::Keep(id) => self.delay_release(id),
            LockEdit::Release { ending, .. } => self.released(ending == Ending::CalledOff),
        }
    }

    /// Tries a change again later that has failed.
    fn lock_edit_failed(&mut self, edit: LockEdit, failure: &Failure) -> Step {
        let what = edit.what();
        match edit {
            LockEdit::Confirm { tries } => self.check_again(tries, failure),
            edit => self.retry(Stage::EditingLock { edit, pauses: true }, what, failure),
        }
    }
}
