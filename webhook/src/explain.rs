//! `explain`: what the webhook makes of a saved review, or of an uncordon now, for whoever asks why.
//!
//! The review is read and decided by the code of the server. What the server would look up is taken from flags, asked
//! of the cluster, or left open: then every outcome is shown.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use cordonhold_rt::{client, crypto, exit};
use cordonhold_shared::admission::{Policy, Request};
use jiff::Timestamp;
use kube::Client;

use crate::Metrics;
use crate::args::{ExplainArgs, YesNo};
use crate::lookup::ClusterLookup;

mod cases;
mod request;
mod text;

use cases::{Sources, kured_with_lock};

const DENIED: u8 = 1;
const BAD_INPUT: u8 = 2;

/// Why nothing could be explained.
#[derive(Debug, thiserror::Error)]
enum ExplainError {
    #[error("failed to read the review {}: {source}: name a file, or - for standard input", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the review {} cannot be used: {why}: name the file of an AdmissionReview as the API server sends it", .path.display())]
    Review { path: PathBuf, why: String },
    #[error("nothing to explain: name the file of a review, or a node with --node")]
    Nothing,
    #[error("--kured-lock is not read without --protect-kured=lock: add that flag, as the server has it")]
    UnreadLock,
    #[error(transparent)]
    Crypto(crypto::AlreadyInstalled),
    #[error("failed to start the runtime")]
    Runtime(#[source] std::io::Error),
    #[error(transparent)]
    Client(client::ClientError),
    #[error("failed to get node {node}: {why}: {fix}")]
    Node {
        node: String,
        why: String,
        fix: &'static str,
    },
    #[error("failed to ask who the kubeconfig's user is: {why}: name a user with --as")]
    Whoami { why: String },
}

/// Explains, and gives the code to end with: 0 passes, 1 is denied or may be, 2 cannot be used.
pub fn explain(program: &str, args: &ExplainArgs) -> ExitCode {
    match run(args) {
        Ok(Explanation { text, may_be_denied }) => {
            // Whoever closed the pipe wants no more of it; the code still says what came out.
            drop(std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()));
            ExitCode::from(if may_be_denied { DENIED } else { 0 })
        }
        Err(error) => {
            eprintln!("{program}: {}", exit::one_line(&error));
            ExitCode::from(BAD_INPUT)
        }
    }
}

/// What is printed, and whether the request is denied or may be.
struct Explanation {
    text: String,
    may_be_denied: bool,
}

fn run(args: &ExplainArgs) -> Result<Explanation, ExplainError> {
    crypto::install_provider().map_err(ExplainError::Crypto)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ExplainError::Runtime)?;
    let policy = args.policy.policy();
    if is_lock_unread(args, &policy) {
        return Err(ExplainError::UnreadLock);
    }
    runtime.block_on(async {
        let (request, client) = match (&args.review, &args.node) {
            (Some(path), _) => {
                let client = match &args.kubeconfig {
                    Some(_) => Some(connect(args).await?),
                    None => None,
                };
                (request::from_file(path, &policy)?, client)
            }
            (None, Some(node)) => {
                let client = connect(args).await?;
                (request::uncordon(args, node, &client).await?, Some(client))
            }
            (None, None) => return Err(ExplainError::Nothing),
        };
        Ok(explanation(args, &request, client, &policy).await)
    })
}

/// A lock is given that this policy does not look at.
fn is_lock_unread(args: &ExplainArgs, policy: &Policy) -> bool {
    args.kured_lock.is_some() && policy.kured_lock().is_none()
}

async fn explanation(
    args: &ExplainArgs,
    request: &Request,
    client: Option<Client>,
    policy: &Policy,
) -> Explanation {
    let lock = policy.kured_lock();
    let sources = Sources {
        lookup: client.map(|client| ClusterLookup::new(client, lock, &Arc::new(Metrics::new()))),
        may_override: args.may_override.map(|answer| answer == YesNo::Yes),
        kured_lock: args
            .kured_lock
            .as_deref()
            .map(|text| kured_with_lock(policy, text)),
    };
    let now = args.at.unwrap_or_else(Timestamp::now);
    let cases = sources.cases(request, policy, now).await;
    Explanation {
        text: text::render(request, &cases),
        may_be_denied: cases.may_be_denied(),
    }
}

async fn connect(args: &ExplainArgs) -> Result<Client, ExplainError> {
    client::build(args.kubeconfig.as_deref())
        .await
        .map_err(ExplainError::Client)
}

#[cfg(test)]
mod tests;
