//! kured's settings, read from its DaemonSet or from the values of its chart.

use serde_json::{Map, Number, Value, json};

use super::{Becomes, FLAGS, Flags, Kind, KuredFlag, Line};
use crate::quote::quoted;

/// Variables that the agent's container has already.
const OF_THE_AGENT: [&str; 3] = ["NODE_ID", "HOST_IP", "POD_NAMESPACE"];

/// kured's settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Source {
    /// Where they come from, for people.
    pub from: String,
    /// kured's namespace and name, if they are known.
    pub place: Option<(String, String)>,
    /// The flags that are set.
    pub flags: Flags,
    /// Variables that move as they stand in the container: those that are no flag's, and those whose value is in a Secret or a `ConfigMap`.
    pub variables: Vec<Value>,
    /// Values of our chart for what is no flag.
    pub values: Map<String, Value>,
    /// What there is to say beside the flags.
    pub lines: Vec<Line>,
}

/// The value of a flag, as it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// Each time that it was given.
    pub texts: Vec<String>,
    /// What there is to say of it.
    pub notes: Vec<String>,
}

impl Setting {
    fn of(text: &str) -> Setting {
        Setting {
            texts: vec![text.to_owned()],
            notes: Vec::new(),
        }
    }

    /// The value in the chart.
    pub(super) fn value(&self, kind: Kind) -> Value {
        let last = self.texts.last().map(String::as_str).unwrap_or_default();
        match kind {
            Kind::Text => json!(last),
            Kind::Number => last
                .parse::<i64>()
                .map_or_else(|_| json!(last), |number| Value::Number(Number::from(number))),
            Kind::Switch => last.parse::<bool>().map_or_else(|_| json!(last), Value::Bool),
            Kind::List => json!(self.texts),
        }
    }
}

impl Source {
    /// Reads kured's DaemonSet. `None`: it has no container.
    pub fn of_daemon_set(set: &Value) -> Option<Source> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (
            text(&set["metadata"]["namespace"]),
            text(&set["metadata"]["name"]),
        );
        let pod = &set["spec"]["template"]["spec"];
        let containers = pod["containers"].as_array()?;
        let is_kured =
            |container: &&Value| container["name"] == "kured" || container["name"] == name.as_str();
        let container = containers.iter().find(is_kured).or_else(|| containers.first())?;
        let mut source = Source {
            from: format!(
                "the DaemonSet {}, image {}",
                quoted(&format!("{namespace}/{name}")),
                quoted(&text(&container["image"]))
            ),
            ..Source::default()
        };
        source.read_words(&words(container));
        source.read_variables(container["env"].as_array().map(Vec::as_slice).unwrap_or_default());
        source.find_host_paths(pod, container);
        source.read_set(set, container);
        source.place = Some(source.lock());
        Some(source)
    }

    /// The DaemonSet that carries this kured's lock, with kured's defaults (kured: `cmd/kured/main.go`, `ds-namespace` and `ds-name`).
    fn lock(&self) -> (String, String) {
        let given = |flag: &str| {
            self.flags
                .get(flag)
                .and_then(|setting| setting.texts.first().cloned())
        };
        (
            given("ds-namespace").unwrap_or_else(|| "kube-system".to_owned()),
            given("ds-name").unwrap_or_else(|| "kured".to_owned()),
        )
    }

    /// Reads the values of kured's chart.
    pub fn of_values(values: &Value) -> Source {
        let mut source = Source {
            from: "the values of kured's chart".to_owned(),
            ..Source::default()
        };
        for (key, value) in values["configuration"].as_object().into_iter().flatten() {
            let flag = FLAGS.iter().find(|flag| flag.key() == *key);
            match flag {
                Some(flag) => source.set_value(flag.name, value),
                None if key == "useRebootSentinelHostPath" => {
                    source.leave(
                        &format!("configuration.{key}"),
                        "the agent reads the path on the host itself",
                    );
                }
                None => source.leave(
                    &format!("configuration.{}", quoted(key)),
                    "neither kured's chart nor this one has it",
                ),
            }
        }
        for (key, value) in values["extraArgs"].as_object().into_iter().flatten() {
            // The chart writes a flag alone for an empty value.
            let is_switch = KuredFlag::named(key).is_some_and(|flag| flag.kind == Kind::Switch);
            if is_switch && (value.is_null() || value == "") {
                drop(source.flags.insert(key.clone(), Setting::of("true")));
            }
            source.set_value(key, value);
        }
        source.read_variables(
            values["extraEnvVars"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default(),
        );
        source.read_chart(values);
        source
    }

    /// Says that something is not in the values, and why.
    pub(super) fn leave(&mut self, setting: &str, says: &str) {
        self.say(setting, Becomes::LeftOut, says);
    }

    pub(super) fn say(&mut self, setting: &str, becomes: Becomes, says: &str) {
        self.lines.push(Line::new(setting, becomes, says));
    }

    /// Sets a flag from a value of a chart, in which nothing, 0 and false say nothing.
    fn set_value(&mut self, name: &str, value: &Value) {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let texts: Vec<String> = match value {
            Value::Null | Value::Bool(false) => Vec::new(),
            Value::Array(items) => items.iter().map(text).collect(),
            Value::Object(_) | Value::Bool(true) | Value::Number(_) | Value::String(_) => vec![text(value)],
        };
        if texts.iter().any(|text| !text.is_empty() && text != "0") {
            let setting = Setting {
                texts,
                notes: Vec::new(),
            };
            drop(self.flags.insert(name.to_owned(), setting));
        }
    }

    /// Reads a command line as pflag does: `--flag=value`, `--flag value`, or a switch alone.
    fn read_words(&mut self, words: &[String]) {
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            let Some(flag) = word.strip_prefix("--").filter(|flag| !flag.is_empty()) else {
                let says = "it belongs to no flag, and kured ignores it; the agent would refuse it";
                self.leave(&format!("the word {}", quoted(word)), says);
                continue;
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None if KuredFlag::named(flag).is_some_and(|flag| flag.kind == Kind::Switch) => {
                    (flag, "true".to_owned())
                }
                None => (flag, rest.next().cloned().unwrap_or_default()),
            };
            self.flags.entry(name.to_owned()).or_default().texts.push(value);
        }
    }

    /// Reads the variables, which in kured win over the command line. A variable for a flag that is repeated is not read by kured.
    fn read_variables(&mut self, variables: &[Value]) {
        for variable in variables {
            let name = variable["name"].as_str().unwrap_or_default();
            let Some(flag) = FLAGS.iter().find(|flag| flag.variable() == name) else {
                self.read_other(name, variable);
                continue;
            };
            if flag.name == "node-id" {
                continue;
            }
            if flag.name == "blocking-pod-selector" {
                self.leave(
                    &format!("the variable {name}"),
                    "kured does not read it; the agent would",
                );
                continue;
            }
            let Some(value) = variable["value"].as_str() else {
                if self.flags.remove(flag.name).is_some() {
                    let says = format!("the variable {name} wins over it, in kured, and takes its place");
                    self.leave(&format!("--{}", flag.name), &says);
                }
                self.variables.push(variable.clone());
                continue;
            };
            let was_given = self.flags.contains_key(flag.name);
            let mut setting = match flag.kind {
                Kind::List => Setting {
                    texts: value.split(',').map(str::to_owned).collect(),
                    notes: Vec::new(),
                },
                Kind::Text | Kind::Number | Kind::Switch => Setting::of(value),
            };
            if was_given {
                setting
                    .notes
                    .push(format!("the variable {name} wins over the argument, in kured"));
            }
            drop(self.flags.insert(flag.name.to_owned(), setting));
        }
    }

    /// Reads a variable that is no flag's: the time zone, a proxy.
    fn read_other(&mut self, name: &str, variable: &Value) {
        let shown = format!("the variable {}", quoted(name));
        if OF_THE_AGENT.contains(&name) {
            self.leave(&shown, "the agent's container has one of this name");
        } else if name.starts_with("KURED_") {
            self.leave(&shown, "kured 1.23 reads no variable of this name");
        } else {
            self.variables.push(variable.clone());
        }
    }

    /// Puts the path on the host in the place of one in the container: the agent reads the host's own files.
    fn find_host_paths(&mut self, pod: &Value, container: &Value) {
        let Some(setting) = self.flags.get_mut("reboot-sentinel") else {
            return;
        };
        let Some(path) = setting.texts.last().cloned() else {
            return;
        };
        let mounts = container["volumeMounts"].as_array().into_iter().flatten();
        for mount in mounts {
            let at = mount["mountPath"]
                .as_str()
                .unwrap_or_default()
                .trim_end_matches('/');
            let Some(below) = path
                .strip_prefix(at)
                .filter(|below| !at.is_empty() && below.starts_with('/'))
            else {
                continue;
            };
            let mut volumes = pod["volumes"].as_array().into_iter().flatten();
            let volume = volumes.find(|volume| volume["name"] == mount["name"]);
            if let Some(host) = volume.and_then(|volume| volume["hostPath"]["path"].as_str()) {
                let on_host = format!("{}{below}", host.trim_end_matches('/'));
                setting.notes.push(format!(
                    "{} is {} on the host, where the agent reads it",
                    quoted(&path),
                    quoted(&on_host)
                ));
                setting.texts = vec![on_host];
                return;
            }
        }
    }
}

/// The words of the command line, without the program.
fn words(container: &Value) -> Vec<String> {
    let command = container["command"].as_array().into_iter().flatten().skip(1);
    let args = container["args"].as_array().into_iter().flatten();
    command
        .chain(args)
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}
