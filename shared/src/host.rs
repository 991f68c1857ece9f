//! What an agent knows about its host: which boot this is, and the record that the agent keeps in the host's `/run`.
//!
//! Only root on the host can write that record, so an agent that starts trusts it before anything else, and the Node last.
//! Not here: how the host is asked (the agent), and what the agent does with the answers ([`crate::reboot::cycle`]).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hold::{DeferredUncordon, Hold, Phase, Proof};

/// One boot of a host.
///
/// The kernel's boot id alone is not enough: some boards have the same id in each boot, a container that acts as a node shares its
/// host's, and `systemctl soft-reboot` keeps it. systemd's count tells soft reboots apart, the start time of PID 1 tells the other two
/// apart. On such a board this can fail, because the start time is a small number that may be the same in two boots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Boot {
    /// `/proc/sys/kernel/random/boot_id`, which is also `status.nodeInfo.bootID` of the Node.
    pub id: String,
    /// The start time of PID 1 in clock ticks (field 22 of `/proc/1/stat`), `.`, and systemd's `SoftRebootsCount`, 0 if systemd has none.
    /// Only the start time if systemd could not be asked.
    pub init: String,
}

/// How it is known that a host has booted since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BootEvidence {
    /// The kernel's boot id has changed.
    BootId,
    /// The boot id is the same, but PID 1 has started again, or systemd has done a soft reboot.
    Init,
}

impl BootEvidence {
    /// The evidence's name in a log line.
    pub fn as_str(self) -> &'static str {
        match self {
            BootEvidence::BootId => "the kernel's boot id",
            BootEvidence::Init => "the start of the host's init",
        }
    }
}

impl Boot {
    /// How it is known that the boot `before`, in the text form of [`Boot`], is over; `None` if it is not.
    ///
    /// Parts that one of the two lacks are not compared: an agent with other flags may not have asked for the count of soft reboots.
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

/// Whether two values of [`Boot::init`] are of different boots, judged by the parts that both have. An agent that knew only the boot id left
/// an empty one.
fn differ(one: &str, other: &str) -> bool {
    one.split('.')
        .zip(other.split('.'))
        .any(|(one, other)| one != other && !one.is_empty() && !other.is_empty())
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.id, self.init)
    }
}

/// What an agent records on its host before each write of the marks, except a renewal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostRecord {
    /// The holder, as on the Node.
    pub holder: String,
    /// The proof of the write that was about to be sent.
    pub write: Proof,
    /// For a write that cordons for a wish or ends one: the proof of that wish. `None` for any other write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Proof>,
    /// The phase after the write; `None` for the write that gives the cordon back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Whether the node was cordoned before; `None` until that is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was_unschedulable: Option<bool>,
    /// How many reboot commands may have been run for this hold.
    #[serde(default)]
    pub attempts: u8,
    /// The boot in which the node was cordoned, as [`Boot`] displays it; `None` before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// The uncordon that is deferred until the end of this hold, as it is written on the Node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncordon_wanted: Option<String>,
}

impl HostRecord {
    /// The record for a write of this hold: its proof, and the phase after it.
    pub fn of(hold: &Hold, write: Proof, phase: Option<Phase>) -> HostRecord {
        HostRecord {
            holder: hold.holder.to_string(),
            write,
            before: None,
            phase,
            was_unschedulable: hold.was_unschedulable,
            attempts: hold.attempts,
            boot: hold.boot_id.clone(),
            uncordon_wanted: None,
        }
    }

    /// The uncordon that is deferred until the end of this hold, if the record has a readable one.
    pub fn deferred(&self) -> Option<DeferredUncordon> {
        self.uncordon_wanted.as_deref().and_then(DeferredUncordon::parse)
    }
}

/// Whether the deadline of a reboot has passed that an agent told the host to make in this boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RebootDeadline {
    /// The deadline is still ahead on the host's boot clock: the host may go down.
    Ahead,
    /// The deadline has passed.
    Passed,
}

/// The content of the record's file: the record, the boot it was written in, and the deadline of a reboot command.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostFile {
    /// What was recorded before the command.
    pub record: HostRecord,
    /// The boot in which the file was written, as [`Boot`] displays it.
    pub written_in: String,
    /// Until when the reboot may still come, in seconds on the boot clock (`CLOCK_BOOTTIME`). Set before the reboot command runs, and
    /// removed if the command fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_until: Option<u64>,
}

impl HostFile {
    /// Whether the deadline of a reboot command from this boot has passed at `now`, in seconds on the boot clock. `None`: there was no
    /// command in this boot.
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
    fn the_evidence_of_a_boot_says_what_has_changed() {
        assert!(BootEvidence::BootId.as_str().ends_with("boot id"));
        assert!(BootEvidence::Init.as_str().ends_with("init"));
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
            // An agent whose flags name no systemctl does not know the count of soft reboots.
            ("b/12", None),
            // The entry of an agent that knew only the boot id.
            ("b/", None),
            ("a/", Some(BootEvidence::BootId)),
        ] {
            assert_eq!(now.is_after(before), evidence, "{before}");
        }
        assert_eq!(boot("b", "12").is_after("b/12.1"), None);
        assert_eq!(now.is_after(&now.to_string()), None);
    }

    #[test]
    fn a_record_with_a_deferred_uncordon_is_read_by_programs_that_know_none_and_the_other_way_round() {
        let old = r#"{"holder":"u/2026-11-23T10:00:00Z","write":"7"}"#;
        let mut record: HostRecord = serde_json::from_str(old).unwrap();
        assert_eq!(record.deferred(), None);
        assert!(!serde_json::to_string(&record).unwrap().contains("uncordon"));
        record.uncordon_wanted = Some("2026-11-23T10:00:00Z - jo".to_owned());
        let text = serde_json::to_string(&record).unwrap();
        assert!(
            text.contains(r#""uncordonWanted":"2026-11-23T10:00:00Z - jo""#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<HostRecord>(&text).unwrap(), record);
        assert_eq!(
            record.deferred().map(|deferred| deferred.user).as_deref(),
            Some("jo")
        );
        // A field that this program does not know, and a text that it cannot read, cost nothing but themselves.
        let newer = r#"{"holder":"u/2026-11-23T10:00:00Z","write":"7","uncordonWanted":"v2","more":1}"#;
        assert_eq!(
            serde_json::from_str::<HostRecord>(newer).unwrap().deferred(),
            None
        );
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
                uncordon_wanted: None,
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
