//! The pool at the start: whether this Node is of it, and of no other.
//!
//! Each pool has a lock of its own, so a Node of two would be counted by one and rebooted beside the other.
//! Another pool is seen by the selector that its agents leave on its Lease. On a DaemonSet there is none:
//! pools of one annotation share its budget, and those of different annotations are left to whoever sets them up.

use cordonhold_shared::Reading;
use cordonhold_shared::hold;
use cordonhold_shared::kured::Whereabouts;
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::cycle::Failure;
use cordonhold_shared::reboot::lock_object::{Carrier, CarrierView};
use cordonhold_shared::selector::Selector;
use tracing::{error, info, warn};

use crate::api::Api;

/// Why the agent does not begin.
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

/// Says where the lock is, and whether the Node is of this pool alone.
///
/// Whatever cannot be read is no reason to stay away, and neither is a hold on the Node: what began is ended first.
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

/// How many `DaemonSets` elsewhere look like kured's, where `auto` took the Lease: kured's nodes would have a budget of their own.
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

/// Which object carries the lock now.
pub(crate) async fn chosen(api: &Api) -> Carrier {
    let objects = api.lock_objects();
    match objects.otherwise {
        Some(otherwise) if api.read_lock(objects.first).await.is_err() => otherwise,
        _ => objects.first,
    }
}

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

/// Registers this pool first, so that of two agents that start at once one sees the other.
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

/// The Lease's name and its pool's selector, if that takes this Node.
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
