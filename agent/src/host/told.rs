//! Keeps in the host's `/run` which messages to people a hold has had.
//!
//! Not here: what counts as the same message ([`Told`]).

use std::path::Path;

use cordonhold_shared::reboot::cycle::Told;

use super::root::{Files, Root};
use super::{Host, HostError};

/// The file. It is in `/run`, which a reboot empties: what a hold was told before its reboot is not told after it.
const TOLD_FILE: &str = "/run/cordonhold-agent.told";

/// The file of what was told.
pub(crate) struct ToldFile(Files);

impl Host {
    /// Where the host keeps what was told.
    pub(crate) fn told(&self) -> ToldFile {
        ToldFile(self.files.apart())
    }
}

impl ToldFile {
    /// Reads what was told; nothing if there is no file.
    pub(crate) async fn read(&self) -> Result<Told, HostError> {
        let read = |root: &Root, path: &Path| {
            let Some(text) = root.read_if_there(path)? else {
                return Ok(Told::default());
            };
            serde_json::from_str(&text).map_err(|error| HostError::Read {
                root: root.path.clone(),
                path: path.to_owned(),
                source: error.into(),
            })
        };
        self.0.run_blocking(TOLD_FILE, read).await
    }

    /// Replaces what was told.
    pub(crate) async fn write(&self, told: &Told) -> Result<(), HostError> {
        let told = told.clone();
        let write = move |root: &Root, path: &Path| root.replace_json(path, &told);
        self.0.run_blocking(TOLD_FILE, write).await
    }
}

#[cfg(test)]
impl ToldFile {
    /// The file of a host with this root.
    pub(crate) fn of(root: &Path) -> ToldFile {
        ToldFile(Files::new(Root::open(root).unwrap()))
    }
}
