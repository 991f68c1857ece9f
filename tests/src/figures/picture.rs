//! A picture of a benchmark: a bar for each figure, how many times better or worse than the peer ours is, on a logarithmic scale.
//!
//! Colours are those of the pictures of reboots, which follow the reader's light or dark scheme; better and worse differ by side and by label too.
//! Not here: the table, which is the picture's text equal.

use std::fmt::Write as _;

use cordonhold_shared::history::escaped;
use cordonhold_shared::history::picture::STYLE;

use super::{Benchmark, Figure, Goal};

/// Its own units, which are pixels where nobody scales it.
const WIDTH: f64 = 960.0;
const ROW: f64 = 22.0;
const BAR: f64 = 12.0;
const TOP: f64 = 56.0;
/// Where bars may be; left of them are names, right of them values.
const LEFT: f64 = 210.0;
const RIGHT: f64 = 690.0;

/// The picture of these figures; `None` if none of them has a peer.
pub(super) fn of(benchmark: Benchmark, figures: &[&Figure]) -> Option<String> {
    let rows: Vec<(&Figure, f64)> = figures
        .iter()
        .filter_map(|figure| Some((*figure, times_better(figure, figure.ratio?))))
        .collect();
    if rows.is_empty() {
        return None;
    }
    let scale = Scale::of(
        rows.iter()
            .flat_map(|(figure, better)| [Some(*better), goal(figure)])
            .flatten(),
    );
    let height = TOP + ROW * count(rows.len()) + ROW;
    let bottom = height - ROW;
    let name = benchmark.name();
    let mut svg = String::new();
    // Writing into a String cannot fail, here and below.
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"race\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-labelledby=\"t d\">\n<title id=\"t\">{name}</title>\n<desc id=\"d\">How many times better or worse than its peer ours is. The table below \
         has the values.</desc>\n<style>\n{STYLE}</style>\n<rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\" rx=\"8\"/>\n\
         <text class=\"head\" x=\"20\" y=\"28\">{name}: times better than the peer</text>"
    )
    .unwrap_or_default();
    for tick in scale.ticks() {
        let x = scale.x(tick);
        writeln!(
            svg,
            "<path class=\"{}\" d=\"M{x:.1} {TOP}V{bottom}\"/>\n<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
            if is_peer(tick) { "axis" } else { "guide" },
            TOP - 6.0,
            label(tick)
        )
        .unwrap_or_default();
    }
    for (index, (figure, better)) in rows.into_iter().enumerate() {
        svg.push_str(&row(
            &scale,
            TOP + ROW * count(index) + (ROW - BAR) / 2.0,
            figure,
            better,
        ));
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

fn row(scale: &Scale, y: f64, figure: &Figure, better: f64) -> String {
    let (from, to) = (scale.x(better.min(1.0)), scale.x(better.max(1.0)));
    let class = if better < 1.0 { "passed" } else { "dot" };
    let text = y + BAR - 2.0;
    let values = match figure.theirs {
        Some(theirs) => format!("{} beside {theirs} {}", figure.ours, figure.unit),
        None => String::new(),
    };
    let mut row = format!(
        "<text x=\"20\" y=\"{text:.1}\">{}</text>\n<rect class=\"{class}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\"/>\n\
         <text class=\"faint\" x=\"{:.1}\" y=\"{text:.1}\">{}</text>\n",
        escaped(&figure.name),
        (to - from).max(1.0),
        RIGHT + 16.0,
        escaped(&values)
    );
    if let Some(goal) = goal(figure) {
        let x = scale.x(goal);
        writeln!(
            row,
            "<path class=\"denied\" d=\"M{x:.1} {:.1}v{:.1}\"/>",
            y - 3.0,
            BAR + 6.0
        )
        .unwrap_or_default();
    }
    row
}

/// A ratio as "this many times better than the peer".
fn times_better(figure: &Figure, ratio: f64) -> f64 {
    if figure.is_more_better() {
        ratio
    } else {
        1.0 / ratio
    }
}

/// The goal in the same terms, if it is about the ratio.
fn goal(figure: &Figure) -> Option<f64> {
    match figure.goal {
        Goal::AtLeast(ratio) | Goal::AtMost(ratio) => Some(times_better(figure, ratio)),
        Goal::OursAtLeast(_) | Goal::OursAtMost(_) | Goal::None => None,
    }
}

/// A logarithmic scale that has whole powers of ten at its ends, and the peer on it.
struct Scale {
    least: f64,
    most: f64,
}

impl Scale {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let (least, most) = values.fold((1.0_f64, 1.0_f64), |(least, most), value| {
            (least.min(value), most.max(value))
        });
        Self {
            least: least.log10().floor(),
            most: most.log10().ceil().max(1.0),
        }
    }

    fn x(&self, value: f64) -> f64 {
        let part = (value.log10().clamp(self.least, self.most) - self.least) / (self.most - self.least);
        LEFT + part * (RIGHT - LEFT)
    }

    /// The powers of ten.
    fn ticks(&self) -> Vec<f64> {
        let mut power = self.least;
        let mut ticks = Vec::new();
        while power <= self.most {
            ticks.push(10_f64.powf(power));
            power += 1.0;
        }
        ticks
    }
}

/// Whether this is where the peer is, and bars begin.
fn is_peer(tick: f64) -> bool {
    (tick - 1.0).abs() < f64::EPSILON
}

fn label(tick: f64) -> String {
    if is_peer(tick) {
        "the peer".to_owned()
    } else {
        format!("{tick}×")
    }
}

#[expect(clippy::cast_precision_loss, reason = "a handful of rows")]
fn count(rows: usize) -> f64 {
    rows as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_a_bar_of_each_figure_with_a_peer_and_is_well_formed() {
        let figures = [
            Figure::new("hop-a", (4.0, 1.0), "reviews/s", Goal::AtLeast(2.0)),
            Figure::new("hop-b", (4.0, 1.0), "ms", Goal::None),
            Figure::alone("hop-c", 4.0, "ms", Goal::None),
        ];
        let drawn = of(Benchmark::Hop, &figures.iter().collect::<Vec<_>>()).unwrap();
        let read = roxmltree::Document::parse(&drawn).unwrap();
        let bars = |class: &str| {
            read.descendants()
                .filter(|node| node.attribute("class") == Some(class))
                .count()
        };
        // Better, worse, and one goal.
        assert_eq!((bars("dot"), bars("passed"), bars("denied")), (1, 1, 1));
        assert!(of(Benchmark::Hop, &[&figures[2]]).is_none());
    }
}
