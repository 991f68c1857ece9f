//! What is wrong, and the command that mends it.

use super::*;

#[test]
fn every_trouble_of_a_node_is_named_with_the_command_that_mends_it() {
    for (node, kind, says, command) in wrong() {
        let fleet = fleet(vec![node], Vec::new(), Vec::new());
        let [trouble] = fleet.troubles.as_slice() else {
            panic!("{kind:?}: {:?}", fleet.troubles)
        };
        assert_eq!((trouble.kind, trouble.node.as_deref()), (kind, Some("n")));
        assert!(trouble.says.contains(says), "{says:?}: {trouble:?}");
        assert_eq!(trouble.command, command);
    }
    let stuck = told("n", "RebootStuck", "the host does not go down");
    let fleet = fleet(vec![held("n", Phase::Sealed)], Vec::new(), vec![stuck]);
    assert_eq!(kinds(&fleet), [TroubleKind::NotGoingDown]);
}

/// A Node with one trouble: the Node, the trouble, what is said of it, and the command.
type Wrong = (NodeView, TroubleKind, &'static str, &'static str);

fn wrong() -> Vec<Wrong> {
    let mut all = of_silent_agents();
    all.extend(of_other_marks());
    all
}

const RELEASE: &str = "kubectl cordonhold release n";
const CANCEL: &str = "kubectl cordonhold cancel n --reason TEXT";

fn with(mut node: NodeView, key: &str, value: &str) -> NodeView {
    set(&mut node, key, value);
    node
}

fn of_silent_agents() -> Vec<Wrong> {
    let silent = |phase| with(held("n", phase), keys::UNTIL, "2026-11-29T10:50:00Z");
    let mut down = silent(Phase::Sealed);
    down.status.conditions.clear();
    let mut rebooted = silent(Phase::Sealed);
    "b2".clone_into(&mut rebooted.status.node_info.boot_id);
    let kind = TroubleKind::AgentSilent;
    vec![
        (silent(Phase::Draining), kind, "ended 10 min ago", RELEASE),
        (silent(Phase::Wanted), kind, "does not renew", RELEASE),
        (rebooted, kind, "has rebooted", RELEASE),
        (
            down,
            TroubleKind::NotBack,
            "is not back",
            "kubectl cordonhold why n",
        ),
        (
            silent(Phase::Sealed),
            TroubleKind::NotGoingDown,
            "does not go down",
            CANCEL,
        ),
    ]
}

fn of_other_marks() -> Vec<Wrong> {
    let draining = || held("n", Phase::Draining);
    let foreign = with(draining(), keys::HOLDER, "another/2026-11-29T10:40:00Z");
    let mut uncordoned = draining();
    uncordoned.spec.unschedulable = false;
    let blocked = "1 gone, 2 left; blocked by budget db/pg; waiting for pods db/pg-1";
    let blocked = with(draining(), keys::DRAIN_PROGRESS, blocked);
    let why = "kubectl cordonhold why n";
    let pause = "kubectl annotate node n cordonhold.dev/pause='<your reason>'";
    let ignored = TroubleKind::Ignored;
    vec![
        (foreign, TroubleKind::ForeignMarks, "another Node object", RELEASE),
        (uncordoned, TroubleKind::Uncordoned, "schedulable", why),
        (
            blocked,
            TroubleKind::DrainBlocked,
            "is blocked by budget db/pg",
            why,
        ),
        (
            with(draining(), keys::CANCEL, "disk"),
            ignored,
            "cancel disk does nothing",
            CANCEL,
        ),
        (
            with(node("n"), keys::CANCEL, "disk"),
            ignored,
            "carries no hold",
            pause,
        ),
        (
            with(node("n"), keys::REBOOT_WANTED, "please"),
            ignored,
            "reboot-wanted please does nothing: it does not begin with a time",
            "kubectl cordonhold reboot n --reason TEXT",
        ),
        (
            with(node("n"), keys::REBOOT_WANTED, "2026-11-28T10:00:00Z jo: kernel"),
            ignored,
            "it is older than 24 hours",
            "kubectl cordonhold reboot n --reason TEXT",
        ),
    ]
}

#[test]
fn a_lock_that_nobody_can_read_or_that_a_person_took_is_named() {
    for (text, kind) in [
        ("{", TroubleKind::LockUnreadable),
        (r#"{"nodeID":"manual"}"#, TroubleKind::LockByHand),
    ] {
        let fleet = fleet(
            Vec::new(),
            vec![lock(Carrier::Lease, "cordonhold-default", &[(keys::LOCK, text)])],
            Vec::new(),
        );
        assert_eq!(kinds(&fleet), [kind]);
        assert_eq!(
            fleet.troubles[0].command,
            "kubectl -n cordonhold get lease cordonhold-default -o yaml"
        );
    }
}

/// A change of a webhook that is well.
type Change = fn(&mut Webhook);

#[test]
fn the_webhook_is_told_on_one_line_and_each_trouble_of_it_has_a_command() {
    let well = Webhook {
        namespace: "cordonhold".to_owned(),
        registered: Some(true),
        deployed: Some(true),
        ready: Some(2),
        replicas: Some(2),
        mode: Some("enforce".to_owned()),
        exceptions: Vec::new(),
        protects_kured: Some(false),
        has_ca: Some(true),
        ca_until: "2027-11-29T11:00:00Z".parse().ok(),
    };
    assert_eq!(
        well.line(now()),
        "2 of 2 replicas ready, mode enforce, CA for 365 d"
    );
    assert_eq!(well.troubles(now()), []);
    let changes: [(Change, TroubleKind); 4] = [
        (|webhook| webhook.registered = Some(false), TroubleKind::NoWebhook),
        (|webhook| webhook.ready = Some(0), TroubleKind::WebhookDown),
        (|webhook| webhook.has_ca = Some(false), TroubleKind::CaMissing),
        (
            |webhook| webhook.ca_until = "2026-12-01T00:00:00Z".parse().ok(),
            TroubleKind::CaEnds,
        ),
    ];
    for (change, kind) in changes {
        let mut webhook = well.clone();
        change(&mut webhook);
        let troubles = webhook.troubles(now());
        assert_eq!(troubles.len(), 1, "{troubles:?}");
        assert_eq!(troubles[0].kind, kind);
        assert!(
            troubles[0]
                .command
                .starts_with("kubectl -n cordonhold logs deployment/")
        );
    }
    let absent = Webhook {
        registered: Some(false),
        deployed: Some(false),
        ..Webhook::default()
    };
    assert_eq!(
        absent.line(now()),
        "not installed: the agents alone check their nodes"
    );
    assert_eq!(
        (absent.troubles(now()), Webhook::default().line(now())),
        (Vec::new(), "not seen".to_owned())
    );
}

#[test]
fn what_others_wrote_into_an_annotation_becomes_no_command() {
    for text in [
        "kubectl delete nodes --all #",
        "x; kubectl delete nodes --all; kubectl uncordon n",
    ] {
        for key in [keys::CANCEL, keys::UNCORDON_WANTED] {
            let mut node = NodeView::default();
            "n".clone_into(&mut node.metadata.name);
            set(&mut node, key, text);
            let fleet = fleet(vec![node], Vec::new(), Vec::new());
            let [trouble] = fleet.troubles.as_slice() else {
                panic!("{:?}", fleet.troubles)
            };
            assert_eq!(trouble.kind, TroubleKind::Ignored);
            let starts = ["kubectl annotate node n ", "kubectl uncordon n"];
            assert!(
                starts.iter().any(|start| trouble.command.starts_with(start)),
                "{trouble:?}"
            );
            assert!(!trouble.command.contains("delete"), "{trouble:?}");
        }
    }
}
