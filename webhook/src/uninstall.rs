//! `cordonhold-webhook uninstall`: ends the holds, then takes everything of Cordonhold off the cluster that the installer did not put there.
//!
//! It looks at the cluster, makes the writes that come next, says each on a line of its own, and looks again. It can be run again at any time.
//! Not here: which writes come next ([`cordonhold_shared::uninstall`]), and what Helm or kubectl removes after it.

mod cluster;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cordonhold_rt::{client, crypto, exit, pause, shutdown};
use cordonhold_shared::uninstall::{self, Next, Seen, Step};
use jiff::Timestamp;
use tokio::time::sleep;

use crate::config::UninstallConfig;
use cluster::{Cluster, RequestError};

/// The pause between two looks while something is waited for. A look lists every Node; an agent takes seconds to give a cordon back.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How much longer than `--timeout` the writes may take that follow the waiting: thousands of Nodes, one write after the other.
const CLEANUP_BOUND: Duration = Duration::from_mins(5);
/// How many rounds may fail one after the other. With their growing pauses they outlast a rollout of the webhook, and the moment until the
/// API server knows new permissions.
const FAILURES_MAX: u32 = 12;

/// Why the uninstall stopped.
#[derive(Debug, thiserror::Error)]
enum UninstallError {
    #[error(transparent)]
    Crypto(crypto::AlreadyInstalled),
    #[error("failed to start the runtime")]
    Runtime(#[source] std::io::Error),
    #[error(transparent)]
    Client(client::ClientError),
    #[error(transparent)]
    Signals(shutdown::ListenError),
    #[error("stopped: {why}: then run it again")]
    Obstacle { why: String },
    #[error(
        "stopped: still waiting after {after:?}: {what}: see to it, and run it again, or give it more time with --timeout"
    )]
    Late { after: Duration, what: String },
    #[error("stopped: {failures} rounds failed one after the other: {source}: then run it again")]
    Failing { failures: u32, source: RequestError },
    #[error("stopped by {0}: run it again")]
    Signal(&'static str),
}

/// Uninstalls, and prints each step and what is left. The exit code is 0 if nothing is left, and 1 if it stopped; the last line says why.
pub fn uninstall(program: &str, config: &UninstallConfig) -> ExitCode {
    exit::code(program, run(config))
}

fn run(config: &UninstallConfig) -> Result<(), UninstallError> {
    crypto::install_provider().map_err(UninstallError::Crypto)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(UninstallError::Runtime)?;
    runtime.block_on(async {
        let mut signals = shutdown::Signals::listen().map_err(UninstallError::Signals)?;
        let kube = client::build(config.kubeconfig.as_deref())
            .await
            .map_err(UninstallError::Client)?;
        let run = Run {
            cluster: Cluster::new(kube, config.place.clone()),
            config,
            began: Instant::now(),
        };
        tokio::select! {
            ended = run.until_done() => ended,
            signal = signals.next() => Err(UninstallError::Signal(signal)),
        }
    })
}

struct Run<'a> {
    cluster: Cluster,
    config: &'a UninstallConfig,
    began: Instant,
}

impl Run<'_> {
    async fn until_done(&self) -> Result<(), UninstallError> {
        let mut said: Vec<String> = Vec::new();
        let mut failures = 0;
        loop {
            match self.round(&mut said).await {
                Ok(Some(seen)) => {
                    say(&format!("{} nodes carry anything of Cordonhold", seen.carriers()));
                    return Ok(());
                }
                Ok(None) => failures = 0,
                Err(RoundError::Stop(error, seen)) => {
                    self.resume(&seen).await;
                    return Err(error);
                }
                Err(RoundError::Request(source)) => {
                    failures += 1;
                    if failures >= FAILURES_MAX {
                        return Err(UninstallError::Failing { failures, source });
                    }
                    sleep(pause::before_retry(failures)).await;
                }
            }
        }
    }

    /// One look, and what follows from it. Returns what was seen if nothing is left to do.
    async fn round(&self, said: &mut Vec<String>) -> Result<Option<Seen>, RoundError> {
        let seen = self.cluster.look().await.map_err(RoundError::Request)?;
        let dead_holds = self.config.dead_holds;
        match uninstall::next(&seen, dead_holds, Timestamp::now()) {
            Next::Done => Ok(Some(seen)),
            Next::Stop(why) => {
                let why = why.join("; ");
                Err(RoundError::stop(UninstallError::Obstacle { why }, seen))
            }
            Next::Wait(what) => {
                self.in_time(self.config.timeout, &what, &seen)?;
                if what != *said {
                    for what in &what {
                        say(&format!("waiting: {what}"));
                    }
                    *said = what;
                }
                sleep(LOOK_EVERY).await;
                Ok(None)
            }
            Next::Write(steps) => {
                let what: Vec<String> = steps.iter().map(|step| step.object.to_string()).collect();
                let bound = self.config.timeout.saturating_add(CLEANUP_BOUND);
                self.in_time(bound, &what, &seen)?;
                self.carry_out(&steps).await.map_err(RoundError::Request)?;
                Ok(None)
            }
        }
    }

    fn in_time(&self, bound: Duration, what: &[String], seen: &Seen) -> Result<(), RoundError> {
        if self.began.elapsed() < bound {
            return Ok(());
        }
        let late = UninstallError::Late {
            after: bound,
            what: what.join("; "),
        };
        Err(RoundError::stop(late, seen.clone()))
    }

    /// Makes the writes in their order. One that somebody else's write has outrun ends the round: what is to be written is judged anew.
    async fn carry_out(&self, steps: &[Step]) -> Result<(), RequestError> {
        for step in steps {
            match self.cluster.carry_out(step).await {
                Ok(()) => say(&step.says),
                Err(error) if error.is_conflict() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes back the pauses of an uninstall that stops before anything is removed, so that the agents go on as before.
    async fn resume(&self, seen: &Seen) {
        for step in uninstall::resumed(seen) {
            match self.cluster.carry_out(&step).await {
                Ok(()) => say(&step.says),
                Err(error) => say(&format!("no reboot begins until the pause is removed: {error}")),
            }
        }
    }
}

/// Why a round did not end well.
enum RoundError {
    /// The uninstall stops; what was seen last is there to go back from.
    Stop(UninstallError, Box<Seen>),
    /// A request failed, and may pass later.
    Request(RequestError),
}

impl RoundError {
    fn stop(error: UninstallError, seen: Seen) -> RoundError {
        RoundError::Stop(error, Box::new(seen))
    }
}

/// Prints a line. Whoever closed the pipe wants no more lines, and the uninstall goes on.
fn say(line: &str) {
    drop(writeln!(std::io::stdout(), "{line}"));
}
