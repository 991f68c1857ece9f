//! The checked configuration of the server, of the part that keeps the certificates, and of the uninstall.
//!
//! Not here: the flags ([`crate::args`]), the parts of a [`Policy`], and the configuration of `explain` ([`crate::ExplainConfig`]).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cordonhold_rt::logging::LogFormat;
use cordonhold_shared::admission::Policy;
use cordonhold_shared::admission::trust::{Installation, Name};
use cordonhold_shared::certificates::Lifetimes;
use cordonhold_shared::uninstall::DeadHolds;

/// What the server runs with.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the decision depends on beside the request: modes, exemptions, stock kured.
    pub policy: Policy,
    /// Kubeconfig of the cluster; `None`: the in-cluster configuration.
    pub kubeconfig: Option<PathBuf>,
    /// Address that serves reviews to the API server.
    pub listen: SocketAddr,
    /// Address that serves probes and metrics.
    pub admin_listen: SocketAddr,
    /// The certificate of the admission port, and which clients may connect.
    pub tls: TlsConfig,
    /// Name of the webhook configuration, and namespace of the certificate's Secret.
    pub installation: Installation,
    /// Time from SIGTERM until the ports close.
    pub shutdown_delay: Duration,
    /// Name of this process in its Events; `None`: it writes none.
    pub events_from: Option<String>,
    /// Format of the log lines.
    pub log_format: LogFormat,
}

/// Which certificate the admission port serves, and to which clients.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// PEM file of the certificate, followed by its intermediates.
    pub cert_file: PathBuf,
    /// PEM file of the certificate's private key.
    pub key_file: PathBuf,
    /// Oldest TLS version that is accepted.
    pub min_version: TlsVersion,
    /// Which clients may send reviews; `None`: anyone who reaches the port.
    pub clients: Option<ClientConfig>,
}

/// Which clients may send reviews.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// PEM file of the CAs that sign client certificates.
    pub ca_file: PathBuf,
    /// Names of which a client certificate must have one; if empty, every certificate of the CAs is accepted.
    pub allowed_names: Vec<String>,
}

/// The oldest TLS version that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// What `certs` runs with.
#[derive(Clone, Debug)]
pub struct CertsConfig {
    /// The objects that it keeps.
    pub place: Place,
    /// How long CAs and certificates are valid, and when they are renewed.
    pub lifetimes: Lifetimes,
    /// Kubeconfig of the cluster; `None`: the in-cluster configuration.
    pub kubeconfig: Option<PathBuf>,
    /// Address that serves probes and metrics.
    pub admin_listen: SocketAddr,
    /// Name of this process in its Events; `None`: it writes none.
    pub events_from: Option<String>,
    /// Format of the log lines.
    pub log_format: LogFormat,
}

/// The names of the objects that `certs` keeps, and of the webhook.
#[derive(Clone, Debug)]
pub struct Place {
    /// Namespace of the Secrets.
    pub namespace: String,
    /// Name of the Secret with the CAs and their keys.
    pub authorities_secret: String,
    /// Name of the Secret with the certificate and its key, which the webhook mounts.
    pub served_secret: String,
    /// Name of the webhook configurations.
    pub configuration: String,
    /// The names that the certificate has. A webhook is ours if the API server asks it for one of them.
    pub names: Vec<Name>,
}

/// What `uninstall` runs with.
#[derive(Clone, Debug)]
pub struct UninstallConfig {
    /// Where Cordonhold is.
    pub place: UninstallPlace,
    /// How long to wait for holds to end and for agents to stop.
    pub timeout: Duration,
    /// What becomes of a hold whose agent is silent.
    pub dead_holds: DeadHolds,
    /// Kubeconfig of the cluster; `None`: the in-cluster configuration.
    pub kubeconfig: Option<PathBuf>,
}

/// The names of the objects that `uninstall` looks for.
#[derive(Clone, Debug)]
pub struct UninstallPlace {
    /// Namespace of Cordonhold.
    pub namespace: String,
    /// Namespace and name of kured's DaemonSet; `None`: the agents keep no lock there.
    pub kured: Option<(String, String)>,
    /// Annotation of that DaemonSet that holds the lock.
    pub lock_annotation: String,
    /// Names of the Secrets that are deleted if `certs` made them.
    pub secrets: Vec<String>,
}
