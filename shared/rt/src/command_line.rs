//! Reads flags from the command line and from environment variables. If both set a flag, the command line wins.
//!
//! clap could read the variables, but it would not say which variable is wrong, and it would take variables that Kubernetes sets for a
//! Service which happens to have the same name.
//! Not here: parsing values ([`crate::argument`]), and how a program ends ([`crate::exit`]).

use std::ffi::{OsStr, OsString};

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches};

use crate::argument::Mistake;

/// What a command line asks for.
#[derive(Debug)]
pub enum Parsed<A> {
    /// To run the program.
    Run {
        /// The parsed flags.
        args: A,
        /// Which environment variables are ignored, and why.
        warnings: Vec<String>,
    },
    /// To print this text, help or version, and end.
    Tell(String),
}

/// The clap command. Its help names the variable of each flag, but does not show values of variables, since some are secrets.
pub fn command<A: CommandFactory>() -> Command {
    A::command().mut_args(|arg| arg.hide_env_values(true))
}

/// Parses a command line, whose first word is the program's name, with a [command]. `variable` reads an environment variable.
pub fn parse<A: FromArgMatches>(
    command: Command,
    line: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Parsed<A>, Mistake> {
    let bare = command.clone().mut_args(|arg| arg.env(None));
    let mut line: Vec<OsString> = line.into_iter().collect();
    // First only the command line, so that its mistakes are reported first. A required flag may still come from the environment.
    let alone = bare.clone().mut_args(|arg| arg.required(false));
    match alone.try_get_matches_from(&line) {
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            return Ok(Parsed::Tell(help(command, &line)));
        }
        Err(error) if error.kind() == ErrorKind::DisplayVersion => {
            return Ok(Parsed::Tell(error.to_string()));
        }
        Err(error) if error.kind() != ErrorKind::MissingRequiredArgument => {
            return Err(Mistake::of(&error, str::to_owned));
        }
        Ok(_) | Err(_) => {}
    }
    let mut environment = Environment::default();
    for arg in command.get_arguments() {
        environment.take(arg, &line, &variable)?;
    }
    let Environment {
        words,
        sources,
        warnings,
    } = environment;
    let end_of_program = line.len().min(1);
    drop(line.splice(end_of_program..end_of_program, words));
    let args = bare
        .try_get_matches_from(&line)
        .and_then(|matches| A::from_arg_matches(&matches))
        .map_err(|error| {
            let source = |flag: &str| sources.iter().find(|(known, _)| known == flag);
            Mistake::of(&error, |flag| {
                source(flag).map_or(flag, |(_, variable)| variable).to_owned()
            })
        })?;
    Ok(Parsed::Run { args, warnings })
}

/// The text that `-h` prints, or the longer one of `--help`.
fn help(mut command: Command, line: &[OsString]) -> String {
    if line.iter().any(|word| word == "--help") {
        command.render_long_help().to_string()
    } else {
        command.render_help().to_string()
    }
}

/// What the environment variables add to a command line.
#[derive(Default)]
struct Environment {
    words: Vec<OsString>,
    /// The flags that came from variables, with the names of these.
    sources: Vec<(String, String)>,
    warnings: Vec<String>,
}

impl Environment {
    /// Adds the flag with the value of its variable, unless the command line has the flag.
    fn take(
        &mut self,
        arg: &Arg,
        line: &[OsString],
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<(), Mistake> {
        let names = (arg.get_long(), arg.get_env().and_then(OsStr::to_str));
        let (Some(long), Some(name)) = names else {
            return Ok(());
        };
        let flag = format!("--{long}");
        let Some(value) = variable(name).filter(|_| !is_given(&flag, line)) else {
            return Ok(());
        };
        if is_service_link(name, &value) {
            self.warnings.push(service_link(name));
            return Ok(());
        }
        let mut word = OsString::from(&flag);
        if matches!(arg.get_action(), ArgAction::SetTrue) {
            // Such a flag takes no value on a command line.
            match value.to_str() {
                Some("true") => {}
                Some("false") => return Ok(()),
                _ => return Err(Mistake::boolean(name, &value)),
            }
        } else {
            word.push("=");
            word.push(value);
        }
        self.words.push(word);
        self.sources.push((flag, name.to_owned()));
        Ok(())
    }
}

fn is_given(flag: &str, line: &[OsString]) -> bool {
    let names = |word: &str| word.split('=').next() == Some(flag);
    line.iter().any(|word| word.to_str().is_some_and(names))
}

/// Whether Kubernetes set this variable, for a Service that happens to have the same name: `<NAME>_PORT` is then a URL
/// (k8s.io/kubernetes: pkg/kubelet/envvars/envvars.go).
fn is_service_link(name: &str, value: &OsStr) -> bool {
    let schemes = ["tcp://", "udp://", "sctp://"];
    let value = value.to_str().unwrap_or_default();
    name.ends_with("_PORT") && schemes.iter().any(|scheme| value.starts_with(scheme))
}

fn service_link(name: &str) -> String {
    let service = name.trim_end_matches("_PORT").to_lowercase().replace('_', "-");
    format!(
        "{name} is ignored: Kubernetes set it for the Service {service}; enableServiceLinks: false in the pod spec prevents such variables"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Args {
        #[arg(long, env = "X_FILE")]
        file: String,
        #[arg(long, env = "X_COUNT", default_value_t = 1)]
        count: u8,
        #[arg(long, env = "X_QUIET")]
        quiet: bool,
        #[arg(long, env = "X_KEY", requires = "file")]
        key: Vec<String>,
        #[arg(long, env = "X_PORT", default_value_t = 1)]
        port: u16,
    }

    fn parsed(words: &[&str], variables: &[(&str, &str)]) -> Result<Parsed<Args>, Mistake> {
        let line = std::iter::once("x").chain(words.iter().copied());
        parse(command::<Args>(), line.map(OsString::from), |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    fn args(words: &[&str], variables: &[(&str, &str)]) -> Args {
        match parsed(words, variables).unwrap() {
            Parsed::Run { args, .. } => args,
            Parsed::Tell(text) => panic!("{text}"),
        }
    }

    #[test]
    fn a_variable_stands_for_its_flag_and_the_command_line_wins() {
        let variables = [
            ("X_FILE", "f"),
            ("X_COUNT", "2"),
            ("X_QUIET", "true"),
            ("X_KEY", "a"),
        ];
        let from_variables = args(&[], &variables);
        assert_eq!((from_variables.file.as_str(), from_variables.count), ("f", 2));
        assert!(from_variables.quiet && from_variables.key == ["a"]);
        let from_line = args(&["--file=g", "--count", "3", "--key=b"], &variables);
        assert_eq!((from_line.file.as_str(), from_line.count), ("g", 3));
        assert_eq!(from_line.key, ["b"]);
        // A flag that another flag requires may come from the environment.
        assert_eq!(args(&["--key=b"], &[("X_FILE", "f")]).key, ["b"]);
        assert!(!args(&["--file=g"], &[("X_QUIET", "false")]).quiet);
    }

    #[test]
    fn a_mistake_has_the_name_of_what_it_came_from() {
        for (words, variables, part) in [
            (&["--file=g"][..], &[("X_COUNT", "many")][..], "X_COUNT: "),
            (&["--file=g"], &[("X_QUIET", "perhaps")], "X_QUIET: "),
            (&["--file=g", "--count=many"], &[("X_COUNT", "2")], "--count: "),
            (&["--count=many"], &[("X_PORT", "many")], "--count: "),
            (&[], &[("X_COUNT", "2")], "--file"),
            (&["--filee=g"], &[], "--filee"),
        ] {
            let said = parsed(words, variables).unwrap_err().to_string();
            assert!(said.contains(part), "{words:?}: {said}");
        }
    }

    #[test]
    fn what_kubernetes_sets_for_a_service_is_passed_over_and_told() {
        let Parsed::Run { args, warnings } =
            parsed(&["--file=f"], &[("X_PORT", "tcp://10.0.0.1:80")]).unwrap()
        else {
            panic!("it tells of itself")
        };
        assert_eq!(args.port, 1);
        assert!(warnings[0].starts_with("X_PORT is ignored: Kubernetes set it for the Service x;"));
    }

    #[test]
    fn help_names_variables_and_shows_no_value() {
        let Parsed::Tell(help) = parsed(&["--help"], &[("X_COUNT", "many")]).unwrap() else {
            panic!("it runs")
        };
        assert!(help.contains("[env: X_COUNT]"), "{help}");
    }
}
