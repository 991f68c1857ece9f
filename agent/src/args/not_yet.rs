//! The flags that this version does not carry out yet. At the start they are refused unless they are at their default, so that
//! none is silently ignored.
//!
//! When a flag is implemented, remove its line here and generate `FLAGS.md` again.
//! Not here: what is wrong with a value, which is checked for these flags too ([`super::value`]).

use super::notify::SlackHook;
use super::{Args, ArgsError};

/// Whether a flag differs between the command line (first) and the defaults (second).
type IsSet = fn(&Args, &Args) -> bool;

/// Each such flag, and whether it is set.
pub(super) const FLAGS: &[(&str, IsSet)] = &[
    // Messages to people.
    ("notify-url", |a, d| a.notify.notify_url != d.notify.notify_url),
    ("slack-hook-url", |a, d| {
        // Another text than a webhook's URL sends nothing, as in kured.
        a.notify.slack_hook_url != d.notify.slack_hook_url
            && a.notify.slack_hook_url != Some(SlackHook::Another)
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

/// Fails if any of these flags is set. The error names them all.
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
