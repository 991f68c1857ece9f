//! What an agent knows of its host: which boot it is, and the record that it keeps in the host's `/run`.
//!
//! Nobody but root on the host writes that record, so it is the first evidence of an agent that starts; a Node is the last.
//! Not here: how a host is asked, and what follows ([`crate::reboot::cycle`]).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hold::{Hold, Phase, Proof};

/// One boot of a host.
///
/// The kernel's boot id alone is not enough: some boards make the same one in each boot, a container that plays a node shares its
/// host's, and `systemctl soft-reboot` keeps it. systemd's count tells soft reboots apart, and the start of PID 1 the others: on a
/// board mostly, because it is a small number that may come twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Boot {
    /// `/proc/sys/kernel/random/boot_id`, which is also `status.nodeInfo.bootID` of the Node.
    pub id: String,
    /// The start of PID 1 in clock ticks (field 22 of `/proc/1/stat`), `.`, and `SoftRebootsCount` of systemd, 0 where it has none.
    /// The start alone where no systemd could be asked.
    pub init: String,
}

/// What shows that a host has booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BootEvidence {
    /// The kernel's boot id is another one.
    BootId,
    /// The boot id is the same, but PID 1 has started anew, or userspace has.
    Init,
}

impl BootEvidence {
    /// As a log line names it.
    pub fn as_str(self) -> &'static str {
        match self {
            BootEvidence::BootId => "the kernel's boot id",
            BootEvidence::Init => "the start of the host's init",
        }
    }
}

impl Boot {
    /// What shows that the boot of this text, as [`Boot`] displays it, is over. What one of the two does not say is not compared:
    /// the init, or its count of soft reboots, which an agent with other flags may not have asked for.
    pub fn is_after(&self, before: &str) -> Option<BootEvidence> {
        let (id, init) = before
            .split_once('/')
            .map_or((before, None), |(id, init)| (id, Some(init)));
        if id != self.id {
            Some(BootEvidence::BootId)
        } else if init.is_some_and(|init| differ(init, &self.init)) {
            Some(BootEvidence::Init)
        } else {
            None
        }
    }
}

/// Whether two inits are of two boots, by what both of them say.
fn differ(one: &str, other: &str) -> bool {
    one.split('.')
        .zip(other.split('.'))
        .any(|(one, other)| one != other)
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.id, self.init)
    }
}

/// What an agent writes down on its host before each write of the marks but a renewal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostRecord {
    /// As on the Node.
    pub holder: String,
    /// The proof of the write that was about to be sent.
    pub write: Proof,
    /// The proof of the wish that it cordons for or ends; none for any other write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Proof>,
    /// The phase that it leads to; none for the write that gives the cordon back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// What the cordon was, once that is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was_unschedulable: Option<bool>,
    /// How many reboot commands may have been run for this hold.
    #[serde(default)]
    pub attempts: u8,
    /// The boot in which the node was cordoned, as [`Boot`] displays it; none before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
}

impl HostRecord {
    /// Of this hold, and the proof of the write that leaves this phase.
    pub fn of(hold: &Hold, write: Proof, phase: Option<Phase>) -> HostRecord {
        HostRecord {
            holder: hold.holder.to_string(),
            write,
            before: None,
            phase,
            was_unschedulable: hold.was_unschedulable,
            attempts: hold.attempts,
            boot: hold.boot_id.clone(),
        }
    }
}

/// Where the deadline stands of a reboot that an agent of this boot told the host to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RebootDeadline {
    /// It is still to come, by the host's boot clock: the host may go down.
    Ahead,
    /// It has passed.
    Passed,
}

/// The file of the record: the record, the boot it was written in, and until when a reboot that was told may come.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostFile {
    /// What was recorded before the command.
    pub record: HostRecord,
    /// As [`Boot`] displays it.
    pub written_in: String,
    /// Seconds on the boot clock (`CLOCK_BOOTTIME`). Set before the reboot command runs, and taken out again when it has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_until: Option<u64>,
}

impl HostFile {
    /// The deadline of the reboot that the host was told to make in this boot, if any, `now` seconds on its boot clock.
    pub fn told(&self, boot: &Boot, now: u64) -> Option<RebootDeadline> {
        let until = self
            .told_until
            .filter(|_| boot.is_after(&self.written_in).is_none())?;
        Some(if now < until {
            RebootDeadline::Ahead
        } else {
            RebootDeadline::Passed
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(id: &str, init: &str) -> Boot {
        Boot {
            id: id.to_owned(),
            init: init.to_owned(),
        }
    }

    #[test]
    fn found_p1_p2_a_boot_is_told_by_its_init_where_the_boot_id_stays() {
        let now = boot("b", "12.1");
        for (before, evidence) in [
            ("a/12.1", Some(BootEvidence::BootId)),
            ("a", Some(BootEvidence::BootId)),
            ("b/11.1", Some(BootEvidence::Init)),
            ("b/12.0", Some(BootEvidence::Init)),
            ("b/12.1", None),
            ("b", None),
            ("b/11", Some(BootEvidence::Init)),
            // An agent with flags that name no systemctl does not know the count.
            ("b/12", None),
        ] {
            assert_eq!(now.is_after(before), evidence, "{before}");
        }
        assert_eq!(boot("b", "12").is_after("b/12.1"), None);
        assert_eq!(now.is_after(&now.to_string()), None);
    }

    #[test]
    fn found_s3_what_was_told_counts_in_its_boot_until_its_deadline() {
        let file = HostFile {
            record: HostRecord {
                holder: "uid/2026-11-23T10:00:00Z".to_owned(),
                write: Proof::new(7),
                before: None,
                phase: Some(Phase::Sealed),
                was_unschedulable: Some(false),
                attempts: 1,
                boot: None,
            },
            written_in: boot("b", "12.0").to_string(),
            told_until: Some(100),
        };
        assert_eq!(file.told(&boot("b", "12.0"), 99), Some(RebootDeadline::Ahead));
        assert_eq!(file.told(&boot("b", "12.0"), 100), Some(RebootDeadline::Passed));
        assert_eq!(file.told(&boot("b", "12.1"), 99), None);
        let text = serde_json::to_string(&file).unwrap();
        assert_eq!(serde_json::from_str::<HostFile>(&text).unwrap(), file);
    }
}
