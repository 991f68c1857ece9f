//! Every message that ends the agent or makes it wait: it names the thing, what was tried, and the fix.
//!
//! Here are those that appear before the API server is asked, and the help; [`answers`] and [`hosts`] have the others, and [`privileges`] those of an agent that has too few.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends where something is not as it must be"
)]

mod answers;
mod cluster;
mod hosts;
mod place;
mod privileges;

use place::{Parts, Place};

/// Words, variables, and what the message says.
type Row<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], Parts<'a>);

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn found_e8_every_message_that_ends_the_agent_names_thing_try_and_fix() {
    let place = Place::new("http://127.0.0.1:1");
    let bare = tempfile::tempdir().unwrap();
    let bare = format!("--host-root={}", bare.path().display());
    let wrong_lines: [Row<'_>; 15] = [
        (
            &["--node-id="],
            &[],
            ["node's name is missing", "--node-id", "spec.nodeName"],
        ),
        (&["--node-id=N_1"], &[], ["--node-id", "\"N_1\"", "lower case"]),
        (&["--period=5"], &[], ["--period", "\"5\" lacks a unit", "5s"]),
        (
            &[],
            &[("KURED_PERIOD", "5")],
            ["KURED_PERIOD", "\"5\" lacks a unit", "5s"],
        ),
        (&["--period 5m"], &[], ["--period", "one argument", "--period=5m"]),
        (
            &["--pool-selector=\"\""],
            &[],
            ["--pool-selector", "two quote characters", "`- --pool-selector=`"],
        ),
        (
            &["--host-root=\"/host\""],
            &[],
            ["--host-root", "quotes around", "`- --host-root=/host`"],
        ),
        (
            &[],
            &[("KURED_REBOOT_SENTINEL", "/run/x\n")],
            ["KURED_REBOOT_SENTINEL", "line end", "set it to /run/x"],
        ),
        (
            &["--redrains=many"],
            &[],
            ["--redrains", "\"many\"", "from 0 to 255"],
        ),
        (
            &["--force-reboot", "false"],
            &[],
            ["\"false\"", "belongs to no flag", "after ="],
        ),
        (&["-period=1h"], &[], ["-p", "two dashes", "--help"]),
        (
            &["--no-such-flag"],
            &[],
            ["--no-such-flag", "unexpected", "--help"],
        ),
        (
            &["--notify-url=mqtt://broker/topic"],
            &[],
            ["--notify-url", "\"mqtt\"", "use one of bark, discord"],
        ),
        (
            &["--notify-url=slack://A/B"],
            &[],
            ["--notify-url", "three parts", "write a URL like slack://A/B/C"],
        ),
        (
            &["--time-zone=Mars"],
            &[],
            ["--time-zone", "\"Mars\"", "Europe/Berlin"],
        ),
    ];
    let failures: [Row<'_>; 4] = [
        (
            &["--kubeconfig=/nowhere/k"],
            &[],
            ["/nowhere/k", "No such file", "--kubeconfig"],
        ),
        (
            &["--host-root=/nowhere/root"],
            &[],
            ["/nowhere/root", "No such file", "--host-root"],
        ),
        (
            &[&bare],
            &[],
            ["/run/cordonhold-agent.lock", "No such file", "--host-root"],
        ),
        (
            &[],
            &[("CORDONHOLD_LOG", "info,x=loud")],
            ["CORDONHOLD_LOG", "info,x=loud", "write one like info"],
        ),
    ];
    for (code, table) in [(2, &wrong_lines[..]), (1, &failures)] {
        for (words, variables, parts) in table {
            place.ends_with(code, words, variables, *parts);
        }
    }
    let mut command = place.agent(&[], &[]);
    let output = command.env_remove("CORDONHOLD_KUBECONFIG").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    for part in ["no in-cluster configuration", "environment", "--kubeconfig"] {
        assert!(said.contains(part), "{said}");
    }
}

/// As in our image, which has no CA but the one that the pod's ServiceAccount brings.
#[test]
fn without_the_systems_cas_only_a_url_with_tls_is_refused() {
    let place = Place::new("https://127.0.0.1:1");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    place.write("ca.crt", &made.cert.pem());
    let kubeconfig = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {
            "server": "https://127.0.0.1:1", "certificate-authority": place.root().join("ca.crt"),
        }}],
        "users": [{"name": "c", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    });
    place.write("kubeconfig", &kubeconfig.to_string());
    let kubeconfig = format!("--kubeconfig={}", place.root().join("kubeconfig").display());
    let empty = tempfile::tempdir().unwrap();
    let variables = [
        ("SSL_CERT_FILE", "/dev/null"),
        ("SSL_CERT_DIR", empty.path().to_str().unwrap()),
    ];
    for (url, parts) in [
        // It comes to the host, which is asked after the clients are made.
        (
            "--prometheus-url=http://127.0.0.1:1",
            ["/nowhere/root", "No such file", "--host-root"],
        ),
        (
            "--prometheus-url=https://127.0.0.1:1",
            [
                "no client for Prometheus",
                "--prometheus-ca-file",
                "SSL_CERT_FILE",
            ],
        ),
    ] {
        place.ends_with(
            1,
            &[&kubeconfig, url, "--host-root=/nowhere/root"],
            &variables,
            parts,
        );
    }
}

/// What a first try needs is seen without scrolling.
#[test]
fn found_x1_the_short_help_has_the_flags_that_a_first_try_needs_and_names_the_long_one() {
    let place = Place::new("http://127.0.0.1:1");
    let help = |word: &str| {
        let output = place.agent(&[word], &[]).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let (short, long) = (help("-h"), help("--help"));
    assert!(short.lines().count() <= 60, "{short}");
    assert!(
        short
            .trim_end()
            .lines()
            .next_back()
            .unwrap()
            .starts_with("--help lists every flag"),
        "{short}"
    );
    let listed = |help: &str, flag: &str| help.lines().any(|line| line.trim_start().starts_with(flag));
    for flag in [
        "--node-id",
        "--reboot-sentinel",
        "--reboot-command",
        "--lock-on",
        "--concurrency",
        "--drain-timeout",
        "--kubeconfig",
    ] {
        assert!(listed(&short, flag) && listed(&long, flag), "{flag}: {short}");
    }
    assert!(
        !listed(&short, "--notify-url") && listed(&long, "--notify-url"),
        "{short}"
    );
    assert!(!long.contains("--help lists every flag"), "{long}");
}
