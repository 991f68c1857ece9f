//! Tests of the requests that a watch sends, and of what it reports. The API server is a function.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use http::{Request as HttpRequest, Response};
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use kube::client::Body;
use serde_json::json;

use cordonhold_shared::watch::TOO_OLD;

use super::*;

/// The object that is watched.
#[derive(Clone, Debug, Deserialize)]
struct Object {
    metadata: Metadata,
}

#[derive(Clone, Debug, Deserialize)]
struct Metadata {
    name: String,
}

/// The versions of the requests so far, "" for a list.
type Asked = Arc<Mutex<Vec<String>>>;

/// A client of a server that answers each request with a code and a body, and the requests so far. `answer` gets the version of a watch,
/// "" for a list.
fn server(answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> (Client, Asked) {
    let (asked, answer) = (Asked::default(), Arc::new(answer));
    let seen = Arc::clone(&asked);
    let service = tower::service_fn(move |request: HttpRequest<Body>| {
        let query = request.uri().query().unwrap_or_default();
        let version = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("resourceVersion="));
        let version = version.unwrap_or_default().to_owned();
        let (code, text) = answer(&version);
        seen.lock().unwrap().push(version);
        let body = Body::from(text.into_bytes());
        async move { Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap()) }
    });
    (Client::new(service, "default"), asked)
}

fn target() -> Target {
    Target::new(
        "things",
        "/api/v1/things".to_owned(),
        "metadata.name=a".to_owned(),
    )
}

fn object(version: &str) -> Value {
    json!({ "metadata": { "name": "a", "resourceVersion": version } })
}

fn list(version: &str) -> (u16, String) {
    let list = json!({ "metadata": { "resourceVersion": version }, "items": [object(version)] });
    (200, list.to_string())
}

fn event(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({ "type": kind, "object": object }))
}

fn status(code: u16) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": "X", "code": code })
}

/// The next `count` reports of the watch, as text.
async fn told(watch: Watch<Object>, count: usize) -> Vec<String> {
    let words = |news: Result<News<Object>, CallError>| match news {
        Ok(News::Change(Change::Listed(objects))) => format!("{} listed", objects.len()),
        Ok(News::Change(Change::Present(Object { metadata }))) => format!("{} present", metadata.name),
        Ok(News::Change(Change::Gone(Object { metadata }))) => format!("{} gone", metadata.name),
        Ok(News::Change(Change::Gap)) => "gap".to_owned(),
        Ok(News::Began) => "began".to_owned(),
        Ok(News::Bookmark) => "bookmark".to_owned(),
        Err(error) => error.to_string(),
    };
    pin!(watch.news()).take(count).map(words).collect().await
}

#[tokio::test]
async fn it_lists_follows_resumes_and_tells_where_its_place_was_lost() {
    let (client, asked) = server(|version| match version {
        "" => list("5"),
        "5" => {
            let mark = json!({ "apiVersion": "v1", "kind": "Thing", "metadata": { "resourceVersion": "8" } });
            (200, event("MODIFIED", &object("6")) + &event("BOOKMARK", &mark))
        }
        "8" => (200, event("MODIFIED", &object("9"))),
        _ => (200, event("ERROR", &status(TOO_OLD))),
    });
    let told = told(Watch::new(client, target(), None), 10).await;
    let expected = [
        "1 listed",
        "began",
        "a present",
        "bookmark",
        "began",
        "a present",
        "began",
        "gap",
        "1 listed",
        "began",
    ];
    assert_eq!(told, expected);
    assert_eq!(*asked.lock().unwrap(), ["", "5", "8", "9", "", "5"]);
}

#[tokio::test]
async fn it_begins_where_it_is_told_and_a_failure_loses_no_place() {
    let failures = Mutex::new(1);
    let (client, asked) = server(move |_| {
        let mut failures = failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return (500, status(500).to_string());
        }
        (200, event("MODIFIED", &object("8")))
    });
    let told = told(Watch::new(client, target(), Some("7".to_owned())), 4).await;
    assert_eq!(
        told,
        ["the API server: no (code 500)", "began", "a present", "began"]
    );
    assert_eq!(*asked.lock().unwrap(), ["7", "7", "8"]);
}

#[tokio::test]
async fn the_end_of_one_object_is_an_end_of_its_watch_where_that_is_asked_for() {
    for (ends_with_object, versions) in [(true, ["5", "", "6"]), (false, ["5", "6", "6"])] {
        let (client, asked) = server(|version| match version {
            "" => list("6"),
            "5" => (200, event("DELETED", &object("6"))),
            _ => (200, String::new()),
        });
        let target = Target {
            ends_with_object,
            ..target()
        };
        let told = told(Watch::new(client, target, Some("5".to_owned())), 4).await;
        assert_eq!(told[..2], ["began", "a gone"]);
        assert_eq!(*asked.lock().unwrap(), versions);
    }
}

#[tokio::test]
async fn one_that_is_silent_for_too_long_is_dead() {
    let service = tower::service_fn(|_: HttpRequest<Body>| async {
        let silence = stream::pending::<Result<Frame<Bytes>, Infallible>>();
        Ok::<_, Infallible>(Response::new(StreamBody::new(silence)))
    });
    let target = Target {
        silence: Duration::from_millis(50),
        ..target()
    };
    let client = Client::new(service, "default");
    let told = told(Watch::new(client, target, Some("5".to_owned())), 3).await;
    assert_eq!(
        told,
        ["began", "the API server did not answer within 50ms", "began"]
    );
}

#[test]
fn an_object_of_a_watch_brings_its_version_or_is_an_error() {
    let event: WatchEvent<Versioned<Object>> =
        serde_json::from_str(&event("MODIFIED", &object("7"))).unwrap();
    let WatchEvent::Modified(object) = event else {
        panic!("{event:?}")
    };
    assert_eq!(
        (object.version.as_str(), object.view.metadata.name.as_str()),
        ("7", "a")
    );
    assert!(serde_json::from_str::<Versioned<Object>>(r#"{"metadata":{"name":"a"}}"#).is_err());
}
