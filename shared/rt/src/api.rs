//! Calls of the API server: each within a bound, lists page by page, and one error for a call that brought nothing.
//!
//! Nothing is tried again here. Not here: the client ([`crate::client`]), and what an answer means.

use std::future::Future;
use std::time::Duration;

use kube::Client;
use kube::core::params::ListParams;
use kube::core::{Request, Status};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use tokio::time::timeout;

use crate::client;

/// Longest wait for the answer to a call.
pub const CALL_BOUND: Duration = Duration::from_secs(10);
/// How many objects one answer may hold: each is some kilobytes, and a cluster may have thousands.
const PAGE: u32 = 100;

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum CallError {
    #[error("the API server did not answer within {0:?}")]
    Silent(Duration),
    #[error("{}", client::answered(.0))]
    Answered(Box<Status>),
    #[error("{}", client::explain(.0))]
    Kube(kube::Error),
    #[error("failed to build the request")]
    Request(#[from] kube::core::request::Error),
}

impl From<kube::Error> for CallError {
    fn from(error: kube::Error) -> CallError {
        match error {
            kube::Error::Api(status) => CallError::Answered(status),
            error => CallError::Kube(error),
        }
    }
}

impl CallError {
    /// The code that the API server answered with, if it did.
    pub fn code(&self) -> Option<u16> {
        match self {
            CallError::Answered(status) => Some(status.code),
            CallError::Silent(_) | CallError::Kube(_) | CallError::Request(_) => None,
        }
    }
}

/// A request of kube's, or why it could not be built.
pub type Built = Result<http::Request<Vec<u8>>, kube::core::request::Error>;

/// What one call or several bring, if that comes in time.
pub async fn within<T, E>(bound: Duration, calls: impl Future<Output = Result<T, E>>) -> Result<T, CallError>
where
    CallError: From<E>,
{
    Ok(timeout(bound, calls)
        .await
        .map_err(|_| CallError::Silent(bound))??)
}

/// One call within [`CALL_BOUND`].
pub async fn call<T: DeserializeOwned>(client: &Client, request: Built) -> Result<T, CallError> {
    within(CALL_BOUND, client.request(request?)).await
}

/// Every object of a list, page by page: 100 at a time where the parameters say nothing else.
/// Each page has [`CALL_BOUND`]; how long all of them may take is the caller's to say.
pub async fn each<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    params: ListParams,
    mut visit: impl FnMut(T),
) -> Result<(), CallError> {
    let mut params = ListParams {
        limit: params.limit.or(Some(PAGE)),
        ..params
    };
    loop {
        let page: ListView<T> = call(client, Request::new(path).list(&params)).await?;
        page.items.into_iter().for_each(&mut visit);
        match page.metadata.next_page {
            Some(token) if !token.is_empty() => params = params.continue_token(&token),
            _ => return Ok(()),
        }
    }
}

/// A list and the version that it was read at.
#[derive(Clone, Debug, Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub struct ListView<T> {
    /// Its version, and whether there is more.
    pub metadata: ListMetadata,
    /// The objects.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub items: Vec<T>,
}

/// Of a list's `metadata`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListMetadata {
    /// From where a watch goes on.
    pub resource_version: String,
    /// Where the rest of it is, if there is more.
    #[serde(rename = "continue", default)]
    next_page: Option<String>,
}

/// An empty list may come as `null`.
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
