//! The volumes of a pod as directories, kept up to date.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{
    ConfigMap, KeyToPath, Pod, Secret, ServiceAccountTokenProjection, Volume, VolumeProjection,
};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::command::field_of;
use super::network::Address;
use crate::control_plane::service_account_token;
use crate::mount::{Content, Mount};

/// Lifetime of a token whose volume names none (kubernetes/kubernetes: `pkg/apis/core/v1/defaults.go`).
const TOKEN_LIFETIME: Duration = Duration::from_hours(1);

/// The volumes of one pod.
pub(super) struct Volumes {
    client: Client,
    address: Address,
    host: Address,
    directory: PathBuf,
    mounts: BTreeMap<String, Mount>,
    /// The token of each volume, and when a new one is due.
    tokens: BTreeMap<String, (String, Instant)>,
}

impl Volumes {
    pub(super) fn new(client: Client, directory: &Path, address: Address, host: Address) -> Self {
        Self {
            client,
            address,
            host,
            directory: directory.to_owned(),
            mounts: BTreeMap::new(),
            tokens: BTreeMap::new(),
        }
    }

    /// Brings all volumes up to date. An error if something that they need is not there.
    pub(super) async fn refresh(&mut self, pod: &Pod) -> Result<()> {
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        for volume in volumes {
            let what = || format!("failed to mount the volume {}", volume.name);
            let content = self.content(pod, volume).await.with_context(what)?;
            let mount = match self.mounts.entry(volume.name.clone()) {
                Entry::Occupied(mount) => mount.into_mut(),
                Entry::Vacant(place) => place.insert(Mount::new(self.directory.join(&volume.name))?),
            };
            mount.update(&content)?;
        }
        Ok(())
    }

    /// The directory of each path at which the container mounts a volume.
    pub(super) fn mounted(&self, pod: &Pod) -> Vec<(String, PathBuf)> {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let mounts = containers.flat_map(|container| container.volume_mounts.iter().flatten());
        mounts
            .filter_map(|mount| {
                let directory = self.mounts.get(&mount.name)?.directory();
                Some((
                    mount.mount_path.trim_end_matches('/').to_owned(),
                    directory.to_owned(),
                ))
            })
            .collect()
    }

    async fn content(&mut self, pod: &Pod, volume: &Volume) -> Result<Content> {
        if let Some(secret) = &volume.secret {
            let name = secret.secret_name.as_deref().unwrap_or_default();
            return self
                .secret(pod, name, secret.items.as_deref(), secret.optional)
                .await;
        }
        if let Some(map) = &volume.config_map {
            return self
                .config_map(pod, &map.name, map.items.as_deref(), map.optional)
                .await;
        }
        if volume.empty_dir.is_some() {
            return Ok(Content::new());
        }
        let projected = volume.projected.as_ref().context("its kind is not played here")?;
        let mut all = Content::new();
        for source in projected.sources.iter().flatten() {
            all.extend(self.projected(pod, &volume.name, source).await?);
        }
        Ok(all)
    }

    async fn projected(&mut self, pod: &Pod, volume: &str, source: &VolumeProjection) -> Result<Content> {
        if let Some(token) = &source.service_account_token {
            let text = self.token(pod, volume, token).await?;
            return Ok([(token.path.clone(), text.into_bytes())].into());
        }
        if let Some(map) = &source.config_map {
            return self
                .config_map(pod, &map.name, map.items.as_deref(), map.optional)
                .await;
        }
        if let Some(secret) = &source.secret {
            return self
                .secret(pod, &secret.name, secret.items.as_deref(), secret.optional)
                .await;
        }
        let fields = source
            .downward_api
            .as_ref()
            .context("its source is not played here")?;
        let mut content = Content::new();
        for item in fields.items.iter().flatten() {
            let field = item.field_ref.as_ref().context("it is not read from a field")?;
            let value = field_of(field, pod, self.address, self.host)?;
            drop(content.insert(item.path.clone(), value.into_bytes()));
        }
        Ok(content)
    }

    /// A token that is bound to the pod. A new one is due when 20 % of its lifetime are left (kubernetes/kubernetes: `pkg/kubelet/token`).
    async fn token(
        &mut self,
        pod: &Pod,
        volume: &str,
        wanted: &ServiceAccountTokenProjection,
    ) -> Result<String> {
        ensure!(
            wanted.audience.as_deref().unwrap_or_default().is_empty(),
            "a token for an audience is not played here"
        );
        if let Some((token, due)) = self.tokens.get(volume)
            && Instant::now() < *due
        {
            return Ok(token.clone());
        }
        let seconds = wanted
            .expiration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok());
        let lifetime = seconds.map_or(TOKEN_LIFETIME, Duration::from_secs);
        let account = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.service_account_name.clone());
        let account = account.context("a pod without a ServiceAccount")?;
        let namespace = pod.namespace().unwrap_or_default();
        let token = service_account_token(&self.client, &namespace, &account, Some(pod), lifetime).await?;
        let due = Instant::now() + lifetime * 4 / 5;
        drop(self.tokens.insert(volume.to_owned(), (token.clone(), due)));
        Ok(token)
    }

    async fn secret(
        &self,
        pod: &Pod,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
    ) -> Result<Content> {
        let Some(secret) = self.source::<Secret>(pod, name, optional).await? else {
            return Ok(Content::new());
        };
        let data = secret.data.into_iter().flatten();
        chosen(data.map(|(key, value)| (key, value.0)).collect(), items)
    }

    async fn config_map(
        &self,
        pod: &Pod,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
    ) -> Result<Content> {
        let Some(map) = self.source::<ConfigMap>(pod, name, optional).await? else {
            return Ok(Content::new());
        };
        let data = map.data.into_iter().flatten();
        chosen(
            data.map(|(key, value)| (key, value.into_bytes())).collect(),
            items,
        )
    }

    /// An object in the pod's namespace. An error if it is not there, unless it is optional.
    async fn source<K>(&self, pod: &Pod, name: &str, optional: Option<bool>) -> Result<Option<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let objects: Api<K> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let kind = K::kind(&());
        let found = objects
            .get_opt(name)
            .await
            .with_context(|| format!("failed to get the {kind} {name}"))?;
        ensure!(
            found.is_some() || optional == Some(true),
            "there is no {kind} {name}"
        );
        Ok(found)
    }
}

/// All keys, or those that the volume chooses, by the paths that it gives them.
fn chosen(mut data: Content, items: Option<&[KeyToPath]>) -> Result<Content> {
    let Some(items) = items else {
        return Ok(data);
    };
    let mut content = Content::new();
    for item in items {
        let Some(value) = data.remove(&item.key) else {
            bail!("there is no key {}", item.key);
        };
        drop(content.insert(item.path.clone(), value));
    }
    Ok(content)
}
