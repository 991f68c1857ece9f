//! The probe: a dry run that the API server sends to the webhook, whatever the state of the node is, and whose answer says who has answered.
//!
//! Not here: what the answer means ([`cordonhold_shared::doctor`]).

use cordonhold_shared::admission::{Policy, ProbeAnswer};
use cordonhold_shared::doctor::Probe;
use cordonhold_shared::fleet::Unseen;
use cordonhold_shared::keys;
use cordonhold_shared::quote::one_line;
use cordonhold_webhook::whoami;
use http::header::{CONTENT_TYPE, HeaderMap, WARNING};
use serde_json::{Value, json};

use crate::cluster::{Cluster, Sight};
use crate::output::SAID_MAX;
use crate::patch::node_path;
use crate::{Error, clock};

/// How the API server says that it could not call a webhook (k8s.io/apiserver: `pkg/admission/plugin/webhook/errors/statuserror.go` and its callers).
const NOT_CALLED: &str = "failed calling webhook \"";
/// How the names of our webhooks end.
const OURS: &str = "cordonhold.dev";

impl Cluster {
    /// Sends a probe about this node.
    pub(super) async fn probe(
        &self,
        node: &str,
        policy: Option<&Policy>,
        unseen: &mut Vec<Unseen>,
    ) -> Result<Probe, Error> {
        let sight = Sight {
            what: "whether the API server reaches the webhook".to_owned(),
            needs: "patch nodes".to_owned(),
            role: "cordonhold-pause",
        };
        // Another text than one that was left there would have.
        let value = format!("{} doctor", clock::now());
        let body = json!({ "metadata": { "annotations": { keys::PROBE: value } } });
        let target = format!(
            "{}?fieldManager={}&dryRun=All",
            node_path(node),
            keys::KUBECTL_MANAGER
        );
        let request = http::Request::patch(target)
            .header(CONTENT_TYPE, "application/merge-patch+json")
            .body(body.to_string().into_bytes());
        let answer = match self.send(request).await {
            Ok(answer) => answer,
            Err(error) => {
                unseen.push(sight.unseen(&error));
                return Ok(Probe::Unasked);
            }
        };
        if answer.status().is_success() {
            let mut warnings = warnings(answer.headers());
            if let Some(answer) = warnings.find_map(|warning| ProbeAnswer::read(&warning)) {
                return Ok(Probe::Answered(answer));
            }
            return self.silent(policy, sight, unseen).await;
        }
        let said: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        let message = said["message"].as_str().unwrap_or_default();
        if is_of_our_webhook(message) {
            return Ok(Probe::Failed(one_line(message, SAID_MAX)));
        }
        // RBAC says which verb is missing; anything else that refuses says itself what it minds.
        let is_rbac = answer.status() == http::StatusCode::FORBIDDEN && message.contains(" cannot ");
        unseen.push(Unseen {
            what: sight.what,
            needs: is_rbac.then_some(sight.needs),
            says: if is_rbac {
                format!("bind the ClusterRole {}", sight.role)
            } else {
                one_line(&format!("{} {message}", answer.status()), SAID_MAX)
            },
        });
        Ok(Probe::Unasked)
    }

    /// Nobody has answered. The API server sends nothing of somebody who is exempt.
    async fn silent(
        &self,
        policy: Option<&Policy>,
        sight: Sight,
        unseen: &mut Vec<Unseen>,
    ) -> Result<Probe, Error> {
        let says = match policy {
            Some(policy) => {
                let me = whoami(&self.client).await.map_err(Error::Explain)?;
                if !policy.exempts(&me) {
                    return Ok(Probe::Silent);
                }
                "you are exempt from the webhook, so nothing of yours is sent to it: ask as another user, with --as"
            }
            None => {
                "nobody has answered, and the webhook's arguments, which say who is exempt, could not be read: ask as a user who is not exempt, with --as"
            }
        };
        unseen.push(Unseen {
            what: sight.what,
            needs: None,
            says: says.to_owned(),
        });
        Ok(Probe::Unasked)
    }
}

/// Whether the API server says that it could not call a webhook of ours.
fn is_of_our_webhook(message: &str) -> bool {
    let named = message
        .split_once(NOT_CALLED)
        .and_then(|(_, rest)| rest.split_once('"'));
    named.is_some_and(|(name, _)| name.ends_with(OURS))
}

/// The warnings of an answer: `299 - "text"`, with a backslash before each quote and backslash (RFC 7234, 5.5).
fn warnings(headers: &HeaderMap) -> impl Iterator<Item = String> {
    let all = headers.get_all(WARNING).into_iter();
    let texts = all.filter_map(|value| Some(value.to_str().ok()?.split_once('"')?.1.to_owned()));
    texts.map(|text| {
        let mut plain = String::new();
        let mut is_escaped = false;
        for c in text.chars() {
            match c {
                '\\' if !is_escaped => is_escaped = true,
                '"' if !is_escaped => break,
                c => {
                    plain.push(c);
                    is_escaped = false;
                }
            }
        }
        plain
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_warning_is_read_up_to_its_closing_quote() {
        let mut headers = HeaderMap::new();
        for value in [
            r#"299 - "cordonhold: it's \"so\" \\ there""#,
            "299 - nothing",
            r#"299 - "b" "date""#,
        ] {
            let _ = headers.append(WARNING, HeaderValue::from_str(value).unwrap());
        }
        let read: Vec<String> = warnings(&headers).collect();
        assert_eq!(read, [r#"cordonhold: it's "so" \ there"#, "b"]);
    }

    #[test]
    fn a_call_that_failed_counts_if_the_webhook_is_ours() {
        let said = |name: &str| {
            format!(
                "Internal error occurred: failed calling webhook \"{name}\": failed to call webhook: x509: unknown"
            )
        };
        assert!(is_of_our_webhook(&said("nodes.cordonhold.dev")));
        assert!(!is_of_our_webhook(&said("validate.example.org")));
        assert!(!is_of_our_webhook(
            "admission webhook \"nodes.cordonhold.dev\" denied the request"
        ));
    }
}
