//! The answer to a probe: a dry run that writes [`keys::PROBE`](crate::keys::PROBE) to a Node reaches the webhook, whatever the Node's state is, and is answered by a
//! warning that says who has answered.
//!
//! A dry run of an uncordon would not do: that of a node which is not held never reaches the webhook.
//! Not here: the rule for it (`node.rs`), and what an answer means to people ([`crate::doctor`]).

use std::fmt;

use super::Evaluation;
use super::text::SPEAKER;
use crate::quote::quoted;

const REACHED: &str = "the probe has reached the webhook: version ";
const MODE: &str = ", mode ";
const REPLICA: &str = ", replica ";

/// Who has answered a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeAnswer {
    /// The version of the webhook.
    pub version: String,
    /// Its `--mode`.
    pub mode: String,
    /// The name of the replica: in a pod, the pod's name.
    pub replica: String,
}

/// The text of the warning, which [`ProbeAnswer::read`] reads.
impl fmt::Display for ProbeAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ProbeAnswer {
            version,
            mode,
            replica,
        } = self;
        write!(f, "{REACHED}{version}{MODE}{mode}{REPLICA}{replica}")
    }
}

impl ProbeAnswer {
    /// Reads a warning of the API server; `None` if it is not an answer to a probe.
    pub fn read(warning: &str) -> Option<ProbeAnswer> {
        let rest = warning.strip_prefix(SPEAKER)?.strip_prefix(REACHED)?;
        let (version, rest) = rest.split_once(MODE)?;
        let (mode, replica) = rest.split_once(REPLICA)?;
        Some(ProbeAnswer {
            version: version.to_owned(),
            mode: mode.to_owned(),
            replica: replica.to_owned(),
        })
    }
}

impl Evaluation<'_> {
    /// The answer of this replica.
    pub(super) fn answer(&self) -> ProbeAnswer {
        ProbeAnswer {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            mode: self.policy.modes.usual().as_str().to_owned(),
            replica: quoted(&self.policy.replica),
        }
    }
}
