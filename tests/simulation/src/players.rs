//! Everybody but the agents: controllers that uncordon, admins, operators, the scheduler and Kubernetes' own controllers.
//!
//! Their writes go through admission, which denies what the webhook denies. Not here: kubelets ([`crate::host`]).

use std::rc::Rc;
use std::time::Duration;

use cordonhold_shared::Reading;
use cordonhold_shared::admission::{Requester, cancel_name};
use cordonhold_shared::hold;
use cordonhold_shared::keys;
use cordonhold_shared::lock::Record;
use cordonhold_shared::node::NodeView;
use jiff::SignedDuration;
use serde_json::{Map, Value, json};

use crate::api_server::{Caller, Commit, Deletion, Key, NOT_READY, Resource, Stored, Verb, WebhookState};
use crate::faults::Fault;
use crate::host::HostEvent;
use crate::random::Random;
use crate::world::{Event, WORKLOAD_NAMESPACE, World};

mod adversary;
mod requests;

pub(crate) use adversary::Adversary;
pub(crate) use requests::Requesters;

/// Somebody who does something at a planned time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Player {
    /// Somebody causes this fault, again and again.
    Makes(Fault),
    /// Something on the host wants a reboot.
    Wishes(usize),
    Schedules,
    /// The node controller updates the taints of a Node.
    Taints(usize),
    /// The disruption controller updates the budgets.
    Budgets,
    BudgetsOpen,
    WebhookUp,
    /// etcd compacts its log up to this version, every five minutes.
    Compacts(u64),
    Unpauses(usize),
    UnpausesPool,
    /// An admin removes the label that keeps the agent off a node.
    Enables(usize),
    /// The DaemonSet controller starts or stops the agent after that label has changed.
    Places(usize),
    /// The adversary writes marks on some Node.
    Tampers,
    /// The adversary writes marks on this Node.
    TampersWith(usize),
    /// An admin removes marks that make no hold.
    Sweeps,
    /// Somebody else's reboot of this node is over.
    ForeignEnds(usize),
}

/// An operator who reacts to a report.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operator {
    PowerCycle(usize),
    ClearMarks(usize),
    RepairLock,
    /// Finds out why this node reboots again and again, and lets it go on.
    ForgetReboots(usize),
}

const BUDGET: &str = "web";
/// The label of NVIDIA's MIG manager.
const MIG_STATE: &str = "nvidia.com/mig.config.state";
/// The name of the only `DaemonSet` that exists. Pods of any other belong to one that no longer exists.
const DAEMON_SET: &str = "log";
const APP: &str = "app";
/// An owner whose pods tolerate every taint and fit on one node only. It replaces each evicted pod there.
const OPERATOR: &str = "operator";
/// An owner whose pods tolerate only the taint of a cordon. It binds each replacement to the same node without the scheduler.
const BINDER: &str = "binder";
/// How many times [`BINDER`] replaces a pod.
const BINDINGS_MAX: u64 = 5;
/// The annotation that counts how many times a pod of [`OPERATOR`] or [`BINDER`] was replaced.
const TIMES: &str = "times";

/// After more denials than this, an admin removes the webhook's registration for a moment to remove a Node's marks. A cancel does not
/// help there: if the phase was forged as `sealed` and `until` as a time in 2099, every cancel comes too late.
const CLEARINGS_MAX: u32 = 5;

/// The mean time between two faults of this class, in seconds. `None` for classes that are drawn elsewhere.
fn mean_seconds(fault: Fault) -> Option<u64> {
    Some(match fault {
        Fault::UncordonRefused => 60,
        Fault::Tampering => 700,
        Fault::RunCleaned => 900,
        Fault::AgentDisabled => 3_000,
        Fault::WebhookIgnored => 1_500,
        Fault::WebhookFailing => 3_000,
        Fault::WebhookClockSkew => 3_000,
        Fault::AgentClockSkew | Fault::AgentClockJump => 1_500,
        Fault::ServerRefuses | Fault::ServerSilent => 2_500,
        Fault::CutOff => 900,
        Fault::PowerLoss => 1_200,
        Fault::PowerLossForAll => 7_000,
        Fault::StrayAgent => 120,
        Fault::AdminCordons | Fault::AdminUncordons => 400,
        Fault::Cancel => 900,
        Fault::CancelOfAnother => 400,
        Fault::Pause | Fault::PausePool => 1_500,
        Fault::KeepCordoned => 1_500,
        Fault::BudgetBlocks => 1_500,
        Fault::NodeDeleted => 1_500,
        Fault::EntryRemoved => 1_500,
        Fault::LockGarbled => 3_000,
        Fault::WishWithdrawn => 900,
        Fault::WatchTooOld => 300,
        Fault::ForeignReboot => 600,
        Fault::DeferredRemoved => 300,
        Fault::RebootRequested => 600,
        Fault::RequestReplayed => 30,
        Fault::RequestWithdrawn => 60,
        Fault::UsedGarbled => 3_000,
        _ => return None,
    })
}

impl World {
    /// Plans the first action of everybody.
    pub(crate) fn begin_play(&mut self) {
        let kubernetes = Rc::clone(&self.people.kubernetes);
        let budget = json!({
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "spec": { "minAvailable": 1, "selector": { "matchLabels": { APP: BUDGET } } },
        });
        let key = Key::new(Resource::PodDisruptionBudgets, WORKLOAD_NAMESPACE, BUDGET);
        let request = self.request(&kubernetes, key, Verb::Create(budget));
        let _ = self.write(&request);
        let daemon_set = json!({ "apiVersion": "apps/v1", "kind": "DaemonSet" });
        let key = Key::new(Resource::DaemonSets, WORKLOAD_NAMESPACE, DAEMON_SET);
        let request = self.request(&kubernetes, key, Verb::Create(daemon_set));
        let _ = self.write(&request);
        for index in 0..self.hosts.len() {
            let pause = self.random.seconds(1, 60);
            self.after(pause, Event::Player(Player::Wishes(index)));
        }
        self.after(Duration::from_millis(100), Event::Player(Player::Schedules));
        self.after(Duration::from_secs(300), Event::Player(Player::Compacts(0)));
        for fault in Fault::ALL {
            if self.mixture.has(*fault) {
                self.plan(*fault);
            }
        }
    }

    fn plan(&mut self, fault: Fault) {
        if let Some(mean) = mean_seconds(fault)
            && self.mixture.is_on()
        {
            let pause = self.random.seconds(mean / 4, mean * 7 / 4);
            self.after(pause, Event::Player(Player::Makes(fault)));
        }
    }

    /// Repairs everything that somebody has broken or left behind.
    pub(crate) fn end_play(&mut self) {
        self.down_until = self.now;
        self.server.webhook.state = WebhookState::Up;
        self.server.webhook.skew = SignedDuration::ZERO;
        self.budget_blocks = false;
        for agent in &mut self.agents {
            agent.cut_off_until = self.now;
        }
        for index in 0..self.hosts.len() {
            self.after(Duration::from_secs(1), Event::Player(Player::Unpauses(index)));
            self.after(Duration::from_secs(1), Event::Player(Player::Enables(index)));
            self.after(Duration::from_secs(1), Event::Player(Player::ForeignEnds(index)));
        }
        self.after(Duration::from_secs(1), Event::Player(Player::UnpausesPool));
        self.after(Duration::from_secs(600), Event::Player(Player::Sweeps));
        self.after(Duration::from_secs(1), Event::Player(Player::Budgets));
        self.after(Duration::from_secs(1), Event::Operator(Operator::RepairLock));
    }

    pub(crate) fn play(&mut self, player: Player) {
        match player {
            Player::Makes(fault) => {
                if self.mixture.is_on() {
                    self.make(fault);
                    self.plan(fault);
                }
            }
            Player::Wishes(index) => self.wish(index),
            Player::Schedules => self.schedule(),
            Player::Taints(index) => self.sync_taints(index),
            Player::Budgets => self.count_budget(),
            Player::BudgetsOpen => {
                self.budget_blocks = false;
                self.count_budget();
            }
            Player::WebhookUp => self.server.webhook.state = WebhookState::Up,
            Player::Compacts(version) => {
                self.server.compact(version);
                let next = self.server.version();
                self.after(Duration::from_secs(300), Event::Player(Player::Compacts(next)));
            }
            Player::Unpauses(index) => {
                let clear = json!({ "metadata": { "annotations": { keys::PAUSE: null } } });
                self.admin_patches(index, clear);
            }
            Player::Enables(index) => {
                let clear = json!({ "metadata": { "labels": { keys::AGENT: null } } });
                self.admin_patches(index, clear);
            }
            Player::Places(index) => self.place_agent(index),
            Player::Tampers => self.tamper_on(),
            Player::TampersWith(index) => self.tamper(index),
            Player::Sweeps => self.sweep(),
            Player::ForeignEnds(index) => self.show_foreign(index, None),
            Player::UnpausesPool => {
                let clear = json!({ "metadata": { "annotations": { keys::PAUSE: null } } });
                self.patch_lock(clear);
            }
        }
    }

    fn wish(&mut self, index: usize) {
        if !self.mixture.is_on() {
            return;
        }
        let is_quiet = self.requesters.is_quiet(index);
        let host = &mut self.hosts[index];
        if host.is_up() && !is_quiet {
            host.sentinel = true;
        }
        let pause = self.random.seconds(5, 60);
        self.after(pause, Event::Player(Player::Wishes(index)));
    }

    fn make(&mut self, fault: Fault) {
        let index = self.random.index(self.hosts.len());
        match fault {
            Fault::UncordonRefused => self.uncordon(),
            Fault::Tampering => self.begin_spell(),
            Fault::AgentDisabled => self.disable_agent(index),
            Fault::StrayAgent => self.stray(index),
            Fault::AdminCordons => {
                self.fired(fault);
                self.admin_patches(index, json!({ "spec": { "unschedulable": true } }));
            }
            Fault::AdminUncordons => {
                self.fired(fault);
                self.admin_patches(index, json!({ "spec": { "unschedulable": null } }));
            }
            Fault::Cancel | Fault::CancelOfAnother => self.cancel(fault, index),
            Fault::Pause | Fault::PausePool | Fault::KeepCordoned => self.instruct(fault, index),
            Fault::NodeDeleted => self.delete_node(index),
            Fault::DeferredRemoved => self.remove_deferred(),
            Fault::RebootRequested => self.request_reboot(index),
            Fault::RequestReplayed => self.replay_request(),
            Fault::RequestWithdrawn => self.withdraw_request(index),
            Fault::UsedGarbled => self.garble_used(),
            Fault::EntryRemoved => self.remove_entry(),
            Fault::LockGarbled => self.garble_lock(),
            Fault::BudgetBlocks => self.block_budget(),
            Fault::ForeignReboot => {
                self.fired(fault);
                self.show_foreign(index, Some("rebooting"));
                let pause = self.random.seconds(30, 600);
                self.after(pause, Event::Player(Player::ForeignEnds(index)));
            }
            Fault::WishWithdrawn => {
                if self.hosts[index].is_up() && std::mem::take(&mut self.hosts[index].sentinel) {
                    self.fired(fault);
                }
            }
            _ => self.break_something(fault, index),
        }
    }

    fn break_something(&mut self, fault: Fault, index: usize) {
        match fault {
            Fault::PowerLoss => {
                self.fired(fault);
                self.lose_power(index);
            }
            Fault::PowerLossForAll => {
                self.fired(fault);
                for host in 0..self.hosts.len() {
                    self.lose_power(host);
                }
            }
            Fault::RunCleaned => self.clean_run(index),
            Fault::WebhookIgnored | Fault::WebhookFailing => self.break_webhook(fault),
            Fault::WebhookClockSkew => {
                self.fired(fault);
                self.server.webhook.skew = skew(&mut self.random, 400);
            }
            Fault::AgentClockSkew => {
                self.fired(fault);
                self.agents[index].skew = skew(&mut self.random, 60);
                self.oracle.clock_changed(index);
            }
            Fault::AgentClockJump => {
                self.fired(fault);
                self.agents[index].skew = skew(&mut self.random, 10_000);
                self.oracle.clock_changed(index);
            }
            Fault::ServerRefuses | Fault::ServerSilent => {
                let pause = self.random.seconds(1, 300);
                self.down_until = self.now + pause;
                self.down_silent = fault == Fault::ServerSilent;
            }
            Fault::CutOff => {
                let pause = self.random.seconds(1, 300);
                self.agents[index].cut_off_until = self.now + pause;
            }
            Fault::WatchTooOld => {
                let version = self.server.version();
                self.server.compact(version);
            }
            _ => {}
        }
    }

    fn break_webhook(&mut self, fault: Fault) {
        if self.server.webhook.state != WebhookState::Up {
            return;
        }
        self.fired(fault);
        self.server.webhook.state = if fault == Fault::WebhookIgnored {
            WebhookState::DownIgnored
        } else {
            WebhookState::DownFailing
        };
        let pause = self.random.seconds(30, 900);
        self.after(pause, Event::Player(Player::WebhookUp));
    }

    /// A random Node that shows a hold; this one if none does.
    fn held_or(&mut self, index: usize) -> usize {
        let held: Vec<usize> = (0..self.hosts.len())
            .filter(|index| {
                let node = self.server.object(&self.node_key(*index));
                node.is_some_and(|node| hold::read(node.node()) != Reading::Absent)
            })
            .collect();
        self.random.pick(&held).copied().unwrap_or(index)
    }

    fn node(&self, index: usize) -> Option<&NodeView> {
        Some(self.server.object(&self.node_key(index))?.node())
    }

    fn patches(&mut self, caller: &Rc<Caller>, index: usize, patch: Value) -> bool {
        let request = self.request(caller, self.node_key(index), Verb::Merge(patch));
        self.write(&request)
    }

    fn admin_patches(&mut self, index: usize, patch: Value) {
        let admin = Rc::clone(&self.people.admin);
        let _ = self.patches(&admin, index, patch);
    }

    fn controller_patches(&mut self, index: usize, patch: Value) -> bool {
        let controller = Rc::clone(&self.people.controller);
        self.patches(&controller, index, patch)
    }

    fn uncordon(&mut self) {
        let any = self.random.index(self.hosts.len());
        let index = self.held_or(any);
        let is_held = self
            .node(index)
            .is_some_and(|node| node.spec.unschedulable && hold::is_held(&hold::read(node)));
        let patch = json!({ "spec": { "unschedulable": null } });
        if self.random.chance(1_500) {
            // Decided now on what the Node shows, but written later.
            let controller = Rc::clone(&self.people.controller);
            let request = self.request(&controller, self.node_key(index), Verb::Merge(patch));
            let pause = self.random.seconds(1, 60);
            return self.after(pause, Event::Land(Box::new(request)));
        }
        let passed = self.controller_patches(index, patch);
        let is_cordoned = self.node(index).is_some_and(|node| node.spec.unschedulable);
        if is_held {
            self.fired(match (passed, is_cordoned) {
                (true, true) => Fault::UncordonDeferred,
                (true, false) => Fault::UncordonPassed,
                (false, _) => Fault::UncordonRefused,
            });
        }
    }

    /// Removes a deferred uncordon from a random Node. While the webhook is up, only its author may.
    fn remove_deferred(&mut self) {
        let has_one = |node: &NodeView| node.annotation(keys::UNCORDON_WANTED).is_some();
        let with_one: Vec<usize> = (0..self.hosts.len())
            .filter(|index| self.node(*index).is_some_and(has_one))
            .collect();
        let Some(index) = self.random.pick(&with_one).copied() else {
            return;
        };
        let clear = json!({ "metadata": { "annotations": { keys::UNCORDON_WANTED: null } } });
        if self.controller_patches(index, clear) {
            self.fired(Fault::DeferredRemoved);
        }
    }

    fn disable_agent(&mut self, index: usize) {
        self.fired(Fault::AgentDisabled);
        self.admin_patches(
            index,
            json!({ "metadata": { "labels": { keys::AGENT: "disabled" } } }),
        );
    }

    /// Starts or stops the agent of a node, as the DaemonSet controller does.
    fn place_agent(&mut self, index: usize) {
        if self.is_disabled(index) {
            self.kill(index);
        } else if self.agents[index].process.is_none() && self.hosts[index].is_up() {
            let pause = self.random.millis(500, 5_000);
            self.plan_start(index, pause);
        }
    }

    /// Whether the label keeps the agent off a node.
    pub(crate) fn is_disabled(&self, index: usize) -> bool {
        let label = self.node(index).and_then(|node| node.label(keys::AGENT));
        label == Some("disabled")
    }

    /// Removes marks that make no hold. They belong to no agent, so a person has to do it.
    fn sweep(&mut self) {
        self.after(Duration::from_secs(600), Event::Player(Player::Sweeps));
        for index in 0..self.hosts.len() {
            let is_stray = self.node(index).is_some_and(adversary::has_stray_marks);
            if is_stray && self.agents[index].restless().is_none() {
                self.clear_marks(index);
            }
        }
    }

    /// Tries to write a Node with the token of another node's agent.
    fn stray(&mut self, index: usize) {
        let other = (index + 1) % self.hosts.len();
        let caller = Rc::new(Caller {
            requester: Requester {
                user: self.server.webhook.policy.agent.user(),
                node_claim: vec![format!("node-{other}")],
                ..Requester::default()
            },
            may_override: false,
            process: None,
        });
        let patch = match self.random.below(3) {
            0 => json!({ "spec": { "unschedulable": true } }),
            1 => json!({ "spec": { "unschedulable": null } }),
            _ => json!({ "metadata": { "labels": { keys::PHASE: null } } }),
        };
        let before = self.server.version();
        let _ = self.patches(&caller, index, patch);
        if self.server.version() == before {
            self.fired(Fault::StrayAgent);
        }
    }

    fn cancel(&mut self, fault: Fault, index: usize) {
        let index = self.held_or(index);
        let Some(node) = self
            .node(index)
            .filter(|node| hold::read(node) != Reading::Absent)
        else {
            return;
        };
        let name = if fault == Fault::Cancel {
            cancel_name(node).to_owned()
        } else {
            "2020-01-01T00:00:00Z".to_owned()
        };
        let patch =
            json!({ "metadata": { "annotations": { keys::CANCEL: format!("{name} no reboot now") } } });
        self.fired(fault);
        self.admin_patches(index, patch);
    }

    fn instruct(&mut self, fault: Fault, index: usize) {
        self.fired(fault);
        let pause = self.random.seconds(30, 1_200);
        match fault {
            Fault::Pause => {
                self.admin_patches(
                    index,
                    json!({ "metadata": { "annotations": { keys::PAUSE: "sale" } } }),
                );
            }
            Fault::PausePool => {
                self.patch_lock(json!({ "metadata": { "annotations": { keys::PAUSE: "sale" } } }));
                self.after(pause, Event::Player(Player::UnpausesPool));
            }
            _ => {
                let is_set = self
                    .node(index)
                    .is_some_and(|node| node.annotation(keys::KEEP_CORDONED).is_some());
                let value = if is_set {
                    Value::Null
                } else {
                    json!("look at the disk")
                };
                self.admin_patches(
                    index,
                    json!({ "metadata": { "annotations": { keys::KEEP_CORDONED: value } } }),
                );
            }
        }
    }

    fn delete_node(&mut self, index: usize) {
        self.fired(Fault::NodeDeleted);
        let admin = Rc::clone(&self.people.admin);
        let request = self.request(&admin, self.node_key(index), Verb::Delete(Deletion::default()));
        let _ = self.write(&request);
    }

    /// What a Node shows while NVIDIA's MIG manager reboots its host.
    fn show_foreign(&mut self, index: usize, state: Option<&str>) {
        self.admin_patches(index, json!({ "metadata": { "labels": { MIG_STATE: state } } }));
    }

    fn forget_reboots(&mut self, index: usize) {
        let admin = Rc::clone(&self.people.admin);
        let clear = json!({ "metadata": { "annotations": { keys::REBOOTS: null } } });
        let is_done = self.patches(&admin, index, clear);
        self.agents[index].is_forgetting_planned = !is_done;
        if is_done {
            self.fired(Fault::RebootLoop);
        } else {
            self.after(
                Duration::from_secs(60),
                Event::Operator(Operator::ForgetReboots(index)),
            );
        }
    }

    fn patch_lock(&mut self, patch: Value) {
        let admin = Rc::clone(&self.people.admin);
        let request = self.request(&admin, World::lock_key(), Verb::Merge(patch));
        let _ = self.write(&request);
    }

    fn lock_text(&self) -> Option<&str> {
        self.server.object(&World::lock_key())?.annotation(keys::LOCK)
    }

    fn remove_entry(&mut self) {
        let Reading::Present(mut record) = Record::read(self.lock_text()) else {
            return;
        };
        if record.entries.is_empty() {
            return;
        }
        let index = self.random.index(record.entries.len());
        drop(record.entries.remove(index));
        self.fired(Fault::EntryRemoved);
        let text = record.render();
        self.patch_lock(json!({ "metadata": { "annotations": { keys::LOCK: text } } }));
    }

    fn garble_lock(&mut self) {
        self.fired(Fault::LockGarbled);
        self.patch_lock(json!({ "metadata": { "annotations": { keys::LOCK: "{\"nodeID\":" } } }));
        self.repair_lock_later();
    }

    fn repair_lock_later(&mut self) {
        if !self.repair_planned {
            self.repair_planned = true;
            let pause = self.random.seconds(30, 600);
            self.after(pause, Event::Operator(Operator::RepairLock));
        }
    }

    fn block_budget(&mut self) {
        self.fired(Fault::BudgetBlocks);
        self.budget_blocks = true;
        self.count_budget();
        let pause = self.random.seconds(10, 900);
        self.after(pause, Event::Player(Player::BudgetsOpen));
    }

    pub(crate) fn operate(&mut self, operator: Operator) {
        self.trace(|| format!("an operator: {operator:?}"));
        match operator {
            Operator::PowerCycle(index) => {
                self.agents[index].is_power_cycle_planned = false;
                self.lose_power(index);
                // As the report says: what asks on the host ends with the power, and a request does not.
                self.withdraw_request(index);
            }
            Operator::ClearMarks(index) => self.clear_marks(index),
            Operator::ForgetReboots(index) => self.forget_reboots(index),
            Operator::RepairLock => {
                self.repair_planned = false;
                if matches!(Record::read(self.lock_text()), Reading::Malformed(_)) {
                    self.patch_lock(json!({ "metadata": { "annotations": { keys::LOCK: null } } }));
                }
                self.repair_used();
            }
        }
    }

    /// Does what the webhook's message advises: writes a cancel, then removes the marks.
    fn clear_marks(&mut self, index: usize) {
        self.agents[index].is_clearing_planned = false;
        let Some(node) = self.node(index) else { return };
        let is_ours =
            matches!(hold::read(node), Reading::Present(hold) if hold.holder.node_uid == node.metadata.uid);
        if !hold::has_marks(node) || is_ours {
            // The operator comes back as long as the agent reports foreign marks.
            let process = self.agents[index].process.as_ref();
            if process.is_some_and(|process| process.driver.cycle().is_foreign()) {
                self.clear_marks_later(index);
            }
            return;
        }
        let cancel = format!("{} marks cannot be read", cancel_name(node));
        self.admin_patches(
            index,
            json!({ "metadata": { "annotations": { keys::CANCEL: cancel } } }),
        );
        let is_cordoned = self.oracle.cordon_of(index);
        let Some(node) = self.node(index) else { return };
        let mut patch = without_marks(node);
        if is_cordoned == Some(false) {
            patch["spec"]["unschedulable"] = Value::Null;
        }
        let admin = Rc::clone(&self.people.admin);
        self.agents[index].clearings += 1;
        let is_last_resort = self.agents[index].clearings > CLEARINGS_MAX;
        let state = self.server.webhook.state;
        if is_last_resort {
            self.server.webhook.state = WebhookState::DownIgnored;
        }
        let is_done = self.patches(&admin, index, patch);
        self.server.webhook.state = state;
        if is_done {
            self.agents[index].clearings = 0;
            self.admin_patches(
                index,
                json!({ "metadata": { "annotations": { keys::CANCEL: null } } }),
            );
        }
        self.clear_marks_later(index);
    }

    fn clear_marks_later(&mut self, index: usize) {
        self.agents[index].is_clearing_planned = true;
        let pause = Duration::from_secs(300);
        self.after(pause, Event::Operator(Operator::ClearMarks(index)));
    }

    /// Schedules a pod on a node that is schedulable now. The bind can land later.
    fn schedule(&mut self) {
        let pause = self.random.millis(500, 8_000);
        self.after(pause, Event::Player(Player::Schedules));
        let there = self.server.all(Resource::Pods).count();
        if there >= self.pods_wanted {
            return;
        }
        let is_open = |node: &NodeView| !node.spec.unschedulable && node.spec.taints.is_empty();
        let open: Vec<String> = self
            .server
            .all(Resource::Nodes)
            .filter(|node| is_open(node.node()))
            .map(|node| node.name().to_owned())
            .collect();
        let Some(node) = self.random.pick(&open).cloned() else {
            return;
        };
        self.pods += 1;
        let kind = self.random.below(10);
        if kind == 9 && self.mixture.has(Fault::PodPutBack) && self.random.chance(1_000) {
            let owner = if self.random.chance(7_000) {
                OPERATOR
            } else {
                BINDER
            };
            return self.put_back(owner, &node, 0);
        }
        let (owner, name) = match kind {
            0 if self.random.chance(3_000) => ("DaemonSet", "gone"),
            0 => ("DaemonSet", DAEMON_SET),
            _ => ("ReplicaSet", "web"),
        };
        let priority = self.random.below(3);
        let app = if kind < 4 { BUDGET } else { "other" };
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "labels": { APP: app },
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": owner, "name": name, "controller": true }],
            },
            "spec": { "nodeName": node, "priority": priority },
        });
        let key = Key::new(Resource::Pods, WORKLOAD_NAMESPACE, &format!("pod-{}", self.pods));
        let kubernetes = Rc::clone(&self.people.kubernetes);
        let request = self.request(&kubernetes, key, Verb::Create(pod));
        let lag = if self.draws(Fault::LateBind) {
            self.random.seconds(1, 60)
        } else {
            self.random.millis(5, 500)
        };
        self.after(lag, Event::Land(Box::new(request)));
    }

    /// Creates a pod whose owner wants it on this node, after `times` earlier ones.
    fn put_back(&mut self, owner: &str, node: &str, times: u64) {
        self.pods += 1;
        let toleration = if owner == OPERATOR {
            json!({ "operator": "Exists" })
        } else {
            json!({ "key": keys::UNSCHEDULABLE_TAINT, "operator": "Exists" })
        };
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "labels": { APP: owner },
                "annotations": { TIMES: times.to_string() },
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "controller": true }],
            },
            "spec": { "nodeName": node, "tolerations": [toleration] },
        });
        let key = Key::new(Resource::Pods, WORKLOAD_NAMESPACE, &format!("pod-{}", self.pods));
        let kubernetes = Rc::clone(&self.people.kubernetes);
        let request = self.request(&kubernetes, key, Verb::Create(pod));
        let lag = self.random.millis(5, 2_000);
        self.after(lag, Event::Land(Box::new(request)));
    }

    /// Creates the replacement of an evicted pod, where its owner wants one on the same node.
    fn replace(&mut self, pod: &Stored) {
        let owner = pod.label(APP).unwrap_or_default().to_owned();
        let times = pod.annotation(TIMES).and_then(|times| times.parse::<u64>().ok());
        if let Some(times) = times.filter(|times| owner == OPERATOR || *times < BINDINGS_MAX) {
            self.fired(Fault::PodPutBack);
            let node = pod.pod().spec.node_name.clone();
            self.put_back(&owner, &node, times + 1);
        }
    }

    /// Plans what Kubernetes' controllers do after a commit.
    pub(crate) fn control(&mut self, commit: &Commit) {
        match commit.key.resource {
            Resource::Nodes => {
                let Some(index) = World::index_of(&commit.key.name) else {
                    return;
                };
                if commit.new.as_ref().is_some_and(|node| needs_taints(node.node())) {
                    let pause = self.random.millis(5, 400);
                    self.after(pause, Event::Player(Player::Taints(index)));
                }
                self.control_agent(commit, index);
                self.tempt(commit, index);
            }
            Resource::Pods => self.control_pod(commit),
            Resource::Leases | Resource::DaemonSets | Resource::PodDisruptionBudgets => {}
        }
    }

    /// Plans what follows when the agent label or a pause changes: the DaemonSet controller acts on the label, and whoever set a
    /// label or a pause removes it later.
    fn control_agent(&mut self, commit: &Commit, index: usize) {
        let value = |node: &Option<Stored>, key: &str| {
            let node = node.as_ref()?;
            node.label(key).or(node.annotation(key)).map(str::to_owned)
        };
        let has_changed = |key: &str| value(&commit.old, key) != value(&commit.new, key);
        let is_set = |key: &str| has_changed(key) && value(&commit.new, key).is_some();
        if has_changed(keys::AGENT) {
            let pause = self.random.millis(50, 2_000);
            self.after(pause, Event::Player(Player::Places(index)));
        }
        for (key, undo) in [
            (keys::AGENT, Player::Enables(index)),
            (keys::PAUSE, Player::Unpauses(index)),
        ] {
            if is_set(key) {
                let pause = self.random.seconds(30, 1_200);
                self.after(pause, Event::Player(undo));
            }
        }
    }

    fn control_pod(&mut self, commit: &Commit) {
        let pause = self.random.millis(10, 300);
        self.after(pause, Event::Player(Player::Budgets));
        let Some(pod) = &commit.new else { return };
        let is_ending = |pod: &Stored| pod.pod().metadata.deletion_timestamp.is_some();
        if is_ending(pod) && commit.old.as_ref().is_some_and(|old| !is_ending(old)) {
            self.replace(pod);
        }
        let Some(index) = World::index_of(&pod.pod().spec.node_name) else {
            return;
        };
        let Some(host) = self.hosts.get(index) else { return };
        let (boot, name, uid) = (host.boot, pod.name().to_owned(), pod.uid().to_owned());
        if pod.pod().metadata.deletion_timestamp.is_some() {
            let pause = self.random.millis(100, 5_000);
            self.after(pause, Event::Host(index, boot, HostEvent::PodEnds(name, uid)));
        } else if commit.old.is_none() {
            let pause = self.random.millis(50, 3_000);
            self.after(pause, Event::Host(index, boot, HostEvent::PodRuns(name, uid)));
        }
    }

    /// Updates the taints of a Node by a compare-and-swap, as the node controller does.
    fn sync_taints(&mut self, index: usize) {
        let Some(object) = self.server.object(&self.node_key(index)) else {
            return;
        };
        let node = object.node();
        if !needs_taints(node) {
            return;
        }
        let mut taints: Vec<Value> = object.value["spec"]["taints"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        taints.retain(|taint| {
            let key = taint["key"].as_str().unwrap_or_default();
            key != keys::UNSCHEDULABLE_TAINT && (key != NOT_READY || !node.is_ready())
        });
        if node.spec.unschedulable {
            taints.push(json!({ "key": keys::UNSCHEDULABLE_TAINT, "effect": keys::NO_SCHEDULE }));
        }
        let patch = json!({
            "metadata": { "resourceVersion": node.version() },
            "spec": { "taints": taints },
        });
        let kubernetes = Rc::clone(&self.people.kubernetes);
        if !self.patches(&kubernetes, index, patch) {
            self.after(Duration::from_secs(5), Event::Player(Player::Taints(index)));
        }
    }

    fn count_budget(&mut self) {
        let key = Key::new(Resource::PodDisruptionBudgets, WORKLOAD_NAMESPACE, BUDGET);
        let healthy = self
            .server
            .all(Resource::Pods)
            .filter(|pod| pod.label(APP) == Some(BUDGET) && pod.pod().status.phase == "Running")
            .filter(|pod| pod.pod().metadata.deletion_timestamp.is_none())
            .count();
        let allowed = if self.budget_blocks {
            0
        } else {
            healthy.clamp(1, 2)
        };
        let status = json!({ "status": {
            "observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": healthy, "desiredHealthy": 1,
        }});
        let kubernetes = Rc::clone(&self.people.kubernetes);
        let request = self.request(&kubernetes, key, Verb::MergeStatus(status));
        let _ = self.write(&request);
    }
}

/// Whether the node controller has to change the taints of a Node.
fn needs_taints(node: &NodeView) -> bool {
    node.spec.unschedulable != node.is_tainted(keys::UNSCHEDULABLE_TAINT)
        || (node.is_ready() && node.is_tainted(NOT_READY))
}

/// A patch that removes all marks.
fn without_marks(node: &NodeView) -> Value {
    let annotations: Map<String, Value> = keys::MARK_ANNOTATIONS
        .into_iter()
        .map(|key| (key.to_owned(), Value::Null))
        .collect();
    let kept: Vec<_> = node
        .spec
        .taints
        .iter()
        .filter(|taint| taint.key != keys::REBOOTING)
        .collect();
    json!({
        "metadata": { "annotations": annotations, "labels": { keys::PHASE: null } },
        "spec": { "taints": kept },
    })
}

fn skew(random: &mut Random, seconds: u64) -> SignedDuration {
    let magnitude = SignedDuration::from_secs(i64::try_from(random.below(seconds)).unwrap_or(0));
    if random.chance(5_000) {
        -magnitude
    } else {
        magnitude
    }
}
