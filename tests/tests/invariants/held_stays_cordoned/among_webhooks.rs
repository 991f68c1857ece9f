//! Mode `defer` beside a mutating webhook of somebody else, over HTTPS: who is asked first, who is asked again, and what becomes of an
//! uncordon. Each case is a row of the table in `docs/webhook.md`.
//!
//! Not here: policies of others, see `deferred.rs`.

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use cordonhold_tests::foreign_webhook::{Deed, ForeignWebhook};
use cordonhold_tests::identity::ORDINARY_CONTROLLER;
use cordonhold_tests::install::manifests;
use cordonhold_tests::wait;
use serde_json::{Value, json};

use super::deferred::{APPLIED_TIMEOUT, Deferrer, NOTE, kept};
use crate::admission_policy::create_mutating_webhook;
use crate::cluster::{Cluster, alone};
use crate::subject::Subject;
use crate::wire::{self, Write};

/// Whether the request itself clears the cordon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Uncordons,
    /// It only writes an annotation.
    LeavesTheCordon,
}

/// When the foreign webhook is asked, by the name of its configuration; ours is `cordonhold`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Before,
    After,
}

/// What becomes of the uncordon. The node stays cordoned each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The write passes, and the uncordon is kept for the end of the hold.
    Kept,
    /// The whole write is denied, as `held`.
    Denied,
    /// The write passes without the uncordon, and nobody is told.
    Lost,
}

/// A foreign webhook, a request, and what becomes of it.
struct Case {
    deed: Deed,
    request: Request,
    turn: Turn,
    /// Whether the webhook is asked again after the changes of others: its `reinvocationPolicy`.
    reinvocation: &'static str,
    by_webhook: Outcome,
    by_policy: Outcome,
}

const NEVER: &str = "Never";
const IF_NEEDED: &str = "IfNeeded";

const CASES: [Case; 12] = {
    use Deed::{Strips, Uncordons};
    use Outcome::{Denied, Kept, Lost};
    use Request::LeavesTheCordon;
    use Turn::{After, Before};
    [
        case(Uncordons, Request::Uncordons, Before, NEVER, Kept, Kept),
        case(Uncordons, Request::Uncordons, Before, IF_NEEDED, Kept, Denied),
        case(Uncordons, Request::Uncordons, After, NEVER, Kept, Kept),
        case(Uncordons, Request::Uncordons, After, IF_NEEDED, Denied, Denied),
        case(Uncordons, LeavesTheCordon, Before, NEVER, Kept, Denied),
        case(Uncordons, LeavesTheCordon, Before, IF_NEEDED, Kept, Denied),
        case(Uncordons, LeavesTheCordon, After, NEVER, Denied, Denied),
        case(Uncordons, LeavesTheCordon, After, IF_NEEDED, Denied, Denied),
        case(Strips, Request::Uncordons, Before, NEVER, Kept, Lost),
        case(Strips, Request::Uncordons, Before, IF_NEEDED, Lost, Lost),
        case(Strips, Request::Uncordons, After, NEVER, Lost, Lost),
        case(Strips, Request::Uncordons, After, IF_NEEDED, Lost, Lost),
    ]
};

const fn case(
    deed: Deed,
    request: Request,
    turn: Turn,
    reinvocation: &'static str,
    by_webhook: Outcome,
    by_policy: Outcome,
) -> Case {
    Case {
        deed,
        request,
        turn,
        reinvocation,
        by_webhook,
        by_policy,
    }
}

impl Case {
    /// The name of its Node and of its webhook's configuration, by which the API server sorts them.
    fn name(&self) -> String {
        let turn = match self.turn {
            Turn::Before => "a",
            Turn::After => "z",
        };
        let deed = match self.deed {
            Deed::Strips => "strips",
            Deed::Uncordons => "uncordons",
        };
        let request = match self.request {
            Request::Uncordons => "again",
            Request::LeavesTheCordon => "alone",
        };
        format!("{turn}-{deed}-{request}-{}", self.reinvocation.to_lowercase())
    }

    fn outcome(&self, deferrer: Deferrer) -> Outcome {
        match deferrer {
            Deferrer::Webhook => self.by_webhook,
            Deferrer::Policy => self.by_policy,
        }
    }

    fn body(&self) -> Value {
        let mut body = json!({ "metadata": { "annotations": { NOTE: self.name() } } });
        if self.request == Request::Uncordons {
            body["spec"] = json!({ "unschedulable": null });
        }
        body
    }

    /// The row of the page.
    fn row(&self) -> String {
        let deed = match (self.deed, self.request) {
            (Deed::Strips, _) => "removes the annotation",
            (Deed::Uncordons, Request::Uncordons) => "uncordons again",
            (Deed::Uncordons, Request::LeavesTheCordon) => {
                "uncordons by itself, in a write that leaves the cordon"
            }
        };
        let turn = match self.turn {
            Turn::Before => "before `cordonhold`",
            Turn::After => "after it",
        };
        format!(
            "| {deed} | {turn} | `{}` | {} | {} |",
            self.reinvocation,
            self.by_webhook.words(),
            self.by_policy.words()
        )
    }
}

impl Outcome {
    fn words(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Denied => "denied",
            Self::Lost => "lost",
        }
    }
}

#[test]
fn the_page_has_a_row_for_each_foreign_webhook() -> Result<()> {
    let page = std::fs::read_to_string(manifests("../docs/webhook.md")).context("failed to read the page")?;
    for case in &CASES {
        ensure!(page.contains(&case.row()), "docs/webhook.md lacks {}", case.row());
    }
    Ok(())
}

#[test]
fn last_wish_no_foreign_webhook_makes_an_uncordon_of_a_held_node_pass() -> Result<()> {
    alone(async || {
        let foreign = ForeignWebhook::start().await?;
        for deferrer in [Deferrer::Webhook, Deferrer::Policy] {
            let (cluster, _copy) = deferrer.start().await?;
            for case in &CASES {
                let what = || format!("{} with the {deferrer:?}", case.name());
                plays(&cluster, deferrer, &foreign, case)
                    .await
                    .with_context(what)?;
            }
        }
        Ok(())
    })
}

async fn plays(cluster: &Cluster, deferrer: Deferrer, foreign: &ForeignWebhook, case: &Case) -> Result<()> {
    register(cluster, foreign, case).await?;
    let subject = Subject::held(cluster, &case.name(), Phase::Delaying).await?;
    let before = subject.guarded().await?;
    ensure!(before.unschedulable, "{before:?}");
    let (length, asked) = (cluster.log_length().await?, foreign.asked());
    let answer = subject
        .write(&cluster.controller, Write::Merge, &case.body())
        .await?;
    ensure!(foreign.asked() > asked, "the foreign webhook was not asked");
    // Whatever becomes of the write: it clears no cordon and changes no mark.
    subject.is_still(&before).await?;
    let node = subject.view().await?;
    let is_written = node.annotation(NOTE) == Some(case.name().as_str());
    match case.outcome(deferrer) {
        Outcome::Kept => {
            answer.passed()?;
            let kept = kept(&subject).await?;
            ensure!(
                kept.user == ORDINARY_CONTROLLER && is_written,
                "{kept:?}, {node:?}"
            );
        }
        Outcome::Denied => {
            answer.denied()?;
            let decision = cluster.decision_since(length, &subject.name).await?;
            ensure!(
                decision["reason"] == "held" && decision["verdict"] == "deny",
                "{decision}"
            );
            ensure!(
                node.annotation(keys::UNCORDON_WANTED).is_none() && !is_written,
                "{node:?}"
            );
        }
        Outcome::Lost => {
            answer.passed()?;
            ensure!(answer.warnings.is_empty(), "it is told: {answer:?}");
            let decisions = cluster.decisions_since(length, "node", &subject.name).await?;
            ensure!(decisions.is_empty(), "it is logged: {decisions:?}");
            ensure!(
                node.annotation(keys::UNCORDON_WANTED).is_none() && is_written,
                "{node:?}"
            );
        }
    }
    Ok(())
}

/// Registers the foreign webhook for the writes of this case alone, and waits until it is asked about a Node that nobody holds.
async fn register(cluster: &Cluster, foreign: &ForeignWebhook, case: &Case) -> Result<()> {
    let name = case.name();
    let condition = format!("object.metadata.?annotations[?'{NOTE}'].orValue('') == '{name}'");
    create_mutating_webhook(
        &cluster.admin,
        &name,
        (&foreign.url(case.deed), foreign.ca_bundle()),
        case.reinvocation,
        &condition,
    )
    .await?;
    let free = Subject::new(cluster, &format!("free-{name}")).await?;
    let target = format!("{}?dryRun=All", free.name);
    let asked = foreign.asked();
    wait::until("a foreign webhook to be asked", APPLIED_TIMEOUT, || async {
        wire::write(&cluster.admin, &target, Write::Merge, &case.body())
            .await?
            .passed()?;
        Ok((foreign.asked() > asked).then_some(()))
    })
    .await
}
