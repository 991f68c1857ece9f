//! What the agents' `DaemonSets` say: which pools there are, and where each keeps its lock.
//!
//! Only the few flags are read that say where the lock is, and their variables.
//! Not here: what the flags mean to an agent (the agent's `args`).

use std::collections::BTreeSet;

use cordonhold_shared::keys;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Container;

/// Where the agents of one pool keep their lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agents {
    /// The pool.
    pub(crate) pool: String,
    /// Where the lock is.
    pub(crate) lock_on: LockOn,
    /// kured's `DaemonSet`.
    pub(crate) kured: KuredsLock,
    /// Whether they take requests for reboots.
    pub(crate) takes_requests: bool,
}

/// The value of `--lock-on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockOn {
    /// On kured's `DaemonSet` if there is one, else in the Lease.
    Auto,
    /// In the Lease.
    Lease,
    /// On kured's `DaemonSet`.
    DaemonSet,
}

/// A `DaemonSet` that may carry a lock, and in which annotation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KuredsLock {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) key: String,
}

impl Agents {
    /// The agents of a pool whose `DaemonSet` could not be read: the defaults of the flags.
    pub(crate) fn by_default(pool: &str) -> Agents {
        Agents::of(pool, |_, _| None)
    }

    /// What this `DaemonSet` says.
    pub(crate) fn of_set(set: &DaemonSet) -> Agents {
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let of_name = name
            .strip_prefix(keys::AGENTS)
            .unwrap_or_default()
            .trim_start_matches('-');
        let spec = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let container = spec.and_then(|spec| spec.containers.first());
        let read =
            |flag: &str, variable: &str| container.and_then(|container| value(container, flag, variable));
        let by_name = if of_name.is_empty() { "default" } else { of_name };
        let pool = read("--pool", "CORDONHOLD_POOL").unwrap_or_else(|| by_name.to_owned());
        Agents {
            takes_requests: container
                .is_some_and(|container| is_on(container, "--reboot-requests", "CORDONHOLD_REBOOT_REQUESTS")),
            ..Agents::of(&pool, read)
        }
    }

    fn of(pool: &str, read: impl Fn(&str, &str) -> Option<String>) -> Agents {
        let or = |flag: &str, variable: &str, default: &str| {
            read(flag, variable).unwrap_or_else(|| default.to_owned())
        };
        Agents {
            pool: pool.to_owned(),
            lock_on: match or("--lock-on", "CORDONHOLD_LOCK_ON", "auto").as_str() {
                "lease" => LockOn::Lease,
                "daemonset" => LockOn::DaemonSet,
                _ => LockOn::Auto,
            },
            kured: KuredsLock {
                namespace: or("--ds-namespace", "KURED_DS_NAMESPACE", "kube-system"),
                name: or("--ds-name", "KURED_DS_NAME", "kured"),
                key: or("--lock-annotation", "KURED_LOCK_ANNOTATION", keys::KURED_LOCK),
            },
            takes_requests: false,
        }
    }
}

/// The objects of kured's that may carry the lock of these agents.
pub(crate) fn shared_locks(agents: &[Agents]) -> BTreeSet<KuredsLock> {
    let shared = agents.iter().filter(|agents| agents.lock_on != LockOn::Lease);
    shared.map(|agents| agents.kured.clone()).collect()
}

/// The value of a flag in the arguments of a container, else that of its variable. The last one counts, as for the agent.
fn value(container: &Container, flag: &str, variable: &str) -> Option<String> {
    let words = container
        .args
        .iter()
        .flatten()
        .chain(container.command.iter().flatten());
    let words: Vec<&String> = words.collect();
    let joined = words
        .iter()
        .rev()
        .find_map(|word| word.strip_prefix(flag)?.strip_prefix('='));
    let apart = || {
        let at = words.iter().rposition(|word| *word == flag)?;
        words.get(at + 1).map(|word| word.as_str())
    };
    let named = || {
        let mut variables = container.env.iter().flatten();
        variables.find(|known| known.name == variable)?.value.as_deref()
    };
    joined.or_else(apart).or_else(named).map(str::to_owned)
}

/// Whether a flag that takes an optional value is on. The last one counts, as for the agent.
fn is_on(container: &Container, flag: &str, variable: &str) -> bool {
    let is_true = |text: &str| !matches!(text, "" | "0" | "f" | "F" | "false" | "FALSE" | "False");
    let words = container.args.iter().flatten();
    let mut given = words.filter_map(|word| match word.strip_prefix(flag)? {
        "" => Some(true),
        value => value.strip_prefix('=').map(is_true),
    });
    let named = || {
        let mut variables = container.env.iter().flatten();
        variables.find(|known| known.name == variable)?.value.as_deref()
    };
    given.next_back().unwrap_or_else(|| named().is_some_and(is_true))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn agents(name: &str, args: &[&str], env: &[(&str, &str)]) -> Agents {
        let env: Vec<_> = env
            .iter()
            .map(|(name, value)| json!({ "name": name, "value": value }))
            .collect();
        let set: DaemonSet = serde_json::from_value(json!({
            "metadata": { "name": name },
            "spec": {
                "selector": {},
                "template": { "spec": { "containers": [{ "name": "agent", "args": args, "env": env }] } },
            },
        }))
        .unwrap();
        Agents::of_set(&set)
    }

    #[test]
    fn the_flags_that_say_where_the_lock_is_are_read_in_every_form() {
        let usual = agents("cordonhold-agent", &["--node-id=n"], &[]);
        assert_eq!(usual, Agents::by_default("default"));
        assert_eq!(
            (usual.lock_on, usual.kured.name.as_str()),
            (LockOn::Auto, "kured")
        );
        for (args, env) in [
            (
                &["--lock-on=daemonset", "--ds-name=k", "--ds-namespace=ops"][..],
                &[][..],
            ),
            (
                &[
                    "--lock-on",
                    "daemonset",
                    "--ds-name",
                    "k",
                    "--ds-namespace",
                    "ops",
                ],
                &[],
            ),
            (
                &["--lock-on=auto", "--lock-on=daemonset", "--ds-name=k"],
                &[("KURED_DS_NAMESPACE", "ops")],
            ),
            (
                &[],
                &[
                    ("CORDONHOLD_LOCK_ON", "daemonset"),
                    ("KURED_DS_NAME", "k"),
                    ("KURED_DS_NAMESPACE", "ops"),
                ],
            ),
        ] {
            let read = agents("cordonhold-agent", args, env);
            assert_eq!(
                (read.lock_on, read.kured.name.as_str()),
                (LockOn::DaemonSet, "k"),
                "{args:?}"
            );
            assert_eq!(read.kured.namespace, "ops", "{args:?}");
        }
    }

    #[test]
    fn whether_requests_are_taken_is_told_by_the_last_flag_else_by_the_variable() {
        let variable = "CORDONHOLD_REBOOT_REQUESTS";
        for (args, env, takes) in [
            (&[][..], &[][..], false),
            (&["--reboot-requests"], &[], true),
            (&["--reboot-requests=true"], &[], true),
            (
                &["--reboot-requests", "--reboot-requests=false"],
                &[(variable, "true")],
                false,
            ),
            (&["--reboot-requests-x"], &[], false),
            (&[], &[(variable, "true")], true),
            (&[], &[(variable, "false")], false),
        ] {
            let read = agents("cordonhold-agent", args, env);
            assert_eq!(read.takes_requests, takes, "{args:?} {env:?}");
        }
    }

    #[test]
    fn the_pool_is_told_by_its_flag_else_by_the_name() {
        assert_eq!(agents("cordonhold-agent-gpu", &[], &[]).pool, "gpu");
        assert_eq!(agents("cordonhold-agent-x", &["--pool=gpu"], &[]).pool, "gpu");
    }

    #[test]
    fn a_lock_in_a_lease_is_looked_for_nowhere_else() {
        let lease = agents("cordonhold-agent", &["--lock-on=lease"], &[]);
        assert!(shared_locks(&[lease]).is_empty());
        assert_eq!(shared_locks(&[Agents::by_default("default")]).len(), 1);
    }
}
