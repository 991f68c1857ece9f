//! The webhook as its objects show it: whether it is registered, how many replicas are ready, in which mode it runs, until when its CA lasts.
//!
//! A replica is ready only if its certificate is valid and the API server trusts it, so the certificate itself, which is in a Secret, need
//! not be read.
//! Not here: reading the objects (the kubectl plugin), and what the webhook itself finds wrong ([`crate::admission::trust`]).

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::trouble::{Trouble, TroubleKind};

/// How long before the end of the last CA that is trouble. `cordonhold-webhook certs` has renewed its own CA by then.
const CA_ENDS_SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

/// The webhook. A field that is absent was not seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// The namespace of its Deployment.
    pub namespace: String,
    /// Whether its `ValidatingWebhookConfiguration` is in the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registered: Option<bool>,
    /// Whether its Deployment is in the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployed: Option<bool>,
    /// How many replicas are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<i32>,
    /// How many replicas are wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// The value of `--mode`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The flags that set another mode for some reasons or requesters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<String>,
    /// Whether stock kured's nodes are protected too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protects_kured: Option<bool>,
    /// Whether each of its webhooks has a `caBundle`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has_ca: Option<bool>,
    /// When the last CA of the `caBundle` ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_until: Option<Timestamp>,
}

impl Webhook {
    /// The webhook on one line, for people.
    pub fn line(&self, now: Timestamp) -> String {
        let mut parts = Vec::new();
        match (self.registered, self.deployed) {
            (Some(false), Some(false)) => {
                return "not installed: the agents alone check their nodes".to_owned();
            }
            (Some(false), Some(true) | None) => parts.push("not registered".to_owned()),
            (None, None) => return "not seen".to_owned(),
            (Some(true), _) | (None, Some(_)) => {}
        }
        if let (Some(ready), Some(replicas)) = (self.ready, self.replicas) {
            parts.push(format!("{ready} of {replicas} replicas ready"));
        }
        if let Some(mode) = &self.mode {
            let but = if self.exceptions.is_empty() {
                ""
            } else {
                " (with exceptions)"
            };
            parts.push(format!("mode {mode}{but}"));
        }
        if self.protects_kured == Some(true) {
            parts.push("protects kured's nodes".to_owned());
        }
        if let Some(until) = self.ca_until {
            let days = until.duration_since(now).as_hours() / 24;
            parts.push(format!("CA for {days} d"));
        }
        parts.join(", ")
    }

    /// What is wrong with it.
    pub(super) fn troubles(&self, now: Timestamp) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        let mut push = |kind, says: &str, command: String| {
            troubles.push(Trouble::new(kind, "webhook".to_owned(), says, command));
        };
        let namespace = crate::quote::quoted(&self.namespace);
        let logs = |deployment: &str| format!("kubectl -n {namespace} logs deployment/{deployment}");
        if self.deployed == Some(true) && self.registered == Some(false) {
            push(
                TroubleKind::NoWebhook,
                "its configuration is gone, so every uncordon passes: install it again, or see why certs does not register it",
                logs("cordonhold-certs"),
            );
        }
        if self.ready == Some(0) && self.replicas != Some(0) && self.registered != Some(false) {
            push(
                TroubleKind::WebhookDown,
                "no replica is ready, so uncordons of held nodes fail; each replica says in its log what it lacks",
                logs("cordonhold-webhook"),
            );
        }
        if self.has_ca == Some(false) {
            push(
                TroubleKind::CaMissing,
                "its configuration lacks a caBundle, so the API server cannot call it: certs writes it, if that is installed",
                logs("cordonhold-certs"),
            );
        }
        if let Some(until) = self
            .ca_until
            .filter(|until| until.duration_since(now) < CA_ENDS_SOON)
        {
            push(
                TroubleKind::CaEnds,
                &format!("its last CA ends {until:.0}: renew it, or see why certs does not"),
                logs("cordonhold-certs"),
            );
        }
        troubles
    }
}
