//! What becomes of each way in which kured can be set up.

use std::collections::BTreeSet;

use super::*;
use crate::keys;

fn set(container: &Value, pod: &Value) -> Value {
    let mut spec = pod.clone();
    spec["containers"] = json!([container]);
    json!({ "metadata": { "namespace": "ops", "name": "kured" }, "spec": { "template": { "spec": spec } } })
}

fn plan(container: &Value) -> Plan {
    planned(container, &json!({}))
}

fn planned(container: &Value, pod: &Value) -> Plan {
    Plan::of(
        &Source::of_daemon_set(&set(container, pod)).unwrap(),
        Secrets::Hidden,
    )
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
    // The time zone moves, in the order of the container.
    let variables = json!([{ "name": "TZ", "value": "UTC" }, reference]);
    assert_eq!(plan.values["agent"]["extraEnv"], variables);
    let period = plan.lines.iter().find(|line| line.setting == "--period").unwrap();
    assert!(period.says.contains("wins over the argument"), "{period:?}");
    assert_eq!(
        becomes(&plan, "the variable KURED_BLOCKING_POD_SELECTOR"),
        Some(Becomes::LeftOut)
    );
}

/// No setting of a pod is lost without a word: it is in the values, or there is a line that says why not.
#[test]
fn what_is_no_flag_moves_or_is_told() {
    let mounts =
        json!([{ "name": "sentinel", "mountPath": "/sentinel" }, { "name": "ca", "mountPath": "/ca" }]);
    let container = json!({
        "name": "kured", "image": "kured:1", "volumeMounts": mounts, "resources": { "limits": { "memory": "64Mi" } },
        "securityContext": { "privileged": true }, "ports": [{ "containerPort": 8080 }], "terminationMessagePolicy": "File",
        "envFrom": [{ "secretRef": { "name": "all" } }], "lifecycle": { "preStop": {} },
        "env": [{ "name": "KURED_NONSENSE", "value": "1" }, { "name": "NODE_ID", "value": "x" }],
    });
    let expressions = json!([{ "key": "pool", "operator": "In", "values": ["a"] }, { "key": "kubernetes.io/os", "operator": "In", "values": ["linux"] }]);
    let affinity = json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [{ "matchExpressions": expressions }] } } });
    let pod = json!({
        "priorityClassName": "high", "nodeSelector": { "kubernetes.io/os": "linux", "a": "b", (keys::AGENT): "disabled" }, "affinity": affinity,
        "hostPID": true, "restartPolicy": "Always", "dnsConfig": { "options": [1] },
        "volumes": [{ "name": "sentinel", "hostPath": { "path": "/run" } }, { "name": "ca", "configMap": { "name": "ca" } }],
        "initContainers": [{ "name": "before" }],
    });
    let mut set = set(&container, &pod);
    set["spec"]["updateStrategy"] =
        json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 5 } });
    set["spec"]["template"]["metadata"] = json!({
        "labels": { "name": "kured", "team": "ops" }, "annotations": { "prometheus.io/scrape": "true", "prometheus.io/port": "8080" },
    });
    let plan = Plan::of(&Source::of_daemon_set(&set).unwrap(), Secrets::Hidden);
    let expected = json!({
        "priorityClassName": "high", "nodeSelector": { "a": "b" }, "resources": { "limits": { "memory": "64Mi" } },
        "nodeExpressions": [{ "key": "pool", "operator": "In", "values": ["a"] }],
        "extraVolumes": [{ "name": "ca", "configMap": { "name": "ca" } }], "extraVolumeMounts": [{ "name": "ca", "mountPath": "/ca" }],
        "extraInitContainers": [{ "name": "before" }], "podLabels": { "team": "ops" }, "podAnnotations": { "prometheus.io/scrape": "true" },
        "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 5 } },
    });
    assert_eq!(plan.values["agent"], expected);
    for setting in [
        "envFrom of the Secret all",
        "the volume sentinel",
        "hostPID, ports, securityContext",
        "lifecycle",
        "dnsConfig",
        "the variable KURED_NONSENSE",
        "the variable NODE_ID",
        "the annotation prometheus.io/port",
    ] {
        assert_eq!(
            becomes(&plan, setting),
            Some(Becomes::LeftOut),
            "{setting}: {plan:#?}"
        );
    }
    let again = Source::of_values(
        &json!({ "nodeSelector": { "a": "b" }, "metrics": { "create": true, "interval": "" }, "podLabels": { "c": "d" } }),
    );
    let values = Plan::of(&again, Secrets::Hidden).values;
    assert_eq!(
        values["agent"],
        json!({ "nodeSelector": { "a": "b" }, "podLabels": { "c": "d" } })
    );
    assert_eq!(values["monitoring"], json!({ "podMonitor": { "enabled": true } }));
}

/// What the API server writes by itself would be most of the plan of a DaemonSet that was read from a cluster.
#[test]
fn what_the_api_server_writes_where_nobody_has_said_anything_is_not_told() {
    let bare = json!({ "name": "kured", "image": "kured:1" });
    let container = json!({
        "name": "kured", "image": "kured:1", "imagePullPolicy": "IfNotPresent",
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
    });
    let mut pod = json!({
        "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler", "terminationGracePeriodSeconds": 30,
        "enableServiceLinks": true, "hostNetwork": false, "hostIPC": false,
    });
    let told = |container: &Value, pod: &Value| {
        let lines = planned(container, pod).lines.into_iter();
        lines.map(|line| line.setting).collect::<Vec<_>>()
    };
    assert_eq!(told(&container, &pod), told(&bare, &json!({})));
    pod["dnsPolicy"] = json!("Default");
    pod["hostNetwork"] = json!(true);
    let more = told(&container, &pod);
    assert!(more.contains(&"dnsPolicy, hostNetwork".to_owned()), "{more:?}");
}

/// Whoever sends the plan to somebody sends no secret with it, and the values say where the agents read it.
#[test]
fn a_secret_is_read_from_a_secret_unless_it_is_asked_for() {
    let secret = "slack://xoxb:TOPSECRET@C1";
    let container = json!({
        "name": "kured", "args": [format!("--notify-url={secret}"), "--prometheus-url=http://jo:TOPSECRET@p:9090", "--slack-username=a"],
        "env": [
            { "name": "HTTPS_PROXY", "value": "http://jo:TOPSECRET@proxy" },
            { "name": "API_TOKEN", "value": "TOPSECRET" },
            { "name": "NO_PROXY", "value": "10.0.0.0/8" },
            { "name": "KURED_REBOOT_SENTINEL_COMMAND", "value": "curl --token TOPSECRET http://x" },
        ],
    });
    let source = Source::of_daemon_set(&set(&container, &json!({}))).unwrap();
    let plan = Plan::of(&source, Secrets::Hidden);
    let text = serde_json::to_string(&plan).unwrap();
    assert!(!text.contains("TOPSECRET"), "{text}");
    let variables = plan.values["agent"]["extraEnv"].as_array().unwrap();
    let reads = |name: &str| {
        let found = variables.iter().find(|variable| variable["name"] == name);
        found.map(|variable| variable["valueFrom"]["secretKeyRef"].clone())
    };
    for name in [
        "KURED_NOTIFY_URL",
        "KURED_PROMETHEUS_URL",
        "HTTPS_PROXY",
        "API_TOKEN",
        "KURED_REBOOT_SENTINEL_COMMAND",
    ] {
        let place = json!({ "name": "cordonhold-kured", "key": name });
        assert_eq!(reads(name), Some(place), "{name}");
    }
    assert_eq!(reads("NO_PROXY"), Some(Value::Null));
    let advice = plan
        .lines
        .iter()
        .find(|line| line.setting == "the Secret cordonhold-kured")
        .unwrap();
    assert!(
        advice.says.contains("--from-literal=KURED_NOTIFY_URL=…"),
        "{advice:?}"
    );
    let shown = Plan::of(&source, Secrets::Shown);
    assert_eq!(shown.values["configuration"]["notifyUrl"], secret);
    assert!(becomes(&shown, "the Secret cordonhold-kured").is_none());
}

#[test]
fn the_sentinel_is_looked_for_on_the_host() {
    let container = json!({
        "name": "kured", "args": ["--reboot-sentinel=/sentinel/reboot-required"],
        "volumeMounts": [{ "name": "other", "mountPath": "/sent" }, { "name": "hostrun", "mountPath": "/sentinel" }],
    });
    let pod = json!({ "volumes": [{ "name": "hostrun", "hostPath": { "path": "/var/run" } }, { "name": "other", "emptyDir": {} }] });
    let plan = planned(&container, &pod);
    assert_eq!(
        plan.values["configuration"]["rebootSentinel"],
        "/var/run/reboot-required"
    );
}

#[test]
fn what_does_not_move_is_told() {
    let pod = json!({
        "tolerations": [{ "operator": "Exists" }], "nodeSelector": { "kubernetes.io/os": "linux" }, "affinity": { "podAffinity": { "x": [1] } },
    });
    let plan = planned(&json!({ "name": "kured", "args": ["stray"] }), &pod);
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
    let plan = Plan::of(&Source::of_values(&values), Secrets::Hidden);
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

#[test]
fn what_becomes_of_a_setting_has_a_word_for_people() {
    use Becomes::{Advice, Differs, LeftOut, NoEffect, Same, Secret, Unknown};
    let words = [Same, Differs, Secret, LeftOut, NoEffect, Unknown, Advice].map(Becomes::as_str);
    assert_eq!(
        words,
        [
            "same",
            "differs",
            "secret",
            "left out",
            "no effect",
            "unknown",
            "advice"
        ]
    );
}

fn says<'a>(plan: &'a Plan, setting: &str) -> &'a str {
    let line = plan.lines.iter().find(|line| line.setting == setting);
    line.map_or("", |line| line.says.as_str())
}

#[test]
fn a_variable_that_is_read_from_another_object_needs_that_object_where_the_agents_are() {
    let from = |key: &str| json!({ "name": "X", "valueFrom": { key: { "name": "n", "key": "k" } } });
    let copied =
        "its value stays where it is: copy that Secret or ConfigMap into the namespace of the agents";
    for (variable, expected) in [
        (from("secretKeyRef"), copied),
        (from("configMapKeyRef"), copied),
        (json!({ "name": "X", "value": "y" }), ""),
        (
            json!({ "name": "X", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } }),
            "",
        ),
    ] {
        let plan = plan(&json!({ "name": "kured", "env": [variable.clone()] }));
        assert_eq!(
            becomes(&plan, "the variable X"),
            Some(Becomes::Same),
            "{variable}"
        );
        assert_eq!(says(&plan, "the variable X"), expected, "{variable}");
    }
}

#[test]
fn kureds_container_is_that_of_its_name_or_of_its_daemon_sets_or_the_first() {
    let source = |names: &[&str]| {
        let containers: Vec<Value> = names
            .iter()
            .map(|name| json!({ "name": name, "image": name }))
            .collect();
        let pod = json!({ "containers": containers });
        let set = json!({ "metadata": { "namespace": "ops", "name": "reboots" }, "spec": { "template": { "spec": pod } } });
        Source::of_daemon_set(&set).unwrap().from
    };
    for (names, image) in [
        (&["proxy", "kured"][..], "kured"),
        (&["proxy", "reboots"], "reboots"),
        (&["proxy", "other"], "proxy"),
    ] {
        assert_eq!(source(names), format!("the DaemonSet ops/reboots, image {image}"));
    }
}

#[test]
fn the_values_of_kureds_chart_say_where_they_come_from_and_what_of_them_is_left_out() {
    let values = json!({
        "configuration": { "useRebootSentinelHostPath": true, "nonsense": 1 },
        "extraArgs": { "annotate-nodes": null, "force-reboot": true, "lock-annotation": "", "concurrency": null },
    });
    let plan = Plan::of(&Source::of_values(&values), Secrets::Hidden);
    assert_eq!(plan.from, "the values of kured's chart");
    assert_eq!(
        says(&plan, "configuration.useRebootSentinelHostPath"),
        "the agent reads the path on the host itself"
    );
    assert_eq!(
        says(&plan, "configuration.nonsense"),
        "neither kured's chart nor this one has it"
    );
    // A switch may stand alone; an empty value of another flag says nothing.
    assert_eq!(
        plan.values["configuration"],
        json!({ "annotateNodes": true, "forceReboot": true })
    );
}

/// A path that only begins as the mount does is not below it.
#[test]
fn the_sentinel_is_below_a_mount_only_by_whole_parts_of_its_path() {
    let planned = |sentinel: &str, mount: &str| {
        let container = json!({
            "name": "kured", "args": [format!("--reboot-sentinel={sentinel}")], "volumeMounts": [{ "name": "v", "mountPath": mount }],
        });
        let pod = json!({ "volumes": [{ "name": "v", "hostPath": { "path": "/host/" } }] });
        planned(&container, &pod).values["configuration"]["rebootSentinel"].clone()
    };
    assert_eq!(planned("/sentinel/x", "/sentinel/"), "/host/x");
    assert_eq!(planned("/sentinel-x", "/sentinel"), "/sentinel-x");
    assert_eq!(planned("/x", "/"), "/x");
}

#[test]
fn labels_of_pods_move_but_for_the_name_that_kureds_manifest_has() {
    let set = |labels: Value, annotations: Value| {
        let mut set = set(&json!({ "name": "kured" }), &json!({}));
        set["spec"]["template"]["metadata"] = json!({ "labels": labels, "annotations": annotations });
        let plan = Plan::of(&Source::of_daemon_set(&set).unwrap(), Secrets::Hidden);
        let agent = &plan.values["agent"];
        (agent["podLabels"].clone(), agent["podAnnotations"].clone())
    };
    let labels = |labels: Value| set(labels, json!({})).0;
    assert_eq!(labels(json!({ "name": "kured" })), Value::Null);
    assert_eq!(
        labels(json!({ "name": "kured", "team": "kured" })),
        json!({ "team": "kured" })
    );
    assert_eq!(labels(json!({ "name": "reboots" })), json!({ "name": "reboots" }));
    let annotations = set(json!({}), json!({ "name": "kured" })).1;
    assert_eq!(annotations, json!({ "name": "kured" }));
}

#[test]
fn an_affinity_moves_if_it_is_one_term_of_labels_and_is_left_out_with_anything_more_in_it() {
    let term = json!({ "matchExpressions": [{ "key": "pool", "operator": "Exists" }] });
    let required =
        json!({ "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [term] } });
    let mut preferred = required.clone();
    preferred["preferredDuringSchedulingIgnoredDuringExecution"] = json!([{ "weight": 1 }]);
    for (affinity, moves) in [
        (json!({ "nodeAffinity": required }), true),
        (
            json!({ "nodeAffinity": required, "podAffinity": { "x": [1] } }),
            false,
        ),
        (json!({ "nodeAffinity": preferred }), false),
        (json!({ "podAffinity": required }), false),
    ] {
        let plan = planned(&json!({ "name": "kured" }), &json!({ "affinity": affinity }));
        let has = plan.values["agent"]["nodeExpressions"].is_array();
        assert_eq!(has, moves, "{affinity}");
        assert_eq!(
            becomes(&plan, "affinity") == Some(Becomes::LeftOut),
            !moves,
            "{affinity}"
        );
    }
}

#[test]
fn a_flag_is_hidden_for_its_address_its_password_or_the_secret_in_its_command_and_for_nothing_else() {
    for (argument, hidden) in [
        ("--notify-url=slack://x", true),
        ("--notify-url=", false),
        ("--prometheus-url=http://p:9090", false),
        ("--prometheus-url=http://jo:x@p:9090", true),
        ("--reboot-command=curl --token X1 http://x", true),
        ("--reboot-command=/bin/systemctl reboot", false),
        ("--reboot-command=", false),
        // A selector, or an expression, may have the word alone.
        ("--blocking-pod-selector=token=x", false),
        ("--alert-filter-regexp=token=x", false),
    ] {
        let plan = plan(&json!({ "name": "kured", "args": [argument] }));
        let flag = argument.split('=').next().unwrap();
        assert_eq!(
            becomes(&plan, flag) == Some(Becomes::Secret),
            hidden,
            "{argument}: {plan:?}"
        );
    }
}
