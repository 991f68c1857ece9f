//! Finds stock kured: the DaemonSet that the flags name, else the only one in the cluster that looks like kured's.
//!
//! Logs the result when it changes, and shows it as a metric. Not here: which DaemonSet looks like kured's
//! ([`cordonhold_shared::kured`]).

use std::fmt;
use std::sync::{Arc, Mutex};

use cordonhold_rt::api::{CallError, call, each};
use cordonhold_rt::sync::locked;
use cordonhold_shared::admission::KuredLock;
use cordonhold_shared::kured::{DaemonSetView, Kured, Whereabouts};
use kube::Client;
use kube::api::{GetParams, ListParams};
use kube::core::Request;
use tracing::{info, warn};

use crate::Metrics;
use crate::metrics::KuredFound;

/// Looks for kured's DaemonSet.
#[derive(Clone)]
pub(super) struct Finder(Arc<Inner>);

struct Inner {
    client: Client,
    /// The namespace of the DaemonSet that the flags name.
    namespace: String,
    /// The name of the DaemonSet that the flags name.
    name: String,
    metrics: Arc<Metrics>,
    last: Mutex<Option<Whereabouts>>,
}

/// The result of a search: where kured is, and its DaemonSet if there is exactly one.
pub(super) struct Located {
    pub(super) whereabouts: Whereabouts,
    pub(super) object: Option<DaemonSetView>,
}

/// The DaemonSet that the flags name, as `namespace/name`.
impl fmt::Display for Finder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.namespace, self.0.name)
    }
}

impl Finder {
    pub(super) fn new(client: Client, lock: &KuredLock, metrics: Arc<Metrics>) -> Finder {
        Finder(Arc::new(Inner {
            client,
            namespace: lock.ds_namespace.clone(),
            name: lock.ds_name.clone(),
            metrics,
            last: Mutex::default(),
        }))
    }

    /// Looks for kured now. The caller must bound the time.
    pub(super) async fn find(&self) -> Result<Located, CallError> {
        let located = self.search().await?;
        self.0.metrics.kured_is(match &located.whereabouts {
            Whereabouts::Configured(_) => KuredFound::Configured,
            Whereabouts::Elsewhere(_) => KuredFound::Elsewhere,
            Whereabouts::Several(_) => KuredFound::Several,
            Whereabouts::Nowhere | Whereabouts::Unsearched => KuredFound::Nowhere,
        });
        let told = self.replace_last(&located.whereabouts);
        if told.as_ref() != Some(&located.whereabouts) {
            self.tell(&located.whereabouts);
        }
        Ok(located)
    }

    /// Namespace and name of the DaemonSet that the flags name.
    pub(super) fn configured(&self) -> (&str, &str) {
        (&self.0.namespace, &self.0.name)
    }

    /// What was found last, as text; `None` before the first search.
    pub(super) fn told(&self) -> Option<String> {
        let last = locked(&self.0.last);
        last.as_ref().map(|whereabouts| self.describe(whereabouts))
    }

    /// Looks where the flags say, then where kured was found last, then among all `DaemonSets`.
    async fn search(&self) -> Result<Located, CallError> {
        if let Some(object) = self.get(&self.0.namespace, &self.0.name).await? {
            return Ok(Located {
                whereabouts: Whereabouts::Configured(object.kured()),
                object: Some(object),
            });
        }
        if let Some(last) = self.last_elsewhere()
            && let Some(object) = self.get(&last.namespace, &last.name).await?
            && object.looks_like_kured()
        {
            return Ok(Located {
                whereabouts: Whereabouts::Elsewhere(object.kured()),
                object: Some(object),
            });
        }
        let mut all = match self.list().await {
            Ok(all) => all,
            // A missing permission to list is a result, not a failure: the log says how to grant it.
            Err(error) if error.code() == Some(403) => {
                return Ok(Located {
                    whereabouts: Whereabouts::Unsearched,
                    object: None,
                });
            }
            Err(error) => return Err(error),
        };
        let whereabouts = Whereabouts::among(&all);
        let kured = whereabouts.kured();
        let index = all.iter().position(|view| Some(&view.kured()) == kured);
        Ok(Located {
            object: index.map(|index| all.swap_remove(index)),
            whereabouts,
        })
    }

    async fn get(&self, namespace: &str, name: &str) -> Result<Option<DaemonSetView>, CallError> {
        let request = Request::new(daemon_sets(namespace)).get(name, &GetParams::default());
        match call(&self.0.client, request).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.code() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The `DaemonSets` of all namespaces that look like kured's.
    async fn list(&self) -> Result<Vec<DaemonSetView>, CallError> {
        let mut alike = Vec::new();
        let every = "/apis/apps/v1/daemonsets";
        each(
            &self.0.client,
            every,
            ListParams::default(),
            |view: DaemonSetView| {
                alike.extend(Some(view).filter(DaemonSetView::looks_like_kured));
            },
        )
        .await?;
        Ok(alike)
    }

    fn last_elsewhere(&self) -> Option<Kured> {
        let last = locked(&self.0.last);
        match last.as_ref() {
            Some(Whereabouts::Elsewhere(kured)) => Some(kured.clone()),
            Some(
                Whereabouts::Configured(_)
                | Whereabouts::Several(_)
                | Whereabouts::Nowhere
                | Whereabouts::Unsearched,
            )
            | None => None,
        }
    }

    fn replace_last(&self, whereabouts: &Whereabouts) -> Option<Whereabouts> {
        let mut last = locked(&self.0.last);
        last.replace(whereabouts.clone())
    }

    fn tell(&self, whereabouts: &Whereabouts) {
        let text = self.describe(whereabouts);
        if let Whereabouts::Configured(_) = whereabouts {
            info!("{text}");
        } else {
            warn!("{text}");
        }
    }

    /// Says what was found, and what to do about it.
    fn describe(&self, whereabouts: &Whereabouts) -> String {
        let missing = format!("there is no daemonset {self}");
        match whereabouts {
            Whereabouts::Configured(kured) => {
                format!(
                    "kured is daemonset {kured}, ServiceAccount {}",
                    kured.service_account
                )
            }
            Whereabouts::Elsewhere(kured) => format!(
                "{missing}: kured is taken to be daemonset {kured}, ServiceAccount {}, which looks like it: \
                 if that is right, say so with --ds-namespace={} --ds-name={}",
                kured.service_account, kured.namespace, kured.name
            ),
            Whereabouts::Several(alike) => format!(
                "{missing}, and {} look like kured: name one with --ds-namespace and --ds-name",
                listed(alike)
            ),
            Whereabouts::Nowhere => format!(
                "{missing}, and no other looks like kured: no node is protected for kured. \
                 Name its DaemonSet with --ds-namespace and --ds-name, or leave out --protect-kured"
            ),
            Whereabouts::Unsearched => format!(
                "{missing}, and the webhook may not look elsewhere: no node is protected for kured. \
                 Name its DaemonSet with --ds-namespace and --ds-name, or create this ClusterRole and bind it to the webhook's ServiceAccount: \
                 kubectl create clusterrole cordonhold-webhook-kured --verb=get,list,watch --resource=daemonsets.apps"
            ),
        }
    }
}

/// The API path of the `DaemonSets` of a namespace.
pub(super) fn daemon_sets(namespace: &str) -> String {
    format!("/apis/apps/v1/namespaces/{namespace}/daemonsets")
}

fn listed(alike: &[Kured]) -> String {
    let names: Vec<String> = alike.iter().map(|kured| format!("daemonset {kured}")).collect();
    names.join(" and ")
}
