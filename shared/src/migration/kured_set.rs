//! What kured's `DaemonSet` says for a migration: where its pods may run, its lock, and which tool keeps it.
//!
//! Not here: its settings ([`super::Source`]).

use serde_json::{Value, json};

use super::Source;
use crate::Reading;
use crate::keys;
use crate::lock::Record;
use crate::quote::quoted;

/// Where kured's pods run, by the label [`keys::AGENT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunsOn {
    /// Wherever they did before.
    All,
    /// There, but for nodes with the label.
    Unlabelled,
    /// On no node.
    Nowhere,
}

/// kured's `DaemonSet`.
#[derive(Clone, Debug, PartialEq)]
pub struct KuredSet {
    /// Its namespace and name.
    pub place: (String, String),
    /// Where its pods run; the error says why that cannot be told.
    pub runs_on: Result<RunsOn, String>,
    /// What would take a change of it back: Flux, Argo CD.
    pub keeper: Option<String>,
    /// Its Helm release, by namespace and name.
    pub release: Option<(String, String)>,
    /// The ServiceAccount of its pods.
    pub account: Option<String>,
    /// How many of its nodes may be in a reboot at once, as it says it.
    pub concurrency: String,
    /// The annotation of its lock.
    pub lock_key: String,
    /// Whether its lock is on another `DaemonSet`.
    pub is_locked_elsewhere: bool,
    /// Its lock.
    pub lock: Reading<Record>,
    /// Why its pool is paused, if it is.
    pub paused: Option<String>,
}

impl KuredSet {
    /// Reads the object. `None`: it has no container.
    pub fn read(set: &Value) -> Option<KuredSet> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let settings = Source::of_daemon_set(set)?;
        let flag = |name: &str, default: &str| {
            let texts = settings
                .flags
                .get(name)
                .map(|setting| setting.texts.last().cloned());
            texts.flatten().unwrap_or_else(|| default.to_owned())
        };
        let metadata = &set["metadata"];
        let place = (text(&metadata["namespace"]), text(&metadata["name"]));
        let annotation = |key: &str| metadata["annotations"][key].as_str();
        let lock_key = flag("lock-annotation", keys::KURED_LOCK);
        let pod = &set["spec"]["template"]["spec"];
        Some(KuredSet {
            runs_on: runs_on(pod),
            keeper: keeper(metadata),
            release: annotation("meta.helm.sh/release-name").map(|name| {
                let namespace = annotation("meta.helm.sh/release-namespace").unwrap_or(&place.0);
                (namespace.to_owned(), name.to_owned())
            }),
            account: pod["serviceAccountName"].as_str().map(str::to_owned),
            concurrency: flag("concurrency", "1"),
            lock: Record::read(annotation(&lock_key)),
            is_locked_elsewhere: settings.place.as_ref() != Some(&place),
            paused: annotation(keys::PAUSE).map(str::to_owned),
            lock_key,
            place,
        })
    }

    /// Its namespace and name for people.
    pub fn name(&self) -> String {
        quoted(&format!("{}/{}", self.place.0, self.place.1))
    }

    /// Why its lock does not allow that it is changed now.
    pub fn taken(&self) -> Option<String> {
        let record = match &self.lock {
            Reading::Absent => return None,
            Reading::Malformed(why) => return Some(format!("kured's lock cannot be read: {why}")),
            Reading::Present(record) => record,
        };
        let first = record.entries.first()?;
        Some(if first.is_by_hand() {
            "somebody holds kured's lock by hand: remove that entry first".to_owned()
        } else {
            format!(
                "node {} has kured's lock: wait until it is back",
                quoted(&first.node)
            )
        })
    }

    /// Whether a node has a place in the lock, or may have.
    pub fn has_place_of(&self, node: &str) -> bool {
        match &self.lock {
            Reading::Absent => false,
            Reading::Malformed(_) => true,
            Reading::Present(record) => record.of_node(node).is_some(),
        }
    }
}

/// The tool that writes the object again and again, if one does.
pub fn keeper(metadata: &Value) -> Option<String> {
    let signs = [
        (
            "labels",
            "kustomize.toolkit.fluxcd.io/name",
            "Flux (Kustomization",
        ),
        ("labels", "helm.toolkit.fluxcd.io/name", "Flux (HelmRelease"),
        ("annotations", "argocd.argoproj.io/tracking-id", "Argo CD ("),
        ("labels", "argocd.argoproj.io/instance", "Argo CD ("),
    ];
    signs.iter().find_map(|(map, key, tool)| {
        let name = metadata[*map][*key].as_str()?;
        let space = if tool.ends_with('(') { "" } else { " " };
        Some(format!("{tool}{space}{})", quoted(name)))
    })
}

/// The two expressions of a node affinity about the label. One and its opposite match no node.
fn expression(operator: &str) -> Value {
    json!({ "key": keys::AGENT, "operator": operator })
}

fn is_about_the_label(expression: &Value) -> bool {
    expression["key"] == keys::AGENT
}

fn terms(affinity: &Value) -> Vec<Value> {
    let terms =
        &affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    terms.as_array().cloned().unwrap_or_default()
}

fn runs_on(pod: &Value) -> Result<RunsOn, String> {
    let by_hand = || {
        Err(format!(
            "kured's DaemonSet chooses nodes by the label {} in a way of its own: take that out first, or go on by hand as docs/kured.md says",
            keys::AGENT
        ))
    };
    if !pod["nodeSelector"][keys::AGENT].is_null() {
        return by_hand();
    }
    let (not_there, there) = (expression("DoesNotExist"), expression("Exists"));
    let mut of_terms = terms(&pod["affinity"]).into_iter().map(|term| {
        let all = term["matchExpressions"].as_array().cloned().unwrap_or_default();
        let about: Vec<Value> = all.into_iter().filter(is_about_the_label).collect();
        match about.as_slice() {
            [] => Some(RunsOn::All),
            [one] if *one == not_there => Some(RunsOn::Unlabelled),
            [one, other] if *one == not_there && *other == there => Some(RunsOn::Nowhere),
            _ => None,
        }
    });
    let first = of_terms.next().unwrap_or(Some(RunsOn::All));
    match first {
        Some(first) if of_terms.all(|other| other == Some(first)) => Ok(first),
        _ => by_hand(),
    }
}

/// The affinity that lets the pods run there, made from the one that they have. `Null`: none.
pub fn affinity(now: &Value, runs_on: RunsOn) -> Value {
    let ours = match runs_on {
        RunsOn::All => Vec::new(),
        RunsOn::Unlabelled => vec![expression("DoesNotExist")],
        RunsOn::Nowhere => vec![expression("DoesNotExist"), expression("Exists")],
    };
    let mut terms = terms(now);
    if terms.is_empty() {
        terms.push(json!({}));
    }
    for term in &mut terms {
        let mut all = term["matchExpressions"].as_array().cloned().unwrap_or_default();
        all.retain(|expression| !is_about_the_label(expression));
        all.extend(ours.iter().cloned());
        match term.as_object_mut() {
            Some(term) if all.is_empty() => drop(term.remove("matchExpressions")),
            _ => term["matchExpressions"] = Value::Array(all),
        }
    }
    // An empty term would match no node.
    terms.retain(|term| term.as_object().is_some_and(|term| !term.is_empty()));
    let required = if terms.is_empty() {
        Value::Null
    } else {
        json!({ "nodeSelectorTerms": terms })
    };
    let mut affinity = now.clone();
    affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] = required;
    without_nothing(affinity)
}

/// A map without the maps in it that say nothing.
fn without_nothing(value: Value) -> Value {
    let Value::Object(fields) = value else {
        return value;
    };
    let fields = fields
        .into_iter()
        .map(|(key, value)| (key, without_nothing(value)));
    let fields: serde_json::Map<String, Value> = fields.filter(|(_, value)| !value.is_null()).collect();
    if fields.is_empty() {
        Value::Null
    } else {
        Value::Object(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(affinity: &Value) -> Value {
        json!({ "metadata": { "namespace": "kube-system", "name": "kured" }, "spec": { "template": { "spec": {
            "containers": [{ "name": "kured" }], "affinity": affinity,
        } } } })
    }

    #[test]
    fn kureds_affinity_is_as_before_once_all_stages_are_undone() {
        let term = |key: &str| json!({ "matchExpressions": [{ "key": key, "operator": "Exists" }] });
        let required = |terms: &[Value]| json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } } });
        let pods = json!({ "podAntiAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [1] } });
        let fields =
            json!({ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["a"] }] });
        for before in [
            Value::Null,
            required(&[term("a"), term("b")]),
            pods,
            required(&[fields]),
        ] {
            let mut now = before.clone();
            for to in [
                RunsOn::Unlabelled,
                RunsOn::Nowhere,
                RunsOn::Unlabelled,
                RunsOn::All,
            ] {
                now = affinity(&now, to);
                assert_eq!(KuredSet::read(&set(&now)).unwrap().runs_on, Ok(to), "{now}");
            }
            assert_eq!(now, before);
        }
    }

    #[test]
    fn a_choice_of_nodes_by_somebody_else_is_not_touched() {
        let mut by_hand = set(&Value::Null);
        by_hand["spec"]["template"]["spec"]["nodeSelector"] = json!({ keys::AGENT: "disabled" });
        assert!(KuredSet::read(&by_hand).unwrap().runs_on.is_err());
        let own = json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
            { "matchExpressions": [{ "key": keys::AGENT, "operator": "In", "values": ["x"] }] },
        ] } } });
        assert!(KuredSet::read(&set(&own)).unwrap().runs_on.is_err());
    }

    #[test]
    fn a_lock_is_free_only_if_nobody_is_in_it() {
        let read = |lock: Option<&str>| {
            let mut set = set(&Value::Null);
            set["metadata"]["annotations"] = json!({ keys::KURED_LOCK: lock });
            KuredSet::read(&set).unwrap()
        };
        assert_eq!(read(None).taken(), None);
        assert_eq!(read(Some(r#"{"maxOwners":2,"locks":[]}"#)).taken(), None);
        let held = read(Some(r#"{"nodeID":"a","created":"2026-01-01T00:00:00Z","TTL":0}"#));
        assert!(held.taken().is_some_and(|why| why.contains("node a has")));
        assert!(held.has_place_of("a") && !held.has_place_of("b"));
        assert!(
            read(Some(r#"{"nodeID":"manual"}"#))
                .taken()
                .is_some_and(|why| why.contains("by hand"))
        );
        let broken = read(Some("{"));
        assert!(broken.taken().is_some() && broken.has_place_of("a"));
    }

    #[test]
    fn the_tool_that_would_take_a_change_back_is_named() {
        let named = |metadata: &Value| keeper(metadata);
        assert_eq!(named(&json!({})), None);
        let flux = json!({ "labels": { "helm.toolkit.fluxcd.io/name": "kured" } });
        assert_eq!(named(&flux).as_deref(), Some("Flux (HelmRelease kured)"));
        let argo = json!({ "annotations": { "argocd.argoproj.io/tracking-id": "a:b" } });
        assert_eq!(named(&argo).as_deref(), Some("Argo CD (a:b)"));
    }

    #[test]
    fn a_lock_is_elsewhere_if_the_flags_name_another_object() {
        let read = |args: &[&str]| {
            let mut set = set(&Value::Null);
            set["spec"]["template"]["spec"]["containers"][0]["args"] = json!(args);
            KuredSet::read(&set).unwrap()
        };
        assert!(!read(&[]).is_locked_elsewhere);
        assert!(read(&["--ds-name=other"]).is_locked_elsewhere);
        assert!(read(&["--ds-namespace=ops"]).is_locked_elsewhere);
        assert_eq!(read(&[]).name(), "kube-system/kured");
    }

    #[test]
    fn expressions_about_the_label_that_are_not_ours_or_not_in_each_term_are_somebodys_own() {
        let (not_there, there) = (expression("DoesNotExist"), expression("Exists"));
        let runs_on = |terms: &[&[&Value]]| {
            let terms: Vec<Value> = terms
                .iter()
                .map(|all| json!({ "matchExpressions": all }))
                .collect();
            let required = json!({ "nodeSelectorTerms": terms });
            let affinity =
                json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": required } });
            KuredSet::read(&set(&affinity)).unwrap().runs_on.ok()
        };
        let other = json!({ "key": "other", "operator": "Exists" });
        for (terms, expected) in [
            (&[&[&not_there][..]][..], Some(RunsOn::Unlabelled)),
            (&[&[&other, &not_there]], Some(RunsOn::Unlabelled)),
            (&[&[&not_there, &there]], Some(RunsOn::Nowhere)),
            (&[&[&there]], None),
            (&[&[&there, &not_there]], None),
            (&[&[&not_there, &not_there]], None),
            (&[&[&there, &there]], None),
            (&[&[&not_there], &[&not_there]], Some(RunsOn::Unlabelled)),
            (&[&[&not_there], &[&other]], None),
            (&[&[&other], &[&not_there]], None),
            (&[&[&other], &[&other]], Some(RunsOn::All)),
        ] {
            assert_eq!(runs_on(terms), expected, "{terms:?}");
        }
    }
}
