//! The command line of `explain`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use cordonhold_rt::argument;
use cordonhold_shared::admission::Requester;
use jiff::Timestamp;

use super::PolicyArgs;
use crate::explain::{ExplainConfig, Subject};

/// Says what the webhook makes of a request, by which rule, and what is the way out.
///
/// Give it an `AdmissionReview` as JSON, or the name of a Node for a plain uncordon of it as it is now.
/// The flags of the server that decide mean the same here: give those that the server has.
/// Where a lookup can be neither made nor taken from a flag, both outcomes are told.
/// The `matchConditions` of the webhook's configuration are not looked at: what they keep from the webhook passes.
///
/// Ends with 0 where the request passes, 1 where it is denied or may be, 2 where the input cannot be used.
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
    /// The `AdmissionReview`; - for standard input
    #[arg(value_name = "FILE", conflicts_with = "node")]
    review: Option<PathBuf>,
    /// Instead of a file: an uncordon of this Node, as kubectl does it, now
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Who uncordons; without it, whoever the kubeconfig says
    #[arg(long = "as", value_name = "USER", requires = "node")]
    user: Option<String>,
    /// Group of that user; may be repeated
    #[arg(long = "as-group", value_name = "GROUP", requires = "user")]
    groups: Vec<String>,
    /// Kubeconfig of the cluster that is asked; without it, --node asks the cluster that this pod runs in, and a FILE asks none
    #[arg(long, env = "CORDONHOLD_KUBECONFIG", value_name = "FILE", value_parser = argument::path)]
    kubeconfig: Option<PathBuf>,
    /// Whether the requester may cancel, instead of asking
    #[arg(long, value_enum)]
    may_override: Option<YesNo>,
    /// What kured's lock annotation says, instead of asking; empty where there is none
    #[arg(long, value_name = "JSON")]
    kured_lock: Option<String>,
    /// The time of the request; without it, now
    #[arg(long, value_name = "RFC3339", value_parser = time)]
    at: Option<Timestamp>,
    #[command(flatten)]
    policy: PolicyArgs,
}

/// Why nothing can be explained.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum ExplainArgsError {
    #[error("nothing to explain: name the file of a review, or a node with --node")]
    Nothing,
    #[error("--kured-lock is not read without --protect-kured=lock: add that flag, as the server has it")]
    UnreadLock,
}

impl TryFrom<ExplainArgs> for ExplainConfig {
    type Error = ExplainArgsError;

    fn try_from(args: ExplainArgs) -> Result<ExplainConfig, ExplainArgsError> {
        let policy = args.policy.policy();
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
            kured_lock: args.kured_lock,
            at: args.at,
            policy,
        })
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is no time stamp: write one like 2026-01-31T02:00:00Z"))
}

/// An answer on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum YesNo {
    Yes,
    No,
}
