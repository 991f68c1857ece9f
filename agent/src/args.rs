//! The command line and environment: `AgentArgs` as typed, [`Config`] validated.
//!
//! kured's flags keep kured's names and meanings, and are read from `KURED_<FLAG>` too; ours from `CORDONHOLD_<FLAG>`.
//! Whatever is wrong gives one line that names it and the fix.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use cordonhold_rt::duration;
use cordonhold_rt::exit;
use cordonhold_rt::logging::LogFormat;
use cordonhold_shared::cycle::{OnUncordon, Policy};
use cordonhold_shared::timers::Timing;

use crate::host::HostConfig;

/// What an agent runs with.
#[derive(Clone, Debug)]
pub struct Config {
    pub policy: Policy,
    pub timing: Timing,
    pub host: HostConfig,
    /// Where the host's wish for a reboot is: a path inside the host's root.
    pub sentinel: PathBuf,
    /// `None`: the pod that the agent runs in.
    pub kubeconfig: Option<PathBuf>,
    pub lock_namespace: String,
    pub lock_name: String,
    pub drain_grace_period: Option<u32>,
    pub log_format: LogFormat,
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
    #[error("{0}")]
    CommandLine(String),
    #[error(
        "the node's name is missing: name it with --node-id or KURED_NODE_ID (in a pod, from the field spec.nodeName)"
    )]
    NodeMissing,
    #[error(
        "{flag}: {value:?} is not a name that Kubernetes knows: use lower case letters, digits, '-' and '.'"
    )]
    Name { flag: &'static str, value: String },
    #[error("{flag}: the words of {value:?} cannot be told apart: close its quotes as in a shell")]
    Words { flag: &'static str, value: String },
    #[error("{flag} is empty: name a command, like {example:?}")]
    NoCommand {
        flag: &'static str,
        example: &'static str,
    },
    #[error("{flag} is 0: give a duration above 0, like {example}")]
    Zero {
        flag: &'static str,
        example: &'static str,
    },
    #[error("{flag}: {} is not an absolute path: begin it with /", .path.display())]
    Relative { flag: &'static str, path: PathBuf },
}

/// Cordons, drains and reboots the node that it runs on when the host asks for it, one node after another,
/// and reboots only a node that stayed cordoned and empty since it was drained.
///
/// Each flag can be given in the environment, as named beside it; the command line wins.
/// Durations are written as in Go: 90s, 1h30m, 0. CORDONHOLD_LOG sets the log level, like info or debug.
#[expect(clippy::doc_markdown, reason = "it is what --help prints")]
#[derive(Debug, Parser)]
#[command(
    name = "cordonhold-agent",
    version,
    max_term_width = 110,
    args_override_self = true
)]
struct AgentArgs {
    #[command(flatten)]
    work: WorkArgs,
    #[command(flatten)]
    host: HostArgs,
    #[command(flatten)]
    lock: LockArgs,
    /// How log lines look
    #[arg(
        long,
        env = "KURED_LOG_FORMAT",
        value_enum,
        default_value = "text",
        hide_env_values = true
    )]
    log_format: LogFormat,
}

/// When and how a node is drained and rebooted.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Draining and rebooting")]
struct WorkArgs {
    /// Name of the Node that the agent runs on (required)
    #[arg(long, env = "KURED_NODE_ID", value_name = "NAME")]
    node_id: Option<String>,
    /// How often the sentinel is looked at
    #[arg(long, env = "KURED_PERIOD", value_parser = duration::parse, value_name = "DURATION", default_value = "1h")]
    period: Duration,
    /// Wait between the end of the drain and the reboot; the node is watched meanwhile
    #[arg(long, env = "KURED_REBOOT_DELAY", value_parser = duration::parse, value_name = "DURATION", default_value = "0")]
    reboot_delay: Duration,
    /// Longest drain, after which the reboot is called off; 0 is no limit
    #[arg(long, env = "KURED_DRAIN_TIMEOUT", value_parser = duration::parse, value_name = "DURATION", default_value = "0")]
    drain_timeout: Duration,
    /// Seconds that an evicted pod has to end; below 0 each pod's own
    #[arg(
        long,
        env = "KURED_DRAIN_GRACE_PERIOD",
        value_name = "SECONDS",
        default_value_t = -1,
        allow_negative_numbers = true
    )]
    drain_grace_period: i64,
    /// Whether the node must be seen cordoned and empty right before the reboot; `never` is kured's behaviour
    #[arg(
        long,
        env = "CORDONHOLD_VERIFY_BEFORE_REBOOT",
        value_enum,
        default_value = "always"
    )]
    verify_before_reboot: Verify,
    /// What follows when somebody uncordons the node, or a pod lands on it, before the reboot
    #[arg(long, env = "CORDONHOLD_ON_UNCORDON", value_enum, default_value = "redrain")]
    on_uncordon: Uncordon,
    /// How often the node is drained again before the reboot is called off
    #[arg(long, env = "CORDONHOLD_REDRAINS", value_name = "COUNT", default_value_t = 5)]
    redrains: u8,
    /// How long after a reboot was called off the next one is wished for
    #[arg(long, env = "CORDONHOLD_BACKOFF", value_parser = duration::parse, value_name = "DURATION", default_value = "5m")]
    backoff: Duration,
    /// How long a reboot may take before the agent reports it; also how long the webhook guards a node that is rebooting
    #[arg(long, env = "CORDONHOLD_REBOOT_TIMEOUT", value_parser = duration::parse, value_name = "DURATION", default_value = "30m")]
    reboot_timeout: Duration,
    /// How long a node that is back and Ready waits before its cordon is given back
    #[arg(long, env = "CORDONHOLD_SOAK", value_parser = duration::parse, value_name = "DURATION", default_value = "0")]
    soak: Duration,
}

/// How the host is reached.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The host")]
struct HostArgs {
    /// File on the host whose presence asks for a reboot; symlinks are followed inside the host's root
    #[arg(
        long,
        env = "KURED_REBOOT_SENTINEL",
        value_name = "PATH",
        default_value = "/var/run/reboot-required"
    )]
    reboot_sentinel: PathBuf,
    /// Command that reboots the host, in words as a shell splits them
    #[arg(long, env = "KURED_REBOOT_COMMAND", value_name = "COMMAND", default_value = REBOOT_COMMAND)]
    reboot_command: String,
    /// Command that prints `stopping` while the host shuts down, `unknown` or `offline` where it cannot say, and any other word while it does not
    #[arg(long, env = "CORDONHOLD_SHUTDOWN_CHECK_COMMAND", value_name = "COMMAND", default_value = SHUTDOWN_CHECK_COMMAND)]
    shutdown_check_command: String,
    /// Words put before each command, to run it on the host; may be empty
    #[arg(
        long,
        env = "CORDONHOLD_HOST_EXEC",
        value_name = "COMMAND",
        default_value = "/usr/bin/nsenter -m/proc/1/ns/mnt --"
    )]
    host_exec: String,
    /// The host's root directory as the agent sees it
    #[arg(
        long,
        env = "CORDONHOLD_HOST_ROOT",
        value_name = "PATH",
        default_value = "/proc/1/root"
    )]
    host_root: PathBuf,
}

/// Which nodes share a lock, and where it is.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The lock and the API server")]
struct LockArgs {
    /// How many nodes may be in a reboot at once; the lock is the Lease cordonhold-default
    #[arg(long, env = "KURED_CONCURRENCY", value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// Namespace of the lock
    #[arg(
        long,
        env = "POD_NAMESPACE",
        value_name = "NAMESPACE",
        default_value = "cordonhold"
    )]
    lock_namespace: String,
    /// Kubeconfig with the agent's identity; without one, the pod's ServiceAccount
    #[arg(long, env = "CORDONHOLD_KUBECONFIG", value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Verify {
    Always,
    /// Only where there is a reboot delay
    Auto,
    Never,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Uncordon {
    /// Cordon and drain again
    Redrain,
    /// Call the reboot off and back off
    Abort,
}

const REBOOT_COMMAND: &str = "/bin/systemctl reboot";
const SHUTDOWN_CHECK_COMMAND: &str = "/bin/systemctl is-system-running";
/// The lock of the one pool that there is: all nodes.
const LOCK_NAME: &str = "cordonhold-default";
/// Longest name of a Kubernetes object (RFC 1123 subdomain).
const NAME_MAX: usize = 253;

/// Reads a command line, its first word being the program's name, and the environment.
pub fn parse(line: impl IntoIterator<Item = OsString>) -> Result<Parsed, ArgsError> {
    match AgentArgs::try_parse_from(line) {
        Ok(args) => Config::try_from(args).map(|config| Parsed::Run(Box::new(config))),
        Err(error) if !error.use_stderr() => Ok(Parsed::Tell(error.render().to_string())),
        Err(error) => Err(ArgsError::CommandLine(exit::usage_line(&error.to_string()))),
    }
}

/// Whether Kubernetes takes this as the name of a Node.
pub(crate) fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let inner = label
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        !label.is_empty() && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= NAME_MAX && text.split('.').all(is_label)
}

impl TryFrom<AgentArgs> for Config {
    type Error = ArgsError;

    fn try_from(args: AgentArgs) -> Result<Config, ArgsError> {
        let AgentArgs {
            work,
            host,
            lock,
            log_format,
        } = args;
        let node = work
            .node_id
            .as_deref()
            .filter(|name| !name.is_empty())
            .ok_or(ArgsError::NodeMissing)?;
        Ok(Config {
            policy: Policy {
                node: named("--node-id", node)?,
                concurrency: usize::from(lock.concurrency),
                verify: match work.verify_before_reboot {
                    Verify::Always => true,
                    Verify::Auto => !work.reboot_delay.is_zero(),
                    Verify::Never => false,
                },
                on_uncordon: match work.on_uncordon {
                    Uncordon::Redrain => OnUncordon::Redrain,
                    Uncordon::Abort => OnUncordon::Abort,
                },
                redrains_max: work.redrains,
            },
            timing: Timing {
                period: above_zero("--period", "1h", work.period)?,
                drain_timeout: Some(work.drain_timeout).filter(|timeout| !timeout.is_zero()),
                reboot_delay: work.reboot_delay,
                reboot_timeout: above_zero("--reboot-timeout", "30m", work.reboot_timeout)?,
                soak: work.soak,
                backoff: work.backoff,
            },
            host: HostConfig {
                root: absolute("--host-root", host.host_root)?,
                exec: words("--host-exec", &host.host_exec)?,
                reboot: command("--reboot-command", REBOOT_COMMAND, &host.reboot_command)?,
                shutdown_check: command(
                    "--shutdown-check-command",
                    SHUTDOWN_CHECK_COMMAND,
                    &host.shutdown_check_command,
                )?,
            },
            sentinel: absolute("--reboot-sentinel", host.reboot_sentinel)?,
            kubeconfig: lock.kubeconfig,
            lock_namespace: named("--lock-namespace", &lock.lock_namespace)?,
            lock_name: LOCK_NAME.to_owned(),
            drain_grace_period: u32::try_from(work.drain_grace_period).ok(),
            log_format,
        })
    }
}

fn named(flag: &'static str, value: &str) -> Result<String, ArgsError> {
    if is_name(value) {
        Ok(value.to_owned())
    } else {
        Err(ArgsError::Name {
            flag,
            value: value.to_owned(),
        })
    }
}

fn words(flag: &'static str, value: &str) -> Result<Vec<String>, ArgsError> {
    shlex::split(value).ok_or_else(|| ArgsError::Words {
        flag,
        value: value.to_owned(),
    })
}

fn command(flag: &'static str, example: &'static str, value: &str) -> Result<Vec<String>, ArgsError> {
    let words = words(flag, value)?;
    if words.is_empty() {
        Err(ArgsError::NoCommand { flag, example })
    } else {
        Ok(words)
    }
}

fn above_zero(flag: &'static str, example: &'static str, value: Duration) -> Result<Duration, ArgsError> {
    if value.is_zero() {
        Err(ArgsError::Zero { flag, example })
    } else {
        Ok(value)
    }
}

fn absolute(flag: &'static str, path: PathBuf) -> Result<PathBuf, ArgsError> {
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(ArgsError::Relative { flag, path })
    }
}

#[cfg(test)]
mod tests;
