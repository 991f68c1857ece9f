//! One look at a cluster: locks and what the agents have said first, then the Nodes, and the webhook beside them.
//!
//! What may not be read is named, and the rest is read all the same.
//! Not here: what all this means ([`cordonhold_shared::fleet`]).

use std::collections::{BTreeMap, BTreeSet};

use cordonhold_rt::api::{CallError, within};
use cordonhold_shared::admission::Policy;
use cordonhold_shared::fleet::{DEFAULT_POOL, Seen, Told, Unseen, Webhook};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::lock_object::{Carrier, CarrierView, LockObject, SeenLock};
use cordonhold_webhook::{bundle_end, policy_of};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::authorization::v1::{SelfSubjectRulesReview, SelfSubjectRulesReviewSpec};
use kube::Api;
use kube::api::{ListParams, PostParams};

use crate::Error;
use crate::agents::{Agents, KuredsLock, shared_locks};
use crate::cluster::{Cluster, NODES, Sight, seen, unreachable};

mod views;

use views::{EventView, PodView};

/// The name of the webhook's Deployment.
const WEBHOOK: &str = "cordonhold-webhook";
/// The name of the webhook's configuration.
const CONFIGURATION: &str = "cordonhold";
/// The role that has all that a look needs, but for Events and pods.
const VIEW: &str = "cordonhold-view";
/// Events about objects without a namespace are here.
const EVENTS: &str = "/api/v1/namespaces/default/events";

/// Which nodes a look is for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    /// These alone; all if there is none.
    pub(crate) nodes: Vec<String>,
    /// Those with these labels.
    pub(crate) selector: Option<String>,
    /// These pools' Leases, if Leases cannot be listed.
    pub(crate) pools: Vec<String>,
}

/// What a look brings.
pub(crate) struct Look {
    /// What was seen. If not all Nodes were looked at, all those are among its Nodes that wish or are held: the queue depends on them.
    pub(crate) seen: Seen,
    /// The Nodes that wish or are held, if not all Nodes were looked at.
    pub(crate) busy: Vec<NodeView>,
    /// Where the locks are.
    pub(crate) places: Places,
    /// What was read of the webhook.
    pub(crate) installed: Installed,
}

/// The objects of the webhook, as far as they were read.
#[derive(Default)]
pub(crate) struct Installed {
    pub(crate) configuration: Option<ValidatingWebhookConfiguration>,
    pub(crate) deployment: Option<Deployment>,
    /// Its policy; `None` if its Deployment was not seen, or its flags cannot be read.
    pub(crate) policy: Option<Policy>,
}

/// Where the agents keep their locks, as far as it could be seen.
pub(crate) struct Places {
    /// The agents of each pool; by the defaults of their flags if no `DaemonSet` of theirs was read.
    pub(crate) agents: Vec<Agents>,
    /// The `DaemonSets` of agents in the namespace.
    pub(crate) sets: Vec<DaemonSet>,
    /// Whether the agents' `DaemonSets` could be read.
    pub(crate) is_seen: bool,
    /// The `DaemonSets` that may carry a lock and could not be read, each with its namespace.
    pub(crate) unread: BTreeSet<(String, String)>,
}

impl Scope {
    /// Whether all Nodes are asked for.
    pub(crate) fn is_whole(&self) -> bool {
        self.nodes.is_empty() && self.selector.is_none()
    }
}

impl Look {
    /// Takes the Nodes that were asked for.
    pub(crate) fn has(&mut self, nodes: Vec<NodeView>) {
        let is_new = |busy: &&NodeView| nodes.iter().all(|node| node.name() != busy.name());
        let others: Vec<NodeView> = self.busy.iter().filter(is_new).cloned().collect();
        self.seen.nodes = nodes.into_iter().chain(others).collect();
    }

    /// The Node of this name.
    pub(crate) fn node(&self, name: &str) -> Result<&NodeView, Error> {
        let mut nodes = self.seen.nodes.iter();
        nodes
            .find(|node| node.name() == name)
            .ok_or_else(|| Error::NoNode(name.to_owned()))
    }
}

impl Cluster {
    /// Looks at everything, the Nodes last: an entry of the lock is over if its Node, read after the lock, says so.
    pub(crate) async fn look(&self, scope: &Scope) -> Result<Look, Error> {
        let mut look = self.look_around(scope).await?;
        let nodes = self.nodes(scope).await?;
        look.has(nodes);
        Ok(look)
    }

    /// Looks at everything but the Nodes that are asked for.
    pub(crate) async fn look_around(&self, scope: &Scope) -> Result<Look, Error> {
        // Every command waits for it, and it is large.
        Box::pin(self.looked(scope)).await
    }

    async fn looked(&self, scope: &Scope) -> Result<Look, Error> {
        let mut unseen = Vec::new();
        let (webhook, installed) = self.webhook(&mut unseen).await?;
        let (locks, places) = self.locks(scope, installed.policy.as_ref(), &mut unseen).await?;
        let told = self.told(&scope.nodes, &mut unseen).await?;
        let busy = if scope.is_whole() {
            Vec::new()
        } else {
            self.busy(&mut unseen).await?
        };
        Ok(Look {
            seen: Seen {
                locks,
                told,
                nodes: Vec::new(),
                webhook,
                unseen,
            },
            busy,
            places,
            installed,
        })
    }

    /// The Nodes that are asked for.
    pub(crate) async fn nodes(&self, scope: &Scope) -> Result<Vec<NodeView>, Error> {
        if scope.nodes.is_empty() {
            let mut params = ListParams::default();
            params.label_selector.clone_from(&scope.selector);
            let nodes = self.list(NODES, params).await;
            return nodes.map_err(|source| unreachable("the Nodes", source));
        }
        let mut nodes = Vec::new();
        for name in &scope.nodes {
            nodes.push(self.node(name).await?);
        }
        Ok(nodes)
    }

    async fn busy(&self, unseen: &mut Vec<Unseen>) -> Result<Vec<NodeView>, Error> {
        let sight = Sight {
            what: "the other nodes that want a reboot or are held".to_owned(),
            needs: "list nodes".to_owned(),
            role: VIEW,
        };
        let params = ListParams::default().labels(keys::PHASE);
        Ok(seen(self.list(NODES, params).await, &sight, unseen)?.unwrap_or_default())
    }

    /// The webhook, and its objects.
    pub(crate) async fn webhook(&self, unseen: &mut Vec<Unseen>) -> Result<(Webhook, Installed), Error> {
        let mut installed = Installed::default();
        let mut webhook = Webhook {
            namespace: self.namespace.clone(),
            ..Webhook::default()
        };
        let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
        let sight = Sight {
            what: "the webhook's configuration".to_owned(),
            needs: "get validatingwebhookconfigurations.admissionregistration.k8s.io".to_owned(),
            role: VIEW,
        };
        let answer = self
            .get::<ValidatingWebhookConfiguration>(path, CONFIGURATION)
            .await;
        if let Some(found) = seen(answer, &sight, unseen)? {
            configured(&mut webhook, found.as_ref());
            installed.configuration = found;
        }
        let sight = self.sight("the webhook's Deployment", "get deployments.apps", VIEW);
        let answer = self.get::<Deployment>(&self.apps("deployments"), WEBHOOK).await;
        let Some(found) = seen(answer, &sight, unseen)? else {
            return Ok((webhook, installed));
        };
        webhook.deployed = Some(found.is_some());
        installed.deployment.clone_from(&found);
        let Some(deployment) = found else {
            return Ok((webhook, installed));
        };
        let status = deployment.status.unwrap_or_default();
        webhook.ready = Some(status.ready_replicas.unwrap_or_default());
        let spec = deployment.spec.unwrap_or_default();
        webhook.replicas = Some(spec.replicas.unwrap_or(1));
        let containers = spec.template.spec.map(|pod| pod.containers).unwrap_or_default();
        let arguments = containers
            .into_iter()
            .next()
            .and_then(|container| container.args)
            .unwrap_or_default();
        match policy_of(&arguments, &self.namespace) {
            Ok(policy) => {
                webhook.mode = Some(policy.modes.usual().as_str().to_owned());
                let is_exception = |argument: &&String| argument.starts_with("--mode-for");
                webhook.exceptions = arguments.iter().filter(is_exception).cloned().collect();
                webhook.protects_kured = Some(policy.kured.is_some());
                installed.policy = Some(policy);
            }
            Err(mistake) => {
                unseen.push(Unseen {
                    what: "the webhook's mode".to_owned(),
                    needs: None,
                    says: format!(
                        "its flags cannot be read ({mistake}): use the plugin of the webhook's version"
                    ),
                });
            }
        }
        Ok((webhook, installed))
    }

    async fn locks(
        &self,
        scope: &Scope,
        policy: Option<&Policy>,
        unseen: &mut Vec<Unseen>,
    ) -> Result<(Vec<SeenLock>, Places), Error> {
        let mut locks = self.leases(&scope.pools, unseen).await?;
        let pools: Vec<String> = locks
            .iter()
            .filter_map(|lock| lock.object.name.strip_prefix(keys::LEASE_PREFIX))
            .map(str::to_owned)
            .collect();
        let mut places = self.agents(&pools, unseen).await?;
        let mut shared = shared_locks(&places.agents);
        if let Some(lock) = policy.and_then(Policy::kured_lock) {
            shared.extend(lock.annotations.iter().map(|key| KuredsLock {
                namespace: lock.ds_namespace.clone(),
                name: lock.ds_name.clone(),
                key: key.clone(),
            }));
        }
        let mut objects: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
        for place in shared {
            let keys = objects.entry((place.namespace, place.name)).or_default();
            let _ = keys.insert(place.key);
        }
        for ((namespace, name), keys) in objects {
            let sight = Sight {
                what: format!("the lock on the DaemonSet {namespace}/{name}"),
                needs: format!("get daemonsets.apps in the namespace {namespace}"),
                role: VIEW,
            };
            let path = format!("/apis/apps/v1/namespaces/{namespace}/daemonsets");
            let answer = seen(self.get::<CarrierView>(&path, &name).await, &sight, unseen)?;
            if answer.is_none() {
                let _ = places.unread.insert((namespace.clone(), name.clone()));
            }
            let Some(view) = answer.flatten() else { continue };
            // Of several annotations that may carry a lock, those that are there; of one alone, also an empty one.
            let is_shown = |key: &&String| keys.len() == 1 || view.annotation(key).is_some();
            let shown: Vec<&String> = keys.iter().filter(is_shown).collect();
            locks.extend(
                shown
                    .into_iter()
                    .map(|key| locked(Carrier::DaemonSet, &namespace, key, view.clone())),
            );
        }
        Ok((locks, places))
    }

    /// The Leases of the pools. Whoever may not list them may get some of them by name.
    async fn leases(&self, pools: &[String], unseen: &mut Vec<Unseen>) -> Result<Vec<SeenLock>, Error> {
        let path = format!(
            "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
            self.namespace
        );
        let sight = self.sight("the Leases of the pools", "get leases.coordination.k8s.io", VIEW);
        let is_pools = |view: &CarrierView| {
            let mut annotations = view.metadata.annotations.keys();
            view.metadata.name.starts_with(keys::LEASE_PREFIX) && annotations.any(|key| keys::is_ours(key))
        };
        let as_lock = |view| locked(Carrier::Lease, &self.namespace, keys::LOCK, view);
        let listed = self.list::<CarrierView>(&path, ListParams::default()).await;
        if !matches!(&listed, Err(error) if error.code() == Some(403)) {
            let leases = seen(listed, &sight, unseen)?.unwrap_or_default();
            return Ok(leases.into_iter().filter(is_pools).map(as_lock).collect());
        }
        let mut names: BTreeSet<String> = pools
            .iter()
            .map(|pool| format!("{}{pool}", keys::LEASE_PREFIX))
            .collect();
        names.extend(self.readable_leases().await.unwrap_or_default());
        if names.is_empty() {
            let _ = names.insert(format!("{}{DEFAULT_POOL}", keys::LEASE_PREFIX));
        }
        let mut locks = Vec::new();
        for name in names {
            let sight = self.sight(
                &format!("the Lease {name}"),
                "get leases.coordination.k8s.io",
                VIEW,
            );
            locks.extend(
                seen(self.get::<CarrierView>(&path, &name).await, &sight, unseen)?
                    .flatten()
                    .map(as_lock),
            );
        }
        Ok(locks)
    }

    /// The names of the pools' Leases that the user may get, as the API server says.
    async fn readable_leases(&self) -> Result<BTreeSet<String>, CallError> {
        let api: Api<SelfSubjectRulesReview> = Api::all(self.client.clone());
        let review = SelfSubjectRulesReview {
            spec: SelfSubjectRulesReviewSpec {
                namespace: Some(self.namespace.clone()),
            },
            ..SelfSubjectRulesReview::default()
        };
        let answer = within(self.bound, api.create(&PostParams::default(), &review)).await?;
        let rules = answer
            .status
            .map(|status| status.resource_rules)
            .unwrap_or_default();
        let has = |words: Option<&Vec<String>>, word: &str| {
            words.is_some_and(|words| words.iter().any(|known| known == word))
        };
        let of_leases = rules
            .into_iter()
            .filter(|rule| has(rule.resources.as_ref(), "leases") && has(Some(&rule.verbs), "get"));
        let names = of_leases.flat_map(|rule| rule.resource_names.unwrap_or_default());
        Ok(names
            .filter(|name| name.starts_with(keys::LEASE_PREFIX))
            .collect())
    }

    async fn agents(&self, pools: &[String], unseen: &mut Vec<Unseen>) -> Result<Places, Error> {
        let path = self.apps("daemonsets");
        let known = unseen.len();
        let sight = self.sight("the agents' DaemonSets", "get daemonsets.apps", VIEW);
        let listed = self.list::<DaemonSet>(&path, of_ours()).await;
        let sets = if matches!(&listed, Err(error) if error.code() == Some(403)) {
            let mut sets = Vec::new();
            let of_pools = pools
                .iter()
                .filter(|pool| *pool != DEFAULT_POOL)
                .map(|pool| format!("{}-{pool}", keys::AGENTS));
            for name in std::iter::once(keys::AGENTS.to_owned()).chain(of_pools) {
                sets.extend(seen(self.get::<DaemonSet>(&path, &name).await, &sight, unseen)?.flatten());
            }
            sets
        } else {
            seen(listed, &sight, unseen)?.unwrap_or_default()
        };
        let is_agents = |set: &&DaemonSet| {
            set.metadata
                .name
                .as_deref()
                .is_some_and(|name| name.starts_with(keys::AGENTS))
        };
        let sets: Vec<DaemonSet> = sets.into_iter().filter(|set| is_agents(&set)).collect();
        let mut agents: Vec<Agents> = sets.iter().map(Agents::of_set).collect();
        if sets.is_empty() {
            agents = pools.iter().map(|pool| Agents::by_default(pool)).collect();
        }
        Ok(Places {
            agents,
            sets,
            is_seen: unseen.len() == known,
            unread: BTreeSet::new(),
        })
    }

    /// What the agents have said about these nodes, or about all.
    async fn told(&self, nodes: &[String], unseen: &mut Vec<Unseen>) -> Result<Vec<Told>, Error> {
        self.told_by(keys::AGENT_CONTROLLER, "the agents say", nodes, unseen)
            .await
    }

    /// What a program has said in Events about these nodes, or about all. `who`: for people.
    pub(crate) async fn told_by(
        &self,
        controller: &str,
        who: &str,
        nodes: &[String],
        unseen: &mut Vec<Unseen>,
    ) -> Result<Vec<Told>, Error> {
        let sight = Sight {
            what: format!("what {who} in Events"),
            needs: "list events in the namespace default".to_owned(),
            role: "view there, or in the whole cluster",
        };
        let of_node = match nodes {
            [node] => format!(",involvedObject.name={node}"),
            _ => String::new(),
        };
        let params = ListParams::default().fields(&format!("reportingComponent={controller}{of_node}"));
        let events = seen(self.list::<EventView>(EVENTS, params).await, &sight, unseen)?;
        Ok(events
            .unwrap_or_default()
            .into_iter()
            .filter_map(EventView::told)
            .collect())
    }

    /// The pods of agents on this node, each with whether it is Ready; `None` if they may not be seen.
    pub(crate) async fn agents_on(
        &self,
        node: &str,
        unseen: &mut Vec<Unseen>,
    ) -> Result<Option<Vec<(String, bool)>>, Error> {
        let sight = self.sight("the agent's pod", "list pods", "view");
        let path = format!("/api/v1/namespaces/{}/pods", self.namespace);
        let params = of_ours().fields(&format!("spec.nodeName={node}"));
        let pods = seen(self.list::<PodView>(&path, params).await, &sight, unseen)?;
        let agents = pods.map(|pods| {
            pods.into_iter()
                .filter(|pod| pod.metadata.name.starts_with(keys::AGENTS))
        });
        Ok(agents.map(|agents| {
            agents
                .map(|pod| (pod.metadata.name.clone(), pod.is_ready()))
                .collect()
        }))
    }

    pub(crate) fn apps(&self, kind: &str) -> String {
        format!("/apis/apps/v1/namespaces/{}/{kind}", self.namespace)
    }

    /// A read in the namespace of Cordonhold.
    pub(crate) fn sight(&self, what: &str, needs: &str, role: &'static str) -> Sight {
        Sight {
            what: what.to_owned(),
            needs: format!("{needs} in the namespace {}", self.namespace),
            role,
        }
    }
}

/// What the manifests have installed.
pub(crate) fn of_ours() -> ListParams {
    ListParams::default().labels(&format!("{}={}", keys::PART_OF.0, keys::PART_OF.1))
}

fn configured(webhook: &mut Webhook, found: Option<&ValidatingWebhookConfiguration>) {
    webhook.registered = Some(found.is_some());
    let Some(configuration) = found else { return };
    let webhooks = configuration.webhooks.iter().flatten();
    let bundles: Vec<&[u8]> = webhooks
        .map(|webhook| {
            let bundle = webhook.client_config.ca_bundle.as_ref();
            bundle.map(|bundle| bundle.0.as_slice()).unwrap_or_default()
        })
        .collect();
    webhook.has_ca = Some(bundles.iter().all(|bundle| !bundle.is_empty()));
    webhook.ca_until = bundles.iter().filter_map(|bundle| bundle_end(bundle)).min();
}

fn locked(carrier: Carrier, namespace: &str, key: &str, view: CarrierView) -> SeenLock {
    SeenLock {
        object: LockObject {
            carrier,
            namespace: namespace.to_owned(),
            name: view.metadata.name.clone(),
            key: key.to_owned(),
        },
        view,
    }
}
