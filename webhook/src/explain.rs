//! `explain`: what the webhook makes of a saved review, or of an uncordon now, for whoever asks why.
//!
//! The review is read and decided by the code of the server. What the server would look up is taken from flags, asked
//! of the cluster, or left open: then every outcome is shown.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use cordonhold_rt::{client, crypto, exit};
use cordonhold_shared::admission::{Policy, Request, Requester};
use jiff::Timestamp;
use kube::Client;

use crate::Metrics;
use crate::lookup::ClusterLookup;

mod cases;
mod request;
mod text;

use cases::{Sources, kured_with_lock};

const DENIED: u8 = 1;
const BAD_INPUT: u8 = 2;

/// What is asked, and what is known already.
#[derive(Clone, Debug)]
pub struct ExplainConfig {
    /// What is explained.
    pub subject: Subject,
    /// The decision's, as the server has it.
    pub policy: Policy,
    /// The cluster that is asked. `None`: for an uncordon the one that this pod runs in, else none.
    pub kubeconfig: Option<PathBuf>,
    /// Whether the requester may cancel; `None`: it is asked.
    pub may_override: Option<bool>,
    /// What kured's lock annotation says; `None`: it is asked.
    pub kured_lock: Option<String>,
    /// When the request came; `None`: now.
    pub at: Option<Timestamp>,
}

/// What is explained.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A saved review, in this file or, for `-`, from standard input.
    Review(PathBuf),
    /// A plain uncordon of this Node, as it is now; `None`: by whoever the kubeconfig says.
    Uncordon {
        /// Its name.
        node: String,
        /// By whom.
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

/// Explains, and gives the code to end with: 0 passes, 1 is denied or may be, 2 cannot be used.
pub fn explain(program: &str, config: &ExplainConfig) -> ExitCode {
    match run(config) {
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
    let cases = sources.cases(request, policy, now).await;
    Explanation {
        text: text::render(request, &cases),
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
