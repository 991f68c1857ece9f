//! Flags of the two ports: addresses, certificate, and which clients may connect.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use cordonhold_rt::{argument, duration, listen};

use crate::config::{ClientConfig, TlsConfig, TlsVersion};

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Serving")]
pub(super) struct ServingArgs {
    /// PEM file of the serving certificate, followed by its intermediates; read again when it changes
    #[arg(long, env = "CORDONHOLD_TLS_CERT_FILE", value_name = "FILE", value_parser = argument::path, help_heading = None::<&'static str>)]
    tls_cert_file: PathBuf,
    /// PEM file of its private key (PKCS#8, PKCS#1 or SEC1); read again when it changes
    #[arg(long, env = "CORDONHOLD_TLS_PRIVATE_KEY_FILE", value_name = "FILE", value_parser = argument::path, help_heading = None::<&'static str>)]
    tls_private_key_file: PathBuf,
    /// Address for the API server: HTTPS, POST /validate. `[::]` is every address, IPv6 and IPv4
    #[arg(long, env = "CORDONHOLD_LISTEN", value_name = "ADDRESS:PORT", value_parser = socket_address, default_value_t = every_address(8443))]
    pub(super) listen: SocketAddr,
    /// Address for probes and metrics: plain HTTP, /livez /readyz /metrics
    #[arg(long, env = "CORDONHOLD_ADMIN_LISTEN", value_name = "ADDRESS:PORT", value_parser = socket_address, default_value_t = every_address(8080))]
    pub(super) admin_listen: SocketAddr,
    /// Name of the `ValidatingWebhookConfiguration`, and of the mutating one of mode defer, that send reviews here; the certificate is checked against them
    #[arg(long, env = "CORDONHOLD_WEBHOOK_CONFIGURATION", value_name = "NAME", hide_short_help = true, default_value = "cordonhold", value_parser = argument::name)]
    pub(super) webhook_configuration: String,
    /// Oldest TLS version to accept
    #[arg(long, env = "CORDONHOLD_TLS_MIN_VERSION", value_name = "VERSION", value_enum, hide_short_help = true, default_value_t = TlsVersionArg::Tls13)]
    tls_min_version: TlsVersionArg,
    /// PEM file of CAs: only clients with a certificate of one of them may send reviews; read again when it changes.
    /// Without it, anyone who reaches the port may send them
    #[arg(long, env = "CORDONHOLD_CLIENT_CA_FILE", value_name = "FILE", value_parser = argument::path, hide_short_help = true)]
    client_ca_file: Option<PathBuf>,
    /// Names of which a client certificate must have one, as common name or alternative name; without it, every certificate of the CAs is accepted
    #[arg(
        long,
        env = "CORDONHOLD_CLIENT_ALLOWED_NAMES",
        value_name = "NAME,…",
        value_delimiter = ',',
        hide_short_help = true,
        requires = "client_ca_file"
    )]
    client_allowed_names: Vec<String>,
    /// How long to keep serving, unready, after SIGTERM, so that nobody is sent to a closed port
    #[arg(long, env = "CORDONHOLD_SHUTDOWN_DELAY", value_name = "DURATION", hide_short_help = true, value_parser = duration::parse, default_value = "10s")]
    pub(super) shutdown_delay: Duration,
}

impl ServingArgs {
    pub(super) fn tls(self) -> TlsConfig {
        let allowed_names = self.client_allowed_names;
        TlsConfig {
            cert_file: self.tls_cert_file,
            key_file: self.tls_private_key_file,
            min_version: match self.tls_min_version {
                TlsVersionArg::Tls12 => TlsVersion::Tls12,
                TlsVersionArg::Tls13 => TlsVersion::Tls13,
            },
            clients: self.client_ca_file.map(|ca_file| ClientConfig {
                ca_file,
                allowed_names,
            }),
        }
    }
}

pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("{text:?} is not an address with a port: write one like 0.0.0.0:8443 or [::]:8443")
    })
}

pub(super) fn every_address(port: u16) -> SocketAddr {
    SocketAddr::from((listen::EVERY_ADDRESS, port))
}

/// A TLS version, named as in Kubernetes' own `--tls-min-version`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum TlsVersionArg {
    #[value(name = "VersionTLS12")]
    Tls12,
    #[value(name = "VersionTLS13")]
    Tls13,
}
