//! Which fields of a pod the player acts on, and which it may leave alone. A pod with any other is refused: it would run otherwise than it says.
//!
//! Not here: values that are not played, such as a probe of another host; whoever reads the value refuses it.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

/// Fields that the player acts on, by the object that they are in. `*Probe` stands for each kind of probe.
const PLAYED: [(&str, &[&str]); 9] = [
    (
        "spec",
        &[
            "hostNetwork",
            "nodeName",
            "restartPolicy",
            "serviceAccountName",
            "terminationGracePeriodSeconds",
        ],
    ),
    ("spec.containers[]", &["name", "image", "args"]),
    ("spec.containers[].env[]", &["name", "value"]),
    (
        "spec.containers[].env[].valueFrom.fieldRef",
        &["apiVersion", "fieldPath"],
    ),
    ("spec.containers[].ports[]", &["name", "containerPort"]),
    ("spec.containers[].volumeMounts[]", &["name", "mountPath"]),
    (
        "spec.containers[].*Probe",
        &[
            "failureThreshold",
            "httpGet.host",
            "httpGet.path",
            "httpGet.port",
            "httpGet.scheme",
            "initialDelaySeconds",
            "periodSeconds",
            "successThreshold",
            "timeoutSeconds",
        ],
    ),
    (
        "spec.volumes[]",
        &[
            "name",
            "emptyDir",
            "configMap.items",
            "configMap.name",
            "configMap.optional",
            "secret.items",
            "secret.optional",
            "secret.secretName",
        ],
    ),
    (
        "spec.volumes[].projected.sources[]",
        &["configMap", "downwardAPI", "secret", "serviceAccountToken"],
    ),
];

/// Fields of the scheduler, of admission and of the control loops, which act on them; and of what keeps a container apart from its host, of which
/// nothing is played, as the list of deviations says.
const LEFT_ALONE: [(&str, &[&str]); 5] = [
    (
        "spec",
        &[
            "affinity",
            "automountServiceAccountToken",
            "dnsPolicy",
            "enableServiceLinks",
            "hostPID",
            "imagePullSecrets",
            "nodeSelector",
            "preemptionPolicy",
            "priority",
            "priorityClassName",
            "schedulerName",
            "securityContext",
            "serviceAccount",
            "tolerations",
            "topologySpreadConstraints",
        ],
    ),
    (
        "spec.containers[]",
        &[
            "imagePullPolicy",
            "resources",
            "securityContext",
            "terminationMessagePath",
            "terminationMessagePolicy",
        ],
    ),
    // The same number as the container's port, on the host's network.
    ("spec.containers[].ports[]", &["hostPort", "protocol"]),
    ("spec.containers[].volumeMounts[]", &["readOnly"]),
    (
        "spec.volumes[]",
        &[
            "configMap.defaultMode",
            "projected.defaultMode",
            "secret.defaultMode",
        ],
    ),
];

/// An error that names each field of the pod that is not played.
pub(super) fn check(pod: &Pod) -> Result<()> {
    let spec = serde_json::to_value(&pod.spec)?;
    let mut refused = Vec::new();
    walk("spec", "spec", &spec, &mut refused);
    ensure!(
        refused.is_empty(),
        "fields that are not played here: {}; take them out, or try the pod on a real node",
        refused.join(", ")
    );
    Ok(())
}

/// Adds the fields at and below this path that are not played, each as far as needed, with what is played beside it. `shown` is the path with
/// the name of each probe.
fn walk(shown: &str, path: &str, value: &Value, refused: &mut Vec<String>) {
    if all().any(|known| known == path) {
        return;
    }
    let is_on_the_way = all().any(|known| {
        let rest = known.strip_prefix(path);
        rest.is_some_and(|rest| rest.starts_with(['.', '[']))
    });
    if !is_on_the_way {
        refused.push(format!("{shown} (played there: {})", beside(path).join(", ")));
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let general = if name.ends_with("Probe") { "*Probe" } else { name };
                walk(
                    &format!("{shown}.{name}"),
                    &format!("{path}.{general}"),
                    value,
                    refused,
                );
            }
        }
        Value::Array(items) => {
            for item in items {
                walk(&format!("{shown}[]"), &format!("{path}[]"), item, refused);
            }
        }
        _ => {}
    }
}

/// The paths of all fields that no pod is refused for.
fn all() -> impl Iterator<Item = String> {
    paths(&PLAYED).chain(paths(&LEFT_ALONE))
}

fn paths(table: &[(&'static str, &'static [&'static str])]) -> impl Iterator<Item = String> {
    let rows = table.iter();
    rows.flat_map(|(object, fields)| fields.iter().map(move |field| format!("{object}.{field}")))
}

/// The names of the fields that are played in the object that this field is in.
fn beside(path: &str) -> Vec<String> {
    let object = path.rsplit_once('.').map_or("", |(object, _)| object);
    let mut names: Vec<String> = paths(&PLAYED)
        .filter_map(|known| {
            let rest = known.strip_prefix(object)?.strip_prefix('.')?;
            Some(rest.split(['.', '[']).next()?.to_owned())
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(spec: &Value) -> String {
        let pod: Pod = serde_json::from_value(json!({ "spec": spec })).unwrap();
        check(&pod)
            .err()
            .map(|error| format!("{error:#}"))
            .unwrap_or_default()
    }

    #[test]
    fn a_pod_as_the_api_server_completes_it_is_played() {
        let spec = json!({
            "nodeName": "node-0", "hostPID": true, "restartPolicy": "Always", "securityContext": {}, "tolerations": [{ "operator": "Exists" }],
            "containers": [{
                "name": "a", "image": "b", "args": ["--c"], "resources": { "limits": { "memory": "1Mi" } }, "imagePullPolicy": "Always",
                "env": [{ "name": "A", "value": "" }, { "name": "B", "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": "spec.nodeName" } } }],
                "ports": [{ "name": "metrics", "containerPort": 9810, "hostPort": 9810, "protocol": "TCP" }],
                "livenessProbe": { "httpGet": { "path": "/livez", "port": "metrics", "scheme": "HTTP" }, "periodSeconds": 30 },
                "volumeMounts": [{ "name": "a", "mountPath": "/a", "readOnly": true }],
            }],
            "volumes": [
                { "name": "a", "emptyDir": { "sizeLimit": "1Mi" } },
                { "name": "b", "projected": { "defaultMode": 420, "sources": [{ "serviceAccountToken": { "path": "token", "expirationSeconds": 3607 } }] } },
                { "name": "c", "secret": { "secretName": "c", "defaultMode": 288, "items": [{ "key": "a", "path": "b" }] } },
            ],
        });
        assert_eq!(refused(&spec), "");
    }

    #[test]
    fn a_field_that_is_not_played_is_named_with_those_that_are() {
        let container = |more: Value| {
            let mut container = json!({ "name": "a" });
            container
                .as_object_mut()
                .unwrap()
                .append(&mut more.as_object().unwrap().clone());
            json!({ "containers": [container] })
        };
        for (spec, named, beside) in [
            (
                container(json!({ "command": ["a"] })),
                "spec.containers[].command",
                "*Probe, args, env, image",
            ),
            (
                container(json!({ "lifecycle": { "preStop": { "sleep": { "seconds": 1 } } } })),
                "spec.containers[].lifecycle",
                "*Probe, args, env, image",
            ),
            (
                container(
                    json!({ "env": [{ "name": "A", "valueFrom": { "secretKeyRef": { "name": "a", "key": "b" } } }] }),
                ),
                "spec.containers[].env[].valueFrom.secretKeyRef",
                "fieldRef",
            ),
            (
                container(json!({ "readinessProbe": { "exec": { "command": ["a"] } } })),
                "spec.containers[].readinessProbe.exec",
                "failureThreshold, httpGet",
            ),
            (
                container(json!({ "volumeMounts": [{ "name": "a", "mountPath": "/a", "subPath": "b" }] })),
                "spec.containers[].volumeMounts[].subPath",
                "mountPath, name",
            ),
            (
                json!({ "containers": [], "volumes": [{ "name": "a", "hostPath": { "path": "/run" } }] }),
                "spec.volumes[].hostPath",
                "configMap, emptyDir, name, projected, secret",
            ),
            (
                json!({ "containers": [], "activeDeadlineSeconds": 1 }),
                "spec.activeDeadlineSeconds",
                "containers, hostNetwork",
            ),
            (
                json!({ "containers": [], "initContainers": [{ "name": "a" }] }),
                "spec.initContainers",
                "containers",
            ),
        ] {
            let said = refused(&spec);
            assert!(
                said.contains(&format!("{named} (played there: {beside}")),
                "{said}"
            );
        }
    }

    #[test]
    fn every_field_that_is_not_played_is_named() {
        let said = refused(
            &json!({ "hostIPC": true, "hostname": "a", "containers": [{ "name": "a", "tty": true }] }),
        );
        for field in ["spec.hostIPC", "spec.hostname", "spec.containers[].tty"] {
            assert!(said.contains(field), "{said}");
        }
    }
}
