//! What `doctor` reads of a cluster. What may not be read is named, and the rest is read all the same.
//!
//! Not here: the webhook, the locks and the Nodes, which `look` reads, and the probe (`probe`).

use std::collections::BTreeMap;

use cordonhold_shared::certificates;
use cordonhold_shared::doctor::{
    AgentSet, Beat, Clock, Examined, INSTALLED, Installing, Needed, Probe, Registered, Right,
};
use cordonhold_shared::fleet::Unseen;
use cordonhold_shared::kured::{DaemonSetView, Kured};
use cordonhold_shared::quote::quoted;
use cordonhold_webhook::bundle_writer;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::api::ListParams;
use serde::Deserialize;
use serde_json::Value;

use crate::agents::{Agents, LockOn};
use crate::cluster::{Cluster, NODES, Sight, seen};
use crate::look::{Look, Scope};
use crate::{Error, clock};

/// The label by which pod security is enforced in a namespace (k8s.io/pod-security-admission: `api/constants.go`).
const ENFORCES: &str = "pod-security.kubernetes.io/enforce";
const ADMISSION: &str = "admissionregistration.k8s.io/v1";
const POLICIES: &str = "validatingadmissionpolicies";
/// Kubernetes' own role to read most things.
const VIEW: &str = "view in the whole cluster";
const ADMIN: &str = "cluster-admin";

impl Cluster {
    /// Examines an installation. `probes`: by a real request too.
    pub(super) async fn examined(&self, probes: bool) -> Result<Examined, Error> {
        let mut look = self.look_around(&Scope::default()).await?;
        let mut unseen = std::mem::take(&mut look.seen.unseen);
        let beats = self.beats(&mut unseen).await?;
        look.seen.nodes = beats.iter().map(|node| node.view.clone()).collect();
        let mut examined = self.anywhere(&mut unseen).await?;
        examined.beats = beats.iter().filter_map(NodeRead::beat).collect();
        examined.rights = self.rights(&mut unseen).await?;
        examined.refused = self.refused(&mut unseen).await?;
        let is_registered = look.seen.webhook.registered;
        if let Some(node) = look
            .seen
            .nodes
            .first()
            .filter(|_| probes && is_registered != Some(false))
        {
            let policy = look.installed.policy.as_ref();
            examined.probe = self.probe(node.name(), policy, &mut unseen).await?;
        }
        if examined.probe == Probe::Silent && is_registered.is_none() {
            // That there is no webhook is nothing wrong.
            examined.probe = Probe::Unasked;
            unseen.push(Unseen {
                what: "whether the API server reaches the webhook".to_owned(),
                needs: None,
                says: "nobody has answered the probe, and whether a webhook is registered was not seen"
                    .to_owned(),
            });
        }
        installed(&mut examined, look);
        examined.seen.unseen = unseen;
        Ok(examined)
    }

    /// Examines a cluster before the install.
    pub(super) async fn examined_before_install(&self) -> Result<(Examined, Installing), Error> {
        let mut unseen = Vec::new();
        let mut examined = self.anywhere(&mut unseen).await?;
        let (webhook, _) = self.webhook(&mut unseen).await?;
        examined.seen.webhook = webhook;
        examined.has_policies = self.has_policies(&mut unseen).await?;
        let installing = self.installing(&mut unseen).await?;
        examined.seen.unseen = unseen;
        Ok((examined, installing))
    }

    /// What is to be seen whether or not anything is installed.
    async fn anywhere(&self, unseen: &mut Vec<Unseen>) -> Result<Examined, Error> {
        let version = self.version().await?;
        let clock = version.time.map(|server| Clock {
            here: clock::now(),
            server,
        });
        Ok(Examined {
            plugin: env!("CARGO_PKG_VERSION").to_owned(),
            server: version.name,
            clock,
            kureds: self.kureds(unseen).await?,
            pod_security: self.pod_security(unseen).await?,
            ..Examined::default()
        })
    }

    async fn beats(&self, unseen: &mut Vec<Unseen>) -> Result<Vec<NodeRead>, Error> {
        let sight = Sight {
            what: "the nodes".to_owned(),
            needs: "list nodes".to_owned(),
            role: "cordonhold-view",
        };
        let nodes: Option<Vec<Value>> = seen(self.list(NODES, ListParams::default()).await, &sight, unseen)?;
        Ok(nodes
            .unwrap_or_default()
            .into_iter()
            .filter_map(NodeRead::of)
            .collect())
    }

    async fn kureds(&self, unseen: &mut Vec<Unseen>) -> Result<Option<Vec<Kured>>, Error> {
        let sight = Sight {
            what: "whether kured is in the cluster".to_owned(),
            needs: "list daemonsets.apps in the whole cluster".to_owned(),
            role: VIEW,
        };
        let sets = self
            .list::<DaemonSetView>("/apis/apps/v1/daemonsets", ListParams::default())
            .await;
        let sets = seen(sets, &sight, unseen)?;
        let is_kured = |set: &DaemonSetView| set.looks_like_kured().then(|| set.kured());
        Ok(sets.map(|sets| sets.iter().filter_map(is_kured).collect()))
    }

    /// The level of pod security that the namespace enforces, if there is such a namespace; empty if it says none.
    async fn pod_security(&self, unseen: &mut Vec<Unseen>) -> Result<Option<String>, Error> {
        let sight = Sight {
            what: format!("whether the namespace {} admits the agents' pods", self.namespace),
            needs: "get namespaces".to_owned(),
            role: VIEW,
        };
        let answer = self.get::<Labelled>("/api/v1/namespaces", &self.namespace).await;
        let found = seen(answer, &sight, unseen)?.flatten();
        Ok(found.map(|mut namespace| namespace.metadata.labels.remove(ENFORCES).unwrap_or_default()))
    }

    async fn has_policies(&self, unseen: &mut Vec<Unseen>) -> Result<Option<bool>, Error> {
        let sight = Sight {
            what: "whether the API server has policies".to_owned(),
            needs: format!("get /apis/{ADMISSION}"),
            role: "system:discovery",
        };
        let listed = self.client.list_api_group_resources(ADMISSION);
        let listed = seen(
            cordonhold_rt::api::within(self.bound, listed).await,
            &sight,
            unseen,
        )?;
        Ok(listed.map(|listed| listed.resources.iter().any(|resource| resource.name == POLICIES)))
    }

    /// Why pods could not be created lately: the last word about each object.
    async fn refused(&self, unseen: &mut Vec<Unseen>) -> Result<Vec<(String, String)>, Error> {
        let sight = self.sight("whether pods are refused", "list events", VIEW);
        let path = format!("/api/v1/namespaces/{}/events", self.namespace);
        let params = ListParams::default().fields("reason=FailedCreate");
        let events = seen(self.list::<Refusal>(&path, params).await, &sight, unseen)?;
        let mut last = BTreeMap::new();
        for event in events.unwrap_or_default() {
            let object = format!("{} {}", event.involved_object.kind, event.involved_object.name);
            drop(last.insert(object, event.message));
        }
        Ok(last.into_iter().collect())
    }

    /// What our `ServiceAccount`s may do. Whoever may not ask is told so once.
    async fn rights(&self, unseen: &mut Vec<Unseen>) -> Result<Vec<Right>, Error> {
        let sight = Sight {
            what: "what the ServiceAccounts may do".to_owned(),
            needs: "create subjectaccessreviews.authorization.k8s.io".to_owned(),
            role: ADMIN,
        };
        let mut rights = Vec::new();
        for needed in Needed::ALL {
            let user = format!("system:serviceaccount:{}:{}", self.namespace, needed.account);
            let groups = ["system:serviceaccounts", "system:authenticated"].map(str::to_owned);
            let of_namespace = format!("system:serviceaccounts:{}", self.namespace);
            let review = SubjectAccessReview {
                spec: SubjectAccessReviewSpec {
                    user: Some(user),
                    groups: Some(groups.into_iter().chain([of_namespace]).collect()),
                    resource_attributes: Some(asked(
                        needed.verb,
                        needed.group,
                        needed.resource,
                        needed.subresource,
                    )),
                    ..SubjectAccessReviewSpec::default()
                },
                ..SubjectAccessReview::default()
            };
            let Some(answer) = seen(self.review(&review).await, &sight, unseen)? else {
                return Ok(Vec::new());
            };
            rights.push(Right {
                needed,
                is_granted: answer.status.is_some_and(|status| status.allowed),
            });
        }
        Ok(rights)
    }

    /// What whoever asks may not create of what is installed.
    async fn installing(&self, unseen: &mut Vec<Unseen>) -> Result<Installing, Error> {
        let sight = Sight {
            what: "what you may create".to_owned(),
            needs: "create selfsubjectaccessreviews.authorization.k8s.io".to_owned(),
            role: "system:basic-user",
        };
        let mut missing = Vec::new();
        for (group, resource) in INSTALLED {
            let review = SelfSubjectAccessReview {
                spec: SelfSubjectAccessReviewSpec {
                    resource_attributes: Some(asked("create", group, resource, "")),
                    ..SelfSubjectAccessReviewSpec::default()
                },
                ..SelfSubjectAccessReview::default()
            };
            let Some(answer) = seen(self.review(&review).await, &sight, unseen)? else {
                return Ok(Installing::default());
            };
            if !answer.status.is_some_and(|status| status.allowed) {
                missing.push(resource.to_owned());
            }
        }
        Ok(Installing {
            missing: Some(missing),
        })
    }
}

/// A permission in the whole cluster.
fn asked(verb: &str, group: &str, resource: &str, subresource: &str) -> ResourceAttributes {
    ResourceAttributes {
        verb: Some(verb.to_owned()),
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: Some(subresource.to_owned()).filter(|subresource| !subresource.is_empty()),
        ..ResourceAttributes::default()
    }
}

/// Adds what the objects of the installation say.
fn installed(examined: &mut Examined, look: Look) {
    let objects = look.installed;
    if let Some(configuration) = &objects.configuration {
        examined.registered = registered(configuration);
        examined.written = bundle_writer(configuration);
        examined.applied = applied(configuration);
    }
    let deployment = objects.deployment.and_then(|deployment| deployment.spec);
    examined.webhook_image = deployment.and_then(|spec| image(Some(&spec.template)));
    examined.agents = look
        .places
        .is_seen
        .then(|| look.places.sets.iter().map(agent_set).collect());
    examined.seen = look.seen;
}

/// Who applied the configuration last, by its `managedFields`; the program that writes the `caBundle`s does not count.
fn applied(configuration: &ValidatingWebhookConfiguration) -> Option<String> {
    let entries = configuration.metadata.managed_fields.iter().flatten();
    let others = entries.filter(|entry| {
        let manager = entry.manager.as_deref().unwrap_or_default();
        !manager.starts_with(certificates::MANAGER)
    });
    let last = others.max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?;
    let manager = quoted(last.manager.as_deref()?);
    let at = last
        .time
        .as_ref()
        .map_or_else(String::new, |time| format!(" at {}", time.0));
    Some(format!("was applied last by the field manager {manager}{at}"))
}

fn registered(configuration: &ValidatingWebhookConfiguration) -> Vec<Registered> {
    let webhooks = configuration.webhooks.iter().flatten();
    let registered = webhooks.map(|webhook| Registered {
        name: webhook.name.clone(),
        fails_open: webhook.failure_policy.as_deref() == Some("Ignore"),
        has_conditions: webhook
            .match_conditions
            .as_ref()
            .is_some_and(|all| !all.is_empty()),
    });
    registered.collect()
}

fn agent_set(set: &DaemonSet) -> AgentSet {
    let agents = Agents::of_set(set);
    let status = set.status.clone().unwrap_or_default();
    let on_kureds = format!("{}/{}", agents.kured.namespace, agents.kured.name);
    AgentSet {
        name: set.metadata.name.clone().unwrap_or_default(),
        image: image(set.spec.as_ref().map(|spec| &spec.template)).unwrap_or_default(),
        wanted: status.desired_number_scheduled,
        ready: status.number_ready,
        shares_with: (agents.lock_on != LockOn::Lease).then_some(on_kureds),
    }
}

/// The image of the first container.
fn image(template: Option<&PodTemplateSpec>) -> Option<String> {
    template?.spec.as_ref()?.containers.first()?.image.clone()
}

/// A Node with what [`cordonhold_shared::node::NodeView`] leaves out.
struct NodeRead {
    view: cordonhold_shared::node::NodeView,
    whole: Value,
}

impl NodeRead {
    fn of(whole: Value) -> Option<NodeRead> {
        let view = serde_json::from_value(whole.clone()).ok()?;
        Some(NodeRead { view, whole })
    }

    /// The last heartbeat in the condition `Ready`, and when the API server noted it. Who writes it owns that field.
    fn beat(&self) -> Option<Beat> {
        let conditions = self.whole["status"]["conditions"].as_array()?;
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready")?;
        let at: Timestamp = ready["lastHeartbeatTime"].as_str()?.parse().ok()?;
        let entries = self.whole["metadata"]["managedFields"].as_array()?;
        let owns = |entry: &&Value| {
            entry["fieldsV1"]["f:status"]["f:conditions"][r#"k:{"type":"Ready"}"#]["f:lastHeartbeatTime"]
                .is_object()
        };
        let noted = entries.iter().find(owns)?["time"].as_str()?.parse().ok()?;
        Some(Beat {
            node: self.view.name().to_owned(),
            at,
            noted,
        })
    }
}

/// The labels of an object.
#[derive(Deserialize)]
struct Labelled {
    metadata: Labels,
}

#[derive(Deserialize)]
struct Labels {
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// An Event about pods that could not be created.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Refusal {
    involved_object: Involved,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Involved {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    name: String,
}
