//! Matrix: the requests of a client that logs in, joins rooms and sends to them (Client-Server API v1.1 and later).
//!
//! As in the fork of shoutrrr, the token is in a header; kured's library writes it into the URL, which servers no longer take. A login for
//! one message ends with a logout, so that no device is left.
//! Not here: in which order the requests are sent ([`crate::notify::http`]).

use http::{HeaderValue, Method};
use serde_json::{Value, json};

use super::{Call, Delivery, Request, encoded_part};

/// A message for a Matrix server.
pub(in crate::notify) struct Matrix {
    base: String,
    pub(in crate::notify) login: Login,
    /// Room aliases, which begin with `#`, or IDs, which begin with `!`. None: every room that the user has joined.
    pub(in crate::notify) rooms: Vec<String>,
    text: String,
}

/// How the server knows who sends.
pub(in crate::notify) enum Login {
    /// By this access token.
    Token(String),
    /// By the user and password of this request's body, which is answered with a token.
    Password(Value),
}

pub(super) fn matrix(call: &Call<'_>) -> Result<Delivery, String> {
    let login = match (call.user(), call.password()) {
        (_, "") => return Err("the token before @ is missing".to_owned()),
        ("", token) if HeaderValue::try_from(token).is_err() => {
            return Err("the token holds what no HTTP header can have".to_owned());
        }
        ("", token) => Login::Token(token.to_owned()),
        (user, password) => Login::Password(json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": user },
            "password": password,
        })),
    };
    let named = call.list(&["rooms", "room"], ',');
    let rooms = named
        .iter()
        .map(|room| room.trim())
        .filter(|room| !room.is_empty());
    let rooms = rooms.map(|room| {
        if room.starts_with(['#', '!']) {
            room.to_owned()
        } else {
            format!("#{room}")
        }
    });
    Ok(Delivery::Matrix(Matrix {
        base: format!("{}://{}/_matrix/client/v3", call.scheme()?, call.place()?),
        login,
        rooms: rooms.collect(),
        text: call.text.to_owned(),
    }))
}

impl Matrix {
    /// Asks for a token. It is in the answer's `access_token`.
    pub(in crate::notify) fn log_in(&self, login: &Value) -> Request {
        Request::json(format!("{}/login", self.base), login)
    }

    /// Ends the token.
    pub(in crate::notify) fn log_out(&self, token: &str) -> Request {
        self.by(token, Request::json(format!("{}/logout", self.base), &json!({})))
    }

    /// Asks for the rooms that the user has joined. They are in the answer's `joined_rooms`.
    pub(in crate::notify) fn joined(&self, token: &str) -> Request {
        self.by(
            token,
            Request::new(Method::GET, format!("{}/joined_rooms", self.base)),
        )
    }

    /// Joins a room by its alias. Its ID is in the answer's `room_id`.
    pub(in crate::notify) fn join(&self, token: &str, alias: &str) -> Request {
        let url = format!("{}/join/{}", self.base, encoded_part(alias));
        self.by(token, Request::json(url, &json!({})))
    }

    /// Sends the message to a room. A server takes one message for each transaction, however often it is sent.
    pub(in crate::notify) fn send(&self, token: &str, room: &str, transaction: &str) -> Request {
        let room = encoded_part(room);
        let url = format!("{}/rooms/{room}/send/m.room.message/{transaction}", self.base);
        let mut request = Request::json(url, &json!({ "msgtype": "m.text", "body": self.text }));
        request.method = Method::PUT;
        self.by(token, request)
    }

    #[expect(clippy::unused_self, reason = "read as: by this client")]
    fn by(&self, token: &str, request: Request) -> Request {
        request.with("authorization", format!("Bearer {token}"))
    }
}
