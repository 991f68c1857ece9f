//! Forgeries: somebody who is not the Node's agent writes a value on a mark, or puts older marks back.
//!
//! A forgery goes through admission like any other update. A webhook that is up denies most of them, so most land only while it is down.

use cordonhold_shared::hold::{self, Phase};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;

use crate::players::Who;
use crate::protocol::{Protocol, proof};
use crate::world::State;

/// One forged write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forgery {
    Phase(Phase),
    WasUnschedulable(bool),
    AnotherBoot,
    Attempts,
    AnotherWrite,
    AnotherHolder,
    /// Writes `given-back` for the current hold.
    GivenBack,
    /// Puts back all marks as they were after an earlier write of the agent.
    OlderMarks,
    /// Writes marks of a hold that never existed, on a Node without a hold.
    AHold(Phase),
}

/// The number of a proof that no agent ever writes.
pub(crate) const FORGED: u8 = 200;
/// The `created` of a hold that no agent has stamped.
const CREATED: &str = "2026-11-23T23:00:00.000000001Z";

impl Forgery {
    /// The forgeries that are possible on this Node.
    pub(crate) fn on(view: &NodeView, has_older: bool) -> Vec<Forgery> {
        if hold::read(view).present().is_none() {
            return vec![
                Forgery::AHold(Phase::Draining),
                Forgery::AHold(Phase::Sealed),
                Forgery::AHold(Phase::Returning),
            ];
        }
        let phases = Phase::ALL.into_iter().map(Forgery::Phase);
        let others = [
            Forgery::WasUnschedulable(false),
            Forgery::WasUnschedulable(true),
            Forgery::AnotherBoot,
            Forgery::Attempts,
            Forgery::AnotherWrite,
            Forgery::AnotherHolder,
            Forgery::GivenBack,
        ];
        let older = has_older.then_some(Forgery::OlderMarks);
        phases.chain(others).chain(older).collect()
    }
}

impl Protocol {
    pub(crate) fn forge(&self, state: &mut State, id: u8, forgery: Forgery) -> bool {
        state.left.forgeries -= 1;
        let node = &state.nodes[usize::from(id)];
        let (old, older) = (
            self.views.get(node.view),
            node.older.map(|older| self.views.get(older)),
        );
        let new = forged(&old, older.as_deref(), forgery);
        if new == *old || !self.passes(state, id, &new, Who::Stranger) {
            return false;
        }
        let ghost = &mut state.nodes[usize::from(id)].seen;
        let is_lost = matches!(forgery, Forgery::AnotherHolder);
        ghost.taken |= is_lost;
        ghost.between &= !is_lost;
        if forgery != Forgery::GivenBack {
            ghost.forged = true;
            ghost.disturbed = true;
            ghost.listed = false;
        }
        // With a wish put back, our cordon looks like one that an admin made before the wish.
        let is_older_wish =
            matches!(forgery, Forgery::OlderMarks) && new.label(keys::PHASE) == Some(Phase::Wanted.as_str());
        ghost.unsure |= is_older_wish;
        self.put_view(state, id, new);
        true
    }
}

fn forged(old: &NodeView, older: Option<&NodeView>, forgery: Forgery) -> NodeView {
    let mut view = old.clone();
    let annotations = &mut view.metadata.annotations;
    let mut set = |key: &str, value: String| drop(annotations.insert(key.to_owned(), value));
    match forgery {
        Forgery::Phase(phase) => {
            drop(
                view.metadata
                    .labels
                    .insert(keys::PHASE.to_owned(), phase.to_string()),
            );
        }
        Forgery::WasUnschedulable(was) => set(keys::WAS_UNSCHEDULABLE, was.to_string()),
        Forgery::AnotherBoot => set(keys::BOOT_ID, "another/".to_owned()),
        Forgery::Attempts => set(keys::ATTEMPT, "1".to_owned()),
        Forgery::AnotherWrite => set(keys::WRITE, proof(FORGED).as_str().to_owned()),
        Forgery::AnotherHolder => set(keys::HOLDER, format!("{}/{CREATED}", old.metadata.uid)),
        Forgery::GivenBack => {
            let created = hold::read(old).present().map(|hold| hold.holder.created);
            set(
                keys::GIVEN_BACK,
                format!("{} {}", created.unwrap_or_default(), proof(FORGED).as_str()),
            );
        }
        Forgery::OlderMarks => {
            let Some(older) = older else { return view };
            for key in keys::MARK_ANNOTATIONS {
                drop(match older.annotation(key) {
                    Some(value) => annotations.insert(key.to_owned(), value.to_owned()),
                    None => annotations.remove(key),
                });
            }
            drop(match older.label(keys::PHASE) {
                Some(phase) => view
                    .metadata
                    .labels
                    .insert(keys::PHASE.to_owned(), phase.to_owned()),
                None => view.metadata.labels.remove(keys::PHASE),
            });
        }
        Forgery::AHold(phase) => {
            set(keys::HOLDER, format!("{}/{CREATED}", old.metadata.uid));
            set(keys::WAS_UNSCHEDULABLE, "false".to_owned());
            drop(
                view.metadata
                    .labels
                    .insert(keys::PHASE.to_owned(), phase.to_string()),
            );
        }
    }
    view
}
