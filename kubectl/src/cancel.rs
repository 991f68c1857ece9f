//! `cancel`: writes the cancel of the hold that is on a node now, and follows what its agent does.
//!
//! Not here: whether a cancel can still end the hold ([`cordonhold_shared::release`]).

use cordonhold_shared::fleet::{Fleet, PLUGIN, TroubleKind, Unseen};
use cordonhold_shared::hold::{self, Phase};
use cordonhold_shared::node::NodeView;
use cordonhold_shared::quote::{QUOTED_MAX, always_quoted, quoted};
use cordonhold_shared::release::{After, Change, cancelled_by};
use jiff::Timestamp;
use tokio::time::{Duration, Instant, sleep};

use crate::args::CancelArgs;
use crate::change::{Became, Words, fleet, of_node, state};
use crate::cluster::Cluster;
use crate::look::Look;
use crate::patch::{Kind, trouble};
use crate::pause::lock_of;
use crate::text::{GOOD, painted};
use crate::{Ending, Error, output, text};

/// How often the node is looked at while the agent works: it answers within a second or so.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const WORDS: Words = Words {
    question: "Cancel this reboot?",
    done: "cancelled the reboot of",
    needs: "patch nodes, and with the webhook override rebootholds.cordonhold.dev",
    roles: "bind the ClusterRoles cordonhold-pause and cordonhold-override",
};

pub(crate) async fn run(cluster: &Cluster, args: &CancelArgs) -> Result<Ending, Error> {
    // The hold that the person was shown.
    let mut asked: Option<String> = None;
    let judge = |look: &Look, node: &NodeView, now| {
        let name = hold::cancel_name(node);
        if asked.get_or_insert_with(|| name.to_owned()) != name {
            return Change::Refused {
                why: "that hold is over".to_owned(),
                instead: format!("{PLUGIN} why {}", quoted(node.name())),
            };
        }
        cancelled_by(node, &args.reason, told(look, "RebootStuck", node), now)
    };
    match cluster
        .change(&args.node, args.write, (Kind::Json, &WORDS), judge, seen)
        .await?
    {
        Became::Written(look) => follow(cluster, args, &look).await,
        Became::There(look, reason) => {
            output::line(&format!(
                "- node {}: its hold is cancelled already: {}",
                quoted(&args.node),
                always_quoted(&reason, QUOTED_MAX)
            ))?;
            follow(cluster, args, &look).await
        }
        Became::Not(ending) => Ok(ending),
    }
}

/// Whether the agent has said this about the hold that is on the node.
fn told(look: &Look, reason: &str, node: &NodeView) -> bool {
    let created: Option<Timestamp> = hold::read(node)
        .present()
        .and_then(|hold| hold.holder.created.parse().ok());
    let mut told = look.seen.told.iter();
    told.any(|told| {
        told.node == node.name() && told.reason == reason && created.is_some_and(|created| told.at >= created)
    })
}

/// What is about to be cancelled.
fn seen(look: &Look, node: &NodeView, then: String) -> String {
    let fleet = fleet(look);
    let Some(row) = fleet.nodes.iter().find(|row| row.node == node.name()) else {
        return String::new();
    };
    let hold = row.hold.clone().unwrap_or_default();
    let fields = [("node", state(row)), ("hold", hold), ("then", then)];
    text::fields(&fields, output::width()) + &text::unseen(&rights(&fleet), Some(output::width()))
}

/// Of what could not be seen, what a cancel is judged by.
fn rights(fleet: &Fleet) -> Vec<Unseen> {
    let unseen = fleet
        .unseen
        .iter()
        .filter(|unseen| unseen.what.contains("Events"));
    unseen.cloned().collect()
}

/// Follows what the agent does, until the hold is over or the time is.
async fn follow(cluster: &Cluster, args: &CancelArgs, look: &Look) -> Result<Ending, Error> {
    let node = look.node(&args.node)?;
    let Some(hold) = hold::read(node).present() else {
        return Ok(Ending::Fine);
    };
    if args.no_wait || args.write.dry_run {
        return Ok(Ending::Fine);
    }
    let (created, name) = (hold.holder.created, quoted(node.name()));
    let end = Instant::now() + args.timeout;
    loop {
        let node: NodeView = cluster.node(&args.node).await?;
        match After::of(&node, &created) {
            After::Over { cordoned } => {
                let cordon = if cordoned {
                    "it stays cordoned, as before or as somebody wants it"
                } else {
                    "it is schedulable"
                };
                tick(&format!("the agent has ended the hold: {cordon}"))?;
                break;
            }
            After::Another => {
                tick("the agent has ended that hold; the next one has begun")?;
                return Ok(Ending::Fine);
            }
            After::TooLate if hold.phase != Phase::Sealed => {
                let watch = format!("{PLUGIN} status {name} --watch");
                return trouble(&node, "the cancel came too late: the reboot is under way", &watch);
            }
            After::Going | After::TooLate => {}
        }
        if Instant::now() >= end {
            let why = format!("the agent has not ended the hold within {:?}", args.timeout);
            return trouble(&node, &why, &format!("{PLUGIN} why {name}"));
        }
        sleep(LOOK_EVERY).await;
    }
    follow_lock(cluster, args, &created, end).await
}

/// Follows until the node has no place in the lock any more. That the lock may not be seen is no trouble, but then nothing is said of it.
async fn follow_lock(
    cluster: &Cluster,
    args: &CancelArgs,
    created: &str,
    end: Instant,
) -> Result<Ending, Error> {
    let name = quoted(&args.node);
    loop {
        let look = cluster.look(&of_node(&args.node)).await?;
        let fleet = fleet(&look);
        let row = fleet.nodes.iter().find(|row| row.node == args.node);
        let pool = row.and_then(|row| row.pool.as_deref());
        if !pool.is_some_and(|pool| is_lock_read(&look, &fleet, pool)) {
            output::line(&format!(
                "  whether it has left the lock could not be seen → {PLUGIN} status {name}"
            ))?;
            break;
        }
        let is_in = row.is_some_and(|row| {
            row.lock.as_ref().is_some_and(|place| place.ours)
                && row.hold.as_deref().is_none_or(|hold| hold == created)
        });
        if !is_in {
            let pool = fleet.pools.iter().find(|known| Some(known.name.as_str()) == pool);
            let next = pool.and_then(|pool| pool.next.as_ref());
            let next = next.map_or_else(String::new, |next| format!("; next is {}", quoted(next)));
            tick(&format!("it has no place in the lock any more{next}"))?;
            break;
        }
        if Instant::now() >= end {
            let why = format!("{PLUGIN} why {name}");
            return trouble(look.node(&args.node)?, "it still has its place in the lock", &why);
        }
        sleep(LOOK_EVERY).await;
    }
    output::line(&format!(
        "  the agent asks again after its --backoff; to prevent that → {PLUGIN} pause {name} --reason TEXT"
    ))?;
    Ok(Ending::Fine)
}

/// Whether the lock of this pool was seen, and its record can be read.
fn is_lock_read(look: &Look, fleet: &Fleet, pool: &str) -> bool {
    let carrier = lock_of(look, pool).map(|lock| lock.object.to_string());
    let is_broken = |about: &String| {
        let mut troubles = fleet.troubles.iter();
        troubles.any(|trouble| trouble.kind == TroubleKind::LockUnreadable && trouble.about == *about)
    };
    carrier.is_ok_and(|about| !is_broken(&about))
}

fn tick(what: &str) -> Result<(), Error> {
    output::line(&format!("{} {what}", painted("✓", GOOD)))
}
