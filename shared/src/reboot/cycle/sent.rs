//! What is known of our own writes of the Node: which may have landed, which has, and which versions they made.
//!
//! A write whose answer was lost may land late. Its proof tells whether it has.
//! Not here: which write is asked for, and when it is tried again ([`super::edit`]).

use super::{Act, Answer, Cycle, Event, Failure, Input, Timer};
use crate::hold::{NodePatch, PatchKind, Phase, Proof};
use crate::host::HostRecord;
use crate::keys;
use crate::node::NodeView;

/// How many writes of our Node are remembered whose outcome is unknown. A write that is forgotten is not known as ours if it lands.
const SENT_MAX: usize = 8;
/// How many versions of our own are remembered that the watch has yet to show.
/// A watch that is silent for long has a gap, which clears them.
const ECHOES_MAX: usize = 64;

/// A write of our Node that is under way, or that may have landed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sent {
    pub(super) patch: NodePatch,
    /// Whether it may have landed although no answer says so: a copy of it got no answer, or a conflict, which may have been
    /// with another copy of itself.
    pub(super) is_unknown: bool,
}

impl Cycle {
    /// Every proof that this agent knows. A new write needs a different one.
    pub fn proofs(&self) -> impl Iterator<Item = &Proof> {
        let sent = self.sent.iter().filter_map(|sent| sent.patch.proof());
        let hold = self.hold.as_ref().and_then(|hold| hold.write.as_ref());
        let left = self.left.iter().map(|left| &left.write);
        let before = self.left.iter().filter_map(|left| left.before.as_ref());
        let acquired = self.acquired.as_ref().map(|(write, _)| write);
        sent.chain(hold).chain(left).chain(before).chain(acquired)
    }

    /// Whether the watch shows a version that a write of ours made and that its answer has shown already.
    pub(super) fn is_echo(&mut self, input: &Input) -> bool {
        let Input::Event(Event::Seen(node)) = input else {
            return false;
        };
        let position = self.echoes.iter().position(|version| version == node.version());
        position.is_some_and(|position| {
            // The watch shows versions in order, so it has passed the older ones as well.
            drop(self.echoes.drain(..=position));
            true
        })
    }

    /// Remembers what counts in every stage.
    pub(super) fn note(&mut self, input: &Input) {
        match input {
            Input::Event(Event::Sentinel(wanted)) => self.looked(wanted.as_ref()),
            Input::Answer(Answer::Lock(Ok(lock))) => self.learn_used(lock),
            Input::Event(Event::Window(outside)) => self.outside.clone_from(outside),
            Input::Event(Event::Due(Timer::Backoff)) => self.backing_off = false,
            Input::Event(Event::Seen(node)) => {
                self.settle(node);
                // Without a gap, versions tell which writes have lost. After one, a version in between may have been missed.
                if self.seen.is_some() {
                    self.lost(node);
                } else {
                    self.may_have_cordoned(node);
                }
                // Without a hold there is no write that could rest on it.
                if self.hold.is_some() {
                    self.seen = Some(node.clone());
                    self.note_deferred(node);
                }
            }
            Input::Event(Event::Gap) => {
                self.seen = None;
                self.echoes.clear();
            }
            Input::Answer(Answer::Patched(result)) => self.note_patched(result.as_ref().map(drop)),
            _ => {}
        }
    }

    fn note_patched(&mut self, result: Result<(), &Failure>) {
        self.note_deferred_sent(result);
        match result {
            // The stage takes the answer. A copy that was refused has not landed. One that was sent before it may have, so what is known
            // of the write does not change.
            Ok(()) | Err(Failure::Refused(_)) => {}
            // No answer, or a conflict, which may be with a copy of itself that a proxy has sent too: it may have landed.
            Err(Failure::Conflict | Failure::NotFound | Failure::Unknown(_)) => {
                if let Some(sent) = self.sent.last_mut() {
                    sent.is_unknown = true;
                }
            }
        }
    }

    /// Remembers this patch, and returns what to send. Except for most renewals, it carries the host's record to write before it.
    pub(super) fn send(&mut self, mut patch: NodePatch) -> NodePatch {
        patch.record = self.record_of(&patch);
        // What is tried again is the same write with the same proof. All its copies name the same version, so one lands at most.
        let again = self.sent.iter().position(|sent| sent.patch.is_copy(&patch));
        let mut sent = match again {
            Some(again) => self.sent.remove(again),
            None => Sent {
                patch,
                is_unknown: false,
            },
        };
        if sent.patch.kind == PatchKind::Renew {
            sent.patch.record = self.record_of(&sent.patch).filter(|_| self.lacks_deferred());
        }
        if self.sent.len() >= SENT_MAX {
            // A refused one goes first, because it never lands.
            let refused = self.sent.iter().position(|sent| !sent.is_unknown);
            drop(self.sent.remove(refused.unwrap_or(0)));
        }
        let patch = sent.patch.clone();
        self.sent.push(sent);
        patch
    }

    /// What the host is to remember of a write before it is sent.
    pub(super) fn record_of(&self, patch: &NodePatch) -> Option<HostRecord> {
        let before = self.hold.as_ref();
        let write = patch.proof()?.clone();
        let hold = patch.leaves.as_ref().or(before)?;
        let phase = patch.leaves.as_ref().map(|leaves| leaves.phase);
        let wish = before.filter(|before| before.phase == Phase::Wanted);
        let record = HostRecord {
            before: wish.and_then(|wish| wish.write.clone()),
            // The attempt of a seal is counted here only when its command is about to run.
            attempts: before.map_or(0, |before| before.attempts),
            ..HostRecord::of(hold, write, phase)
        };
        Some(self.recording_deferred(record, hold))
    }

    /// Starts the watch from the Node as it was just read, so that it tells for certain what becomes of a write on it.
    pub(super) fn watch_from(&mut self, node: &NodeView) -> Act {
        self.seen = Some(node.clone());
        self.echoes.clear();
        Act::Watch(Some(node.version().to_owned()))
    }

    /// Takes in the Node as it was read after a gap. What it shows of our writes is all that can be known of them, and the watch
    /// starts from it.
    pub(super) fn read_anew(&mut self, node: &NodeView) -> Act {
        self.settle(node);
        self.may_have_cordoned(node);
        self.watch_from(node)
    }

    /// Takes in what this Node shows of our writes whose outcome was unknown.
    ///
    /// A proof is public once it has landed. It shows that this write has landed, and nothing about the other marks.
    pub(super) fn settle(&mut self, node: &NodeView) {
        // The newest that is shown: somebody may have put back the proof of an older one.
        let Some(landed) = self.sent.iter().rposition(|sent| sent.patch.is_shown_on(node)) else {
            return;
        };
        let patch = self.sent.swap_remove(landed).patch;
        let is_next = self
            .seen
            .as_ref()
            .is_some_and(|seen| seen.version() == patch.version);
        // The others were compare-and-swaps on a version that is gone.
        self.sent.clear();
        if let Some(account) = &patch.account {
            self.tally.written(&account.adds);
        }
        let is_sealing = self.stage.is_sealing();
        match patch.leaves {
            // A seal that is seen when the final check is over: its command was not run, and never is.
            Some(leaves) if patch.kind == PatchKind::Seal && !is_sealing => {
                self.hold = Some(leaves);
                self.not_attempted();
            }
            Some(leaves) => self.hold = Some(leaves),
            // This version is what our write made, and another webhook has changed it on its way.
            None if is_next && !patch.has_ended(node) => {}
            None => self.gave_back = true,
        }
    }

    /// Forgets the writes that have lost. The watch shows every version in order, so a compare-and-swap on the version before this
    /// one can land no more.
    pub(super) fn lost(&mut self, node: &NodeView) {
        let before = self.seen.as_ref().map(NodeView::version);
        if let Some(before) = before.filter(|before| *before != node.version()) {
            let before = before.to_owned();
            self.sent.retain(|sent| sent.patch.version != before);
        }
    }

    /// Forgets the writes that are known to have failed. The others may have landed, or may still land.
    pub(super) fn unsent(&mut self) {
        self.sent.retain(|sent| sent.is_unknown);
    }

    /// Takes the answer to a write that leaves marks, and says whether the Node is exactly as it was written.
    ///
    /// Other webhooks see our writes too, and may change or drop any of it.
    pub(super) fn is_as_written(&mut self, node: &NodeView) -> bool {
        self.settle(node);
        self.seen = Some(node.clone());
        if self.echoes.len() >= ECHOES_MAX {
            drop(self.echoes.remove(0));
        }
        self.echoes.push(node.version().to_owned());
        let is_cordoned = self.hold.as_ref().is_some_and(|hold| hold.phase == Phase::Wanted)
            || !self.settings.verify
            || (node.spec.unschedulable && node.is_tainted(keys::REBOOTING));
        self.is_ours_alone(node) && is_cordoned
    }

    /// Takes the answer to a write that ends a hold, and says whether nothing of the hold is left.
    ///
    /// Other webhooks see our writes too, and may change or drop any of it.
    pub(super) fn has_ended(&mut self, node: &NodeView) -> bool {
        let has_ended = self.sent.last().is_some_and(|sent| sent.patch.has_ended(node));
        if has_ended {
            self.settle(node);
        } else {
            // What has landed does not end the hold, so nothing more can come of this write.
            self.unsent();
        }
        has_ended
    }

    /// After a gap, takes a first cordon for landed if the Node does not show exactly our wish.
    ///
    /// Nobody can tell for certain. So what the cordon was stays as that write has decided it.
    pub(super) fn may_have_cordoned(&mut self, node: &NodeView) {
        let is_wish = self.hold.as_ref().is_some_and(|hold| hold.phase == Phase::Wanted);
        if !is_wish || self.is_ours_alone(node) {
            return;
        }
        let cordons = self
            .sent
            .iter()
            .filter(|sent| sent.patch.kind == PatchKind::Cordon);
        if let Some(leaves) = cordons.filter_map(|sent| sent.patch.leaves.clone()).next_back() {
            self.hold = Some(leaves);
        }
    }
}
