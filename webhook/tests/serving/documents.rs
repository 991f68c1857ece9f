//! The pages say what the code does: its limits, its flags, its keys.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::CommandFactory;
use cordonhold_shared::keys;
use cordonhold_webhook::{Args, CertsArgs, Limits};

const WEBHOOK: &str = include_str!("../../../docs/webhook.md");
const CERTIFICATES: &str = include_str!("../../../docs/certificates.md");

fn count(count: &impl ToString) -> String {
    count.to_string()
}

fn bytes(bytes: usize) -> String {
    match (bytes / 1_024 / 1_024, bytes / 1_024) {
        (0, kib) => format!("{kib} KiB"),
        (mib, _) => format!("{mib} MiB"),
    }
}

fn time(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

/// The rows of the table of limits. A new limit without a row does not compile.
fn rows(limits: &Limits) -> [(&'static str, String); 17] {
    let Limits {
        connections,
        leaving,
        requests,
        body_bytes,
        all_body_bytes,
        header_fields,
        header_bytes,
        handshake,
        first_request,
        headers,
        body,
        request,
        write,
        idle,
        age,
        drain,
        accept_pause,
    } = limits;
    [
        ("connections", count(connections)),
        ("leaving", count(leaving)),
        ("requests", count(requests)),
        ("body_bytes", bytes(*body_bytes)),
        ("all_body_bytes", bytes(*all_body_bytes)),
        ("header_fields", count(header_fields)),
        ("header_bytes", bytes(*header_bytes)),
        ("handshake", time(*handshake)),
        ("first_request", time(*first_request)),
        ("headers", time(*headers)),
        ("body", time(*body)),
        ("request", time(*request)),
        ("write", time(*write)),
        ("idle", time(*idle)),
        ("age", time(*age)),
        ("drain", time(*drain)),
        ("accept_pause", time(*accept_pause)),
    ]
}

#[test]
fn the_table_of_limits_is_the_code() {
    for ((name, value), (_, admin)) in rows(&Limits::default()).into_iter().zip(rows(&Limits::admin())) {
        let shown = if value == admin {
            value
        } else {
            format!("{value}; admin port {admin}")
        };
        let row = format!("| `{name}` | {shown} |");
        assert!(WEBHOOK.contains(&row), "the page lacks {row}");
    }
    let table = WEBHOOK
        .lines()
        .filter(|line| line.starts_with("| `"))
        .filter(|line| {
            rows(&Limits::default())
                .iter()
                .any(|(name, _)| line.starts_with(&format!("| `{name}` |")))
        });
    assert_eq!(table.count(), rows(&Limits::default()).len());
}

#[test]
fn a_stopping_pod_has_time_enough() {
    let deployment = include_str!("../../../manifests/base/deployment.yaml");
    let grace = deployment
        .lines()
        .find_map(|line| line.trim().strip_prefix("terminationGracePeriodSeconds: "))
        .unwrap();
    let grace = Duration::from_secs(grace.parse().unwrap());
    let command = Args::command();
    let delay = command
        .get_arguments()
        .find(|arg| arg.get_long() == Some("shutdown-delay"))
        .unwrap();
    let delay = delay.get_default_values()[0].to_str().unwrap();
    let delay = Duration::from_secs(delay.strip_suffix('s').unwrap().parse().unwrap());
    assert!(delay + Limits::default().drain < grace, "{delay:?} of {grace:?}");
    assert!(
        Limits::default().idle > Duration::from_secs(90),
        "the API server closes first"
    );
}

/// Period, timeout and failure threshold of a probe of the Deployment.
fn probe(name: &str) -> [u64; 3] {
    let deployment = include_str!("../../../manifests/base/deployment.yaml");
    let (_, probe) = deployment.split_once(&format!("{name}:\n")).unwrap();
    ["periodSeconds", "timeoutSeconds", "failureThreshold"].map(|key| {
        let (_, value) = probe.split_once(&format!("{key}: ")).unwrap();
        value.lines().next().unwrap().parse().unwrap()
    })
}

#[test]
fn found_s4_no_single_lost_probe_takes_a_replica_out() {
    let [period, timeout, failures] = probe("readinessProbe");
    assert!(failures >= 3, "{failures}");
    // A replica is out of the endpoints before it stops, even if only the probe shows that it is unready.
    assert!(
        failures * period + timeout < 10,
        "the default of --shutdown-delay"
    );
    let [period, timeout, failures] = probe("livenessProbe");
    assert!(failures * period >= 60 && timeout >= 5, "{failures} {timeout}");
}

#[test]
fn every_serving_flag_is_in_the_pages() {
    let pages = [WEBHOOK, CERTIFICATES].concat();
    let command = Args::command();
    let serving = command
        .get_arguments()
        .filter(|arg| arg.get_help_heading() == Some("Serving"));
    let missing: Vec<_> = serving
        .filter_map(|arg| arg.get_long())
        .filter(|long| !pages.contains(&format!("`--{long}")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The page for operators names only existing keys, all keys that people write, and each mark that is to be removed by hand.
#[test]
fn the_page_for_operators_names_the_keys_that_there_are() {
    let page = include_str!("../../../docs/operating.md");
    let keys_in = |text: &str| -> BTreeSet<String> {
        text.split(keys::DOMAIN)
            .skip(1)
            .filter_map(|rest| rest.split(|c: char| !c.is_ascii_lowercase() && c != '-').next())
            .map(|name| name.trim_end_matches('-').to_owned())
            .filter(|name| !name.is_empty())
            .collect()
    };
    let known = keys_in(include_str!("../../../shared/src/keys.rs"));
    let named = keys_in(page);
    assert!(named.is_subset(&known), "{:?}", named.difference(&known));
    for key in [
        keys::CANCEL,
        keys::PAUSE,
        keys::KEEP_CORDONED,
        keys::AGENT,
        keys::PHASE,
    ] {
        assert!(named.contains(&key[keys::DOMAIN.len()..]), "{key}");
    }
    let by_hand = format!(
        "kubectl uncordon NAME; kubectl taint node NAME {}:{}-; kubectl label node NAME {}-; kubectl annotate node NAME {}-",
        keys::REBOOTING,
        keys::NO_SCHEDULE,
        keys::PHASE,
        keys::MARK_ANNOTATIONS.join("- ")
    );
    assert!(page.contains(&format!("`{by_hand}`")), "{by_hand}");
}

#[test]
fn the_lifetimes_of_certs_are_in_the_page_with_their_defaults() {
    let command = CertsArgs::command();
    for flag in ["leaf-lifetime", "renew-before", "ca-lifetime", "settle"] {
        let mut arguments = command.get_arguments();
        let argument = arguments
            .find(|argument| argument.get_long() == Some(flag))
            .unwrap();
        let default = argument.get_default_values()[0].to_str().unwrap();
        let row = format!("| `--{flag}` | `{default}`");
        assert!(CERTIFICATES.contains(&row), "the page lacks {row}");
    }
    let missing: Vec<_> = command
        .get_arguments()
        .filter_map(|argument| argument.get_long())
        .filter(|long| !["help", "version", "instance", "kubeconfig", "log-format"].contains(long))
        .filter(|long| !CERTIFICATES.contains(&format!("`--{long}`")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
