//! The services that messages can go to: one row for each, with what its URL looks like, and the requests that deliver a message.
//!
//! A URL means what it means to shoutrrr v0.8.0, which kured uses; a service that only the fork (nicholas-fedor/shoutrrr v0.17.0) has, what
//! it means there. `tests/shoutrrr-peer` writes down the requests of both libraries, and a test compares ours with them field by field.
//! The crate `shoutrrr` 0.1 is not used: it has three of the services, and brings reqwest, a second HTTP client.
//! Not here: how a URL is taken apart ([`super::target`]), and how a request is sent ([`super::http`], [`super::mail`]).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::mail::Mail;
use super::target::{Target, decoded};

mod alarm;
mod chat;
mod generic;
mod matrix;
mod push;

#[cfg(test)]
mod tests;

pub(super) use matrix::{Login, Matrix};

/// What delivers one message.
pub(super) enum Delivery {
    /// These requests, each for itself: one for each recipient.
    Http(Vec<Request>),
    /// The calls of a Matrix client.
    Matrix(Matrix),
    /// A mail.
    Mail(Mail),
}

/// An HTTP request. It is never printed, because nearly every part may be a secret.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
    pub(super) confirms: Confirms,
}

/// What confirms, in an answer of status 2xx, that the service has taken the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confirms {
    /// The status alone.
    Status,
    /// A body that is empty or `ok`.
    Word,
    /// `true` under this name in its JSON.
    Truth(&'static str),
    /// This number under this name in its JSON.
    Number(&'static str, i64),
}

/// A URL of which its service cannot make a message. The text repeats nothing of the URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: write a URL like {example}")]
pub struct Mistake {
    what: String,
    example: &'static str,
}

/// A message to a target.
pub(super) struct Call<'a> {
    pub(super) target: &'a Target,
    pub(super) text: &'a str,
    /// Some services want a signature with the time.
    pub(super) now: Timestamp,
}

/// The parameters that a service knows.
#[derive(Clone, Copy)]
enum Keys {
    /// No other, in lower case.
    Only(&'static [&'static str]),
    /// Others too: shoutrrr passes them on, or over.
    Any,
}

/// Bytes that Go's `url.QueryEscape` leaves as they are.
const FORM: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
/// Bytes that a path of a URL cannot have. `%` stays, because a path is kept as it was written.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

macro_rules! services {
    ($($name:ident $word:literal $example:literal $keys:expr, $make:path;)+) => {
        /// The services of shoutrrr that take a message by HTTP or as a mail.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Service {
            $(#[doc = concat!("`", $word, "`")] $name,)+
        }

        impl Service {
            /// The name of every service, as in a URL.
            pub const NAMES: &[&str] = &[$($word,)+];

            /// A URL of every service, as an example.
            pub const EXAMPLES: &[&str] = &[$($example,)+];

            /// The name of the service, as in a URL.
            pub fn name(self) -> &'static str {
                match self { $(Service::$name => $word,)+ }
            }

            /// The service of this name.
            pub(super) fn named(word: &str) -> Option<Service> {
                match word {
                    $($word => Some(Service::$name),)+
                    _ => None,
                }
            }

            fn example(self) -> &'static str {
                match self { $(Service::$name => $example,)+ }
            }

            fn keys(self) -> Keys {
                match self { $(Service::$name => $keys,)+ }
            }

            fn make(self, call: &Call<'_>) -> Result<Delivery, String> {
                match self { $(Service::$name => $make(call),)+ }
            }
        }
    };
}

services! {
    Bark "bark" "bark://:KEY@HOST" Keys::Only(&["title", "scheme", "sound", "badge", "icon", "group", "url", "category", "copy"]), push::bark;
    Discord "discord" "discord://TOKEN@WEBHOOKID" Keys::Only(&["title", "username", "avatar", "avatarurl", "color", "colorerror", "colorwarn", "colorinfo", "colordebug", "splitlines", "json"]), chat::discord;
    Generic "generic" "generic+https://example.com/hook" Keys::Any, generic::generic;
    GoogleChat "googlechat" "googlechat://chat.googleapis.com/v1/spaces/SPACE/messages?key=KEY&token=TOKEN" Keys::Any, chat::googlechat;
    Gotify "gotify" "gotify://HOST/TOKEN" Keys::Only(&["priority", "title", "disabletls"]), push::gotify;
    Hangouts "hangouts" "hangouts://chat.googleapis.com/v1/spaces/SPACE/messages?key=KEY&token=TOKEN" Keys::Any, chat::googlechat;
    Ifttt "ifttt" "ifttt://KEY/?events=EVENT" Keys::Only(&["events", "value1", "value2", "value3", "messagevalue", "titlevalue", "title"]), push::ifttt;
    Join "join" "join://:KEY@join/?devices=DEVICE" Keys::Only(&["devices", "title", "icon"]), push::join;
    Lark "lark" "lark://open.larksuite.com/TOKEN?secret=SECRET" Keys::Only(&["secret", "title", "link"]), chat::lark;
    Matrix "matrix" "matrix://:TOKEN@HOST/?rooms=!ROOMID:HOST" Keys::Only(&["disabletls", "rooms", "room", "title"]), matrix::matrix;
    Mattermost "mattermost" "mattermost://USER@HOST/TOKEN/CHANNEL" Keys::Only(&["icon", "icon_emoji", "icon_url", "title", "disabletls"]), chat::mattermost;
    Notifiarr "notifiarr" "notifiarr://KEY?channel=ID" Keys::Only(&["name", "channel", "thumbnail", "image", "color"]), alarm::notifiarr;
    Ntfy "ntfy" "ntfy://ntfy.sh/TOPIC" Keys::Only(&["title", "scheme", "tags", "priority", "actions", "click", "attach", "filename", "delay", "at", "in", "email", "icon", "cache", "firebase"]), push::ntfy;
    Opsgenie "opsgenie" "opsgenie://api.opsgenie.com/KEY" Keys::Only(&["alias", "description", "responders", "visibleto", "actions", "tags", "details", "entity", "source", "priority", "note", "user", "title"]), alarm::opsgenie;
    Pagerduty "pagerduty" "pagerduty://events.pagerduty.com/KEY" Keys::Only(&["severity", "source", "action", "dedup_key", "details", "contexts", "client", "client_url"]), alarm::pagerduty;
    Pushbullet "pushbullet" "pushbullet://TOKEN/DEVICE" Keys::Only(&["title"]), push::pushbullet;
    Pushover "pushover" "pushover://:TOKEN@USER" Keys::Only(&["devices", "priority", "title"]), push::pushover;
    Rocketchat "rocketchat" "rocketchat://USER@HOST/TOKENA/TOKENB/CHANNEL" Keys::Any, chat::rocketchat;
    Signal "signal" "signal://HOST:8080/+SENDER/+RECIPIENT" Keys::Only(&["user", "password", "token", "apikey", "disabletls"]), alarm::signal;
    Slack "slack" "slack://A/B/C or slack://xoxb:A-B-C@CHANNEL" Keys::Only(&["botname", "username", "icon", "icon_emoji", "icon_url", "color", "title", "thread_ts"]), chat::slack;
    Smtp "smtp" "smtp://USER:PASSWORD@HOST:587/?fromAddress=FROM&toAddresses=TO,TO" Keys::Only(&["fromaddress", "from", "fromname", "toaddresses", "to", "subject", "title", "auth", "encryption", "usestarttls", "starttls", "usehtml", "clienthost"]), super::mail::mail;
    Teams "teams" "teams://?host=URL, with the URL of the workflow percent-encoded" Keys::Any, chat::teams;
    Telegram "telegram" "telegram://TOKEN@telegram?chats=@CHANNEL" Keys::Only(&["preview", "notification", "parsemode", "chats", "channels", "title"]), chat::telegram;
    Twilio "twilio" "twilio://SID:TOKEN@+SENDER/+RECIPIENT" Keys::Only(&["title"]), alarm::twilio;
    Wecom "wecom" "wecom://KEY" Keys::Only(&["key", "mentioned_list", "mentioned_mobile_list"]), chat::wecom;
    Zulip "zulip" "zulip://BOT:KEY@HOST?stream=STREAM&topic=TOPIC" Keys::Any, chat::zulip;
}

/// What delivers this text to the target at this time.
pub(super) fn delivery(target: &Target, text: &str, now: Timestamp) -> Result<Delivery, Mistake> {
    let service = target.service;
    let call = Call { target, text, now };
    let wrong = |what| Mistake {
        what: format!("{}: {what}", service.name()),
        example: service.example(),
    };
    if let Keys::Only(known) = service.keys() {
        let is_known = |name: &str| known.contains(&name.to_lowercase().as_str());
        if !target.parameters.iter().all(|(name, _)| is_known(name)) {
            // The name is not repeated: a token may stand in its place.
            let known = known.join(", ");
            return Err(wrong(format!(
                "a parameter after ? is none that the service knows, which are {known}"
            )));
        }
    }
    service.make(&call).map_err(wrong)
}

impl Call<'_> {
    /// The first value of a parameter with one of these names, in any case; empty if there is none.
    pub(super) fn text_of(&self, names: &[&str]) -> &str {
        let is_named = |name: &str| names.iter().any(|known| name.eq_ignore_ascii_case(known));
        let mut parameters = self.target.parameters.iter();
        let found = parameters.find(|(name, _)| is_named(name));
        found.map_or("", |(_, value)| value.as_str())
    }

    /// A parameter that is on or off.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, String> {
        match self.text_of(&[name]).to_lowercase().as_str() {
            "" => Ok(default),
            "true" | "1" | "yes" | "y" => Ok(true),
            "false" | "0" | "no" | "n" => Ok(false),
            _ => Err(format!("{name} is neither yes nor no")),
        }
    }

    /// A parameter that is a whole number: `5`, `0xff` or `#ff`.
    pub(super) fn number(&self, name: &str, default: i64) -> Result<i64, String> {
        let text = self.text_of(&[name]);
        let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix('#'));
        let number = match hex {
            _ if text.is_empty() => Ok(default),
            Some(digits) => i64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        number.map_err(|_| format!("{name} is not a whole number"))
    }

    /// A parameter that is a list; empty if there is none.
    pub(super) fn list(&self, names: &[&str], separator: char) -> Vec<String> {
        match self.text_of(names) {
            "" => Vec::new(),
            text => text.split(separator).map(str::to_owned).collect(),
        }
    }

    /// `https`, unless this parameter says that TLS is off.
    pub(super) fn scheme(&self) -> Result<&'static str, String> {
        Ok(if self.flag("disabletls", false)? {
            "http"
        } else {
            "https"
        })
    }

    /// The parts of the path, decoded; none if it is empty.
    pub(super) fn segments(&self) -> Vec<String> {
        let path = self.target.path.trim_matches('/');
        let parts = path.split('/').filter(|_| !path.is_empty());
        // A path that cannot be decoded is no target.
        parts.map(|part| decoded(part).unwrap_or_default()).collect()
    }

    /// The path as it was written, with what no URL can have percent-encoded.
    pub(super) fn path(&self) -> String {
        encoded_path(&self.target.path)
    }

    /// The host and, if there is one, the port, as in a URL.
    pub(super) fn place(&self) -> Result<String, String> {
        let Target { host, port, .. } = self.target;
        let host = match host.as_str() {
            "" => return Err("the host is missing".to_owned()),
            host if host.contains(':') => format!("[{host}]"),
            host => host.to_owned(),
        };
        Ok(port.map_or_else(|| host.clone(), |port| format!("{host}:{port}")))
    }

    pub(super) fn user(&self) -> &str {
        self.target.user.as_deref().unwrap_or_default()
    }

    pub(super) fn password(&self) -> &str {
        self.target.password.as_deref().unwrap_or_default()
    }
}

impl Request {
    pub(super) fn new(method: Method, url: String) -> Request {
        Request {
            method,
            url,
            headers: Vec::new(),
            body: String::new(),
            confirms: Confirms::Status,
        }
    }

    /// A POST of this JSON.
    pub(super) fn json(url: String, body: &Value) -> Request {
        Request::new(Method::POST, url).with_body("application/json", body.to_string())
    }

    /// A POST of these fields of a form, of which empty ones are kept.
    fn form(url: String, fields: &[(&str, &str)]) -> Request {
        Request::new(Method::POST, url).with_body("application/x-www-form-urlencoded", form(fields))
    }

    pub(super) fn with_body(mut self, kind: &str, body: String) -> Request {
        self.body = body;
        self.with("content-type", kind)
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Request {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The same with basic authentication, if there is a user or a password.
    pub(super) fn with_login(self, user: &str, password: &str) -> Request {
        if user.is_empty() && password.is_empty() {
            return self;
        }
        let login = STANDARD.encode(format!("{user}:{password}"));
        self.with("authorization", format!("Basic {login}"))
    }

    pub(super) fn confirmed(mut self, confirms: Confirms) -> Request {
        self.confirms = confirms;
        self
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Request")
    }
}

impl From<Request> for Delivery {
    fn from(request: Request) -> Delivery {
        Delivery::Http(vec![request])
    }
}

/// Percent-encodes what no path can have, and leaves what is encoded.
fn encoded_path(path: &str) -> String {
    utf8_percent_encode(path, PATH).to_string()
}

/// Percent-encodes one part of a path.
pub(super) fn encoded_part(part: &str) -> String {
    utf8_percent_encode(part, FORM).to_string()
}

/// The fields of a form or query, by name, as Go's `url.Values` writes them.
pub(super) fn form(fields: &[(&str, &str)]) -> String {
    let mut sorted = fields.to_vec();
    sorted.sort_by_key(|(name, _)| *name);
    let plain = |text| utf8_percent_encode(text, FORM).to_string().replace("%20", "+");
    let pairs = sorted
        .iter()
        .map(|(name, value)| format!("{}={}", plain(name), plain(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// The object with these fields too, of which empty ones are left out.
fn filled(mut object: Value, fields: &[(&str, &str)]) -> Value {
    for (name, value) in fields {
        if !value.is_empty() {
            object[*name] = json!(value);
        }
    }
    object
}

/// The text if it is not empty.
pub(super) fn needed<'a>(text: &'a str, what: &str) -> Result<&'a str, String> {
    if text.is_empty() {
        Err(format!("{what} is missing"))
    } else {
        Ok(text)
    }
}
