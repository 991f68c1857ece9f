//! From the start of the process to a wish on the Node: ask the host, resume from the marks, stamp.

use super::{
    Act, Cycle, Failure, HostState, Input, Orphaned, Outcome, Report, Request, Shutdown, Stage, Stamping,
    Timer, is_retry, paused,
};
use crate::Reading;
use crate::hold::{self, Hold, Holder, NodePatch, Phase};
use crate::lock::{Entry, Record};
use crate::node::NodeView;

impl Cycle {
    pub(super) fn starting(&mut self, input: Input) -> Outcome {
        match input {
            Input::Started => self
                .ask(Stage::Starting, Request::AskHost)
                .after([Act::Watch(None)]),
            Input::Host(host) => self.host_said(host),
            _ => Outcome::rest(),
        }
    }

    fn host_said(&mut self, host: HostState) -> Outcome {
        if host.shutdown != Shutdown::No {
            return self.wait_for_host(host.shutdown);
        }
        // Whatever the Node and the lock show: what another process set off may come yet.
        if let Some(holder) = host.told_for.filter(|_| !self.waited_out) {
            return self
                .rest(Stage::HostTold, [Act::Arm(Timer::Deadline)])
                .reporting(Report::HostTold(holder));
        }
        self.boot_id = host.boot_id;
        self.resume()
    }

    fn wait_for_host(&mut self, shutdown: Shutdown) -> Outcome {
        let said = self.say(Report::HostBusy(shutdown));
        self.rest(Stage::HostBusy, [Act::Arm(Timer::Host)]).after(said)
    }

    pub(super) fn host_busy(&mut self, input: &Input) -> Outcome {
        match input {
            Input::Due(Timer::Host) => self.ask(Stage::Starting, Request::AskHost),
            _ => Outcome::rest(),
        }
    }

    pub(super) fn host_told(&mut self, input: &Input) -> Outcome {
        match input {
            Input::Due(Timer::Deadline) => {
                self.waited_out = true;
                self.ask(Stage::Starting, Request::AskHost)
            }
            _ => Outcome::rest(),
        }
    }

    /// Goes on from what the Node shows.
    pub(super) fn resume(&mut self) -> Outcome {
        self.hold = None;
        self.ask(Stage::Resuming, Request::ReadNode)
    }

    pub(super) fn resuming(&mut self, input: Input) -> Outcome {
        match input {
            Input::Node(Ok(node)) => self.judge(node),
            Input::Node(Err(failure)) => self.retry(Stage::Resuming, "read the Node", &failure),
            input if is_retry(&input) => self.resume(),
            _ => Outcome::rest(),
        }
    }

    fn judge(&mut self, node: NodeView) -> Outcome {
        self.retries = 0;
        self.seen = Some(node.clone());
        match hold::read(&node) {
            Reading::Absent => self.ask(Stage::Orphaned(Orphaned::ReadingLock(node)), Request::ReadLock),
            Reading::Malformed(why) => self.foreign(why),
            Reading::Present(hold) if hold.holder.node_uid != node.metadata.uid => {
                self.foreign(format!("holder {} names another Node object", hold.holder))
            }
            Reading::Present(hold) => self.resume_hold(&node, hold),
        }
    }

    fn resume_hold(&mut self, node: &NodeView, hold: Hold) -> Outcome {
        self.hold = Some(hold.clone());
        let watch = Act::Watch(Some(node.version().to_owned()));
        let rebooted = hold.phase != Phase::Wanted && self.has_rebooted(&hold);
        let cancelled = self.cancel(node);
        let outcome = match (hold.phase, cancelled) {
            (Phase::Returning, _) => self.come_back(),
            _ if rebooted => self.come_back(),
            (Phase::Sealed, _) if self.waited_out => self.came_to_nothing(),
            (Phase::Sealed, _) => self.wait_out(),
            (_, Some(why)) => self.undo(super::Reason::Cancelled(why)),
            (Phase::Wanted, None) => self.wait(),
            (Phase::Draining | Phase::Delaying, None) => self.cordon(),
        };
        outcome.after([watch]).reporting(Report::Resumed(hold))
    }

    /// Marks that are not ours to touch: a person has to look.
    pub(super) fn foreign(&mut self, why: String) -> Outcome {
        let said = self.say(Report::Foreign(why));
        self.rest(Stage::Foreign, said)
    }

    pub(super) fn foreign_changed(&mut self, input: &Input) -> Outcome {
        let Input::Seen(node) = input else {
            return Outcome::rest();
        };
        // Gone while we remember our own: memory says what the cordon was.
        if self.hold.is_some() && hold::read(node) == Reading::Absent {
            return self.undo(super::Reason::HoldLost);
        }
        let readable = match hold::read(node) {
            Reading::Absent => true,
            Reading::Present(hold) => hold.holder.node_uid == node.metadata.uid,
            Reading::Malformed(_) => false,
        };
        if readable { self.resume() } else { Outcome::rest() }
    }

    /// The Node shows no hold. If the lock has an entry of ours, the marks were lost, and the entry says what the cordon was.
    pub(super) fn orphaned(&mut self, step: Orphaned, input: Input) -> Outcome {
        match (step, input) {
            (Orphaned::ReadingLock(node), Input::Lock(Ok(lock))) => self.adopt(&node, lock.record),
            (Orphaned::GivingBack(id), Input::Patched(Ok(node))) => self.given_back(&node, id, false),
            (Orphaned::Tidying, Input::Patched(Ok(_))) => self.idle(),
            (_, Input::Patched(Err(Failure::Conflict))) => self.resume(),
            (_, Input::Lock(Err(failure))) => {
                self.retry(Stage::Orphaned(Orphaned::Retrying), "read the lock", &failure)
            }
            (_, Input::Patched(Err(failure))) => self.retry(
                Stage::Orphaned(Orphaned::Retrying),
                "give the cordon back",
                &failure,
            ),
            (Orphaned::Retrying, input) if is_retry(&input) => self.resume(),
            _ => Outcome::rest(),
        }
    }

    /// An entry of ours without marks.
    fn adopt(&mut self, node: &NodeView, record: Reading<Record>) -> Outcome {
        let record = match record {
            Reading::Malformed(why) => {
                let failure = Failure::Refused(why);
                return self.retry(Stage::Orphaned(Orphaned::Retrying), "read the lock", &failure);
            }
            Reading::Absent => Record::default(),
            Reading::Present(record) => record,
        };
        let is_of_our_node = |entry: &&Entry| entry.node == self.policy.node && !entry.is_by_hand();
        let Some(entry) = record.entries.iter().find(is_of_our_node) else {
            return match self.policy.signs.leftover(node) {
                Some(patch) => self.ask(Stage::Orphaned(Orphaned::Tidying), Request::PatchNode(patch)),
                None => self.idle(),
            };
        };
        if hold::delays_release(node, &entry.created) {
            return self.delay_release(entry.id());
        }
        // A Node that was created anew has nothing of ours to give back.
        let is_as_it_was =
            entry.is_of_another(node) || entry.metadata.unschedulable || !node.spec.unschedulable;
        if is_as_it_was || hold::is_left_over(node, &entry.created) {
            return self.release(entry.id(), false);
        }
        let patch = NodePatch::give_back_lost(node, &entry.created, Some(false));
        let patch = self.policy.signs.given_back(patch, node, false);
        self.ask(
            Stage::Orphaned(Orphaned::GivingBack(entry.id())),
            Request::PatchNode(patch),
        )
    }

    /// At rest. A wish that was seen meanwhile is looked for again, not only after a whole `--period`.
    pub(super) fn idle(&mut self) -> Outcome {
        let look = self.wanted == Some(true) && !self.backing_off;
        self.rest_idle().after(look.then_some(Act::Arm(Timer::Look)))
    }

    fn rest_idle(&mut self) -> Outcome {
        self.hold = None;
        self.seen = None;
        self.redrains = 0;
        self.progress = None;
        self.is_forced = false;
        self.vain_reboots = 0;
        self.stalled = false;
        self.waited_out = false;
        self.retries = 0;
        self.rest(Stage::Idle, [])
    }

    pub(super) fn idling(&mut self, input: Input) -> Outcome {
        match input {
            Input::Sentinel(Some(created)) if !self.backing_off => self.ask(
                Stage::Stamping {
                    created,
                    step: Stamping::Reading,
                },
                Request::ReadNode,
            ),
            // A stamp whose answer never came has landed, or somebody else writes marks.
            Input::Seen(node) if hold::read(&node) != Reading::Absent => self.resume(),
            Input::Seen(node) if self.wanted == Some(true) && self.is_let_go(&node) => {
                self.said = None;
                Outcome::rest().after([Act::Arm(Timer::Look)])
            }
            _ => Outcome::rest(),
        }
    }

    /// Whether what kept the last wish back no longer does.
    fn is_let_go(&self, node: &NodeView) -> bool {
        match &self.said {
            Some(Report::Paused(_)) => paused(node).is_none(),
            Some(Report::NotInPool) => self.policy.pool.matches(&node.metadata.labels),
            _ => false,
        }
    }

    pub(super) fn stamping(&mut self, created: &str, step: Stamping, input: Input) -> Outcome {
        let stage = |step| Stage::Stamping {
            created: created.to_owned(),
            step,
        };
        match (step, input) {
            (Stamping::Reading, Input::Node(Ok(node))) => {
                if hold::read(&node) != Reading::Absent {
                    return self.resume();
                }
                if let Some(word) = paused(&node) {
                    let said = self.say(Report::Paused(word));
                    return self.rest_idle().after(said);
                }
                if !self.policy.pool.matches(&node.metadata.labels) {
                    let said = self.say(Report::NotInPool);
                    return self.rest_idle().after(said);
                }
                let holder = Holder {
                    node_uid: node.metadata.uid.clone(),
                    created: created.to_owned(),
                };
                let patch = NodePatch::stamp(&node, &holder);
                let patch = self.policy.signs.wished(patch, &node, created);
                self.ask(stage(Stamping::Writing), Request::PatchNode(patch))
            }
            (Stamping::Writing, Input::Patched(Ok(node))) => self.stamped(created, node),
            (Stamping::Writing, Input::Patched(Err(Failure::Conflict))) => {
                self.ask(stage(Stamping::Reading), Request::ReadNode)
            }
            (Stamping::Writing, Input::Patched(Err(failure))) => {
                self.retry(stage(Stamping::ReadingBack), "stamp the wish", &failure)
            }
            (Stamping::ReadingBack, input) if is_retry(&input) => {
                self.ask(stage(Stamping::ReadingBack), Request::ReadNode)
            }
            (Stamping::ReadingBack, Input::Node(Ok(node))) => self.stamped(created, node),
            (Stamping::ReadingBack, Input::Node(Err(failure))) => {
                self.retry(stage(Stamping::ReadingBack), "read the Node", &failure)
            }
            // Nothing is on the Node that needs us: the sentinel is looked at again.
            (_, Input::Node(Err(failure))) => {
                let outcome = self.idle();
                let why = format!("{failure:?}");
                outcome.reporting(Report::Retrying {
                    what: "read the Node",
                    why,
                })
            }
            _ => Outcome::rest(),
        }
    }

    fn stamped(&mut self, created: &str, node: NodeView) -> Outcome {
        match hold::read(&node) {
            Reading::Present(hold) if hold.holder.created == created => {
                let holder = hold.holder.to_string();
                let watch = Act::Watch(Some(node.version().to_owned()));
                self.hold = Some(hold);
                self.seen = Some(node);
                self.retries = 0;
                self.wait().after([watch]).reporting(Report::Wished(holder))
            }
            _ => self.resume(),
        }
    }
}
