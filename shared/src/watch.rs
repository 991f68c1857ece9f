//! What a watch tells, and what the cycle makes of it.
//!
//! Not here: how a watch is kept up.

use crate::cycle::Input;
use crate::node::NodeView;

/// What a watch tells.
#[derive(Clone, Debug)]
pub enum Change<T> {
    /// All there is, now: the watch begins here.
    Listed(Vec<T>),
    Present(T),
    Gone(T),
    /// What happened between the last change and the next is unknown.
    Gap,
}

/// What the watch of our own Node tells the cycle.
pub fn node_changed(change: Change<NodeView>) -> Option<Input> {
    match change {
        Change::Listed(mut nodes) => nodes.pop().map(Input::Seen),
        Change::Present(node) => Some(Input::Seen(node)),
        Change::Gone(_) | Change::Gap => Some(Input::Gap),
    }
}

/// What the watch of the lock tells the cycle.
///
/// The first list counts too: the lock may have changed between the read of the cycle and the watch.
pub fn lock_changed<T>(change: &Change<T>) -> Option<Input> {
    match change {
        Change::Listed(_) | Change::Present(_) | Change::Gone(_) => Some(Input::LockChanged),
        // A list follows.
        Change::Gap => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_gone_is_a_gap() {
        assert_eq!(node_changed(Change::Gone(NodeView::default())), Some(Input::Gap));
        assert_eq!(node_changed(Change::Gap), Some(Input::Gap));
        assert_eq!(node_changed(Change::Listed(Vec::new())), None);
    }
}
