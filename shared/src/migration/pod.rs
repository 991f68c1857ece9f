//! What is no flag: how kured's pods are placed and run, read from its DaemonSet or from the values of its chart.
//!
//! What our chart has a value for moves; of everything else there is a line.
//! Not here: flags and variables ([`super::source`]).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Becomes, Source};
use crate::keys;
use crate::quote::quoted;

/// Why the tolerations do not move.
const TOLERATIONS: &str = "the agents tolerate every taint, so that they come back to a node that they have tainted: to keep them off nodes, use agent.nodeSelector \
     or agent.nodeExpressions";
/// What our chart has of its own, in a pod, a container and the values of kured's chart.
const OWN: [&str; 27] = [
    "serviceAccountName",
    "serviceAccount",
    "hostPID",
    "hostNetwork",
    "hostIPC",
    "securityContext",
    "ports",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "containerSecurityContext",
    "podSecurityPolicy",
    "rbac",
    "service",
    "image",
    "imagePullPolicy",
    "imagePullSecrets",
    "terminationGracePeriodSeconds",
    "dnsPolicy",
    "restartPolicy",
    "schedulerName",
    "enableServiceLinks",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "nameOverride",
    "fullnameOverride",
    "revisionHistoryLimit",
];
/// What is read elsewhere.
const READ: [&str; 19] = [
    "containers",
    "initContainers",
    "volumes",
    "volumeMounts",
    "name",
    "command",
    "args",
    "env",
    "tolerations",
    "nodeSelector",
    "affinity",
    "configuration",
    "extraArgs",
    "extraEnvVars",
    "updateStrategy",
    "maxUnavailable",
    "podAnnotations",
    "podLabels",
    "dsAnnotations",
];
/// What moves under its own name: of a pod, a container or kured's chart, and below `agent` of ours.
const MOVED: [&str; 2] = ["priorityClassName", "resources"];
/// Annotations and labels that Kubernetes, kubectl, Helm and kured's lock write, by how they begin.
const OF_TOOLS: [&str; 11] = [
    "kubectl.kubernetes.io/",
    "deprecated.daemonset.template.generation",
    "meta.helm.sh/",
    "helm.sh/",
    "app.kubernetes.io/",
    "checksum/",
    "weave.works/kured",
    "kured.dev/",
    keys::DOMAIN,
    "controller-revision-hash",
    "pod-template-",
];
/// The operating system, which every DaemonSet for Linux names.
const OS: &str = "kubernetes.io/os";

impl Source {
    /// Reads all of kured's DaemonSet but flags and variables.
    pub(super) fn read_set(&mut self, set: &Value, container: &Value) {
        let template = &set["spec"]["template"];
        let pod = &template["spec"];
        self.read_strategy(&set["spec"]["updateStrategy"], &Value::Null);
        self.marks("annotations", "annotations", &set["metadata"]["annotations"]);
        self.marks(
            "pod annotations",
            "podAnnotations",
            &template["metadata"]["annotations"],
        );
        self.marks("pod labels", "podLabels", &template["metadata"]["labels"]);
        self.place(pod);
        let others = containers(pod, "containers").filter(|other| *other != container);
        self.beside("extraContainers", others.cloned().collect());
        self.beside(
            "extraInitContainers",
            containers(pod, "initContainers").cloned().collect(),
        );
        self.volumes(&pod["volumes"], &container["volumeMounts"]);
        self.rest(&[pod, container]);
    }

    /// Reads all of the values of kured's chart but flags and variables.
    pub(super) fn read_chart(&mut self, values: &Value) {
        self.read_strategy(&values["updateStrategy"], &values["maxUnavailable"]);
        self.marks("dsAnnotations", "annotations", &values["dsAnnotations"]);
        self.marks("podAnnotations", "podAnnotations", &values["podAnnotations"]);
        self.marks("podLabels", "podLabels", &values["podLabels"]);
        self.place(values);
        self.beside(
            "extraInitContainers",
            containers(values, "initContainers").cloned().collect(),
        );
        self.volumes(&values["volumes"], &values["volumeMounts"]);
        let metrics = &values["metrics"];
        if metrics["create"] == true {
            let mut monitor = json!({ "enabled": true });
            for key in ["namespace", "labels", "interval"] {
                if !is_empty(&metrics[key]) {
                    monitor[key] = metrics[key].clone();
                }
            }
            drop(
                self.values
                    .insert("monitoring".to_owned(), json!({ "podMonitor": monitor })),
            );
            self.say(
                "metrics",
                Becomes::Differs,
                "a PodMonitor: the agents have no Service",
            );
        }
        let mut rest = values.clone();
        if let Some(fields) = rest.as_object_mut() {
            drop(fields.remove("metrics"));
        }
        self.rest(&[&rest]);
    }

    /// Sets a value below `agent`.
    fn set(&mut self, key: &str, value: Value) {
        let agent = self.values.entry("agent").or_insert_with(|| json!({}));
        agent[key] = value;
    }

    fn moves(&mut self, setting: &str, key: &str, value: Value) {
        self.set(key, value);
        self.say(setting, Becomes::Same, &format!("it is agent.{key}"));
    }

    /// Where the pods run.
    fn place(&mut self, pod: &Value) {
        if !is_empty(&pod["tolerations"]) {
            self.leave("tolerations", TOLERATIONS);
        }
        let labels = pod["nodeSelector"].as_object().into_iter().flatten();
        let labels: Map<String, Value> = labels
            .filter(|(key, _)| ![OS, keys::AGENT].contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if !labels.is_empty() {
            self.moves("nodeSelector", "nodeSelector", Value::Object(labels));
        }
        match expressions(&pod["affinity"]) {
            Some(found) if found.is_empty() => {}
            Some(found) => self.moves("affinity", "nodeExpressions", Value::Array(found)),
            None => self.leave(
                "affinity",
                "agent.nodeExpressions takes one term of a required node affinity and nothing else: say with it which nodes get an agent",
            ),
        }
    }

    /// Annotations or labels, without those of tools.
    fn marks(&mut self, setting: &str, key: &str, of: &Value) {
        let all = of.as_object().into_iter().flatten();
        let mut own: Map<String, Value> = all
            .filter(|(name, _)| !OF_TOOLS.iter().any(|of_tool| name.starts_with(of_tool)))
            // What kured's manifest labels its pods with.
            .filter(|(name, value)| !(key == "podLabels" && *name == "name" && *value == "kured"))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if own.remove("prometheus.io/port").is_some() {
            let says = "the agents serve metrics on 9810, or on configuration.metricsPort: write that port into agent.podAnnotations";
            self.leave("the annotation prometheus.io/port", says);
        }
        if !own.is_empty() {
            self.moves(setting, key, Value::Object(own));
        }
    }

    /// Containers beside kured's.
    fn beside(&mut self, key: &str, found: Vec<Value>) {
        for container in &found {
            let name = container["name"].as_str().unwrap_or_default();
            let says = format!("it is in agent.{key}: whether the agents need it, only you know");
            self.say(&format!("the container {}", quoted(name)), Becomes::Same, &says);
        }
        if !found.is_empty() {
            self.set(key, Value::Array(found));
        }
    }

    /// Volumes: the host's files the agent reads itself; the others move with their mounts.
    fn volumes(&mut self, volumes: &Value, mounts: &Value) {
        let agent = self.values.get("agent").cloned().unwrap_or_default();
        let mounted: BTreeSet<String> = ["extraContainers", "extraInitContainers"]
            .iter()
            .flat_map(|key| agent[*key].as_array().into_iter().flatten())
            .flat_map(|container| container["volumeMounts"].as_array().into_iter().flatten())
            .filter_map(|mount| mount["name"].as_str().map(str::to_owned))
            .collect();
        let (mut kept, mut left) = (Vec::new(), BTreeSet::new());
        for volume in volumes.as_array().into_iter().flatten() {
            let name = volume["name"].as_str().unwrap_or_default();
            let is_hosts = volume["hostPath"].is_object();
            if is_hosts {
                let _ = left.insert(name.to_owned());
                let says = "the agent reads the files of the host itself";
                self.leave(&format!("the volume {}", quoted(name)), says);
            } else {
                let says = "it is in agent.extraVolumes: copy what it names into the namespace of the agents";
                self.say(&format!("the volume {}", quoted(name)), Becomes::Same, says);
            }
            if !is_hosts || mounted.contains(name) {
                kept.push(volume.clone());
            }
        }
        let mounts = mounts.as_array().into_iter().flatten();
        let mounts: Vec<Value> = mounts
            .filter(|mount| !mount["name"].as_str().is_some_and(|name| left.contains(name)))
            .cloned()
            .collect();
        for (key, list) in [("extraVolumes", kept), ("extraVolumeMounts", mounts)] {
            if !list.is_empty() {
                self.set(key, Value::Array(list));
            }
        }
    }

    fn read_strategy(&mut self, strategy: &Value, max: &Value) {
        let kind = strategy
            .as_str()
            .or_else(|| strategy["type"].as_str())
            .unwrap_or("RollingUpdate");
        let max = if is_empty(max) {
            &strategy["rollingUpdate"]["maxUnavailable"]
        } else {
            max
        };
        let ours = match kind {
            // kured's manifest and the API server have 1.
            "RollingUpdate" if is_empty(max) || *max == 1 || *max == "1" => return,
            "RollingUpdate" => json!({ "type": kind, "rollingUpdate": { "maxUnavailable": max } }),
            // A null takes the part of the default that does not go with it.
            _ => json!({ "type": kind, "rollingUpdate": null }),
        };
        self.moves("updateStrategy", "updateStrategy", ours);
    }

    /// Everything else: what moves as it is, what our chart has of its own, and what has no place here.
    fn rest(&mut self, of: &[&Value]) {
        let mut own = Vec::new();
        for (key, value) in of
            .iter()
            .flat_map(|object| object.as_object().into_iter().flatten())
        {
            if is_empty(value) || READ.contains(&key.as_str()) || is_default(key, value) {
                continue;
            }
            if key == "envFrom" {
                for from in value.as_array().into_iter().flatten() {
                    self.leave_all_of(from);
                }
            } else if MOVED.contains(&key.as_str()) {
                self.moves(key, key, value.clone());
            } else if OWN.contains(&key.as_str()) {
                own.push(key.as_str());
            } else {
                let says = "the chart has no value for it: if the agents need it, patch their DaemonSet, by kustomize or by helm --post-renderer";
                self.leave(&quoted(key), says);
            }
        }
        if !own.is_empty() {
            self.leave(&own.join(", "), "the chart has its own, which suits the agents");
        }
    }

    /// An `envFrom`, whose names only its object knows.
    fn leave_all_of(&mut self, from: &Value) {
        let kinds = [
            ("secretRef", "Secret", "secretKeyRef"),
            ("configMapRef", "ConfigMap", "configMapKeyRef"),
        ];
        for (key, kind, reference) in kinds {
            let Some(name) = from[key]["name"].as_str() else {
                continue;
            };
            let says = format!(
                "the chart has no envFrom: copy the {kind} into the namespace of the agents, and name each of its variables in agent.extraEnv with a \
                 valueFrom.{reference}; without that, a KURED_ variable in it is lost"
            );
            self.leave(&format!("envFrom of the {kind} {}", quoted(name)), &says);
        }
    }
}

fn containers<'a>(of: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    of[key].as_array().into_iter().flatten()
}

/// The expressions of an affinity that is one required term of labels; `None` if there is more in it.
fn expressions(affinity: &Value) -> Option<Vec<Value>> {
    if is_empty(affinity) {
        return Some(Vec::new());
    }
    let only = |value: &'_ Value, key: &str| -> Option<Value> {
        let mut set = value.as_object()?.iter().filter(|(_, value)| !is_empty(value));
        let (name, found) = set.next()?;
        (name == key && set.next().is_none()).then(|| found.clone())
    };
    let required = only(
        &only(affinity, "nodeAffinity")?,
        "requiredDuringSchedulingIgnoredDuringExecution",
    )?;
    let terms = only(&required, "nodeSelectorTerms")?;
    let [term] = terms.as_array()?.as_slice() else {
        return None;
    };
    let found = only(term, "matchExpressions")?;
    let mut found = found.as_array()?.clone();
    found.retain(|expression| ![OS, keys::AGENT].iter().any(|key| expression["key"] == *key));
    Some(found)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// What the API server writes where nobody has said anything, and what kured's chart has by default.
fn is_default(key: &str, value: &Value) -> bool {
    let default = match key {
        "restartPolicy" => json!("Always"),
        "dnsPolicy" => json!("ClusterFirst"),
        "schedulerName" => json!("default-scheduler"),
        "terminationGracePeriodSeconds" => json!(30),
        "terminationMessagePath" => json!("/dev/termination-log"),
        "terminationMessagePolicy" => json!("File"),
        "imagePullPolicy" => json!("IfNotPresent"),
        "enableServiceLinks" => json!(true),
        "hostNetwork" | "hostIPC" => json!(false),
        "image" => return true,
        _ => return false,
    };
    *value == default
}
