//! How a program ends: success, or one clear line on standard error and a code that is not 0.

use std::error::Error;
use std::ffi::OsString;
use std::process::ExitCode;

use crate::argument::Mistake;

/// A command line that cannot be understood; what clap itself uses.
const USAGE: u8 = 2;

/// Ends `main`: prints the error and all its causes as one line `program: what: why`.
pub fn code<E: Into<Box<dyn Error>>>(program: &str, result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {}", one_line(error.into().as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// The command line, or the code to end with: help and version go to standard output, a mistake is one line.
pub fn parse_args<A: clap::Parser>(program: &str) -> Result<A, ExitCode> {
    parse_args_from(program, std::env::args_os())
}

/// The same of another line, whose first word is the program's name.
pub fn parse_args_from<A: clap::Parser>(
    program: &str,
    line: impl IntoIterator<Item = OsString>,
) -> Result<A, ExitCode> {
    let line: Vec<OsString> = line.into_iter().collect();
    let error = match A::try_parse_from(&line) {
        Ok(args) => return Ok(args),
        Err(error) => error,
    };
    if !error.use_stderr() {
        // The text is for whoever asked; a closed pipe is theirs.
        return Err(error.print().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS));
    }
    let command = A::command();
    let mistake = Mistake::of(&error, |flag| source_of(&command, flag, &line));
    eprintln!("{program}: {mistake}");
    Err(ExitCode::from(USAGE))
}

/// The flag, or its variable where the line does not have the flag.
fn source_of(command: &clap::Command, flag: &str, line: &[OsString]) -> String {
    let is_given = |word: &OsString| {
        word.to_str()
            .is_some_and(|word| word.split('=').next() == Some(flag))
    };
    let arg = command
        .get_arguments()
        .find(|arg| arg.get_long() == flag.strip_prefix("--"));
    let variable = arg.and_then(|arg| arg.get_env()?.to_str());
    match variable {
        Some(variable) if !line.iter().any(is_given) && std::env::var_os(variable).is_some() => {
            variable.to_owned()
        }
        _ => flag.to_owned(),
    }
}

/// What clap says in a paragraph, on one line and without its usage text.
pub fn usage_line(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let said = text.split("\n\nUsage:").next().unwrap_or(text);
    let said = said.split("\n\nFor more information").next().unwrap_or(said);
    let words: Vec<&str> = said.split_whitespace().collect();
    format!("{}: see --help", words.join(" "))
}

/// An error and its causes on one line, without what a cause repeats of its consequence.
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
