//! An API server over plain HTTP, in a thread: it has a few objects and takes merge patches of them.
//!
//! What a row has it [say](Says) counts first. Its watches end at once, without an event.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::{Map, Value, json};

/// An object and its path.
pub(crate) type Has = (&'static str, Value);

/// What it says to requests that begin like this and have this in their path or body.
pub(crate) struct Says {
    start: &'static str,
    part: &'static str,
    how: How,
}

enum How {
    Answers(u16, Value),
    /// Once; then it answers as it would have.
    Once(u16, Value),
    /// As a mutating webhook that drops this field of what is written.
    Drops(&'static str),
    Silence,
}

impl Says {
    pub(crate) fn with(self, part: &'static str) -> Says {
        Says { part, ..self }
    }

    /// As the API server refuses.
    pub(crate) fn refused(start: &'static str, code: u16, message: &str) -> Says {
        Says::json(start, code, status(code, "", message, ""))
    }

    pub(crate) fn json(start: &'static str, code: u16, body: Value) -> Says {
        Says::how(start, How::Answers(code, body))
    }

    pub(crate) fn not_found(start: &'static str, name: &str) -> Says {
        Says::json(start, 404, status(404, "NotFound", "not found", name))
    }

    pub(crate) fn json_once(start: &'static str, body: Value) -> Says {
        Says::how(start, How::Once(200, body))
    }

    pub(crate) fn once(start: &'static str, code: u16) -> Says {
        Says::how(start, How::Once(code, status(code, "", "not yet", "")))
    }

    pub(crate) fn drops(start: &'static str, field: &'static str) -> Says {
        Says::how(start, How::Drops(field))
    }

    pub(crate) fn nothing(start: &'static str) -> Says {
        Says::how(start, How::Silence)
    }

    fn how(start: &'static str, how: How) -> Says {
        Says { start, part: "", how }
    }
}

fn status(code: u16, reason: &str, message: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure",
        "code": code, "reason": reason, "message": message, "details": {"name": name},
    })
}

/// Serves until the test ends.
pub(crate) struct Cluster {
    objects: BTreeMap<String, Value>,
    says: Vec<Says>,
    version: u64,
    /// Connections whose requests get no answer.
    held: Vec<TcpStream>,
}

const COLLECTIONS: [&str; 6] = [
    "nodes",
    "pods",
    "leases",
    "daemonsets",
    "volumeattachments",
    "poddisruptionbudgets",
];

impl Cluster {
    pub(crate) fn start(has: Vec<Has>, says: Vec<Says>) -> SocketAddr {
        let mut cluster = Cluster {
            objects: BTreeMap::new(),
            says,
            version: 0,
            held: Vec::new(),
        };
        for (path, object) in has {
            drop(cluster.put(path, object));
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // The agent is killed while it asks.
                drop(cluster.serve(stream));
            }
        }));
        address
    }

    fn serve(&mut self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let (mut line, mut length) = (String::new(), 0);
        let _ = reader.read_line(&mut line)?;
        loop {
            let mut header = String::new();
            let read = reader.read_line(&mut header)?;
            if let Some(text) = header.to_lowercase().strip_prefix("content-length:") {
                length = text.trim().parse().unwrap_or(0);
            }
            if read == 0 || header == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let mut stream = reader.into_inner();
        let Some((code, text)) = self.answer(&line, &String::from_utf8_lossy(&body)) else {
            self.held.push(stream);
            return Ok(());
        };
        write!(
            stream,
            "HTTP/1.1 {code} Said\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
            text.len()
        )
    }

    fn answer(&mut self, line: &str, body: &str) -> Option<(u16, String)> {
        let is_meant = |says: &Says| {
            line.starts_with(says.start) && (line.contains(says.part) || body.contains(says.part))
        };
        let mut asked: Value = serde_json::from_str(body).unwrap_or_default();
        if let Some(index) = self.says.iter().position(is_meant) {
            match &self.says[index].how {
                How::Answers(code, body) => return Some((*code, body.to_string())),
                How::Once(code, body) => {
                    let answer = (*code, body.to_string());
                    drop(self.says.remove(index));
                    return Some(answer);
                }
                How::Drops(field) => drop(asked.as_object_mut().and_then(|asked| asked.remove(*field))),
                How::Silence => return None,
            }
        }
        let mut words = line.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        if target.contains("watch=true") {
            return Some((200, String::new()));
        }
        let (code, answer) = self.carry_out(method, target, asked);
        Some((code, answer.to_string()))
    }

    fn carry_out(&mut self, method: &str, target: &str, asked: Value) -> (u16, Value) {
        let path = target.split('?').next().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        let known = self.objects.get(path).cloned();
        match (method, known) {
            ("POST", _) if name == "selfsubjectaccessreviews" => (201, json!({"status": {"allowed": true}})),
            ("POST", _) => (201, asked),
            ("PATCH", Some(mut object)) => {
                merge(&mut object, &asked);
                (200, self.put(path, object))
            }
            // What the agent applies is a Lease.
            ("PATCH", None) if target.contains("force=true") => (201, self.put(path, asked)),
            ("GET", None) if COLLECTIONS.contains(&name) => (200, self.list(target, path, name)),
            ("GET", Some(object)) => (200, object),
            _ => (404, status(404, "NotFound", &format!("{name:?} not found"), name)),
        }
    }

    fn put(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        object["metadata"]["name"] = json!(path.rsplit('/').next());
        drop(self.objects.insert(path.to_owned(), object.clone()));
        object
    }

    /// Of selectors it knows that of the name.
    fn list(&self, target: &str, path: &str, kind: &str) -> Value {
        let only = target.split("metadata.name%3D").nth(1);
        let only = only.and_then(|rest| rest.split('&').next());
        let is_meant = |key: &str| {
            let (collection, name) = key.rsplit_once('/').unwrap_or_default();
            let is_of_all = !path.contains("/namespaces/") && collection.ends_with(&format!("/{kind}"));
            (is_of_all || collection == path) && only.is_none_or(|only| only == name)
        };
        let objects = self.objects.iter().filter(|(key, _)| is_meant(key));
        let items: Vec<&Value> = objects.map(|(_, object)| object).collect();
        json!({"metadata": {"resourceVersion": self.version.to_string()}, "items": items})
    }
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    for (key, change) in changes {
        if change.is_null() {
            drop(target.as_object_mut().and_then(|target| target.remove(key)));
        } else {
            merge(&mut target[key.as_str()], change);
        }
    }
}
