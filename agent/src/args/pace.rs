//! The flags of the group "What postpones a reboot" that go by what the agent reads anyway: its Node, the lock, the pool's Nodes.
//!
//! Not here: the flags of that group for which somebody else is asked ([`super::blockers`]), and what the values mean
//! ([`cordonhold_shared::reboot::blocker`]).

use cordonhold_shared::reboot::blocker::{Annotation, Rules};
use cordonhold_shared::selector::Selector;

use super::value;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What postpones a reboot")]
pub(super) struct PaceArgs {
    /// Label selector of Nodes that are not rebooted: it postpones the reboot while it selects this node's Node; repeated, or separated by `;`
    #[arg(long, env = "CORDONHOLD_BLOCKING_NODE_SELECTOR", value_name = "SELECTOR", value_delimiter = ';', value_parser = value::selector)]
    blocking_node_selector: Vec<Selector>,
    /// Annotation that postpones the reboot while this node's Node has it, with this value or, without one, with any; repeated
    #[arg(long, env = "CORDONHOLD_BLOCKING_NODE_ANNOTATION", value_name = "KEY[=VALUE]", value_parser = annotation)]
    blocking_node_annotation: Vec<Annotation>,
}

impl PaceArgs {
    /// The rules that these flags make.
    pub(super) fn rules(&self) -> Rules {
        Rules {
            node_labels: self.blocking_node_selector.clone(),
            node_annotations: self.blocking_node_annotation.clone(),
            ..Rules::default()
        }
    }
}

/// Parses an annotation: `KEY`, or `KEY=VALUE` with any text as the value.
fn annotation(text: &str) -> Result<Annotation, String> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (text, None),
    };
    let key = value::key(key)?;
    Ok(Annotation { key, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_is_a_key_with_or_without_a_value() {
        let read = |text: &str| annotation(text).map(|Annotation { key, value }| (key, value));
        let key = "example.com/hold".to_owned();
        assert_eq!(read("example.com/hold"), Ok((key.clone(), None)));
        for value in ["", "yes", "a=b, c;d"] {
            let text = format!("{key}={value}");
            assert_eq!(read(&text), Ok((key.clone(), Some(value.to_owned()))));
        }
        for text in ["", "=x", "a b", "a/b/c=1"] {
            let error = read(text).unwrap_err();
            assert!(error.contains("example.com/name"), "{error}");
        }
    }
}
