//! Which requests for reboots were used: an annotation beside the lock's record, written with the same compare-and-swap.
//!
//! For each node only the latest time is kept: a request of that time or an earlier one is used. So no number of old requests, in any order,
//! leads to another reboot. Nothing here reads a clock: a clock that goes back makes no request new.
//! Not here: when a request is used ([`crate::reboot::cycle`]), and what it says ([`crate::hold::RebootRequest`]).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Reading;
use crate::quote::quoted;

/// Most nodes whose last request is kept. With names of 253 characters they take 75 KB, of the 256 KiB that all annotations of an object may
/// have. When there are more, the oldest is dropped, and every request that is as old counts as used.
pub const USED_MAX: usize = 256;

/// The requests that were used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct UsedRequests {
    /// Every request up to this time counts as used, of whatever node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    up_to: Option<Timestamp>,
    /// The time of the last request that was used, by the Node's name.
    nodes: BTreeMap<String, Timestamp>,
}

impl UsedRequests {
    /// Reads the text of the annotation.
    pub fn read(text: Option<&str>) -> Reading<UsedRequests> {
        match text.map(serde_json::from_str) {
            None => Reading::Absent,
            Some(Ok(used)) => Reading::Present(used),
            Some(Err(error)) => Reading::Malformed(quoted(&error.to_string())),
        }
    }

    /// The text for the annotation.
    pub fn render(&self) -> String {
        serde_json::to_string(self).expect("names and times always render")
    }

    /// Up to which time requests of this node are used. `None`: none is.
    pub fn up_to(&self, node: &str) -> Option<Timestamp> {
        self.nodes.get(node).copied().max(self.up_to)
    }

    /// Whether a request of this node that was made at this time is used.
    pub fn has(&self, node: &str, at: Timestamp) -> bool {
        self.up_to(node).is_some_and(|used| at <= used)
    }

    /// These, and the request of this node that was made at this time.
    #[must_use]
    pub fn with(&self, node: &str, at: Timestamp) -> UsedRequests {
        let mut used = self.clone();
        let last = used.nodes.entry(node.to_owned()).or_insert(at);
        *last = at.max(*last);
        while used.nodes.len() > USED_MAX {
            let oldest = used.nodes.iter().min_by_key(|(_, at)| **at);
            let Some((name, at)) = oldest.map(|(name, at)| (name.clone(), *at)) else {
                break;
            };
            let _ = used.nodes.remove(&name);
            used.up_to = used.up_to.max(Some(at));
        }
        used
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_text_is_read_as_it_was_written() {
        let used = UsedRequests::default().with("b", at(5)).with("a", at(7));
        let text = used.render();
        assert_eq!(
            text,
            r#"{"nodes":{"a":"1970-01-01T00:00:07Z","b":"1970-01-01T00:00:05Z"}}"#
        );
        assert_eq!(UsedRequests::read(Some(&text)), Reading::Present(used));
        assert_eq!(UsedRequests::read(None), Reading::Absent);
        for text in ["", "[]", "{}", "{\"nodes\":{\"a\":\"yesterday\"}}", "null"] {
            assert!(
                matches!(UsedRequests::read(Some(text)), Reading::Malformed(_)),
                "{text}"
            );
        }
    }

    #[test]
    fn the_annotation_stays_small_however_many_nodes_there_are() {
        let mut used = UsedRequests::default();
        for index in 0..2 * USED_MAX {
            let name = format!("{index:0>253}");
            used = used.with(&name, at(1_800_000_000 + i64::try_from(index).unwrap()));
        }
        assert!(used.render().len() < 80_000, "{}", used.render().len());
    }

    proptest! {
        #[test]
        fn what_was_used_once_stays_used_whatever_comes_after(
            uses in prop::collection::vec((0..2 * USED_MAX, 0_i64..2_000), 0..1_500),
        ) {
            let mut used = UsedRequests::default();
            for (node, second) in &uses {
                used = used.with(&node.to_string(), at(*second));
            }
            for (node, second) in &uses {
                prop_assert!(used.has(&node.to_string(), at(*second)));
                prop_assert!(used.has(&node.to_string(), at(second - 1)));
            }
            let Reading::Present(again) = UsedRequests::read(Some(&used.render())) else {
                panic!("{}", used.render());
            };
            prop_assert_eq!(again, used);
        }

        #[test]
        fn a_request_that_is_later_than_all_others_is_not_used(
            uses in prop::collection::vec((0..2 * USED_MAX, 0_i64..2_000), 0..1_500),
        ) {
            let mut used = UsedRequests::default();
            for (node, second) in &uses {
                used = used.with(&node.to_string(), at(*second));
            }
            prop_assert!(!used.has("1", at(2_000)));
        }
    }
}
