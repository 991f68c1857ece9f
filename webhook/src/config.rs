//! What the webhook serves with: each value as the module needs it that works with it.
//!
//! Not here: the flags ([`crate::args`]), what the decision runs with ([`Policy`]), and what `explain` is asked.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cordonhold_rt::logging::LogFormat;
use cordonhold_shared::admission::Policy;
use cordonhold_shared::admission::trust::Installation;

/// All of it.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the admin has decided.
    pub policy: Policy,
    /// `None`: the in-cluster configuration.
    pub kubeconfig: Option<PathBuf>,
    /// Where the API server asks.
    pub listen: SocketAddr,
    /// Where probes and metrics are served.
    pub admin_listen: SocketAddr,
    /// With which certificate.
    pub tls: TlsConfig,
    /// Where its configuration and its Secret are.
    pub installation: Installation,
    /// From SIGTERM until the ports close.
    pub shutdown_delay: Duration,
    /// The name of this process in its Events; `None`: it writes none.
    pub events_from: Option<String>,
    /// How log lines look.
    pub log_format: LogFormat,
}

/// Which certificate is served, and to whom.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// A PEM file: the certificate, then those that signed it.
    pub cert_file: PathBuf,
    /// A PEM file: its private key.
    pub key_file: PathBuf,
    /// Nothing older is spoken.
    pub min_version: TlsVersion,
    /// `None`: anyone who reaches the port may ask.
    pub clients: Option<ClientConfig>,
}

/// Who may ask for a verdict.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// A PEM file of the CAs that sign clients.
    pub ca_file: PathBuf,
    /// Names of which a client's certificate must bear one; empty: any of the CAs' will do.
    pub allowed_names: Vec<String>,
}

/// The oldest version that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}
