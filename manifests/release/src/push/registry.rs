//! The HTTP of a registry, as far as a push needs it (distribution-spec: Push), and its two kinds of login.
//!
//! Nothing is tried again but with a new login: what was pushed stays, so a person repeats the command. Redirects are not followed, because a
//! layer would go where nobody has said.
//! Not here: what is pushed ([`super`]).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cordonhold_rt::client::{CONNECT_TIMEOUT, explain, needs_no_ca, proxy};
use cordonhold_shared::quote::always_quoted;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Limited};
use kube::Client;
use kube::client::Body;
use kube::config::Config;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::time::timeout;

use super::login::Login;
use super::repository::{Repository, is_loopback};
use crate::image::{INDEX, MANIFEST, sha256};

/// Why a registry did not take something.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum RegistryError {
    #[error("no client for {registry} ({why}): check HTTPS_PROXY, and SSL_CERT_FILE if its CA is your own")]
    Client { registry: String, why: String },
    #[error(
        "{registry} is not reached ({why}): check its name, the network and HTTPS_PROXY; if its CA is your own, name the CA's file in SSL_CERT_FILE"
    )]
    Unreached { registry: String, why: String },
    #[error("{registry} did not answer within {bound:?}: try again; what it has already is not sent again")]
    Slow { registry: String, bound: Duration },
    #[error(
        "{registry} does not take {login}{said}: log in with `docker login {registry}`, or set CORDONHOLD_REGISTRY_USER and CORDONHOLD_REGISTRY_PASSWORD"
    )]
    Unauthorized {
        registry: String,
        login: String,
        said: String,
    },
    #[error(
        "{login} may not push to {repository}{said}: give it that right, or name another repository with --repository"
    )]
    Forbidden {
        login: String,
        repository: Repository,
        said: String,
    },
    #[error(
        "{registry} asks to be left alone for a while{said}: try again later; what it has already is not sent again"
    )]
    Busy { registry: String, said: String },
    #[error("{registry} has failed (HTTP {status}{said}): try again; what it has already is not sent again")]
    Broken {
        registry: String,
        status: StatusCode,
        said: String,
    },
    #[error(
        "{repository} did not take {what} (HTTP {status}{said}): check that it is a repository of images which may be written"
    )]
    Refused {
        repository: Repository,
        what: String,
        status: StatusCode,
        said: String,
    },
    #[error("{registry} does not speak the protocol of registries ({problem}): check its name and port")]
    NoRegistry { registry: String, problem: String },
}

/// A repository of a registry, and what has been learned about pushing there.
pub struct Registry {
    repository: Repository,
    client: Client,
    login: Option<Login>,
    /// The header that the registry has asked for.
    authorization: Option<HeaderValue>,
}

/// What a registry asks for before it takes anything.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    /// A token of the server `realm`.
    Bearer {
        realm: String,
        service: Option<String>,
    },
}

/// One request to the registry.
struct Question<'a> {
    method: Method,
    /// Path and query.
    path: String,
    header: Option<(HeaderName, String)>,
    body: &'a [u8],
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// Longest time for one request. A layer has some megabytes, which a slow line carries in this time.
const TIMEOUT: Duration = Duration::from_mins(10);
/// Most bytes of an answer. A token has some thousand.
const ANSWER_MAX: usize = 1024 * 1024;
/// What a tag may name in a registry beside an image of ours: one that Docker has pushed.
const OTHERS: &str = "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
/// Longest text of a registry that is repeated, in characters.
const SAID_MAX: usize = 200;

impl Registry {
    pub fn new(repository: &Repository, login: Option<Login>) -> Result<Self, RegistryError> {
        Ok(Self {
            repository: repository.clone(),
            client: client(&repository.registry, &repository.url())?,
            login,
            authorization: None,
        })
    }

    /// The repository that this asks.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Whether the repository has a blob already.
    pub async fn has_blob(&mut self, digest: &str) -> Result<bool, RegistryError> {
        let question = self.question(Method::HEAD, &format!("blobs/{digest}"));
        let answer = self.ask(&question).await?;
        match answer.status {
            StatusCode::OK => Ok(true),
            // It has the blob in a store of its own, and says where.
            status if status.is_redirection() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.refused("a question", &answer)),
        }
    }

    /// The digest of what a tag names, if there is such a tag.
    pub async fn manifest(&mut self, tag: &str) -> Result<Option<String>, RegistryError> {
        let mut question = self.question(Method::GET, &format!("manifests/{tag}"));
        question.header = Some((header::ACCEPT, format!("{INDEX}, {MANIFEST}, {OTHERS}")));
        let answer = self.ask(&question).await?;
        match answer.status {
            StatusCode::OK => Ok(Some(sha256(&answer.body))),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self.refused("a question", &answer)),
        }
    }

    /// Sends a blob in one piece.
    pub async fn send_blob(&mut self, digest: &str, bytes: &[u8]) -> Result<(), RegistryError> {
        let question = self.question(Method::POST, "blobs/uploads/");
        let begun = self.ask(&question).await?;
        if begun.status != StatusCode::ACCEPTED {
            return Err(self.refused("the beginning of an upload", &begun));
        }
        let place = self.upload_path(&begun)?;
        let separator = if place.contains('?') { '&' } else { '?' };
        let digest = utf8_percent_encode(digest, NON_ALPHANUMERIC);
        let question = Question {
            method: Method::PUT,
            path: format!("{place}{separator}digest={digest}"),
            header: Some((header::CONTENT_TYPE, "application/octet-stream".to_owned())),
            body: bytes,
        };
        let sent = self.ask(&question).await?;
        if sent.status == StatusCode::CREATED {
            return Ok(());
        }
        Err(self.refused("a part of an image", &sent))
    }

    /// Sends a manifest under a tag or a digest.
    pub async fn send_manifest(&mut self, name: &str, kind: &str, bytes: &[u8]) -> Result<(), RegistryError> {
        let mut question = self.question(Method::PUT, &format!("manifests/{name}"));
        question.header = Some((header::CONTENT_TYPE, kind.to_owned()));
        question.body = bytes;
        let sent = self.ask(&question).await?;
        if sent.status == StatusCode::CREATED {
            return Ok(());
        }
        Err(self.refused(&format!("the manifest {name}"), &sent))
    }

    /// A question about the repository, without a header and a body.
    fn question(&self, method: Method, what: &str) -> Question<'static> {
        Question {
            method,
            path: format!("/v2/{}/{what}", self.repository.path),
            header: None,
            body: &[],
        }
    }

    /// The path and query to which an upload goes.
    fn upload_path(&self, answer: &Answer) -> Result<String, RegistryError> {
        let problem = |problem: String| RegistryError::NoRegistry {
            registry: self.repository.registry.clone(),
            problem,
        };
        let location = answer
            .headers
            .get(header::LOCATION)
            .and_then(|place| place.to_str().ok());
        let location = location.ok_or_else(|| problem("it names no place for an upload".to_owned()))?;
        let place: Uri = location
            .parse()
            .map_err(|_| problem("the place for an upload is no URL".to_owned()))?;
        let own: Option<Uri> = self.repository.url().parse().ok();
        if place.authority().is_some() && place.host() != own.as_ref().and_then(Uri::host) {
            return Err(problem(format!(
                "it wants the upload at {}, and redirects are not followed",
                place.host().unwrap_or_default()
            )));
        }
        Ok(place
            .path_and_query()
            .map_or_else(|| "/".to_owned(), ToString::to_string))
    }

    /// Asks once, and once more with a login if the registry wants one, or takes the one before no more: a token lasts some minutes.
    async fn ask(&mut self, question: &Question<'_>) -> Result<Answer, RegistryError> {
        let answer = self.ask_once(question).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        self.authorization = Some(self.authorize(&answer).await?);
        self.ask_once(question).await
    }

    async fn ask_once(&self, question: &Question<'_>) -> Result<Answer, RegistryError> {
        let mut request = Request::builder()
            .method(question.method.clone())
            .uri(&question.path);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if let Some((name, value)) = &question.header {
            request = request.header(name, value);
        }
        let request = request.body(Body::from(question.body.to_vec()));
        let request = request.map_err(|error| RegistryError::NoRegistry {
            registry: self.repository.registry.clone(),
            problem: error.to_string(),
        })?;
        answered(&self.repository.registry, &self.client, request).await
    }

    /// The header that a challenge asks for.
    async fn authorize(&self, answer: &Answer) -> Result<HeaderValue, RegistryError> {
        let basic = self.login.as_ref().map(|login| {
            let encoded = STANDARD.encode(format!("{}:{}", login.user, login.password));
            format!("Basic {encoded}")
        });
        let mut challenges = answer.headers.get_all(header::WWW_AUTHENTICATE).iter();
        let challenge = challenges.find_map(|value| challenge(value.to_str().ok()?));
        let value = match challenge {
            Some(Challenge::Basic) => basic.ok_or_else(|| self.refused("", answer))?,
            Some(Challenge::Bearer { realm, service }) => {
                self.token(&realm, service.as_deref(), basic).await?
            }
            None => return Err(self.refused("", answer)),
        };
        HeaderValue::try_from(value).map_err(|_| self.refused("", answer))
    }

    /// Asks the server that gives tokens for one that allows a push.
    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        basic: Option<String>,
    ) -> Result<String, RegistryError> {
        let registry = &self.repository.registry;
        let problem = |problem: String| RegistryError::NoRegistry {
            registry: registry.clone(),
            problem,
        };
        let place: Option<Uri> = realm.parse().ok();
        let is_allowed =
            |place: &Uri| place.scheme_str() == Some("https") || place.host().is_some_and(is_loopback);
        // A password does not leave this machine without TLS.
        let place = place
            .filter(|place| place.authority().is_some() && is_allowed(place))
            .ok_or_else(|| {
                problem(format!(
                    "it wants the login at {realm:?}, which is no URL with https"
                ))
            })?;
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let scope = format!("repository:{}:pull,push", self.repository.path);
        let mut path = format!("{}?scope={}", place.path(), encode(&scope));
        if let Some(service) = service {
            path.push_str("&service=");
            path.push_str(&encode(service));
        }
        let mut request = Request::builder().uri(path);
        if let Some(basic) = basic {
            request = request.header(header::AUTHORIZATION, basic);
        }
        let request = request
            .body(Body::from(Vec::new()))
            .map_err(|error| problem(error.to_string()))?;
        let host = place.authority().map_or("", |authority| authority.as_str());
        let url = format!("{}://{host}", place.scheme_str().unwrap_or("https"));
        let answer = answered(host, &client(host, &url)?, request).await?;
        if !answer.status.is_success() {
            return Err(self.refused("the login", &answer));
        }
        let token: Value = serde_json::from_slice(&answer.body)
            .map_err(|_| problem(format!("{host} gives a token that is not JSON")))?;
        let found = ["token", "access_token"]
            .iter()
            .find_map(|name| token.get(name)?.as_str());
        found
            .map(|token| format!("Bearer {token}"))
            .ok_or_else(|| problem(format!("{host} gives no token")))
    }

    /// Why the registry did not do what it was asked for.
    fn refused(&self, what: &str, answer: &Answer) -> RegistryError {
        let registry = self.repository.registry.clone();
        let said = said(&answer.body);
        let login = self.login.as_ref().map_or_else(
            || "a push without a login".to_owned(),
            |login| format!("the login of {}", always_quoted(&login.user, SAID_MAX)),
        );
        match answer.status {
            StatusCode::UNAUTHORIZED => RegistryError::Unauthorized {
                registry,
                login,
                said,
            },
            StatusCode::FORBIDDEN => RegistryError::Forbidden {
                login,
                repository: self.repository.clone(),
                said,
            },
            StatusCode::TOO_MANY_REQUESTS => RegistryError::Busy { registry, said },
            status if status.is_server_error() => RegistryError::Broken {
                registry,
                status,
                said,
            },
            status => RegistryError::Refused {
                repository: self.repository.clone(),
                what: what.to_owned(),
                status,
                said,
            },
        }
    }
}

fn client(registry: &str, url: &str) -> Result<Client, RegistryError> {
    let failed = |why: String| RegistryError::Client {
        registry: registry.to_owned(),
        why,
    };
    let url: Uri = url.parse().map_err(|_| failed(format!("{url} is no URL")))?;
    let variable = |name: &str| std::env::var(name).ok();
    let proxy = proxy::find(None, &url, variable).map_err(|error| failed(error.to_string()))?;
    let mut config = needs_no_ca(Config::new(url));
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.proxy_url = proxy.map(|proxy| proxy.url);
    // The whole request has a limit, see `TIMEOUT`.
    config.read_timeout = None;
    config.write_timeout = None;
    Client::try_from(config).map_err(|error| failed(error.to_string()))
}

async fn answered(registry: &str, client: &Client, request: Request<Body>) -> Result<Answer, RegistryError> {
    let unreached = |why: String| RegistryError::Unreached {
        registry: registry.to_owned(),
        why,
    };
    let asked = async {
        let response = client
            .send(request)
            .await
            .map_err(|error| unreached(explain(&error)))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_MAX).collect().await;
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: body
                .map_err(|error| unreached(error.to_string()))?
                .to_bytes()
                .to_vec(),
        })
    };
    timeout(TIMEOUT, asked).await.unwrap_or_else(|_| {
        Err(RegistryError::Slow {
            registry: registry.to_owned(),
            bound: TIMEOUT,
        })
    })
}

/// Reads a challenge such as `Bearer realm="https://auth.example/token",service="registry"` (RFC 9110, 11.6.1).
fn challenge(text: &str) -> Option<Challenge> {
    let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text, ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    let field = |name: &str| {
        let (_, value) = rest.split_once(&format!("{name}=\""))?;
        Some(value.split_once('"')?.0.to_owned())
    };
    scheme.eq_ignore_ascii_case("bearer").then_some(())?;
    Some(Challenge::Bearer {
        realm: field("realm")?,
        service: field("service"),
    })
}

/// What a registry says in its answer, quoted, or nothing.
fn said(body: &[u8]) -> String {
    let answer: Option<Value> = serde_json::from_slice(body).ok();
    let error = answer.as_ref().and_then(|answer| answer.pointer("/errors/0"));
    let field = |name: &str| {
        error
            .and_then(|error| error.get(name)?.as_str())
            .filter(|text| !text.is_empty())
    };
    field("message")
        .or_else(|| field("code"))
        .map_or_else(String::new, |text| format!(": {}", always_quoted(text, SAID_MAX)))
}

#[cfg(test)]
mod tests;
