//! Asks Prometheus: instant queries over HTTP, within a time limit and a limit of size.
//!
//! Not here: what the answers mean ([`cordonhold_shared::reboot::prometheus`]).

use std::path::{Path, PathBuf};
use std::time::Duration;

use cordonhold_rt::client::{CONNECT_TIMEOUT, explain};
use cordonhold_shared::reboot::prometheus::{self, Series};
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Limited};
use kube::client::Body;
use kube::config::{AuthInfo, Config as ClientConfig};
use kube::{Client, Error};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;
use tokio::time::timeout;

use crate::config::PrometheusConfig;

/// Largest answer. An alert has some hundred bytes, and a large cluster has some thousands of them.
const ANSWER_MAX: usize = 4 * 1024 * 1024;

/// Why Prometheus could not be asked, before anything was sent.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum PrometheusError {
    #[error("failed to read {}: name a readable file with --{flag}", .path.display())]
    Read {
        flag: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "no client for Prometheus: check --prometheus-ca-file, --prometheus-cert-file and --prometheus-key-file"
    )]
    Client(#[source] Box<Error>),
    #[error("the files of --prometheus-ca-file, --prometheus-cert-file or --prometheus-key-file are not PEM")]
    NotPem,
}

/// The Prometheus that is asked.
#[derive(Clone)]
pub(crate) struct Prometheus {
    client: Client,
    timeout: Duration,
    /// Read for each query, because tokens are renewed.
    token_file: Option<PathBuf>,
}

impl Prometheus {
    /// Makes the client. It sends nothing.
    pub(crate) fn new(config: &PrometheusConfig) -> Result<Prometheus, PrometheusError> {
        let (url, login) = split_login(&config.url);
        let mut client = ClientConfig::new(url);
        client.default_retry = false;
        client.connect_timeout = Some(CONNECT_TIMEOUT);
        client.read_timeout = Some(config.timeout);
        client.write_timeout = Some(config.timeout);
        client.auth_info = auth_info(config, login)?;
        if let Some(path) = &config.ca_file {
            let text = read("prometheus-ca-file", path)?;
            client.root_cert = Some(certificates(&text)?);
        }
        let client = Client::try_from(client).map_err(|error| PrometheusError::Client(Box::new(error)))?;
        Ok(Prometheus {
            client,
            timeout: config.timeout,
            token_file: config.token_file.clone(),
        })
    }

    /// The series that an expression returns now, or why there is no answer, with what to check.
    pub(crate) async fn query(&self, expression: &str) -> Result<Vec<Series>, String> {
        let answered = timeout(self.timeout, self.ask(expression)).await;
        answered.unwrap_or_else(|_| {
            Err(format!(
                "Prometheus did not answer within {:?}: check its load, or allow more with --prometheus-timeout",
                self.timeout
            ))
        })
    }

    async fn ask(&self, expression: &str) -> Result<Vec<Series>, String> {
        let query = utf8_percent_encode(expression, NON_ALPHANUMERIC);
        // Thanos then answers with an error if a store is down; the others ignore it (thanos-io/thanos: docs/components/query.md).
        let path = format!("/api/v1/query?query={query}&partial_response=false");
        let mut request = Request::get(path).header(header::ACCEPT, "application/json");
        if let Some(path) = &self.token_file {
            let token = tokio::fs::read_to_string(path).await;
            let token = token.map_err(|error| {
                format!(
                    "failed to read --prometheus-token-file={}: {error}",
                    path.display()
                )
            })?;
            // A Secret that was made from a file often ends with a line break.
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.trim()));
        }
        let request = request.body(Body::empty()).map_err(|_| {
            "the token in --prometheus-token-file holds characters that no HTTP header can have".to_owned()
        })?;
        let response = self
            .client
            .send(request)
            .await
            .map_err(|error| unreached(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let body = body
            .map_err(|error| {
                format!(
                    "the answer of Prometheus broke off, or is larger than {} MiB: {error}",
                    ANSWER_MAX / 1024 / 1024
                )
            })?
            .to_bytes();
        prometheus::read(&body).map_err(|why| format!("{why} (HTTP {status}){}", fix(status)))
    }
}

/// What to check after an answer of this status.
fn fix(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            ": check --prometheus-token-file, or the user and password in --prometheus-url"
        }
        StatusCode::NOT_FOUND => {
            ": check the path in --prometheus-url: /api/v1/query is added to it, so Mimir needs …/prometheus"
        }
        _ => "",
    }
}

fn unreached(error: &Error) -> String {
    let why = explain(error);
    // rustls names a certificate in all that it says of one: `invalid peer certificate`, `CertificateRequired`.
    let fix = if why.to_lowercase().contains("certificate") {
        "--prometheus-ca-file, --prometheus-cert-file and --prometheus-key-file"
    } else {
        "--prometheus-url, and network policies on the way there"
    };
    format!("Prometheus is not reached: {why}: check {fix}")
}

/// The URL without user and password, and those.
fn split_login(url: &Uri) -> (Uri, Option<(String, String)>) {
    let Some((login, host)) = url
        .authority()
        .and_then(|authority| authority.as_str().rsplit_once('@'))
    else {
        return (url.clone(), None);
    };
    let mut parts = url.clone().into_parts();
    parts.authority = host.parse().ok();
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let stripped = Uri::from_parts(parts).unwrap_or_else(|_| url.clone());
    (stripped, Some((decoded(user), decoded(password))))
}

fn auth_info(
    config: &PrometheusConfig,
    login: Option<(String, String)>,
) -> Result<AuthInfo, PrometheusError> {
    let mut fields = json!({});
    if let Some((user, password)) = login {
        fields["username"] = json!(user);
        fields["password"] = json!(password);
    }
    if let Some(path) = &config.token_file {
        // So that a wrong path is named at the start.
        drop(read("prometheus-token-file", path)?);
    }
    if let Some((certificate, key)) = &config.client_certificate {
        drop(read("prometheus-cert-file", certificate)?);
        drop(read("prometheus-key-file", key)?);
        fields["client-certificate"] = json!(certificate);
        fields["client-key"] = json!(key);
    }
    Ok(serde_json::from_value(fields).expect("fields of kube's own type"))
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, PrometheusError> {
    std::fs::read(path).map_err(|source| PrometheusError::Read {
        flag,
        path: path.to_owned(),
        source,
    })
}

/// The certificates of a PEM file, in DER.
fn certificates(text: &[u8]) -> Result<Vec<Vec<u8>>, PrometheusError> {
    let found: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found.into_iter().map(|der| der.to_vec()).collect()),
        _ => Err(PrometheusError::NotPem),
    }
}

#[cfg(test)]
mod tests;
