//! Label and field selectors: the forms that the agent uses.

use super::Object;

/// Selects the objects of a LIST or a WATCH.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    Exists(String),
    Is(String, String),
    IsNot(String, String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    Name(String),
    NodeName(String),
}

impl Selector {
    /// Parses a label selector of the form `a,b!=c,d=e`.
    pub fn labels(text: &str) -> Selector {
        let labels = terms(text).map(|term| match term.split_once("!=") {
            Some((key, value)) => Requirement::IsNot(key.to_owned(), value.to_owned()),
            None => match term.split_once('=') {
                Some((key, value)) => Requirement::Is(key.to_owned(), value.to_owned()),
                None => Requirement::Exists(term.to_owned()),
            },
        });
        Selector {
            labels: labels.collect(),
            fields: Vec::new(),
        }
    }

    /// Parses a field selector, `metadata.name=x` or `spec.nodeName=x`.
    pub fn fields(text: &str) -> Selector {
        let fields = terms(text).filter_map(|term| match term.split_once('=')? {
            ("metadata.name", name) => Some(Field::Name(name.to_owned())),
            ("spec.nodeName", name) => Some(Field::NodeName(name.to_owned())),
            _ => None,
        });
        Selector {
            labels: Vec::new(),
            fields: fields.collect(),
        }
    }

    pub fn matches(&self, object: &Object) -> bool {
        let fits = |requirement: &Requirement| match requirement {
            Requirement::Exists(key) => object.label(key).is_some(),
            Requirement::Is(key, value) => object.label(key) == Some(value),
            Requirement::IsNot(key, value) => object.label(key) != Some(value),
        };
        let is_named = |field: &Field| match field {
            Field::Name(name) => object.name() == name,
            Field::NodeName(name) => object.node_name() == name,
        };
        self.fields.iter().all(is_named) && self.labels.iter().all(fits)
    }
}

fn terms(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|term| !term.is_empty())
}
