//! Lays text out for a terminal: tables whose last column wraps, fields with a name, and lines that end in a command.
//!
//! Lines break between words only. Styles are put in after the layout, and `anstream` takes them out where they cannot be shown.
//! Not here: what is shown (`status`, `why`).

use anstyle::{AnsiColor, Style};
use cordonhold_shared::fleet::{State, Trouble, Unseen};

/// A name, and what needs nobody's attention.
pub(crate) const PLAIN: Style = Style::new();
/// Headings and commands.
pub(crate) const STRONG: Style = Style::new().bold();
/// What is less important.
pub(crate) const FAINT: Style = Style::new().dimmed();
/// What is wrong.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What goes on.
pub(crate) const BUSY: Style = AnsiColor::Yellow.on_default();
/// What waits.
pub(crate) const WAITS: Style = AnsiColor::Cyan.on_default();
/// What went well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();

/// The narrowest column that text is wrapped into. On a narrower terminal lines are longer than it, and the terminal breaks them.
const COLUMN_MIN: usize = 24;
/// Stands between two columns.
const GAP: &str = "   ";

/// A text and its style.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>, style: Style) -> Cell {
        Cell {
            text: text.into(),
            style,
        }
    }

    pub(crate) fn plain(text: impl Into<String>) -> Cell {
        Cell::new(text, PLAIN)
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// The style of a state.
pub(crate) fn style_of(state: State) -> Style {
    match state {
        State::Unreadable => BAD,
        State::Sealed | State::Returning | State::Delaying | State::Draining | State::Kured => BUSY,
        State::Wanted | State::KuredWants => WAITS,
        State::Cordoned => STRONG,
        State::Idle => FAINT,
    }
}

/// The text in this style.
pub(crate) fn painted(text: &str, style: Style) -> String {
    if text.is_empty() || style == PLAIN {
        text.to_owned()
    } else {
        format!("{style}{text}{style:#}")
    }
}

/// A table with a heading. The last column wraps at `width`; `None`: no line is broken.
pub(crate) fn table(heading: &[&str], rows: &[Vec<Cell>], width: Option<usize>) -> String {
    let heading: Vec<Cell> = heading.iter().map(|text| Cell::new(*text, STRONG)).collect();
    let last = heading.len().saturating_sub(1);
    let all = || std::iter::once(&heading).chain(rows);
    let widths: Vec<usize> = (0..last)
        .map(|column| {
            all()
                .filter_map(|row| row.get(column))
                .map(Cell::width)
                .max()
                .unwrap_or_default()
        })
        .collect();
    let before: usize = widths.iter().map(|width| width + GAP.len()).sum();
    let room = width.map_or(usize::MAX, |width| width.saturating_sub(before).max(COLUMN_MIN));
    let mut text = String::new();
    for row in all() {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&painted(&cell.text, cell.style));
            line.push_str(&" ".repeat(width.saturating_sub(cell.width()) + GAP.len()));
        }
        let wrapped = row.get(last).map(|cell| (wrap(&cell.text, room), cell.style));
        let (parts, style) = wrapped.unwrap_or_default();
        for (index, part) in parts.iter().enumerate() {
            let begin = if index == 0 {
                std::mem::take(&mut line)
            } else {
                " ".repeat(before)
            };
            push_line(&mut text, &format!("{begin}{}", painted(part, style)));
        }
        if parts.is_empty() {
            push_line(&mut text, &line);
        }
    }
    text
}

/// Fields with a name, one below the other. Values wrap at `width`.
pub(crate) fn fields(fields: &[(&str, String)], width: usize) -> String {
    let longest = fields
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or_default();
    let before = longest + GAP.len() + 2;
    let room = width.saturating_sub(before).max(COLUMN_MIN);
    let mut text = String::new();
    let mut last = "";
    for (name, value) in fields {
        let shown = if *name == last { "" } else { name };
        last = name;
        for (index, part) in wrap(value, room).iter().enumerate() {
            let name = if index == 0 { shown } else { "" };
            let pad = " ".repeat(longest.saturating_sub(name.chars().count()) + GAP.len());
            push_line(&mut text, &format!("  {}{pad}{part}", painted(name, FAINT)));
        }
    }
    text
}

/// A line that ends in a command. If both do not fit into `width`, the command is on a line of its own and is not broken.
pub(crate) fn with_command(sign: (&str, Style), says: &str, command: &str, width: Option<usize>) -> String {
    let (sign, style) = sign;
    let whole = sign.chars().count() + says.chars().count() + command.chars().count() + 4;
    let sign = painted(sign, style);
    let command = painted(command, STRONG);
    match width {
        Some(width) if whole > width => {
            let says = wrap(says, width.saturating_sub(2).max(COLUMN_MIN)).join("\n  ");
            format!("{sign} {says}\n  → {command}\n")
        }
        Some(_) | None => format!("{sign} {says} → {command}\n"),
    }
}

/// A line with a sign, and with its further lines under the text.
pub(crate) fn signed(sign: (&str, Style), says: &str, width: Option<usize>) -> String {
    let room = width.map_or(usize::MAX, |width| width.saturating_sub(2).max(COLUMN_MIN));
    let mut text = String::new();
    let sign = painted(sign.0, sign.1);
    push_line(&mut text, &format!("{sign} {}", wrap(says, room).join("\n  ")));
    text
}

/// What is wrong, each with its command.
pub(crate) fn troubles(troubles: &[Trouble], width: Option<usize>) -> String {
    let lines = troubles.iter().map(|trouble| {
        let says = format!("{}: {}", trouble.about, trouble.says);
        with_command(("!", BAD), &says, &trouble.command, width)
    });
    lines.collect()
}

/// What could not be seen, each with what it takes.
pub(crate) fn unseen(unseen: &[Unseen], width: Option<usize>) -> String {
    let mut text = String::new();
    for one in unseen {
        let needs = one
            .needs
            .as_ref()
            .map_or_else(String::new, |needs| format!("needs {needs}: "));
        let says = format!("could not see {}: {needs}{}", one.what, one.says);
        text.push_str(&signed(("?", BUSY), &says, width));
    }
    text
}

/// The text in lines of at most `width` characters, broken between words. A word that is longer has a line of its own.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Adds a line without white space at its end.
fn push_line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn lines_break_between_words_alone() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a verylongword b", 4), ["a", "verylongword", "b"]);
        assert_eq!(wrap("", 4), [""; 0]);
        assert_eq!(wrap("a b", usize::MAX), ["a b"]);
    }

    #[test]
    fn the_last_column_wraps_under_itself_and_colours_take_no_room() {
        let rows = [
            vec![
                Cell::new("n", BAD),
                Cell::plain("a few words that do not fit here"),
            ],
            vec![Cell::plain("longer"), Cell::plain("")],
        ];
        let text = table(&["NODE", "DETAIL"], &rows, Some(33));
        let expected = "NODE     DETAIL\nn        a few words that do not\n         fit here\nlonger\n";
        assert_eq!(bare(&text), expected);
        assert!(text.contains("\u{1b}["), "{text:?}");
        let wide = bare(&table(&["NODE", "DETAIL"], &rows, None));
        assert!(wide.contains("that do not fit here\n"), "{wide}");
    }

    #[test]
    fn a_command_is_never_broken_and_ends_its_entry() {
        let command = "kubectl cordonhold cancel worker-17 --reason TEXT";
        let short = bare(&with_command(("!", BAD), "bad", command, Some(80)));
        assert_eq!(short, format!("! bad → {command}\n"));
        let says = "its drain is blocked by a budget that allows nothing";
        let long = bare(&with_command(("!", BAD), says, command, Some(40)));
        let lines: Vec<&str> = long.lines().collect();
        assert_eq!(lines.last(), Some(&format!("  → {command}").as_str()), "{long}");
        assert!(
            lines[..lines.len() - 1]
                .iter()
                .all(|line| line.chars().count() <= 40),
            "{long}"
        );
    }

    #[test]
    fn equal_names_of_fields_are_shown_once() {
        let text = bare(&fields(
            &[
                ("a", "1".to_owned()),
                ("a", "2".to_owned()),
                ("bc", "3".to_owned()),
            ],
            80,
        ));
        assert_eq!(text, "  a    1\n       2\n  bc   3\n");
    }
}
