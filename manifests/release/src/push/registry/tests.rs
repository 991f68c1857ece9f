use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::response::{IntoResponse as _, Response};
use cordonhold_rt::{crypto, exit};

use super::*;

/// A registry on loopback that answers each request by this function of method, path and authorization.
async fn played(answer: impl Fn(&str, &str, &str) -> Response + Clone + Send + Sync + 'static) -> String {
    // Another test may have done it.
    drop(crypto::install_provider());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().fallback(move |method: Method, uri: Uri, headers: HeaderMap, _: Bytes| {
        let authorization = headers
            .get(header::AUTHORIZATION)
            .map_or("", |value| value.to_str().unwrap());
        let response = answer(method.as_str(), &uri.to_string(), authorization);
        async move { response }
    });
    drop(tokio::spawn(async move { axum::serve(listener, app).await }));
    address.to_string()
}

fn login() -> Login {
    Login {
        user: "you".to_owned(),
        password: "s3cret".to_owned(),
    }
}

fn registry(address: &str, login: Option<Login>) -> Registry {
    let repository: Repository = format!("{address}/team/agent").parse().unwrap();
    Registry::new(&repository, login).unwrap()
}

fn status(code: u16, body: &str) -> Response {
    (StatusCode::from_u16(code).unwrap(), body.to_owned()).into_response()
}

#[tokio::test]
async fn a_refusal_is_one_line_with_the_fix() {
    let denied = r#"{"errors":[{"code":"DENIED","message":"quota\nexceeded"}]}"#;
    for (code, body, login, parts) in [
        (
            401,
            "",
            Some(login()),
            ["does not take the login of 'you'", "docker login"],
        ),
        (
            401,
            "",
            None,
            ["does not take a push without a login", "CORDONHOLD_REGISTRY_USER"],
        ),
        (
            403,
            denied,
            Some(login()),
            [
                "the login of 'you' may not push to 127.0.0.1:",
                "'quota exceeded'",
            ],
        ),
        (
            429,
            "",
            Some(login()),
            ["asks to be left alone", "try again later"],
        ),
        (
            500,
            "<html>",
            Some(login()),
            ["has failed (HTTP 500", "try again"],
        ),
        (
            503,
            denied,
            Some(login()),
            ["HTTP 503 Service Unavailable: 'quota exceeded'", "not sent again"],
        ),
        (
            405,
            "",
            Some(login()),
            ["did not take the manifest 1", "HTTP 405"],
        ),
        (
            302,
            "",
            Some(login()),
            ["did not take the manifest 1", "HTTP 302"],
        ),
    ] {
        let address = played(move |_, _, _| status(code, body)).await;
        let sent = registry(&address, login).send_manifest("1", "x", b"{}").await;
        let line = exit::one_line(&sent.unwrap_err());
        for part in parts {
            assert!(line.contains(part), "{code}: {part} is not in {line}");
        }
        assert!(!line.contains("s3cret"), "{line}");
    }
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_named_with_the_fix() {
    drop(crypto::install_provider());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let asked = registry(&address, None).has_blob("sha256:0").await;
    let line = exit::one_line(&asked.unwrap_err());
    for part in [address.as_str(), "is not reached", "SSL_CERT_FILE"] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}

/// 401, with where a token is to be had.
fn login_wanted(realm: &str) -> Response {
    (
        StatusCode::UNAUTHORIZED,
        [(header::WWW_AUTHENTICATE, realm.to_owned())],
    )
        .into_response()
}

#[tokio::test]
async fn a_registry_that_asks_for_a_token_gets_it_from_where_it_says() {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&asked);
    let tokens = played(move |_, path, authorization| {
        seen.lock().unwrap().push(format!("{path} {authorization}"));
        status(200, r#"{"token":"t0ken"}"#)
    })
    .await;
    let realm = format!("Bearer realm=\"http://{tokens}/token\",service=\"the registry\",scope=\"x\"");
    let address = played(move |_, _, authorization| match authorization {
        "Bearer t0ken" => status(201, ""),
        _ => login_wanted(&realm),
    })
    .await;
    let mut registry = registry(&address, Some(login()));
    for tag in ["1", "2"] {
        registry.send_manifest(tag, "x", b"{}").await.unwrap();
    }
    // Once, with user and password, and for a push to this repository.
    assert_eq!(
        *asked.lock().unwrap(),
        [
            "/token?scope=repository%3Ateam%2Fagent%3Apull%2Cpush&service=the%20registry Basic eW91OnMzY3JldA=="
        ]
    );
}

#[tokio::test]
async fn an_upload_goes_nowhere_else() {
    let address = played(|_, _, _| {
        let place = [(header::LOCATION, "https://elsewhere.example/upload?state=1")];
        (StatusCode::ACCEPTED, place).into_response()
    })
    .await;
    let sent = registry(&address, Some(login()))
        .send_blob("sha256:0", b"x")
        .await;
    let line = exit::one_line(&sent.unwrap_err());
    assert!(
        line.contains("elsewhere.example, and redirects are not followed"),
        "{line}"
    );
}

/// What the registry says is all that is needed: it is asked for over HTTPS or on loopback, and names a place without TLS.
#[tokio::test]
async fn a_password_is_sent_to_no_place_without_tls() {
    drop(crypto::install_provider());
    for registry in ["registry.example/team", "127.0.0.1:5000/team"] {
        for realm in ["http://auth.example/token", "http://127.0.0.1@auth.example/token"] {
            let repository: Repository = registry.parse().unwrap();
            let registry = Registry::new(&repository, Some(login())).unwrap();
            let got = registry.token(realm, None, Some("Basic x".to_owned())).await;
            let line = exit::one_line(&got.unwrap_err());
            assert!(
                line.contains("auth.example") && line.contains("no URL with https"),
                "{line}"
            );
        }
    }
}

/// A registry whose storage is elsewhere (Distribution with redirects) says where the blob is.
#[tokio::test]
async fn a_blob_in_a_store_elsewhere_is_there_and_nobody_asks_the_store() {
    let asked: Arc<Mutex<u32>> = Arc::default();
    let seen = Arc::clone(&asked);
    let store = played(move |_, _, _| {
        *seen.lock().unwrap() += 1;
        status(404, "")
    })
    .await;
    for code in [307, 302] {
        let place = format!("http://{store}/blob?signature=x");
        let address = played(move |_, _, _| {
            let place = [(header::LOCATION, place.clone())];
            (StatusCode::from_u16(code).unwrap(), place).into_response()
        })
        .await;
        assert!(registry(&address, None).has_blob("sha256:0").await.unwrap());
    }
    assert_eq!(*asked.lock().unwrap(), 0);
}

/// A token lasts some minutes, and a push on a slow line longer.
#[tokio::test]
async fn a_token_that_has_expired_is_asked_for_once_more_and_one_that_never_works_is_refused() {
    let given: Arc<Mutex<u32>> = Arc::default();
    let count = Arc::clone(&given);
    let tokens = played(move |_, _, _| {
        let mut count = count.lock().unwrap();
        *count += 1;
        status(200, &format!(r#"{{"token":"t{count}"}}"#))
    })
    .await;
    let realm = format!("Bearer realm=\"http://{tokens}/token\"");
    let address = played(move |_, path, authorization| match (path, authorization) {
        // The first token is good for the first manifest alone.
        ("/v2/team/agent/manifests/1", "Bearer t1") | ("/v2/team/agent/manifests/2", "Bearer t2") => {
            status(201, "")
        }
        _ => login_wanted(&realm),
    })
    .await;
    let mut registry = registry(&address, Some(login()));
    for tag in ["1", "2"] {
        registry.send_manifest(tag, "x", b"{}").await.unwrap();
    }
    let refused = registry.send_manifest("3", "x", b"{}").await.unwrap_err();
    let line = exit::one_line(&refused);
    assert!(line.contains("does not take the login of 'you'"), "{line}");
    assert_eq!(*given.lock().unwrap(), 3);
}

#[tokio::test]
async fn what_a_tag_names_is_told_by_its_bytes() {
    let address = played(|method, path, _| match (method, path) {
        ("GET", "/v2/team/agent/manifests/1") => status(200, "content"),
        ("GET", "/v2/team/agent/manifests/2") => status(404, ""),
        _ => status(500, ""),
    })
    .await;
    let mut registry = registry(&address, None);
    let found = registry.manifest("1").await.unwrap();
    assert_eq!(found, Some(sha256(b"content")));
    assert_eq!(registry.manifest("2").await.unwrap(), None);
    let line = exit::one_line(&registry.manifest("3").await.unwrap_err());
    assert!(line.contains("HTTP 500"), "{line}");
}

#[test]
fn challenges_are_read_in_any_case() {
    let bearer = |realm: &str, service: Option<&str>| {
        Some(Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
        })
    };
    for (text, is) in [
        ("Basic realm=\"x\"", Some(Challenge::Basic)),
        ("basic", Some(Challenge::Basic)),
        ("bearer realm=\"https://a/t\"", bearer("https://a/t", None)),
        (
            "Bearer service=\"s\",realm=\"https://a/t\"",
            bearer("https://a/t", Some("s")),
        ),
        ("Bearer service=\"s\"", None),
        ("Negotiate", None),
    ] {
        assert_eq!(challenge(text), is, "{text}");
    }
}
