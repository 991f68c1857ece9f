//! The two questions that the webhook may ask the API server, each once, bounded, and never from a cache.

use std::time::Duration;

use cordonhold_rt::client;
use cordonhold_shared::admission::{Known, KuredPolicy, Requester};
use cordonhold_shared::keys;
use futures_util::future::BoxFuture;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};

/// With the body's own bound, below the 5 s that the API server waits for us.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// What [`cordonhold_shared::admission::Fact`] asks for.
pub trait Lookup: Send + Sync {
    /// Whether the requester may cancel the hold of this Node.
    fn may_override<'a>(&'a self, requester: &'a Requester, node: &'a str) -> BoxFuture<'a, Known<bool>>;
    /// kured's lock annotation as of now.
    fn kured_lock(&self) -> BoxFuture<'_, Known<Option<String>>>;
}

/// Asks the cluster.
pub(crate) struct ClusterLookup {
    client: Client,
    kured: Option<KuredPolicy>,
}

impl ClusterLookup {
    pub(crate) fn new(client: Client, kured: Option<&KuredPolicy>) -> ClusterLookup {
        ClusterLookup {
            client,
            kured: kured.cloned(),
        }
    }

    async fn review(&self, requester: &Requester, node: &str) -> Known<bool> {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(requester.user.clone()),
                groups: Some(requester.groups.clone()),
                resource_attributes: Some(ResourceAttributes {
                    group: Some(keys::OVERRIDE_GROUP.to_owned()),
                    resource: Some(keys::OVERRIDE_RESOURCE.to_owned()),
                    verb: Some(keys::OVERRIDE_VERB.to_owned()),
                    name: Some(node.to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let (what, fix) = (
            "whether the requester may override",
            "allow the webhook's ServiceAccount to create subjectaccessreviews",
        );
        match bounded(what, fix, api.create(&PostParams::default(), &review)).await {
            Ok(answer) => Known::Is(answer.status.is_some_and(|status| status.allowed)),
            Err(why) => Known::Failed(why),
        }
    }

    async fn lock(&self) -> Known<Option<String>> {
        let Some(kured) = &self.kured else {
            return Known::Failed("the protection of kured is off".to_owned());
        };
        let api: Api<PartialObjectMeta<DaemonSet>> =
            Api::namespaced(self.client.clone(), &kured.ds_namespace);
        let what = format!("the lock on daemonset {}/{}", kured.ds_namespace, kured.ds_name);
        let fix = "allow the webhook's ServiceAccount to get it, and check --ds-namespace and --ds-name";
        let get = async {
            match api.get(&kured.ds_name).await {
                Ok(daemon_set) => Ok(Some(daemon_set)),
                // Its lock went with it.
                Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
                Err(error) => Err(error),
            }
        };
        match bounded(&what, fix, get).await {
            Ok(daemon_set) => Known::Is(daemon_set.and_then(|found| {
                found
                    .metadata
                    .annotations
                    .and_then(|mut all| all.remove(&kured.lock_annotation))
            })),
            Err(why) => Known::Failed(why),
        }
    }
}

impl Lookup for ClusterLookup {
    fn may_override<'a>(&'a self, requester: &'a Requester, node: &'a str) -> BoxFuture<'a, Known<bool>> {
        Box::pin(self.review(requester, node))
    }

    fn kured_lock(&self) -> BoxFuture<'_, Known<Option<String>>> {
        Box::pin(self.lock())
    }
}

async fn bounded<T>(
    what: &str,
    fix: &str,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, String> {
    match tokio::time::timeout(LOOKUP_TIMEOUT, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(format!(
            "failed to look up {what}: {}: {fix}",
            client::explain(&error)
        )),
        Err(_) => Err(format!(
            "failed to look up {what}: no answer from the API server within {LOOKUP_TIMEOUT:?}"
        )),
    }
}
