//! Reboots of a real node with systemd by the agent as it is shipped, with what `cargo reboot-test` plays. One test at a time: an emulated computer
//! needs the whole machine.

use anyhow::{Result, ensure};
use cordonhold_tests::real_node::Kind;
use cordonhold_tests::reboots::{self, CYCLES, Options, Run, Scenario};

async fn all_end_well(options: Options) -> Result<()> {
    let runs = reboots::play(&options, |run| {
        println!("{:>6.1} s  {}", run.took.as_secs_f64(), run.scenario.name());
    })
    .await?;
    let failed: Vec<&Run> = runs.iter().filter(|run| run.failure.is_some()).collect();
    for Run {
        scenario, failure, ..
    } in &failed
    {
        println!("{}: {}", scenario.name(), failure.as_deref().unwrap_or_default());
    }
    ensure!(failed.is_empty(), "{} of {} failed", failed.len(), runs.len());
    ensure!(
        runs.len() >= options.cycles,
        "{} of {}",
        runs.len(),
        options.cycles
    );
    Ok(())
}

/// What fits such a machine.
fn options(kind: Kind, is_wanted: impl Fn(Scenario) -> bool) -> Options {
    let fitting = Scenario::ALL.into_iter().filter(|scenario| scenario.fits(kind));
    let scenarios: Vec<Scenario> = fitting.filter(|scenario| is_wanted(*scenario)).collect();
    Options {
        kind,
        cycles: scenarios.len(),
        scenarios,
    }
}

fn is_clean(scenario: Scenario) -> bool {
    matches!(scenario, Scenario::Clean(_))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_blind_reboot_and_cordon_given_back_in_20_reboots_of_a_machine_with_systemd() -> Result<()> {
    let options = Options {
        cycles: CYCLES,
        ..options(Kind::Nspawn, is_clean)
    };
    all_end_well(options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn cordon_given_back_after_each_end_of_a_machine_with_systemd_that_is_no_clean_reboot() -> Result<()> {
    all_end_well(options(Kind::Nspawn, |scenario| !is_clean(scenario))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_blind_reboot_and_cordon_given_back_in_each_scenario_on_a_computer_with_its_own_kernel()
-> Result<()> {
    all_end_well(options(Kind::Qemu, |_| true)).await
}
