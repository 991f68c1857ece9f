//! Which alerts a silence is for: matchers as Alertmanager writes them, with a place for the node's name.
//!
//! The syntax is Alertmanager's (prometheus/alertmanager: pkg/labels/parse.go): `name="value"`, with `=`, `!=`, `=~` or `!~`, and commas
//! between several. All of them must match. Names in quotes are not read.
//! Not here: how they are sent ([`super::wire`]).

use std::fmt;
use std::str::FromStr;

use crate::quote::always_quoted;
use crate::reboot::prometheus::Regexp;

/// What stands for the node's name, as in the texts of messages.
const NODE: &str = "%s";
/// Most characters of a text that an error repeats.
const SHOWN_MAX: usize = 200;
/// How to write it, for errors.
const WRITE: &str = r#"write matchers as Alertmanager does, with %s for the node, such as 'node="%s"'"#;

/// Matchers that must all match, with `NODE` for the node's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matchers(Vec<Matcher>);

/// One matcher of a silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher {
    /// The name of the label.
    pub name: String,
    /// How the label's value is compared.
    pub operator: Operator,
    /// What it is compared with.
    pub value: String,
}

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Is,
    /// `!=`
    IsNot,
    /// `=~`
    Matches,
    /// `!~`
    MatchesNot,
}

impl Operator {
    /// The longer ones come first, because they begin as the shorter ones do.
    const ALL: [Operator; 4] = [
        Operator::Matches,
        Operator::MatchesNot,
        Operator::IsNot,
        Operator::Is,
    ];

    /// The operator of this meaning.
    pub fn of(is_regex: bool, is_equal: bool) -> Operator {
        match (is_regex, is_equal) {
            (false, true) => Operator::Is,
            (false, false) => Operator::IsNot,
            (true, true) => Operator::Matches,
            (true, false) => Operator::MatchesNot,
        }
    }

    /// Whether the value is a regular expression.
    pub fn is_regex(self) -> bool {
        matches!(self, Operator::Matches | Operator::MatchesNot)
    }

    /// Whether a label that the value fits is matched.
    pub fn is_equal(self) -> bool {
        matches!(self, Operator::Is | Operator::Matches)
    }

    fn as_str(self) -> &'static str {
        match self {
            Operator::Is => "=",
            Operator::IsNot => "!=",
            Operator::Matches => "=~",
            Operator::MatchesNot => "!~",
        }
    }
}

/// As Alertmanager reads it.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.replace('\\', "\\\\").replace('"', "\\\"");
        let value = value.replace('\n', "\\n");
        write!(f, "{}{}\"{value}\"", self.name, self.operator.as_str())
    }
}

impl Matchers {
    /// The matchers for this node.
    pub fn of(&self, node: &str) -> Vec<Matcher> {
        let filled = |matcher: &Matcher| {
            let name = if matcher.operator.is_regex() {
                // The name of a Node has nothing else that means something in an expression.
                node.replace('.', "\\.")
            } else {
                node.to_owned()
            };
            Matcher {
                value: matcher.value.replace(NODE, &name),
                ..matcher.clone()
            }
        };
        self.0.iter().map(filled).collect()
    }
}

impl FromStr for Matchers {
    type Err = String;

    fn from_str(text: &str) -> Result<Matchers, String> {
        let wrong = |why: &str| format!("{} {why}: {WRITE}", always_quoted(text, SHOWN_MAX));
        let trimmed = text.trim();
        let inner = trimmed
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
            .unwrap_or(trimmed);
        let (mut rest, mut found) = (inner.trim(), Vec::new());
        while !rest.is_empty() {
            let (matcher, after) = one(rest).map_err(|why| wrong(&why))?;
            found.push(matcher);
            rest = match after.trim_start().strip_prefix(',') {
                Some(after) => after.trim_start(),
                None if after.trim().is_empty() => "",
                None => return Err(wrong("lacks a comma between two matchers")),
            };
        }
        let names_node = |matcher: &Matcher| matcher.operator.is_equal() && matcher.value.contains(NODE);
        if !found.iter().any(names_node) {
            return Err(wrong(
                "does not name the node, so it would silence the alerts of others",
            ));
        }
        Ok(Matchers(found))
    }
}

/// The first matcher of a text, and what follows it.
fn one(text: &str) -> Result<(Matcher, &str), String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (name, rest) = text.split_at(text.find(|c| !is_name(c)).unwrap_or(text.len()));
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("has no name of a label where one should be".to_owned());
    }
    let rest = rest.trim_start();
    let mut operators = Operator::ALL.into_iter();
    let (operator, rest) = operators
        .find_map(|operator| Some((operator, rest.strip_prefix(operator.as_str())?)))
        .ok_or_else(|| format!("has none of = != =~ !~ after the label {name}"))?;
    let rest = rest.trim_start();
    let (value, rest) = if let Some(rest) = rest.strip_prefix('"') {
        quoted(rest).ok_or_else(|| format!("lacks a closing quote after {name}"))?
    } else {
        let (value, rest) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
        (value.trim_end().to_owned(), rest)
    };
    if operator.is_regex() {
        drop(
            Regexp::new(&value.replace(NODE, "n"))
                .map_err(|_| format!("has no regular expression that can be used after {name}"))?,
        );
    }
    let name = name.to_owned();
    Ok((
        Matcher {
            name,
            operator,
            value,
        },
        rest,
    ))
}

/// The text up to the closing quote, and what follows that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return text.get(at.saturating_add(1)..).map(|rest| (value, rest)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                c @ ('"' | '\\') => value.push(c),
                // As Alertmanager does, so that a backslash of an expression need not be doubled.
                c => value.extend(['\\', c]),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        let matchers = text.parse::<Matchers>()?.of("ip-10-0-0-1.ec2");
        let texts: Vec<String> = matchers.iter().map(Matcher::to_string).collect();
        Ok(texts.join(","))
    }

    #[test]
    fn matchers_are_read_as_alertmanager_writes_them_with_the_node_in_its_place() {
        for (text, expected) in [
            (r#"node="%s""#, r#"node="ip-10-0-0-1.ec2""#),
            ("node=%s", r#"node="ip-10-0-0-1.ec2""#),
            (
                r#"{ instance =~ "%s(:[0-9]+)?" }"#,
                r#"instance=~"ip-10-0-0-1\\.ec2(:[0-9]+)?""#,
            ),
            (
                r#"node="%s", cluster = a ,severity!="critical",job!~"a|b""#,
                r#"node="ip-10-0-0-1.ec2",cluster="a",severity!="critical",job!~"a|b""#,
            ),
            (
                r#"node="%s",path="a\"b\\c,d""#,
                r#"node="ip-10-0-0-1.ec2",path="a\"b\\c,d""#,
            ),
            (r#"instance=~"%s\.lan""#, r#"instance=~"ip-10-0-0-1\\.ec2\\.lan""#),
        ] {
            assert_eq!(shown(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_matcher_or_names_no_node_is_refused_with_the_fix() {
        for (text, says) in [
            ("", "does not name the node"),
            (r#"severity="warning""#, "does not name the node"),
            (r#"node!="%s""#, "does not name the node"),
            ("%s", "no name of a label"),
            (r#"1node="%s""#, "no name of a label"),
            ("node", "none of = != =~ !~ after the label node"),
            (r#"node="%s"#, "lacks a closing quote after node"),
            (r#"node="%s" job="a""#, "lacks a comma"),
            (r#"node=~"(%s""#, "no regular expression"),
        ] {
            let why = shown(text).unwrap_err();
            assert!(
                why.contains(says) && why.contains(r#"'node="%s"'"#),
                "{text}: {why}"
            );
        }
    }
}
