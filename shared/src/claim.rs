//! What the API server reads out of a program's own token: the node of the pod that the token is bound to (KEP-4193).
//!
//! By this claim the webhook, and the API server in CEL, recognise the agent of a node.
//! Not here: who may do what with it ([`crate::admission`]).

use std::collections::BTreeMap;

use crate::keys;

/// What a token says of the node, as `userInfo.extra` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeClaim {
    /// It names this node.
    Names(String),
    /// It is bound to a pod and names no node: the API server leaves the node out.
    PodAlone,
    /// It is bound to no pod, so nobody can tell on which node it is used.
    Unbound,
}

impl NodeClaim {
    /// The claim in this `userInfo.extra`.
    pub fn of(extra: &BTreeMap<String, Vec<String>>) -> NodeClaim {
        let first = |key: &str| extra.get(key).and_then(|values| values.first());
        match (first(keys::NODE_NAME_EXTRA), first(keys::POD_NAME_EXTRA)) {
            (Some(node), _) => NodeClaim::Names(node.clone()),
            (None, Some(_)) => NodeClaim::PodAlone,
            (None, None) => NodeClaim::Unbound,
        }
    }

    /// Why the agent of this node is not recognised by such a token, and what to do. `None`: it is.
    pub fn flaw(&self, node: &str) -> Option<String> {
        match self {
            NodeClaim::Names(named) if named == node => None,
            NodeClaim::Names(named) => Some(format!(
                "the token is for a pod on the node {named:?}: set --node-id to the node that the agent's pod is on"
            )),
            NodeClaim::PodAlone => Some(NODE_IS_LEFT_OUT.to_owned()),
            NodeClaim::Unbound => Some(
                "the token is bound to no pod: run the agent in a pod with the ServiceAccount token that the kubelet mounts, \
                 not with a kubeconfig of your own"
                    .to_owned(),
            ),
        }
    }
}

/// What is wrong with an API server whose tokens name pods and no nodes, and what to do (k8s.io/kubernetes: `pkg/features/kube_features.go`,
/// `ServiceAccountTokenPodNodeInfo`: off in 1.29, on by default in 1.30 and 1.31, always on from 1.32 on).
pub const NODE_IS_LEFT_OUT: &str = "the token names its pod and not the node, so the API server leaves the node out of tokens: use Kubernetes 1.32 or later; \
     1.30 and 1.31 need the feature gate ServiceAccountTokenPodNodeInfo";

#[cfg(test)]
mod tests;
