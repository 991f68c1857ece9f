//! `AdmissionReview` on the wire: reads a review, and writes the answer.
//!
//! An answer without the right uid counts as a failed call, which `failurePolicy: Ignore` lets pass. So the uid is found even if
//! nothing else can be read, or the review is too large to be read whole.
//! Most of a review is the status and managed fields of two objects. They are skipped, and what is needed is borrowed from the body
//! and copied only once it is known to matter.
//! Not here: the decision ([`cordonhold_shared::admission`]).

use std::collections::BTreeMap;

use cordonhold_shared::admission::{
    Audit, Deferral, LockEdit, Operation, Outcome, Policy, Request, Requester, Verdict,
};
use cordonhold_shared::keys;
use k8s_openapi::ByteString;
use serde::Serialize;

use record::{ObjectRecord, RequestRecord, ReviewRecord};

mod head;
mod record;

pub(crate) use head::{HEAD_BYTES, Head};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";
/// Longest uid that is accepted. The API server sends a UUID; the bound keeps a hostile one from being echoed at length.
const MAX_UID_CHARS: usize = 128;
/// Longest name or uid of a user or a Node, in bytes. A Node's name has at most 253, and users' names are far shorter than this.
const NAME_MAX: usize = 1_024;
/// Longest name of a field, in bytes. Managed fields use the type of a condition in a field's name, and that type may fill the
/// 1.5 MiB that etcd accepts for an object.
const FIELD_NAME_MAX: usize = 2 * 1_024 * 1_024;
/// Most that groups and extra may take together, in bytes: more than any token carries.
const IDENTITY_MAX: usize = 128 * 1_024;

/// Most denials fit in it.
const USUAL_ANSWER_BYTES: usize = 2 * 1_024;

/// A review that was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Review {
    pub(crate) uid: String,
    pub(crate) operation: String,
    /// The verb of the request: `create`, `patch`, `update` or `delete`; empty if its options have an unknown kind.
    pub(crate) verb: &'static str,
    pub(crate) field_manager: String,
    /// Whether the object that is written has a list of taints: a patch can add to a list only if it is there.
    pub(crate) has_taints: bool,
    pub(crate) request: Request,
}

/// A review that could not be read, and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) head: Head,
    pub(crate) why: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AnswerRecord<'a> {
    api_version: &'a str,
    kind: &'a str,
    response: &'a ResponseRecord<'a>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseRecord<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<StatusRecord<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'a str>,
    /// The patch as JSON; on the wire it is base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<ByteString>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_annotations: Option<&'a Audit>,
}

#[derive(Serialize)]
struct StatusRecord<'a> {
    status: &'a str,
    code: u16,
    reason: &'a str,
    message: &'a str,
}

/// Reads a review of the CREATE, UPDATE or DELETE of a Node, or of the UPDATE of a DaemonSet. Keeps only what the policy reads.
pub(crate) fn read(body: &[u8], policy: &Policy) -> Result<Review, Unreadable> {
    // The decoder does not look into what it skips, so only this check finds bytes there that are not UTF-8.
    let parsed = std::str::from_utf8(body)
        .map_err(|error| format!("the review is not UTF-8: {error}"))
        .and_then(|text| names_are_short(body).map(|()| text))
        .and_then(|text| {
            serde_json::from_str::<ReviewRecord<'_>>(text)
                .map_err(|error| format!("the review cannot be read: {error}"))
        });
    parsed
        .and_then(|record| understand(record, policy))
        .map_err(|why| Unreadable {
            head: Head::of(body),
            why,
        })
}

/// Checks the length of all field names: the decoder copies a name with escapes into memory that it keeps, even if it skips the field.
fn names_are_short(body: &[u8]) -> Result<(), String> {
    // Nearly every review is too short to contain such a name, and is not searched.
    let mut rest = if body.len() > FIELD_NAME_MAX { body } else { &[] };
    while let Some(start) = rest.iter().position(|byte| *byte == b'"') {
        let text = &rest[start + 1..];
        let length = text_length(text);
        rest = text.get(length + 1..).unwrap_or_default();
        let is_name = rest.trim_ascii_start().starts_with(b":");
        if is_name && length > FIELD_NAME_MAX {
            return Err(format!(
                "the review has a field whose name is longer than {FIELD_NAME_MAX} bytes"
            ));
        }
    }
    Ok(())
}

/// Length of a string up to its closing quote, or of all the rest if there is none.
fn text_length(text: &[u8]) -> usize {
    let mut is_escaped = false;
    let end = text.iter().position(|byte| {
        let is_end = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        is_end
    });
    end.unwrap_or(text.len())
}

/// The failure of a review that is larger than `bytes_max`, of which only the beginning was read.
pub(crate) fn too_large(beginning: &[u8], bytes_max: usize) -> Unreadable {
    Unreadable {
        head: Head::of(beginning),
        why: format!(
            "the review has more than {bytes_max} bytes, which is more than two objects of the size that etcd takes by default: \
             make the object smaller, and try again"
        ),
    }
}

/// Turns the record into a review, or says why it is not judged here.
fn understand(record: ReviewRecord<'_>, policy: &Policy) -> Result<Review, String> {
    let (version, kind) = (record.api_version.as_str(), record.kind.as_str());
    if (version, kind) != (API_VERSION, KIND) {
        return Err(format!(
            "expected {KIND} of {API_VERSION}, got {kind:?} of {version:?}: register the webhook with admissionReviewVersions [v1]"
        ));
    }
    let mut request = record.request;
    if !is_uid(request.uid.as_str()) {
        return Err(format!(
            "the uid of a request has 1 to {MAX_UID_CHARS} characters"
        ));
    }
    let has_taints = request.object.as_ref().is_some_and(ObjectRecord::has_taints);
    // Nodes have the subresource `status` only. Another one would not be an uncordon either.
    let is_of_status = !request.sub_resource.as_str().is_empty();
    let operation = read_operation(&mut request, policy)?;
    let options = request.options.unwrap_or_default();
    let user = request.user_info;
    let extra = user.extra.0.into_iter();
    let mut extra: BTreeMap<String, Vec<String>> = extra
        .map(|(key, values)| (key.into_string(), values.into_strings()))
        .collect();
    let requester = Requester {
        user: user.username.into_string(),
        uid: user.uid.into_string(),
        groups: user.groups.into_strings(),
        node_claim: extra.remove(keys::NODE_NAME_EXTRA).unwrap_or_default(),
        extra,
    };
    is_of_a_size(&requester, &operation)?;
    let is_dry_run = request.dry_run.unwrap_or(false);
    Ok(Review {
        uid: request.uid.into_string(),
        operation: request.operation.into_string(),
        verb: match options.kind.as_str() {
            "PatchOptions" => "patch",
            "UpdateOptions" => "update",
            "DeleteOptions" => "delete",
            "CreateOptions" => "create",
            _ => "",
        },
        field_manager: options.field_manager.into_string(),
        has_taints,
        request: Request {
            requester,
            operation,
            is_of_status,
            is_dry_run,
        },
    })
}

/// Checks the size of what outlives the answer, in kept permissions and in Events.
fn is_of_a_size(requester: &Requester, operation: &Operation) -> Result<(), String> {
    let node = match operation {
        Operation::CreateNode { new: node }
        | Operation::UpdateNode { old: node, .. }
        | Operation::DeleteNode { old: node } => Some(&node.metadata),
        Operation::UpdateDaemonSet(_) => None,
    };
    let of_node = node.map(|node| [("the Node's name", &node.name), ("the Node's uid", &node.uid)]);
    let names = [
        ("the user's name", &requester.user),
        ("the user's uid", &requester.uid),
    ];
    for (what, name) in names.into_iter().chain(of_node.into_iter().flatten()) {
        if name.len() > NAME_MAX {
            return Err(format!("{what} is longer than {NAME_MAX} bytes"));
        }
    }
    if requester.identity_bytes() > IDENTITY_MAX {
        return Err(format!(
            "the user's groups and extra take more than {IDENTITY_MAX} bytes"
        ));
    }
    Ok(())
}

/// The operation of the request, or why it is not judged here.
fn read_operation(request: &mut RequestRecord<'_>, policy: &Policy) -> Result<Operation, String> {
    let node = |object: ObjectRecord<'_>| object.view(|key| policy.reads(key));
    let locks = |object| node(object).map(|daemonset| daemonset.metadata.annotations);
    let kind = (request.kind.group.as_str(), request.kind.kind.as_str());
    let (old, new) = (request.old_object.take(), request.object.take());
    match (kind, request.operation.as_str(), old, new) {
        (("", "Node"), "CREATE", _, Some(new)) => Ok(Operation::CreateNode { new: node(new)? }),
        (("", "Node"), "UPDATE", Some(old), Some(new)) => Ok(Operation::UpdateNode {
            old: node(old)?,
            new: node(new)?,
        }),
        (("", "Node"), "DELETE", Some(old), _) => Ok(Operation::DeleteNode { old: node(old)? }),
        (("apps", "DaemonSet"), "UPDATE", Some(old), Some(new)) => Ok(Operation::UpdateDaemonSet(LockEdit {
            namespace: request.namespace.as_str().to_owned(),
            name: request.name.as_str().to_owned(),
            old: locks(old)?,
            new: locks(new)?,
        })),
        (("", "Node"), "CREATE", ..) => Err("a create needs object".to_owned()),
        (("", "Node"), "DELETE", ..) => Err("a delete needs oldObject".to_owned()),
        (("", "Node") | ("apps", "DaemonSet"), "UPDATE", ..) => {
            Err("an update needs both object and oldObject".to_owned())
        }
        (_, operation, ..) => Err(format!(
            "{operation} of {:?} is not judged here: register the webhook for CREATE, UPDATE and DELETE of nodes, UPDATE of nodes/status, \
             daemonsets and daemonsets/status only",
            request.kind.kind.as_str()
        )),
    }
}

/// The answer of the validation as JSON.
pub(crate) fn render(uid: &str, verdict: &Verdict) -> Vec<u8> {
    let is_allowed = verdict.outcome != Outcome::Deny;
    // 403, because kubectl and client-go do not retry it by themselves, as they do on 429.
    let status = (!is_allowed).then_some(StatusRecord {
        status: "Failure",
        code: 403,
        reason: "Forbidden",
        message: &verdict.message,
    });
    answer(&ResponseRecord {
        uid,
        allowed: is_allowed,
        status,
        ..ResponseRecord::told(&verdict.warnings, &verdict.audit)
    })
}

/// The answer of the mutation as JSON: the request passes on, changed or as it is. `has_taints` is about the object that is written.
pub(crate) fn render_mutation(uid: &str, deferral: Option<&Deferral>, has_taints: bool) -> Vec<u8> {
    let patch = deferral.map(|deferral| ByteString(deferral.json_patch(has_taints).to_string().into_bytes()));
    let told = deferral.and_then(|deferral| deferral.record.as_ref());
    answer(&ResponseRecord {
        uid,
        allowed: true,
        patch_type: patch.as_ref().map(|_| "JSONPatch"),
        patch,
        ..told.map_or_else(ResponseRecord::default, |verdict| {
            ResponseRecord::told(&verdict.warnings, &verdict.audit)
        })
    })
}

impl<'a> ResponseRecord<'a> {
    fn told(warnings: &'a [String], audit: &'a Audit) -> ResponseRecord<'a> {
        ResponseRecord {
            warnings,
            audit_annotations: (!audit.is_empty()).then_some(audit),
            ..ResponseRecord::default()
        }
    }
}

fn answer(response: &ResponseRecord<'_>) -> Vec<u8> {
    let answer = AnswerRecord {
        api_version: API_VERSION,
        kind: KIND,
        response,
    };
    let mut text = Vec::with_capacity(USUAL_ANSWER_BYTES);
    serde_json::to_writer(&mut text, &answer)
        .expect("strings, lists and maps of strings have a JSON text, and memory takes it");
    text
}

fn is_uid(uid: &str) -> bool {
    !uid.is_empty() && uid.chars().count() <= MAX_UID_CHARS
}

#[cfg(test)]
mod tests;
