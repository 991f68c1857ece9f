//! Finds the proxy for a server outside of the cluster, by the same rules as kubectl.
//!
//! Not for the in-cluster configuration: the proxy variables of a pod are for servers outside the cluster.

use std::net::IpAddr;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;

/// A proxy to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Its URL, which may hold a password.
    pub url: Uri,
    /// Where the URL is written: `proxy-url` or the name of an environment variable.
    pub origin: &'static str,
}

/// Why a proxy cannot be used. The messages leave out its URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum ProxyError {
    #[error(
        "the proxy in {origin} is not a URL: write one like http://proxy.example:3128 or socks5://127.0.0.1:1080"
    )]
    NotUrl { origin: &'static str },
    #[error(
        "the proxy in {origin} has the scheme {scheme:?}, which is not supported: use http, https or socks5"
    )]
    Scheme { origin: &'static str, scheme: String },
    #[error(
        "the proxy in {origin} is a SOCKS proxy with a user, which is not supported: name a SOCKS proxy without a user, or an HTTP proxy"
    )]
    SocksUser { origin: &'static str },
}

pub(super) const PROXY_URL: &str = "proxy-url";
const SOCKS_PORT: u16 = 1080;

/// The proxy that the kubeconfig names, or else that of the environment variables, by Go's rules (golang.org/x/net: http/httpproxy).
pub fn find(
    named: Option<&str>,
    server: &Uri,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Proxy>, ProxyError> {
    // NO_PROXY does not apply to the kubeconfig's own proxy.
    if let Some(url) = named.filter(|url| !url.is_empty()) {
        return parse(url, PROXY_URL).map(Some);
    }
    let first = |names: [&'static str; 2]| {
        let of = |name| Some((name, variable(name).filter(|value| !value.is_empty())?));
        names.into_iter().find_map(of)
    };
    let is_plain = server.scheme_str() == Some("http");
    let found = first(if is_plain {
        ["HTTP_PROXY", "http_proxy"]
    } else {
        ["HTTPS_PROXY", "https_proxy"]
    });
    let exceptions = first(["NO_PROXY", "no_proxy"]).map_or_else(String::new, |(_, list)| list);
    match found.filter(|_| !is_direct(server, &exceptions)) {
        None => Ok(None),
        Some((origin, url)) if url.contains("://") => parse(&url, origin).map(Some),
        Some((origin, url)) => parse(&format!("http://{url}"), origin).map(Some),
    }
}

fn parse(url: &str, origin: &'static str) -> Result<Proxy, ProxyError> {
    let uri: Uri = url.trim().parse().map_err(|_| ProxyError::NotUrl { origin })?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(ProxyError::NotUrl { origin });
    };
    let url = match scheme {
        "http" | "https" => uri,
        "socks5" | "socks5h" if authority.as_str().contains('@') => {
            return Err(ProxyError::SocksUser { origin });
        }
        // The same for both schemes: the proxy resolves names.
        "socks5" | "socks5h" => {
            let port = authority.port_u16().unwrap_or(SOCKS_PORT);
            let whole = format!("socks5://{}:{port}", authority.host());
            whole.parse().map_err(|_| ProxyError::NotUrl { origin })?
        }
        scheme => {
            let scheme = scheme.to_owned();
            return Err(ProxyError::Scheme { origin, scheme });
        }
    };
    Ok(Proxy { url, origin })
}

/// Whether the server is reached without a proxy from the variables: it is this machine, or `NO_PROXY` names it.
fn is_direct(server: &Uri, exceptions: &str) -> bool {
    let host = server.host().unwrap_or_default();
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    if host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback()) {
        return true;
    }
    let default_port = if server.scheme_str() == Some("http") {
        80
    } else {
        443
    };
    let port = server.port_u16().unwrap_or(default_port).to_string();
    let parts = exceptions.split(',').map(str::trim);
    let of_this_port = parts.filter_map(|part| match part.rsplit_once(':') {
        Some((name, with)) if !name.contains(':') || name.ends_with(']') => {
            (with == port).then(|| name.trim_start_matches('[').trim_end_matches(']'))
        }
        _ => Some(part),
    });
    // In Go, `*.example.com` and `.example.com` match names below example.com, but not example.com itself.
    let list: Vec<&str> = of_this_port
        .map(|part| {
            part.strip_prefix('*')
                .filter(|rest| rest.starts_with('.'))
                .unwrap_or(part)
        })
        .filter(|part| {
            part.strip_prefix('.')
                .is_none_or(|name| !name.eq_ignore_ascii_case(host))
        })
        .collect();
    // The proxy here does not matter: the question is only whether the matcher would bypass it.
    let matcher = Matcher::builder()
        .all("http://proxy.invalid")
        .no(list.join(","))
        .build();
    matcher.intercept(server).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "https://api.example.com:6443";

    fn found(
        named: Option<&str>,
        server: &str,
        variables: &[(&str, &str)],
    ) -> Result<Option<String>, String> {
        let variable = |name: &str| {
            let known = variables.iter().find(|(known, _)| *known == name);
            known.map(|(_, value)| (*value).to_owned())
        };
        find(named, &server.parse().unwrap(), variable)
            .map(|proxy| proxy.map(|proxy| format!("{} {}", proxy.origin, proxy.url)))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn found_p10_variables_are_read_as_go_reads_them() {
        let by = |name: &str, url: &str| Ok(Some(format!("{name} {url}")));
        assert_eq!(found(None, SERVER, &[]), Ok(None));
        assert_eq!(found(None, SERVER, &[("HTTP_PROXY", "http://p:1")]), Ok(None));
        let plain = found(None, "http://api.example.com", &[("http_proxy", "p:1")]);
        assert_eq!(plain, by("http_proxy", "http://p:1/"));
        for (name, url, read) in [
            ("HTTPS_PROXY", "http://p:3128", "http://p:3128/"),
            ("https_proxy", "p:3128", "http://p:3128/"),
            ("HTTPS_PROXY", "https://u:w@p", "https://u:w@p/"),
            ("HTTPS_PROXY", "socks5h://p", "socks5://p:1080/"),
        ] {
            assert_eq!(found(None, SERVER, &[(name, url)]), by(name, read));
        }
        for no_proxy in [
            "*",
            "example.com",
            ".example.com",
            "*.example.com",
            "a, api.example.com,",
            "api.example.com:6443",
        ] {
            let variables = [("HTTPS_PROXY", "p:1"), ("no_proxy", no_proxy)];
            assert_eq!(found(None, SERVER, &variables), Ok(None), "{no_proxy}");
        }
        for no_proxy in [
            ".api.example.com",
            "api.example.com:443",
            "ample.com",
            "10.0.0.0/8",
        ] {
            let variables = [("HTTPS_PROXY", "p:1"), ("NO_PROXY", no_proxy)];
            assert_eq!(
                found(None, SERVER, &variables),
                by("HTTPS_PROXY", "http://p:1/"),
                "{no_proxy}"
            );
        }
        for (server, no_proxy) in [
            ("https://10.1.2.3:6443", "10.0.0.0/8"),
            ("https://[fd00::1]:6443", "fd00::/8"),
            ("https://localhost:6443", ""),
            ("https://127.0.0.5", ""),
            ("https://[::1]:6443", ""),
        ] {
            let variables = [("HTTPS_PROXY", "p:1"), ("NO_PROXY", no_proxy)];
            assert_eq!(found(None, server, &variables), Ok(None), "{server}");
        }
    }

    #[test]
    fn found_p10_the_kubeconfig_s_proxy_is_used_whatever_the_variables_say() {
        let variables = [("HTTPS_PROXY", "other:1"), ("NO_PROXY", "*")];
        let read = found(Some("socks5://127.0.0.1:9"), "https://localhost:1", &variables);
        assert_eq!(read, Ok(Some("proxy-url socks5://127.0.0.1:9/".to_owned())));
    }

    #[test]
    fn found_p10_a_proxy_that_cannot_be_used_is_named_and_not_shown() {
        for (url, part) in [
            ("ftp://u:secret@p", "\"ftp\""),
            ("socks5://u:secret@p:1", "SOCKS proxy with a user"),
            ("p secret", "not a URL"),
            ("secret:1", "not a URL"),
        ] {
            let said = found(Some(url), SERVER, &[]).unwrap_err();
            assert!(
                said.contains(part) && said.contains("proxy-url") && !said.contains("secret"),
                "{said}"
            );
        }
    }
}
