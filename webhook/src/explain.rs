//! `explain`: what the webhook answers to a saved review, or to an uncordon now, and why.
//!
//! It reads and decides with the server's code. What the server would look up comes from flags or from the cluster; if neither
//! has it, every possible outcome is shown.
//! Not here: its command line ([`crate::ExplainArgs`]).

use std::path::PathBuf;
use std::process::ExitCode;

use cordonhold_rt::{client, crypto, exit};
use cordonhold_shared::admission::{self, Deferral, Policy, Request, Requester, Verdict};
use cordonhold_shared::node::NodeView;
use jiff::Timestamp;
use kube::Client;

mod cases;
mod request;
mod text;

use cases::{Cases, Sources, kured_with_lock};
pub use request::read_request;

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
    /// Whether the requester may ask for a reboot; `None`: the cluster is asked.
    pub may_reboot: Option<bool>,
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
#[expect(missing_docs, reason = "each text says it")]
pub enum ExplainError {
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
    #[error(
        "no cluster was named, so the node {node} cannot be read: leave out what keeps the cluster from being asked"
    )]
    NoCluster { node: String },
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

/// What becomes of a request, for people.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The text to print.
    pub text: String,
    /// Whether the request is denied or may be.
    pub may_be_denied: bool,
}

/// What would become of an uncordon, if what could not be looked up were so.
#[derive(Clone, Debug)]
pub struct Outlook {
    /// What is assumed, because it could not be looked up.
    pub assumptions: Vec<String>,
    /// The verdict under these assumptions.
    pub verdict: Verdict,
}

fn run(config: &ExplainConfig) -> Result<Explanation, ExplainError> {
    crypto::install_provider().map_err(ExplainError::Crypto)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ExplainError::Runtime)?;
    runtime.block_on(async {
        let client = match (&config.subject, &config.kubeconfig) {
            (Subject::Review(_), None) => None,
            (Subject::Review(_), Some(_)) | (Subject::Uncordon { .. }, _) => Some(connect(config).await?),
        };
        explanation(config, client).await
    })
}

/// Explains what `config` names. Without a client nothing is looked up; an uncordon of a Node cannot be explained without one.
pub async fn explanation(
    config: &ExplainConfig,
    client: Option<Client>,
) -> Result<Explanation, ExplainError> {
    let request = match (&config.subject, &client) {
        (Subject::Review(path), _) => request::from_file(path, &config.policy)?,
        (Subject::Uncordon { node, by }, Some(client)) => {
            request::uncordon(node, by.as_ref(), client).await?
        }
        (Subject::Uncordon { node, .. }, None) => return Err(ExplainError::NoCluster { node: node.clone() }),
    };
    let sources = Sources {
        may_override: config.may_override,
        may_reboot: config.may_reboot,
        kured_lock: config
            .kured_lock
            .as_deref()
            .map(|text| kured_with_lock(&config.policy, text)),
        ..Sources::of(client, &config.policy)
    };
    let now = config.at.unwrap_or_else(Timestamp::now);
    let (deferral, cases) = foreseen(&request, &config.policy, &sources, now).await;
    Ok(Explanation {
        text: text::render(&request, deferral.as_ref(), &cases),
        may_be_denied: cases.may_be_denied(),
    })
}

/// What would become of an uncordon of this Node as it was read, by this requester, under this policy: one outlook, or one for each answer to
/// what could not be looked up, and why not.
pub async fn foresee(
    node: &NodeView,
    by: Requester,
    policy: &Policy,
    client: Client,
    now: Timestamp,
) -> (Vec<Outlook>, Vec<String>) {
    let mut new = node.clone();
    new.spec.unschedulable = false;
    let request = Request::update(by, node.clone(), new);
    let (_, cases) = foreseen(&request, policy, &Sources::of(Some(client), policy), now).await;
    let outlooks = cases.all.into_iter().map(|case| Outlook {
        assumptions: case.assumptions,
        verdict: case.verdict,
    });
    (outlooks.collect(), cases.failures)
}

/// Who this client speaks as.
pub async fn whoami(client: &Client) -> Result<Requester, ExplainError> {
    request::whoami(client).await
}

async fn foreseen(
    request: &Request,
    policy: &Policy,
    sources: &Sources,
    now: Timestamp,
) -> (Option<Deferral>, Cases) {
    // With the mutation in front, the validation sees the changed request, if it sees anything of it.
    let deferral = admission::defer(request, policy, now);
    let changed = deferral.as_ref().map(|deferral| deferral.changed(request));
    let known = deferral.as_ref().and_then(|deferral| deferral.record.clone());
    let cases = if let Some(verdict) = known {
        Cases::known(verdict)
    } else {
        sources
            .cases(changed.as_ref().unwrap_or(request), policy, now)
            .await
    };
    (deferral, cases)
}

async fn connect(config: &ExplainConfig) -> Result<Client, ExplainError> {
    client::build(config.kubeconfig.as_deref())
        .await
        .map_err(ExplainError::Client)
}

#[cfg(test)]
mod tests;
