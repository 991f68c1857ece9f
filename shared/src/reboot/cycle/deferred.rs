//! The uncordon that is deferred until our hold ends: when it is remembered, where it is kept, and when it is told.
//!
//! The first that was seen stays, whoever asks again. It is kept by this process, in the host's record and in the lock entry, so that it is
//! still done if somebody removes it from the Node.
//! Not here: what it does to the cordon ([`crate::hold::NodePatch::uncordoning`]).

use super::{Act, Cycle, Failure, Report};
use crate::hold::{self, DeferredUncordon, Hold, PatchKind, Phase};
use crate::host::HostRecord;
use crate::lock::Entry;
use crate::node::NodeView;

/// A deferred uncordon that this process remembers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Remembered {
    uncordon: DeferredUncordon,
    /// Whether the host's record has it.
    is_recorded: bool,
    /// Whether people were told of it, by this process or by an earlier one.
    is_told: bool,
    /// Whether the last renewal that was to record it was refused. The next one goes without, so that the hold does not lapse because the
    /// host's record cannot be written.
    is_refused: bool,
}

impl Remembered {
    fn new(uncordon: DeferredUncordon) -> Remembered {
        Remembered {
            uncordon,
            is_recorded: false,
            is_told: false,
            is_refused: false,
        }
    }
}

impl Cycle {
    /// Remembers the uncordon that an earlier process has kept. The host's record is believed first.
    pub(super) fn recall_deferred(&mut self, left: Option<&HostRecord>, entry: Option<&Entry>) {
        let recorded = left.and_then(HostRecord::deferred);
        let is_recorded = recorded.is_some();
        let kept = recorded.or_else(|| entry.and_then(Entry::deferred));
        self.deferred = kept.map(|uncordon| Remembered {
            is_recorded,
            is_told: true,
            ..Remembered::new(uncordon)
        });
    }

    /// Remembers the uncordon that this version of our Node shows, unless an earlier one of our hold is remembered. One that was done meanwhile
    /// is deferred no longer.
    pub(super) fn note_deferred(&mut self, node: &NodeView) {
        let Some(hold) = self.hold.as_ref() else { return };
        if hold::done_before_end(node, hold).is_some() {
            self.deferred = None;
        } else if self.deferred_of(hold).is_none() {
            self.deferred = hold::deferred_until_end(node, hold).map(Remembered::new);
        }
    }

    /// Takes in that this version of our Node is about to be cordoned again. Returns whether somebody has cordoned it since an uncordon was
    /// done under our hold, so that the cordon is theirs. If nobody has, that uncordon is deferred from now on.
    pub(super) fn recordons_done(&mut self, node: &NodeView) -> bool {
        // A wish holds nothing, so nothing can have been done under it.
        let hold = self.hold.as_ref().filter(|hold| hold.phase != Phase::Wanted);
        let Some(done) = hold.and_then(|hold| hold::done_before_end(node, hold)) else {
            return false;
        };
        if !node.spec.unschedulable {
            self.deferred = Some(Remembered::new(done));
        }
        node.spec.unschedulable
    }

    /// The uncordon that is remembered for this hold.
    pub(super) fn deferred_of(&self, hold: &Hold) -> Option<&DeferredUncordon> {
        let remembered = self.deferred.as_ref().map(|remembered| &remembered.uncordon);
        remembered.filter(|uncordon| uncordon.is_of(&hold.holder))
    }

    /// The uncordon that is remembered for our hold.
    pub(super) fn deferred(&self) -> Option<&DeferredUncordon> {
        self.deferred_of(self.hold.as_ref()?)
    }

    /// The record, which also keeps the uncordon that is remembered for this hold.
    pub(super) fn recording_deferred(&self, record: HostRecord, hold: &Hold) -> HostRecord {
        HostRecord {
            uncordon_wanted: self.deferred_of(hold).map(ToString::to_string),
            ..record
        }
    }

    /// Whether the host's record lacks the uncordon that is remembered, so that the next renewal writes the record too.
    pub(super) fn lacks_deferred(&self) -> bool {
        let lacks_it = |remembered: &Remembered| !remembered.is_recorded && !remembered.is_refused;
        self.deferred().is_some() && self.deferred.as_ref().is_some_and(lacks_it)
    }

    /// Takes in whether the last patch has landed, and with it whether the host's record has the uncordon that is remembered.
    pub(super) fn note_deferred_sent(&mut self, result: Result<(), &Failure>) {
        let Some(sent) = self.sent.last().map(|sent| &sent.patch) else {
            return;
        };
        let records_it = |record: &HostRecord| record.uncordon_wanted.is_some();
        let is_recording = sent.record.as_ref().is_some_and(records_it);
        let is_renewal = sent.kind == PatchKind::Renew;
        let Some(remembered) = self.deferred.as_mut() else {
            return;
        };
        // The record is written first, so a patch that was sent shows that it was. One that is refused may not have been sent.
        let is_refused = matches!(result, Err(Failure::Refused(_)));
        remembered.is_recorded |= is_recording && !is_refused;
        if is_renewal {
            remembered.is_refused = is_recording && is_refused;
        }
    }

    /// Tells people of the uncordon that is remembered, once.
    pub(super) fn tell_deferred(&mut self) -> Option<Act> {
        let remembered = self.deferred.as_mut().filter(|remembered| !remembered.is_told)?;
        remembered.is_told = true;
        let uncordon = remembered.uncordon.clone();
        Some(Act::Report(Report::UncordonDeferred(uncordon)))
    }

    /// Who asked for the uncordon that the end of our hold has done, if the Node shows that it was done.
    pub(super) fn uncordoned_for(&self, node: &NodeView) -> Option<String> {
        let is_done = !node.spec.unschedulable;
        self.deferred()
            .filter(|_| is_done)
            .map(|uncordon| uncordon.user.clone())
    }
}
