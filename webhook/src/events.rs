//! Events about denials and deferred uncordons, on the Node, so that `kubectl describe node` shows them; and Events about the certificate and
//! its CA, on the `ValidatingWebhookConfiguration`.
//!
//! If the same user is told the same reason on the same node again, the count of one Event grows. An Event that finds the queue full
//! is dropped and counted in the metrics. The audit trail is the log, not the Events; `docs/audit.md` says what the log can lose.
//! Not here: how Events are written ([`cordonhold_rt::events`]), and which requests are denied or deferred ([`cordonhold_shared::admission`]).

use std::sync::Arc;

use cordonhold_rt::events::{self, Note, Outcome, Regarding, Series, Source};
use cordonhold_rt::exit::one_line;
use cordonhold_shared::admission::{Notice, Reason};
use cordonhold_shared::keys;
use kube::Client;
use tracing::warn;

use crate::Metrics;
use crate::metrics::EventOutcome;

/// Most notes that wait to be written.
const QUEUE_MAX: usize = 256;

/// A denial or a deferred uncordon, as far as its Event needs it.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) is_denied: bool,
    pub(crate) node: String,
    pub(crate) uid: String,
    pub(crate) reason: Reason,
    pub(crate) user: String,
    pub(crate) message: String,
}

impl From<Told> for Note {
    /// Says whose request it is, and the first line of why. The other lines are commands, which the person got with the denial.
    fn from(told: Told) -> Note {
        let notice = Notice {
            is_denied: told.is_denied,
            user: told.user.clone(),
            why: told.message.lines().next().unwrap_or_default().to_owned(),
        };
        Note {
            regarding: Regarding::node(&told.node, &told.uid),
            action: if told.is_denied { "Deny" } else { "Defer" },
            reason: camel_case(told.reason.code()),
            is_warning: told.is_denied,
            text: notice.to_string(),
            series: Series::Updated(told.user),
        }
    }
}

/// A note on the webhook configuration about a problem. `uid` is `None` if the configuration is missing or cannot be read.
pub(crate) fn problem(configuration: &str, uid: Option<&str>, code: &str, text: &str) -> Note {
    Note {
        action: "Check",
        ..about_configuration(configuration, uid, code, "", true, text)
    }
}

/// A note on the webhook configuration about its certificates. Those with the same code and series are one Event.
pub(crate) fn about_configuration(
    configuration: &str,
    uid: Option<&str>,
    code: &str,
    series: &str,
    is_warning: bool,
    text: &str,
) -> Note {
    Note {
        regarding: Regarding {
            api_version: "admissionregistration.k8s.io/v1",
            kind: "ValidatingWebhookConfiguration",
            name: configuration.to_owned(),
            uid: uid.map(str::to_owned),
        },
        action: "Certify",
        reason: camel_case(code),
        is_warning,
        text: text.to_owned(),
        series: Series::Updated(series.to_owned()),
    }
}

/// Which part of the webhook writes Events: `reportingController`, and how the names of its Events begin.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    controller: &'static str,
    generate_name: &'static str,
}

/// The server.
pub(crate) const SERVER: Part = Part {
    controller: keys::WEBHOOK_CONTROLLER,
    generate_name: "cordonhold-webhook-",
};
/// The part that keeps the certificates.
pub(crate) const CERTS: Part = Part {
    controller: "cordonhold.dev/certs",
    generate_name: "cordonhold-certs-",
};

/// Queues notes, which a task writes as Events. Clones share the queue.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: events::Recorder,
    metrics: Arc<Metrics>,
}

impl Recorder {
    /// A recorder, and the task that writes its notes until the last clone is gone. `part` and `instance` name this process in the Events.
    pub fn new(
        client: Client,
        part: Part,
        instance: String,
        metrics: Arc<Metrics>,
    ) -> (Recorder, impl Future<Output = ()> + Send) {
        let (queue, notes) = events::queue(QUEUE_MAX);
        let source = Source {
            controller: part.controller,
            instance,
            generate_name: Some(part.generate_name),
        };
        let recorder = Recorder {
            queue,
            metrics: Arc::clone(&metrics),
        };
        let mut is_failing = false;
        let told = move |about: &events::Key, outcome| match outcome {
            Outcome::Written => {
                is_failing = false;
                metrics.event(EventOutcome::Written);
            }
            Outcome::Dropped => metrics.event(EventOutcome::Dropped),
            Outcome::Failed { error, .. } => {
                metrics.event(EventOutcome::Failed);
                if !is_failing {
                    warn!(
                        about = about.regarding.name,
                        why = one_line(&error),
                        "failed to write an Event: allow the ServiceAccount to create and patch events of \
                         events.k8s.io, or start it with --no-events; further failures are counted only"
                    );
                }
                is_failing = true;
            }
        };
        (recorder, events::write(client, source, notes, told))
    }

    /// Queues a note without waiting; if the queue is full, the note is dropped and counted.
    pub(crate) fn tell(&self, note: impl Into<Note>) {
        if !self.queue.tell(note.into()) {
            self.metrics.event(EventOutcome::Dropped);
        }
    }
}

/// A code in camel case, as Events write reasons: `held-by-kured` becomes `HeldByKured`.
fn camel_case(code: &str) -> String {
    code.split('-')
        .flat_map(|word| {
            let mut chars = word.chars();
            let first = chars.next().map(|c| c.to_ascii_uppercase());
            first.into_iter().chain(chars)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(user: &str) -> Note {
        Note::from(Told {
            is_denied: true,
            node: "n".to_owned(),
            uid: "u".to_owned(),
            reason: Reason::Held,
            user: user.to_owned(),
            message: "node n is held\nkubectl …".to_owned(),
        })
    }

    #[test]
    fn an_events_reason_is_the_code_in_camel_case() {
        assert_eq!(camel_case(Reason::Held.code()), "Held");
        assert_eq!(camel_case(Reason::NotOwnNode.code()), "NotOwnNode");
    }

    #[test]
    fn a_denial_is_told_by_its_first_line() {
        assert_eq!(denial("a").text, "Denied a: node n is held");
    }

    #[test]
    fn an_uncordon_that_is_kept_is_told_without_alarm() {
        let note = Note::from(Told {
            is_denied: false,
            node: "n".to_owned(),
            uid: "u".to_owned(),
            reason: Reason::Deferred,
            user: "a".to_owned(),
            message: "cordonhold: node n stays cordoned".to_owned(),
        });
        assert_eq!(
            (note.action, note.reason.as_str(), note.is_warning),
            ("Defer", "Deferred", false)
        );
        assert_eq!(note.text, "Deferred a: cordonhold: node n stays cordoned");
    }

    #[test]
    fn found_s8_a_users_name_stays_in_its_place() {
        let note = denial("a: node n is free\nb");
        assert_eq!(note.text, "Denied 'a: node n is free b': node n is held");
    }

    #[tokio::test]
    async fn nothing_waits_for_a_full_queue() {
        let metrics = Arc::new(Metrics::new());
        let (queue, _notes) = events::queue(QUEUE_MAX);
        let recorder = Recorder {
            queue,
            metrics: Arc::clone(&metrics),
        };
        for _ in 0..=QUEUE_MAX {
            recorder.tell(denial("a"));
        }
        let page = metrics.render(&http::HeaderMap::new()).unwrap().text;
        assert!(
            page.contains("cordonhold_webhook_events_total{outcome=\"dropped\"} 1\n"),
            "{page}"
        );
    }
}
