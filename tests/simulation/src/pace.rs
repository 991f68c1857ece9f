//! The settings of a run that pace its reboots: failure domains, a least time between two, a limit of reboots, others who reboot hosts.
//!
//! They are drawn from a stream of their own, so that the rest of a run is drawn as without them.
//! Not here: what the oracle makes of them (`invariants/pace.rs`).

use std::time::Duration;

use cordonhold_shared::reboot::blocker::{Foreign, RebootsMax, Rules};
use cordonhold_shared::reboot::cycle::Settings;
use jiff::SignedDuration;

use crate::Defect;
use crate::faults::{Fault, Mixture};
use crate::random::Random;

/// The label by whose values the nodes are kept apart.
pub(crate) const ZONE: &str = "zone";

/// Sets the stream apart from that of the run.
const STREAM: u64 = 0x9e37_79b9_7f4a_7c15;

/// How the reboots of a run are paced. All agents have the same settings.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// The zone of each node; `None` for a node without the label.
    pub(crate) zones: Vec<Option<String>>,
    /// Whether the agents keep the zones apart.
    pub(crate) is_spread: bool,
    pub(crate) interval: Option<Duration>,
    reboots_max: Option<RebootsMax>,
    counts_foreign: bool,
    shows_conditions: bool,
}

impl Pace {
    /// Draws the settings. A run with a defect has only those that its defect is about.
    pub(crate) fn draw(seed: u64, nodes: usize, defect: Option<Defect>) -> Pace {
        let drawn = Pace::of(seed, nodes);
        match defect {
            None => drawn,
            Some(defect) => Pace {
                is_spread: defect == Defect::ZonesUnseen,
                interval: (defect == Defect::EndsUnnoted).then_some(Duration::from_mins(5)),
                reboots_max: None,
                counts_foreign: false,
                ..drawn
            },
        }
    }

    fn of(seed: u64, nodes: usize) -> Pace {
        let mut random = Random::new(seed ^ STREAM);
        let zone = |random: &mut Random| {
            let number = random.below(3);
            random.chance(9_000).then(|| format!("zone-{number}"))
        };
        Pace {
            zones: (0..nodes).map(|_| zone(&mut random)).collect(),
            is_spread: random.chance(3_000),
            interval: random.chance(2_000).then(|| random.seconds(10, 300)),
            reboots_max: random.chance(3_000).then(|| RebootsMax {
                count: 1 + random.index(4),
                within: SignedDuration::from_mins(5 + i64::try_from(random.below(25)).unwrap_or(0)),
            }),
            counts_foreign: random.chance(3_000),
            shows_conditions: random.chance(5_000),
        }
    }

    /// Takes the faults out of the run by which the end of a reboot may be lost, or its time be wrong.
    pub(crate) fn limit(&self, mixture: &mut Mixture) {
        const LOSE_ENDS: [Fault; 6] = [
            Fault::AgentClockSkew,
            Fault::AgentClockJump,
            Fault::EntryRemoved,
            Fault::LockGarbled,
            Fault::NodeDeleted,
            Fault::Tampering,
        ];
        if self.interval.is_some() {
            for fault in LOSE_ENDS {
                mixture.leave_out(fault);
            }
        }
        if !self.counts_foreign {
            mixture.leave_out(Fault::ForeignReboot);
        }
    }

    /// Gives these settings to an agent.
    pub(crate) fn set(&self, settings: &mut Settings, rules: &mut Rules, defect: Option<Defect>) {
        settings.signs.shows_conditions = self.shows_conditions;
        settings.keeps_interval = self.interval.is_some();
        settings.reboots_kept = self.reboots_max.map_or(0, |max| max.count);
        rules.min_interval = self.interval.and_then(|interval| interval.try_into().ok());
        rules.reboots_max = self.reboots_max;
        if self.is_spread && defect != Some(Defect::ZonesUnseen) {
            rules.spread_by = vec![ZONE.to_owned()];
        }
        if self.counts_foreign {
            rules.foreign = Foreign::ALL.to_vec();
        }
    }
}
