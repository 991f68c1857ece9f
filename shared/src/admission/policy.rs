//! The policy: what the admin has set with the webhook's flags.
//!
//! Not here: the flags themselves (the webhook's), and how a mode turns a denial into a warning ([`super::Verdict`]).

use super::request::SERVICE_ACCOUNT_PREFIX;
use super::{KuredLock, KuredPolicy, Modes, Requester};
use crate::keys;

/// The admin's settings for the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What happens to a request that should not pass.
    pub modes: Modes,
    /// The agents' ServiceAccount.
    pub agent: ServiceAccount,
    /// Users and groups that may change held Nodes.
    pub exempt: Exempt,
    /// What happens to the DELETE of a held Node.
    pub on_delete: OnDelete,
    /// How stock kured's Nodes are protected. `None`: they are not.
    pub kured: Option<KuredPolicy>,
    /// The name of this replica, which its answer to a probe has.
    pub replica: String,
}

/// Users and groups whose requests always pass. None by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exempt {
    /// User names.
    pub users: Vec<String>,
    /// Group names.
    pub groups: Vec<String>,
}

/// What happens to the DELETE of a held Node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnDelete {
    /// The DELETE passes with a warning, because autoscalers delete Nodes whose machines are gone.
    #[default]
    Flag,
    /// The DELETE is denied.
    Deny,
}

/// The namespace and name of a ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    /// The namespace of the ServiceAccount.
    pub namespace: String,
    /// The name of the ServiceAccount.
    pub name: String,
}

impl Policy {
    /// Where kured's lock is, if the policy has it read.
    pub fn kured_lock(&self) -> Option<&KuredLock> {
        self.kured.as_ref()?.lock.as_ref()
    }

    /// Whether every request of this user passes.
    pub fn exempts(&self, requester: &Requester) -> bool {
        self.exempt.includes(requester)
    }

    /// Whether a decision or its message can depend on the label or annotation with this key, on a Node or on kured's DaemonSet.
    ///
    /// The caller drops all others. Keys are compared whole, not by their prefix: otherwise the sender of a review could make us keep
    /// any number of them.
    pub fn reads(&self, key: &str) -> bool {
        let own = [
            keys::PHASE,
            keys::AGENT,
            keys::CANCEL,
            keys::REBOOT_WANTED,
            keys::UNCORDON_WANTED,
            keys::PROBE,
        ];
        own.contains(&key)
            || keys::MARK_ANNOTATIONS.contains(&key)
            || keys::OWNERS_ANNOTATIONS.contains(&key)
            || keys::TOLD_ANNOTATIONS.contains(&key)
            || self.kured.as_ref().is_some_and(|kured| {
                let locks = kured.lock.iter().flat_map(|lock| &lock.annotations);
                kured.marks.iter().chain(locks).any(|read| read == key)
            })
    }
}

impl Exempt {
    pub(super) fn includes(&self, requester: &Requester) -> bool {
        self.users.contains(&requester.user)
            || requester.groups.iter().any(|group| self.groups.contains(group))
    }
}

impl ServiceAccount {
    /// The user name of requests with this ServiceAccount's token.
    pub fn user(&self) -> String {
        format!("{SERVICE_ACCOUNT_PREFIX}{}:{}", self.namespace, self.name)
    }
}
