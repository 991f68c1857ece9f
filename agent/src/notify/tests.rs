//! Messages to receivers on this machine: some that take them, and some that refuse, hang, or answer anything.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cordonhold_shared::reboot::cycle::{CallOff, Report};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

use super::http::{Failure, Http};
use super::outbox::{Outbox, outbox};
use super::service::{Delivery, Request, delivery};
use super::*;
use crate::host::told::ToldFile;
use crate::logged::logged;
use crate::report::{Sink as _, Subject};

mod smtp;

/// Longest wait for what must come.
const SOON: Duration = Duration::from_secs(30);

/// What a receiver does with a connection.
#[derive(Clone)]
enum Does {
    /// Answers the request with this status and text.
    Answer(u16, &'static str),
    /// Answers with bytes that are no HTTP.
    Garbage,
    /// Reads the request and never answers.
    Hang,
    /// Closes at once.
    Close,
    /// Is a proxy: takes a CONNECT, then answers the request inside it with 204.
    Proxy,
}

/// A server that notes what it gets.
struct Receiver {
    port: u16,
    got: watch::Receiver<Vec<String>>,
}

impl Receiver {
    /// Does this with each connection in turn; the last thing again and again.
    async fn start(script: impl Into<VecDeque<Does>>, tls: Option<TlsAcceptor>) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (noted, got) = watch::channel(Vec::new());
        let mut script = script.into();
        drop(tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let does = if script.len() > 1 {
                    script.pop_front()
                } else {
                    script.front().cloned()
                };
                let (noted, tls) = (noted.clone(), tls.clone());
                drop(tokio::spawn(async move {
                    match tls {
                        // A client that does not trust the certificate ends here.
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, does.unwrap(), &noted).await,
                            Err(_) => Ok(()),
                        },
                        None => serve(stream, does.unwrap(), &noted).await,
                    }
                }));
            }
        }));
        Receiver { port, got }
    }

    /// Waits until so many requests have come, and returns them.
    async fn got(&mut self, count: usize) -> Vec<String> {
        let arrived = self.got.wait_for(|got| got.len() >= count);
        timeout(SOON, arrived).await.unwrap().unwrap().clone()
    }

    fn url(&self) -> String {
        format!("generic+http://127.0.0.1:{}/s3cret?@token=s3cret", self.port)
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    does: Does,
    noted: &watch::Sender<Vec<String>>,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    if matches!(does, Does::Close) {
        noted.send_modify(|got| got.push(String::new()));
        return Ok(());
    }
    let request = read_request(&mut stream).await?;
    noted.send_modify(|got| got.push(request));
    match does {
        Does::Answer(status, text) => {
            let length = text.len();
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{text}");
            stream.write_all(answer.as_bytes()).await
        }
        Does::Garbage => stream.write_all(b"\x16\x03\x01garbage").await,
        Does::Hang => std::future::pending().await,
        Does::Close => Ok(()),
        Does::Proxy => {
            stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await?;
            let inside = read_request(&mut stream).await?;
            noted.send_modify(|got| got.push(inside));
            stream.write_all(b"HTTP/1.1 204 X\r\n\r\n").await
        }
    }
}

/// A request with its body.
async fn read_request(stream: &mut BufReader<impl AsyncRead + Unpin>) -> io::Result<String> {
    let (mut request, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        let _ = stream.read_line(&mut line).await?;
        if let Some(text) = line.to_lowercase().strip_prefix("content-length:") {
            length = text.trim().parse().unwrap();
        }
        request += &line;
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    let _ = stream.read_exact(&mut body).await?;
    Ok(request + &String::from_utf8(body).unwrap())
}

/// A certificate for this machine: the server's side, and the file of its CA.
fn certificate(directory: &TempDir) -> (TlsAcceptor, PathBuf) {
    // Another test may have been first.
    drop(cordonhold_rt::crypto::install_provider());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let path = directory.path().join("ca.pem");
    std::fs::write(&path, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), path)
}

fn template(before: &str) -> Template {
    Template {
        before: before.to_owned(),
        after: String::new(),
    }
}

fn config(urls: &[String], ca_file: Option<PathBuf>) -> NotifyConfig {
    drop(cordonhold_rt::crypto::install_provider());
    NotifyConfig {
        targets: urls.iter().map(|url| url.parse().unwrap()).collect(),
        texts: Templates {
            drain: template("drain "),
            reboot: template("reboot "),
            uncordon: template("uncordon "),
            blocked: None,
            failed: Some(template("failed ")),
            called_off: Some(template("called off ")),
        },
        ca_file,
    }
}

/// A host that keeps what was told.
fn host() -> TempDir {
    let host = tempfile::tempdir().unwrap();
    std::fs::create_dir(host.path().join("run")).unwrap();
    host
}

/// An agent's outbox, whose messages go out until the task is dropped.
fn started(config: NotifyConfig, host: &TempDir) -> (Outbox, tokio::task::JoinHandle<()>) {
    let (outbox, post) = outbox(config, "n", ToldFile::of(host.path())).unwrap().unwrap();
    (outbox, tokio::spawn(post.run()))
}

fn tell(outbox: &Outbox, report: &Report) {
    let about = Subject {
        node: "n".to_owned(),
        uid: "u".to_owned(),
        holder: Some("u/1".to_owned()),
    };
    outbox.take(report, &about);
}

const DRAINING: Report = Report::Draining {
    was_unschedulable: false,
    round: 1,
};
const BACK: Report = Report::GivenBack {
    unschedulable: false,
    is_back: true,
    wanted_by: None,
};

async fn emptied(outbox: &Outbox) {
    timeout(SOON, outbox.emptied()).await.unwrap();
}

#[tokio::test]
async fn d27_a_receiver_that_hangs_holds_up_neither_the_agent_nor_another_receiver() {
    let mut hangs = Receiver::start([Does::Hang], None).await;
    let mut takes = Receiver::start([Does::Answer(204, "")], None).await;
    let host = host();
    let (outbox, _post) = started(config(&[hangs.url(), takes.url()], None), &host);
    let began = Instant::now();
    for report in [&DRAINING, &Report::Sealed { attempt: 1 }] {
        tell(&outbox, report);
    }
    assert!(began.elapsed() < Duration::from_millis(100));
    let got = takes.got(2).await;
    assert!(
        got[0].ends_with("drain n") && got[1].ends_with("reboot n"),
        "{got:?}"
    );
    drop(hangs.got(1).await);
    // The reboot waits for its message, but not for long, and not at all if its deadline is near.
    for (left, most) in [(9, 3), (4, 1)] {
        let began = Instant::now();
        outbox
            .before_reboot(Some(began + Duration::from_secs(left)))
            .await;
        assert!(
            began.elapsed() < Duration::from_secs(most),
            "{:?}",
            began.elapsed()
        );
    }
    let began = Instant::now();
    outbox.end().await;
    assert!(began.elapsed() < super::outbox::END_MAX + Duration::from_secs(1));
}

#[tokio::test]
async fn a_reboot_does_not_wait_longer_than_its_message_takes() {
    let mut takes = Receiver::start([Does::Answer(200, "")], None).await;
    let host = host();
    let (outbox, _post) = started(config(&[takes.url()], None), &host);
    tell(&outbox, &Report::Sealed { attempt: 1 });
    let began = Instant::now();
    outbox.before_reboot(Some(began + Duration::from_secs(10))).await;
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(takes.got.borrow_and_update().len(), 1);
}

#[tokio::test]
async fn a_message_is_tried_three_times_if_it_was_not_taken_and_once_if_nobody_knows() {
    for (script, tries, says) in [
        (
            vec![
                Does::Answer(503, ""),
                Does::Answer(429, ""),
                Does::Answer(200, ""),
            ],
            3,
            "sent a message",
        ),
        (vec![Does::Answer(503, "")], 3, "HTTP 503 (tried three times)"),
        (
            vec![Does::Answer(504, "")],
            1,
            "HTTP 504 (may have arrived all the same, so it is not sent again)",
        ),
        (
            vec![Does::Answer(404, "/s3cret is not here")],
            1,
            "HTTP 404 (refused)",
        ),
        (vec![Does::Garbage], 1, "may have arrived all the same"),
        (vec![Does::Close], 1, "may have arrived all the same"),
    ] {
        let (log, _guard) = logged();
        let mut receiver = Receiver::start(script, None).await;
        let host = host();
        let (outbox, _post) = started(config(&[receiver.url()], None), &host);
        tell(&outbox, &DRAINING);
        emptied(&outbox).await;
        assert_eq!(receiver.got.borrow_and_update().len(), tries, "{says}");
        let log = String::from_utf8(log.lock().unwrap().clone()).unwrap();
        assert!(log.contains(says) && log.contains("generic"), "{log}");
        assert!(
            !log.contains("s3cret") && !log.contains(&receiver.port.to_string()),
            "{log}"
        );
    }
}

#[tokio::test]
async fn an_agent_that_restarts_sends_no_step_again() {
    let mut receiver = Receiver::start([Does::Answer(204, "")], None).await;
    let host = host();
    let urls = [receiver.url()];
    for (reports, texts) in [
        (
            vec![DRAINING, Report::CalledOff(CallOff::HoldLost)],
            vec!["drain n", "called off n (hold_lost)"],
        ),
        (vec![DRAINING, BACK, Report::Returned], vec!["uncordon n"]),
        (vec![DRAINING, BACK], vec![]),
    ] {
        let (outbox, post) = started(config(&urls, None), &host);
        let before = receiver.got.borrow().len();
        for report in &reports {
            tell(&outbox, report);
        }
        emptied(&outbox).await;
        let got = receiver.got.borrow_and_update().clone();
        let got: Vec<_> = got[before..]
            .iter()
            .map(|request| request.lines().last().unwrap())
            .collect();
        assert_eq!(got, texts);
        // As by a kill: nothing is finished.
        post.abort();
    }
}

#[tokio::test]
async fn a_host_that_keeps_nothing_does_not_keep_messages_back() {
    let (log, _guard) = logged();
    let mut receiver = Receiver::start([Does::Answer(204, "")], None).await;
    // Without its /run.
    let host = tempfile::tempdir().unwrap();
    let (outbox, _post) = started(config(&[receiver.url()], None), &host);
    tell(&outbox, &DRAINING);
    drop(receiver.got(1).await);
    emptied(&outbox).await;
    let log = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    assert!(log.contains("message_unrecorded"), "{log}");
}

/// Sends one message by HTTP, once.
async fn send(
    url: &str,
    ca_file: Option<PathBuf>,
    variable: fn(&str) -> Option<String>,
) -> Result<(), Failure> {
    let config = config(&[url.to_owned()], ca_file);
    let (tls, _) = trust::load(&config).unwrap();
    let made = delivery(&config.targets[0], "text", jiff::Timestamp::now()).unwrap();
    let Delivery::Http(requests) = made else {
        panic!("not by HTTP")
    };
    let request: &Request = &requests[0];
    Http { tls, variable }.send(request, &mut false).await.map(drop)
}

#[tokio::test]
async fn a_receiver_with_tls_is_trusted_by_its_ca_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (tls, ca) = certificate(&directory);
    let mut receiver = Receiver::start([Does::Answer(200, "")], Some(tls)).await;
    let url = format!("generic+https://localhost:{}/hook", receiver.port);
    assert_eq!(send(&url, Some(ca.clone()), |_| None).await, Ok(()));
    assert!(receiver.got(1).await[0].ends_with("text"));

    let other = tempfile::tempdir().unwrap();
    let (_, stranger) = certificate(&other);
    let failure = send(&url, Some(stranger), |_| None).await.unwrap_err();
    assert!(
        matches!(&failure, Failure::Later(why) if why.contains("--notify-ca-file")),
        "{failure:?}"
    );
    // Under another name.
    let url = format!("generic+https://ip6-localhost:{}/hook", receiver.port);
    let failure = send(&url, Some(ca), |_| None).await.unwrap_err();
    assert!(
        matches!(&failure, Failure::Later(why) if !why.contains("localhost")),
        "{failure:?}"
    );

    let none = directory.path().join("none.pem");
    std::fs::write(&none, "nothing").unwrap();
    for (file, says) in [
        (none, "no certificate"),
        (directory.path().join("missing"), "failed to read"),
    ] {
        let error = trust::load(&config(std::slice::from_ref(&url), Some(file)))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(says) && error.contains("--notify-ca-file"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_message_goes_through_the_proxy_of_the_variables() {
    static PORT: Mutex<u16> = Mutex::new(0);
    let mut proxy = Receiver::start([Does::Proxy], None).await;
    *PORT.lock().unwrap() = proxy.port;
    let variable = |name: &str| {
        let port = *PORT.lock().unwrap();
        (name == "HTTP_PROXY").then(|| format!("http://me:p%40ss@127.0.0.1:{port}"))
    };
    assert_eq!(
        send("generic+http://hook.invalid/a", None, variable).await,
        Ok(())
    );
    let got = proxy.got(2).await;
    assert!(got[0].starts_with("CONNECT hook.invalid:80 HTTP/1.1"), "{got:?}");
    // me:p@ss
    assert!(got[0].contains("Basic bWU6cEBzcw=="), "{got:?}");
    assert!(
        got[1].starts_with("POST /a HTTP/1.1") && got[1].contains("host: hook.invalid"),
        "{got:?}"
    );

    let refuses = Receiver::start([Does::Answer(403, "")], None).await;
    *PORT.lock().unwrap() = refuses.port;
    let failure = send("generic+http://hook.invalid/s3cret", None, variable).await;
    let why = "the proxy in HTTP_PROXY: it answers HTTP 403".to_owned();
    assert_eq!(failure, Err(Failure::Later(why)));
}

#[tokio::test]
async fn a_message_to_matrix_logs_in_joins_sends_and_logs_out() {
    let answer = r#"{"access_token":"t1","room_id":"!r:h","joined_rooms":["!j:h"]}"#;
    let mut server = Receiver::start([Does::Answer(200, answer)], None).await;
    let host = host();
    let by_password = format!("matrix://u:p@127.0.0.1:{}/?rooms=ops&disableTLS=yes", server.port);
    let by_token = format!("matrix://:t2@127.0.0.1:{}/?disableTLS=yes", server.port);
    for (url, lines) in [
        (
            by_password,
            vec![
                ("POST /_matrix/client/v3/login ", ""),
                ("POST /_matrix/client/v3/join/%23ops ", "Bearer t1"),
                (
                    "PUT /_matrix/client/v3/rooms/%21r%3Ah/send/m.room.message/u%2F1.drain ",
                    "Bearer t1",
                ),
                ("POST /_matrix/client/v3/logout ", "Bearer t1"),
            ],
        ),
        (
            by_token,
            vec![
                ("GET /_matrix/client/v3/joined_rooms ", "Bearer t2"),
                (
                    "PUT /_matrix/client/v3/rooms/%21j%3Ah/send/m.room.message/u%2F1.called-off ",
                    "Bearer t2",
                ),
            ],
        ),
    ] {
        let before = server.got.borrow().len();
        let (outbox, _post) = started(config(&[url], None), &host);
        tell(&outbox, &DRAINING);
        if lines.len() == 2 {
            tell(&outbox, &Report::CalledOff(CallOff::HoldLost));
        }
        emptied(&outbox).await;
        let got = server.got(before + lines.len()).await;
        for (request, (line, bearer)) in got[before..].iter().zip(&lines) {
            assert!(request.starts_with(line) && request.contains(bearer), "{request}");
        }
        assert_eq!(got.len(), before + lines.len());
    }
}
