//! The agent's watches in virtual time, and the faults of their connections.
//!
//! Not here: from which version and after which pause a watch goes on; the real code decides that
//! ([`cordonhold_shared::watch::Place`]).

use std::time::Duration;

use cordonhold_shared::backoff::jittered;
use cordonhold_shared::reboot::driver::{Observed, Source};
use cordonhold_shared::reboot::moment::Uptime;
use cordonhold_shared::watch::{Change, Place, REQUEST_SECONDS, SILENCE_BOUND};

use super::Purpose;
use crate::api_server::{
    Answer, Commit, EventKind, Key, Resource, Selector, Stored, Verb, Watch, WatchEvent,
};
use crate::faults::Fault;
use crate::network::{Message, Reply};
use crate::world::{Event, LOCK_NAME, LOCK_NAMESPACE, World};

const SOURCES: [Source; 3] = [Source::Node, Source::Lock, Source::Pods];

/// Names one connection of a watch of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    agent: usize,
    process: u64,
    source: Source,
    epoch: u64,
    /// The number of the connection.
    connection: u64,
}

/// A watch that opens a new connection whenever one ends.
#[derive(Debug)]
pub(crate) struct Follower {
    epoch: u64,
    place: Place,
    connection: u64,
    watch: Option<Watch>,
    is_silent: bool,
    /// Nothing is delivered before this time.
    held_until: Uptime,
}

impl World {
    pub(super) fn follow(&mut self, agent: usize, source: Source, epoch: u64, version: Option<String>) {
        let Some(process) = self.process(agent) else {
            return;
        };
        let task = Task {
            agent,
            process: process.number,
            source,
            epoch,
            connection: 0,
        };
        process.followers[source as usize] = Some(Follower {
            epoch,
            place: Place::new(version, source.ends_with_object()),
            connection: 0,
            watch: None,
            is_silent: false,
            held_until: Uptime::START,
        });
        self.watch_goes_on(task);
    }

    pub(super) fn unfollow(&mut self, agent: usize, source: Source) {
        if let Some(process) = self.process(agent) {
            process.followers[source as usize] = None;
        }
    }

    fn follower(&mut self, task: Task) -> Option<&mut Follower> {
        let process = self.process(task.agent)?;
        if process.number != task.process {
            return None;
        }
        let follower = process.followers[task.source as usize].as_mut()?;
        (follower.epoch == task.epoch && follower.connection == task.connection).then_some(follower)
    }

    /// Lists the objects, or opens a watch at the version that the last one reached.
    pub(crate) fn watch_goes_on(&mut self, task: Task) {
        let Some(follower) = self.follower(task) else {
            return;
        };
        let version = follower.place.version().and_then(|version| version.parse().ok());
        let (key, selector) = target(task);
        match version {
            None => self.request_for(task.agent, Purpose::List(task), key, Verb::List(selector)),
            Some(version) => {
                let message = Message::Watch(key, selector, version);
                self.send(task.agent, Purpose::Open(task), message);
            }
        }
    }

    pub(super) fn listed(&mut self, task: Task, reply: Reply) {
        let Reply::Answer(Ok(Answer::List(items, version))) = reply else {
            return self.watch_failed(task, None);
        };
        let Some(follower) = self.follower(task) else {
            return;
        };
        follower.place.listed(version.to_string());
        self.tell(task, &Told::Listed(items));
        self.watch_goes_on(task);
        self.pump(task.agent);
    }

    pub(super) fn opened(&mut self, task: Task, reply: Reply) {
        let (now, version) = (self.now, self.server.version());
        match reply {
            Reply::Watching(Ok(watch)) => {
                let Some(follower) = self.follower(task) else {
                    return;
                };
                let is_behind = watch.cursor < version;
                follower.watch = Some(watch);
                follower.is_silent = false;
                let bound = Duration::from_secs(u64::from(REQUEST_SECONDS));
                self.at(now + bound, Event::WatchEnds(task, false));
                if is_behind {
                    let pause = self.random.millis(1, 20);
                    self.after(pause, Event::Deliver(task, version));
                }
                self.disturb_watch(task);
            }
            Reply::Watching(Err(status)) => self.watch_failed(task, Some(status.code)),
            _ => self.watch_failed(task, None),
        }
    }

    /// Draws the faults of a new connection.
    fn disturb_watch(&mut self, task: Task) {
        if self.draws(Fault::WatchSilent) {
            if let Some(follower) = self.follower(task) {
                follower.is_silent = true;
            }
            self.after(SILENCE_BOUND, Event::WatchEnds(task, true));
        }
        if self.draws(Fault::WatchClosed) {
            let pause = self.random.millis(1, 40_000);
            self.after(pause, Event::WatchEnds(task, false));
        }
        if self.draws(Fault::WatchError) {
            let pause = self.random.millis(1, 40_000);
            self.after(pause, Event::WatchEnds(task, true));
        }
        if self.draws(Fault::WatchDelayed) {
            let end = self.now + self.random.millis(100, 30_000);
            if let Some(follower) = self.follower(task) {
                follower.held_until = end;
            }
        }
    }

    /// Ends a connection that failed; `code` is the HTTP status if the server answered.
    fn watch_failed(&mut self, task: Task, code: Option<u16>) {
        let Some(follower) = self.follower(task) else {
            return;
        };
        let retry = follower.place.failed(code);
        if retry.has_gap {
            self.tell(task, &Told::Gap);
        }
        self.pause_watch(task, retry.pause);
        self.pump(task.agent);
    }

    fn pause_watch(&mut self, task: Task, pause: Duration) {
        let pause = jittered(pause, self.random.number());
        let Some(follower) = self.follower(task) else {
            return;
        };
        follower.watch = None;
        follower.connection += 1;
        let next = Task {
            connection: follower.connection,
            ..task
        };
        self.after(pause, Event::WatchGoesOn(next));
    }

    /// Ends a connection: with `is_error` it failed, otherwise the server ended it.
    pub(crate) fn watch_ends(&mut self, task: Task, is_error: bool) {
        let has_bookmark = self.random.chance(9_000);
        let version = self.server.version();
        let Some(follower) = self.follower(task) else {
            return;
        };
        if follower.is_silent && !is_error {
            return;
        }
        if is_error {
            return self.watch_failed(task, None);
        }
        let pause = follower.place.ended();
        // Before it ends a watch, a server usually sends the remaining events and a bookmark.
        if has_bookmark && follower.held_until == Uptime::START {
            self.deliver(task, version);
            if let Some(follower) = self.follower(task) {
                let _ = follower.place.moved(version.to_string(), false);
            }
        }
        self.pause_watch(task, pause);
    }

    /// Plans the delivery of a commit to every watch that selects it.
    pub(crate) fn tell_watches(&mut self, commit: &Commit) {
        let mut told = Vec::new();
        for (agent, who) in self.agents.iter().enumerate() {
            let Some(process) = &who.process else { continue };
            for source in SOURCES {
                let Some(follower) = process.follower(source) else {
                    continue;
                };
                if follower.is_silent || !follower.watch.as_ref().is_some_and(|watch| watch.sees(commit)) {
                    continue;
                }
                let task = Task {
                    agent,
                    process: process.number,
                    source,
                    epoch: follower.epoch,
                    connection: follower.connection,
                };
                told.push((task, follower.held_until));
            }
        }
        for (task, held_until) in told {
            let pause = self.random.millis(1, 20);
            let time = (self.now + pause).max(held_until);
            self.at(time, Event::Deliver(task, commit.version));
        }
    }

    pub(crate) fn deliver(&mut self, task: Task, up_to: u64) {
        let now = self.now;
        let is_cut_off = now < self.agents[task.agent].cut_off_until;
        let Some(follower) = self.follower(task) else {
            return;
        };
        if follower.is_silent || is_cut_off || now < follower.held_until {
            follower.is_silent |= is_cut_off;
            if is_cut_off {
                self.after(SILENCE_BOUND, Event::WatchEnds(task, true));
            }
            return;
        }
        let Some(mut watch) = follower.watch.take() else {
            return;
        };
        let events = self.server.events(&mut watch, up_to);
        if let Some(follower) = self.follower(task) {
            follower.watch = Some(watch);
        }
        let events = match events {
            Ok(events) => events,
            Err(status) => {
                self.fired(Fault::WatchTooOld);
                return self.watch_failed(task, Some(status.code));
            }
        };
        self.take_events(task, events);
        self.pump(task.agent);
    }

    fn take_events(&mut self, task: Task, events: Vec<WatchEvent>) {
        for event in events {
            let Some(follower) = self.follower(task) else {
                return;
            };
            let is_gone = event.kind == EventKind::Deleted;
            let is_end = follower.place.moved(event.version.to_string(), is_gone);
            let pause = follower.place.ended();
            let told = match event.kind {
                EventKind::Added | EventKind::Modified => Told::Present(event.object),
                EventKind::Deleted => Told::Gone(event.object),
            };
            self.tell(task, &told);
            if is_end {
                return self.pause_watch(task, pause);
            }
        }
    }

    fn tell(&mut self, task: Task, told: &Told) {
        let at = self.moment(task.agent);
        let Some(process) = self.process(task.agent) else {
            return;
        };
        let observed = match task.source {
            Source::Node => Observed::Node(told.change(|object| object.node().clone())),
            Source::Lock => {
                Observed::Lock(told.change(|object| object.carrier().cloned().unwrap_or_default()))
            }
            Source::Pods => Observed::Pods(told.change(|object| object.pod().clone())),
        };
        process.driver.observed(task.epoch, observed, at);
    }
}

/// A change of a watch, with stored objects instead of decoded ones.
enum Told {
    Listed(Vec<Stored>),
    Present(Stored),
    Gone(Stored),
    Gap,
}

impl Told {
    fn change<T>(&self, decode: impl Fn(&Stored) -> T) -> Change<T> {
        match self {
            Told::Listed(objects) => Change::Listed(objects.iter().map(decode).collect()),
            Told::Present(object) => Change::Present(decode(object)),
            Told::Gone(object) => Change::Gone(decode(object)),
            Told::Gap => Change::Gap,
        }
    }
}

fn target(task: Task) -> (Key, Selector) {
    let node = format!("node-{}", task.agent);
    match task.source {
        Source::Node => (
            Key::new(Resource::Nodes, "", ""),
            Selector::fields(&format!("metadata.name={node}")),
        ),
        Source::Lock => (
            Key::new(Resource::Leases, LOCK_NAMESPACE, ""),
            Selector::fields(&format!("metadata.name={LOCK_NAME}")),
        ),
        Source::Pods => (
            Key::new(Resource::Pods, "", ""),
            Selector::fields(&format!("spec.nodeName={node}")),
        ),
    }
}
