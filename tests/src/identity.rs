//! Identities at the API server: writes kubeconfig files, and builds clients that impersonate somebody.
//!
//! Not here: issuing tokens and granting RBAC permissions, see `control_plane`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cordonhold_rt::client::{CONNECT_TIMEOUT, READ_TIMEOUT, WRITE_TIMEOUT};
use http::{HeaderName, HeaderValue};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;

/// The user name of an ordinary controller that RBAC lets update and patch nodes.
pub const ORDINARY_CONTROLLER: &str = "ordinary-controller";

/// An identity that has its own kubeconfig.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// A member of `system:masters`.
    Admin,
    /// A controller that reads pods and may get, list, watch, update and patch nodes.
    Controller,
    /// The kubelet of a real node, named [`crate::real_node::NAME`].
    Kubelet,
}

impl Identity {
    pub(crate) const ALL: [Self; 3] = [Self::Admin, Self::Controller, Self::Kubelet];

    /// The user name that the API server sees.
    pub fn user(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Controller => ORDINARY_CONTROLLER,
            Self::Kubelet => "system:node:node-0",
        }
    }

    pub(crate) fn groups(self) -> &'static str {
        match self {
            Self::Admin => "system:masters",
            Self::Controller => "",
            Self::Kubelet => "system:nodes",
        }
    }
}

/// How a kubeconfig authenticates its user.
#[derive(Debug, Clone)]
pub enum Credential {
    Token(String),
    /// A file with the token. Clients read it again when it changes.
    TokenFile(PathBuf),
}

/// The address of the API server and its CA.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub url: String,
    pub ca_file: PathBuf,
}

impl Endpoint {
    /// Writes a kubeconfig as JSON, which is valid YAML.
    pub fn write_kubeconfig(&self, path: &Path, user: &str, credential: &Credential) -> Result<()> {
        let credential = match credential {
            Credential::Token(token) => json!({ "token": token }),
            Credential::TokenFile(file) => json!({ "tokenFile": file }),
        };
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "test", "cluster": { "server": self.url, "certificate-authority": self.ca_file } }],
            "users": [{ "name": user, "user": credential }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": user } }],
            "current-context": "test",
        });
        std::fs::write(path, format!("{kubeconfig:#}\n"))
            .with_context(|| format!("failed to write {}", path.display()))
    }
}

/// A user to impersonate: an admin's client sends these headers, and the API server treats the request as that user's.
#[derive(Debug, Clone)]
pub struct Impersonation {
    pub user: String,
    pub groups: Vec<String>,
    pub extra: Vec<(String, String)>,
}

impl Impersonation {
    pub fn user(user: &str) -> Self {
        Self {
            user: user.to_owned(),
            groups: vec!["system:authenticated".to_owned()],
            extra: Vec::new(),
        }
    }

    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self {
            user: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".to_owned(),
            ],
            extra: Vec::new(),
        }
    }

    #[must_use]
    pub fn group(mut self, group: &str) -> Self {
        self.groups.push(group.to_owned());
        self
    }

    /// Adds the node name that a token bound to a pod on this node carries.
    #[must_use]
    pub fn on_node(mut self, node: &str) -> Self {
        self.extra.push((
            "authentication.kubernetes.io/node-name".to_owned(),
            node.to_owned(),
        ));
        self
    }

    fn headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>> {
        let mut headers = vec![("impersonate-user".to_owned(), &self.user)];
        headers.extend(
            self.groups
                .iter()
                .map(|group| ("impersonate-group".to_owned(), group)),
        );
        headers.extend(
            self.extra
                .iter()
                .map(|(key, value)| (format!("impersonate-extra-{}", key.replace('/', "%2f")), value)),
        );
        headers
            .into_iter()
            .map(|(name, value)| Ok((HeaderName::try_from(name)?, HeaderValue::from_str(value)?)))
            .collect::<Result<_>>()
            .with_context(|| format!("failed to impersonate {self:?}: a name does not fit into a header"))
    }
}

/// Builds a client from a kubeconfig file. It does not retry, and its requests time out.
pub async fn client(kubeconfig: &Path, speaks_as: Option<&Impersonation>) -> Result<Client> {
    let read = Kubeconfig::read_from(kubeconfig)
        .with_context(|| format!("failed to read the kubeconfig {}", kubeconfig.display()))?;
    let mut config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("failed to use the kubeconfig {}", kubeconfig.display()))?;
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.write_timeout = Some(WRITE_TIMEOUT);
    if let Some(somebody) = speaks_as {
        config.headers.extend(somebody.headers()?);
    }
    Client::try_from(config).context("failed to build a client")
}
