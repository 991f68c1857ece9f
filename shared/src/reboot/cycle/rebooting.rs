//! From the seal to the host going down: the command, and what follows where the host stays up.
//!
//! Time alone is no evidence that a reboot came to nothing: the host has to show it.

use super::stage::{Rebooting, Stage};
use super::{
    ATTEMPTS_MAX, Act, Answer, Ask, CallOff, Cycle, Disturbance, Event, HostState, Next, RebootFailure,
    Report, Shutdown, Step, Timer,
};
use crate::hold::Phase;

/// What is said of a hold that has no attempt left.
const GIVEN_UP: &str = "the reboot came to nothing twice, or the host does not show that it has booted: \
    look at the host, then cancel the hold or remove what asks for the reboot";

impl Cycle {
    /// A seal that another process made, and no record of it: whatever was set off may come for as long as a reboot may take.
    pub(super) fn wait_out(&mut self) -> Step {
        self.rest(Stage::Rebooting(Rebooting::WaitingOut), [Act::Arm(Timer::Reboot)])
    }

    pub(super) fn rebooting(&mut self, step: Rebooting, answer: Answer) -> Step {
        match (step, answer) {
            (Rebooting::Issuing, Answer::RebootIssued(Ok(()))) => self
                .rest(Stage::Rebooting(Rebooting::Waiting), [Act::Arm(Timer::Reboot)])
                .reporting(Report::Rebooting),
            (Rebooting::Issuing, Answer::RebootIssued(Err(RebootFailure::Expired))) => {
                self.not_attempted();
                self.disturbed(Disturbance::SealOver)
            }
            (Rebooting::Issuing, Answer::RebootIssued(Err(RebootFailure::Unclear(why)))) => self
                .rest(Stage::Rebooting(Rebooting::Waiting), [Act::Arm(Timer::Reboot)])
                .reporting(Report::RebootFailed(why)),
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
            (_, Event::Seen(node)) => match self.cancel(&node) {
                Some(why) => Step::rest().after(self.say(Report::TooLateToCancel(why))),
                None => Step::rest(),
            },
            _ => Step::rest(),
        }
    }

    /// The reboot came to nothing, if the host shows that no shutdown is under way: time alone is no evidence.
    fn in_vain(&mut self, step: Rebooting, host: HostState) -> Step {
        if host.shutdown == Shutdown::No {
            return self.came_to_nothing();
        }
        let back = match step {
            Rebooting::AskingOverdue => {
                return self.still_sealed(
                    "the reboot is not done, and the host does not show that it never will be",
                );
            }
            Rebooting::WaitedOut => Rebooting::WaitingOut,
            _ => Rebooting::Waiting,
        };
        let said = self.say(Report::HostBusy(host.shutdown));
        self.rest(Stage::Rebooting(back), [Act::Arm(Timer::Host)])
            .after(said)
    }

    /// The host has shown that a reboot that was set off will not come.
    ///
    /// It is no disturbance of the drain, so the node is drained and sealed again whatever `--on-uncordon` says.
    pub(super) fn came_to_nothing(&mut self) -> Step {
        if self.wanted == Some(false) {
            return self.undo(CallOff::NoLongerWanted);
        }
        if self.attempts() >= ATTEMPTS_MAX {
            return self.give_up();
        }
        self.cordon().reporting(Report::Disturbed {
            by: Disturbance::SealOver,
            next: Next::DrainAgain,
        })
    }

    /// The command was not run on the seal that has landed last.
    pub(super) fn not_attempted(&mut self) {
        if let Some(hold) = self.hold.as_mut().filter(|hold| hold.phase == Phase::Sealed) {
            hold.attempts = hold.attempts.saturating_sub(1);
        }
    }

    /// No attempt is left, and the host does not go down: a person, or the end of the wish, ends it.
    fn given_up(&mut self, event: Event) -> Step {
        match event {
            Event::Sentinel(None) => self.undo(CallOff::NoLongerWanted),
            Event::Seen(node) if self.ours(&node).is_none() => self.undo(CallOff::HoldLost),
            Event::Seen(node) => match self.cancel(&node) {
                Some(why) => self.undo(CallOff::Cancelled(why)),
                None => Step::rest(),
            },
            Event::Due(Timer::Reboot) => self.give_up(),
            _ => Step::rest(),
        }
    }

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
