//! `install`: prints what the chart renders, or applies it.
//!
//! Not here: the rendering ([`cordonhold_manifests::install`]).

use std::io::Read;
use std::path::Path;

use cordonhold_manifests::install::objects;
use serde_json::{Value, json};

use crate::args::{DryRun, Format, InstallArgs, ValuesArgs, WriteArgs};
use crate::cluster::Cluster;
use crate::{Ending, Error, PROGRAM, ask, output};

/// Longest file that is read: values and `DaemonSets` have some kilobytes.
pub(crate) const FILE_MAX: u64 = 1_048_576;
/// In the name of an image that nobody has chosen.
const NOT_CHOSEN: &str = "repository-not-set.invalid";

pub(crate) async fn run(
    connect: impl AsyncFn() -> Result<Cluster, Error>,
    namespace: &str,
    args: &InstallArgs,
) -> Result<Ending, Error> {
    let rendered = rendered(&args.values.read()?, namespace)?;
    if args.dry_run == Some(DryRun::Client) {
        return print(&rendered, args.output);
    }
    if args.output.is_some() {
        let says = "-o prints what would be applied: it goes with --dry-run=client".to_owned();
        return Err(Error::Usage(says));
    }
    are_chosen(&rendered)?;
    let is_dry = args.dry_run.is_some();
    let write = WriteArgs {
        dry_run: is_dry,
        yes: args.yes,
    };
    let question = format!("Apply {} objects for the namespace {namespace}?", rendered.len());
    if !ask::may(&question, write)? {
        output::line("nothing was written")?;
        return Ok(Ending::Trouble);
    }
    let ending = connect().await?.apply(&rendered, is_dry).await?;
    if ending == Ending::Fine && !is_dry {
        output::line(&format!("  whether all of it works → {PROGRAM} doctor"))?;
    }
    Ok(ending)
}

/// The objects for these values.
pub(crate) fn rendered(values: &Value, namespace: &str) -> Result<Vec<Value>, Error> {
    objects(values, namespace).map_err(|error| Error::Usage(error.to_string()))
}

/// An error if somebody has yet to say where an image is.
pub(crate) fn are_chosen(objects: &[Value]) -> Result<(), Error> {
    let is_open = |object: &Value| object.to_string().contains(NOT_CHOSEN);
    if objects.iter().any(is_open) {
        let says = "where your images are is not said: set images.webhook.repository and images.agent.repository, in a file with -f or with --set";
        return Err(Error::Usage(says.to_owned()));
    }
    Ok(())
}

fn print(objects: &[Value], format: Option<Format>) -> Result<Ending, Error> {
    if format == Some(Format::Json) {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        let _ = output::document(format, &list)?;
        return Ok(Ending::Fine);
    }
    let mut text = String::new();
    for object in objects {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(object).map_err(std::io::Error::other)?);
    }
    output::print(&text)?;
    Ok(Ending::Fine)
}

impl ValuesArgs {
    /// The values of all files, then those of the command line.
    pub(crate) fn read(&self) -> Result<Value, Error> {
        let mut all = json!({});
        for path in &self.values {
            let text = text_of(path)?;
            let read: Value =
                serde_saphyr::from_str(&text).map_err(|error| unread(path, &error.to_string()))?;
            match read {
                Value::Object(_) => merge(&mut all, read),
                Value::Null => {}
                _ => return Err(unread(path, "it has no values")),
            }
        }
        for setting in &self.set {
            merge(&mut all, one(setting).map_err(Error::Usage)?);
        }
        Ok(all)
    }
}

/// Puts values over others and keeps a `null`, which takes a default away only once it is over the defaults.
fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                merge(under.entry(key).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}

/// The text of a file; `-` is standard input.
pub(crate) fn text_of(path: &Path) -> Result<String, Error> {
    let read = if path == Path::new("-") {
        bounded(std::io::stdin())
    } else {
        std::fs::File::open(path).and_then(bounded)
    };
    read.map_err(|error| {
        let path = path.display();
        Error::Usage(format!(
            "failed to read {path}: {error}: name a file that can be read"
        ))
    })
}

/// All that is there to read, or an error if it is too much.
pub(crate) fn bounded(from: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    let length = from.take(FILE_MAX + 1).read_to_string(&mut text)?;
    if u64::try_from(length).is_ok_and(|length| length <= FILE_MAX) {
        return Ok(text);
    }
    Err(std::io::Error::other(format!("it has over {FILE_MAX} bytes")))
}

fn unread(path: &Path, why: &str) -> Error {
    Error::Usage(format!(
        "failed to understand {}: {why}: name a file with values of the chart, in YAML",
        path.display()
    ))
}

/// A value of the command line, `a.b=c`, with the types that Helm gives it. A dot in a key is `\.`.
fn one(setting: &str) -> Result<Value, String> {
    let wrong = |why: &str| format!("--set {setting}: {why}: lists and maps go into a file, with -f");
    let (path, text) = setting.split_once('=').ok_or_else(|| wrong("it is KEY=VALUE"))?;
    if text.starts_with(['{', '[']) || path.contains('[') {
        return Err(wrong("it is one text, number or switch"));
    }
    let value = match text {
        "null" => Value::Null,
        "true" | "false" => Value::Bool(text == "true"),
        _ => text
            .parse::<i64>()
            .map_or_else(|_| json!(text), |number| json!(number)),
    };
    let mut keys: Vec<String> = vec![String::new()];
    let mut letters = path.chars();
    while let Some(letter) = letters.next() {
        match (letter, keys.last_mut()) {
            ('.', _) => keys.push(String::new()),
            ('\\', Some(key)) => key.extend(letters.next()),
            (letter, Some(key)) => key.push(letter),
            (_, None) => {}
        }
    }
    if keys.iter().any(String::is_empty) {
        return Err(wrong("a key is empty"));
    }
    Ok(keys
        .into_iter()
        .rev()
        .fold(value, |value, key| json!({ key: value })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_the_command_line_has_the_type_that_helm_gives_it() {
        for (setting, expected) in [
            ("mode=mixed", json!({ "mode": "mixed" })),
            ("webhook.replicas=3", json!({ "webhook": { "replicas": 3 } })),
            ("policy.enabled=true", json!({ "policy": { "enabled": true } })),
            (
                r"agent.nodeSelector.a\.b/c=",
                json!({ "agent": { "nodeSelector": { "a.b/c": "" } } }),
            ),
            (
                "webhook.affinity=null",
                json!({ "webhook": { "affinity": null } }),
            ),
            ("a=b=c", json!({ "a": "b=c" })),
        ] {
            assert_eq!(one(setting), Ok(expected), "{setting}");
        }
        for wrong in ["mode", "a={x,y}", "a[0]=b", ".a=b", "=b"] {
            assert!(one(wrong).is_err(), "{wrong}");
        }
    }
}
