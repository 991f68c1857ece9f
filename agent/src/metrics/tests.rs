//! The answers to a scraper and to probes, over a socket.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cordonhold_shared::keys;
use cordonhold_shared::reboot::cycle::{CallOff, Disturbance, Next, Report, Unmeasured, Unsealed};
use cordonhold_shared::reboot::drain::Evicted;
use cordonhold_shared::reboot::driver::LockWait;
use cordonhold_shared::reboot::window::{CronWindow, Window};
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::host::sentinel::Sentinel;

mod manual;

/// Far longer than anything here takes, so that a hang fails the test.
const PATIENCE: Duration = Duration::from_secs(60);
/// Shorter than any time limit of the server.
const SOON: Duration = Duration::from_secs(1);

/// A running endpoint, and the directory that is the host's root.
struct Served {
    metrics: Arc<Metrics>,
    address: SocketAddr,
    root: tempfile::TempDir,
}

async fn served() -> Served {
    served_with(server::CONNECTION_MAX).await
}

async fn served_with(life: Duration) -> Served {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("run")).unwrap();
    let metrics = Arc::new(Metrics::new("node-0", Windows::default()));
    let listener = server::listen("127.0.0.1", 0).await;
    let address = listener.local_addr().unwrap();
    drop(tokio::spawn(server::serve(listener, Arc::clone(&metrics), life)));
    Served {
        metrics,
        address,
        root,
    }
}

impl Served {
    async fn send(&self, request: &str) -> (u16, String) {
        let (head, body) = self.exchange(request).await;
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        (code, body)
    }

    /// Gets a path. Gives the head of the answer, and its body.
    async fn exchange(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"))
            .await
    }

    /// The samples of the page as `name{labels}` and value. Checks that each has a type and a help text before it.
    async fn samples(&self) -> Vec<(String, String)> {
        let (code, page) = self.get("/metrics").await;
        assert_eq!(code, 200);
        let mut described: Vec<&str> = Vec::new();
        let mut samples = Vec::new();
        for line in page.lines() {
            if let Some(comment) = line.strip_prefix("# TYPE ") {
                described.push(comment.split(' ').next().unwrap());
            } else if !line.starts_with("# ") {
                let (sample, value) = line.rsplit_once(' ').unwrap();
                let _: f64 = value.parse().unwrap();
                assert!(described.iter().any(|name| sample.starts_with(name)), "{line}");
                assert!(sample.contains("node=\"node-0\""), "{line}");
                samples.push((sample.to_owned(), value.to_owned()));
            }
        }
        samples
    }

    async fn value(&self, sample: &str) -> Option<String> {
        let samples = self.samples().await;
        let found = samples.into_iter().find(|(name, _)| name == sample);
        found.map(|(_, value)| value)
    }
}

#[tokio::test]
async fn kured_s_gauge_is_what_the_sentinel_says_at_each_scrape() {
    let served = served().await;
    let gauge = "kured_reboot_required{node=\"node-0\"}";
    // The gauge is absent before the host is opened.
    assert_eq!(served.value(gauge).await, None);
    let host = Sentinel::in_root(served.root.path(), PathBuf::from("/run/reboot-required"));
    served.metrics.watch_sentinel(host.unwrap());
    assert_eq!(served.value(gauge).await.as_deref(), Some("0"));
    std::fs::write(served.root.path().join("run/reboot-required"), "").unwrap();
    assert_eq!(served.value(gauge).await.as_deref(), Some("1"));
    std::fs::remove_file(served.root.path().join("run/reboot-required")).unwrap();
    assert_eq!(served.value(gauge).await.as_deref(), Some("0"));
}

#[tokio::test]
async fn a_scrape_shows_the_last_answer_of_a_sentinel_command_and_runs_none() {
    let served = served().await;
    let gauge = "kured_reboot_required{node=\"node-0\"}";
    let ran = served.root.path().join("ran");
    let sentinel = Sentinel::shell(&format!("echo >> {0}; [ -s {0}.asks ]", ran.display()));
    served.metrics.watch_sentinel(sentinel.clone());
    // Nobody has run it yet.
    assert_eq!(served.value(gauge).await, None);
    assert!(!ran.exists());
    for (asks, shown) in [("", "0"), ("yes", "1")] {
        std::fs::write(ran.with_added_extension("asks"), asks).unwrap();
        assert_eq!(sentinel.look().await, Some(shown == "1"));
        let runs = std::fs::read(&ran).unwrap().len();
        for _ in 0..2 {
            assert_eq!(served.value(gauge).await.as_deref(), Some(shown));
        }
        assert_eq!(std::fs::read(&ran).unwrap().len(), runs);
    }
}

#[tokio::test]
async fn found_p13_the_page_is_in_the_format_that_is_asked_for() {
    let served = served().await;
    for (accept, content_type, end) in [
        ("text/plain", "text/plain; version=0.0.4; charset=utf-8", false),
        (
            "text/plain;q=0.1,application/openmetrics-text",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            true,
        ),
    ] {
        let request = format!("GET /metrics HTTP/1.1\r\nhost: a\r\naccept: {accept}\r\n\r\n");
        let (head, page) = served.exchange(&request).await;
        assert!(head.contains(&format!("content-type: {content_type}")), "{head}");
        assert_eq!(page.ends_with("# EOF\n"), end, "{page}");
    }
}

#[tokio::test]
async fn d25_the_page_counts_wishes_drains_reboots_and_what_was_called_off() {
    let served = served().await;
    let metrics = &served.metrics;
    let draining = Report::Draining {
        was_unschedulable: false,
        round: 1,
    };
    let disturbed = Report::Disturbed {
        by: Disturbance::Uncordoned,
        next: Next::DrainAgain,
    };
    for report in [
        &Report::Wished {
            holder: String::new(),
            request: None,
        },
        &draining,
        &disturbed,
        &draining,
        &Report::Delaying { is_forced: false },
        &Report::Forced(None),
        &Report::Delaying { is_forced: true },
        &Report::Rebooting,
        &Report::Returned,
        &Report::CalledOff(CallOff::DrainTimeout(None)),
        &Report::Retrying {
            what: "read the Node",
            why: String::new(),
        },
        &Report::Unexpected {
            stage: "sealing",
            answer: "Peer",
        },
        &Report::Released,
    ] {
        if let Some(count) = report.count() {
            metrics.count(count);
        }
    }
    let samples = served.samples().await;
    for (name, label, value) in [
        ("wishes", "", "1"),
        ("disturbances", ",reason=\"uncordoned\"", "1"),
        ("disturbances", ",reason=\"pods\"", "0"),
        ("drains", ",result=\"begun\"", "2"),
        ("drains", ",result=\"disturbed\"", "1"),
        ("drains", ",result=\"done\"", "1"),
        ("drains", ",result=\"forced\"", "1"),
        ("reboots", ",result=\"issued\"", "1"),
        ("reboots", ",result=\"returned\"", "1"),
        ("called_off", ",reason=\"drain_timeout\"", "1"),
        ("retries", ",of=\"read the Node\"", "1"),
        ("unexpected_answers", "", "1"),
    ] {
        let sample = format!("cordonhold_agent_{name}_total{{node=\"node-0\"{label}}}");
        assert!(
            samples.contains(&(sample.clone(), value.to_owned())),
            "{sample} {value}: {samples:?}"
        );
    }
}

#[tokio::test]
async fn one_phase_at_a_time_is_1() {
    let served = served().await;
    let node = |phase: Option<&str>| -> NodeView {
        let mut metadata = json!({ "name": "node-0", "uid": "u", "resourceVersion": "1" });
        if let Some(phase) = phase {
            metadata["labels"] = json!({ "cordonhold.dev/phase": phase });
            metadata["annotations"] = json!({
                "cordonhold.dev/holder": "u/2026-08-01T00:00:00.000000000Z",
                "cordonhold.dev/until": "2026-08-01T00:10:00Z",
                "cordonhold.dev/boot-id": "b",
                "cordonhold.dev/was-unschedulable": "false",
            });
        }
        serde_json::from_value(json!({ "metadata": metadata, "spec": {} })).unwrap()
    };
    for (given, shown) in [
        (None, "idle"),
        (Some("draining"), "draining"),
        (Some("sealed"), "sealed"),
        (Some("asleep"), "unreadable"),
        (None, "idle"),
    ] {
        served.metrics.learn(&node(given));
        let samples = served.samples().await;
        let phases = samples
            .iter()
            .filter(|(name, _)| name.starts_with("cordonhold_agent_phase"));
        let set: Vec<&String> = phases
            .clone()
            .filter(|(_, value)| value == "1")
            .map(|(name, _)| name)
            .collect();
        assert_eq!(phases.count(), 7);
        assert_eq!(
            set,
            [&format!(
                "cordonhold_agent_phase{{node=\"node-0\",phase=\"{shown}\"}}"
            )]
        );
    }
}

#[tokio::test]
async fn evictions_and_seals_that_failed_are_counted_by_why() {
    let served = served().await;
    let blocked = |budget: Option<&str>| Evicted::Blocked {
        budget: budget.map(str::to_owned),
        why: String::new(),
        retry_after: None,
    };
    for evicted in [
        Evicted::Accepted,
        blocked(Some("web")),
        blocked(Some("db")),
        blocked(None),
        Evicted::Failed(String::new()),
        Evicted::Never(String::new()),
    ] {
        served.metrics.count(evicted.count());
    }
    for reason in [Unsealed::Conflict.word(), Disturbance::Untainted.word()] {
        served.metrics.count(Count::Unsealed(reason));
    }
    let samples = served.samples().await;
    for (name, label, value) in [
        ("evictions", "", "1"),
        ("evictions_refused", ",reason=\"budget\"", "2"),
        ("evictions_refused", ",reason=\"other\"", "3"),
        ("seals_failed", ",reason=\"conflict\"", "1"),
        ("seals_failed", ",reason=\"untainted\"", "1"),
        ("seals_failed", ",reason=\"entry_lost\"", "0"),
        ("seals_failed", ",reason=\"no_longer_wanted\"", "0"),
    ] {
        let sample = format!("cordonhold_agent_{name}_total{{node=\"node-0\"{label}}}");
        assert!(
            samples.contains(&(sample.clone(), value.to_owned())),
            "{sample} {value}: {samples:?}"
        );
    }
}

#[tokio::test]
async fn the_page_says_what_blocks_and_for_whom_the_lock_is_waited_for_and_how_many_pods_are_left() {
    let served = served().await;
    let sample = |name: &str| format!("cordonhold_agent_{name}{{node=\"node-0\"}}");
    let of = async |name: &str| served.value(&sample(name)).await;
    let gauges = [
        "lock_waits_since_timestamp_seconds",
        "lock_holder_age_seconds",
        "pods_left",
    ];
    for name in gauges {
        assert_eq!(of(name).await, None, "{name}");
    }
    let now = Timestamp::now();
    let ago = |minutes| now - SignedDuration::from_mins(minutes);
    served.metrics.stands(Standing {
        blocked_by: ["alerts"].into(),
        lock_wait: Some(LockWait {
            since: ago(5),
            oldest: Some(ago(60)),
        }),
        pods_left: Some(3),
    });
    assert_eq!(of(gauges[0]).await, Some(ago(5).as_second().to_string()));
    let age: i64 = of(gauges[1]).await.unwrap().parse().unwrap();
    assert!((3600..3660).contains(&age), "{age}");
    assert_eq!(of("pods_left").await.as_deref(), Some("3"));
    let samples = served.samples().await;
    let blocked = samples
        .iter()
        .filter(|(name, _)| name.starts_with("cordonhold_agent_blocked"));
    assert_eq!(blocked.clone().count(), Blocker::KINDS.len());
    let set: Vec<_> = blocked.filter(|(_, value)| value == "1").collect();
    assert!(
        matches!(set.as_slice(), [(name, _)] if name.contains("blocker=\"alerts\"")),
        "{set:?}"
    );

    // Another node's clock may be ahead.
    served.metrics.stands(Standing {
        lock_wait: Some(LockWait {
            since: now,
            oldest: Some(ago(-60)),
        }),
        ..Standing::default()
    });
    assert_eq!(of("lock_holder_age_seconds").await.as_deref(), Some("0"));
    assert_eq!(of("pods_left").await, None);
    served.metrics.stands(Standing::default());
    for name in gauges {
        assert_eq!(of(name).await, None, "{name}");
    }
}

#[tokio::test]
async fn what_evictions_cost_people_is_measured_or_counted_as_not_measured() {
    let served = served().await;
    for seconds in [3, 30, 3000] {
        let took = Duration::from_secs(seconds);
        served.metrics.replacement(Outcome::Replaced(took));
    }
    let unmeasured = Outcome::Unmeasured(Unmeasured::TooLong);
    served.metrics.replacement(unmeasured);
    for (sample, value) in [
        ("replacement_seconds_count{node=\"node-0\"}", "3"),
        ("replacement_seconds_sum{node=\"node-0\"}", "3033.0"),
        ("replacement_seconds_bucket{node=\"node-0\",le=\"5.0\"}", "1"),
        ("replacement_seconds_bucket{node=\"node-0\",le=\"40.0\"}", "2"),
        ("replacement_seconds_bucket{node=\"node-0\",le=\"+Inf\"}", "3"),
        (
            "replacements_unmeasured_total{node=\"node-0\",reason=\"too_long\"}",
            "1",
        ),
        (
            "replacements_unmeasured_total{node=\"node-0\",reason=\"too_many\"}",
            "0",
        ),
    ] {
        let sample = format!("cordonhold_agent_{sample}");
        assert_eq!(served.value(&sample).await.as_deref(), Some(value), "{sample}");
    }
}

/// A window of two hours that opens each day at this hour, in UTC.
fn daily(hour: i8) -> Windows {
    let text = format!("0 {hour} * * *");
    let window = CronWindow::new(&text, SignedDuration::from_hours(2), TimeZone::UTC);
    Windows::new(vec![Window::Cron(window.unwrap())])
}

/// The hour in UTC.
fn hour() -> i8 {
    Timestamp::now().to_zoned(TimeZone::UTC).hour()
}

fn closed_now() -> Windows {
    daily((hour() + 12) % 24)
}

#[tokio::test]
async fn a_closed_window_says_when_it_opens_and_an_open_one_does_not() {
    let now = Timestamp::now();
    for (windows, is_open) in [(Windows::default(), 1), (daily(hour()), 1), (closed_now(), 0)] {
        let opens = windows.opens(now).unwrap().as_second();
        let metrics = Metrics::new("n", windows);
        let page = metrics.render(&HeaderMap::new()).await.unwrap().text;
        assert!(
            page.contains(&format!("cordonhold_agent_window_open{{node=\"n\"}} {is_open}\n")),
            "{page}"
        );
        let name = "\ncordonhold_agent_window_opens_timestamp_seconds{node=\"n\"} ";
        let shown = page
            .split_once(name)
            .and_then(|(_, rest)| rest.lines().next()?.parse().ok());
        assert_eq!(shown, (is_open == 0).then_some(opens), "{page}");
    }
}

#[tokio::test]
async fn d25_probes_say_what_the_loop_does() {
    let served = served().await;
    assert_eq!(served.get("/livez").await.0, 200);
    assert_eq!(served.get("/readyz").await.0, 503);
    served.metrics.health.waiting();
    let (code, text) = served.get("/readyz").await;
    assert_eq!((code, text.as_str()), (200, "the loop waits for an event\n"));
    assert_eq!(served.get("/healthz").await, served.get("/livez").await);
    assert_eq!(served.get("/").await.0, 404);
    assert_eq!(
        served
            .send("POST /metrics HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
            .await
            .0,
        405
    );
}

#[tokio::test]
async fn found_s4_idle_connections_keep_nobody_out() {
    // The time limit ends none of them during the test.
    let served = served_with(Duration::from_hours(1)).await;
    let mut idle = Vec::new();
    for _ in 0..8 * server::CONNECTIONS_MAX {
        idle.push(TcpStream::connect(served.address).await.unwrap());
    }
    let answer = tokio::time::timeout(SOON, served.get("/livez")).await.unwrap();
    assert_eq!(answer.0, 200);
    drop(idle);
}

#[tokio::test]
async fn found_p15_a_port_that_is_taken_is_had_once_it_is_free() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut listening = std::pin::pin!(server::listen("127.0.0.1", port));
    // By now the server has failed once, and waits.
    assert!(futures_util::poll!(&mut listening).is_pending());
    drop(taken);
    let listener = tokio::time::timeout(PATIENCE, listening).await.unwrap();
    assert_eq!(listener.local_addr().unwrap().port(), port);
}

#[tokio::test]
async fn found_p15_probes_are_answered_while_the_address_is_on_no_interface() {
    let metrics = Arc::new(Metrics::new("node-0", Windows::default()));
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    // An address of TEST-NET-1, which no machine has.
    let serving = tokio::spawn(async move { server::run("192.0.2.1", port, &metrics).await });
    let answered = async {
        loop {
            if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await {
                stream
                    .write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n")
                    .await
                    .unwrap();
                let mut answer = String::new();
                let _ = stream.read_to_string(&mut answer).await.unwrap();
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    let answer = tokio::time::timeout(PATIENCE, answered).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(!serving.is_finished());
    serving.abort();
}

#[tokio::test]
async fn without_a_host_every_address_answers() {
    let listener = server::listen("", 0).await;
    let port = listener.local_addr().unwrap().port();
    drop(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    drop(listener.accept().await.unwrap());
}

#[tokio::test]
async fn the_page_shows_the_last_reboot_by_its_account_on_the_node_and_nothing_without_one() {
    let served = served().await;
    let with = |account: &str| -> NodeView {
        let annotations = json!({ keys::LAST_REBOOT: account });
        serde_json::from_value(json!({ "metadata": { "annotations": annotations } })).unwrap()
    };
    let account = |seconds: &str| {
        let seconds = format!(r#""seconds":{{{seconds}}}"#);
        format!(r#"{{"created":"2026-11-23T10:00:00Z","ended":"2026-11-23T10:08:00Z",{seconds}}}"#)
    };
    let name = "cordonhold_agent_last_reboot_phase_seconds";
    let phase = |phase: &str| format!("{name}{{node=\"node-0\",phase=\"{phase}\"}}");
    let ended = "cordonhold_agent_last_reboot_timestamp_seconds{node=\"node-0\"}";
    let shown = [Some("1795428480"), Some("300"), Some("120")];
    for (text, expected) in [
        (account(r#""draining":300,"sealed":120"#), shown),
        // Of a phase that the next reboot did not have, nothing is left.
        (account(r#""draining":300"#), [shown[0], shown[1], None]),
        ("{}".to_owned(), [None; 3]),
        ("x".repeat(1_000_000), [None; 3]),
    ] {
        served.metrics.learn(&with(&text));
        for (sample, expected) in [ended.to_owned(), phase("draining"), phase("sealed")]
            .iter()
            .zip(expected)
        {
            assert_eq!(served.value(sample).await.as_deref(), expected, "{sample}");
        }
    }
}
