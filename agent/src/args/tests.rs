//! The command line: kured's arguments keep their meaning, wrong ones are named.

use super::*;

fn parse_words(words: &[&str]) -> Result<Parsed, ArgsError> {
    parse(
        std::iter::once("cordonhold-agent")
            .chain(words.iter().copied())
            .map(OsString::from),
    )
}

fn config(words: &[&str]) -> Config {
    match parse_words(words).unwrap() {
        Parsed::Run(config) => *config,
        Parsed::Tell(text) => panic!("{text}"),
    }
}

#[test]
fn kured_s_arguments_keep_their_meaning() {
    let config = config(&[
        "--node-id=node-0",
        "--period=1s",
        "--reboot-delay",
        "1m30s",
        "--drain-timeout=2m",
        "--drain-grace-period=-1",
        "--reboot-command=/bin/sh -c 'echo reboot > /dev/initctl'",
        "--concurrency=2",
        "--log-format=json",
    ]);
    assert_eq!(config.policy.node, "node-0");
    assert_eq!(config.policy.concurrency, 2);
    assert!(config.policy.verify);
    assert_eq!(config.timing.reboot_delay, Duration::from_secs(90));
    assert_eq!(config.timing.drain_timeout, Some(Duration::from_secs(120)));
    assert_eq!(config.drain_grace_period, None);
    assert_eq!(
        config.host.reboot,
        ["/bin/sh", "-c", "echo reboot > /dev/initctl"]
    );
    assert_eq!(config.lock_name, "cordonhold-default");
}

#[test]
fn the_last_of_a_repeated_flag_counts_as_in_kured() {
    let config = config(&["--node-id=n", "--period=1h", "--period=2s"]);
    assert_eq!(config.timing.period, Duration::from_secs(2));
}

#[test]
fn commands_may_run_without_words_before_them() {
    let config = config(&["--node-id", "n", "--host-exec="]);
    assert!(config.host.exec.is_empty());
    assert_eq!(config.timing.drain_timeout, None);
}

#[test]
fn auto_verifies_only_where_there_is_a_delay() {
    let verify = |words: &[&str]| config(words).policy.verify;
    assert!(!verify(&["--node-id=n", "--verify-before-reboot=auto"]));
    assert!(verify(&[
        "--node-id=n",
        "--verify-before-reboot=auto",
        "--reboot-delay=1s"
    ]));
    assert!(!verify(&[
        "--node-id=n",
        "--verify-before-reboot=never",
        "--reboot-delay=1s"
    ]));
}

#[test]
fn each_wrong_argument_is_named_on_one_line_with_its_fix() {
    let cases: [(&[&str], &[&str]); 14] = [
        (&[], &["--node-id", "KURED_NODE_ID"]),
        (&["--node-id="], &["--node-id", "KURED_NODE_ID"]),
        (&["--node-id=Node_0"], &["--node-id", "Node_0", "lower case"]),
        (&["--node-id=n", "--period=5"], &["--period", "lacks a unit"]),
        (&["--node-id=n", "--period=0"], &["--period", "above 0"]),
        (
            &["--node-id=n", "--reboot-timeout=0s"],
            &["--reboot-timeout", "above 0"],
        ),
        (&["--node-id=n", "--concurrency=0"], &["--concurrency", "0"]),
        (
            &["--node-id=n", "--reboot-command=sh -c 'x"],
            &["--reboot-command", "quotes"],
        ),
        (
            &["--node-id=n", "--reboot-command="],
            &["--reboot-command", "is empty"],
        ),
        (&["--node-id=n", "--host-exec='x"], &["--host-exec", "quotes"]),
        (
            &["--node-id=n", "--on-uncordon=ignore"],
            &["--on-uncordon", "redrain", "abort"],
        ),
        (
            &["--node-id=n", "--reboot-sentinel=run/x"],
            &["--reboot-sentinel", "absolute"],
        ),
        (
            &["--node-id=n", "--lock-namespace=A b"],
            &["--lock-namespace", "lower case"],
        ),
        (&["--node-id=n", "--nod"], &["--nod", "--help"]),
    ];
    for (words, said) in cases {
        let error = parse_words(words).unwrap_err().to_string();
        assert!(!error.contains('\n'), "{words:?}: {error}");
        for part in said {
            assert!(error.contains(part), "{words:?}: {error}");
        }
    }
}

#[test]
fn help_names_every_flag_with_its_environment() {
    let Parsed::Tell(help) = parse_words(&["--help"]).unwrap() else {
        panic!("no help")
    };
    for part in [
        "--reboot-delay",
        "KURED_REBOOT_DELAY",
        "CORDONHOLD_ON_UNCORDON",
        "POD_NAMESPACE",
    ] {
        assert!(help.contains(part), "{part} is missing in {help}");
    }
}
