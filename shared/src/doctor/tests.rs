//! Each code: what brings it about, and that nothing else does.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::fleet::{TroubleKind, Webhook};
use crate::keys;
use crate::node::NodeView;
use crate::reboot::lock_object::{Carrier, CarrierView, LockObject, SeenLock};

fn now() -> Timestamp {
    "2026-11-29T11:00:00Z".parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn node(name: &str, labels: &[(&str, &str)]) -> NodeView {
    let labels: serde_json::Map<_, _> = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(value)))
        .collect();
    serde_json::from_value(json!({
        "metadata": { "name": name, "uid": format!("uid-{name}"), "labels": labels },
        "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
    }))
    .unwrap()
}

fn lease(pool: &str, selector: &str) -> SeenLock {
    let name = format!("{}{pool}", keys::LEASE_PREFIX);
    let view: CarrierView = serde_json::from_value(json!({
        "metadata": { "name": name, "resourceVersion": "1", "annotations": { keys::POOL_SELECTOR: selector } },
    }))
    .unwrap();
    SeenLock {
        object: LockObject {
            carrier: Carrier::Lease,
            namespace: "cordonhold".to_owned(),
            name,
            key: keys::LOCK.to_owned(),
        },
        view,
    }
}

fn kured(name: &str) -> Kured {
    Kured {
        namespace: "kube-system".to_owned(),
        name: name.to_owned(),
        service_account: "kured".to_owned(),
    }
}

fn answer(version: &str) -> Probe {
    Probe::Answered(ProbeAnswer {
        version: version.to_owned(),
        mode: "enforce".to_owned(),
        replica: "cordonhold-webhook-x".to_owned(),
    })
}

fn agents(image: &str) -> AgentSet {
    AgentSet {
        name: "cordonhold-agent".to_owned(),
        image: image.to_owned(),
        wanted: 2,
        ready: 2,
        shares_with: Some("kube-system/kured".to_owned()),
    }
}

/// An installation in which everything was seen and is as it should be.
fn sound() -> Examined {
    Examined {
        seen: Seen {
            locks: vec![lease("default", "")],
            nodes: vec![node("a", &[]), node("b", &[])],
            webhook: Webhook {
                namespace: "cordonhold".to_owned(),
                registered: Some(true),
                deployed: Some(true),
                ready: Some(2),
                replicas: Some(2),
                mode: Some("enforce".to_owned()),
                protects_kured: Some(false),
                has_ca: Some(true),
                ..Webhook::default()
            },
            ..Seen::default()
        },
        plugin: "0.4.0".to_owned(),
        server: Some("v1.37.2".to_owned()),
        has_policies: Some(true),
        clock: Some(Clock {
            here: now(),
            server: now(),
        }),
        beats: vec![Beat {
            node: "a".to_owned(),
            at: now(),
            noted: now(),
        }],
        probe: answer("0.4.1"),
        registered: vec![Registered {
            name: "nodes.cordonhold.dev".to_owned(),
            fails_open: false,
            has_conditions: true,
        }],
        written: None,
        applied: None,
        webhook_image: Some("example.org/cordonhold-webhook:0.4.1".to_owned()),
        agents: Some(vec![agents("example.org:5000/cordonhold-agent:0.4.1@sha256:ab")]),
        kureds: Some(Vec::new()),
        pod_security: Some("privileged".to_owned()),
        refused: Vec::new(),
        rights: Needed::ALL
            .map(|needed| Right {
                needed,
                is_granted: !needed.is_too_much(),
            })
            .to_vec(),
    }
}

fn codes(examined: &Examined) -> Vec<Code> {
    let diagnosis = Diagnosis::of(examined, now());
    for finding in &diagnosis.findings {
        assert!(finding.command.starts_with("kubectl "), "{finding:?}");
        assert!(
            !finding.says.is_empty() && !finding.says.contains('\n'),
            "{finding:?}"
        );
        assert_eq!(finding.severity, finding.code.severity());
    }
    diagnosis.findings.iter().map(|finding| finding.code).collect()
}

/// The codes of a sound installation after this change.
fn after(change: impl FnOnce(&mut Examined)) -> Vec<Code> {
    let mut examined = sound();
    change(&mut examined);
    codes(&examined)
}

#[test]
fn a_sound_installation_has_no_finding_and_each_part_is_told() {
    let diagnosis = Diagnosis::of(&sound(), now());
    assert_eq!(diagnosis.findings, []);
    let told: Vec<&str> = diagnosis.fine.iter().map(|fine| fine.about.as_str()).collect();
    assert_eq!(
        told,
        [
            "API server",
            "webhook",
            "probe",
            "agents",
            "versions",
            "pools",
            "kured",
            "permissions",
            "clocks",
            "pod security",
            "holds and locks"
        ]
    );
}

/// Nobody is told that something is fine, or wrong, that was not seen.
#[test]
fn what_was_not_seen_is_neither_fine_nor_wrong() {
    let diagnosis = Diagnosis::of(&Examined::default(), now());
    assert_eq!(diagnosis.findings, []);
    let told: Vec<&str> = diagnosis.fine.iter().map(|fine| fine.about.as_str()).collect();
    assert_eq!(told, ["versions"]);
}

#[test]
fn each_code_of_the_webhook_has_its_cause() {
    let webhook = |change: fn(&mut Webhook)| after(|examined| change(&mut examined.seen.webhook));
    assert_eq!(
        webhook(|webhook| webhook.registered = Some(false)),
        [Code::WebhookGone]
    );
    assert_eq!(webhook(|webhook| webhook.ready = Some(0)), [Code::WebhookDown]);
    assert_eq!(
        webhook(|webhook| webhook.ready = Some(1)),
        [Code::ReplicasMissing]
    );
    assert_eq!(webhook(|webhook| webhook.has_ca = Some(false)), [Code::CaMissing]);
    assert_eq!(webhook(|webhook| webhook.ca_until = Some(now())), [Code::CaEnds]);
    for (mode, expected) in [
        ("enforce", &[][..]),
        ("defer", &[]),
        ("warn", &[Code::NotEnforcing]),
        ("audit", &[Code::NotEnforcing]),
    ] {
        assert_eq!(
            after(|examined| examined.seen.webhook.mode = Some(mode.to_owned())),
            expected
        );
    }
    assert_eq!(
        after(|examined| examined.registered[0].fails_open = true),
        [Code::FailsOpen]
    );
    assert_eq!(
        after(|examined| examined.registered[0].has_conditions = false),
        [Code::Unconditional]
    );
    // As the chart installs it first.
    let audits = |examined: &mut Examined| {
        examined.registered[0].fails_open = true;
        examined.seen.webhook.mode = Some("audit".to_owned());
    };
    assert_eq!(after(audits), [Code::NotEnforcing]);
    // The webhooks that ignore failures by design say nothing of the one that decides.
    let other = |examined: &mut Examined| {
        examined.registered[0].fails_open = true;
        examined.registered[0].name = "deletes.nodes.cordonhold.dev".to_owned();
    };
    assert_eq!(after(other), []);
    let refused = ("ReplicaSet w".to_owned(), "insufficient quota".to_owned());
    let refuse = |examined: &mut Examined| examined.refused = vec![refused];
    // An Event lives for an hour: it is told only while pods are missing.
    assert_eq!(after(refuse.clone()), []);
    let missing = |examined: &mut Examined| {
        refuse(examined);
        examined.agents.as_mut().unwrap()[0].ready = 0;
    };
    assert_eq!(after(missing), [Code::PodsRefused, Code::AgentsNotReady]);
}

#[test]
fn an_answer_to_the_probe_is_fine_and_each_failure_is_told_apart() {
    let trust = "failed calling webhook \"nodes.cordonhold.dev\": Post \"https://w\": tls: failed to verify certificate: x509: certificate signed by unknown authority";
    let way = "failed calling webhook \"nodes.cordonhold.dev\": Post \"https://w\": dial tcp 10.0.0.1:443: connect: connection refused";
    for (probe, expected) in [
        (answer("0.4.0"), &[][..]),
        (Probe::Unasked, &[]),
        (Probe::Silent, &[Code::Unanswered]),
        (Probe::Failed(trust.to_owned()), &[Code::NotTrusted]),
        (Probe::Failed(way.to_owned()), &[Code::Unreachable]),
    ] {
        assert_eq!(
            after(|examined| examined.probe = probe.clone()),
            expected,
            "{probe:?}"
        );
    }
    let mut examined = sound();
    examined.probe = Probe::Failed(trust.to_owned());
    examined.written = Some("it was written by the field manager \"kustomize-controller\"".to_owned());
    let says = &Diagnosis::of(&examined, now()).findings[0].says;
    assert!(
        says.contains("kustomize-controller") && says.contains("unknown authority"),
        "{says}"
    );
    examined.probe = Probe::Failed(way.to_owned());
    examined.applied = Some("was applied last by the field manager \"argocd-controller\"".to_owned());
    let says = &Diagnosis::of(&examined, now()).findings[0].says;
    assert!(
        says.contains(
            "The configuration was applied last by the field manager \"argocd-controller\": if you delete it"
        ),
        "{says}"
    );
}

#[test]
fn versions_may_be_one_minor_apart() {
    let with = |plugin: &str, webhook: &str, agent: &str| {
        after(|examined| {
            examined.plugin = plugin.to_owned();
            examined.probe = answer(webhook);
            examined.agents = Some(vec![agents(agent)]);
        })
    };
    assert_eq!(with("0.4.0", "0.5.9", "i:0.4.2"), []);
    assert_eq!(with("0.4.0", "0.5.0", "i:0.6.0"), [Code::VersionsApart]);
    assert_eq!(with("0.4.0", "1.4.0", "i"), [Code::VersionsApart]);
    // A tag that is no version, a port, and a digest alone say nothing.
    for image in ["i:latest", "example.org:5000/i", "i@sha256:ab", ""] {
        assert_eq!(with("0.4.0", "0.4.0", image), [], "{image}");
    }
    // Without an answer, the image of the Deployment counts.
    let by_image = |examined: &mut Examined| {
        examined.probe = Probe::Unasked;
        examined.webhook_image = Some("i:0.9.0".to_owned());
    };
    assert_eq!(after(by_image), [Code::VersionsApart, Code::VersionsApart]);
}

#[test]
fn each_code_of_the_agents_has_its_cause() {
    let set = |change: fn(&mut AgentSet)| after(|examined| change(&mut examined.agents.as_mut().unwrap()[0]));
    assert_eq!(set(|set| (set.wanted, set.ready) = (0, 0)), [Code::AgentsNowhere]);
    assert_eq!(set(|set| set.ready = 1), [Code::AgentsNotReady]);
    assert_eq!(after(|examined| examined.agents = Some(Vec::new())), []);
    for (index, needed) in Needed::ALL.iter().enumerate() {
        let expected = if needed.is_too_much() {
            Code::AgentIsAdmin
        } else {
            Code::RightMissing
        };
        let flip = |examined: &mut Examined| examined.rights[index].is_granted ^= true;
        assert_eq!(after(flip), [expected], "{needed:?}");
    }
}

#[test]
fn two_pools_overlap_if_a_node_is_in_both() {
    let with = |locks: Vec<SeenLock>| {
        after(|examined| {
            examined.seen.nodes = vec![node("g", &[("kind", "gpu")]), node("w", &[])];
            examined.seen.locks = locks;
        })
    };
    assert_eq!(
        with(vec![lease("gpu", "kind=gpu"), lease("rest", "kind!=gpu")]),
        []
    );
    assert_eq!(
        with(vec![lease("gpu", "kind=gpu"), lease("default", "")]),
        [Code::PoolsOverlap]
    );
    // A pool without nodes overlaps nothing, and one whose selector cannot be read is another finding.
    assert_eq!(with(vec![lease("none", "kind=x"), lease("default", "")]), []);
    assert_eq!(
        with(vec![lease("bad", "(("), lease("default", "")]),
        [Code::PoolUnreadable]
    );
}

#[test]
fn kured_beside_us_is_told_if_it_keeps_another_lock_or_is_not_protected() {
    let with = |kureds: Vec<Kured>, shares: Option<&str>, protects: bool| {
        after(|examined| {
            examined.kureds = Some(kureds);
            examined.agents.as_mut().unwrap()[0].shares_with = shares.map(str::to_owned);
            examined.seen.webhook.protects_kured = Some(protects);
        })
    };
    let one = || vec![kured("kured")];
    assert_eq!(with(one(), Some("kube-system/kured"), true), []);
    assert_eq!(
        with(one(), Some("kube-system/kured"), false),
        [Code::KuredUnprotected]
    );
    assert_eq!(with(one(), Some("ops/kured"), true), [Code::KuredBeside]);
    assert_eq!(with(one(), None, true), [Code::KuredBeside]);
    assert_eq!(
        with(vec![kured("a"), kured("b")], None, true),
        [Code::SeveralKureds]
    );
    assert_eq!(with(Vec::new(), None, false), []);
    // Without agents there is no second lock.
    let no_agents = |examined: &mut Examined| {
        examined.kureds = Some(vec![kured("kured")]);
        examined.agents = Some(Vec::new());
        examined.seen.webhook.protects_kured = Some(true);
    };
    assert_eq!(after(no_agents), []);
}

#[test]
fn server_clocks_and_namespace() {
    for (version, expected) in [
        ("v1.32.0", &[][..]),
        ("v1.31.9", &[Code::KubernetesTooOld]),
        ("v1.32+", &[]),
        ("v2.0.0", &[]),
        ("nonsense", &[]),
    ] {
        assert_eq!(
            after(|examined| examined.server = Some(version.to_owned())),
            expected,
            "{version}"
        );
    }
    for (time, is_off) in [
        ("2026-11-29T11:00:30Z", false),
        ("2026-11-29T11:00:31Z", true),
        ("2026-11-29T10:59:30Z", false),
        ("2026-11-29T10:59:29Z", true),
    ] {
        let own = after(|examined| examined.clock.as_mut().unwrap().here = at(time));
        assert_eq!(own.contains(&Code::OwnClock), is_off, "{time}");
        let of_node = after(|examined| examined.beats[0].at = at(time));
        assert_eq!(of_node.contains(&Code::NodeClock), is_off, "{time}");
    }
    let level = |level: &str| after(|examined| examined.pod_security = Some(level.to_owned()));
    assert_eq!(level("baseline"), [Code::PodSecurity]);
    assert_eq!(level("privileged"), []);
    assert_eq!(after(|examined| examined.pod_security = Some(String::new())), []);
}

/// A trouble of `status` has the code of its kind, and a command.
#[test]
fn what_status_says_of_nodes_and_locks_is_among_the_findings() {
    let mut unreadable = node("x", &[]);
    let holder = keys::HOLDER.to_owned();
    drop(
        unreadable
            .metadata
            .annotations
            .insert(holder, "nonsense".to_owned()),
    );
    assert_eq!(
        after(|examined| examined.seen.nodes.push(unreadable)),
        [Code::ForeignMarks]
    );
}

#[test]
fn before_an_install() {
    let clean = || Examined {
        seen: Seen {
            webhook: Webhook {
                registered: Some(false),
                deployed: Some(false),
                ..Webhook::default()
            },
            ..Seen::default()
        },
        agents: None,
        pod_security: None,
        ..sound()
    };
    let find = |examined: &Examined, missing: Option<&[&str]>| {
        let missing = missing.map(|missing| missing.iter().map(|one| (*one).to_owned()).collect());
        let diagnosis = Diagnosis::before_install(examined, &Installing { missing }, now());
        diagnosis
            .findings
            .into_iter()
            .map(|finding| finding.code)
            .collect::<Vec<_>>()
    };
    assert_eq!(find(&clean(), Some(&[])), []);
    assert_eq!(find(&clean(), Some(&["clusterroles"])), [Code::MayNotInstall]);
    assert_eq!(find(&clean(), None), []);
    let mut examined = clean();
    examined.kureds = Some(vec![kured("kured")]);
    examined.has_policies = Some(false);
    examined.server = Some("v1.29.0".to_owned());
    assert_eq!(
        find(&examined, Some(&[])),
        [Code::KubernetesTooOld, Code::NoPolicies, Code::KuredThere]
    );
    assert_eq!(find(&sound(), Some(&[])), [Code::InstalledAlready]);
}

/// What is fine about this, after this change of a sound installation.
fn fine(about: &str, change: impl FnOnce(&mut Examined)) -> Option<String> {
    let mut examined = sound();
    change(&mut examined);
    let fine = Diagnosis::of(&examined, now()).fine;
    fine.into_iter()
        .find(|fine| fine.about == about)
        .map(|fine| fine.says)
}

#[test]
fn what_is_fine_is_told_with_what_was_seen_of_it() {
    let nothing: fn(&mut Examined) = |_| {};
    let says = |about: &str| fine(about, nothing);
    for (about, expected) in [
        ("agents", "2 of 2 ready, in 1 DaemonSet"),
        (
            "versions",
            "this plugin 0.4.0, the webhook 0.4.1, the agents of cordonhold-agent 0.4.1",
        ),
        ("pools", "1 pool, and no node is in two"),
        ("kured", "there is none"),
        ("permissions", "the ServiceAccounts may do what they must"),
        ("clocks", "1 node and this machine within 30 s of the API server"),
        ("holds and locks", "2 nodes and 1 pool without trouble"),
    ] {
        assert_eq!(says(about).as_deref(), Some(expected), "{about}");
    }
    let two_sets = |examined: &mut Examined| {
        let mut other = agents("i:latest");
        (other.wanted, other.ready) = (3, 3);
        examined.agents.as_mut().unwrap().push(other);
    };
    assert_eq!(
        fine("agents", two_sets).as_deref(),
        Some("5 of 5 ready, in 2 DaemonSets")
    );
    let expected = "this plugin 0.4.0, the webhook 0.4.1, the agents of cordonhold-agent 0.4.1, agents whose image has no version in its tag";
    assert_eq!(fine("versions", two_sets).as_deref(), Some(expected));
    let none = |examined: &mut Examined| examined.agents = Some(Vec::new());
    assert_eq!(fine("agents", none).as_deref(), Some("none are installed"));
    let unseen = |examined: &mut Examined| (examined.beats, examined.clock) = (Vec::new(), None);
    assert_eq!(fine("clocks", unseen), None);
    let no_beats = |examined: &mut Examined| examined.beats.clear();
    assert_eq!(
        fine("clocks", no_beats).as_deref(),
        Some("this machine within 30 s of the API server")
    );
    assert_eq!(fine("pools", |examined| examined.seen.locks.clear()), None);
    assert_eq!(fine("pools", |examined| examined.seen.nodes.clear()), None);
    let with_kured = |has_agents: bool| {
        move |examined: &mut Examined| {
            examined.kureds = Some(vec![kured("kured")]);
            examined.seen.webhook.protects_kured = Some(true);
            examined.agents.as_mut().unwrap().retain(|_| has_agents);
        }
    };
    let shared = "kube-system/kured, whose lock the agents share";
    assert_eq!(fine("kured", with_kured(true)).as_deref(), Some(shared));
    assert_eq!(
        fine("kured", with_kured(false)).as_deref(),
        Some("kube-system/kured")
    );
}

/// Either is fine as long as it is the other that has a trouble.
#[test]
fn a_trouble_is_the_webhooks_or_that_of_a_node_or_a_lock() {
    let mut foreign = node("x", &[]);
    drop(
        foreign
            .metadata
            .annotations
            .insert(keys::HOLDER.to_owned(), "nonsense".to_owned()),
    );
    let about_nodes = |examined: &mut Examined| examined.seen.nodes.push(foreign.clone());
    let about_webhook = |examined: &mut Examined| examined.seen.webhook.has_ca = Some(false);
    assert_eq!(fine("holds and locks", about_nodes), None);
    assert!(fine("webhook", about_nodes).is_some());
    assert_eq!(fine("webhook", about_webhook), None);
    assert!(fine("holds and locks", about_webhook).is_some());
    // One of its objects is enough to say something of it.
    assert!(fine("webhook", |examined| examined.seen.webhook.deployed = None).is_some());
    assert!(fine("webhook", |examined| examined.seen.webhook.registered = None).is_some());
}

#[test]
fn pods_that_are_refused_are_told_while_replicas_of_the_webhook_are_missing() {
    let refused = ("ReplicaSet w".to_owned(), "insufficient quota".to_owned());
    for (ready, is_told) in [(1, true), (2, false), (3, false)] {
        let found = after(|examined| {
            examined.refused = vec![refused.clone()];
            examined.seen.webhook.ready = Some(ready);
        });
        assert_eq!(found.contains(&Code::PodsRefused), is_told, "{ready}");
    }
}

#[test]
fn rights_count_only_of_what_is_installed() {
    let of = |change: fn(&mut Examined)| {
        after(|examined| {
            for right in &mut examined.rights {
                right.is_granted = right.needed.is_too_much();
            }
            change(examined);
        })
    };
    let count = |found: &[Code], code: Code| found.iter().filter(|found| **found == code).count();
    let both = of(|_| {});
    assert_eq!(
        (count(&both, Code::RightMissing), count(&both, Code::AgentIsAdmin)),
        (5, 1)
    );
    let no_agents = of(|examined| examined.agents = Some(Vec::new()));
    assert_eq!(
        (
            count(&no_agents, Code::RightMissing),
            count(&no_agents, Code::AgentIsAdmin)
        ),
        (1, 0)
    );
    let no_webhook = of(|examined| {
        examined.seen.webhook = Webhook {
            deployed: Some(false),
            ..Webhook::default()
        }
    });
    assert_eq!(
        (
            count(&no_webhook, Code::RightMissing),
            count(&no_webhook, Code::AgentIsAdmin)
        ),
        (4, 1)
    );
    // What was not looked for may be there.
    let unseen = of(|examined| examined.agents = None);
    assert_eq!(count(&unseen, Code::RightMissing), 5);
}

#[test]
fn only_the_right_to_override_is_one_that_agents_should_not_have() {
    let too_much: Vec<(&str, &str)> = Needed::ALL
        .iter()
        .filter(|needed| needed.is_too_much())
        .map(|needed| (needed.account, needed.verb))
        .collect();
    assert_eq!(too_much, [(keys::AGENTS, keys::OVERRIDE_VERB)]);
    let mut of_webhook = *Needed::ALL.iter().find(|needed| needed.is_too_much()).unwrap();
    of_webhook.account = "cordonhold-webhook";
    assert!(!of_webhook.is_too_much());
}

#[test]
fn a_right_that_is_missing_is_named_as_kubectl_writes_it() {
    let mut examined = sound();
    for right in &mut examined.rights {
        right.is_granted = right.needed.is_too_much();
    }
    let findings = Diagnosis::of(&examined, now()).findings;
    let of = |code: Code| -> Vec<&str> {
        let of_code = findings.iter().filter(|finding| finding.code == code);
        let says = of_code.map(|finding| finding.says.split(&[':', ','][..]).next().unwrap_or_default());
        says.collect()
    };
    let expected = [
        "it may not patch nodes",
        "it may not list pods",
        "it may not create pods/eviction",
        "it may not own rebootholds.cordonhold.dev",
        "it may not create subjectaccessreviews.authorization.k8s.io",
    ];
    assert_eq!(of(Code::RightMissing), expected);
    assert_eq!(
        of(Code::AgentIsAdmin),
        ["it may override rebootholds.cordonhold.dev"]
    );
}

#[test]
fn names_and_numbers_are_told_as_people_write_them() {
    assert_eq!(
        [0, 1, 2].map(|number| counted(number, "node")),
        ["0 nodes", "1 node", "2 nodes"]
    );
    let names = |count: usize| -> Vec<String> {
        ["a", "b c", "d", "e", "f", "g"].map(str::to_owned)[..count].to_vec()
    };
    for (count, says) in [
        (1, "a"),
        (2, "a, 'b c'"),
        (4, "a, 'b c', d, e"),
        (5, "a, 'b c', d, e and 1 more"),
        (6, "a, 'b c', d, e and 2 more"),
    ] {
        assert_eq!(named(&names(count)), says);
    }
    assert_eq!(Code::NotTrusted.page(), "docs/doctor.md#ch104");
}

/// Each of its parts alone is an installation.
#[test]
fn before_an_install_each_part_that_is_there_is_told_and_what_was_not_seen_is_not_fine() {
    let diagnosis = |registered: Option<bool>, deployed: Option<bool>, sets: Option<Vec<AgentSet>>| {
        let examined = Examined {
            seen: Seen {
                webhook: Webhook {
                    registered,
                    deployed,
                    ..Webhook::default()
                },
                ..Seen::default()
            },
            agents: sets,
            pod_security: None,
            ..sound()
        };
        let diagnosis = Diagnosis::before_install(&examined, &Installing { missing: None }, now());
        let is_told = diagnosis
            .findings
            .iter()
            .any(|finding| finding.code == Code::InstalledAlready);
        let fine = diagnosis.fine.into_iter().find(|fine| fine.about == "Cordonhold");
        (is_told, fine.is_some())
    };
    let (yes, no) = (Some(true), Some(false));
    let set = vec![agents("i:0.4.0")];
    for (registered, deployed, sets, expected) in [
        (no, no, None, (false, true)),
        (no, no, Some(Vec::new()), (false, true)),
        (yes, no, None, (true, false)),
        (no, yes, None, (true, false)),
        (no, no, Some(set.clone()), (true, false)),
        (None, None, Some(set), (true, false)),
        (None, no, None, (false, false)),
        (no, None, None, (false, false)),
        (None, None, None, (false, false)),
    ] {
        assert_eq!(
            diagnosis(registered, deployed, sets.clone()),
            expected,
            "{registered:?} {deployed:?} {sets:?}"
        );
    }
}

#[test]
fn policies_are_fine_only_if_they_were_seen() {
    let says = |has_policies: Option<bool>| {
        let examined = Examined {
            has_policies,
            ..sound()
        };
        let diagnosis = Diagnosis::before_install(&examined, &Installing { missing: None }, now());
        diagnosis.fine.into_iter().any(|fine| fine.about == "policies")
    };
    assert_eq!([Some(true), Some(false), None].map(says), [true, false, false]);
}

#[test]
fn two_problems_and_a_warning_are_counted_as_two_and_one() {
    let mut examined = sound();
    examined.seen.webhook.mode = Some("audit".to_owned());
    examined.seen.webhook.has_ca = Some(false);
    examined.server = Some("v1.20.0".to_owned());
    let diagnosis = Diagnosis::of(&examined, now());
    let count = |severity| diagnosis.count(severity);
    assert_eq!(
        (count(Severity::Problem), count(Severity::Warning)),
        (2, 1),
        "{diagnosis:?}"
    );
}

#[test]
fn problems_come_first_and_are_counted_apart() {
    let mut examined = sound();
    examined.seen.webhook.mode = Some("audit".to_owned());
    examined.server = Some("v1.20.0".to_owned());
    let diagnosis = Diagnosis::of(&examined, now());
    let codes: Vec<Code> = diagnosis.findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, [Code::KubernetesTooOld, Code::NotEnforcing]);
    assert_eq!(
        (
            diagnosis.count(Severity::Problem),
            diagnosis.count(Severity::Warning)
        ),
        (1, 1)
    );
}

#[test]
fn each_code_is_its_own_and_each_trouble_of_status_has_another() {
    let codes: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(codes.len(), Code::ALL.len());
    assert!(
        codes.iter().all(|code| code.len() == 5 && code.starts_with("CH")),
        "{codes:?}"
    );
    let of_troubles: BTreeSet<Code> = TroubleKind::ALL.iter().map(|kind| Code::from(*kind)).collect();
    assert_eq!(of_troubles.len(), TroubleKind::ALL.len());
    assert_eq!(json!(Code::NotTrusted), json!("CH104"));
}

/// `docs/doctor.md` has a section for each code, and no other: its heading, its meaning from the table, how to look and how to mend.
#[test]
fn the_page_has_a_section_for_each_code_and_no_other() {
    let page = include_str!("../../../docs/doctor.md");
    let sections: Vec<&str> = page.split("\n### CH").skip(1).collect();
    let expected: Vec<String> = Code::ALL.iter().map(|code| code.as_str().to_owned()).collect();
    let found: Vec<String> = sections
        .iter()
        .map(|section| format!("CH{}", section.lines().next().unwrap_or_default()))
        .collect();
    assert_eq!(found, expected);
    for (section, code) in sections.iter().zip(Code::ALL) {
        let severity = match code.severity() {
            Severity::Problem => "problem",
            Severity::Warning => "warning",
        };
        let meaning = format!("**Meaning** ({severity}): {}.", code.when());
        assert!(section.contains(&meaning), "{}: {meaning}", code.as_str());
        for part in ["\n**How to look**: ", "\n**How to mend**: "] {
            assert!(section.contains(part), "{}: {part}", code.as_str());
        }
    }
}
