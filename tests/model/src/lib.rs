//! A model of the protocol, explored exhaustively up to a bound: agents, lock, Nodes and hosts, the webhook, people and
//! controllers who uncordon, agents that crash between any two writes, and stock kured on the same lock.
//!
//! The decisions are the real code of `cordonhold-shared`: `Cycle::step`, `admission::decide`, the lock's transitions. The model
//! is what surrounds them. Each read and each write is one atomic step; between two steps anything else may happen.
//! Not here: clocks (a timer may end at any time), the bytes on the wire, and the details of a real API server (the tests of
//! [`cordonhold_shared`] and those on the control plane cover them).
#![expect(
    clippy::unused_self,
    reason = "an action is a method of the model, whether it needs the scenario or not"
)]

mod agents;
mod deferrals;
mod drain;
mod forgeries;
mod hosts;
mod intern;
mod kured;
mod players;
mod protocol;
mod requests;
mod rest;
mod rule;
mod rules_off;
mod scenarios;
mod violation;
mod world;
mod writes;

pub use forgeries::Forgery;
pub use protocol::{Action, Protocol};
pub use rule::Rule;
pub use scenarios::{Bound, Counterexample, Hosts, Scenario, counterexamples, deep, quick};
pub use violation::Violation;
pub use world::{Faults, State};

use std::fmt;
use std::time::{Duration, Instant};

use stateright::{Checker as _, HasDiscoveries, Model as _};

/// The result of a check.
#[derive(Debug)]
pub struct Outcome {
    pub name: &'static str,
    pub states: usize,
    pub generated: usize,
    pub depth: usize,
    pub time: Duration,
    /// Whether every state of the scenario was explored.
    pub is_complete: bool,
    /// The scenario's own bound, if the check reached it.
    pub bound: Option<Bound>,
    /// Whether a state was found in which every node has rebooted.
    pub has_rebooted: bool,
    /// The violations, each with the actions that lead to it.
    pub found: Vec<(Violation, Vec<String>)>,
}

/// The bounds of one check.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub states: usize,
    pub time: Duration,
    pub threads: usize,
}

/// Explores a scenario until it is exhausted, a violation is found, or a bound is reached.
pub fn check(scenario: Scenario, bounds: Bounds, mut progress: impl FnMut(usize, Duration)) -> Outcome {
    let started = Instant::now();
    let name = scenario.name;
    let bound = scenario.bound;
    let most = bound.map_or(bounds.states, |bound| bound.states.min(bounds.states));
    let finish = if scenario.stops_at.is_empty() {
        HasDiscoveries::AnyFailures
    } else {
        HasDiscoveries::AnyOf(
            scenario
                .stops_at
                .iter()
                .map(|violation| violation.name())
                .collect(),
        )
    };
    let checker = Protocol::new(scenario)
        .checker()
        .finish_when(finish)
        .threads(bounds.threads)
        .target_state_count(most)
        .timeout(bounds.time)
        .spawn_bfs();
    while !checker.is_done() && started.elapsed() < bounds.time {
        std::thread::sleep(Duration::from_millis(20));
        progress(checker.unique_state_count(), started.elapsed());
    }
    let checker = checker.join();
    let discoveries = checker.discoveries();
    let found: Vec<(Violation, Vec<String>)> = Violation::ALL
        .into_iter()
        .filter_map(|violation| {
            let path = discoveries.get(violation.name())?;
            let actions = path.clone().into_actions();
            Some((
                violation,
                actions.iter().map(|action| format!("{action:?}")).collect(),
            ))
        })
        .collect();
    let time = started.elapsed();
    Outcome {
        name,
        states: checker.unique_state_count(),
        generated: checker.state_count(),
        depth: checker.max_depth(),
        is_complete: found.is_empty() && time < bounds.time && checker.state_count() < most,
        bound: bound.filter(|bound| time < bounds.time && checker.state_count() >= bound.states),
        has_rebooted: discoveries.contains_key(protocol::REBOOTED),
        time,
        found,
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} states ({} generated, depth {}) in {:.1?}{}",
            self.name,
            self.states,
            self.generated,
            self.depth,
            self.time,
            if self.is_complete { "" } else { ", not complete" }
        )?;
        if let Some(bound) = self.bound {
            write!(
                f,
                "\n  up to its bound of {} states: {}",
                bound.states, bound.reason
            )?;
        }
        for (violation, path) in &self.found {
            write!(f, "\n  {violation}, after {} steps:", path.len())?;
            for action in path {
                write!(f, " {action}")?;
            }
        }
        Ok(())
    }
}
