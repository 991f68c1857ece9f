//! The command line of `explain`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use cordonhold_rt::argument;
use cordonhold_shared::admission::Requester;
use jiff::Timestamp;

use super::PolicyArgs;
use crate::explain::{ExplainConfig, Subject};

/// Says whether the webhook lets a request pass, by which rule, and how to get past a denial.
///
/// Give it an `AdmissionReview` as JSON, or with --node the name of a Node, to ask about an uncordon of it now.
/// Give it the server's own flags too: those that decide mean the same here.
/// What can be neither looked up nor taken from a flag is assumed both ways, and both outcomes are printed.
/// The `matchConditions` of the webhook's configuration are not evaluated: a request that they keep from the webhook passes.
///
/// The exit code is 0 if the request passes, 1 if it is denied or may be, 2 if the input cannot be used.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "cordonhold-webhook explain",
    bin_name = "cordonhold-webhook explain",
    version,
    max_term_width = 110,
    after_help = "--help lists every flag, and the reasons that --mode-for takes.",
    after_long_help = super::policy::reasons_help()
)]
pub struct ExplainArgs {
    /// File with the `AdmissionReview`; - for standard input
    #[arg(value_name = "FILE", conflicts_with = "node")]
    review: Option<PathBuf>,
    /// Instead of a file: explain a `kubectl uncordon` of this Node now
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// User who uncordons; without it, the user of the kubeconfig
    #[arg(long = "as", value_name = "USER", requires = "node")]
    user: Option<String>,
    /// Group of that user; may be repeated
    #[arg(long = "as-group", value_name = "GROUP", requires = "user")]
    groups: Vec<String>,
    /// Kubeconfig of the cluster to ask; without it, --node asks the cluster that this pod runs in, and a FILE asks none
    #[arg(long, env = "CORDONHOLD_KUBECONFIG", value_name = "FILE", value_parser = argument::path)]
    kubeconfig: Option<PathBuf>,
    /// Whether the requester may cancel; without it, the cluster is asked
    #[arg(long, value_enum)]
    may_override: Option<YesNo>,
    /// Whether the requester may ask for a reboot; without it, the cluster is asked
    #[arg(long, value_enum)]
    may_reboot: Option<YesNo>,
    /// Value of kured's lock annotation, empty for none; without it, the cluster is asked
    #[arg(long, value_name = "JSON")]
    kured_lock: Option<String>,
    /// The time of the request; without it, now
    #[arg(long, value_name = "RFC3339", value_parser = time)]
    at: Option<Timestamp>,
    #[command(flatten)]
    policy: PolicyArgs,
}

/// Why the command line of `explain` cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum ExplainArgsError {
    #[error("nothing to explain: name the file of a review, or a node with --node")]
    Nothing,
    #[error(
        "--kured-lock is not read without --protect-kured=lock: add that flag if the server has it, or leave out --kured-lock"
    )]
    UnreadLock,
}

impl TryFrom<ExplainArgs> for ExplainConfig {
    type Error = ExplainArgsError;

    fn try_from(args: ExplainArgs) -> Result<ExplainConfig, ExplainArgsError> {
        let policy = args.policy.policy("explain");
        if args.kured_lock.is_some() && policy.kured_lock().is_none() {
            return Err(ExplainArgsError::UnreadLock);
        }
        let groups = args.groups;
        let subject = match (args.review, args.node) {
            (Some(path), _) => Subject::Review(path),
            (None, Some(node)) => Subject::Uncordon {
                node,
                by: args.user.map(|user| Requester {
                    user,
                    groups,
                    ..Requester::default()
                }),
            },
            (None, None) => return Err(ExplainArgsError::Nothing),
        };
        Ok(ExplainConfig {
            subject,
            kubeconfig: args.kubeconfig,
            may_override: args.may_override.map(|answer| answer == YesNo::Yes),
            may_reboot: args.may_reboot.map(|answer| answer == YesNo::Yes),
            kured_lock: args.kured_lock,
            at: args.at,
            policy,
        })
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a timestamp: write one like 2026-01-31T02:00:00Z"))
}

/// Yes or no, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum YesNo {
    Yes,
    No,
}
