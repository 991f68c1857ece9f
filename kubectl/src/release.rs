//! `release`: ends the hold of a node whose agent is gone, by the writes that the core allows.
//!
//! Not here: which writes these are, and when there may be none ([`cordonhold_shared::release`]).

use cordonhold_shared::fleet::{Fleet, PLUGIN, Row};
use cordonhold_shared::hold;
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use cordonhold_shared::quote::quoted;
use cordonhold_shared::release::{Agent, Body, Part, Release, Step, plan};

use crate::args::ReleaseArgs;
use crate::cluster::Cluster;
use crate::look::{Look, Scope};
use crate::patch::{Kind, Written, node_path, say_refused};
use crate::text::{BAD, GOOD, painted, with_command};
use crate::{Ending, Error, ask, clock, output, text};

/// Most writes, with those that somebody else's writes outrun: four parts, some of them tried again.
const WRITES_MAX: usize = 16;
/// What it takes, and who has it.
const NEEDS: &str = "patch nodes and nodes/status, and with the webhook override rebootholds.cordonhold.dev";
const ROLES: &str = "ask a cluster-admin, or bind a role of yours that has these";

pub(crate) async fn run(cluster: &Cluster, args: &ReleaseArgs) -> Result<Ending, Error> {
    let scope = Scope {
        nodes: vec![args.node.clone()],
        ..Scope::default()
    };
    let mut look = cluster.look(&scope).await?;
    let agents = cluster.agents_on(&args.node, &mut look.seen.unseen).await?;
    let agent = agent_of(
        agents.as_deref(),
        !look.places.sets.is_empty(),
        args.agent_is_gone,
    );
    let node = look.node(&args.node)?;
    let steps = match plan(node, agent, &args.reason, cluster.time().await?) {
        Ok(steps) if steps.is_empty() => {
            output::line(&format!(
                "- node {}: no hold is on it, so there is nothing to release",
                quoted(node.name())
            ))?;
            return Ok(Ending::Fine);
        }
        Ok(steps) => steps,
        Err((why, instead)) => return refused(node.name(), &why, &instead),
    };
    output::print(&announced(&look, &args.node, agent, &steps))?;
    if args.write.dry_run {
        return dry(cluster, node, &steps).await;
    }
    if !ask::may("Write this?", args.write)? {
        output::line("nothing was written")?;
        return Ok(Ending::Trouble);
    }
    let promise = Promise {
        has_agents: !look.places.sets.is_empty(),
        holder: node.annotation(keys::HOLDER).map(str::to_owned),
        steps,
    };
    written(cluster, args, &promise).await
}

/// What the person has agreed to.
struct Promise {
    /// Whether the agents' `DaemonSets` were seen.
    has_agents: bool,
    /// Whose hold it is.
    holder: Option<String>,
    steps: Vec<Step>,
}

impl Promise {
    /// Whether this write was announced, and is still about the same hold.
    fn has(&self, node: &NodeView, step: &Step) -> bool {
        let is_same = !hold::has_marks(node) || node.annotation(keys::HOLDER) == self.holder.as_deref();
        is_same
            && self
                .steps
                .iter()
                .any(|known| (known.part, &known.says) == (step.part, &step.says))
    }
}

/// What is known of the agent, by its pods on the node. That there is none counts only where agents are: in another namespace there is never
/// one.
fn agent_of(pods: Option<&[(String, bool)]>, has_agents: bool, is_said_gone: bool) -> Agent {
    match pods {
        Some(pods) if pods.iter().any(|(_, is_ready)| *is_ready) => Agent::Ready,
        Some(pods) if has_agents || !pods.is_empty() => Agent::Gone,
        Some(_) | None if is_said_gone => Agent::SaidGone,
        Some(_) | None => Agent::Unseen,
    }
}

fn refused(name: &str, why: &str, instead: &str) -> Result<Ending, Error> {
    let says = format!("node {}: not released: {why}", quoted(name));
    output::print(&with_command(("!", BAD), &says, instead, Some(output::width())))?;
    Ok(Ending::Trouble)
}

/// What is seen, what will be written, and what will not.
fn announced(look: &Look, name: &str, agent: Agent, steps: &[Step]) -> String {
    let fleet = Fleet::of(&look.seen, clock::now());
    let row = fleet.nodes.iter().find(|row| row.node == name);
    let mut fields: Vec<(&str, String)> = Vec::new();
    if let Some(row) = row {
        let ready = if row.ready { "Ready" } else { "not Ready" };
        let cordoned = if row.cordoned { "cordoned" } else { "schedulable" };
        fields.push((
            "node",
            format!(
                "{}, {}, {ready}, {cordoned}",
                quoted(&row.node),
                row.state.as_str()
            ),
        ));
        fields.push(("agent", agent_is(agent, row)));
    }
    fields.extend(steps.iter().map(|step| ("will", step.says.clone())));
    let place = row.and_then(|row| row.lock.as_ref());
    let left = place.map(|place| {
        let when = if place.sealed {
            "the other agents remove it once the Node shows another boot, or is deleted, because the reboot command may have been run"
        } else {
            "the other agents remove it once the Node shows no hold"
        };
        format!("touch its place in the lock ({}): {when}", place.object)
    });
    fields.extend(left.map(|text| ("will not", text)));
    fields.push(("will not", "touch its pods, or start an agent".to_owned()));
    text::fields(&fields, output::width()) + &text::unseen(&look.seen.unseen, Some(output::width()))
}

fn agent_is(agent: Agent, row: &Row) -> String {
    let until = row.until.map_or_else(String::new, |until| {
        format!("; it held the node until {until:.0}")
    });
    match agent {
        Agent::Unseen => format!("its pod was not seen{until}"),
        Agent::SaidGone => format!("its pod was not seen, and you say that it is gone{until}"),
        Agent::Gone => format!("no pod of it is Ready there{until}"),
        Agent::Ready => "a pod of it is Ready there, and waits for a person".to_owned(),
    }
}

/// Lets the API server check the first write; the others depend on it.
async fn dry(cluster: &Cluster, node: &NodeView, steps: &[Step]) -> Result<Ending, Error> {
    let Some(step) = steps.first() else {
        return Ok(Ending::Fine);
    };
    match send(cluster, node.name(), step, true).await? {
        Written::Done => {
            output::line(&format!(
                "{} the API server takes the first of these writes (dry run: nothing was written)",
                painted("✓", GOOD)
            ))?;
            Ok(Ending::Fine)
        }
        Written::Outrun(said) => {
            say_refused(&format!(
                "the Node has changed meanwhile ({said}): run the command again"
            ));
            Ok(Ending::Trouble)
        }
        Written::Refused => Ok(Ending::Trouble),
    }
}

/// Makes the writes. Whoever is left with a cancel that did not lead to the end is told so.
async fn written(cluster: &Cluster, args: &ReleaseArgs, promise: &Promise) -> Result<Ending, Error> {
    let mut has_cancelled = false;
    let ending = each(cluster, args, promise, &mut has_cancelled).await;
    if has_cancelled && !matches!(ending, Ok(Ending::Fine)) {
        output::line(&format!(
            "  its cancel is written; to remove it → kubectl annotate node {} {}-",
            quoted(&args.node),
            keys::CANCEL
        ))?;
    }
    ending
}

/// Makes each write, judged anew on the Node and its agent as they are then.
async fn each(
    cluster: &Cluster,
    args: &ReleaseArgs,
    promise: &Promise,
    has_cancelled: &mut bool,
) -> Result<Ending, Error> {
    let mut said = String::new();
    for _ in 0..WRITES_MAX {
        let pods = cluster.agents_on(&args.node, &mut Vec::new()).await?;
        let agent = agent_of(pods.as_deref(), promise.has_agents, args.agent_is_gone);
        let node: NodeView = cluster.node(&args.node).await?;
        let step = match Release::of(&node, agent, &args.reason, cluster.time().await?) {
            Release::Nothing => return done(&node),
            Release::Refused { why, instead } => return refused(node.name(), &why, &instead),
            Release::Write(step) => step,
        };
        if !promise.has(&node, &step) {
            say_refused(&format!(
                "node {}: it has changed since you were asked, and the next write would be another one: run the command again",
                quoted(node.name())
            ));
            return Ok(Ending::Trouble);
        }
        match send(cluster, node.name(), &step, false).await? {
            Written::Done => {
                output::line(&format!("{} {}", painted("✓", GOOD), step.says))?;
                match step.part {
                    Part::Cancel => *has_cancelled = true,
                    Part::Tidy => *has_cancelled = false,
                    Part::GiveBack | Part::Conditions => {}
                }
            }
            Written::Outrun(why) => said = why,
            Written::Refused => {
                if step.part > Part::GiveBack {
                    output::line("  the hold is ended all the same; this is left to the next agent there")?;
                }
                return Ok(Ending::Trouble);
            }
        }
    }
    say_refused(&format!(
        "the Node changes all the time ({said}): run the command again"
    ));
    Ok(Ending::Trouble)
}

fn done(node: &NodeView) -> Result<Ending, Error> {
    let name = quoted(node.name());
    let (is, mends) = if node.spec.unschedulable {
        ("cordoned", format!("kubectl uncordon {name}"))
    } else {
        ("schedulable", format!("{PLUGIN} status {name}"))
    };
    let more = if node.spec.unschedulable {
        "; if nobody needs that"
    } else {
        "; to look again"
    };
    output::line(&format!(
        "  node {name} carries no hold any more, and is {is}{more} → {mends}"
    ))?;
    Ok(Ending::Fine)
}

async fn send(cluster: &Cluster, name: &str, step: &Step, is_dry: bool) -> Result<Written, Error> {
    let path = node_path(name);
    let (path, kind, body) = match &step.body {
        Body::Json(body) => (path, Kind::Json, body),
        Body::Merge(body) => (path, Kind::Merge, body),
        Body::Status(body) => (format!("{path}/status"), Kind::Strategic, body),
    };
    cluster.patch(&path, (kind, body), is_dry, (NEEDS, ROLES)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_pod_of_an_agent_is_no_evidence_where_no_agents_are() {
        let pods = |ready| vec![("cordonhold-agent-x".to_owned(), ready)];
        for (pods, has_agents, is_said_gone, agent) in [
            (None, true, false, Agent::Unseen),
            (None, true, true, Agent::SaidGone),
            (Some(Vec::new()), false, false, Agent::Unseen),
            (Some(Vec::new()), false, true, Agent::SaidGone),
            (Some(Vec::new()), true, false, Agent::Gone),
            (Some(pods(false)), false, false, Agent::Gone),
            (Some(pods(true)), true, true, Agent::Ready),
        ] {
            assert_eq!(
                agent_of(pods.as_deref(), has_agents, is_said_gone),
                agent,
                "{pods:?}"
            );
        }
    }

    #[test]
    fn a_write_that_was_not_announced_or_is_about_another_hold_is_not_made() {
        let step = |says: &str| Step {
            says: says.to_owned(),
            part: Part::GiveBack,
            body: Body::Merge(serde_json::Value::Null),
        };
        let promise = Promise {
            has_agents: true,
            holder: Some("u/1".to_owned()),
            steps: vec![step("uncordon it")],
        };
        let mut node = NodeView::default();
        assert!(promise.has(&node, &step("uncordon it")));
        assert!(!promise.has(&node, &step("leave it cordoned")));
        drop(
            node.metadata
                .annotations
                .insert(keys::HOLDER.to_owned(), "u/1".to_owned()),
        );
        assert!(promise.has(&node, &step("uncordon it")));
        drop(
            node.metadata
                .annotations
                .insert(keys::HOLDER.to_owned(), "u/2".to_owned()),
        );
        assert!(!promise.has(&node, &step("uncordon it")));
    }
}
