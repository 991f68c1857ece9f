//! Reads from the host's files which boot this is: the kernel's boot id, and the start of PID 1.
//!
//! Not here: soft reboots, which systemd counts ([`super::systemd`]).

use std::path::Path;

use cordonhold_shared::host::Boot;

use super::HostError;
use super::root::Root;

pub(super) const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const INIT_STAT: &str = "/proc/1/stat";
/// The index of `starttime` among the fields after the name. It is field 22 of `stat`, in clock ticks since the boot (proc(5)); the
/// first field after the name is field 3.
const START_AFTER_NAME: usize = 22 - 3;

/// What the host's files say about its boot.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BootFiles {
    /// The kernel's boot id.
    pub(super) id: String,
    /// The start of PID 1, in clock ticks since the boot.
    pub(super) start: u64,
}

impl BootFiles {
    /// The boot, with systemd's count of soft reboots if there is one.
    pub(super) fn boot(self, soft_reboots: Option<u64>) -> Boot {
        let start = self.start;
        Boot {
            id: self.id,
            init: soft_reboots.map_or_else(|| start.to_string(), |count| format!("{start}.{count}")),
        }
    }
}

impl Root {
    /// Reads the boot id from this path, and the start of PID 1.
    pub(super) fn boot_files(&self, boot_id: &Path) -> Result<BootFiles, HostError> {
        let id = self.read(boot_id)?;
        let path = Path::new(INIT_STAT);
        let start = start_of(&self.read(path)?).ok_or_else(|| HostError::Stat {
            root: self.path.clone(),
            path: path.to_owned(),
        })?;
        Ok(BootFiles { id, start })
    }
}

/// Reads the start of PID 1 from its `stat`. The process name, in parentheses, may contain spaces and parentheses, so fields are counted
/// after the last closing one.
fn start_of(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(START_AFTER_NAME)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_p1_the_start_of_pid_1_is_read_whatever_its_name_is() {
        let fields = "S 0 1 1 0 -1 4194560 5 6 7 8 9 10 11 12 20 0 1 0 37 36278272 2407";
        for name in ["systemd", "my init", "a) S 1 (b", ")"] {
            assert_eq!(start_of(&format!("1 ({name}) {fields}")), Some(37), "{name}");
        }
        for short in ["", "1 (init)", "1 (init) S 0 1", "1 init S 0"] {
            assert_eq!(start_of(short), None, "{short}");
        }
    }
}
