//! A write, as admission sees it: who asks, and for what.
//!
//! Not here: how it looks on the wire (the webhook's), and whether it may pass ([`super::decide`]).

use std::collections::BTreeMap;

use super::{Change, LockEdit};
use crate::Reading;
use crate::hold::{self, Hold};
use crate::node::NodeView;

/// Of the user name of every ServiceAccount (k8s.io/apiserver: pkg/authentication/serviceaccount/util.go).
pub(super) const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";

/// A write, as admission sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who asks.
    pub requester: Requester,
    /// For what.
    pub operation: Operation,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A CREATE of a Node.
    CreateNode {
        /// As it would be.
        new: NodeView,
    },
    /// An UPDATE of a Node.
    UpdateNode {
        /// As it is.
        old: NodeView,
        /// As it would be.
        new: NodeView,
    },
    /// A DELETE of a Node.
    DeleteNode {
        /// As it is.
        old: NodeView,
    },
    /// An UPDATE of kured's DaemonSet.
    UpdateDaemonSet(LockEdit),
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Requester {
    /// The user name.
    pub user: String,
    /// The uid, if the authenticator gave one.
    pub uid: String,
    /// The groups.
    pub groups: Vec<String>,
    /// The node of the pod that the token is bound to: every value of [`crate::keys::NODE_NAME_EXTRA`].
    pub node_claim: Vec<String>,
    /// What else `userInfo.extra` says.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Request {
    /// An UPDATE of a Node.
    pub fn update(requester: Requester, old: NodeView, new: NodeView) -> Request {
        Request {
            requester,
            operation: Operation::UpdateNode { old, new },
        }
    }

    /// The Node before the write, or the one that is to be created, where the request is about a Node.
    pub fn node(&self) -> Option<&NodeView> {
        match &self.operation {
            Operation::CreateNode { new: node }
            | Operation::UpdateNode { old: node, .. }
            | Operation::DeleteNode { old: node } => Some(node),
            Operation::UpdateDaemonSet(_) => None,
        }
    }

    /// The Node that the request is about, where the cluster has it.
    pub fn existing_node(&self) -> Option<&NodeView> {
        match &self.operation {
            Operation::UpdateNode { old, .. } | Operation::DeleteNode { old } => Some(old),
            Operation::CreateNode { .. } | Operation::UpdateDaemonSet(_) => None,
        }
    }

    /// The Node as an update would leave it.
    pub(super) fn node_after(&self) -> Option<&NodeView> {
        match &self.operation {
            Operation::UpdateNode { new, .. } => Some(new),
            Operation::CreateNode { .. } | Operation::DeleteNode { .. } | Operation::UpdateDaemonSet(_) => {
                None
            }
        }
    }

    /// The edit of kured's lock that it is about.
    pub(super) fn lock_edit(&self) -> Option<&LockEdit> {
        match &self.operation {
            Operation::UpdateDaemonSet(edit) => Some(edit),
            Operation::CreateNode { .. } | Operation::UpdateNode { .. } | Operation::DeleteNode { .. } => {
                None
            }
        }
    }

    /// What an update of a Node changes of ours; any other request changes nothing in that sense.
    pub(super) fn change(&self) -> Change {
        match &self.operation {
            Operation::UpdateNode { old, new } => Change::between(old, new),
            Operation::CreateNode { .. } | Operation::DeleteNode { .. } | Operation::UpdateDaemonSet(_) => {
                Change::default()
            }
        }
    }

    /// The hold that its Node shows.
    pub(super) fn hold(&self) -> Reading<Hold> {
        self.node().map_or(Reading::Absent, hold::read)
    }
}

impl Requester {
    /// The token belongs to a pod on this node, and on no other.
    pub(super) fn is_on(&self, node: &str) -> bool {
        !node.is_empty() && matches!(self.node_claim.as_slice(), [claim] if claim == node)
    }

    pub(super) fn is_service_account(&self) -> bool {
        self.user.starts_with(SERVICE_ACCOUNT_PREFIX)
    }

    /// A pod's token on this very node, whoever's: kured's is one.
    pub(super) fn is_pod_on(&self, node: &str) -> bool {
        self.is_service_account() && self.is_on(node)
    }

    /// Memory that groups, node claim and extra take, in bytes. An empty string still costs its `String` header.
    pub fn identity_bytes(&self) -> usize {
        let extra = self.extra.iter();
        let extra = extra.flat_map(|(key, values)| std::iter::once(key).chain(values));
        let texts = self.groups.iter().chain(&self.node_claim).chain(extra);
        texts.map(|text| text.len() + size_of::<String>()).sum()
    }
}
