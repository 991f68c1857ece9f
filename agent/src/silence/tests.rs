//! Silences on an Alertmanager in memory, and on ones that refuse, hang, or answer anything.

use std::convert::Infallible;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Mutex;

use cordonhold_shared::hold::{Holder, Phase};
use cordonhold_shared::reboot::silence::Matchers;
use cordonhold_shared::reboot::window::Windows;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::*;
use crate::logged::logged;

/// Longest wait for what must come.
const SOON: Duration = Duration::from_secs(30);
const REBOOT_TIMEOUT: Duration = Duration::from_mins(30);

/// An Alertmanager in memory. It notes each request as its method and path.
#[derive(Clone, Default)]
struct Alertmanager {
    silences: Arc<Mutex<Vec<Value>>>,
    asked: Arc<Mutex<Vec<String>>>,
    /// Requests about alerts with this label are refused.
    refused: Option<&'static str>,
}

impl Alertmanager {
    fn answer(&self, method: &http::Method, path: &str, body: &[u8]) -> (u16, Value) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let is_about = |label: &str| {
            let text = String::from_utf8_lossy(body);
            query.contains(&format!("filter={label}")) || text.contains(&format!("\"name\":\"{label}\""))
        };
        if self.refused.is_some_and(is_about) {
            return (400, json!("bad matcher"));
        }
        self.asked.lock().unwrap().push(format!("{method} {path}"));
        let mut silences = self.silences.lock().unwrap();
        match (method.as_str(), path.strip_prefix("/api/v2/silence/")) {
            ("GET", None) => (200, json!(*silences)),
            ("POST", None) => {
                let mut silence: Value = serde_json::from_slice(body).unwrap();
                let id = silence["id"]
                    .as_str()
                    .map_or_else(|| format!("id-{}", silences.len()), str::to_owned);
                silence["id"] = json!(id);
                silence["status"] = json!({ "state": "active" });
                silences.retain(|known| known["id"] != silence["id"]);
                silences.push(silence);
                (200, json!({ "silenceID": id }))
            }
            ("DELETE", Some(id)) => {
                let before = silences.len();
                silences.retain(|known| known["id"] != id);
                (if silences.len() < before { 200 } else { 404 }, json!(null))
            }
            _ => (405, json!("method not allowed")),
        }
    }

    fn api(&self) -> HttpApi {
        let known = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let known = known.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let path = head.uri.path_and_query().unwrap().as_str();
                let (status, answer) = known.answer(&head.method, path, &body);
                let answer = Body::from(answer.to_string().into_bytes());
                Ok::<_, Infallible>(Response::builder().status(status).body(answer).unwrap())
            }
        });
        api(Client::new(service, "default"))
    }

    /// The labels that the silences are about.
    fn labels(&self) -> Vec<String> {
        let silences = self.silences.lock().unwrap();
        let label = |silence: &Value| silence["matchers"][0]["name"].as_str().unwrap().to_owned();
        silences.iter().map(label).collect()
    }

    /// Waits until the silences are about these labels.
    async fn wait_labels(&self, expected: &[&str]) {
        let seen = async {
            while self.labels() != expected {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = timeout(SOON, seen).await;
        assert!(waited.is_ok(), "{:?} instead of {expected:?}", self.labels());
    }
}

fn started(alertmanagers: Vec<HttpApi>) -> (Silencer, JoinHandle<()>) {
    let (silencer, task) = task(alertmanagers, &metrics());
    (silencer, tokio::spawn(task.run()))
}

fn task(alertmanagers: Vec<HttpApi>, metrics: &Arc<Metrics>) -> (Silencer, Silences) {
    let members = alertmanagers.into_iter().map(Member::Made).collect();
    of(members, sets(), "n", REBOOT_TIMEOUT, metrics)
}

fn api(client: Client) -> HttpApi {
    HttpApi {
        about: &ABOUT,
        client,
        timeout: Duration::from_secs(10),
        token_file: None,
    }
}

fn sets() -> Vec<Vec<Matcher>> {
    let of = |text: &str| text.parse::<Matchers>().unwrap().of("n");
    vec![of("node=%s"), of("instance=~%s")]
}

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new("n", Windows::default()))
}

fn by(phase: Phase) -> Held {
    let holder = Holder {
        node_uid: "uid-1".to_owned(),
        created: "2026-11-29T09:00:00Z".to_owned(),
    };
    Held::By(holder, phase)
}

#[tokio::test]
async fn the_silences_follow_the_hold_and_the_end_of_the_process_waits_for_the_last_change() {
    let there = Alertmanager::default();
    let (silencer, task) = started(vec![there.api()]);
    silencer.show("uid-1", &Held::Nothing);
    silencer.show("uid-1", &by(Phase::Draining));
    there.wait_labels(&["node", "instance"]).await;
    let ends = |there: &Alertmanager| -> Timestamp {
        let known = there.silences.lock().unwrap();
        known[0]["endsAt"].as_str().unwrap().parse().unwrap()
    };
    let lease = ends(&there);
    // What the last thing before a reboot is.
    silencer.show("uid-1", &by(Phase::Sealed));
    silencer.end().await;
    let ahead = ends(&there).duration_since(lease).as_mins();
    assert!((19..=20).contains(&ahead), "{ahead}");
    drop((silencer, task));

    let (silencer, _task) = started(vec![there.api()]);
    silencer.show("uid-1", &by(Phase::Returning));
    silencer.end().await;
    assert_eq!(there.labels().len(), 2);
    silencer.show("uid-1", &Held::Nothing);
    there.wait_labels(&[]).await;
}

/// A keeper that has been shown a hold.
fn draining(at: Moment) -> Keeper {
    let mut keeper = Keeper::new(REBOOT_TIMEOUT);
    let _ = keeper.show("uid-1", by(Phase::Draining), at);
    keeper
}

/// Whatever a look at this Alertmanager fails with.
async fn failure(client: Client) -> String {
    let (silencer, mut task) = task(vec![api(client)], &metrics());
    let at = Clock::start().moment();
    let mut keeper = draining(at);
    let why = task.round(&mut keeper, at).await.unwrap_err();
    drop(silencer);
    why
}

/// An Alertmanager that answers with this, whatever it is asked.
fn answering(code: u16, body: impl Into<Vec<u8>>) -> Client {
    let body = body.into();
    let service = tower::service_fn(move |_: Request<Body>| {
        let body = Body::from(body.clone());
        async move { Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap()) }
    });
    Client::new(service, "default")
}

#[tokio::test]
async fn an_answer_that_cannot_be_used_is_named_with_what_to_check() {
    for (code, body, says) in [
        (
            401,
            "Unauthorized".to_owned(),
            "(HTTP 401 Unauthorized): check --silence-token-file",
        ),
        (403, "{}".to_owned(), "the user and password in --silence-url"),
        (
            404,
            "404 page not found".to_owned(),
            "a prefix such as /alertmanager has to be in it",
        ),
        (
            302,
            String::new(),
            "redirects are not followed: write the address that it leads to in --silence-url",
        ),
        (
            400,
            json!("bad matcher format: node").to_string(),
            "'bad matcher format: node' (HTTP 400 Bad Request)",
        ),
        (500, "oops".to_owned(), "refuses: 'oops' (HTTP 500"),
        (
            200,
            "<html>login</html>".to_owned(),
            "leads to Alertmanager itself, and not to a page or a login",
        ),
        (200, "\u{1}\u{2}garbage".to_owned(), "not one of Alertmanager"),
        (
            200,
            "{\"status\":\"success\",\"data\":[]}".to_owned(),
            "not one of Alertmanager",
        ),
        (200, String::new(), "not one of Alertmanager"),
        (200, "x".repeat(10 * 1024 * 1024), "larger than 1 MiB"),
    ] {
        let why = failure(answering(code, body)).await;
        assert!(why.contains(says) && why.len() < 1_000, "{code}: {why}");
        assert!(!why.contains('\n'), "{why}");
    }
}

fn config(url: &str, token_file: Option<PathBuf>) -> SilenceConfig {
    SilenceConfig {
        alertmanagers: vec![HttpApiConfig {
            url: url.parse().unwrap(),
            timeout: Duration::from_secs(10),
            token_file,
            ca_file: None,
            client_certificate: None,
        }],
        matchers: vec!["node=%s".parse().unwrap()],
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_keeps_no_agent_from_its_start_and_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    // Nothing listens there.
    let config = config("http://127.0.0.1:1", Some(path.clone()));
    let (_silencer, mut task) = silences(Some(config), "n", REBOOT_TIMEOUT, &metrics()).unwrap();
    let at = Clock::start().moment();
    let mut keeper = draining(at);
    let why = task.round(&mut keeper, at).await.unwrap_err();
    assert!(
        why.contains(path.to_str().unwrap())
            && why.contains("name a readable file with --silence-token-file"),
        "{why}"
    );
    std::fs::write(&path, "token").unwrap();
    let why = task.round(&mut keeper, at).await.unwrap_err();
    assert!(why.contains("Alertmanager is not reached"), "{why}");
}

#[tokio::test]
async fn a_set_of_matchers_that_is_refused_stops_neither_the_silences_of_others_nor_their_end() {
    let there = Alertmanager {
        refused: Some("node"),
        ..Alertmanager::default()
    };
    let (_silencer, mut task) = task(vec![there.api()], &metrics());
    let at = Clock::start().moment();
    let mut keeper = draining(at);
    let why = task.round(&mut keeper, at).await.unwrap_err();
    assert!(why.contains("'bad matcher'"), "{why}");
    assert_eq!(there.labels(), ["instance"]);
    let _ = keeper.show("uid-1", Held::Nothing, at);
    assert!(task.round(&mut keeper, at).await.is_err());
    assert_eq!(there.labels(), [""; 0]);
}

#[tokio::test]
async fn an_alertmanager_that_is_not_there_is_told_once_with_the_fix_and_no_secret() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (log, _guard) = logged();
    let url = format!("http://me:s3cret@{address}/alertmanager");
    let (silencer, mut task) = silences(Some(config(&url, None)), "n", REBOOT_TIMEOUT, &metrics()).unwrap();
    let clock = Clock::start();
    let mut keeper = draining(clock.moment());
    for _ in 0..3 {
        assert!(!task.look(&mut keeper, clock).await);
    }
    drop(silencer);
    let log = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 1, "{log}");
    assert!(warnings[0].contains("check --silence-url"), "{log}");
    assert!(!log.contains("s3cret"), "{log}");
}

#[test]
fn failures_that_differ_each_time_are_told_three_times_at_most_until_it_works_again() {
    let mut told = Told::default();
    let news: Vec<bool> = ["a", "a", "b", "c", "d", "e"]
        .into_iter()
        .map(|why| told.is_news(why))
        .collect();
    assert_eq!(news, [true, false, true, true, false, false]);
}

#[tokio::test]
async fn of_several_alertmanagers_one_that_answers_is_enough() {
    let there = Alertmanager::default();
    let (silencer, _task) = started(vec![api(answering(503, "down")), there.api()]);
    silencer.show("uid-1", &by(Phase::Draining));
    // The next one is asked before the end of the process is given free.
    silencer.end().await;
    assert_eq!(there.labels(), ["node", "instance"]);
}

#[tokio::test]
async fn a_failure_counts_only_if_no_alertmanager_is_left() {
    let (there, metrics) = (Alertmanager::default(), metrics());
    let down = || api(answering(503, "down"));
    for (alertmanagers, count) in [(vec![down(), there.api()], 0), (vec![down(), down()], 1)] {
        let (silencer, task) = task(alertmanagers, &metrics);
        let _task = tokio::spawn(task.run());
        silencer.show("uid-1", &by(Phase::Draining));
        silencer.end().await;
        let page = metrics.render(&HeaderMap::new()).await.unwrap().text;
        let line = format!("cordonhold_agent_silence_failures_total{{node=\"n\"}} {count}\n");
        assert!(page.contains(&line), "{page}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_alertmanager_that_hangs_holds_up_neither_the_cycle_nor_the_end_of_the_process() {
    let service =
        tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    let (silencer, task) = started(vec![api(Client::new(service, "default"))]);
    let before = Instant::now();
    for phase in Phase::ALL {
        silencer.show("uid-1", &by(phase));
        tokio::task::yield_now().await;
    }
    assert_eq!(before.elapsed(), Duration::ZERO);
    silencer.end().await;
    assert!(
        before.elapsed() <= END_MAX + Duration::from_millis(10),
        "{:?}",
        before.elapsed()
    );
    assert!(!task.is_finished());
}

#[tokio::test]
async fn a_silence_that_is_gone_already_needs_no_end() {
    let gone = answering(StatusCode::NOT_FOUND.as_u16(), "");
    let request = wire::Request {
        method: Method::Delete,
        path: "/api/v2/silence/4f6f".to_owned(),
        body: None,
    };
    assert!(sent(&api(gone), &request).await.is_ok());
}
