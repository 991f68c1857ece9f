//! Arguments and variables of kured as people publish them, in `kured-arguments/`: each set starts the agent, and means what it should.
//!
//! A file has a line `# From:` that says where its shape comes from, lines `expect NAME = VALUE` with all that differs from an agent
//! without arguments, lines `env NAME=VALUE`, where `\n` is a line break, and one line for each word of the command line.
//! Not here: single flags and their errors, see `src/args/tests.rs`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends where something is not as it must be"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use cordonhold_agent::args::{self, ArgsError, Parsed};
use cordonhold_agent::config::Config;
use cordonhold_agent::host::Reboot;
use cordonhold_agent::host::sentinel::SentinelConfig;
use cordonhold_shared::lock::Share;
use cordonhold_shared::reboot::prometheus::AlertFilter;

/// How many sets there are at least.
const SETS_MIN: usize = 30;
/// The node's name, which a DaemonSet puts into the variable.
const NODE: (&str, &str) = ("KURED_NODE_ID", "node-1");

/// A fact about a configuration, and the warnings, which may be several.
type Facts = BTreeMap<&'static str, String>;

/// One file.
struct Set {
    name: String,
    from: String,
    expected: BTreeMap<String, String>,
    warnings: Vec<String>,
    variables: Vec<(String, String)>,
    words: Vec<String>,
}

impl Set {
    fn read(path: &Path) -> Set {
        let mut set = Set {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            from: String::new(),
            expected: BTreeMap::new(),
            warnings: Vec::new(),
            variables: Vec::new(),
            words: Vec::new(),
        };
        for line in std::fs::read_to_string(path).unwrap().lines() {
            if let Some(from) = line.strip_prefix("# From: ") {
                from.clone_into(&mut set.from);
            } else if let Some(expected) = line.strip_prefix("expect ") {
                let (name, value) = expected.split_once(" = ").unwrap();
                if name == "warning" {
                    set.warnings.push(value.to_owned());
                } else {
                    let before = set.expected.insert(name.to_owned(), value.to_owned());
                    assert_eq!(before, None, "{}: {name} twice", set.name);
                }
            } else if let Some(variable) = line.strip_prefix("env ") {
                let (name, value) = variable.split_once('=').unwrap();
                set.variables.push((name.to_owned(), value.replace("\\n", "\n")));
            } else {
                set.words.push(line.to_owned());
            }
        }
        if !set.variables.iter().any(|(name, _)| name == NODE.0) {
            set.variables.push((NODE.0.to_owned(), NODE.1.to_owned()));
        }
        set
    }

    fn all() -> Vec<Set> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kured-arguments");
        let entries = std::fs::read_dir(directory).unwrap();
        let mut sets: Vec<Set> = entries.map(|entry| Set::read(&entry.unwrap().path())).collect();
        sets.sort_by(|one, other| one.name.cmp(&other.name));
        assert!(sets.len() >= SETS_MIN, "{}", sets.len());
        sets
    }

    fn parse(&self) -> Result<Parsed, ArgsError> {
        let line = std::iter::once("cordonhold-agent").chain(self.words.iter().map(String::as_str));
        args::parse(line.map(OsString::from), |name| {
            let found = self.variables.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    fn config(&self) -> Config {
        match self.parse() {
            Ok(Parsed::Run(config)) => *config,
            Ok(Parsed::Tell(text)) => panic!("{}: {text}", self.name),
            Err(error) => panic!("{}: {error}", self.name),
        }
    }

    /// Whether the set has the flag or its variable.
    fn has(&self, flag: &str) -> bool {
        let word = format!("--{flag}");
        let variable = format!("KURED_{}", flag.to_uppercase().replace('-', "_"));
        self.words
            .iter()
            .any(|given| given.split('=').next() == Some(&word))
            || self.variables.iter().any(|(name, _)| *name == variable)
    }
}

/// The configuration of an agent that is told its node and nothing else.
fn plain() -> Config {
    let line = ["cordonhold-agent", "--node-id", NODE.1].map(OsString::from);
    match args::parse(line, |_| None).unwrap() {
        Parsed::Run(config) => *config,
        Parsed::Tell(text) => panic!("{text}"),
    }
}

/// All that kured's flags decide.
fn facts(config: &Config) -> Facts {
    let command = |words: &[String]| format!("command {words:?}");
    let daemon_set = &config.lock.objects.daemon_set;
    let metrics = config.process.metrics.as_ref();
    let mut facts = Facts::from([
        ("node", config.settings.node.clone()),
        (
            "sentinel",
            match &config.sentinel {
                SentinelConfig::File(path) => path.display().to_string(),
                SentinelConfig::Command { words, .. } => command(words),
            },
        ),
        (
            "reboot",
            match &config.host.reboot {
                Reboot::Command(words) => command(words),
                Reboot::Signal(signal) => format!("signal {}", signal.signal.as_raw()),
                Reboot::Logind => "logind".to_owned(),
                Reboot::Auto(words) => format!("auto {}", command(words)),
            },
        ),
        ("period", format!("{:?}", config.timing.period)),
        ("window", config.windows.to_string()),
        (
            "concurrency",
            match config.settings.concurrency {
                Share::Count(count) => count.to_string(),
                Share::Percent(percent) => format!("{percent}%"),
            },
        ),
        (
            "lock",
            format!("{}/{} {}", daemon_set.namespace, daemon_set.name, daemon_set.key),
        ),
        (
            "metrics",
            metrics.map_or_else(String::new, |at| format!("{}:{}", at.host, at.port)),
        ),
        ("log", format!("{:?}", config.process.log_format)),
    ]);
    facts.extend(drain_facts(config));
    facts.extend(blocker_facts(config));
    facts.extend(sign_facts(config));
    facts
}

fn drain_facts(config: &Config) -> Facts {
    let timing = &config.timing;
    let drain = &config.drain;
    Facts::from([
        ("drain-delay", format!("{:?}", timing.drain_delay)),
        (
            "drain-timeout",
            timing
                .drain_timeout
                .map_or_else(String::new, |limit| format!("{limit:?}")),
        ),
        ("reboot-delay", format!("{:?}", timing.reboot_delay)),
        ("release-delay", format!("{:?}", timing.lock_release_delay)),
        ("force", config.settings.force_reboot.to_string()),
        (
            "grace",
            drain
                .grace_period
                .map_or_else(String::new, |seconds| seconds.to_string()),
        ),
        (
            "drain-pods",
            drain.pods.as_ref().map_or_else(String::new, ToString::to_string),
        ),
        (
            "skip-wait",
            drain
                .options
                .skip_wait
                .map_or_else(String::new, |limit| limit.as_secs().to_string()),
        ),
    ])
}

fn blocker_facts(config: &Config) -> Facts {
    let rules = &config.blockers.rules;
    let pods: Vec<String> = rules.pods.iter().map(ToString::to_string).collect();
    let prometheus = config.blockers.prometheus.as_ref();
    Facts::from([
        (
            "prometheus",
            prometheus.map_or_else(String::new, |prometheus| prometheus.url.to_string()),
        ),
        ("alerts", rules.alerts.as_ref().map_or_else(String::new, alerts)),
        ("pods", pods.join(" | ")),
    ])
}

fn alerts(filter: &AlertFilter) -> String {
    let which = filter.names.as_ref().map_or_else(
        || "all".to_owned(),
        |names| {
            let how = if filter.match_only {
                "only those"
            } else {
                "all but those"
            };
            format!("{how} that match {names}")
        },
    );
    if filter.firing_only {
        format!("firing, {which}")
    } else {
        which
    }
}

fn sign_facts(config: &Config) -> Facts {
    let signs = &config.settings.signs;
    let notify = &config.notify;
    let list = |labels: &BTreeMap<String, String>| {
        let labels: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        labels.join(",")
    };
    Facts::from([
        ("annotates", signs.annotates.to_string()),
        ("labels-before", list(&signs.pre_reboot_labels)),
        ("labels-after", list(&signs.post_reboot_labels)),
        ("taint", signs.soft_taint.clone().unwrap_or_default()),
        (
            "messages",
            notify
                .targets
                .iter()
                .map(|target| target.service.name())
                .collect::<Vec<_>>()
                .join(","),
        ),
        ("drain-text", notify.texts.drain.render(NODE.1)),
        ("reboot-text", notify.texts.reboot.render(NODE.1)),
        ("uncordon-text", notify.texts.uncordon.render(NODE.1)),
    ])
}

#[test]
fn each_set_says_where_it_is_from_and_every_flag_of_kured_is_in_one() {
    let sets = Set::all();
    for set in &sets {
        assert!(set.from.ends_with('.'), "{}", set.name);
    }
    let flags: Vec<&str> = include_str!("kured-flags.tsv")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split('\t').next())
        .collect();
    assert_eq!(flags.len(), 43);
    for flag in flags {
        assert!(sets.iter().any(|set| set.has(flag)), "--{flag} is in no set");
    }
}

#[test]
fn each_set_means_what_it_expects_and_nothing_else() {
    let defaults = facts(&plain());
    for set in &Set::all() {
        let config = set.config();
        let changed: BTreeMap<String, String> = facts(&config)
            .into_iter()
            .filter(|(name, value)| defaults.get(name) != Some(value))
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        assert_eq!(changed, set.expected, "{}", set.name);
        let said = &config.warnings;
        let are_expected = said.len() == set.warnings.len()
            && set
                .warnings
                .iter()
                .all(|part| said.iter().any(|said| said.contains(part.as_str())));
        assert!(are_expected, "{}: {said:#?}", set.name);
    }
}

#[test]
fn the_program_starts_with_each_set_up_to_the_api_server() {
    for set in Set::all() {
        let output = Command::new(env!("CARGO_BIN_EXE_cordonhold-agent"))
            .args(&set.words)
            .env_clear()
            .envs(set.variables.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let logged = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{}: {said}", set.name);
        assert!(
            logged.contains("started") && said.contains("failed to make a client for the API server"),
            "{}: {said}{logged}",
            set.name
        );
        let warnings = logged.matches("argument_warning").count();
        assert_eq!(warnings, set.warnings.len(), "{}: {logged}", set.name);
    }
}

/// The arguments that kured's chart renders for every value of `kured-chart.tsv`.
fn rendered(uses_host_path: bool) -> Vec<String> {
    let rows = include_str!("kured-chart.tsv")
        .lines()
        .filter(|line| !line.starts_with('#'));
    let render = |row: &str| -> Vec<String> {
        let fields: Vec<&str> = row.split('\t').collect();
        let &[_, flag, how, value] = &fields[..] else {
            panic!("{row}")
        };
        match (how, uses_host_path) {
            ("value", _) | ("command" | "path", false) => vec![format!("--{flag}={value}")],
            ("list", _) => value
                .split('|')
                .map(|value| format!("--{flag}={value}"))
                .collect(),
            ("bare", _) => vec![format!("--{flag}")],
            ("path", true) => {
                let base = value.rsplit('/').next().unwrap_or_default();
                vec![format!("--{flag}=/sentinel/{base}")]
            }
            ("command", true) => Vec::new(),
            _ => panic!("{row}"),
        }
    };
    rows.flat_map(render).collect()
}

#[test]
fn kured_s_chart_with_every_value_set_is_two_of_the_sets() {
    let sets = Set::all();
    for (name, uses_host_path) in [
        ("05-chart-every-value", true),
        ("06-chart-every-value-without-host-path", false),
    ] {
        let set = sets.iter().find(|set| set.name == name).unwrap();
        assert_eq!(set.words, rendered(uses_host_path), "{name}");
    }
    // Each flag has a value of the chart; the node's name has a variable there.
    let given: BTreeSet<String> = rendered(false)
        .iter()
        .map(|word| {
            word.trim_start_matches("--")
                .split('=')
                .next()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(given.len(), 42);
    assert!(!given.contains("node-id"));
}
