//! Events about objects of the cluster, best effort: nobody waits for one, a storm is one Event with a count,
//! and what is too much is dropped.
//!
//! Our own, because kube's `Recorder` has neither a queue nor a rate.
//! Not here: what is told of, and what becomes of the news that an Event was not written.

use std::time::Instant;

use jiff::Timestamp;
use kube::Client;
use kube::core::Request;
use kube::core::params::{Patch, PatchParams, PostParams};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::api::{CallError, call};
use cordonhold_shared::quote::clipped;

mod ledger;

use ledger::{Ledger, Write};

/// Events about what has no namespace live in this one.
const PATH: &str = "/apis/events.k8s.io/v1/namespaces/default/events";
/// The API server takes no longer one (k8s.io/api: `events/v1/types.go`).
const INSTANCE_MAX_BYTES: usize = 128;

/// Who writes.
#[derive(Clone, Debug)]
pub struct Source {
    /// `reportingController`.
    pub controller: &'static str,
    /// `reportingInstance`: the name of this process.
    pub instance: String,
    /// What the API server makes the Events' names from; without it, they are the object's name and the time.
    pub generate_name: Option<&'static str>,
}

/// The object that an Event is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Regarding {
    /// Its API group and version.
    pub api_version: &'static str,
    /// Its kind.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Its uid, where it is known.
    pub uid: Option<String>,
}

impl Regarding {
    /// A Node.
    pub fn node(name: &str, uid: &str) -> Regarding {
        Regarding {
            api_version: "v1",
            kind: "Node",
            name: name.to_owned(),
            uid: Some(uid.to_owned()),
        }
    }
}

/// What an Event says.
#[derive(Clone, Debug)]
pub struct Note {
    /// What it is about.
    pub regarding: Regarding,
    /// What was done, as Events write it: `Deny`.
    pub action: &'static str,
    /// As Events write it: `HeldByKured`.
    pub reason: String,
    /// Whether its type is `Warning`, rather than `Normal`.
    pub is_warning: bool,
    /// The message.
    pub text: String,
    /// Notes of one object and one reason are one Event with a count where this is the same.
    /// Without it, each note is an Event of its own, with one try.
    pub series: Option<String>,
}

/// What makes two notes the same Event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// What it is about.
    pub regarding: Regarding,
    /// Its reason.
    pub reason: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Series(String),
    /// Its number among those of its kind.
    Single(u64),
}

/// What became of a note.
#[derive(Debug)]
pub enum Outcome {
    /// The API server has it.
    Written,
    /// It was lost, and why.
    Failed(CallError),
    /// There was no room for it.
    Dropped,
}

/// Where notes go. Clones share the way.
#[derive(Clone, Debug)]
pub struct Recorder(mpsc::Sender<Note>);

impl Recorder {
    /// Whether there was room for it. Never waits.
    #[must_use = "a note that found no room is lost"]
    pub fn tell(&self, note: Note) -> bool {
        self.0.try_send(note).is_ok()
    }
}

/// A recorder, and where its notes wait, at most so many, until they are [written](write()).
pub fn queue(places: usize) -> (Recorder, mpsc::Receiver<Note>) {
    let (sender, notes) = mpsc::channel(places);
    (Recorder(sender), notes)
}

/// Writes what waits, one request at a time, until every recorder is gone.
pub async fn write(
    client: Client,
    mut source: Source,
    mut notes: mpsc::Receiver<Note>,
    mut told: impl FnMut(&Key, Outcome),
) {
    source.instance = clipped(&source.instance, INSTANCE_MAX_BYTES).to_owned();
    let mut ledger = Ledger::default();
    loop {
        let wake = ledger.wake(Instant::now());
        tokio::select! {
            note = notes.recv() => match note {
                None => return,
                Some(note) => {
                    if let Some(key) = ledger.note(note, Instant::now(), Timestamp::now()) {
                        told(&key, Outcome::Dropped);
                    }
                }
            },
            () = at(wake) => {
                let Some(write) = ledger.next(Instant::now()) else { continue };
                let outcome = match send(&client, &source, &write).await {
                    Ok(name) => {
                        ledger.written(&write.key, name);
                        Outcome::Written
                    }
                    Err(error) => {
                        ledger.failed(&write.key, Instant::now());
                        Outcome::Failed(error)
                    }
                };
                told(&write.key, outcome);
            }
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

#[derive(Deserialize)]
struct Written {
    metadata: WrittenMetadata,
}

#[derive(Deserialize)]
struct WrittenMetadata {
    #[serde(default)]
    name: String,
}

/// The name of the Event, or why there is none.
async fn send(client: &Client, source: &Source, write: &Write) -> Result<String, CallError> {
    let request = match &write.name {
        None => {
            let event = event(source, write, Timestamp::now()).to_string();
            Request::new(PATH).create(&PostParams::default(), event.into_bytes())
        }
        Some(name) => {
            let patch = Patch::Merge(json!({ "series": series(write) }));
            Request::new(PATH).patch(name, &PatchParams::default(), &patch)
        }
    };
    let written: Written = call(client, request).await?;
    Ok(written.metadata.name)
}

/// A series begins with the second of its kind; the API server takes no count of 1.
fn series(write: &Write) -> Option<Value> {
    let series = json!({ "count": write.count, "lastObservedTime": micro_time(write.last) });
    (write.count > 1).then_some(series)
}

fn micro_time(time: Timestamp) -> String {
    format!("{time:.6}")
}

fn event(source: &Source, write: &Write, now: Timestamp) -> Value {
    let Regarding {
        api_version,
        kind,
        name,
        uid,
    } = &write.key.regarding;
    let metadata = match source.generate_name {
        Some(prefix) => json!({ "generateName": prefix, "namespace": "default" }),
        None => json!({ "name": format!("{name}.{:x}", now.as_nanosecond()), "namespace": "default" }),
    };
    json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": metadata,
        "eventTime": micro_time(write.first),
        "reportingController": source.controller,
        "reportingInstance": source.instance,
        "action": write.action,
        "reason": write.key.reason,
        "type": if write.is_warning { "Warning" } else { "Normal" },
        "note": write.text,
        "series": series(write),
        "regarding": { "apiVersion": api_version, "kind": kind, "name": name, "uid": uid },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(count: i32) -> Write {
        Write {
            key: Key {
                regarding: Regarding::node("node-0", "u-1"),
                reason: "Held".to_owned(),
                kind: Kind::Single(1),
            },
            name: None,
            action: "Deny",
            is_warning: true,
            text: "it is held".to_owned(),
            first: Timestamp::UNIX_EPOCH,
            last: Timestamp::UNIX_EPOCH,
            count,
        }
    }

    #[test]
    fn an_event_has_all_that_the_api_server_asks_for() {
        let mut source = Source {
            controller: "cordonhold.dev/webhook",
            instance: "w".to_owned(),
            generate_name: Some("cordonhold-webhook-"),
        };
        let epoch = "1970-01-01T00:00:00.000000Z";
        let mut expected = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": { "generateName": "cordonhold-webhook-", "namespace": "default" },
            "eventTime": epoch,
            "reportingController": "cordonhold.dev/webhook",
            "reportingInstance": "w",
            "action": "Deny",
            "reason": "Held",
            "type": "Warning",
            "note": "it is held",
            "series": null,
            "regarding": { "apiVersion": "v1", "kind": "Node", "name": "node-0", "uid": "u-1" },
        });
        assert_eq!(event(&source, &write(1), Timestamp::UNIX_EPOCH), expected);

        source.generate_name = None;
        expected["metadata"] = json!({ "name": "node-0.3e8", "namespace": "default" });
        expected["series"] = json!({ "count": 2, "lastObservedTime": epoch });
        let now = Timestamp::from_nanosecond(1_000).unwrap();
        assert_eq!(event(&source, &write(2), now), expected);
    }
}
