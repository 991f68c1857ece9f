//! Which requests for reboots were used: an annotation beside the lock's record, written with the same compare-and-swap.
//!
//! For each node only the latest time is kept: a request of that time or an earlier one is used. So no number of old requests, in any order,
//! leads to another reboot. Nothing here reads a clock: a clock that goes back makes no request new.
//! Not here: when a request is used ([`crate::reboot::cycle`]), and what it says ([`crate::hold::RebootRequest`]).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Reading;
use crate::hold::REQUEST_AGE_MAX;
use crate::quote::quoted;

/// Most bytes of the annotation, of the 256 KiB that all annotations of an object may have: some 500 nodes with names of 253 characters,
/// some 2 000 with names of 30. When there are more, the oldest are dropped, and every request that is as old counts as used.
/// So that this takes no request from another node, none is dropped that may still count there.
pub const USED_BYTES_MAX: usize = 150_000;
/// What a node takes beside its name: the time with nanoseconds, quotes, colon and comma.
const ENTRY_BYTES: usize = 40;

/// The requests that were used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct UsedRequests {
    /// Every request up to this time counts as used, of whatever node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    up_to: Option<Timestamp>,
    /// The time of the last request that was used, by the Node's name.
    nodes: BTreeMap<String, Timestamp>,
    /// Fields of a newer version, kept as they are.
    #[serde(flatten)]
    rest: Map<String, Value>,
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

    /// These, and the request of this node that was made at this time; `None` if there is no room for it.
    pub fn with(&self, node: &str, at: Timestamp) -> Option<UsedRequests> {
        let mut used = self.clone();
        let last = used.nodes.entry(node.to_owned()).or_insert(at);
        *last = at.max(*last);
        if used.is_small() {
            return Some(used);
        }
        // By the requests themselves: no clock.
        let newest = used.nodes.values().max().copied()?;
        let dropped = newest.checked_sub(REQUEST_AGE_MAX).ok()?;
        used.nodes.retain(|_, at| *at >= dropped);
        used.up_to = used.up_to.max(Some(dropped));
        used.is_small().then_some(used)
    }

    fn is_small(&self) -> bool {
        let bytes = self.nodes.keys().map(|name| name.len() + ENTRY_BYTES);
        bytes.sum::<usize>() <= USED_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 24 * 60 * 60;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn used<'a>(uses: impl IntoIterator<Item = (&'a str, i64)>) -> UsedRequests {
        let mut all = UsedRequests::default();
        for (node, second) in uses {
            all = all.with(node, at(second)).unwrap();
        }
        all
    }

    /// The names of so many nodes that the annotation is full with some more.
    fn long_name(index: usize) -> String {
        format!("{index:0>253}")
    }

    #[test]
    fn the_text_is_read_as_it_was_written() {
        let used = used([("b", 5), ("a", 7)]);
        let text = used.render();
        assert_eq!(
            text,
            r#"{"nodes":{"a":"1970-01-01T00:00:07Z","b":"1970-01-01T00:00:05Z"}}"#
        );
        assert_eq!(UsedRequests::read(Some(&text)), Reading::Present(used));
        assert_eq!(UsedRequests::read(None), Reading::Absent);
        let newer = r#"{"nodes":{},"why":{"a":"x"}}"#;
        let used = UsedRequests::read(Some(newer)).present().unwrap();
        assert_eq!(used.render(), newer);
        // As the message about one that cannot be read says.
        let repaired = UsedRequests::read(Some(r#"{"up_to":"1970-01-01T00:00:09Z","nodes":{}}"#)).present();
        assert!(repaired.is_some_and(|used| used.has("a", at(9)) && !used.has("a", at(10))));
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
        for index in 0..1_000 {
            // One in ten minutes: a day has fewer than there is room for.
            let second = i64::try_from(index).unwrap() * 600;
            used = used.with(&long_name(index), at(second)).unwrap();
        }
        assert!(used.render().len() <= USED_BYTES_MAX);
        // Each of the last day counts by itself, and those before are used.
        for index in 0..1_000 {
            let second = i64::try_from(index).unwrap() * 600;
            assert!(used.has(&long_name(index), at(second)), "{index}");
        }
        assert!(!used.has("another", at(999 * 600 - DAY + 1)));
    }

    #[test]
    fn where_there_is_no_room_nothing_is_dropped_that_may_still_count() {
        let mut used = UsedRequests::default();
        let mut full = None;
        for index in 0..1_000 {
            let Some(more) = used.with(&long_name(index), at(DAY)) else {
                full = Some(index);
                break;
            };
            used = more;
        }
        let full = full.expect("it is never full");
        assert!(full > 400, "{full}");
        // Nobody else's request is used up, of that day or of the day before.
        for index in full..full + 10 {
            assert!(!used.has(&long_name(index), at(1)));
        }
        // Whoever is in it already has room, and a day later so has everybody.
        assert!(used.with(&long_name(0), at(DAY + 1)).is_some());
        assert!(
            used.with("late", at(2 * DAY + 1))
                .is_some_and(|used| used.has(&long_name(7), at(DAY)))
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_was_used_once_stays_used_whatever_comes_after(
            uses in prop::collection::vec((0..800_usize, 0..5 * DAY), 0..900),
        ) {
            let (mut used, mut taken) = (UsedRequests::default(), Vec::new());
            for (node, second) in uses {
                if let Some(more) = used.with(&long_name(node), at(second)) {
                    used = more;
                    taken.push((node, second));
                }
            }
            for (node, second) in &taken {
                prop_assert!(used.has(&long_name(*node), at(*second)));
                prop_assert!(used.has(&long_name(*node), at(second - 1)));
            }
            let Reading::Present(again) = UsedRequests::read(Some(&used.render())) else {
                panic!("{}", used.render());
            };
            prop_assert_eq!(again, used);
        }

        #[test]
        fn a_request_of_the_last_day_is_used_by_its_own_node_alone(
            uses in prop::collection::vec((0..800_usize, 0..5 * DAY), 1..900),
        ) {
            let mut used = UsedRequests::default();
            let mut newest = 0;
            for (node, second) in uses {
                if let Some(more) = used.with(&long_name(node), at(second)) {
                    used = more;
                    newest = newest.max(second);
                }
            }
            prop_assert!(!used.has("another", at(newest - DAY + 1)));
        }
    }
}
