//! Where events come from: a task that can be replaced, after which nothing it still has to say counts.

use cordonhold_shared::reboot::cycle::Event;
use tokio::task::AbortHandle;

use crate::api::{Api, Place};
use crate::watch::Target;

/// An event and who sent it.
pub(super) struct Message {
    pub(super) source: Source,
    pub(super) epoch: u64,
    pub(super) event: Event,
}

#[derive(Clone, Copy)]
pub(super) enum Source {
    Node,
    Lock,
    Drain,
}

/// A source of events.
#[derive(Default)]
pub(super) struct Feed {
    /// Counts the tasks that this source has had.
    epoch: u64,
    task: Option<AbortHandle>,
}

impl Feed {
    /// Stops the task; what it has sent no longer counts.
    pub(super) fn stop(&mut self) {
        let _ = self.next_epoch();
    }

    /// Stops the task, and counts the next one.
    pub(super) fn next_epoch(&mut self) -> u64 {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.epoch += 1;
        self.epoch
    }

    pub(super) fn started(&mut self, task: AbortHandle) {
        self.task = Some(task);
    }

    pub(super) fn is_running(&self) -> bool {
        self.task.is_some()
    }

    pub(super) fn is_current(&self, epoch: u64) -> bool {
        self.epoch == epoch
    }
}

pub(super) fn node_target(api: &Api) -> Target {
    Target {
        name: "the Node",
        path: Api::nodes_path(),
        fields: api.node_selector(),
        labels: None,
        ends_with_object: true,
    }
}

pub(super) fn lock_target(place: &Place<'_>) -> Target {
    Target {
        name: "the lock",
        path: place.path(),
        fields: format!("metadata.name={}", place.name),
        labels: None,
        ends_with_object: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_replaced_task_still_says_does_not_count() {
        let mut feed = Feed::default();
        let first = feed.next_epoch();
        assert!(feed.is_current(first));
        let second = feed.next_epoch();
        assert!(!feed.is_current(first) && feed.is_current(second));
        feed.stop();
        assert!(!feed.is_current(second) && !feed.is_running());
    }
}
