//! CORDON-GIVEN-BACK: what people want of each cordon, and what an agent leaves.

use cordonhold_shared::Reading;
use cordonhold_shared::hold::{self, Phase};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;

use super::{Found, Oracle, phase};
use crate::Invariant;
use crate::api_server::Commit;

/// From the patch to `draining` until the cordon is given back.
#[derive(Debug)]
pub(super) struct Held {
    created: String,
    was_unschedulable: bool,
    /// Somebody wrote another `was-unschedulable` past the webhook, which whoever reads it takes for ours,
    /// or the phase `wanted`, from which nothing is ever given back.
    is_tampered: bool,
}

impl Oracle {
    pub(super) fn cordon_changed(&mut self, commit: &Commit, index: usize) -> Found {
        let known = self.nodes.get_mut(index)?;
        let Some(new) = commit.new.as_ref().map(|new| new.node()) else {
            known.held = None;
            known.expected = None;
            return None;
        };
        let Some(old) = commit.old.as_ref().map(|old| old.node()) else {
            known.expected = Some(new.spec.unschedulable);
            return None;
        };
        let is_own = commit.caller.process.is_some_and(|(agent, _)| agent == index);
        if !is_own {
            if let Some(held) = &mut known.held {
                let was = |node: &NodeView| node.annotation(keys::WAS_UNSCHEDULABLE).map(str::to_owned);
                let is_wish = phase(new) == Some(Phase::Wanted);
                held.is_tampered |= was(old) != was(new) || is_wish;
            } else if old.spec.unschedulable != new.spec.unschedulable {
                known.expected = Some(new.spec.unschedulable);
            }
            return None;
        }
        if let Reading::Present(hold) = hold::read(new) {
            let created = &hold.holder.created;
            let is_new = known.held.as_ref().is_none_or(|held| held.created != *created);
            if hold.phase == Phase::Draining && is_new {
                // Somebody wrote `draining` on a wish past the webhook: what was never decided stays as it is.
                let is_undecided = new.annotation(keys::WAS_UNSCHEDULABLE).is_none();
                if is_undecided && phase(old) == Some(Phase::Wanted) {
                    let what =
                        format!("agent {index} cordons its node and does not write what the cordon was");
                    return Some((Invariant::CordonGivenBack, what));
                }
                known.expected = Some(old.spec.unschedulable);
                known.held = Some(Held {
                    created: created.clone(),
                    was_unschedulable: old.spec.unschedulable,
                    is_tampered: is_undecided,
                });
            }
            return None;
        }
        let shown = new.spec.unschedulable;
        // The agent's only other write takes the marks away.
        let held = known.held.take()?;
        let is_kept = shown && new.annotation(keys::KEEP_CORDONED).is_some();
        let is_let_past = held.was_unschedulable && hold::cancel(old).is_some();
        if is_kept || is_let_past || held.is_tampered {
            known.expected = Some(shown);
        } else if shown != held.was_unschedulable {
            let what = format!(
                "agent {index} leaves its node with unschedulable {shown}, and it was {}",
                held.was_unschedulable
            );
            return Some((Invariant::CordonGivenBack, what));
        }
        None
    }
}
