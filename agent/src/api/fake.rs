//! For tests: an API server that is a function of the path and the body.
//!
//! Not here: a server on a socket, see `agent/tests/messages/cluster.rs`.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::Value;

use super::Api;
use crate::args::{Parsed, parse};
use crate::config::Config;

/// The calls of an agent with these arguments. The function answers each request with a status code and a body.
pub(crate) fn api(
    words: &[&str],
    answer: impl Fn(&str, &Value) -> (u16, Value) + Send + Sync + 'static,
) -> Api {
    let answer = Arc::new(answer);
    let service = tower::service_fn(move |request: Request<Body>| {
        let answer = Arc::clone(&answer);
        async move {
            let path = request.uri().to_string();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let asked = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let (code, body) = answer(&path, &asked);
            let body = Body::from(body.to_string().into_bytes());
            Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    let line = ["cordonhold-agent", "--node-id=node-0"].iter().chain(words);
    let Parsed::Run(config) = parse(line.map(Into::into), |_| None).unwrap() else {
        panic!("these arguments ask for help or version")
    };
    let Config {
        settings,
        lock,
        drain,
        ..
    } = *config;
    Api::new(Client::new(service, "default"), &settings, lock, drain)
}
