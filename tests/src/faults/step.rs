//! The steps of an agent's cycle, as its requests show them.
//!
//! Not here: what goes wrong at a step, see [`super::fault`].

use std::fmt;

use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use cordonhold_shared::lock::Record;
use http::{Method, Uri};
use serde_json::Value;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    Register,
    Stamp,
    Acquire,
    Cordon,
    Evict,
    Delay,
    Confirm,
    Seal,
    Return,
    GiveBack,
    KeepEntry,
    Tidy,
    Release,
    Renew,
    WriteEvent,
    AskPermission,
    ReadNode,
    ReadPeer,
    ListNodes,
    ReadLock,
    ReadDaemonSet,
    ListLeases,
    ListPods,
    ListDaemonSets,
    ListBudgets,
    WatchNode,
    WatchLock,
    WatchPods,
    Other,
    /// No request: the reboot command runs on the host.
    Reboot,
}

/// What a request is for, and for a read after which write it comes. A write comes once in a cycle, so its name is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    pub what: What,
    after: Option<What>,
}

impl What {
    /// What this request of the agent of `node` is for.
    pub(super) fn of(node: &str, method: &Method, uri: &Uri, body: &[u8]) -> Self {
        let (path, query) = (uri.path(), uri.query().unwrap_or_default());
        if method == Method::PATCH || method == Method::POST {
            return Self::of_write(node, path, body);
        }
        let is_watch = query.contains("watch=true") || query.contains("watch=1");
        let own = format!("/api/v1/nodes/{node}");
        match path {
            "/api/v1/nodes" if is_watch => Self::WatchNode,
            "/api/v1/nodes" => Self::ListNodes,
            "/api/v1/pods" if is_watch => Self::WatchPods,
            "/api/v1/pods" => Self::ListPods,
            _ if path == own => Self::ReadNode,
            _ if path.starts_with("/api/v1/nodes/") => Self::ReadPeer,
            _ if path.ends_with("/leases") && is_watch => Self::WatchLock,
            _ if path.ends_with("/leases") => Self::ListLeases,
            _ if path.contains("/leases/") => Self::ReadLock,
            _ if path.ends_with("/daemonsets") => Self::ListDaemonSets,
            _ if path.contains("/daemonsets/") => Self::ReadDaemonSet,
            _ if path.ends_with("/poddisruptionbudgets") => Self::ListBudgets,
            _ => Self::Other,
        }
    }

    fn of_write(node: &str, path: &str, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let annotations = &body["metadata"]["annotations"];
        match path {
            _ if path.ends_with("/eviction") => Self::Evict,
            _ if path.ends_with("/events") => Self::WriteEvent,
            _ if path.ends_with("/selfsubjectrulesreviews")
                || path.ends_with("/selfsubjectaccessreviews") =>
            {
                Self::AskPermission
            }
            _ if path.starts_with("/api/v1/nodes/") => Self::of_patch(&body),
            _ if path.contains("/leases/") && annotations.get(keys::LOCK).is_some() => {
                Self::of_lock(node, annotations[keys::LOCK].as_str())
            }
            _ if path.contains("/leases/") => Self::Register,
            _ => Self::Other,
        }
    }

    /// What a patch of the Node is for.
    fn of_patch(body: &Value) -> Self {
        let Some(label) = body["metadata"]["labels"].get(keys::PHASE) else {
            let annotations = &body["metadata"]["annotations"];
            let is_renewal = annotations.get(keys::UNTIL).is_some();
            return if is_renewal { Self::Renew } else { Self::Tidy };
        };
        let phase = |text| Phase::ALL.into_iter().find(|phase| phase.as_str() == text);
        match label.as_str().and_then(phase) {
            Some(Phase::Wanted) => Self::Stamp,
            Some(Phase::Draining) => Self::Cordon,
            Some(Phase::Delaying) => Self::Delay,
            Some(Phase::Sealed) => Self::Seal,
            Some(Phase::Returning) => Self::Return,
            None => Self::GiveBack,
        }
    }

    /// What a write of the lock is for: it shows in our entry.
    fn of_lock(node: &str, record: Option<&str>) -> Self {
        let record = Record::read(record).present().unwrap_or_default();
        match record.entries.iter().find(|entry| entry.node == node) {
            None => Self::Release,
            Some(entry) if entry.given_back => Self::KeepEntry,
            Some(entry) if entry.sealed => Self::Confirm,
            Some(_) => Self::Acquire,
        }
    }

    /// Whether it changes something of the cycle. Events and questions about permissions do not.
    pub fn is_write(self) -> bool {
        self <= Self::Renew
    }

    /// Whether it is answered by a stream.
    pub fn is_watch(self) -> bool {
        matches!(self, Self::WatchNode | Self::WatchLock | Self::WatchPods)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Register => "register the pool",
            Self::Stamp => "stamp",
            Self::Acquire => "acquire",
            Self::Cordon => "cordon",
            Self::Evict => "evict",
            Self::Delay => "delay",
            Self::Confirm => "confirm",
            Self::Seal => "seal",
            Self::Return => "return",
            Self::GiveBack => "give back",
            Self::KeepEntry => "keep the entry",
            Self::Tidy => "tidy",
            Self::Release => "release",
            Self::Renew => "renew",
            Self::WriteEvent => "write an Event",
            Self::AskPermission => "ask for permissions",
            Self::ReadNode => "read the Node",
            Self::ReadPeer => "read a peer",
            Self::ListNodes => "list Nodes",
            Self::ReadLock => "read the lock",
            Self::ReadDaemonSet => "read kured's DaemonSet",
            Self::ListLeases => "list Leases",
            Self::ListPods => "list pods",
            Self::ListDaemonSets => "list DaemonSets",
            Self::ListBudgets => "list budgets",
            Self::WatchNode => "watch the Node",
            Self::WatchLock => "watch the lock",
            Self::WatchPods => "watch pods",
            Self::Other => "something else",
            Self::Reboot => "reboot",
        }
    }
}

impl Step {
    /// The step of a request that comes after this write.
    pub(super) fn new(what: What, last_write: Option<What>) -> Self {
        let after = last_write.filter(|_| !what.is_write());
        Self { what, after }
    }

    pub(super) const REBOOT: Self = Self {
        what: What::Reboot,
        after: None,
    };
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what.as_str())?;
        match self.after {
            Some(write) => write!(f, " after {}", write.as_str()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_shows_what_it_is_for() {
        let lease = "/apis/coordination.k8s.io/v1/namespaces/cordonhold/leases/cordonhold-a?fieldManager=x";
        let lock =
            |record: &str| format!(r#"{{"metadata":{{"annotations":{{"cordonhold.dev/lock":{record}}}}}}}"#);
        let phase =
            |phase: &str| format!(r#"{{"metadata":{{"labels":{{"cordonhold.dev/phase":{phase}}}}}}}"#);
        let cases = [
            ("PATCH", "/api/v1/nodes/n1?x", phase(r#""wanted""#), What::Stamp),
            ("PATCH", "/api/v1/nodes/n1?x", phase(r#""sealed""#), What::Seal),
            ("PATCH", "/api/v1/nodes/n1?x", phase("null"), What::GiveBack),
            ("PATCH", "/api/v1/nodes/n1", "{}".to_owned(), What::Tidy),
            ("PATCH", lease, lock(r#""{\"nodeID\":\"n1\"}""#), What::Acquire),
            (
                "PATCH",
                lease,
                lock(r#""{\"nodeID\":\"n1\",\"sealed\":true}""#),
                What::Confirm,
            ),
            ("PATCH", lease, lock(r#""{\"nodeID\":\"n2\"}""#), What::Release),
            ("PATCH", lease, lock("null"), What::Release),
            ("PATCH", lease, "{}".to_owned(), What::Register),
            (
                "POST",
                "/api/v1/namespaces/default/pods/p/eviction",
                String::new(),
                What::Evict,
            ),
            ("GET", "/api/v1/nodes/n1", String::new(), What::ReadNode),
            ("GET", "/api/v1/nodes/n2", String::new(), What::ReadPeer),
            (
                "GET",
                "/api/v1/nodes?watch=true&resourceVersion=7",
                String::new(),
                What::WatchNode,
            ),
            (
                "GET",
                "/api/v1/pods?fieldSelector=x",
                String::new(),
                What::ListPods,
            ),
        ];
        for (method, uri, body, what) in cases {
            let (method, uri) = (method.parse().unwrap(), uri.parse().unwrap());
            assert_eq!(
                What::of("n1", &method, &uri, body.as_bytes()),
                what,
                "{method} {uri} {body}"
            );
        }
    }

    #[test]
    fn a_read_is_named_by_the_write_before_it() {
        let read = Step::new(What::ReadLock, Some(What::Stamp));
        assert_eq!(read.to_string(), "read the lock after stamp");
        assert_eq!(Step::new(What::Cordon, Some(What::Acquire)).to_string(), "cordon");
    }
}
