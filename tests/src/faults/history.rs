//! How many nodes of a pool were held at once, by what the API server has shown.
//!
//! Not here: what a hold is, see [`cordonhold_shared::hold`].

use std::collections::{BTreeMap, BTreeSet};

use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;

use super::POOL;
use crate::follow::Change;

/// The nodes of each pool that are held, and the most that were.
#[derive(Debug, Default)]
pub(super) struct History {
    pools: BTreeMap<String, Pool>,
}

#[derive(Debug, Default)]
struct Pool {
    held: BTreeSet<String>,
    most: usize,
}

impl History {
    pub(super) fn changed(&mut self, change: &Change<Node>) {
        match change {
            // The list that follows says it anew.
            Change::Forget => self.pools.values_mut().for_each(|pool| pool.held.clear()),
            Change::Updated(node) => self.seen(node, is_held(node)),
            Change::Deleted(node) => self.seen(node, false),
        }
    }

    fn seen(&mut self, node: &Node, is_held: bool) {
        let Some(name) = node.labels().get(POOL) else {
            return;
        };
        let pool = self.pools.entry(name.clone()).or_default();
        if is_held {
            let _ = pool.held.insert(node.name_any());
        } else {
            let _ = pool.held.remove(&node.name_any());
        }
        pool.most = pool.most.max(pool.held.len());
    }

    /// The most nodes of this pool that were held at once.
    pub(super) fn most_held(&self, pool: &str) -> usize {
        self.pools.get(pool).map_or(0, |pool| pool.most)
    }
}

/// Whether an agent holds the node, by its phase.
fn is_held(node: &Node) -> bool {
    let phase = node.labels().get(keys::PHASE);
    phase.is_some_and(|phase| phase != Phase::Wanted.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, phase: Option<&str>) -> Node {
        let labels = json!({ POOL: "p", keys::PHASE: phase });
        let mut node = json!({ "metadata": { "name": name, "labels": labels } });
        if phase.is_none() {
            node["metadata"]["labels"] = json!({ POOL: "p" });
        }
        serde_json::from_value(node).unwrap()
    }

    #[test]
    fn the_most_nodes_that_were_held_at_once_are_counted() {
        let mut history = History::default();
        for (name, phase) in [
            ("a", Some("wanted")),
            ("b", Some("draining")),
            ("b", None),
            ("a", Some("draining")),
        ] {
            history.changed(&Change::Updated(node(name, phase)));
        }
        assert_eq!(history.most_held("p"), 1);
        history.changed(&Change::Updated(node("b", Some("sealed"))));
        history.changed(&Change::Updated(node("b", None)));
        assert_eq!(history.most_held("p"), 2);
    }
}
