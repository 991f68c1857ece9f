//! Publishes the reports of the cycle: logs each, counts it in the metrics, and hands it to the sinks, such as the one that writes Events.
//!
//! Not here: what a report says ([`Report`]), and log lines that are not reports. `docs/events.md` lists both.

use std::sync::Arc;

use cordonhold_rt::events::Recorder;
use cordonhold_shared::hold;
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::cycle::{Fields, Level, Report};
use tracing::{error, info, warn};

mod notice;

pub(crate) use notice::post;
use notice::{TOO_MANY, notice};

use crate::metrics::Metrics;

/// Where reports go beside the log and the metrics. A sink neither waits nor fails; what it cannot take, it logs.
pub(crate) trait Sink: Send {
    fn take(&self, report: &Report, about: &Subject);
}

/// The Node object that a report is about, and its hold.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) node: String,
    /// The uid of the Node; empty until the Node has been seen.
    pub(crate) uid: String,
    /// The holder of the last hold that was seen.
    pub(crate) holder: Option<String>,
}

/// The sink that writes Events on the Node, for the reports that have a [`Report::reason`].
pub(crate) struct NodeEvents(pub(crate) Recorder);

/// Logs and counts each report, and hands it to the sinks.
pub(crate) struct Reporter {
    about: Subject,
    /// The annotation without effect that was reported last.
    ignored: Option<String>,
    sinks: Vec<Box<dyn Sink>>,
    metrics: Arc<Metrics>,
}

impl Sink for NodeEvents {
    fn take(&self, report: &Report, about: &Subject) {
        let Some(notice) = notice(report, about) else {
            return;
        };
        if !self.0.tell(notice) {
            warn!(
                event = "notice_lost",
                node = about.node,
                why = TOO_MANY,
                reason = report.reason(),
                "failed to write an Event"
            );
        }
    }
}

impl Reporter {
    pub(crate) fn new(node: &str, sinks: Vec<Box<dyn Sink>>, metrics: Arc<Metrics>) -> Reporter {
        Reporter {
            about: Subject {
                node: node.to_owned(),
                uid: String::new(),
                holder: None,
            },
            ignored: None,
            sinks,
            metrics,
        }
    }

    /// Remembers which Node object and which hold the next reports are about.
    pub(crate) fn learn(&mut self, node: &NodeView) {
        self.metrics.learn(node);
        node.metadata.uid.clone_into(&mut self.about.uid);
        // Kept when the marks are gone, because the last reports of a cycle are still about its hold.
        if let Some(hold) = hold::read(node).present() {
            self.about.holder = Some(hold.holder.to_string());
        }
        let ignored = hold::ignored(node).map(|ignored| ignored.to_string());
        if ignored != self.ignored {
            if let Some(why) = &ignored {
                self.tell(&Report::Ignored(why.clone()));
            }
            self.ignored = ignored;
        }
    }

    /// The uid of the Node; empty until the Node has been seen.
    pub(crate) fn uid(&self) -> &str {
        &self.about.uid
    }

    /// Logs a report, counts it, and hands it to each sink.
    pub(crate) fn tell(&self, report: &Report) {
        self.log(report);
        if let Some(count) = report.count() {
            self.metrics.count(count);
        }
        for sink in &self.sinks {
            sink.take(report, &self.about);
        }
    }

    fn log(&self, report: &Report) {
        // Without `..`, so that the compiler finds a field that is not logged.
        let Fields {
            phase,
            reason,
            stage,
            answer,
            by,
            next,
            why,
            pods,
            pod_count,
            was_unschedulable,
            unschedulable,
            round,
        } = report.fields();
        macro_rules! log {
            ($level:ident) => {
                $level!(
                    event = report.event(),
                    node = self.about.node,
                    holder = self.about.holder,
                    phase,
                    reason,
                    stage,
                    answer,
                    by,
                    next,
                    why,
                    pods,
                    pod_count,
                    was_unschedulable,
                    unschedulable,
                    round,
                    "{}",
                    report.text()
                )
            };
        }
        match report.level() {
            Level::Info => log!(info),
            Level::Warning => log!(warn),
            Level::Error => log!(error),
        }
    }
}

#[cfg(test)]
mod page;

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use cordonhold_rt::events;
    use cordonhold_shared::keys;
    use cordonhold_shared::reboot::window::Windows;

    use super::*;

    #[test]
    fn found_e6_what_does_nothing_is_told_once_with_what_to_write() {
        let (recorder, mut notices) = events::queue(8);
        let mut reporter = Reporter::new(
            "n",
            vec![Box::new(NodeEvents(recorder))],
            Arc::new(Metrics::new("n", Windows::default())),
        );
        let mut node = NodeView::default();
        node.metadata.name = "n".to_owned();
        let labels = [(keys::PHASE.to_owned(), "draining".to_owned())];
        node.metadata.labels.extend(labels);
        let set = |node: &mut NodeView, key: &str, value: &str| {
            drop(node.metadata.annotations.insert(key.to_owned(), value.to_owned()));
        };
        set(&mut node, keys::HOLDER, "u/2026-01-01T00:00:00Z");
        reporter.learn(&node);
        assert!(notices.try_recv().is_err());
        for (text, part) in [
            ("disk", "cordonhold.dev/cancel='2026-01-01T00:00:00Z disk'"),
            ("2025-01-01T00:00:00Z disk", "names another hold"),
        ] {
            set(&mut node, keys::CANCEL, text);
            reporter.learn(&node);
            reporter.learn(&node);
            let notice = notices.try_recv().unwrap();
            assert_eq!(
                (notice.reason.as_str(), notice.is_warning),
                ("RebootAnnotationIgnored", true)
            );
            assert!(notice.text.contains(part), "{}", notice.text);
            assert!(notices.try_recv().is_err(), "told twice");
        }
        set(&mut node, keys::CANCEL, "2026-01-01T00:00:00Z disk");
        reporter.learn(&node);
        assert!(notices.try_recv().is_err());
    }

    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<(&'static str, Subject)>>>);

    impl Sink for Seen {
        fn take(&self, report: &Report, about: &Subject) {
            let mut seen = self.0.lock().unwrap();
            seen.push((report.event(), about.clone()));
        }
    }

    #[test]
    fn each_sink_is_handed_each_report_and_what_it_is_about() {
        let (recorder, mut notices) = events::queue(1);
        let seen = Seen::default();
        let sinks: Vec<Box<dyn Sink>> = vec![Box::new(NodeEvents(recorder)), Box::new(seen.clone())];
        let mut reporter = Reporter::new("n", sinks, Arc::new(Metrics::new("n", Windows::default())));
        let mut node = NodeView::default();
        "uid-1".clone_into(&mut node.metadata.uid);
        reporter.learn(&node);
        let retrying = Report::Retrying {
            what: "read the Node",
            why: String::new(),
        };
        for report in [retrying, Report::Rebooting, Report::Returned] {
            reporter.tell(&report);
        }
        let seen = seen.0.lock().unwrap();
        let events: Vec<_> = seen
            .iter()
            .map(|(event, about)| (*event, about.uid.as_str()))
            .collect();
        assert_eq!(
            events,
            [
                ("retrying", "uid-1"),
                ("rebooting", "uid-1"),
                ("returned", "uid-1")
            ]
        );
        // `retrying` has no Event, and the queue has no room for the last one, which is dropped.
        assert_eq!(notices.try_recv().unwrap().reason, "Rebooting");
        assert!(notices.try_recv().is_err());
    }
}
