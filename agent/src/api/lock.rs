//! The calls for the lock, which is in an annotation on a Lease of ours, or on kured's DaemonSet.
//!
//! Only the metadata of these objects is read. A write is a patch with the `resourceVersion` that was read.
//! Not here: what the annotation says and how it changes, see [`cordonhold_shared::lock`].

use cordonhold_rt::watch::Target;
use cordonhold_shared::kured::{DaemonSetView, Whereabouts};
use cordonhold_shared::reboot::cycle::Failure;
use cordonhold_shared::reboot::lock_object::{Carrier, CarrierView, LockObject, LockObjects};
use kube::core::Request;
use kube::core::params::{GetParams, ListParams, Patch};
use serde_json::Value;

use super::{Api, CallError, ListView, Meaning as _, as_agent};

fn path(object: &LockObject) -> String {
    let (group, resource) = match object.carrier {
        Carrier::Lease => ("coordination.k8s.io", "leases"),
        Carrier::DaemonSet => ("apps", "daemonsets"),
    };
    format!("/apis/{group}/v1/namespaces/{}/{resource}", object.namespace)
}

impl Api {
    /// The name of the pool.
    pub(crate) fn pool_name(&self) -> &str {
        &self.lock.pool
    }

    pub(crate) fn lock_objects(&self) -> &LockObjects {
        &self.lock.objects
    }

    pub(crate) fn lock_object(&self, carrier: Carrier) -> &LockObject {
        self.lock.objects.object(carrier)
    }

    pub(crate) fn lock_target(object: &LockObject) -> Target {
        Target::new("the lock", path(object), format!("metadata.name={}", object.name))
    }

    pub(crate) async fn read_lock(&self, carrier: Carrier) -> Result<CarrierView, CallError> {
        let object = self.lock_object(carrier);
        let request = Request::new(path(object)).get_metadata(&object.name, &GetParams::default());
        self.call(request).await
    }

    /// Sends a merge patch of the object that carries the lock. Gives its metadata as written.
    pub(crate) async fn patch_lock(&self, carrier: Carrier, body: Value) -> Result<CarrierView, CallError> {
        let object = self.lock_object(carrier);
        let patch = Patch::Merge(body);
        let request = Request::new(path(object)).patch_metadata(&object.name, &as_agent(false), &patch);
        self.call(request).await
    }

    /// Writes the pool's selector on the pool's Lease, and creates the Lease if it does not exist.
    pub(crate) async fn register(&self) -> Result<CarrierView, Failure> {
        self.apply_lease(self.lock.objects.lease.registration(&self.pool))
            .await
    }

    /// Sends a server-side apply of the pool's Lease. It creates the Lease or leaves the lock of an existing one as it is, and, unlike a
    /// create, RBAC can limit it to this name.
    pub(crate) async fn apply_lease(&self, body: Value) -> Result<CarrierView, Failure> {
        let lease = &self.lock.objects.lease;
        let request = Request::new(path(lease)).patch(&lease.name, &as_agent(true), &Patch::Apply(body));
        self.call(request).await.map_err(|error| match error.failure() {
            Failure::NotFound => Failure::Refused(format!(
                "failed to create the {lease}: create the namespace {}, or name another with --lock-namespace",
                lease.namespace
            )),
            failure => failure,
        })
    }

    /// Searches all `DaemonSets` for kured. Call it only if kured is not where `auto` looks.
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

    /// Lists the other Leases in the pool's namespace, among which are those of other pools.
    pub(crate) async fn other_leases(&self) -> Result<Vec<CarrierView>, Failure> {
        let own = &self.lock.objects.lease;
        let request = Request::new(path(own)).list_metadata(&ListParams::default());
        let list: ListView<CarrierView> = self.call(request).await.map_err(|error| error.failure())?;
        let others = list.items.into_iter();
        Ok(others.filter(|lease| lease.metadata.name != own.name).collect())
    }
}
