//! What the admin has decided, by the webhook's flags.
//!
//! Not here: the flags themselves (the webhook's), and what a mode does to a verdict ([`super::Verdict`]).

use super::request::SERVICE_ACCOUNT_PREFIX;
use super::{KuredLock, KuredPolicy, Modes, Requester};
use crate::keys;

/// What the admin has decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What becomes of a request that should not pass.
    pub modes: Modes,
    /// The agents' ServiceAccount.
    pub agent: ServiceAccount,
    /// Who passes whatever is held.
    pub exempt: Exempt,
    /// What becomes of the DELETE of a held Node.
    pub on_delete: OnDelete,
    /// Set where the nodes that stock kured is about to reboot are protected too.
    pub kured: Option<KuredPolicy>,
}

/// Users and groups that no rule is for. None by default.
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
    /// It passes with a warning: autoscalers delete Nodes whose machines are gone.
    #[default]
    Flag,
    /// It is denied.
    Deny,
}

/// A ServiceAccount by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Policy {
    /// kured's lock, where it is looked at.
    pub fn kured_lock(&self) -> Option<&KuredLock> {
        self.kured.as_ref()?.lock.as_ref()
    }

    /// Whether a decision, or what it says, can rest on the label or annotation with this key, of a Node or of kured's `DaemonSet`.
    ///
    /// Whoever sends a review chooses how many others there are, so they are told by name, and not by what they begin with.
    pub fn reads(&self, key: &str) -> bool {
        [keys::PHASE, keys::AGENT, keys::CANCEL].contains(&key)
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
    /// The user name of its tokens.
    pub fn user(&self) -> String {
        format!("{SERVICE_ACCOUNT_PREFIX}{}:{}", self.namespace, self.name)
    }
}
