//! Where events come from: a task that can be replaced, after which nothing it still has to say counts.

use cordonhold_shared::cycle::Input;
use cordonhold_shared::node::NodeView;
use tokio::task::AbortHandle;

use crate::api::{Api, LeaseView};
use crate::watch::{Change, Target};

/// An event and who sent it.
pub(super) struct Message {
    pub(super) source: Source,
    pub(super) epoch: u64,
    pub(super) input: Input,
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

    pub(super) fn is_current(&self, epoch: u64) -> bool {
        self.epoch == epoch
    }
}

pub(super) fn node_target(api: &Api) -> Target {
    Target {
        name: "the Node",
        path: Api::nodes_path(),
        fields: api.node_selector(),
        ends_with_object: true,
    }
}

pub(super) fn lock_target(api: &Api) -> Target {
    Target {
        name: "the lock",
        path: api.leases_path(),
        fields: api.lock_selector(),
        ends_with_object: false,
    }
}

pub(super) fn node_changed(change: Change<NodeView>) -> Option<Input> {
    match change {
        Change::Listed(mut nodes) => nodes.pop().map(Input::Seen),
        Change::Present(node) => Some(Input::Seen(node)),
        Change::Gone(_) | Change::Gap => Some(Input::Gap),
    }
}

/// The first list counts too: the lock may have changed between the read of the cycle and the watch.
pub(super) fn lock_changed(change: &Change<LeaseView>) -> Option<Input> {
    match change {
        Change::Listed(_) | Change::Present(_) | Change::Gone(_) => Some(Input::LockChanged),
        // A list follows.
        Change::Gap => None,
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
        assert!(!feed.is_current(second));
    }

    #[test]
    fn a_node_that_is_gone_is_a_gap() {
        assert_eq!(node_changed(Change::Gone(NodeView::default())), Some(Input::Gap));
        assert_eq!(node_changed(Change::Gap), Some(Input::Gap));
        assert_eq!(node_changed(Change::Listed(Vec::new())), None);
    }
}
