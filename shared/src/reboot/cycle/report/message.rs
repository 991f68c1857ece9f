//! Which reports become a message to people, and which messages a hold has had already.
//!
//! Not here: the texts and the receivers of messages (the agent).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The step of a reboot that a message to people is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// The drain begins.
    Drain,
    /// The reboot command is run next.
    Reboot {
        /// Which command of this hold it is, counted from 1.
        attempt: u8,
    },
    /// The host has booted, and its node is schedulable again.
    Uncordon,
    /// Something other than a closed window postpones the reboot.
    Blocked,
    /// The reboot command failed.
    Failed,
    /// The host does not go down.
    Stuck,
    /// The reboot is called off.
    CalledOff,
}

/// The messages that a hold has had. It is kept where a restart of the agent does not reach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Told {
    /// The holder of that hold.
    #[serde(default)]
    holder: String,
    /// The steps that it has had a message about.
    #[serde(default)]
    steps: BTreeSet<String>,
}

impl Told {
    /// Notes this message, and returns whether the hold has not had it yet.
    pub fn is_news(&mut self, holder: &str, message: Message) -> bool {
        if self.holder != holder {
            *self = Told {
                holder: holder.to_owned(),
                steps: BTreeSet::new(),
            };
        }
        self.steps.insert(message.step())
    }
}

impl Message {
    /// The name of the step. Each step of a hold has one message at most.
    pub fn step(self) -> String {
        match self {
            Message::Drain => "drain".to_owned(),
            Message::Reboot { attempt } => format!("reboot-{attempt}"),
            Message::Uncordon => "uncordon".to_owned(),
            Message::Blocked => "blocked".to_owned(),
            Message::Failed => "failed".to_owned(),
            Message::Stuck => "stuck".to_owned(),
            Message::CalledOff => "called-off".to_owned(),
        }
    }
}
