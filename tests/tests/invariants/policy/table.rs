//! Tries each case three times on a real API server: with the policies alone, with policies and webhook, and with the webhook alone; and asks
//! the core, which decides for the webhook. `docs/policy.md` has a row for each case in which they differ.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use cordonhold_shared::admission::{
    Decision, Facts, Known, Mode as CoreMode, OnDelete, Operation, Outcome, Policy as CorePolicy, Reason,
    Request, Requester, ServiceAccount, decide,
};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use cordonhold_tests::control_plane::{ControlPlane, Options};
use cordonhold_tests::identity::{Identity, Impersonation, ORDINARY_CONTROLLER};
use cordonhold_tests::install::{Rendered, install, manifests};
use cordonhold_tests::marks::Marks;
use cordonhold_tests::webhook::{Mode, Protection, Webhook};
use cordonhold_tests::{AGENT_ACCOUNT, NAMESPACE, wait};
use http::{Request as HttpRequest, header};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::cases::{Case, Policy, State, Try, Who, cancel, cases, phase, tainted, wanted};
use super::{IN_FORCE_TIMEOUT, WITH_POLICY, unbind};
use crate::cluster::alone;
use crate::manifests::overlay;
use crate::subject::{annotate, cordon};
use crate::wire::{self, Answer, WEBHOOK, Write};

/// More taints than CEL looks at.
const MANY_TAINTS: usize = 1001;
/// Longer than any clock differs, and than the grace after `until`.
const LONG: SignedDuration = SignedDuration::from_mins(20);
/// An annotation that is nobody's.
const NOTE: &str = "example.org/note";
/// The node whose agent tries to write others.
const ELSEWHERE: &str = "node-0";

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    /// By whom, and the reason's code.
    Denied(By, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Policy,
    Webhook,
}

impl Verdict {
    fn of(answer: &Answer) -> Result<Verdict> {
        if answer.code == 200 || answer.code == 201 {
            return Ok(Verdict::Passed);
        }
        ensure!(
            answer.code == 403 && answer.body["reason"] == "Forbidden",
            "neither passed nor denied: {answer:?}"
        );
        let message = answer.message();
        let by_webhook = format!("admission webhook \"{WEBHOOK}\" denied the request: ");
        let (by, text) = [
            " denied request: ",
            "admission webhook \"deletes.nodes.cordonhold.dev\" denied the request: ",
            "admission webhook \"creates.nodes.cordonhold.dev\" denied the request: ",
            by_webhook.as_str(),
        ]
        .into_iter()
        .find_map(|before| {
            let (_, text) = message.split_once(before)?;
            let by = if before.starts_with(' ') {
                By::Policy
            } else {
                By::Webhook
            };
            Some((by, text))
        })
        .with_context(|| format!("denied by somebody else: {answer:?}"))?;
        let (code, _) = text.split_once(": ").context("a denial without a code")?;
        Ok(Verdict::Denied(by, code.to_owned()))
    }
}

/// A Node as the API server has it, and as the core sees it.
#[derive(Default)]
struct Stored {
    json: Value,
    view: NodeView,
}

/// A control plane with a Node for each state, and a client for each who tries something.
struct Table {
    plane: ControlPlane,
    rendered: Rendered,
    clients: BTreeMap<(Who, State), Client>,
}

#[test]
fn held_stays_cordoned_policy_and_webhook_decide_the_same_but_for_what_the_manual_says() -> Result<()> {
    alone(async || {
        let table = Table::start().await?;
        let cases = cases();
        let nodes = table.nodes().await?;
        let alone = table.verdicts(&cases, &nodes).await?;
        let webhook = Webhook::start_with(
            &table.plane,
            Mode::Enforce,
            Protection::OwnHolds,
            &["--on-delete=deny"],
        )
        .await?;
        webhook.register(&table.plane, &table.rendered, ELSEWHERE).await?;
        let both = table.verdicts(&cases, &nodes).await?;
        unbind(&table.plane.client()).await?;
        table.is_in_force(By::Webhook).await?;
        let without = table.verdicts(&cases, &nodes).await?;
        let mut wrong = Vec::new();
        for (number, case) in cases.iter().enumerate() {
            let told = || format!("{}: {:?} on {:?}", case.what, case.who, case.state);
            let all = [&alone[number], &both[number], &without[number]];
            if let Err(error) = judge(case, &nodes[&case.state], all) {
                wrong.push(format!("{}: {error:#}", told()));
            }
        }
        ensure!(
            wrong.is_empty(),
            "{} of {}:\n{}",
            wrong.len(),
            cases.len(),
            wrong.join("\n")
        );
        is_written(&cases)
    })
}

/// Compares what policy, both, and webhook said about a case with the table and with the core.
fn judge(case: &Case, node: &Stored, [alone, both, without]: [&Verdict; 3]) -> Result<()> {
    let (reason, outcome) = of_the_core(case, node)?;
    ensure!(reason == case.reason, "the core says {}", reason.code());
    let denied = |by, reason: Reason| Verdict::Denied(by, reason.code().to_owned());
    let of_webhook = match outcome {
        Outcome::Deny => denied(By::Webhook, reason),
        Outcome::Allow | Outcome::Flag => Verdict::Passed,
    };
    ensure!(*without == of_webhook, "the webhook alone: {without:?}");
    let of_policy = match (case.policy, &of_webhook) {
        (Policy::Denies(reason, _), Verdict::Passed) => denied(By::Policy, reason),
        (Policy::Passes(_), Verdict::Denied(..)) | (Policy::Same, Verdict::Passed) => Verdict::Passed,
        (Policy::Same, Verdict::Denied(..)) => denied(By::Policy, reason),
        (Policy::Denies(..), Verdict::Denied(..)) | (Policy::Passes(_), Verdict::Passed) => {
            bail!("that is no difference")
        }
    };
    ensure!(*alone == of_policy, "the policy alone: {alone:?}");
    // The API server asks policies first.
    let of_both = if of_policy == Verdict::Passed {
        &of_webhook
    } else {
        &of_policy
    };
    ensure!(both == of_both, "both: {both:?}");
    Ok(())
}

/// The core's decision, and its outcome in mode `enforce`.
fn of_the_core(case: &Case, node: &Stored) -> Result<(Reason, Outcome)> {
    let operation = match case.tries {
        Try::Patch(body) | Try::Status(body) => Operation::UpdateNode {
            old: node.view.clone(),
            new: node.patched(&body(&node.view))?,
        },
        Try::Create(body) => Operation::CreateNode {
            new: Stored::default().patched(&body())?,
        },
        Try::Delete => Operation::DeleteNode {
            old: node.view.clone(),
        },
    };
    let request = Request {
        requester: requester(case),
        operation,
        is_of_status: matches!(case.tries, Try::Status(_)),
    };
    let facts = Facts {
        may_override: Known::Is(!matches!(case.who, Who::Controller | Who::Owner | Who::Elsewhere)),
        ..Facts::default()
    };
    let policy = CorePolicy {
        modes: CoreMode::Enforce.into(),
        agent: ServiceAccount {
            namespace: NAMESPACE.to_owned(),
            name: AGENT_ACCOUNT.to_owned(),
        },
        exempt: cordonhold_shared::admission::Exempt::default(),
        on_delete: OnDelete::Deny,
        kured: None,
    };
    match decide(&request, &facts, &policy, Timestamp::now()) {
        Decision::Verdict(verdict) => Ok((verdict.reason, verdict.outcome)),
        Decision::Need(fact) => bail!("the core needs {fact:?}"),
    }
}

/// Puts a JSON merge patch (RFC 7386) over a value.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            let object = target.as_object_mut();
            drop(object.and_then(|object| object.remove(key)));
        } else {
            merge(&mut target[key], value);
        }
    }
}

impl Stored {
    fn new(json: Value) -> Result<Self> {
        let view = serde_json::from_value(json.clone()).context("failed to read a Node")?;
        Ok(Self { json, view })
    }

    /// The Node after this patch.
    fn patched(&self, patch: &Value) -> Result<NodeView> {
        let mut all = self.json.clone();
        merge(&mut all, patch);
        serde_json::from_value(all).context("failed to read a patched Node")
    }
}

fn impersonation(who: Who, node: &str) -> Option<Impersonation> {
    let agent = |on: &str| Impersonation::service_account(NAMESPACE, AGENT_ACCOUNT).on_node(on);
    match who {
        Who::Admin => None,
        Who::Controller => Some(Impersonation::user(ORDINARY_CONTROLLER)),
        Who::Owner => Some(agent(node)),
        Who::Elsewhere => Some(agent(ELSEWHERE)),
        Who::ElsewhereAsAdmin => Some(agent(ELSEWHERE).group("system:masters")),
        Who::OwnerAsAdmin => Some(agent(node).group("system:masters")),
        Who::Namesake => Some(
            Impersonation::service_account("default", AGENT_ACCOUNT)
                .group("system:masters")
                .on_node(node),
        ),
    }
}

fn requester(case: &Case) -> Requester {
    let Some(somebody) = impersonation(case.who, &case.state.node()) else {
        return Requester {
            user: Identity::Admin.user().to_owned(),
            groups: vec!["system:masters".to_owned()],
            ..Requester::default()
        };
    };
    Requester {
        user: somebody.user,
        groups: somebody.groups,
        node_claim: somebody.extra.into_iter().map(|(_, node)| node).collect(),
        ..Requester::default()
    }
}

impl Table {
    /// Starts a control plane with the policies and without a webhook, and makes the Nodes.
    async fn start() -> Result<Self> {
        let plane = ControlPlane::start(Options { nodes: 1 }).await?;
        let copy = tempfile::tempdir().context("failed to create a directory")?;
        let text = format!("{WITH_POLICY}  - ../../components/policy-refuse-delete\n");
        let rendered = install(&plane, &overlay(copy.path(), "policy", &text)?).await?;
        let mut clients = BTreeMap::new();
        for state in State::ALL {
            plane.add_node(&state.node()).await?;
            for who in Who::ALL {
                let client = match impersonation(who, &state.node()) {
                    None => plane.client(),
                    Some(somebody) => plane.client_as(&somebody).await?,
                };
                drop(clients.insert((who, state), client));
            }
        }
        let table = Self {
            plane,
            rendered,
            clients,
        };
        table.is_in_force(By::Policy).await?;
        for state in State::ALL {
            table.make(state).await.with_context(|| format!("{state:?}"))?;
        }
        Ok(table)
    }

    /// Waits until a mark that somebody forges is denied by this one.
    async fn is_in_force(&self, by: By) -> Result<()> {
        let target = format!("{ELSEWHERE}?dryRun=All");
        let forged = annotate(keys::UNTIL, Some("2099-01-01T00:00:00Z"));
        wait::until("the forgery to be denied", IN_FORCE_TIMEOUT, || async {
            let answer = wire::write(&self.plane.client(), &target, Write::Merge, &forged).await?;
            let verdict = Verdict::of(&answer)?;
            Ok((verdict == Verdict::Denied(by, Reason::SpoofedHold.code().to_owned())).then_some(()))
        })
        .await
    }

    async fn nodes(&self) -> Result<BTreeMap<State, Stored>> {
        let mut nodes = BTreeMap::new();
        for state in State::ALL {
            drop(nodes.insert(state, Stored::new(self.node(state).await?)?));
        }
        Ok(nodes)
    }

    async fn node(&self, state: State) -> Result<Value> {
        let request = HttpRequest::get(format!("/api/v1/nodes/{}", state.node())).body(Vec::new())?;
        let node = self.plane.client().request(request).await;
        node.with_context(|| format!("failed to get the Node {}", state.node()))
    }

    fn marks(&self, state: State) -> Marks {
        let agent = self.clients[&(Who::Owner, state)].clone();
        Marks::new(&state.node(), self.plane.client(), agent)
    }

    /// Writes this Node, which must pass.
    async fn write(&self, who: Who, state: State, body: &Value) -> Result<()> {
        let client = &self.clients[&(who, state)];
        wire::write(client, &state.node(), Write::Merge, body)
            .await?
            .passed()
    }

    /// Brings the Node into its state. Marks are written as its agent.
    async fn make(&self, state: State) -> Result<()> {
        let marks = self.marks(state);
        if let Some(phase) = state.phase() {
            drop(marks.hold(phase).await?);
        }
        let long_ago = Timestamp::now().checked_sub(LONG)?;
        let until = |text: &str| annotate(keys::UNTIL, Some(text));
        let by_agent = match state {
            State::Cordoned => annotate(
                keys::UNCORDON_WANTED,
                Some("2026-01-01T00:00:00Z - ordinary-controller"),
            ),
            State::SealedOver | State::SealedQuiet => until(&format!("{long_ago:.0}")),
            State::UnknownPhase => phase(Some("rebooting")),
            State::NoHolder => annotate(keys::HOLDER, None),
            State::UnreadableCancelled => annotate(keys::HOLDER, Some("nobody")),
            State::UnreadableUntil => until("tomorrow"),
            State::UnreadableWish => until("2026-02-30T00:00:00Z"),
            State::WishWithOffset => until("2099-01-01T00:00:00+01:00"),
            State::UntilAlone => until("2099-01-01T00:00:00Z"),
            State::TaintAlone => tainted(),
            State::Kept => wanted(&marks.view().await?, "-", ORDINARY_CONTROLLER),
            _ => json!({}),
        };
        self.write(Who::Owner, state, &by_agent).await?;
        let by_admin = match state {
            State::Cordoned | State::Wanted | State::UnreadableWish | State::WishWithOffset => cordon(),
            State::ManyTaints => json!({ "spec": { "taints": many_taints() } }),
            State::Cancelled | State::SealedCancelled | State::SealedOver | State::SealedQuiet => {
                cancel(&marks.view().await?, "not now")
            }
            State::UnreadableCancelled => annotate(keys::CANCEL, Some("unreadable not now")),
            _ => json!({}),
        };
        self.write(Who::Admin, state, &by_admin).await?;
        match state {
            State::Lapsed => marks.renewed_before(LONG).await,
            State::LapsedQuiet => {
                marks.renewed_before(LONG).await?;
                self.last_heard(state, long_ago, false).await
            }
            State::SealedOver => self.last_heard(state, long_ago.checked_sub(LONG)?, false).await,
            State::SealedQuiet => self.last_heard(state, long_ago.checked_sub(LONG)?, true).await,
            _ => Ok(()),
        }
    }

    /// Makes the kubelet's last heartbeat as old as this and, with `and_written`, each write that the API server has noted.
    async fn last_heard(&self, state: State, at: Timestamp, and_written: bool) -> Result<()> {
        let at = format!("{at:.0}");
        let client = self.plane.client();
        let beat = json!({ "status": { "conditions": [{ "type": "Ready", "lastHeartbeatTime": at }] } });
        let target = format!("{}/status", state.node());
        wire::write(&client, &target, Write::Strategic, &beat)
            .await?
            .passed()?;
        if !and_written {
            return Ok(());
        }
        // Controllers may still write the Node. A write of times alone changes nothing, and one that removes something is given no time.
        wait::until("a Node that nobody writes", IN_FORCE_TIMEOUT, || async {
            self.write(Who::Admin, state, &annotate(NOTE, Some("a"))).await?;
            let mut entries = self.node(state).await?["metadata"]["managedFields"].clone();
            for entry in entries.as_array_mut().into_iter().flatten() {
                entry["time"] = json!(at);
            }
            let mut body = annotate(NOTE, None);
            body["metadata"]["managedFields"] = entries;
            self.write(Who::Admin, state, &body).await?;
            let node = self.node(state).await?;
            let mut written = node["metadata"]["managedFields"].as_array().into_iter().flatten();
            Ok(written.all(|entry| entry["time"] == at).then_some(()))
        })
        .await
    }

    async fn verdicts(&self, cases: &[Case], nodes: &BTreeMap<State, Stored>) -> Result<Vec<Verdict>> {
        let mut verdicts = Vec::new();
        for case in cases {
            let verdict = self.verdict(case, &nodes[&case.state].view).await;
            verdicts
                .push(verdict.with_context(|| format!("{}: {:?} on {:?}", case.what, case.who, case.state))?);
        }
        Ok(verdicts)
    }

    /// Tries a case as a dry run.
    async fn verdict(&self, case: &Case, node: &NodeView) -> Result<Verdict> {
        let client = &self.clients[&(case.who, case.state)];
        let name = case.state.node();
        let answer = match case.tries {
            Try::Patch(body) => {
                wire::write(client, &format!("{name}?dryRun=All"), Write::Merge, &body(node)).await?
            }
            Try::Status(body) => {
                let target = format!("{name}/status?dryRun=All");
                wire::write(client, &target, Write::Merge, &body(node)).await?
            }
            Try::Create(fields) => {
                let mut node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "new" } });
                let fields = fields();
                for part in ["metadata", "spec"] {
                    for (field, value) in fields[part].as_object().into_iter().flatten() {
                        node[part][field] = value.clone();
                    }
                }
                let request = HttpRequest::post("/api/v1/nodes?dryRun=All")
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(Body::from(node.to_string().into_bytes()))?;
                wire::send(client, request).await?
            }
            Try::Delete => {
                let request =
                    HttpRequest::delete(format!("/api/v1/nodes/{name}?dryRun=All")).body(Body::empty())?;
                wire::send(client, request).await?
            }
        };
        Verdict::of(&answer)
    }
}

fn many_taints() -> Vec<Value> {
    (0..MANY_TAINTS)
        .map(|number| json!({ "key": format!("example.org/t{number}"), "effect": "NoSchedule" }))
        .collect()
}

const HEAD: &str = "| what is tried | webhook | policy | why |\n| --- | --- | --- | --- |\n";

/// Checks that the page has a row for each case in which policy and webhook differ, and no other.
fn is_written(cases: &[Case]) -> Result<()> {
    let rows: Vec<String> = cases.iter().filter_map(row).collect();
    let table = format!("{HEAD}{}", rows.concat());
    let path = manifests("../docs/policy.md");
    let page = std::fs::read_to_string(&path).context("failed to read docs/policy.md")?;
    let (before, rest) = page
        .split_once(HEAD)
        .context("docs/policy.md has no table of differences")?;
    let after = rest.find("\n\n").map_or("", |end| &rest[end + 1..]);
    let new = format!("{before}{table}{after}");
    if std::env::var_os("CORDONHOLD_WRITE_MANUAL").is_some() {
        std::fs::write(&path, &new).context("failed to write docs/policy.md")?;
    } else {
        ensure!(
            new == page,
            "docs/policy.md is out of date: write it anew with `CORDONHOLD_WRITE_MANUAL=1 cargo test --workspace --test invariants policy_and_webhook`"
        );
    }
    Ok(())
}

fn row(case: &Case) -> Option<String> {
    let denies = |reason: Reason| format!("denies (`{}`)", reason.code());
    let passes = |reason: Reason| format!("lets pass (`{}`)", reason.code());
    let (webhook, policy, why) = match case.policy {
        Policy::Same => return None,
        Policy::Passes(why) => (denies(case.reason), "lets pass".to_owned(), why),
        Policy::Denies(reason, why) => (passes(case.reason), denies(reason), why),
    };
    Some(format!("| {} | {webhook} | {policy} | {why} |\n", case.what))
}
