//! Compares our requests, field by field, with those that shoutrrr makes of the same URLs, as `tests/shoutrrr-peer` has written them down.

use serde::Deserialize;

use super::*;

/// What `tests/shoutrrr-peer` writes for each URL of `urls.txt`.
const WRITTEN: &str = include_str!("../../../tests/shoutrrr/requests.jsonl");
/// The message that it sends.
const TEXT: &str = "Draining node n-1 & \"co\" <ü>";

#[derive(Deserialize)]
struct Sent {
    library: String,
    url: String,
    requests: Vec<Written>,
}

/// A request as it is compared: headers by name in lower case, and a body by what it means.
#[derive(Debug, Deserialize, PartialEq)]
struct Written {
    method: String,
    url: String,
    headers: std::collections::BTreeMap<String, String>,
    body: Value,
}

impl Written {
    /// JSON counts by its value, and a form by its fields.
    fn plain(mut self) -> Written {
        // Each sender names itself.
        drop(self.headers.remove("user-agent"));
        let body = self.body.as_str().unwrap_or_default();
        if let Ok(value) = serde_json::from_str(body) {
            self.body = value;
        }
        self
    }
}

fn written(request: &Request) -> Written {
    let headers = request.headers.iter().cloned();
    Written {
        method: request.method.to_string(),
        url: request.url.clone(),
        headers: headers.collect(),
        body: json!(request.body),
    }
    .plain()
}

/// The requests of a delivery, in the order in which they are sent if the server answers as the written one did.
fn requests(made: Delivery) -> Vec<Request> {
    match made {
        Delivery::Http(requests) => requests,
        Delivery::Matrix(matrix) => match &matrix.login {
            Login::Token(token) => vec![
                matrix.joined(token),
                matrix.send(token, "!joined:example.com", "TRANSACTION"),
            ],
            Login::Password(login) => {
                let token = "token-of-login";
                vec![
                    matrix.log_in(login),
                    matrix.join(token, &matrix.rooms[0]),
                    matrix.send(token, "!room:example.com", "TRANSACTION"),
                    matrix.send(token, &matrix.rooms[1], "TRANSACTION"),
                ]
            }
        },
        Delivery::Mail(_) => panic!("a mail is no request"),
    }
}

#[test]
fn each_request_is_the_one_that_shoutrrr_sends_for_the_url() {
    let mut services = std::collections::BTreeSet::new();
    for line in WRITTEN.lines() {
        let sent: Sent = serde_json::from_str(line).unwrap();
        let target: Target = sent.url.parse().unwrap();
        let made = requests(delivery(&target, TEXT, Timestamp::UNIX_EPOCH).unwrap());
        let ours: Vec<Written> = made.iter().map(written).collect();
        let is_matrix = target.service == Service::Matrix;
        let theirs = sent
            .requests
            .into_iter()
            .map(Written::plain)
            .filter_map(|mut theirs| {
                if is_matrix {
                    // It asks how to log in, and names a device; we log out instead.
                    if let Some(body) = theirs.body.as_object_mut() {
                        drop(body.remove("device_id"));
                    }
                    theirs.url = theirs.url.replace(":example.com/send", "%3Aexample.com/send");
                    if theirs.method == "GET" && theirs.url.ends_with("/login") {
                        return None;
                    }
                }
                Some(theirs)
            });
        let theirs: Vec<Written> = theirs.collect();
        assert_eq!(ours, theirs, "{} {}", sent.library, sent.url);
        let _ = services.insert(target.service.name());
    }
    // Mails are compared where they are sent: `notify/tests/smtp/compared.rs`.
    let missing: Vec<_> = Service::NAMES
        .iter()
        .filter(|name| !services.contains(*name))
        .collect();
    assert_eq!(missing, [&"smtp"]);
}

#[test]
fn what_shoutrrr_does_wrong_is_done_right() {
    let urls = |url: &str| -> Vec<String> {
        let made = delivery(&url.parse().unwrap(), TEXT, Timestamp::UNIX_EPOCH).unwrap();
        requests(made).into_iter().map(|request| request.url).collect()
    };
    for (url, reached) in [
        // It writes two slashes.
        ("gotify://h/sub/T", "https://h/sub/message?token=T"),
        // It drops the port.
        ("mattermost://h:8065/t", "https://h:8065/hooks/t"),
        ("zulip://b:k@h:8443?stream=s", "https://h:8443/api/v1/messages"),
        // It sends to no host.
        ("pagerduty:///k", "https://events.pagerduty.com:443/v2/enqueue"),
        // It sends to port 0.
        ("pagerduty://h/k", "https://h:443/v2/enqueue"),
        ("generic://[::1]:8080/h", "https://[::1]:8080/h"),
    ] {
        assert_eq!(urls(url), [reached], "{url}");
    }
    // It would send to all devices too.
    assert_eq!(urls("pushbullet://t/#channel").len(), 1);
}

#[test]
fn lark_is_signed_with_the_time() {
    let target: Target = "lark://open.larksuite.com/t?secret=s".parse().unwrap();
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    let [request] = &requests(delivery(&target, TEXT, now).unwrap())[..] else {
        panic!("one request")
    };
    let body: Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!(body["timestamp"], json!("1700000000"));
    // printf '' | openssl dgst -sha256 -hmac "$(printf '1700000000\ns')" -binary | base64
    assert_eq!(
        body["sign"],
        json!("+z1fiKH1w9xoRwSUZju5W5ZBj/d5cwS4H+5mTClDOl4=")
    );
}

#[test]
fn what_a_url_lacks_is_said_with_an_example_and_without_its_secrets() {
    for (url, says) in [
        ("slack://secret", "three parts"),
        ("slack://A/B/C?secret=1", "botname"),
        ("discord://secret", "token"),
        ("discord://secret@id/secret", "/raw"),
        ("telegram://1:secret@telegram", "chats"),
        (
            "telegram://1:secret@telegram?chats=1&preview=secret",
            "yes nor no",
        ),
        ("ntfy://secret", "topic"),
        ("ntfy://h/secret?priority=secret", "min, low"),
        ("join://:secret@join", "devices"),
        ("pushover://secret", "token"),
        ("smtp://me:secret@h", "fromAddress"),
        ("smtp://me:secret@h/?from=a@b.c&to=secret", "toAddresses"),
        (
            "smtp://me:secret@h/?from=a@b.c&to=d@e.f&starttls=no",
            "without TLS",
        ),
        ("smtp://me:secret@h/?from=a@b.c&to=d@e.f&auth=CRAMMD5", "CRAMMD5"),
        ("teams://secret", "not whole"),
        ("opsgenie://h/secret?responders=secret", "team:NAME"),
        ("matrix://secret@h", "token"),
        ("generic://h/secret?template=secret", "json"),
        ("generic+ftp://h/secret", "http"),
        ("twilio://secret:secret@+1", "recipient"),
        ("signal://h/+1", "recipient"),
        ("lark://secret/t", "larksuite"),
        ("ifttt://secret", "events"),
        ("zulip://secret@h", "key"),
        ("pagerduty://h", "key"),
        ("bark://secret", "key"),
    ] {
        let error = url.parse::<Target>().unwrap_err().to_string();
        assert!(error.contains(says), "{url}: {error}");
        assert!(error.contains("write a URL like"), "{url}: {error}");
        // An example may name a parameter of that name.
        let (what, _) = error.split_once(": write").unwrap();
        assert!(!what.contains("secret"), "{url}: {error}");
    }
}

#[test]
fn each_example_but_those_with_words_is_a_url_of_its_service() {
    for example in Service::EXAMPLES {
        let url = example.split([' ', ',']).next().unwrap();
        let url = match url {
            "telegram://TOKEN@telegram?chats=@CHANNEL" => "telegram://1:TOKEN@telegram?chats=@CHANNEL",
            "teams://?host=URL" => "teams://?host=https%3A%2F%2Fexample.com%2Fhook",
            url => url,
        };
        let url = url
            .replace("FROM&to", "a@b.c&to")
            .replace("=TO", "=d@e.f")
            .replace("channel=ID", "channel=1");
        assert!(
            url.parse::<Target>().is_ok(),
            "{url}: {:?}",
            url.parse::<Target>()
        );
    }
}

#[test]
fn the_page_names_each_service() {
    let page = include_str!("../../../../docs/operating.md");
    for name in Service::NAMES {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
}
