//! `why`: one node, with who cordoned it, what an uncordon would meet, and what a person can do.
//!
//! Not here: what each of these is ([`cordonhold_shared::fleet::Why`]).

use cordonhold_shared::admission::{Outcome, Policy, Reason, Requester};
use cordonhold_shared::cordoner::{Author, author};
use cordonhold_shared::fleet::{Facts, Outlook, Unseen, Why};
use cordonhold_shared::node::NodeView;
use cordonhold_shared::quote::{QUOTED_MAX, one_line, quoted};
use cordonhold_shared::span::span;
use cordonhold_webhook::{foresee, policy_of, whoami};
use jiff::Timestamp;
use serde_json::Value;

use crate::args::{Format, WhyArgs};
use crate::cluster::Cluster;
use crate::look::{Look, Scope};
use crate::text::{self, STRONG, painted, style_of};
use crate::{Ending, Error, clock, output};

pub(crate) async fn run(cluster: &Cluster, args: &WhyArgs) -> Result<Ending, Error> {
    let scope = Scope {
        nodes: vec![args.node.clone()],
        ..Scope::default()
    };
    let mut look = cluster.look(&scope).await?;
    // With all that NodeView leaves out.
    let raw: Value = cluster.node(&args.node).await?;
    let node: NodeView = serde_json::from_value(raw.clone()).map_err(std::io::Error::other)?;
    let agents = cluster.agents_on(&args.node, &mut look.seen.unseen).await?;
    let now = clock::now();
    let by = requester(cluster, args).await?;
    let facts = Facts {
        author: author(&raw["metadata"]["managedFields"]),
        uncordon: outlooks(cluster, &mut look, &node, by, now).await,
        agents,
    };
    look.has(vec![node]);
    let why = Why::of(&args.node, &look.seen, facts, now).ok_or_else(|| Error::NoNode(args.node.clone()))?;
    if !output::document(args.output, &why)? {
        let width = if args.output == Some(Format::Wide) {
            usize::MAX
        } else {
            output::width()
        };
        output::print(&rendered(&why, width))?;
    }
    let is_fine = why.troubles.is_empty() || !args.exit_code;
    Ok(if is_fine { Ending::Fine } else { Ending::Trouble })
}

async fn requester(cluster: &Cluster, args: &WhyArgs) -> Result<Requester, Error> {
    match &args.requester {
        Some(user) => Ok(Requester {
            user: user.clone(),
            groups: args.groups.clone(),
            ..Requester::default()
        }),
        None => whoami(&cluster.client).await.map_err(Error::Explain),
    }
}

/// What an uncordon of this node would meet now.
async fn outlooks(
    cluster: &Cluster,
    look: &mut Look,
    node: &NodeView,
    by: Requester,
    now: Timestamp,
) -> Vec<Outlook> {
    let user = quoted(&by.user);
    if look.seen.webhook.registered == Some(false) {
        return vec![Outlook {
            by: user,
            assumptions: Vec::new(),
            verdict: "passes: no webhook is registered; the agent notices, and drains again".to_owned(),
            reason: None,
        }];
    }
    let by_default: Option<Policy> = policy_of(&usual(), &cluster.namespace).ok();
    let Some(policy) = look.installed.policy.as_ref().or(by_default.as_ref()) else {
        return Vec::new();
    };
    let assumed = look
        .installed
        .policy
        .is_none()
        .then(|| "the webhook runs in mode enforce, and does not look at kured".to_owned());
    let (outlooks, failures) = foresee(node, by, policy, cluster.client.clone(), now).await;
    look.seen.unseen.extend(failures.into_iter().map(|why| Unseen {
        what: "what the webhook looks up for an uncordon".to_owned(),
        needs: None,
        says: why,
    }));
    let of = |outlook: cordonhold_webhook::Outlook| Outlook {
        by: user.clone(),
        assumptions: assumed.clone().into_iter().chain(outlook.assumptions).collect(),
        verdict: in_words(outlook.verdict.outcome, outlook.verdict.reason).to_owned(),
        reason: Some(outlook.verdict.reason.code()),
    };
    outlooks.into_iter().map(of).collect()
}

/// The arguments of a webhook that sets nothing but what it must.
fn usual() -> Vec<String> {
    let files = ["--tls-cert-file=-", "--tls-private-key-file=-"];
    files.map(str::to_owned).to_vec()
}

fn in_words(outcome: Outcome, reason: Reason) -> &'static str {
    match (outcome, reason) {
        (_, Reason::Deferred) => "is kept until the hold ends",
        (Outcome::Allow, _) => "passes",
        (Outcome::Flag, _) => "passes, flagged",
        (Outcome::Deny, _) => "denied",
    }
}

/// The text.
pub(crate) fn rendered(why: &Why, width: usize) -> String {
    let row = &why.node;
    let since = row.since.map_or_else(String::new, |since| {
        format!(" for {}", span(why.time.duration_since(since)))
    });
    let state = painted(row.state.as_str(), style_of(row.state));
    let cordon = if row.cordoned { "cordoned" } else { "schedulable" };
    let ready = if row.ready { "Ready" } else { "not Ready" };
    let mut page = format!(
        "node {}: {state}{since}, {cordon}, {ready}\n\n",
        painted(&quoted(&row.node), STRONG)
    );
    page.push_str(&text::fields(&about(why), width));
    if !why.uncordon.is_empty() {
        page.push_str("\nAn uncordon now:\n");
        page.push_str(&text::fields(&of_uncordon(why), width));
    }
    if !why.ways.is_empty() {
        page.push_str("\nWhat you can do:\n");
        for way in &why.ways {
            page.push_str(&text::with_command(
                (" ", text::PLAIN),
                &way.says,
                &way.command,
                Some(width),
            ));
        }
    }
    if !why.events.is_empty() {
        page.push_str("\nWhat the agent said:\n");
        let events: Vec<(String, String)> = why
            .events
            .iter()
            .map(|said| {
                (
                    format!("{:.0}", said.at),
                    format!("{}: {}", said.reason, said.note),
                )
            })
            .collect();
        let events: Vec<(&str, String)> = events
            .iter()
            .map(|(at, note)| (at.as_str(), note.clone()))
            .collect();
        page.push_str(&text::fields(&events, width));
    }
    let below = text::troubles(&why.troubles, Some(width)) + &text::unseen(&why.unseen, Some(width));
    if !below.is_empty() {
        page.push('\n');
        page.push_str(&below);
    }
    page
}

fn about(why: &Why) -> Vec<(&'static str, String)> {
    let row = &why.node;
    let mut fields = Vec::new();
    let mut push = |name, value: String| {
        if !value.is_empty() {
            fields.push((name, value));
        }
    };
    let by = why.cordoned_by.as_ref().filter(|_| row.cordoned);
    push(
        "cordoned by",
        by.map(|author| cordoned_by(author, why.time)).unwrap_or_default(),
    );
    for claim in &why.claims {
        push(
            "others say",
            format!(
                "{}: {} ({}={})",
                claim.program, claim.means, claim.key, claim.value
            ),
        );
    }
    push("asked by", row.asked_by.clone());
    push("doing", crate::status::detail(row));
    push("hold", row.hold.clone().unwrap_or_default());
    push("agent", why.agent.clone());
    let place = row.lock.as_ref().map(|place| {
        let whose = if place.ours { "" } else { ", by kured" };
        let sealed = if place.sealed { ", sealed" } else { "" };
        format!(
            "it has a place in {} since {}{whose}{sealed}",
            place.object,
            one_line(&place.since, QUOTED_MAX)
        )
    });
    let queue = row
        .queue
        .map(|queue| format!("it waits for a place, as number {queue}"));
    push("lock", place.or(queue).unwrap_or_default());
    push("pool", row.pool.clone().unwrap_or_default());
    push("afterwards", why.afterwards.clone());
    let last = why.last_reboot.as_ref().and_then(|account| {
        let ended = account.ended?;
        let took: u64 = account.seconds.values().sum();
        let took = span(jiff::SignedDuration::from_secs(
            i64::try_from(took).unwrap_or(i64::MAX),
        ));
        Some(format!(
            "ended {ended:.0}, took {took}, asked by {}",
            quoted(&account.why)
        ))
    });
    push("last reboot", last.unwrap_or_default());
    fields
}

fn cordoned_by(author: &Author, now: Timestamp) -> String {
    let who = match author.known {
        Some(known) => format!("{known} (field manager {})", quoted(&author.manager)),
        None => format!("a client that calls itself {}", quoted(&author.manager)),
    };
    let at = author.at.map_or_else(String::new, |at| {
        format!(", {at:.0}, {} ago", span(now.duration_since(at)))
    });
    format!("{who}{at}")
}

fn of_uncordon(why: &Why) -> Vec<(&'static str, String)> {
    let lines = why.uncordon.iter().map(|outlook| {
        let reason = outlook
            .reason
            .map_or_else(String::new, |reason| format!(" ({reason})"));
        let only = if outlook.assumptions.is_empty() {
            String::new()
        } else {
            format!(", if {}", outlook.assumptions.join(", and "))
        };
        ("by", format!("{}: {}{reason}{only}", outlook.by, outlook.verdict))
    });
    lines.collect()
}
