//! kured's removal, and its return from the file that the removal has written.
//!
//! Not here: when it may be removed ([`cordonhold_shared::migration::stage`]).

use std::io::Write as _;
use std::path::Path;

use cordonhold_shared::keys;
use cordonhold_shared::migration::kured_set::{KuredSet, RunsOn, affinity};
use kube::api::ListParams;
use serde_json::{Value, json};

use super::acts::TRIES_MAX;
use super::stages::Step;
use crate::cluster::unreachable;
use crate::install::text_of;
use crate::patch::{Written, say_refused};
use crate::{Ending, Error, output};

const RBAC: &str = "rbac.authorization.k8s.io/v1";

/// kured's namespace and name, as the file says.
pub(super) fn place_in(backup: &Path) -> Result<(String, String), Error> {
    let set = objects_in(backup)?
        .into_iter()
        .find(|object| object["kind"] == "DaemonSet");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = set.map(|set| set["metadata"].clone()).unwrap_or_default();
    match (text(&metadata["namespace"]), text(&metadata["name"])) {
        (namespace, name) if !namespace.is_empty() && !name.is_empty() => Ok((namespace, name)),
        _ => Err(Error::Usage(format!(
            "there is no DaemonSet of kured's in {}: name the file that migrate remove has written, with --backup",
            backup.display()
        ))),
    }
}

fn objects_in(backup: &Path) -> Result<Vec<Value>, Error> {
    serde_saphyr::from_multiple(&text_of(backup)?).map_err(|error| {
        Error::Usage(format!(
            "failed to understand {}: {error}: name the file with --backup",
            backup.display()
        ))
    })
}

impl Step<'_> {
    /// Writes kured's objects into a file, and removes them: the `DaemonSet` in one write with the look at its lock.
    pub(super) async fn remove_kured(&self) -> Result<Ending, Error> {
        let (set, kured) = self.kured_now().await?;
        let others = self.objects_around(&kured).await?;
        let all: Vec<Value> = others.iter().chain([&set]).map(bare).collect();
        write(self.backup, &all)?;
        output::line(&format!(
            "✓ wrote {} objects of kured's into {}",
            all.len(),
            self.backup.display()
        ))?;
        if !self.remove_set().await? {
            return Ok(Ending::Trouble);
        }
        for object in &others {
            if !matches!(self.cluster.remove(object, None).await?, Written::Done) {
                let path = self.backup.display();
                let says = format!("  what is left of kured's → kubectl delete --ignore-not-found -f {path}");
                output::line(&says)?;
                return Ok(Ending::Trouble);
            }
        }
        if let Some((namespace, release)) = &kured.release {
            let says =
                format!("  Helm still knows kured's release → helm -n {namespace} uninstall {release}");
            output::line(&says)?;
        }
        Ok(Ending::Fine)
    }

    async fn remove_set(&self) -> Result<bool, Error> {
        for _ in 0..TRIES_MAX {
            let (set, kured) = self.kured_now().await?;
            if let Some(why) = kured.taken() {
                say_refused(&why);
                return Ok(false);
            }
            let metadata = &set["metadata"];
            // Whoever takes the lock meanwhile makes another version.
            let as_read = json!({ "uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"] });
            match self.cluster.remove(&bare(&set), Some(&as_read)).await? {
                Written::Done => return Ok(true),
                Written::Outrun(_) => {}
                Written::Refused => return Ok(false),
            }
        }
        say_refused("kured's DaemonSet changes all the time: run the command again");
        Ok(false)
    }

    /// kured's ServiceAccount, and the bindings and roles that are for it alone.
    async fn objects_around(&self, kured: &KuredSet) -> Result<Vec<Value>, Error> {
        let namespace = kured.place.0.as_str();
        let Some(account) = kured.account.as_deref().filter(|account| *account != "default") else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        let of_cluster = self.of_kind("ClusterRole", None, namespace, account).await?;
        let of_namespace = self.of_kind("Role", Some(namespace), namespace, account).await?;
        found.extend(of_cluster.into_iter().chain(of_namespace));
        let at = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}");
        if let Some(mut account) = self.cluster.at(&at).await? {
            account["apiVersion"] = json!("v1");
            account["kind"] = json!("ServiceAccount");
            found.push(account);
        }
        Ok(found)
    }

    /// The roles of this kind, and their bindings, that are for this ServiceAccount alone.
    async fn of_kind(
        &self,
        kind: &str,
        in_namespace: Option<&str>,
        namespace: &str,
        account: &str,
    ) -> Result<Vec<Value>, Error> {
        let space = in_namespace.map_or(String::new(), |namespace| format!("/namespaces/{namespace}"));
        let plural = kind.to_ascii_lowercase();
        let list = async |plural: String| {
            let all = self
                .cluster
                .list::<Value>(&format!("/apis/{RBAC}{space}/{plural}"), ListParams::default())
                .await;
            all.map_err(|error| unreachable(&plural, error))
        };
        let bindings = list(format!("{plural}bindings")).await?;
        let is_for_it = |binding: &&Value| {
            let subjects = binding["subjects"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            matches!(subjects, [only] if only["kind"] == "ServiceAccount" && only["name"] == account
                && only["namespace"].as_str().unwrap_or(namespace) == namespace)
        };
        let (its, others): (Vec<&Value>, Vec<&Value>) = bindings.iter().partition(is_for_it);
        let refers = |binding: &Value, role: &Value| {
            binding["roleRef"]["kind"] == kind && binding["roleRef"]["name"] == role["metadata"]["name"]
        };
        let is_built_in = |role: &Value| !role["metadata"]["labels"]["kubernetes.io/bootstrapping"].is_null();
        let mut found = Vec::new();
        for role in list(format!("{plural}s")).await? {
            let is_its = its.iter().any(|binding| refers(binding, &role));
            if is_its && !is_built_in(&role) && !others.iter().any(|binding| refers(binding, &role)) {
                found.push(typed(role, kind));
            }
        }
        found.extend(
            its.into_iter()
                .map(|binding| typed(binding.clone(), &format!("{kind}Binding"))),
        );
        Ok(found)
    }

    /// Creates kured's objects from the file, with no node to run on.
    pub(super) async fn create_kured(&self) -> Result<Ending, Error> {
        let mut objects = objects_in(self.backup)?;
        for set in objects.iter_mut().filter(|object| object["kind"] == "DaemonSet") {
            let pod = &mut set["spec"]["template"]["spec"];
            pod["affinity"] = affinity(&pod["affinity"], RunsOn::Nowhere);
        }
        self.cluster.apply(&objects, false).await
    }
}

/// An object of a list, which does not say its kind.
fn typed(mut object: Value, kind: &str) -> Value {
    object["apiVersion"] = json!(RBAC);
    object["kind"] = json!(kind);
    object
}

/// An object without what the API server writes, and without what only its lock had.
fn bare(object: &Value) -> Value {
    let mut bare = object.clone();
    let metadata = &object["metadata"];
    let mut kept = json!({ "name": metadata["name"] });
    for key in ["namespace", "labels", "annotations"] {
        if !metadata[key].is_null() {
            kept[key] = metadata[key].clone();
        }
    }
    if let Some(annotations) = kept["annotations"].as_object_mut() {
        let of_lock = [
            keys::KURED_LOCK,
            keys::KURED_V2_LOCK,
            "kubectl.kubernetes.io/last-applied-configuration",
        ];
        annotations.retain(|key, _| !of_lock.contains(&key.as_str()) && !keys::is_ours(key));
    }
    bare["metadata"] = kept;
    if let Some(fields) = bare.as_object_mut() {
        drop(fields.remove("status"));
    }
    bare
}

/// Writes a file that is not there yet.
fn write(path: &Path, objects: &[Value]) -> Result<(), Error> {
    let mut text = String::new();
    for object in objects {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(object).map_err(std::io::Error::other)?);
    }
    let written = std::fs::File::create_new(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| {
        Error::Usage(format!(
            "failed to write {}: {source}: name another file with --backup, which is not there yet",
            path.display()
        ))
    })
}
