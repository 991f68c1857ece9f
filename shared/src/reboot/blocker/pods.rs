//! Which pods on the node postpone its reboot: as kured selects them, and as `kubectl get pods` does.
//!
//! Not here: how the pods are listed. Pods that have ended never count, as in kured.

use std::fmt;
use std::str::FromStr;

use crate::names::is_namespace;
use crate::selector::Selector;

/// Which pods on the node postpone its reboot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRule {
    /// The flag that says so, with `--`.
    pub flag: &'static str,
    /// Only pods in this namespace; `None` is any.
    pub namespace: Option<String>,
    /// Only pods that this label selector selects.
    pub labels: Selector,
    /// Only pods of which all of this is true.
    pub fields: FieldSelector,
}

/// A field selector for pods, as the API server takes it. The empty one selects every pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<Term>);

/// What is demanded of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    field: String,
    is_equal: bool,
    /// The value with its escapes: `\,`, `\=` and `\\`.
    value: String,
}

/// kured's flag.
pub const SELECTOR_FLAG: &str = "--blocking-pod-selector";
/// Our flag, with a namespace and a field selector.
pub const PODS_FLAG: &str = "--blocking-pods";

/// The fields by which the API server selects pods, but for `spec.nodeName`, which is ours to set
/// (kubernetes/kubernetes: pkg/apis/core/v1/conversion.go, `AddFieldLabelConversionsForPod`).
const FIELDS: [&str; 10] = [
    "metadata.name",
    "metadata.namespace",
    "spec.hostNetwork",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.nominatedNodeName",
    "status.phase",
    "status.podIP",
    "status.podIPs",
];
const SHAPE: &str = "write it as for `kubectl get pods`: -n NAMESPACE -l LABELS --field-selector FIELDS, of which any may be left out";

impl PodRule {
    /// kured's rule: pods of any namespace that this selects.
    pub fn of_selector(labels: Selector) -> PodRule {
        PodRule {
            flag: SELECTOR_FLAG,
            namespace: None,
            labels,
            fields: FieldSelector::default(),
        }
    }

    /// Reads the words of a `--blocking-pods`.
    pub fn of_words(words: &[String]) -> Result<PodRule, String> {
        let mut rule = PodRule {
            flag: PODS_FLAG,
            ..PodRule::of_selector(Selector::default())
        };
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let (option, inline) = match word.split_once('=') {
                Some((option, value)) if option.starts_with("--") => (option, Some(value)),
                _ => (word, None),
            };
            let mut value = || {
                let value = inline.or_else(|| words.next());
                value.ok_or_else(|| format!("nothing follows {option}: {SHAPE}"))
            };
            match option {
                "-n" | "--namespace" => {
                    let name = value()?;
                    if !is_namespace(name) {
                        return Err(format!("no namespace can be called {name:?}: {SHAPE}"));
                    }
                    rule.namespace = Some(name.to_owned());
                }
                "-l" | "--selector" => {
                    rule.labels = value()?.parse().map_err(|error| format!("{error}"))?;
                }
                "--field-selector" => rule.fields = value()?.parse()?,
                _ => return Err(format!("{word:?} is none of its options: {SHAPE}")),
            }
        }
        let selects_all = rule.namespace.is_none() && rule.labels.is_everything() && rule.fields.0.is_empty();
        if selects_all {
            return Err(format!(
                "it selects every pod, so no node would ever reboot: {SHAPE}"
            ));
        }
        Ok(rule)
    }
}

/// As the flag's value.
impl fmt::Display for PodRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.flag == SELECTOR_FLAG {
            return write!(f, "{}", self.labels);
        }
        let mut words = Vec::new();
        if let Some(namespace) = &self.namespace {
            words.push(format!("-n {namespace}"));
        }
        if !self.labels.is_everything() {
            words.push(format!("-l \"{}\"", self.labels));
        }
        if !self.fields.0.is_empty() {
            words.push(format!("--field-selector {}", self.fields));
        }
        f.write_str(&words.join(" "))
    }
}

/// The API server's syntax (kubernetes/apimachinery: pkg/fields/selector.go).
impl FromStr for FieldSelector {
    type Err = String;

    fn from_str(text: &str) -> Result<FieldSelector, String> {
        let terms = split_unescaped(text, ',');
        let terms = terms.into_iter().filter(|term| !term.is_empty()).map(Term::parse);
        Ok(FieldSelector(terms.collect::<Result<_, _>>()?))
    }
}

impl Term {
    fn parse(text: &str) -> Result<Term, String> {
        let found = ["!=", "==", "="]
            .iter()
            .find_map(|operator| Some((text.split_once(operator)?, *operator != "!=")));
        let Some(((field, value), is_equal)) = found else {
            return Err(format!(
                "{text:?} is no field selector: write FIELD=VALUE or FIELD!=VALUE, such as status.phase=Running"
            ));
        };
        if field == "spec.nodeName" {
            return Err("spec.nodeName is always the agent's own node: leave it out".to_owned());
        }
        if !FIELDS.contains(&field) {
            return Err(format!(
                "the API server selects no pods by {field:?}: use one of {}",
                FIELDS.join(", ")
            ));
        }
        let is_escaped = split_unescaped(value, '=').len() == 1 && split_unescaped(value, ',').len() == 1;
        if !is_escaped || value.ends_with('\\') && !value.ends_with("\\\\") {
            return Err(format!(
                "the value in {text:?} has an = that is not escaped: write \\= for it"
            ));
        }
        Ok(Term {
            field: field.to_owned(),
            is_equal,
            value: value.to_owned(),
        })
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms = self.0.iter().map(|term| {
            let operator = if term.is_equal { "=" } else { "!=" };
            format!("{}{operator}{}", term.field, term.value)
        });
        f.write_str(&terms.collect::<Vec<_>>().join(","))
    }
}

/// The parts between these characters, but for those behind a backslash.
fn split_unescaped(text: &str, at: char) -> Vec<&str> {
    let (mut parts, mut start, mut is_escaped) = (Vec::new(), 0, false);
    for (index, c) in text.char_indices() {
        if c == at && !is_escaped {
            parts.push(&text[start..index]);
            start = index + c.len_utf8();
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(words: &[&str]) -> Result<PodRule, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        PodRule::of_words(&words)
    }

    #[test]
    fn pods_are_selected_as_for_kubectl_get_pods() {
        for (words, namespace, labels, fields, shown) in [
            (&["-n", "batch"][..], Some("batch"), "", "", "-n batch"),
            (
                &["-l", "app in (a, b)"],
                None,
                "app in (a,b)",
                "",
                "-l \"app in (a,b)\"",
            ),
            (&["-l", "team/app=x"], None, "team/app=x", "", "-l \"team/app=x\""),
            (
                &[
                    "--namespace=batch",
                    "--selector=app=x",
                    "--field-selector=status.phase=Pending",
                ],
                Some("batch"),
                "app=x",
                "status.phase=Pending",
                "-n batch -l \"app=x\" --field-selector status.phase=Pending",
            ),
            (
                &[
                    "--field-selector",
                    "status.phase!=Pending,spec.schedulerName==own,metadata.name=a\\,b\\=c",
                ],
                None,
                "",
                "status.phase!=Pending,spec.schedulerName=own,metadata.name=a\\,b\\=c",
                "--field-selector status.phase!=Pending,spec.schedulerName=own,metadata.name=a\\,b\\=c",
            ),
        ] {
            let rule = rule(words).unwrap();
            assert_eq!(rule.namespace.as_deref(), namespace, "{words:?}");
            assert_eq!(
                (rule.labels.to_string(), rule.fields.to_string()),
                (labels.to_owned(), fields.to_owned())
            );
            assert_eq!(rule.to_string(), shown);
        }
    }

    #[test]
    fn what_selects_no_pods_or_all_of_them_is_refused_with_the_fix() {
        for (words, says) in [
            (&[][..], "selects every pod"),
            (&["-l", ""], "selects every pod"),
            (&["--field-selector="], "selects every pod"),
            (&["-n"], "nothing follows -n"),
            (&["-n", "Batch"], "no namespace can be called"),
            (&["batch"], "\"batch\" is none of its options"),
            (&["-A"], "\"-A\" is none of its options"),
            (&["-n=batch"], "\"-n=batch\" is none of its options"),
            (&["-l", "a in b"], "is not a label key"),
            (&["--field-selector", "status.phase"], "no field selector"),
            (
                &["--field-selector", "status.hostIP=1.2.3.4"],
                "selects no pods by \"status.hostIP\": use one of metadata.name",
            ),
            (
                &["--field-selector", "spec.nodeName=node-1"],
                "always the agent's own node",
            ),
            (&["--field-selector", "metadata.name=a=b"], "not escaped"),
        ] {
            let why = rule(words).unwrap_err();
            assert!(why.contains(says) && !why.contains('\n'), "{words:?}: {why}");
        }
    }
}
