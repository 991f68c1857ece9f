//! An Alertmanager in memory, how the agents ask it, and what the oracle demands of the silences there.
//!
//! Its chance numbers are its own, and its events leave no trace in a run's hash: so a run in which it is down must be the same run.
//! Not here: what the silences should be, which the real [`Keeper`] decides.

use std::collections::BTreeMap;
use std::time::Duration;

use cordonhold_shared::hold::{self, Hold, Phase};
use cordonhold_shared::reboot::moment::{Moment, Uptime};
use cordonhold_shared::reboot::silence::{Found, Keeper, Matcher, Matchers, Step};
use jiff::{SignedDuration, Timestamp};

use crate::api_server::{Commit, Key, Resource, Stored, wall};
use crate::faults::{Fault, Mixture};
use crate::random::Random;
use crate::world::{Event, World};
use crate::{Defect, Invariant, Options};

/// Longest wait for an answer, as in the real agent.
const CALL_BOUND: Duration = Duration::from_secs(10);
/// How far ahead a silence may end before the seal.
const LEASE: Duration = Duration::from_mins(10);
/// How much later than the write of its Node an agent may learn of that write: its answer may be lost, and its watch silent, more than once.
const LAG: Duration = Duration::from_mins(10);
/// How long everything has to be at rest before no silence may be left: more than the longest pause between two tries.
const RESTED: u32 = 3;

/// What one agent process knows of its silences.
#[derive(Debug)]
pub(crate) struct Silencer {
    keeper: Keeper,
    started: Uptime,
    uid: String,
    /// Counts the rounds of requests. A change of the hold ends the one that is under way.
    round: u64,
    is_asking: bool,
    /// When the earliest planned round begins.
    planned: Option<Uptime>,
}

/// A process, and a round of its requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    agent: usize,
    process: u64,
    number: u64,
    /// When the process started.
    started: Uptime,
}

/// What happens between an agent and Alertmanager.
#[derive(Debug)]
pub(crate) enum SilenceEvent {
    /// A round is due.
    Due(usize, u64),
    /// The request for the list arrives.
    List(Round),
    /// The first of these steps arrives; the others follow. They were decided at this moment.
    Carry(Round, Moment, Vec<Step>),
    /// The agent gives up waiting, or gets an error.
    Fail(Round),
}

/// The Alertmanager.
#[derive(Debug)]
pub(crate) struct Alertmanager {
    random: Random,
    is_down: bool,
    made: u64,
    silences: Vec<Silence>,
    /// The holds that the oracle knows, by node and `created`.
    lives: BTreeMap<(usize, String), Life>,
}

#[derive(Debug)]
struct Silence {
    found: Found,
    /// Whether it was written for a process that was no longer there, which nobody can cut in time.
    is_orphan: bool,
}

/// When a hold was sealed last, and when it was given back. If somebody put its marks back after that, `ended` is when they went again.
#[derive(Debug, Default)]
struct Life {
    sealed: Option<Uptime>,
    ended: Option<Uptime>,
}

impl Alertmanager {
    pub(crate) fn draw(seed: u64, options: &Options, mixture: &mut Mixture) -> Alertmanager {
        let mut random = Random::new(seed ^ 0x51_1e_ce);
        for fault in Fault::OF_ALERTMANAGER {
            let rate = if random.chance(5_000) {
                random.below(3_000)
            } else {
                0
            };
            mixture.set(fault, u32::try_from(rate).unwrap_or(0));
        }
        Alertmanager {
            random,
            is_down: options.is_alertmanager_down,
            made: 0,
            silences: Vec::new(),
            lives: BTreeMap::new(),
        }
    }

    /// Carries out a step; `false` if it is refused.
    fn carry_out(&mut self, step: &Step, is_orphan: bool, now: Timestamp) -> bool {
        match step {
            Step::Create {
                holder,
                matchers,
                ends,
            } => {
                if *ends <= now {
                    return false;
                }
                self.made += 1;
                let found = Found {
                    id: self.made.to_string(),
                    holder: holder.clone(),
                    matchers: matchers.clone(),
                    starts: now,
                    ends: *ends,
                };
                self.silences.push(Silence { found, is_orphan });
                true
            }
            Step::Extend(found, ends) => {
                let known = self.silences.iter_mut().find(|known| known.found.id == found.id);
                let Some(known) = known.filter(|known| known.found.ends > now && *ends > now) else {
                    return false;
                };
                known.found.ends = *ends;
                known.is_orphan |= is_orphan;
                true
            }
            Step::Cut(found) => {
                self.silences.retain(|known| known.found.id != found.id);
                true
            }
        }
    }

    fn list(&self, now: Timestamp) -> Vec<Found> {
        let active = self.silences.iter().filter(|known| known.found.ends > now);
        active.map(|known| known.found.clone()).collect()
    }

    /// What is wrong with a step that was decided then; `None` if nothing is. `shown` is the `created` that the agent's Node shows.
    fn wrong(
        &self,
        Round { agent, started, .. }: Round,
        step: &Step,
        at: Moment,
        reboot_timeout: Duration,
        shown: Option<&str>,
    ) -> Option<String> {
        let (holder, ends) = match step {
            Step::Create { holder, ends, .. } => (holder, *ends),
            Step::Extend(found, ends) => (&found.holder, *ends),
            Step::Cut(_) => return None,
        };
        let ahead = ends
            .duration_since(at.wall)
            .max(SignedDuration::ZERO)
            .unsigned_abs();
        let life = self.lives.get(&(agent, holder.created.clone()));
        let sealed = life.and_then(|life| life.sealed);
        let is_of_seal = sealed.is_some_and(|sealed| at.now + ahead <= sealed + reboot_timeout + LAG);
        if ahead > LEASE && !is_of_seal {
            return Some(format!(
                "agent {agent} silences its node for {ahead:?}, sealed: {sealed:?}"
            ));
        }
        // The exemptions: a process that starts may find the hold in the lock alone, and ends it once more. Or somebody put its marks back,
        // and the agent has to take them for a hold.
        let ended = life.and_then(|life| life.ended);
        let ended = ended.filter(|ended| at.now > (*ended).max(started) + LAG);
        let ended = ended.filter(|_| shown != Some(holder.created.as_str()));
        ended.map(|ended| format!("agent {agent} silences its node for a hold that ended at {ended:?}"))
    }
}

impl Silencer {
    pub(crate) fn new(reboot_timeout: Duration, started: Uptime) -> Silencer {
        Silencer {
            keeper: Keeper::new(reboot_timeout),
            started,
            uid: String::new(),
            round: 0,
            is_asking: false,
            planned: None,
        }
    }

    /// Takes note of the uid of the Node.
    pub(crate) fn learn(&mut self, uid: &str) {
        uid.clone_into(&mut self.uid);
    }
}

impl World {
    /// Shows the silences of this agent what its hold is, and plans when they are looked at.
    pub(crate) fn keep_silences(&mut self, agent: usize) {
        let at = self.moment(agent);
        let Some(process) = self.process(agent) else {
            return;
        };
        let held = process.driver.cycle().held();
        let silencer = &mut process.silencer;
        let uid = silencer.uid.clone();
        if silencer.keeper.show(&uid, held, at) {
            silencer.round += 1;
            silencer.is_asking = false;
        }
        self.plan_round(agent);
    }

    fn plan_round(&mut self, agent: usize) {
        let at = self.moment(agent);
        let Some(process) = self.process(agent) else {
            return;
        };
        let number = process.number;
        let silencer = &mut process.silencer;
        let due = silencer.keeper.due(at).filter(|_| !silencer.is_asking);
        let Some(due) = due.map(|due| due.max(at.now)) else {
            return;
        };
        if silencer.planned.is_none_or(|planned| due < planned) {
            silencer.planned = Some(due);
            self.at(due, Event::Silence(SilenceEvent::Due(agent, number)));
        }
    }

    pub(crate) fn silence_event(&mut self, event: SilenceEvent) {
        match event {
            SilenceEvent::Due(agent, process) => self.begin_round(agent, process),
            SilenceEvent::List(round) => self.list_arrives(round),
            SilenceEvent::Carry(round, decided, steps) => self.step_arrives(round, decided, steps),
            SilenceEvent::Fail(round) => {
                let random = self.alertmanager.random.number();
                let at = self.moment(round.agent);
                if let Some(silencer) = self.asking(round) {
                    silencer.is_asking = false;
                    silencer.keeper.failed(at, random);
                }
                self.plan_round(round.agent);
            }
        }
    }

    /// What the process of this round knows, if it still waits for the round's answer.
    fn asking(&mut self, round: Round) -> Option<&mut Silencer> {
        let process = self.process(round.agent)?;
        let is_its = process.number == round.process;
        Some(&mut process.silencer)
            .filter(|silencer| is_its && silencer.is_asking && silencer.round == round.number)
    }

    fn begin_round(&mut self, agent: usize, number: u64) {
        let at = self.moment(agent);
        let Some(process) = self.process(agent).filter(|process| process.number == number) else {
            return;
        };
        let silencer = &mut process.silencer;
        if silencer.planned.is_some_and(|planned| planned <= at.now) {
            silencer.planned = None;
        }
        if silencer.is_asking || silencer.keeper.due(at).is_none_or(|due| due > at.now) {
            return self.plan_round(agent);
        }
        silencer.round += 1;
        silencer.is_asking = true;
        let round = Round {
            agent,
            process: number,
            number: silencer.round,
            started: silencer.started,
        };
        self.ask_alertmanager(round, SilenceEvent::List(round));
    }

    /// Sends a request of a round, which may be lost, or late.
    fn ask_alertmanager(&mut self, round: Round, request: SilenceEvent) {
        let is_down = self.alertmanager.is_down || self.draws_for_alertmanager(Fault::AlertmanagerDown);
        if is_down {
            let wait = self.alertmanager.random.between(Duration::ZERO, CALL_BOUND);
            return self.after(wait, Event::Silence(SilenceEvent::Fail(round)));
        }
        let is_slow = self.draws_for_alertmanager(Fault::AlertmanagerSlow);
        let longest = if is_slow {
            CALL_BOUND
        } else {
            Duration::from_millis(20)
        };
        let wait = self.alertmanager.random.between(Duration::ZERO, longest);
        self.after(wait, Event::Silence(request));
    }

    fn draws_for_alertmanager(&mut self, fault: Fault) -> bool {
        let rate = self.mixture.rate(fault);
        let fires = self.alertmanager.random.chance(rate);
        if fires {
            self.fired(fault);
        }
        fires
    }

    fn list_arrives(&mut self, round: Round) {
        let (at, defect) = (self.moment(round.agent), self.defect);
        let found = self.alertmanager.list(wall(self.now));
        let sets = sets(round.agent);
        let Some(silencer) = self.asking(round) else {
            return;
        };
        let steps = silencer.keeper.steps(&sets, &found, at);
        let steps = steps
            .into_iter()
            .filter_map(|step| spoiled(step, defect))
            .collect();
        self.go_on(round, at, steps);
    }

    /// Sends the next step, or ends the round.
    fn go_on(&mut self, round: Round, decided: Moment, steps: Vec<Step>) {
        if !steps.is_empty() {
            return self.ask_alertmanager(round, SilenceEvent::Carry(round, decided, steps));
        }
        let at = self.moment(round.agent);
        if let Some(silencer) = self.asking(round) {
            silencer.is_asking = false;
            silencer.keeper.succeeded(at);
        }
        self.plan_round(round.agent);
    }

    fn step_arrives(&mut self, round: Round, decided: Moment, mut steps: Vec<Step>) {
        let step = steps.remove(0);
        let (agent, now) = (round.agent, wall(self.now));
        self.trace_of(agent, || {
            format!("agent {agent}.{} at Alertmanager: {step:?}", round.process)
        });
        let reboot_timeout = self.agents[agent].setup.timing.reboot_timeout;
        let node = self.server.object(&self.node_key(agent));
        let shown = node.and_then(|node| hold::read(node.node()).present());
        let shown = shown.as_ref().map(|hold| hold.holder.created.as_str());
        if let Some(what) = self
            .alertmanager
            .wrong(round, &step, decided, reboot_timeout, shown)
        {
            self.violated(Some(agent), Invariant::Silence, what);
        }
        let is_orphan = self.asking(round).is_none();
        let is_done = self.alertmanager.carry_out(&step, is_orphan, now);
        let is_lost = self.draws_for_alertmanager(Fault::AlertmanagerAnswerLost);
        // Otherwise nobody is there to send the next one.
        if is_done && !is_lost && !is_orphan {
            self.go_on(round, decided, steps);
        } else if !is_orphan {
            let wait = if is_lost { CALL_BOUND } else { Duration::ZERO };
            self.after(wait, Event::Silence(SilenceEvent::Fail(round)));
        }
    }

    /// Takes note of when holds are sealed, and when they end.
    pub(crate) fn note_hold(&mut self, commit: &Commit) {
        let own = commit.caller.process.map(|(agent, _)| agent);
        let index = (commit.key.resource == Resource::Nodes)
            .then(|| World::index_of(&commit.key.name))
            .flatten();
        let Some(index) = index else {
            return;
        };
        let (is_own, now) = (own == Some(index), self.now);
        let shown = |node: Option<&Stored>| node.and_then(|node| hold::read(node.node()).present());
        let (old, new) = (shown(commit.old.as_ref()), shown(commit.new.as_ref()));
        let created = |hold: &Option<Hold>| hold.as_ref().map(|hold| hold.holder.created.clone());
        let lives = &mut self.alertmanager.lives;
        if let Some(over) = created(&old).filter(|_| created(&old) != created(&new)) {
            let life = lives.entry((index, over)).or_default();
            if is_own || life.ended.is_some() {
                life.ended = Some(now);
            }
        }
        if let Some(new) = new.filter(|_| is_own) {
            let life = lives.entry((index, new.holder.created)).or_default();
            life.ended = None;
            if new.phase == Phase::Sealed {
                life.sealed = Some(now);
            }
        }
    }

    /// Checks that no silence is left, once everything has been at rest for this many minutes.
    pub(crate) fn check_silences(&mut self, minutes: u32) {
        if minutes != RESTED || self.alertmanager.is_down {
            return;
        }
        let now = wall(self.now);
        let left = self.alertmanager.silences.iter().find(|known| {
            let name = node_of(&known.found);
            let node = self.server.object(&Key::node(&name));
            let is_there = node.is_some_and(|node| node.node().metadata.uid == known.found.holder.node_uid);
            known.found.ends > now && !known.is_orphan && is_there
        });
        if let Some(known) = left {
            let what = format!("everything rests, but a silence is left: {:?}", known.found);
            let node = World::index_of(&node_of(&known.found));
            self.violated(node, Invariant::Silence, what);
        }
    }
}

/// The alerts of the node that are silenced.
fn sets(agent: usize) -> Vec<Vec<Matcher>> {
    let of = |text: &str| {
        text.parse::<Matchers>()
            .map(|matchers| matchers.of(&format!("node-{agent}")))
    };
    let texts = ["node=%s", "instance=%s"];
    texts.into_iter().filter_map(|text| of(text).ok()).collect()
}

/// The node that a silence is for.
fn node_of(found: &Found) -> String {
    found
        .matchers
        .first()
        .map_or_else(String::new, |matcher| matcher.value.clone())
}

/// The step as an agent with this defect sends it; `None` if it does not.
fn spoiled(step: Step, defect: Option<Defect>) -> Option<Step> {
    let later = |ends: Timestamp| {
        ends.saturating_add(SignedDuration::from_hours(1))
            .unwrap_or(Timestamp::MAX)
    };
    match (step, defect) {
        (Step::Cut(_), Some(Defect::SilencesUncut)) => None,
        (
            Step::Create {
                holder,
                matchers,
                ends,
            },
            Some(Defect::SilencesForHours),
        ) => Some(Step::Create {
            holder,
            matchers,
            ends: later(ends),
        }),
        (step, _) => Some(step),
    }
}
