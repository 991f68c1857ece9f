//! The command line: kured's arguments keep their meaning, and an error names the wrong argument.

use std::time::Duration;

use clap::FromArgMatches as _;

use super::*;
use crate::host::init::InitSignal;
use crate::host::preset::Preset;
use crate::host::sentinel::{Meaning, SentinelConfig};
use crate::host::{Reboot, ShutdownCheck};
use crate::manual::without_systemd;
use crate::notify::NotifyConfig;

mod examples;
mod kured;
mod manual;

fn parse_words(words: &[&str], variables: &[(&str, &str)]) -> Result<Parsed, ArgsError> {
    let line = std::iter::once("cordonhold-agent").chain(words.iter().copied());
    parse(line.map(OsString::from), |name| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| OsString::from(value))
    })
}

/// Parses this command line with a `--node-id` before it, which must succeed.
fn config_of(words: &[&str], variables: &[(&str, &str)]) -> Config {
    let words: Vec<&str> = ["--node-id=n"].iter().chain(words).copied().collect();
    match parse_words(&words, variables).unwrap() {
        Parsed::Run(config) => *config,
        Parsed::Tell(text) => panic!("{text}"),
    }
}

fn config(words: &[&str]) -> Config {
    config_of(words, &[])
}

/// Parses each command line, which must fail with an error of one line that has all of these parts.
fn each_is_refused(cases: &[(&[&str], &[&str])]) {
    for (words, said) in cases {
        let error = error_of(words, &[]);
        for part in *said {
            assert!(error.contains(part), "{words:?}: {error}");
        }
    }
}

/// Parses this command line, which must fail with an error of one line.
fn error_of(words: &[&str], variables: &[(&str, &str)]) -> String {
    let words: Vec<&str> = ["--node-id=n"].iter().chain(words).copied().collect();
    let error = parse_words(&words, variables).unwrap_err().to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

/// The parsed flags, without the check that refuses what this version does not do yet.
fn args(words: &[&str]) -> Args {
    let line = std::iter::once("cordonhold-agent").chain(words.iter().copied());
    Args::from_arg_matches(&command().try_get_matches_from(line).unwrap()).unwrap()
}

#[test]
fn the_last_of_a_repeated_flag_counts_as_in_kured() {
    let config = config(&["--period=1h", "--period", "2s"]);
    assert_eq!(config.timing.period, Duration::from_secs(2));
}

#[test]
fn commands_run_by_our_own_way_or_after_other_words_or_none() {
    let own = ["/proc/self/exe", "enter-host", "/proc/1/ns/mnt", "--"];
    assert_eq!(config(&[]).host.exec, own);
    let nsenter = "/usr/bin/nsenter -m/proc/1/ns/mnt --";
    let words = config(&[&format!("--host-exec={nsenter}")]).host.exec;
    assert_eq!(words.join(" "), nsenter);
    let config = config(&["--host-exec="]);
    assert!(config.host.exec.is_empty());
    assert_eq!(config.timing.drain_timeout, None);
}

#[test]
fn auto_verifies_only_where_there_is_a_delay() {
    let verify = |words: &[&str]| config(words).settings.verify;
    assert!(verify(&[]));
    assert!(!verify(&["--verify-before-reboot=auto"]));
    assert!(verify(&["--verify-before-reboot=auto", "--reboot-delay=1s"]));
    assert!(!verify(&["--verify-before-reboot=never", "--reboot-delay=1s"]));
}

#[test]
fn a_pool_names_its_lease() {
    assert_eq!(config(&[]).lock.objects.lease.name, "cordonhold-default");
}

#[test]
fn the_node_s_name_is_needed() {
    for (words, variables) in [(&[][..], &[][..]), (&["--node-id="], &[("KURED_NODE_ID", "")])] {
        let error = parse_words(words, variables).unwrap_err().to_string();
        assert!(
            error.contains("--node-id") && error.contains("KURED_NODE_ID"),
            "{error}"
        );
    }
}

#[test]
fn each_wrong_argument_is_named_on_one_line_with_its_fix() {
    let cases: &[(&[&str], &[&str])] = &[
        (&["--node-id=Node_0"], &["--node-id: ", "Node_0", "lower case"]),
        (&["--period=5"], &["--period: ", "lacks a unit"]),
        (&["--period=0"], &["--period: ", "above 0"]),
        (&["--drain-timeout=-5s"], &["--drain-timeout: ", "negative"]),
        (&["--reboot-timeout=0s"], &["--reboot-timeout: ", "above 0"]),
        (&["--concurrency=0"], &["--concurrency: ", "at least 1"]),
        (&["--concurrency", "-1"], &["--concurrency: ", "25%"]),
        (&["--concurrency=101%"], &["--concurrency: ", "101%"]),
        (&["--metrics-port=65536"], &["--metrics-port: ", "65535"]),
        (&["--metrics-port=http"], &["--metrics-port: ", "http"]),
        (&["--metrics-host=a b"], &["--metrics-host: ", "127.0.0.1"]),
        (&["--reboot-signal=0"], &["--reboot-signal: ", "from 1 to 64"]),
        (&["--reboot-signal=33"], &["--reboot-signal: ", "C library", "39"]),
        (&["--force-reboot=maybe"], &["--force-reboot: ", "true or false"]),
        (&["--reboot-command=sh -c 'x"], &["--reboot-command: ", "quotes"]),
        (&["--reboot-command="], &["--reboot-command: ", "empty"]),
        (&["--host-exec='x"], &["--host-exec: ", "quotes"]),
        (&["--on-uncordon=ignore"], &["--on-uncordon", "redrain", "abort"]),
        (
            &["--reboot-method=magic"],
            &["--reboot-method", "command", "signal"],
        ),
        (&["--reboot-sentinel=run/x"], &["--reboot-sentinel: ", "absolute"]),
        (&["--lock-namespace=A b"], &["--lock-namespace: ", "lower case"]),
        (
            &["--lock-annotation=a/b/c"],
            &["--lock-annotation: ", "example.com/name"],
        ),
        (
            &["--drain-pod-selector=a in b"],
            &["--drain-pod-selector: ", "label selector"],
        ),
        (
            &["--blocking-pod-selector="],
            &["--blocking-pod-selector: ", "empty"],
        ),
        (&["--reboot-days=someday"], &["--reboot-days: ", "someday"]),
        (&["--start-time=noon"], &["--start-time: ", "noon", "5:00pm"]),
        (&["--time-zone=Mars/Olympus"], &["--time-zone: ", "Mars/Olympus"]),
        (
            &["--alert-filter-regexp=("],
            &["--alert-filter-regexp: ", "regular expression"],
        ),
        (
            &["--prometheus-url=prometheus:9090"],
            &["--prometheus-url: ", "http://"],
        ),
        (
            &["--blocker-object=v1/ConfigMap/a/b"],
            &["--blocker-object: ", "no colon and blank", "APIVERSION/KIND"],
        ),
        (
            &["--blocker-object=v1/ConfigMap/a/b: self.data.x =="],
            &["--blocker-object: ", "line 1, column", "write CEL"],
        ),
        (
            &["--message-template-drain=Draining"],
            &["--message-template-drain: ", "%s"],
        ),
        (&["--nod"], &["--nod", "--help"]),
        (&["--period"], &["--period", "value", "--help"]),
    ];
    each_is_refused(cases);
}

#[test]
fn a_silence_that_cannot_be_made_is_refused_at_the_start() {
    each_is_refused(&[
        (
            &["--silence-url=alertmanager:9093"],
            &["--silence-url: ", "http://alertmanager"],
        ),
        (
            &["--silence-url=ftp://a"],
            &["--silence-url: ", "neither http://"],
        ),
        (
            &["--silence-matcher=severity=warning", "--silence-url=http://a"],
            &["--silence-matcher: ", "does not name the node", "node=\"%s\""],
        ),
        (
            &["--silence-matcher=node", "--silence-url=http://a"],
            &["--silence-matcher: ", "none of = != =~ !~"],
        ),
        (
            &["--silence-matcher=node=%s"],
            &["--silence-matcher needs an Alertmanager", "--silence-url"],
        ),
        (
            &[
                "--silence-url=http://a http://b http://c http://d http://e http://f http://g http://h http://i",
            ],
            &["--silence-url is given 9 times", "8 times at most"],
        ),
    ]);
}

#[test]
fn found_p25_a_flag_and_its_value_that_came_as_one_word_are_told_apart() {
    for word in ["--period 5m", "--period  5m", "--period\t5m"] {
        let error = error_of(&[word], &[]);
        assert_eq!(
            error,
            "--period and \"5m\" came as one argument: write --period=5m, or write them as two arguments"
        );
    }
}

#[test]
fn found_p19_a_variable_that_a_service_of_that_name_sets_is_passed_over_and_told() {
    for value in ["tcp://10.0.0.1:8080", "udp://10.0.0.1:53"] {
        let config = config_of(&[], &[("KURED_METRICS_PORT", value)]);
        assert_eq!(config.process.metrics.unwrap().port, 8080);
        let [warning] = &config.warnings[..] else {
            panic!("{:?}", config.warnings)
        };
        assert!(
            warning.contains("KURED_METRICS_PORT")
                && warning.contains("Service kured-metrics")
                && warning.contains("enableServiceLinks"),
            "{warning}"
        );
    }
    // Any other text that is not a port is still refused.
    assert!(error_of(&[], &[("KURED_METRICS_PORT", "http")]).contains("whole number"));
}

#[test]
fn found_p14_a_notify_url_is_read_as_shoutrrr_reads_it() {
    let read = |url: &str| NotifyConfig::from(args(&[&format!("--notify-url={url}")]).notify).targets;
    for (url, plain) in [
        (
            "Teams+HTTPS://example.com/webhookb2/g@t/IncomingWebhook/a/o",
            "teams+https://example.com/webhookb2/g@t/IncomingWebhook/a/o",
        ),
        ("Slack://A/B/C", "slack://A/B/C"),
        ("generic+http://example.com", "generic+http://example.com"),
        (" slack://A/B/C\n", "slack://A/B/C"),
    ] {
        assert_eq!(read(url), [plain.parse().unwrap()], "{url}");
    }
    assert!(read("").is_empty());
    for url in ["https://example.com", "nobody+https://example.com"] {
        let line = ["cordonhold-agent", "--node-id=n", &format!("--notify-url={url}")].map(str::to_owned);
        assert!(command().try_get_matches_from(line).is_err(), "{url}");
    }
}

#[test]
fn a_wrong_variable_is_named_itself() {
    for (variable, value, says) in [
        ("KURED_PERIOD", "5", "lacks a unit"),
        ("KURED_PERIOD", "", "empty"),
        ("KURED_METRICS_PORT", "http", "whole number"),
        ("KURED_FORCE_REBOOT", "yes", "true or false"),
        ("KURED_FORCE_REBOOT", "", "true or false"),
        ("KURED_REBOOT_METHOD", "magic", "signal"),
        ("CORDONHOLD_ON_UNCORDON", "ignore", "redrain"),
        ("KURED_PRE_REBOOT_NODE_LABELS", "a", "key=value"),
    ] {
        let error = error_of(&[], &[(variable, value)]);
        assert!(
            error.starts_with(&format!("{variable}: ")) && error.contains(says),
            "{error}"
        );
    }
}

#[test]
fn a_wrong_url_is_not_repeated_since_it_may_be_a_secret() {
    for word in [
        "--notify-url=secret",
        "--notify-url=https://hooks.slack.com/services/secret",
        "--notify-url=slack://secret/secret",
        "--notify-url=slack://A/B/C?secret=secret",
        "--notify-url=telegram://secret@telegram?chats=1",
        "--notify-url=mqtt://secret",
        "--notify-url slack://secret/B/C",
        "--notify-ulr=slack://secret/B/C",
        "slack://secret/B/C",
        "--prometheus-url=me:secret@prometheus",
        "--silence-url=me:secret@alertmanager",
        "--silence-url=http://a me:secret@b",
    ] {
        let error = error_of(&[word], &[]);
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn words_that_pflag_would_pass_over_in_silence_are_refused() {
    let error = error_of(&["--force-reboot", "false"], &[]);
    assert!(
        error.contains("\"false\"") && error.contains("only after ="),
        "{error}"
    );
    let error = error_of(&["--", "--period=1h"], &[]);
    assert!(error.contains("--period=1h"), "{error}");
    let error = error_of(&["-period=1h"], &[]);
    assert!(error.contains("two dashes"), "{error}");
}

#[test]
fn messages_go_to_each_url_and_the_deprecated_one_only_without_them() {
    let targets = |words: &[&str], variables: &[(&str, &str)]| {
        let mut line = vec!["--slack-hook-url=https://hooks.slack.com/services/X/Y/Z"];
        line.extend(words);
        let Parsed::Run(config) = parse_words(&[&line[..], &["--node-id=n"]].concat(), variables).unwrap()
        else {
            panic!("no configuration")
        };
        let host = |target: &crate::notify::Target| target.host.clone();
        config.notify.targets.iter().map(host).collect::<Vec<_>>()
    };
    let [one, two] = ["--notify-url=slack://A/B/C", "--notify-url=ntfy://D/E"];
    assert_eq!(targets(&[], &[]), ["X"]);
    assert_eq!(targets(&[one, two], &[]), ["A", "D"]);
    let both = ("KURED_NOTIFY_URL", "slack://A/B/C\n  ntfy://D/E\n");
    assert_eq!(targets(&[], &[both]), ["A", "D"]);
    assert_eq!(targets(&["--notify-url=ntfy://F/G"], &[both]), ["F"]);
}

#[test]
fn a_message_of_ours_is_left_out_if_its_text_is_empty() {
    let texts = |words: &[&str]| config(words).notify.texts;
    let default = texts(&[]);
    assert_eq!(default.blocked, None);
    assert_eq!(
        default.called_off.unwrap().render("n"),
        "Reboot of node n is called off"
    );
    let none = texts(&["--message-template-failed=", "--message-template-called-off="]);
    assert!(none.failed.is_none() && none.called_off.is_none());
    assert!(error_of(&["--message-template-failed=%s %s"], &[]).contains("more than once"));
}

#[test]
fn what_asks_for_a_reboot_is_the_preset_or_the_command_or_the_file() {
    let command = |words: &[&str]| SentinelConfig::Command {
        words: words.iter().copied().map(str::to_owned).collect(),
        meaning: Meaning::ZeroAsks,
    };
    let file = |path: &str| SentinelConfig::File(path.into());
    let test = "--reboot-sentinel-command=sh -c 'test -e /x'";
    let cases: &[(&[&str], SentinelConfig)] = &[
        (&[], file("/var/run/reboot-required")),
        (&["--reboot-sentinel=/run/x"], file("/run/x")),
        (&[test], command(&["sh", "-c", "test -e /x"])),
        // As in kured, the command counts and the file is passed over.
        (
            &[test, "--reboot-sentinel=/run/x"],
            command(&["sh", "-c", "test -e /x"]),
        ),
        (
            &["--reboot-sentinel-command=", "--reboot-sentinel=/run/x"],
            file("/run/x"),
        ),
        (&["--sentinel-preset=rpm-ostree"], Preset::RpmOstree.sentinel()),
        // A flag at its default says nothing.
        (
            &[
                "--sentinel-preset=suse",
                "--reboot-sentinel=/var/run/reboot-required",
            ],
            file("/run/reboot-needed"),
        ),
    ];
    for (words, expected) in cases {
        assert_eq!(&config(words).sentinel, expected, "{words:?}");
    }
    let by_variable = config_of(&[], &[("CORDONHOLD_SENTINEL_PRESET", "flatcar")]);
    assert_eq!(by_variable.sentinel, Preset::Flatcar.sentinel());
}

#[test]
fn the_host_is_rebooted_by_the_command_or_by_the_signal() {
    let reboot = |words: &[&str]| config(words).host.reboot;
    let signal = |number| Reboot::Signal(InitSignal::numbered(number).unwrap());
    let command = Reboot::Command(vec!["/bin/systemctl".to_owned(), "reboot".to_owned()]);
    assert_eq!(reboot(&[]), command);
    // As in kured, the method decides, and what the other one needs is passed over.
    assert_eq!(reboot(&["--reboot-signal=0x28"]), command);
    assert_eq!(reboot(&["--reboot-method=signal"]), signal(39));
    let words = [
        "--reboot-method=signal",
        "--reboot-signal=15",
        "--reboot-command=x",
    ];
    assert_eq!(reboot(&words), signal(15));
}

#[test]
fn the_account_of_a_reboot_names_the_sentinel_and_of_a_command_no_argument() {
    let cases: [(&[&str], &str); 4] = [
        (&[], "file /var/run/reboot-required"),
        (&["--reboot-sentinel=/run/x"], "file /run/x"),
        (
            &["--reboot-sentinel-command=/bin/check --token=secret"],
            "command /bin/check",
        ),
        (&["--sentinel-preset=rpm-ostree"], "preset rpm-ostree"),
    ];
    for (words, expected) in cases {
        assert_eq!(config(words).settings.asked_by.as_deref(), Some(expected));
    }
}

#[test]
fn a_preset_beside_another_sentinel_is_refused() {
    for other in ["--reboot-sentinel", "--reboot-sentinel-command"] {
        let words = ["--sentinel-preset=rhel", &format!("{other}=/run/x")];
        let error = error_of(&words, &[]);
        assert!(
            error.contains(&format!("--sentinel-preset and {other} both say"))
                && error.contains("remove one"),
            "{error}"
        );
    }
    let variable = [("KURED_REBOOT_SENTINEL_COMMAND", "true")];
    let error = error_of(&["--sentinel-preset=debian"], &variable);
    assert!(
        error.contains("--reboot-sentinel-command") && error.contains("its variable"),
        "{error}"
    );
    let error = error_of(&["--sentinel-preset=arch"], &[]);
    assert!(
        error.contains("--sentinel-preset") && error.contains("rpm-ostree"),
        "{error}"
    );
}

#[test]
fn the_pace_of_reboots_is_what_the_arguments_say() {
    use cordonhold_shared::reboot::blocker::Foreign;
    let plain = config(&[]);
    assert!(!plain.blockers.rules.needs_pool());
    assert_eq!(
        (plain.settings.reboots_kept, plain.settings.keeps_interval),
        (0, false)
    );
    let config = config_of(
        &[
            "--blocking-node-selector=role=db",
            "--blocking-node-selector=!safe",
            "--blocking-node-annotation=a/b=c;d",
            "--blocking-node-annotation=e",
            "--reboots-max=3 within 24h",
            "--min-interval=90m",
            "--spread-by=zone,etcd",
            "--foreign-reboot=mco",
            "--foreign-reboot=talos,karpenter",
        ],
        &[("CORDONHOLD_SPREAD_BY", "ignored")],
    );
    assert_eq!(
        (config.settings.reboots_kept, config.settings.keeps_interval),
        (3, true)
    );
    let rules = config.blockers.rules;
    assert_eq!((rules.node_labels.len(), rules.node_annotations.len()), (2, 2));
    assert_eq!(rules.node_annotations[0].value.as_deref(), Some("c;d"));
    assert_eq!(rules.reboots_max.map(|max| max.count), Some(3));
    assert_eq!(rules.min_interval, Some(jiff::SignedDuration::from_mins(90)));
    assert_eq!(rules.spread_by, ["zone", "etcd"]);
    assert_eq!(rules.foreign, [Foreign::Mco, Foreign::Talos, Foreign::Karpenter]);
    let by_variables = config_of(
        &[],
        &[
            ("CORDONHOLD_REBOOTS_MAX", "1 within 1h"),
            ("CORDONHOLD_FOREIGN_REBOOT", "mco,talos"),
        ],
    );
    assert_eq!(by_variables.settings.reboots_kept, 1);
    assert_eq!(by_variables.blockers.rules.foreign.len(), 2);
    each_is_refused(&[
        (
            &["--blocking-node-selector="],
            &["--blocking-node-selector: ", "it is empty"],
        ),
        (
            &["--blocking-node-annotation=a b"],
            &["--blocking-node-annotation: ", "example.com/name"],
        ),
        (&["--reboots-max=often"], &["--reboots-max: ", "3 within 24h"]),
        (&["--min-interval=5"], &["--min-interval: ", "lacks a unit"]),
        (&["--spread-by=a b"], &["--spread-by: ", "example.com/name"]),
        (&["--foreign-reboot=kured"], &["--foreign-reboot: ", "nvidia-mig"]),
    ]);
}

#[test]
fn the_lock_and_the_pool_are_what_the_arguments_say() {
    use cordonhold_shared::lock::Share;
    let plain = config(&[]);
    assert_eq!(plain.settings.concurrency, Share::Count(1));
    assert!(plain.settings.pool.is_everything() && plain.blockers.rules.max_unavailable.is_none());
    let config = config(&[
        "--pool=gpu",
        "--pool-selector=gpus>4",
        "--concurrency=10%",
        "--max-unavailable=0",
        "--lock-ttl=30m",
    ]);
    assert_eq!(config.lock.objects.lease.name, "cordonhold-gpu");
    assert_eq!(config.settings.pool.to_string(), "gpus>4");
    assert_eq!(config.settings.concurrency, Share::Percent(10));
    assert_eq!(config.blockers.rules.max_unavailable, Some(Share::Count(0)));
    let [warning] = &config.warnings[..] else {
        panic!("{:?}", config.warnings)
    };
    assert!(warning.starts_with("--lock-ttl changes nothing"), "{warning}");
}

#[test]
fn deprecated_flags_say_what_to_use() {
    let config = config(&["--slack-username=bot", "--slack-channel=#ops"]);
    let [name, channel] = &config.warnings[..] else {
        panic!("{:?}", config.warnings)
    };
    assert!(
        name.contains("--slack-username") && name.contains("--notify-url"),
        "{name}"
    );
    assert!(
        channel.contains("--slack-channel") && channel.contains("--notify-url"),
        "{channel}"
    );

    let args = args(&["--slack-hook-url=https://hooks.slack.com/services/A/B/C"]);
    let [hook] = &args.notify.deprecated()[..] else {
        panic!("{:?}", args.notify.deprecated())
    };
    assert!(
        hook.contains("--slack-hook-url") && hook.contains("--notify-url"),
        "{hook}"
    );
    let targets = NotifyConfig::from(args.notify).targets;
    assert_eq!(targets, ["slack://A/B/C".parse().unwrap()]);
}

#[test]
fn any_log_format_but_json_is_text_and_an_odd_one_is_said() {
    use cordonhold_rt::logging::LogFormat::{Json, Text};
    for (format, expected, warnings) in [
        ("json", Json, 0),
        ("text", Text, 0),
        ("JSON", Json, 0),
        ("logfmt", Text, 1),
    ] {
        let config = config(&["--log-format", format]);
        assert_eq!(config.process.log_format, expected, "{format}");
        assert_eq!(config.warnings.len(), warnings, "{format}");
    }
}

#[test]
fn help_names_every_flag_with_its_variable_and_no_value_of_one() {
    let Parsed::Tell(help) = parse_words(&["--help"], &[]).unwrap() else {
        panic!("no help")
    };
    let command = command();
    for arg in command.get_arguments() {
        let variable = arg.get_env().unwrap().to_str().unwrap();
        for part in [
            &format!("--{}", arg.get_long().unwrap()),
            &format!("[env: {variable}]"),
        ] {
            assert!(help.contains(part), "{part} is missing in {help}");
        }
    }
}

#[test]
fn the_drains_flags_reach_the_drain() {
    let config = config(&[
        "--drain-delay=5s",
        "--drain-timeout=10m",
        "--force-reboot",
        "--drain-pod-selector=app in (a, b)",
        "--skip-wait-for-delete-timeout=30",
        "--drain-by-priority",
        "--volume-detach-timeout=2m",
        "--max-parallel-evictions=7",
    ]);
    let options = config.drain.options.clone();
    assert_eq!(config.timing.drain_delay, Duration::from_secs(5));
    assert_eq!(config.timing.drain_timeout, Some(Duration::from_mins(10)));
    assert_eq!(options.skip_wait, Some(jiff::SignedDuration::from_secs(30)));
    assert_eq!(options.volumes, Some(Duration::from_secs(120)));
    assert!(options.by_priority && options.parallel == 7);
    assert!(config.settings.force_reboot && config.warnings.is_empty());
    let selector = config.drain.pods.unwrap();
    assert_eq!(selector.to_string(), "app in (a,b)");
    let config = self::config(&[]);
    assert_eq!(config.drain.options.skip_wait, None);
    assert!(!config.settings.force_reboot);
}

#[test]
fn force_without_a_limit_is_said_to_do_nothing() {
    let config = config(&["--force-reboot"]);
    assert!(
        config.warnings[0].contains("--drain-timeout"),
        "{:?}",
        config.warnings
    );
}

#[test]
fn found_p12_the_default_check_takes_the_systemctl_of_the_reboot_command() {
    let check = |words: &[&str]| match config(words).host.shutdown_check {
        ShutdownCheck::Command(words) => words.join(" "),
        ShutdownCheck::Bus => "the bus".to_owned(),
    };
    let reboot = "--reboot-command=/run/current-system/sw/bin/systemctl reboot";
    assert_eq!(check(&[]), "/bin/systemctl is-system-running");
    assert_eq!(
        check(&[reboot]),
        "/run/current-system/sw/bin/systemctl is-system-running"
    );
    assert_eq!(
        check(&["--reboot-command=/sbin/reboot"]),
        "/bin/systemctl is-system-running"
    );
    assert_eq!(
        check(&[reboot, "--shutdown-check-command=/bin/state"]),
        "/bin/state"
    );
}

#[test]
fn the_flags_for_hosts_without_systemd_are_taken_and_ask_no_systemd() {
    let blocks = without_systemd();
    assert_eq!(blocks.len(), 5);
    for block in blocks {
        let words: Vec<&str> = block.iter().map(String::as_str).collect();
        let config = config(&words);
        assert!(config.warnings.is_empty(), "{words:?}: {:?}", config.warnings);
        let ShutdownCheck::Command(check) = config.host.shutdown_check else {
            panic!("{words:?}")
        };
        assert_eq!(check[..2], ["/bin/sh", "-c"], "{words:?}");
        match config.host.reboot {
            Reboot::Command(words) => assert!(words[0].starts_with("/sbin/"), "{words:?}"),
            Reboot::Signal(signal) => assert_eq!(signal.signal.as_raw(), 15),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn where_logind_reboots_the_host_it_is_asked_over_the_bus_and_what_it_holds_back_counts() {
    const OWN: &str = "--shutdown-check-command=/bin/state";
    let of = |words: &[&str]| {
        let config = config(words);
        (
            config.host.shutdown_check == ShutdownCheck::Bus,
            config.blockers.rules.inhibitors,
        )
    };
    assert_eq!(of(&[]), (false, false));
    assert_eq!(of(&["--reboot-method=logind"]), (true, true));
    assert_eq!(of(&["--reboot-method=logind", OWN]), (false, true));
    assert_eq!(
        of(&["--reboot-method=logind", "--shutdown-check=command"]),
        (false, true)
    );
    assert_eq!(
        of(&["--reboot-method=signal", "--shutdown-check=dbus"]),
        (true, false)
    );
    assert_eq!(of(&["--reboot-method=auto"]), (false, true));
    each_is_refused(&[
        (
            &["--shutdown-check=dbus", OWN],
            &["--shutdown-check=dbus", "--shutdown-check-command", "remove one"],
        ),
        (&["--reboot-method=dbus"], &["--reboot-method", "logind"]),
    ]);
}

#[test]
fn found_p20_a_tz_that_cannot_be_loaded_is_utc_and_told_under_its_own_name() {
    let of = |tz: &str| config_of(&["--time-zone=Local", "--start-time=1:00"], &[("TZ", tz)]);
    for tz in ["UTC", "", ":"] {
        let config = of(tz);
        assert!(config.warnings.is_empty(), "{tz}: {:?}", config.warnings);
    }
    for tz in ["Mars/Olympus", ":/nowhere/localtime"] {
        let config = of(tz);
        assert!(
            config.windows.to_string().ends_with(" in UTC"),
            "{}",
            config.windows
        );
        let [warning] = &config.warnings[..] else {
            panic!("{:?}", config.warnings)
        };
        for part in [
            &format!("TZ={tz:?}"),
            "time zone Local means UTC",
            "Europe/Berlin",
        ] {
            assert!(warning.contains(part), "{warning}");
        }
    }
    let windows = of("Asia/Tokyo").windows.to_string();
    assert!(
        windows.ends_with(" from 01:00:00 to 23:59:59 in Asia/Tokyo"),
        "{windows}"
    );
    // A --window of its own may be in the machine's zone too.
    let config = config_of(&["--window=@daily for 1h in Local"], &[("TZ", "Asia/Tokyo")]);
    assert_eq!(config.windows.to_string(), "@daily for 1h in Asia/Tokyo");
}

#[test]
fn windows_are_kureds_and_ours_and_any_of_them_counts() {
    let shown = |words: &[&str]| config(words).windows.to_string();
    assert_eq!(shown(&[]), "at any time");
    // kured's window at its default is always open: it does not count, and the zone alone changes nothing.
    assert_eq!(
        shown(&[
            "--time-zone=Europe/Berlin",
            "--reboot-days=0,1,2,3,4,5,6",
            "--start-time=12am"
        ]),
        "at any time"
    );
    assert_eq!(
        shown(&[
            "--reboot-days=mon,tue",
            "--end-time=5pm",
            "--time-zone=Europe/Berlin"
        ]),
        "mo,tu from 00:00:00 to 17:00:00 in Europe/Berlin"
    );
    assert_eq!(
        shown(&[
            "--window=0 22 * * sat for 6h",
            "--window",
            "0 1 L * * for 90m in UTC;@daily for 1h",
            "--time-zone=Asia/Tokyo"
        ]),
        "0 22 * * sat for 6h in Asia/Tokyo, or 0 1 L * * for 1h 30m in UTC, or @daily for 1h in Asia/Tokyo"
    );
    assert_eq!(
        shown(&["--window=0 22 * * sat for 6h", "--start-time=23:00"]),
        "every day from 23:00:00 to 23:59:59 in UTC, or 0 22 * * sat for 6h in UTC"
    );
    let variables = [("CORDONHOLD_WINDOW", "0 22 * * sat,sun for 6h; 0 3 * * * for 1h")];
    let config = config_of(&[], &variables);
    assert_eq!(
        config.windows.to_string(),
        "0 22 * * sat,sun for 6h in UTC, or 0 3 * * * for 1h in UTC"
    );
}

#[test]
fn each_wrong_window_is_named_on_one_line_with_its_fix() {
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["--window=0 22 * * caturday for 6h"],
            &["--window: ", "caturday", "like \"0 22 * * sat\""],
        ),
        (
            &["--window=0 22 * * sat"],
            &["--window: ", "`for` and a duration", "for 6h in Europe/Berlin"],
        ),
        (
            &["--window=0 22 * * sat for 6h in Europe/Berlim"],
            &["--window: ", "\"Europe/Berlim\"", "IANA"],
        ),
        (&["--expected-duration=169h"], &["--expected-duration: ", "168h"]),
    ];
    each_is_refused(cases);
}

#[test]
fn a_window_in_which_no_reboot_could_ever_begin_is_refused() {
    for (words, parts) in [
        (
            &["--window=0 0 30 2 * for 1h"][..],
            ["--window: ", "\"0 0 30 2 *\"", "never opens"],
        ),
        // Another window that opens does not make up for it: it is a mistake all the same.
        (
            &["--window=0 0 31 4 * for 1h", "--window=@daily for 1h"],
            ["--window: ", "\"0 0 31 4 *\"", "never opens"],
        ),
        (
            &[
                "--window=@daily for 1h",
                "--must-end-in-window",
                "--expected-duration=61m",
            ],
            ["--expected-duration: ", "1h 1m", "make a window longer"],
        ),
        (
            &[
                "--start-time=1:00",
                "--end-time=1:59",
                "--must-end-in-window",
                "--expected-duration=2h",
            ],
            ["--expected-duration: ", "2h", "from 01:00:00 to 01:59:00 in UTC"],
        ),
    ] {
        let error = error_of(words, &[]);
        for part in parts {
            assert!(error.contains(part), "{error}");
        }
    }
    drop(config(&[
        "--window=0 0 29 2 * for 1h",
        "--must-end-in-window",
        "--expected-duration=1h",
    ]));
}

#[test]
fn a_reboot_that_must_end_in_its_window_is_expected_to_take_so_long() {
    use cordonhold_shared::reboot::window::MustEnd;
    let window = "--window=@daily for 1h";
    for (words, must_end, warning) in [
        (&[window][..], None, None),
        (
            &[window, "--expected-duration=30m"],
            None,
            Some("without --must-end-in-window"),
        ),
        (
            &[window, "--must-end-in-window"],
            Some(MustEnd::AsLastTime),
            Some("set --expected-duration"),
        ),
        (
            &[window, "--must-end-in-window", "--expected-duration=30m"],
            Some(MustEnd::Expected(jiff::SignedDuration::from_mins(30))),
            None,
        ),
        (
            &["--must-end-in-window"],
            Some(MustEnd::AsLastTime),
            Some("without a window"),
        ),
    ] {
        let config = config(words);
        assert_eq!(config.must_end, must_end, "{words:?}");
        let said: Vec<&str> = config.warnings.iter().map(String::as_str).collect();
        assert_eq!(said.len(), usize::from(warning.is_some()), "{said:?}");
        assert!(warning.is_none_or(|part| said[0].contains(part)), "{said:?}");
    }
}

#[test]
fn found_x1_quotes_that_yaml_keeps_are_named_for_every_flag_that_is_not_kured_s() {
    let mut checked = 0;
    let kureds: Vec<&str> = kured::kured_flags().iter().map(|flag| flag.name).collect();
    for arg in command().get_arguments() {
        let Some(flag) = arg.get_long().filter(|_| arg.get_action().takes_values()) else {
            continue;
        };
        if ["help", "version"].contains(&flag) {
            continue;
        }
        // kured's own lose them, see `quotes_around_the_value_of_a_flag_of_kured_s_are_taken_off_and_told`.
        if kureds.contains(&flag) {
            continue;
        }
        let error = error_of(&[&format!("--{flag}=\"\"")], &[]);
        assert!(
            error.starts_with(&format!("--{flag}: "))
                && (error.contains("two quote characters") && error.contains(&format!("`- --{flag}=`"))),
            "{error}"
        );
        checked += 1;
    }
    assert!(checked > 20, "{checked}");
    for (word, part) in [
        ("--reboot-sentinel=/run/x\n", "`- --reboot-sentinel=/run/x`"),
        ("--period= 5m", "`- --period=5m`"),
        ("--pool='a'", "`- --pool=a`"),
        ("--on-uncordon=\"abort\"", "`- --on-uncordon=abort`"),
        ("--kubeconfig=\"/k\"", "`- --kubeconfig=/k`"),
    ] {
        let error = error_of(&[word], &[]);
        assert!(error.contains(part), "{error}");
    }
    let error = error_of(&[], &[("CORDONHOLD_SOAK", "\"5m\"")]);
    assert!(
        error.starts_with("CORDONHOLD_SOAK: ") && error.contains("set it to 5m"),
        "{error}"
    );
}

#[test]
fn found_x1_h_is_short_and_help_is_long() {
    let told = |word: &str| match parse_words(&[word], &[]).unwrap() {
        Parsed::Tell(text) => text,
        Parsed::Run(_) => panic!("no help"),
    };
    let (short, long) = (told("-h"), told("--help"));
    assert!(short.lines().count() * 2 < long.lines().count(), "{short}");
    for flag in ["--node-id", "--period", "--reboot-sentinel", "--kubeconfig"] {
        assert!(short.contains(flag), "{short}");
    }
}
