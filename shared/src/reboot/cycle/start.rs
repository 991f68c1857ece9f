//! From the start of the process to a wish on the Node: ask the host, resume from what is left, stamp.
//!
//! A process that starts knows no proof. It believes the record in the host's `/run` first, then the lock entry, then the Node,
//! which anybody may have written while the webhook was down.

use super::edit::Edit;
use super::sent::Sent;
use super::stage::{Resuming, Stage};
use super::{
    Act, Answer, Ask, CallOff, Cycle, Event, Failure, HostState, Report, Shutdown, Step, Timer, is_retry,
};
use crate::Reading;
use crate::hold::{self, Hold, Holder, NodePatch, PatchKind, Phase};
use crate::host::{BootEvidence, HostRecord, RebootDeadline};
use crate::keys;
use crate::lock::{Entry, EntryId, Record};
use crate::node::NodeView;
use crate::reboot::lock_object::LockView;

/// What a process that starts has reason to believe of a hold, and on what it rests.
struct Belief {
    hold: Hold,
    rebooted: Option<BootEvidence>,
    /// The host's record knows it.
    is_recorded: bool,
    /// The process before was about to give its cordon back.
    is_ending: bool,
    has_entry: bool,
}

impl Belief {
    /// Neither the host's record nor the lock knows this hold, which is more than a wish.
    fn is_unproven(&self) -> bool {
        !self.is_recorded && !self.has_entry && self.hold.phase != Phase::Wanted
    }
}

impl Cycle {
    pub(super) fn start(&mut self) -> Step {
        self.ask(Stage::Starting, Ask::AskHost).after([Act::Watch(None)])
    }

    pub(super) fn host_answered(&mut self, answer: Answer) -> Step {
        match answer {
            Answer::Host(host) => self.host_said(host),
            answer => self.unexpected(&answer),
        }
    }

    fn host_said(&mut self, host: HostState) -> Step {
        if host.shutdown != Shutdown::No {
            return self.wait_for_host(host.shutdown);
        }
        // Whatever the Node and the lock show: what another process set off may come yet, as long as something delays it.
        if host.told == Some(RebootDeadline::Ahead) {
            let holder = host.record.map_or_else(String::new, |record| record.holder);
            let said = self.say(Report::HostTold(holder));
            return self.rest(Stage::HostBusy, [Act::Arm(Timer::Host)]).after(said);
        }
        self.boot = host.boot;
        self.left = host.record;
        self.resume()
    }

    fn wait_for_host(&mut self, shutdown: Shutdown) -> Step {
        let said = self.say(Report::HostBusy(shutdown));
        self.rest(Stage::HostBusy, [Act::Arm(Timer::Host)]).after(said)
    }

    /// The host goes down, or may yet.
    pub(super) fn host_busy(&mut self, event: &Event) -> Step {
        match event {
            Event::Due(Timer::Host) => self.ask(Stage::Starting, Ask::AskHost),
            _ => Step::rest(),
        }
    }

    /// Goes on from what is left of the process before.
    pub(super) fn resume(&mut self) -> Step {
        self.hold = None;
        self.seen = None;
        self.read_to_resume()
    }

    fn read_to_resume(&mut self) -> Step {
        self.ask(Stage::Resuming(Resuming::ReadingNode), Ask::ReadNode)
    }

    pub(super) fn resume_later(&mut self, what: &'static str, failure: &Failure) -> Step {
        self.retry(Stage::Resuming(Resuming::Pausing), what, failure)
    }

    pub(super) fn resuming(&mut self, step: Resuming, answer: Answer) -> Step {
        match (step, answer) {
            (Resuming::ReadingNode, Answer::Node(Ok(node))) => self.judge(node),
            (Resuming::ReadingNode, Answer::Node(Err(failure))) => {
                self.resume_later("read the Node", &failure)
            }
            (Resuming::ReadingLock(node), Answer::Lock(Ok(lock))) => self.believe(&node, lock),
            // The object that carries the lock is gone, and with it every entry.
            (Resuming::ReadingLock(node), Answer::Lock(Err(Failure::NotFound))) => {
                self.believe(&node, LockView::default())
            }
            (Resuming::ReadingLock(_), Answer::Lock(Err(failure))) => {
                self.resume_later("read the lock", &failure)
            }
            (_, answer) => self.unexpected(&answer),
        }
    }

    pub(super) fn resume_waits(&mut self, event: &Event) -> Step {
        match event {
            // A stamp whose answer never came.
            Event::Seen(node) if self.is_ours_alone(node) => self.stamped(node),
            event if is_retry(event) => self.read_to_resume(),
            _ => Step::rest(),
        }
    }

    fn judge(&mut self, node: NodeView) -> Step {
        self.settle(&node);
        if let Some(why) = foreign_marks(&node) {
            return self.foreign(why);
        }
        match hold::read(&node) {
            Reading::Present(_) if self.hold.is_some() && self.is_ours_alone(&node) => self.stamped(&node),
            Reading::Present(hold) if self.has_rested => self.disown(hold),
            Reading::Absent if self.has_rested => self.tidy(&node),
            _ => self.ask(Stage::Resuming(Resuming::ReadingLock(node)), Ask::ReadLock),
        }
    }

    /// Somebody else has written the marks of a hold: they go, and the cordon stays as it is.
    fn disown(&mut self, shown: Hold) -> Step {
        self.hold = Some(Hold {
            phase: Phase::Wanted,
            boot_id: None,
            was_unschedulable: None,
            ..shown
        });
        self.undo(CallOff::Unproven)
    }

    pub(super) fn tidy(&mut self, node: &NodeView) -> Step {
        match self.settings.signs.leftover(node) {
            Some(patch) => self.patch(Edit::Tidy, patch),
            None => self.idle(),
        }
    }

    /// The three that may know of a hold, the most trustworthy first: the host's record, the lock, the Node.
    fn believe(&mut self, node: &NodeView, lock: LockView) -> Step {
        let record = match lock.record {
            Reading::Malformed(why) => {
                return self.resume_later("read the lock", &Failure::Refused(why));
            }
            Reading::Absent => Record::default(),
            Reading::Present(record) => record,
        };
        let entry = record.of_node(&self.settings.node);
        let uid = &node.metadata.uid;
        let left = self
            .left
            .clone()
            .filter(|left| left.holder.split('/').next() == Some(uid));
        match hold::read(node).present() {
            Some(shown) => self.go_on_from(node, shown, left.as_ref(), entry),
            None => self.without_marks(node, left.as_ref(), entry),
        }
    }

    fn go_on_from(
        &mut self,
        node: &NodeView,
        shown: Hold,
        left: Option<&HostRecord>,
        entry: Option<&Entry>,
    ) -> Step {
        let id = EntryId::new(&self.settings.node, &shown.holder.created);
        let own = entry.filter(|entry| entry.id() == id && !entry.is_of_another(node));
        let of_it = left.filter(|left| left.holder == shown.holder.to_string());
        if of_it.is_none() && own.is_none() && (left.is_some() || entry.is_some()) {
            // What is known is of another hold, which these marks were written over.
            return self.without_marks(node, left, entry);
        }
        if of_it.is_some_and(|left| is_given_back(node, left)) {
            // Somebody has put them back since.
            return self.disown(shown);
        }
        let belief = self.belief(node, shown, of_it, own);
        if let Some(left) = of_it {
            self.may_land_yet(node, &belief.hold, left);
        }
        let watch = self.watch_from(node);
        let report = Report::Resumed(belief.hold.clone());
        self.hold = Some(belief.hold.clone());
        let unproven = belief.is_unproven().then_some(Act::Report(Report::Unproven));
        let outcome = self.resume_hold(node, &belief);
        outcome.after(unproven).after([watch]).reporting(report)
    }

    /// What the process before was about to send may land late: a cordon of which it is known what the cordon was, or a give-back.
    fn may_land_yet(&mut self, node: &NodeView, hold: &Hold, left: &HostRecord) {
        let cordon = lost_by_record(left).filter(|cordon| cordon.holder == hold.holder);
        let patch = match left.phase {
            None => Some(NodePatch::give_back(node, hold, left.write.clone())),
            Some(Phase::Draining) if hold.phase == Phase::Wanted => {
                cordon.map(|leaves| NodePatch::cordon(node, leaves, self.settings.verify))
            }
            Some(_) => None,
        };
        self.sent.extend(patch.map(|patch| Sent {
            patch,
            is_unknown: true,
        }));
    }

    fn belief(
        &self,
        node: &NodeView,
        shown: Hold,
        left: Option<&HostRecord>,
        entry: Option<&Entry>,
    ) -> Belief {
        let boot = match (left, entry.and_then(Entry::boot)) {
            (Some(left), _) => left.boot.clone(),
            (None, Some(boot)) => Some(boot),
            (None, None) => shown.boot_id.clone(),
        };
        let phase = match (left, entry) {
            (Some(left), _) => sent_phase(left, node, &shown),
            (None, Some(entry)) if self.may_have_told(entry) => Phase::Sealed,
            (None, Some(entry)) => locked_phase(entry, node, &shown),
            (None, None) => shown.phase,
        };
        let was = left.and_then(|left| left.was_unschedulable);
        let was = was.or(entry.map(|entry| entry.metadata.unschedulable));
        let stored = entry.map_or(0, |entry| entry.attempts).max(shown.attempts);
        let is_wish = phase == Phase::Wanted;
        Belief {
            rebooted: boot
                .as_ref()
                .filter(|_| !is_wish)
                .and_then(|boot| self.boot.is_after(boot)),
            is_recorded: left.is_some(),
            is_ending: left.is_some_and(|left| left.phase.is_none()),
            has_entry: entry.is_some(),
            hold: Hold {
                phase,
                boot_id: boot.filter(|_| !is_wish),
                was_unschedulable: was.or(shown.was_unschedulable).filter(|_| !is_wish),
                // A wish has none; a count on its Node is somebody else's.
                attempts: left.map_or(if is_wish { 0 } else { stored }, |left| left.attempts),
                ..shown
            },
        }
    }

    /// Whether a reboot may have been set off in this boot, by the lock's entry alone: it is confirmed before the command is run.
    fn may_have_told(&self, entry: &Entry) -> bool {
        let is_of_this_boot = |boot: String| self.boot.is_after(&boot).is_none();
        entry.sealed && !entry.given_back && entry.boot().is_some_and(is_of_this_boot)
    }

    fn resume_hold(&mut self, node: &NodeView, belief: &Belief) -> Step {
        if let Some(evidence) = belief.rebooted {
            return self.come_back().reporting(Report::Booted(evidence));
        }
        let cancelled = self.cancel(node);
        match belief.hold.phase {
            Phase::Wanted if belief.is_ending => self.undo(CallOff::HoldLost),
            Phase::Wanted => match cancelled {
                Some(why) => self.undo(CallOff::Cancelled(why)),
                None => self.wait(),
            },
            // Anybody may have written them, and the node has not booted since: they go, and the cordon stays.
            _ if belief.is_unproven() => {
                let shown = belief.hold.clone();
                self.disown(shown)
            }
            // What was begun is ended, and no drain begins without an entry.
            _ if belief.is_ending => self.undo(CallOff::HoldLost),
            _ if !belief.has_entry => self.undo(CallOff::EntryLost),
            // Its record says that the command never ran, that it failed, or that its time is over; the host shows no shutdown.
            Phase::Sealed if belief.is_recorded => self.came_to_nothing(),
            Phase::Sealed => self.wait_out(),
            Phase::Draining | Phase::Delaying | Phase::Returning => match cancelled {
                Some(why) => self.undo(CallOff::Cancelled(why)),
                None => self.cordon(),
            },
        }
    }

    /// The Node shows no hold, or one that was written over ours. The record or the entry says what the cordon was.
    fn without_marks(&mut self, node: &NodeView, left: Option<&HostRecord>, entry: Option<&Entry>) -> Step {
        let of_this_node = entry.filter(|entry| !entry.is_of_another(node));
        if let (None, Some(entry)) = (left, of_this_node)
            && self.may_have_told(entry)
        {
            let watch = self.watch_from(node);
            self.hold = Some(Hold {
                phase: Phase::Sealed,
                ..lost_by_entry(node, entry)
            });
            return self.wait_out().after([watch]);
        }
        let (hold, is_given_back) = match (left, of_this_node) {
            (Some(left), _) => {
                // A wish that is not there has touched nothing.
                let is_unwritten = left.phase == Some(Phase::Wanted) && hold::read(node) == Reading::Absent;
                (lost_by_record(left), is_unwritten || is_given_back(node, left))
            }
            (None, Some(entry)) => {
                let is_as_it_was = entry.metadata.unschedulable || !node.spec.unschedulable;
                let is_over = entry.given_back || (is_as_it_was && !hold::has_marks(node));
                (Some(lost_by_entry(node, entry)), is_over)
            }
            (None, None) => (None, true),
        };
        let Some(hold) = hold.filter(|_| !is_given_back) else {
            return self.over(node, entry);
        };
        let watch = self.watch_from(node);
        self.hold = Some(hold);
        self.undo(CallOff::HoldLost).after([watch])
    }

    /// Nothing is to be given back; an entry may be left over.
    fn over(&mut self, node: &NodeView, entry: Option<&Entry>) -> Step {
        match entry {
            Some(entry) if hold::delays_release(node, &entry.created) => self.delay_release(entry.id()),
            Some(entry) => self.release(entry.id(), false),
            None => self.tidy(node).after([Act::Forget]),
        }
    }

    /// Marks that are not ours to touch: a person has to look.
    pub(super) fn foreign(&mut self, why: String) -> Step {
        let said = self.say(Report::Foreign(why));
        self.rest(Stage::Foreign, said)
    }

    pub(super) fn foreign_changed(&mut self, event: &Event) -> Step {
        let Event::Seen(node) = event else {
            return Step::rest();
        };
        if let Some(why) = foreign_marks(node) {
            return self.foreign(why);
        }
        // Should they come again, they are told again.
        self.said = None;
        // Gone, ours again, or somebody else's over ours: where we remember our own, memory knows better than a new look.
        if self.hold.is_some() {
            self.undo(CallOff::HoldLost)
        } else {
            self.resume()
        }
    }

    /// At rest. A wish that was seen meanwhile is looked for again, not only after a whole `--period`.
    pub(super) fn idle(&mut self) -> Step {
        let look = self.wanted == Some(true) && !self.backing_off;
        // From what is there now: marks that came while nobody looked are seen too.
        let watch = [Act::Watch(None)];
        self.rest_idle()
            .after(look.then_some(Act::Arm(Timer::CheckSentinel)))
            .after(watch)
    }

    fn rest_idle(&mut self) -> Step {
        self.left = None;
        self.has_rested = true;
        self.hold = None;
        self.seen = None;
        // A stamp may land yet.
        self.sent.retain(|sent| sent.patch.kind == PatchKind::Stamp);
        self.gave_back = false;
        self.echoes.clear();
        self.acquired = None;
        self.redrains = 0;
        self.progress = None;
        self.is_forced = false;
        self.blockers.clear();
        self.stalled = false;
        self.retries = 0;
        self.rest(Stage::Idle, [])
    }

    pub(super) fn idling(&mut self, event: Event) -> Step {
        match event {
            Event::Sentinel(Some(created)) if !self.backing_off => self.edit(Edit::Stamp { created }),
            // A stamp whose answer never came has landed, or somebody else writes marks.
            Event::Seen(node) if hold::read(&node) != Reading::Absent => {
                if self.is_ours_alone(&node) {
                    return self.stamped(&node);
                }
                self.resume()
            }
            Event::Seen(node) if self.wanted == Some(true) && self.has_joined(&node) => {
                self.said = None;
                Step::rest().after([Act::Arm(Timer::CheckSentinel)])
            }
            _ => Step::rest(),
        }
    }

    /// Whether the Node has come into the pool since the last wish was kept back.
    fn has_joined(&self, node: &NodeView) -> bool {
        self.said == Some(Report::NotInPool) && self.settings.pool.matches(&node.metadata.labels)
    }

    pub(super) fn stamp(&mut self, created: &str, node: &NodeView) -> Step {
        if hold::read(node) != Reading::Absent {
            return self.resume();
        }
        if !self.settings.pool.matches(&node.metadata.labels) {
            let said = self.say(Report::NotInPool);
            return self.rest_idle().after(said);
        }
        let holder = Holder {
            node_uid: node.metadata.uid.clone(),
            created: created.to_owned(),
        };
        let patch = NodePatch::stamp(node, Hold::wish(holder, self.proof()));
        let patch = self.settings.signs.wished(patch, node, created);
        let created = created.to_owned();
        self.patch(Edit::Stamp { created }, patch)
    }

    /// The Node could not be read: nothing is on it that needs us, and the sentinel is looked at again.
    pub(super) fn unstamped(&mut self, failure: &Failure) -> Step {
        let why = failure.to_string();
        self.idle().reporting(Report::Retrying {
            what: "read the Node",
            why,
        })
    }

    /// Where it has not landed it may yet: only a later wish is written anew.
    pub(super) fn stamp_failed(&mut self, what: &'static str, failure: &Failure) -> Step {
        let Failure::Refused(why) = failure else {
            return self.resume_later(what, failure);
        };
        let said = self.say(Report::Refused {
            what,
            why: why.clone(),
        });
        let why = why.clone();
        self.idle().after(said).reporting(Report::Retrying { what, why })
    }

    pub(super) fn stamped(&mut self, node: &NodeView) -> Step {
        let holder = self.hold.as_ref().map(|hold| hold.holder.to_string());
        let watch = self.watch_from(node);
        self.retries = 0;
        self.gave_back = false;
        let wished = Report::Wished(holder.unwrap_or_default());
        self.wait().after([watch]).reporting(wished)
    }
}

/// Why the marks of this Node are nobody's to touch but a person's.
fn foreign_marks(node: &NodeView) -> Option<String> {
    match hold::read(node) {
        Reading::Malformed(why) => Some(why),
        Reading::Present(hold) if hold.holder.node_uid != node.metadata.uid => {
            Some(format!("holder {} names another Node object", hold.holder))
        }
        Reading::Present(_) | Reading::Absent => None,
    }
}

/// How far the process before had come: the phase that it was about to write, unless the Node still shows, to the last mark,
/// the wish that it was about to cordon for.
fn sent_phase(left: &HostRecord, node: &NodeView, shown: &Hold) -> Phase {
    let is_unchanged = shown.write.is_some() && shown.write == left.before;
    match left.phase {
        Some(Phase::Draining) if is_unchanged && is_bare_wish(node, shown) => Phase::Wanted,
        Some(phase) => phase,
        // The patch that was to end it has not landed; only a node that was cordoned names a boot.
        None if left.boot.is_none() => Phase::Wanted,
        None => Phase::Draining,
    }
}

/// The same by the lock's entry alone: it says what the cordon was, so a wish that shows anything else was cordoned already,
/// and somebody has changed it.
fn locked_phase(entry: &Entry, node: &NodeView, shown: &Hold) -> Phase {
    let is_as_it_was = node.spec.unschedulable == entry.metadata.unschedulable;
    let is_wish = is_as_it_was && !entry.sealed && is_bare_wish(node, shown);
    match shown.phase {
        Phase::Wanted if !is_wish => Phase::Draining,
        phase => phase,
    }
}

/// Whether the Node shows a wish, and no trace of a cordon of ours.
fn is_bare_wish(node: &NodeView, shown: &Hold) -> bool {
    shown.phase == Phase::Wanted
        && shown.was_unschedulable.is_none()
        && shown.boot_id.is_none()
        && shown.attempts == 0
        && !node.is_tainted(keys::REBOOTING)
}

/// Whether the write that was to give the cordon back has landed.
fn is_given_back(node: &NodeView, left: &HostRecord) -> bool {
    let created = left.holder.split_once('/').map_or("", |(_, created)| created);
    left.phase.is_none() && hold::was_given_back(node, created, &left.write)
}

/// A hold that is no longer on its Node, from the host's record.
fn lost_by_record(left: &HostRecord) -> Option<Hold> {
    let (node_uid, created) = left.holder.split_once('/')?;
    Some(Hold {
        holder: Holder {
            node_uid: node_uid.to_owned(),
            created: created.to_owned(),
        },
        phase: left.phase.unwrap_or(Phase::Draining),
        until: None,
        boot_id: left.boot.clone(),
        was_unschedulable: left.was_unschedulable,
        attempts: left.attempts,
        write: Some(left.write.clone()),
    })
}

/// The same, from its entry in the lock.
fn lost_by_entry(node: &NodeView, entry: &Entry) -> Hold {
    Hold {
        holder: Holder {
            node_uid: node.metadata.uid.clone(),
            created: entry.created.clone(),
        },
        phase: Phase::Draining,
        until: None,
        boot_id: entry.boot(),
        was_unschedulable: Some(entry.metadata.unschedulable),
        attempts: entry.attempts,
        write: None,
    }
}
