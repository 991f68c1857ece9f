//! Sends HTTP requests of messages: one connection for each, with a time limit, through the proxy of the environment's variables.
//!
//! Not kube's client: it writes each URL into the log at the level debug, and here a URL is a secret.
//! No error here repeats a part of a URL, or of what a server answered beside a status and a word of its API.
//! Redirects are not followed: a message would go where nobody has said.
//! Not here: what is in a request ([`super::service`]), and when it is tried again ([`super::outbox`]).

use std::error::Error;
use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cordonhold_rt::client::proxy::{self, Proxy};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use rustls::{CertificateError, ClientConfig};
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower::Service as _;

use super::service::{Confirms, Request};

/// Most bytes of an answer that are read. The answers of the services' APIs have some hundred.
const ANSWER_MAX: usize = 64 * 1024;
/// Longest word of an API that is repeated.
const WORD_MAX: usize = 40;
/// What each request says about its sender.
const USER_AGENT: &str = concat!("cordonhold/", env!("CARGO_PKG_VERSION"));

/// Why a message was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The service has not taken it, and may take it later.
    Later(String),
    /// The service does not take it.
    Refused(String),
    /// Nobody knows whether the service has taken it, so it is not sent again.
    Unknown(String),
}

/// What requests are sent with.
#[derive(Clone)]
pub(super) struct Http {
    pub(super) tls: Arc<ClientConfig>,
    /// Reads an environment variable.
    pub(super) variable: fn(&str) -> Option<String>,
}

/// A connection, plain or with TLS.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl Failure {
    /// Why, for the log.
    pub(super) fn why(&self) -> &str {
        match self {
            Failure::Later(why) | Failure::Refused(why) | Failure::Unknown(why) => why,
        }
    }
}

impl Http {
    /// Sends the request once, and returns the answer's body if it confirms that the service has taken the message.
    ///
    /// `was_sent` is set just before bytes of the request leave: from then on, silence does not mean that nothing was taken.
    pub(super) async fn send(&self, request: &Request, was_sent: &mut bool) -> Result<Bytes, Failure> {
        let later = |why: String| Failure::Later(why);
        let uri: Uri = request
            .url
            .parse()
            .map_err(|_| Failure::Refused("its URL is none of HTTP".to_owned()))?;
        let wire = self.connect(&uri).await.map_err(later)?;
        let handshake = http1::handshake(TokioIo::new(wire)).await;
        let (mut sender, connection) = handshake.map_err(|error| Failure::Later(error.to_string()))?;
        let sent = async {
            let message = whole(request, &uri).map_err(Failure::Refused)?;
            *was_sent = true;
            let answer = sender.send_request(message).await;
            let answer = answer.map_err(|error| Failure::Unknown(format!("no answer: {error}")))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
            // The status of a refusal counts, whatever becomes of its text.
            let body = body.map(http_body_util::Collected::to_bytes);
            judge(request.confirms, status, body.ok())
        };
        tokio::pin!(sent, connection);
        tokio::select! {
            judged = &mut sent => judged,
            // The end of the connection shows in the request, which then ends too.
            _ = &mut connection => sent.await,
        }
    }

    /// Connects to the server of a URL, with TLS if it is `https`.
    async fn connect(&self, uri: &Uri) -> Result<Box<dyn Wire>, String> {
        let place = Place::of(uri)?;
        let wire: Box<dyn Wire> =
            match proxy::find(None, uri, self.variable).map_err(|error| error.to_string())? {
                None => Box::new(place.connect().await?),
                Some(Proxy { url, origin }) => {
                    let reached = self.through(&url, uri, &place).await;
                    reached.map_err(|why| format!("the proxy in {origin}: {why}"))?
                }
            };
        if place.is_tls {
            self.secure(wire, &place.host).await
        } else {
            Ok(wire)
        }
    }

    async fn secure(&self, wire: Box<dyn Wire>, host: &str) -> Result<Box<dyn Wire>, String> {
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_| "its host is no name for TLS".to_owned())?;
        let secured = TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, wire)
            .await;
        let secured = secured.map_err(|error| mistrust(&error).unwrap_or("the TLS handshake broke off"));
        Ok(Box::new(secured?))
    }

    /// Connects to a server through a proxy.
    async fn through(&self, proxy: &Uri, server: &Uri, place: &Place) -> Result<Box<dyn Wire>, String> {
        if proxy.scheme_str() == Some("socks5") {
            let mut socks = SocksV5::new(proxy.clone(), HttpConnector::new());
            let reached = socks.call(server.clone()).await;
            return Ok(Box::new(
                reached
                    .map_err(|_| "it does not connect".to_owned())?
                    .into_inner(),
            ));
        }
        let at = Place::of(proxy)?;
        let wire: Box<dyn Wire> = Box::new(at.connect().await?);
        let wire = if at.is_tls {
            self.secure(wire, &at.host).await?
        } else {
            wire
        };
        tunnel(wire, proxy, place).await
    }
}

/// Asks an HTTP proxy for a connection to a server (RFC 9110, section 9.3.6).
async fn tunnel(wire: Box<dyn Wire>, proxy: &Uri, place: &Place) -> Result<Box<dyn Wire>, String> {
    let authority = place.authority();
    let mut request = http::Request::new(Empty::<Bytes>::new());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = authority
        .parse()
        .map_err(|_| "the server's name is none".to_owned())?;
    let host = HeaderValue::try_from(&authority).map_err(|_| "the server's name is none".to_owned())?;
    drop(request.headers_mut().insert(header::HOST, host));
    let login = proxy
        .authority()
        .and_then(|authority| authority.as_str().rsplit_once('@'));
    if let Some((login, _)) = login {
        let login = STANDARD.encode(percent_decode_str(login).collect::<Vec<u8>>());
        let basic = HeaderValue::try_from(format!("Basic {login}")).map_err(|error| error.to_string())?;
        drop(request.headers_mut().insert(header::PROXY_AUTHORIZATION, basic));
    }
    let (mut sender, connection) = http1::handshake(TokioIo::new(wire))
        .await
        .map_err(|error| error.to_string())?;
    // It ends when the connection is handed over.
    drop(tokio::spawn(connection.with_upgrades()));
    let answer = sender
        .send_request(request)
        .await
        .map_err(|error| error.to_string())?;
    if answer.status() != StatusCode::OK {
        return Err(format!("it answers HTTP {}", answer.status().as_u16()));
    }
    let wire = hyper::upgrade::on(answer)
        .await
        .map_err(|error| error.to_string())?;
    Ok(Box::new(TokioIo::new(wire)))
}

/// Where a server is.
struct Place {
    host: String,
    port: u16,
    is_tls: bool,
}

impl Place {
    fn of(uri: &Uri) -> Result<Place, String> {
        let is_tls = uri.scheme_str() == Some("https");
        let host = uri.host().ok_or_else(|| "its URL has no host".to_owned())?;
        Ok(Place {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            is_tls,
        })
    }

    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    async fn connect(&self) -> Result<TcpStream, String> {
        let connected = TcpStream::connect((self.host.as_str(), self.port)).await;
        connected.map_err(|error| format!("no connection: {error}"))
    }
}

/// The request as it is sent.
fn whole(request: &Request, uri: &Uri) -> Result<http::Request<Full<Bytes>>, String> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let mut whole = http::Request::builder()
        .method(request.method.clone())
        .uri(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, USER_AGENT);
    for (name, value) in &request.headers {
        whole = whole.header(name, value);
    }
    let body = Full::new(Bytes::from(request.body.clone()));
    whole
        .body(body)
        .map_err(|_| "a part of its URL cannot be sent".to_owned())
}

/// What an answer says about the message. Without a body, reading it has failed.
fn judge(confirms: Confirms, status: StatusCode, body: Option<Bytes>) -> Result<Bytes, Failure> {
    let code = format!("HTTP {}", status.as_u16());
    if matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    ) {
        return Err(Failure::Later(code));
    }
    // A gateway may say so although the receiver behind it has the message.
    if status.is_server_error() {
        return Err(Failure::Unknown(code));
    }
    if status.is_redirection() {
        return Err(Failure::Refused(format!(
            "{code}: the address has moved, and redirects are not followed"
        )));
    }
    let shown = body
        .as_deref()
        .and_then(word)
        .map_or_else(String::new, |word| format!(" ({word})"));
    if !status.is_success() {
        return Err(Failure::Refused(format!("{code}{shown}")));
    }
    let is_confirmed = |body: &[u8]| {
        let field = |name| {
            serde_json::from_slice::<Value>(body)
                .ok()
                .and_then(|answer| answer.get(name).cloned())
        };
        match confirms {
            Confirms::Status => true,
            Confirms::Word => matches!(body.trim_ascii(), b"" | b"ok"),
            Confirms::Truth(name) => field(name) == Some(Value::Bool(true)),
            Confirms::Number(name, number) => field(name).and_then(|found| found.as_i64()) == Some(number),
        }
    };
    match body {
        None if confirms == Confirms::Status => Ok(Bytes::new()),
        None => Err(Failure::Unknown(format!(
            "{code}, and its text broke off or is too long"
        ))),
        Some(body) if is_confirmed(&body) => Ok(body),
        Some(_) => Err(Failure::Refused(format!(
            "{code}, and its text does not confirm the message{shown}"
        ))),
    }
}

/// The word of an API in an answer: `error` or `errcode` in its JSON, or the whole text. Anything but small letters and `_` is not repeated,
/// because a server may answer with the URL.
fn word(body: &[u8]) -> Option<String> {
    let field = |answer: &Value, name| answer.get(name).and_then(Value::as_str).map(str::to_owned);
    let found = match serde_json::from_slice::<Value>(body) {
        Ok(answer) => field(&answer, "errcode").or_else(|| field(&answer, "error"))?,
        Err(_) => std::str::from_utf8(body).ok()?.trim().to_owned(),
    };
    let is_plain = |c: char| c.is_ascii_lowercase() || c == '_';
    let small = found.to_ascii_lowercase();
    let is_word = !small.is_empty() && small.len() <= WORD_MAX && small.chars().all(is_plain);
    is_word.then_some(small)
}

/// Why TLS failed, if it did, without the server's name.
pub(super) fn mistrust(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let found = error.downcast_ref().or_else(|| inner?.downcast_ref());
        if let Some(found) = found {
            return Some(said_of(found));
        }
        cause = error.source();
    }
    None
}

fn said_of(error: &rustls::Error) -> &'static str {
    let rustls::Error::InvalidCertificate(why) = error else {
        return "it does not speak TLS, or no version or cipher of ours";
    };
    match why {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "nobody that is trusted has signed its certificate: name its CA with --notify-ca-file"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another name"
        }
        _ => "its certificate is not valid",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_judged_by_its_status_and_by_what_its_service_says() {
        let judged = |confirms, status: u16, body: &str| {
            let body = Bytes::from(body.to_owned());
            judge(confirms, StatusCode::from_u16(status).unwrap(), Some(body)).map(drop)
        };
        let refused = |why: &str| Err(Failure::Refused(why.to_owned()));
        let later = |why: &str| Err(Failure::Later(why.to_owned()));
        for (confirms, status, body, is) in [
            (Confirms::Status, 204, "", Ok(())),
            (Confirms::Status, 200, "<html>", Ok(())),
            (Confirms::Status, 429, "", later("HTTP 429")),
            (Confirms::Status, 503, "", later("HTTP 503")),
            (
                Confirms::Status,
                404,
                "no hook at /hooks/s3cret",
                refused("HTTP 404"),
            ),
            (
                Confirms::Status,
                403,
                "invalid_token",
                refused("HTTP 403 (invalid_token)"),
            ),
            (
                Confirms::Status,
                403,
                r#"{"errcode":"M_FORBIDDEN"}"#,
                refused("HTTP 403 (m_forbidden)"),
            ),
            (
                Confirms::Status,
                302,
                "",
                refused("HTTP 302: the address has moved, and redirects are not followed"),
            ),
            (Confirms::Word, 200, "ok", Ok(())),
            (Confirms::Word, 200, "", Ok(())),
            (
                Confirms::Word,
                200,
                "no_service",
                refused("HTTP 200, and its text does not confirm the message (no_service)"),
            ),
            (Confirms::Truth("ok"), 200, r#"{"ok":true}"#, Ok(())),
            (
                Confirms::Truth("ok"),
                200,
                r#"{"ok":false,"error":"channel_not_found"}"#,
                refused("HTTP 200, and its text does not confirm the message (channel_not_found)"),
            ),
            (Confirms::Number("code", 0), 200, r#"{"code":0}"#, Ok(())),
            (
                Confirms::Number("code", 0),
                200,
                "<html>s3cret",
                refused("HTTP 200, and its text does not confirm the message"),
            ),
        ] {
            assert_eq!(judged(confirms, status, body), is, "{status} {body}");
        }
    }
}
