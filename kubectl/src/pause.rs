//! `pause` and `resume`, `keep` and `unkeep`: the annotations by which people steer the agents.
//!
//! Not here: what they mean to an agent ([`cordonhold_shared::reboot`]).

use cordonhold_shared::fleet::{Fleet, LEASE_PREFIX, PLUGIN};
use cordonhold_shared::hold::{self, Phase};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use cordonhold_shared::quote::{QUOTED_MAX, always_quoted, quoted};
use cordonhold_shared::reboot::lock_object::{Carrier, SeenLock};
use serde_json::{Value, json};

use crate::agents::{Agents, LockOn};
use crate::args::{KeepArgs, PauseArgs, ResumeArgs, UnkeepArgs, WriteArgs};
use crate::cluster::Cluster;
use crate::look::{Look, Scope};
use crate::patch::{Kind, Written, node_path, say_done, say_refused};
use crate::{Ending, Error, ask, clock, output, status};

/// Who may write these annotations.
const ROLES: &str = "bind the ClusterRole cordonhold-pause";

/// A change of one annotation of people's.
struct Change<'a> {
    key: &'static str,
    /// `None` removes it.
    value: Option<&'a str>,
    /// What is asked and said: `paused`.
    done: &'static str,
    /// What is asked before: `Pause`.
    verb: &'static str,
    write: WriteArgs,
}

impl Change<'_> {
    fn body(&self) -> Value {
        json!({ "metadata": { "annotations": { self.key: self.value } } })
    }
}

pub(crate) async fn pause(cluster: &Cluster, args: &PauseArgs) -> Result<Ending, Error> {
    let change = Change {
        key: keys::PAUSE,
        value: Some(&args.reason),
        done: "paused",
        verb: "Pause",
        write: args.write,
    };
    match &args.target.pool {
        Some(pool) => of_pool(cluster, pool, &change).await,
        None => of_nodes(cluster, &args.target.nodes, &change).await,
    }
}

pub(crate) async fn resume(cluster: &Cluster, args: &ResumeArgs) -> Result<Ending, Error> {
    let change = Change {
        key: keys::PAUSE,
        value: None,
        done: "resumed",
        verb: "Resume",
        write: args.write,
    };
    match &args.target.pool {
        Some(pool) => of_pool(cluster, pool, &change).await,
        None => of_nodes(cluster, &args.target.nodes, &change).await,
    }
}

pub(crate) async fn keep(cluster: &Cluster, args: &KeepArgs) -> Result<Ending, Error> {
    let change = Change {
        key: keys::KEEP_CORDONED,
        value: Some(&args.reason),
        done: "will keep cordoned",
        verb: "Keep cordoned",
        write: args.write,
    };
    of_nodes(cluster, &args.nodes, &change).await
}

pub(crate) async fn unkeep(cluster: &Cluster, args: &UnkeepArgs) -> Result<Ending, Error> {
    let change = Change {
        key: keys::KEEP_CORDONED,
        value: None,
        done: "will no longer keep cordoned",
        verb: "No longer keep cordoned",
        write: args.write,
    };
    of_nodes(cluster, &args.nodes, &change).await
}

async fn of_nodes(cluster: &Cluster, names: &[String], change: &Change<'_>) -> Result<Ending, Error> {
    let mut wanted = Vec::new();
    for name in names {
        let node: NodeView = cluster.node(name).await?;
        let there = node.annotation(change.key);
        if there == change.value {
            let word = change.value.map_or("nothing to end there".to_owned(), |word| {
                format!("it says so already: {}", shown(word))
            });
            output::line(&format!("- node {}: {word}", quoted(name)))?;
        } else {
            wanted.push(node);
        }
    }
    if wanted.is_empty() {
        return Ok(Ending::Fine);
    }
    let list: Vec<String> = wanted.iter().map(|node| quoted(node.name())).collect();
    if !ask::may(&format!("{} {}?", change.verb, list.join(", ")), change.write)? {
        output::line("nothing was written")?;
        return Ok(Ending::Trouble);
    }
    let mut ending = Ending::Fine;
    for node in wanted {
        let written = cluster
            .patch(
                &node_path(node.name()),
                (Kind::Merge, &change.body()),
                change.write.dry_run,
                ("patch nodes", ROLES),
            )
            .await?;
        if is_done(&written) {
            say_done(change.done, node.name(), change.write.dry_run)?;
            say_more(&node, change)?;
        } else {
            ending = Ending::Trouble;
        }
    }
    Ok(ending)
}

/// What a person should know of this node beside what was written.
fn say_more(node: &NodeView, change: &Change<'_>) -> Result<(), Error> {
    if let (Some(before), Some(_)) = (node.annotation(change.key), change.value) {
        output::line(&format!("  it said before: {}", shown(before)))?;
    }
    let phase = hold::read(node).present().map(|hold| hold.phase);
    let name = quoted(node.name());
    match (change.key, change.value, phase) {
        (keys::PAUSE, Some(_), Some(Phase::Sealed | Phase::Returning)) => {
            output::line("  its reboot is under way already: the pause counts for the next one")
        }
        (keys::PAUSE, Some(_), Some(Phase::Draining | Phase::Delaying)) => output::line(&format!(
            "  its drain goes on, and then waits; to call that off now → {PLUGIN} cancel {name} --reason TEXT"
        )),
        (keys::KEEP_CORDONED, None, None) if node.spec.unschedulable => output::line(&format!(
            "  it is cordoned; if nobody needs that → kubectl uncordon {name}"
        )),
        (_, _, _) => Ok(()),
    }
}

async fn of_pool(cluster: &Cluster, pool: &str, change: &Change<'_>) -> Result<Ending, Error> {
    let scope = Scope {
        pools: vec![pool.to_owned()],
        ..Scope::default()
    };
    let around = cluster.look_around(&scope).await?;
    let Some(lock) = lock_of(&around, pool) else {
        status::known(
            &Fleet::of(&around.seen, clock::now()),
            &scope.pools,
            &cluster.namespace,
        )?;
        say_refused(&format!(
            "the lock of the pool {} is on kured's DaemonSet, which was not seen: {PLUGIN} status says which right that takes",
            quoted(pool)
        ));
        return Ok(Ending::Trouble);
    };
    let there = lock.view.annotation(change.key);
    let what = format!("pool {} ({})", quoted(pool), lock.object);
    if there == change.value {
        let word = change.value.map_or("nothing to end there".to_owned(), |word| {
            format!("it says so already: {}", shown(word))
        });
        output::line(&format!("- {what}: {word}"))?;
        return Ok(Ending::Fine);
    }
    if !ask::may(&format!("{} {what}?", change.verb), change.write)? {
        output::line("nothing was written")?;
        return Ok(Ending::Trouble);
    }
    let (path, needs) = match lock.object.carrier {
        Carrier::Lease => ("/apis/coordination.k8s.io/v1/namespaces", "leases"),
        Carrier::DaemonSet => ("/apis/apps/v1/namespaces", "daemonsets"),
    };
    let path = format!("{path}/{}/{needs}/{}", lock.object.namespace, lock.object.name);
    let needs = format!("patch {needs} in the namespace {}", lock.object.namespace);
    let roles = match lock.object.carrier {
        Carrier::Lease => ROLES,
        Carrier::DaemonSet => "cordonhold-pause has no right on kured's DaemonSet: ask a cluster-admin",
    };
    let written = cluster
        .patch(
            &path,
            (Kind::Merge, &change.body()),
            change.write.dry_run,
            (&needs, roles),
        )
        .await?;
    if !is_done(&written) {
        return Ok(Ending::Trouble);
    }
    say_done(change.done, &format!("pool {pool}"), change.write.dry_run)?;
    Ok(Ending::Fine)
}

/// The lock that the agents of this pool use now: with `--lock-on=auto`, kured's `DaemonSet` if there is one.
fn lock_of<'a>(look: &'a Look, pool: &str) -> Option<&'a SeenLock> {
    let by_default = Agents::by_default(pool);
    let agents = look
        .agents
        .iter()
        .find(|agents| agents.pool == pool)
        .unwrap_or(&by_default);
    let locks = || look.seen.locks.iter();
    let lease = || {
        let name = format!("{LEASE_PREFIX}{pool}");
        locks().find(|lock| lock.object.carrier == Carrier::Lease && lock.object.name == name)
    };
    let shared = || {
        let kured = &agents.kured;
        locks().find(|lock| {
            let object = &lock.object;
            object.carrier == Carrier::DaemonSet
                && object.namespace == kured.namespace
                && object.name == kured.name
        })
    };
    match agents.lock_on {
        LockOn::Lease => lease(),
        LockOn::DaemonSet => shared(),
        LockOn::Auto => shared().or_else(lease),
    }
}

fn is_done(written: &Written) -> bool {
    match written {
        Written::Done => true,
        Written::Outrun => {
            say_refused("somebody else has written at the same time: run the command again");
            false
        }
        Written::Refused => false,
    }
}

fn shown(text: &str) -> String {
    always_quoted(text, QUOTED_MAX)
}
