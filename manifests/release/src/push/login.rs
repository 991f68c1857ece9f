//! The login for a registry: from two environment variables, else as `docker login` keeps it.
//!
//! Not here: how it is used ([`super::registry`]).

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// User and password, or a token that a registry takes for a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub user: String,
    pub password: String,
}

/// Why a login cannot be used. No text repeats a password.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum LoginError {
    #[error("{USER} and {PASSWORD} go together: set both, or neither")]
    OneAlone,
    #[error("the login for {registry} in {} cannot be read ({problem}): run `docker login {registry}` again, or set {USER} and {PASSWORD}", .path.display())]
    Unreadable {
        registry: String,
        path: PathBuf,
        problem: String,
    },
    #[error(
        "{} leaves the login for {registry} to a helper of Docker, which is not asked: set {USER} and {PASSWORD}, such as from `docker-credential-{helper} get`",
        .path.display()
    )]
    Helper {
        registry: String,
        path: PathBuf,
        helper: String,
    },
}

const USER: &str = "CORDONHOLD_REGISTRY_USER";
const PASSWORD: &str = "CORDONHOLD_REGISTRY_PASSWORD";
/// Under which name Docker keeps the login for its own registry (docker/cli: cli/config/configfile).
const DOCKER_KEY: &str = "https://index.docker.io/v1/";

/// The login for a registry; none if nobody has set one.
pub fn find(registry: &str) -> Result<Option<Login>, LoginError> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let directory = variable("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".docker")));
    let path = directory.unwrap_or_default().join("config.json");
    match (variable(USER), variable(PASSWORD)) {
        (Some(user), Some(password)) => Ok(Some(Login { user, password })),
        (None, None) => match std::fs::read(&path) {
            Ok(text) => kept(registry, &text, path),
            // Most people have no such file.
            Err(_) => Ok(None),
        },
        (Some(_), None) | (None, Some(_)) => Err(LoginError::OneAlone),
    }
}

/// The login in the text of Docker's configuration.
fn kept(registry: &str, text: &[u8], path: PathBuf) -> Result<Option<Login>, LoginError> {
    let unreadable = |problem: &str, path: PathBuf| LoginError::Unreadable {
        registry: registry.to_owned(),
        path,
        problem: problem.to_owned(),
    };
    let Ok(text) = serde_json::from_slice::<Value>(text) else {
        return Err(unreadable("it is not JSON", path));
    };
    let key = if registry == "docker.io" {
        DOCKER_KEY
    } else {
        registry
    };
    let entry = text.get("auths").and_then(|auths| auths.get(key));
    let encoded = entry.and_then(|entry| entry.get("auth")).and_then(Value::as_str);
    let Some(encoded) = encoded.filter(|encoded| !encoded.is_empty()) else {
        let of = text.get("credHelpers").and_then(|helpers| helpers.get(key));
        // A store has the login only if `docker login` has left an empty entry.
        let store = text.get("credsStore").filter(|_| entry.is_some());
        let helper = of.or(store).and_then(Value::as_str);
        return helper.map_or(Ok(None), |helper| {
            Err(LoginError::Helper {
                registry: registry.to_owned(),
                path,
                helper: helper.to_owned(),
            })
        });
    };
    let decoded = STANDARD
        .decode(encoded)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded.as_deref().and_then(|decoded| decoded.split_once(':')) {
        Some((user, password)) => Ok(Some(Login {
            user: user.to_owned(),
            password: password.to_owned(),
        })),
        None => Err(unreadable("its `auth` is no user and password in base64", path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(registry: &str, text: &str) -> Result<Option<Login>, LoginError> {
        kept(
            registry,
            text.as_bytes(),
            PathBuf::from("/home/you/.docker/config.json"),
        )
    }

    #[test]
    fn a_login_of_docker_is_found_by_the_name_of_its_registry() {
        // `you:s3:cret`
        let text = r#"{"auths": {"registry.example:5000": {"auth": "eW91OnMzOmNyZXQ="}, "https://index.docker.io/v1/": {"auth": "aHViOnA="}}}"#;
        let login = found("registry.example:5000", text).unwrap().unwrap();
        assert_eq!((login.user.as_str(), login.password.as_str()), ("you", "s3:cret"));
        assert_eq!(found("docker.io", text).unwrap().unwrap().user, "hub");
        assert!(found("registry.example", text).unwrap().is_none());
        assert!(found("registry.example", "{}").unwrap().is_none());
    }

    #[test]
    fn a_login_that_cannot_be_had_is_told_with_the_fix() {
        for (text, parts) in [
            ("{", ["it is not JSON", "docker login registry.example"]),
            (
                r#"{"auths": {"registry.example": {"auth": "c2VjcmV0"}}}"#,
                ["no user and password", "docker login registry.example"],
            ),
            (
                r#"{"auths": {"registry.example": {}}, "credsStore": "secretservice"}"#,
                ["docker-credential-secretservice get", USER],
            ),
            (
                r#"{"credHelpers": {"registry.example": "ecr-login"}}"#,
                ["docker-credential-ecr-login get", PASSWORD],
            ),
        ] {
            let line = found("registry.example", text).err().unwrap().to_string();
            for part in parts {
                assert!(line.contains(part), "{part} is not in {line}");
            }
            assert!(!line.contains("secret`") && !line.contains("c2VjcmV0"), "{line}");
        }
        // A store that has nothing for this registry is no mistake.
        assert!(
            found("registry.example", r#"{"credsStore": "x"}"#)
                .unwrap()
                .is_none()
        );
    }
}
