//! `cargo reboot-test`: lets the agent as it is shipped reboot a real node again and again, and prints what came of it.
//!
//! Not here: how it is played, see `cordonhold_tests::reboots`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use clap::builder::TypedValueParser as _;
use cordonhold_rt::exit;
use cordonhold_rt::shutdown::Signals;
use cordonhold_tests::assets::debian;
use cordonhold_tests::assets::{self, Assets, Kubernetes};
use cordonhold_tests::programs::{self, Program};
use cordonhold_tests::real_node::Kind;
use cordonhold_tests::reboots::{self, Options, Run, Scenario};

const ABOUT: &str = "\
A node has a real kubelet, containerd and systemd, and joins a control plane of the tests. The agent runs there as its manifests ship it, with the
components for the way it reboots. A cycle begins with the sentinel. It has gone well if the machine was started exactly once more, held, drained
and, where the agent did it, sealed when it went down; if its Node shows another boot id, an Event Rebooted of the kubelet, Ready, no mark and no
cordon; and if the sentinel is gone, the lock free, and what was drained runs again. No witness of that is the agent.

Machines:

  nspawn  systemd as PID 1 of namespaces: 5 s a cycle. It shares the kernel, so a clock, a sysrq or a signal to init is not for it
  qemu    a computer with a kernel of its own, emulated in software: 50 s a cycle

Scenarios, which --scenario names by how they begin; without it, each that fits the machine is played, of nspawn only the clean ones:

  clean-command       --reboot-method=command, and nothing else happens
  clean-signal        --reboot-method=signal, as the component reboot-by-signal has it; qemu alone
  clean-logind        --reboot-method=logind, as the component reboot-by-logind has it
  clean-auto          --reboot-method=auto
  reset-in-drain      the power is cut while a pod is being evicted,
  reset-in-delay      ... while the agent waits for --reboot-delay,
  reset-after-seal    ... after the seal, before the host has begun to reboot
  sysrq-b-in-drain    the same three by `b` to sysrq, with which the kernel reboots at once; qemu alone
  sysrq-b-in-delay
  sysrq-b-after-seal
  hung-shutdown       a unit takes 40 s to end, longer than --reboot-timeout=20s
  clock-1970          the clock starts in 1970 and is set once the node is not Ready; qemu alone

It needs root and Debian's packages: mmdebstrap, busybox-static, iproute2, and systemd-container with cgroup v1 or qemu-system-x86.
The first run builds Kubernetes from source, and makes a Debian from the mirror of this machine's apt. Both are kept in ~/.cache/cordonhold.

Exit code: 0 if all went well; 1 if not, with what the node showed; 2 for a wrong command line.

Examples:

  cargo reboot-test                                     20 cycles on nspawn
  cargo reboot-test --cycles 1000                       for a night
  cargo reboot-test --machine qemu                      each scenario once
  cargo reboot-test --machine qemu --scenario reset     the three with `reset`
  cargo reboot-test --scenario hung --scenario reset    those on nspawn";

/// Reboot a real node by the agent as it is shipped, and check what comes of it
#[derive(Parser)]
#[command(name = "cargo reboot-test", after_help = ABOUT)]
struct RebootTestArgs {
    /// What the machine is made of
    #[arg(long, default_value = "nspawn", value_parser = machine())]
    machine: Kind,
    /// Reboots in all, shared by the scenarios. The default is 20 on nspawn, and on qemu one for each scenario
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    cycles: Option<u16>,
    /// Only scenarios that begin like this; may be repeated
    #[arg(long, value_name = "NAME", value_parser = beginning)]
    scenario: Vec<String>,
}

/// The machines that have a systemd.
fn machine() -> impl clap::builder::TypedValueParser<Value = Kind> {
    clap::builder::PossibleValuesParser::new(["nspawn", "qemu"]).map(|name| match name.as_str() {
        "qemu" => Kind::Qemu,
        _ => Kind::Nspawn,
    })
}

/// How the names of some scenarios begin.
fn beginning(text: &str) -> Result<String, String> {
    let names = Scenario::ALL.map(Scenario::name);
    if names.iter().any(|name| name.starts_with(text)) {
        return Ok(text.to_owned());
    }
    let names = names.join(", ");
    Err(format!("no scenario begins like that: name one of {names}"))
}

fn main() -> ExitCode {
    let args: RebootTestArgs = match exit::parse_args("reboot-test") {
        Ok(args) => args,
        Err(code) => return code,
    };
    exit::verdict("reboot-test", run(&args))
}

/// Plays it and prints the summary; `true` if all is as it must be.
fn run(args: &RebootTestArgs) -> Result<bool> {
    let options = options(args);
    // Before we catch signals, so that Ctrl-C ends a build as it ends any program.
    drop(Assets::of(Kubernetes::Newest)?);
    drop(assets::kubelet()?);
    drop(programs::build_all(&[Program::Leash, Program::Agent])?);
    drop(debian::node()?);
    if options.kind == Kind::Qemu {
        drop(debian::kernel()?);
    }
    eprintln!("starting a control plane, and a machine with containerd and a kubelet");
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    let runs = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        tokio::select! {
            played = reboots::play(&options, tell) => played,
            name = signals.next() => bail!("stopped by {name}"),
        }
    })?;
    print_summary(&runs);
    Ok(runs.iter().all(|run| run.failure.is_none()))
}

fn options(args: &RebootTestArgs) -> Options {
    let kind = args.machine;
    let named = |scenario: &Scenario| {
        let mut beginnings = args.scenario.iter();
        match (kind, args.scenario.is_empty()) {
            (Kind::Qemu, true) => true,
            (Kind::Nspawn | Kind::Busybox, true) => matches!(scenario, Scenario::Clean(_)),
            (_, false) => beginnings.any(|beginning| scenario.name().starts_with(beginning)),
        }
    };
    let all = Scenario::ALL.into_iter().filter(|scenario| scenario.fits(kind));
    let scenarios: Vec<Scenario> = all.filter(named).collect();
    let cycles = match (args.cycles, kind) {
        (Some(cycles), _) => usize::from(cycles),
        (None, Kind::Nspawn | Kind::Busybox) => reboots::CYCLES,
        (None, Kind::Qemu) => scenarios.len(),
    };
    Options {
        kind,
        scenarios,
        cycles,
    }
}

fn tell(run: &Run) {
    let (seconds, name) = (run.took.as_secs_f64(), run.scenario.name());
    match &run.failure {
        None => println!("ok      {seconds:>6.1} s  {name}"),
        Some(why) => println!("FAILED  {seconds:>6.1} s  {name}: {why}"),
    }
}

/// A line for each scenario, and one for all.
fn print_summary(runs: &[Run]) {
    println!(
        "\n{:20} {:>6} {:>6} {:>7} {:>7} {:>7}",
        "seconds", "runs", "failed", "min", "median", "max"
    );
    for scenario in Scenario::ALL {
        let of_it: Vec<&Run> = runs.iter().filter(|run| run.scenario == scenario).collect();
        if !of_it.is_empty() {
            print_line(scenario.name(), &of_it);
        }
    }
    print_line("all", &runs.iter().collect::<Vec<_>>());
}

fn print_line(name: &str, runs: &[&Run]) {
    let failed = runs.iter().filter(|run| run.failure.is_some()).count();
    let ended = runs.iter().filter(|run| run.failure.is_none());
    let mut took: Vec<Duration> = ended.map(|run| run.took).collect();
    took.sort_unstable();
    let shown = |duration: Option<&Duration>| {
        duration.map_or("-".to_owned(), |duration| {
            format!("{:.1}", duration.as_secs_f64())
        })
    };
    println!(
        "{name:20} {:>6} {failed:>6} {:>7} {:>7} {:>7}",
        runs.len(),
        shown(took.first()),
        shown(took.get(took.len() / 2)),
        shown(took.last())
    );
}
