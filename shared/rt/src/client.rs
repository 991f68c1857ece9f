//! The one place where a Kubernetes client is built.
//!
//! No retry is hidden in it (kube's default repeats each 429, 503 and 504 up to 15 times, evictions included), and no
//! call can hang for ever: connect, read and write are bounded. A caller that must answer sooner adds its own bound.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Time to reach the API server.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest silence in an answer. The API server sends a bookmark on a quiet watch each minute.
pub const READ_TIMEOUT: Duration = Duration::from_secs(90);
/// Longest wait for the API server to take bytes.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
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
    #[error("failed to build a client from {origin}: check its certificates and keys")]
    Build { origin: String, source: kube::Error },
}

/// A client from this kubeconfig, or from the pod that we run in. It sends nothing yet.
pub async fn build(kubeconfig: Option<&Path>) -> Result<Client, ClientError> {
    let (config, origin) = match kubeconfig {
        Some(path) => (
            from_file(path).await?,
            format!("the kubeconfig {}", path.display()),
        ),
        None => (
            Config::incluster().map_err(|source| ClientError::InCluster { source })?,
            "the in-cluster configuration".to_owned(),
        ),
    };
    Client::try_from(bounded(config)).map_err(|source| ClientError::Build { origin, source })
}

/// An error of the client in one line: what the API server said, where it said something.
pub fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => {
            format!("{} ({})", status.message, status.code)
        }
        error => crate::exit::one_line(error),
    }
}

async fn from_file(path: &Path) -> Result<Config, ClientError> {
    let kubeconfig = Kubeconfig::read_from(path).map_err(|source| ClientError::Read {
        path: path.to_owned(),
        source,
    })?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|source| ClientError::Use {
            path: path.to_owned(),
            source,
        })
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
