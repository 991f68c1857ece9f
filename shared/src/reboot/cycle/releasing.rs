//! The end of a cycle: the lock entry is removed, at once or when `--lock-release-delay` is over.
//!
//! The cordon has been given back before: always the Node first, then the lock.

use super::edit::Edit;
use super::lock_edit::{Ending, LockEdit};
use super::stage::Stage;
use super::{Act, Cycle, Event, Report, Step, Timer};
use crate::hold::{self, NodePatch};
use crate::lock::EntryId;
use crate::node::NodeView;

impl Cycle {
    /// Keeps the entry until the time that the Node shows, so that a restart neither loses nor repeats the delay.
    pub(super) fn delay_release(&mut self, id: EntryId) -> Step {
        self.retries = 0;
        self.rest(Stage::DelayingRelease(id), [Act::Arm(Timer::Release)])
            .reporting(Report::ReleaseDelayed)
    }

    /// Takes an event while the entry is kept.
    pub(super) fn delaying_release(&mut self, id: EntryId, event: Event) -> Step {
        match event {
            // A person has removed the annotation, which ends the delay.
            Event::Seen(node) if !hold::delays_release(&node, id.created()) => self
                .release(id, Ending::Earlier)
                .after([Act::Disarm(Timer::Release)]),
            Event::Due(Timer::Release) => self.edit(Edit::EndReleaseDelay(id)),
            _ => Step::rest(),
        }
    }

    /// Removes the annotation from this version of our Node. It goes before the entry does, so that an agent that starts in between
    /// does not wait for a time that is over.
    pub(super) fn end_release_delay(&mut self, id: EntryId, node: &NodeView) -> Step {
        if !hold::delays_release(node, id.created()) {
            return self.release(id, Ending::Earlier);
        }
        let patch = NodePatch::end_release_delay(node);
        self.patch(Edit::EndReleaseDelay(id), patch)
    }

    /// Releases the lock entry.
    pub(super) fn release(&mut self, id: EntryId, ending: Ending) -> Step {
        self.retries = 0;
        self.edit_lock(LockEdit::Release { id, ending })
    }

    /// The entry is gone: the cycle is over.
    pub(super) fn released(&mut self, back_off: bool) -> Step {
        self.said = None;
        // The record goes last: until the entry is gone, it tells a new process that the cordon has been given back.
        let mut acts = vec![Act::Forget, Act::Report(Report::Released)];
        if back_off {
            self.backing_off = true;
            acts.push(Act::Arm(Timer::Backoff));
        }
        self.idle().after(acts)
    }
}
