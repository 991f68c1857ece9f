//! `AdmissionReview` as bytes: what is read of one, and how it is answered.
//!
//! An answer without the right uid counts as a failed call, which `failurePolicy: Ignore` would let pass;
//! so the uid is found even where nothing else can be read.

use std::collections::BTreeMap;

use cordonhold_shared::admission::{LockEdit, Operation, Outcome, Request, Requester, Verdict};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use serde::{Deserialize, Serialize};
use serde_json::json;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";
/// A uid is a UUID; this only keeps a hostile one from being echoed at length.
const MAX_UID_CHARS: usize = 128;

/// A review that could be read.
#[derive(Debug)]
pub(crate) struct Review {
    pub(crate) uid: String,
    pub(crate) operation: String,
    pub(crate) dry_run: bool,
    pub(crate) request: Request,
}

/// A review that could not.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// Where one could be found.
    pub(crate) uid: Option<String>,
    pub(crate) why: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReviewRecord {
    api_version: String,
    kind: String,
    request: RequestRecord,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestRecord {
    uid: String,
    kind: KindRecord,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    operation: String,
    user_info: UserRecord,
    // Of a DaemonSet only the metadata is of interest, and that is the same.
    object: Option<NodeView>,
    old_object: Option<NodeView>,
    dry_run: Option<bool>,
}

#[derive(Deserialize)]
struct KindRecord {
    #[serde(default)]
    group: String,
    kind: String,
}

#[derive(Deserialize)]
struct UserRecord {
    #[serde(default)]
    username: String,
    #[serde(default)]
    uid: String,
    groups: Option<Vec<String>>,
    extra: Option<BTreeMap<String, Vec<String>>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseRecord<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: &'a BTreeMap<&'static str, String>,
}

/// Reads a review of a Node's update or delete, or of a DaemonSet's update.
pub(crate) fn read(body: &[u8]) -> Result<Review, Unreadable> {
    let unreadable = |why: String| Unreadable {
        uid: find_uid(body),
        why,
    };
    let mut record: ReviewRecord = serde_json::from_slice(body)
        .map_err(|error| unreadable(format!("the review cannot be read: {error}")))?;
    if record.api_version != API_VERSION || record.kind != KIND {
        return Err(unreadable(format!(
            "expected {KIND} of {API_VERSION}, got {:?} of {:?}: register the webhook with admissionReviewVersions [v1]",
            record.kind, record.api_version
        )));
    }
    let operation = read_operation(&mut record.request).map_err(unreadable)?;
    let RequestRecord {
        uid,
        user_info,
        operation: name_of_operation,
        dry_run,
        ..
    } = record.request;
    let mut extra = user_info.extra.unwrap_or_default();
    let requester = Requester {
        user: user_info.username,
        uid: user_info.uid,
        groups: user_info.groups.unwrap_or_default(),
        node_claim: extra.remove(keys::NODE_NAME_EXTRA).unwrap_or_default(),
        extra,
    };
    Ok(Review {
        uid,
        operation: name_of_operation,
        dry_run: dry_run.unwrap_or(false),
        request: Request { requester, operation },
    })
}

/// What is asked for, or why that is not judged here.
fn read_operation(request: &mut RequestRecord) -> Result<Operation, String> {
    let kind = (request.kind.group.as_str(), request.kind.kind.as_str());
    let (old, new) = (request.old_object.take(), request.object.take());
    match (kind, request.operation.as_str(), old, new) {
        (("", "Node"), "UPDATE", Some(old), Some(new)) => Ok(Operation::UpdateNode { old, new }),
        (("", "Node"), "DELETE", Some(old), _) => Ok(Operation::DeleteNode { old }),
        (("apps", "DaemonSet"), "UPDATE", Some(old), Some(new)) => Ok(Operation::UpdateDaemonSet(LockEdit {
            namespace: std::mem::take(&mut request.namespace),
            name: std::mem::take(&mut request.name),
            old: old.metadata.annotations,
            new: new.metadata.annotations,
        })),
        (("", "Node"), "DELETE", ..) => Err("a delete needs oldObject".to_owned()),
        (("", "Node") | ("apps", "DaemonSet"), "UPDATE", ..) => {
            Err("an update needs both object and oldObject".to_owned())
        }
        (_, operation, ..) => Err(format!(
            "{operation} of {:?} is not judged here: register the webhook for UPDATE and DELETE of nodes, UPDATE of nodes/status, \
             daemonsets and daemonsets/status only",
            request.kind.kind
        )),
    }
}

/// The answer on the wire.
pub(crate) fn render(uid: &str, verdict: &Verdict) -> Vec<u8> {
    let is_allowed = verdict.outcome != Outcome::Deny;
    // 403: neither kubectl nor client-go tries again by itself, as they do on 429.
    let status = (!is_allowed).then(
        || json!({"status": "Failure", "code": 403, "reason": "Forbidden", "message": verdict.message}),
    );
    let response = ResponseRecord {
        uid,
        allowed: is_allowed,
        status,
        warnings: &verdict.warnings,
        audit_annotations: &verdict.audit,
    };
    json!({"apiVersion": API_VERSION, "kind": KIND, "response": response})
        .to_string()
        .into_bytes()
}

/// The request's uid: from the JSON if it is some, else by eye.
fn find_uid(body: &[u8]) -> Option<String> {
    let parsed = serde_json::from_slice::<serde_json::Value>(body).ok();
    let uid = parsed.and_then(|value| value.pointer("/request/uid")?.as_str().map(str::to_owned));
    uid.or_else(|| scan_uid(body))
        .filter(|uid| !uid.is_empty() && uid.chars().count() <= MAX_UID_CHARS)
}

/// The first `"uid": "…"` behind `"request"`; the API server writes it there first.
fn scan_uid(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let (_, request) = text.split_once("\"request\"")?;
    let (_, after_key) = request.split_once("\"uid\"")?;
    let value = after_key
        .trim_start()
        .strip_prefix(':')?
        .trim_start()
        .strip_prefix('"')?;
    let (uid, _) = value.split_once('"')?;
    uid.chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '-')
        .then(|| uid.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uid_of_an_unreadable_review_is_found_where_there_is_one() {
        for (body, uid) in [
            (&b""[..], None),
            (b"[]", None),
            (b"{\"request\":{\"uid\":7}}", None),
            (b"{\"request\":{}}", None),
            (b"{\"request\":{\"uid\":\"u-1\"}}", Some("u-1")),
            (
                b"{\"request\":{\"object\":{\"metadata\":{\"uid\":\"n\"}},\"uid\":\"u-1\"}}",
                Some("u-1"),
            ),
            (
                b"{\"kind\":\"AdmissionReview\",\"request\" : { \"uid\" : \"u-1\", \"obj",
                Some("u-1"),
            ),
            (b"{\"request\":{\"uid\":\"u\xff\"", None),
            (b"{\"uid\":\"u-1\"", None),
        ] {
            let found = read(body).unwrap_err();
            assert_eq!(found.uid.as_deref(), uid, "{}", String::from_utf8_lossy(body));
        }
    }
}
