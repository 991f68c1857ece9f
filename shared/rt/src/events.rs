//! Writes Events about objects of the cluster, with best effort: no caller waits for one, repeated ones become one Event with a count
//! ([`Series`]), and those that find no room in the queue are dropped.
//!
//! Our own, because kube's `Recorder` has neither a queue nor a rate limit.
//! Not here: which Events there are, and what to do if one was not written (each program's own).

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
use cordonhold_shared::reboot::cycle::Course;

mod ledger;

use ledger::{Ledger, Write};

/// The API path of the Events about objects without a namespace, which are in the namespace `default`.
const PATH: &str = "/apis/events.k8s.io/v1/namespaces/default/events";
/// Longest `reportingInstance` that the API server accepts (k8s.io/api: `events/v1/types.go`).
const INSTANCE_MAX_BYTES: usize = 128;

/// The writer of Events.
#[derive(Clone, Debug)]
pub struct Source {
    /// `reportingController`.
    pub controller: &'static str,
    /// `reportingInstance`: the name of this process.
    pub instance: String,
    /// The `generateName` of the Events. `None`: their names are made of the object's name and the time.
    pub generate_name: Option<&'static str>,
}

/// The object that an Event is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Regarding {
    /// The object's API group and version.
    pub api_version: &'static str,
    /// The object's kind.
    pub kind: &'static str,
    /// The object's name.
    pub name: String,
    /// The object's uid, if it is known.
    pub uid: Option<String>,
}

impl Regarding {
    /// The Node with this name and uid.
    pub fn node(name: &str, uid: &str) -> Regarding {
        Regarding {
            api_version: "v1",
            kind: "Node",
            name: name.to_owned(),
            uid: Some(uid.to_owned()),
        }
    }
}

/// What is to be written as an Event.
#[derive(Clone, Debug)]
pub struct Note {
    /// The object that the Event is about.
    pub regarding: Regarding,
    /// The Event's `action`, what was done: `Deny`.
    pub action: &'static str,
    /// The Event's `reason`, such as `HeldByKured`.
    pub reason: String,
    /// Whether the Event's type is `Warning`, rather than `Normal`.
    pub is_warning: bool,
    /// The Event's `note`, its message.
    pub text: String,
    /// Which notes with the same object and reason become one Event.
    pub series: Series,
}

/// Which notes with the same object and reason become one Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Series {
    /// Those with this same text. The count of the Event is updated, for which the writer needs the permission to patch Events.
    Updated(String),
    /// Those that this course says. The Event is created anew with its count, at a bounded rate, because the writer may only create.
    Anew(Course),
}

/// The identity of an Event: notes with equal keys become one Event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The object that the Event is about.
    pub regarding: Regarding,
    /// The Event's reason.
    pub reason: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Updated(String),
    /// At most one at a time is known for an object and a reason.
    Anew,
    /// The number of a note that is an Event of its own, which makes its key unique.
    Single(u64),
}

/// What became of a note.
#[derive(Debug)]
pub enum Outcome {
    /// The Event was written.
    Written,
    /// The Event could not be written.
    Failed {
        /// Why.
        error: CallError,
        /// How many attempts to write this Event have failed in a row, with this one.
        in_a_row: u32,
    },
    /// There was no room for the note.
    Dropped,
}

/// The entry of the queue of notes. Clones share the queue.
#[derive(Clone, Debug)]
pub struct Recorder(mpsc::Sender<Note>);

impl Recorder {
    /// Queues a note without waiting, and returns whether there was room for it.
    #[must_use = "a note that found no room is lost"]
    pub fn tell(&self, note: Note) -> bool {
        self.0.try_send(note).is_ok()
    }
}

/// A queue for up to `places` notes: the recorder, and the end from which they are [written](write()).
pub fn queue(places: usize) -> (Recorder, mpsc::Receiver<Note>) {
    let (sender, notes) = mpsc::channel(places);
    (Recorder(sender), notes)
}

/// Writes the notes of the queue as Events, one request at a time, until every recorder is dropped. `told` learns what became of each.
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
                        let in_a_row = ledger.failed(&write.key, Instant::now());
                        Outcome::Failed { error, in_a_row }
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

/// Creates or updates the Event, and returns its name.
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

/// The `series` of an Event that has occurred more than once. The API server refuses a count of 1.
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
