//! Mails to a server on this machine, in plain text and with TLS.

use super::super::mail::Mail;
use super::*;

mod compared;

/// A mail server that notes each line, and takes every mail.
struct Server {
    port: u16,
    lines: watch::Receiver<Vec<String>>,
}

/// What a server does differently.
#[derive(Clone, Copy, Default)]
struct Quirks {
    /// The code with which it greets, instead of 220.
    greeting: Option<u16>,
    /// The code with which it answers RCPT TO, instead of 250.
    receiver: Option<u16>,
    /// Whether it falls silent once it has the mail.
    is_silent: bool,
    /// Whether it answers with anything.
    is_garbage: bool,
}

impl Server {
    /// A server that offers STARTTLS with this certificate, or begins with it.
    async fn start(tls: Option<TlsAcceptor>, at_once: bool, quirks: Quirks) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (noted, lines) = watch::channel(Vec::new());
        drop(tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (noted, tls) = (noted.clone(), tls.clone());
                drop(tokio::spawn(async move {
                    let Some(tls) = tls else {
                        return talk(stream, false, true, quirks, &noted).await.map(drop);
                    };
                    if at_once {
                        let stream = tls.accept(stream).await?;
                        return talk(stream, false, true, quirks, &noted).await.map(drop);
                    }
                    let Some(stream) = talk(stream, true, true, quirks, &noted).await? else {
                        return Ok(());
                    };
                    noted.send_modify(|lines| lines.push("TLS".to_owned()));
                    let stream = tls.accept(stream).await?;
                    talk(stream, false, false, quirks, &noted).await.map(drop)
                }));
            }
        }));
        Server { port, lines }
    }

    fn lines(&mut self) -> Vec<String> {
        self.lines.borrow_and_update().clone()
    }
}

/// Speaks SMTP until the client quits, or asks for TLS: then the stream is returned.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    offers_tls: bool,
    greets: bool,
    quirks: Quirks,
    noted: &watch::Sender<Vec<String>>,
) -> io::Result<Option<S>> {
    let mut stream = BufReader::new(stream);
    if quirks.is_garbage {
        stream.write_all(b"garbage\r\n").await?;
    } else if greets {
        let code = quirks.greeting.unwrap_or(220);
        stream.write_all(format!("{code} hello\r\n").as_bytes()).await?;
    }
    let mut is_mail = false;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let line = line.trim_end().to_owned();
        noted.send_modify(|lines| lines.push(line.clone()));
        let word = line.split([' ', ':']).next().unwrap_or_default();
        let answer = match word {
            _ if is_mail && line == "." => {
                is_mail = false;
                if quirks.is_silent {
                    std::future::pending::<()>().await;
                }
                "250 taken".to_owned()
            }
            _ if is_mail => continue,
            "EHLO" if offers_tls => "250-me\r\n250 STARTTLS".to_owned(),
            "EHLO" => "250-me\r\n250 AUTH PLAIN XOAUTH2".to_owned(),
            "STARTTLS" => {
                stream.write_all(b"220 go on\r\n").await?;
                return Ok(Some(stream.into_inner()));
            }
            "AUTH" => "235 known".to_owned(),
            "RCPT" => format!("{} receiver", quirks.receiver.unwrap_or(250)),
            "DATA" => {
                is_mail = true;
                "354 go on".to_owned()
            }
            "QUIT" => "221 bye".to_owned(),
            _ => "250 ok".to_owned(),
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}

fn mail(url: &str) -> Mail {
    match delivery(&url.parse().unwrap(), "Draining node n", jiff::Timestamp::now()).unwrap() {
        Delivery::Mail(mail) => mail,
        Delivery::Http(_) | Delivery::Matrix(_) => panic!("not a mail"),
    }
}

async fn sent(url: &str, ca_file: Option<PathBuf>) -> Result<(), Failure> {
    let (_, roots) = trust::load(&config(&[url.to_owned()], ca_file)).unwrap();
    let mail = mail(url);
    let mut was_sent = false;
    let sending = mail.send(&mail.to[0], &roots, &mut was_sent);
    timeout(Duration::from_secs(5), sending)
        .await
        .unwrap_or_else(|_| Err(Failure::Unknown("silent".to_owned())))
}

#[tokio::test]
async fn a_mail_goes_to_each_receiver_by_starttls_and_with_a_login() {
    let directory = tempfile::tempdir().unwrap();
    let (tls, ca) = certificate(&directory);
    let mut server = Server::start(Some(tls), false, Quirks::default()).await;
    let url = format!(
        "smtp://me:s3cret@localhost:{}/?fromAddress=node+x@example.com&fromName=Nodes&toAddresses=a@example.com,b@example.com",
        server.port
    );
    let host = host();
    let (outbox, _post) = started(config(&[url], Some(ca)), &host);
    tell(&outbox, &DRAINING);
    emptied(&outbox).await;
    let lines = server.lines();
    let at = |text: &str| {
        lines
            .iter()
            .position(|line| line.starts_with(text))
            .unwrap_or_else(|| panic!("{text}: {lines:?}"))
    };
    assert!(
        at("EHLO localhost") < at("TLS") && at("TLS") < at("AUTH PLAIN"),
        "{lines:?}"
    );
    assert!(at("MAIL FROM:<node+x@example.com>") < at("RCPT TO:<a@example.com>"));
    for line in [
        "RCPT TO:<b@example.com>",
        "From: \"Nodes\" <node+x@example.com>",
        "To: b@example.com",
        "Subject: drain n",
        "Date: ",
    ] {
        let line = line.replace("\"Nodes\"", "Nodes");
        assert!(
            lines.iter().any(|known| known.starts_with(&line)),
            "{line}: {lines:?}"
        );
    }
    assert_eq!(
        lines.iter().filter(|line| *line == "drain n").count(),
        2,
        "{lines:?}"
    );
}

#[tokio::test]
async fn tls_from_the_start_is_trusted_by_its_ca_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (tls, ca) = certificate(&directory);
    let mut server = Server::start(Some(tls), true, Quirks::default()).await;
    let url = format!(
        "smtp://localhost:{}/?from=a@example.com&to=b@example.com&encryption=ImplicitTLS&subject=S&usehtml=yes",
        server.port
    );
    assert_eq!(sent(&url, Some(ca)).await, Ok(()));
    let lines = server.lines();
    assert!(
        lines.contains(&"Subject: S".to_owned())
            && lines.iter().any(|line| line.contains("multipart/alternative")),
        "{lines:?}"
    );
    let other = tempfile::tempdir().unwrap();
    let (_, stranger) = certificate(&other);
    let failure = sent(&url, Some(stranger)).await.unwrap_err();
    assert!(
        matches!(&failure, Failure::Later(why) if why.contains("--notify-ca-file")),
        "{failure:?}"
    );
}

#[tokio::test]
async fn a_mail_server_that_does_not_take_the_mail_is_named_without_its_words() {
    let url = |server: &Server| {
        format!(
            "smtp://localhost:{}/?from=a@example.com&to=b@example.com",
            server.port
        )
    };
    for (quirks, failure) in [
        (
            Quirks {
                greeting: Some(421),
                ..Quirks::default()
            },
            Failure::Later("SMTP 421".to_owned()),
        ),
        (
            Quirks {
                receiver: Some(450),
                ..Quirks::default()
            },
            Failure::Later("SMTP 450".to_owned()),
        ),
        (
            Quirks {
                receiver: Some(550),
                ..Quirks::default()
            },
            Failure::Refused("SMTP 550".to_owned()),
        ),
        (
            Quirks {
                is_silent: true,
                ..Quirks::default()
            },
            Failure::Unknown("silent".to_owned()),
        ),
        (
            Quirks {
                is_garbage: true,
                ..Quirks::default()
            },
            Failure::Later("its answer is not SMTP".to_owned()),
        ),
    ] {
        let server = Server::start(None, false, quirks).await;
        assert_eq!(sent(&url(&server), None).await, Err(failure));
    }
    // Taken in plain text, since there is no password.
    let server = Server::start(None, false, Quirks::default()).await;
    assert_eq!(sent(&url(&server), None).await, Ok(()));
}

#[test]
fn a_password_leaves_this_machine_only_with_tls() {
    let needs_tls = |url: &str| mail(&format!("{url}?from=a@example.com&to=b@example.com")).needs_tls();
    assert!(needs_tls("smtp://u:p@mail.example.com:587/"));
    assert!(needs_tls("smtp://mail.example.com:465/"));
    assert!(!needs_tls("smtp://mail.example.com/"));
    assert!(!needs_tls("smtp://u:p@127.0.0.1/"));
}
