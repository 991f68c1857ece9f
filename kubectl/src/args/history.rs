//! The command lines of `history` and `ui`.
//!
//! Not here: the other commands (`args`).

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

/// How a history is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HistoryFormat {
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// A picture of the node's last reboot
    Svg,
    /// A page with a picture and a table of each reboot
    Html,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
A Node keeps the account of its last reboot; Events last an hour in most clusters. Logs know each uncordon for as long as you
keep them: the webhook's log, and the API server's audit log. At the level Request the audit log also shows the pods.

Examples:
  kubectl cordonhold history
  kubectl cordonhold history worker-17
  kubectl logs -n cordonhold deploy/cordonhold-webhook --all-pods | kubectl cordonhold history worker-17 --webhook-log -
  kubectl cordonhold history worker-17 --audit-log audit.log -o html > post-mortem.html
  kubectl cordonhold history worker-17 -o svg > worker-17.svg")]
pub(crate) struct HistoryArgs {
    /// The node; without one, all
    #[arg(value_name = "NODE")]
    pub(crate) node: Option<String>,
    /// Log of the webhook, or - for standard input; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) webhook_log: Vec<PathBuf>,
    /// Audit log of an API server, or - for standard input; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) audit_log: Vec<PathBuf>,
    /// How it is printed
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<HistoryFormat>,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
It listens on 127.0.0.1 alone, and answers only under the secret path that it prints. It reads with your rights, and writes
nothing: each trouble names the command that mends it.

Examples:
  kubectl cordonhold ui
  kubectl cordonhold ui --port 8099 --context production")]
pub(crate) struct UiArgs {
    /// The port; 0 for one that is free
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) port: u16,
}
