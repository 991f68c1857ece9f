//! From the seal to the host going down: the reboot command, and what follows if the host stays up.
//!
//! Time alone is no evidence that the reboot will not come: the host has to show it.

use super::stage::{Rebooting, Stage};
use super::{
    ATTEMPTS_MAX, Act, Answer, Ask, CallOff, Cycle, Disturbance, Event, HostState, Next, RebootFailure,
    Report, Shutdown, Step, Timer,
};
use crate::hold::Phase;

/// What is reported of a hold that has no attempt left.
const GIVEN_UP: &str = "the reboot came to nothing twice, or the host does not show that it has booted: \
    look at the host, then cancel the hold or remove what asks for the reboot";

impl Cycle {
    /// Waits for as long as a reboot may take: an earlier process has made the seal, and no record says whether it ran the
    /// command.
    pub(super) fn wait_out(&mut self) -> Step {
        self.rest(Stage::Rebooting(Rebooting::WaitingOut), [Act::Arm(Timer::Reboot)])
    }

    /// Takes what became of the command, or what the host says.
    pub(super) fn rebooting(&mut self, step: Rebooting, answer: Answer) -> Step {
        match (step, answer) {
            (Rebooting::Issuing, Answer::RebootIssued(Ok(()))) => self
                .rest(Stage::Rebooting(Rebooting::Waiting), [Act::Arm(Timer::Reboot)])
                .reporting(Report::Rebooting),
            // The command was not run, so it costs no attempt. What the check saw is too old to reboot on.
            (Rebooting::Issuing, Answer::RebootIssued(Err(RebootFailure::Expired))) => {
                self.not_attempted();
                self.disturbed(Disturbance::SealOver)
            }
            // It may have worked. The host has until `--reboot-timeout` to show it.
            (Rebooting::Issuing, Answer::RebootIssued(Err(RebootFailure::Unclear(why)))) => self
                .rest(Stage::Rebooting(Rebooting::Waiting), [Act::Arm(Timer::Reboot)])
                .reporting(Report::RebootFailed(why)),
            // A command that failed may have begun a shutdown all the same. Only the host can tell.
            (Rebooting::Issuing, Answer::RebootIssued(Err(RebootFailure::Failed(why)))) => self
                .ask(Stage::Rebooting(Rebooting::AskingHost), Ask::AskHost)
                .after([Act::Arm(Timer::Reboot)])
                .reporting(Report::RebootFailed(why)),
            (Rebooting::AskingHost | Rebooting::AskingOverdue | Rebooting::WaitedOut, Answer::Host(host)) => {
                self.in_vain(step, host)
            }
            (_, answer) => self.unexpected(&answer),
        }
    }

    /// While the host is expected to go down.
    pub(super) fn reboot_waits(&mut self, step: Rebooting, event: Event) -> Step {
        match (step, event) {
            (Rebooting::GivenUp, event) => self.given_up(event),
            (Rebooting::WaitingOut, Event::Due(Timer::Reboot | Timer::Host)) => {
                self.ask(Stage::Rebooting(Rebooting::WaitedOut), Ask::AskHost)
            }
            (Rebooting::Waiting, Event::Due(Timer::Host)) => {
                self.ask(Stage::Rebooting(Rebooting::AskingHost), Ask::AskHost)
            }
            (Rebooting::Waiting, Event::Due(Timer::Reboot)) => {
                self.ask(Stage::Rebooting(Rebooting::AskingOverdue), Ask::AskHost)
            }
            // Nothing that the Node shows undoes a seal: the host may be going down already.
            (_, Event::Seen(node)) => match self.cancel(&node) {
                Some(why) => Step::rest().after(self.say(Report::TooLateToCancel(why))),
                None => Step::rest(),
            },
            _ => Step::rest(),
        }
    }

    /// Gives the reboot up if the host shows that no shutdown is under way. Time alone is no evidence.
    fn in_vain(&mut self, step: Rebooting, host: HostState) -> Step {
        if host.shutdown == Shutdown::No {
            return self.came_to_nothing();
        }
        let back = match step {
            // Overdue, and still no evidence: the node stays sealed, and a person has to look.
            Rebooting::AskingOverdue => {
                return self.still_sealed(
                    "--reboot-timeout is over, and a shutdown is still under way or the host cannot be asked",
                );
            }
            Rebooting::WaitedOut => Rebooting::WaitingOut,
            _ => Rebooting::Waiting,
        };
        let said = self.say(Report::HostBusy(host.shutdown));
        self.rest(Stage::Rebooting(back), [Act::Arm(Timer::Host)])
            .after(said)
    }

    /// The host has shown that the reboot will not come: drains and seals the node again.
    ///
    /// Nobody has disturbed the drain, so `--on-uncordon` and the bound on new drains do not count here.
    pub(super) fn came_to_nothing(&mut self) -> Step {
        if self.wanted == Some(false) {
            return self.undo(CallOff::NoLongerWanted);
        }
        if self.attempts() >= ATTEMPTS_MAX {
            return self.give_up();
        }
        let by = Disturbance::SealOver;
        self.count_disturbance(&by);
        let next = Next::DrainAgain;
        self.cordon().reporting(Report::Disturbed { by, next })
    }

    /// Takes back the attempt that the last seal has counted: the command was not run on it.
    pub(super) fn not_attempted(&mut self) {
        if let Some(hold) = self.hold.as_mut().filter(|hold| hold.phase == Phase::Sealed) {
            hold.attempts = hold.attempts.saturating_sub(1);
        }
    }

    /// While no attempt is left and the host does not go down. A person ends it, or the end of the wish does.
    fn given_up(&mut self, event: Event) -> Step {
        match event {
            Event::Sentinel(None) => self.undo(CallOff::NoLongerWanted),
            Event::Seen(node) if self.ours(&node).is_none() => self.undo(CallOff::HoldLost),
            Event::Seen(node) => match self.cancel(&node) {
                Some(why) => self.undo(CallOff::Cancelled(why)),
                None => Step::rest(),
            },
            // Reported again, for as long as nobody has ended it.
            Event::Due(Timer::Reboot) => self.give_up(),
            _ => Step::rest(),
        }
    }

    /// Stops: no attempt is left, so a person has to look.
    pub(super) fn give_up(&mut self) -> Step {
        self.rest(
            Stage::Rebooting(Rebooting::GivenUp),
            [Act::StopDrain, Act::Arm(Timer::Reboot)],
        )
        .reporting(Report::StillSealed(GIVEN_UP.to_owned()))
    }

    fn still_sealed(&mut self, why: &str) -> Step {
        self.rest(Stage::Rebooting(Rebooting::Waiting), [Act::Arm(Timer::Reboot)])
            .reporting(Report::StillSealed(why.to_owned()))
    }
}
