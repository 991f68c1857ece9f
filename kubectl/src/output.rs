//! Prints: text for people, or JSON and YAML for programs; and finds out how wide the terminal is.
//!
//! Not here: the layout (`text`).

#[cfg(not(test))]
use std::io::Write as _;

use serde::Serialize;
use terminal_size::{Width, terminal_size};

use crate::Error;
use crate::args::Format;

/// Most characters that are shown of an error: the messages of policies and webhooks are long.
pub(crate) const SAID_MAX: usize = 1200;
/// The width where nobody says otherwise: a terminal's in the last sixty years.
const WIDTH: usize = 80;

#[cfg(test)]
thread_local! {
    /// What a test has printed on this thread, to either output.
    pub(crate) static PRINTED: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
}

/// Prints text to standard output. Colours are left out where they cannot be shown, and if `NO_COLOR` is set.
#[cfg(not(test))]
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let mut out = anstream::stdout();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Keeps what is printed, without colours.
#[cfg(test)]
#[expect(clippy::unnecessary_wraps, reason = "nothing fails in a test")]
pub(crate) fn print(text: &str) -> Result<(), Error> {
    PRINTED.with_borrow_mut(|printed| printed.push_str(&anstream::adapter::strip_str(text).to_string()));
    Ok(())
}

/// Prints a line to standard output.
pub(crate) fn line(text: &str) -> Result<(), Error> {
    print(&format!("{text}\n"))
}

/// Prints a line to standard error, for what is no result. Nothing depends on whether anybody reads it.
#[cfg(not(test))]
pub(crate) fn note(text: &str) {
    drop(writeln!(anstream::stderr(), "{text}"));
}

/// Keeps what is printed beside the result.
#[cfg(test)]
pub(crate) fn note(text: &str) {
    drop(line(text));
}

/// How many characters fit on a line: as many as the terminal has, else as `COLUMNS` says, else 80.
pub(crate) fn width() -> usize {
    if cfg!(test) {
        return WIDTH;
    }
    let named = || std::env::var("COLUMNS").ok()?.parse().ok();
    let of_terminal = terminal_size().map(|(Width(width), _)| usize::from(width));
    of_terminal
        .or_else(named)
        .filter(|width| *width > 0)
        .unwrap_or(WIDTH)
}

/// How many lines the terminal has, if there is one.
pub(crate) fn height() -> Option<usize> {
    terminal_size().map(|(_, terminal_size::Height(height))| usize::from(height))
}

/// Prints a value as JSON or YAML; returns whether the format asked for one of them.
pub(crate) fn document(format: Option<Format>, value: &impl Serialize) -> Result<bool, Error> {
    match format {
        Some(Format::Json) => {
            let text = serde_json::to_string_pretty(value).map_err(std::io::Error::other)?;
            line(&text)?;
            Ok(true)
        }
        Some(Format::Yaml) => {
            let text = serde_saphyr::to_string(value).map_err(std::io::Error::other)?;
            print(&text)?;
            Ok(true)
        }
        Some(Format::Wide) | None => Ok(false),
    }
}
