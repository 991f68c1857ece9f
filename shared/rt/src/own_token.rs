//! Asks the API server what it reads out of this program's own token.
//!
//! Every user may ask that: Kubernetes' own role `system:basic-user` grants it (k8s.io/kubernetes:
//! `plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go`).
//! Not here: what follows from the answer ([`cordonhold_shared::claim`]).

use std::collections::BTreeMap;

use cordonhold_shared::claim::NodeClaim;
use kube::Client;
use kube::core::Request;
use kube::core::params::PostParams;
use serde::Deserialize;

use crate::api::{CallError, call};

/// The question. It has no fields.
const QUESTION: &str = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#;

/// The part of the answer that is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    user_info: UserInfo,
}

#[derive(Deserialize)]
struct UserInfo {
    #[serde(default)]
    extra: BTreeMap<String, Vec<String>>,
}

/// What the API server reads out of this program's own token about its node.
pub async fn node_claim(client: &Client) -> Result<NodeClaim, CallError> {
    let request = Request::new("/apis/authentication.k8s.io/v1/selfsubjectreviews")
        .create(&PostParams::default(), QUESTION.as_bytes().to_vec());
    let answer: Answer = call(client, request).await?;
    Ok(NodeClaim::of(&answer.status.user_info.extra))
}
