//! What the agent reads of a list and of the lock's Lease.

use std::collections::BTreeMap;

use cordonhold_shared::cycle::LockView;
use cordonhold_shared::keys;
use cordonhold_shared::lock::Record;
use jiff::Timestamp;
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
}

/// The Lease of a pool.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LeaseView {
    pub(crate) metadata: LeaseMetadata,
}

/// Of its `metadata`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LeaseMetadata {
    pub(crate) resource_version: String,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl LeaseView {
    pub(crate) fn view(&self, now: Timestamp) -> LockView {
        let record = Record::read(self.annotation(keys::LOCK));
        LockView {
            version: Some(self.metadata.resource_version.clone()),
            expired: record
                .as_ref()
                .present()
                .map(|record| record.expired(now))
                .unwrap_or_default(),
            record,
            paused: self.annotation(keys::PAUSE).map(str::to_owned),
        }
    }

    /// The version, if there is neither a record nor a pause.
    pub(crate) fn version_if_empty(self) -> Option<String> {
        let is_empty = self.annotation(keys::LOCK).is_none() && self.annotation(keys::PAUSE).is_none();
        is_empty.then_some(self.metadata.resource_version)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }
}

/// An empty list may come as `null`.
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
