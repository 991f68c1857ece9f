//! A report as the fields of one log line.

use std::collections::BTreeSet;

use cordonhold_shared::quote::{one_line, quoted};
use cordonhold_shared::reboot::cycle::{CallOff, Disturbance, Next, Report, Shutdown};
use cordonhold_shared::reboot::drain::Progress;

/// How much attention a line asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Level {
    #[default]
    Info,
    Warning,
    Error,
}

/// One log line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) event: &'static str,
    pub(super) level: Level,
    pub(super) text: &'static str,
    /// CallOff of the Event on the Node, if people should see it.
    pub(super) notice: Option<&'static str>,
    pub(super) phase: Option<&'static str>,
    pub(super) reason: Option<&'static str>,
    pub(super) by: Option<String>,
    pub(super) next: Option<&'static str>,
    pub(super) why: Option<String>,
    pub(super) pods: Option<String>,
    pub(super) pod_count: Option<usize>,
    pub(super) was_unschedulable: Option<bool>,
    pub(super) unschedulable: Option<bool>,
    pub(super) round: Option<u8>,
}

/// On the Node, or for the whole pool.
const PAUSED: &str = "no new reboot: a person paused it, on the Node or on the lock's object: \
    it goes on when the annotation cordonhold.dev/pause is removed there";
/// Of what others say in an Event, which takes no more.
const NOTE_MAX_CHARS: usize = 1024;
/// How many pods a line names.
const PODS_MAX: usize = 10;

impl Line {
    pub(super) fn of(report: &Report) -> Line {
        match report {
            Report::HostBusy(shutdown) => Line::host_busy(shutdown),
            Report::HostTold(holder) => Line {
                event: "host_told",
                level: Level::Warning,
                text: "an agent of this boot told the host to reboot for this hold: waiting until it goes down, or --reboot-timeout is over; \
                       where nothing takes it down, look at the host",
                why: Some(holder.clone()),
                ..Line::default()
            },
            Report::Foreign(_)
            | Report::Resumed(_)
            | Report::Unproven
            | Report::Booted(_)
            | Report::Paused(_)
            | Report::Ignored(_)
            | Report::Wished(_)
            | Report::Locked
            | Report::Refused { .. }
            | Report::Retrying { .. } => Line::before_work(report),
            Report::NotInPool
            | Report::LockHeld(_)
            | Report::LockStalled(_)
            | Report::PoolUnavailable { .. }
            | Report::LockUnreadable(_) => Line::waiting(report),
            Report::Draining { .. }
            | Report::Progress(_)
            | Report::DrainBlocked(_)
            | Report::Forced(_)
            | Report::PodsKept(_)
            | Report::Delaying { .. } => Line::of_drain(report),
            _ => Line::of_work(report),
        }
    }

    fn host_busy(shutdown: &Shutdown) -> Line {
        let (reason, text, why) = match shutdown {
            Shutdown::Unknown(why) => (
                "unknown",
                "the host does not say whether it is going down: only waiting; \
                 where its init hangs, look at the host; a host without systemd needs a --shutdown-check-command of its own",
                Some(why.clone()),
            ),
            Shutdown::UnderWay | Shutdown::No => (
                "shutdown",
                "the host is going down, as its init or logind says: only waiting; \
                 where it stays up, look at its jobs with systemctl list-jobs, or call the shutdown off with shutdown -c",
                None,
            ),
        };
        Line {
            event: "host_busy",
            level: Level::Warning,
            text,
            reason: Some(reason),
            why,
            ..Line::default()
        }
    }

    fn before_work(report: &Report) -> Line {
        let info = |event, text| Line {
            event,
            text,
            ..Line::default()
        };
        let warning = |event, text| Line {
            level: Level::Warning,
            ..info(event, text)
        };
        match report {
            Report::Foreign(why) => Line {
                why: Some(why.clone()),
                notice: Some("HoldNotOurs"),
                ..warning(
                    "marks_foreign",
                    "the marks on the Node are not ours to touch: where no reboot is under way, remove them by hand: \
                     a denied uncordon of the Node prints the commands, and so does OPERATING.md (A holder that is dead)",
                )
            },
            Report::Resumed(hold) => Line {
                phase: Some(hold.phase.as_str()),
                ..info("resumed", "going on from where the agent before was")
            },
            Report::Unproven => Line {
                notice: Some("HoldUnproven"),
                ..warning(
                    "unproven",
                    "neither the host nor the lock knows the hold on the Node: where the host has not booted, \
                     the marks go and the cordon stays; else the cordon is given back as the marks say",
                )
            },
            Report::Booted(evidence) => Line {
                by: Some(evidence.as_str().to_owned()),
                ..info("booted", "the host has booted since its node was cordoned")
            },
            Report::Ignored(why) => Line {
                why: Some(why.clone()),
                notice: Some("RebootAnnotationIgnored"),
                ..warning(
                    "annotation_ignored",
                    "what a person wrote on the Node does nothing",
                )
            },
            Report::Paused(word) => Line {
                why: Some(quoted(word)),
                notice: Some("RebootPaused"),
                ..info("paused", PAUSED)
            },
            Report::Wished(_) => Line {
                notice: Some("RebootWanted"),
                ..info("wished", "a reboot is wanted")
            },
            Report::Refused { what, why } => Line {
                reason: Some(what),
                why: Some(why.clone()),
                notice: Some("RebootRefused"),
                ..warning(
                    "refused",
                    "this is refused again and again, and the reboot waits for it: mend what `why` names",
                )
            },
            Report::Retrying { what, why } => Line {
                reason: Some(what),
                why: Some(why.clone()),
                ..warning("retrying", "a request failed and is tried again")
            },
            _ => info("locked", "the lock is ours"),
        }
    }

    fn waiting(report: &Report) -> Line {
        let warning = |event, notice, text| Line {
            event,
            level: Level::Warning,
            notice: Some(notice),
            text,
            ..Line::default()
        };
        match report {
            Report::LockHeld(nodes) => Line {
                event: "lock_held",
                by: Some(joined(nodes)),
                text: "waiting: other nodes are in a reboot, as many as --concurrency allows; kubectl get nodes -L cordonhold.dev/phase shows them",
                ..Line::default()
            },
            Report::LockStalled(holders) => Line {
                by: Some(holders.join("; ")),
                ..warning(
                    "lock_stalled",
                    "RebootLockStalled",
                    "waiting: the same nodes have held the lock for longer than a reboot takes: look at them; \
                     one that never comes back frees its place when its Node is deleted, \
                     an entry that kured wrote when it is taken out of the annotation",
                )
            },
            Report::PoolUnavailable { unready, allowed } => Line {
                by: Some(joined(unready)),
                why: Some(format!(
                    "{} are not Ready, and --max-unavailable allows {allowed}",
                    unready.len()
                )),
                ..warning(
                    "pool_unavailable",
                    "RebootPostponed",
                    "waiting: too many nodes of the pool are not Ready: bring them back, or allow more with --max-unavailable",
                )
            },
            Report::LockUnreadable(why) => Line {
                why: Some(why.clone()),
                ..warning(
                    "lock_unreadable",
                    "RebootLockUnreadable",
                    "waiting: the lock cannot be read",
                )
            },
            _ => warning(
                "not_in_pool",
                "RebootNotInPool",
                "no new reboot: the Node's labels do not match --pool-selector: label the Node, or take the agent off it",
            ),
        }
    }

    fn of_drain(report: &Report) -> Line {
        let info = |event, text| Line {
            event,
            text,
            ..Line::default()
        };
        let warning = |notice, event, text| Line {
            level: Level::Warning,
            notice: Some(notice),
            ..info(event, text)
        };
        match report {
            Report::Draining {
                was_unschedulable,
                round,
            } => Line {
                was_unschedulable: Some(*was_unschedulable),
                round: Some(*round),
                notice: Some("RebootDraining"),
                ..info("draining", "the node is cordoned and held: draining it")
            },
            Report::Progress(progress) => Line {
                why: Some(progress.to_string()),
                ..info("drain_progress", "waiting for pods to leave the node")
            },
            Report::DrainBlocked(progress) => Line {
                why: Some(progress.to_string()),
                ..warning(
                    "RebootDrainBlocked",
                    "drain_blocked",
                    "the drain is blocked, and goes on trying: mend what blocks it, limit it with --drain-timeout, or cancel the reboot",
                )
            },
            Report::Forced(progress) => Line {
                why: progress.as_ref().map(Progress::to_string),
                ..warning(
                    "RebootForced",
                    "forced",
                    "the drain took too long: the reboot goes on under the pods that are left, by --force-reboot",
                )
            },
            Report::PodsKept(controllers) => Line {
                by: Some(joined(controllers)),
                ..warning(
                    "RebootPodsLeft",
                    "pods_left",
                    "pods that tolerate cordon and taint were put back three times: they are left, and go down with the node; \
                     --returning-pods=wait would wait for them",
                )
            },
            Report::Delaying { is_forced: true } => {
                info("delaying", "the drain is given up: the delay begins")
            }
            _ => info("delaying", "the drain is over: the delay begins"),
        }
    }

    fn of_work(report: &Report) -> Line {
        let info = |event, text| Line {
            event,
            text,
            ..Line::default()
        };
        let noticed = |notice, event, text| Line {
            notice: Some(notice),
            ..info(event, text)
        };
        let error = |notice, event, text, why: &String| Line {
            level: Level::Error,
            why: Some(why.clone()),
            ..noticed(notice, event, text)
        };
        match report {
            Report::Disturbed { by, next } => Line::disturbed(by, *next),
            Report::Sealed => info("sealed", "the final check is passed: rebooting now"),
            Report::Rebooting => noticed("Rebooting", "rebooting", "the reboot command was accepted"),
            Report::RebootFailed(why) => {
                let text =
                    "the reboot command failed: try it on the host, or name another with --reboot-command";
                error("RebootFailed", "reboot_failed", text, why)
            }
            Report::StillSealed(why) => error(
                "RebootStuck",
                "still_sealed",
                "the host does not go down: the node stays cordoned until somebody has looked at the host",
                why,
            ),
            Report::TooLateToCancel(why) => Line {
                level: Level::Warning,
                ..error(
                    "RebootTooLateToCancel",
                    "too_late_to_cancel",
                    "a cancel came after the final check",
                    &quoted(why),
                )
            },
            Report::Returned => noticed(
                "Rebooted",
                "returned",
                "the host has booted: waiting for the node to be Ready; kubectl describe node says what it lacks",
            ),
            Report::GivenBack { unschedulable } => Line {
                unschedulable: Some(*unschedulable),
                ..noticed("RebootGivenBack", "given_back", "the cordon is as it was before")
            },
            Report::ReleaseDelayed => info(
                "release_delayed",
                "the lock is kept until the release delay is over",
            ),
            Report::CalledOff(reason) => Line::called_off(reason),
            _ => info("released", "the lock is released: the cycle is over"),
        }
    }

    fn disturbed(by: &Disturbance, next: Next) -> Line {
        let line = Line {
            event: "disturbed",
            level: Level::Warning,
            text: "what the drain had achieved no longer holds",
            notice: Some("RebootDisturbed"),
            reason: Some(disturbance(by)),
            next: Some(match next {
                Next::DrainAgain => "drain_again",
                Next::CallOff => "call_off",
            }),
            ..Line::default()
        };
        line.with_pods(by)
    }

    fn called_off(reason: &CallOff) -> Line {
        let line = Line {
            event: "called_off",
            level: Level::Warning,
            text: "the reboot is called off",
            notice: Some("RebootCalledOff"),
            ..Line::default()
        };
        let because = |reason, why: Option<&String>| Line {
            reason: Some(reason),
            why: why.cloned(),
            ..line.clone()
        };
        let disturbed = |reason, by| Line {
            by: Some(disturbance(by).to_owned()),
            ..because(reason, None).with_pods(by)
        };
        match reason {
            CallOff::NoLongerWanted => because("no_longer_wanted", None),
            CallOff::Cancelled(why) => because("cancelled", Some(&quoted(why))),
            CallOff::Paused(word) => because("paused", Some(&quoted(word))),
            CallOff::DrainTimeout(progress) => because(
                "drain_timeout",
                progress.as_ref().map(Progress::to_string).as_ref(),
            ),
            CallOff::Unevictable(why) => because("unevictable", Some(why)),
            CallOff::Disturbed(by) => disturbed("disturbed", by),
            CallOff::TooManyRedrains(by) => disturbed("too_many_redrains", by),
            CallOff::HoldLost => because("hold_lost", None),
            CallOff::EntryLost => because("entry_lost", None),
            CallOff::Unproven => because("unproven", None),
        }
    }

    fn with_pods(self, by: &Disturbance) -> Line {
        let Disturbance::Pods(pods) = by else { return self };
        let named = pods.iter().take(PODS_MAX).map(String::as_str).collect::<Vec<_>>();
        Line {
            pods: Some(named.join(",")),
            pod_count: Some(pods.len()),
            ..self
        }
    }

    /// The line as a sentence for an Event.
    pub(super) fn sentence(&self) -> String {
        let details = [
            self.reason,
            self.by.as_deref(),
            self.why.as_deref(),
            self.pods.as_deref(),
        ];
        let details: Vec<String> = details
            .into_iter()
            .flatten()
            .map(|detail| one_line(detail, NOTE_MAX_CHARS))
            .collect();
        if details.is_empty() {
            self.text.to_owned()
        } else {
            format!("{} ({})", self.text, details.join(": "))
        }
    }
}

fn joined(nodes: &BTreeSet<String>) -> String {
    // Some of them are what an entry of the lock calls a node.
    let nodes: Vec<String> = nodes.iter().map(|node| quoted(node)).collect();
    nodes.join(",")
}

fn disturbance(by: &Disturbance) -> &'static str {
    match by {
        Disturbance::Uncordoned => "uncordoned",
        Disturbance::Untainted => "untainted",
        Disturbance::Tampered => "tampered",
        Disturbance::Pods(_) => "pods",
        Disturbance::Gap => "gap",
        Disturbance::SealOver => "seal_over",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disturbance_names_its_pods_within_a_bound() {
        let pods: Vec<String> = (0..40).map(|n| format!("default/p{n}")).collect();
        let line = Line::of(&Report::Disturbed {
            by: Disturbance::Pods(pods),
            next: Next::DrainAgain,
        });
        assert_eq!(
            (line.event, line.reason, line.next),
            ("disturbed", Some("pods"), Some("drain_again"))
        );
        assert_eq!(line.pod_count, Some(40));
        assert_eq!(line.pods.unwrap().split(',').count(), PODS_MAX);
    }

    #[test]
    fn a_called_off_reboot_says_by_what() {
        let line = Line::of(&Report::CalledOff(CallOff::TooManyRedrains(
            Disturbance::Uncordoned,
        )));
        assert_eq!(
            (line.event, line.reason),
            ("called_off", Some("too_many_redrains"))
        );
        assert_eq!(line.by.as_deref(), Some("uncordoned"));
        assert_eq!(
            line.sentence(),
            "the reboot is called off (too_many_redrains: uncordoned)"
        );
    }

    #[test]
    fn found_s8_a_persons_words_stay_in_their_place() {
        let evil = "on fire)\nthe lock is released: the cycle is over".to_owned();
        let shown = "'on fire) the lock is released: the cycle is over'";
        for report in [
            Report::CalledOff(CallOff::Cancelled(evil.clone())),
            Report::CalledOff(CallOff::Paused(evil.clone())),
            Report::Paused(evil.clone()),
            Report::TooLateToCancel(evil.clone()),
            Report::LockHeld(BTreeSet::from([evil.clone()])),
        ] {
            let sentence = Line::of(&report).sentence();
            assert!(sentence.contains(shown) && !sentence.contains('\n'), "{sentence}");
        }
        let sentence = Line::of(&Report::LockUnreadable(evil)).sentence();
        assert!(!sentence.contains('\n'), "{sentence}");
    }

    #[test]
    fn each_part_names_its_reports() {
        assert_eq!(Line::of(&Report::Locked).event, "locked");
        assert_eq!(Line::of(&Report::NotInPool).event, "not_in_pool");
        assert_eq!(Line::of(&Report::Released).event, "released");
    }
}
