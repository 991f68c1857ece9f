//! The command line and environment: as typed in `Args`, from which comes the [`Config`].
//!
//! kured's flags keep kured's names and meanings, and are read from `KURED_<FLAG>` too; ours from `CORDONHOLD_<FLAG>`.
//! Whatever is wrong gives one line that names it and the fix. Not here: what a flag does.

use std::ffi::OsString;

use clap::{ArgAction, Command, Parser};
use cordonhold_rt::argument::Mistake;
use cordonhold_rt::command_line;

use crate::config::Config;

mod blockers;
mod cycle;
mod drain;
mod host;
mod lock;
mod not_yet;
mod notify;
mod process;
mod returning;
mod value;
mod window;

use blockers::BlockerArgs;
use cycle::CycleArgs;
use drain::DrainArgs;
use host::HostArgs;
use lock::LockArgs;
use notify::NotifyArgs;
use process::ProcessArgs;
use returning::ReturnArgs;
use window::WindowArgs;

/// What a command line asks for.
#[derive(Debug)]
pub enum Parsed {
    /// To run with this.
    Run(Box<Config>),
    /// Help or version: to be printed, and that is all.
    Tell(String),
}

/// Why a command line cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum ArgsError {
    #[error(transparent)]
    Mistake(#[from] Mistake),
    #[error(
        "the node's name is missing: name it with --node-id or KURED_NODE_ID (in a pod, from the field spec.nodeName)"
    )]
    NodeMissing,
    #[error(
        "this version does not do what {0} asks for: leave the flag out, or at its default, which --help names"
    )]
    NotYet(String),
}

/// Cordons, drains and reboots the node that it runs on when the host asks for it, one node after another,
/// and reboots only a node that stayed cordoned and empty since it was drained.
///
/// Each flag can be given in the environment, as named beside it; the command line wins.
/// Durations are written as in Go: 90s, 1h30m, 0. A BOOL is true or false; a flag alone is true, and its value follows only after =.
/// CORDONHOLD_LOG sets the log level, like info or debug.
#[expect(clippy::doc_markdown, reason = "it is what --help prints")]
#[derive(Debug, Parser)]
#[command(
    name = "cordonhold-agent",
    version,
    max_term_width = 110,
    args_override_self = true
)]
struct Args {
    #[command(flatten)]
    cycle: CycleArgs,
    #[command(flatten)]
    host: HostArgs,
    #[command(flatten)]
    window: WindowArgs,
    #[command(flatten)]
    blockers: BlockerArgs,
    #[command(flatten)]
    lock: LockArgs,
    #[command(flatten)]
    drain: DrainArgs,
    #[command(flatten)]
    returning: ReturnArgs,
    #[command(flatten)]
    notify: NotifyArgs,
    #[command(flatten)]
    process: ProcessArgs,
}

/// Reads a command line, its first word being the program's name, and the environment, one variable at a time.
pub fn parse(
    line: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Parsed, ArgsError> {
    let (mut args, mut warnings): (Args, _) = match command_line::parse(command(), line, &variable)? {
        command_line::Parsed::Run { args, warnings } => (args, warnings),
        command_line::Parsed::Tell(text) => return Ok(Parsed::Tell(text)),
    };
    warnings.extend(args.window.settle(&variable));
    let nothing = [OsString::from("cordonhold-agent")];
    if let command_line::Parsed::Run { args: default, .. } =
        command_line::parse(command(), nothing, |_| None)?
    {
        not_yet::refuse(&args, &default)?;
    }
    let mut config = Config::try_from(args)?;
    config.warnings.extend(warnings);
    Ok(Parsed::Run(Box::new(config)))
}

/// The flags that a first try needs: all that -h lists.
const FIRST_TRY: [&str; 12] = [
    "node-id",
    "period",
    "reboot-delay",
    "reboot-sentinel",
    "reboot-command",
    "lock-on",
    "concurrency",
    "drain-timeout",
    "metrics-port",
    "log-format",
    "kubeconfig",
    "host-root",
];

/// The flags, of which `-h` lists those of a first try.
fn command() -> Command {
    command_line::command::<Args>()
        .mut_args(|arg| {
            let is_listed = arg.get_long().is_some_and(|flag| FIRST_TRY.contains(&flag));
            arg.hide_short_help(!is_listed)
        })
        .after_help("--help lists every flag, kured's among them, and says more of each.")
        .after_long_help("")
        .mut_args(|arg| match arg.get_action() {
            // A flag that is on or off takes a value too, as pflag has it.
            ArgAction::SetTrue => arg
                .action(ArgAction::Set)
                .value_name("BOOL")
                .default_value("false")
                .default_missing_value("true")
                .num_args(0..=1)
                .require_equals(true)
                .value_parser(value::boolean),
            _ => arg,
        })
}

impl TryFrom<Args> for Config {
    type Error = ArgsError;

    fn try_from(args: Args) -> Result<Config, ArgsError> {
        let deprecated = args.notify.deprecated().into_iter();
        let warnings = deprecated
            .chain(args.process.odd_log_format())
            .chain(args.lock.idle_ttl())
            .chain(args.drain.force_without_limit())
            .collect();
        let timing = cycle::timing(&args);
        Ok(Config {
            settings: cycle::settings(&args, &timing)?,
            timing,
            sentinel: args.host.reboot_sentinel.clone(),
            host: args.host.config(args.cycle.reboot_timeout),
            lock: args.lock.into(),
            drain: args.drain.into(),
            shows_conditions: args.returning.node_conditions,
            window: args.window.into(),
            blockers: args.blockers.into(),
            notify: args.notify.into(),
            process: args.process.into(),
            warnings,
        })
    }
}

#[cfg(test)]
mod tests;
