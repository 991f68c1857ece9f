//! Builds the Kubernetes client of both programs.
//!
//! It never retries by itself: kube's default repeats each 429, 503 and 504 up to 15 times, evictions included. No call can hang for ever:
//! connect, read and write have timeouts. A caller that must answer sooner adds its own. A CA that is a file may change: kube reads it again
//! once a minute.
//! Not here: calls ([`crate::api`]) and watches ([`crate::watch`]).

use std::error::Error as StdError;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{Cluster, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::Status;
use kube::{Client, Config};
use tower::util::MapErrLayer;

mod access;
pub mod proxy;
mod trust;

pub use access::Access;
use proxy::Proxy;
pub use proxy::ProxyError;

/// Longest time to connect to the API server.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest silence while reading an answer. On a quiet watch the API server sends a bookmark each minute.
pub const READ_TIMEOUT: Duration = Duration::from_secs(90);
/// Longest wait for the API server to accept bytes of a request.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why no client could be built.
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
        "no kubeconfig: neither KUBECONFIG nor {} names a file that exists, and this is no pod: name one with --kubeconfig", .path.display()
    )]
    NoKubeconfig { path: PathBuf },
    #[error(
        "failed to read the kubeconfig that KUBECONFIG or the home directory names: {source}: name a readable kubeconfig with --kubeconfig"
    )]
    Merge { source: kube::config::KubeconfigError },
    #[error("the kubeconfig {} has no user {name:?}: name one that `kubectl config get-users` lists", .path.display())]
    NoUser { name: String, path: PathBuf },
    #[error("--server {url} is no URL: {why}: write one like https://10.0.0.1:6443")]
    Server { url: String, why: String },
    #[error(
        "no in-cluster configuration: {source}: run in a pod with a ServiceAccount token, or name a kubeconfig with --kubeconfig"
    )]
    InCluster { source: kube::config::InClusterError },
    #[error("the kubeconfig {} cannot be used: {source}", .path.display())]
    Proxy { path: PathBuf, source: ProxyError },
    #[error(
        "the variable NO_PROXY cannot be read ({why}): write names, addresses and networks, separated by commas, or unset HTTPS_PROXY"
    )]
    NoProxy { why: String },
    #[error("failed to build a client from {origin}: {why}")]
    Build { origin: String, why: String },
}

/// The API server did not answer: how it was reached, and what may be wrong there.
#[derive(Debug, thiserror::Error)]
#[error("no answer from the API server {way}{}", .advice.as_ref().map_or_else(String::new, |advice| format!(" ({advice})")))]
struct NoAnswer {
    way: String,
    advice: Option<String>,
    source: BoxError,
}

type BoxError = Box<dyn StdError + Send + Sync>;

/// Builds a client from this kubeconfig, or from the ServiceAccount of the pod that this runs in. It does not send anything.
pub async fn build(kubeconfig: Option<&Path>) -> Result<Client, ClientError> {
    let Some(path) = kubeconfig else {
        let config = Config::incluster().map_err(|source| ClientError::InCluster { source })?;
        return client(config, None, IN_CLUSTER.to_owned());
    };
    let kubeconfig = Kubeconfig::read_from(path).map_err(|source| ClientError::Read {
        path: path.to_owned(),
        source,
    })?;
    let (config, proxy) = chosen(kubeconfig, path, &KubeConfigOptions::default()).await?;
    client(config, proxy, format!("the kubeconfig {}", path.display()))
}

/// What a client is built from if there is no kubeconfig, for messages.
const IN_CLUSTER: &str = "the in-cluster configuration";

fn client(mut config: Config, proxy: Option<Proxy>, origin: String) -> Result<Client, ClientError> {
    let way = way(&config, proxy.as_ref());
    // Set here, because kube compares NO_PROXY with the proxy's host instead of the server's.
    config.proxy_url = proxy.map(|proxy| proxy.url);
    let (has_ca, ca_file) = (config.root_cert.is_some(), config.root_cert_file.clone());
    let builder = ClientBuilder::try_from(bounded(config)).map_err(|error| {
        let why = trust::unusable(&error, has_ca);
        ClientError::Build { origin, why }
    })?;
    let named = MapErrLayer::new(move |source| no_answer(&way, ca_file.as_deref(), source));
    Ok(builder.with_layer(&named).build())
}

/// How the API server is reached, for messages. Leaves out the parts of URLs that may hold a password.
fn way(config: &Config, proxy: Option<&Proxy>) -> String {
    let place = |url: &http::Uri| {
        let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
        let scheme = url.scheme_str().unwrap_or_default();
        format!("{scheme}://{}{port}", url.host().unwrap_or_default())
    };
    let server = place(&config.cluster_url);
    match proxy {
        None => server,
        Some(Proxy { url, origin }) => format!("{server} through the proxy {} from {origin}", place(url)),
    }
}

fn no_answer(way: &str, ca_file: Option<&Path>, source: BoxError) -> BoxError {
    // Such an error, for example of a login, already says what failed.
    if source.is::<kube::Error>() {
        return source;
    }
    Box::new(NoAnswer {
        way: way.to_owned(),
        advice: trust::mistrust(source.as_ref(), ca_file),
        source,
    })
}

/// The configuration of a client whose server is reached without TLS if the URL begins with `http:`. It then needs no CA. Without this it would
/// look for those of the system, and fail where an image has none.
pub fn needs_no_ca(mut config: Config) -> Config {
    if config.root_cert.is_none() && config.cluster_url.scheme_str() == Some("http") {
        config.root_cert = Some(Vec::new());
    }
    config
}

/// An error of the client on one line. If the API server answered, this is what it said.
pub fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => answered(status),
        kube::Error::Service(error) => crate::exit::one_line(error.as_ref()),
        error => crate::exit::one_line(error),
    }
}

/// The API server's message and code for a request that it refused.
pub(crate) fn answered(status: &Status) -> String {
    format!("the API server: {} (code {})", status.message, status.code)
}

/// The configuration of the context, cluster and user that `options` choose, and its proxy. `path` is for messages.
async fn chosen(
    kubeconfig: Kubeconfig,
    path: &Path,
    options: &KubeConfigOptions,
) -> Result<(Config, Option<Proxy>), ClientError> {
    let cluster = cluster(&kubeconfig, options);
    let (named, ca_file) = (cluster.and_then(proxy_url), cluster.and_then(ca_file));
    let mut config = Config::from_custom_kubeconfig(kubeconfig, options)
        .await
        .map_err(|source| match source {
            KubeconfigError::ParseNoProxy(why) => ClientError::NoProxy { why: why.to_string() },
            source => ClientError::Use {
                path: path.to_owned(),
                source,
            },
        })?;
    // kube sets it only in a pod.
    config.root_cert_file = ca_file;
    let variable = |name: &str| std::env::var(name).ok();
    let proxy = proxy::find(named.as_deref(), &config.cluster_url, variable).map_err(|source| {
        ClientError::Proxy {
            path: path.to_owned(),
            source,
        }
    })?;
    Ok((config, proxy))
}

/// The cluster that is chosen, or that of the chosen context.
fn cluster<'a>(kubeconfig: &'a Kubeconfig, options: &KubeConfigOptions) -> Option<&'a Cluster> {
    let context = options.context.as_ref().or(kubeconfig.current_context.as_ref());
    let of_context = || {
        let mut contexts = kubeconfig.contexts.iter();
        let context = contexts.find(|known| Some(&known.name) == context)?;
        Some(context.context.as_ref()?.cluster.clone())
    };
    let name = options.cluster.clone().or_else(of_context)?;
    let cluster = kubeconfig.clusters.iter().find(|known| known.name == name)?;
    cluster.cluster.as_ref()
}

fn proxy_url(cluster: &Cluster) -> Option<String> {
    cluster.proxy_url.clone()
}

/// The file with the CA. One that is in the kubeconfig itself goes before it, as in kubectl (k8s.io/client-go: `rest/config.go`).
fn ca_file(cluster: &Cluster) -> Option<PathBuf> {
    let file = cluster.certificate_authority.as_ref()?;
    cluster.certificate_authority_data.is_none().then(|| file.into())
}

fn bounded(mut config: Config) -> Config {
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.write_timeout = Some(WRITE_TIMEOUT);
    // Otherwise the idle time of a pooled connection counts towards the read timeout of its next answer.
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

    #[tokio::test]
    async fn nothing_stuck_a_ca_that_is_a_file_is_read_again_and_one_in_the_kubeconfig_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kubeconfig");
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(directory.path().join("ca.crt"), pem).unwrap();
        let of_file = "certificate-authority: ca.crt";
        // `pem` in base64.
        let of_data = "certificate-authority-data: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCkFBQUEKLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo=";
        for (authority, is_read_again) in [
            (of_file.to_owned(), true),
            (of_data.to_owned(), false),
            (format!("{of_file}, {of_data}"), false),
        ] {
            let text = format!(
                "clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:1', {authority}}}}}]\n\
                 users: [{{name: u, user: {{token: t}}}}]\n\
                 contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\ncurrent-context: x\n"
            );
            std::fs::write(&path, text).unwrap();
            let kubeconfig = Kubeconfig::read_from(&path).unwrap();
            let (config, _) = chosen(kubeconfig, &path, &KubeConfigOptions::default())
                .await
                .unwrap();
            let read_again = is_read_again.then(|| directory.path().join("ca.crt"));
            assert_eq!(config.root_cert_file, read_again, "{authority}");
            assert!(config.root_cert.is_some(), "{authority}");
        }
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
