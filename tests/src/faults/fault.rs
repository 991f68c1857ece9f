//! The faults: a row for each, with its name and where it may happen.
//!
//! Not here: how a request is disturbed ([`super::proxy`]), and how a server is ([`super::servers`]).

use std::time::Duration;

use super::step::{Step, What};

/// Something that goes wrong once, at one step of one agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The agent is killed before its request is forwarded, and started again.
    KilledBefore,
    /// The agent is killed when the request was answered, before it sees the answer.
    KilledAfter,
    /// The agent is stopped for longer than its deadlines, before it sees the answer.
    Paused,
    /// The connection ends before the request is forwarded.
    CutBefore,
    /// The connection ends when the request was answered, before the agent sees the answer.
    CutAfter,
    /// The request is forwarded late.
    Delayed,
    /// The connection ends, and the request is forwarded all the same, later.
    LandsLate,
    /// The request is forwarded twice, and the agent sees the second answer.
    Twice,
    /// Not forwarded, and answered with this status.
    Answered(u16),
    /// Forwarded, and answered with this status all the same.
    AnsweredAfter(u16),
    /// Not forwarded: something on the way answers with a page.
    Page,
    /// Forwarded, and the answer breaks off in its middle.
    Truncated,
    /// The agent's watches end.
    WatchesCut,
    /// The agent's watches are told that their version is too old.
    WatchesTooOld,
    /// The agent's watches that are open stay so, and show nothing any more.
    WatchesSilent,
    /// The agent is killed while its reboot command runs, and the command goes on.
    KilledInReboot,
    /// The reboot command fails, and the next one works.
    RebootFails,
    /// The reboot command does nothing, and the next one works.
    RebootDoesNothing,
    /// The wall clock of the agent jumps by an hour, and stays so.
    ClockAhead,
    ClockBehind,
    /// The API server begins anew with a certificate of another CA, and the file with the CA is replaced once the agent has refused it.
    CaChanged,
    /// The API server is killed and started again.
    ApiServerStopped,
    /// The API server is stopped for longer than the agents wait for an answer.
    ApiServerPaused,
    /// The same of etcd.
    EtcdStopped,
    EtcdPaused,
    /// The leader of three members of etcd is killed, and started again once another leads.
    EtcdLeaderStopped,
    /// It is stopped for longer than the agents wait for an answer, and goes on as if it still led.
    EtcdLeaderPaused,
    /// The webhook is dead, so the API server refuses what it cannot ask about. Somebody tries to uncordon.
    WebhookDead,
    /// The webhook is dead, and its configuration lets that pass. Somebody uncordons.
    WebhookIgnored,
    /// The webhook's configuration is deleted. Somebody uncordons.
    WebhookDeleted,
    /// The webhook's wall clock is an hour ahead, so each hold has lapsed. Somebody uncordons.
    WebhookAhead,
    /// The webhook's wall clock is an hour behind. Somebody tries to uncordon.
    WebhookBehind,
    /// One of three API servers is behind the others. The agents ask all of them in turn.
    ServerLags,
    /// One of three API servers hears nothing of etcd for a while.
    ServerFrozen,
}

/// How long a request or a server is late, in which an agent does not give up on an answer.
pub(super) const LATE: Duration = Duration::from_secs(3);
/// How long an agent is stopped: longer than it waits for an answer, and than it may reboot after its seal (10 s each).
pub(super) const PAUSE: Duration = Duration::from_secs(12);

impl Fault {
    /// Every fault, in the order of the table.
    pub const ALL: [Self; 45] = [
        Self::KilledBefore,
        Self::KilledAfter,
        Self::Paused,
        Self::CutBefore,
        Self::CutAfter,
        Self::Delayed,
        Self::LandsLate,
        Self::Twice,
        Self::Answered(200),
        Self::Answered(401),
        Self::Answered(403),
        Self::Answered(404),
        Self::Answered(409),
        Self::Answered(410),
        Self::Answered(429),
        Self::Answered(500),
        Self::Answered(503),
        Self::Answered(504),
        Self::AnsweredAfter(409),
        Self::AnsweredAfter(500),
        Self::AnsweredAfter(504),
        Self::Page,
        Self::Truncated,
        Self::WatchesCut,
        Self::WatchesTooOld,
        Self::WatchesSilent,
        Self::KilledInReboot,
        Self::RebootFails,
        Self::RebootDoesNothing,
        Self::ClockAhead,
        Self::ClockBehind,
        Self::CaChanged,
        Self::ApiServerStopped,
        Self::ApiServerPaused,
        Self::EtcdStopped,
        Self::EtcdPaused,
        Self::EtcdLeaderStopped,
        Self::EtcdLeaderPaused,
        Self::WebhookDead,
        Self::WebhookIgnored,
        Self::WebhookDeleted,
        Self::WebhookAhead,
        Self::WebhookBehind,
        Self::ServerLags,
        Self::ServerFrozen,
    ];

    /// The name on the command line and in the table.
    pub fn name(self) -> String {
        let name = match self {
            Self::KilledBefore => "killed-before",
            Self::KilledAfter => "killed-after",
            Self::Paused => "paused",
            Self::CutBefore => "cut-before",
            Self::CutAfter => "cut-after",
            Self::Delayed => "delayed",
            Self::LandsLate => "lands-late",
            Self::Twice => "twice",
            Self::Answered(code) => return format!("{code}"),
            Self::AnsweredAfter(code) => return format!("{code}-after"),
            Self::Page => "page",
            Self::Truncated => "truncated",
            Self::WatchesCut => "watches-cut",
            Self::WatchesTooOld => "watches-410",
            Self::WatchesSilent => "watches-silent",
            Self::KilledInReboot => "killed-in-reboot",
            Self::RebootFails => "reboot-fails",
            Self::RebootDoesNothing => "reboot-does-nothing",
            Self::ClockAhead => "clock-ahead",
            Self::ClockBehind => "clock-behind",
            Self::CaChanged => "ca-changed",
            Self::ApiServerStopped => "api-server-stopped",
            Self::ApiServerPaused => "api-server-paused",
            Self::EtcdStopped => "etcd-stopped",
            Self::EtcdPaused => "etcd-paused",
            Self::EtcdLeaderStopped => "etcd-leader-stopped",
            Self::EtcdLeaderPaused => "etcd-leader-paused",
            Self::WebhookDead => "webhook-dead",
            Self::WebhookIgnored => "webhook-dead-ignored",
            Self::WebhookDeleted => "webhook-deleted",
            Self::WebhookAhead => "webhook-clock-ahead",
            Self::WebhookBehind => "webhook-clock-behind",
            Self::ServerLags => "server-lags",
            Self::ServerFrozen => "server-frozen",
        };
        name.to_owned()
    }

    /// Whether it happens to all agents at once.
    pub(super) fn is_shared(self) -> bool {
        self >= Self::ApiServerStopped
    }

    pub(super) fn is_of_webhook(self) -> bool {
        (Self::WebhookDead..=Self::WebhookBehind).contains(&self)
    }

    /// Whether etcd must have members that can lead in the place of another.
    pub(super) fn needs_three_members(self) -> bool {
        matches!(self, Self::EtcdLeaderStopped | Self::EtcdLeaderPaused)
    }

    pub(super) fn needs_three_servers(self) -> bool {
        self >= Self::ServerLags
    }

    /// Whether it happens to the agent's clock.
    pub(super) fn is_of_clock(self) -> bool {
        matches!(self, Self::ClockAhead | Self::ClockBehind)
    }

    /// Whether it may happen at this step.
    pub(super) fn fits(self, step: Step) -> bool {
        let what = step.what;
        let is_request = what != What::Reboot;
        match self {
            Self::KilledInReboot | Self::RebootFails | Self::RebootDoesNothing => !is_request,
            // An agent that has lost what a read told it asks again: these say it once for each read.
            Self::KilledBefore
            | Self::CutBefore
            | Self::Answered(200 | 401 | 404 | 429 | 500)
            | Self::Page
            | Self::Truncated => is_request,
            Self::Answered(410) => is_request && !what.is_write(),
            Self::WatchesCut | Self::WatchesTooOld | Self::WatchesSilent => {
                what.is_write() && what != What::Register
            }
            Self::ClockAhead | Self::ClockBehind | Self::CaChanged => what.is_write(),
            Self::ApiServerStopped
            | Self::ApiServerPaused
            | Self::EtcdStopped
            | Self::EtcdPaused
            | Self::EtcdLeaderStopped
            | Self::EtcdLeaderPaused
            | Self::WebhookDead
            | Self::WebhookIgnored
            | Self::WebhookDeleted
            | Self::WebhookAhead
            | Self::WebhookBehind
            | Self::ServerLags
            | Self::ServerFrozen => what.is_write(),
            Self::KilledAfter
            | Self::Paused
            | Self::CutAfter
            | Self::Delayed
            | Self::LandsLate
            | Self::Twice
            | Self::Answered(_)
            | Self::AnsweredAfter(_) => what.is_write(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_fault_has_a_name_of_its_own() {
        let names: BTreeSet<String> = Fault::ALL.into_iter().map(Fault::name).collect();
        assert_eq!(names.len(), Fault::ALL.len());
    }
}
