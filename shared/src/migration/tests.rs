//! What becomes of each way in which kured can be set up.

use std::collections::BTreeSet;

use super::*;

fn set(container: &Value, pod: &Value) -> Value {
    let mut spec = pod.clone();
    spec["containers"] = json!([container]);
    json!({ "metadata": { "namespace": "ops", "name": "kured" }, "spec": { "template": { "spec": spec } } })
}

fn plan(container: &Value) -> Plan {
    Plan::of(&Source::of_daemon_set(&set(container, &json!({}))).unwrap())
}

fn becomes(plan: &Plan, setting: &str) -> Option<Becomes> {
    plan.lines
        .iter()
        .find(|line| line.setting == setting)
        .map(|line| line.becomes)
}

#[test]
fn arguments_become_values_of_their_kinds() {
    let plan = plan(&json!({
        "name": "kured", "image": "ghcr.io/kubereboot/kured:1.23.0", "command": ["/usr/bin/kured", "--period=20m"],
        "args": [
            "--concurrency=2", "--force-reboot", "--annotate-nodes=false", "--reboot-delay", "90s",
            "--blocking-pod-selector=a=b", "--blocking-pod-selector=c", "--lock-ttl=30m", "--ds-name=kured", "--gone=1",
        ],
    }));
    assert_eq!(
        plan.values,
        json!({
            "mode": "mixed",
            // Where its lock is by default, wherever the DaemonSet is.
            "kured": { "namespace": "kube-system", "name": "kured" },
            "configuration": {
                "annotateNodes": false, "blockingPodSelector": ["a=b", "c"], "concurrency": 2, "forceReboot": true,
                "lockTtl": "30m", "period": "20m", "rebootDelay": "90s",
            },
        })
    );
    for (setting, expected) in [
        ("--lock-ttl", Becomes::NoEffect),
        ("--reboot-delay", Becomes::Differs),
        ("--ds-name", Becomes::LeftOut),
        ("--gone", Becomes::Unknown),
        ("--drain-timeout", Becomes::Advice),
    ] {
        assert_eq!(becomes(&plan, setting), Some(expected), "{setting}");
    }
    assert_eq!(
        plan.from,
        "the DaemonSet ops/kured, image ghcr.io/kubereboot/kured:1.23.0"
    );
}

/// In kured a variable wins over the command line, and that of a repeated flag is not read; a value in a Secret stays there.
#[test]
fn variables_count_as_they_do_in_kured() {
    let reference =
        json!({ "name": "KURED_NOTIFY_URL", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } });
    let plan = plan(&json!({
        "name": "kured", "args": ["--period=1h"],
        "env": [
            { "name": "KURED_PERIOD", "value": "5m" },
            { "name": "KURED_REBOOT_DAYS", "value": "sat,sun" },
            { "name": "KURED_BLOCKING_POD_SELECTOR", "value": "x" },
            { "name": "KURED_NODE_ID", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } },
            { "name": "TZ", "value": "UTC" },
            reference,
        ],
    }));
    let expected = json!({ "period": "5m", "rebootDays": ["sat", "sun"] });
    assert_eq!(plan.values["configuration"], expected);
    assert_eq!(plan.values["agent"]["extraEnv"], json!([reference]));
    let period = plan.lines.iter().find(|line| line.setting == "--period").unwrap();
    assert!(period.says.contains("wins over the argument"), "{period:?}");
    assert_eq!(
        becomes(&plan, "the variable KURED_BLOCKING_POD_SELECTOR"),
        Some(Becomes::LeftOut)
    );
}

#[test]
fn the_sentinel_is_looked_for_on_the_host() {
    let container = json!({
        "name": "kured", "args": ["--reboot-sentinel=/sentinel/reboot-required"],
        "volumeMounts": [{ "name": "other", "mountPath": "/sent" }, { "name": "hostrun", "mountPath": "/sentinel" }],
    });
    let pod = json!({ "volumes": [{ "name": "hostrun", "hostPath": { "path": "/var/run" } }, { "name": "other", "emptyDir": {} }] });
    let plan = Plan::of(&Source::of_daemon_set(&set(&container, &pod)).unwrap());
    assert_eq!(
        plan.values["configuration"]["rebootSentinel"],
        "/var/run/reboot-required"
    );
}

#[test]
fn what_does_not_move_is_told() {
    let pod = json!({
        "tolerations": [{ "operator": "Exists" }], "nodeSelector": { "kubernetes.io/os": "linux" }, "affinity": { "nodeAffinity": {} },
    });
    let plan =
        Plan::of(&Source::of_daemon_set(&set(&json!({ "name": "kured", "args": ["stray"] }), &pod)).unwrap());
    assert_eq!(becomes(&plan, "tolerations"), Some(Becomes::LeftOut));
    assert_eq!(becomes(&plan, "affinity"), Some(Becomes::LeftOut));
    assert_eq!(becomes(&plan, "nodeSelector"), None);
    assert_eq!(becomes(&plan, "the word stray"), Some(Becomes::LeftOut));
    assert_eq!(Source::of_daemon_set(&json!({})), None);
}

/// As in kured's chart: an empty value, 0 and false set no flag.
#[test]
fn the_values_of_kureds_chart_move_by_their_names() {
    let values = json!({
        "configuration": {
            "rebootDays": ["sat"], "startTime": "22:00", "lockTtl": 0, "forceReboot": false, "alertFilterRegexp": "", "annotateNodes": false,
            "useRebootSentinelHostPath": true, "nonsense": 1,
        },
        "extraArgs": { "concurrency": 3, "annotate-nodes": "" },
        "tolerations": [{ "operator": "Exists" }],
    });
    let plan = Plan::of(&Source::of_values(&values));
    let expected =
        json!({ "annotateNodes": true, "concurrency": 3, "rebootDays": ["sat"], "startTime": "22:00" });
    assert_eq!(plan.values["configuration"], expected);
    assert_eq!(becomes(&plan, "configuration.nonsense"), Some(Becomes::LeftOut));
    assert_eq!(plan.values.get("kured"), None);
}

#[test]
fn each_flag_has_a_key_and_a_variable_of_its_own() {
    let keys: BTreeSet<String> = FLAGS.iter().map(KuredFlag::key).collect();
    let variables: BTreeSet<String> = FLAGS.iter().map(KuredFlag::variable).collect();
    assert_eq!((keys.len(), variables.len()), (FLAGS.len(), FLAGS.len()));
    let flag = KuredFlag::named("pre-reboot-node-labels").unwrap();
    assert_eq!(flag.key(), "preRebootNodeLabels");
    assert_eq!(flag.variable(), "KURED_PRE_REBOOT_NODE_LABELS");
    for name in OF_THE_CHART.iter().chain(&WITHOUT_EFFECT) {
        assert!(KuredFlag::named(name).is_some(), "{name}");
    }
}
