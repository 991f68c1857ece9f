//! The calls to the API server: each bounded, and each failure with what to do about it.
//!
//! Not here: which objects make up a look at the fleet (`look`).

use std::time::Duration;

use cordonhold_rt::api::{CallError, each_within, within};
use cordonhold_shared::fleet::Unseen;
use cordonhold_shared::quote::one_line;
use http::header::DATE;
use jiff::Timestamp;
use kube::Client;
use kube::api::{GetParams, ListParams, PostParams};
use kube::client::Body;
use kube::core::Request;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Error;
use crate::args::CommonArgs;
use crate::output::SAID_MAX;

/// The API path of the Nodes.
pub(crate) const NODES: &str = "/api/v1/nodes";

/// A cluster, and where Cordonhold is in it.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) bound: Duration,
}

/// What the API server says of itself.
#[derive(Debug)]
pub(crate) struct Version {
    /// The time of its answer, in whole seconds.
    pub(crate) time: Option<Timestamp>,
    /// Its version, like `v1.37.2`.
    pub(crate) name: Option<String>,
}

/// A read that somebody may not be allowed, for the message if it is not.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    /// What is looked for: `the webhook's Deployment`.
    pub(crate) what: String,
    /// The verb and the resource: `get deployments.apps in the namespace cordonhold`.
    pub(crate) needs: String,
    /// The role that has it.
    pub(crate) role: &'static str,
}

impl Sight {
    pub(crate) fn unseen(&self, error: &CallError) -> Unseen {
        if error.code() == Some(403) {
            return Unseen {
                what: self.what.clone(),
                needs: Some(self.needs.clone()),
                says: format!("bind the ClusterRole {}", self.role),
            };
        }
        Unseen {
            what: self.what.clone(),
            needs: None,
            says: one_line(&error.to_string(), SAID_MAX),
        }
    }
}

/// The answer to a read, or what could not be seen. An error that every other read would have too ends the command.
pub(crate) fn seen<T>(
    answer: Result<T, CallError>,
    sight: &Sight,
    unseen: &mut Vec<Unseen>,
) -> Result<Option<T>, Error> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.code(), None | Some(401)) => Err(unreachable(&sight.what, error)),
        Err(error) => {
            unseen.push(sight.unseen(&error));
            Ok(None)
        }
    }
}

/// The error of a read without which a command can do nothing.
pub(crate) fn unreachable(what: &str, source: CallError) -> Error {
    let fix = match source.code() {
        None => "check the kubeconfig's server, and the way there, with kubectl version",
        Some(401) => "log in anew, or choose another user with --context or --user",
        Some(403) => {
            "bind the ClusterRole cordonhold-view to whoever asks, or choose another user with --context or --user"
        }
        Some(_) => "ask again later, or look at the API server's log",
    };
    Error::Call {
        what: format!("read {what}"),
        source,
        fix: fix.to_owned(),
    }
}

impl Cluster {
    pub(crate) fn new(client: Client, common: &CommonArgs) -> Cluster {
        Cluster {
            client,
            namespace: common.namespace.clone(),
            bound: common.request_timeout,
        }
    }

    /// The time of the API server, from the `Date` of an answer: a hold ends by time, and the clock of this machine may be wrong.
    pub(crate) async fn time(&self) -> Result<Timestamp, Error> {
        self.version().await?.time.ok_or(Error::NoTime)
    }

    /// What the API server says of itself.
    pub(crate) async fn version(&self) -> Result<Version, Error> {
        let request = http::Request::get("/version").body(Vec::new());
        // Every answer has the time, also one that refuses.
        let answer = self.send(request).await;
        let answer = answer.map_err(|source| unreachable("the time of the API server", source))?;
        let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
        let time = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
        let said: Option<Value> = serde_json::from_slice(answer.body()).ok();
        Ok(Version {
            time: time.map(|time| time.timestamp()),
            name: said.and_then(|said| Some(said.get("gitVersion")?.as_str()?.to_owned())),
        })
    }

    /// Sends a request, and reads the whole answer, also one that refuses.
    pub(crate) async fn send(
        &self,
        request: http::Result<http::Request<Vec<u8>>>,
    ) -> Result<http::Response<Vec<u8>>, CallError> {
        let request = request.map_err(kube::core::request::Error::BuildRequest)?;
        let sent = async {
            let answer = self.client.send(request.map(Body::from)).await?;
            let (head, body) = answer.into_parts();
            let bytes = body.collect_bytes().await?;
            Ok::<_, kube::Error>(http::Response::from_parts(head, bytes.to_vec()))
        };
        within(self.bound, sent).await
    }

    /// Creates a review, and returns the answer.
    pub(crate) async fn review<T>(&self, review: &T) -> Result<T, CallError>
    where
        T: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::Serialize + DeserializeOwned,
    {
        let api: kube::Api<T> = kube::Api::all(self.client.clone());
        within(self.bound, api.create(&PostParams::default(), review)).await
    }

    /// The object of this name; `None` if there is none.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        name: &str,
    ) -> Result<Option<T>, CallError> {
        let request = Request::new(path).get(name, &GetParams::default())?;
        match within(self.bound, self.client.request(request)).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.code() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The objects of a list, page by page.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        params: ListParams,
    ) -> Result<Vec<T>, CallError> {
        let mut items = Vec::new();
        each_within(self.bound, &self.client, path, params, |item| items.push(item)).await?;
        Ok(items)
    }

    /// The Node of this name, or an error that says how to go on.
    pub(crate) async fn node<T: DeserializeOwned>(&self, name: &str) -> Result<T, Error> {
        // A name that no object can have would ask for another path.
        if !cordonhold_shared::names::is_name(name) {
            return Err(Error::NoNode(cordonhold_shared::quote::quoted(name)));
        }
        let answer = self.get(NODES, name).await;
        let node = answer.map_err(|source| unreachable(&format!("node {name}"), source))?;
        node.ok_or_else(|| Error::NoNode(name.to_owned()))
    }
}
