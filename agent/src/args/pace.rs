//! The flags of the group "What postpones a reboot" that go by what the agent reads anyway: its Node, the lock, the pool's Nodes.
//!
//! Not here: the flags of that group for which somebody else is asked ([`super::blockers`]), and what the values mean
//! ([`cordonhold_shared::reboot::blocker`]).

use std::time::Duration;

use cordonhold_shared::hold::REBOOTS_KEPT_MAX;
use cordonhold_shared::reboot::blocker::{Annotation, Foreign, RebootsMax, Rules};
use cordonhold_shared::selector::Selector;
use jiff::SignedDuration;

use super::value::{self, Maybe};

#[expect(clippy::doc_markdown, reason = "it is what --help prints")]
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What postpones a reboot")]
pub(super) struct PaceArgs {
    /// Label selector of Nodes that are not rebooted: it postpones the reboot while it selects this node's Node; repeated, or separated by `;`
    #[arg(long, env = "CORDONHOLD_BLOCKING_NODE_SELECTOR", value_name = "SELECTOR", value_delimiter = ';', value_parser = value::selector)]
    blocking_node_selector: Vec<Selector>,
    /// Annotation that postpones the reboot while this node's Node has it, with this value or, without one, with any; repeated
    #[arg(long, env = "CORDONHOLD_BLOCKING_NODE_ANNOTATION", value_name = "KEY[=VALUE]", value_parser = annotation)]
    blocking_node_annotation: Vec<Annotation>,
    /// How often the node may reboot, as in `3 within 24h`: a wish for one more waits until a person removes the annotation cordonhold.dev/reboots from the Node; empty for no limit
    #[arg(long, env = "CORDONHOLD_REBOOTS_MAX", value_name = "N within DURATION", default_value = "", value_parser = value::unless_empty(reboots_max))]
    pub(super) reboots_max: Maybe<RebootsMax>,
    /// Least time between the end of a reboot of the pool, which is when the cordon is given back, and the beginning of the next; 0 for none
    #[arg(long, env = "CORDONHOLD_MIN_INTERVAL", value_name = "DURATION", default_value = "0", value_parser = value::limit)]
    pub(super) min_interval: Maybe<Duration>,
    /// Label of Nodes, such as topology.kubernetes.io/zone: nodes with different values of it are never in a reboot at once, and a Node without it never beside any other; repeated or comma separated
    #[arg(long, env = "CORDONHOLD_SPREAD_BY", value_name = "LABEL", value_delimiter = ',', value_parser = value::key)]
    spread_by: Vec<String>,
    /// Count nodes that somebody else reboots against --concurrency, as far as their Nodes show it, and leave a node alone that is rebooted like that: karpenter, nvidia-mig, graceful-shutdown (the kubelet's), talos, mco (OpenShift's); repeated or comma separated
    #[arg(long, env = "CORDONHOLD_FOREIGN_REBOOT", value_name = "PROGRAM", value_delimiter = ',', value_parser = foreign)]
    foreign_reboot: Vec<Foreign>,
}

impl PaceArgs {
    /// The rules that these flags make.
    pub(super) fn rules(&self) -> Rules {
        Rules {
            node_labels: self.blocking_node_selector.clone(),
            node_annotations: self.blocking_node_annotation.clone(),
            reboots_max: self.reboots_max,
            min_interval: self.min_interval.and_then(|interval| interval.try_into().ok()),
            spread_by: self.spread_by.clone(),
            foreign: self.foreign_reboot.clone(),
            ..Rules::default()
        }
    }
}

/// Longest time of a `--reboots-max`: a year. A reboot before that is no part of a loop.
const WITHIN_MAX: SignedDuration = SignedDuration::from_hours(365 * 24);

/// Parses how often a node may reboot: `N within DURATION`.
fn reboots_max(text: &str) -> Result<RebootsMax, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [count, "within", within] = words.as_slice() else {
        return Err(format!(
            "{text:?} is not a number of reboots in a time: write one like \"3 within 24h\""
        ));
    };
    let count = count
        .parse()
        .ok()
        .filter(|count| (1..=REBOOTS_KEPT_MAX).contains(count));
    let count = count.ok_or_else(|| {
        format!("{text:?} does not begin with a number of reboots: write one from 1 to {REBOOTS_KEPT_MAX}, as in \"3 within 24h\"")
    })?;
    let within = value::duration_above_zero(within)?;
    let within = SignedDuration::try_from(within).map_err(|error| error.to_string())?;
    if within > WITHIN_MAX {
        return Err(format!(
            "{text:?} looks back too far: write a duration of 8760h at most, like 24h"
        ));
    }
    Ok(RebootsMax { count, within })
}

/// Parses the name of a program that reboots hosts.
fn foreign(text: &str) -> Result<Foreign, String> {
    let found = Foreign::ALL.into_iter().find(|foreign| foreign.as_str() == text);
    found.ok_or_else(|| {
        let known: Vec<&str> = Foreign::ALL.into_iter().map(Foreign::as_str).collect();
        format!(
            "{text:?} is none of the programs whose reboots are known: write one of {}",
            known.join(", ")
        )
    })
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
    fn a_number_of_reboots_has_a_time() {
        let three = RebootsMax {
            count: 3,
            within: SignedDuration::from_hours(24),
        };
        assert_eq!(reboots_max("3 within 24h"), Ok(three));
        assert_eq!(reboots_max("  3  within  1440m "), Ok(three));
        for (text, says) in [
            ("3", "3 within 24h"),
            ("3 in 24h", "3 within 24h"),
            ("within 24h", "3 within 24h"),
            ("0 within 24h", "from 1 to 20"),
            ("21 within 24h", "from 1 to 20"),
            ("x within 24h", "from 1 to 20"),
            ("3 within 24", "lacks a unit"),
            ("3 within 0s", "above 0"),
            ("3 within 8761h", "8760h at most"),
        ] {
            let error = reboots_max(text).unwrap_err();
            assert!(error.contains(says) && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn each_program_that_is_known_has_a_name_that_the_help_names() {
        let command = <PaceArgs as clap::Args>::augment_args(clap::Command::new("test"));
        let help = command
            .get_arguments()
            .find(|arg| arg.get_long() == Some("foreign-reboot"))
            .and_then(|arg| arg.get_help().map(ToString::to_string))
            .unwrap();
        for known in Foreign::ALL {
            assert_eq!(foreign(known.as_str()), Ok(known));
            assert!(help.contains(known.as_str()), "{help}");
        }
        let error = foreign("Karpenter").unwrap_err();
        assert!(error.contains("karpenter, nvidia-mig"), "{error}");
    }

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
