//! The lock's calls: in a Lease of ours, or in the annotation of kured's DaemonSet.
//!
//! Of either object only metadata is read. A write is a patch at the version that was read.

use cordonhold_shared::Reading;
use cordonhold_shared::keys;
use cordonhold_shared::kured::{DaemonSetView, Whereabouts};
use cordonhold_shared::reboot::cycle::Failure;
use cordonhold_shared::reboot::lock_object::{self, Carrier, CarrierView, LockView, LockWrite};
use jiff::Timestamp;
use kube::core::Request;
use kube::core::params::{GetParams, ListParams, Patch};

use super::{Api, ListView, as_agent};
use crate::args::lock::{LockConfig, LockOn};

/// One of the objects that may carry the lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) carrier: Carrier,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// The annotation that is the lock.
    pub(crate) key: &'a str,
}

impl Place<'_> {
    pub(crate) fn path(&self) -> String {
        match self.carrier {
            Carrier::Lease => format!(
                "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
                self.namespace
            ),
            Carrier::DaemonSet => format!("/apis/apps/v1/namespaces/{}/daemonsets", self.namespace),
        }
    }
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.carrier {
            Carrier::Lease => "Lease",
            Carrier::DaemonSet => "DaemonSet",
        };
        write!(f, "{kind} {}/{}", self.namespace, self.name)
    }
}

impl Api {
    pub(crate) fn lock_config(&self) -> &LockConfig {
        &self.lock
    }

    pub(crate) fn place(&self, carrier: Carrier) -> Place<'_> {
        match carrier {
            Carrier::Lease => Place {
                carrier,
                namespace: &self.lock.lock_namespace,
                name: &self.lease_name,
                key: keys::LOCK,
            },
            Carrier::DaemonSet => Place {
                carrier,
                namespace: &self.lock.ds_namespace,
                name: &self.lock.ds_name,
                key: &self.lock.lock_annotation,
            },
        }
    }

    /// The lock; an object that does not exist holds nothing.
    ///
    /// `auto` chooses at each read. Where a DaemonSet came or went since an entry was written, its holder does not find it
    /// at the confirm and calls the reboot off; meanwhile its Node fills a slot by its marks.
    pub(crate) async fn lock(&self) -> Result<LockView, Failure> {
        match self.lock.lock_on {
            LockOn::Lease => self.lock_on(Carrier::Lease).await,
            LockOn::Daemonset => self.lock_on(Carrier::DaemonSet).await,
            LockOn::Auto => match self.lock_on(Carrier::DaemonSet).await? {
                lock if lock.version.is_some() => Ok(lock),
                _ => self.lock_on(Carrier::Lease).await,
            },
        }
    }

    async fn lock_on(&self, carrier: Carrier) -> Result<LockView, Failure> {
        let place = self.place(carrier);
        let request = Request::new(place.path()).get_metadata(place.name, &GetParams::default());
        match self.call::<CarrierView>(request).await {
            Ok(object) => {
                let mut lock = object.lock(carrier, place.key, Timestamp::now());
                if let Reading::Malformed(why) = &mut lock.record {
                    *why = format!(
                        "the annotation {} of the {place} cannot be read: {why}: mend it there, or remove it while no node is in a reboot",
                        place.key
                    );
                }
                Ok(lock)
            }
            Err(error) if error.is_gone(place.name) => Ok(LockView {
                carrier,
                ..LockView::default()
            }),
            Err(error) => Err(error.failure()),
        }
    }

    /// A compare-and-swap of the lock; a Lease is created where there is none.
    pub(crate) async fn write_lock(&self, write: &LockWrite) -> Result<(), Failure> {
        let place = self.place(write.carrier);
        let version = match (&write.version, write.carrier) {
            (Some(version), _) => version.clone(),
            (None, Carrier::Lease) => self
                .register()
                .await?
                .version_if_empty()
                .ok_or(Failure::Conflict)?,
            (None, Carrier::DaemonSet) => {
                return Err(Failure::Refused(format!(
                    "the {place} does not exist: name kured's with --ds-namespace and --ds-name, or use --lock-on=lease"
                )));
            }
        };
        let body = lock_object::patch(write, place.key, &version, Timestamp::now());
        let request =
            Request::new(place.path()).patch_metadata(place.name, &as_agent(false), &Patch::Merge(body));
        self.call::<CarrierView>(request)
            .await
            .map(drop)
            .map_err(|error| error.failure())
    }

    /// The pool's Lease, created if need be, with the pool's selector on it.
    ///
    /// An apply creates what is not there and leaves the lock of what is; RBAC can limit it to this name.
    /// Whatever somebody wrote there meanwhile is a lost compare-and-swap.
    pub(crate) async fn register(&self) -> Result<CarrierView, Failure> {
        let place = self.place(Carrier::Lease);
        let body = lock_object::registration(place.namespace, place.name, &self.pool);
        let request = Request::new(place.path()).patch(place.name, &as_agent(true), &Patch::Apply(body));
        self.call(request).await.map_err(|error| match error.failure() {
            Failure::NotFound => Failure::Refused(format!(
                "failed to create the {place}: create the namespace {}, or name another with --lock-namespace",
                place.namespace
            )),
            failure => failure,
        })
    }

    /// Where kured is, given that it is not where `auto` looks.
    pub(crate) async fn kured_elsewhere(&self) -> Result<Whereabouts, Failure> {
        let mut alike = Vec::new();
        let looked = self.each(
            "/apis/apps/v1/daemonsets",
            ListParams::default(),
            |daemon_set: DaemonSetView| {
                if daemon_set.looks_like_kured() {
                    alike.push(daemon_set);
                }
            },
        );
        looked.await.map_err(|error| error.failure())?;
        Ok(Whereabouts::among(&alike))
    }

    /// The Leases beside the pool's own, other pools' among them.
    pub(crate) async fn other_leases(&self) -> Result<Vec<CarrierView>, Failure> {
        let place = self.place(Carrier::Lease);
        let request = Request::new(place.path()).list_metadata(&ListParams::default());
        let list: ListView<CarrierView> = self.call(request).await.map_err(|error| error.failure())?;
        let others = list.items.into_iter();
        Ok(others.filter(|lease| lease.metadata.name != place.name).collect())
    }
}
