//! The adversary: writes every kind of value on every mark, sign and label of ours, mostly while the webhook is down.
//!
//! It is a controller. Its writes go through admission, which denies most of them while the webhook is up. It works for a while, then rests.
//! It writes at random times, sometimes several times in a row, just before an agent's own write lands, or while the answer to that
//! write is lost.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use cordonhold_shared::admission::cancel_name;
use cordonhold_shared::hold::{self, Phase, Proof};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::moment::Uptime;
use serde_json::{Map, Value as Json, json};

use super::Player;
use crate::api_server::{Commit, Stored, Verb, WebhookState, wall};
use crate::faults::Fault;
use crate::random::Random;
use crate::tampering::{At, Cell, Mark, Value};
use crate::world::{Event, World};

/// How many versions written by its own agent are remembered of each Node.
const REMEMBERED: usize = 60;

/// What the adversary remembers, and how often it acts.
#[derive(Debug)]
pub(crate) struct Adversary {
    /// For each Node the versions that its own agent wrote, the newest last.
    written: Vec<VecDeque<Stored>>,
    /// When its current spell of work ends.
    until: Uptime,
    /// The longest pause between two of its writes.
    pause: Duration,
    /// How often it acts together with an agent's own write, in 10 000ths.
    beside: u32,
}

impl Adversary {
    pub(crate) fn draw(nodes: usize, random: &mut Random) -> Adversary {
        Adversary {
            written: (0..nodes).map(|_| VecDeque::new()).collect(),
            until: Uptime::START,
            pause: random.millis(300, 15_000),
            beside: u32::try_from(random.below(3_000)).unwrap_or(0),
        }
    }

    /// Remembers a version that the Node's own agent wrote. Forgets all when the Node is deleted.
    fn note(&mut self, commit: &Commit, index: usize) {
        let Some(written) = self.written.get_mut(index) else {
            return;
        };
        let is_own = commit.caller.process.is_some_and(|(agent, _)| agent == index);
        match &commit.new {
            // A later Node of this name is another object.
            None => written.clear(),
            Some(node) if is_own => {
                if written.len() >= REMEMBERED {
                    drop(written.pop_front());
                }
                written.push_back(Rc::clone(node));
            }
            Some(_) => {}
        }
    }

    /// The phase that the Node's own agent wrote last.
    fn at(&self, index: usize) -> At {
        let last = self.written.get(index).and_then(VecDeque::back);
        match last.and_then(|node| node.label(keys::PHASE)) {
            Some("wanted") => At::Wanted,
            Some("draining") => At::Draining,
            Some("delaying") => At::Delaying,
            Some("sealed") => At::Sealed,
            Some("returning") => At::Returning,
            _ => At::None,
        }
    }
}

impl World {
    /// Begins a spell of work. In most of them the webhook is down.
    pub(super) fn begin_spell(&mut self) {
        let length = self.random.seconds(20, 300);
        self.adversary.until = self.now + length;
        if self.random.chance(8_000) && self.server.webhook.state == WebhookState::Up {
            self.server.webhook.state = WebhookState::DownIgnored;
            self.after(length, Event::Player(Player::WebhookUp));
        }
        self.fired(Fault::Tampering);
        self.after(Duration::ZERO, Event::Player(Player::Tampers));
    }

    fn is_tampering(&self) -> bool {
        self.mixture.is_on() && self.now < self.adversary.until
    }

    /// Writes on a Node and plans the next write. Picks the phase first, so that rare phases are hit as often as common ones.
    pub(super) fn tamper_on(&mut self) {
        if !self.is_tampering() {
            return;
        }
        let pause = self
            .random
            .between(Duration::from_millis(100), self.adversary.pause);
        self.after(pause, Event::Player(Player::Tampers));
        let at = self.random.pick(At::ALL).copied().unwrap_or(At::None);
        let nodes = 0..self.hosts.len();
        let of_phase: Vec<usize> = nodes.filter(|index| self.adversary.at(*index) == at).collect();
        let any = self.random.index(self.hosts.len());
        let index = self.random.pick(&of_phase).copied().unwrap_or(any);
        self.tamper_some(index);
    }

    /// Writes on a Node once, or several times in a row.
    fn tamper_some(&mut self, index: usize) {
        let times = if self.random.chance(3_000) {
            2 + self.random.below(3)
        } else {
            1
        };
        for _ in 0..times {
            self.tamper(index);
        }
    }

    /// May write on a Node just before its agent's own write lands, or after it landed and its answer was lost.
    pub(crate) fn tamper_beside(&mut self, index: usize) {
        if self.is_tampering() && self.random.chance(self.adversary.beside) {
            self.tamper_some(index);
        }
    }

    /// Remembers a commit of a Node, and may react to it.
    pub(super) fn tempt(&mut self, commit: &Commit, index: usize) {
        self.adversary.note(commit, index);
        let is_own = commit.caller.process.is_some_and(|(agent, _)| agent == index);
        if is_own && self.is_tampering() && self.random.chance(self.adversary.beside) {
            let pause = self.random.millis(1, 500);
            self.after(pause, Event::Player(Player::TampersWith(index)));
        }
    }

    pub(super) fn tamper(&mut self, index: usize) {
        if !self.is_tampering() {
            return;
        }
        let (at, mark) = (self.adversary.at(index), self.random.pick(Mark::ALL).copied());
        let Some(mark) = mark else { return };
        let value = self.random.pick(mark.values()).copied();
        let Some(value) = value.filter(|value| mark.can_be(at, *value)) else {
            return;
        };
        let Some(patch) = self.tampering(index, mark, value) else {
            return;
        };
        let before = self.server.version();
        let controller = Rc::clone(&self.people.controller);
        let request = self.request(&controller, self.node_key(index), Verb::Merge(patch));
        if self.write(&request) && self.server.version() != before {
            self.statistics.tampered.count(Cell { mark, at, value });
        }
    }

    /// The patch that puts this kind of value on this mark; `None` if there is no such value now.
    fn tampering(&mut self, index: usize, mark: Mark, value: Value) -> Option<Json> {
        let any = self.random.index(self.hosts.len());
        let other = if any == index {
            (any + 1) % self.hosts.len()
        } else {
            any
        };
        let clock = wall(self.now);
        let forged = Proof::new(self.random.bits()).as_str().to_owned();
        let boot = self.hosts[index].identity().to_string();
        let written = self.adversary.written.get(index)?;
        let older = written.get(self.random.index(written.len())).cloned();
        let wish = written
            .iter()
            .rev()
            .find(|node| node.label(keys::PHASE) == Some(Phase::Wanted.as_str()))
            .cloned();
        let last = written.back().cloned();
        let shown = self.server.object(&self.node_key(index))?.node();
        let scene = Scene {
            node: shown,
            last: last.as_ref().map(|node| node.node()),
            older: older.as_ref().map(|node| node.node()),
            wish: wish.as_ref().map(|node| node.node()),
            other: self.server.object(&self.node_key(other)).map(|node| node.node()),
            now: &format!("{clock:.9}"),
            past: "2025-12-31T23:00:00Z",
            future: "2099-01-01T00:00:00Z",
            forged: &forged,
            boot: &boot,
        };
        scene.patch(mark, value)
    }
}

/// The values that the adversary can write.
struct Scene<'a> {
    node: &'a NodeView,
    /// The Node as its own agent wrote it last.
    last: Option<&'a NodeView>,
    older: Option<&'a NodeView>,
    /// The Node as its agent wrote its newest wish.
    wish: Option<&'a NodeView>,
    other: Option<&'a NodeView>,
    now: &'a str,
    past: &'a str,
    future: &'a str,
    forged: &'a str,
    boot: &'a str,
}

impl Scene<'_> {
    fn patch(&self, mark: Mark, value: Value) -> Option<Json> {
        match mark {
            Mark::Taint => Some(taints(self.node, value)),
            Mark::Cordon => {
                Some(json!({ "spec": { "unschedulable": (value == Value::True).then_some(true) } }))
            }
            Mark::Phase => Some(label(keys::PHASE, self.text(keys::PHASE, value)?)),
            Mark::Agent => Some(label(keys::AGENT, self.text(keys::AGENT, value)?)),
            Mark::All => self.all(value),
            Mark::Holder => self.annotation(keys::HOLDER, value),
            Mark::Until => self.annotation(keys::UNTIL, value),
            Mark::BootId => self.annotation(keys::BOOT_ID, value),
            Mark::WasUnschedulable => self.annotation(keys::WAS_UNSCHEDULABLE, value),
            Mark::Write => self.annotation(keys::WRITE, value),
            Mark::Attempt => self.annotation(keys::ATTEMPT, value),
            Mark::GivenBack => self.annotation(keys::GIVEN_BACK, value),
            Mark::ReleaseAt => self.annotation(keys::RELEASE_AT, value),
            Mark::Replaced => self.annotation(keys::REPLACED, value),
            Mark::Cancel => self.annotation(keys::CANCEL, value),
            Mark::DrainProgress => self.annotation(keys::DRAIN_PROGRESS, value),
            Mark::Pause => self.annotation(keys::PAUSE, value),
        }
    }

    fn annotation(&self, key: &str, value: Value) -> Option<Json> {
        let text = self.text(key, value)?;
        Some(json!({ "metadata": { "annotations": { key: text } } }))
    }

    /// The text of this kind of value. `Some(None)` removes the key; `None` means that there is no such value now.
    #[expect(clippy::option_option, reason = "not available, removed, or this text")]
    fn text(&self, key: &str, value: Value) -> Option<Option<String>> {
        let of = |node: Option<&NodeView>| Some(node?.annotation(key)?.to_owned());
        let text = match value {
            Value::Removed => return Some(None),
            Value::Garbage => "garbage".to_owned(),
            Value::Forged => self.forged(key),
            Value::Older => match key {
                keys::CANCEL => format!("{} no reboot now", created(self.older?)?),
                _ => of(self.older)?,
            },
            Value::OfAnother => match key {
                keys::CANCEL => format!("{} no reboot now", cancel_name(self.other?)),
                _ => of(self.other)?,
            },
            Value::ThisHold => self.of_this_hold(key)?,
            Value::Past => self.time(key, self.past)?,
            Value::Future => self.time(key, self.future)?,
            Value::ThisBoot => self.boot.to_owned(),
            Value::Zero
            | Value::One
            | Value::Two
            | Value::Most
            | Value::True
            | Value::False
            | Value::Wanted
            | Value::Draining
            | Value::Delaying
            | Value::Sealed
            | Value::Returning => value.as_str().to_owned(),
        };
        Some(Some(text))
    }

    /// A well-formed value that belongs to no hold.
    fn forged(&self, key: &str) -> String {
        match key {
            keys::HOLDER => format!("{}/{}", self.node.metadata.uid, self.now),
            keys::GIVEN_BACK => format!("{} {}", self.now, self.forged),
            keys::RELEASE_AT => format!("{} {}", self.now, self.future),
            keys::REPLACED => {
                json!({ "annotations": { "example.com/owner": { "was": "web", "by": "us" } } }).to_string()
            }
            keys::DRAIN_PROGRESS => "given up by force: nothing".to_owned(),
            keys::PAUSE => "sale".to_owned(),
            keys::AGENT => "disabled".to_owned(),
            _ => self.forged.to_owned(),
        }
    }

    /// A value that names the agent's current hold. Its proof can be read on the Node, so it can be copied.
    fn of_this_hold(&self, key: &str) -> Option<String> {
        let last = self.last?;
        let holder = last.annotation(keys::HOLDER)?;
        let created = created(last)?;
        let write = self.node.annotation(keys::WRITE).unwrap_or(self.forged);
        Some(match key {
            keys::GIVEN_BACK => format!("{created} {write}"),
            keys::RELEASE_AT => format!("{created} {}", self.now),
            keys::CANCEL => format!("{created} no reboot now"),
            keys::REPLACED => {
                let evil = json!({ "was": "evil/2026-01-01T00:00:00Z", "by": holder });
                json!({ "annotations": { keys::HOLDER: evil } }).to_string()
            }
            key => last.annotation(key)?.to_owned(),
        })
    }

    fn time(&self, key: &str, time: &str) -> Option<String> {
        Some(match key {
            keys::HOLDER => format!("{}/{time}", self.node.metadata.uid),
            keys::GIVEN_BACK => format!("{time} {}", self.forged),
            keys::RELEASE_AT => {
                let last = self.last?;
                let given_back = || Some(last.annotation(keys::GIVEN_BACK)?.split_once(' ')?.0);
                format!("{} {time}", created(last).or_else(given_back)?)
            }
            _ => time.to_owned(),
        })
    }

    /// A patch that writes or removes all marks at once.
    fn all(&self, value: Value) -> Option<Json> {
        let from = match value {
            Value::Removed => None,
            Value::Older => Some(self.older?),
            Value::Wanted => Some(self.wish?),
            _ => Some(self.other?),
        };
        let annotations: Map<String, Json> = keys::MARK_ANNOTATIONS
            .into_iter()
            .map(|key| {
                let value = from.and_then(|from| from.annotation(key));
                (key.to_owned(), json!(value))
            })
            .collect();
        let phase = from.and_then(|from| from.label(keys::PHASE));
        let is_tainted = from.is_some_and(|from| from.is_tainted(keys::REBOOTING));
        let mut patch = taints(self.node, if is_tainted { Value::True } else { Value::Removed });
        patch["metadata"] = json!({ "annotations": annotations, "labels": { keys::PHASE: phase } });
        Some(patch)
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the caller does not need the value any more"
)]
fn label(key: &str, value: Option<String>) -> Json {
    json!({ "metadata": { "labels": { key: value } } })
}

/// A patch of the taints: with ours, without it, or with ours in another effect.
fn taints(node: &NodeView, value: Value) -> Json {
    let others = node
        .spec
        .taints
        .iter()
        .filter(|taint| taint.key != keys::REBOOTING);
    let mut taints: Vec<Json> = others.map(|taint| json!(taint)).collect();
    match value {
        Value::True => taints.push(json!({ "key": keys::REBOOTING, "effect": keys::NO_SCHEDULE })),
        Value::Garbage => taints.push(json!({ "key": keys::REBOOTING, "effect": keys::PREFER_NO_SCHEDULE })),
        _ => {}
    }
    json!({ "spec": { "taints": taints } })
}

/// The `created` of the hold that a Node shows.
fn created(node: &NodeView) -> Option<&str> {
    Some(node.annotation(keys::HOLDER)?.split_once('/')?.1)
}

/// Whether a Node has marks that make no hold. Only a person removes such marks.
pub(super) fn has_stray_marks(node: &NodeView) -> bool {
    hold::has_marks(node) && hold::read(node) == cordonhold_shared::Reading::Absent
}
