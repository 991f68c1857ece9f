//! What logs tell of uncordons and pods: lines of the webhook's log (`docs/audit.md`), and of an API server's audit log
//! (k8s.io/apiserver: `pkg/apis/audit/v1/types.go`).
//!
//! A line may have anything before its first `{`, as `kubectl logs --prefix` and others write it. A line that is no entry of such a log is
//! passed over, and counted if it is none of any.
//! Not here: reading files (the kubectl plugin).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::join::{Asked, is_uncordons};
use super::{Answer, TEXT_MAX, Uncordon};
use crate::admission::{AUDIT_REASON, AUDIT_VERDICT, Outcome, Reason};
use crate::fleet::Unseen;
use crate::keys;
use crate::quote::one_line;

/// Most uncordons, and most pods that came or went, that are kept of all logs: a controller that asks each second for a day.
const KEPT_MAX: usize = 100_000;

/// What logs have told so far.
#[derive(Clone, Debug, Default)]
pub struct Logs {
    pub(super) webhook: Vec<Asked>,
    pub(super) audit: Vec<Asked>,
    pub(super) pods: Vec<Moved>,
    /// The uids of the reviews and requests that are known: a log may be given twice.
    uids: BTreeSet<String>,
    /// Entries beyond [`KEPT_MAX`].
    dropped: u64,
    /// Lines that are no JSON, or of no log that is known.
    unreadable: u64,
}

/// A pod that came to a node, or left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) at: Timestamp,
    /// Its namespace and name.
    pub(super) pod: (String, String),
    pub(super) how: Move,
}

/// How it came or left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// The scheduler gave it to this node.
    Bound(String),
    /// The agent of this node evicted it.
    Evicted(String),
    /// Somebody deleted it. The request does not say from which node.
    Deleted,
}

/// The fields of a line of the webhook's trail that are used.
#[derive(Deserialize)]
struct Decision {
    timestamp: Timestamp,
    #[serde(default)]
    verdict: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    node: String,
    #[serde(default)]
    effect: String,
    #[serde(default)]
    holder: String,
    #[serde(default)]
    dry_run: bool,
}

/// The fields of an entry of an audit log that are used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(rename = "auditID", default)]
    audit_id: String,
    #[serde(default)]
    stage: String,
    #[serde(rename = "requestURI", default)]
    uri: String,
    #[serde(default)]
    verb: String,
    user: User,
    #[serde(default)]
    object_ref: Object,
    #[serde(default)]
    response_status: Value,
    #[serde(default)]
    request_object: Value,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    request_received_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
    #[serde(default)]
    extra: Value,
}

#[derive(Default, Deserialize)]
struct Object {
    #[serde(default)]
    resource: String,
    #[serde(default)]
    subresource: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
}

impl Logs {
    /// Takes a line of the webhook's log.
    pub fn webhook_line(&mut self, line: &str) {
        let Some(decision) = self.parsed::<Decision>(line) else {
            return;
        };
        let effects: Vec<&str> = decision.effect.split(',').collect();
        let is_uncordon = effects.contains(&"uncordon") || decision.reason == Reason::Deferred.code();
        // The agent's own write gives the cordon back.
        let is_owners = decision.reason == Reason::Owner.code();
        if !is_uncordon || is_owners || decision.dry_run || decision.node.is_empty() {
            return;
        }
        if !decision.uid.is_empty() && !self.uids.insert(decision.uid) {
            return;
        }
        let created = decision.holder.split_once('/').map(|(_, created)| created);
        let asked = Asked {
            node: decision.node,
            hold: created
                .filter(|created| created.parse::<Timestamp>().is_ok())
                .map(str::to_owned),
            uncordon: Uncordon {
                at: decision.timestamp,
                until: None,
                count: 1,
                by: one_line(&decision.user, TEXT_MAX),
                answer: answer(&decision.verdict, &decision.reason),
                reason: one_line(&decision.reason, TEXT_MAX),
            },
        };
        kept(&mut self.webhook, asked, &mut self.dropped);
    }

    /// Takes a line of an audit log.
    pub fn audit_line(&mut self, line: &str) {
        let Some(entry) = self.parsed::<Entry>(line) else {
            return;
        };
        let is_last = entry.stage.is_empty() || entry.stage == "ResponseComplete";
        if !is_last || entry.is_dry_run() {
            return;
        }
        let (moved, asked) = (entry.moved(), entry.asked());
        // The client may choose the id, so it alone does not tell one request from another.
        let id = format!("{} {}", entry.audit_id, entry.request_received_timestamp);
        let is_news = moved.is_some() || asked.is_some();
        if !is_news || !entry.audit_id.is_empty() && !self.uids.insert(id) {
            return;
        }
        if let Some(moved) = moved {
            kept(&mut self.pods, moved, &mut self.dropped);
        } else if let Some(asked) = asked {
            kept(&mut self.audit, asked, &mut self.dropped);
        }
    }

    /// What was lost of the logs.
    pub(super) fn unseen(&self) -> Vec<Unseen> {
        let lost = |count: u64, says: &str| {
            (count > 0).then(|| Unseen {
                what: format!("lines of the logs ({count})"),
                needs: None,
                says: says.to_owned(),
            })
        };
        let unread = "they are no JSON of such a log: give the webhook's log to --webhook-log, and the API server's to --audit-log";
        let dropped = format!("there are more than {KEPT_MAX} of a kind: give a shorter part of the log");
        lost(self.unreadable, unread)
            .into_iter()
            .chain(lost(self.dropped, &dropped))
            .collect()
    }

    fn parsed<'a, T: Deserialize<'a>>(&mut self, line: &'a str) -> Option<T> {
        if line.trim().is_empty() {
            return None;
        }
        let begins = line.find('{');
        let parsed = begins.and_then(|at| serde_json::from_str(line.get(at..)?).ok());
        self.unreadable += u64::from(parsed.is_none());
        parsed
    }
}

impl Entry {
    fn is_dry_run(&self) -> bool {
        let query = self.uri.split_once('?').map_or("", |(_, query)| query);
        query.split('&').any(|part| part.starts_with("dryRun="))
    }

    fn code(&self) -> i64 {
        self.response_status["code"].as_i64().unwrap_or_default()
    }

    fn is_done(&self) -> bool {
        (200..300).contains(&self.code())
    }

    /// The pod that this has moved. An eviction names no node, but the token of the agent does.
    fn moved(&self) -> Option<Moved> {
        if self.object_ref.resource != "pods" || !self.is_done() {
            return None;
        }
        let named = |node: &Value| node.as_str().map(str::to_owned);
        let how = match (self.object_ref.subresource.as_str(), self.verb.as_str()) {
            ("eviction", _) => Move::Evicted(named(&self.user.extra[keys::NODE_NAME_EXTRA][0])?),
            ("binding", _) => Move::Bound(named(&self.request_object["target"]["name"])?),
            ("", "delete") => Move::Deleted,
            _ => return None,
        };
        Some(Moved {
            at: self.request_received_timestamp,
            pod: (self.object_ref.namespace.clone(), self.object_ref.name.clone()),
            how,
        })
    }

    /// The uncordon that this was, as the webhook has noted, or the request shows.
    fn asked(&self) -> Option<Asked> {
        let object = &self.object_ref;
        let is_write = matches!(self.verb.as_str(), "patch" | "update");
        if object.resource != "nodes" || !object.subresource.is_empty() || !is_write || self.is_agents() {
            return None;
        }
        let (verdict, reason) = (self.noted(AUDIT_VERDICT), self.noted(AUDIT_REASON));
        let by_webhook = reason.is_some_and(is_uncordons);
        let is_other = reason == Some(Reason::NothingOfOurs.code());
        if !by_webhook && (is_other || !self.shows_uncordon()) {
            return None;
        }
        let mut decisions = self.annotations.iter().flatten();
        let is_forbidden =
            decisions.any(|(key, value)| key == "authorization.k8s.io/decision" && value == "forbid");
        let answer = match (verdict, self.code()) {
            (Some(verdict), _) if verdict == Outcome::Deny.as_str() => Answer::Denied,
            (_, _) if reason == Some(Reason::Deferred.code()) => Answer::Deferred,
            (_, 403 | 422) if !is_forbidden => Answer::Denied,
            _ if self.is_done() => Answer::Passed,
            // A conflict, or somebody without the right to write Nodes: nothing of ours.
            _ => return None,
        };
        Some(Asked {
            node: object.name.clone(),
            hold: None,
            uncordon: Uncordon {
                at: self.request_received_timestamp,
                until: None,
                count: 1,
                by: one_line(&self.user.username, TEXT_MAX),
                answer,
                reason: reason
                    .map(|reason| one_line(reason, TEXT_MAX))
                    .unwrap_or_default(),
            },
        })
    }

    /// Whether the agent of the node sent it: its own uncordon gives the cordon back.
    fn is_agents(&self) -> bool {
        let account = self.user.username.strip_prefix("system:serviceaccount:");
        let name = account.and_then(|account| account.split(':').nth(1));
        let is_agent = name.is_some_and(|name| name.starts_with(keys::AGENTS));
        is_agent && self.user.extra[keys::NODE_NAME_EXTRA][0] == self.object_ref.name.as_str()
    }

    /// What the webhook has noted under this key. The API server puts the webhook's name before it.
    fn noted(&self, key: &str) -> Option<&str> {
        let all = self.annotations.iter().flatten();
        let mut ours = all.filter(|(name, _)| name.contains(keys::OVERRIDE_GROUP));
        let own = ours.find(|(name, _)| name.rsplit('/').next() == Some(key));
        own.map(|(_, value)| value.as_str())
    }

    /// Whether the body of a patch clears the cordon. Of an update only the new object is known, which does not say.
    fn shows_uncordon(&self) -> bool {
        if self.verb != "patch" {
            return false;
        }
        if let Some(operations) = self.request_object.as_array() {
            return operations.iter().any(|operation| {
                operation["path"] == "/spec/unschedulable"
                    && (operation["op"] == "remove" || operation["value"] == false)
            });
        }
        let spec = self.request_object["spec"].as_object();
        let cordon = spec.and_then(|spec| spec.get("unschedulable"));
        cordon.is_some_and(|cordon| cordon.is_null() || cordon == false)
    }
}

fn answer(verdict: &str, reason: &str) -> Answer {
    if reason == Reason::Deferred.code() {
        return Answer::Deferred;
    }
    let is = |outcome: Outcome| verdict == outcome.as_str();
    if is(Outcome::Deny) {
        Answer::Denied
    } else if is(Outcome::Allow) || is(Outcome::Flag) {
        Answer::Allowed
    } else {
        Answer::Unknown
    }
}

fn kept<T>(all: &mut Vec<T>, one: T, dropped: &mut u64) {
    if all.len() < KEPT_MAX {
        all.push(one);
    } else {
        *dropped += 1;
    }
}
