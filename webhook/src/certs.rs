//! `cordonhold-webhook certs`: holds the CA, signs the certificate that the webhook serves, and keeps the `caBundle`s right.
//!
//! It runs beside the webhook, with rights of its own. While it is down, nothing changes: what it has signed lasts for weeks.
//! Several may run at once: each write is made on what was read, and fails if somebody else has written meanwhile.
//! Not here: what to do next ([`cordonhold_shared::certificates`]), and how the webhook takes over a new certificate ([`crate::tls`]).

mod cluster;
mod facts;
mod keeper;
mod metrics;
mod mint;

use std::sync::Arc;
use std::time::Duration;

use cordonhold_rt::exit::one_line;
use cordonhold_rt::watch::{News, Watch};
use cordonhold_rt::{client, pause, shutdown};
use cordonhold_shared::watch::Change;
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::config::CertsConfig;
use crate::events::{self, Recorder};
use crate::readiness::Readiness;
use crate::routes::admin_router;
use crate::server::{Closing, Port, Transport, serve};
use crate::{Error, Limits, Metrics, close, open};
use cluster::Cluster;
use keeper::{Done, Keeper};
use metrics::CertsMetrics;

/// Longest time until the cluster is looked at again. A suspended machine's timers stand still, and its certificates end all the same.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Shortest time between two looks. Whoever changes a `caBundle` at once each time costs no more than that.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// Steps in a row after which each further one waits, longer and longer. A first start takes three, a change of CAs fewer.
const STEPS_IN_A_ROW: u32 = 8;

/// Keeps the certificates until SIGTERM or SIGINT; a second signal ends it at once.
pub async fn keep_certificates(config: CertsConfig) -> Result<(), Error> {
    let mut signals = shutdown::Signals::listen().map_err(Error::Signals)?;
    let own = CertsMetrics::default();
    let metrics = Arc::new(Metrics::of_certs(|registry| own.register(registry)));
    let readiness = Arc::new(Readiness::default());
    let is_right = readiness.condition("certificates", "they have not been looked at yet");
    let kube = client::build(config.kubeconfig.as_deref())
        .await
        .map_err(Error::Client)?;
    let recorder = config.events_from.map(|instance| {
        let (recorder, writer) = Recorder::new(kube.clone(), events::CERTS, instance, Arc::clone(&metrics));
        drop(tokio::spawn(writer));
        recorder
    });
    let (admin, listening) = open("--admin-listen", config.admin_listen)?;
    let (closing, tasks) = (Closing::default(), TaskTracker::new());
    let port = Port {
        transport: Transport::Plain,
        router: admin_router(Arc::clone(&readiness), Arc::clone(&metrics)),
        limits: Limits::admin(),
        metrics,
        closing: closing.clone(),
        tasks: tasks.clone(),
    };
    drop(tasks.spawn(serve(admin, port)));
    let cluster = Cluster::new(kube.clone(), config.place);
    let changed = Arc::new(Notify::new());
    let mut background = JoinSet::new();
    for target in cluster.targets() {
        drop(background.spawn(watch(
            Watch::new(kube.clone(), target, None),
            Arc::clone(&changed),
        )));
    }
    let admin_listen = listening.to_string();
    info!(admin_listen, lifetimes = ?config.lifetimes, "keeping the certificates");
    let keeper = Keeper::new(
        cluster,
        config.lifetimes,
        own,
        recorder,
        Arc::clone(&readiness),
        is_right,
    );
    drop(background.spawn(keep(keeper, changed)));
    drop(background.spawn(async move { readiness.report("", &admin_listen).await }));

    let signal = tokio::select! {
        signal = signals.next() => signal,
        Some(ended) = background.join_next() => return Err(Error::TaskEnded(ended.err())),
    };
    // A step that is cut off is done anew at the next start.
    background.abort_all();
    info!(signal, "shutting down");
    closing.begin();
    tokio::select! {
        () = close(Duration::ZERO, &closing, &tasks) => Ok(()),
        signal = signals.next() => Err(Error::SecondSignal(signal)),
    }
}

/// Looks and acts for ever: at once after a step, when a watch has shown a change, when something is due, and every minute.
async fn keep(mut keeper: Keeper, changed: Arc<Notify>) {
    let (mut steps, mut failures) = (0_u32, 0_u32);
    loop {
        match keeper.pass().await {
            Ok(Done::Step) => {
                failures = 0;
                steps = steps.saturating_add(1);
                if let Some(many) = steps.checked_sub(STEPS_IN_A_ROW) {
                    sleep(pause::before_retry(many)).await;
                }
            }
            Ok(Done::Fight(pause)) => {
                (steps, failures) = (0, 0);
                sleep(pause).await;
            }
            Ok(Done::Rest(wait)) => {
                (steps, failures) = (0, 0);
                sleep(PAUSE_MIN).await;
                let wait = wait.unwrap_or(LOOK_EVERY).min(LOOK_EVERY);
                tokio::select! {
                    () = sleep(wait) => {}
                    () = changed.notified() => {}
                }
            }
            Err(error) => {
                let pause = pause::before_retry(failures);
                failures = failures.saturating_add(1);
                keeper.failed(&error, pause);
                sleep(pause).await;
            }
        }
    }
}

/// Reports each change of what is watched. What has changed is read afresh, so a missed change costs only time.
async fn watch(watch: Watch<Value>, changed: Arc<Notify>) {
    let mut news = std::pin::pin!(watch.news());
    let mut is_failing = false;
    while let Some(next) = news.next().await {
        match next {
            Ok(News::Change(Change::Listed(_) | Change::Present(_) | Change::Gone(_) | Change::Gap)) => {
                is_failing = false;
                changed.notify_one();
            }
            Ok(News::Began | News::Bookmark) => is_failing = false,
            Err(error) if is_failing => debug!(why = one_line(&error), "a watch failed again"),
            Err(error) => {
                is_failing = true;
                warn!(
                    why = one_line(&error),
                    "a watch failed and is tried again; until then changes are noticed within a minute: allow the ServiceAccount to list and \
                     watch the two Secrets and the webhook configurations, by name"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use cordonhold_shared::certificates::SETTLE_MIN;

    use crate::trust::READ_EVERY;

    #[test]
    fn a_ca_settles_for_as_long_as_the_webhook_takes_to_read_its_configuration() {
        assert!(SETTLE_MIN >= READ_EVERY, "{SETTLE_MIN:?} {READ_EVERY:?}");
    }
}
