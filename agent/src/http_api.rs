//! The HTTP APIs that the agent asks beside that of Kubernetes: how they are reached, within a time limit and a limit of size.
//!
//! A URL is logged by the client at the level debug, so user and password are taken out of it first. Redirects are not followed.
//! Not here: what is asked (`prometheus`, `silence`), and messages to people, whose URLs are secrets ([`crate::notify`]).

use std::path::{Path, PathBuf};
use std::time::Duration;

use cordonhold_rt::client::{CONNECT_TIMEOUT, explain, needs_no_ca};
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Bytes;
use kube::client::Body;
use kube::config::{AuthInfo, Config as ClientConfig};
use kube::{Client, Error};
use percent_encoding::percent_decode_str;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;
use tokio::time::timeout;

use crate::config::HttpApiConfig;

/// Why an API could not be asked, before anything was sent. `flags` is what the names of its flags begin with.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum HttpApiError {
    #[error("failed to read {}: name a readable file with --{flags}-{of}-file", .path.display())]
    Read {
        flags: &'static str,
        of: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "no client for {who}: check --{flags}-ca-file, --{flags}-cert-file and --{flags}-key-file; without a CA file, the system's CAs must be mounted at /etc/ssl/certs, or named in SSL_CERT_FILE"
    )]
    Client {
        who: &'static str,
        flags: &'static str,
        source: Box<Error>,
    },
    #[error("the files of --{flags}-ca-file, --{flags}-cert-file or --{flags}-key-file are not PEM")]
    NotPem { flags: &'static str },
}

/// Who is asked, and what the texts about it say.
#[derive(Debug)]
pub(crate) struct About {
    /// Its name.
    pub(crate) who: &'static str,
    /// What the names of its flags begin with.
    pub(crate) flags: &'static str,
    /// What to do where it is too slow.
    pub(crate) if_slow: &'static str,
    /// What to do where the path does not exist.
    pub(crate) if_not_found: &'static str,
    /// Largest answer that is read, in bytes.
    pub(crate) answer_max: usize,
}

/// An API, as it is reached.
#[derive(Clone)]
pub(crate) struct HttpApi {
    pub(crate) about: &'static About,
    pub(crate) client: Client,
    pub(crate) timeout: Duration,
    /// Read for each request, because tokens are renewed.
    pub(crate) token_file: Option<PathBuf>,
}

impl HttpApi {
    /// Makes the client. It sends nothing.
    pub(crate) fn new(about: &'static About, config: &HttpApiConfig) -> Result<HttpApi, HttpApiError> {
        let flags = about.flags;
        let (url, login) = split_login(&config.url);
        let mut client = ClientConfig::new(url);
        client.default_retry = false;
        client.connect_timeout = Some(CONNECT_TIMEOUT);
        client.read_timeout = Some(config.timeout);
        client.write_timeout = Some(config.timeout);
        client.auth_info = auth_info(flags, config, login)?;
        if let Some(path) = &config.ca_file {
            let text = read(flags, "ca", path)?;
            client.root_cert = Some(certificates(&text).ok_or(HttpApiError::NotPem { flags })?);
        }
        let client = Client::try_from(needs_no_ca(client)).map_err(|error| HttpApiError::Client {
            who: about.who,
            flags,
            source: Box::new(error),
        })?;
        Ok(HttpApi {
            about,
            client,
            timeout: config.timeout,
            token_file: config.token_file.clone(),
        })
    }

    /// The status and the body of the answer to a request, or why there is none, with what to check. The path is added to that of the URL.
    pub(crate) async fn ask(&self, request: Request<Vec<u8>>) -> Result<(StatusCode, Bytes), String> {
        let answered = timeout(self.timeout, self.send(request)).await;
        answered.unwrap_or_else(|_| {
            let About { who, if_slow, .. } = self.about;
            Err(format!(
                "{who} did not answer within {:?}: {if_slow}",
                self.timeout
            ))
        })
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Result<(StatusCode, Bytes), String> {
        let About {
            who,
            flags,
            answer_max,
            ..
        } = self.about;
        let mut request = request.map(Body::from);
        let headers = request.headers_mut();
        drop(headers.insert(header::ACCEPT, HeaderValue::from_static("application/json")));
        if let Some(path) = &self.token_file {
            let token = tokio::fs::read_to_string(path).await;
            let token = token.map_err(|error| {
                format!("failed to read --{flags}-token-file={}: {error}", path.display())
            })?;
            // A Secret that was made from a file often ends with a line break.
            let token = HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(|_| {
                format!("the token in --{flags}-token-file holds characters that no HTTP header can have")
            })?;
            drop(headers.insert(header::AUTHORIZATION, token));
        }
        let response = self
            .client
            .send(request)
            .await
            .map_err(|error| self.unreached(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), *answer_max).collect().await;
        let body = body.map_err(|error| {
            format!(
                "the answer of {who} broke off, or is larger than {} MiB: {error}",
                answer_max / 1024 / 1024
            )
        })?;
        Ok((status, body.to_bytes()))
    }

    /// The status, and what to check after an answer of this status that cannot be used.
    pub(crate) fn status(&self, status: StatusCode) -> String {
        let About {
            flags, if_not_found, ..
        } = self.about;
        let fix = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                format!(": check --{flags}-token-file, or the user and password in --{flags}-url")
            }
            StatusCode::NOT_FOUND => format!(": {if_not_found}"),
            status if status.is_redirection() => {
                format!(": redirects are not followed: write the address that it leads to in --{flags}-url")
            }
            _ => String::new(),
        };
        format!("(HTTP {status}){fix}")
    }

    fn unreached(&self, error: &Error) -> String {
        let About { who, flags, .. } = self.about;
        let why = explain(error);
        // rustls names a certificate in all that it says of one: `invalid peer certificate`, `CertificateRequired`.
        let fix = if why.to_lowercase().contains("certificate") {
            format!("--{flags}-ca-file, --{flags}-cert-file and --{flags}-key-file")
        } else {
            format!("--{flags}-url, and network policies on the way there")
        };
        format!("{who} is not reached: {why}: check {fix}")
    }
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
    flags: &'static str,
    config: &HttpApiConfig,
    login: Option<(String, String)>,
) -> Result<AuthInfo, HttpApiError> {
    let mut fields = json!({});
    if let Some((user, password)) = login {
        fields["username"] = json!(user);
        fields["password"] = json!(password);
    }
    if let Some(path) = &config.token_file {
        // So that a wrong path is named at the start.
        drop(read(flags, "token", path)?);
    }
    if let Some((certificate, key)) = &config.client_certificate {
        drop(read(flags, "cert", certificate)?);
        drop(read(flags, "key", key)?);
        fields["client-certificate"] = json!(certificate);
        fields["client-key"] = json!(key);
    }
    Ok(serde_json::from_value(fields).expect("fields of kube's own type"))
}

fn read(flags: &'static str, of: &'static str, path: &Path) -> Result<Vec<u8>, HttpApiError> {
    std::fs::read(path).map_err(|source| HttpApiError::Read {
        flags,
        of,
        path: path.to_owned(),
        source,
    })
}

/// The certificates of a PEM file, in DER; `None` if it has none.
fn certificates(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let found: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = found.ok().filter(|found| !found.is_empty())?;
    Some(found.into_iter().map(|der| der.to_vec()).collect())
}
