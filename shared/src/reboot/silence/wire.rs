//! What is sent to Alertmanager and what it answers: version 2 of its API (prometheus/alertmanager: api/v2/openapi.yaml).
//!
//! Not here: how it is reached; that is the agent's part.

use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Found, LEASE, Matcher, Operator, Step, later};
use crate::hold::Holder;
use crate::quote::{always_quoted, beginning};

/// The path for silences, below that of Alertmanager.
pub const SILENCES: &str = "/api/v2/silences";
/// Who all our silences are by. The hold in the comment says for which node.
const CREATED_BY: &str = "cordonhold-agent";
/// What comes before the hold in a comment.
const HOLD: &str = "hold ";
/// Most characters that are shown of an answer that cannot be used.
const SHOWN_MAX: usize = 200;

/// The method of a request, as HTTP names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Makes or changes.
    Post,
    /// Ends.
    Delete,
}

impl Method {
    /// Its name in HTTP.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Delete => "DELETE",
        }
    }
}

/// A request to Alertmanager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it does.
    pub method: Method,
    /// The path and query, below Alertmanager's own path.
    pub path: String,
    /// The body, in JSON.
    pub body: Option<Value>,
}

/// Asks for the silences that have these matchers and have not ended.
pub fn list(matchers: &[Matcher]) -> Request {
    let filter = |matcher: &Matcher| {
        let text = matcher.to_string();
        format!("&filter={}", utf8_percent_encode(&text, NON_ALPHANUMERIC))
    };
    let filters: String = matchers.iter().map(filter).collect();
    Request {
        method: Method::Get,
        path: format!("{SILENCES}?expired=false{filters}"),
        body: None,
    }
}

/// The request of a step, for the node of this name.
pub fn request(step: &Step, node: &str, now: Timestamp) -> Request {
    match step {
        // Alertmanager takes its own time for a beginning that is over, whatever our clock is worth (silence/silence.go: Set).
        Step::Create {
            holder,
            matchers,
            ends,
        } => post(None, holder, matchers, (later(now, -LEASE), *ends), node),
        Step::Extend(found, ends) => post(
            Some(&found.id),
            &found.holder,
            &found.matchers,
            (found.starts, *ends),
            node,
        ),
        Step::Cut(found) => Request {
            method: Method::Delete,
            path: format!("/api/v2/silence/{}", utf8_percent_encode(&found.id, ID)),
            body: None,
        },
    }
}

/// What is encoded of an id, which is a UUID.
const ID: &percent_encoding::AsciiSet = &NON_ALPHANUMERIC.remove(b'-');

fn post(
    id: Option<&str>,
    holder: &Holder,
    matchers: &[Matcher],
    (starts, ends): (Timestamp, Timestamp),
    node: &str,
) -> Request {
    let matcher = |matcher: &Matcher| {
        json!({
            "name": matcher.name,
            "value": matcher.value,
            "isRegex": matcher.operator.is_regex(),
            "isEqual": matcher.operator.is_equal(),
        })
    };
    let mut body = json!({
        "matchers": matchers.iter().map(matcher).collect::<Vec<Value>>(),
        "startsAt": starts,
        "endsAt": ends,
        "createdBy": CREATED_BY,
        "comment": format!("Cordonhold reboots node {node}; ends by itself if the agent dies; {HOLD}{holder}"),
    });
    if let Some(id) = id {
        body["id"] = json!(id);
    }
    Request {
        method: Method::Post,
        path: SILENCES.to_owned(),
        body: Some(body),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Silence {
    id: String,
    status: Status,
    matchers: Vec<Label>,
    starts_at: Timestamp,
    ends_at: Timestamp,
    created_by: String,
    comment: String,
}

#[derive(Deserialize)]
struct Status {
    /// `active`, `pending` or `expired`.
    state: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Label {
    name: String,
    value: String,
    is_regex: bool,
    /// Older versions, before 0.22, have no such field.
    #[serde(default = "yes")]
    is_equal: bool,
}

fn yes() -> bool {
    true
}

/// Reads the answer to [`list`]: the silences that agents made and that have not ended. The error says what is wrong with the answer.
pub fn read_list(body: &[u8]) -> Result<Vec<Found>, String> {
    let silences: Vec<Silence> = serde_json::from_slice(body)
        .map_err(|error| format!("the answer is not one of Alertmanager ({error}): {}", shown(body)))?;
    Ok(silences.into_iter().filter_map(found).collect())
}

fn found(silence: Silence) -> Option<Found> {
    let is_ours = silence.created_by == CREATED_BY && silence.status.state != "expired";
    let (_, hold) = silence.comment.rsplit_once(HOLD)?;
    let (node_uid, created) = hold.split_once('/')?;
    let matcher = |label: Label| Matcher {
        name: label.name,
        operator: Operator::of(label.is_regex, label.is_equal),
        value: label.value,
    };
    is_ours.then(|| Found {
        id: silence.id,
        holder: Holder {
            node_uid: node_uid.to_owned(),
            created: created.to_owned(),
        },
        matchers: silence.matchers.into_iter().map(matcher).collect(),
        starts: silence.starts_at,
        ends: silence.ends_at,
    })
}

/// Reads the answer to a silence that was made or changed. The error says what is wrong with the answer.
pub fn read_posted(body: &[u8]) -> Result<(), String> {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    match answer.get("silenceID").and_then(Value::as_str) {
        Some(_) => Ok(()),
        None => Err(format!(
            "the answer does not name the silence, so it is not one of Alertmanager: {}",
            shown(body)
        )),
    }
}

/// What Alertmanager says of a request that it refuses: a text in JSON.
pub fn refusal(body: &[u8]) -> String {
    match serde_json::from_slice::<String>(body) {
        Ok(text) => always_quoted(&text, SHOWN_MAX),
        Err(_) => shown(body),
    }
}

/// The beginning of an answer, on one line.
fn shown(body: &[u8]) -> String {
    always_quoted(&beginning(body, SHOWN_MAX), SHOWN_MAX)
}
