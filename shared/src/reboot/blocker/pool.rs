//! What a list of the pool's Nodes shows: how many there are, which are not Ready, and which are in a reboot.
//!
//! The list is made after the lock was read, so that it can show that an entry is over.
//! Not here: what blocks by it ([`super`]).

use std::collections::{BTreeMap, BTreeSet};

use super::Foreign;
use crate::hold;
use crate::lock;
use crate::node::NodeView;
use crate::reboot::lock_object::LockView;

/// What to look for on each Node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The name of our own Node, which is no other node.
    pub node: String,
    /// The lock, read before the Nodes.
    pub lock: LockView,
    /// `--spread-by`: the labels whose values are kept.
    pub spread_by: Vec<String>,
    /// `--foreign-reboot`: whose reboots are looked for.
    pub foreign: Vec<Foreign>,
}

/// The pool's Nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PoolCount {
    /// How many Nodes the pool has.
    pub size: usize,
    /// The Nodes that are not Ready and carry no hold, by name.
    pub unready: BTreeSet<String>,
    /// The other nodes that are in a reboot, by name.
    pub(super) in_reboot: BTreeMap<String, InReboot>,
    /// The nodes with an entry in the lock whose Node was looked at.
    looked_at: BTreeSet<String>,
    /// How many of these Nodes were read one by one, because they are not in the pool.
    read: usize,
}

/// Most Nodes of holders outside of the pool that are read one by one. Any more count as nodes of which nothing is known: usually there are
/// no more than `--concurrency`, and anybody who can write the lock can put any number of names there.
const HOLDERS_MAX: usize = 8;

/// Another node that is in a reboot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct InReboot {
    /// Its values of the labels of `--spread-by`; `None` where its Node has no such label, or cannot be looked at.
    pub(super) values: Vec<Option<String>>,
    /// Whose reboot it is; `None` if the node is in the lock or held.
    pub(super) foreign: Option<Foreign>,
}

impl PoolCount {
    /// Takes in a Node of the pool.
    pub fn add(&mut self, node: &NodeView, look: &Look) {
        self.size = self.size.saturating_add(1);
        if !node.is_ready() && !hold::is_held(&hold::read(node)) {
            let _ = self.unready.insert(node.name().to_owned());
        }
        self.note(node.name(), Some(node), look);
    }

    /// Takes in the Node of a node that has an entry in the lock and is not in the pool; `None` if there is no such Node.
    pub(crate) fn add_holder(&mut self, name: &str, node: Option<&NodeView>, look: &Look) {
        self.read = self.read.saturating_add(1);
        self.note(name, node, look);
    }

    /// Takes in a node that has an entry in the lock, and whose Node cannot be looked at.
    pub(crate) fn add_unknown(&mut self, name: &str, look: &Look) {
        let unknown = InReboot {
            values: vec![None; look.spread_by.len()],
            foreign: None,
        };
        let _ = self.looked_at.insert(name.to_owned());
        drop(self.in_reboot.insert(name.to_owned(), unknown));
    }

    /// The next node that has an entry in the lock, and whose Node is to be read because it is not in the pool.
    pub(crate) fn next_holder(&mut self, look: &Look) -> Option<String> {
        let record = look.lock.record.as_ref().present()?;
        let entries = record.entries.iter().filter(|entry| !entry.is_by_hand());
        let mut left = entries
            .map(|entry| &entry.node)
            .filter(|name| **name != look.node && !self.looked_at.contains(*name));
        let next = left.next().cloned()?;
        if self.read < HOLDERS_MAX {
            return Some(next);
        }
        let rest: Vec<String> = left.cloned().chain([next]).collect();
        for name in &rest {
            self.add_unknown(name, look);
        }
        None
    }

    fn note(&mut self, name: &str, node: Option<&NodeView>, look: &Look) {
        let record = look.lock.record.as_ref().present();
        let mut entries = record.iter().flat_map(|record| &record.entries);
        // Each entry is judged as the acquirer judges it.
        let has_entry = entries.any(|entry| {
            entry.node == name && !entry.is_by_hand() && !lock::is_over(entry, &look.lock.expired, node)
        });
        if record.is_some_and(|record| record.of_node(name).is_some()) {
            let _ = self.looked_at.insert(name.to_owned());
        }
        let is_held = node.is_some_and(|node| hold::is_held(&hold::read(node)));
        let mut signs = look.foreign.iter().copied();
        let foreign = signs.find(|sign| node.is_some_and(|node| sign.is_shown_by(node)));
        let is_ours = has_entry || is_held;
        if name == look.node || !(is_ours || foreign.is_some()) {
            return;
        }
        let value = |label: &String| node.and_then(|node| node.label(label)).map(str::to_owned);
        let other = InReboot {
            values: look.spread_by.iter().map(value).collect(),
            foreign: foreign.filter(|_| !is_ours),
        };
        drop(self.in_reboot.insert(name.to_owned(), other));
    }
}
