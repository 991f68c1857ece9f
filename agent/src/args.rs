//! The command line and environment: as typed in `Args`, validated in [`Config`].
//!
//! kured's flags keep kured's names and meanings, and are read from `KURED_<FLAG>` too; ours from `CORDONHOLD_<FLAG>`.
//! Whatever is wrong gives one line that names it and the fix. Not here: what a flag does.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Command, Parser};
use cordonhold_rt::argument::Mistake;
use cordonhold_rt::command_line;
use cordonhold_shared::reboot::cycle::Settings;
use cordonhold_shared::reboot::timers::Timing;

use crate::host::HostConfig;

pub mod blockers;
pub mod drain;
pub mod lock;
pub mod notify;
pub mod process;
pub mod returning;
pub mod value;
pub mod window;

mod cycle;
mod host;
mod not_yet;

use blockers::BlockerConfig;
use cycle::CycleArgs;
use drain::DrainConfig;
use host::HostArgs;
use lock::LockConfig;
use notify::NotifyConfig;
use process::ProcessConfig;
use returning::ReturnConfig;
use window::WindowConfig;

/// What an agent runs with.
#[derive(Clone, Debug)]
pub struct Config {
    pub policy: Settings,
    pub timing: Timing,
    pub host: HostConfig,
    /// Where the host's wish for a reboot is: a path inside the host's root.
    pub sentinel: PathBuf,
    pub lock: LockConfig,
    pub drain: DrainConfig,
    pub returning: ReturnConfig,
    pub window: WindowConfig,
    pub blockers: BlockerConfig,
    pub notify: NotifyConfig,
    pub process: ProcessConfig,
    /// What the operator should change, though it works.
    pub warnings: Vec<String>,
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Parsed {
    Run(Box<Config>),
    /// Help or version: to be printed, and that is all.
    Tell(String),
}

/// Why a command line cannot be used.
#[derive(Debug, thiserror::Error)]
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
    window: WindowConfig,
    #[command(flatten)]
    blockers: BlockerConfig,
    #[command(flatten)]
    lock: LockConfig,
    #[command(flatten)]
    drain: DrainConfig,
    #[command(flatten)]
    returning: ReturnConfig,
    #[command(flatten)]
    notify: NotifyConfig,
    #[command(flatten)]
    process: ProcessConfig,
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
}

impl TryFrom<Args> for Config {
    type Error = ArgsError;

    fn try_from(args: Args) -> Result<Config, ArgsError> {
        let (cycle, lock, drain) = (args.cycle, args.lock, args.drain);
        let (verify, on_uncordon) = (cycle.verify(), cycle.on_uncordon());
        let deprecated = args.notify.deprecated();
        Ok(Config {
            policy: Settings {
                node: cycle.node_id.ok_or(ArgsError::NodeMissing)?,
                pool: lock.pool_selector.clone().unwrap_or_default(),
                concurrency: lock.concurrency,
                max_unavailable: lock.max_unavailable,
                verify,
                on_uncordon,
                redrains_max: cycle.redrains,
                delays_release: !args.returning.lock_release_delay.is_zero(),
                signs: args.returning.signs(),
                force_reboot: drain.force_reboot,
            },
            timing: Timing {
                period: cycle.period,
                drain_delay: drain.drain_delay,
                drain_timeout: drain.drain_timeout,
                reboot_delay: cycle.reboot_delay,
                reboot_timeout: cycle.reboot_timeout,
                soak: args.returning.soak,
                lock_release_delay: args.returning.lock_release_delay,
                backoff: cycle.backoff,
            },
            sentinel: args.host.reboot_sentinel.clone(),
            host: args.host.config(cycle.reboot_timeout),
            warnings: deprecated
                .into_iter()
                .chain(args.process.odd_log_format())
                .chain(lock.idle_ttl())
                .chain(drain.force_without_limit())
                .collect(),
            lock,
            drain,
            returning: args.returning,
            window: args.window,
            blockers: args.blockers,
            notify: args.notify,
            process: args.process,
        })
    }
}

#[cfg(test)]
mod tests;
