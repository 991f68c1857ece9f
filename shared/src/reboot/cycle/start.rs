//! From the start of the process to a wish on the Node: asks the host, goes on from what an earlier process left, writes the wish.
//!
//! A process that starts remembers nothing of earlier processes. It believes the record in the host's `/run` first, then the lock entry,
//! then the Node, which anybody may have written while the webhook was down.
//! It never reboots on what it finds: it drains the node again first.

use super::edit::Edit;
use super::lock_edit::{Ending, LockEdit};
use super::sent::Sent;
use super::stage::{Resuming, Stage};
use super::{
    Act, Answer, Ask, CallOff, Cycle, Event, Failure, HostState, Report, Shutdown, Step, Timer, is_retry,
};
use crate::Reading;
use crate::hold::{self, Hold, Holder, NodePatch, PatchKind, Phase, Tally};
use crate::host::{BootEvidence, HostRecord, RebootDeadline};
use crate::keys;
use crate::lock::{Entry, EntryId, Record};
use crate::node::NodeView;
use crate::reboot::lock_object::LockView;

/// What a process that starts believes of a hold, and which sources say so.
struct Belief {
    hold: Hold,
    /// What shows that the host has booted since the cordon.
    rebooted: Option<BootEvidence>,
    /// Whether the host's record knows the hold.
    is_recorded: bool,
    /// Whether the earlier process was about to give its cordon back.
    is_ending: bool,
    has_entry: bool,
}

impl Belief {
    /// Whether this is a hold beyond a wish, and neither the host's record nor the lock knows it.
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
        // Nothing is undone under a shutdown: the node would go down without its hold, and its slot would be free.
        if host.shutdown != Shutdown::No {
            return self.wait_for_host(host.shutdown);
        }
        // Whatever the Node and the lock show: the reboot that an earlier process asked for may still come, because something
        // such as a delay inhibitor of logind holds it back.
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

    /// Takes an event while the host goes down, or may still go down. When the timer is due, the host is asked again.
    pub(super) fn host_busy(&mut self, event: &Event) -> Step {
        match event {
            Event::Due(Timer::Host) => self.ask(Stage::Starting, Ask::AskHost),
            _ => Step::rest(),
        }
    }

    /// Goes on from what the host's record, the lock and the Node show.
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
            // The object that carries the lock is gone, and every entry with it.
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
            // The answer to our stamp was lost, and the watch shows that it has landed.
            Event::Seen(node) if self.is_ours_alone(node) => self.stamped(node),
            event if is_retry(event) => self.read_to_resume(),
            _ => Step::rest(),
        }
    }

    fn judge(&mut self, node: NodeView) -> Step {
        // First: this read may show a stamp of ours whose answer was lost, which makes the hold ours again.
        self.settle(&node);
        if let Some(why) = foreign_marks(&node) {
            return self.foreign(why);
        }
        match hold::read(&node) {
            Reading::Present(_) if self.hold.is_some() && self.is_ours_alone(&node) => self.stamped(&node),
            // A process that has been idle knows each hold that it has made since, so somebody else has written this one.
            Reading::Present(hold) if self.has_rested => self.disown(hold),
            Reading::Absent if self.has_rested => self.tidy(&node),
            // A process that has not been idle yet remembers nothing: an earlier one may have left an entry, even without marks.
            _ => self.ask(Stage::Resuming(Resuming::ReadingLock(node)), Ask::ReadLock),
        }
    }

    /// Removes marks that somebody else has written, and leaves the cordon as it is.
    fn disown(&mut self, shown: Hold) -> Step {
        // Ended as a wish, because the end of a wish never touches the cordon.
        self.hold = Some(Hold {
            phase: Phase::Wanted,
            boot_id: None,
            was_unschedulable: None,
            ..shown
        });
        self.undo(CallOff::Unproven)
    }

    /// Removes signs that a lost hold has left on the Node, then rests.
    pub(super) fn tidy(&mut self, node: &NodeView) -> Step {
        match self.settings.signs.leftover(node) {
            Some(patch) => self.patch(Edit::Tidy, patch),
            None => self.idle(),
        }
    }

    /// Decides from which source to go on. The most trustworthy comes first: the host's record, the lock entry, the Node.
    fn believe(&mut self, node: &NodeView, lock: LockView) -> Step {
        let record = match lock.record {
            // What cannot be read is not taken for empty: it may hold our entry, which says what the cordon was.
            Reading::Malformed(why) => {
                return self.resume_later("read the lock", &Failure::Refused(why));
            }
            Reading::Absent => Record::default(),
            Reading::Present(record) => record,
        };
        let entry = record.of_node(&self.settings.node);
        let uid = &node.metadata.uid;
        let of_this_node = entry.filter(|entry| !entry.is_of_another(node));
        // A record about an earlier Node object of this name says nothing about this one.
        let left = self
            .left
            .clone()
            .filter(|left| left.holder.split('/').next() == Some(uid));
        self.recall_deferred(left.as_ref(), of_this_node);
        self.serve(of_this_node);
        match hold::read(node).present() {
            Some(shown) => self.go_on_from(node, shown, left.as_ref(), entry),
            None => self.without_marks(node, left.as_ref(), entry),
        }
    }

    /// Goes on where the Node shows a hold.
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
        // The record or the entry is about another hold: somebody has written these marks over ours.
        if of_it.is_none() && own.is_none() && (left.is_some() || entry.is_some()) {
            // What is known is of another hold, which these marks were written over.
            return self.without_marks(node, left, entry);
        }
        if of_it.is_some_and(|left| is_given_back(node, left)) {
            // Our give-back has landed, so these are old marks that somebody has put back. What was deferred was done with it.
            self.deferred = None;
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

    /// Remembers the write that the earlier process was about to send, because it may still land: a give-back, or a first cordon.
    fn may_land_yet(&mut self, node: &NodeView, hold: &Hold, left: &HostRecord) {
        let cordon = lost_by_record(left).filter(|cordon| cordon.holder == hold.holder);
        let patch = match left.phase {
            None => {
                let patch = NodePatch::give_back(node, hold, left.write.clone());
                Some(patch.uncordoning(node, self.deferred_of(hold)))
            }
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
        // Without a record, an entry that was confirmed in this boot outweighs what the Node shows: the command may have run.
        let phase = match (left, entry) {
            (Some(left), _) => sent_phase(left, node, &shown),
            (None, Some(entry)) if self.may_have_told(entry) => Phase::Sealed,
            (None, Some(entry)) => locked_phase(entry, node, &shown),
            (None, None) => shown.phase,
        };
        let was = left.and_then(|left| left.was_unschedulable);
        let was = was.or(entry.map(|entry| entry.metadata.unschedulable));
        // The larger count: whoever can write the Node could set its count back, and with it get more reboots.
        let stored = entry.map_or(0, |entry| entry.attempts).max(shown.attempts);
        let is_wish = phase == Phase::Wanted;
        Belief {
            // A boot since a mere wish was somebody else's reboot.
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
                // A wish has no attempts: a count on its Node was written by somebody else.
                attempts: left.map_or(if is_wish { 0 } else { stored }, |left| left.attempts),
                ..shown
            },
        }
    }

    /// Whether a reboot command may have run in this boot, by the lock entry alone: the entry is confirmed before the command runs.
    fn may_have_told(&self, entry: &Entry) -> bool {
        let is_of_this_boot = |boot: String| self.boot.is_after(&boot).is_none();
        entry.sealed && !entry.given_back && entry.boot().is_some_and(is_of_this_boot)
    }

    fn resume_hold(&mut self, node: &NodeView, belief: &Belief) -> Step {
        // First: whatever phase it was, the boot has ended it.
        if let Some(evidence) = belief.rebooted {
            // Without an entry the lock may have lost what was used too, and the same request would reboot the node again.
            if !belief.has_entry {
                self.presume_used(node);
            }
            return self.come_back().reporting(Report::Booted(evidence));
        }
        let cancelled = self.cancel(node);
        match belief.hold.phase {
            // The earlier process was ending this wish, and that write may never have landed.
            Phase::Wanted if belief.is_ending => self.undo(CallOff::HoldLost),
            Phase::Wanted => match cancelled {
                Some(why) => self.undo(CallOff::Cancelled(why)),
                None => self.wait(),
            },
            // Anybody may have written these marks, and the host has not booted since: they go, and the cordon stays.
            _ if belief.is_unproven() => {
                let shown = belief.hold.clone();
                self.disown(shown)
            }
            // A give-back that an earlier process began is finished.
            _ if belief.is_ending => self.undo(CallOff::HoldLost),
            // Without an entry the node has no slot, so no drain begins.
            _ if !belief.has_entry => self.undo(CallOff::EntryLost),
            // The record says that the command never ran, that it failed, or that its time is over, and the host shows no shutdown.
            Phase::Sealed if belief.is_recorded => self.came_to_nothing(),
            // Without a record nobody knows whether the command ran, so the reboot may still come.
            Phase::Sealed => self.wait_out(),
            // Nobody has watched the Node since, so the drain is done again, however far it had come.
            Phase::Draining | Phase::Delaying | Phase::Returning => match cancelled {
                Some(why) => self.undo(CallOff::Cancelled(why)),
                None => self.cordon(),
            },
        }
    }

    /// Goes on if the Node shows no hold, or one that somebody wrote over ours. The host's record or, without one, the
    /// lock entry then says whether the node was cordoned before.
    fn without_marks(&mut self, node: &NodeView, left: Option<&HostRecord>, entry: Option<&Entry>) -> Step {
        let of_this_node = entry.filter(|entry| !entry.is_of_another(node));
        // The marks are gone, but the entry was confirmed in this boot: the host may still go down, and nobody else may take the
        // slot before that is out of the question.
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
                // A wish that never reached the Node has changed nothing.
                let is_unwritten = left.phase == Some(Phase::Wanted) && hold::read(node) == Reading::Absent;
                (lost_by_record(left), is_unwritten || is_given_back(node, left))
            }
            (None, Some(entry)) => {
                // Over if it was given back, or if neither a mark nor a cordon of ours can be left.
                let lost = lost_by_entry(node, entry);
                let is_deferred =
                    self.deferred_of(&lost).is_some() || hold::deferred_until_end(node, &lost).is_some();
                let is_as_it_was = (entry.metadata.unschedulable && !is_deferred) || !node.spec.unschedulable;
                let is_over = entry.given_back || (is_as_it_was && !hold::has_marks(node));
                (Some(lost), is_over)
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

    /// Ends what an earlier process left if there is no cordon to give back: a lock entry is released, or else old signs are removed.
    fn over(&mut self, node: &NodeView, entry: Option<&Entry>) -> Step {
        match entry {
            Some(entry) if hold::delays_release(node, &entry.created) => {
                let id = entry.id();
                // The earlier process may have died before it wrote that into the entry.
                if entry.given_back {
                    self.delay_release(id)
                } else {
                    self.edit_lock(LockEdit::Keep(id))
                }
            }
            Some(entry) => self.release(entry.id(), Ending::Earlier),
            None => self.tidy(node).after([Act::Forget]),
        }
    }

    /// Reports foreign marks, and leaves them alone: a person has to look at them.
    pub(super) fn foreign(&mut self, why: String) -> Step {
        let said = self.say(Report::Foreign(why));
        self.rest(Stage::Foreign, said)
    }

    /// Takes an event while the Node carries foreign marks, and goes on once they are gone.
    pub(super) fn foreign_changed(&mut self, event: &Event) -> Step {
        let Event::Seen(node) = event else {
            return Step::rest();
        };
        if let Some(why) = foreign_marks(node) {
            return self.foreign(why);
        }
        // If they come back, they are reported again.
        self.said = None;
        // What this process remembers of its own hold is worth more than a new look: the Node may show other marks or none.
        if self.hold.is_some() {
            self.undo(CallOff::HoldLost)
        } else {
            self.resume()
        }
    }

    /// Goes to rest. If the sentinel has asked for a reboot, it is looked at again soon, not only after a whole `--period`.
    pub(super) fn idle(&mut self) -> Step {
        let look = self.wanted == Some(true) && !self.backing_off;
        // The watch begins with a list, so it also shows marks that came while nobody watched.
        let watch = [Act::Watch(None)];
        self.rest_idle()
            .after(look.then_some(Act::Arm(Timer::CheckSentinel)))
            .after(watch)
    }

    /// Goes to rest, and forgets the hold.
    fn rest_idle(&mut self) -> Step {
        self.left = None;
        self.has_rested = true;
        self.hold = None;
        self.seen = None;
        // A stamp without an answer may still land, and is then known as ours.
        self.sent.retain(|sent| sent.patch.kind == PatchKind::Stamp);
        self.gave_back = false;
        self.deferred = None;
        self.serve_no_more();
        self.echoes.clear();
        self.acquired = None;
        self.redrains = 0;
        self.tally = Tally::default();
        self.progress = None;
        self.is_forced = false;
        self.blockers.clear();
        self.stalled = false;
        self.retries = 0;
        self.rest(Stage::Idle, [])
    }

    /// Takes an event while the agent is idle.
    pub(super) fn idling(&mut self, event: Event) -> Step {
        match event {
            Event::Sentinel(Some(wanted)) if !self.backing_off => self.edit(Edit::Stamp {
                created: wanted.created,
            }),
            // Our stamp has landed although its answer was lost, or somebody else has written marks.
            Event::Seen(node) if hold::read(&node) != Reading::Absent => {
                if self.is_ours_alone(&node) {
                    return self.stamped(&node);
                }
                self.resume()
            }
            // The wish was kept back only because the Node was not in the pool: no need to wait for the next `--period`.
            Event::Seen(node) if self.wanted == Some(true) && self.has_joined(&node) => {
                self.said = None;
                Step::rest().after([Act::Arm(Timer::CheckSentinel)])
            }
            _ => Step::rest(),
        }
    }

    /// Whether a wish was not written because the Node was not in the pool, and the Node is in the pool now.
    fn has_joined(&self, node: &NodeView) -> bool {
        self.said == Some(Report::NotInPool) && self.settings.pool.matches(&node.metadata.labels)
    }

    /// Writes the wish on this version of our Node.
    pub(super) fn stamp(&mut self, created: &str, node: &NodeView) -> Step {
        // A stamp only ever goes on a Node without marks. What is there may be an earlier stamp of ours.
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
        let patch = self.accounted(patch, node);
        let created = created.to_owned();
        self.patch(Edit::Stamp { created }, patch)
    }

    /// Reports that the Node could not be read for the stamp, and goes to rest. There is nothing to undo, because no marks of ours are known
    /// to be on the Node. The sentinel is looked at again soon, which leads to the next try.
    pub(super) fn unstamped(&mut self, failure: &Failure) -> Step {
        let why = failure.to_string();
        self.idle().reporting(Report::Retrying {
            what: "read the Node",
            why,
        })
    }

    /// Goes on after a stamp that failed. A refused one is given up: the next look at the sentinel makes a new wish.
    /// Any other may have landed or may still land, so the Node is read first.
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

    /// The wish is on the Node: waits for the lock.
    pub(super) fn stamped(&mut self, node: &NodeView) -> Step {
        let watch = self.watch_from(node);
        self.retries = 0;
        self.gave_back = false;
        let wished = self.wished();
        self.wait().after([watch]).after([wished])
    }
}

/// Why only a person may touch the marks of this Node, if that is so.
fn foreign_marks(node: &NodeView) -> Option<String> {
    match hold::read(node) {
        Reading::Malformed(why) => Some(why),
        Reading::Present(hold) if hold.holder.node_uid != node.metadata.uid => {
            Some(format!("holder {} names another Node object", hold.holder))
        }
        Reading::Present(_) | Reading::Absent => None,
    }
}

/// How far the earlier process had come, by the host's record, which names the phase that the process was about to write.
/// If that write was the cordon, and the Node still shows the wish unchanged, then the cordon has not landed.
fn sent_phase(left: &HostRecord, node: &NodeView, shown: &Hold) -> Phase {
    let is_unchanged = shown.write.is_some() && shown.write == left.before;
    match left.phase {
        Some(Phase::Draining) if is_unchanged && is_bare_wish(node, shown) => Phase::Wanted,
        Some(phase) => phase,
        // The give-back has not landed. What it was to end was a wish if the record names no boot: a cordon does.
        None if left.boot.is_none() => Phase::Wanted,
        None => Phase::Draining,
    }
}

/// How far the earlier process had come if there is a lock entry and no record of the host: the phase that the Node shows, or `draining`
/// if the Node shows a wish although it had been cordoned. That is so if the entry is confirmed, if the cordon is not what the entry says
/// it was before, or if the marks have traces of a cordon. Somebody has changed the phase then.
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

/// A hold that is no longer on its Node, as the host's record has it.
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

/// A hold that is no longer on its Node, as its entry in the lock has it.
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
