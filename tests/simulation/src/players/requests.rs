//! People who ask for reboots, and programs that write their requests again: a `GitOps` loop with the right to, and somebody without it who
//! gets through while the webhook is down. Some hosts ask for no reboot themselves, so that only a request can.
//!
//! Whether a run has them is drawn from a stream of its own, so that a run without them is drawn as before.
//! Not here: how often a request may be used (`invariants/requested.rs`).

use std::rc::Rc;

use cordonhold_shared::Reading;
use cordonhold_shared::hold::RebootRequest;
use cordonhold_shared::keys;
use cordonhold_shared::lock::UsedRequests;
use cordonhold_shared::node::NodeView;
use serde_json::json;

use crate::Defect;
use crate::api_server::wall;
use crate::faults::{Fault, Mixture};
use crate::random::Random;
use crate::world::World;

/// Sets the stream apart from that of the run.
const STREAM: u64 = 0xd1b5_4a32_d192_ed03;

/// The requests of a run.
#[derive(Debug, Default)]
pub(crate) struct Requesters {
    /// All that were ever written, each with the node that it was written on.
    written: Vec<(usize, String)>,
    /// The nodes whose hosts ask for no reboot.
    quiet: Vec<bool>,
}

impl Requesters {
    /// Draws whether the run has requests. A run with another defect than theirs has none.
    pub(crate) fn draw(seed: u64, defect: Option<Defect>, nodes: usize, mixture: &mut Mixture) -> Requesters {
        let mut random = Random::new(seed ^ STREAM);
        let has_them = match defect {
            None => random.chance(3_000),
            Some(defect) => defect == Defect::RequestsForgotten,
        };
        for fault in Fault::OF_REQUESTS {
            mixture.set(fault, u32::from(has_them));
        }
        Requesters {
            written: Vec::new(),
            quiet: (0..nodes).map(|_| has_them && random.chance(5_000)).collect(),
        }
    }

    /// Whether the host of this node asks for no reboot.
    pub(crate) fn is_quiet(&self, index: usize) -> bool {
        self.quiet.get(index).copied().unwrap_or_default()
    }
}

impl World {
    /// A person asks for a reboot of this node.
    pub(super) fn request_reboot(&mut self, index: usize) {
        let request = RebootRequest::new(wall(self.now), "a new kernel").to_string();
        self.fired(Fault::RebootRequested);
        self.requesters.written.push((index, request.clone()));
        let patch = json!({ "metadata": { "annotations": { keys::REBOOT_WANTED: request } } });
        self.admin_patches(index, patch);
    }

    /// A person takes the request of this node back.
    pub(super) fn withdraw_request(&mut self, index: usize) {
        let is_there = |node: &NodeView| node.annotation(keys::REBOOT_WANTED).is_some();
        if self.node(index).is_some_and(is_there) {
            self.fired(Fault::RequestWithdrawn);
            self.admin_patches(
                index,
                json!({ "metadata": { "annotations": { keys::REBOOT_WANTED: null } } }),
            );
        }
    }

    /// Somebody writes over what was used.
    pub(super) fn garble_used(&mut self) {
        self.fired(Fault::UsedGarbled);
        self.patch_lock(json!({ "metadata": { "annotations": { keys::REQUESTS_USED: "yesterday" } } }));
        self.repair_lock_later();
    }

    /// Does what the message about unreadable used requests advises.
    pub(super) fn repair_used(&mut self) {
        let lock = self.server.object(&World::lock_key());
        let text = lock.and_then(|lock| lock.annotation(keys::REQUESTS_USED));
        if matches!(UsedRequests::read(text), Reading::Malformed(_)) {
            let used = json!({ "up_to": format!("{:.0}", wall(self.now)), "nodes": {} }).to_string();
            self.patch_lock(json!({ "metadata": { "annotations": { keys::REQUESTS_USED: used } } }));
        }
    }

    /// Somebody writes a request again that was written before.
    pub(super) fn replay_request(&mut self) {
        let Some((index, request)) = self.random.pick(&self.requesters.written).cloned() else {
            return;
        };
        let patch = json!({ "metadata": { "annotations": { keys::REBOOT_WANTED: request } } });
        let caller = if self.random.chance(5_000) {
            Rc::clone(&self.people.admin)
        } else {
            Rc::clone(&self.people.controller)
        };
        if self.patches(&caller, index, patch) {
            self.fired(Fault::RequestReplayed);
        }
    }
}
