//! Sends raw requests, and reads status, reason, message and warnings of the answers.
//!
//! Typed clients are not used, because any client may send anything, and that is tested.

use std::fmt;

use anyhow::{Context, Result, ensure};
use http::{Method, Request, header};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// The name of the webhook in `manifests/chart/templates/webhook-configuration.yaml`.
pub(crate) const WEBHOOK: &str = "nodes.cordonhold.dev";

/// The kinds of writes, by their content types (RFC 7386, RFC 6902, and Kubernetes' own).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Strategic,
    Merge,
    Json,
    Apply,
    Put,
}

/// An answer of the API server.
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

/// Leaves out the Node that was written: it has thousands of characters and does not explain a failure.
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

    /// Checks that the webhook, and nothing else, denied the request.
    pub(crate) fn denied(&self) -> Result<()> {
        let by_webhook = format!("admission webhook \"{WEBHOOK}\" denied the request");
        ensure!(
            self.code == 403 && self.body["reason"] == "Forbidden" && self.message().contains(&by_webhook),
            "was not denied by the webhook: {self:?}"
        );
        Ok(())
    }
}

/// Writes a Node. `target` is its name, with `/status` or `?dryRun=All` if needed.
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

/// Sends a request. An error status is an [`Answer`] too.
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
