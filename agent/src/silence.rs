//! Keeps the silences of Alertmanager for the node, in a task of its own, which the cycle neither waits for nor hears of.
//!
//! The task is shown each change of the hold, of which only the last counts. An Alertmanager that fails is said so once, with what to fix.
//! Not here: what the silences should be ([`cordonhold_shared::reboot::silence`]), and how Alertmanager is reached ([`crate::http_api`]).

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use cordonhold_rt::exit::one_line;
use cordonhold_rt::pause::random;
use cordonhold_shared::reboot::moment::Moment;
use cordonhold_shared::reboot::silence::wire::{self, Method};
use cordonhold_shared::reboot::silence::{Found, Held, Keeper, Matcher, Step};
use http::Request;
use hyper::body::Bytes;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::clock::Clock;
use crate::config::{HttpApiConfig, SilenceConfig};
use crate::http_api::{About, HttpApi};
use crate::metrics::Metrics;

const ABOUT: About = About {
    who: "Alertmanager",
    flags: "silence",
    if_slow: "check its load, and network policies on the way there",
    if_not_found: "check the path in --silence-url: /api/v2/silences is added to it, so a prefix such as /alertmanager has to be in it",
    // The answer has the silences of one node, each of some hundred bytes, and in older versions also those of the last five days.
    answer_max: 1024 * 1024,
};
/// Longest time for all requests of one look at one Alertmanager: some of them may be slow, and the next Alertmanager may be faster.
const ROUND_MAX: Duration = Duration::from_secs(30);
/// Longest wait at the end of the process. An Alertmanager answers in some milliseconds, and what is lost then ends by itself.
const END_MAX: Duration = Duration::from_secs(3);
/// How many different failures in a row are warnings. A text that differs each time would fill the log.
const TOLD_MAX: u8 = 3;

/// Shows the task what the hold is.
pub(crate) struct Silencer {
    shown: watch::Sender<Shown>,
    /// The number of the last hold that was acted on, as far as it could be.
    acted: watch::Receiver<u64>,
}

/// What the silences go by.
#[derive(Clone, Default)]
struct Shown {
    /// Counts the changes.
    number: u64,
    uid: String,
    held: Held,
}

/// The task.
pub(crate) struct Silences {
    node: String,
    sets: Vec<Vec<Matcher>>,
    alertmanagers: Vec<Member>,
    /// Which Alertmanager is asked first: the one that answered last, or the one after the last that failed.
    current: usize,
    reboot_timeout: Duration,
    shown: watch::Receiver<Shown>,
    acted: watch::Sender<u64>,
    told: Told,
    metrics: Arc<Metrics>,
}

/// One of the Alertmanagers.
enum Member {
    /// Its client is made when it is first asked, and again until that works: a file that cannot be read must not keep the agent from its node.
    Named(HttpApiConfig),
    Made(HttpApi),
}

/// Which failures were told since Alertmanager answered last.
#[derive(Default)]
struct Told {
    last: Option<String>,
    count: u8,
}

/// What the agent needs for silences; `None` if it makes none.
pub(crate) fn silences(
    config: Option<SilenceConfig>,
    node: &str,
    reboot_timeout: Duration,
    metrics: &Arc<Metrics>,
) -> Option<(Silencer, Silences)> {
    let SilenceConfig {
        alertmanagers,
        matchers,
    } = config?;
    let members = alertmanagers.into_iter().map(Member::Named).collect();
    let sets = matchers.iter().map(|matchers| matchers.of(node)).collect();
    Some(of(members, sets, node, reboot_timeout, metrics))
}

fn of(
    alertmanagers: Vec<Member>,
    sets: Vec<Vec<Matcher>>,
    node: &str,
    reboot_timeout: Duration,
    metrics: &Arc<Metrics>,
) -> (Silencer, Silences) {
    let (show, shown) = watch::channel(Shown::default());
    let (act, acted) = watch::channel(0);
    let silences = Silences {
        node: node.to_owned(),
        sets,
        alertmanagers,
        current: 0,
        reboot_timeout,
        shown,
        acted: act,
        told: Told::default(),
        metrics: Arc::clone(metrics),
    };
    (Silencer { shown: show, acted }, silences)
}

impl Silencer {
    /// Shows the task the hold of the Node with this uid. It takes no time.
    pub(crate) fn show(&self, uid: &str, held: &Held) {
        let _ = self.shown.send_if_modified(|shown| {
            let is_new = shown.uid != uid || shown.held != *held;
            if is_new {
                *shown = Shown {
                    number: shown.number.saturating_add(1),
                    uid: uid.to_owned(),
                    held: held.clone(),
                };
            }
            is_new
        });
    }

    /// Gives the task a moment to act on what it was shown last, before the process ends.
    pub(crate) async fn end(&self) {
        let last = self.shown.borrow().number;
        let mut acted = self.acted.clone();
        // What is not done by then ends by itself.
        drop(timeout(END_MAX, acted.wait_for(|acted| *acted >= last)).await);
    }
}

impl Member {
    fn api(&mut self) -> Result<HttpApi, String> {
        let made = match self {
            Member::Made(api) => return Ok(api.clone()),
            Member::Named(config) => HttpApi::new(&ABOUT, config),
        };
        let api = made.map_err(|error| one_line(&error))?;
        *self = Member::Made(api.clone());
        Ok(api)
    }
}

impl Silences {
    /// Keeps the silences until the process ends.
    pub(crate) async fn run(mut self) {
        let clock = Clock::start();
        let mut keeper = Keeper::new(self.reboot_timeout);
        let mut shown = self.shown.clone();
        // Of the hold that the keeper goes by.
        let mut number = 0;
        loop {
            let due = keeper.due(clock.moment());
            if due.is_none() {
                let _ = self.acted.send_replace(number);
            }
            let round = async {
                clock.at(due).await;
                self.look(&mut keeper, clock).await
            };
            tokio::select! {
                // A change ends a round that is under way, because what that would do may be wrong by now.
                biased;
                changed = shown.changed() => {
                    if changed.is_err() {
                        return pending().await;
                    }
                    let last = shown.borrow_and_update().clone();
                    number = last.number;
                    let _ = keeper.show(&last.uid, last.held, clock.moment());
                }
                is_done = round => {
                    if is_done {
                        self.succeeded(&mut keeper, clock.moment());
                    } else {
                        keeper.failed(clock.moment(), random());
                        self.metrics.silence_failed();
                    }
                    let _ = self.acted.send_replace(number);
                }
            }
        }
    }

    /// Asks one Alertmanager after the other, until one has carried out everything. `false` if none has.
    ///
    /// The next one is asked at once, because the process may be about to end.
    async fn look(&mut self, keeper: &mut Keeper, clock: Clock) -> bool {
        for _ in 0..self.alertmanagers.len() {
            let tried = timeout(ROUND_MAX, self.round(keeper, clock.moment())).await;
            let tried = tried.unwrap_or_else(|_| {
                Err(format!(
                    "Alertmanager did not answer all requests within {ROUND_MAX:?}: {}",
                    ABOUT.if_slow
                ))
            });
            match tried {
                Ok(()) => return true,
                Err(why) => self.pass_over(&why),
            }
        }
        false
    }

    /// Looks at the silences that there are, and sets them right. Gives the first error, which stops no request but its own: Alertmanager may
    /// refuse one set of matchers for ever, and must still cut the others.
    async fn round(&mut self, keeper: &mut Keeper, at: Moment) -> Result<(), String> {
        let Some(member) = self.alertmanagers.get_mut(self.current) else {
            return Ok(());
        };
        let api = member.api()?;
        let mut outcome = Ok(());
        let (mut sets, mut found) = (Vec::new(), Vec::new());
        for set in &self.sets {
            match listed(&api, set).await {
                Ok(silences) => {
                    sets.push(set.clone());
                    found.extend(silences);
                }
                Err(why) => outcome = outcome.and(Err(why)),
            }
        }
        for step in keeper.steps(&sets, &found, at) {
            outcome = outcome.and(self.carry_out(&api, &step, at.wall).await);
        }
        outcome
    }

    async fn carry_out(&self, api: &HttpApi, step: &Step, now: Timestamp) -> Result<(), String> {
        let (node, request) = (&self.node, wire::request(step, &self.node, now));
        let body = sent(api, &request).await?;
        match step {
            Step::Create { matchers, ends, .. } => {
                wire::read_posted(&body).map_err(|why| format!("{why}: {NOT_IT}"))?;
                info!(event = "silence_made", node, alerts = shown(matchers), until = %ends, "silenced the node's alerts");
            }
            Step::Extend(found, ends) => {
                wire::read_posted(&body).map_err(|why| format!("{why}: {NOT_IT}"))?;
                debug!(event = "silence_extended", node, alerts = shown(&found.matchers), until = %ends, "extended a silence");
            }
            Step::Cut(found) => {
                info!(
                    event = "silence_cut",
                    node,
                    alerts = shown(&found.matchers),
                    "ended a silence"
                );
            }
        }
        Ok(())
    }

    fn succeeded(&mut self, keeper: &mut Keeper, at: Moment) {
        keeper.succeeded(at);
        if self.told.count > 0 {
            info!(
                event = "silence_answered",
                node = self.node,
                "Alertmanager answers again"
            );
        }
        self.told = Told::default();
    }

    /// Tells why an Alertmanager failed, and goes on to the next one.
    fn pass_over(&mut self, why: &str) {
        let url = self.current.saturating_add(1);
        let node = &self.node;
        if self.told.is_news(why) {
            warn!(
                event = "silence_failed",
                node,
                url,
                why,
                "failed to set the silences of the node, trying again: the reboot does not wait for it"
            );
        } else {
            debug!(
                event = "silence_failed",
                node, url, why, "failed again to set the silences of the node"
            );
        }
        self.current = url.checked_rem(self.alertmanagers.len()).unwrap_or(0);
    }
}

/// What to check after an answer that is none of Alertmanager.
const NOT_IT: &str =
    "check that --silence-url leads to Alertmanager itself, and not to a page or a login before it";

impl Told {
    /// Whether a failure is to be told; takes note of it.
    fn is_news(&mut self, why: &str) -> bool {
        let is_news = self.count < TOLD_MAX && self.last.as_deref() != Some(why);
        if is_news {
            self.last = Some(why.to_owned());
            self.count = self.count.saturating_add(1);
        }
        is_news
    }
}

/// The silences of agents that have these matchers.
async fn listed(api: &HttpApi, set: &[Matcher]) -> Result<Vec<Found>, String> {
    let body = sent(api, &wire::list(set)).await?;
    wire::read_list(&body).map_err(|why| format!("{why}: {NOT_IT}"))
}

/// Sends a request, and gives the body of an answer that says that it was carried out.
async fn sent(api: &HttpApi, request: &wire::Request) -> Result<Bytes, String> {
    let method = request.method.as_str();
    let mut builder = Request::builder().method(method).uri(&request.path);
    if request.body.is_some() {
        builder = builder.header(http::header::CONTENT_TYPE, "application/json");
    }
    let body = request
        .body
        .as_ref()
        .map_or_else(Vec::new, |body| body.to_string().into_bytes());
    let message = builder.body(body).map_err(|error| error.to_string())?;
    let (status, body) = api.ask(message).await?;
    // A silence that is not there any more needs no end.
    let is_gone = request.method == Method::Delete && status == http::StatusCode::NOT_FOUND;
    if status.is_success() || is_gone {
        return Ok(body);
    }
    let why = wire::refusal(&body);
    Err(format!("Alertmanager refuses: {why} {}", api.status(status)))
}

/// The matchers of a silence, as Alertmanager shows them.
fn shown(matchers: &[Matcher]) -> String {
    let texts: Vec<String> = matchers.iter().map(Matcher::to_string).collect();
    texts.join(",")
}

#[cfg(test)]
mod tests;
