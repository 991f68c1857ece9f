//! CORDON-GIVEN-BACK: what people want of each cordon, and what an agent leaves.
//!
//! The exemptions are those of [`Known::is_exempt`], and all of them are of processes that have started since.

use cordonhold_shared::Reading;
use cordonhold_shared::hold::{self, Hold, Phase};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;

use super::{Found, Known, Oracle, proof};
use crate::Invariant;
use crate::api_server::Commit;

/// From the patch to `draining` until the cordon is given back.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) created: String,
    pub(super) was_unschedulable: bool,
    /// The process that cordoned the node last.
    cordoned_by: u64,
    /// The write of its wish.
    wish: Option<String>,
}

impl Held {
    /// Whether the Node shows its whole wish, as it was before the cordon.
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

    /// Where a process that has started since may go wrong with a hold. What it then writes, the next one believes.
    pub(super) fn is_exempt(&self, created: &str) -> bool {
        self.doubtful.as_deref() == Some(created)
            || self.is_unproven(created)
            || self.is_wish_put_back(created)
            || self.is_entry_alone(created)
            || self.is_cordon_unknown(created)
            || self.is_give_back_hidden(created)
    }

    /// A process is about to write of a hold what later ones will believe.
    pub(super) fn doubt(&mut self, created: &str) {
        if self.is_exempt(created) {
            self.doubtful = Some(created.to_owned());
        }
    }

    /// Neither the host's record nor the lock told it of this hold: under another boot it believes the Node's marks, which
    /// anybody may have written; under the same boot it leaves the cordon as it is.
    fn is_unproven(&self, created: &str) -> bool {
        !self.process.knows(created)
    }

    /// Somebody put an older set, the whole wish, back while no process watched: it shows that nothing was cordoned yet.
    fn is_wish_put_back(&self, created: &str) -> bool {
        self.is_held(created) && self.process.was_shown_wish()
    }

    /// `/run` was lost, and somebody took the marks, put them back after the give-back, or wrote a wish in their place: the entry
    /// says what the cordon was, and neither whether it was cordoned yet nor whether it was given back. So an admin's cordon from
    /// just before is taken for ours; and where an admin had cordoned the node, an uncordon of that wish is taken for people's.
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

    /// Somebody took `given-back` away, or wrote it anew, before the process that had given the cordon back could forget: the next
    /// one gives it back again, so what others have done to the cordon in between is undone.
    fn is_give_back_hidden(&self, created: &str) -> bool {
        self.is_given_back_changed
            && self.given_back.as_deref() == Some(created)
            && self.process.was_told(created)
    }

    /// Somebody took the marks, or wrote on the wish, just after the cordon was written down on the host or sent: to the next
    /// process, and to one whose watch had a gap, nothing shows whether it landed, so what others have done to it since is undone.
    /// A wish that is put back after its give-back is followed again.
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
        match commit.caller.process.filter(|(agent, _)| *agent == index) {
            None => {
                somebody_wrote(known, old, new);
                None
            }
            // Beside marks that somebody else wrote, it may write its signs.
            Some(_) if hold::has_marks(new) && proof(old) == proof(new) => None,
            Some((_, process)) => own_wrote(known, index, process, old, new),
        }
    }
}

/// Somebody else wrote the Node. What he does to the cordon of a hold is undone with it.
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
        // The agent's only other writes take the marks away, or find none.
        Reading::Absent if hold::has_marks(new) && !hold::has_marks(old) => {
            found(format!("agent {index} leaves marks that make no hold"))
        }
        Reading::Absent => own_gave_back(known, index, old, new),
    }
}

/// The node is its agent's from here on, or still is.
fn own_holds(known: &mut Known, index: usize, process: u64, old: &NodeView, hold: &Hold) -> Found {
    let found = |what: String| Some((Invariant::CordonGivenBack, what));
    let created = &hold.holder.created;
    let is_same = known.held.as_ref().is_some_and(|held| held.created == *created);
    match hold.phase {
        Phase::Draining if !is_same => {
            // A wish is cordoned: what the cordon was is decided here, and nowhere else.
            let is_wrong = hold.was_unschedulable != Some(old.spec.unschedulable) && is_wish(old);
            let is_exempt = known.is_exempt(created);
            if is_wrong && !is_exempt {
                return found(format!(
                    "agent {index} cordons its node and does not write what the cordon was"
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
                    "agent {index} wishes anew and has not given {} back",
                    held.created
                ));
            }
        }
        Phase::Delaying | Phase::Sealed => {}
    }
    None
}

/// The marks are gone, and the cordon is to be as it was. A write without `given-back` is one of signs.
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
        let what = format!("agent {index} changes the cordon of its node, and nothing is to be given back");
        return found(what).filter(|_| !is_exempt);
    };
    let is_kept = shown && new.annotation(keys::KEEP_CORDONED).is_some();
    let is_let_past = held.was_unschedulable && hold::cancel(old).is_some();
    let was = held.was_unschedulable;
    if is_kept || is_let_past || is_exempt {
        known.exempted += u64::from(shown != was && !is_kept && !is_let_past);
        known.expected = Some(shown);
        return None;
    }
    known.expected = Some(was);
    let what = format!("agent {index} leaves its node with unschedulable {shown}, and it was {was}");
    found(what).filter(|_| shown != was)
}
