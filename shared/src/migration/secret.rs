//! What may be a secret in kured's settings, and the Secret that the agents read it from instead.
//!
//! Not here: what is cut from an archive for a bug report ([`crate::redaction`]), whose patterns this uses.

use serde_json::{Value, json};

use super::{Becomes, Kind, KuredFlag, Line, Setting};
use crate::redaction;

/// The Secret that a person makes, in the namespace of the agents.
const NAME: &str = "cordonhold-kured";
/// Flags whose address lets anybody send messages in the cluster's name.
const ADDRESSES: [&str; 2] = ["notify-url", "slack-hook-url"];
/// Flags that are command lines of people's.
const COMMANDS: [&str; 2] = ["reboot-command", "reboot-sentinel-command"];
/// What is said of a setting that is hidden.
pub(super) const SAYS: &str =
    "it may be a secret, so these values do not have it: the agents read it from the Secret cordonhold-kured";

/// Whether secrets are in the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// No: the agents read them from a Secret.
    Hidden,
    /// Yes, in clear.
    Shown,
}

/// What has been hidden.
pub(super) struct Hidden {
    secrets: Secrets,
    /// The variables of flags that were hidden.
    flags: Vec<String>,
    /// The keys that the Secret needs.
    keys: Vec<String>,
}

impl Hidden {
    pub(super) fn new(secrets: Secrets) -> Hidden {
        Hidden {
            secrets,
            flags: Vec::new(),
            keys: Vec::new(),
        }
    }

    /// Whether the value of this variable is to be hidden.
    pub(super) fn takes(&self, name: &str, value: &str) -> bool {
        self.secrets == Secrets::Hidden && !value.is_empty() && is_secret(name, value)
    }

    /// Whether the value of this flag is to be hidden.
    pub(super) fn takes_flag(&self, flag: &KuredFlag, setting: &Setting) -> bool {
        let is_taken = |text: &String| {
            let is_address = ADDRESSES.contains(&flag.name) && !text.is_empty();
            // Only a command may have a secret among its words: a selector, or an expression, may have the word alone.
            is_address || has_password(text) || (COMMANDS.contains(&flag.name) && self.takes(flag.name, text))
        };
        self.secrets == Secrets::Hidden && flag.kind == Kind::Text && setting.texts.iter().any(is_taken)
    }

    /// Notes that a flag is read from the Secret, by its variable.
    pub(super) fn keep(&mut self, variable: &str) {
        self.flags.push(variable.to_owned());
    }

    /// The variable with the place of its value in the Secret.
    pub(super) fn reference(&mut self, variable: &str) -> Value {
        self.keys.push(variable.to_owned());
        json!({ "name": variable, "valueFrom": { "secretKeyRef": { "name": NAME, "key": variable } } })
    }

    /// The variables of the flags that were hidden.
    pub(super) fn variables(&mut self) -> Vec<Value> {
        let flags = std::mem::take(&mut self.flags);
        flags.iter().map(|flag| self.reference(flag)).collect()
    }

    /// How the Secret is made, if it is needed.
    pub(super) fn advice(&self) -> Option<Line> {
        let first = self.keys.first()?;
        let from: Vec<String> = self
            .keys
            .iter()
            .map(|key| format!("--from-literal={key}=…"))
            .collect();
        let says = format!(
            "make it where the agents are, with kured's values: kubectl -n cordonhold create secret generic {NAME} {}; --show-secrets leaves {} in the \
             values",
            from.join(" "),
            if self.keys.len() == 1 { first } else { "them" },
        );
        Some(Line::new(&format!("the Secret {NAME}"), Becomes::Advice, &says))
    }
}

/// Whether a value may be a secret, by its name or by itself.
fn is_secret(name: &str, value: &str) -> bool {
    let pair = format!("{name}={value}");
    // What is cut from an address beside a password is no secret.
    has_password(value) || redaction::names_a_secret(&pair)
}

/// Whether an address in this text has a user or a password.
fn has_password(text: &str) -> bool {
    let mut after = text.split("://").skip(1);
    after.any(|rest| {
        let authority = rest.split(['/', '?', '#', ' ']).next().unwrap_or_default();
        authority.contains('@')
    })
}
