//! `pause` and `resume`, `keep` and `unkeep`: the annotations by which people steer the agents.
//!
//! Not here: what they mean to an agent ([`cordonhold_shared::reboot`]).

use cordonhold_shared::fleet::{Fleet, PLUGIN};
use cordonhold_shared::hold::{self, Phase};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use cordonhold_shared::quote::{QUOTED_MAX, always_quoted, quoted};
use cordonhold_shared::reboot::lock_object::{Carrier, SeenLock};
use serde_json::{Value, json};

use crate::agents::{Agents, LockOn};
use crate::args::{KeepArgs, PauseArgs, ResumeArgs, TargetArgs, UnkeepArgs, WriteArgs};
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
    /// The patch, where `there` is what the annotation says now. What is removed is what the person was asked about.
    fn body(&self, there: Option<&str>) -> (Kind, Value) {
        match (self.value, there) {
            (None, Some(there)) => {
                let path = format!(
                    "/metadata/annotations/{}",
                    self.key.replace('~', "~0").replace('/', "~1")
                );
                let body = json!([
                    { "op": "test", "path": path, "value": there },
                    { "op": "remove", "path": path },
                ]);
                (Kind::Json, body)
            }
            (value, _) => (
                Kind::Merge,
                json!({ "metadata": { "annotations": { self.key: value } } }),
            ),
        }
    }

    /// What is asked about: the name, and what the annotation that would go says.
    fn asks(&self, name: &str, there: Option<&str>) -> String {
        match there.filter(|_| self.value.is_none()) {
            Some(there) => format!("{name} (it says {})", shown(there)),
            None => name.to_owned(),
        }
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
    of_target(cluster, &args.target, &change).await
}

pub(crate) async fn resume(cluster: &Cluster, args: &ResumeArgs) -> Result<Ending, Error> {
    let change = Change {
        key: keys::PAUSE,
        value: None,
        done: "resumed",
        verb: "Resume",
        write: args.write,
    };
    of_target(cluster, &args.target, &change).await
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
    let asks = |node: &NodeView| change.asks(&quoted(node.name()), node.annotation(change.key));
    let list: Vec<String> = wanted.iter().map(asks).collect();
    if !ask::may(&format!("{} {}?", change.verb, list.join(", ")), change.write)? {
        output::line("nothing was written")?;
        return Ok(Ending::Trouble);
    }
    let mut ending = Ending::Fine;
    for node in wanted {
        let (kind, body) = change.body(node.annotation(change.key));
        let written = cluster
            .patch(
                &node_path(node.name()),
                (kind, &body),
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

async fn of_target(cluster: &Cluster, target: &TargetArgs, change: &Change<'_>) -> Result<Ending, Error> {
    match &target.pool {
        Some(pool) => of_pool(cluster, pool, change).await,
        None => of_nodes(cluster, &target.nodes, change).await,
    }
}

async fn of_pool(cluster: &Cluster, pool: &str, change: &Change<'_>) -> Result<Ending, Error> {
    let scope = Scope {
        pools: vec![pool.to_owned()],
        ..Scope::default()
    };
    let around = cluster.look_around(&scope).await?;
    let lock = match lock_of(&around, pool) {
        Ok(lock) => lock,
        Err(why) => {
            status::known(
                &Fleet::of(&around.seen, clock::now()),
                &scope.pools,
                &cluster.namespace,
            )?;
            say_refused(&why);
            return Ok(Ending::Trouble);
        }
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
    if !ask::may(
        &format!("{} {}?", change.verb, change.asks(&what, there)),
        change.write,
    )? {
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
    let (kind, body) = change.body(there);
    let written = cluster
        .patch(&path, (kind, &body), change.write.dry_run, (&needs, roles))
        .await?;
    if !is_done(&written) {
        return Ok(Ending::Trouble);
    }
    say_done(change.done, &format!("pool {pool}"), change.write.dry_run)?;
    Ok(Ending::Fine)
}

/// The lock that the agents of this pool use now: with `--lock-on=auto`, kured's `DaemonSet` if there is one. The error says why that is not
/// known: what was not seen may be there.
pub(crate) fn lock_of<'a>(look: &'a Look, pool: &str) -> Result<&'a SeenLock, String> {
    let by_default = Agents::by_default(pool);
    let mut known = look.places.agents.iter();
    let own = known.find(|agents| agents.pool == pool);
    let agents = own.unwrap_or(&by_default);
    let kured = &agents.kured;
    let not_known = |why: &str, right: &str| {
        format!(
            "which object carries the lock of the pool {} is not known: {why}: it needs {right}: {ROLES}",
            quoted(pool)
        )
    };
    if !look.places.is_seen {
        let right = format!(
            "get daemonsets.apps in the namespace {}",
            look.seen.webhook.namespace
        );
        return Err(not_known(
            "the DaemonSets of the agents could not be read",
            &right,
        ));
    }
    let is_unread = look
        .places
        .unread
        .contains(&(kured.namespace.clone(), kured.name.clone()));
    if agents.lock_on != LockOn::Lease && is_unread {
        let right = format!("get daemonsets.apps in the namespace {}", kured.namespace);
        return Err(not_known("kured's DaemonSet could not be read", &right));
    }
    let locks = || look.seen.locks.iter();
    let lease = || {
        let name = format!("{}{pool}", keys::LEASE_PREFIX);
        locks().find(|lock| lock.object.carrier == Carrier::Lease && lock.object.name == name)
    };
    let shared = || {
        locks().find(|lock| {
            let object = &lock.object;
            object.carrier == Carrier::DaemonSet
                && object.namespace == kured.namespace
                && object.name == kured.name
        })
    };
    let found = match agents.lock_on {
        LockOn::Lease => lease(),
        LockOn::DaemonSet => shared(),
        LockOn::Auto => shared().or_else(lease),
    };
    // A pool without agents and without a Lease is none: kured's lock is not its own.
    let found = found.filter(|_| own.is_some() || lease().is_some());
    found.ok_or_else(|| {
        format!(
            "the object that carries the lock of the pool {} was not seen: {PLUGIN} status says whether it is there, and which right it takes",
            quoted(pool)
        )
    })
}

fn is_done(written: &Written) -> bool {
    match written {
        Written::Done => true,
        Written::Outrun(said) => {
            say_refused(&format!(
                "somebody else has written at the same time ({said}): run the command again"
            ));
            false
        }
        Written::Refused => false,
    }
}

fn shown(text: &str) -> String {
    always_quoted(text, QUOTED_MAX)
}

#[cfg(test)]
mod tests {
    use cordonhold_shared::fleet::{Seen, Webhook};
    use cordonhold_shared::reboot::lock_object::LockObject;

    use super::*;
    use crate::look::Places;

    fn lock(carrier: Carrier, namespace: &str, name: &str) -> SeenLock {
        let view = json!({ "metadata": { "name": name, "resourceVersion": "1" } });
        SeenLock {
            object: LockObject {
                carrier,
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                key: keys::LOCK.to_owned(),
            },
            view: serde_json::from_value(view).unwrap(),
        }
    }

    /// A look that has seen the Lease of the pool `default`, and, if it is there, kured's `DaemonSet`.
    fn look(is_seen: bool, unread: &[(&str, &str)], has_kured: bool) -> Look {
        let mut locks = vec![lock(Carrier::Lease, "cordonhold", "cordonhold-default")];
        locks.extend(has_kured.then(|| lock(Carrier::DaemonSet, "kube-system", "kured")));
        let own = |(namespace, name): &(&str, &str)| ((*namespace).to_owned(), (*name).to_owned());
        Look {
            seen: Seen {
                locks,
                told: Vec::new(),
                nodes: Vec::new(),
                webhook: Webhook::default(),
                unseen: Vec::new(),
            },
            busy: Vec::new(),
            places: Places {
                agents: vec![Agents::by_default("default")],
                sets: Vec::new(),
                is_seen,
                unread: unread.iter().map(own).collect(),
            },
            installed: crate::look::Installed::default(),
        }
    }

    #[test]
    fn no_lock_is_taken_for_the_pools_while_the_one_that_goes_before_it_was_not_seen() {
        let kured = ("kube-system", "kured");
        for (is_seen, unread, has_kured, expected) in [
            (true, &[][..], false, Ok(Carrier::Lease)),
            (true, &[], true, Ok(Carrier::DaemonSet)),
            (true, &[("ops", "kured")], false, Ok(Carrier::Lease)),
            (true, &[kured], false, Err("kured's DaemonSet could not be read")),
            (
                false,
                &[],
                true,
                Err("the DaemonSets of the agents could not be read"),
            ),
        ] {
            let seen = look(is_seen, unread, has_kured);
            match (lock_of(&seen, "default"), expected) {
                (Ok(lock), Ok(carrier)) => assert_eq!(lock.object.carrier, carrier),
                (Err(why), Err(says)) => {
                    assert!(why.contains(says) && why.contains("get daemonsets.apps"), "{why}");
                }
                (found, expected) => panic!("{found:?} {expected:?}"),
            }
        }
    }

    #[test]
    fn only_the_text_that_was_shown_is_removed() {
        let resume = Change {
            key: keys::PAUSE,
            value: None,
            done: "resumed",
            verb: "Resume",
            write: WriteArgs {
                yes: true,
                dry_run: false,
            },
        };
        let path = "/metadata/annotations/cordonhold.dev~1pause";
        let expected = json!([
            { "op": "test", "path": path, "value": "disk" },
            { "op": "remove", "path": path },
        ]);
        assert_eq!(resume.body(Some("disk")), (Kind::Json, expected));
        assert_eq!(resume.asks("n", Some("disk")), "n (it says 'disk')");
    }
}
