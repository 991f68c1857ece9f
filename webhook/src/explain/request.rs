//! The request to explain: from a saved review, or an uncordon of a live Node.

use std::io::Read;
use std::path::Path;

use cordonhold_rt::{client, exit};
use cordonhold_shared::admission::{Policy, Request, Requester};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::PostParams;
use kube::{Api, Client};

use super::ExplainError;
use crate::Limits;
use crate::review::{self, Unreadable};

/// Reads the request from the review in this file, or from standard input for `-`.
pub(super) fn from_file(path: &Path, policy: &Policy) -> Result<Request, ExplainError> {
    let failed = |source| ExplainError::Read {
        path: path.to_owned(),
        source,
    };
    let mut body = Vec::new();
    let most = Limits::default().body_bytes;
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let _ = if path == Path::new("-") {
        std::io::stdin().take(limit).read_to_end(&mut body)
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(limit).read_to_end(&mut body)
    }
    .map_err(failed)?;
    read_request(&body, policy).map_err(|why| ExplainError::Review {
        path: path.to_owned(),
        why,
    })
}

/// Reads the request from a review, as the server does. The error says why it cannot be read, and what the server answers.
pub fn read_request(body: &[u8], policy: &Policy) -> Result<Request, String> {
    let most = Limits::default().body_bytes;
    if body.len() > most {
        return Err(format!(
            "longer than {most} bytes, which the server denies as malformed-review"
        ));
    }
    let read = review::read(body, policy).map(|review| review.request);
    read.map_err(|Unreadable { head, why }| match head.uid {
        Some(_) => format!("{why}; the server answers malformed-review, which mode enforce denies"),
        None => format!("{why}; the server answers 400, because there is no uid to answer to"),
    })
}

/// Builds the request that `kubectl uncordon` would send; without `by`, as the client's own user.
pub(super) async fn uncordon(
    name: &str,
    by: Option<&Requester>,
    client: &Client,
) -> Result<Request, ExplainError> {
    let failed = |why, fix| ExplainError::Node {
        node: name.to_owned(),
        why,
        fix,
    };
    let request = kube::core::Request::new("/api/v1/nodes")
        .get(name, &kube::api::GetParams::default())
        .map_err(|error| failed(exit::one_line(&error), NAME_A_NODE))?;
    let old: NodeView = client
        .request(request)
        .await
        .map_err(|error| failed(client::explain(&error), fix(&error)))?;
    let mut new = old.clone();
    new.spec.unschedulable = false;
    let requester = match by {
        Some(requester) => requester.clone(),
        None => whoami(client).await?,
    };
    Ok(Request::update(requester, old, new))
}

const NAME_A_NODE: &str = "name one that kubectl get nodes lists";

/// What to do after a failed read of the Node.
fn fix(error: &kube::Error) -> &'static str {
    match error {
        kube::Error::Api(status) if status.code == 404 => NAME_A_NODE,
        kube::Error::Api(status) if status.code == 401 => {
            "the API server does not know the kubeconfig's user: log in anew, or give another --kubeconfig"
        }
        kube::Error::Api(status) if status.code == 403 => "give a --kubeconfig whose user may get nodes",
        kube::Error::Api(_) => "ask again later, or look at the API server's log",
        kube::Error::SerdeError(_) => {
            "check that the server of the --kubeconfig is an API server of Kubernetes"
        }
        kube::Error::Auth(_) => "log in anew, as kubectl does with that --kubeconfig",
        _ => "check that the server of the --kubeconfig can be reached from here",
    }
}

/// Asks the API server who the client is.
pub(super) async fn whoami(client: &Client) -> Result<Requester, ExplainError> {
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = api
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await
        .map_err(|error| ExplainError::Whoami {
            why: client::explain(&error),
        })?;
    let user = review
        .status
        .and_then(|status| status.user_info)
        .unwrap_or_default();
    let mut extra = user.extra.unwrap_or_default();
    Ok(Requester {
        user: user.username.unwrap_or_default(),
        uid: user.uid.unwrap_or_default(),
        groups: user.groups.unwrap_or_default(),
        node_claim: extra.remove(keys::NODE_NAME_EXTRA).unwrap_or_default(),
        extra,
    })
}
