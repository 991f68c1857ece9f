//! The fields that a look reads of Events and pods.
//!
//! Not here: what the agents' Events mean ([`cordonhold_shared::fleet`]).

use cordonhold_shared::fleet::Told;
use jiff::Timestamp;
use serde::Deserialize;

/// The fields of an Event that are read. The older ones are filled by programs that write the older API.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventView {
    metadata: Dated,
    involved_object: Named,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    event_time: Option<Timestamp>,
    #[serde(default)]
    last_timestamp: Option<Timestamp>,
    #[serde(default)]
    series: Option<SeriesView>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dated {
    #[serde(default)]
    creation_timestamp: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SeriesView {
    #[serde(default)]
    last_observed_time: Option<Timestamp>,
}

#[derive(Deserialize)]
pub(super) struct Named {
    #[serde(default)]
    pub(super) name: String,
}

impl EventView {
    pub(super) fn told(self) -> Option<Told> {
        let of_series = self.series.and_then(|series| series.last_observed_time);
        let last = of_series
            .into_iter()
            .chain(self.last_timestamp)
            .chain(self.event_time)
            .max();
        Some(Told {
            at: last.or(self.metadata.creation_timestamp)?,
            node: self.involved_object.name,
            reason: self.reason.unwrap_or_default(),
            note: self.message.unwrap_or_default(),
        })
    }
}

/// The fields of a pod that are read.
#[derive(Deserialize)]
pub(super) struct PodView {
    pub(super) metadata: Named,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Default, Deserialize)]
struct PodStatus {
    #[serde(default)]
    conditions: Option<Vec<cordonhold_shared::node::Condition>>,
}

impl PodView {
    pub(super) fn is_ready(&self) -> bool {
        let mut conditions = self.status.conditions.iter().flatten();
        conditions.any(|condition| condition.kind == "Ready" && condition.status == "True")
    }
}
