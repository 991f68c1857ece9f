//! The name of a repository, such as `registry.example:5000/team/cordonhold-agent`.
//!
//! Not here: tags and digests.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A repository in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Host, and the port if it is named.
    pub registry: String,
    /// The rest of the name.
    pub path: String,
}

/// Docker's name for its registry, and the host that has its API.
const DOCKER: &str = "docker.io";
const DOCKER_API: &str = "registry-1.docker.io";

impl Repository {
    /// The repository of this name below.
    #[must_use]
    pub fn join(&self, name: &str) -> Repository {
        Repository {
            registry: self.registry.clone(),
            path: format!("{}/{name}", self.path).trim_start_matches('/').to_owned(),
        }
    }

    /// The URL of its API. A registry on loopback is asked without TLS, as containerd and Docker do.
    pub fn url(&self) -> String {
        let host = match self.registry.as_str() {
            DOCKER => DOCKER_API,
            host => host,
        };
        let scheme = if self.is_on_loopback() { "http" } else { "https" };
        format!("{scheme}://{host}")
    }

    /// Whether the registry is on this machine.
    pub fn is_on_loopback(&self) -> bool {
        is_loopback(&self.registry)
    }
}

/// Whether a host, with or without a port, is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let host = match host.rsplit_once(':') {
        // The colons of an IPv6 address alone are inside of its brackets.
        Some((name, port)) if !port.ends_with(']') => name,
        Some(_) | None => host,
    };
    let address = host.trim_matches(['[', ']']).parse();
    host == "localhost" || address.is_ok_and(|address: IpAddr| address.is_loopback())
}

impl FromStr for Repository {
    type Err = String;

    /// Reads a registry, and the beginning of a repository's name if there is a `/`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (registry, path) = text.split_once('/').unwrap_or((text, ""));
        // What containerd and Docker take for a host; they take any other first word for a part of a name in Docker's registry.
        let is_host = registry == "localhost" || registry.contains(['.', ':']);
        let is_word = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
        if !is_host || !registry.chars().all(is_word) {
            return Err(format!(
                "{text:?} does not begin with a registry: write one like registry.example/team, or docker.io/you for Docker Hub"
            ));
        }
        let is_part = |part: &str| {
            let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            part.starts_with(is_plain)
                && part.ends_with(is_plain)
                && part.chars().all(|c| is_plain(c) || "._-".contains(c))
        };
        if !path.is_empty() && !path.split('/').all(is_part) {
            return Err(format!(
                "{text:?} is no beginning of a repository's name: after the registry it has small letters, digits and . _ - between slashes, and neither a tag nor a slash at its end"
            ));
        }
        Ok(Self {
            registry: registry.to_owned(),
            path: path.to_owned(),
        })
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.registry)?;
        if self.path.is_empty() {
            return Ok(());
        }
        write!(f, "/{}", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_read_with_its_registry() {
        for (text, url, name) in [
            (
                "registry.example/team",
                "https://registry.example",
                "registry.example/team/x",
            ),
            (
                "registry.example",
                "https://registry.example",
                "registry.example/x",
            ),
            ("docker.io/you", "https://registry-1.docker.io", "docker.io/you/x"),
            (
                "localhost:5000/a/b",
                "http://localhost:5000",
                "localhost:5000/a/b/x",
            ),
            ("127.0.0.1:5000", "http://127.0.0.1:5000", "127.0.0.1:5000/x"),
            ("[::1]:5000", "http://[::1]:5000", "[::1]:5000/x"),
            ("[::1]", "http://[::1]", "[::1]/x"),
            ("[::2]", "https://[::2]", "[::2]/x"),
            ("10.0.0.1:5000", "https://10.0.0.1:5000", "10.0.0.1:5000/x"),
        ] {
            let read: Repository = text.parse().unwrap();
            assert_eq!(
                (read.url().as_str(), read.join("x").to_string().as_str()),
                (url, name)
            );
            assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_repository_is_refused_with_the_fix() {
        for (text, fix) in [
            ("team", "registry.example/team"),
            ("", "registry.example/team"),
            ("https://registry.example/team", "registry.example/team"),
            ("registry.example/Team", "small letters"),
            ("registry.example/team/", "slash"),
            ("registry.example/team:1", "tag"),
        ] {
            let why = text.parse::<Repository>().unwrap_err();
            assert!(why.contains(fix), "{text}: {why}");
        }
    }
}
