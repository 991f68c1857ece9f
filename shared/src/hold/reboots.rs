//! When the reboots of a node ended: the value of [`keys::REBOOTS`], for people and for `--reboots-max`.
//!
//! Not here: how many are too many ([`crate::reboot::blocker`]), and the write that adds one ([`super::NodePatch`]).

use jiff::Timestamp;

use crate::Reading;
use crate::keys;
use crate::node::NodeView;
use crate::quote::{QUOTED_MAX, always_quoted};

/// Most reboots that are kept, which is also the largest count of `--reboots-max`.
pub const REBOOTS_KEPT_MAX: usize = 20;

/// When the last reboots of this node ended, as its Node says. Malformed if any of it is no time: then nobody knows how many there were.
pub fn reboots(node: &NodeView) -> Reading<Vec<Timestamp>> {
    let Some(text) = node.annotation(keys::REBOOTS) else {
        return Reading::Absent;
    };
    let times = text.split_whitespace().map(|word| word.parse().map_err(|_| word));
    match times.collect::<Result<_, _>>() {
        Ok(times) => Reading::Present(times),
        Err(word) => Reading::Malformed(format!("{} is no time", always_quoted(word, QUOTED_MAX))),
    }
}

/// A reboot that is to be added to those of a Node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OneMore {
    /// What [`keys::REBOOTS`] says so far.
    pub before: String,
    /// How many reboots are kept there.
    pub kept: usize,
    /// When its wish was stamped, which is earlier. A clock that is behind after the boot, before it is set, says less.
    pub wished: Option<Timestamp>,
}

/// The value with one more reboot, which ended at `now`: the latest `kept` of all times that can be read.
pub(super) fn with_one_more(reboot: &OneMore, now: Timestamp) -> String {
    let OneMore { before, kept, wished } = reboot;
    let now = wished.map_or(now, |wished| wished.max(now));
    let mut times: Vec<Timestamp> = before
        .split_whitespace()
        .filter_map(|word| word.parse::<Timestamp>().ok())
        // A clock was ahead when it was written: that reboot was before this one all the same.
        .map(|time| time.min(now))
        .collect();
    times.sort_unstable();
    let first = times
        .len()
        .saturating_sub((*kept).min(REBOOTS_KEPT_MAX).saturating_sub(1));
    let last = times.split_off(first);
    let texts: Vec<String> = last
        .into_iter()
        .chain([now])
        .map(|time| format!("{time:.0}"))
        .collect();
    texts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-29T10:00:00.7Z";

    fn one_more(before: &str, kept: usize) -> String {
        let reboot = OneMore {
            before: before.to_owned(),
            kept,
            wished: None,
        };
        with_one_more(&reboot, NOW.parse().unwrap())
    }

    fn read(text: &str) -> Reading<Vec<Timestamp>> {
        let mut node = NodeView::default();
        drop(
            node.metadata
                .annotations
                .insert(keys::REBOOTS.to_owned(), text.to_owned()),
        );
        reboots(&node)
    }

    #[test]
    fn only_as_many_reboots_are_kept_as_are_needed() {
        assert_eq!(one_more("", 1), "2026-11-29T10:00:00Z");
        let two = one_more("2026-11-29T09:00:00Z 2026-11-29T08:00:00Z", 2);
        assert_eq!(two, "2026-11-29T09:00:00Z 2026-11-29T10:00:00Z");
        assert_eq!(one_more(&two, 1), "2026-11-29T10:00:00Z");
        assert_eq!(
            one_more("2099-01-01T00:00:00Z 2026-11-29T08:00:00Z", 3),
            "2026-11-29T08:00:00Z 2026-11-29T10:00:00Z 2026-11-29T10:00:00Z"
        );
        let many = "2026-11-29T09:00:00Z ".repeat(10_000);
        let kept = read(&one_more(&many, usize::MAX)).present().unwrap();
        assert_eq!(kept.len(), REBOOTS_KEPT_MAX);
    }

    #[test]
    fn a_clock_that_is_behind_after_the_boot_neither_dates_the_reboot_nor_those_before_earlier_than_its_wish()
    {
        let reboot = OneMore {
            before: "2026-11-29T11:00:00Z".to_owned(),
            kept: 3,
            wished: Some("2026-11-29T18:00:00.5Z".parse().unwrap()),
        };
        let noted = with_one_more(&reboot, NOW.parse().unwrap());
        assert_eq!(noted, "2026-11-29T11:00:00Z 2026-11-29T18:00:00Z");
    }

    #[test]
    fn fail_safe_reading_a_value_that_is_no_list_of_times_is_told_and_loses_none_that_is_one() {
        let garbage = "2026-11-29T09:00:00Z, yesterday";
        let Reading::Malformed(why) = read(garbage) else {
            panic!("{:?}", read(garbage))
        };
        assert_eq!(why, "'2026-11-29T09:00:00Z,' is no time");
        assert_eq!(
            one_more("x 2026-11-29T09:00:00Z y", 3),
            "2026-11-29T09:00:00Z 2026-11-29T10:00:00Z"
        );
        assert_eq!(read(" \n").present(), Some(Vec::new()));
        let long = "\u{0}".repeat(200_000);
        let Reading::Malformed(why) = read(&long) else {
            panic!()
        };
        assert!(why.len() < 1_000, "{} bytes", why.len());
    }
}
