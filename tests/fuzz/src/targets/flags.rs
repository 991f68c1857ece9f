//! Command lines: each is taken, or refused in one line. An input is a word on each line.

use std::ffi::OsString;

use cordonhold_agent::args::{Parsed, parse};

use super::cron::opens_is_the_first_open_moment;
use super::policy::NOW;
use super::{is_one_line, text};

pub(super) const WORDS: &[&str] = &[
    "\n",
    "--node-id=n",
    "--period=1m",
    "--reboot-days=mon,2",
    "--start-time=5pm",
    "--end-time=2:00",
    "--time-zone=Europe/Berlin",
    "--window=0 22 * * sat for 6h in UTC",
    "--must-end-in-window",
    "--expected-duration=1h",
    "--concurrency=2",
    "--concurrency=20%",
    "--notify-url=slack://a/b/c",
    "--blocking-pod-selector=a=b",
    "--drain-timeout=5m",
    "--force-reboot=false",
    "--blocker-object=",
    "--blocker-promql=up",
    "--prometheus-url=http://p:9090",
    "--reboot-command=/bin/systemctl reboot",
    "--lock-ttl=30m",
    "--help",
    "=",
    "\"",
    "'",
    "%",
    "-1",
    "1h30m",
];

pub(super) const WEBHOOK_WORDS: &[&str] = &[
    "\n",
    "--mode=warn",
    "--mode-for=held=audit",
    "--mode=defer",
    "--protect-kured=lock",
    "--protect-kured=marks",
    "--kured-ds-name=kured",
    "--kured-service-account=kube-system/kured",
    "--agent-service-account=a/b",
    "--exempt-user=jo",
    "--on-delete=deny",
    "--listen=[::]:9443",
    "--shutdown-delay=5s",
    "--tls-min-version=1.3",
    "--help",
    "=",
    "\"",
    "'",
];

/// Flags of lists and queries take what they name from files or from the cluster later; none of it is read here.
pub(super) fn check_agent(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let line = ["cordonhold-agent", "--node-id=n"]
        .into_iter()
        .chain(text.split('\n'));
    match parse(line.map(OsString::from), |_| None) {
        Ok(Parsed::Run(config)) => {
            opens_is_the_first_open_moment(&config.windows, NOW);
            for warning in &config.warnings {
                is_one_line(warning);
            }
        }
        Ok(Parsed::Tell(help)) => assert!(!help.is_empty()),
        Err(error) => is_one_line(&error.to_string()),
    }
}

pub(super) fn check_webhook(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let needed = ["--tls-cert-file=c", "--tls-private-key-file=k"].into_iter();
    let words: Vec<String> = needed.chain(text.split('\n')).map(str::to_owned).collect();
    if let Err(error) = cordonhold_webhook::policy_of(&words, "cordonhold") {
        is_one_line(&error.to_string());
    }
}
