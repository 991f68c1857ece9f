//! Calls to the API server, each with a timeout; lists are read page by page.
//!
//! Not here: the client ([`crate::client`]), retries, and what an answer means (each program's own).

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
/// Most objects in one answer. An object has some kilobytes, and a cluster may have thousands.
const PAGE: u32 = 100;

/// Why a call failed.
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
    /// The status code of the API server's answer, if it answered.
    pub fn code(&self) -> Option<u16> {
        match self {
            CallError::Answered(status) => Some(status.code),
            CallError::Silent(_) | CallError::Kube(_) | CallError::Request(_) => None,
        }
    }
}

/// A request of kube's, or why it could not be built.
pub type Built = Result<http::Request<Vec<u8>>, kube::core::request::Error>;

/// Runs one or more calls with a common timeout.
pub async fn within<T, E>(bound: Duration, calls: impl Future<Output = Result<T, E>>) -> Result<T, CallError>
where
    CallError: From<E>,
{
    Ok(timeout(bound, calls)
        .await
        .map_err(|_| CallError::Silent(bound))??)
}

/// Makes one call, with a timeout of [`CALL_BOUND`].
pub async fn call<T: DeserializeOwned>(client: &Client, request: Built) -> Result<T, CallError> {
    within(CALL_BOUND, client.request(request?)).await
}

/// Calls `visit` for every object of a list, which is read in pages of 100 objects unless `params` sets another limit.
/// Each page has a timeout of [`CALL_BOUND`]; a timeout for the whole list is up to the caller.
pub async fn each<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    params: ListParams,
    visit: impl FnMut(T),
) -> Result<(), CallError> {
    each_within(CALL_BOUND, client, path, params, visit).await
}

/// Like [`each`], with another timeout for each page.
pub async fn each_within<T: DeserializeOwned>(
    bound: Duration,
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
        let request = Request::new(path).list(&params)?;
        let page: ListView<T> = within(bound, client.request(request)).await?;
        page.items.into_iter().for_each(&mut visit);
        match page.metadata.next_page {
            Some(token) if !token.is_empty() => params = params.continue_token(&token),
            _ => return Ok(()),
        }
    }
}

/// A page of a list, and the version at which the list was read.
#[derive(Clone, Debug, Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub struct ListView<T> {
    /// The list's version, and whether there are more pages.
    pub metadata: ListMetadata,
    /// The objects of this page.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub items: Vec<T>,
}

/// The `metadata` of a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListMetadata {
    /// The version from which a watch can go on.
    pub resource_version: String,
    /// The `continue` token of the next page. Absent or empty on the last page.
    #[serde(rename = "continue", default)]
    next_page: Option<String>,
}

/// Reads `null` as an empty list: an API server may send one for the other.
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
