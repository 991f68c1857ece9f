//! Flags whose work this version does not do yet: anything but their default is refused at the start, never silently ignored.
//!
//! Whoever makes a flag work removes its line here, and renews the manual.

use super::{Args, ArgsError};

/// Whether the first command line asks for more than the second, which has only defaults.
type IsSet = fn(&Args, &Args) -> bool;

pub(super) const FLAGS: &[(&str, IsSet)] = &[
    // The host.
    ("reboot-method", |a, d| {
        a.host.reboot_method != d.host.reboot_method
    }),
    ("reboot-signal", |a, d| {
        a.host.reboot_signal != d.host.reboot_signal
    }),
    ("reboot-sentinel-command", |a, d| {
        a.host.reboot_sentinel_command != d.host.reboot_sentinel_command
    }),
    // The window.
    ("reboot-days", |a, d| a.window.days() != d.window.days()),
    ("start-time", |a, d| a.window.start_time != d.window.start_time),
    ("end-time", |a, d| a.window.end_time != d.window.end_time),
    ("time-zone", |a, d| a.window.time_zone() != d.window.time_zone()),
    // What postpones a reboot.
    ("prometheus-url", |a, d| {
        a.blockers.prometheus_url != d.blockers.prometheus_url
    }),
    ("alert-filter-regexp", |a, d| {
        a.blockers.alert_filter_regexp != d.blockers.alert_filter_regexp
    }),
    ("alert-filter-match-only", |a, d| {
        a.blockers.alert_filter_match_only != d.blockers.alert_filter_match_only
    }),
    ("alert-firing-only", |a, d| {
        a.blockers.alert_firing_only != d.blockers.alert_firing_only
    }),
    ("blocking-pod-selector", |a, d| {
        a.blockers.blocking_pod_selector != d.blockers.blocking_pod_selector
    }),
    // Messages to people.
    ("notify-url", |a, d| a.notify.notify_url != d.notify.notify_url),
    ("slack-hook-url", |a, d| {
        a.notify.slack_hook_url != d.notify.slack_hook_url
    }),
    ("message-template-drain", |a, d| {
        a.notify.message_template_drain != d.notify.message_template_drain
    }),
    ("message-template-reboot", |a, d| {
        a.notify.message_template_reboot != d.notify.message_template_reboot
    }),
    ("message-template-uncordon", |a, d| {
        a.notify.message_template_uncordon != d.notify.message_template_uncordon
    }),
];

/// Names every such flag that is set.
pub(super) fn refuse(given: &Args, default: &Args) -> Result<(), ArgsError> {
    let set: Vec<String> = FLAGS
        .iter()
        .filter(|(_, is_set)| is_set(given, default))
        .map(|(flag, _)| format!("--{flag}"))
        .collect();
    if set.is_empty() {
        Ok(())
    } else {
        Err(ArgsError::NotYet(set.join(", ")))
    }
}
