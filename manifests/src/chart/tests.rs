//! The chart rendered here, and what is generated.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::kustomize;

fn rendered(with: Value) -> Result<Vec<Value>, RenderError> {
    let values = kustomize::values(with).expect("the values are right");
    let release = Release {
        name: "any".to_owned(),
        namespace: "here".to_owned(),
    };
    let mut all = Vec::new();
    for file in render(&values, &release)? {
        all.extend(file.objects()?);
    }
    Ok(all)
}

fn find(objects: &[Value], kind: &str, name: &str) -> Value {
    let found = objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}")).clone()
}

#[test]
fn what_is_generated_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = crate::generated().expect("it can be generated");
    for file in &files {
        let found = std::fs::read_to_string(root.join(&file.name)).unwrap_or_default();
        assert!(
            found == file.text,
            "manifests/{} is out of date: run `cargo manifests`",
            file.name
        );
    }
    let known: BTreeSet<String> = files.into_iter().map(|file| file.name).collect();
    for folder in ["base", "components", "overlays", "static-admission"] {
        for name in files_below(&root.join(folder)) {
            let name = name
                .strip_prefix(root)
                .expect("it is below")
                .to_string_lossy()
                .into_owned();
            assert!(
                known.contains(&name),
                "nothing generates manifests/{name}: remove it"
            );
        }
    }
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("it is a folder");
    let paths = entries.map(|entry| entry.expect("it is readable").path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                files_below(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[test]
fn every_template_is_rendered_here_too() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("chart/templates");
    let generated = generated_templates()
        .expect("they can be made")
        .map(|(name, _)| name);
    let there: BTreeSet<String> = files_below(&folder)
        .iter()
        .filter_map(|path| Some(path.strip_prefix(&folder).ok()?.to_string_lossy().into_owned()))
        .filter(|name| {
            name != "NOTES.txt" && !generated.contains(&name.as_str()) && !name.starts_with("tests/")
        })
        .collect();
    let known: BTreeSet<String> = TEMPLATES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(there, known);
}

/// Go takes a value that does not exist for an empty one, and so does the reader here.
#[test]
fn every_value_in_a_template_exists() {
    let schema = schema();
    let mut seen = 0;
    for (file, text) in TEMPLATES {
        for path in text.split(".Values.").skip(1) {
            let end = path
                .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.')
                .unwrap_or(path.len());
            let names: Vec<&str> = path[..end].split('.').filter(|name| !name.is_empty()).collect();
            assert!(
                page::property(&schema, &names).is_some(),
                "{file}: no value is named {}",
                names.join(".")
            );
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen}");
}

/// Names under `.invalid` belong to nobody and never resolve (RFC 6761), so that no image is pulled that nobody chose.
#[test]
fn found_e1_the_default_images_can_be_neither_pulled_nor_squatted() {
    let objects = rendered(json!({})).expect("it renders");
    for (kind, name) in [
        ("DaemonSet", "cordonhold-agent"),
        ("Deployment", "cordonhold-webhook"),
    ] {
        let image = &find(&objects, kind, name)["spec"]["template"]["spec"]["containers"][0]["image"];
        assert_eq!(
            *image,
            format!("repository-not-set.invalid/{name}:{}", env!("CARGO_PKG_VERSION"))
        );
    }
    let digest =
        json!({"images": {"agent": {"repository": "r.example/a", "digest": "sha256:1", "tag": "2"}}});
    let objects = rendered(digest).expect("it renders");
    let image = &find(&objects, "DaemonSet", "cordonhold-agent")["spec"]["template"]["spec"]["containers"][0]
        ["image"];
    assert_eq!(*image, "r.example/a@sha256:1");
}

fn resources(role: &Value) -> BTreeSet<String> {
    let rules = role["rules"].as_array().into_iter().flatten();
    let resources = rules.flat_map(|rule| rule["resources"].as_array().into_iter().flatten());
    resources.filter_map(Value::as_str).map(str::to_owned).collect()
}

#[test]
fn found_s14_rights_for_a_feature_come_with_it() {
    let plain = resources(&find(
        &rendered(json!({})).expect("it renders"),
        "ClusterRole",
        "cordonhold-agent",
    ));
    for (with, more) in [
        (
            json!({"configuration": {"volumeDetachTimeout": "5m"}}),
            vec!["persistentvolumeclaims", "volumeattachments"],
        ),
        (
            json!({"configuration": {"nodeConditions": true}}),
            vec!["nodes/status"],
        ),
        (json!({"configuration": {"rebootDelay": "1m"}}), vec![]),
    ] {
        let role = resources(&find(
            &rendered(with).expect("it renders"),
            "ClusterRole",
            "cordonhold-agent",
        ));
        let added: Vec<&String> = role.difference(&plain).collect();
        assert_eq!(added, more);
    }
    for never in ["secrets", "events", "configmaps"] {
        assert!(!plain.contains(never), "{never}");
    }
}

/// kured's own values, as they are in its chart, become its flags: each name, in each of its shapes.
#[test]
fn kureds_keys_become_flags() {
    let with = json!({"configuration": {
        "rebootDays": ["sat", "sun"], "forceReboot": true, "annotateNodes": false, "lockTtl": "", "concurrency": 3,
        "rebootSentinelCommand": "sh -c \"exit $((1))\"", "metricsPort": 9102, "drainGracePeriod": 0,
    }});
    let objects = rendered(with).expect("it renders");
    let container =
        find(&objects, "DaemonSet", "cordonhold-agent")["spec"]["template"]["spec"]["containers"][0].clone();
    let arguments: Vec<&str> = container["args"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(
        arguments,
        [
            "--node-id=$(NODE_ID)",
            "--host-root=/proc/1/root",
            "--metrics-host=$(HOST_IP)",
            "--metrics-port=9102",
            "--concurrency=3",
            "--drain-grace-period=0",
            "--force-reboot",
            "--reboot-days=sat",
            "--reboot-days=sun",
            "--reboot-sentinel-command=sh -c \"exit $((1))\"",
        ]
    );
    assert_eq!(container["ports"][0]["containerPort"], 9102);
}

#[test]
fn each_pool_has_agents_a_lock_and_nodes_of_its_own() {
    let with = json!({
        "configuration": {"concurrency": "10%", "rebootDelay": "1m"},
        "pools": [{"name": "control-plane", "nodeLabel": "node-role.kubernetes.io/control-plane", "configuration": {"concurrency": 1}}],
    });
    let objects = rendered(with).expect("it renders");
    let of = |name: &str| {
        let spec = find(&objects, "DaemonSet", name)["spec"]["template"]["spec"].clone();
        let terms = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
        let last = terms[0]["matchExpressions"]
            .as_array()
            .and_then(|all| all.last())
            .cloned()
            .expect("an expression");
        let arguments: Vec<String> = spec["containers"][0]["args"]
            .as_array()
            .into_iter()
            .flatten()
            .skip(4)
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        (last["operator"].clone(), arguments)
    };
    let label = "node-role.kubernetes.io/control-plane";
    assert_eq!(
        of("cordonhold-agent"),
        (
            json!("NotIn"),
            vec![
                format!("--pool-selector={label}!="),
                "--concurrency=10%".to_owned(),
                "--reboot-delay=1m".to_owned()
            ]
        )
    );
    assert_eq!(
        of("cordonhold-agent-control-plane"),
        (
            json!("In"),
            [
                "--pool=control-plane",
                &format!("--pool-selector={label}="),
                "--concurrency=1",
                "--reboot-delay=1m"
            ]
            .map(str::to_owned)
            .to_vec()
        )
    );
    let role = find(&objects, "Role", "cordonhold-agent");
    assert_eq!(
        role["rules"][0]["resourceNames"],
        json!(["cordonhold-default", "cordonhold-control-plane"])
    );
}

/// Kured's place is in the manifests only where somebody has said it.
#[test]
fn found_p8_e2_kured_is_named_or_the_rendering_says_what_is_missing() {
    let chart = json!({"mode": "mixed", "kured": {"foundBy": "chart"}});
    let said = rendered(chart)
        .expect_err("there is no cluster to ask")
        .to_string();
    assert!(said.contains("set kured.namespace and kured.name"), "{said}");
    let named =
        json!({"mode": "mixed", "kured": {"foundBy": "chart", "namespace": "care", "name": "reboots-kured"}});
    let objects = rendered(named).expect("it renders");
    let text = serde_json::to_string(&objects).expect("it is JSON");
    assert_eq!(text.matches("--ds-namespace=care").count(), 2);
    assert_eq!(text.matches("--ds-name=reboots-kured").count(), 2);
    let role = find(&objects, "ClusterRole", "cordonhold-agent-kured");
    assert_eq!(role["rules"][0]["resourceNames"], json!(["reboots-kured"]));
    let unnamed =
        serde_json::to_string(&rendered(json!({"mode": "mixed"})).expect("it renders")).expect("it is JSON");
    for word in ["kube-system", "--ds-name"] {
        assert!(!unnamed.contains(word), "{word}");
    }
}

#[test]
fn values_that_do_not_go_together_are_refused_with_the_fix() {
    for (with, fix) in [
        (
            json!({"webhook": {"hostNetwork": true}}),
            "set webhook.port to a free port",
        ),
        (
            json!({"mode": "agents-only", "webhook": {"mode": "defer"}}),
            "set webhook.deferBy to policy",
        ),
        (
            json!({"mode": "protect-kured", "kured": {"foundBy": "webhook"}, "policy": {"enabled": true}}),
            "Set policy.enabled to false",
        ),
        (
            json!({"policy": {"enabled": true}, "webhook": {"mode": "enforce", "modeForUser": {"alice": "warn"}}}),
            "use webhook.exempt",
        ),
        (
            json!({"policy": {"enabled": true}, "webhook": {"mode": "defer", "modeFor": {"tampered-taint": "audit"}}}),
            "use webhook.exempt",
        ),
        (
            json!({"webhook": {"port": 8080}}),
            "set one of them to another port",
        ),
        (
            json!({"tls": {"secretName": "cordonhold-ca"}}),
            "set another name",
        ),
        (
            json!({"pools": [{"name": "default", "nodeLabel": "a"}]}),
            "the name default is taken",
        ),
        (
            json!({"pools": [{"name": "a", "nodeLabel": "a"}, {"name": "a", "nodeLabel": "b"}]}),
            "the name a is taken",
        ),
        (
            json!({"pools": [{"name": "a", "nodeLabel": "a", "configuration": {"lockAnnotation": "b"}}]}),
            "set it in the top-level configuration",
        ),
        (
            json!({"mode": "mixed", "kured": {"foundBy": "chart", "name": "kured"}}),
            "set both",
        ),
    ] {
        let said = rendered(with).expect_err("it is refused").to_string();
        assert!(said.contains(fix), "{said}");
    }
}

/// The policies have no modes of their own, and there is none without its value.
#[test]
fn the_policies_do_what_the_mode_of_the_webhook_says() {
    for mode in ["agents", "agents-only", "mixed"] {
        for (webhook, actions) in [
            ("enforce", json!(["Deny"])),
            ("defer", json!(["Deny"])),
            ("warn", json!(["Warn", "Audit"])),
            ("audit", json!(["Audit"])),
        ] {
            let with = |is_enabled: bool, on_delete: &str| {
                json!({
                    "mode": mode, "kured": {"foundBy": "webhook"}, "policy": {"enabled": is_enabled},
                    "webhook": {"mode": webhook, "deferBy": "policy", "onDelete": on_delete},
                })
            };
            let bound = |values: Value| -> Vec<Value> {
                let objects = rendered(values).expect("it renders").into_iter();
                let of_holds = |object: &Value| {
                    object["kind"] == "ValidatingAdmissionPolicyBinding"
                        && object["metadata"]["name"] != "cordonhold-people"
                };
                objects
                    .filter(of_holds)
                    .map(|object| object["spec"]["validationActions"].clone())
                    .collect()
            };
            assert_eq!(
                bound(with(false, "deny")),
                Vec::<Value>::new(),
                "{mode}, {webhook}"
            );
            assert_eq!(
                bound(with(true, "flag")),
                vec![actions.clone(); 2],
                "{mode}, {webhook}"
            );
            assert_eq!(bound(with(true, "deny")), vec![actions; 3], "{mode}, {webhook}");
        }
    }
}

/// The rules never keep the API server out, whose address is not known here.
#[test]
fn found_s4_the_network_policy_keeps_pods_off_the_probes_and_nobody_off_the_reviews() {
    let objects = rendered(json!({"networkPolicy": {"enabled": true}})).expect("it renders");
    let policy = find(&objects, "NetworkPolicy", "cordonhold-webhook")["spec"].clone();
    let pod = find(&objects, "Deployment", "cordonhold-webhook")["spec"]["template"].clone();
    assert_eq!(
        policy["podSelector"]["matchLabels"]["app.kubernetes.io/name"],
        pod["metadata"]["labels"]["app.kubernetes.io/name"]
    );
    assert_eq!(policy["ingress"][0], json!({"ports": [{"port": "https"}]}));
    assert_eq!(policy["ingress"][1]["ports"], json!([{"port": "admin"}]));
    assert!(policy["ingress"][1]["from"].is_array());
}
