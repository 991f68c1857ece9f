//! Reads the command line and the environment into `Args`, checks them, and makes the [`Config`] from them.
//!
//! kured's flags keep kured's names and meanings. Each flag also has a variable: `KURED_<FLAG>` for kured's flags,
//! `CORDONHOLD_<FLAG>` for our own. An error is one line that names what is wrong and the fix.
//! Not here: what a flag does, see the module that works with its value.

use std::ffi::OsString;

use clap::{ArgAction, Command, Parser};
use cordonhold_rt::argument::Mistake;
use cordonhold_rt::command_line;
use cordonhold_shared::reboot::blocker::Rules;
use jiff::Timestamp;

use crate::config::{Config, DrainConfig};

mod blockers;
mod cycle;
mod drain;
mod host;
mod lock;
mod notify;
mod pace;
mod process;
mod quotes;
mod returning;
mod silence;
mod value;
mod window;

use blockers::BlockerArgs;
use cycle::CycleArgs;
use drain::DrainArgs;
use host::HostArgs;
use lock::LockArgs;
use notify::NotifyArgs;
use pace::PaceArgs;
use process::ProcessArgs;
use quotes::Plain;
use returning::ReturnArgs;
use silence::SilenceArgs;
use window::WindowArgs;

/// What a command line asks for.
#[derive(Debug)]
pub enum Parsed {
    /// Run the agent with this configuration.
    Run(Box<Config>),
    /// Print this text, which is the help or the version, and end.
    Tell(String),
}

/// Why a command line cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum ArgsError {
    #[error(transparent)]
    Mistake(#[from] Mistake),
    #[error(
        "the node's name is missing: set --node-id or KURED_NODE_ID (in a pod, from the field spec.nodeName)"
    )]
    NodeMissing,
    #[error(
        "--sentinel-preset and {0} both say what asks for a reboot: remove one of the two, or its variable"
    )]
    TwoSentinels(&'static str),
    #[error(
        "--shutdown-check=dbus asks systemd and logind, so --shutdown-check-command does not run: remove one of the two, or its variable"
    )]
    TwoShutdownChecks,
    #[error("{0}")]
    Window(String),
    #[error(
        "--window: {0:?} never opens, because its day never comes: write another day of the month, or another month"
    )]
    NeverOpens(String),
    #[error(
        "--expected-duration: no reboot would ever begin, because no window is open for {span} at a time: make a window longer, or remove --must-end-in-window; the window is {windows}"
    )]
    TooShort { span: String, windows: String },
    #[error(
        "--blocker-promql needs a Prometheus to ask: name it with --prometheus-url, such as http://prometheus.monitoring:9090"
    )]
    NoPrometheus,
    #[error(
        "--silence-matcher needs an Alertmanager: name it with --silence-url, such as http://alertmanager-operated.monitoring:9093"
    )]
    NoAlertmanager,
    #[error("--{flag} is given {count} times: give it {max} times at most")]
    TooMany {
        flag: &'static str,
        count: usize,
        max: usize,
    },
}

/// Cordons, drains and reboots its node when the host asks for a reboot, at most --concurrency nodes of a pool at once.
/// By default a node is rebooted only if it stayed cordoned and empty since its drain.
///
/// Each flag can also be set by the environment variable shown beside it; the command line wins.
/// Durations are written as in Go: 90s, 1h30m, 0. A BOOL flag without a value is true; a value is written with =, as in --force-reboot=false.
/// CORDONHOLD_LOG sets the log level, such as info or debug.
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
    pace: PaceArgs,
    #[command(flatten)]
    lock: LockArgs,
    #[command(flatten)]
    drain: DrainArgs,
    #[command(flatten)]
    returning: ReturnArgs,
    #[command(flatten)]
    notify: NotifyArgs,
    #[command(flatten)]
    silence: SilenceArgs,
    #[command(flatten)]
    process: ProcessArgs,
}

/// Parses a command line, whose first word is the program's name. `variable` looks up one environment variable.
pub fn parse(
    line: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Parsed, ArgsError> {
    let plain = Plain::new(&command(), line, &variable);
    let variable = |name: &str| plain.variables.get(name).cloned().or_else(|| variable(name));
    let line = plain.line.clone();
    let (mut args, mut warnings): (Args, _) = match command_line::parse(command(), line, variable)? {
        command_line::Parsed::Run { args, warnings } => (args, warnings),
        command_line::Parsed::Tell(text) => return Ok(Parsed::Tell(text)),
    };
    warnings.extend(plain.warning());
    warnings.extend(args.window.settle(variable));
    args.window.check(Timestamp::now())?;
    let mut config = Config::try_from(args)?;
    config.warnings.extend(warnings);
    Ok(Parsed::Run(Box::new(config)))
}

/// The flags that `-h` lists, which are those that a first try needs. `--help` lists all.
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

/// The clap command with every flag. `-h` hides all but [`FIRST_TRY`], and on/off flags take an optional value.
fn command() -> Command {
    command_line::command::<Args>()
        .mut_args(|arg| {
            let is_listed = arg.get_long().is_some_and(|flag| FIRST_TRY.contains(&flag));
            arg.hide_short_help(!is_listed)
        })
        .after_help("--help lists every flag, including all of kured's.")
        .after_long_help("")
        .mut_args(|arg| match arg.get_action() {
            // As in pflag, an on/off flag may also be given a value: `--force-reboot=false`.
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
            .chain(args.window.warnings())
            .collect();
        let timing = cycle::timing(&args);
        let rules = Rules {
            max_unavailable: args.lock.max_unavailable,
            inhibitors: args.host.is_by_logind(),
            ..args.pace.rules()
        };
        let settings = cycle::settings(&args, &timing)?;
        let drain: DrainConfig = args.drain.into();
        Ok(Config {
            settings,
            timing,
            sentinel: args.host.sentinel()?,
            takes_requests: args.host.reboot_requests,
            host: args.host.config(args.cycle.reboot_timeout)?,
            lock: args.lock.into(),
            windows: args.window.windows()?,
            must_end: args.window.must_end(),
            blockers: args.blockers.config(rules, &drain.options)?,
            drain,
            ready_when: args.returning.ready_when,
            notify: args.notify.into(),
            silence: args.silence.config()?,
            process: args.process.into(),
            warnings,
        })
    }
}

#[cfg(test)]
mod tests;
