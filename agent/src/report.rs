//! What an operator is told: one log line for each report, a count in the metrics, and an Event on the Node where people should see it.
//!
//! The field `event` names the line and never changes its meaning. `node` and, once there is one, `holder` are on each line.
//!
//! | `event` | further fields | level | Event on the Node |
//! | --- | --- | --- | --- |
//! | `host_busy` | `reason` (`shutdown`, `unknown`), `why` | warn | |
//! | `host_told` | `why` (the holder that it was told to reboot for) | warn | |
//! | `marks_foreign` | `why` | warn | `HoldNotOurs` |
//! | `resumed` | `phase` | info | |
//! | `unproven` | | warn | `HoldUnproven` |
//! | `booted` | `by` (what shows it) | info | |
//! | `paused` | `why` | info | `RebootPaused` |
//! | `annotation_ignored` | `why` (which, and what to write instead) | warn | `RebootAnnotationIgnored` |
//! | `wished` | | info | `RebootWanted` |
//! | `lock_held` | `by` (node names) | info | |
//! | `lock_stalled` | `by` (each holder, since when, how its Node looks) | warn | `RebootLockStalled` |
//! | `lock_unreadable` | `why` | warn | `RebootLockUnreadable` |
//! | `pool_unavailable` | `by` (node names), `why` | warn | `RebootPostponed` |
//! | `not_in_pool` | | warn | `RebootNotInPool` |
//! | `locked` | | info | |
//! | `draining` | `was_unschedulable`, `round` (from 1) | info | `RebootDraining` |
//! | `drain_progress` | `why` (how far it has come, in words) | info | |
//! | `drain_blocked` | `why` (the same, with who blocks) | warn | `RebootDrainBlocked` |
//! | `forced` | `why` (what is left, in words) | warn | `RebootForced` |
//! | `pods_left` | `by` (whose pods) | warn | `RebootPodsLeft` |
//! | `delaying` | | info | |
//! | `disturbed` | `reason`, `next` (`drain_again`, `call_off`), `pods`, `pod_count` | warn | `RebootDisturbed` |
//! | `sealed` | | info | |
//! | `rebooting` | | info | `Rebooting` |
//! | `reboot_failed` | `why` | error | `RebootFailed` |
//! | `still_sealed` | `why` | error | `RebootStuck` |
//! | `too_late_to_cancel` | `why` | warn | `RebootTooLateToCancel` |
//! | `returned` | | info | `Rebooted` |
//! | `given_back` | `unschedulable` | info | `RebootGivenBack` |
//! | `release_delayed` | | info | |
//! | `released` | | info | |
//! | `called_off` | `reason`, `by`, `why`, `pods`, `pod_count` | warn | `RebootCalledOff` |
//! | `refused` | `reason` (what was refused), `why` | warn | `RebootRefused` |
//! | `retrying` | `reason` (what failed), `why` | warn | |
//!
//! `reason` of `disturbed`, and `by` of `called_off`: `uncordoned`, `untainted`, `tampered`, `pods`, `gap`, `seal_over`.
//! `reason` of `called_off`: `no_longer_wanted`, `cancelled`, `paused`, `drain_timeout`, `unevictable`, `disturbed`, `too_many_redrains`, `hold_lost`, `entry_lost`, `unproven`.
//!
//! Lines of the shell itself: `started`, `argument_warning`, `stopping`, `finishing` and `cut_off` (`evictions`, `commands`), `host_taken`, `sentinel_unreadable`, `sentinel_unreachable` (`path`), `metrics_accept_failed` (`why`), `metrics_unserved` (`host`, `port`, `why`) and `metrics_served` (`host`, `port`),
//! `permission_missing`, `permissions_unknown`,
//! `lock_chosen` and `lock_moved` (`lock`, `annotation`), `pool_unchecked` (`of`, `why`), `pool_wrong` (`why`), `kured_elsewhere` (`lock`, `kured`), `kured_unsearched` (`why`),
//! `pod_evicted` (debug; `uid`), `eviction_blocked` (`pod`, `budget`, `reason`), `eviction_failed` (`pod`, `reason`), `drained`,
//! `reboot_command` (`command`), `record_stays` (`why`), `host_output` (debug for what only asks the host; `command`, `status`, `stdout`, `stderr`), `watch_lost` (`of`, `why`), `notice_lost` (`why`),
//! `conditions_written` (debug) and `conditions_lost` (`why`).

use std::sync::Arc;

use cordonhold_shared::hold;
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::cycle::Report;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

mod line;
mod notice;

pub(crate) use notice::{Notice, post};

use crate::metrics::Metrics;
use line::{Level, Line};

/// Tells, and knows of whom it tells.
pub(crate) struct Reporter {
    node: String,
    uid: String,
    holder: Option<String>,
    /// What was told of a person's annotation that does nothing.
    ignored: Option<String>,
    notices: mpsc::Sender<Notice>,
    metrics: Arc<Metrics>,
}

impl Reporter {
    pub(crate) fn new(node: &str, notices: mpsc::Sender<Notice>, metrics: Arc<Metrics>) -> Reporter {
        Reporter {
            node: node.to_owned(),
            uid: String::new(),
            holder: None,
            ignored: None,
            notices,
            metrics,
        }
    }

    /// Remembers which Node object and which hold the next lines are about.
    pub(crate) fn learn(&mut self, node: &NodeView) {
        self.metrics.learn(node);
        node.metadata.uid.clone_into(&mut self.uid);
        // Kept when the marks are gone: the lines that end a cycle are about the hold that it had.
        if let Some(hold) = hold::read(node).present() {
            self.holder = Some(hold.holder.to_string());
        }
        let ignored = hold::ignored(node);
        if ignored != self.ignored {
            if let Some(why) = &ignored {
                self.tell(&Report::Ignored(why.clone()));
            }
            self.ignored = ignored;
        }
    }

    pub(crate) fn tell(&self, report: &Report) {
        let line = Line::of(report);
        self.log(&line);
        self.metrics.count(report, line.reason);
        let Some(reason) = line.notice else { return };
        let notice = Notice {
            reason,
            is_warning: line.level != Level::Info,
            note: line.sentence(),
            node: self.node.clone(),
            uid: self.uid.clone(),
        };
        if self.notices.try_send(notice).is_err() {
            warn!(
                event = "notice_lost",
                node = self.node,
                why = "too many are waiting",
                reason,
                "an Event is not written"
            );
        }
    }

    fn log(&self, line: &Line) {
        macro_rules! log {
            ($level:ident) => {
                $level!(
                    event = line.event,
                    node = self.node,
                    holder = self.holder,
                    phase = line.phase,
                    reason = line.reason,
                    by = line.by,
                    next = line.next,
                    why = line.why,
                    pods = line.pods,
                    pod_count = line.pod_count,
                    was_unschedulable = line.was_unschedulable,
                    unschedulable = line.unschedulable,
                    round = line.round,
                    "{}",
                    line.text
                )
            };
        }
        match line.level {
            Level::Info => log!(info),
            Level::Warning => log!(warn),
            Level::Error => log!(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use cordonhold_shared::keys;

    use super::*;

    #[test]
    fn found_e6_what_does_nothing_is_told_once_with_what_to_write() {
        let (sender, mut notices) = mpsc::channel(8);
        let mut reporter = Reporter::new("n", sender, Arc::new(Metrics::new("n")));
        let mut node = NodeView::default();
        node.metadata.name = "n".to_owned();
        let labels = [(keys::PHASE.to_owned(), "draining".to_owned())];
        node.metadata.labels.extend(labels);
        let set = |node: &mut NodeView, key: &str, value: &str| {
            drop(node.metadata.annotations.insert(key.to_owned(), value.to_owned()));
        };
        set(&mut node, keys::HOLDER, "u/2026-01-01T00:00:00Z");
        reporter.learn(&node);
        assert!(notices.try_recv().is_err());
        for (text, part) in [
            ("disk", "cordonhold.dev/cancel='2026-01-01T00:00:00Z disk'"),
            ("2025-01-01T00:00:00Z disk", "names another hold"),
        ] {
            set(&mut node, keys::CANCEL, text);
            reporter.learn(&node);
            reporter.learn(&node);
            let notice = notices.try_recv().unwrap();
            assert_eq!(
                (notice.reason, notice.is_warning),
                ("RebootAnnotationIgnored", true)
            );
            assert!(notice.note.contains(part), "{}", notice.note);
            assert!(notices.try_recv().is_err(), "told twice");
        }
        set(&mut node, keys::CANCEL, "2026-01-01T00:00:00Z disk");
        reporter.learn(&node);
        assert!(notices.try_recv().is_err());
    }
}
