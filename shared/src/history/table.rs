//! A timeline as lines of a table, for a terminal and as the text equal of a picture.
//!
//! Not here: how the table is printed (the kubectl plugin, `page`).

use jiff::Timestamp;

use super::{Event, Timeline, Uncordon};
use crate::hold::Phase;
use crate::quote::quoted;
use crate::span::span;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When.
    pub at: Timestamp,
    /// Whether the time is a guess.
    pub about: bool,
    /// What, in a word or two.
    pub what: String,
    /// More about it; may be empty.
    pub detail: String,
    /// Whether somebody's uncordon passed, or pods went down: what should not have happened.
    pub is_bad: bool,
}

impl Timeline {
    /// All that happened, by time. Uncordons that follow each other, of one user and with one answer, are one line.
    pub fn lines(&self) -> Vec<Line> {
        let mut lines: Vec<Line> = self.spans.iter().map(|span| self.of_span(span)).collect();
        lines.extend(self.moments.iter().map(|moment| Line {
            at: moment.at,
            about: false,
            what: moment.what.as_str().replace('-', " "),
            detail: self.of_moment(moment.what, &moment.says),
            is_bad: moment.what == Event::Reboot && self.pods_at_reboot().is_some_and(|on| on > 0),
        }));
        let mut rest = self.uncordons.as_slice();
        while let Some((first, more)) = rest.split_first() {
            let ends = |at: Timestamp| lines.iter().any(|line| first.at < line.at && line.at <= at);
            let is_same = |other: &&Uncordon| {
                (&other.by, other.answer, &other.reason) == (&first.by, first.answer, &first.reason)
                    && !ends(other.at)
            };
            let run = more.iter().take_while(is_same).count();
            let (own, others) = rest.split_at(run + 1);
            lines.push(of_uncordons(first, own));
            rest = others;
        }
        lines.sort_by_key(|line| line.at);
        lines
    }

    fn of_span(&self, one: &super::Span) -> Line {
        let mut detail = format!("for {}", span(one.to.duration_since(one.from)));
        let counted = |count: Option<u64>| count.filter(|count| *count > 0);
        if one.phase == Phase::Draining && Some(one.from) == self.began(Phase::Draining) {
            if let Some(evicted) = counted(self.evicted) {
                detail = format!("{detail}; {evicted} pods evicted");
            }
            if let Some(refused) = counted(self.refused) {
                detail = format!("{detail}; {refused} evictions refused");
            }
        }
        Line {
            at: one.from,
            about: one.about,
            what: one.phase.as_str().to_owned(),
            detail,
            is_bad: false,
        }
    }

    fn of_moment(&self, what: Event, says: &str) -> String {
        let pods = match self.pods_at_reboot().filter(|_| what == Event::Reboot) {
            None => return says.to_owned(),
            Some(0) => "no pod is on the node".to_owned(),
            Some(1) => "1 pod is on the node".to_owned(),
            Some(pods) => format!("{pods} pods are on the node"),
        };
        if says.is_empty() {
            pods
        } else {
            format!("{says}; {pods}")
        }
    }
}

fn of_uncordons(first: &Uncordon, all: &[Uncordon]) -> Line {
    let count: u64 = all.iter().map(|one| one.count).sum();
    let last = all.iter().map(|one| one.until.unwrap_or(one.at)).max();
    let reason = if first.reason.is_empty() {
        String::new()
    } else {
        format!(" ({})", quoted(&first.reason))
    };
    let times = match last.filter(|_| count > 1) {
        Some(last) => format!(", {count} times until {last:.0}"),
        None => String::new(),
    };
    Line {
        at: first.at,
        about: false,
        what: first.answer.as_str().to_owned(),
        detail: format!("an uncordon by {}{reason}{times}", quoted(&first.by)),
        is_bad: first.answer.lets_through(),
    }
}

/// The name of a user for a small place: the last part of the name of a `ServiceAccount`.
pub fn by_user(user: &str) -> &str {
    user.strip_prefix("system:serviceaccount:")
        .and_then(|account| account.split_once(':'))
        .map_or(user, |(_, name)| name)
}
