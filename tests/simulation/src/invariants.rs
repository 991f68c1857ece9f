//! The oracle: checks the invariants by what the API server committed and what the hosts did, never by what an agent remembers.
//!
//! Some invariants have exemptions; each has a comment where it is made. Two have nothing to do with tampering: a pod that its owner wants
//! on the node may stay there, and so may the lock's entry of an acquire that came late. The others are for cases in which somebody got past the webhook or edited the lock by hand, and almost
//! all of them are for processes that started after that. A process that keeps running remembers what it wrote, and has one exemption:
//! a cordon whose answer was lost in a gap of its watch.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cordonhold_shared::Reading;
use cordonhold_shared::admission::{SKEW, cancel_name};
use cordonhold_shared::hold::{self, Hold, Phase};
use cordonhold_shared::keys;
use cordonhold_shared::lock::{EntryId, Record};
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::moment::Uptime;
use cordonhold_shared::reboot::pod::{self, PodView, Toleration};

use crate::Invariant;
use crate::api_server::{Answer, ApiServer, Commit, Key, Request, Resource, Status, Stored, Verb};
use crate::host::Host;
use crate::pace::Pace;
use crate::players::Requesters;
use crate::world::World;

mod account;
mod budget;
mod cordon;
mod pace;
mod process;
mod requested;
mod wish;

use account::Accounts;
use cordon::Held;
use process::Process;
use requested::Requested;
use wish::Wish;

/// A violation: the invariant, and what was seen. `None` if nothing is wrong.
pub(crate) type Found = Option<(Invariant, String)>;

/// Longest time from sending the seal to running the reboot command, as in the real agent.
const DEADLINE: Duration = Duration::from_secs(10);

/// Everything that the oracle knows.
#[derive(Debug)]
pub(crate) struct Oracle {
    concurrency: usize,
    /// How the reboots of the run are paced.
    pace: Pace,
    /// When the last reboot ended, of which node, and the `created` of its hold.
    last_end: Option<(Uptime, usize, String)>,
    nodes: Vec<Known>,
    /// For each agent: the earliest time after its cordon at which `--force-reboot` lets it reboot with pods left; `None` means
    /// never.
    forces_after: Vec<Option<Duration>>,
    /// The last readable content of the lock.
    record: Record,
    /// When the request that is being checked was sent.
    sent: Uptime,
    /// Entries of acquires that came after their agents had stopped waiting for the answer.
    late: BTreeSet<EntryId>,
    /// What each agent has read of each Node since the last write of the lock, by agent and node. `None` is a Node that is gone.
    peers: BTreeMap<(usize, usize), Vec<Option<Stored>>>,
}

/// What the oracle knows of one node.
#[derive(Debug, Default)]
struct Known {
    /// Whether people want the node cordoned; `None` if that is not known.
    expected: Option<bool>,
    held: Option<Held>,
    /// The process that began the current drain, and when.
    drain: Option<(u64, Uptime)>,
    /// How many pods each owner has put on the node since the drain began.
    put_back: BTreeMap<String, u32>,
    delay: Option<Delay>,
    seal: Option<Seal>,
    /// The hold that fills a slot of the budget: its `created`, and the Node's uid.
    inside: Option<(String, String)>,
    /// A hold that fills no slot although its agent goes on, because somebody removed its entry or its marks.
    exempt: Option<String>,
    /// The hold that the agent gave back last.
    given_back: Option<String>,
    /// Whether somebody else has changed `given-back` on the Node since the last give-back.
    is_given_back_changed: bool,
    /// Whether somebody else has put the marks of that hold back since its give-back.
    is_put_back: bool,
    /// A hold that a process may have misread, by an exemption, before it wrote of it what later processes believe.
    doubtful: Option<String>,
    /// The `created` of the hold that the last deferred uncordon named.
    deferred_for: Option<String>,
    /// How many wrong cordons an exemption let pass.
    exempted: u64,
    process: Process,
    wish: Wish,
    requested: Requested,
    accounts: Accounts,
}

/// What is known of the time from the end of the drain to the seal.
#[derive(Debug)]
struct Delay {
    created: String,
    /// What interrupted the cordon or the hold; `None` if nothing did.
    broken: Option<String>,
    is_listed_empty: bool,
    /// Whether the drain took so long that the agent may force the reboot.
    is_forced: bool,
    is_confirmed: bool,
}

/// A seal that was committed.
#[derive(Debug)]
struct Seal {
    created: String,
    process: u64,
    sent: Uptime,
    /// Why this seal is wrong; `None` if it is right.
    wrong: Option<String>,
}

/// Whether a pod counts as wanted on the node by its owner: it tolerates every taint, and its owner has put pods on this node
/// three times since the drain began.
fn is_wanted_there(pod: &PodView, known: &Known) -> bool {
    let tolerates_all =
        |toleration: &Toleration| toleration.operator == "Exists" && toleration.key.is_empty();
    let times = pod::controller(pod).and_then(|owner| known.put_back.get(&owner));
    pod.spec.tolerations.iter().any(tolerates_all) && times.is_some_and(|times| *times >= 3)
}

impl Oracle {
    pub(crate) fn new(requesters: &Requesters, nodes: usize, concurrency: usize, pace: &Pace) -> Oracle {
        Oracle {
            concurrency,
            pace: pace.clone(),
            last_end: None,
            nodes: (0..nodes)
                .map(|index| Known {
                    requested: Requested::new(requesters.is_quiet(index)),
                    ..Known::default()
                })
                .collect(),
            forces_after: vec![None; nodes],
            record: Record::default(),
            sent: Uptime::START,
            late: BTreeSet::new(),
            peers: BTreeMap::new(),
        }
    }

    pub(crate) fn may_force(&mut self, index: usize, after: Option<Duration>) {
        if let Some(known) = self.forces_after.get_mut(index) {
            *known = after;
        }
    }

    /// How many wrong cordons an exemption let pass, over all nodes.
    pub(crate) fn exempted(&self) -> u64 {
        self.nodes.iter().map(|known| known.exempted).sum()
    }

    /// Whether people want this node cordoned; `None` if that is not known.
    pub(crate) fn cordon_of(&self, index: usize) -> Option<bool> {
        self.nodes.get(index)?.expected
    }

    /// Takes note of an agent's request that was carried out. Its commit is checked next.
    pub(crate) fn handled(
        &mut self,
        request: &Request,
        result: &Result<Answer, Status>,
        sent: Uptime,
        server: &ApiServer,
    ) {
        self.sent = sent;
        self.read_peers(request, result);
        let lists_pods = request.key.resource == Resource::Pods && matches!(request.verb, Verb::List(_));
        let (true, Some((index, _)), Ok(Answer::List(pods, _))) =
            (lists_pods, request.caller.process, result)
        else {
            return;
        };
        let Some(known) = self.nodes.get(index) else {
            return;
        };
        let is_empty = pods.iter().all(|object| match pod::classify(object.pod()) {
            // The exemption: a pod that its owner wants on the node is left there.
            pod::Fate::Evict => is_wanted_there(object.pod(), known),
            pod::Fate::DaemonSet(name) => server.has_daemon_set(&name),
            pod::Fate::Stay => true,
        });
        if let Some(delay) = self.nodes.get_mut(index).and_then(|known| known.delay.as_mut()) {
            delay.is_listed_empty |= is_empty && delay.broken.is_none();
        }
    }

    /// Checks a commit against the invariants.
    pub(crate) fn commit(
        &mut self,
        commit: &Commit,
        server: &ApiServer,
        hosts: &[Host],
        now: Uptime,
    ) -> Found {
        match commit.key.resource {
            Resource::Nodes => {
                let index = World::index_of(&commit.key.name).filter(|index| *index < self.nodes.len())?;
                protected(commit, index, server, now)
                    .or_else(|| self.undoes_a_reboot(commit, index, hosts))
                    .or_else(|| self.cordon_changed(commit, index))
                    .or_else(|| {
                        self.attempt_changed(commit, index);
                        self.continuity(commit, index, now);
                        self.budget_of_node(commit, index);
                        self.note_end(commit, index, now);
                        self.at_most_n()
                    })
                    .or_else(|| self.keeps_account(commit, index))
                    .or_else(|| self.seals_for_request(commit, index))
            }
            Resource::Leases => {
                self.confirm(commit);
                let found = self.lock_changed(commit, server, now);
                self.peers.clear();
                found.or_else(|| self.at_most_n())
            }
            Resource::Pods => {
                self.pod_came(commit);
                None
            }
            Resource::DaemonSets | Resource::PodDisruptionBudgets => None,
        }
    }

    fn pod_came(&mut self, commit: &Commit) {
        let (None, Some(new)) = (&commit.old, &commit.new) else {
            return;
        };
        let known = World::index_of(&new.pod().spec.node_name).and_then(|index| self.nodes.get_mut(index));
        if let (Some(known), Some(owner)) = (known, pod::controller(new.pod())) {
            *known.put_back.entry(owner).or_default() += 1;
        }
    }

    /// Checks that an agent does not leave `sealed` while its host goes down because of that seal.
    ///
    /// Exempt is a process that neither made the hold nor found it in the host's record or in the lock: only the Node shows the
    /// seal then, and anybody may have written that. So is one whose last reboot command was for another hold.
    fn undoes_a_reboot(&self, commit: &Commit, index: usize, hosts: &[Host]) -> Found {
        let (old, new) = (commit.old.as_ref()?.node(), commit.new.as_ref()?.node());
        let is_own = commit.caller.process.is_some();
        let leaves = phase(old) == Some(Phase::Sealed) && phase(new) != Some(Phase::Sealed);
        let seal = hold::read(old).present()?;
        let (known, created) = (self.nodes.get(index)?, &seal.holder.created);
        let is_known = known.process.knows(created) && known.wish.has_command(created);
        (is_own && leaves && is_known && hosts.get(index)?.is_doomed).then(|| {
            let what = format!("agent {index} leaves `sealed` while its host goes down");
            (Invariant::NoBlindReboot, what)
        })
    }

    /// Follows cordon and marks from the end of the drain to the seal.
    #[expect(clippy::too_many_lines, reason = "one look at one commit, phase by phase")]
    fn continuity(&mut self, commit: &Commit, index: usize, now: Uptime) {
        let sent = self.sent;
        let forces_after = self.forces_after.get(index).copied().flatten();
        let Some(known) = self.nodes.get_mut(index) else {
            return;
        };
        let Some(new) = commit.new.as_ref().map(|new| new.node()) else {
            // A seal that is already committed stays valid until its deadline, even if the Node is deleted.
            known.delay = None;
            return;
        };
        let old_phase = commit.old.as_ref().and_then(|old| phase(old.node()));
        let own = commit.caller.process.filter(|(agent, _)| *agent == index);
        let hold = hold::read(new).present();
        let is_tampered = own.is_none()
            && commit
                .old
                .as_ref()
                .is_some_and(|old| understood(old.node()) != understood(new));
        let broken = |delay: &Delay| {
            let is_held = hold
                .as_ref()
                .is_some_and(|hold| hold.holder.created == delay.created);
            if !is_held {
                Some(format!("version {} shows another hold, or none", commit.version))
            } else if !new.spec.unschedulable {
                Some(format!("version {} is schedulable", commit.version))
            } else if is_tampered {
                Some(format!(
                    "somebody else wrote a mark in version {}",
                    commit.version
                ))
            } else {
                None
            }
        };
        if let Some(delay) = &mut known.delay
            && delay.broken.is_none()
        {
            delay.broken = broken(delay);
        }
        let (Some(hold), Some((_, process))) = (&hold, own.filter(|_| writes_marks(commit))) else {
            return;
        };
        match hold.phase {
            // Not compared with the phase before, which anybody may have written: the delay begins with the agent's own write.
            Phase::Delaying if known.delay.is_none() => {
                let mut delay = Delay {
                    created: hold.holder.created.clone(),
                    broken: None,
                    is_listed_empty: false,
                    is_forced: forces_after
                        .zip(known.drain)
                        .is_some_and(|(after, (_, began))| now >= began + after),
                    is_confirmed: false,
                };
                delay.broken = broken(&delay);
                known.delay = Some(delay);
            }
            Phase::Sealed => {
                let wrong = wrong_with(known.delay.as_ref(), new, hold);
                let created = hold.holder.created.clone();
                known.seal = Some(Seal {
                    created,
                    process,
                    sent,
                    wrong,
                });
                known.delay = None;
            }
            Phase::Draining | Phase::Returning => {
                known.delay = None;
                known.seal = None;
                let goes_on =
                    known.drain.is_some_and(|(of, _)| of == process) && old_phase == Some(Phase::Draining);
                if !goes_on {
                    known.drain = Some((process, now));
                    known.put_back.clear();
                }
            }
            _ => {}
        }
    }

    /// Notes a confirm: an agent's write of the lock in which its own entry is sealed.
    fn confirm(&mut self, commit: &Commit) {
        let Some((index, _)) = commit.caller.process else {
            return;
        };
        let Some(record) = budget::record_of(commit).present() else {
            return;
        };
        let Some(delay) = self.nodes.get_mut(index).and_then(|known| known.delay.as_mut()) else {
            return;
        };
        let name = format!("node-{index}");
        delay.is_confirmed |= record
            .entries
            .iter()
            .any(|entry| entry.sealed && entry.node == name && entry.created == delay.created);
    }

    /// Checks that an agent may run the reboot command now.
    pub(crate) fn command(&mut self, index: usize, process: u64, now: Uptime) -> Found {
        let known = self.nodes.get_mut(index)?;
        let seal = known.seal.as_ref();
        let created = seal.map(|seal| seal.created.as_str()).unwrap_or_default();
        let too_often = known.wish.command(created);
        let why = match seal {
            None => "the Node is not sealed".to_owned(),
            Some(seal) if seal.process != process => "another process made the seal".to_owned(),
            Some(Seal { wrong: Some(why), .. }) => why.clone(),
            Some(seal) if now > seal.sent + DEADLINE => {
                format!("the seal was sent {:?} ago", now.since(seal.sent))
            }
            Some(_) => {
                let found = |count| format!("agent {index} runs reboot command {count} of {created}");
                return too_often.map(|count| (Invariant::OneWishTwoReboots, found(count)));
            }
        };
        Some((
            Invariant::NoBlindReboot,
            format!("agent {index} runs the reboot command, but {why}"),
        ))
    }

    /// What is not at rest yet, and on which node; `None` if everything is.
    pub(crate) fn restless(&self, server: &ApiServer) -> Option<(Option<usize>, String)> {
        for index in 0..self.nodes.len() {
            let key = Key::node(&format!("node-{index}"));
            let Some(node) = server.object(&key) else {
                return Some((Some(index), format!("node-{index} has no Node")));
            };
            if hold::has_marks(node.node()) {
                return Some((Some(index), format!("node-{index} has marks: {}", node.value)));
            }
        }
        let lock = server.object(&World::lock_key())?;
        match Record::read(lock.annotation(keys::LOCK)) {
            Reading::Absent => None,
            Reading::Present(record)
                if record.entries.iter().all(|entry| self.late.contains(&entry.id())) =>
            {
                None
            }
            other => Some((None, format!("the lock is not empty: {other:?}"))),
        }
    }

    /// Checks, once everything is at rest, that each cordon is as people want it.
    pub(crate) fn at_rest(&self, server: &ApiServer) -> Option<(usize, Invariant, String)> {
        for (index, known) in self.nodes.iter().enumerate() {
            let key = Key::node(&format!("node-{index}"));
            let shown = server.object(&key)?.node().spec.unschedulable;
            let (invariant, expected) = match &known.held {
                None => (Invariant::CordonGivenBack, known.expected),
                // Exempt: a process that started later had no way to know.
                Some(held) if known.is_exempt(&held.created) => (Invariant::CordonGivenBack, None),
                Some(held) => held.expects(),
            };
            if expected.is_some_and(|expected| expected != shown) {
                let what = format!("node-{index} rests with unschedulable {shown}, which nobody wanted");
                return Some((index, invariant, what));
            }
        }
        None
    }
}

/// Why a seal is wrong; `None` if it is right.
fn wrong_with(delay: Option<&Delay>, new: &NodeView, hold: &Hold) -> Option<String> {
    let Some(delay) = delay.filter(|delay| delay.created == hold.holder.created) else {
        return Some("no delay of this hold came before the seal".to_owned());
    };
    if let Some(why) = &delay.broken {
        return Some(format!("the cordon was interrupted since the drain ended: {why}"));
    }
    if !new.spec.unschedulable {
        return Some("the Node was sealed schedulable".to_owned());
    }
    if hold.holder.node_uid != new.metadata.uid {
        return Some("the hold names another Node object".to_owned());
    }
    if !delay.is_confirmed {
        return Some("the lock entry was not confirmed since the drain ended".to_owned());
    }
    if !delay.is_listed_empty && !delay.is_forced {
        return Some("no list of pods since the drain ended was empty".to_owned());
    }
    None
}

/// Checks a write that the webhook judged and that is not by the node's own agent: without a cancel it
/// must not clear the cordon of a held node or change marks. An agent of another node must change neither cordon nor marks.
fn protected(commit: &Commit, index: usize, server: &ApiServer, now: Uptime) -> Found {
    let (old, new) = (commit.old.as_ref()?.node(), commit.new.as_ref()?.node());
    let agent = commit.caller.process.map(|(agent, _)| agent);
    if agent == Some(index) || !commit.is_judged {
        return None;
    }
    let is_uncordon = old.spec.unschedulable && !new.spec.unschedulable;
    let touches_cordon = old.spec.unschedulable != new.spec.unschedulable;
    let touches_marks = marks(old) != marks(new);
    let who = &commit.caller.requester.user;
    if !commit.caller.requester.node_claim.is_empty() && (touches_cordon || touches_marks) {
        let what = format!("{who} of another node changed {}", commit.key.name);
        return Some((Invariant::OneNodeOneAgent, what));
    }
    let reading = hold::read(old);
    let clock = server.webhook.clock(now);
    let until = match &reading {
        Reading::Present(hold) => hold.until,
        Reading::Absent | Reading::Malformed(_) => None,
    };
    let has_lapsed = matches!(&reading, Reading::Present(hold) if hold.has_lapsed(clock, SKEW));
    let is_sealed = old.label(keys::PHASE) == Some(Phase::Sealed.as_str());
    let is_under_way =
        is_sealed && until.is_none_or(|until| until.checked_add(SKEW).is_ok_and(|end| clock <= end));
    let is_readable = matches!(reading, Reading::Present(_));
    let is_cancelled = hold::cancel(old).is_some_and(|cancel| cancel.created == cancel_name(old));
    let is_let_past = is_cancelled && !(is_under_way && is_readable);
    let is_refused_uncordon = is_uncordon && hold::is_held(&reading) && !has_lapsed;
    if !is_let_past && (is_refused_uncordon || touches_marks) {
        let what = format!("{who} changed {}: from {old:?} to {new:?}", commit.key.name);
        return Some((Invariant::HeldStaysCordoned, what));
    }
    None
}

/// Whether a commit wrote marks as an agent does, and not only signs.
fn writes_marks(commit: &Commit) -> bool {
    let old = commit.old.as_ref().and_then(|old| proof(old.node()));
    let new = commit.new.as_ref().and_then(|new| proof(new.node()));
    new.is_some() && old != new
}

/// The proof of the last write of the marks.
fn proof(node: &NodeView) -> Option<&str> {
    node.annotation(keys::WRITE)
}

fn phase(node: &NodeView) -> Option<Phase> {
    hold::read(node).present().map(|hold| hold.phase)
}

/// All marks of a Node.
type Marks<'a> = (
    [Option<&'a str>; keys::MARK_ANNOTATIONS.len()],
    Option<&'a str>,
    bool,
);

fn marks(node: &NodeView) -> Marks<'_> {
    (
        keys::MARK_ANNOTATIONS.map(|key| node.annotation(key)),
        node.label(keys::PHASE),
        node.is_tainted(keys::REBOOTING),
    )
}

/// The marks that an agent relies on: the hold without `until`, which only the webhook uses.
fn understood(node: &NodeView) -> (Reading<Hold>, bool) {
    let reading = match hold::read(node) {
        Reading::Present(hold) => Reading::Present(Hold { until: None, ..hold }),
        reading => reading,
    };
    (reading, node.is_tainted(keys::REBOOTING))
}
