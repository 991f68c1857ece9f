//! kured's arguments start this agent unchanged, and mean what they mean in kured. `docs/kured-defects.md` lists kured's defects by number.
//!
//! Not here: whole sets of arguments, see `tests/kured_arguments.rs`.

use std::collections::BTreeMap;

use cordonhold_shared::reboot::drain::Options;

use super::*;
use crate::config::MetricsConfig;
use crate::host::Reboot;
use crate::host::sentinel::SentinelConfig;

fn file(path: &str) -> SentinelConfig {
    SentinelConfig::File(path.into())
}

/// A flag of kured, from the list that the repository keeps.
pub(super) struct KuredFlag {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) default: &'static str,
    pub(super) variable: &'static str,
}

const LIST: &str = include_str!("../../../tests/kured-flags.tsv");

pub(super) fn kured_flags() -> Vec<KuredFlag> {
    let lines = LIST.lines().filter(|line| !line.starts_with('#'));
    let flag = |line: &'static str| {
        let mut fields = line.split('\t');
        let mut next = || fields.next().unwrap();
        let (name, kind, default, variable) = (next(), next(), next(), next());
        KuredFlag {
            name,
            kind,
            default,
            variable,
        }
    };
    lines.map(flag).collect()
}

#[test]
fn every_flag_of_kured_is_here_with_its_default_and_its_variable() {
    let flags = kured_flags();
    assert_eq!(flags.len(), 43);
    let command = command();
    for flag in flags {
        let arg = command
            .get_arguments()
            .find(|arg| arg.get_long() == Some(flag.name))
            .unwrap_or_else(|| panic!("--{} is missing", flag.name));
        let defaults: Vec<&str> = arg
            .get_default_values()
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect();
        assert_eq!(defaults.join(","), flag.default, "--{}", flag.name);
        let variable = arg.get_env().unwrap().to_str().unwrap();
        // kured has no variable for one flag (its defect D24); ours is named by kured's rule.
        let rule = format!("KURED_{}", flag.name.to_uppercase().replace('-', "_"));
        assert_eq!(variable, rule);
        assert!(
            flag.variable == rule || flag.kind == "stringArray",
            "--{}",
            flag.name
        );
    }
}

#[test]
fn a_flag_that_is_not_kured_s_does_not_take_its_variables() {
    let kureds: Vec<&str> = kured_flags().iter().map(|flag| flag.name).collect();
    for arg in command().get_arguments() {
        let is_kured_s = kureds.contains(&arg.get_long().unwrap());
        let variable = arg.get_env().unwrap().to_str().unwrap();
        assert_eq!(variable.starts_with("KURED_"), is_kured_s, "{variable}");
    }
}

/// The comments of kured-ds.yaml show every flag at its default, and so do the chart's values.
#[test]
fn kured_s_chart_with_all_its_defaults_starts_this_agent_unchanged() {
    let mut words = vec![
        "--ds-name=kured".to_owned(),
        "--ds-namespace=kube-system".to_owned(),
        "--metrics-port=8080".to_owned(),
        "--reboot-sentinel=/sentinel/reboot-required".to_owned(),
        "--reboot-command=/bin/systemctl reboot".to_owned(),
    ];
    drop(config(&words.iter().map(String::as_str).collect::<Vec<_>>()));
    // Each flag at its default, written with `=` and as two words.
    for flag in kured_flags() {
        if flag.kind == "stringArray" || flag.name == "node-id" {
            continue;
        }
        words.push(format!("--{}={}", flag.name, flag.default));
        if flag.kind != "bool" {
            words.extend([format!("--{}", flag.name), flag.default.to_owned()]);
        }
    }
    let config = config(&words.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn every_variable_of_kured_is_read() {
    for flag in kured_flags() {
        let (wrong, is_checked) = match flag.kind {
            "int" | "bool" | "duration" | "stringArray" | "stringSlice" => ("?", true),
            "regexp" => ("(", true),
            _ => ("?", false),
        };
        let variable = format!("KURED_{}", flag.name.to_uppercase().replace('-', "_"));
        if is_checked {
            let error = error_of(&[], &[(&variable, wrong)]);
            assert!(error.starts_with(&format!("{variable}: ")), "{error}");
        }
    }
    let variables = [
        ("KURED_PERIOD", "1m"),
        ("KURED_REBOOT_DELAY", "90s"),
        ("KURED_DRAIN_TIMEOUT", "2m"),
        ("KURED_DRAIN_GRACE_PERIOD", "30"),
        ("KURED_CONCURRENCY", "2"),
        ("KURED_METRICS_HOST", "127.0.0.1"),
        ("KURED_METRICS_PORT", "9090"),
        ("KURED_REBOOT_COMMAND", "/bin/true now"),
        ("KURED_REBOOT_SENTINEL", "/run/x"),
        ("KURED_LOG_FORMAT", "json"),
        ("KURED_SLACK_USERNAME", "bot"),
    ];
    let config = config_of(&[], &variables);
    assert_eq!(config.timing.period, Duration::from_secs(60));
    assert_eq!(config.timing.reboot_delay, Duration::from_secs(90));
    assert_eq!(config.timing.drain_timeout, Some(Duration::from_secs(120)));
    assert_eq!(config.drain.grace_period, Some(30));
    assert_eq!(
        config.settings.concurrency,
        cordonhold_shared::lock::Share::Count(2)
    );
    let metrics = MetricsConfig {
        host: "127.0.0.1".to_owned(),
        port: 9090,
    };
    assert_eq!(config.process.metrics, Some(metrics));
    let words = ["/bin/true", "now"].map(str::to_owned).to_vec();
    assert_eq!(config.host.reboot, Reboot::Command(words));
    assert_eq!(config.sentinel, file("/run/x"));
    assert_eq!(config.process.log_format, cordonhold_rt::logging::LogFormat::Json);
    assert_eq!(config.warnings.len(), 1);
}

#[test]
fn d24_the_command_line_beats_the_environment() {
    let config = config_of(&["--period=1h"], &[("KURED_PERIOD", "5m")]);
    assert_eq!(config.timing.period, Duration::from_secs(3600));
    // A variable that the flag overrides is not even parsed.
    let config = config_of(&["--period=1h"], &[("KURED_PERIOD", "soon")]);
    assert_eq!(config.timing.period, Duration::from_secs(3600));
}

#[test]
fn d24_blocking_pods_can_be_named_in_the_environment() {
    let named = config_of(&[], &[("KURED_BLOCKING_POD_SELECTOR", "app=web;tier in (a, b)")]);
    assert_eq!(named.blockers.rules.pods.len(), 2);
    let args = args(&[
        "--blocking-pod-selector=app=web;tier in (a, b)",
        "--blocking-pod-selector",
        "!c",
    ]);
    let config = args.blockers.config(Rules::default(), &Options::default());
    let pods = config.unwrap().rules.pods;
    let texts: Vec<String> = pods.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["app=web", "tier in (a,b)", "!c"]);
}

#[test]
fn d24_five_o_clock_is_read_as_kured_s_manual_writes_it() {
    let windows = config(&["--start-time=9am", "--end-time=5:00pm"]).windows;
    assert_eq!(windows.to_string(), "every day from 09:00:00 to 17:00:00 in UTC");
}

#[test]
fn d17_a_label_without_a_value_is_refused_at_the_start() {
    for flag in ["--pre-reboot-node-labels", "--post-reboot-node-labels"] {
        let error = error_of(&[&format!("{flag}=a=b,drained")], &[]);
        assert!(error.starts_with(&format!("{flag}: ")), "{error}");
        assert!(
            error.contains("\"drained\"") && error.contains("key=value"),
            "{error}"
        );
    }
}

#[test]
fn found_a6_what_an_operator_names_is_no_mark() {
    for (flag, value) in [
        ("--pre-reboot-node-labels", "cordonhold.dev/phase=wanted"),
        ("--post-reboot-node-labels", "a=b,cordonhold.dev/agent=disabled"),
        ("--prefer-no-schedule-taint", "cordonhold.dev/rebooting"),
    ] {
        let error = error_of(&[&format!("{flag}={value}")], &[]);
        assert!(error.starts_with(&format!("{flag}: ")), "{error}");
        assert!(error.contains("example.com/"), "{error}");
    }
}

#[test]
fn lists_are_read_as_pflag_reads_them() {
    let args = args(&[
        "--pre-reboot-node-labels=a=1,b=",
        "--pre-reboot-node-labels",
        "\"example.com/c=3\",a=4",
        "--reboot-days=mon,tue",
        "--reboot-days=5",
    ]);
    let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    assert_eq!(
        args.returning.signs().pre_reboot_labels,
        labels(&[("a", "4"), ("b", ""), ("example.com/c", "3")])
    );
    assert_eq!(args.returning.signs().post_reboot_labels, labels(&[]));
    let windows = args.window.windows().unwrap().to_string();
    assert!(windows.starts_with("mo,tu,fr from"), "{windows}");
}

#[test]
fn booleans_and_numbers_are_read_as_go_reads_them() {
    for (text, expected) in [
        ("", true),
        ("=true", true),
        ("=T", true),
        ("=1", true),
        ("=false", false),
        ("=F", false),
    ] {
        let word = format!("--force-reboot{text}");
        assert_eq!(args(&[&word]).drain.force_reboot, expected, "{word}");
    }
    assert_eq!(args(&["--metrics-port=0x1f90"]).process.metrics_port, 8080);
    assert_eq!(
        args(&["--drain-grace-period", "-1"]).drain.drain_grace_period,
        None
    );
    assert_eq!(
        args(&["--drain-grace-period=0"]).drain.drain_grace_period,
        Some(0)
    );
    for (text, seconds) in [("60", 60), ("-1", 0)] {
        let word = format!("--skip-wait-for-delete-timeout={text}");
        assert_eq!(
            args(&[&word]).drain.skip_wait_for_delete_timeout,
            Duration::from_secs(seconds)
        );
    }
}

/// What the flag or its variable comes to: the configuration and its warnings, or the error.
fn outcome(words: &[&str], variables: &[(&str, &str)]) -> (String, Option<Vec<String>>) {
    let words: Vec<&str> = ["--node-id=n"].iter().chain(words).copied().collect();
    match parse_words(&words, variables) {
        Ok(Parsed::Run(mut config)) => {
            let warnings = std::mem::take(&mut config.warnings);
            (format!("{config:?}"), Some(warnings))
        }
        Ok(Parsed::Tell(text)) => panic!("{text}"),
        Err(error) => (error.to_string(), None),
    }
}

#[test]
fn quotes_around_the_value_of_a_flag_of_kured_s_are_taken_off_and_told() {
    for KuredFlag {
        name, kind, default, ..
    } in kured_flags()
    {
        let variable = format!("KURED_{}", name.to_uppercase().replace('-', "_"));
        let flag = format!("--{name}");
        for value in ["", default] {
            let quoted = format!("'{value}'");
            let (plain, warnings) = outcome(&[&format!("{flag}={value}")], &[]);
            let mut forms = vec![
                (flag.as_str(), outcome(&[&format!("{flag}={quoted}")], &[])),
                (flag.as_str(), outcome(&[&format!("{flag}= \"{value}\"\n")], &[])),
            ];
            if kind != "bool" {
                forms.push((&flag, outcome(&[&flag, &quoted], &[])));
            }
            if name != "node-id" {
                forms.push((&variable, outcome(&[], &[(&variable, &quoted)])));
            }
            for (source, (same, more)) in forms {
                let (Some(warnings), Some(more)) = (&warnings, &more) else {
                    assert_eq!(more, warnings, "{source} {quoted}: {same}");
                    continue;
                };
                assert_eq!(same, plain, "{source} {quoted}");
                assert_eq!(more.len(), warnings.len() + 1, "{source} {quoted}");
                let told = more.iter().find(|told| !warnings.contains(told)).unwrap();
                assert!(
                    told.starts_with(&format!("the quotes around the value of {source} ")),
                    "{told}"
                );
            }
        }
    }
}

#[test]
fn quotes_that_belong_to_a_value_stay() {
    let words = [
        "--reboot-sentinel-command='test' '-e' '/x'",
        "--reboot-command=sh -c 'reboot'",
        "--pre-reboot-node-labels=\"a=1\",\"b=2\"",
        "--message-template-drain=Draining node %s",
    ];
    let config = config(&words);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert!(
        matches!(&config.sentinel, SentinelConfig::Command { words, .. } if words.len() == 3),
        "{:?}",
        config.sentinel
    );
    assert_eq!(config.settings.signs.pre_reboot_labels.len(), 2);
    // The value of the flag before it, and none of its own.
    let error = error_of(&["--ds-name", "--period=\"5m\""], &[]);
    assert!(error.contains("--ds-name"), "{error}");
}

#[test]
fn one_warning_names_all_whose_quotes_were_taken_off_and_repeats_no_value() {
    let words = [
        "--prometheus-url=\"http://user:secret@prometheus:9090\"",
        "--reboot-days='mon'",
        "--reboot-days='tue'",
    ];
    let config = config_of(
        &words,
        &[("KURED_PERIOD", "\"5m\""), ("KURED_REBOOT_DAYS", "'fri'")],
    );
    let [warning] = &config.warnings[..] else {
        panic!("{:?}", config.warnings)
    };
    assert!(
        warning.contains(" of --prometheus-url, --reboot-days, KURED_PERIOD are ")
            && !warning.contains("secret"),
        "{warning}"
    );
    assert_eq!(config.timing.period, Duration::from_secs(300));
    assert!(
        config.windows.to_string().starts_with("mo,tu "),
        "{}",
        config.windows
    );
}

#[test]
fn a_slack_webhook_that_is_none_is_told_and_starts_this_agent_as_it_starts_kured() {
    for url in [
        "https://hooks.slack.com/services/secret",
        "https://hooks.slack.com/secret",
        "secret",
    ] {
        let config = config(&[&format!("--slack-hook-url={url}")]);
        let [warning] = &config.warnings[..] else {
            panic!("{:?}", config.warnings)
        };
        assert!(
            warning.contains("--slack-hook-url")
                && warning.contains("no message")
                && !warning.contains("secret"),
            "{warning}"
        );
        assert!(config.notify.targets.is_empty());
    }
}
