//! What happens to a node in one reboot: a table with a row for each scenario.
//!
//! Not here: how it is played, see [`super`].

use crate::real_node::Kind;

/// Where in a cycle something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    InDrain,
    InDelay,
    AfterSeal,
}

/// How the agent reboots the machine (`--reboot-method`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Command,
    Signal,
    Logind,
    Auto,
}

/// What happens in one reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Nothing but the reboot.
    Clean(Method),
    /// The power is cut.
    Reset(Moment),
    /// The kernel reboots at once, and nothing is told: `b` to sysrq.
    SysrqB(Moment),
    /// A program takes its time to end, longer than the agent expects of a reboot.
    HungShutdown,
    /// The clock starts in 1970 in the next boot, and is set later.
    Clock1970,
}

impl Scenario {
    pub const ALL: [Self; 12] = [
        Self::Clean(Method::Command),
        Self::Clean(Method::Signal),
        Self::Clean(Method::Logind),
        Self::Clean(Method::Auto),
        Self::Reset(Moment::InDrain),
        Self::Reset(Moment::InDelay),
        Self::Reset(Moment::AfterSeal),
        Self::SysrqB(Moment::InDrain),
        Self::SysrqB(Moment::InDelay),
        Self::SysrqB(Moment::AfterSeal),
        Self::HungShutdown,
        Self::Clock1970,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Clean(Method::Command) => "clean-command",
            Self::Clean(Method::Signal) => "clean-signal",
            Self::Clean(Method::Logind) => "clean-logind",
            Self::Clean(Method::Auto) => "clean-auto",
            Self::Reset(Moment::InDrain) => "reset-in-drain",
            Self::Reset(Moment::InDelay) => "reset-in-delay",
            Self::Reset(Moment::AfterSeal) => "reset-after-seal",
            Self::SysrqB(Moment::InDrain) => "sysrq-b-in-drain",
            Self::SysrqB(Moment::InDelay) => "sysrq-b-in-delay",
            Self::SysrqB(Moment::AfterSeal) => "sysrq-b-after-seal",
            Self::HungShutdown => "hung-shutdown",
            Self::Clock1970 => "clock-1970",
        }
    }

    /// Whether it can happen to such a machine.
    pub fn fits(self, kind: Kind) -> bool {
        match (kind, self) {
            // Its init has no unit that hangs, no logind, and another command for a reboot.
            (Kind::Busybox, _) => false,
            // Init is not PID 1 of the machine's first namespace, so the agent refuses to signal it.
            (Kind::Nspawn, Self::Clean(Method::Signal)) => false,
            // The kernel and its clock are those of the machine that this runs on.
            (Kind::Nspawn, Self::SysrqB(_) | Self::Clock1970) => false,
            (Kind::Nspawn, Self::Clean(_) | Self::Reset(_) | Self::HungShutdown) | (Kind::Qemu, _) => true,
        }
    }

    /// Where the machine is ended by somebody else than the agent; `None` if the agent reboots it.
    pub(super) fn interrupted(self) -> Option<Moment> {
        match self {
            Self::Reset(moment) | Self::SysrqB(moment) => Some(moment),
            Self::Clean(_) | Self::HungShutdown | Self::Clock1970 => None,
        }
    }

    /// The components that the agent is installed with: as an operator would for this way of rebooting.
    pub(super) fn components(self) -> &'static [&'static str] {
        match self {
            Self::Clean(Method::Signal) => &["reboot-by-signal"],
            Self::Clean(Method::Logind) => &["reboot-by-logind"],
            Self::Clean(Method::Command | Method::Auto)
            | Self::Reset(_)
            | Self::SysrqB(_)
            | Self::HungShutdown
            | Self::Clock1970 => &[],
        }
    }

    /// Further arguments of the agent.
    pub(super) fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Clean(Method::Auto) => &[EACH_SECOND, "--reboot-method=auto"],
            Self::Clean(Method::Command | Method::Signal | Method::Logind) | Self::Clock1970 => {
                &[EACH_SECOND]
            }
            Self::Reset(moment) | Self::SysrqB(moment) => match moment {
                Moment::InDrain => &[EACH_SECOND],
                Moment::InDelay => &[EACH_SECOND, "--reboot-delay=1h"],
                // So that it is surely the other end of the machine that comes first.
                Moment::AfterSeal => &[EACH_SECOND, "--reboot-command=/bin/sleep 3600"],
            },
            Self::HungShutdown => &[EACH_SECOND, "--reboot-timeout=20s"],
        }
    }
}

/// Lets the agent look for its sentinel each second.
const EACH_SECOND: &str = "--period=1s";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scenario_is_there_once_and_fits_a_machine() {
        let mut names: Vec<&str> = Scenario::ALL.map(Scenario::name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Scenario::ALL.len());
        assert!(Scenario::ALL.iter().all(|scenario| scenario.fits(Kind::Qemu)));
    }

    /// It would reboot the machine that the tests run on.
    #[test]
    fn no_sysrq_happens_to_a_machine_that_shares_the_kernel() {
        let sysrq = Scenario::ALL
            .into_iter()
            .filter(|scenario| matches!(scenario, Scenario::SysrqB(_)));
        for scenario in sysrq {
            assert!(
                !scenario.fits(Kind::Nspawn) && !scenario.fits(Kind::Busybox),
                "{scenario:?}"
            );
        }
    }
}
