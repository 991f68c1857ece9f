//! What the webhook counts. Labels are closed sets: no name, message or user ever becomes one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use cordonhold_shared::admission::Verdict;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// From a pure decision (some 50 µs) to the API server's own timeout.
const LATENCY_BUCKETS: [f64; 12] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0,
];

/// Why a connection came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Refusal {
    AcceptError,
    TooMany,
    Handshake,
    HandshakeTimeout,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    verdict: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    reason: Refusal,
}

/// All of it, registered once.
pub struct Metrics {
    registry: Registry,
    decisions: Family<DecisionLabels, Counter>,
    latency: Histogram,
    open: Gauge,
    refused: Family<RefusalLabels, Counter>,
    panics: Counter,
    not_after: Gauge<i64, AtomicI64>,
    reload_failures: Counter,
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
    #[expect(clippy::new_without_default, reason = "a registry is made once, on purpose")]
    pub fn new() -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("cordonhold_webhook"),
            decisions: Family::default(),
            latency: Histogram::new(LATENCY_BUCKETS),
            open: Gauge::default(),
            refused: Family::default(),
            panics: Counter::default(),
            not_after: Gauge::default(),
            reload_failures: Counter::default(),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "decisions",
            "Decisions by verdict and reason",
            metrics.decisions.clone(),
        );
        registry.register_with_unit(
            "decision_latency",
            "From the first byte of a review's body to its answer",
            Unit::Seconds,
            metrics.latency.clone(),
        );
        registry.register(
            "connections",
            "Open connections on both ports",
            metrics.open.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections that came to nothing, by reason",
            metrics.refused.clone(),
        );
        registry.register(
            "panics",
            "Reviews whose decision panicked; each was denied",
            metrics.panics.clone(),
        );
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            "When the served certificate ends, since 1970",
            Unit::Seconds,
            metrics.not_after.clone(),
        );
        registry.register(
            "certificate_reload_failures",
            "Changed certificate files that could not be used",
            metrics.reload_failures.clone(),
        );
        registry.register(
            "build",
            "The version that runs",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        metrics
    }

    pub(crate) fn decided(&self, verdict: &Verdict, latency: Duration) {
        let labels = DecisionLabels {
            verdict: verdict.outcome.as_str(),
            reason: verdict.reason.code(),
        };
        let _ = self.decisions.get_or_create(&labels).inc();
        self.latency.observe(latency.as_secs_f64());
    }

    pub(crate) fn panicked(&self) {
        let _ = self.panics.inc();
    }

    pub(crate) fn refused(&self, reason: Refusal) {
        let _ = self.refused.get_or_create(&RefusalLabels { reason }).inc();
    }

    pub(crate) fn connection_opened(self: &Arc<Self>) -> OpenConnection {
        let _ = self.open.inc();
        OpenConnection(self.open.clone())
    }

    pub(crate) fn certificate_expires(&self, not_after: i64) {
        let _ = self.not_after.set(not_after);
    }

    pub(crate) fn certificate_reload_failed(&self) {
        let _ = self.reload_failures.inc();
    }

    /// All metrics in the `OpenMetrics` text format.
    pub(crate) fn render(&self) -> Result<String, fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}
