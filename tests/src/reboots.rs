//! Reboots of a real node by the agent as it is shipped, one after the other, and what they must come to: exactly one more boot with an id of its
//! own, and not blind; the sentinel gone, the cordon given back, the lock free. No witness of that is the agent: they are the machine, the harness
//! that starts it, its kubelet and the API server.
//!
//! Not here: drains with all kinds of pods, on a machine without systemd (`tests/real_node`), and faults at each request, see [`crate::faults`].

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::real_node::Kind;
use site::Site;

mod scenario;
mod site;

pub use scenario::{Method, Moment, Scenario};

/// How many reboots a machine in namespaces makes by default.
pub const CYCLES: usize = 20;
/// After how many failures no more reboots are made: something is wrong with all of them.
const FAILURES_MAX: usize = 3;

/// Which reboots are made.
#[derive(Debug, Clone)]
pub struct Options {
    pub kind: Kind,
    /// What happens in them. Each must fit the machine.
    pub scenarios: Vec<Scenario>,
    /// How many reboots there are in all, at least one of each scenario.
    pub cycles: usize,
}

/// One reboot.
#[derive(Debug)]
pub struct Run {
    pub scenario: Scenario,
    /// From the sentinel until everything was as it must be.
    pub took: Duration,
    /// Why it failed; `None` if all was well.
    pub failure: Option<String>,
}

/// Makes the reboots, and tells `tell` about each. After one that failed, the next has a new machine.
pub async fn play(options: &Options, tell: impl Fn(&Run)) -> Result<Vec<Run>> {
    ensure!(
        !options.scenarios.is_empty(),
        "no scenario of that name fits such a machine: see cargo reboot-test --help"
    );
    for scenario in &options.scenarios {
        let name = scenario.name();
        ensure!(
            scenario.fits(options.kind),
            "{name} cannot happen to such a machine"
        );
    }
    let mut runs: Vec<Run> = Vec::new();
    let mut site: Option<Site> = None;
    for scenario in in_turn(&options.scenarios, options.cycles) {
        let mut there = match site.take() {
            Some(there) => there,
            None => Site::start(options.kind).await?,
        };
        let run = one(&mut there, scenario).await;
        tell(&run);
        if run.failure.is_none() {
            site = Some(there);
        }
        runs.push(run);
        if runs.iter().filter(|run| run.failure.is_some()).count() == FAILURES_MAX {
            break;
        }
    }
    Ok(runs)
}

/// Each scenario as often as any other, but for one time: all reboots of one come together, because each change of the agent's arguments replaces its
/// pod.
fn in_turn(scenarios: &[Scenario], cycles: usize) -> Vec<Scenario> {
    let (each, more) = (cycles / scenarios.len(), cycles % scenarios.len());
    let times = |number: usize| each.max(1) + usize::from(each > 0 && number < more);
    scenarios
        .iter()
        .enumerate()
        .flat_map(|(number, scenario)| std::iter::repeat_n(*scenario, times(number)))
        .collect()
}

async fn one(site: &mut Site, scenario: Scenario) -> Run {
    let prepared = site.prepare(scenario).await;
    let began = Instant::now();
    let played = match prepared {
        Ok(workload) => site.reboot(scenario, &workload).await,
        Err(error) => Err(error),
    };
    let took = began.elapsed();
    let failure = match played {
        Ok(()) => None,
        Err(error) => Some(format!("{error:#}\n{}", site.account().await)),
    };
    Run {
        scenario,
        took,
        failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scenario_has_its_share_of_the_cycles_and_at_least_one() {
        let three = [
            Scenario::Clean(Method::Command),
            Scenario::Clean(Method::Logind),
            Scenario::Clean(Method::Auto),
        ];
        let of = |cycles: usize| {
            let all = in_turn(&three, cycles);
            three.map(|scenario| all.iter().filter(|one| **one == scenario).count())
        };
        assert_eq!(of(20), [7, 7, 6]);
        assert_eq!(of(3), [1, 1, 1]);
        assert_eq!(of(1), [1, 1, 1]);
        assert_eq!(of(1000).iter().sum::<usize>(), 1000);
    }
}
