//! What is known of our own writes: which may have landed, which has, and what the watch shows of them.
//!
//! A write whose answer never came may land late, and its proof tells whether it did.
//! Not here: which write is asked for, and when it is tried again ([`super::edit`]).

use super::{Act, Answer, Cycle, Event, Failure, Input, Timer};
use crate::hold::{NodePatch, PatchKind, Phase, Proof};
use crate::host::HostRecord;
use crate::keys;
use crate::node::NodeView;

/// Writes of our Node whose outcome is not known and that are remembered. Of older ones none would be taken for ours.
const SENT_MAX: usize = 8;
/// Versions of our own that the watch has yet to deliver. A watch that is silent for long has a gap, which clears them.
const ECHOES_MAX: usize = 64;

/// A write of our Node that is open, or whose answer never came.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sent {
    pub(super) patch: NodePatch,
    /// Nobody knows that it was refused: a copy of it was not answered, or it was outrun, which a copy may have done.
    pub(super) is_unknown: bool,
}

impl Cycle {
    /// Every proof that it knows: a write needs another one.
    pub fn proofs(&self) -> impl Iterator<Item = &Proof> {
        let sent = self.sent.iter().filter_map(|sent| sent.patch.proof());
        let hold = self.hold.as_ref().and_then(|hold| hold.write.as_ref());
        let left = self.left.iter().map(|left| &left.write);
        let before = self.left.iter().filter_map(|left| left.before.as_ref());
        let acquired = self.acquired.as_ref().map(|(write, _)| write);
        sent.chain(hold).chain(left).chain(before).chain(acquired)
    }

    /// Whether the watch delivers a write of ours that was answered, perhaps after a later one was answered too.
    pub(super) fn is_echo(&mut self, input: &Input) -> bool {
        let Input::Event(Event::Seen(node)) = input else {
            return false;
        };
        let position = self.echoes.iter().position(|version| version == node.version());
        position.is_some_and(|position| {
            drop(self.echoes.drain(..=position));
            true
        })
    }

    /// What is remembered whatever the stage.
    pub(super) fn note(&mut self, input: &Input) {
        match input {
            Input::Event(Event::Sentinel(wish)) => self.wanted = Some(wish.is_some()),
            Input::Event(Event::Due(Timer::Backoff)) => self.backing_off = false,
            Input::Event(Event::Seen(node)) => {
                self.settle(node);
                if self.seen.is_some() {
                    self.lost(node);
                } else {
                    self.may_have_cordoned(node);
                }
                // Without a hold it would say nothing.
                if self.hold.is_some() {
                    self.seen = Some(node.clone());
                }
            }
            Input::Event(Event::Gap) => {
                self.seen = None;
                self.echoes.clear();
            }
            // That copy has not landed, and one that was sent before it may have.
            Input::Answer(Answer::Patched(Err(Failure::Refused(_)))) => {}
            // Nor that it lost: what it conflicts with may be a copy of itself that something on the way has sent too.
            Input::Answer(Answer::Patched(Err(_))) => {
                if let Some(sent) = self.sent.last_mut() {
                    sent.is_unknown = true;
                }
            }
            _ => {}
        }
    }

    /// The patch to send, which is remembered. What it leaves is written down on the host first, but for a renewal.
    pub(super) fn send(&mut self, mut patch: NodePatch) -> NodePatch {
        if patch.kind != PatchKind::Renew {
            patch.record = self.record_of(&patch);
        }
        // What is tried again is the same write with the same proof: of all its copies one lands at most.
        let again = self.sent.iter().position(|sent| sent.patch.is_copy(&patch));
        let sent = match again {
            Some(again) => self.sent.remove(again),
            None => Sent {
                patch,
                is_unknown: false,
            },
        };
        if self.sent.len() >= SENT_MAX {
            let refused = self.sent.iter().position(|sent| !sent.is_unknown);
            drop(self.sent.remove(refused.unwrap_or(0)));
        }
        let patch = sent.patch.clone();
        self.sent.push(sent);
        patch
    }

    /// What the host is to remember of a write, and of an attempt that follows it.
    pub(super) fn record_of(&self, patch: &NodePatch) -> Option<HostRecord> {
        let before = self.hold.as_ref();
        let write = patch.proof()?.clone();
        let hold = patch.leaves.as_ref().or(before)?;
        let phase = patch.leaves.as_ref().map(|leaves| leaves.phase);
        let wish = before.filter(|before| before.phase == Phase::Wanted);
        Some(HostRecord {
            before: wish.and_then(|wish| wish.write.clone()),
            // Counted as the seal will leave it only once the command is to be run.
            attempts: before.map_or(0, |before| before.attempts),
            ..HostRecord::of(hold, write, phase)
        })
    }

    /// The watch goes on from the Node as it was just read, so that it tells for certain what becomes of a write on it.
    pub(super) fn watch_from(&mut self, node: &NodeView) -> Act {
        self.seen = Some(node.clone());
        self.echoes.clear();
        Act::Watch(Some(node.version().to_owned()))
    }

    /// The Node as it was read after a gap: what it shows of our writes is all that can be known, and the watch goes on from it.
    pub(super) fn read_anew(&mut self, node: &NodeView) -> Act {
        self.settle(node);
        self.may_have_cordoned(node);
        self.watch_from(node)
    }

    /// What this Node shows of the writes whose outcome was not known.
    ///
    /// A proof is public once it has landed: it shows that this write landed, and nothing about the other marks.
    pub(super) fn settle(&mut self, node: &NodeView) {
        // Whatever somebody has put back: the newest that is shown has landed last.
        let Some(landed) = self.sent.iter().rposition(|sent| sent.patch.is_shown_on(node)) else {
            return;
        };
        let patch = self.sent.swap_remove(landed).patch;
        let is_next = self
            .seen
            .as_ref()
            .is_some_and(|seen| seen.version() == patch.version);
        // Each was a compare-and-swap on a version that is gone.
        self.sent.clear();
        let is_sealing = self.stage.is_sealing();
        match patch.leaves {
            // A seal that is seen too late: its command was not run, and never is.
            Some(leaves) if patch.kind == PatchKind::Seal && !is_sealing => {
                self.hold = Some(leaves);
                self.not_attempted();
            }
            Some(leaves) => self.hold = Some(leaves),
            // Another webhook has made something else of it.
            None if is_next && !patch.has_ended(node) => {}
            None => self.gave_back = true,
        }
    }

    /// The watch delivers every version in order: what was a compare-and-swap on the one before this has lost it.
    pub(super) fn lost(&mut self, node: &NodeView) {
        let before = self.seen.as_ref().map(NodeView::version);
        if let Some(before) = before.filter(|before| *before != node.version()) {
            let before = before.to_owned();
            self.sent.retain(|sent| sent.patch.version != before);
        }
    }

    /// What was answered has not landed, and never will. What was not may.
    pub(super) fn unsent(&mut self) {
        self.sent.retain(|sent| sent.is_unknown);
    }

    /// The answer to a write that leaves marks: whether the Node is as it was written, and nothing else.
    ///
    /// Other webhooks see our writes too, and may change or drop what they like.
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

    /// The answer to a write that ends a hold: whether nothing of it is left. Other webhooks see our writes too.
    pub(super) fn has_ended(&mut self, node: &NodeView) -> bool {
        let has_ended = self.sent.last().is_some_and(|sent| sent.patch.has_ended(node));
        if has_ended {
            self.settle(node);
        } else {
            // What has landed is not what ends it.
            self.unsent();
        }
        has_ended
    }

    /// After a gap nobody can tell for certain whether a first cordon has landed. Where the Node does not show the wish to the
    /// last mark, it is taken for landed: what the cordon was stays as it was decided then.
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
