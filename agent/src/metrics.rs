//! The agent's metrics, in the text format of Prometheus, and its health.
//!
//! Labels are closed sets: no name, message or user becomes a label, except the agent's own node.
//! Not here: serving them ([`server`]).

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;

use cordonhold_rt::metrics::{self, Counters, Gauges, Page};
use cordonhold_shared::Reading;
use cordonhold_shared::hold::{self, Phase};
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::cycle::Count;
use cordonhold_shared::reboot::window::Windows;
use http::HeaderMap;
use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::host::sentinel::Sentinel;

mod health;

pub(crate) mod server;

pub(crate) use health::Health;

/// All metrics of the agent, and its health. Each metric has the label `node`.
pub(crate) struct Metrics {
    pub(crate) health: Health,
    registry: Registry,
    /// The sentinel, once the host is opened.
    sentinel: OnceLock<Sentinel>,
    windows: Windows,
    window_open: Gauge,
    /// When a window opens; empty while one is open.
    window_opens: Gauges<0>,
    /// Whether the sentinel asks for a reboot; empty while it cannot be told.
    required: Gauges<0>,
    phase: Gauges<1>,
    /// When the last reboot ended; empty if the Node has no account of it.
    last_reboot: Gauges<0>,
    /// How long each phase of it took; empty likewise.
    last_phases: Gauges<1>,
    drains: Counters<1>,
    reboots: Counters<1>,
    called_off: Counters<1>,
    retries: Counters<1>,
    unexpected_answers: Counter,
    kureds_elsewhere: Gauge,
}

/// The phase of a node that carries no marks.
const IDLE: &str = "idle";
/// The phase of a node whose marks cannot be read.
const UNREADABLE: &str = "unreadable";

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    pub(crate) fn new(node: &str, windows: Windows) -> Metrics {
        let node = (Cow::Borrowed("node"), Cow::Owned(node.to_owned()));
        let mut metrics = Metrics {
            health: Health::new(),
            registry: Registry::with_labels(std::iter::once(node)),
            sentinel: OnceLock::new(),
            windows,
            window_open: Gauge::default(),
            window_opens: Family::default(),
            required: Family::default(),
            phase: Family::default(),
            last_reboot: Family::default(),
            last_phases: Family::default(),
            drains: Family::default(),
            reboots: Family::default(),
            called_off: Family::default(),
            retries: Family::default(),
            unexpected_answers: Counter::default(),
            kureds_elsewhere: Gauge::default(),
        };
        // kured's only metric, under the same name (kubereboot/kured: cmd/kured/main.go).
        metrics.registry.register(
            "kured_reboot_required",
            "Whether the sentinel asks for a reboot: a file is looked at for this scrape, of a command this is the last answer; absent if it cannot be told",
            metrics.required.clone(),
        );
        let ours = metrics.registry.sub_registry_with_prefix("cordonhold_agent");
        ours.register(
            "phase",
            "1 for the phase that the Node shows, 0 for all others",
            metrics.phase.clone(),
        );
        register_last_reboot(ours, &metrics.last_reboot, &metrics.last_phases);
        ours.register("drains", "Drains by result", metrics.drains.clone());
        ours.register("reboots", "Reboots by result", metrics.reboots.clone());
        ours.register(
            "called_off",
            "Reboots that were called off, by reason",
            metrics.called_off.clone(),
        );
        ours.register(
            "retries",
            "Requests that failed and are tried again, by what they are for",
            metrics.retries.clone(),
        );
        ours.register(
            "unexpected_answers",
            "Answers that the agent did not expect, each a bug in the agent",
            metrics.unexpected_answers.clone(),
        );
        ours.register(
            "kured_elsewhere",
            "DaemonSets that look like kured's but are not where --lock-on=auto looks, counted at the agent's start: their nodes have a budget of their own",
            metrics.kureds_elsewhere.clone(),
        );
        ours.register(
            "window_open",
            "1 while a window is open, in which reboots may begin, or if there are no windows; 0 otherwise",
            metrics.window_open.clone(),
        );
        ours.register(
            "window_opens_timestamp_seconds",
            "When the next window opens, in Unix time; absent while one is open",
            metrics.window_opens.clone(),
        );
        metrics::register_build(ours, env!("CARGO_PKG_VERSION"));
        metrics
    }

    /// Sets the sentinel that each scrape shows.
    pub(crate) fn watch_sentinel(&self, sentinel: Sentinel) {
        // Set once: a process has one host.
        drop(self.sentinel.set(sentinel));
    }

    /// Sets how many `DaemonSets` look like kured's but are not where `auto` looks.
    pub(crate) fn kureds_elsewhere(&self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let _ = self.kureds_elsewhere.set(count);
    }

    /// Shows the phase of the Node, as it was last seen.
    pub(crate) fn learn(&self, node: &NodeView) {
        let shown = match hold::read(node) {
            Reading::Absent => IDLE,
            Reading::Present(hold) => hold.phase.as_str(),
            Reading::Malformed(_) => UNREADABLE,
        };
        let all = Phase::ALL
            .map(Phase::as_str)
            .into_iter()
            .chain([IDLE, UNREADABLE]);
        metrics::show(&self.phase, "phase", all.map(|phase| (phase, phase == shown)));
        self.learn_last_reboot(node);
    }

    /// Shows the account of the last reboot. It is on the Node, so it outlives the process, and is there for each scrape after the boot.
    fn learn_last_reboot(&self, node: &NodeView) {
        let account = hold::last_reboot(node).present().unwrap_or_default();
        match account.ended {
            Some(ended) => {
                let _ = self.last_reboot.get_or_create(&[]).set(ended.as_second());
            }
            None => self.last_reboot.clear(),
        }
        for phase in Phase::ALL {
            let label = [("phase", phase.as_str())];
            match account.seconds.get(&phase) {
                Some(seconds) => {
                    let seconds = i64::try_from(*seconds).unwrap_or(i64::MAX);
                    let _ = self.last_phases.get_or_create(&label).set(seconds);
                }
                None => {
                    let _ = self.last_phases.remove(&label);
                }
            }
        }
    }

    /// Adds one to the counter that a report names.
    pub(crate) fn count(&self, count: Count) {
        match count {
            Count::Drain(result) => metrics::count(&self.drains, [("result", result)]),
            Count::Reboot(result) => metrics::count(&self.reboots, [("result", result)]),
            Count::CalledOff(reason) => metrics::count(&self.called_off, [("reason", reason)]),
            Count::Retry(of) => metrics::count(&self.retries, [("of", of)]),
            Count::UnexpectedAnswer => {
                let _ = self.unexpected_answers.inc();
            }
        }
    }

    /// Renders the metrics, after a fresh look at a sentinel that is a file.
    pub(crate) async fn render(&self, headers: &HeaderMap) -> Result<Page, fmt::Error> {
        let is_required = match self.sentinel.get() {
            Some(sentinel) => sentinel.shown().await,
            None => None,
        };
        match is_required {
            Some(is_required) => {
                let _ = self.required.get_or_create(&[]).set(i64::from(is_required));
            }
            None => self.required.clear(),
        }
        self.look_at_windows(Timestamp::now());
        metrics::page(&self.registry, headers)
    }

    fn look_at_windows(&self, now: Timestamp) {
        let _ = self.window_open.set(i64::from(self.windows.is_open(now)));
        match self.windows.opens_next(now) {
            Some(opens) => {
                let _ = self.window_opens.get_or_create(&[]).set(opens.as_second());
            }
            None => self.window_opens.clear(),
        }
    }
}

/// Registers what shows the account of the last reboot.
fn register_last_reboot(ours: &mut Registry, ended: &Gauges<0>, phases: &Gauges<1>) {
    ours.register(
        "last_reboot_timestamp_seconds",
        "When the cordon was given back after the last reboot, in Unix time, from the Node's annotation cordonhold.dev/last-reboot; absent without one that can be read",
        ended.clone(),
    );
    ours.register(
        "last_reboot_phase_seconds",
        "How long each phase of the last reboot took, from the same annotation; absent for a phase that is not in it",
        phases.clone(),
    );
}

#[cfg(test)]
mod tests;
