//! Checks at the start that this Node is in the agent's pool, and in no other pool.
//!
//! Each pool has its own lock and counts only the nodes in that. So a Node in two pools could reboot beside as many nodes of the other pool
//! as that pool's budget allows. The agent finds the other pools by the label selectors that their agents write on their Leases.
//! A DaemonSet carries no selector: pools with the same annotation share a budget, and whoever sets up different annotations has to keep
//! the pools apart.
//! Not here: keeping to the budget, see [`cordonhold_shared::lock`].

use cordonhold_shared::Reading;
use cordonhold_shared::hold;
use cordonhold_shared::kured::Whereabouts;
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::cycle::Failure;
use cordonhold_shared::reboot::lock_object::{Carrier, CarrierView};
use cordonhold_shared::selector::Selector;
use tracing::{error, info, warn};

use crate::api::Api;

/// Why the agent does not start.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum PoolError {
    #[error(
        "the Node {node} is not in the pool {pool}: its labels do not match --pool-selector={selector}: \
         label the Node, or run the pool's agents only on the pool's nodes"
    )]
    NotInPool {
        node: String,
        pool: String,
        selector: String,
    },
    #[error(
        "the Node {node} is in two pools: {pool}, and the pool of the Lease {lease}, whose selector is {selector:?} (empty is every Node): \
         give each pool a --pool-selector that leaves out the other's nodes; if the other pool no longer exists, delete its Lease"
    )]
    InAnother {
        node: String,
        pool: String,
        lease: String,
        selector: String,
    },
}

/// Logs where the lock is, and fails if the Node is not in this pool, or is in another one too.
///
/// If something cannot be read, the check is skipped. If the Node is held, the agent starts all the same, to bring the hold to its end.
pub(crate) async fn check(api: &Api, carrier: Carrier) -> Result<(), PoolError> {
    let (lock, pool) = (api.lock_object(carrier), api.pool_selector());
    info!(
        event = "lock_chosen",
        lock = %lock,
        annotation = lock.key,
        pool = api.pool_name(),
        selector = %pool,
        "the lock is on the {lock}"
    );
    let node = match api.node().await {
        Ok(node) => node,
        Err(failure) => {
            unknown("the Node", &failure);
            return Ok(());
        }
    };
    let result = match membership(api, &node) {
        Ok(()) if carrier == Carrier::Lease => exclusion(api, &node).await,
        other => other,
    };
    match result {
        Err(error) if hold::read(&node) != Reading::Absent => {
            error!(
                event = "pool_wrong",
                node = node.name(),
                why = %error,
                "the Node is held, so the agent goes on until the hold is over; after that it refuses to start"
            );
            Ok(())
        }
        other => other,
    }
}

/// Counts the `DaemonSets` that look like kured's, if `auto` chose the Lease, and warns of each: its nodes have a budget of their own.
pub(crate) async fn kureds_elsewhere(api: &Api, carrier: Carrier) -> usize {
    if !api.lock_objects().is_auto() || carrier != Carrier::Lease {
        return 0;
    }
    let found = match api.kured_elsewhere().await {
        Ok(Whereabouts::Elsewhere(kured)) => vec![kured],
        Ok(Whereabouts::Several(alike)) => alike,
        Ok(Whereabouts::Configured(_) | Whereabouts::Nowhere | Whereabouts::Unsearched) => Vec::new(),
        Err(failure) => {
            warn!(
                event = "kured_unsearched",
                why = %failure,
                "cannot check whether kured runs elsewhere: going on without the check"
            );
            Vec::new()
        }
    };
    for kured in &found {
        warn!(
            event = "kured_elsewhere",
            lock = %api.lock_object(Carrier::Lease),
            kured = %kured,
            "the DaemonSet {kured} looks like kured's, but --lock-on=auto looked for the {}: kured's nodes and this pool's have a budget each. \
             To share one, set --ds-namespace={} --ds-name={} and grant manifests/components/lock-on-daemonset; to keep two, set --lock-on=lease",
            api.lock_object(Carrier::DaemonSet),
            kured.namespace,
            kured.name
        );
    }
    found.len()
}

/// Finds out which object carries the lock now: with `auto`, the Lease if kured's DaemonSet cannot be read.
pub(crate) async fn chosen(api: &Api) -> Carrier {
    let objects = api.lock_objects();
    match objects.otherwise {
        Some(otherwise) if api.read_lock(objects.first).await.is_err() => otherwise,
        _ => objects.first,
    }
}

/// Fails if the Node is not in this pool.
fn membership(api: &Api, node: &NodeView) -> Result<(), PoolError> {
    let pool = api.pool_selector();
    if pool.matches(&node.metadata.labels) {
        return Ok(());
    }
    Err(PoolError::NotInPool {
        node: node.name().to_owned(),
        pool: api.pool_name().to_owned(),
        selector: pool.to_string(),
    })
}

/// Fails if the Node is in another pool too. This pool's selector is written first, so that of two agents that start at the same time at
/// least one sees the other's.
async fn exclusion(api: &Api, node: &NodeView) -> Result<(), PoolError> {
    if let Err(failure) = api.register().await {
        unknown("the pool's Lease", &failure);
    }
    let leases = match api.other_leases().await {
        Ok(leases) => leases,
        Err(failure) => {
            unknown("the other pools' Leases", &failure);
            return Ok(());
        }
    };
    match leases.iter().find_map(|lease| takes(lease, node)) {
        None => Ok(()),
        Some((lease, selector)) => Err(PoolError::InAnother {
            node: node.name().to_owned(),
            pool: api.pool_name().to_owned(),
            lease,
            selector,
        }),
    }
}

/// The Lease's name and its pool's selector, if the selector selects this Node.
fn takes(lease: &CarrierView, node: &NodeView) -> Option<(String, String)> {
    let text = lease.pool_selector()?;
    match text.parse::<Selector>() {
        Ok(selector) => selector
            .matches(&node.metadata.labels)
            .then(|| (lease.metadata.name.clone(), text.to_owned())),
        Err(error) => {
            let why = error.to_string();
            unknown(&lease.metadata.name, &Failure::Refused(why));
            None
        }
    }
}

/// Warns that a part of the check was skipped, because `what` could not be read.
fn unknown(what: &str, failure: &Failure) {
    warn!(
        event = "pool_unchecked",
        of = what,
        why = %failure,
        "cannot check whether the Node is in this pool alone: going on without the check"
    );
}

#[cfg(test)]
mod tests;
