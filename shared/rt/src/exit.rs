//! How a program ends: with exit code 0, or with one line on standard error and another code.
//!
//! Not here: which errors end a program (each program's own).

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::command_line::{self, Parsed};

/// Exit code for a wrong command line, the same as clap's.
const USAGE: u8 = 2;

/// The exit code of `main`. Prints an error and all its causes as one line `program: what: why`.
pub fn code<E: Into<Box<dyn Error>>>(program: &str, result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {}", one_line(error.into().as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// The same for a program that judges something: 1 if it found against it.
pub fn verdict<E: Into<Box<dyn Error>>>(program: &str, result: Result<bool, E>) -> ExitCode {
    match result {
        Ok(false) => ExitCode::FAILURE,
        result => code(program, result.map(drop)),
    }
}

/// The exit code for a wrong command line. Prints the mistake as one line.
pub fn usage(program: &str, mistake: &dyn Error) -> ExitCode {
    eprintln!("{program}: {}", one_line(mistake));
    ExitCode::from(USAGE)
}

/// Prints a text such as the help to standard output. A write that fails, for example because the reader closed the pipe, is not
/// reported, but the exit code is not 0.
pub fn tell(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Parses the command line and the environment. The error is the exit code to end with: help or version, or a mistake, is printed by then.
pub fn parse_args<A: clap::Parser>(program: &str) -> Result<A, ExitCode> {
    parse_args_from(program, std::env::args_os())
}

/// Parses `line`, whose first word is the program's name, and the environment, as [`parse_args`] does.
pub fn parse_args_from<A: clap::Parser>(
    program: &str,
    line: impl IntoIterator<Item = OsString>,
) -> Result<A, ExitCode> {
    match command_line::parse(command_line::command::<A>(), line, |name| std::env::var_os(name)) {
        Ok(Parsed::Run { args, .. }) => Ok(args),
        Ok(Parsed::Tell(text)) => Err(tell(&text)),
        Err(mistake) => Err(usage(program, &mistake)),
    }
}

/// A message of clap on one line, without its usage text.
pub fn usage_line(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let said = text.split("\n\nUsage:").next().unwrap_or(text);
    let said = said.split("\n\nFor more information").next().unwrap_or(said);
    let words: Vec<&str> = said.split_whitespace().collect();
    format!("{}: see --help", words.join(" "))
}

/// An error and its causes on one line. A cause whose text is already in the line is left out.
pub fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("failed to read the kubeconfig\n /etc/k")]
    struct Outer(#[source] Middle);
    #[derive(Debug, thiserror::Error)]
    #[error("cannot open: gone")]
    struct Middle(#[source] Inner);
    #[derive(Debug, thiserror::Error)]
    #[error("gone")]
    struct Inner;

    #[test]
    fn a_mistake_on_the_command_line_is_one_line() {
        let text = "error: invalid value 'x' for '--mode <MODE>'\n  [possible values: enforce, warn]\n\nFor more information, try '--help'.\n";
        assert_eq!(
            usage_line(text),
            "invalid value 'x' for '--mode <MODE>' [possible values: enforce, warn]: see --help"
        );
        let text = "error: the following required arguments were not provided:\n  --a <A>\n\nUsage: x --a <A>\n\nFor more information, try '--help'.\n";
        assert_eq!(
            usage_line(text),
            "the following required arguments were not provided: --a <A>: see --help"
        );
    }

    #[test]
    fn a_chain_is_one_line_without_repeats() {
        assert_eq!(
            one_line(&Outer(Middle(Inner))),
            "failed to read the kubeconfig /etc/k: cannot open: gone"
        );
    }
}
