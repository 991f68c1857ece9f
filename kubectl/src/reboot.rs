//! `reboot`: asks for one reboot of a node, by an annotation that its agent takes once.
//!
//! Not here: whether an agent would act on it ([`cordonhold_shared::release::Asking`]).

use cordonhold_shared::fleet::{Fleet, PLUGIN};
use cordonhold_shared::node::NodeView;
use cordonhold_shared::quote::{QUOTED_MAX, always_quoted, quoted};
use cordonhold_shared::release::{Around, Asking};
use cordonhold_webhook::whoami;

use crate::args::RebootArgs;
use crate::cluster::Cluster;
use crate::look::{Look, Scope};
use crate::patch::{Kind, Written, node_path, say_done, say_refused, trouble};
use crate::{Ending, Error, ask, clock, output, text};

/// Most looks, of which the first is for the question: each other one is for a write that somebody else's write has outrun.
const TRIES_MAX: usize = 6;
/// What it takes, and who has it.
const NEEDS: &str = "patch nodes, and with the webhook reboot rebootholds.cordonhold.dev";
const ROLES: &str = "bind the ClusterRoles cordonhold-pause and cordonhold-reboot";

pub(crate) async fn run(cluster: &Cluster, args: &RebootArgs) -> Result<Ending, Error> {
    let user = whoami(&cluster.client).await.map_err(Error::Explain)?.user;
    // Whoever reads the request sees who says to have made it; the audit log of the API server says who has.
    let reason = format!("{user}: {}", args.reason);
    let scope = Scope {
        nodes: vec![args.node.clone()],
        ..Scope::default()
    };
    let (mut is_asked, mut said) = (false, String::new());
    for _ in 0..TRIES_MAX {
        let look = cluster.look(&scope).await?;
        let node = look.node(&args.node)?;
        let (body, then) = match Asking::of(node, around(&look, node), &reason, cluster.time().await?) {
            Asking::Refused { why, instead } => return trouble(node, &why, &instead),
            Asking::There { reason } => {
                let (name, reason) = (quoted(node.name()), always_quoted(&reason, QUOTED_MAX));
                output::line(&format!("- node {name}: a reboot is asked for already: {reason}"))?;
                return Ok(Ending::Fine);
            }
            Asking::Write { body, then } => (body, then),
        };
        if !is_asked {
            output::print(&seen(&look, node, &then))?;
            if !ask::may("Ask for this reboot?", args.write)? {
                output::line("nothing was written")?;
                return Ok(Ending::Trouble);
            }
            is_asked = true;
            // The answer may have taken long: the node is judged anew.
            continue;
        }
        let dry_run = args.write.dry_run;
        let path = node_path(node.name());
        match cluster
            .patch(&path, (Kind::Merge, &body), dry_run, (NEEDS, ROLES))
            .await?
        {
            Written::Done => {
                say_done("asked for a reboot of", node.name(), dry_run)?;
                if !dry_run {
                    let name = quoted(node.name());
                    output::line(&format!(
                        "  to see what becomes of it → {PLUGIN} status {name} --watch"
                    ))?;
                }
                return Ok(Ending::Fine);
            }
            Written::Outrun(why) => said = why,
            Written::Refused => return Ok(Ending::Trouble),
        }
    }
    say_refused(&format!(
        "the node changes all the time ({said}): look with {PLUGIN} status, then run the command again"
    ));
    Ok(Ending::Trouble)
}

/// What is known of the node's lock and agent.
fn around(look: &Look, node: &NodeView) -> Around {
    let fleet = Fleet::of(&look.seen, clock::now());
    let row = fleet.nodes.iter().find(|row| row.node == node.name());
    let pool = row.and_then(|row| row.pool.as_deref());
    let mut agents = look.places.agents.iter();
    let agents = match pool {
        Some(pool) => agents.find(|agents| agents.pool == pool),
        // A node is in no pool that is known until an agent has made the lock; the only agents there are would be its own.
        None => agents.next().filter(|_| agents.next().is_none()),
    };
    let is_known = look.places.is_seen && !look.places.sets.is_empty();
    Around {
        used_up_to: look.seen.used_up_to(node.name()),
        takes_requests: agents.filter(|_| is_known).map(|agents| agents.takes_requests),
    }
}

/// What is about to be asked for.
fn seen(look: &Look, node: &NodeView, then: &str) -> String {
    let fleet = Fleet::of(&look.seen, clock::now());
    let row = fleet.nodes.iter().find(|row| row.node == node.name());
    let state = row.map_or_else(String::new, |row| {
        let (name, state) = (quoted(&row.node), row.state.as_str());
        match crate::status::detail(row).as_str() {
            "-" => format!("{name}, {state}"),
            detail => format!("{name}, {state}: {detail}"),
        }
    });
    let fields = [("node", state), ("then", then.to_owned())];
    text::fields(&fields, output::width())
}
