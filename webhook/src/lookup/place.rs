//! Where stock kured is: where the flags say, else the one DaemonSet of the cluster that looks like it.
//!
//! What is found is told when it changes, and counted. Not here: which DaemonSet looks like kured's (the shared core).

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
    /// Where the flags say that it is.
    namespace: String,
    name: String,
    metrics: Arc<Metrics>,
    last: Mutex<Option<Whereabouts>>,
}

/// Where kured is, and its DaemonSet.
pub(super) struct Located {
    pub(super) whereabouts: Whereabouts,
    pub(super) object: Option<DaemonSetView>,
}

/// The DaemonSet that the flags name.
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

    /// Where kured is now. The caller bounds it.
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

    /// Namespace and name that the flags say.
    pub(super) fn configured(&self) -> (&str, &str) {
        (&self.0.namespace, &self.0.name)
    }

    /// What was found last, in words; `None` before the first look.
    pub(super) fn told(&self) -> Option<String> {
        let last = locked(&self.0.last);
        last.as_ref().map(|whereabouts| self.describe(whereabouts))
    }

    /// The DaemonSet where the flags say; else the one found last; else the one of all that looks like it.
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

    /// Those of all namespaces that look like kured's.
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

    /// What was found, and what to do about it.
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
                 say so with --ds-namespace={} --ds-name={}",
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
                 Name its DaemonSet with --ds-namespace and --ds-name, or bind this to the webhook's ServiceAccount: \
                 kubectl create clusterrole cordonhold-webhook-kured --verb=get,list,watch --resource=daemonsets.apps"
            ),
        }
    }
}

/// Where the `DaemonSets` of a namespace are.
pub(super) fn daemon_sets(namespace: &str) -> String {
    format!("/apis/apps/v1/namespaces/{namespace}/daemonsets")
}

fn listed(alike: &[Kured]) -> String {
    let names: Vec<String> = alike.iter().map(|kured| format!("daemonset {kured}")).collect();
    names.join(" and ")
}
