//! The agent's metrics, in the text format of Prometheus, and its health.
//!
//! Labels are closed sets: no name, message or user becomes a label, except the agent's own node.
//! Not here: serving them ([`server`]).

use std::borrow::Cow;
use std::fmt;
use std::sync::{Mutex, OnceLock};

use cordonhold_rt::metrics::{self, Gauges, Page};
use cordonhold_rt::sync::locked;
use cordonhold_shared::Reading;
use cordonhold_shared::hold::{self, Phase};
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::blocker::Blocker;
use cordonhold_shared::reboot::cycle::{Count, DrainResult};
use cordonhold_shared::reboot::driver::Standing;
use cordonhold_shared::reboot::replacements::Outcome;
use cordonhold_shared::reboot::window::Windows;
use http::HeaderMap;
use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use crate::host::sentinel::Sentinel;

mod health;
mod table;

pub(crate) mod server;

pub(crate) use health::Health;

use table::{IDLE, Table, UNREADABLE};

/// All metrics of the agent, and its health. Each metric has the label `node`.
pub(crate) struct Metrics {
    pub(crate) health: Health,
    registry: Registry,
    /// The sentinel, once the host is opened.
    sentinel: OnceLock<Sentinel>,
    windows: Windows,
    /// What the node stood at when the loop last looked.
    standing: Mutex<Standing>,
    table: Table,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    pub(crate) fn new(node: &str, windows: Windows) -> Metrics {
        let node = (Cow::Borrowed("node"), Cow::Owned(node.to_owned()));
        let mut registry = Registry::with_labels(std::iter::once(node));
        let table = Table::registered(&mut registry);
        let ours = registry.sub_registry_with_prefix("cordonhold_agent");
        metrics::register_build(ours, env!("CARGO_PKG_VERSION"));
        Metrics {
            health: Health::new(),
            registry,
            sentinel: OnceLock::new(),
            windows,
            standing: Mutex::default(),
            table,
        }
    }

    /// Sets the sentinel that each scrape shows.
    pub(crate) fn watch_sentinel(&self, sentinel: Sentinel) {
        // Set once: a process has one host.
        drop(self.sentinel.set(sentinel));
    }

    /// Sets how many `DaemonSets` look like kured's but are not where `auto` looks.
    pub(crate) fn kureds_elsewhere(&self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let _ = self.table.kureds_elsewhere.set(count);
    }

    /// Counts a failure to set the silences of the node.
    pub(crate) fn silence_failed(&self) {
        add_one(&self.table.silence_failures);
    }

    /// Shows the phase of the Node, as it was last seen.
    pub(crate) fn learn(&self, node: &NodeView) {
        let shown = match hold::read(node) {
            Reading::Absent => IDLE,
            Reading::Present(hold) => hold.phase.as_str(),
            Reading::Malformed(_) => UNREADABLE,
        };
        let all = table::phases().into_iter();
        metrics::show(
            &self.table.phase,
            "phase",
            all.map(|phase| (phase, phase == shown)),
        );
        self.learn_last_reboot(node);
    }

    /// Shows the account of the last reboot. It is on the Node, so it outlives the process, and is there for each scrape after the boot.
    fn learn_last_reboot(&self, node: &NodeView) {
        let account = hold::last_reboot(node).present().unwrap_or_default();
        show(&self.table.last_reboot, account.ended.map(Timestamp::as_second));
        for phase in Phase::ALL {
            let label = [("phase", phase.as_str())];
            match account.seconds.get(&phase) {
                Some(seconds) => {
                    let seconds = i64::try_from(*seconds).unwrap_or(i64::MAX);
                    let _ = self.table.last_phases.get_or_create(&label).set(seconds);
                }
                None => {
                    let _ = self.table.last_phases.remove(&label);
                }
            }
        }
    }

    /// Keeps what the node stands at, for the next scrape.
    pub(crate) fn stands(&self, standing: Standing) {
        *locked(&self.standing) = standing;
    }

    /// Adds one to the counter that this names.
    pub(crate) fn count(&self, count: Count) {
        let table = &self.table;
        match count {
            Count::Wish => add_one(&table.wishes),
            Count::Drain(result) => metrics::count(&table.drains, [("result", result.word())]),
            Count::Disturbance(reason) => {
                metrics::count(&table.drains, [("result", DrainResult::Disturbed.word())]);
                metrics::count(&table.disturbances, [("reason", reason)]);
            }
            Count::Eviction => add_one(&table.evictions),
            Count::EvictionRefused(reason) => {
                metrics::count(&table.evictions_refused, [("reason", reason.word())]);
            }
            Count::Unsealed(reason) => metrics::count(&table.seals_failed, [("reason", reason)]),
            Count::Reboot(result) => metrics::count(&table.reboots, [("result", result.word())]),
            Count::CalledOff(reason) => metrics::count(&table.called_off, [("reason", reason)]),
            Count::Retry(of) => metrics::count(&table.retries, [("of", of)]),
            Count::UnexpectedAnswer => add_one(&table.unexpected_answers),
        }
    }

    /// Notes what became of an eviction that was followed, or was to be.
    pub(crate) fn replacement(&self, outcome: Outcome) {
        match outcome {
            Outcome::Replaced(took) => self.table.replacement.observe(took.as_secs_f64()),
            Outcome::Unmeasured(why) => {
                metrics::count(&self.table.replacements_unmeasured, [("reason", why.word())]);
            }
        }
    }

    /// Renders the metrics, after a fresh look at a sentinel that is a file.
    pub(crate) async fn render(&self, headers: &HeaderMap) -> Result<Page, fmt::Error> {
        let is_required = match self.sentinel.get() {
            Some(sentinel) => sentinel.shown().await,
            None => None,
        };
        show(&self.table.required, is_required.map(i64::from));
        let now = Timestamp::now();
        self.look_at_windows(now);
        self.show_standing(now);
        metrics::page(&self.registry, headers)
    }

    fn look_at_windows(&self, now: Timestamp) {
        let _ = self.table.window_open.set(i64::from(self.windows.is_open(now)));
        let opens = self.windows.opens_next(now);
        show(&self.table.window_opens, opens.map(Timestamp::as_second));
    }

    fn show_standing(&self, now: Timestamp) {
        let Standing {
            blocked_by,
            lock_wait,
            pods_left,
        } = locked(&self.standing).clone();
        let all = Blocker::KINDS.iter();
        let all = all.map(|kind| (*kind, blocked_by.contains(kind)));
        metrics::show(&self.table.blocked, "blocker", all);
        let since = lock_wait.map(|wait| wait.since.as_second());
        show(&self.table.lock_waits_since, since);
        // Never negative: the time is from the clock of another node.
        let age = |oldest| now.duration_since(oldest).as_secs().max(0);
        let oldest = lock_wait.and_then(|wait| wait.oldest);
        show(&self.table.lock_holder_age, oldest.map(age));
        let left = pods_left.map(|left| i64::try_from(left).unwrap_or(i64::MAX));
        show(&self.table.pods_left, left);
    }
}

fn add_one(counter: &Counter) {
    let _ = counter.inc();
}

/// Sets a gauge that is absent without a value.
fn show(gauge: &Gauges<0>, value: Option<i64>) {
    match value {
        Some(value) => {
            let _ = gauge.get_or_create(&[]).set(value);
        }
        None => gauge.clear(),
    }
}

#[cfg(test)]
mod tests;
