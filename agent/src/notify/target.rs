//! Takes a notify URL apart, as shoutrrr does.
//!
//! Not here: what a service makes of the parts ([`super::service`]).

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use percent_encoding::percent_decode_str;

use super::service::{Mistake, Service, delivery};

/// Where messages go: a shoutrrr URL, `service+transport://user:password@host:port/path?parameter=value#fragment`, of which most parts
/// may be left out. Each service gives the parts its own meaning: the host may be a token, for example.
///
/// Only the service is ever printed, because nearly every other part may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// The service that delivers the messages.
    pub service: Service,
    /// The text after `+` in the scheme, like `https` in `generic+https`.
    pub transport: Option<String>,
    /// The user before `@`, decoded.
    pub user: Option<String>,
    /// The password after the user, decoded.
    pub password: Option<String>,
    /// The host, decoded; may be empty.
    pub host: String,
    /// The port after the host.
    pub port: Option<u16>,
    /// The path as written, not decoded, with its first `/`; may be empty.
    pub path: String,
    /// The parameters, decoded, in the order of the URL; a name may come twice.
    pub parameters: Vec<(String, String)>,
    /// The text after `#`, decoded.
    pub fragment: Option<String>,
}

/// Why a text is not a target. No error repeats the text, because it may contain a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum TargetError {
    #[error("not a URL: write one like slack://A/B/C")]
    NotUrl,
    #[error("nothing follows the scheme: write a URL like slack://A/B/C")]
    Empty,
    #[error("a web address needs generic+ before it: write one like generic+https://example.com/hook")]
    WebAddress,
    #[error("{scheme:?} is not a service that messages can go to: use one of {}", Service::NAMES.join(", "))]
    UnknownService { scheme: String },
    #[error(
        "the text after the last : of the host is no port: write a number from 0 to 65535, or %3A for a : in the name"
    )]
    Port,
    #[error("a % is not followed by two hexadecimal digits: write %25 for a %")]
    Percent,
    #[error(transparent)]
    Service(#[from] Mistake),
    #[error(
        "a %-sequence is not UTF-8: write the text in UTF-8, then each byte as % and two hexadecimal digits"
    )]
    NotUtf8,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://...", self.service.name())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Target {
    type Err = TargetError;

    /// Splits a URL as Go's `net/url` does, which shoutrrr uses.
    fn from_str(url: &str) -> Result<Target, TargetError> {
        let (scheme, rest) = url.split_once("://").ok_or(TargetError::NotUrl)?;
        if rest.is_empty() {
            return Err(TargetError::Empty);
        }
        let (service, transport) = service(scheme)?;
        let (rest, fragment) = split(rest, '#');
        let (rest, query) = split(rest, '?');
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, authority),
        };
        let (user, password) = login.map_or((None, None), |login| {
            let (user, password) = split(login, ':');
            (Some(user), password)
        });
        let (host, port) = host_and_port(place)?;
        // The path is decoded where it is used; here only a mistake in it is reported.
        drop(decoded(path)?);
        let target = Target {
            service,
            transport,
            user: user.map(decoded).transpose()?,
            password: password.map(decoded).transpose()?,
            host: decoded(host)?,
            port,
            path: path.to_owned(),
            parameters: parameters(query.unwrap_or_default())?,
            fragment: fragment.map(decoded).transpose()?,
        };
        // Made once here, so that what the service lacks is said at the start.
        drop(delivery(&target, "", Timestamp::UNIX_EPOCH)?);
        Ok(target)
    }
}

/// Parses a scheme as shoutrrr's router does: the service is the text before a `+`, in upper or lower case (containrrr/shoutrrr:
/// pkg/router/router.go).
fn service(scheme: &str) -> Result<(Service, Option<String>), TargetError> {
    let lower = scheme.to_lowercase();
    let (name, transport) = split(&lower, '+');
    match Service::named(name) {
        Some(service) => Ok((service, transport.map(str::to_owned))),
        None if matches!(scheme, "http" | "https") => Err(TargetError::WebAddress),
        None => Err(TargetError::UnknownService {
            scheme: scheme.to_owned(),
        }),
    }
}

/// The text before the first separator and, if there is one, the text after it.
fn split(text: &str, separator: char) -> (&str, Option<&str>) {
    match text.split_once(separator) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

/// Splits a host and its port. An IPv6 address loses its brackets, and a `:` with nothing after it is no port.
fn host_and_port(place: &str) -> Result<(&str, Option<u16>), TargetError> {
    let (host, port) = match place.strip_prefix('[').and_then(|place| place.split_once(']')) {
        Some((address, "")) => (address, None),
        Some((address, after)) => (address, Some(after.strip_prefix(':').ok_or(TargetError::Port)?)),
        None => match place.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let is_number = |port: &str| port.chars().all(|c| c.is_ascii_digit());
    match port.filter(|port| !port.is_empty()) {
        None => Ok((host, None)),
        Some(port) if !is_number(port) => Err(TargetError::Port),
        Some(port) => Ok((host, Some(port.parse().map_err(|_| TargetError::Port)?))),
    }
}

/// Parses and decodes the parameters of a query.
fn parameters(query: &str) -> Result<Vec<(String, String)>, TargetError> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = split(pair, '=');
            let plain = |text: &str| decoded(&text.replace('+', " "));
            Ok((plain(name)?, plain(value.unwrap_or_default())?))
        })
        .collect()
}

/// Decodes percent signs. Unlike the crate's decoder, a `%` without two hexadecimal digits is an error.
pub(super) fn decoded(text: &str) -> Result<String, TargetError> {
    let mut after_percent = text.split('%').skip(1);
    let is_byte = |part: &str| part.len() >= 2 && part.bytes().take(2).all(|b| b.is_ascii_hexdigit());
    if !after_percent.all(is_byte) {
        return Err(TargetError::Percent);
    }
    percent_decode_str(text)
        .decode_utf8()
        .map(Cow::into_owned)
        .map_err(|_| TargetError::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        url.parse().unwrap()
    }

    #[test]
    fn a_url_of_shoutrrr_is_taken_apart() {
        let smtp = target("smtp://me%40here:p%3Aw@[::1]:25/?fromAddress=a@b.c&toAddresses=b@b.c,c+d@b.c#x");
        assert_eq!(
            (smtp.service, smtp.transport, smtp.port),
            (Service::Smtp, None, Some(25))
        );
        assert_eq!(
            (smtp.user.as_deref(), smtp.password.as_deref()),
            (Some("me@here"), Some("p:w"))
        );
        assert_eq!((smtp.host.as_str(), smtp.path.as_str()), ("::1", "/"));
        let parameters = [("fromAddress", "a@b.c"), ("toAddresses", "b@b.c,c d@b.c")];
        assert_eq!(
            smtp.parameters,
            parameters.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert_eq!(smtp.fragment.as_deref(), Some("x"));

        let generic = target("Generic+HTTPS://example.com/a%2Fb?@x=y");
        assert_eq!(
            (generic.service, generic.transport.as_deref()),
            (Service::Generic, Some("https"))
        );
        assert_eq!(
            (generic.host.as_str(), generic.path.as_str()),
            ("example.com", "/a%2Fb")
        );

        let telegram = target("telegram://123:abc@telegram?chats=@me");
        assert_eq!(telegram.password.as_deref(), Some("abc"));
        assert_eq!((telegram.host.as_str(), telegram.path.as_str()), ("telegram", ""));

        let slack = target("slack://bot@tokenA/tokenB/tokenC");
        assert_eq!((slack.user.as_deref(), slack.password), (Some("bot"), None));
        assert_eq!(
            (slack.host.as_str(), slack.path.as_str()),
            ("tokenA", "/tokenB/tokenC")
        );
    }

    #[test]
    fn a_target_is_shown_by_its_service_alone() {
        let url =
            target("smtp://secret:secret@secret:25/secret?from=secret@secret.io&to=secret@secret.io#secret");
        assert_eq!([format!("{url}"), format!("{url:?}")], ["smtp://..."; 2]);
    }

    #[test]
    fn what_is_no_target_is_refused_without_its_secrets() {
        for (text, says) in [
            ("https://hooks.slack.com/services/secret", "generic+"),
            ("carrier-pigeon://secret", "carrier-pigeon"),
            ("secret", "not a URL"),
            ("slack://", "nothing follows"),
            ("gotify://secret:port/secret", "no port"),
            ("gotify://secret:70000/secret", "no port"),
            ("gotify://[::1]25/secret", "no port"),
            ("gotify://host/100%secret", "%25"),
            ("gotify://host/secret%", "%25"),
            ("ntfy://secret:%ff@host/topic", "UTF-8"),
        ] {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(
                error.contains(says) && !error.contains("secret"),
                "{text}: {error}"
            );
        }
    }
}
