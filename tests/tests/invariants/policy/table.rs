//! Tries each case three times on a real API server: with the policies alone, with policies and webhook, and with the webhook alone; and asks
//! the core, which decides for the webhook. `docs/policy.md` has a row for each case in which they differ.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use cordonhold_shared::admission::{Outcome, Reason};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use cordonhold_tests::control_plane::{ControlPlane, Options};
use cordonhold_tests::identity::ORDINARY_CONTROLLER;
use cordonhold_tests::install::{Rendered, install};
use cordonhold_tests::marks::Marks;
use cordonhold_tests::wait;
use cordonhold_tests::webhook::{Mode, Protection, Webhook};
use http::{Request as HttpRequest, header};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::cases::{Case, Policy, Try, Who, cancel, cases, many_taints, phase, rebooting, tainted, wanted};
use super::decision::{Stored, impersonation, of_the_core};
use super::generated::{Answered, WRITES, attempts};
use super::page::is_written;
use super::state::State;
use super::{IN_FORCE_TIMEOUT, WITH_POLICY, unbind};
use crate::cluster::alone;
use crate::manifests::overlay;
use crate::subject::{annotate, cordon, uncordon};
use crate::wire::{self, Answer, WEBHOOK, Write};

/// The taints before and after a write are together more than CEL looks at.
const MANY_TAINTS: usize = 501;
/// The characters of a very long mark. All annotations of an object may have 256 KiB.
const LONG_MARK: usize = 200_000;
/// Longer than any clock differs, and than the grace after `until`.
const LONG: SignedDuration = SignedDuration::from_mins(20);
/// An annotation that is nobody's.
const NOTE: &str = "example.org/note";
/// The node whose agent tries to write others.
pub(super) const ELSEWHERE: &str = "node-0";

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
        table
            .generated_writes_are_judged_as_the_core_does(&nodes, &cases)
            .await?;
        let webhook = Webhook::start_with(
            &table.plane,
            Mode::Enforce,
            Protection::OwnHolds,
            &["--on-delete=deny"],
        )
        .await?;
        webhook.register(&table.plane, &table.rendered, ELSEWHERE).await?;
        let both = table.verdicts(&cases, &nodes).await?;
        table.a_cancel_with_another_reason_opens_a_quiet_node().await?;
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
            State::WishWithOffset | State::SealedOffset => until("2099-01-01T00:00:00+01:00"),
            State::LongHolder => annotate(keys::HOLDER, Some(&format!("another/{}", "2".repeat(LONG_MARK)))),
            State::LongUntil => until(&"2".repeat(LONG_MARK)),
            State::HeldManyTaints => {
                let mut taints = many_taints(MANY_TAINTS - 1);
                taints.push(rebooting());
                json!({ "spec": { "taints": taints } })
            }
            State::LapsedAnothers => {
                let created = "2026-01-01T00:00:00.000000001Z";
                annotate(keys::HOLDER, Some(&format!("another/{created}")))
            }
            State::UntilAlone => until("2099-01-01T00:00:00Z"),
            State::TaintAlone => tainted(),
            State::Kept => wanted(&marks.view().await?, "-", ORDINARY_CONTROLLER),
            _ => json!({}),
        };
        self.write(Who::Owner, state, &by_agent).await?;
        let by_admin = match state {
            State::Cordoned
            | State::Wanted
            | State::UnreadableWish
            | State::WishWithOffset
            | State::LongUntil => cordon(),
            State::ManyTaints => json!({ "spec": { "taints": many_taints(MANY_TAINTS) } }),
            State::Cancelled
            | State::SealedCancelled
            | State::SealedOver
            | State::SealedQuiet
            | State::SealedOffset => cancel(&marks.view().await?, "not now"),
            State::UnreadableCancelled => annotate(keys::CANCEL, Some("unreadable not now")),
            _ => json!({}),
        };
        self.write(Who::Admin, state, &by_admin).await?;
        match state {
            State::Lapsed | State::LapsedAnothers => marks.renewed_before(LONG).await,
            State::LapsedQuiet => {
                marks.renewed_before(LONG).await?;
                self.last_heard(state, long_ago, false).await
            }
            State::SealedOver => self.last_heard(state, long_ago.checked_sub(LONG)?, false).await,
            State::SealedQuiet => self.last_heard(state, long_ago.checked_sub(LONG)?, true).await,
            _ => Ok(()),
        }
    }

    /// The way out that the policy names for a sealed node whose machine is gone. The case is tried as a dry run, so that it stays cordoned.
    async fn a_cancel_with_another_reason_opens_a_quiet_node(&self) -> Result<()> {
        let node = &self.node(State::SealedQuiet).await?;
        let view = Stored::new(node.clone())?.view;
        let dry = format!("{}?dryRun=All", State::SealedQuiet.node());
        let client = &self.clients[&(Who::Controller, State::SealedQuiet)];
        let late = || async {
            let answer = wire::write(client, &dry, Write::Merge, &uncordon()).await?;
            anyhow::Ok(
                Verdict::of(&answer)? == Verdict::Denied(By::Policy, Reason::TooLate.code().to_owned()),
            )
        };
        ensure!(late().await?, "the node is not quiet: {node}");
        // The same text changes nothing, so the API server notes no time.
        self.write(Who::Admin, State::SealedQuiet, &cancel(&view, "not now"))
            .await?;
        ensure!(late().await?, "the same cancel opens it");
        self.write(
            Who::Admin,
            State::SealedQuiet,
            &cancel(&view, "its machine is gone"),
        )
        .await?;
        wire::write(client, &dry, Write::Merge, &uncordon())
            .await?
            .passed()
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

    /// Tries the generated writes as dry runs, with the policies alone.
    async fn generated_writes_are_judged_as_the_core_does(
        &self,
        nodes: &BTreeMap<State, Stored>,
        cases: &[Case],
    ) -> Result<()> {
        let (mut differences, mut denials, mut known) = (Vec::new(), 0, 0);
        for attempt in attempts(|state| &nodes[&state])? {
            let client = &self.clients[&(attempt.who, attempt.state)];
            let status = if attempt.is_of_status { "/status" } else { "" };
            let target = format!("{}{status}?dryRun=All", attempt.state.node());
            let answer = wire::write(client, &target, Write::Merge, &attempt.body).await?;
            let told = format!(
                "{} by {:?} on {:?}{status}",
                attempt.body, attempt.who, attempt.state
            );
            let verdict = Verdict::of(&answer).with_context(|| told.clone())?;
            let denied = match &verdict {
                Verdict::Passed => None,
                Verdict::Denied(_, code) => Some(code.as_str()),
            };
            denials += usize::from(denied.is_some());
            match attempt.may_be(cases, denied) {
                Answered::Alike => {}
                Answered::AsTheTableSays => known += 1,
                Answered::Otherwise => differences.push(format!(
                    "{told}: the core {:?} {}, the policies {denied:?}",
                    attempt.outcome,
                    attempt.reason.code()
                )),
            }
        }
        println!("{WRITES} writes: {denials} denied by the policies, {known} known differences");
        ensure!(denials > WRITES / 10 && denials < WRITES, "all are judged alike");
        let first: Vec<&str> = differences.iter().take(20).map(String::as_str).collect();
        ensure!(
            first.is_empty(),
            "{} of {WRITES} differ:\n{}",
            differences.len(),
            first.join("\n")
        );
        Ok(())
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
