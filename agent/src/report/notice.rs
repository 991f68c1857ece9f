//! Events on the Node, best effort: one try each, within a bound, beside the agent's work.

use jiff::Timestamp;
use kube::core::Request;
use kube::core::params::PostParams;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::warn;

use crate::api::{Api, Meaning as _};

/// What one Event says.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    pub(crate) reason: &'static str,
    pub(crate) is_warning: bool,
    pub(crate) note: String,
    pub(crate) node: String,
    pub(crate) uid: String,
}

/// Events about Nodes live here: a Node has no namespace.
const NAMESPACE: &str = "default";
/// The API server takes no longer note (k8s.io/api: events/v1/types.go).
const NOTE_MAX: usize = 1024;

/// Writes what comes, as long as something can come.
pub(crate) async fn post(api: Api, mut notices: mpsc::Receiver<Notice>) {
    while let Some(notice) = notices.recv().await {
        let body = notice.body(Timestamp::now());
        let path = format!("/apis/events.k8s.io/v1/namespaces/{NAMESPACE}/events");
        let request = Request::new(path).create(&PostParams::default(), body.to_string().into_bytes());
        if let Err(error) = api.call::<Value>(request).await {
            let why = error.with_fix();
            warn!(
                event = "notice_lost",
                node = notice.node,
                why,
                reason = notice.reason,
                "an Event is not written"
            );
        }
    }
}

impl Notice {
    fn body(&self, now: Timestamp) -> Value {
        let note: String = self
            .note
            .char_indices()
            .take_while(|(start, c)| start + c.len_utf8() <= NOTE_MAX)
            .map(|(_, c)| c)
            .collect();
        json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": { "name": format!("{}.{:x}", self.node, now.as_nanosecond()), "namespace": NAMESPACE },
            "eventTime": format!("{now:.6}"),
            "reportingController": "cordonhold.dev/agent",
            "reportingInstance": self.node,
            "action": "Reboot",
            "reason": self.reason,
            "type": if self.is_warning { "Warning" } else { "Normal" },
            "note": note,
            "regarding": { "apiVersion": "v1", "kind": "Node", "name": self.node, "uid": self.uid },
        })
    }
}
