//! Prints the timeline: what happened, in the order in which it happened, and a table at the end.
//!
//! Not here: where the lines come from, see `observer` and `controller`. `anstream` removes the colour where it cannot be shown.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinHandle;

use super::chronicle::Chronicle;

/// How long a line is held back, so that an earlier one that arrives later can be printed before it. Agents' logs are read
/// every 20 ms; watches deliver within a few milliseconds.
const HOLD_BACK: SignedDuration = SignedDuration::from_millis(150);
const PRINT_INTERVAL: Duration = Duration::from_millis(50);
/// Denials in a row are counted for this long before one line says how many there were.
const DENIALS_INTERVAL: SignedDuration = SignedDuration::from_secs(2);
const TIME_COLUMNS: usize = 7;
const WHO_COLUMNS: usize = 15;
const LINE_COLUMNS: usize = 100;
const MESSAGE_COLUMNS: usize = LINE_COLUMNS - TIME_COLUMNS - 4;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// How good or bad the news of a line is; decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Warning => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
        }
    }
}

/// Who did what a line tells. The colour of the name shows the role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Who {
    Demo,
    Agent(String),
    Machine(String),
    Controller,
    Scheduler,
}

impl Who {
    fn name(&self) -> String {
        match self {
            Self::Demo => "demo".to_owned(),
            Self::Agent(node) => format!("agent {node}"),
            Self::Machine(node) => format!("machine {node}"),
            Self::Controller => "controller".to_owned(),
            Self::Scheduler => "scheduler".to_owned(),
        }
    }

    fn style(&self) -> Style {
        match self {
            Self::Demo => DIM,
            Self::Agent(_) => AnsiColor::Cyan.on_default(),
            Self::Machine(_) => AnsiColor::Blue.on_default(),
            Self::Controller => AnsiColor::Magenta.on_default(),
            Self::Scheduler => AnsiColor::Yellow.on_default(),
        }
    }
}

/// Prints to standard output; clones print to the same timeline.
#[derive(Debug, Clone)]
pub(super) struct Timeline {
    pages: Arc<Mutex<Pages>>,
    /// The same, for pictures.
    pub(super) chronicle: Chronicle,
}

/// Lines that wait to be printed, and denials that are being counted.
#[derive(Debug)]
struct Pages {
    started: Timestamp,
    waiting: Vec<(Timestamp, Entry)>,
    denials: Denials,
}

#[derive(Debug)]
enum Entry {
    Line { who: Who, tone: Tone, text: String },
    Denied { node: String, message: String },
}

/// Denials since the last other line.
#[derive(Debug, Default)]
struct Denials {
    message_shown: bool,
    counted: usize,
    node: String,
    since: Option<Timestamp>,
    last: Option<Timestamp>,
}

/// One row of the table at the end.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) act: &'static str,
    pub(super) node: String,
    pub(super) uncordons: usize,
    pub(super) denied: usize,
    pub(super) drains: usize,
    /// `None` if the node was not rebooted.
    pub(super) pods_at_reboot: Option<usize>,
    pub(super) outcome: String,
    pub(super) outcome_tone: Tone,
}

impl Timeline {
    /// Starts the clock of the timeline and a task that prints until it is aborted.
    pub(super) fn start() -> (Self, JoinHandle<()>) {
        let timeline = Self {
            pages: Arc::new(Mutex::new(Pages {
                started: Timestamp::now(),
                waiting: Vec::new(),
                denials: Denials::default(),
            })),
            chronicle: Chronicle::default(),
        };
        let printer = timeline.clone();
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(PRINT_INTERVAL);
            loop {
                let _ = ticks.tick().await;
                printer.print_until(Timestamp::now() - HOLD_BACK);
            }
        });
        (timeline, task)
    }

    /// Adds a line about something that happened just now.
    pub(super) fn say(&self, who: Who, tone: Tone, text: impl Into<String>) {
        self.say_at(Timestamp::now(), who, tone, text);
    }

    /// Adds a line about something that happened at `at`, a moment ago.
    pub(super) fn say_at(&self, at: Timestamp, who: Who, tone: Tone, text: impl Into<String>) {
        let text = text.into();
        self.push(at, Entry::Line { who, tone, text });
    }

    /// Adds a denied uncordon. The message of the first one is printed whole; later ones are counted.
    pub(super) fn say_denied(&self, sent: Timestamp, node: &str, message: &str) {
        let (node, message) = (node.to_owned(), message.to_owned());
        self.push(sent, Entry::Denied { node, message });
    }

    /// Prints a title and what it is about, after all lines before it.
    pub(super) fn heading(&self, title: &str, about: &str) {
        self.finish();
        let rule = "─".repeat(LINE_COLUMNS.saturating_sub(title.chars().count() + 4));
        print_line(&format!(
            "\n{DIM}──{DIM:#} {BOLD}{title}{BOLD:#} {DIM}{rule}{DIM:#}"
        ));
        for line in about.lines() {
            print_line(&format!("{DIM}   {line}{DIM:#}"));
        }
        print_line("");
    }

    /// Prints all lines that are still held back.
    pub(super) fn finish(&self) {
        self.print_until(Timestamp::MAX);
        self.pages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .close_denials();
    }

    /// Prints the table at the end.
    pub(super) fn table(&self, rows: &[Row]) {
        self.finish();
        print_line(&format!("\n{}", render_table(rows)));
    }

    /// Prints the conclusion; only for a demo that showed everything.
    pub(super) fn conclude(&self) {
        let (good, bad) = (Tone::Good.style(), Tone::Bad.style());
        self.finish();
        print_line(&format!(
            "\n{bad}Without Cordonhold{bad:#} an uncordon during the reboot delay leads to a reboot that kills the new pods.\n\
             {good}The agent alone{good:#} then drains again or calls the reboot off; {good}the webhook{good:#} denies the uncordon."
        ));
    }

    fn push(&self, at: Timestamp, entry: Entry) {
        self.pages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .waiting
            .push((at, entry));
    }

    fn print_until(&self, end: Timestamp) {
        self.pages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .print_until(end);
    }
}

impl Pages {
    fn print_until(&mut self, end: Timestamp) {
        self.waiting.sort_by_key(|(at, _)| *at);
        let later = self.waiting.partition_point(|(at, _)| *at <= end);
        let ripe: Vec<(Timestamp, Entry)> = self.waiting.drain(..later).collect();
        for (at, entry) in ripe {
            match entry {
                Entry::Line { who, tone, text } => {
                    self.close_denials();
                    self.print(at, &who, tone, &text);
                }
                Entry::Denied { node, message } => self.denied(at, &node, &message),
            }
        }
        if self
            .denials
            .since
            .is_some_and(|since| end.duration_since(since) >= DENIALS_INTERVAL)
        {
            self.close_denials();
        }
    }

    fn denied(&mut self, at: Timestamp, node: &str, message: &str) {
        if self.denials.message_shown {
            self.denials.counted += 1;
            node.clone_into(&mut self.denials.node);
            let _ = self.denials.since.get_or_insert(at);
            self.denials.last = Some(at);
            return;
        }
        self.denials.message_shown = true;
        let text = format!("uncordons {node}: denied, each time with this message:");
        self.print(at, &Who::Controller, Tone::Good, &text);
        let indent = " ".repeat(TIME_COLUMNS + 2);
        for line in message.lines().flat_map(|line| wrapped(line, MESSAGE_COLUMNS)) {
            print_line(&format!("{indent}{DIM}│{DIM:#} {line}"));
        }
    }

    fn close_denials(&mut self) {
        let (Some(last), counted) = (self.denials.last.take(), self.denials.counted) else {
            return;
        };
        self.denials.counted = 0;
        self.denials.since = None;
        let times = if counted == 1 {
            "once".to_owned()
        } else {
            format!("{counted} times")
        };
        let text = format!("uncordons {} {times} more: denied", self.denials.node);
        self.print(last, &Who::Controller, Tone::Good, &text);
    }

    fn print(&self, at: Timestamp, who: &Who, tone: Tone, text: &str) {
        let seconds = at.duration_since(self.started).as_secs_f64().max(0.0);
        let time = format!("{seconds:.1} s");
        let (role, style, name) = (who.style(), tone.style(), who.name());
        print_line(&format!(
            "{DIM}{time:>TIME_COLUMNS$}{DIM:#}  {role}{name:<WHO_COLUMNS$}{role:#}  {style}{text}{style:#}"
        ));
    }
}

fn print_line(line: &str) {
    // If standard output is closed nobody reads this; the exit code still says how it went.
    drop(writeln!(anstream::stdout(), "{line}"));
}

/// Wraps a text between words at `columns` columns and indents all lines but the first. A longer word stays whole.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) => lines.push(format!("  {word}")),
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

fn render_table(rows: &[Row]) -> String {
    let header = [
        "act",
        "node",
        "uncordons tried",
        "denied",
        "drained",
        "pods at reboot",
        "outcome",
    ];
    let cells: Vec<[String; 7]> = rows.iter().map(Row::cells).collect();
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            let longest = cells.iter().map(|row| row[column].chars().count()).max();
            longest.unwrap_or(0).max(header[column].len())
        })
        .collect();
    let line = |row: &[String]| -> String {
        let padded = row.iter().zip(&widths).enumerate();
        let padded = padded.map(|(column, (cell, width))| match column {
            2..=5 => format!("{cell:>width$}"),
            _ => format!("{cell:<width$}"),
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let rule = "─".repeat(widths.iter().sum::<usize>() + 2 * (widths.len() - 1));
    let mut lines = vec![
        format!("{BOLD}{}{BOLD:#}", line(&header.map(str::to_owned))),
        format!("{DIM}{rule}{DIM:#}"),
    ];
    for (row, cells) in rows.iter().zip(&cells) {
        let style = row.outcome_tone.style();
        let plain = line(cells);
        let (start, outcome) = plain.split_at(plain.len() - row.outcome.len());
        lines.push(format!("{start}{style}{outcome}{style:#}"));
    }
    lines.join("\n")
}

impl Row {
    fn cells(&self) -> [String; 7] {
        [
            self.act.to_owned(),
            self.node.clone(),
            self.uncordons.to_string(),
            self.denied.to_string(),
            format!("{}×", self.drains),
            self.pods_at_reboot
                .map_or("–".to_owned(), |pods| pods.to_string()),
            self.outcome.clone(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_wrapped_between_words_and_loses_none() {
        let text = "a node that is held stays-cordoned-whatever-comes";
        let lines = wrapped(text, 12);
        assert_eq!(
            lines,
            ["a node that", "  is held", "  stays-cordoned-whatever-comes"]
        );
    }
}
