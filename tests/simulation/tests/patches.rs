//! Checks that `NodePatch::applied` predicts what the simulation's API server makes of a patch.

use std::collections::BTreeMap;
use std::rc::Rc;

use cordonhold_shared::hold::{self, Account, Hold, Holder, NodePatch, Phase, Proof, Signs, Tally, Terms};
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::moment::Uptime;
use cordonhold_simulation::api_server::{
    Answer, ApiServer, Caller, EPOCH, Key, Request, Verb, Webhook, WebhookState,
};
use jiff::SignedDuration;
use serde_json::{Value, json};

const NODE: &str = "node-0";

/// An API server with one Node, to apply each patch there and by `NodePatch::applied`.
struct Both {
    server: ApiServer,
    node: NodeView,
}

impl Both {
    fn new(node: Value) -> Both {
        let mut server = ApiServer::new(Webhook {
            state: WebhookState::DownIgnored,
            ..Webhook::default()
        });
        let node = handle(&mut server, Verb::Create(node));
        Both { server, node }
    }

    fn patch(&mut self, patch: &NodePatch) {
        let terms = Terms {
            reboot: SignedDuration::from_mins(30),
            release: SignedDuration::from_mins(5),
        };
        let mut applied = patch.applied(&self.node, EPOCH, &terms);
        self.node = handle(&mut self.server, Verb::Merge(patch.body(EPOCH, &terms)));
        self.node
            .version()
            .clone_into(&mut applied.metadata.resource_version);
        assert_eq!(applied, self.node, "{patch:?}");
    }

    /// Applies a patch that goes on with the account of the reboot.
    fn account(&mut self, patch: NodePatch) {
        let mut adds = Tally::default();
        adds.disturbed("pods");
        self.patch(&patch.accounted(&self.node, "file /run/reboot-required", &adds));
    }

    fn hold(&self) -> Hold {
        hold::read(&self.node).present().expect("marks that can be read")
    }
}

fn handle(server: &mut ApiServer, verb: Verb) -> NodeView {
    let request = Request {
        caller: Rc::new(Caller::default()),
        key: Key::node(NODE),
        verb,
    };
    let answer = server.handle(&request, Uptime::START);
    let object = answer.ok().and_then(|answer| match answer {
        Answer::Object(object) => Some(object),
        _ => None,
    });
    object.expect("a Node is one object").node().clone()
}

/// Applies every kind of patch, one after the other, as in a reboot.
fn reboot(mut both: Both, has_rebooted: bool) {
    let label = |value: &str| BTreeMap::from([("kured".to_owned(), value.to_owned())]);
    let signs = Signs {
        annotates: true,
        pre_reboot_labels: label("rebooting"),
        post_reboot_labels: label("done"),
        soft_taint: Some("weave.works/kured-node-reboot".to_owned()),
        protects: true,
        shows_conditions: true,
    };
    let created = "2026-11-23T10:00:00.000000001Z";
    let holder = Holder {
        node_uid: both.node.metadata.uid.clone(),
        created: created.to_owned(),
    };
    let was = both.node.spec.unschedulable;
    let stamp = NodePatch::stamp(&both.node, Hold::wish(holder, Proof::new(1)));
    both.account(signs.wished(stamp, &both.node, created));
    let wish = both.hold();
    let draining = Hold {
        was_unschedulable: Some(was),
        boot_id: Some("boot".to_owned()),
        ..wish.written(Phase::Draining, Proof::new(2))
    };
    let cordon = NodePatch::cordon(&both.node, draining, true);
    both.account(signs.cordoned(cordon, &both.node, &wish));
    let renewed = both.hold().written(Phase::Draining, Proof::new(3));
    both.patch(&NodePatch::renew(
        &both.node,
        renewed,
        Some("1 of 2 pods are gone"),
    ));
    let delaying = both.hold().written(Phase::Delaying, Proof::new(4));
    both.patch(&NodePatch::delay(&both.node, delaying));
    let forced = both.hold().written(Phase::Delaying, Proof::new(5));
    both.patch(&NodePatch::delay_forced(&both.node, forced, "1 pod"));
    let sealed = Hold {
        attempts: 1,
        ..both.hold().written(Phase::Sealed, Proof::new(6))
    };
    both.account(NodePatch::seal(&both.node, sealed));
    let returning = both.hold().written(Phase::Returning, Proof::new(7));
    both.account(NodePatch::returning(&both.node, returning));
    let give_back = NodePatch::give_back(&both.node, &both.hold(), Proof::new(8)).keeping_entry(&both.hold());
    let give_back = signs.given_back(give_back, &both.node, has_rebooted);
    if has_rebooted {
        both.account(give_back);
    } else {
        both.patch(&give_back);
    }
    let is_counted = |account: Account| account.disturbed["pods"] == 4;
    assert_eq!(
        hold::last_reboot(&both.node).present().is_some_and(is_counted),
        has_rebooted
    );
    assert!(both.node.annotation("cordonhold.dev/reboot-account").is_none());
    both.patch(&NodePatch::end_release_delay(&both.node));
    assert!(!hold::has_marks(&both.node));
    assert_eq!(both.node.spec.unschedulable, was);
}

#[test]
fn a_patch_applied_is_its_body_merged() {
    let bare = || json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": NODE } });
    let full = || {
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": NODE,
                "labels": { "kubernetes.io/os": "linux", "kured": "before" },
                "annotations": { "cordonhold.dev/cancel": "x", "cordonhold.dev/drain-progress": "y" },
            },
            "spec": {
                "unschedulable": true,
                "taints": [{ "key": "a", "effect": "NoSchedule", "value": "b", "timeAdded": "2026-01-01T00:00:00Z" }],
            },
        })
    };
    for has_rebooted in [false, true] {
        reboot(Both::new(bare()), has_rebooted);
        reboot(Both::new(full()), has_rebooted);
    }
}
