//! The webhook's metrics. The values of labels are closed sets: a name, a message or a user is never the value of a label.
//!
//! Not here: how metrics are rendered ([`cordonhold_rt::metrics`]), and which reasons there are ([`Reason`]).

use std::fmt;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cordonhold_rt::logging;
use cordonhold_rt::metrics::{self, Counters, Gauges, Page, begin, count};
use cordonhold_rt::sync::locked;
use cordonhold_shared::admission::trust::Problem;
use cordonhold_shared::admission::{Reason, Verdict};
use http::HeaderMap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper bounds in seconds, from a decision without a lookup (some 50 µs) to the API server's own timeout.
const LATENCY_BUCKETS: [f64; 12] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0,
];

/// An enum whose variants are all the values of one label.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $variant:ident = $value:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum $name { $($(#[$about])* $variant,)+ }

        impl $name {
            pub(crate) const ALL: &[$name] = &[$($name::$variant,)+];

            pub(crate) fn as_str(self) -> &'static str {
                match self { $($name::$variant => $value,)+ }
            }
        }
    };
}
pub(crate) use label;

label! {
    /// Why a connection was refused or cut off.
    Refusal {
        AcceptError = "accept_error",
        TooMany = "too_many",
        /// It was waiting for its peer when another connection took its place.
        Displaced = "displaced",
        Handshake = "handshake",
        HandshakeTimeout = "handshake_timeout",
        /// The client sent no certificate, or one that is not accepted.
        ClientCertificate = "client_certificate",
        FirstRequestTimeout = "first_request_timeout",
        HeadersTimeout = "headers_timeout",
        /// The peer does not read its answer.
        WriteTimeout = "write_timeout",
    }
}

label! {
    /// Why a request was not answered with a review.
    Rejection {
        NotFound = "not_found",
        Method = "method",
        ContentType = "content_type",
        TooLarge = "too_large",
        Truncated = "truncated",
        BodyTimeout = "body_timeout",
        NoUid = "no_uid",
        TooMany = "too_many",
        TooMuch = "too_much",
        Timeout = "timeout",
        Panic = "panic",
    }
}

label! {
    /// What is read again when its files change.
    Reload {
        Certificate = "certificate",
        ClientCa = "client_ca",
    }
}

label! {
    /// Whether changed files could be used.
    ReloadOutcome {
        Loaded = "loaded",
        Refused = "refused",
    }
}

label! {
    /// What was looked up in the cluster.
    LookupKind {
        Override = "override",
        Reboot = "reboot",
        KuredLock = "kured_lock",
        /// The webhook configuration, for the CA by which the API server trusts us.
        Configuration = "configuration",
    }
}

label! {
    /// Where kured's `DaemonSet` was found.
    KuredFound {
        /// Where the flags say.
        Configured = "configured",
        /// Not there, and one elsewhere looks like it.
        Elsewhere = "elsewhere",
        /// Not there, and more than one looks like it.
        Several = "several",
        Nowhere = "nowhere",
    }
}

label! {
    /// Whether a lookup got an answer.
    LookupOutcome {
        Answered = "answered",
        Failed = "failed",
    }
}

label! {
    /// What became of a review that was sent to be changed. Whatever was not changed, the validation decides about.
    MutationOutcome {
        /// An uncordon is kept until the hold ends.
        Deferred = "deferred",
        /// One like it is kept already.
        DeferredBefore = "deferred_before",
        /// It passed, and is noted as done.
        Done = "done",
        Unchanged = "unchanged",
        /// The review could not be read, so it was left as it is.
        Unreadable = "unreadable",
        /// A defect: the review was left as it is.
        Panic = "panic",
    }
}

label! {
    /// What became of an Event.
    EventOutcome {
        Written = "written",
        Failed = "failed",
        Dropped = "dropped",
    }
}

/// All metrics of the webhook, registered once.
pub struct Metrics {
    registry: Registry,
    decisions: Counters<2>,
    mutations: Counters<1>,
    latency: Histogram,
    open: Gauge,
    refused: Counters<1>,
    lookups: Counters<2>,
    kured_watch: KuredWatchAge,
    kured_daemonset: Gauges<1>,
    events: Counters<1>,
    panics: Counter,
    not_after: Gauge<i64, AtomicI64>,
    problems: Gauges<1>,
    reloads: Counters<2>,
    rejected: Counters<1>,
}

/// When the watch of kured's `DaemonSet` last received anything. The age is computed when the metrics are read.
#[derive(Clone, Debug, Default)]
struct KuredWatchAge(Arc<Mutex<Option<Instant>>>);

impl KuredWatchAge {
    fn hear(&self) {
        *locked(&self.0) = Some(Instant::now());
    }
}

impl Collector for KuredWatchAge {
    /// Shows nothing if nothing is watched, or before the watch has begun.
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let heard = *locked(&self.0);
        let Some(heard) = heard else { return Ok(()) };
        let age = ConstGauge::new(heard.elapsed().as_secs_f64());
        let metric = encoder.encode_descriptor(
            "kured_watch_age",
            "Time since the watch of kured's DaemonSet last received anything, be it only a sign of life",
            Some(&Unit::Seconds),
            age.metric_type(),
        )?;
        age.encode(metric)
    }
}

/// Log lines that were lost because nobody read standard output in time. The logging code counts them.
#[derive(Debug)]
struct LostLines;

impl Collector for LostLines {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let lost = ConstCounter::new(logging::lost_lines());
        let metric = encoder.encode_descriptor(
            "log_lines_lost",
            "Log lines, also of the audit trail, that were lost because nobody read standard output in time",
            None,
            lost.metric_type(),
        )?;
        lost.encode(metric)
    }
}

/// A connection that is counted as open until this is dropped.
pub(crate) struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let _ = self.0.dec();
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// All metrics of the webhook, at zero.
    #[expect(clippy::new_without_default, reason = "a registry is made once, on purpose")]
    pub fn new() -> Metrics {
        let mut metrics = Metrics::unregistered();
        metrics.registry = Registry::with_prefix("cordonhold_webhook");
        metrics.register_decisions();
        metrics.register_cluster();
        metrics.register_server();
        metrics.begin_at_zero();
        metrics
    }

    /// The metrics of `certs`, at zero: those that `register` adds, and the webhook's for its port and its Events.
    pub(crate) fn of_certs(register: impl FnOnce(&mut Registry)) -> Metrics {
        let mut metrics = Metrics::unregistered();
        let mut registry = Registry::with_prefix("cordonhold");
        register(&mut registry);
        let own = registry.sub_registry_with_prefix("certs");
        metrics.register_port(own);
        metrics.register_events(own);
        metrics::register_build(own, env!("CARGO_PKG_VERSION"));
        metrics.registry = registry;
        metrics.begin_port_at_zero();
        metrics
    }

    fn unregistered() -> Metrics {
        Metrics {
            registry: Registry::default(),
            decisions: Family::default(),
            mutations: Family::default(),
            latency: Histogram::new(LATENCY_BUCKETS),
            open: Gauge::default(),
            refused: Family::default(),
            lookups: Family::default(),
            kured_watch: KuredWatchAge::default(),
            kured_daemonset: Family::default(),
            events: Family::default(),
            panics: Counter::default(),
            not_after: Gauge::default(),
            problems: Family::default(),
            reloads: Family::default(),
            rejected: Family::default(),
        }
    }

    fn register_decisions(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "decisions",
            "Decisions by verdict and reason",
            self.decisions.clone(),
        );
        registry.register(
            "mutations",
            "Reviews that were sent to be changed, by what became of them",
            self.mutations.clone(),
        );
        registry.register_with_unit(
            "decision_latency",
            "Time from the end of the request's head to the verdict",
            Unit::Seconds,
            self.latency.clone(),
        );
        registry.register(
            "panics",
            "Panics in a decision, which becomes internal-error, or elsewhere in a request",
            self.panics.clone(),
        );
    }

    fn register_cluster(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "lookups",
            "Lookups in the API server, by kind and outcome",
            self.lookups.clone(),
        );
        registry.register_collector(Box::new(self.kured_watch.clone()));
        registry.register(
            "kured_daemonset",
            "1 for the place where kured's DaemonSet was found at the last search, 0 for the others",
            self.kured_daemonset.clone(),
        );
        let mut registry = std::mem::take(&mut self.registry);
        self.register_events(&mut registry);
        self.registry = registry;
    }

    fn register_events(&self, registry: &mut Registry) {
        registry.register(
            "events",
            "Events, by what became of them; repeats are counted in one Event",
            self.events.clone(),
        );
    }

    fn register_server(&mut self) {
        let mut registry = std::mem::take(&mut self.registry);
        self.register_port(&mut registry);
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            "When the served certificate ends, as Unix time",
            Unit::Seconds,
            self.not_after.clone(),
        );
        registry.register(
            "trust_problem",
            "1 for each problem that keeps the API server from trusting this webhook, or soon will, 0 for the others",
            self.problems.clone(),
        );
        registry.register(
            "tls_reloads",
            "Changes to the files of the certificate or of the client CAs, by whether they could be used",
            self.reloads.clone(),
        );
        metrics::register_build(&mut registry, env!("CARGO_PKG_VERSION"));
        self.registry = registry;
    }

    fn register_port(&self, registry: &mut Registry) {
        registry.register("connections", "Open connections on both ports", self.open.clone());
        registry.register(
            "connections_refused",
            "Connections that were refused or cut off, by reason",
            self.refused.clone(),
        );
        registry.register(
            "requests_rejected",
            "Requests on both ports that were not answered with a review, by reason",
            self.rejected.clone(),
        );
        registry.register_collector(Box::new(LostLines));
    }

    fn begin_at_zero(&self) {
        for reason in Reason::ALL {
            let verdict = reason.outcome().as_str();
            begin(&self.decisions, [("verdict", verdict), ("reason", reason.code())]);
        }
        for outcome in MutationOutcome::ALL {
            begin(&self.mutations, [("outcome", outcome.as_str())]);
        }
        self.begin_port_at_zero();
        for what in Reload::ALL {
            for outcome in ReloadOutcome::ALL {
                let labels = [("what", what.as_str()), ("outcome", outcome.as_str())];
                begin(&self.reloads, labels);
            }
        }
        for kind in LookupKind::ALL {
            for outcome in LookupOutcome::ALL {
                let labels = [("kind", kind.as_str()), ("outcome", outcome.as_str())];
                begin(&self.lookups, labels);
            }
        }
        self.problems(std::iter::empty());
    }

    fn begin_port_at_zero(&self) {
        for reason in Refusal::ALL {
            begin(&self.refused, [("reason", reason.as_str())]);
        }
        for reason in Rejection::ALL {
            begin(&self.rejected, [("reason", reason.as_str())]);
        }
        for outcome in EventOutcome::ALL {
            begin(&self.events, [("outcome", outcome.as_str())]);
        }
    }

    pub(crate) fn decided(&self, verdict: &Verdict, latency: Duration) {
        let labels = [
            ("verdict", verdict.outcome.as_str()),
            ("reason", verdict.reason.code()),
        ];
        count(&self.decisions, labels);
        self.latency.observe(latency.as_secs_f64());
    }

    pub(crate) fn mutated(&self, outcome: MutationOutcome) {
        count(&self.mutations, [("outcome", outcome.as_str())]);
    }

    pub(crate) fn panicked(&self) {
        let _ = self.panics.inc();
    }

    pub(crate) fn looked_up(&self, kind: LookupKind, outcome: LookupOutcome) {
        let labels = [("kind", kind.as_str()), ("outcome", outcome.as_str())];
        count(&self.lookups, labels);
    }

    /// Notes that the watch of kured's `DaemonSet` received something: an object, a bookmark, or that it began anew.
    pub fn kured_watch_heard(&self) {
        self.kured_watch.hear();
    }

    /// Shows where kured's `DaemonSet` was found. Before the first search nothing is shown.
    pub(crate) fn kured_is(&self, found: KuredFound) {
        let all = KuredFound::ALL
            .iter()
            .map(|place| (place.as_str(), *place == found));
        metrics::show(&self.kured_daemonset, "found", all);
    }

    pub(crate) fn event(&self, outcome: EventOutcome) {
        count(&self.events, [("outcome", outcome.as_str())]);
    }

    pub(crate) fn refused(&self, reason: Refusal) {
        count(&self.refused, [("reason", reason.as_str())]);
    }

    pub(crate) fn connection_opened(self: &Arc<Self>) -> OpenConnection {
        let _ = self.open.inc();
        OpenConnection(self.open.clone())
    }

    pub(crate) fn certificate_expires(&self, not_after: i64) {
        let _ = self.not_after.set(not_after);
    }

    /// Shows these trust problems as present, and all others as absent.
    pub(crate) fn problems(&self, now: impl Iterator<Item = Problem>) {
        let now: Vec<Problem> = now.collect();
        let all = Problem::ALL
            .iter()
            .map(|problem| (problem.code(), now.contains(problem)));
        metrics::show(&self.problems, "problem", all);
    }

    pub(crate) fn reloaded(&self, what: Reload, outcome: ReloadOutcome) {
        let labels = [("what", what.as_str()), ("outcome", outcome.as_str())];
        count(&self.reloads, labels);
    }

    pub(crate) fn rejected(&self, reason: Rejection) {
        count(&self.rejected, [("reason", reason.as_str())]);
    }

    /// All metrics, in the format that the request asks for.
    pub(crate) fn render(&self, headers: &HeaderMap) -> Result<Page, fmt::Error> {
        metrics::page(&self.registry, headers)
    }
}

#[cfg(test)]
mod tests;
