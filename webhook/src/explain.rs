//! `explain`: what the webhook makes of a saved review, or of an uncordon now, told to whoever asks why.
//!
//! The review is read and decided by the code of the server. What the server would look up is taken from flags, asked
//! of the cluster, or left open: then every outcome is told.

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use cordonhold_rt::{client, crypto, exit};
use cordonhold_shared::admission::{
    self, Decision, Fact, Facts, Known, LockEdit, Locks, Operation, Outcome, Policy, Request, Requester,
    Verdict,
};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;

use crate::args::{ExplainArgs, YesNo};
use crate::lookup::ClusterLookup;
use crate::review::{self, Unreadable};
use crate::{Limits, Lookup, Metrics, trail};

const DENIED: u8 = 1;
const BAD_INPUT: u8 = 2;

/// Why nothing could be explained.
#[derive(Debug, thiserror::Error)]
enum ExplainError {
    #[error("failed to read the review {}: {source}: name a file, or - for standard input", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: {why}", .path.display())]
    Review { path: PathBuf, why: String },
    #[error("nothing to explain: name the file of a review, or a node with --node")]
    Nothing,
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
    match tell(args) {
        Ok((text, is_denied)) => {
            // Whoever closed the pipe wants no more of it; the code still says what came out.
            drop(std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()));
            ExitCode::from(if is_denied { DENIED } else { 0 })
        }
        Err(error) => {
            eprintln!("{program}: {}", exit::one_line(&error));
            ExitCode::from(BAD_INPUT)
        }
    }
}

fn tell(args: &ExplainArgs) -> Result<(String, bool), ExplainError> {
    crypto::install_provider().map_err(ExplainError::Crypto)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ExplainError::Runtime)?;
    let policy = args.policy.policy();
    runtime.block_on(async {
        let (request, client) = match (&args.review, &args.node) {
            (Some(path), _) => {
                let client = match &args.kubeconfig {
                    Some(_) => Some(connect(args).await?),
                    None => None,
                };
                (from_file(path, &policy)?, client)
            }
            (None, Some(node)) => {
                let client = connect(args).await?;
                (uncordon(args, node, &client).await?, Some(client))
            }
            (None, None) => return Err(ExplainError::Nothing),
        };
        Ok(explained(args, &request, client, &policy).await)
    })
}

/// What is told, and whether it is a denial or may be one.
async fn explained(
    args: &ExplainArgs,
    request: &Request,
    client: Option<Client>,
    policy: &Policy,
) -> (String, bool) {
    let lock = policy.kured.as_ref().and_then(|kured| kured.lock.as_ref());
    let sources = Sources {
        lookup: client.map(|client| ClusterLookup::new(client, lock, &Arc::new(Metrics::new()))),
        may_override: args.may_override.map(|answer| answer == YesNo::Yes),
        kured_lock: args.kured_lock.as_deref().map(|text| locks(policy, text)),
    };
    let now = args.at.unwrap_or_else(Timestamp::now);
    let told = sources.told(request, policy, now).await;
    (render(request, policy, &told), told.is_denied())
}

async fn connect(args: &ExplainArgs) -> Result<Client, ExplainError> {
    client::build(args.kubeconfig.as_deref())
        .await
        .map_err(ExplainError::Client)
}

fn from_file(path: &Path, policy: &Policy) -> Result<Request, ExplainError> {
    let failed = |source| ExplainError::Read {
        path: path.to_owned(),
        source,
    };
    let mut body = Vec::new();
    let most = Limits::default().body_bytes;
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let _ = if path == Path::new("-") {
        std::io::stdin().take(limit).read_to_end(&mut body)
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(limit).read_to_end(&mut body)
    }
    .map_err(failed)?;
    let unusable = |why| ExplainError::Review {
        path: path.to_owned(),
        why,
    };
    if body.len() > most {
        return Err(unusable(format!(
            "longer than {most} bytes, which the server refuses with 413"
        )));
    }
    let review = review::read(&body, policy).map_err(|unreadable| {
        let Unreadable { uid, why } = unreadable;
        unusable(match uid {
            Some(_) => format!("{why}; the server answers malformed-review, which mode enforce denies"),
            None => format!("{why}; the server answers 400, for there is no uid to answer to"),
        })
    })?;
    Ok(review.request)
}

/// What `kubectl uncordon` asks for.
async fn uncordon(args: &ExplainArgs, name: &str, client: &Client) -> Result<Request, ExplainError> {
    let failed = |why, fix| ExplainError::Node {
        node: name.to_owned(),
        why,
        fix,
    };
    let request = kube::core::Request::new("/api/v1/nodes")
        .get(name, &kube::api::GetParams::default())
        .map_err(|error| failed(exit::one_line(&error), NAME_A_NODE))?;
    let old: NodeView = client
        .request(request)
        .await
        .map_err(|error| failed(client::explain(&error), fix(&error)))?;
    let mut new = old.clone();
    new.spec.unschedulable = false;
    Ok(Request::update(requester(args, client).await?, old, new))
}

const NAME_A_NODE: &str = "name one that kubectl get nodes lists";

/// What to do where a Node cannot be had.
fn fix(error: &kube::Error) -> &'static str {
    match error {
        kube::Error::Api(status) if status.code == 404 => NAME_A_NODE,
        kube::Error::Api(status) if matches!(status.code, 401 | 403) => {
            "give a --kubeconfig whose user may get nodes"
        }
        _ => "check that the server of the --kubeconfig can be reached from here",
    }
}

async fn requester(args: &ExplainArgs, client: &Client) -> Result<Requester, ExplainError> {
    if let Some(user) = &args.user {
        return Ok(Requester {
            user: user.clone(),
            groups: args.groups.clone(),
            ..Requester::default()
        });
    }
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = api
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await
        .map_err(|error| ExplainError::Whoami {
            why: client::explain(&error),
        })?;
    let user = review
        .status
        .and_then(|status| status.user_info)
        .unwrap_or_default();
    let mut extra = user.extra.unwrap_or_default();
    Ok(Requester {
        user: user.username.unwrap_or_default(),
        uid: user.uid.unwrap_or_default(),
        groups: user.groups.unwrap_or_default(),
        node_claim: extra.remove(keys::NODE_NAME_EXTRA).unwrap_or_default(),
        extra,
    })
}

/// The lock annotation with this text, by the first of the keys that are read.
fn locks(policy: &Policy, text: &str) -> Locks {
    let lock = policy.kured.as_ref().and_then(|kured| kured.lock.as_ref());
    let key = lock.and_then(|lock| lock.annotations.first());
    key.filter(|_| !text.is_empty())
        .map(|key| (key.clone(), text.to_owned()))
        .into_iter()
        .collect()
}

/// Where facts come from, each only where it is needed.
struct Sources {
    lookup: Option<ClusterLookup>,
    may_override: Option<bool>,
    kured_lock: Option<Locks>,
}

/// A verdict, and what it takes for given.
struct Case {
    assumptions: Vec<String>,
    verdict: Verdict,
}

/// The verdict; or one for each answer to what nobody could be asked.
#[derive(Default)]
struct Told {
    cases: Vec<Case>,
    /// Why a question got no answer. The webhook asks as its own ServiceAccount, so it may get one.
    failures: Vec<String>,
}

impl Told {
    /// Or may be.
    fn is_denied(&self) -> bool {
        self.cases
            .iter()
            .any(|case| case.verdict.outcome == Outcome::Deny)
    }
}

impl Sources {
    async fn told(&self, request: &Request, policy: &Policy, now: Timestamp) -> Told {
        let mut told = Told::default();
        let mut open = vec![(Facts::default(), Vec::new())];
        while let Some((mut facts, assumptions)) = open.pop() {
            match admission::decide(request, &facts, policy, now) {
                Decision::Verdict(verdict) => told.cases.push(Case { assumptions, verdict }),
                // A watch can only deny sooner what the lock itself denies.
                Decision::Need(Fact::WatchedKuredLock) => {
                    facts.watched_kured_lock = Known::Failed("nothing is watched".to_owned());
                    open.push((facts, assumptions));
                }
                Decision::Need(Fact::Override) => {
                    let asked = self.may_override(request).await;
                    for (answer, assumption) in answers(asked, either_right(request), &mut told.failures) {
                        let facts = Facts {
                            may_override: Known::Is(answer),
                            ..facts.clone()
                        };
                        open.push((facts, with(&assumptions, assumption)));
                    }
                }
                Decision::Need(Fact::KuredLock) => {
                    let asked = self.kured_lock().await;
                    let either = either_lock(request, policy);
                    for (answer, assumption) in answers(asked, either, &mut told.failures) {
                        let facts = Facts {
                            kured_lock: Known::Is(answer),
                            ..facts.clone()
                        };
                        open.push((facts, with(&assumptions, assumption)));
                    }
                }
            }
        }
        told
    }

    async fn may_override(&self, request: &Request) -> Known<bool> {
        match (self.may_override, &self.lookup) {
            (Some(answer), _) => Known::Is(answer),
            (None, Some(lookup)) => {
                let node = request.node().map(NodeView::name).unwrap_or_default();
                lookup.may_override(&request.requester, node).await
            }
            (None, None) => Known::Unasked,
        }
    }

    async fn kured_lock(&self) -> Known<Locks> {
        match (&self.kured_lock, &self.lookup) {
            (Some(locks), _) => Known::Is(locks.clone()),
            (None, Some(lookup)) => lookup.kured_lock().await,
            (None, None) => Known::Unasked,
        }
    }
}

/// The answer; or, where there is none, each that there could be, and what it takes for given.
fn answers<T>(
    asked: Known<T>,
    either: [(T, String); 2],
    failures: &mut Vec<String>,
) -> Vec<(T, Option<String>)> {
    match asked {
        Known::Is(answer) => return vec![(answer, None)],
        Known::Failed(why) => failures.push(why),
        Known::Unasked => {}
    }
    either
        .into_iter()
        .map(|(answer, assumption)| (answer, Some(assumption)))
        .collect()
}

/// Without the right to cancel, and with it.
fn either_right(request: &Request) -> [(bool, String); 2] {
    let (verb, resource, group) = (keys::OVERRIDE_VERB, keys::OVERRIDE_RESOURCE, keys::OVERRIDE_GROUP);
    let told = |word: &str| {
        let user = &request.requester.user;
        format!("{user} {word} the verb {verb} on {resource}.{group}")
    };
    [(false, told("does not have")), (true, told("has"))]
}

/// No lock, and one that names the Node.
fn either_lock(request: &Request, policy: &Policy) -> [(Locks, String); 2] {
    let node = request.node().map(NodeView::name).unwrap_or_default();
    let naming = json!({ "nodeID": node }).to_string();
    [
        (Locks::new(), format!("kured's lock does not name node {node}")),
        (locks(policy, &naming), format!("kured's lock names node {node}")),
    ]
}

fn with(assumptions: &[String], told: Option<String>) -> Vec<String> {
    assumptions.iter().cloned().chain(told).collect()
}

fn render(request: &Request, policy: &Policy, told: &Told) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail, here and below.
    writeln!(text, "{} by {}", what(&request.operation), request.requester.user).unwrap_or_default();
    for case in &told.cases {
        if !case.assumptions.is_empty() {
            write!(text, "\nIf {}:\n", case.assumptions.join(", and ")).unwrap_or_default();
        }
        text.push_str(&verdict(&case.verdict, policy));
    }
    for why in &told.failures {
        writeln!(
            text,
            "\nUnknown here, though the webhook's own ServiceAccount may know: {why}"
        )
        .unwrap_or_default();
    }
    if told.cases.len() > 1 {
        text.push_str(
            "\nWhich of them holds, the cluster knows: give a --kubeconfig whose user may ask, or --may-override and --kured-lock.\n",
        );
    }
    if told.is_denied() {
        text.push_str(
            "\nNot looked at: the matchConditions of the webhook's configuration. What they keep from the webhook passes.\n",
        );
    }
    text
}

fn verdict(verdict: &Verdict, policy: &Policy) -> String {
    let outcome = match verdict.outcome {
        Outcome::Allow => "passes",
        Outcome::Flag => "passes, flagged",
        Outcome::Deny => "denied",
    };
    let reason = verdict.reason;
    let mut lines = vec![
        format!("verdict: {outcome}"),
        format!("reason:  {}", reason.code()),
        format!("rule:    {}", reason.rule()),
    ];
    if reason.outcome() != Outcome::Allow {
        lines.push(format!("mode:    {}", policy.modes.of(reason).as_str()));
    }
    for key in [
        admission::AUDIT_HOLDER,
        admission::AUDIT_PHASE,
        admission::AUDIT_AGE,
    ] {
        if let Some(value) = verdict.audit.get(key) {
            lines.push(format!("{:<9}{value}", format!("{key}:")));
        }
    }
    lines.extend(
        verdict
            .warnings
            .iter()
            .map(|warning| format!("warning: {warning}")),
    );
    if !verdict.message.is_empty() {
        lines.push(format!("\n{}", verdict.message));
    }
    lines.join("\n") + "\n"
}

/// The request in a few words.
fn what(operation: &Operation) -> String {
    match operation {
        Operation::UpdateNode { old, .. } => {
            let effect = trail::effect(operation);
            let effect = if effect.is_empty() {
                "nothing that is guarded"
            } else {
                &effect
            };
            let state = if old.spec.unschedulable {
                ""
            } else {
                ", which is not cordoned"
            };
            format!("update of node {}{state} ({effect})", old.name())
        }
        Operation::DeleteNode { old } => format!("delete of node {}", old.name()),
        Operation::UpdateDaemonSet(LockEdit { namespace, name, .. }) => {
            format!("update of daemonset {namespace}/{name}")
        }
    }
}

#[cfg(test)]
mod tests;
