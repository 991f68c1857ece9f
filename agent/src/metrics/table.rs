//! The table of the agent's metrics: one row for each, from which it is registered, and from which the table in `docs/agent.md` is written.
//!
//! Labels are closed sets: no name, message or user becomes a label, except the agent's own node.
//! Not here: what sets and counts them ([`super::Metrics`]).

use cordonhold_rt::metrics::{self, Counters, Gauges};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::reboot::blocker::Blocker;
use cordonhold_shared::reboot::cycle::{
    CallOff, Disturbance, DrainResult, EvictionRefused, RebootResult, Unmeasured, Unsealed,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// What is said of one metric.
#[derive(Debug)]
pub(super) struct Row {
    /// Its name on a page in Prometheus' text format.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the manual"))]
    pub(super) name: &'static str,
    /// Its type, in Prometheus' word.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the manual"))]
    pub(super) kind: &'static str,
    /// Its labels beside `node`.
    pub(super) labels: &'static [Label],
    /// What it shows.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the manual"))]
    pub(super) help: &'static str,
    /// When to look at it, and what to do then.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the manual"))]
    pub(super) matters: &'static str,
}

/// A label of a metric.
#[derive(Debug)]
pub(super) struct Label {
    /// Its name.
    pub(super) name: &'static str,
    /// All its values; none where the help says what they are.
    pub(super) values: fn() -> Vec<&'static str>,
}

/// The phase of a node that carries no marks.
pub(super) const IDLE: &str = "idle";
/// The phase of a node whose marks cannot be read.
pub(super) const UNREADABLE: &str = "unreadable";

/// Upper bounds in seconds, from a pod that starts at once to one that waits for a new node or for its volume.
const REPLACEMENT_BUCKETS: [f64; 10] = [1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0];

/// All values of the label `phase`.
pub(super) fn phases() -> Vec<&'static str> {
    let marked = Phase::ALL.map(Phase::as_str).into_iter();
    marked.chain([IDLE, UNREADABLE]).collect()
}

/// The words of a table of words with their meanings.
fn words(table: &[(&'static str, &'static str)]) -> Vec<&'static str> {
    table.iter().map(|(word, _)| *word).collect()
}

/// Makes all counters of a metric appear with 0, for each value of its label. Otherwise a counter first appears with 1, and `rate()`
/// misses that increment.
trait Begin {
    fn begin(&self, labels: &[Label]);
}

impl Begin for Counters<1> {
    fn begin(&self, labels: &[Label]) {
        for label in labels {
            for value in (label.values)() {
                metrics::begin(self, [(label.name, value)]);
            }
        }
    }
}

/// A metric that needs no beginning: a gauge shows what is, and a counter without labels is there at once.
macro_rules! need_no_beginning {
    ($($type:ty),+) => {
        $(impl Begin for $type {
            fn begin(&self, _: &[Label]) {}
        })+
    };
}

need_no_beginning!(Counter, Gauge, Gauges<0>, Gauges<1>, Histogram);

/// The given metric, or the default of its type.
macro_rules! made {
    () => {
        Default::default()
    };
    ($made:expr) => {
        $made
    };
}

/// Defines the metrics. The parts of a row: the field and its Rust type, with how it is made if not by
/// default; the type and the name in Prometheus' words, with the labels
/// beside `node`; `help` is what it shows; `matters` is when to look at it, and what to do then.
macro_rules! table {
    ($(
        $field:ident: $type:ty $(= $made:expr)?, $kind:literal $name:literal $({$($label:ident: $values:expr),+})?
            help $help:literal
            matters $matters:literal
    )+) => {
        /// All metrics of the table.
        pub(super) struct Table {
            $(pub(super) $field: $type,)+
        }

        impl Table {
            /// What is said of each, in the order of the page.
            pub(super) const ROWS: &[Row] = &[$(Row {
                name: $name,
                kind: $kind,
                labels: &[$($(Label { name: stringify!($label), values: $values }),+)?],
                help: $help,
                matters: $matters,
            },)+];

            /// Makes all metrics and registers them.
            pub(super) fn registered(registry: &mut Registry) -> Table {
                let mut rows = Self::ROWS.iter();
                $(let $field: $type = made!($($made)?);
                if let Some(row) = rows.next() {
                    $field.begin(row.labels);
                }
                // The registry appends `_total` itself.
                registry.register($name.strip_suffix("_total").unwrap_or($name), $help, $field.clone());)+
                Table { $($field),+ }
            }
        }
    };
}

table! {
    // kured's only metric, under the same name (kubereboot/kured: cmd/kured/main.go).
    required: Gauges<0>, "gauge" "kured_reboot_required"
        help "Whether the sentinel asks for a reboot: a file is looked at for this scrape, of a command this is the last answer; absent if it cannot be told"
        matters "kured's gauge. Of a command the answer is at most a `--period` old, because no scrape runs one. Absent for long: `sentinel_unreadable` in the log says why"
    phase: Gauges<1>, "gauge" "cordonhold_agent_phase" {phase: phases}
        help "1 for the phase that the Node shows, 0 for all others"
        matters "`sealed` for much longer than a boot takes: look at the host. `unreadable`: see [operating.md](operating.md#marks-that-an-agent-does-not-trust)"
    last_reboot: Gauges<0>, "gauge" "cordonhold_agent_last_reboot_timestamp_seconds"
        help "When the cordon was given back after the last reboot, in Unix time; absent if the Node has no account of it that can be read"
        matters "To find nodes that have not rebooted for long. It comes from [the account of the reboot](#the-account-of-a-reboot), so it is there after a restart too"
    last_phases: Gauges<1>, "gauge" "cordonhold_agent_last_reboot_phase_seconds" {phase: || Phase::ALL.map(Phase::as_str).to_vec()}
        help "How long each phase of the last reboot took, from the same account; absent for a phase that it does not have"
        matters "`draining` is long: look at PodDisruptionBudgets. `sealed` is long: the host takes long to boot"
    wishes: Counter, "counter" "cordonhold_agent_wishes_total"
        help "Wishes for a reboot that were written on the Node"
        matters "Each begins a reboot, or is called off. Many in a day: something asks for a reboot again and again"
    blocked: Gauges<1>, "gauge" "cordonhold_agent_blocked" {blocker: || Blocker::KINDS.to_vec()}
        help "1 for each kind of blocker that postpones the reboot now, 0 for all others"
        matters "The node waits for this; [the table of kinds](events.md#by-of-rebootblocked) says what to do about each"
    window_open: Gauge, "gauge" "cordonhold_agent_window_open"
        help "1 while a window is open, in which reboots may begin, or if there are no windows; 0 otherwise"
        matters "A node waits, and this is 0: nothing to do"
    window_opens: Gauges<0>, "gauge" "cordonhold_agent_window_opens_timestamp_seconds"
        help "When the next window opens, in Unix time; absent while one is open"
        matters "When a node that waits may begin. `--must-end-in-window` makes no difference to it"
    lock_waits_since: Gauges<0>, "gauge" "cordonhold_agent_lock_waits_since_timestamp_seconds"
        help "Since when this node waits for the lock, in Unix time; absent while it does not wait for it"
        matters "It begins when this process first finds the lock full or unreadable. For much longer than the nodes before it take: look at the next row"
    lock_holder_age: Gauges<0>, "gauge" "cordonhold_agent_lock_holder_age_seconds"
        help "How long the oldest of the nodes that this node waits for has had its place in the lock; absent while it does not wait for the lock, or if the lock does not say"
        matters "A node that is down exports nothing: this is how those that wait show it. Above `--reboot-timeout` and a drain: see [operating.md](operating.md#a-holder-that-is-dead). A lock that was taken by hand, and a held Node without an entry, have no age"
    drains: Counters<1>, "counter" "cordonhold_agent_drains_total" {result: || words(DrainResult::WORDS)}
        help "Drains by result"
        matters "`forced`: pods went down with the node (`--force-reboot`). `disturbed`: see the next row"
    disturbances: Counters<1>, "counter" "cordonhold_agent_disturbances_total" {reason: || words(Disturbance::WORDS)}
        help "Disturbances of a drain that were noticed, by kind"
        matters "`uncordoned`: somebody uncordons nodes that are held. Find out who: the webhook's log names users"
    pods_left: Gauges<0>, "gauge" "cordonhold_agent_pods_left"
        help "Pods that must leave the node and have not left; absent while no drain runs"
        matters "It does not fall: the Node's annotation `cordonhold.dev/drain-progress` says what blocks"
    evictions: Counter, "counter" "cordonhold_agent_evictions_total"
        help "Evictions that the API server accepted"
        matters "The pods that people lost to reboots. A pod that is not being deleted 30 s after its eviction is evicted, and counted, again"
    evictions_refused: Counters<1>, "counter" "cordonhold_agent_evictions_refused_total" {reason: || words(EvictionRefused::WORDS)}
        help "Evictions that were refused or had no answer, by reason; each is tried again"
        matters "`budget`: PodDisruptionBudgets slow drains down. `other`: `eviction_failed` in the log names the webhook or the permission"
    replacement: Histogram = Histogram::new(REPLACEMENT_BUCKETS), "histogram" "cordonhold_agent_replacement_seconds"
        help "Seconds from the eviction of a pod until a pod of the same controller that was created after it was Ready"
        matters "How long people do without a pod. Pods of a DaemonSet, of a Job or of no controller are not followed, and what is not replaced yet when the node goes down is lost with the process. Exact to some seconds: it depends on the clocks of the nodes"
    replacements_unmeasured: Counters<1>, "counter" "cordonhold_agent_replacements_unmeasured_total" {reason: || words(Unmeasured::WORDS)}
        help "Evictions whose replacement was not measured, by reason"
        matters "`too_long`: none was Ready within 15 minutes; look for pods that are pending. `too_many`: more than 64 controllers at once, or one whose list of pods is larger than 4 MiB. `unlabelled`: the pod is neither of a Deployment nor of a StatefulSet"
    seals_failed: Counters<1>, "counter" "cordonhold_agent_seals_failed_total" {reason: unsealed}
        help "Final checks that did not end in a seal, by what they found"
        matters "The drained node waits meanwhile, or is drained again. `blocked` is counted at each look, about twice a minute"
    reboots: Counters<1>, "counter" "cordonhold_agent_reboots_total" {result: || words(RebootResult::WORDS)}
        help "Reboots by result"
        matters "`failed` or `stuck`: look at the host"
    called_off: Counters<1>, "counter" "cordonhold_agent_called_off_total" {reason: || words(CallOff::WORDS)}
        help "Reboots that were called off, by reason"
        matters "[The table of reasons](events.md#reason-of-rebootcalledoff) has them. The agent begins again after `--backoff`"
    retries: Counters<1>, "counter" "cordonhold_agent_retries_total" {of: Vec::new}
        help "Requests that failed and are tried again, by what they are for"
        matters "It goes on rising: `retrying` in the log says why"
    silence_failures: Counter, "counter" "cordonhold_agent_silence_failures_total"
        help "Looks at the silences of the node that failed at every Alertmanager, because it could not be asked or refused"
        matters "Above 0: alerts for the node may reach people during its reboot; `silence_failed` in the log says why"
    unexpected_answers: Counter, "counter" "cordonhold_agent_unexpected_answers_total"
        help "Answers that the agent did not expect, each a bug in the agent"
        matters "Above 0: report it; `unexpected_answer` in the log says which"
    kureds_elsewhere: Gauge, "gauge" "cordonhold_agent_kured_elsewhere"
        help "DaemonSets that look like kured's but are not where --lock-on=auto looks, counted at the agent's start"
        matters "Above 0: the nodes of that kured have a budget of their own; see [the lock](#the-lock)"
}

/// The metric of [`metrics::register_build`].
#[cfg(test)]
pub(super) const BUILD: Row = Row {
    name: "cordonhold_agent_build_info",
    kind: "info",
    labels: &[Label {
        name: "version",
        values: Vec::new,
    }],
    help: "The version that runs",
    matters: "To see how far an update has come",
};

/// What a final check finds that ends without a seal.
fn unsealed() -> Vec<&'static str> {
    [words(Unsealed::WORDS), words(Disturbance::WORDS)].concat()
}
