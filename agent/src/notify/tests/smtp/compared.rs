//! Compares our mails with those that shoutrrr sends for the same URLs, as `tests/shoutrrr-peer` has written them down: greeting, login,
//! envelope, headers and parts. What differs on purpose has a row in [`MEANT`].

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::*;

/// What `tests/shoutrrr-peer` writes for each URL of `mail-urls.txt`.
const WRITTEN: &str = include_str!("../../../../tests/shoutrrr/mails.jsonl");
/// The message that it sends.
const TEXT: &str = "Draining node n-1 & \"co\" <ü>";

#[derive(Deserialize)]
struct Sent {
    library: String,
    url: String,
    lines: Vec<String>,
}

/// A mail as it is compared.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    /// How the client greeted the server.
    greeting: String,
    login: String,
    from: String,
    to: String,
    /// By name in lower case, decoded.
    headers: BTreeMap<String, String>,
    /// The kind of each part, and its text.
    parts: Vec<(String, String)>,
}

/// What is changed in a mail of shoutrrr before it is compared with ours.
struct Difference {
    why: &'static str,
    apply: fn(&mut Seen),
}

/// What differs on purpose.
const MEANT: [Difference; 4] = [
    Difference {
        why: "a mail without a subject is hard to find: ours has the first line of its text as the subject",
        apply: |mail| {
            let subject = mail.headers.entry("subject".to_owned()).or_default();
            if subject.is_empty() {
                TEXT.clone_into(subject);
            }
        },
    },
    Difference {
        why: "a sender without a name is its address alone, not an empty name and the address in angle brackets",
        apply: |mail| {
            let from = mail.headers.entry("from".to_owned()).or_default();
            if let Some(address) = from.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) {
                *from = address.to_owned();
            }
        },
    },
    Difference {
        why: "the sender in the header is that of the envelope: shoutrrr turns its `+` into a space",
        apply: |mail| {
            let from = mail.headers.entry("from".to_owned()).or_default();
            *from = from.replace("node x@", "node+x@");
        },
    },
    Difference {
        why: "the fork puts the text of the HTML part into <pre>; ours, as in kured's version, is the text itself",
        apply: |mail| {
            for (_, text) in &mut mail.parts {
                let inner = text
                    .strip_prefix("<pre>")
                    .and_then(|rest| rest.strip_suffix("</pre>"));
                if let Some(inner) = inner {
                    *text = inner.to_owned();
                }
            }
        },
    },
];

/// The mails of a conversation, of one connection or of several.
fn seen(lines: &[String]) -> Vec<Seen> {
    let (mut mails, mut now) = (Vec::new(), Seen::default());
    let mut lines = lines.iter();
    while let Some(line) = lines.next() {
        let after = |word: &str| {
            line.strip_prefix(word)
                .map(|rest| rest.trim_matches(['<', '>']).to_owned())
        };
        if let Some(name) = after("EHLO ") {
            now = Seen {
                greeting: name,
                ..Seen::default()
            };
        } else if let Some(login) = after("AUTH ") {
            now.login = login;
        } else if line.starts_with("MAIL FROM:") {
            // What is announced beside the address, such as SIZE and SMTPUTF8, is not compared.
            let from = line.split(['<', '>']).nth(1);
            now.from = from.unwrap_or_default().to_owned();
        } else if let Some(to) = after("RCPT TO:") {
            now.to = to;
        } else if line == "DATA" {
            let data: Vec<&str> = lines
                .by_ref()
                .map(String::as_str)
                .take_while(|line| *line != ".")
                .collect();
            let (headers, body) = entity(&data);
            now.parts = parts(&headers, &body);
            now.headers = headers;
            let kind = now.headers.get("content-type").map(|kind| plain_kind(kind));
            drop(kind.map(|kind| now.headers.insert("content-type".to_owned(), kind)));
            drop(now.headers.remove("content-transfer-encoding"));
            drop(now.headers.insert("date".to_owned(), "DATE".to_owned()));
            mails.push(now.clone());
        }
    }
    mails
}

/// The headers, decoded, and the lines of the body.
fn entity(data: &[&str]) -> (BTreeMap<String, String>, Vec<String>) {
    let end = data.iter().position(|line| line.is_empty()).unwrap_or(data.len());
    let (head, body) = data.split_at(end);
    let mut headers: Vec<String> = Vec::new();
    for line in head {
        match headers.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) => last.push_str(line),
            _ => headers.push((*line).to_owned()),
        }
    }
    let header = |text: String| {
        let (name, value) = text.split_once(':').unwrap();
        (name.to_lowercase(), words(value.trim()))
    };
    (
        headers.into_iter().map(header).collect(),
        body.iter().skip(1).map(|line| (*line).to_owned()).collect(),
    )
}

/// A header without its encoded words (RFC 2047, in base64).
fn words(value: &str) -> String {
    let mut plain = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("=?utf-8?b?") {
        let (word, after) = after.split_once("?=").unwrap();
        if !before.trim().is_empty() {
            plain += before;
        }
        plain += &String::from_utf8(STANDARD.decode(word).unwrap()).unwrap();
        rest = after;
    }
    plain + rest
}

/// The kind without its boundary, and with the character set in one form.
fn plain_kind(kind: &str) -> String {
    let kind = kind.split("boundary").next().unwrap_or_default();
    let kind = kind.trim().trim_end_matches(';');
    kind.to_lowercase().replace('"', "")
}

/// The kind and the text of each part of a body.
fn parts(headers: &BTreeMap<String, String>, body: &[String]) -> Vec<(String, String)> {
    let kind = &headers["content-type"];
    let Some((_, boundary)) = kind.split_once("boundary=") else {
        let encoding = headers
            .get("content-transfer-encoding")
            .map_or("8bit", String::as_str);
        return vec![(plain_kind(kind), decoded(encoding, body))];
    };
    let mark = format!("--{}", boundary.trim_matches('"'));
    let inner = body.split(|line| line.starts_with(&mark)).skip(1);
    let part = |lines: &[String]| {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (headers, body) = entity(&lines);
        parts(&headers, &body).remove(0)
    };
    // After the last boundary there is nothing.
    inner
        .filter(|lines| lines.iter().any(|line| !line.is_empty()))
        .map(part)
        .collect()
}

/// The text of a body, without the empty lines around it.
fn decoded(encoding: &str, body: &[String]) -> String {
    let text = match encoding {
        "7bit" | "8bit" => body.join("\n"),
        "base64" => String::from_utf8(STANDARD.decode(body.concat()).unwrap()).unwrap(),
        "quoted-printable" => unquoted(&body.join("\n")),
        other => panic!("{other}"),
    };
    text.trim().to_owned()
}

/// A text without its escapes (RFC 2045, section 6.7).
fn unquoted(text: &str) -> String {
    let text = text.replace("=\n", "");
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, after @ ..] = rest {
        if *first == b'=' {
            let code = std::str::from_utf8(&after[..2]).unwrap();
            bytes.push(u8::from_str_radix(code, 16).unwrap());
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// What the server is told when we send the message to this URL.
async fn ours(url: &str) -> Vec<Seen> {
    let mut server = Server::start(None, false, Quirks::default()).await;
    let url = url.replace("PORT", &server.port.to_string());
    let made = delivery(&url.parse().unwrap(), TEXT, jiff::Timestamp::now()).unwrap();
    let Delivery::Mail(mail) = made else {
        panic!("not a mail")
    };
    let (_, roots) = trust::load(&config(&[url], None)).unwrap();
    for to in &mail.to {
        let sent = timeout(SOON, mail.send(to, &roots, &mut false)).await;
        assert_eq!(sent.unwrap(), Ok(()));
    }
    seen(&server.lines())
}

#[tokio::test]
async fn each_mail_is_the_one_that_shoutrrr_sends_for_the_url_but_for_what_is_meant() {
    let mut used = [false; MEANT.len()];
    for line in WRITTEN.lines() {
        let sent: Sent = serde_json::from_str(line).unwrap();
        let mut theirs = seen(&sent.lines);
        // It greets and logs in once for all mails. Each of ours has a connection of its own, so that a receiver whom the server refuses
        // does not end the mail to the others.
        let first = theirs[0].clone();
        for mail in &mut theirs {
            (mail.greeting, mail.login) = (first.greeting.clone(), first.login.clone());
            for (difference, used) in MEANT.iter().zip(&mut used) {
                let before = mail.clone();
                (difference.apply)(mail);
                *used |= *mail != before;
            }
        }
        let ours = ours(&sent.url).await;
        assert_eq!(ours, theirs, "{} {}", sent.library, sent.url);
    }
    for (difference, used) in MEANT.iter().zip(used) {
        assert!(used, "no mail differs in this: {}", difference.why);
    }
}
