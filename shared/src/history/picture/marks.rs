//! The lane of the uncordons: one mark for each, with a shape of its own for each answer, and labels for those that stand together.
//!
//! Not here: where labels go (`flags`).

use std::fmt::Write as _;

use super::flags::{self, Flag};
use super::{Answer, Drawing, GAP, RIGHT, SMALL, by_user, escaped};

/// The height of the marks.
const MARKS: f64 = 24.0;
/// Most characters of a user's name in a label.
const NAME_MAX: usize = 28;
/// How close marks of one user and one answer share a label: if the labels do not fit, those further apart, then all of them, then those of
/// all users.
const TOGETHER: [(f64, bool); 4] = [
    (40.0, true),
    (160.0, true),
    (f64::INFINITY, true),
    (f64::INFINITY, false),
];

/// Marks with one label.
struct Group<'a> {
    x: f64,
    last: f64,
    count: u64,
    answer: Answer,
    by: &'a str,
    is_of_one: bool,
}

impl Group<'_> {
    fn label(&self) -> String {
        let word = self.answer.as_str();
        let by = crate::quote::one_line(by_user(self.by), NAME_MAX);
        let by = if self.is_of_one { by } else { "several".to_owned() };
        match self.count {
            1 => format!("{word}: {by}"),
            count => format!("{count}× {word}: {by}"),
        }
    }
}

impl Drawing<'_> {
    pub(super) fn uncordons(&mut self) {
        self.lane("uncordons");
        let y = self.y + MARKS / 2.0;
        for one in &self.timeline.uncordons {
            let x = self.scale.x(one.at);
            let mut title = format!(
                "{:.0}: an uncordon by {}: {}",
                one.at,
                one.by,
                one.answer.as_str()
            );
            if let Some(until) = one.until {
                let end = self.scale.x(until);
                write!(title, ", {} times until {until:.0}", one.count).unwrap_or_default();
                writeln!(
                    self.body,
                    "<path class=\"many {}\" d=\"M{x:.1} {y:.1}H{end:.1}m0 -5v10\"/>",
                    one.answer.as_str()
                )
                .unwrap_or_default();
            }
            writeln!(
                self.body,
                "<g class=\"mark {}\" data-at=\"{}\"><title>{}</title>{}</g>",
                one.answer.as_str(),
                one.at,
                escaped(&title),
                shape(one.answer, x, y)
            )
            .unwrap_or_default();
        }
        self.y += MARKS;
        if self.timeline.uncordons.is_empty() {
            let y = self.y - 8.0;
            self.text("faint", super::LEFT, y, "none is known");
        } else {
            let flags = self.labels_of_uncordons();
            self.hang(&flags, "by");
        }
        self.y += GAP;
    }

    /// As many labels as fit.
    fn labels_of_uncordons(&self) -> Vec<Flag> {
        let mut flags = Vec::new();
        for (apart, is_by_user) in TOGETHER {
            flags = self
                .groups(apart, is_by_user)
                .iter()
                .map(|group| Flag::new(group.x, &group.label(), SMALL))
                .collect();
            flags.sort_by(|a: &Flag, b| a.x.total_cmp(&b.x));
            if flags::placed_or_dropped(&flags, RIGHT)
                .iter()
                .all(Option::is_some)
            {
                break;
            }
        }
        flags
    }

    fn groups(&self, apart: f64, is_by_user: bool) -> Vec<Group<'_>> {
        let mut groups: Vec<Group<'_>> = Vec::new();
        for one in &self.timeline.uncordons {
            let x = self.scale.x(one.at);
            let last = one.until.map_or(x, |until| self.scale.x(until));
            let is_its = |group: &&mut Group<'_>| {
                group.answer == one.answer && (!is_by_user || group.by == one.by) && x - group.last <= apart
            };
            match groups.iter_mut().rev().find(is_its) {
                Some(group) => {
                    group.last = group.last.max(last);
                    group.count += one.count;
                    group.is_of_one &= group.by == one.by;
                }
                None => groups.push(Group {
                    x,
                    last,
                    count: one.count,
                    answer: one.answer,
                    by: &one.by,
                    is_of_one: true,
                }),
            }
        }
        groups
    }

    /// What the shapes mean, of those that are there, in as many lines as they need.
    pub(super) fn legend(&mut self) {
        let mut y = self.y + 12.0;
        let mut x = super::LEFT;
        for (answer, says) in [
            (Answer::Denied, "an uncordon was denied"),
            (Answer::Deferred, "an uncordon was kept until the end"),
            (Answer::Allowed, "an uncordon was allowed"),
            (Answer::Passed, "an uncordon passed"),
            (Answer::Unknown, "an uncordon; its answer is not known"),
        ] {
            if self.timeline.count(answer) == 0 {
                continue;
            }
            let width = flags::text_width(says, SMALL);
            if x + 18.0 + width > RIGHT {
                (x, y) = (super::LEFT, y + 18.0);
            }
            writeln!(
                self.body,
                "<g class=\"key {}\">{}</g>\n<text class=\"faint\" x=\"{:.1}\" y=\"{:.1}\">{says}</text>",
                answer.as_str(),
                shape(answer, x + 6.0, y),
                x + 18.0,
                y + 4.0
            )
            .unwrap_or_default();
            x += width + 44.0;
        }
        if x > super::LEFT {
            self.y = y + 8.0;
        }
    }
}

/// A cross, two bars as of a pause, an angle or an arrow to the pods, or a ring.
fn shape(answer: Answer, x: f64, y: f64) -> String {
    match answer {
        Answer::Denied => format!("<path d=\"M{:.1} {:.1}l10 10m0 -10l-10 10\"/>", x - 5.0, y - 5.0),
        Answer::Deferred => format!("<path d=\"M{:.1} {:.1}v12m6 -12v12\"/>", x - 3.0, y - 6.0),
        Answer::Allowed => format!("<path d=\"M{:.1} {:.1}l6 8l6 -8\"/>", x - 6.0, y - 4.0),
        Answer::Passed => format!("<path d=\"M{:.1} {:.1}h4v8h5l-7 9l-7 -9h5z\"/>", x - 2.0, y - 9.0),
        Answer::Unknown => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>"),
    }
}
