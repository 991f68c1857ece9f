//! The one place where a Kubernetes client is built.
//!
//! No retry is hidden in it (kube's default repeats each 429, 503 and 504 up to 15 times, evictions included), and no
//! call can hang for ever: connect, read and write are bounded. A caller that must answer sooner adds its own bound.

use std::error::Error as StdError;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::Status;
use kube::{Client, Config};
use tower::util::MapErrLayer;

mod proxy;
mod trust;

use proxy::Proxy;
pub use proxy::ProxyError;

/// Time to reach the API server.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest silence in an answer. The API server sends a bookmark on a quiet watch each minute.
pub const READ_TIMEOUT: Duration = Duration::from_secs(90);
/// Longest wait for the API server to take bytes.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum ClientError {
    #[error("failed to read the kubeconfig {}: {source}: name a readable kubeconfig with --kubeconfig", .path.display())]
    Read {
        path: PathBuf,
        source: kube::config::KubeconfigError,
    },
    #[error(
        "the kubeconfig {} cannot be used: {source}: check its current-context, cluster and user with `kubectl --kubeconfig {} config view`",
        .path.display(), .path.display()
    )]
    Use {
        path: PathBuf,
        source: kube::config::KubeconfigError,
    },
    #[error(
        "no in-cluster configuration: {source}: run in a pod with a ServiceAccount token, or name a kubeconfig with --kubeconfig"
    )]
    InCluster { source: kube::config::InClusterError },
    #[error("the kubeconfig {} cannot be used: {source}", .path.display())]
    Proxy { path: PathBuf, source: ProxyError },
    #[error(
        "the variable NO_PROXY cannot be read ({why}): write names, addresses and networks with a comma between two of them, or leave HTTPS_PROXY out"
    )]
    NoProxy { why: String },
    #[error("failed to build a client from {origin}: {why}")]
    Build { origin: String, why: String },
}

/// No answer came: where it was asked for, and what may be wrong there.
#[derive(Debug, thiserror::Error)]
#[error("no answer from the API server {way}{}", .advice.as_ref().map_or_else(String::new, |advice| format!(" ({advice})")))]
struct NoAnswer {
    way: String,
    advice: Option<String>,
    source: BoxError,
}

type BoxError = Box<dyn StdError + Send + Sync>;

/// A client from this kubeconfig, or from the pod that we run in. It sends nothing yet.
pub async fn build(kubeconfig: Option<&Path>) -> Result<Client, ClientError> {
    let (mut config, proxy, origin) = if let Some(path) = kubeconfig {
        let (config, proxy) = from_file(path).await?;
        (config, proxy, format!("the kubeconfig {}", path.display()))
    } else {
        let config = Config::incluster().map_err(|source| ClientError::InCluster { source })?;
        (config, None, "the in-cluster configuration".to_owned())
    };
    let way = way(&config, proxy.as_ref());
    // kube holds NO_PROXY against the proxy instead of the server.
    config.proxy_url = proxy.map(|proxy| proxy.url);
    let has_ca = config.root_cert.is_some();
    let builder = ClientBuilder::try_from(bounded(config)).map_err(|error| {
        let why = trust::unusable(&error, has_ca);
        ClientError::Build { origin, why }
    })?;
    let named = MapErrLayer::new(move |source| no_answer(&way, source));
    Ok(builder.with_layer(&named).build())
}

/// How the API server is reached, for people: without what may be a password.
fn way(config: &Config, proxy: Option<&Proxy>) -> String {
    let place = |url: &http::Uri| {
        let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
        let scheme = url.scheme_str().unwrap_or_default();
        format!("{scheme}://{}{port}", url.host().unwrap_or_default())
    };
    let server = place(&config.cluster_url);
    match proxy {
        None => server,
        Some(Proxy { url, origin }) => format!("{server} by the proxy {} of {origin}", place(url)),
    }
}

fn no_answer(way: &str, source: BoxError) -> BoxError {
    // It says itself what it was about: a login, for one.
    if source.is::<kube::Error>() {
        return source;
    }
    Box::new(NoAnswer {
        way: way.to_owned(),
        advice: trust::mistrust(source.as_ref()),
        source,
    })
}

/// An error of the client in one line: what the API server said, where it said something.
pub fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => answered(status),
        kube::Error::Service(error) => crate::exit::one_line(error.as_ref()),
        error => crate::exit::one_line(error),
    }
}

/// What the API server said to a request that it refused.
pub(crate) fn answered(status: &Status) -> String {
    format!("the API server: {} (code {})", status.message, status.code)
}

async fn from_file(path: &Path) -> Result<(Config, Option<Proxy>), ClientError> {
    let kubeconfig = Kubeconfig::read_from(path).map_err(|source| ClientError::Read {
        path: path.to_owned(),
        source,
    })?;
    let named = proxy_url(&kubeconfig);
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|source| match source {
            KubeconfigError::ParseNoProxy(why) => ClientError::NoProxy { why: why.to_string() },
            source => ClientError::Use {
                path: path.to_owned(),
                source,
            },
        })?;
    let variable = |name: &str| std::env::var(name).ok();
    let proxy = proxy::find(named.as_deref(), &config.cluster_url, variable).map_err(|source| {
        ClientError::Proxy {
            path: path.to_owned(),
            source,
        }
    })?;
    Ok((config, proxy))
}

/// What the cluster of the current context says of a proxy.
fn proxy_url(kubeconfig: &Kubeconfig) -> Option<String> {
    let current = kubeconfig.current_context.as_ref()?;
    let context = kubeconfig.contexts.iter().find(|known| known.name == *current)?;
    let name = &context.context.as_ref()?.cluster;
    let cluster = kubeconfig.clusters.iter().find(|known| known.name == *name)?;
    cluster.cluster.as_ref()?.proxy_url.clone()
}

fn bounded(mut config: Config) -> Config {
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.write_timeout = Some(WRITE_TIMEOUT);
    // Otherwise the time that a pooled connection lay idle counts against the next answer on it.
    config.reset_reader_on_write = true;
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_kubeconfig_is_named_with_its_fix() {
        let error = build(Some(Path::new("/nowhere/kubeconfig"))).await.err().unwrap();
        let line = crate::exit::one_line(&error);
        assert!(
            line.contains("/nowhere/kubeconfig") && line.contains("--kubeconfig"),
            "{line}"
        );
    }

    #[test]
    fn a_client_neither_hangs_nor_retries_on_its_own() {
        let config = bounded(Config::new("https://127.0.0.1:1".parse().unwrap()));
        assert!(!config.default_retry);
        assert!(
            config.connect_timeout.is_some()
                && config.read_timeout.is_some()
                && config.write_timeout.is_some()
        );
    }
}
