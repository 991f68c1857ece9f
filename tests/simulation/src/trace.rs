//! The trace of a run, printed with a violation: the last lines of the whole run, and the last lines of each node, which reach further back.
//!
//! A node that is stuck still looks at its sentinel for hours. So a line of a node that repeats an earlier one is only counted, and the
//! lines from before it got stuck are not lost.

use std::collections::VecDeque;

use cordonhold_shared::reboot::moment::Uptime;

/// How many lines are kept for each node.
const NODE_LINES: usize = 400;
/// A line is compared with this many lines before it.
const REPEATS_WITHIN: usize = 8;

/// The lines of one run.
#[derive(Debug)]
pub(crate) struct Trace {
    lines: usize,
    all: VecDeque<String>,
    nodes: Vec<VecDeque<Line>>,
}

/// A line, and how many times it was repeated.
#[derive(Debug)]
struct Line {
    text: String,
    /// The text without digits: lines that differ only in versions or times count as the same.
    shape: String,
    repeats: u64,
    last: Uptime,
}

impl Trace {
    pub(crate) fn new(lines: usize, nodes: usize) -> Trace {
        Trace {
            lines,
            all: VecDeque::new(),
            nodes: (0..nodes).map(|_| VecDeque::new()).collect(),
        }
    }

    /// Adds a line about these nodes.
    pub(crate) fn add(&mut self, now: Uptime, line: &str, nodes: impl IntoIterator<Item = usize>) {
        let text = format!("{:>12.3} s  {line}", now.since_start().as_secs_f64());
        for node in nodes {
            if let Some(lines) = self.nodes.get_mut(node) {
                keep(lines, now, line, &text);
            }
        }
        if self.all.len() >= self.lines {
            drop(self.all.pop_front());
        }
        self.all.push_back(text);
    }

    /// The last lines of everything, and the lines of this node.
    pub(crate) fn end(self, node: Option<usize>) -> (Vec<String>, Vec<String>) {
        let lines = node.and_then(|node| self.nodes.into_iter().nth(node));
        let of_node = lines.into_iter().flatten().map(Line::text).collect();
        (self.all.into(), of_node)
    }
}

fn keep(lines: &mut VecDeque<Line>, now: Uptime, line: &str, text: &str) {
    let shape: String = line.chars().filter(|char| !char.is_ascii_digit()).collect();
    let again = lines
        .iter_mut()
        .rev()
        .take(REPEATS_WITHIN)
        .find(|before| before.shape == shape);
    if let Some(before) = again {
        before.repeats += 1;
        before.last = now;
        return;
    }
    if lines.len() >= NODE_LINES {
        drop(lines.pop_front());
    }
    lines.push_back(Line {
        text: text.to_owned(),
        shape,
        repeats: 0,
        last: now,
    });
}

impl Line {
    fn text(self) -> String {
        let Line {
            text, repeats, last, ..
        } = self;
        if repeats == 0 {
            return text;
        }
        format!(
            "{text} (and {repeats} times more, last at {:.3} s)",
            last.since_start().as_secs_f64()
        )
    }
}
