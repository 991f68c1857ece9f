//! Stored objects: JSON with a version, decoded at most once into what the agent reads of it.

use std::cell::OnceCell;
use std::rc::Rc;

use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::lock_object::CarrierView;
use cordonhold_shared::reboot::pod::PodView;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::Status;

/// The resources of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    Nodes,
    Pods,
    Leases,
    DaemonSets,
    PodDisruptionBudgets,
}

/// Names an object. For a LIST the name is empty, and the namespace may be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub resource: Resource,
    pub namespace: String,
    pub name: String,
}

/// One version of an object.
#[derive(Debug)]
pub struct Object {
    pub value: Value,
    pub version: u64,
    node: OnceCell<NodeView>,
    pod: OnceCell<PodView>,
    carrier: OnceCell<Option<CarrierView>>,
}

/// An object shared by the store, the log and its readers.
pub type Stored = Rc<Object>;

/// The taint of a Node whose kubelet has not said that it is Ready.
pub(crate) const NOT_READY: &str = "node.kubernetes.io/not-ready";

impl Resource {
    pub fn as_str(self) -> &'static str {
        match self {
            Resource::Nodes => "nodes",
            Resource::Pods => "pods",
            Resource::Leases => "leases",
            Resource::DaemonSets => "daemonsets",
            Resource::PodDisruptionBudgets => "poddisruptionbudgets",
        }
    }
}

impl Key {
    pub fn new(resource: Resource, namespace: &str, name: &str) -> Key {
        Key {
            resource,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    pub fn node(name: &str) -> Key {
        Key::new(Resource::Nodes, "", name)
    }

    /// A key that sorts before every object of this resource.
    pub(crate) fn first(resource: Resource) -> Key {
        Key::new(resource, "", "")
    }
}

impl Object {
    pub(crate) fn new(value: Value, version: u64) -> Object {
        Object {
            value,
            version,
            node: OnceCell::new(),
            pod: OnceCell::new(),
            carrier: OnceCell::new(),
        }
    }

    /// The object decoded as a Node, as the agent does it.
    pub fn node(&self) -> &NodeView {
        self.node.get_or_init(|| node_of(&self.value))
    }

    /// The object decoded as a Pod, as the agent does it.
    pub fn pod(&self) -> &PodView {
        self.pod
            .get_or_init(|| PodView::deserialize(&self.value).unwrap_or_default())
    }

    /// The object decoded as the agent decodes the one with the lock.
    pub fn carrier(&self) -> Option<&CarrierView> {
        let carrier = || CarrierView::deserialize(&self.value).ok();
        self.carrier.get_or_init(carrier).as_ref()
    }

    fn metadata(&self, field: &str) -> &str {
        self.value["metadata"][field].as_str().unwrap_or_default()
    }

    pub fn name(&self) -> &str {
        self.metadata("name")
    }

    pub(crate) fn namespace(&self) -> &str {
        self.metadata("namespace")
    }

    pub(crate) fn node_name(&self) -> &str {
        self.value["spec"]["nodeName"].as_str().unwrap_or_default()
    }

    pub fn uid(&self) -> &str {
        self.metadata("uid")
    }

    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.value["metadata"]["annotations"][key].as_str()
    }

    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.value["metadata"]["labels"][key].as_str()
    }

    pub(crate) fn version_text(&self) -> &str {
        self.metadata("resourceVersion")
    }

    pub(crate) fn deletion_timestamp(&self) -> Option<&str> {
        self.value["metadata"]["deletionTimestamp"].as_str()
    }

    pub(crate) fn resource_is_pod(&self) -> bool {
        self.value["kind"] == "Pod"
    }
}

pub(crate) fn node_of(value: &Value) -> NodeView {
    NodeView::deserialize(value).unwrap_or_default()
}

pub(crate) fn add_taint(value: &mut Value, key: &str) {
    let taint = json!({ "key": key, "effect": "NoSchedule" });
    match value["spec"]["taints"].as_array_mut() {
        Some(taints) if taints.contains(&taint) => {}
        Some(taints) => taints.push(taint),
        None => value["spec"]["taints"] = json!([taint]),
    }
}

/// Removes empty fields that a real API server leaves out, and adds an empty `spec` where there is none.
pub(crate) fn normalize(value: &mut Value) {
    // In the real server `spec` is a struct, so it is always there.
    if value["spec"].is_null() {
        value["spec"] = json!({});
    }
    for (part, key) in [
        ("metadata", "labels"),
        ("metadata", "annotations"),
        ("spec", "taints"),
        ("spec", "unschedulable"),
    ] {
        let Some(fields) = value.get_mut(part).and_then(Value::as_object_mut) else {
            continue;
        };
        let is_empty = fields.get(key).is_some_and(|field| match field {
            Value::Null | Value::Bool(false) => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(entries) => entries.is_empty(),
            _ => false,
        });
        if is_empty {
            drop(fields.remove(key));
        }
    }
}

/// Checks that no two taints of a Node have the same key and effect.
pub(crate) fn validate(key: &Key, value: &Value) -> Result<(), Status> {
    let taints = value["spec"]["taints"].as_array().map_or(&[][..], Vec::as_slice);
    let name = |taint: &Value| (taint["key"].clone(), taint["effect"].clone());
    let repeats = |index: usize| {
        taints[..index]
            .iter()
            .any(|other| name(other) == name(&taints[index]))
    };
    if key.resource == Resource::Nodes && (0..taints.len()).any(repeats) {
        return Err(Status::invalid(key, "spec.taints: Duplicate value"));
    }
    Ok(())
}
