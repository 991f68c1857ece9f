//! The commands that ask systemd on the host how many soft reboots there were and whether logind delays or has scheduled a shutdown, and
//! how their answers are read. They are asked beside the shutdown check.
//!
//! Not here: running a command ([`super::command`]), and what an answer leads to ([`super`]).

use std::path::Path;
use std::time::Duration;

use super::command::Ended;

/// The paths of systemd's programs on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Systemd {
    systemctl: String,
    busctl: String,
}

/// A property of logind that shows a shutdown before init shows it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Delayed {
    /// A shutdown has been asked for, and waits for inhibitors, such as a kubelet that ends its pods.
    Preparing,
    /// A shutdown is scheduled for a later time.
    Scheduled,
}

const SYSTEMCTL: &str = "systemctl";
const BUSCTL: &str = "busctl";
/// systemd's count of soft reboots, since version 256 (systemd: pull request 31980). An older one does not know the property and prints
/// nothing.
const SOFT_REBOOTS: &str = "SoftRebootsCount";
/// The kinds of scheduled action that do not take the host down (systemd: src/login/logind-dbus.c).
const NO_SHUTDOWN: [&str; 2] = ["", "ignore"];

/// Whether a command's program is systemctl, in whatever directory.
pub(crate) fn is_systemctl(program: &str) -> bool {
    Path::new(program)
        .file_name()
        .is_some_and(|name| name == SYSTEMCTL)
}

impl Systemd {
    /// Finds systemd's programs beside the first command's systemctl. `None` if no command runs systemctl: then there is no systemd to ask.
    pub(super) fn named_by(commands: [&[String]; 2]) -> Option<Systemd> {
        let mut programs = commands.into_iter().filter_map(|words| words.first());
        let systemctl = programs.find(|program| is_systemctl(program))?;
        // A systemd that was built with a separate /bin has systemctl there, but busctl in /usr/bin.
        let directory = match systemctl.strip_suffix(SYSTEMCTL)? {
            "/bin/" => "/usr/bin/",
            directory => directory,
        };
        Some(Systemd {
            busctl: format!("{directory}{BUSCTL}"),
            systemctl: systemctl.clone(),
        })
    }

    /// The command that asks for the count of soft reboots. It does without `--value`, which systemd has only since version 230.
    pub(super) fn soft_reboots(&self) -> Vec<String> {
        let property = format!("--property={SOFT_REBOOTS}");
        vec![self.systemctl.clone(), "show".to_owned(), property]
    }

    /// The command that asks logind. It does not start a logind that is not running, which delays nothing.
    pub(super) fn delayed(&self, delayed: Delayed) -> Vec<String> {
        let property = match delayed {
            Delayed::Preparing => "PreparingForShutdown",
            Delayed::Scheduled => "ScheduledShutdown",
        };
        let words = [
            &self.busctl,
            "call",
            "--auto-start=no",
            "org.freedesktop.login1",
            "/org/freedesktop/login1",
            "org.freedesktop.DBus.Properties",
            "Get",
            "ss",
            "org.freedesktop.login1.Manager",
            property,
        ];
        words.map(str::to_owned).to_vec()
    }
}

/// Reads the count of soft reboots. `None` if the command failed: an earlier process may have got a count, so none is guessed.
/// An answer without a number counts as 0: such a systemd never gives one, so each process reads the same.
pub(super) fn soft_reboots(ended: &Ended) -> Option<u64> {
    let count = ended.stdout.strip_prefix(SOFT_REBOOTS);
    let count = count.and_then(|count| count.strip_prefix('=')?.parse().ok());
    ended.status.success().then_some(count.unwrap_or(0))
}

impl Delayed {
    /// Whether busctl's answer shows a shutdown that begins by `end`, a time since 1970; `None` if the answer cannot be read.
    pub(super) fn is_under_way(self, answer: &str, end: Duration) -> Option<bool> {
        match self {
            Delayed::Preparing => answer.strip_prefix("v b ")?.parse().ok(),
            Delayed::Scheduled => {
                let (kind, at) = answer.strip_prefix("v (st) \"")?.split_once("\" ")?;
                let at = Duration::from_micros(at.parse().ok()?);
                Some(is_shutdown_by(kind, at, end))
            }
        }
    }
}

/// Whether a scheduled action of this kind takes the host down by `end`. Both times are since 1970.
pub(super) fn is_shutdown_by(kind: &str, at: Duration, end: Duration) -> bool {
    !NO_SHUTDOWN.contains(&kind) && at <= end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named_by(check: &str, reboot: &str) -> Option<(String, String)> {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let systemd = Systemd::named_by([&words(check), &words(reboot)])?;
        Some((systemd.systemctl, systemd.busctl))
    }

    #[test]
    fn found_p12_systemds_programs_are_where_a_command_says() {
        let found = |systemctl: &str, busctl: &str| Some((systemctl.to_owned(), busctl.to_owned()));
        let check = "/bin/systemctl is-system-running";
        let reboot = "/run/current-system/sw/bin/systemctl reboot";
        assert_eq!(
            named_by(check, reboot),
            found("/bin/systemctl", "/usr/bin/busctl")
        );
        assert_eq!(
            named_by("/bin/cat /run/state", reboot),
            found(
                "/run/current-system/sw/bin/systemctl",
                "/run/current-system/sw/bin/busctl"
            )
        );
        assert_eq!(
            named_by("systemctl is-system-running", "x"),
            found("systemctl", "busctl")
        );
        assert_eq!(named_by("/sbin/rc-status", "/sbin/reboot systemctl"), None);
        assert_eq!(named_by("/opt/my-systemctl", "/bin/systemctl-wrapper"), None);
    }

    #[test]
    fn found_s3_what_logind_has_in_hand_is_understood() {
        let end = Duration::from_secs(1000);
        let cases = [
            (Delayed::Preparing, "v b true", Some(true)),
            (Delayed::Preparing, "v b false", Some(false)),
            (Delayed::Preparing, "", None),
            (Delayed::Preparing, "v s \"true\"", None),
            (Delayed::Scheduled, "v (st) \"\" 0", Some(false)),
            // A newer logind shows that nothing is scheduled as a time that never comes.
            (
                Delayed::Scheduled,
                "v (st) \"\" 18446744073709551615",
                Some(false),
            ),
            (Delayed::Scheduled, "v (st) \"reboot\" 1000000000", Some(true)),
            (Delayed::Scheduled, "v (st) \"reboot\" 1000000001", Some(false)),
            (Delayed::Scheduled, "v (st) \"poweroff\" 0", Some(true)),
            (Delayed::Scheduled, "v (st) \"soft-reboot\" 5", Some(true)),
            (Delayed::Scheduled, "v (st) \"reboot\"", None),
            (Delayed::Scheduled, "v (st) \"reboot\" soon", None),
            (Delayed::Scheduled, "", None),
        ];
        for (delayed, answer, expected) in cases {
            assert_eq!(
                delayed.is_under_way(answer, end),
                expected,
                "{delayed:?} {answer}"
            );
        }
    }
}
