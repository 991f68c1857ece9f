//! Decides whether a change that the watch of the lock shows is news: of the object that carries the lock, only the annotations count.
//!
//! Not here: the watches of the Node and of the pods, and how a watch is kept up ([`crate::watch`]).

use std::collections::BTreeMap;

use crate::reboot::lock_object::CarrierView;
use crate::watch::Change;

/// The annotations that the watch of the lock showed last. Only a change of these is news: a DaemonSet's status changes whenever
/// one of its pods does.
#[derive(Debug, Default)]
pub struct LockShown(Option<BTreeMap<String, String>>);

/// The object that carries the lock, as this change shows it; `None` if it shows none.
pub fn shown(change: &Change<CarrierView>) -> Option<&CarrierView> {
    match change {
        Change::Present(object) => Some(object),
        Change::Listed(objects) => objects.last(),
        Change::Gone(_) | Change::Gap => None,
    }
}

impl LockShown {
    /// Whether the lock may have changed.
    pub fn is_news(&mut self, change: &Change<CarrierView>) -> bool {
        let object = shown(change);
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
}
