//! The command line of `certs`, and how it becomes a [`CertsConfig`].

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use cordonhold_rt::argument::{self, text};
use cordonhold_rt::duration;
use cordonhold_rt::logging::LogFormat;
use cordonhold_shared::admission::trust::Name;
use cordonhold_shared::certificates::{Lifetimes, LifetimesError};
use cordonhold_shared::names;

use super::serving::{every_address, socket_address};
use crate::config::{CertsConfig, Place};

/// Keeps the webhook's certificates, so that nobody has to make any.
///
/// It makes a CA, signs the certificate that the webhook mounts, renews both in time, and writes the CAs into each caBundle of the webhook
/// configurations, also if somebody takes them out.
/// Run it beside the webhook, as a Deployment of its own with a ServiceAccount of its own: it holds the CA, which the webhook must not.
/// One replica is enough: while it is down, nothing changes for 60 days.
/// Do not run it if cert-manager or you yourself make the certificate.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "cordonhold-webhook certs",
    bin_name = "cordonhold-webhook certs",
    version,
    max_term_width = 110,
    after_help = "Durations have the units h, m and s: a day is 24h. docs/certificates.md says what this part needs to be allowed."
)]
pub struct CertsArgs {
    /// Namespace of the Secrets and of the webhook's Service
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME", value_parser = argument::label_name, default_value = "cordonhold")]
    namespace: String,
    /// Name of the webhook's Service: the certificate is for SERVICE.NAMESPACE.svc
    #[arg(long, env = "CORDONHOLD_SERVICE", value_name = "NAME", value_parser = argument::label_name, default_value = "cordonhold-webhook")]
    service: String,
    /// Another DNS name or IP address for the certificate, if the API server calls the webhook by a URL; may be repeated
    #[arg(long, env = "CORDONHOLD_ALSO_FOR", value_name = "NAME", value_delimiter = ',', value_parser = host)]
    also_for: Vec<Name>,
    /// Name of the validating and the mutating webhook configuration whose caBundles are written
    #[arg(long, env = "CORDONHOLD_WEBHOOK_CONFIGURATION", value_name = "NAME", value_parser = argument::name, default_value = "cordonhold")]
    webhook_configuration: String,
    /// Name of the Secret with the CAs and their keys, which nobody else should read
    #[arg(long, env = "CORDONHOLD_CA_SECRET", value_name = "NAME", value_parser = argument::name, default_value = "cordonhold-ca")]
    ca_secret: String,
    /// Name of the Secret with the certificate and its key, which the webhook mounts
    #[arg(long, env = "CORDONHOLD_CERTIFICATE_SECRET", value_name = "NAME", value_parser = argument::name, default_value = "cordonhold-webhook-tls")]
    certificate_secret: String,
    /// How long a CA is valid. The next one is added in time, and both are trusted until the last certificate of the old one has ended
    #[arg(long, env = "CORDONHOLD_CA_LIFETIME", value_name = "DURATION", value_parser = duration::parse, default_value = "8760h")]
    ca_lifetime: Duration,
    /// How long a certificate is valid
    #[arg(long, env = "CORDONHOLD_LEAF_LIFETIME", value_name = "DURATION", value_parser = duration::parse, default_value = "2160h")]
    leaf_lifetime: Duration,
    /// How long before its end a certificate is renewed; so long may this part be down
    #[arg(long, env = "CORDONHOLD_RENEW_BEFORE", value_name = "DURATION", value_parser = duration::parse, default_value = "1440h")]
    renew_before: Duration,
    /// How long a new CA must stand in every caBundle before it signs, at least 10s: until each API server has learned of it
    #[arg(long, env = "CORDONHOLD_SETTLE", value_name = "DURATION", value_parser = duration::parse, default_value = "3m")]
    settle: Duration,
    /// Address for probes and metrics: plain HTTP, /livez /readyz /metrics
    #[arg(long, env = "CORDONHOLD_ADMIN_LISTEN", value_name = "ADDRESS:PORT", value_parser = socket_address, default_value_t = every_address(8080))]
    admin_listen: SocketAddr,
    /// Kubeconfig of the cluster; without it, the in-cluster configuration
    #[arg(long, env = "CORDONHOLD_KUBECONFIG", value_name = "FILE", value_parser = argument::path)]
    kubeconfig: Option<PathBuf>,
    /// Write no Events
    #[arg(long, env = "CORDONHOLD_NO_EVENTS")]
    no_events: bool,
    /// Name of this process in its Events; in a pod, the pod's name
    #[arg(long, env = "HOSTNAME", value_name = "NAME", default_value = "cordonhold-certs", value_parser = text)]
    instance: String,
    /// Format of the log, which goes to standard output. `CORDONHOLD_LOG` filters it
    #[arg(long, env = "CORDONHOLD_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    log_format: LogFormat,
}

/// Why flags of `certs` do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum CertsArgsError {
    #[error(transparent)]
    Lifetimes(#[from] LifetimesError),
    #[error(
        "--ca-secret and --certificate-secret are both {0}: name two Secrets, because the webhook mounts the second and must not have the CA"
    )]
    OneSecret(String),
}

impl TryFrom<CertsArgs> for CertsConfig {
    type Error = CertsArgsError;

    fn try_from(args: CertsArgs) -> Result<CertsConfig, CertsArgsError> {
        if args.ca_secret == args.certificate_secret {
            return Err(CertsArgsError::OneSecret(args.ca_secret));
        }
        let lifetimes = Lifetimes::new(
            args.ca_lifetime,
            args.leaf_lifetime,
            args.renew_before,
            args.settle,
        )?;
        let mut names = vec![Name::Dns(format!("{}.{}.svc", args.service, args.namespace))];
        names.extend(args.also_for);
        Ok(CertsConfig {
            place: Place {
                namespace: args.namespace,
                authorities_secret: args.ca_secret,
                served_secret: args.certificate_secret,
                configuration: args.webhook_configuration,
                names,
            },
            lifetimes,
            kubeconfig: args.kubeconfig,
            admin_listen: args.admin_listen,
            events_from: (!args.no_events).then_some(args.instance),
            log_format: args.log_format,
        })
    }
}

/// Parses a DNS name or an IP address.
fn host(text: &str) -> Result<Name, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Name::Ip(address));
    }
    if names::is_name(text) {
        return Ok(Name::Dns(text.to_owned()));
    }
    Err(format!(
        "{text:?} is neither a DNS name nor an IP address: use lower case letters, digits, '-' and '.'"
    ))
}
