//! Messages to people: where they go, and their texts.
//!
//! Not here: the flags ([`crate::args`]), and which reports are messages ([`cordonhold_shared::reboot::cycle::Report::message`]).

use std::path::PathBuf;

use cordonhold_shared::reboot::cycle::{Message, Report};

mod http;
mod mail;
pub(crate) mod outbox;
mod service;
mod target;
mod trust;

#[cfg(test)]
mod tests;

pub use service::{Mistake, Service};
pub use target::{Target, TargetError};
pub use trust::TrustError;

/// Where messages go, and what they say.
#[derive(Clone, Debug)]
pub struct NotifyConfig {
    /// Where messages go; each message goes to each of them.
    pub targets: Vec<Target>,
    /// The texts.
    pub texts: Templates,
    /// The file with the CAs that sign the certificates of receivers, in PEM; `None` takes those of the system.
    pub ca_file: Option<PathBuf>,
}

/// The texts of the messages. One that is `None` is not sent.
#[derive(Clone, Debug)]
pub struct Templates {
    /// When the drain begins.
    pub drain: Template,
    /// Before the reboot.
    pub reboot: Template,
    /// When the node is back.
    pub uncordon: Template,
    /// When something other than a closed window postpones the reboot.
    pub blocked: Option<Template>,
    /// When the reboot command fails, or the host does not go down.
    pub failed: Option<Template>,
    /// When the reboot is called off.
    pub called_off: Option<Template>,
}

/// The text of a message, with a place for the node's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The text before the node's name.
    pub before: String,
    /// The text after the node's name.
    pub after: String,
}

impl Template {
    /// The message about this node.
    pub fn render(&self, node: &str) -> String {
        format!("{}{node}{}", self.before, self.after)
    }
}

impl Templates {
    /// The text of a message, if it is sent. kured's own texts stand alone; ours are followed by the report's reasons in parentheses.
    fn text(&self, message: Message, report: &Report, node: &str) -> Option<String> {
        let with_reasons = |template: &Option<Template>| {
            let text = template.as_ref()?.render(node);
            Some(report.sentence_of(&text))
        };
        match message {
            Message::Drain => Some(self.drain.render(node)),
            Message::Reboot { .. } => Some(self.reboot.render(node)),
            Message::Uncordon => Some(self.uncordon.render(node)),
            Message::Blocked => with_reasons(&self.blocked),
            Message::Failed | Message::Stuck => with_reasons(&self.failed),
            Message::CalledOff => with_reasons(&self.called_off),
        }
    }
}
