//! From stock kured to the chart: which values say the same, and what changes and why.
//!
//! kured is read from its DaemonSet, or from the values of its chart. Whether a value is a good one the agent says when it starts.
//! Not here: reading either (the kubectl plugin), and the steps of a migration ([`stage`]).

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::quote::{one_line, quoted};

mod flags;
pub mod kured_set;
mod pod;
mod secret;
mod source;
pub mod stage;

pub use flags::{FLAGS, Kind, KuredFlag};
pub use secret::Secrets;
pub use source::{Setting, Source};

/// The flags that the chart sets itself, because they name the DaemonSet or the node.
const OF_THE_CHART: [&str; 3] = ["node-id", "ds-name", "ds-namespace"];
/// Flags that the agent takes and that change nothing.
const WITHOUT_EFFECT: [&str; 3] = ["lock-ttl", "slack-channel", "slack-username"];
/// Longest text of a line in characters.
const SAYS_MAX: usize = 400;

/// What becomes of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Becomes {
    /// It means the same.
    Same,
    /// It is kept, and the agent does something else on purpose.
    Differs,
    /// It may be a secret: the agents read it from a Secret, which is to be made.
    Secret,
    /// It is not in the values, because the chart says it itself, or because it would do harm.
    LeftOut,
    /// It is kept and has no effect.
    NoEffect,
    /// kured does not have it, so nobody knows what it should become.
    Unknown,
    /// Nobody has set it, and somebody should think of it.
    Advice,
}

impl Becomes {
    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Becomes::Same => "same",
            Becomes::Differs => "differs",
            Becomes::Secret => "secret",
            Becomes::LeftOut => "left out",
            Becomes::NoEffect => "no effect",
            Becomes::Unknown => "unknown",
            Becomes::Advice => "advice",
        }
    }
}

/// A setting, what becomes of it, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// The setting, as kured has it.
    pub setting: String,
    /// What becomes of it.
    pub becomes: Becomes,
    /// Why, in words; empty if there is nothing to say.
    pub says: String,
}

impl Line {
    fn new(setting: &str, becomes: Becomes, says: &str) -> Line {
        Line {
            setting: setting.to_owned(),
            becomes,
            says: one_line(says, SAYS_MAX),
        }
    }
}

/// The plan: the values for the chart, and a line for each setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Where kured's settings come from.
    pub from: String,
    /// The values for the chart, for `helm install --values`. The images and the people are to be added.
    pub values: Value,
    /// What becomes of each setting.
    pub lines: Vec<Line>,
}

impl Plan {
    /// The plan for a kured with these settings.
    pub fn of(source: &Source, secrets: Secrets) -> Plan {
        let mut values = source.values.clone();
        drop(values.insert("mode".to_owned(), json!("mixed")));
        if let Some((namespace, name)) = &source.place {
            let kured = json!({ "namespace": namespace, "name": name });
            drop(values.insert("kured".to_owned(), kured));
        }
        let mut plan = Plan {
            from: source.from.clone(),
            values: Value::Object(values),
            lines: Vec::new(),
        };
        let mut hidden = secret::Hidden::new(secrets);
        let mut configuration = Map::new();
        for (name, setting) in &source.flags {
            plan.flag(name, setting, &mut configuration, &mut hidden);
        }
        if !configuration.is_empty() {
            plan.values["configuration"] = Value::Object(configuration);
        }
        let moved = source.variables.iter();
        let mut variables: Vec<Value> = moved
            .map(|variable| plan.variable(variable, &mut hidden))
            .collect();
        variables.extend(hidden.variables());
        if !variables.is_empty() {
            plan.values["agent"]["extraEnv"] = Value::Array(variables);
        }
        plan.lines.extend(source.lines.iter().cloned());
        plan.lines.extend(hidden.advice());
        plan.advise(source);
        plan
    }

    fn line(&mut self, setting: &str, becomes: Becomes, says: &str) {
        self.lines.push(Line::new(setting, becomes, says));
    }

    /// A variable that moves as it is, or its place in the Secret.
    fn variable(&mut self, variable: &Value, hidden: &mut secret::Hidden) -> Value {
        let name = variable["name"].as_str().unwrap_or_default();
        let shown = format!("the variable {}", quoted(name));
        let value = variable["value"].as_str().unwrap_or_default();
        if hidden.takes(name, value) {
            self.line(&shown, Becomes::Secret, secret::SAYS);
            return hidden.reference(name);
        }
        let from = &variable["valueFrom"];
        let is_copied = from["secretKeyRef"].is_object() || from["configMapKeyRef"].is_object();
        let says = if is_copied {
            "its value stays where it is: copy that Secret or ConfigMap into the namespace of the agents"
        } else {
            ""
        };
        self.line(&shown, Becomes::Same, says);
        variable.clone()
    }

    /// One flag of kured's.
    fn flag(
        &mut self,
        name: &str,
        setting: &Setting,
        configuration: &mut Map<String, Value>,
        hidden: &mut secret::Hidden,
    ) {
        let shown = format!("--{name}");
        let Some(flag) = KuredFlag::named(name) else {
            let says = "kured 1.23 has no such flag, and the agent would not start with it: see docs/flags.md for one that does what it was for";
            self.line(&shown, Becomes::Unknown, says);
            return;
        };
        if OF_THE_CHART.contains(&name) {
            let says = "the chart sets it: the node's name comes from the pod, and kured's from kured.namespace and kured.name";
            self.line(&shown, Becomes::LeftOut, says);
            return;
        }
        if hidden.takes_flag(flag, setting) {
            hidden.keep(&flag.variable());
            self.line(&shown, Becomes::Secret, secret::SAYS);
            return;
        }
        drop(configuration.insert(flag.key(), setting.value(flag.kind)));
        let becomes = match flag.differs {
            _ if WITHOUT_EFFECT.contains(&name) => Becomes::NoEffect,
            Some(_) => Becomes::Differs,
            None => Becomes::Same,
        };
        let mut says = flag.differs.unwrap_or_default().to_owned();
        for note in &setting.notes {
            says = if says.is_empty() {
                note.clone()
            } else {
                format!("{note}; {says}")
            };
        }
        self.line(&shown, becomes, &says);
    }

    fn advise(&mut self, source: &Source) {
        if !source.flags.contains_key("drain-timeout") {
            let says = "nobody has set it, so one drain that is blocked holds up the whole pool: an hour is a good value";
            self.line("--drain-timeout", Becomes::Advice, says);
        }
        if source.flags.contains_key("concurrency") {
            let says = "kured and the agents need the same --concurrency while both run: change it in both, or in none";
            self.line("--concurrency", Becomes::Advice, says);
        }
    }
}

/// The settings by their flags.
type Flags = BTreeMap<String, Setting>;

#[cfg(test)]
mod tests;
