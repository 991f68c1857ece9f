//! All stages forward and back, act by act, in a cluster that is a few fields.

use serde_json::json;

use super::*;
use crate::Reading;
use crate::lock::Record;

/// A cluster, as far as the acts change it.
#[derive(Clone, Debug)]
struct World {
    ours: Option<Stage>,
    kured: Option<RunsOn>,
    /// Each node with its label.
    nodes: Vec<(String, Option<String>)>,
    joined: usize,
}

impl World {
    fn new() -> World {
        let nodes = ["a", "b", "c"].map(|name| (name.to_owned(), None));
        World {
            ours: None,
            kured: Some(RunsOn::All),
            nodes: nodes.into(),
            joined: 0,
        }
    }

    fn kured(&self) -> Option<KuredSet> {
        Some(KuredSet {
            place: ("kube-system".to_owned(), "kured".to_owned()),
            runs_on: Ok(self.kured?),
            keeper: None,
            release: None,
            account: None,
            concurrency: "1".to_owned(),
            lock_key: keys::KURED_LOCK.to_owned(),
            is_locked_elsewhere: false,
            lock: Reading::Absent,
            paused: None,
        })
    }

    fn seen(&self) -> Seen {
        Seen {
            kured: self.kured(),
            ours: Ours {
                stage: Ok(self.ours),
                is_ready: true,
                keeper: None,
            },
            nodes: self
                .nodes
                .iter()
                .map(|(name, label)| node(name, label.as_deref()))
                .collect(),
        }
    }

    fn label(&mut self, names: &[String], value: Option<&str>) {
        for (_, label) in self.nodes.iter_mut().filter(|(name, _)| names.contains(name)) {
            *label = value.map(str::to_owned);
        }
        self.is_right();
    }

    /// A node joins, as it may at any moment, and there is one daemon on it at most.
    fn joins(&mut self) {
        self.joined += 1;
        self.nodes.push((format!("new-{}", self.joined), None));
        self.is_right();
    }

    /// No node has an agent and kured at once.
    fn is_right(&self) {
        for (name, label) in &self.nodes {
            let label = label.as_deref();
            let has_kured = match self.kured {
                Some(RunsOn::All) => true,
                Some(RunsOn::Unlabelled) => label.is_none(),
                Some(RunsOn::Nowhere) | None => false,
            };
            let has_agent = match self.ours {
                None | Some(Stage::Observe | Stage::Protect) => false,
                Some(Stage::Canary) => label == Some(ENABLED),
                Some(Stage::Fleet | Stage::Remove) => label != Some(keys::DISABLED),
            };
            assert!(!(has_kured && has_agent), "{name} has both: {self:?}");
        }
    }

    /// Runs a step, with a node that joins before each act and each label, up to this many acts.
    fn step(&mut self, stage: Stage, is_undo: bool, nodes: &[&str], most: usize) -> usize {
        let decision = decide(&self.seen(), &wish(stage, is_undo, nodes));
        assert_eq!(
            decision.refusals,
            Vec::<String>::new(),
            "{stage:?} {is_undo} {self:?}"
        );
        for act in decision.acts.iter().take(most) {
            // Nobody joins a cluster that has had enough of them.
            if self.joined < 8 {
                self.joins();
            }
            match act {
                Act::Install { values, .. } => {
                    self.ours = if is_undo { stage.before() } else { Some(stage) };
                    assert_eq!(values.is_none(), self.ours.is_none());
                }
                Act::KuredRuns(to) => self.kured = Some(*to),
                Act::ToAgents(names) => {
                    self.label(names, Some(keys::DISABLED));
                    self.label(names, Some(ENABLED));
                }
                Act::ToKured(names) => {
                    self.label(names, Some(keys::DISABLED));
                    self.label(names, None);
                }
                Act::Label(names) => self.label(names, Some(ENABLED)),
                Act::RemoveKured => self.kured = None,
                Act::CreateKured => self.kured = Some(RunsOn::Nowhere),
            }
            self.is_right();
        }
        decision.acts.len()
    }
}

fn node(name: &str, label: Option<&str>) -> NodeView {
    serde_json::from_value(
        json!({ "metadata": { "name": name, "labels": { keys::AGENT: label.unwrap_or_default() } } }),
    )
    .map(|mut node: NodeView| {
        if label.is_none() {
            drop(node.metadata.labels.remove(keys::AGENT));
        }
        node
    })
    .unwrap()
}

fn wish(stage: Stage, is_undo: bool, nodes: &[&str]) -> Wish {
    Wish {
        stage,
        is_undo,
        nodes: nodes.iter().map(|name| (*name).to_owned()).collect(),
        values: json!({}),
        is_keeper_paused: false,
    }
}

fn nodes_of(stage: Stage, is_undo: bool) -> &'static [&'static str] {
    if stage == Stage::Canary && !is_undo {
        &["a"]
    } else {
        &[]
    }
}

/// Forward and back, whole and broken off after each act, and then again: no node ever has both, and each step reaches its stage.
#[test]
fn no_node_has_kured_and_an_agent_wherever_a_step_is_broken_off() {
    for most in 0..4 {
        let mut world = World::new();
        let forward = Stage::ALL.into_iter().map(|stage| (stage, false));
        let back = Stage::ALL.into_iter().rev().map(|stage| (stage, true));
        for (stage, is_undo) in forward.chain(back) {
            let nodes = nodes_of(stage, is_undo);
            let _ = world.step(stage, is_undo, nodes, most);
            let _ = world.step(stage, is_undo, nodes, usize::MAX);
            // A step that is done has nothing more to do, but for nodes that have joined.
            world.joined = usize::MAX;
            let _ = world.step(stage, is_undo, nodes, usize::MAX);
            assert_eq!(
                world.step(stage, is_undo, nodes, usize::MAX),
                0,
                "{stage:?} {is_undo} {world:?}"
            );
            world.joined = 0;
            world.nodes.retain(|(name, _)| !name.starts_with("new"));
            let target = if is_undo { stage.before() } else { Some(stage) };
            assert_eq!(world.ours, target);
            assert_eq!(world.kured, target.map_or(Some(RunsOn::All), Stage::kured));
        }
        assert!(world.nodes.iter().all(|(_, label)| label.is_none()), "{world:?}");
    }
}

#[test]
fn a_step_that_is_not_next_is_refused_with_the_one_that_is() {
    let at = |ours: Option<Stage>, kured: Option<RunsOn>| World {
        ours,
        kured,
        ..World::new()
    };
    for (world, stage, is_undo, says) in [
        (
            World::new(),
            Stage::Protect,
            false,
            "first kubectl cordonhold migrate observe",
        ),
        (
            World::new(),
            Stage::Remove,
            false,
            "first kubectl cordonhold migrate observe",
        ),
        (
            at(Some(Stage::Protect), Some(RunsOn::All)),
            Stage::Fleet,
            false,
            "migrate canary",
        ),
        (
            at(Some(Stage::Fleet), Some(RunsOn::Nowhere)),
            Stage::Observe,
            false,
            "migrate fleet --undo",
        ),
        (
            at(Some(Stage::Remove), None),
            Stage::Fleet,
            true,
            "there is no DaemonSet of kured's",
        ),
        (
            at(Some(Stage::Observe), Some(RunsOn::Nowhere)),
            Stage::Protect,
            false,
            "made for another stage",
        ),
    ] {
        let decision = decide(&world.seen(), &wish(stage, is_undo, &["a"]));
        assert!(
            decision.refusals.iter().any(|why| why.contains(says)),
            "{decision:?}"
        );
        assert_eq!(decision.acts, []);
    }
}

/// kured's pods are not replaced, and its lock not removed, while a node has a place in it.
#[test]
fn a_lock_that_is_taken_stops_what_would_end_kured_in_the_middle_of_a_drain() {
    let lock = Record::read(Some(r#"{"nodeID":"a","created":"2026-01-01T00:00:00Z","TTL":0}"#));
    for (ours, kured, stage, is_undo, is_stopped) in [
        (Some(Stage::Observe), RunsOn::All, Stage::Protect, false, false),
        (Some(Stage::Protect), RunsOn::All, Stage::Canary, false, true),
        (
            Some(Stage::Canary),
            RunsOn::Unlabelled,
            Stage::Canary,
            false,
            false,
        ),
        (Some(Stage::Canary), RunsOn::Unlabelled, Stage::Canary, true, true),
        (
            Some(Stage::Canary),
            RunsOn::Unlabelled,
            Stage::Fleet,
            false,
            false,
        ),
        (Some(Stage::Fleet), RunsOn::Nowhere, Stage::Remove, false, true),
    ] {
        let world = World {
            ours,
            kured: Some(kured),
            ..World::new()
        };
        let mut seen = world.seen();
        seen.kured.as_mut().unwrap().lock = lock.clone();
        let decision = decide(&seen, &wish(stage, is_undo, nodes_of(stage, is_undo)));
        assert_eq!(
            decision
                .refusals
                .iter()
                .any(|why| why.contains("has kured's lock")),
            is_stopped,
            "{stage:?} {decision:?}"
        );
    }
}

#[test]
fn what_another_tool_keeps_is_left_to_it() {
    let world = World {
        ours: Some(Stage::Canary),
        kured: Some(RunsOn::Unlabelled),
        ..World::new()
    };
    let mut seen = world.seen();
    seen.ours.keeper = Some("Helm (release c)".to_owned());
    let fleet = wish(Stage::Fleet, false, &[]);
    let decision = decide(&seen, &fleet);
    assert_eq!(decision.refusals, Vec::<String>::new());
    // The agents run everywhere only after kured runs nowhere, whoever does it.
    assert_eq!(decision.acts.last(), Some(&Act::KuredRuns(RunsOn::Nowhere)));
    let then = decision.then.unwrap();
    assert!(
        then.contains("Helm (release c)") && then.contains("\"mode\":\"mixed\""),
        "{then}"
    );
    seen.kured.as_mut().unwrap().keeper = Some("Flux".to_owned());
    let refused = decide(&seen, &fleet);
    assert!(
        refused
            .refusals
            .iter()
            .any(|why| why.contains("--keeper-is-paused")),
        "{refused:?}"
    );
    let paused = Wish {
        is_keeper_paused: true,
        ..fleet
    };
    assert_eq!(decide(&seen, &paused).refusals, Vec::<String>::new());
}

#[test]
fn the_values_have_what_a_stage_needs_and_keep_what_a_person_has_set() {
    let values = json!({ "webhook": { "mode": "defer", "replicas": 3 }, "agent": { "nodeExpressions": [{ "key": "k", "operator": "Exists" }] } });
    let of = |stage| overlaid(&values, stage, World::new().kured().as_ref());
    let modes = Stage::ALL.map(|stage| {
        let values = of(stage);
        format!("{} {}", values["mode"], values["webhook"]["mode"]).replace('"', "")
    });
    assert_eq!(
        modes,
        [
            "protect-kured audit",
            "protect-kured defer",
            "mixed defer",
            "mixed defer",
            "agents defer"
        ]
    );
    let canary = of(Stage::Canary);
    assert_eq!(
        canary["agent"]["nodeExpressions"].as_array().map(Vec::len),
        Some(2)
    );
    assert_eq!(canary["webhook"]["replicas"], 3);
    assert_eq!(
        canary["kured"],
        json!({ "namespace": "kube-system", "name": "kured" })
    );
    let decision = decide(
        &World {
            ours: Some(Stage::Protect),
            ..World::new()
        }
        .seen(),
        &Wish {
            values: json!({ "configuration": { "concurrency": 2, "lockAnnotation": "x" } }),
            ..wish(Stage::Canary, false, &["a"])
        },
    );
    assert_eq!(decision.refusals.len(), 2, "{decision:?}");
}

/// What is installed is read from its objects, not from a note of ours.
#[test]
fn the_stage_is_read_from_what_runs() {
    let webhook = |args: &[&str]| {
        json!({ "metadata": { "generation": 1 }, "spec": { "replicas": 1, "template": { "spec": { "containers": [{ "args": args }] } } },
            "status": { "observedGeneration": 1, "updatedReplicas": 1, "readyReplicas": 1 } })
    };
    let agents = |expressions: Value| {
        json!({ "spec": { "template": { "spec": { "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{ "matchExpressions": expressions }] } } } } } } })
    };
    let (all, some) = (agents(json!([])), agents(json!([on_labelled()])));
    let of = |args: &[&str], agents: &[Value]| Ours::read(Some(&webhook(args)), agents).stage;
    let protects = "--protect-kured=lock";
    assert_eq!(Ours::read(None, &[]).stage, Ok(None));
    assert_eq!(of(&["--mode=audit", protects], &[]), Ok(Some(Stage::Observe)));
    assert_eq!(of(&["--mode=defer", protects], &[]), Ok(Some(Stage::Protect)));
    assert_eq!(
        of(&["--mode=enforce", protects], std::slice::from_ref(&some)),
        Ok(Some(Stage::Canary))
    );
    assert_eq!(
        of(&["--mode=enforce", protects], &[all.clone(), all.clone()]),
        Ok(Some(Stage::Fleet))
    );
    assert_eq!(
        of(&["--mode=enforce"], std::slice::from_ref(&all)),
        Ok(Some(Stage::Remove))
    );
    for (args, agents) in [
        (
            &["--mode=enforce", protects][..],
            &[all.clone(), some.clone()][..],
        ),
        (&["--mode=audit", protects], &[some]),
        (&["--mode=enforce"], &[]),
        (&["--mode=what"], &[]),
    ] {
        assert!(of(args, agents).is_err(), "{args:?}");
    }
    assert!(Ours::read(None, &[all]).stage.is_err());
    assert!(Ours::read(Some(&webhook(&["--mode=audit", protects])), &[]).is_ready);
}

#[test]
fn each_stage_is_said_in_words() {
    let of = |ours: Option<Stage>| {
        let world = World { ours, ..World::new() };
        decide(&world.seen(), &wish(Stage::Observe, false, &[])).from
    };
    let expected = [
        "observe: the webhook notes, kured reboots",
        "protect: the webhook denies, kured reboots",
        "canary: agents on nodes with the label, kured on the others",
        "fleet: agents on all nodes, kured on none",
        "remove: the agents alone",
    ];
    assert_eq!(Stage::ALL.map(|stage| of(Some(stage))), expected);
    assert_eq!(of(None), "kured alone");
}

/// `observedGeneration` is of the spec that was rolled out; pods of an older one say nothing.
#[test]
fn the_webhook_is_ready_if_all_replicas_of_its_last_change_are() {
    let is_ready = |observed: i64, updated: i64, ready: i64| {
        let deployment = json!({
            "metadata": { "generation": 2 }, "spec": { "replicas": 2 },
            "status": { "observedGeneration": observed, "updatedReplicas": updated, "readyReplicas": ready },
        });
        Ours::read(Some(&deployment), &[]).is_ready
    };
    assert!(is_ready(2, 2, 2) && is_ready(2, 2, 3));
    assert!(!is_ready(1, 2, 2) && !is_ready(2, 1, 2) && !is_ready(2, 2, 1));
    assert!(!Ours::read(None, &[]).is_ready);
}

#[test]
fn the_label_that_asks_for_an_agent_is_an_expression_of_the_chart() {
    let expected = json!({ "key": "cordonhold.dev/agent", "operator": "In", "values": ["enabled"] });
    let canary = overlaid(&json!({}), Stage::Canary, None);
    assert_eq!(canary["agent"]["nodeExpressions"], json!([expected]));
}

fn world(ours: Stage, kured: RunsOn) -> World {
    World {
        ours: Some(ours),
        kured: Some(kured),
        ..World::new()
    }
}

/// Why the step to the stage may not be done in this world, after this change.
fn refusals(world: &World, wish: &Wish, change: impl FnOnce(&mut Seen)) -> Vec<String> {
    let mut seen = world.seen();
    change(&mut seen);
    decide(&seen, wish).refusals
}

#[test]
fn a_step_from_an_earlier_stage_names_the_next_one_and_from_a_later_one_the_undo() {
    for (ours, kured, stage, next) in [
        (Stage::Observe, RunsOn::All, Stage::Remove, "migrate protect"),
        (Stage::Canary, RunsOn::Unlabelled, Stage::Remove, "migrate fleet"),
        (
            Stage::Remove,
            RunsOn::Nowhere,
            Stage::Canary,
            "migrate remove --undo",
        ),
        (
            Stage::Canary,
            RunsOn::Unlabelled,
            Stage::Observe,
            "migrate canary --undo",
        ),
    ] {
        let found = refusals(&world(ours, kured), &wish(stage, false, &["a"]), |_| {});
        assert!(
            found[0].ends_with(&format!("first kubectl cordonhold {next}")),
            "{found:?}"
        );
    }
}

#[test]
fn a_lock_that_is_taken_does_not_stop_what_takes_no_node_from_kured() {
    let take = |seen: &mut Seen| {
        let kured = seen.kured.as_mut().unwrap();
        kured.lock = Record::read(Some(r#"{"nodeID":"a","created":"2026-01-01T00:00:00Z","TTL":0}"#));
    };
    let canary = world(Stage::Canary, RunsOn::Unlabelled);
    // Nodes that are named go back one by one; the pods of kured stay.
    assert_eq!(
        refusals(&canary, &wish(Stage::Canary, true, &["a"]), take),
        [] as [&str; 0]
    );
    assert_eq!(refusals(&canary, &wish(Stage::Canary, true, &[]), take).len(), 1);
    let all_undone = world(Stage::Protect, RunsOn::All);
    assert_eq!(
        refusals(&all_undone, &wish(Stage::Canary, true, &[]), take),
        [] as [&str; 0]
    );
}

#[test]
fn the_webhook_has_to_be_ready_for_each_step_forward_after_the_first() {
    let unready = |seen: &mut Seen| seen.ours.is_ready = false;
    let says = |world: &World, stage, is_undo| {
        let found = refusals(world, &wish(stage, is_undo, nodes_of(stage, is_undo)), unready);
        found
            .iter()
            .any(|why| why.starts_with("not every replica of the webhook is ready"))
    };
    assert!(!says(&World::new(), Stage::Observe, false));
    assert!(says(&world(Stage::Observe, RunsOn::All), Stage::Protect, false));
    assert!(says(&world(Stage::Protect, RunsOn::All), Stage::Canary, false));
    assert!(!says(&world(Stage::Protect, RunsOn::All), Stage::Protect, true));
    // One that is ready stops nothing.
    let found = refusals(
        &world(Stage::Observe, RunsOn::All),
        &wish(Stage::Protect, false, &[]),
        |_| {},
    );
    assert_eq!(found, [] as [&str; 0]);
}

#[test]
fn a_held_node_stops_the_removal_of_kured_and_nothing_else() {
    let hold = |seen: &mut Seen| {
        let marks = json!({ "metadata": {
            "name": "a", "uid": "u", "annotations": { keys::HOLDER: "u/2026-11-28T02:30:00Z" }, "labels": { keys::PHASE: "draining" },
        } });
        seen.nodes[0] = serde_json::from_value(marks).unwrap();
    };
    let fleet = world(Stage::Fleet, RunsOn::Nowhere);
    let found = refusals(&fleet, &wish(Stage::Remove, false, &[]), hold);
    assert!(
        matches!(found.as_slice(), [why] if why.starts_with("node a is held for a reboot")),
        "{found:?}"
    );
    assert_eq!(
        refusals(&fleet, &wish(Stage::Fleet, true, &[]), hold),
        [] as [&str; 0]
    );
}

#[test]
fn a_node_that_is_named_has_to_be_there_and_a_first_canary_has_to_be_named() {
    let protect = world(Stage::Protect, RunsOn::All);
    assert_eq!(
        refusals(&protect, &wish(Stage::Canary, false, &["a", "b"]), |_| {}),
        [] as [&str; 0]
    );
    assert_eq!(
        refusals(&protect, &wish(Stage::Canary, false, &["a", "z"]), |_| {}),
        ["there is no node z"]
    );
    let unnamed = "no node is named: name those that get an agent first";
    assert_eq!(
        refusals(&protect, &wish(Stage::Canary, false, &[]), |_| {}),
        [unnamed]
    );
}

#[test]
fn what_both_count_in_one_lock_is_compared_only_where_both_run_and_something_is_installed() {
    let wishing = |stage: Stage, is_undo, configuration: Value| Wish {
        values: json!({ "configuration": configuration }),
        ..wish(stage, is_undo, nodes_of(stage, is_undo))
    };
    let two = || json!({ "concurrency": 2 });
    let counts = |found: &[String]| {
        found
            .iter()
            .filter(|why| why.contains("configuration.concurrency is 2"))
            .count()
    };
    let (observe, protect) = (
        world(Stage::Observe, RunsOn::All),
        world(Stage::Protect, RunsOn::All),
    );
    let (canary, fleet) = (
        world(Stage::Canary, RunsOn::Unlabelled),
        world(Stage::Fleet, RunsOn::Nowhere),
    );
    for (world, stage, is_undo, expected) in [
        (&observe, Stage::Protect, false, 0),
        (&protect, Stage::Canary, false, 1),
        (&canary, Stage::Fleet, false, 1),
        // What is installed already is not compared.
        (&canary, Stage::Canary, false, 0),
        (&fleet, Stage::Fleet, true, 0),
        (&fleet, Stage::Remove, false, 0),
    ] {
        let found = refusals(world, &wishing(stage, is_undo, two()), |_| {});
        assert_eq!(counts(&found), expected, "{stage:?} {is_undo} {found:?}");
    }
    let lock = refusals(
        &protect,
        &wishing(Stage::Canary, false, json!({ "lockAnnotation": "x" })),
        |_| {},
    );
    assert!(
        matches!(lock.as_slice(), [why] if why.contains("set configuration.lockAnnotation to it")),
        "{lock:?}"
    );
}

#[test]
fn nodes_with_the_label_that_lets_neither_run_are_noted_from_canary_on_unless_they_are_named() {
    let notes = |stage: Stage, ours: Option<Stage>, kured: Option<RunsOn>, nodes: &[&str]| {
        let mut world = World {
            ours,
            kured,
            ..World::new()
        };
        world.nodes[0].1 = Some(keys::DISABLED.to_owned());
        world.nodes[1].1 = Some(ENABLED.to_owned());
        decide(&world.seen(), &wish(stage, false, nodes)).notes
    };
    let note = "node a has the label cordonhold.dev/agent=disabled, so no agent runs there: kubectl cordonhold migrate canary a gives it one";
    let of = |stage: Stage, nodes: &[&str]| {
        notes(
            stage,
            stage.before(),
            stage.before().map_or(Some(RunsOn::All), Stage::kured),
            nodes,
        )
    };
    assert_eq!(of(Stage::Protect, &[]), [] as [&str; 0]);
    assert_eq!(of(Stage::Canary, &["b"]), [note]);
    assert_eq!(of(Stage::Canary, &["a"]), [] as [&str; 0]);
    assert_eq!(of(Stage::Fleet, &[]), [note]);
}

#[test]
fn the_values_for_a_person_are_those_that_differ() {
    let ours = json!({ "mode": "mixed", "webhook": { "mode": "enforce", "replicas": 3 }, "list": [1], "map": { "a": 1 } });
    let theirs = json!({ "webhook": { "replicas": 3 }, "list": [1], "map": 1 });
    let expected = json!({ "mode": "mixed", "webhook": { "mode": "enforce" }, "map": { "a": 1 } });
    assert_eq!(differences(&ours, &theirs), expected);
    let theirs = json!({ "mode": { "x": 1 }, "webhook": { "mode": "enforce", "replicas": 3 }, "list": [1], "map": { "a": 1 } });
    assert_eq!(differences(&ours, &theirs), json!({ "mode": "mixed" }));
}

#[test]
fn each_step_has_exactly_these_acts() {
    let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let acts = |world: &World, stage, is_undo, nodes: &[&str]| -> Vec<Act> {
        let acts = decide(&world.seen(), &wish(stage, is_undo, nodes)).acts;
        acts.into_iter()
            .filter(|act| !matches!(act, Act::Install { .. }))
            .collect()
    };
    let labelled = |mut world: World| {
        world.nodes[0].1 = Some(ENABLED.to_owned());
        world.nodes[1].1 = Some(keys::DISABLED.to_owned());
        world
    };
    let protect = labelled(world(Stage::Protect, RunsOn::All));
    let canary = labelled(world(Stage::Canary, RunsOn::Unlabelled));
    let fleet = labelled(world(Stage::Fleet, RunsOn::Nowhere));
    let unlabelled = || Act::KuredRuns(RunsOn::Unlabelled);
    for (world, stage, is_undo, nodes, expected) in [
        // A node that has an agent gets none again.
        (
            &protect,
            Stage::Canary,
            false,
            &["a", "b", "c"][..],
            vec![unlabelled(), Act::ToAgents(names(&["b", "c"]))],
        ),
        (
            &protect,
            Stage::Canary,
            false,
            &["c"],
            vec![unlabelled(), Act::ToAgents(names(&["c"]))],
        ),
        (&canary, Stage::Canary, false, &["a"], vec![]),
        (
            &canary,
            Stage::Fleet,
            false,
            &[],
            vec![Act::ToAgents(names(&["c"])), Act::KuredRuns(RunsOn::Nowhere)],
        ),
        (
            &canary,
            Stage::Canary,
            true,
            &[],
            vec![Act::ToKured(names(&["a"])), Act::KuredRuns(RunsOn::All)],
        ),
        (
            &canary,
            Stage::Canary,
            true,
            &["a", "c"],
            vec![Act::ToKured(names(&["a"]))],
        ),
        (
            &fleet,
            Stage::Fleet,
            true,
            &[],
            vec![Act::Label(names(&["c"])), unlabelled()],
        ),
        (&fleet, Stage::Remove, false, &[], vec![Act::RemoveKured]),
    ] {
        assert_eq!(
            acts(world, stage, is_undo, nodes),
            expected,
            "{stage:?} {is_undo} {nodes:?}"
        );
    }
}
