//! The metrics of `certs`. The values of labels are closed sets: whoever changes a `caBundle` is counted by its program, not by its name.
//!
//! Not here: those of the ports and of Events ([`crate::Metrics`]).

use std::sync::atomic::AtomicI64;

use cordonhold_rt::metrics::{self, Counters, Gauges, begin, count};
use cordonhold_shared::Reading;
use cordonhold_shared::certificates::{Meddler, Problem, Seen, Step};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::metrics::label;

/// The code of the problem that the API server did not do what it was asked.
pub(super) const REQUEST_FAILED: &str = "request-failed";

label! {
    /// What was done.
    StepKind {
        WriteBundles = "write_bundles",
        Keep = "keep",
        AddCa = "add_ca",
        Sign = "sign",
        DropCa = "drop_ca",
    }
}

label! {
    /// What became of it.
    StepOutcome {
        Done = "done",
        Failed = "failed",
    }
}

impl StepKind {
    pub(super) fn of(step: &Step) -> StepKind {
        match step {
            Step::WriteBundles { .. } => StepKind::WriteBundles,
            Step::Keep(_) => StepKind::Keep,
            Step::AddAuthority { .. } => StepKind::AddCa,
            Step::SignLeaf { .. } => StepKind::Sign,
            Step::DropAuthorities(_) => StepKind::DropCa,
        }
    }
}

/// The metrics. Clones share the values.
#[derive(Clone, Debug, Default)]
pub(super) struct CertsMetrics {
    repairs: Counters<1>,
    steps: Counters<2>,
    problems: Gauges<1>,
    authorities: Gauge<i64, AtomicI64>,
    authority_ends: Gauge<i64, AtomicI64>,
    leaf_ends: Gauge<i64, AtomicI64>,
}

impl CertsMetrics {
    /// Registers all, at zero.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "ca_bundle_repairs",
            "caBundles that somebody else had changed and that were written again, by the program that changed them",
            self.repairs.clone(),
        );
        let registry = registry.sub_registry_with_prefix("certs");
        registry.register(
            "steps",
            "Changes of CAs, certificates and caBundles, by outcome",
            self.steps.clone(),
        );
        registry.register(
            "problem",
            "1 for each problem that keeps the certificates from being renewed, 0 for the others",
            self.problems.clone(),
        );
        registry.register(
            "authorities",
            "CAs that are trusted now",
            self.authorities.clone(),
        );
        registry.register_with_unit(
            "ca_expiry_timestamp",
            "When the CA that signs ends, as Unix time; 0 if there is none",
            Unit::Seconds,
            self.authority_ends.clone(),
        );
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            "When the certificate in the Secret ends, as Unix time; 0 if there is none",
            Unit::Seconds,
            self.leaf_ends.clone(),
        );
        for meddler in Meddler::ALL {
            begin(&self.repairs, [("manager", meddler.label())]);
        }
        for kind in StepKind::ALL {
            for outcome in StepOutcome::ALL {
                begin(
                    &self.steps,
                    [("step", kind.as_str()), ("outcome", outcome.as_str())],
                );
            }
        }
        self.problem(None);
    }

    pub(super) fn repaired(&self, meddler: Meddler) {
        count(&self.repairs, [("manager", meddler.label())]);
    }

    pub(super) fn step(&self, kind: StepKind, outcome: StepOutcome) {
        count(
            &self.steps,
            [("step", kind.as_str()), ("outcome", outcome.as_str())],
        );
    }

    /// Shows this problem as present, and all others as absent.
    pub(super) fn problem(&self, now: Option<&str>) {
        let codes = Problem::CODES.iter().chain([&REQUEST_FAILED]);
        metrics::show(
            &self.problems,
            "problem",
            codes.map(|code| (*code, now == Some(code))),
        );
    }

    pub(super) fn show(&self, seen: &Seen) {
        let known = seen.authorities.as_ref().present();
        let known = known.map(Vec::as_slice).unwrap_or_default();
        let with_key = known.iter().filter(|authority| authority.has_key);
        let ends = with_key.map(|authority| authority.validity.to.as_second()).max();
        let _ = self
            .authorities
            .set(i64::try_from(known.len()).unwrap_or(i64::MAX));
        let _ = self.authority_ends.set(ends.unwrap_or(0));
        let leaf = match &seen.leaf {
            Reading::Present(leaf) => leaf.validity.to.as_second(),
            Reading::Absent | Reading::Malformed(_) => 0,
        };
        let _ = self.leaf_ends.set(leaf);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::HeaderMap;

    use super::*;
    use crate::Metrics;

    #[test]
    fn every_metric_of_its_own_is_in_the_page_with_the_values_of_its_labels() {
        let own = CertsMetrics::default();
        let metrics = Metrics::of_certs(|registry| own.register(registry));
        let page = metrics.render(&HeaderMap::new()).unwrap().text;
        let manual = include_str!("../../../docs/certificates.md");
        let (_, table) = manual
            .split_once("| metric of `certs` | what it counts |\n")
            .unwrap();
        let (table, _) = table.split_once("\n\n").unwrap();
        let names: BTreeSet<&str> = page
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split(['{', ' ']).next())
            .collect();
        for name in [
            "cordonhold_ca_bundle_repairs_total",
            "cordonhold_certs_steps_total",
            "cordonhold_certs_problem",
            "cordonhold_certs_build_info",
        ] {
            assert!(names.contains(name), "{name}: {page}");
        }
        let of_port = ["connections", "requests_rejected", "log_lines", "build", "events"];
        for name in names {
            let is_of_port = of_port
                .iter()
                .any(|part| name.starts_with(&format!("cordonhold_certs_{part}")));
            assert!(
                is_of_port || table.contains(&format!("| `{name}")),
                "the page lacks {name}"
            );
        }
        let meddlers = Meddler::ALL.iter().map(|meddler| meddler.label());
        let steps = StepKind::ALL.iter().map(|step| step.as_str());
        let problems = Problem::CODES.iter().copied().chain([REQUEST_FAILED]);
        for value in meddlers.chain(steps).chain(problems) {
            assert!(table.contains(&format!("`{value}`")), "the page lacks {value}");
        }
    }
}
