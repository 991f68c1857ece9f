//! What a watch tells, and what the cycle makes of it.
//!
//! Not here: how a watch is kept up.

use std::collections::BTreeMap;

use crate::carrier::CarrierView;
use crate::cycle::input::Input;
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

/// What the watch of the lock showed last: a DaemonSet's status changes whenever one of its pods does, and that is no news.
#[derive(Debug, Default)]
pub struct LockShown(Option<BTreeMap<String, String>>);

impl LockShown {
    pub fn is_news(&mut self, change: &Change<CarrierView>) -> bool {
        let object = match change {
            Change::Present(object) => Some(object),
            Change::Listed(objects) => objects.last(),
            Change::Gone(_) | Change::Gap => None,
        };
        let before = std::mem::replace(
            &mut self.0,
            object.map(|object| object.metadata.annotations.clone()),
        );
        before.is_none() || before != self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_annotations_are_news_of_the_lock() {
        let object = |annotations: &str| -> CarrierView {
            let json = format!(r#"{{"metadata":{{"resourceVersion":"1","annotations":{annotations}}}}}"#);
            serde_json::from_str(&json).unwrap()
        };
        let mut shown = LockShown::default();
        assert!(shown.is_news(&Change::Listed(vec![object("{}")])));
        assert!(!shown.is_news(&Change::Present(object("{}"))));
        assert!(shown.is_news(&Change::Present(object(r#"{"a":"b"}"#))));
        assert!(!shown.is_news(&Change::Present(object(r#"{"a":"b"}"#))));
        assert!(shown.is_news(&Change::Gone(object(r#"{"a":"b"}"#))));
        assert!(shown.is_news(&Change::Present(object(r#"{"a":"b"}"#))));
        // A list of nothing may follow any change.
        assert!(shown.is_news(&Change::Listed(Vec::new())));
        assert!(shown.is_news(&Change::Listed(Vec::new())));
    }

    #[test]
    fn a_node_that_is_gone_is_a_gap() {
        assert_eq!(node_changed(Change::Gone(NodeView::default())), Some(Input::Gap));
        assert_eq!(node_changed(Change::Gap), Some(Input::Gap));
        assert_eq!(node_changed(Change::Listed(Vec::new())), None);
    }
}
