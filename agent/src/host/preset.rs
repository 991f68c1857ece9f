//! The distributions' own checks for a reboot, one row each (`--sentinel-preset`).
//!
//! Not here: how a file or a command is looked at ([`super::sentinel`]).

use std::path::PathBuf;

use clap::ValueEnum;

use super::sentinel::{Meaning, SentinelConfig};

/// A distribution whose own check says whether the host needs a reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// Debian, Ubuntu: the file /var/run/reboot-required
    Debian,
    /// RHEL 8 and later, Fedora and their kin: dnf needs-restarting
    Rhel,
    /// SLES, openSUSE: the file /run/reboot-needed
    Suse,
    /// Every host of rpm-ostree: the next boot is into another deployment
    RpmOstree,
    /// Flatcar: its update engine has an update that needs a reboot
    Flatcar,
    /// Bottlerocket: its update API has an update that is ready
    Bottlerocket,
}

/// A file or a command of the host, as the table has it.
enum Check {
    File(&'static str),
    Command(&'static [&'static str], Meaning),
}

impl Preset {
    /// What is looked at on such a host.
    pub fn sentinel(self) -> SentinelConfig {
        match self.check() {
            Check::File(path) => SentinelConfig::File(PathBuf::from(path)),
            Check::Command(words, meaning) => SentinelConfig::Command {
                words: words.iter().copied().map(str::to_owned).collect(),
                meaning,
            },
        }
    }

    fn check(self) -> Check {
        match self {
            // Debian Policy: "Signaling that a reboot is required". Ubuntu's update-notifier and unattended-upgrades use the same file.
            Preset::Debian => Check::File("/var/run/reboot-required"),
            // Exit code 1 is yes, but any failure of dnf ends with 1 too, so the sentence is needed, untranslated
            // (dnf-plugins-core: plugins/needs_restarting.py; dnf5: dnf5-plugins/needs_restarting_plugin/needs_restarting.cpp).
            Preset::Rhel => Check::Command(
                &[
                    "/usr/bin/env",
                    "LC_ALL=C.UTF-8",
                    "/usr/bin/dnf",
                    "needs-restarting",
                    "-r",
                ],
                Meaning::Exit {
                    asks: 1,
                    says: Some("Reboot is required"),
                },
            ),
            // What `zypper needs-rebooting` looks for before it ends with 102 (zypper: src/commands/needs-rebooting.cc). libzypp writes it, and
            // so does openSUSE's zypp-boot-plugin. A look at the file needs neither zypper nor its lock.
            Preset::Suse => Check::File("/run/reboot-needed"),
            // 77 if the first deployment, which the next boot is into, is not the booted one: staged, deployed or rolled back
            // (rpm-ostree: src/app/rpmostree-builtin-status.cxx).
            Preset::RpmOstree => Check::Command(
                &["/usr/bin/rpm-ostree", "status", "--pending-exit-77"],
                Meaning::Exit { asks: 77, says: None },
            ),
            // Without an answer of the engine the line is `CURRENT_OP=(null)`, with exit code 0 all the same
            // (flatcar/update_engine: src/update_engine/update_engine_client.cc).
            Preset::Flatcar => Check::Command(
                &["/usr/bin/update_engine_client", "-status"],
                Meaning::Line {
                    of: "CURRENT_OP=UPDATE_STATUS_",
                    asks: "CURRENT_OP=UPDATE_STATUS_UPDATED_NEED_REBOOT",
                },
            ),
            // `Ready` is an update that the next boot is into (bottlerocket-update-operator: agent/src/apiclient.rs, which asks in the same way).
            Preset::Bottlerocket => Check::Command(
                &["/usr/bin/apiclient", "raw", "-u", "/updates/status"],
                Meaning::Field {
                    of: "update_state",
                    asks: "Ready",
                },
            ),
        }
    }
}
