//! The API server in memory: Nodes, Pods, Leases, `DaemonSets` and `PodDisruptionBudgets` under GET, LIST, WATCH, merge patch,
//! create, delete and eviction, with one revision for all of them as etcd has it.
//!
//! A test sends the same requests to this and to a real API server and compares the answers. Each request is atomic here. The
//! real one runs admission inside a compare-and-swap and repeats it on a conflict, which has the same effect.
//! Not here: strategic merge patches, validation that no request of an agent can fail, defaults, managed fields, controllers.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use cordonhold_shared::keys;
use cordonhold_shared::reboot::moment::Uptime;
use cordonhold_shared::reboot::pod::DaemonSet;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

mod admission;
mod eviction;
mod merge;
mod object;
mod selector;
mod status;
mod watch;

pub use admission::{Caller, Webhook, WebhookState};
pub(crate) use object::NOT_READY;
pub use object::{Key, Object, Resource, Stored};
pub use selector::Selector;
pub use status::{Cause, Status};
pub use watch::{EventKind, Watch, WatchEvent};

/// The wall-clock time at which every simulation begins.
pub const EPOCH: Timestamp = Timestamp::constant(1_767_225_600, 0);
/// The grace period in seconds, where neither the pod nor its deletion names one.
const GRACE_SECONDS: u64 = 30;

/// The operation of a request.
#[derive(Clone, Debug)]
pub enum Verb {
    Get,
    /// Lists one namespace, or all of them if the key's namespace is empty.
    List(Selector),
    Create(Value),
    /// A JSON merge patch (RFC 7386).
    Merge(Value),
    /// A JSON merge patch of the subresource `status`.
    MergeStatus(Value),
    /// A forced server-side apply. It creates an object; of an existing one it only changes the version.
    Apply(Value),
    Delete(Deletion),
    Evict(Deletion),
}

/// Options of a deletion.
#[derive(Clone, Debug, Default)]
pub struct Deletion {
    pub uid: Option<String>,
    pub grace_seconds: Option<u64>,
}

/// A request and who makes it.
#[derive(Clone, Debug)]
pub struct Request {
    pub caller: Rc<Caller>,
    pub key: Key,
    pub verb: Verb,
}

/// The answer to a successful request.
#[derive(Clone, Debug)]
pub enum Answer {
    Object(Stored),
    List(Vec<Stored>, u64),
    Done,
}

/// A write that was committed.
#[derive(Clone, Debug)]
pub struct Commit {
    pub version: u64,
    pub key: Key,
    pub old: Option<Stored>,
    pub new: Option<Stored>,
    pub caller: Rc<Caller>,
    /// Whether the webhook judged the write, or is never asked about such a write.
    pub is_judged: bool,
}

/// An API server in memory.
#[derive(Debug)]
pub struct ApiServer {
    objects: BTreeMap<Key, Stored>,
    version: u64,
    log: VecDeque<Commit>,
    /// The newest version that is no longer in the log.
    compacted: u64,
    uids: u64,
    pub webhook: Webhook,
    now: Uptime,
}

impl Default for ApiServer {
    fn default() -> ApiServer {
        ApiServer::new(Webhook::default())
    }
}

impl ApiServer {
    pub fn new(webhook: Webhook) -> ApiServer {
        ApiServer {
            objects: BTreeMap::new(),
            version: 1,
            log: VecDeque::new(),
            compacted: 0,
            uids: 0,
            webhook,
            now: Uptime::START,
        }
    }

    /// Carries out a request; `now` counts from [`EPOCH`].
    pub fn handle(&mut self, request: &Request, now: Uptime) -> Result<Answer, Status> {
        self.now = now;
        let key = &request.key;
        match &request.verb {
            Verb::Get => self.existing(key).map(Answer::Object),
            Verb::List(selector) => Ok(Answer::List(self.list(key, selector), self.version)),
            Verb::Create(value) => self.create(request, value.clone()).map(Answer::Object),
            Verb::Merge(patch) => self.merge(request, patch, false).map(Answer::Object),
            Verb::MergeStatus(patch) => self.merge(request, patch, true).map(Answer::Object),
            Verb::Apply(value) => match self.objects.get(key) {
                // The real server writes managed fields. They are not modelled, but the version changes.
                Some(object) => {
                    let (old, same) = (Rc::clone(object), object.value.clone());
                    Ok(Answer::Object(self.commit(request, Some(old), Some(same), true)))
                }
                None => self.create(request, value.clone()).map(Answer::Object),
            },
            Verb::Delete(deletion) => self.delete(request, deletion).map(|()| Answer::Done),
            Verb::Evict(deletion) => self.evict(request, deletion).map(|()| Answer::Done),
        }
    }

    /// The version of the last write.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The object, read without a request: for the oracle and the hosts.
    pub fn object(&self, key: &Key) -> Option<&Stored> {
        self.objects.get(key)
    }

    /// All objects of a resource.
    pub fn all(&self, resource: Resource) -> impl Iterator<Item = &Stored> {
        self.objects
            .range(Key::first(resource)..)
            .take_while(move |(key, _)| key.resource == resource)
            .map(|(_, object)| object)
    }

    /// The commits after this version that are still in the log.
    pub fn commits_after(&self, version: u64) -> impl Iterator<Item = &Commit> {
        let start = self.log.partition_point(|commit| commit.version <= version);
        self.log.range(start..)
    }

    /// Forgets the log up to this version, inclusive.
    pub fn compact(&mut self, version: u64) {
        while self.log.front().is_some_and(|commit| commit.version <= version) {
            drop(self.log.pop_front());
        }
        self.compacted = self.compacted.max(version.min(self.version));
    }

    pub(crate) fn wall(&self) -> Timestamp {
        wall(self.now)
    }

    fn existing(&self, key: &Key) -> Result<Stored, Status> {
        self.objects
            .get(key)
            .cloned()
            .ok_or_else(|| Status::not_found(key))
    }

    fn list(&self, key: &Key, selector: &Selector) -> Vec<Stored> {
        self.objects
            .range(Key::first(key.resource)..)
            .take_while(|(other, _)| other.resource == key.resource)
            .filter(|(other, object)| {
                (key.namespace.is_empty() || key.namespace == other.namespace) && selector.matches(object)
            })
            .map(|(_, object)| Rc::clone(object))
            .collect()
    }

    fn create(&mut self, request: &Request, mut value: Value) -> Result<Stored, Status> {
        let key = &request.key;
        if self.objects.contains_key(key) {
            return Err(Status::already_exists(key));
        }
        self.uids += 1;
        let metadata = &mut value["metadata"];
        metadata["name"] = json!(key.name);
        if !key.namespace.is_empty() {
            metadata["namespace"] = json!(key.namespace);
        }
        metadata["uid"] = json!(format!("uid-{}", self.uids));
        metadata["creationTimestamp"] = json!(format!("{:.0}", self.wall()));
        match key.resource {
            // As the admission plug-in TaintNodesByCondition does for every new Node.
            Resource::Nodes => object::add_taint(&mut value, object::NOT_READY),
            Resource::Pods => value["status"] = json!({ "phase": "Pending" }),
            Resource::PodDisruptionBudgets => {
                value["metadata"]["generation"] = json!(1);
                value["status"] = json!({});
            }
            Resource::DaemonSets => value["metadata"]["generation"] = json!(1),
            Resource::Leases => {}
        }
        object::normalize(&mut value);
        let is_judged = self.webhook.is_up();
        Ok(self.commit(request, None, Some(value), is_judged))
    }

    fn merge(&mut self, request: &Request, patch: &Value, of_status: bool) -> Result<Stored, Status> {
        let old = self.existing(&request.key)?;
        let mut value = old.value.clone();
        merge::apply(&mut value, patch);
        if let Some(version) = patch.pointer("/metadata/resourceVersion").and_then(Value::as_str)
            && version != old.version_text()
        {
            return Err(Status::conflict(&request.key, "the object has been modified"));
        }
        merge::keep_what_is_not_theirs(&mut value, &old.value, request.key.resource, of_status);
        object::normalize(&mut value);
        if request.key.resource == Resource::Nodes && !of_status {
            self.webhook.defer(&request.caller, &old, &mut value, self.now);
        }
        object::validate(&request.key, &value)?;
        if value == old.value {
            return Ok(old);
        }
        let is_judged = if request.key.resource == Resource::Nodes {
            let new = || object::node_of(&value);
            let kured_lock = || self.kured_lock();
            self.webhook
                .judge(&request.caller, old.node(), new, self.now, kured_lock)?
        } else {
            true
        };
        Ok(self.commit(request, Some(old), Some(value), is_judged))
    }

    pub(crate) fn has_daemon_set(&self, name: &DaemonSet) -> bool {
        let key = Key::new(Resource::DaemonSets, &name.namespace, &name.name);
        self.object(&key).is_some()
    }

    /// The lock annotation on stock kured's DaemonSet.
    fn kured_lock(&self) -> Option<String> {
        let kured = self
            .objects
            .get(&Key::new(Resource::DaemonSets, "kube-system", "kured"))?;
        kured.annotation(keys::KURED_LOCK).map(str::to_owned)
    }

    fn delete(&mut self, request: &Request, deletion: &Deletion) -> Result<(), Status> {
        let old = self.existing(&request.key)?;
        check_uid(&old, deletion, &request.key)?;
        if !old.resource_is_pod() {
            drop(self.commit(request, Some(old), None, true));
            return Ok(());
        }
        let Some(grace) = grace_seconds(&old, deletion) else {
            return Ok(());
        };
        let ahead = SignedDuration::from_secs(i64::try_from(grace).unwrap_or(i64::MAX));
        let end = self.wall().saturating_add(ahead).unwrap_or(Timestamp::MAX);
        let mut value = old.value.clone();
        value["metadata"]["deletionTimestamp"] = json!(format!("{end:.0}"));
        value["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        let ending = self.commit(request, Some(old), Some(value), true);
        if grace == 0 {
            drop(self.commit(request, Some(ending), None, true));
        }
        Ok(())
    }

    fn commit(
        &mut self,
        request: &Request,
        old: Option<Stored>,
        new: Option<Value>,
        is_judged: bool,
    ) -> Stored {
        self.version += 1;
        let key = request.key.clone();
        let is_deletion = new.is_none();
        let last = || old.as_ref().map(|old| old.value.clone());
        let mut value = new.or_else(last).unwrap_or_default();
        value["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let object = Rc::new(Object::new(value, self.version));
        drop(if is_deletion {
            self.objects.remove(&key)
        } else {
            self.objects.insert(key.clone(), Rc::clone(&object))
        });
        self.log.push_back(Commit {
            version: self.version,
            key,
            old,
            new: (!is_deletion).then(|| Rc::clone(&object)),
            caller: Rc::clone(&request.caller),
            is_judged,
        });
        object
    }
}

/// The true wall-clock time.
pub fn wall(now: Uptime) -> Timestamp {
    // Every step asks for it, and jiff's sum takes far longer.
    let since = now.since_start();
    let (seconds, nanos) = (
        i64::try_from(since.as_secs()),
        i32::try_from(since.subsec_nanos()),
    );
    let seconds = seconds
        .ok()
        .and_then(|seconds| EPOCH.as_second().checked_add(seconds));
    let time = seconds
        .zip(nanos.ok())
        .map(|(seconds, nanos)| Timestamp::new(seconds, nanos));
    time.and_then(Result::ok).unwrap_or(Timestamp::MAX)
}

fn check_uid(object: &Object, deletion: &Deletion, key: &Key) -> Result<(), Status> {
    match deletion.uid.as_ref().filter(|uid| **uid != object.uid()) {
        Some(uid) => {
            let shown = object.uid();
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {shown}");
            Err(Status::conflict(key, &why))
        }
        None => Ok(()),
    }
}

/// The grace period in seconds that a deletion of a pod starts or shortens. `None` if it changes nothing.
fn grace_seconds(pod: &Object, deletion: &Deletion) -> Option<u64> {
    if pod.deletion_timestamp().is_some() {
        let begun = pod.value["metadata"]["deletionGracePeriodSeconds"]
            .as_u64()
            .unwrap_or(0);
        return deletion.grace_seconds.filter(|grace| *grace < begun);
    }
    // Only pods that a kubelet runs have a grace period.
    let is_running =
        !pod.node_name().is_empty() && !matches!(pod.pod().status.phase.as_str(), "Succeeded" | "Failed");
    let own = pod.value["spec"]["terminationGracePeriodSeconds"].as_u64();
    let asked = deletion.grace_seconds.or(own).unwrap_or(GRACE_SECONDS);
    Some(if is_running { asked } else { 0 })
}
