//! Events on the Nodes about which something was denied, so that `kubectl describe node` shows it,
//! and on the webhook configuration, about what keeps the API server from asking.
//!
//! Best effort, beside the answers: no answer waits for an Event, a storm is one Event with a count, and what is too
//! much is dropped and counted. The audit trail is the log; `AUDIT.md` says what that can lose.
//! Not here: which requests are denied ([`cordonhold_shared::admission`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cordonhold_rt::client;
use cordonhold_shared::admission::Reason;
use cordonhold_shared::quote::quoted;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;
use tracing::warn;

use crate::Metrics;
use crate::metrics::EventOutcome;

/// Events about Nodes live here: a Node has no namespace.
const NAMESPACE: &str = "default";
/// The API server takes no longer note (k8s.io/api: events/v1/types.go).
const NOTE_MAX_BYTES: usize = 1024;
/// Notes that wait for the task below.
const QUEUE_MAX: usize = 256;
/// Different notes that are remembered at once.
const SERIES_MAX: usize = 256;
/// A series ends when nothing has repeated for as long as client-go's recorder waits (`tools/events/event_broadcaster.go`).
const SERIES_IDLE: Duration = Duration::from_mins(6);
/// How often the count of a series is brought up to date.
const UPDATE_EVERY: Duration = Duration::from_secs(10);
/// As many writes at once as client-go's spam filter lets one object have (`tools/record/events_cache.go`), then one each [`REFILL_EVERY`].
const BURST: u32 = 25;
const REFILL_EVERY: Duration = Duration::from_secs(1);
/// The API server takes no longer one (k8s.io/api: `events/v1/types.go`).
const INSTANCE_MAX_BYTES: usize = 128;
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// What one denial says.
#[derive(Clone, Debug)]
pub(crate) struct Denial {
    pub(crate) node: String,
    pub(crate) uid: String,
    pub(crate) reason: Reason,
    pub(crate) user: String,
    pub(crate) message: String,
}

/// What an Event is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum About {
    Node {
        name: String,
        uid: String,
    },
    /// The webhook configuration; without a uid, it is not there or cannot be read.
    Configuration {
        name: String,
        uid: Option<String>,
    },
}

/// What an Event says. Its reason is a code, like `kured-held`.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(crate) about: About,
    pub(crate) reason: String,
    /// Whom it is about as well, if anybody.
    pub(crate) user: String,
    pub(crate) text: String,
}

impl From<Denial> for Note {
    /// Who was denied, and the first line of why; the rest is commands, which the person got.
    fn from(denial: Denial) -> Note {
        let why = denial.message.lines().next().unwrap_or_default();
        Note {
            text: format!("Denied {}: {why}", quoted(&denial.user)),
            about: About::Node {
                name: denial.node,
                uid: denial.uid,
            },
            reason: denial.reason.code().to_owned(),
            user: denial.user,
        }
    }
}

/// Where notes go. Clones share the way.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: mpsc::Sender<Note>,
    metrics: Arc<Metrics>,
}

impl Recorder {
    /// A recorder, and the task that writes for it until it is gone. `instance` names this process in the Events.
    pub fn new(
        client: Client,
        mut instance: String,
        metrics: Arc<Metrics>,
    ) -> (Recorder, impl Future<Output = ()> + Send) {
        let (queue, notes) = mpsc::channel(QUEUE_MAX);
        instance.truncate(instance.floor_char_boundary(INSTANCE_MAX_BYTES));
        let recorder = Recorder {
            queue,
            metrics: Arc::clone(&metrics),
        };
        let writer = Writer {
            events: Api::namespaced(client, NAMESPACE),
            instance,
            metrics,
            ledger: Ledger::default(),
            is_failing: false,
        };
        (recorder, writer.run(notes))
    }

    /// Never waits.
    pub(crate) fn tell(&self, note: impl Into<Note>) {
        if self.queue.try_send(note.into()).is_err() {
            self.metrics.event(EventOutcome::Dropped);
        }
    }
}

/// The task: one request at a time.
struct Writer {
    events: Api<Event>,
    instance: String,
    metrics: Arc<Metrics>,
    ledger: Ledger,
    is_failing: bool,
}

impl Writer {
    async fn run(mut self, mut notes: mpsc::Receiver<Note>) {
        loop {
            let wake = self.ledger.wake(Instant::now());
            tokio::select! {
                note = notes.recv() => match note {
                    Some(note) => self.note(note),
                    None => return,
                },
                () = sleep(wake) => {
                    if let Some(write) = self.ledger.next(Instant::now()) {
                        self.perform(write).await;
                    }
                }
            }
        }
    }

    fn note(&mut self, note: Note) {
        if !self.ledger.note(note, Instant::now(), Timestamp::now()) {
            self.metrics.event(EventOutcome::Dropped);
        }
    }

    async fn perform(&mut self, write: Write) {
        let key = write.key.clone();
        let result = match tokio::time::timeout(WRITE_TIMEOUT, self.send(write)).await {
            Ok(Ok(name)) => Ok(name),
            Ok(Err(error)) => Err(client::explain(&error)),
            Err(_) => Err(format!("no answer from the API server within {WRITE_TIMEOUT:?}")),
        };
        match result {
            Ok(name) => {
                self.is_failing = false;
                self.metrics.event(EventOutcome::Written);
                self.ledger.written(&key, name);
            }
            Err(why) => {
                self.metrics.event(EventOutcome::Failed);
                if !self.is_failing {
                    warn!(
                        about = key.about.name(),
                        why,
                        "failed to write an Event: allow the webhook's ServiceAccount to create and patch events of \
                         events.k8s.io, or start it with --no-events; further failures are counted only"
                    );
                }
                self.is_failing = true;
                self.ledger.failed(&key, Instant::now());
            }
        }
    }

    /// The name of the Event, or why there is none.
    async fn send(&self, write: Write) -> Result<String, kube::Error> {
        // A series begins with the second of its kind; the API server takes no count of 1.
        let series = (write.count > 1).then_some(EventSeries {
            count: write.count,
            last_observed_time: MicroTime(write.last),
        });
        let Some(name) = write.name else {
            let event = event(&write.key, write.note, write.first, series, &self.instance);
            let created = self.events.create(&PostParams::default(), &event).await?;
            return Ok(created.metadata.name.unwrap_or_default());
        };
        let patch = Patch::Merge(json!({ "series": series }));
        let _: Event = self.events.patch(&name, &PatchParams::default(), &patch).await?;
        Ok(name)
    }
}

async fn sleep(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

fn event(key: &Key, note: String, first: Timestamp, series: Option<EventSeries>, instance: &str) -> Event {
    Event {
        metadata: ObjectMeta {
            generate_name: Some("cordonhold-webhook-".to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(first)),
        reporting_controller: Some("cordonhold.dev/webhook".to_owned()),
        reporting_instance: Some(instance.to_owned()),
        action: Some(key.about.action().to_owned()),
        reason: Some(camel_case(&key.reason)),
        type_: Some("Warning".to_owned()),
        note: Some(note),
        series,
        regarding: Some(key.about.reference()),
        ..Event::default()
    }
}

impl About {
    fn name(&self) -> &str {
        let (About::Node { name, .. } | About::Configuration { name, .. }) = self;
        name
    }

    fn action(&self) -> &'static str {
        match self {
            About::Node { .. } => "Deny",
            About::Configuration { .. } => "Check",
        }
    }

    fn reference(&self) -> ObjectReference {
        let (api_version, kind, uid) = match self {
            About::Node { uid, .. } => ("v1", "Node", Some(uid)),
            About::Configuration { uid, .. } => (
                "admissionregistration.k8s.io/v1",
                "ValidatingWebhookConfiguration",
                uid.as_ref(),
            ),
        };
        ObjectReference {
            api_version: Some(api_version.to_owned()),
            kind: Some(kind.to_owned()),
            name: Some(self.name().to_owned()),
            uid: uid.cloned(),
            ..ObjectReference::default()
        }
    }
}

/// `held-by-kured` as Events write reasons: `HeldByKured`.
fn camel_case(code: &str) -> String {
    code.split('-')
        .flat_map(|word| {
            let mut chars = word.chars();
            let first = chars.next().map(|c| c.to_ascii_uppercase());
            first.into_iter().chain(chars)
        })
        .collect()
}

/// What makes two notes the same Event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    about: About,
    reason: String,
    user: String,
}

/// One Event, as far as it is known.
#[derive(Debug)]
struct Series {
    note: String,
    first: Timestamp,
    last: Timestamp,
    count: i32,
    repeated: Instant,
    /// The API server's name for it, once it has been written.
    name: Option<String>,
    due: Option<Instant>,
}

/// A write that is due: without a name, an Event is created; with one, its series is brought up to date.
#[derive(Debug, PartialEq, Eq)]
struct Write {
    key: Key,
    name: Option<String>,
    note: String,
    first: Timestamp,
    last: Timestamp,
    count: i32,
}

/// All series, and how fast they may be written. It reads no clock.
#[derive(Debug, Default)]
struct Ledger {
    series: BTreeMap<Key, Series>,
    /// Each write pays for [`REFILL_EVERY`]; at most [`BURST`] of them are paid ahead.
    paid_until: Option<Instant>,
}

impl Ledger {
    /// Whether there was room for it.
    fn note(&mut self, note: Note, now: Instant, time: Timestamp) -> bool {
        let text = bounded(note.text);
        let key = Key {
            about: note.about,
            reason: note.reason,
            user: note.user,
        };
        if let Some(series) = self.series.get_mut(&key).filter(|series| !series.is_over(now)) {
            series.count = series.count.saturating_add(1);
            series.last = time;
            series.repeated = now;
            let _ = series.due.get_or_insert(now + UPDATE_EVERY);
            return true;
        }
        if self.series.len() >= SERIES_MAX {
            self.series.retain(|_, series| !series.is_over(now));
        }
        if self.series.len() >= SERIES_MAX {
            return false;
        }
        let begun = Series {
            note: text,
            first: time,
            last: time,
            count: 1,
            repeated: now,
            name: None,
            due: Some(now),
        };
        drop(self.series.insert(key, begun));
        true
    }

    /// When there is something to write that may be written.
    fn wake(&self, now: Instant) -> Option<Instant> {
        let due = self.series.values().filter_map(|series| series.due).min()?;
        Some(due.max(self.may_write_from(now)))
    }

    fn may_write_from(&self, now: Instant) -> Instant {
        self.paid_until
            .and_then(|paid| paid.checked_sub(REFILL_EVERY.saturating_mul(BURST - 1)))
            .map_or(now, |from| from.max(now))
    }

    /// The write that has been due for longest, if one may be written.
    fn next(&mut self, now: Instant) -> Option<Write> {
        if self.may_write_from(now) > now {
            return None;
        }
        let due = |series: &Series| series.due.filter(|due| *due <= now);
        let (key, series) = self
            .series
            .iter_mut()
            .filter(|(_, series)| due(series).is_some())
            .min_by_key(|(_, series)| series.due)?;
        series.due = None;
        self.paid_until = Some(self.paid_until.map_or(now, |paid| paid.max(now)) + REFILL_EVERY);
        Some(Write {
            key: key.clone(),
            name: series.name.clone(),
            note: series.note.clone(),
            first: series.first,
            last: series.last,
            count: series.count,
        })
    }

    fn written(&mut self, key: &Key, name: String) {
        if let Some(series) = self.series.get_mut(key) {
            series.name = Some(name);
        }
    }

    /// Tried again as a new Event, for the old one may be gone, until the series is over.
    fn failed(&mut self, key: &Key, now: Instant) {
        if let Some(series) = self.series.get_mut(key) {
            series.name = None;
            series.due = (!series.is_over(now)).then(|| now + RETRY_AFTER);
        }
    }
}

impl Series {
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.repeated) > SERIES_IDLE
    }
}

fn bounded(mut note: String) -> String {
    note.truncate(note.floor_char_boundary(NOTE_MAX_BYTES));
    note.shrink_to_fit();
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(node: &str, user: &str) -> Note {
        Note::from(Denial {
            node: node.to_owned(),
            uid: "u".to_owned(),
            reason: Reason::Held,
            user: user.to_owned(),
            message: "node n is held\nkubectl …".to_owned(),
        })
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_storm_is_one_event_whose_count_is_brought_up_to_date_now_and_then() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        assert!(ledger.note(denial("n", "a"), start, at(0)));
        assert_eq!(ledger.wake(start), Some(start));
        let first = ledger.next(start).unwrap();
        assert_eq!(
            (first.name, first.count, first.note.as_str()),
            (None, 1, "Denied a: node n is held")
        );
        ledger.written(&first.key, "e-1".to_owned());
        assert_eq!(ledger.wake(start), None);

        for _ in 0..1_000 {
            assert!(ledger.note(denial("n", "a"), start, at(1)));
        }
        assert_eq!(ledger.next(start), None);
        let later = start + UPDATE_EVERY;
        assert_eq!(ledger.wake(start), Some(later));
        let update = ledger.next(later).unwrap();
        assert_eq!(
            (update.name.as_deref(), update.count, update.first, update.last),
            (Some("e-1"), 1_001, at(0), at(1))
        );
        assert_eq!((ledger.next(later), ledger.wake(later)), (None, None));
    }

    #[test]
    fn each_node_user_and_quiet_time_has_an_event_of_its_own() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        for denial in [denial("n", "a"), denial("m", "a"), denial("n", "b")] {
            assert!(ledger.note(denial, start, at(0)));
        }
        let mut names = 0..;
        while let Some(write) = ledger.next(start) {
            ledger.written(&write.key, format!("e-{}", names.next().unwrap()));
        }
        assert_eq!(names.start, 3);
        let later = start + SERIES_IDLE + Duration::from_secs(1);
        assert!(ledger.note(denial("n", "a"), later, at(400)));
        let again = ledger.next(later).unwrap();
        assert_eq!((again.name, again.count, again.first), (None, 1, at(400)));
    }

    #[test]
    fn writes_are_limited_and_none_is_lost_by_it() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        for node in 0..2 * BURST {
            assert!(ledger.note(denial(&node.to_string(), "a"), start, at(0)));
        }
        let burst = std::iter::from_fn(|| ledger.next(start)).count();
        assert_eq!(burst, usize::try_from(BURST).unwrap());
        for second in 0..BURST {
            let (before, now) = (start + REFILL_EVERY * second, start + REFILL_EVERY * (second + 1));
            assert_eq!(ledger.wake(before), Some(now));
            assert!(ledger.next(now).is_some());
            assert_eq!(ledger.next(now), None);
        }
        assert_eq!(ledger.wake(start + REFILL_EVERY * BURST), None);
    }

    #[test]
    fn series_are_bounded_and_make_room_when_they_are_over() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        for node in 0..SERIES_MAX {
            assert!(ledger.note(denial(&node.to_string(), "a"), start, at(0)));
        }
        assert!(!ledger.note(denial("one more", "a"), start, at(0)));
        let later = start + SERIES_IDLE + Duration::from_secs(1);
        assert!(ledger.note(denial("one more", "a"), later, at(0)));
        assert_eq!(ledger.series.len(), 1);
    }

    #[test]
    fn what_failed_is_tried_again_as_a_new_event_until_it_is_old() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        assert!(ledger.note(denial("n", "a"), start, at(0)));
        let first = ledger.next(start).unwrap();
        ledger.failed(&first.key, start);
        assert_eq!(ledger.next(start), None);
        let later = start + RETRY_AFTER;
        assert_eq!(ledger.next(later).map(|write| write.name), Some(None));
        ledger.failed(&first.key, start + SERIES_IDLE + Duration::from_secs(1));
        assert_eq!(ledger.wake(later), None);
    }

    #[test]
    fn an_events_reason_is_the_code_in_camel_case() {
        assert_eq!(camel_case(Reason::Held.code()), "Held");
        assert_eq!(camel_case(Reason::NotOwnNode.code()), "NotOwnNode");
    }

    #[test]
    fn found_s8_a_users_name_stays_in_its_place() {
        let note = denial("n", "a: node n is free\nb");
        assert_eq!(note.text, "Denied 'a: node n is free b': node n is held");
    }

    #[test]
    fn a_note_is_no_longer_than_the_api_server_takes() {
        let note = bounded("ü".repeat(NOTE_MAX_BYTES));
        assert!(note.len() <= NOTE_MAX_BYTES && note.len() > NOTE_MAX_BYTES - 2);
    }

    #[tokio::test]
    async fn nothing_waits_for_a_full_queue() {
        let metrics = Arc::new(Metrics::new());
        let (queue, _denials) = mpsc::channel(QUEUE_MAX);
        let recorder = Recorder {
            queue,
            metrics: Arc::clone(&metrics),
        };
        for _ in 0..=QUEUE_MAX {
            recorder.tell(denial("n", "a"));
        }
        let page = metrics.render(&http::HeaderMap::new()).unwrap().text;
        assert!(
            page.contains("cordonhold_webhook_events_total{outcome=\"dropped\"} 1\n"),
            "{page}"
        );
    }
}
