//! The login for a registry: from two environment variables, else as `docker login` keeps it.
//!
//! Not here: how it is used ([`super::registry`]).

use std::io;
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
    #[error(
        "the login for {registry} in {} has {what} and no password: set {USER} and {PASSWORD}, such as to a token that may push",
        .path.display()
    )]
    NoPassword {
        registry: String,
        path: PathBuf,
        what: &'static str,
    },
}

const USER: &str = "CORDONHOLD_REGISTRY_USER";
const PASSWORD: &str = "CORDONHOLD_REGISTRY_PASSWORD";
/// Under which name Docker keeps the login for its own registry (docker/cli: cli/config/configfile).
const DOCKER_KEY: &str = "https://index.docker.io/v1/";
/// What stands for a password at some registries, and is not used here.
const TOKEN: &str = "an identity token";

/// The login for a registry; none if nobody has set one.
pub fn find(registry: &str) -> Result<Option<Login>, LoginError> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let directory = variable("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".docker")));
    let path = directory.unwrap_or_default().join("config.json");
    match (variable(USER), variable(PASSWORD)) {
        (Some(user), Some(password)) => Ok(Some(Login { user, password })),
        (None, None) => in_file(registry, path),
        (Some(_), None) | (None, Some(_)) => Err(LoginError::OneAlone),
    }
}

/// The login in Docker's configuration.
fn in_file(registry: &str, path: PathBuf) -> Result<Option<Login>, LoginError> {
    match std::fs::read(&path) {
        Ok(text) => kept(registry, &text, path),
        // Most people have no such file.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(registry, path, &error.to_string())),
    }
}

/// The login in the text of Docker's configuration. A helper for this registry wins over what the file has, as it does for Docker
/// (docker/cli: `GetAuthConfig`).
fn kept(registry: &str, text: &[u8], path: PathBuf) -> Result<Option<Login>, LoginError> {
    let Ok(text) = serde_json::from_slice::<Value>(text) else {
        return Err(unreadable(registry, path, "it is not JSON"));
    };
    let key = if registry == "docker.io" {
        DOCKER_KEY
    } else {
        registry
    };
    let field = |name: &str| text.get(name);
    let helper = field("credHelpers").and_then(|helpers| helpers.get(key));
    let entry = field("auths").and_then(|auths| auths.get(key));
    let word = |name: &str| entry?.get(name)?.as_str().filter(|word| !word.is_empty());
    if let (None, Some(encoded)) = (helper, word("auth")) {
        return decoded(registry, path, encoded, word("identitytoken").is_some()).map(Some);
    }
    // A store has the login only if `docker login` has left an empty entry.
    let store = field("credsStore").filter(|_| entry.is_some());
    match helper.or(store).and_then(Value::as_str) {
        Some(helper) => Err(LoginError::Helper {
            registry: registry.to_owned(),
            path,
            helper: helper.to_owned(),
        }),
        None if word("identitytoken").is_some() => Err(no_password(registry, path, TOKEN)),
        None => Ok(None),
    }
}

fn decoded(registry: &str, path: PathBuf, encoded: &str, has_token: bool) -> Result<Login, LoginError> {
    let text = STANDARD
        .decode(encoded)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    match text.as_deref().and_then(|text| text.split_once(':')) {
        Some((user, password)) if !user.is_empty() && !password.is_empty() => Ok(Login {
            user: user.to_owned(),
            password: password.to_owned(),
        }),
        // Some clouds' registries: `docker login` then keeps an id without a password beside the token.
        Some(_) if has_token => Err(no_password(registry, path, TOKEN)),
        Some(_) => Err(no_password(registry, path, "only a user")),
        None => Err(unreadable(
            registry,
            path,
            "its `auth` is no user and password in base64",
        )),
    }
}

fn unreadable(registry: &str, path: PathBuf, problem: &str) -> LoginError {
    LoginError::Unreadable {
        registry: registry.to_owned(),
        path,
        problem: problem.to_owned(),
    }
}

fn no_password(registry: &str, path: PathBuf, what: &'static str) -> LoginError {
    LoginError::NoPassword {
        registry: registry.to_owned(),
        path,
        what,
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
            // The helper wins.
            (
                r#"{"auths": {"registry.example": {"auth": "eW91OnMzOmNyZXQ="}}, "credHelpers": {"registry.example": "ecr-login"}}"#,
                ["docker-credential-ecr-login get", PASSWORD],
            ),
            // `id:`, as `docker login` keeps it with such a token.
            (
                r#"{"auths": {"registry.example": {"auth": "aWQ6", "identitytoken": "c2VjcmV0"}}}"#,
                ["has an identity token and no password", PASSWORD],
            ),
            (
                r#"{"auths": {"registry.example": {"identitytoken": "c2VjcmV0"}}}"#,
                ["has an identity token and no password", PASSWORD],
            ),
            (
                r#"{"auths": {"registry.example": {"auth": "aWQ6"}}}"#,
                ["has only a user and no password", USER],
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

    #[test]
    fn a_file_that_is_there_and_cannot_be_read_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        assert!(in_file("registry.example", path.clone()).unwrap().is_none());
        // Also root cannot read a directory as a file.
        std::fs::create_dir(&path).unwrap();
        let line = in_file("registry.example", path).err().unwrap().to_string();
        assert!(
            line.contains("config.json cannot be read") && line.contains(USER),
            "{line}"
        );
    }
}
