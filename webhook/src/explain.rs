//! `explain`: what the webhook answers to a saved review, or to an uncordon now, and why.
//!
//! It reads and decides with the server's code. What the server would look up comes from flags or from the cluster; if neither
//! has it, every possible outcome is shown.
//! Not here: its command line ([`crate::ExplainArgs`]).

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use cordonhold_rt::{client, crypto, exit};
use cordonhold_shared::admission::{self, Policy, Request, Requester};
use jiff::Timestamp;
use kube::Client;

use crate::Metrics;
use crate::lookup::ClusterLookup;

mod cases;
mod request;
mod text;

use cases::{Cases, Sources, kured_with_lock};

/// The exit code if the request is denied, or may be.
const DENIED: u8 = 1;
/// The exit code if the input cannot be used.
const BAD_INPUT: u8 = 2;

/// The checked configuration of `explain`.
#[derive(Clone, Debug)]
pub struct ExplainConfig {
    /// What to explain.
    pub subject: Subject,
    /// The server's policy.
    pub policy: Policy,
    /// Kubeconfig of the cluster to ask. `None`: for an uncordon the cluster that this pod runs in, for a review none.
    pub kubeconfig: Option<PathBuf>,
    /// Whether the requester may cancel; `None`: the cluster is asked.
    pub may_override: Option<bool>,
    /// Value of kured's lock annotation, empty for none; `None`: the cluster is asked.
    pub kured_lock: Option<String>,
    /// Time of the request; `None`: now.
    pub at: Option<Timestamp>,
}

/// What is explained.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A saved review, in this file or, for `-`, from standard input.
    Review(PathBuf),
    /// An uncordon of a Node as it is now.
    Uncordon {
        /// Name of the Node.
        node: String,
        /// Who uncordons; `None`: the user of the kubeconfig.
        by: Option<Requester>,
    },
}

/// Why nothing could be explained.
#[derive(Debug, thiserror::Error)]
enum ExplainError {
    #[error("failed to read the review {}: {source}: name a file, or - for standard input", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the review {} cannot be used: {why}: name the file of an AdmissionReview as the API server sends it", .path.display())]
    Review { path: PathBuf, why: String },
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

/// Prints the explanation and returns the exit code: 0 if the request passes, 1 if it is denied or may be, 2 if the input cannot be used.
pub fn explain(program: &str, config: &ExplainConfig) -> ExitCode {
    match run(config) {
        Ok(Explanation { text, may_be_denied }) => {
            // An error means that the reader closed the pipe and wants no more; the exit code still has the result.
            drop(std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()));
            ExitCode::from(if may_be_denied { DENIED } else { 0 })
        }
        Err(error) => {
            eprintln!("{program}: {}", exit::one_line(&error));
            ExitCode::from(BAD_INPUT)
        }
    }
}

/// The text to print, and whether the request is denied or may be.
struct Explanation {
    text: String,
    may_be_denied: bool,
}

fn run(config: &ExplainConfig) -> Result<Explanation, ExplainError> {
    crypto::install_provider().map_err(ExplainError::Crypto)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ExplainError::Runtime)?;
    runtime.block_on(async {
        let (request, client) = match &config.subject {
            Subject::Review(path) => {
                let client = match &config.kubeconfig {
                    Some(_) => Some(connect(config).await?),
                    None => None,
                };
                (request::from_file(path, &config.policy)?, client)
            }
            Subject::Uncordon { node, by } => {
                let client = connect(config).await?;
                let request = request::uncordon(node, by.as_ref(), &client).await?;
                (request, Some(client))
            }
        };
        Ok(explanation(config, &request, client).await)
    })
}

async fn explanation(config: &ExplainConfig, request: &Request, client: Option<Client>) -> Explanation {
    let policy = &config.policy;
    let lock = policy.kured_lock();
    let sources = Sources {
        lookup: client.map(|client| ClusterLookup::new(client, lock, &Arc::new(Metrics::new()))),
        may_override: config.may_override,
        kured_lock: config
            .kured_lock
            .as_deref()
            .map(|text| kured_with_lock(policy, text)),
    };
    let now = config.at.unwrap_or_else(Timestamp::now);
    // With the mutation in front, the validation sees the changed request, if it sees anything of it.
    let deferral = admission::defer(request, policy, now);
    let changed = deferral.as_ref().map(|deferral| deferral.changed(request));
    let known = deferral.as_ref().and_then(|deferral| deferral.record.clone());
    let cases = if let Some(verdict) = known {
        Cases::known(verdict)
    } else {
        let seen = changed.as_ref().unwrap_or(request);
        sources.cases(seen, policy, now).await
    };
    Explanation {
        text: text::render(request, deferral.as_ref(), &cases),
        may_be_denied: cases.may_be_denied(),
    }
}

async fn connect(config: &ExplainConfig) -> Result<Client, ExplainError> {
    client::build(config.kubeconfig.as_deref())
        .await
        .map_err(ExplainError::Client)
}

#[cfg(test)]
mod tests;
