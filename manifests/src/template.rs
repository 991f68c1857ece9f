//! Renders the chart's templates without Helm: a reader of that part of Go's template language (pkg.go.dev/text/template) which they use.
//!
//! The chart is the one source of the manifests, so our own programs have to read it too. Whatever this reader does not know is an error with
//! file and line, never a different text; the tests compare its objects with those of Helm itself.
//! Not here: whitespace that does not matter to YAML, `block`, `break`, methods, and most of Helm's functions.

mod expression;
mod functions;
mod parse;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use self::expression::{Expression, Root};
use self::parse::{Node, Part};

/// Deepest nesting of `include` and of blocks: a template that includes itself is an error, not a full stack.
const DEPTH: usize = 32;

/// What is wrong with a template or with the values it was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The template itself is wrong, or uses what this reader does not know.
    #[error("{place}: {problem}")]
    Template { place: Place, problem: String },
    /// The template refuses the values (`fail`, `required`), in its own words.
    #[error("{0}")]
    Refused(String),
}

/// A line of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    file: String,
    line: usize,
}

impl Place {
    fn problem(&self, problem: impl Into<String>) -> TemplateError {
        TemplateError::Template {
            place: self.clone(),
            problem: problem.into(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.file, self.line)
    }
}

/// All templates of a chart, parsed.
#[derive(Debug, Clone)]
pub(crate) struct Templates {
    files: Vec<(String, Vec<Part>)>,
    defined: BTreeMap<String, Vec<Part>>,
}

impl Templates {
    /// Parses files, each with its name and its text.
    ///
    /// # Errors
    ///
    /// The first line that this reader does not understand.
    pub(crate) fn parse<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, TemplateError> {
        let mut templates = Self {
            files: Vec::new(),
            defined: BTreeMap::new(),
        };
        for (name, text) in files {
            let parts = parse::file(name, text, &mut templates.defined)?;
            templates.files.push((name.to_owned(), parts));
        }
        Ok(templates)
    }

    /// The text of each file, with `context` as `$` and as the first dot: an object with `Values`, `Release` and so on.
    ///
    /// # Errors
    ///
    /// What a template says with `fail` or `required`, or an expression that cannot be computed.
    pub(crate) fn render(&self, context: &Value) -> Result<Vec<(String, String)>, TemplateError> {
        let mut rendered = Vec::with_capacity(self.files.len());
        for (name, parts) in &self.files {
            let mut text = String::new();
            self.write(parts, &mut Scope::new(context), &mut text, 0)?;
            rendered.push((name.clone(), text));
        }
        Ok(rendered)
    }

    fn write(
        &self,
        parts: &[Part],
        scope: &mut Scope<'_>,
        text: &mut String,
        depth: usize,
    ) -> Result<(), TemplateError> {
        for part in parts {
            if depth > DEPTH {
                return Err(part.place.problem(format!("nested over {DEPTH} deep")));
            }
            self.write_part(part, scope, text, depth)?;
        }
        Ok(())
    }

    fn write_part(
        &self,
        part: &Part,
        scope: &mut Scope<'_>,
        text: &mut String,
        depth: usize,
    ) -> Result<(), TemplateError> {
        let place = &part.place;
        match &part.node {
            Node::Text(literal) => text.push_str(literal),
            Node::Print(expression) => {
                let value = self.value(expression, scope, place, depth)?;
                text.push_str(&functions::printed(&value));
            }
            Node::Set(name, expression) => {
                let value = self.value(expression, scope, place, depth)?;
                scope.variables.push((name.clone(), value));
            }
            Node::Change(name, expression) => {
                let value = self.value(expression, scope, place, depth)?;
                let known = scope.variables.iter_mut().rev().find(|(known, _)| known == name);
                let (_, old) = known.ok_or_else(|| place.problem(format!("${name} is not set")))?;
                *old = value;
            }
            Node::If(branches, otherwise) => {
                let mut chosen = otherwise;
                for (condition, body) in branches {
                    if functions::is_true(&self.value(condition, scope, place, depth)?) {
                        chosen = body;
                        break;
                    }
                }
                scope.block(None, |inner| self.write(chosen, inner, text, depth + 1))?;
            }
            Node::With(expression, body, otherwise) => {
                let value = self.value(expression, scope, place, depth)?;
                let (dot, chosen) = if functions::is_true(&value) {
                    (Some(value), body)
                } else {
                    (None, otherwise)
                };
                scope.block(dot, |inner| self.write(chosen, inner, text, depth + 1))?;
            }
            Node::Range { names, over, body } => {
                let over = self.value(over, scope, place, depth)?;
                for (key, value) in elements(over).map_err(|problem| place.problem(problem))? {
                    scope.block(Some(value.clone()), |inner| {
                        match names.as_slice() {
                            [] => {}
                            [element] => inner.variables.push((element.clone(), value)),
                            [index, element, ..] => {
                                inner.variables.push((index.clone(), key));
                                inner.variables.push((element.clone(), value));
                            }
                        }
                        self.write(body, inner, text, depth + 1)
                    })?;
                }
            }
        }
        Ok(())
    }

    fn value(
        &self,
        expression: &Expression,
        scope: &Scope<'_>,
        place: &Place,
        depth: usize,
    ) -> Result<Value, TemplateError> {
        match expression {
            Expression::Literal(value) => Ok(value.clone()),
            Expression::Path(root, path) => {
                let start = match root {
                    Root::Dot => &scope.dot,
                    Root::Whole => scope.whole,
                    Root::Named(name) => scope
                        .named(name)
                        .ok_or_else(|| place.problem(format!("${name} is not set")))?,
                };
                Ok(expression::follow(start, path))
            }
            Expression::Of(inner, path) => {
                let value = self.value(inner, scope, place, depth)?;
                Ok(expression::follow(&value, path))
            }
            Expression::Call(name, arguments) => {
                let mut values = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    values.push(self.value(argument, scope, place, depth)?);
                }
                if name == "include" {
                    self.include(&values, place, depth)
                } else {
                    functions::call(name, &values).map_err(|error| match error {
                        functions::CallError::Refused(text) => TemplateError::Refused(text),
                        functions::CallError::Problem(text) => place.problem(text),
                    })
                }
            }
        }
    }

    fn include(&self, values: &[Value], place: &Place, depth: usize) -> Result<Value, TemplateError> {
        let [Value::String(name), context] = values else {
            return Err(place.problem("include takes a name and a dot"));
        };
        let parts = self
            .defined
            .get(name)
            .ok_or_else(|| place.problem(format!("no template is named {name}")))?;
        let mut text = String::new();
        self.write(parts, &mut Scope::new(context), &mut text, depth + 1)?;
        Ok(Value::String(text))
    }
}

/// What `range` goes through: a list with its indices, or an object with its keys in order.
fn elements(over: Value) -> Result<Vec<(Value, Value)>, String> {
    match over {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => Ok(list
            .into_iter()
            .enumerate()
            .map(|(index, value)| (Value::from(index), value))
            .collect()),
        Value::Object(object) => Ok(sorted(object)),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Err("range takes a list or an object".to_owned())
        }
    }
}

/// Go goes through a map in the order of its keys, whatever order the object here has.
fn sorted(object: Map<String, Value>) -> Vec<(Value, Value)> {
    let ordered: BTreeMap<String, Value> = object.into_iter().collect();
    ordered
        .into_iter()
        .map(|(key, value)| (Value::String(key), value))
        .collect()
}

/// The dot, `$`, and the variables of the blocks around.
#[derive(Debug, Clone)]
struct Scope<'a> {
    whole: &'a Value,
    dot: Value,
    variables: Vec<(String, Value)>,
}

impl<'a> Scope<'a> {
    fn new(context: &'a Value) -> Self {
        Self {
            whole: context,
            dot: context.clone(),
            variables: Vec::new(),
        }
    }

    /// Runs what is inside of a block, with a dot of its own or with this one. What it sets ends with it.
    fn block<T>(&mut self, dot: Option<Value>, inside: impl FnOnce(&mut Self) -> T) -> T {
        let variables = self.variables.len();
        let outer = dot.map(|dot| std::mem::replace(&mut self.dot, dot));
        let result = inside(self);
        if let Some(outer) = outer {
            self.dot = outer;
        }
        self.variables.truncate(variables);
        result
    }

    fn named(&self, name: &str) -> Option<&Value> {
        let set = self.variables.iter().rev().find(|(known, _)| known == name);
        set.map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests;
