//! What the agent reads of a list.

use serde::{Deserialize, Deserializer};

/// A list and the version that it was read at.
#[derive(Clone, Debug, Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub(crate) struct ListView<T> {
    pub(crate) metadata: ListMetadata,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(crate) items: Vec<T>,
}

/// Of a list's `metadata`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListMetadata {
    pub(crate) resource_version: String,
    /// Where the rest of it is, if there is more.
    #[serde(rename = "continue", default)]
    pub(crate) next_page: Option<String>,
}

/// An empty list may come as `null`.
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
