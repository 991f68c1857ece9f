//! The request that admission decides about: who writes, and what.
//!
//! Not here: how it is read from a review (the webhook's `review`), and whether it may pass ([`super::decide`]).

use std::collections::BTreeMap;

use super::{Change, LockEdit};
use crate::Reading;
use crate::hold::{self, Hold};
use crate::node::NodeView;

/// Prefix of the user name of every ServiceAccount (k8s.io/apiserver: pkg/authentication/serviceaccount/util.go).
pub(super) const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";

/// A write that admission decides about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who sent the request.
    pub requester: Requester,
    /// What the request does.
    pub operation: Operation,
    /// Whether it is a write of the subresource `status`, which cannot change the spec.
    pub is_of_status: bool,
    /// Whether nothing is written, whatever the answer is.
    pub is_dry_run: bool,
}

/// What a request does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A CREATE of a Node.
    CreateNode {
        /// The Node as it would be created.
        new: NodeView,
    },
    /// An UPDATE of a Node.
    UpdateNode {
        /// The Node before the update.
        old: NodeView,
        /// The Node after the update.
        new: NodeView,
    },
    /// A DELETE of a Node.
    DeleteNode {
        /// The Node before it is deleted.
        old: NodeView,
    },
    /// An UPDATE of kured's DaemonSet.
    UpdateDaemonSet(LockEdit),
}

/// The user of a request, from the review's `userInfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Requester {
    /// The user name.
    pub user: String,
    /// The uid, if the authenticator gave one.
    pub uid: String,
    /// The user's groups.
    pub groups: Vec<String>,
    /// The node of the pod that the token is bound to: all values of [`crate::keys::NODE_NAME_EXTRA`].
    pub node_claim: Vec<String>,
    /// The other entries of `userInfo.extra`.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Request {
    /// An UPDATE of a Node.
    pub fn update(requester: Requester, old: NodeView, new: NodeView) -> Request {
        Request {
            requester,
            operation: Operation::UpdateNode { old, new },
            is_of_status: false,
            is_dry_run: false,
        }
    }

    /// The Node before the write; for a CREATE, the new Node. `None` if the request is not about a Node.
    pub fn node(&self) -> Option<&NodeView> {
        match &self.operation {
            Operation::CreateNode { new: node }
            | Operation::UpdateNode { old: node, .. }
            | Operation::DeleteNode { old: node } => Some(node),
            Operation::UpdateDaemonSet(_) => None,
        }
    }

    /// The Node that is updated or deleted. `None` for a CREATE: that Node does not exist yet.
    pub fn existing_node(&self) -> Option<&NodeView> {
        match &self.operation {
            Operation::UpdateNode { old, .. } | Operation::DeleteNode { old } => Some(old),
            Operation::CreateNode { .. } | Operation::UpdateDaemonSet(_) => None,
        }
    }

    /// The Node after an update. `None` for any other request.
    pub(super) fn node_after(&self) -> Option<&NodeView> {
        match &self.operation {
            Operation::UpdateNode { new, .. } => Some(new),
            Operation::CreateNode { .. } | Operation::DeleteNode { .. } | Operation::UpdateDaemonSet(_) => {
                None
            }
        }
    }

    /// The edit of kured's lock, if the request is one.
    pub(super) fn lock_edit(&self) -> Option<&LockEdit> {
        match &self.operation {
            Operation::UpdateDaemonSet(edit) => Some(edit),
            Operation::CreateNode { .. } | Operation::UpdateNode { .. } | Operation::DeleteNode { .. } => {
                None
            }
        }
    }

    /// What an update of a Node changes in cordon, marks and cancel. Nothing for any other request.
    pub(super) fn change(&self) -> Change {
        match &self.operation {
            Operation::UpdateNode { old, new } => Change::between(old, new),
            Operation::CreateNode { .. } | Operation::DeleteNode { .. } | Operation::UpdateDaemonSet(_) => {
                Change::default()
            }
        }
    }

    /// The hold on [`Request::node`].
    pub(super) fn hold(&self) -> Reading<Hold> {
        self.node().map_or(Reading::Absent, hold::read)
    }
}

impl Requester {
    /// Whether the token is bound to a pod on this node, and names no other.
    pub(super) fn is_on(&self, node: &str) -> bool {
        !node.is_empty() && matches!(self.node_claim.as_slice(), [claim] if claim == node)
    }

    pub(super) fn is_service_account(&self) -> bool {
        self.user.starts_with(SERVICE_ACCOUNT_PREFIX)
    }

    /// Whether this is the token of any pod on this node.
    pub(super) fn is_pod_on(&self, node: &str) -> bool {
        self.is_service_account() && self.is_on(node)
    }

    /// Memory held by groups, node claim and extra, in bytes. An empty string still costs its `String` header.
    pub fn identity_bytes(&self) -> usize {
        let extra = self.extra.iter();
        let extra = extra.flat_map(|(key, values)| std::iter::once(key).chain(values));
        let texts = self.groups.iter().chain(&self.node_claim).chain(extra);
        texts.map(|text| text.len() + size_of::<String>()).sum()
    }
}
