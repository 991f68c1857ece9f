//! `reboot`: asks for one reboot of a node, by an annotation that its agent takes once.
//!
//! Not here: whether an agent would act on it ([`cordonhold_shared::release::requested`]).

use cordonhold_shared::fleet::PLUGIN;
use cordonhold_shared::node::NodeView;
use cordonhold_shared::quote::{QUOTED_MAX, always_quoted, quoted};
use cordonhold_shared::release::{Around, requested};
use cordonhold_webhook::whoami;

use crate::args::RebootArgs;
use crate::change::{Became, Words, fleet, state};
use crate::cluster::Cluster;
use crate::look::Look;
use crate::patch::Kind;
use crate::{Ending, Error, output, text};

const WORDS: Words = Words {
    question: "Ask for this reboot?",
    done: "asked for a reboot of",
    needs: "patch nodes, and with the webhook reboot rebootholds.cordonhold.dev",
    roles: "bind the ClusterRoles cordonhold-pause and cordonhold-reboot",
};

pub(crate) async fn run(cluster: &Cluster, args: &RebootArgs) -> Result<Ending, Error> {
    let user = whoami(&cluster.client).await.map_err(Error::Explain)?.user;
    // Whoever reads the request sees who says to have made it; the audit log of the API server says who has.
    let reason = format!("{user}: {}", args.reason);
    let judge = |look: &Look, node: &NodeView, now| requested(node, around(look, node), &reason, now);
    let name = quoted(&args.node);
    match cluster
        .change(&args.node, args.write, (Kind::Merge, &WORDS), judge, seen)
        .await?
    {
        Became::Written(_) if args.write.dry_run => {}
        Became::Written(_) => output::line(&format!(
            "  to see what becomes of it → {PLUGIN} status {name} --watch"
        ))?,
        Became::There(_, reason) => {
            let reason = always_quoted(&reason, QUOTED_MAX);
            output::line(&format!("- node {name}: a reboot is asked for already: {reason}"))?;
        }
        Became::Not(ending) => return Ok(ending),
    }
    Ok(Ending::Fine)
}

/// What is known of the node's lock and agent.
fn around(look: &Look, node: &NodeView) -> Around {
    let fleet = fleet(look);
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
fn seen(look: &Look, node: &NodeView, then: String) -> String {
    let fleet = fleet(look);
    let row = fleet.nodes.iter().find(|row| row.node == node.name());
    let fields = [("node", row.map_or_else(String::new, state)), ("then", then)];
    text::fields(&fields, output::width())
}
