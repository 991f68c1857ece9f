//! Requests as they go over the wire, and answers as they come back: status, reason, message, warnings.
//!
//! Not through typed clients, because what is under test is what any client may send.

use std::fmt;

use anyhow::{Context, Result, ensure};
use http::{Method, Request, header};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// The name of the webhook in `manifests/base/webhook-configuration.yaml`.
pub(crate) const WEBHOOK: &str = "nodes.cordonhold.dev";

/// The content types of a write, as RFC 7386, RFC 6902 and Kubernetes name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Strategic,
    Merge,
    Json,
    Apply,
    Put,
}

/// What the API server answered.
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) warnings: Vec<String>,
    pub(crate) body: Value,
}

impl Write {
    fn content_type(self) -> &'static str {
        match self {
            Self::Strategic => "application/strategic-merge-patch+json",
            Self::Merge => "application/merge-patch+json",
            Self::Json => "application/json-patch+json",
            Self::Apply => "application/apply-patch+yaml",
            Self::Put => "application/json",
        }
    }

    fn method(self) -> Method {
        if self == Self::Put {
            Method::PUT
        } else {
            Method::PATCH
        }
    }
}

/// A Node that was written is thousands of characters, and says nothing about why a test failed.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("code", &self.code)
            .field("reason", &self.body["reason"])
            .field("message", &self.message())
            .field("response", &self.body["response"])
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

impl Answer {
    pub(crate) fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    pub(crate) fn passed(&self) -> Result<()> {
        ensure!(self.code == 200, "did not pass: {self:?}");
        Ok(())
    }

    /// Denied by the webhook, and by nothing else that says no.
    pub(crate) fn denied(&self) -> Result<()> {
        let by_webhook = format!("admission webhook \"{WEBHOOK}\" denied the request");
        ensure!(
            self.code == 403 && self.body["reason"] == "Forbidden" && self.message().contains(&by_webhook),
            "was not denied by the webhook: {self:?}"
        );
        Ok(())
    }
}

/// Writes a Node; `target` is its name, and what may follow: `/status`, `?dryRun=All`.
pub(crate) async fn write(client: &Client, target: &str, write: Write, body: &Value) -> Result<Answer> {
    let separator = if target.contains('?') { '&' } else { '?' };
    let mut uri = format!("/api/v1/nodes/{target}");
    if write == Write::Apply {
        uri = format!("{uri}{separator}fieldManager=somebody&force=true");
    }
    let request = Request::builder()
        .method(write.method())
        .uri(uri)
        .header(header::CONTENT_TYPE, write.content_type())
        .body(Body::from(body.to_string().into_bytes()))
        .context("failed to build a request")?;
    send(client, request).await
}

/// Sends a request and takes any answer for an answer.
pub(crate) async fn send(client: &Client, request: Request<Body>) -> Result<Answer> {
    let response = client.send(request).await.context("failed to send a request")?;
    let code = response.status().as_u16();
    let warnings = response
        .headers()
        .get_all(header::WARNING)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect();
    let bytes = response
        .into_body()
        .collect_bytes()
        .await
        .context("failed to read an answer")?;
    let body = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| json!({ "message": String::from_utf8_lossy(&bytes) }));
    Ok(Answer { code, warnings, body })
}
