//! Reads the record in the host's `/run`.
//!
//! Not here: what the record says and what it means, see [`cordonhold_shared::host`].

use std::path::Path;

use cordonhold_shared::host::HostFile;

use super::HostError;
use super::root::Root;

/// The file of the record. It is in `/run`, which a reboot empties, but a soft reboot does not.
pub(super) const RECORD_FILE: &str = "/run/cordonhold-agent.record";

impl Root {
    /// Reads the record, if there is one. An unreadable or empty record is an error, because it may belong to a reboot that is under way.
    pub(super) fn read_record(&self, path: &Path) -> Result<Option<HostFile>, HostError> {
        let unreadable = |source| HostError::Record {
            path: path.to_owned(),
            source,
        };
        let text = self
            .read_if_there(path)
            .map_err(|error| unreadable(Box::new(error)))?;
        let record = text.map(|text| serde_json::from_str(&text)).transpose();
        record.map_err(|error| unreadable(error.into()))
    }
}
