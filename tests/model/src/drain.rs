//! The pods of a node: what an eviction does, and what a drain reports when it is over.
//!
//! A node has one pod at most. Not here: budgets, pods of a DaemonSet that no longer exists, and eviction by priority, which are in the
//! tests of the drain in `shared`.

use std::collections::BTreeSet;

use cordonhold_shared::reboot::cycle::{DrainNews, Event, Input};

use crate::protocol::Protocol;
use crate::rule::Rule;
use crate::scenarios::Owner;
use crate::world::{Drain, Node, State};

/// The controller of the only pod.
pub(crate) const OWNER: &str = "ReplicaSet default/web";
/// How many times the owner must put the pod back before it counts as wanted there, as in ARCHITECTURE.md, "The drain".
const TIMES: u8 = 3;

impl Protocol {
    /// Whether the pod's owner wants it on the node, by the rule of ARCHITECTURE.md.
    pub(crate) fn is_wanted_there(&self, node: &Node) -> bool {
        self.scenario.owner == Owner::Tolerant && node.put_back >= TIMES
    }

    /// Whether the agent sees a pod that tolerates both cordon and taint.
    pub(crate) fn seems_tolerant(&self) -> bool {
        match self.scenario.owner {
            Owner::Ordinary => false,
            Owner::Tolerant => true,
            Owner::Binding => self.is_off(Rule::TolerationsAreRead),
        }
    }

    fn is_kept(&self, node: &Node) -> bool {
        self.seems_tolerant() && (node.put_back >= TIMES || self.is_off(Rule::ReturnsAreCounted))
    }

    /// Whether a drain would evict the pod.
    pub(crate) fn must_leave(&self, node: &Node) -> bool {
        node.pods > 0 && !self.is_kept(node)
    }

    /// Evicts the pod. If its owner puts it back, the next one is there at once.
    pub(crate) fn evict(&self, node: &mut Node) {
        let is_put_back = match self.scenario.owner {
            Owner::Ordinary => false,
            Owner::Tolerant => true,
            Owner::Binding => node.put_back <= TIMES,
        };
        if is_put_back {
            node.put_back = (node.put_back + 1).min(TIMES + 1);
        } else {
            node.pods = 0;
        }
    }

    pub(crate) fn drained(&self, state: &mut State, index: usize) {
        let node = &state.nodes[usize::from(state.agents[index].node)];
        let is_kept = node.pods > 0 && self.is_kept(node);
        let kept: BTreeSet<String> = is_kept.then(|| OWNER.to_owned()).into_iter().collect();
        state.agents[index].drain = Drain::Over;
        self.feed(state, index, Input::Event(Event::Drain(DrainNews::Drained(kept))));
    }
}
