//! The record in the host's `/run`: how it is read and written.
//!
//! Not here: what it holds, and what follows from it ([`cordonhold_shared::host`]).

use std::io;
use std::path::Path;

use cordonhold_shared::host::HostFile;

use super::HostError;
use super::root::Root;

/// In `/run`, which a reboot empties and a reboot of userspace alone does not.
pub(super) const RECORD_FILE: &str = "/run/cordonhold-agent.record";

impl Root {
    /// One that cannot be read may be of a reboot that is under way, so it is an error, an empty one too.
    pub(super) fn read_record(&self, path: &Path) -> Result<Option<HostFile>, HostError> {
        let unreadable = |source| HostError::Record {
            path: path.to_owned(),
            source,
        };
        match self.read(path) {
            Ok(text) => serde_json::from_str(&text)
                .map(Some)
                .map_err(|error| unreadable(error.into())),
            Err(HostError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(Box::new(error))),
        }
    }

    pub(super) fn write_record(&self, path: &Path, file: &HostFile) -> Result<(), HostError> {
        let text = serde_json::to_vec(file).map_err(|error| HostError::Write {
            root: self.path.clone(),
            path: path.to_owned(),
            source: error.into(),
        })?;
        self.replace(path, &text)
    }
}
