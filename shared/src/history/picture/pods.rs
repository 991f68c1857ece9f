//! The lane of the pods: how many that a drain evicts are on the node.
//!
//! Not here: where the numbers come from (`join`).

use std::fmt::Write as _;

use super::flags::text_width;
use super::{Drawing, GAP, LEFT, PODS_HEIGHT, RIGHT, SIZE, SMALL};
use crate::history::{Outcome, Pods};

impl Drawing<'_> {
    pub(super) fn pods(&mut self) {
        self.lane("pods");
        let (top, floor) = (self.y, self.y + PODS_HEIGHT);
        let pods = self.timeline.pods.clone();
        let Some(last) = pods.last() else {
            self.text(
                "faint",
                LEFT,
                top + SIZE + 2.0,
                "how many there were is not known",
            );
            self.y = top + 24.0 + GAP;
            return;
        };
        let most = pods.iter().map(|pods| pods.on).max().unwrap_or_default().max(1);
        let y = |on: u64| floor - number(on) / number(most) * (PODS_HEIGHT - 16.0);
        let points: Vec<(f64, f64)> = pods
            .iter()
            .map(|pods| (self.scale.x(pods.at), y(pods.on)))
            .collect();
        let is_about = pods.iter().any(|pods| pods.about);
        let Some((first_x, first_y)) = points.first().copied() else {
            return;
        };
        let mut line = format!("M{first_x:.1} {first_y:.1}");
        for (x, y) in points.iter().skip(1) {
            if is_about {
                write!(line, "L{x:.1} {y:.1}").unwrap_or_default();
            } else {
                write!(line, "H{x:.1}V{y:.1}").unwrap_or_default();
            }
        }
        let end = if is_about { self.scale.x(last.at) } else { RIGHT };
        write!(line, "H{end:.1}").unwrap_or_default();
        let class = if is_about { "pods about" } else { "pods" };
        let says = if is_about {
            "how many pods the drain evicted; when each left is not known"
        } else {
            "how many pods are on the node"
        };
        writeln!(
            self.body,
            "<g class=\"{class}\"><title>{says}</title><path class=\"area\" d=\"{line}V{floor:.1}H{first_x:.1}z\"/><path class=\"line\" d=\"{line}\"/></g>\n<path class=\"axis\" d=\"M{LEFT} {floor:.1}H{RIGHT}\"/>",
        )
        .unwrap_or_default();
        let taken = self.killed(top);
        self.numbers(&pods, &points, taken);
        self.y = floor + GAP;
    }

    /// Says which pods go down with the node; returns where that is said.
    fn killed(&mut self, top: f64) -> Option<(f64, f64)> {
        let down = self.timeline.reboot()?;
        let is_known = self.timeline.outcome != Outcome::CalledOff;
        let on = self.timeline.pods_at_reboot().filter(|on| *on > 0 && is_known)?;
        let text = match on {
            1 => "1 pod goes down with the node".to_owned(),
            on => format!("{on} pods go down with the node"),
        };
        let width = text_width(&text, SIZE) * 1.05;
        let x = (self.scale.x(down) + 20.0).min(RIGHT - width);
        let y = top + 8.0;
        writeln!(
            self.body,
            "<path class=\"killed\" d=\"M{:.1} {:.1}l9 9m0 -9l-9 9\"/>",
            x - 14.0,
            y - 8.0
        )
        .unwrap_or_default();
        self.text("killed", x, y, &text);
        Some((x - 16.0, x + width))
    }

    /// The numbers at the first, the lowest and the highest points, as far as there is room.
    fn numbers(&mut self, pods: &[Pods], points: &[(f64, f64)], taken: Option<(f64, f64)>) {
        let mut right = f64::NEG_INFINITY;
        for (index, (one, (x, y))) in pods.iter().zip(points).enumerate() {
            let before = index.checked_sub(1).and_then(|before| pods.get(before));
            let mut later = pods.iter().skip(index + 1);
            let is_end = before.is_none() || later.len() == 0;
            let after = later.find(|later| later.on != one.on);
            let turns = |(before, after): (&Pods, &Pods)| {
                one.on != before.on && (one.on > before.on) != (after.on > one.on)
            };
            let is_turn = is_end || before.zip(after).is_some_and(turns);
            let text = one.on.to_string();
            let width = text_width(&text, SMALL);
            let x = (x + 3.0).min(RIGHT - width);
            let is_free = taken.is_none_or(|(from, to)| x + width < from || to < x || one.on == 0);
            if is_turn && x > right + 6.0 && is_free {
                self.text("count", x, y - 4.0, &text);
                right = x + width;
            }
        }
    }
}

/// A number of pods for drawing; no node has so many that one is lost.
fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
