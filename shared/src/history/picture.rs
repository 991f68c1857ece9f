//! The picture of a reboot: phases, cordon, uncordons and pods over one time axis, as SVG.
//!
//! Marks differ by shape and label, and phases by pattern and label, so nothing depends on colour. Colours follow the reader's light or dark
//! scheme. The picture has a title and a description for screen readers; its text equal is the table ([`super::Line`]).
//! Not here: the page around it (`page`), what is known of a reboot ([`Timeline`]), and where labels go (`flags`).

use std::fmt::Write as _;

use super::markup::escaped;
use super::{Answer, Event, Timeline, by_user};
use crate::hold::Phase;
use crate::span::span;

mod flags;
mod marks;
mod pods;
mod scale;

use flags::{Flag, ROW, text_width};
use scale::{LEFT, RIGHT, Scale};

/// The style sheet of pictures; a page has it once.
pub const STYLE: &str = include_str!("picture/style.css");

/// The width of a picture, in its own units.
const WIDTH: f64 = 960.0;
/// The height of the lane of the phases, and of the band that shows the cordon.
const PHASE_HEIGHT: f64 = 42.0;
const CORDON_HEIGHT: f64 = 10.0;
/// The height of the lane of the pods.
const PODS_HEIGHT: f64 = 58.0;
/// Between two lanes.
const GAP: f64 = 14.0;
/// The height of the heading of a picture, and of each line of the summary below it.
const HEAD: f64 = 30.0;
const HEAD_LINE: f64 = 16.0;
/// Most characters of such a line.
const HEAD_CHARS: usize = 140;
/// The sizes of texts.
const SIZE: f64 = 12.0;
const SMALL: f64 = 11.0;

/// A picture while it is drawn.
struct Drawing<'a> {
    timeline: &'a Timeline,
    /// What the names of its patterns begin with.
    id: &'a str,
    scale: Scale,
    /// What is drawn first, and so is behind the rest.
    back: String,
    body: String,
    /// Where the next lane begins.
    y: f64,
}

/// A picture that is a file of its own, with a heading.
pub fn file(timeline: &Timeline) -> String {
    drawn(timeline, "race", true)
}

/// A picture for a page that has [`STYLE`] and a heading. `id` is no other's in the page.
pub fn figure(timeline: &Timeline, id: &str) -> String {
    drawn(timeline, id, false)
}

fn drawn(timeline: &Timeline, id: &str, is_file: bool) -> String {
    let heading = heading(timeline);
    let mut drawing = Drawing {
        timeline,
        id,
        scale: Scale::of(timeline),
        back: String::new(),
        body: String::new(),
        y: if is_file { heading.1 + GAP } else { GAP },
    };
    let top = drawing.y;
    let guides = drawing.moments();
    drawing.phases();
    drawing.cordon();
    drawing.uncordons();
    drawing.pods();
    let bottom = drawing.y;
    drawing.axis();
    drawing.legend();
    let height = drawing.y + GAP;
    let guides = guides
        .iter()
        .map(|x| format!("<path class=\"guide\" d=\"M{x:.1} {top:.1}V{bottom:.1}\"/>\n"))
        .collect::<Vec<String>>()
        .concat();
    let mut svg = String::new();
    let (title, about) = (escaped(&timeline.title()), escaped(&timeline.described()));
    // Without a size of its own, a picture in a page of others has any.
    let size = if is_file {
        format!(" width=\"{WIDTH}\" height=\"{height:.0}\"")
    } else {
        String::new()
    };
    // Writing into a String cannot fail, here and below.
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"race\"{size} viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" \
         aria-labelledby=\"{id}-title {id}-desc\">\n<title id=\"{id}-title\">{title}</title>\n<desc id=\"{id}-desc\">{about}</desc>"
    )
    .unwrap_or_default();
    if is_file {
        writeln!(svg, "<style>\n{STYLE}</style>").unwrap_or_default();
    }
    svg.push_str(&patterns(id));
    writeln!(
        svg,
        "<rect class=\"paper\" width=\"{WIDTH}\" height=\"{height:.0}\" rx=\"8\"/>"
    )
    .unwrap_or_default();
    if is_file {
        svg.push_str(&heading.0);
    }
    writeln!(svg, "{guides}{}{}</svg>", drawing.back, drawing.body).unwrap_or_default();
    svg
}

/// The heading and the summary of a picture, and how high they are together.
fn heading(timeline: &Timeline) -> (String, f64) {
    let mut lines: Vec<String> = Vec::new();
    for word in timeline.summary().split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= HEAD_CHARS => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    let mut y = HEAD;
    let mut text = format!(
        "<text class=\"head\" x=\"20\" y=\"{y}\">{}</text>\n",
        escaped(&timeline.title())
    );
    for line in &lines {
        y += HEAD_LINE;
        writeln!(
            text,
            "<text class=\"faint\" x=\"20\" y=\"{y}\">{}</text>",
            escaped(line)
        )
        .unwrap_or_default();
    }
    (text, y)
}

/// The patterns that tell the phases apart without colour.
fn patterns(id: &str) -> String {
    format!(
        "<defs>\n\
         <pattern id=\"{id}-draining\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
         <rect class=\"draining\" width=\"8\" height=\"8\"/><path class=\"hatch\" d=\"M0 0V8\"/></pattern>\n\
         <pattern id=\"{id}-returning\" width=\"9\" height=\"9\" patternUnits=\"userSpaceOnUse\">\
         <rect class=\"returning\" width=\"9\" height=\"9\"/><circle class=\"dot\" cx=\"2\" cy=\"2\" r=\"1.2\"/></pattern>\n\
         </defs>\n"
    )
}

impl Timeline {
    /// What a picture of it is called.
    pub fn title(&self) -> String {
        format!("node {}: {}", self.node, self.stands())
    }

    /// The picture in words, for who does not see it.
    fn described(&self) -> String {
        let phases: Vec<String> = self
            .spans
            .iter()
            .map(|one| format!("{} for {}", one.phase, span(one.to.duration_since(one.from))))
            .collect();
        format!(
            "A time axis from {:.0} to {:.0}. {}. Phases: {}.",
            self.from,
            self.to,
            self.summary(),
            if phases.is_empty() {
                "unknown".to_owned()
            } else {
                phases.join(", ")
            }
        )
    }
}

impl Drawing<'_> {
    /// The name of a lane, at the height of its first line of text.
    fn lane(&mut self, name: &str) {
        let y = self.y + SIZE + 2.0;
        writeln!(
            self.body,
            "<text class=\"lane\" x=\"20\" y=\"{y:.1}\">{name}</text>"
        )
        .unwrap_or_default();
    }

    fn text(&mut self, class: &str, x: f64, y: f64, text: &str) {
        let shown = escaped(text);
        writeln!(
            self.body,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{shown}</text>"
        )
        .unwrap_or_default();
    }

    /// What happened, as flags above the phases; returns where the guides are that go through all lanes.
    fn moments(&mut self) -> Vec<f64> {
        let mut all = self.timeline.turns();
        all.sort_by_key(|(at, _)| *at);
        all.dedup_by(|b, a| a.1 == b.1 && self.scale.x(b.0) - self.scale.x(a.0) < 1.0);
        let flags: Vec<Flag> = all
            .iter()
            .map(|(at, word)| Flag::new(self.scale.x(*at), word, SIZE))
            .collect();
        let places = flags::placed_or_dropped(&flags, RIGHT);
        let rows = flags::rows(&places);
        let base = self.y + rows * ROW;
        for (flag, place) in flags.iter().zip(&places) {
            let Some(place) = place else { continue };
            let y = base - place.row * ROW - 5.0;
            self.text("moment", place.x, y, &flag.text);
        }
        self.y = base;
        flags.iter().map(|flag| flag.x).collect()
    }

    fn phases(&mut self) {
        self.lane("phase");
        let mut outside = Vec::new();
        for one in &self.timeline.spans {
            let (from, to) = (self.scale.x(one.from), self.scale.x(one.to));
            let width = (to - from).max(1.5);
            let (name, took) = (one.phase.as_str(), span(one.to.duration_since(one.from)));
            let about = if one.about { " about" } else { "" };
            let title = format!("{name} from {:.0} to {:.0}, {took}", one.from, one.to);
            writeln!(
                self.body,
                "<g class=\"phase\"><title>{}</title><rect class=\"box {name}{about}\"{} x=\"{from:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{PHASE_HEIGHT}\"/></g>",
                escaped(&title),
                fill(one.phase, self.id),
                self.y,
            )
            .unwrap_or_default();
            let fits = |text: &str, size| text_width(text, size) + 8.0 <= width;
            if !fits(name, SIZE) {
                // Of one that comes again, the first is enough.
                if self.timeline.began(one.phase) == Some(one.from) {
                    outside.push(Flag::new(from, &format!("{name}, {took}"), SMALL));
                }
                continue;
            }
            let middle = from + width / 2.0;
            let y = self.y;
            let has_time = fits(&took, SMALL);
            let first = y + if has_time { 18.0 } else { 25.0 };
            self.text(&format!("name mid in-{name}"), middle, first, name);
            if has_time {
                self.text(&format!("small mid in-{name}"), middle, y + 33.0, &took);
            }
        }
        if let Some(cut) = self.scale.cut() {
            let (x, y) = (cut - 16.0, self.y);
            writeln!(
                self.body,
                "<path class=\"break\" d=\"M{x:.1} {:.1}l6 12l-6 12l6 12l-6 12\"><title>the axis is cut here</title></path>",
                y - 3.0
            )
            .unwrap_or_default();
        }
        self.y += PHASE_HEIGHT;
        self.hang(&outside, "small");
    }

    /// Hangs labels below the lane that ends here, each at a line to what it is about.
    fn hang(&mut self, flags: &[Flag], class: &str) {
        let places = flags::placed_or_dropped(flags, RIGHT);
        let top = self.y;
        for (flag, place) in flags.iter().zip(&places) {
            let Some(place) = place else { continue };
            let y = top + (place.row + 1.0) * ROW;
            writeln!(
                self.back,
                "<path class=\"leader\" d=\"M{:.1} {top:.1}V{:.1}\"/>",
                flag.x + 0.5,
                y - 1.0
            )
            .unwrap_or_default();
            self.text(class, place.x, y - 3.0, &flag.text);
        }
        self.y = top + flags::rows(&places) * ROW + 4.0;
    }

    fn cordon(&mut self) {
        let y = self.y;
        for (from, to) in self.timeline.cordoned() {
            let (x, end) = (self.scale.x(from), self.scale.x(to));
            writeln!(
                self.body,
                "<rect class=\"cordon\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{CORDON_HEIGHT}\"><title>cordoned from {from:.0} to {to:.0}</title></rect>",
                (end - x).max(1.0)
            )
            .unwrap_or_default();
        }
        let y = y + CORDON_HEIGHT;
        writeln!(
            self.body,
            "<text class=\"lane\" x=\"20\" y=\"{y:.1}\">cordoned</text>"
        )
        .unwrap_or_default();
        self.y = y + GAP;
    }

    /// The axis: since the cordon, or if there was none, since the beginning.
    fn axis(&mut self) {
        let y = self.y;
        writeln!(self.body, "<path class=\"axis\" d=\"M{LEFT} {y:.1}H{RIGHT}\"/>").unwrap_or_default();
        for (x, text) in self.scale.ticks() {
            writeln!(
                self.body,
                "<path class=\"axis\" d=\"M{x:.1} {y:.1}v5\"/>\n<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\">{text}</text>",
                y + 18.0
            )
            .unwrap_or_default();
        }
        let caption = self.scale.caption();
        writeln!(
            self.body,
            "<text class=\"faint\" x=\"{LEFT}\" y=\"{:.1}\">{}</text>",
            y + 36.0,
            escaped(&caption)
        )
        .unwrap_or_default();
        self.y = y + 40.0;
    }
}

/// The pattern of a phase, where it has one; its style has the rest.
fn fill(phase: Phase, id: &str) -> String {
    match phase {
        Phase::Draining | Phase::Returning => format!(" fill=\"url(#{id}-{phase})\""),
        Phase::Wanted | Phase::Delaying | Phase::Sealed => String::new(),
    }
}

impl Timeline {
    /// The turns of a reboot, each in a word.
    fn turns(&self) -> Vec<(jiff::Timestamp, &'static str)> {
        let mut turns = Vec::new();
        let told_of = |what| self.moments.iter().any(|moment| moment.what == what);
        for one in &self.spans {
            let is_again = self.began(one.phase) != Some(one.from);
            let word = match (one.phase, is_again) {
                (Phase::Wanted, _) => continue,
                (Phase::Draining, false) => "cordon",
                (Phase::Draining, true) => "cordon again",
                (Phase::Delaying, false) => "drained",
                (Phase::Delaying, true) => continue,
                (Phase::Sealed, _) if told_of(Event::Reboot) => "seal",
                (Phase::Sealed, _) => "seal, reboot",
                (Phase::Returning, _) => "back",
            };
            turns.push((one.from, word));
        }
        for moment in &self.moments {
            let word = match moment.what {
                Event::Reboot => "reboot",
                Event::Failed => "failed",
                Event::CalledOff => "called off",
                Event::GivenBack => "given back",
                Event::Forced => "forced",
                Event::Locked | Event::Blocked | Event::Disturbed | Event::Ready | Event::Unknown => continue,
            };
            turns.push((moment.at, word));
        }
        turns
    }
}

#[cfg(test)]
mod tests;
