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
    first_timestamp: Option<Timestamp>,
    #[serde(default)]
    last_timestamp: Option<Timestamp>,
    #[serde(default)]
    count: Option<u64>,
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
    #[serde(default)]
    count: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct Named {
    #[serde(default)]
    pub(super) name: String,
}

impl EventView {
    pub(super) fn told(self) -> Option<Told> {
        let of_series = self.series.as_ref().and_then(|series| series.last_observed_time);
        let counted = self.series.and_then(|series| series.count).or(self.count);
        let last = of_series
            .into_iter()
            .chain(self.last_timestamp)
            .chain(self.event_time)
            .max();
        let at = last.or(self.metadata.creation_timestamp)?;
        Some(Told {
            since: self.event_time.or(self.first_timestamp).unwrap_or(at),
            at,
            count: counted.unwrap_or_default().max(1),
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
