//! Which lookups go to the API server, how many times, and what counts when it does not answer. The API server here is a function.

use std::convert::Infallible;
use std::sync::Mutex;
use std::time::Instant;

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::permission::{ALLOWED_TTL, Answers, DENIED_TTL, MAX_ANSWERS};
use super::watch::{MAX_AGE, Seen};
use super::*;
use cordonhold_shared::admission::OnLookupFailure;
use cordonhold_shared::keys;
use cordonhold_shared::kured::Kured;

/// An API server that records every request, and answers by its path.
#[derive(Clone)]
struct Server(Arc<Inner>);

struct Inner {
    asked: Mutex<Vec<Value>>,
    paths: mpsc::UnboundedSender<String>,
    answer: Box<Answering>,
}

/// The answer of the API server to a request with this path.
type Answering = dyn Fn(&str) -> (StatusCode, String) + Send + Sync;

impl Server {
    fn new(
        answer: impl Fn(&str) -> (StatusCode, String) + Send + Sync + 'static,
    ) -> (Server, mpsc::UnboundedReceiver<String>) {
        let (paths, seen) = mpsc::unbounded_channel();
        let inner = Inner {
            asked: Mutex::default(),
            paths,
            answer: Box::new(answer),
        };
        (Server(Arc::new(inner)), seen)
    }

    fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let path = request.uri().to_string();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let asked = serde_json::from_slice(&body).unwrap_or(Value::Null);
                server.0.asked.lock().unwrap().push(asked);
                let (status, text) = (server.0.answer)(&path);
                drop(server.0.paths.send(path));
                let response = Response::builder()
                    .status(status)
                    .body(Body::from(text.into_bytes()))
                    .unwrap();
                Ok::<_, Infallible>(response)
            }
        });
        Client::new(service, "default")
    }

    fn asked(&self) -> Vec<Value> {
        self.0.asked.lock().unwrap().clone()
    }
}

fn lookup_at(server: &Server, kured: Option<&KuredLock>) -> ClusterLookup {
    ClusterLookup::new(server.client(), kured, &Arc::new(Metrics::new()))
}

fn lock() -> KuredLock {
    KuredLock {
        ds_namespace: "kube-system".to_owned(),
        ds_name: "kured".to_owned(),
        annotations: vec![keys::KURED_LOCK.to_owned()],
        on_lookup_failure: OnLookupFailure::Deny,
    }
}

fn kured(version: &str, lock: &str) -> Value {
    json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": {
            "name": "kured", "namespace": "kube-system", "resourceVersion": version,
            "annotations": {keys::KURED_LOCK: lock, "other": "no lock"},
        },
    })
}

fn list(version: &str, items: &[Value]) -> String {
    json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList",
        "metadata": {"resourceVersion": version}, "items": items,
    })
    .to_string()
}

fn event(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

fn failure(code: u16, message: &str) -> Value {
    let reason = if code == 404 { "NotFound" } else { "Forbidden" };
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message})
}

/// The DaemonSet that the flags name, with this lock.
fn locks(text: &str) -> Known<KuredSeen> {
    Known::Is(KuredSeen {
        found: Some(Kured {
            namespace: "kube-system".to_owned(),
            name: "kured".to_owned(),
            service_account: "default".to_owned(),
        }),
        locks: Locks::from([(keys::KURED_LOCK.to_owned(), text.to_owned())]),
    })
}

/// kured's DaemonSet as its chart installs it for the release `my-release` in this namespace.
fn released(namespace: &str, lock: &str) -> Value {
    json!({
        "metadata": {
            "name": "my-release-kured", "namespace": namespace, "resourceVersion": "4",
            "labels": {"app.kubernetes.io/name": "kured"},
            "annotations": {keys::KURED_LOCK: lock},
        },
        "spec": {"template": {"spec": {"serviceAccountName": "my-release-kured"}}},
    })
}

fn not_found() -> (StatusCode, String) {
    (StatusCode::NOT_FOUND, failure(404, "not found").to_string())
}

/// A cluster that has these `DaemonSets`, but not the one that the flags name.
fn without_kured(others: Vec<Value>) -> (Server, mpsc::UnboundedReceiver<String>) {
    Server::new(move |path| match path {
        "/apis/apps/v1/namespaces/kube-system/daemonsets/kured" => not_found(),
        "/apis/apps/v1/daemonsets?&limit=100" => (StatusCode::OK, list("5", &others)),
        one if one.ends_with("/daemonsets/my-release-kured") => {
            let text = others.first().map(ToString::to_string);
            text.map_or_else(not_found, |text| (StatusCode::OK, text))
        }
        _ => (StatusCode::OK, list("5", &[])),
    })
}

fn person() -> Requester {
    Requester {
        user: "jo".to_owned(),
        uid: "u-7".to_owned(),
        groups: vec!["ops".to_owned()],
        node_claim: vec!["node-0".to_owned()],
        extra: [(
            "example.org/team".to_owned(),
            vec!["a".to_owned(), "b".to_owned()],
        )]
        .into(),
    }
}

fn allowed(is_allowed: bool) -> (StatusCode, String) {
    let answer = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {}, "status": {"allowed": is_allowed},
    });
    (StatusCode::CREATED, answer.to_string())
}

#[tokio::test]
async fn the_permission_is_asked_with_all_that_is_known_of_the_user_and_once() {
    let (server, _) = Server::new(|_| allowed(true));
    let lookup = lookup_at(&server, None);
    for _ in 0..3 {
        assert_eq!(
            lookup.may(keys::OVERRIDE_VERB, &person(), "node-0").await,
            Known::Is(true)
        );
    }
    let asked = server.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    let spec = &asked[0]["spec"];
    assert_eq!(spec["user"], "jo");
    assert_eq!(spec["uid"], "u-7");
    assert_eq!(spec["groups"], json!(["ops"]));
    assert_eq!(
        spec["extra"],
        json!({"example.org/team": ["a", "b"], keys::NODE_NAME_EXTRA: ["node-0"]})
    );
    assert_eq!(
        spec["resourceAttributes"],
        json!({"group": "cordonhold.dev", "resource": "rebootholds", "verb": "override", "name": "node-0"})
    );

    // Another node is another question, and so is a user who differs in any one thing.
    let mut others = vec![(person(), "node-1")];
    for change in 0..4 {
        let mut other = person();
        match change {
            0 => other.user = "al".to_owned(),
            1 => other.uid = "u-8".to_owned(),
            2 => other.groups.clear(),
            _ => other.extra.clear(),
        }
        others.push((other, "node-0"));
    }
    for (count, (who, node)) in others.iter().enumerate() {
        assert_eq!(lookup.may(keys::OVERRIDE_VERB, who, node).await, Known::Is(true));
        assert_eq!(server.asked().len(), count + 2);
    }

    // And so is another verb.
    let before = server.asked().len();
    let may = lookup.may(keys::REBOOT_VERB, &person(), "node-0").await;
    assert_eq!(may, Known::Is(true));
    let asked = server.asked();
    assert_eq!(asked.len(), before + 1);
    assert_eq!(asked[before]["spec"]["resourceAttributes"]["verb"], "reboot");
}

#[tokio::test]
async fn a_permission_that_could_not_be_asked_is_not_kept() {
    let (server, _) = Server::new(|_| {
        let text = failure(403, "subjectaccessreviews is forbidden").to_string();
        (StatusCode::FORBIDDEN, text)
    });
    let lookup = lookup_at(&server, None);
    for count in 1..3 {
        let Known::Failed(why) = lookup.may(keys::OVERRIDE_VERB, &person(), "node-0").await else {
            unreachable!("it was answered")
        };
        assert!(
            why.contains("subjectaccessreviews is forbidden")
                && why.contains("allow the webhook's ServiceAccount"),
            "{why}"
        );
        assert_eq!(server.asked().len(), count);
    }
}

#[test]
fn answers_are_kept_for_seconds_and_within_bounds() {
    let question = |node: usize| (keys::OVERRIDE_VERB, person(), format!("node-{node}"));
    let start = Instant::now();
    let mut answers = Answers::default();
    answers.keep(question(0), true, start);
    answers.keep(question(1), false, start);
    assert_eq!(answers.get(&question(0), start), Some(true));
    assert_eq!(answers.get(&question(1), start), Some(false));
    assert_eq!(answers.get(&question(1), start + DENIED_TTL), None);
    assert_eq!(answers.get(&question(0), start + DENIED_TTL), Some(true));
    assert_eq!(answers.get(&question(0), start + ALLOWED_TTL), None);

    for node in 0..2 * MAX_ANSWERS {
        answers.keep(question(node), true, start);
    }
    assert_eq!(answers.len(), MAX_ANSWERS);
    // Answers that have ended make room.
    answers.keep(question(2 * MAX_ANSWERS), true, start + ALLOWED_TTL);
    assert_eq!(answers.len(), 1);

    // The answer for a user with very many groups is not kept.
    let (verb, mut many, node) = question(0);
    many.groups = vec!["group".repeat(100); 100];
    answers.keep((verb, many, node), true, start + ALLOWED_TTL);
    assert_eq!(answers.len(), 1);
}

#[test]
fn what_was_seen_long_ago_is_unknown() {
    let start = Instant::now();
    let mut seen = Seen::default();
    assert!(matches!(seen.kured_at(start), Known::Failed(_)));
    let Known::Is(held) = locks("{}") else {
        unreachable!()
    };
    seen.see(Some(held.clone()), start);
    assert_eq!(seen.kured_at(start + MAX_AGE), Known::Is(held.clone()));
    let late = start + MAX_AGE + Duration::from_millis(1);
    assert!(matches!(seen.kured_at(late), Known::Failed(_)));
    // A sign of life is enough.
    seen.see(None, late);
    assert_eq!(seen.kured_at(late), Known::Is(held));
}

#[tokio::test]
async fn the_lock_is_read_afresh_and_none_is_none() {
    let (server, mut paths) = Server::new(|_| (StatusCode::OK, kured("7", "{}").to_string()));
    let lookup = lookup_at(&server, Some(&lock()));
    for _ in 0..2 {
        assert_eq!(lookup.kured_lock().await, locks("{}"));
        assert_eq!(
            paths.try_recv().unwrap(),
            "/apis/apps/v1/namespaces/kube-system/daemonsets/kured"
        );
    }
    let (server, _) = without_kured(Vec::new());
    let lookup = lookup_at(&server, Some(&lock()));
    assert_eq!(lookup.kured_lock().await, Known::Is(KuredSeen::default()));
    let (server, _) = Server::new(|_| {
        (
            StatusCode::FORBIDDEN,
            failure(403, "daemonsets is forbidden").to_string(),
        )
    });
    let lookup = lookup_at(&server, Some(&lock()));
    let Known::Failed(why) = lookup.kured_lock().await else {
        unreachable!("it was answered")
    };
    assert!(
        why.contains("daemonsets is forbidden") && why.contains("daemonset kube-system/kured"),
        "{why}"
    );
}

/// The steps of a watch: a list, a watch from its version, its events, a watch that ended, one that failed, and one whose version is too old.
#[tokio::test]
async fn the_watch_resumes_after_an_end_and_lists_again_after_a_failure() {
    let (server, mut paths) = Server::new(|path| {
        let text = match path.split_once("resourceVersion=") {
            None if path.ends_with("/daemonsets/kured") => kured("4", "found").to_string(),
            None => list("5", &[kured("4", "listed")]),
            Some((_, "5")) => event("MODIFIED", &kured("6", "watched")) + &event("BOOKMARK", &kured("8", "")),
            Some((_, "8")) => event("MODIFIED", &kured("9", "again")),
            Some((_, "9")) => event("ERROR", &failure(410, "too old resource version")),
            Some(_) => unreachable!("a version that nobody told"),
        };
        (StatusCode::OK, text)
    });
    let lookup = lookup_at(&server, Some(&lock()));
    assert!(matches!(lookup.watched_kured_lock(), Known::Failed(_)));
    let watch = lookup.kured_watch().unwrap();
    let run = tokio::spawn({
        let watch = Arc::clone(&watch);
        async move { watch.run().await }
    });
    watch.listed().await;
    let mut versions = Vec::new();
    for _ in 0..8 {
        let path = paths.recv().await.unwrap();
        if path.ends_with("/daemonsets/kured") {
            versions.push("found".to_owned());
            continue;
        }
        assert!(path.contains("fieldSelector=metadata.name%3Dkured"), "{path}");
        let version = path
            .split_once("resourceVersion=")
            .map(|(_, version)| version.to_owned());
        assert_eq!(version.is_some(), path.contains("watch=true"), "{path}");
        versions.push(version.unwrap_or_default());
    }
    run.abort();
    assert_eq!(versions, ["found", "", "5", "8", "9", "found", "", "5"]);
}

#[tokio::test]
async fn found_p8_kured_elsewhere_is_found_used_told_and_counted() {
    let (server, mut paths) = without_kured(vec![released("ops", "{}")]);
    let metrics = Arc::new(Metrics::new());
    let lookup = ClusterLookup::new(server.client(), Some(&lock()), &metrics);
    assert_eq!(lookup.kureds_place(), None);
    let found = Kured {
        namespace: "ops".to_owned(),
        name: "my-release-kured".to_owned(),
        service_account: "my-release-kured".to_owned(),
    };
    for _ in 0..2 {
        let Known::Is(seen) = lookup.kured_lock().await else {
            unreachable!("it was not found")
        };
        assert_eq!(seen.found.as_ref(), Some(&found));
        assert_eq!(seen.locks.get(keys::KURED_LOCK).map(String::as_str), Some("{}"));
    }
    let told = lookup.kureds_place().unwrap();
    for part in [
        "no daemonset kube-system/kured",
        "daemonset ops/my-release-kured, ServiceAccount my-release-kured",
        "--ds-namespace=ops --ds-name=my-release-kured",
    ] {
        assert!(told.contains(part), "{part} is missing in: {told}");
    }
    let page = metrics.render(&http::HeaderMap::new()).unwrap().text;
    assert!(page.contains(r#"kured_daemonset{found="elsewhere"} 1"#), "{page}");
    assert!(
        page.contains(r#"kured_daemonset{found="configured"} 0"#),
        "{page}"
    );
    // Once kured is known, the DaemonSets are not all listed again.
    let configured = "/apis/apps/v1/namespaces/kube-system/daemonsets/kured";
    let there = "/apis/apps/v1/namespaces/ops/daemonsets/my-release-kured";
    let all = "/apis/apps/v1/daemonsets?&limit=100";
    for path in [configured, all, configured, there] {
        assert_eq!(paths.try_recv().unwrap(), path);
    }
    // And it is watched there.
    let watch = lookup.kured_watch().unwrap();
    let run = tokio::spawn(async move { watch.run().await });
    for path in [configured, there] {
        assert_eq!(paths.recv().await.unwrap(), path);
    }
    let listed = paths.recv().await.unwrap();
    assert!(
        listed.starts_with("/apis/apps/v1/namespaces/ops/daemonsets?")
            && listed.contains("metadata.name%3Dmy-release-kured"),
        "{listed}"
    );
    run.abort();
}

#[tokio::test]
async fn found_p8_where_kured_cannot_be_found_that_is_told_and_counted() {
    let look = async |server: Server| {
        let metrics = Arc::new(Metrics::new());
        let lookup = ClusterLookup::new(server.client(), Some(&lock()), &metrics);
        let seen = lookup.kured_lock().await;
        (
            seen,
            lookup.kureds_place().unwrap(),
            metrics.render(&http::HeaderMap::new()).unwrap().text,
        )
    };
    let (seen, told, page) = look(without_kured(Vec::new()).0).await;
    assert_eq!(seen, Known::Is(KuredSeen::default()));
    assert!(told.contains("no node is protected for kured"), "{told}");
    assert!(page.contains(r#"kured_daemonset{found="nowhere"} 1"#), "{page}");

    // With two of them nobody can tell whose lock counts, so nothing passes.
    let (seen, told, page) = look(without_kured(vec![released("a", "{}"), released("b", "{}")]).0).await;
    assert_eq!(seen, Known::Failed(told.clone()));
    assert!(
        told.contains(
            "daemonset a/my-release-kured and daemonset b/my-release-kured look like kured: name one"
        ),
        "{told}"
    );
    assert!(page.contains(r#"kured_daemonset{found="several"} 1"#), "{page}");

    // Without the permission to look elsewhere, the message has the command that gives it.
    let (server, _) = Server::new(|path| {
        if path.ends_with("/daemonsets/kured") {
            not_found()
        } else {
            (
                StatusCode::FORBIDDEN,
                failure(403, "cannot list daemonsets").to_string(),
            )
        }
    });
    let (seen, told, page) = look(server).await;
    assert_eq!(seen, Known::Is(KuredSeen::default()));
    assert!(
        told.contains("may not look elsewhere")
            && told.contains("kubectl create clusterrole cordonhold-webhook-kured --verb=get,list,watch"),
        "{told}"
    );
    assert!(page.contains(r#"kured_daemonset{found="nowhere"} 1"#), "{page}");
}

#[tokio::test]
async fn a_watch_that_is_refused_is_tried_again_and_answers_nothing() {
    let (server, mut paths) = Server::new(|_| {
        (
            StatusCode::FORBIDDEN,
            failure(403, "cannot list daemonsets").to_string(),
        )
    });
    let lookup = lookup_at(&server, Some(&lock()));
    let watch = lookup.kured_watch().unwrap();
    let run = tokio::spawn({
        let watch = Arc::clone(&watch);
        async move { watch.run().await }
    });
    for _ in 0..3 {
        drop(paths.recv().await.unwrap());
    }
    assert!(matches!(lookup.watched_kured_lock(), Known::Failed(_)));
    run.abort();
}
