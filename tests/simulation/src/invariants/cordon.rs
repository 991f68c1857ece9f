//! CORDON-GIVEN-BACK and LAST-WISH: compares the cordon that people want on each node with the one that the agent leaves.
//!
//! An uncordon that was deferred counts before what the cordon was, and is checked as LAST-WISH.
//! The exemptions are in [`Known::is_exempt`].

use cordonhold_shared::Reading;
use cordonhold_shared::hold::{self, Hold, Phase};
use cordonhold_shared::keys;
use cordonhold_shared::lock::Record;
use cordonhold_shared::node::NodeView;

use super::{Found, Known, Oracle, proof};
use crate::Invariant;
use crate::api_server::Commit;

/// A hold, from the patch to `draining` until the cordon is given back.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) created: String,
    pub(super) was_unschedulable: bool,
    /// The process that cordoned the node last.
    cordoned_by: u64,
    /// The proof of the write of its wish.
    wish: Option<String>,
    uncordon: Uncordon,
}

/// Whether an uncordon is to be done at the end of a hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Uncordon {
    /// Nobody asked for one.
    #[default]
    None,
    /// One was deferred.
    Owed,
    /// The exemption: one was deferred, but removed from the Node, and the lock's entry has never had it or was removed too; or one was done while the
    /// hold had lapsed. Nobody but the process that saw it can know.
    Unsure,
}

impl Held {
    /// Takes in whether this version of the Node shows a deferred uncordon of the hold.
    fn note_uncordon(&mut self, node: &NodeView, index: usize, record: &Record) {
        let is_of_it = |created: &str| hold::canonical(created) == hold::canonical(&self.created);
        let is_shown = hold::deferred_uncordon(node)
            .present()
            .is_some_and(|deferred| is_of_it(&deferred.created));
        let is_done = hold::done_uncordon(node).is_some_and(|done| is_of_it(&done.created));
        let name = format!("node-{index}");
        let entry = record
            .entries
            .iter()
            .find(|entry| entry.node == name && is_of_it(&entry.created));
        let is_kept = entry.is_some_and(|entry| !entry.uncordon_wanted.is_empty());
        self.uncordon = match self.uncordon {
            _ if is_done => Uncordon::Unsure,
            _ if is_shown => Uncordon::Owed,
            Uncordon::Owed if !is_kept => Uncordon::Unsure,
            before @ (Uncordon::None | Uncordon::Owed | Uncordon::Unsure) => before,
        };
    }

    /// Whether the node is to be cordoned after the hold, and the invariant that says so; `None` if both are right.
    pub(super) fn expects(&self) -> (Invariant, Option<bool>) {
        match self.uncordon {
            Uncordon::None => (Invariant::CordonGivenBack, Some(self.was_unschedulable)),
            Uncordon::Owed => (Invariant::LastWish, Some(false)),
            Uncordon::Unsure => (Invariant::LastWish, None),
        }
    }

    /// Whether the Node shows the wish of this hold exactly as it was before the cordon.
    pub(super) fn is_wish(&self, node: &NodeView) -> bool {
        let shown = hold::read(node).present();
        shown.is_some_and(|shown| {
            shown.phase == Phase::Wanted
                && shown.holder.created == self.created
                && shown.was_unschedulable.is_none()
                && shown.boot_id.is_none()
                && shown.attempts == 0
                && proof(node) == self.wish.as_deref()
        })
    }
}

impl Known {
    pub(super) fn is_held(&self, created: &str) -> bool {
        self.held.as_ref().is_some_and(|held| held.created == created)
    }

    /// Whether the agent may leave a wrong cordon for this hold, because it could not know better. A later process believes what
    /// such a process wrote, so the exemption stays (`doubtful`).
    pub(super) fn is_exempt(&self, created: &str) -> bool {
        self.doubtful.as_deref() == Some(created)
            || self.is_unproven(created)
            || self.is_wish_put_back(created)
            || self.is_entry_alone(created)
            || self.is_cordon_unknown(created)
            || self.is_give_back_hidden(created)
    }

    /// Called before a process writes something about a hold that later processes believe: keeps an exemption for them.
    pub(super) fn doubt(&mut self, created: &str) {
        if self.is_exempt(created) {
            self.doubtful = Some(created.to_owned());
        }
    }

    /// Whether the process knows this hold only from the Node, not from the host's record or the lock. After another boot it
    /// believes the marks, which anybody may have written; in the same boot it leaves the cordon as it is.
    fn is_unproven(&self, created: &str) -> bool {
        !self.process.knows(created)
    }

    /// Whether somebody put the complete marks of the wish back while no process ran. They say that nothing was cordoned yet.
    fn is_wish_put_back(&self, created: &str) -> bool {
        self.is_held(created) && self.process.was_shown_wish()
    }

    /// Whether only the lock's entry tells of this hold: `/run` was lost, and somebody removed the marks, put them back after the
    /// give-back, or wrote a wish in their place. The entry says what the cordon was, but not whether the node was already cordoned
    /// or given back. So an admin's cordon from just before is taken for ours; and on a node that an admin had cordoned, an uncordon
    /// of that wish counts as what people want.
    fn is_entry_alone(&self, created: &str) -> bool {
        let believed = self.process.believed();
        let shown = believed.and_then(|node| hold::read(node).present());
        let is_shown = shown
            .as_ref()
            .is_some_and(|shown| shown.holder.created == created);
        let is_wish = shown.is_some_and(|shown| shown.phase == Phase::Wanted);
        let was = self.held.as_ref().map(|held| held.was_unschedulable);
        let is_as_it_was = believed.map(|node| node.spec.unschedulable) == was;
        let is_put_back = self.given_back.as_deref() == Some(created);
        let is_unclear = !is_shown || is_put_back || !self.is_held(created) || (is_wish && is_as_it_was);
        !self.process.was_told(created) && self.process.found_entry(created) && is_unclear
    }

    /// Whether somebody removed or changed `given-back` before the process that gave the cordon back removed its record. The next
    /// process gives the cordon back again, and so undoes what others did to it in between.
    fn is_give_back_hidden(&self, created: &str) -> bool {
        self.is_given_back_changed
            && self.given_back.as_deref() == Some(created)
            && self.process.was_told(created)
    }

    /// Whether it is unknown if the cordon patch landed: somebody removed the marks or changed the wish just after the patch was
    /// recorded on the host or sent. A new process, or one whose watch had a gap, cannot tell, and so undoes what others did to
    /// the cordon since. This also covers a wish that somebody puts back after its give-back.
    fn is_cordon_unknown(&self, created: &str) -> bool {
        let is_unknown = self.process.was_told_of_cordon(created) || self.process.missed_its_cordon(created);
        let is_over = self.given_back.as_deref() == Some(created) && !self.is_put_back;
        !self.is_held(created) && !is_over && is_unknown
    }
}

impl Oracle {
    pub(super) fn cordon_changed(&mut self, commit: &Commit, index: usize) -> Found {
        let known = self.nodes.get_mut(index)?;
        let Some(new) = commit.new.as_ref().map(|new| new.node()) else {
            known.held = None;
            known.expected = None;
            known.given_back = None;
            return None;
        };
        let Some(old) = commit.old.as_ref().map(|old| old.node()) else {
            known.expected = Some(new.spec.unschedulable);
            return None;
        };
        // The lock's entry may have been removed since the Node last changed.
        if let Some(held) = &mut known.held {
            held.note_uncordon(old, index, &self.record);
        }
        let found = match commit.caller.process.filter(|(agent, _)| *agent == index) {
            None => {
                somebody_wrote(known, old, new);
                None
            }
            // The agent wrote no marks (same proof), only signs, beside marks of somebody else.
            Some(_) if hold::has_marks(new) && proof(old) == proof(new) => None,
            Some((_, process)) => own_wrote(known, index, process, old, new),
        };
        if let Some(deferred) = hold::deferred_uncordon(new).present() {
            known.deferred_for = Some(deferred.created);
        }
        if let Some(held) = &mut known.held {
            held.note_uncordon(new, index, &self.record);
        }
        found
    }
}

/// Notes that somebody else wrote the Node. A change of the cordon counts only without a hold: the agent undoes it otherwise.
fn somebody_wrote(known: &mut Known, old: &NodeView, new: &NodeView) {
    known.is_given_back_changed |= old.annotation(keys::GIVEN_BACK) != new.annotation(keys::GIVEN_BACK);
    let shown = hold::read(new).present().map(|hold| hold.holder.created);
    known.is_put_back |= shown.is_some() && shown == known.given_back;
    if known.held.is_none() && old.spec.unschedulable != new.spec.unschedulable {
        known.expected = Some(new.spec.unschedulable);
    }
}

fn is_wish(node: &NodeView) -> bool {
    super::phase(node) == Some(Phase::Wanted)
}

fn own_wrote(known: &mut Known, index: usize, process: u64, old: &NodeView, new: &NodeView) -> Found {
    let found = |what: String| Some((Invariant::CordonGivenBack, what));
    match hold::read(new) {
        Reading::Present(hold) => own_holds(known, index, process, old, &hold),
        Reading::Malformed(why) => found(format!("agent {index} leaves marks that cannot be read: {why}")),
        // All other writes of the agent remove the marks, or leave a Node without marks as it is.
        Reading::Absent if hold::has_marks(new) && !hold::has_marks(old) => {
            found(format!("agent {index} leaves marks that make no hold"))
        }
        Reading::Absent => own_gave_back(known, index, old, new),
    }
}

/// Checks a write of the agent after which the Node shows a hold.
fn own_holds(known: &mut Known, index: usize, process: u64, old: &NodeView, hold: &Hold) -> Found {
    let found = |what: String| Some((Invariant::CordonGivenBack, what));
    let created = &hold.holder.created;
    let is_same = known.held.as_ref().is_some_and(|held| held.created == *created);
    match hold.phase {
        Phase::Draining if !is_same => {
            // The cordon patch of a wish is the only place that decides what the cordon was before.
            let is_wrong = hold.was_unschedulable != Some(old.spec.unschedulable) && is_wish(old);
            let is_exempt = known.is_exempt(created);
            if is_wrong && !is_exempt {
                return found(format!(
                    "agent {index} cordons its node and does not write what the cordon was before"
                ));
            }
            let said = hold.was_unschedulable.filter(|_| is_exempt);
            let was_unschedulable = said.unwrap_or(old.spec.unschedulable);
            known.expected = Some(was_unschedulable);
            known.held = Some(Held {
                created: created.clone(),
                was_unschedulable,
                cordoned_by: process,
                wish: proof(old).map(str::to_owned),
                uncordon: Uncordon::None,
            });
        }
        Phase::Draining => {
            if let Some(held) = &mut known.held {
                held.cordoned_by = process;
            }
        }
        Phase::Returning => {
            let (Some(taken), Some(now)) = (&known.held, known.process.boot_of(process)) else {
                return None;
            };
            let before = known.process.boot_of(taken.cordoned_by);
            if before.is_some_and(|before| before >= now) && !known.is_exempt(created) {
                return found(format!(
                    "agent {index} marks the return of a host that has not booted"
                ));
            }
        }
        Phase::Wanted => {
            let is_forgotten = known
                .held
                .as_ref()
                .is_some_and(|held| held.created != *created && !known.is_exempt(&held.created));
            let forgotten = known.held.take().filter(|_| is_forgotten);
            known.expected = Some(old.spec.unschedulable);
            known.process.makes(process, created);
            if let Some(held) = forgotten {
                return found(format!(
                    "agent {index} makes a new wish and has not given back the hold of {}",
                    held.created
                ));
            }
        }
        Phase::Delaying | Phase::Sealed => {}
    }
    None
}

/// Checks a write of the agent after which the Node has no hold: the cordon must be as it was before. A write without a new
/// `given-back` changes only signs.
fn own_gave_back(known: &mut Known, index: usize, old: &NodeView, new: &NodeView) -> Found {
    let found = |what: String| Some((Invariant::CordonGivenBack, what));
    let shown = new.spec.unschedulable;
    let is_changed = old.spec.unschedulable != shown;
    let text = new.annotation(keys::GIVEN_BACK);
    let of = text.filter(|text| old.annotation(keys::GIVEN_BACK) != Some(text));
    let Some((created, _)) = of.and_then(|text| text.split_once(' ')) else {
        return found(format!("agent {index} changes the cordon beside a hold")).filter(|_| is_changed);
    };
    let is_exempt = known.is_exempt(created);
    let held = known.held.take_if(|held| held.created == created);
    known.given_back = Some(created.to_owned());
    known.is_given_back_changed = false;
    known.is_put_back = false;
    let Some(held) = held else {
        if !is_changed {
            return None;
        }
        known.expected = Some(shown);
        known.exempted += u64::from(is_exempt);
        let what = format!("agent {index} changes the cordon of its node without a hold to give back");
        // Marks that somebody forged made the webhook defer an uncordon, and the agent does it when it removes them.
        let is_deferred = !shown && known.deferred_for.as_deref() == Some(created);
        return found(what).filter(|_| !is_exempt && !is_deferred);
    };
    let is_kept = shown && new.annotation(keys::KEEP_CORDONED).is_some();
    let is_let_past = held.was_unschedulable && hold::cancel(old).is_some();
    let (invariant, expected) = held.expects();
    let is_let_past = is_let_past && held.uncordon == Uncordon::None;
    let Some(expected) = expected.filter(|_| !is_kept && !is_let_past && !is_exempt) else {
        let is_wrong = expected.is_some_and(|expected| expected != shown);
        known.exempted += u64::from(is_wrong && !is_kept && !is_let_past);
        known.expected = Some(shown);
        return None;
    };
    known.expected = Some(expected);
    let was = held.was_unschedulable;
    let what = format!(
        "agent {index} leaves its node with unschedulable {shown}; it was {was} before, and uncordons that were deferred are {:?}",
        held.uncordon
    );
    (shown != expected).then_some((invariant, what))
}
