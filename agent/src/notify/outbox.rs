//! The messages that wait to be sent, beside the agent's loop: a queue for each URL, so that one that hangs holds up no other.
//!
//! A message is noted on the host before it is sent, so that no restart sends it again: each step of a hold has it once, or never if
//! the agent is killed in between.
//! It is tried again only if the receiver has certainly not taken it.
//! Not here: which reports are messages ([`Report::message`]), and how one is sent ([`super::http`], [`super::mail`]).

use std::sync::Arc;
use std::time::Duration;

use cordonhold_rt::exit::one_line;
use cordonhold_shared::reboot::cycle::{Message, Report, Told};
use futures_util::future::join_all;
use hyper::body::Bytes;
use jiff::Timestamp;
use lettre::Address;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::http::{Failure, Http};
use super::mail::{Mail, Roots};
use super::service::{Delivery, Login, Matrix, Request, delivery, encoded_part};
use super::target::Target;
use super::{NotifyConfig, Templates, trust};
use crate::host::told::ToldFile;
use crate::report::{Sink, Subject};

/// Most messages that wait for one URL. A reboot has four, and a node has one reboot at a time.
const WAITING_MAX: usize = 16;
/// Longest time of one try. Slow mail servers take some seconds to greet.
const TRY_MAX: Duration = Duration::from_secs(15);
/// The pauses before the second and the third try, which is the last.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
/// Most rooms of Matrix that one message goes to.
const ROOMS_MAX: usize = 32;
/// Longest text of a message, in characters. Each service takes this many.
const TEXT_MAX: usize = 1000;
/// Longest wait for the messages before the reboot command is run.
const REBOOT_WAIT_MAX: Duration = Duration::from_secs(2);
/// What is left of the reboot's deadline after that wait, whatever it is.
const REBOOT_RESERVE: Duration = Duration::from_secs(5);
/// Longest wait for the messages at the end of the process.
pub(crate) const END_MAX: Duration = Duration::from_secs(5);

/// Takes messages, and never waits for their receivers.
#[derive(Clone)]
pub(crate) struct Outbox {
    node: String,
    texts: Arc<Templates>,
    letters: mpsc::Sender<Letter>,
    waiting: Arc<watch::Sender<usize>>,
}

/// The other end: what sends the messages.
pub(crate) struct Post {
    node: String,
    targets: Vec<Target>,
    http: Http,
    roots: Roots,
    letters: mpsc::Receiver<Letter>,
    waiting: Arc<watch::Sender<usize>>,
    told: ToldFile,
}

/// One message.
#[derive(Clone, Debug)]
struct Letter {
    holder: Option<String>,
    message: Message,
    text: String,
}

/// What is sent at once, to one receiver.
enum Parcel<'a> {
    Http(&'a Http, &'a Request),
    Mail(&'a Mail, &'a Address, &'a Roots),
}

/// What sends the messages of one URL.
struct Carrier<'a> {
    node: &'a str,
    /// Which URL it is, counted from 1.
    number: usize,
    target: &'a Target,
    http: &'a Http,
    roots: &'a Roots,
}

/// The queue, and what sends its messages; `None` if there is no URL.
pub(crate) fn outbox(
    config: NotifyConfig,
    node: &str,
    told: ToldFile,
) -> Result<Option<(Outbox, Post)>, trust::TrustError> {
    if config.targets.is_empty() {
        return Ok(None);
    }
    let (tls, roots) = trust::load(&config)?;
    let (letters, waiting_letters) = mpsc::channel(WAITING_MAX);
    let waiting = Arc::new(watch::Sender::new(0));
    let outbox = Outbox {
        node: node.to_owned(),
        texts: Arc::new(config.texts),
        letters,
        waiting: Arc::clone(&waiting),
    };
    let post = Post {
        node: node.to_owned(),
        targets: config.targets,
        http: Http {
            tls,
            variable: |name| std::env::var(name).ok(),
        },
        roots,
        letters: waiting_letters,
        waiting,
        told,
    };
    Ok(Some((outbox, post)))
}

impl Sink for Outbox {
    fn take(&self, report: &Report, about: &Subject) {
        let Some(message) = report.message() else { return };
        let Some(text) = self.texts.text(message, report, &self.node) else {
            return;
        };
        let letter = Letter {
            holder: about.holder.clone(),
            message,
            text: clipped(&text),
        };
        self.waiting.send_modify(|waiting| *waiting += 1);
        if self.letters.try_send(letter).is_err() {
            self.waiting.send_modify(|waiting| *waiting -= 1);
            warn!(
                event = "message_lost",
                node = self.node,
                message = name(message),
                why = TOO_MANY,
                "failed to send a message"
            );
        }
    }
}

const TOO_MANY: &str = "too many messages are waiting to be sent";

fn clipped(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

impl Outbox {
    /// Waits until no message waits to be sent.
    pub(crate) async fn emptied(&self) {
        // The sender lives as long as `self`.
        drop(self.waiting.subscribe().wait_for(|waiting| *waiting == 0).await);
    }

    /// Gives the messages a moment to go out before the reboot that has this deadline.
    pub(crate) async fn before_reboot(&self, deadline: Option<Instant>) {
        let left = deadline.map_or(Duration::ZERO, |end| {
            end.saturating_duration_since(Instant::now())
        });
        let wait = left.saturating_sub(REBOOT_RESERVE).min(REBOOT_WAIT_MAX);
        // What is not sent by then may still be sent while the host goes down.
        drop(timeout(wait, self.emptied()).await);
    }

    /// Gives the messages a moment to go out before the process ends, and logs what is left.
    pub(crate) async fn end(&self) {
        if timeout(END_MAX, self.emptied()).await.is_err() {
            warn!(
                event = "messages_cut_off",
                node = self.node,
                messages = *self.waiting.borrow(),
                "ending although messages wait to be sent"
            );
        }
    }
}

impl Post {
    /// Sends messages until the queue is closed.
    pub(crate) async fn run(self) {
        let Post {
            node,
            targets,
            http,
            roots,
            mut letters,
            waiting,
            told,
        } = self;
        let mut doors = Vec::new();
        let mut carriers = Vec::new();
        for (at, target) in targets.iter().enumerate() {
            let (door, letters) = mpsc::channel(WAITING_MAX);
            doors.push(door);
            let carrier = Carrier {
                node: &node,
                number: at.saturating_add(1),
                target,
                http: &http,
                roots: &roots,
            };
            carriers.push(carrier.run(letters, &waiting));
        }
        let sorting = async {
            let mut record = Record::read(&node, told).await;
            while let Some(letter) = letters.recv().await {
                if record.is_news(&letter).await {
                    hand_over(&node, &doors, &letter, &waiting);
                }
                waiting.send_modify(|waiting| *waiting -= 1);
            }
            drop(doors);
        };
        drop(tokio::join!(sorting, join_all(carriers)));
    }
}

/// Puts a message into the queue of each URL.
fn hand_over(node: &str, doors: &[mpsc::Sender<Letter>], letter: &Letter, waiting: &watch::Sender<usize>) {
    for (at, door) in doors.iter().enumerate() {
        if door.try_send(letter.clone()).is_ok() {
            waiting.send_modify(|waiting| *waiting += 1);
        } else {
            warn!(
                event = "message_lost",
                node,
                url = at.saturating_add(1),
                message = name(letter.message),
                why = TOO_MANY,
                "failed to send a message"
            );
        }
    }
}

/// Which messages the hold has had, as the host keeps it.
struct Record<'a> {
    node: &'a str,
    file: ToldFile,
    told: Told,
}

impl Record<'_> {
    async fn read(node: &str, file: ToldFile) -> Record<'_> {
        let told = file.read().await.unwrap_or_else(|error| {
            unkept(node, &one_line(&error));
            Told::default()
        });
        Record { node, file, told }
    }

    /// Notes the message, and returns whether it has not been noted before.
    async fn is_news(&mut self, letter: &Letter) -> bool {
        // Without a hold there is no step to have had it.
        let Some(holder) = &letter.holder else { return true };
        if !self.told.is_news(holder, letter.message) {
            debug!(
                event = "message_known",
                node = self.node,
                message = name(letter.message),
                "an earlier process sent this message"
            );
            return false;
        }
        if let Err(error) = self.file.write(&self.told).await {
            unkept(self.node, &one_line(&error));
        }
        true
    }
}

fn unkept(node: &str, why: &str) {
    warn!(
        event = "message_unrecorded",
        node,
        why,
        "the host does not keep which messages were sent: an agent that restarts may send one again"
    );
}

impl Carrier<'_> {
    async fn run(self, mut letters: mpsc::Receiver<Letter>, waiting: &watch::Sender<usize>) {
        while let Some(letter) = letters.recv().await {
            match self.deliver(&letter).await {
                Ok(()) => debug!(
                    event = "message_sent",
                    node = self.node,
                    to = self.target.service.name(),
                    url = self.number,
                    message = name(letter.message),
                    "sent a message"
                ),
                Err(failure) => self.lost(&letter, &failure),
            }
            waiting.send_modify(|waiting| *waiting -= 1);
        }
    }

    fn lost(&self, letter: &Letter, failure: &Failure) {
        let outcome = match failure {
            Failure::Later(_) => "tried three times",
            Failure::Refused(_) => "refused",
            Failure::Unknown(_) => "may have arrived all the same, so it is not sent again",
        };
        warn!(
            event = "message_lost",
            node = self.node,
            to = self.target.service.name(),
            url = self.number,
            message = name(letter.message),
            why = format!("{} ({outcome})", failure.why()),
            "failed to send a message"
        );
    }

    /// Delivers a message to each of its receivers. The last failure is returned once all have been tried.
    async fn deliver(&self, letter: &Letter) -> Result<(), Failure> {
        let made = delivery(self.target, &letter.text, Timestamp::now());
        match made.map_err(|mistake| Failure::Refused(mistake.to_string()))? {
            Delivery::Http(requests) => {
                let mut outcome = Ok(());
                for request in &requests {
                    outcome = last(outcome, self.insist(request).await.map(drop));
                }
                outcome
            }
            Delivery::Matrix(matrix) => self.deliver_to_rooms(&matrix, letter).await,
            Delivery::Mail(mail) => {
                let mut outcome = Ok(());
                for to in &mail.to {
                    let mail = Parcel::Mail(&mail, to, self.roots);
                    outcome = last(outcome, mail.insist().await.map(drop));
                }
                outcome
            }
        }
    }

    async fn insist(&self, request: &Request) -> Result<Bytes, Failure> {
        Parcel::Http(self.http, request).insist().await
    }

    async fn deliver_to_rooms(&self, matrix: &Matrix, letter: &Letter) -> Result<(), Failure> {
        let token = match &matrix.login {
            Login::Token(token) => token.clone(),
            Login::Password(login) => {
                let answer = self.insist(&matrix.log_in(login)).await?;
                text_in(&answer, "access_token")?
            }
        };
        let outcome = self.send_to_rooms(matrix, letter, &token).await;
        if matches!(matrix.login, Login::Password(_)) {
            // The message counts; a device that stays is removed by its user.
            drop(self.insist(&matrix.log_out(&token)).await);
        }
        outcome
    }

    async fn send_to_rooms(&self, matrix: &Matrix, letter: &Letter, token: &str) -> Result<(), Failure> {
        let mut rooms = matrix.rooms.clone();
        if rooms.is_empty() {
            let answer = self.insist(&matrix.joined(token)).await?;
            let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
            let joined = answer.get("joined_rooms").and_then(Value::as_array);
            let joined = joined.ok_or_else(|| Failure::Refused("the answer lists no rooms".to_owned()))?;
            rooms = joined
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
        }
        // The same for each try of this step, so that the server takes it once.
        let hold = letter
            .holder
            .clone()
            .unwrap_or_else(|| Timestamp::now().to_string());
        let transaction = encoded_part(&format!("{hold}.{}", letter.message.step()));
        let mut outcome = Ok(());
        for room in rooms.iter().take(ROOMS_MAX) {
            let sent = async {
                let id = if room.starts_with('!') {
                    room.clone()
                } else {
                    text_in(&self.insist(&matrix.join(token, room)).await?, "room_id")?
                };
                self.insist(&matrix.send(token, &id, &transaction))
                    .await
                    .map(drop)
            };
            outcome = last(outcome, sent.await);
        }
        outcome
    }
}

impl Parcel<'_> {
    /// Sends it, and returns the answer. Tries up to three times, as long as the receiver has certainly not taken it.
    async fn insist(&self) -> Result<Bytes, Failure> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let mut was_sent = false;
            let tried = timeout(TRY_MAX, self.send(&mut was_sent)).await;
            let silence = format!("no answer within {TRY_MAX:?}");
            let failure = match tried {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(failure)) => failure,
                Err(_) if was_sent => Failure::Unknown(silence),
                Err(_) => Failure::Later(silence),
            };
            match (failure, pauses.next()) {
                (Failure::Later(_), Some(pause)) => sleep(pause).await,
                (failure, _) => return Err(failure),
            }
        }
    }

    /// Sends it once. The flag is set before the receiver may take it.
    async fn send(&self, was_sent: &mut bool) -> Result<Bytes, Failure> {
        match self {
            Parcel::Http(http, request) => http.send(request, was_sent).await,
            Parcel::Mail(mail, to, roots) => mail.send(to, roots, was_sent).await.map(|()| Bytes::new()),
        }
    }
}

/// The later failure of two.
fn last(before: Result<(), Failure>, now: Result<(), Failure>) -> Result<(), Failure> {
    if now.is_err() { now } else { before }
}

/// The text of this name in an answer of JSON.
fn text_in(answer: &[u8], name: &str) -> Result<String, Failure> {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let text = answer.get(name).and_then(Value::as_str).map(str::to_owned);
    text.ok_or_else(|| Failure::Refused(format!("the answer has no {name}")))
}

/// The message's name in the log.
fn name(message: Message) -> &'static str {
    match message {
        Message::Drain => "drain",
        Message::Reboot { .. } => "reboot",
        Message::Uncordon => "uncordon",
        Message::Blocked => "blocked",
        Message::Failed => "failed",
        Message::Stuck => "stuck",
        Message::CalledOff => "called_off",
    }
}
