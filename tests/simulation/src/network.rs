//! The network between agents and the API server: delivers, delays, repeats and loses requests and answers.
//!
//! Not here: the API server (`api_server`) and the agent (`agent`).

use std::time::Duration;

use cordonhold_shared::reboot::moment::Uptime;

use crate::agent::Purpose;
use crate::api_server::{Answer, Key, Request, Selector, Status, Verb, Watch};
use crate::faults::Fault;
use crate::world::{Event, World};

/// Names a message of a process, so that the answer finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct To {
    pub(crate) agent: usize,
    pub(crate) process: u64,
    pub(crate) message: u64,
}

/// A message that an agent sends.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    Request(Request),
    Watch(Key, Selector, u64),
}

/// A message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) to: To,
    pub(crate) message: Message,
    pub(crate) sent: Uptime,
    /// How it is answered, decided when it is sent.
    pub(crate) answered: Answered,
}

/// How a message that arrives is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    InTime,
    Late,
    Never,
    /// With an error, although it was carried out.
    Wrongly,
}

/// What the agent gets back.
#[derive(Debug)]
pub(crate) enum Reply {
    Answer(Result<Answer, Status>),
    Watching(Result<Watch, Status>),
    /// The connection was refused.
    Refused,
    /// No answer came in time.
    Silence,
}

/// What happens to a message.
enum Fate {
    Arrives(Answered),
    ArrivesLate,
    ArrivesTwice,
    Lost,
    Answered(Status),
    /// A proxy gives up waiting and answers 504; the message still arrives.
    GivenUp,
}

impl World {
    pub(crate) fn send(&mut self, agent: usize, purpose: Purpose, message: Message) {
        let bound = purpose.bound();
        let Some(to) = self.agents[agent].open_message(purpose) else {
            return;
        };
        let (fate, now) = (self.fate(agent), self.now);
        let arrival = now + self.random.millis(1, 15);
        let call = |message, answered| {
            Box::new(Call {
                to,
                message,
                sent: now,
                answered,
            })
        };
        if !matches!(fate, Fate::Arrives(Answered::InTime) | Fate::Answered(_)) || self.is_down() {
            self.at(now + bound, Event::Timeout(to));
        }
        match fate {
            Fate::Arrives(answered) => self.at(arrival, Event::Arrive(call(message, answered))),
            Fate::ArrivesLate => {
                let late = self.random.millis(500, 90_000);
                self.at(now + late, Event::Arrive(call(message, Answered::InTime)));
            }
            Fate::ArrivesTwice => {
                let again = self.random.millis(1, 8_000);
                self.at(arrival, Event::Arrive(call(message.clone(), Answered::InTime)));
                self.at(arrival + again, Event::Arrive(call(message, Answered::InTime)));
            }
            Fate::Lost => {}
            Fate::Answered(status) => {
                self.at(arrival, Event::Reply(to, Box::new(Reply::Answer(Err(status)))));
            }
            Fate::GivenUp => {
                let status = Status::new(504, "Timeout", "the proxy gave up");
                let (error, landing) = (self.random.millis(5, 3_000), self.random.millis(5, 20_000));
                self.at(
                    now + error,
                    Event::Reply(to, Box::new(Reply::Answer(Err(status)))),
                );
                self.at(now + landing, Event::Arrive(call(message, Answered::Never)));
            }
        }
    }

    fn fate(&mut self, agent: usize) -> Fate {
        if !self.mixture.is_on() {
            return Fate::Arrives(Answered::InTime);
        }
        if self.now < self.agents[agent].cut_off_until {
            self.fired(Fault::CutOff);
            return Fate::Lost;
        }
        let status = |code, reason| Fate::Answered(Status::new(code, reason, "injected"));
        if self.draws(Fault::RequestLost) {
            Fate::Lost
        } else if self.draws(Fault::RequestLate) {
            Fate::ArrivesLate
        } else if self.draws(Fault::RequestTwice) {
            Fate::ArrivesTwice
        } else if self.draws(Fault::ReplyLost) {
            Fate::Arrives(Answered::Never)
        } else if self.draws(Fault::ReplyLate) {
            Fate::Arrives(Answered::Late)
        } else if self.draws(Fault::ServerErrorAfterWrite) {
            Fate::Arrives(Answered::Wrongly)
        } else if self.draws(Fault::TooManyRequests) {
            status(429, "TooManyRequests")
        } else if self.draws(Fault::ServerError) {
            status(500, "InternalError")
        } else if self.draws(Fault::ProxyNotFound) {
            status(404, "Failed to parse error data")
        } else if self.draws(Fault::GatewayTimeout) {
            Fate::GivenUp
        } else {
            Fate::Arrives(Answered::InTime)
        }
    }

    /// Carries out a message at the API server and sends the answer.
    pub(crate) fn arrive(&mut self, call: &Call) {
        let back = self.random.millis(1, 10);
        if self.is_down() {
            if self.down_silent {
                self.fired(Fault::ServerSilent);
                // A message that was sent just before the server went down has no timeout yet, so plan one.
                let bound = Duration::from_secs(15);
                self.at(call.sent + bound, Event::Timeout(call.to));
            } else {
                self.fired(Fault::ServerRefuses);
                self.after(back, Event::Reply(call.to, Box::new(Reply::Refused)));
            }
            return;
        }
        let reply = match &call.message {
            Message::Request(request) => {
                let own = own_write(call.to.agent, request);
                if let Some(index) = own {
                    self.tamper_beside(index);
                }
                let result = self.server.handle(request, self.now);
                if matches!(&result, Err(status) if status.code == 409) {
                    self.fired(Fault::Conflict);
                }
                self.oracle.handled(request, &result, call.sent, &self.server);
                self.look_at_commits();
                if let Some(index) = own.filter(|_| call.answered != Answered::InTime) {
                    self.tamper_beside(index);
                }
                Reply::Answer(result)
            }
            Message::Watch(key, selector, version) => {
                let result = self.server.watch(key, selector.clone(), *version);
                if result.is_err() {
                    self.fired(Fault::WatchTooOld);
                }
                Reply::Watching(result)
            }
        };
        self.trace_call(call, &reply);
        match call.answered {
            Answered::InTime => self.after(back, Event::Reply(call.to, Box::new(reply))),
            Answered::Late => {
                let late = self.random.millis(20, 20_000);
                self.after(late, Event::Reply(call.to, Box::new(reply)));
            }
            Answered::Never => {}
            Answered::Wrongly => {
                let status = Status::new(500, "InternalError", "injected, but carried out");
                self.after(back, Event::Reply(call.to, Box::new(Reply::Answer(Err(status)))));
            }
        }
    }

    fn trace_call(&mut self, call: &Call, reply: &Reply) {
        self.trace_of(call.to.agent, || {
            let message = match &call.message {
                Message::Request(request) => {
                    format!("{} {:?}", request.key.name, request.verb)
                }
                Message::Watch(key, _, version) => format!("watch {} from {version}", key.resource.as_str()),
            };
            let outcome = match reply {
                Reply::Answer(Ok(Answer::Object(object))) => format!("version {}", object.version),
                Reply::Answer(Ok(Answer::List(items, _))) => format!("{} items", items.len()),
                Reply::Answer(Err(status)) | Reply::Watching(Err(status)) => {
                    format!("{} {}", status.code, status.reason)
                }
                _ => "done".to_owned(),
            };
            let To { agent, process, .. } = call.to;
            format!(
                "agent {agent}.{process} at the API server: {message}: {outcome} ({:?})",
                call.answered
            )
        });
    }
}

/// The agent's node, if the request writes the agent's own Node.
fn own_write(agent: usize, request: &Request) -> Option<usize> {
    let is_write = matches!(request.verb, Verb::Merge(_));
    World::index_of(&request.key.name).filter(|index| *index == agent && is_write)
}
