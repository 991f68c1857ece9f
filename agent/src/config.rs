//! What an agent runs with: each value as the module needs it that works with it.
//!
//! Not here: the flags ([`crate::args`]), how the host is reached ([`HostConfig`]), where messages go ([`NotifyConfig`]), and what
//! the cycle and its timers run with, which the core says.

use std::path::PathBuf;

use cordonhold_rt::logging::LogFormat;
use cordonhold_shared::reboot::cycle::Settings;
use cordonhold_shared::reboot::drain::Options;
use cordonhold_shared::reboot::lock_object::LockObjects;
use cordonhold_shared::reboot::timers::Timing;
use cordonhold_shared::selector::Selector;
use http::Uri;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use regex_lite::Regex;

use crate::host::HostConfig;
use crate::notify::NotifyConfig;

/// All of it.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the cycle goes by.
    pub settings: Settings,
    /// How long its timers are.
    pub timing: Timing,
    /// How the host is reached.
    pub host: HostConfig,
    /// Where the host's wish for a reboot is: a path inside the host's root.
    pub sentinel: PathBuf,
    /// Where the lock is.
    pub lock: LockConfig,
    /// How the node is drained.
    pub drain: DrainConfig,
    /// Whether the conditions of KEP-5683 are written on the Node.
    pub shows_conditions: bool,
    /// When a reboot may begin.
    pub window: WindowConfig,
    /// What postpones it.
    pub blockers: BlockerConfig,
    /// Who is told.
    pub notify: NotifyConfig,
    /// How the agent itself runs.
    pub process: ProcessConfig,
    /// What the operator should change, though it works.
    pub warnings: Vec<String>,
}

/// Which pool the node is of, and where its lock is.
#[derive(Clone, Debug)]
pub struct LockConfig {
    /// Name of the pool.
    pub pool: String,
    /// The objects that may carry the lock.
    pub objects: LockObjects,
}

/// Which pods a drain looks at, and how they are evicted.
#[derive(Clone, Debug)]
pub struct DrainConfig {
    /// `None`: every pod on the node.
    pub pods: Option<Selector>,
    /// Seconds that an evicted pod has to end; `None`: each pod's own.
    pub grace_period: Option<u32>,
    /// How its evictions go.
    pub options: Options,
}

/// When a reboot may begin: on these days, from the one time of day to the other, that second included.
#[derive(Clone, Debug)]
pub struct WindowConfig {
    /// The days.
    pub days: Days,
    /// From this time of day.
    pub start: Time,
    /// Until this one.
    pub end: Time,
    /// By the clock of this zone.
    pub zone: TimeZone,
}

/// Days of the week, one bit each, Sunday the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days(u8);

/// What postpones a reboot.
#[derive(Clone, Debug)]
pub struct BlockerConfig {
    /// The Prometheus whose alerts count.
    pub prometheus: Option<Uri>,
    /// Alerts whose name it matches do not count.
    pub alert_filter: Option<Regexp>,
    /// Only those count, instead.
    pub match_only: bool,
    /// Alerts that are pending do not count.
    pub firing_only: bool,
    /// A pod on the node that one of these selects.
    pub pods: Vec<Selector>,
}

/// An alert's name is matched by it.
#[derive(Clone, Debug)]
pub struct Regexp(Regex);

/// How the agent is seen from outside, and how it reaches the API server.
#[derive(Clone, Debug)]
pub struct ProcessConfig {
    /// `None`: no metrics and no health are served.
    pub metrics: Option<MetricsConfig>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// `None`: as the pod's ServiceAccount.
    pub kubeconfig: Option<PathBuf>,
}

/// Where metrics and health are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Empty: on every address.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl Days {
    /// Whether this day is among them.
    pub fn contains(self, day: Weekday) -> bool {
        self.0 & Days::bit(day) != 0
    }

    fn bit(day: Weekday) -> u8 {
        1 << day.to_sunday_zero_offset()
    }
}

impl FromIterator<Weekday> for Days {
    fn from_iter<I: IntoIterator<Item = Weekday>>(days: I) -> Days {
        Days(days.into_iter().fold(0, |all, day| all | Days::bit(day)))
    }
}

impl Regexp {
    pub(crate) fn new(pattern: &str) -> Result<Regexp, regex_lite::Error> {
        Regex::new(pattern).map(Regexp)
    }

    /// Whether it is found in the text.
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl PartialEq for Regexp {
    fn eq(&self, other: &Regexp) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}
