//! How a person reaches a cluster: the flags that kubectl has for that, with kubectl's meaning
//! (k8s.io/cli-runtime: `pkg/genericclioptions/config_flags.go`; k8s.io/client-go: `tools/clientcmd/loader.go`).
//!
//! Not here: the flags of the servers, which have one kubeconfig or their pod's ServiceAccount ([`super::build`]).

use std::env;
use std::path::{Path, PathBuf};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::{ClientError, IN_CLUSTER, chosen, client};

/// kubectl's variable for one or more kubeconfigs.
const KUBECONFIG: &str = "KUBECONFIG";

/// Which cluster, and as whom.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "kubectl's own flags")]
pub struct Access {
    /// Kubeconfig to use; without it, those of $KUBECONFIG, or ~/.kube/config, or the `ServiceAccount` of the pod
    #[arg(long, value_name = "FILE", global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig to use
    #[arg(long, value_name = "NAME", global = true)]
    pub context: Option<String>,
    /// Cluster of the kubeconfig to use, instead of the context's
    #[arg(long, value_name = "NAME", global = true)]
    pub cluster: Option<String>,
    /// User of the kubeconfig to use, instead of the context's
    #[arg(long, value_name = "NAME", global = true)]
    pub user: Option<String>,
    /// Address of the API server, instead of the cluster's
    #[arg(short = 's', long, value_name = "URL", global = true)]
    pub server: Option<String>,
    /// User to act as
    #[arg(long = "as", value_name = "USER", global = true)]
    pub as_user: Option<String>,
    /// Group to act as a member of; may be repeated
    #[arg(long, value_name = "GROUP", global = true)]
    pub as_group: Vec<String>,
    /// Uid to act as
    #[arg(long, value_name = "UID", global = true)]
    pub as_uid: Option<String>,
}

impl Access {
    /// Builds a client. It does not send anything.
    pub async fn client(&self) -> Result<Client, ClientError> {
        let (kubeconfig, path) = match &self.kubeconfig {
            Some(path) => {
                let read = Kubeconfig::read_from(path).map_err(|source| ClientError::Read {
                    path: path.clone(),
                    source,
                })?;
                (read, path.clone())
            }
            None => match found()? {
                Some(found) => found,
                None => return self.in_cluster(),
            },
        };
        if let Some(name) = self.user.as_ref().filter(|name| !has_user(&kubeconfig, name)) {
            return Err(ClientError::NoUser {
                name: name.clone(),
                path,
            });
        }
        let options = KubeConfigOptions {
            context: self.context.clone(),
            cluster: self.cluster.clone(),
            user: self.user.clone(),
        };
        let (config, proxy) = chosen(kubeconfig, &path, &options).await?;
        client(
            self.spoken_as(config)?,
            proxy,
            format!("the kubeconfig {}", path.display()),
        )
    }

    /// As kubectl does if there is no kubeconfig at all.
    fn in_cluster(&self) -> Result<Client, ClientError> {
        let config = Config::incluster().map_err(|_| ClientError::NoKubeconfig { path: default_path() })?;
        client(self.spoken_as(config)?, None, IN_CLUSTER.to_owned())
    }

    /// The configuration with what the flags put in the place of the kubeconfig's.
    fn spoken_as(&self, mut config: Config) -> Result<Config, ClientError> {
        if let Some(url) = &self.server {
            config.cluster_url = url
                .parse()
                .map_err(|why: http::uri::InvalidUri| ClientError::Server {
                    url: url.clone(),
                    why: why.to_string(),
                })?;
        }
        let user = &mut config.auth_info;
        if self.as_user.is_some() {
            user.impersonate.clone_from(&self.as_user);
        }
        if !self.as_group.is_empty() {
            user.impersonate_groups = Some(self.as_group.clone());
        }
        if self.as_uid.is_some() {
            user.impersonate_uid.clone_from(&self.as_uid);
        }
        Ok(config)
    }
}

/// Whether the kubeconfig has this user. kube takes one that it lacks for nobody, and then the API server refuses everything.
fn has_user(kubeconfig: &Kubeconfig, name: &str) -> bool {
    kubeconfig.auth_infos.iter().any(|known| known.name == name)
}

/// The kubeconfigs of the environment, merged, and the first of their paths; `None` if there is none. As in kubectl, a file that is
/// missing is passed over.
fn found() -> Result<Option<(Kubeconfig, PathBuf)>, ClientError> {
    let named = env::var_os(KUBECONFIG).filter(|paths| !paths.is_empty());
    let paths: Vec<PathBuf> = match named {
        Some(paths) => env::split_paths(&paths).collect(),
        None => vec![default_path()],
    };
    let mut merged: Option<(Kubeconfig, PathBuf)> = None;
    for path in paths.into_iter().filter(|path| path.is_file()) {
        let read = Kubeconfig::read_from(&path).map_err(|source| ClientError::Read {
            path: path.clone(),
            source,
        })?;
        merged = Some(match merged {
            None => (read, path),
            Some((before, first)) => {
                let both = before
                    .merge(read)
                    .map_err(|source| ClientError::Merge { source })?;
                (both, first)
            }
        });
    }
    Ok(merged)
}

fn default_path() -> PathBuf {
    let home = env::home_dir().unwrap_or_default();
    home.join(Path::new(".kube/config"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(context: &str, user: &str, proxy: &str) -> Kubeconfig {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {context}\n\
             clusters: [{{name: {context}, cluster: {{server: 'https://{context}.example:6443'{proxy}}}}}]\n\
             users: [{{name: {user}, user: {{token: t}}}}]\n\
             contexts: [{{name: {context}, context: {{cluster: {context}, user: {user}}}}}]\n"
        );
        Kubeconfig::from_yaml(&text).unwrap()
    }

    #[test]
    fn flags_choose_context_cluster_and_proxy_and_speak_as_somebody() {
        let both = kubeconfig("one", "jo", "")
            .merge(kubeconfig("two", "al", ", proxy-url: 'http://p.example:1'"))
            .unwrap();
        let options = |context: Option<&str>, cluster: Option<&str>| KubeConfigOptions {
            context: context.map(str::to_owned),
            cluster: cluster.map(str::to_owned),
            user: None,
        };
        for (context, cluster, proxy) in [
            (None, None, None),
            (Some("two"), None, Some("http://p.example:1")),
            (None, Some("two"), Some("http://p.example:1")),
            (Some("two"), Some("one"), None),
        ] {
            let chosen = super::super::cluster(&both, &options(context, cluster)).unwrap();
            assert_eq!(chosen.proxy_url.as_deref(), proxy, "{context:?} {cluster:?}");
        }
        assert!(has_user(&both, "al") && !has_user(&both, "mo"));
        let access = Access {
            as_user: Some("mo".to_owned()),
            as_group: vec!["g".to_owned()],
            server: Some("https://other:1".to_owned()),
            ..Access::default()
        };
        let config = access
            .spoken_as(Config::new("https://here:1".parse().unwrap()))
            .unwrap();
        assert_eq!(config.cluster_url, "https://other:1");
        assert_eq!(config.auth_info.impersonate.as_deref(), Some("mo"));
        assert_eq!(config.auth_info.impersonate_groups, Some(vec!["g".to_owned()]));
        let wrong = Access {
            server: Some("not a url".to_owned()),
            ..Access::default()
        };
        let said = wrong
            .spoken_as(Config::new("https://here:1".parse().unwrap()))
            .unwrap_err();
        assert!(said.to_string().contains("https://10.0.0.1:6443"), "{said}");
    }
}
