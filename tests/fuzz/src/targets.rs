//! The targets: what is read from others, and what must hold of it.

mod cron;
mod expression;
mod flags;
mod lock;
mod marks;
mod policy;
mod record;
mod review;
mod selector;
mod url;
mod wish;

/// One thing that is read.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is also that of its file of inputs.
    pub name: &'static str,
    /// Texts that inputs are made of.
    pub words: &'static [&'static str],
    /// Fails if a promise is broken for this input.
    pub check: fn(&[u8]),
}

/// Every target.
pub const TARGETS: [Target; 12] = [
    target("review", review::WORDS, review::check),
    target("marks", marks::WORDS, marks::check),
    target("lock", lock::WORDS, lock::check),
    target("used-requests", lock::WORDS, lock::check_used),
    target("wish", wish::WORDS, wish::check),
    target("host-record", record::WORDS, record::check),
    target("cron", cron::WORDS, cron::check),
    target("selector", selector::WORDS, selector::check),
    target("notify-url", url::WORDS, url::check),
    target("agent-flags", flags::WORDS, flags::check_agent),
    target("webhook-flags", flags::WEBHOOK_WORDS, flags::check_webhook),
    target("expression", expression::WORDS, expression::check),
];

const fn target(name: &'static str, words: &'static [&'static str], check: fn(&[u8])) -> Target {
    Target { name, words, check }
}

impl Target {
    /// The target with this name.
    pub fn named(name: &str) -> Option<Target> {
        TARGETS.into_iter().find(|target| target.name == name)
    }
}

/// The input as text. Nothing but text comes to what reads text.
fn text(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(input).ok()
}

/// Checks that a message to people is one line, and says something.
fn is_one_line(message: &str) {
    assert!(
        !message.trim().is_empty() && !message.contains(['\n', '\r']),
        "not one line: {message:?}"
    );
}
