//! Cuts a template into text, actions and blocks.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::vec::IntoIter;

use super::expression::{self, Expression, Token};
use super::{Place, TemplateError};

/// A piece of a template and its first line.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub place: Place,
    pub node: Node,
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    Text(String),
    Print(Expression),
    /// `$name := …`
    Set(String, Expression),
    /// `$name = …`
    Change(String, Expression),
    If(Vec<(Expression, Vec<Part>)>, Vec<Part>),
    With(Expression, Vec<Part>, Vec<Part>),
    /// With the names of the element, or of its index and the element.
    Range {
        names: Vec<String>,
        over: Expression,
        body: Vec<Part>,
    },
}

/// Text, or the tokens of one action.
#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Action(Vec<Token>),
}

/// Reads a file. What it defines is added to `defined`.
pub(super) fn file(
    name: &str,
    text: &str,
    defined: &mut BTreeMap<String, Vec<Part>>,
) -> Result<Vec<Part>, TemplateError> {
    let mut pieces = pieces(name, text)?.into_iter().peekable();
    let (parts, end) = block(&mut pieces, defined)?;
    match end {
        End::File => Ok(parts),
        End::Else(place, _) | End::Block(place) => Err(place.problem("ends a block that has not begun")),
    }
}

/// Cuts at `{{` and `}}`; `{{-` and `-}}` take the whitespace beside them away.
fn pieces(name: &str, text: &str) -> Result<Vec<(Place, Piece)>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut line = 1;
    let mut trims = false;
    loop {
        let (literal, action) = match rest.split_once("{{") {
            Some((literal, action)) => (literal, Some(action)),
            None => (rest, None),
        };
        let place = Place {
            file: name.to_owned(),
            line,
        };
        let trims_end = action.is_some_and(|action| action.starts_with("- "));
        pieces.push((place, Piece::Text(trimmed(literal, trims, trims_end).to_owned())));
        line += literal.matches('\n').count();
        let Some(action) = action else {
            return Ok(pieces);
        };
        let place = Place {
            file: name.to_owned(),
            line,
        };
        let (inside, after) = split_action(action).ok_or_else(|| place.problem("an action has no end"))?;
        line += inside.matches('\n').count();
        trims = inside.ends_with(" -");
        let inside = inside.strip_prefix("- ").unwrap_or(inside);
        let inside = inside.strip_suffix(" -").unwrap_or(inside).trim();
        if !inside.starts_with("/*") {
            let tokens = expression::tokens(inside).map_err(|problem| place.problem(problem))?;
            pieces.push((place, Piece::Action(tokens)));
        }
        rest = after;
    }
}

/// The inside of an action and what follows it. Braces in strings and comments do not end it.
fn split_action(text: &str) -> Option<(&str, &str)> {
    let begun = text.trim_start_matches("- ");
    if begun.starts_with("/*") {
        let end = text.find("*/")? + 2;
        let close = text.get(end..)?.find("}}")?;
        return Some((text.get(..end + close)?, text.get(end + close + 2..)?));
    }
    let mut quote = None;
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match quote {
            Some('"') if escaped => escaped = false,
            Some('"') if letter == '\\' => escaped = true,
            Some(open) if letter == open => quote = None,
            Some(_) => {}
            None if letter == '"' || letter == '`' => quote = Some(letter),
            None if letter == '}' && text[at..].starts_with("}}") => {
                return Some((&text[..at], &text[at + 2..]));
            }
            None => {}
        }
    }
    None
}

fn trimmed(text: &str, start: bool, end: bool) -> &str {
    let text = if start { text.trim_start() } else { text };
    if end { text.trim_end() } else { text }
}

/// What ended a block.
enum End {
    File,
    /// With the tokens behind `else`: nothing, or `if` and its condition.
    Else(Place, Vec<Token>),
    Block(Place),
}

type Pieces = Peekable<IntoIter<(Place, Piece)>>;

fn block(
    pieces: &mut Pieces,
    defined: &mut BTreeMap<String, Vec<Part>>,
) -> Result<(Vec<Part>, End), TemplateError> {
    let mut parts = Vec::new();
    while let Some((place, piece)) = pieces.next() {
        let tokens = match piece {
            Piece::Text(text) => {
                let node = Node::Text(text);
                parts.push(Part { place, node });
                continue;
            }
            Piece::Action(tokens) => tokens,
        };
        let node = match tokens.split_first() {
            Some((Token::Word(word), rest)) => match word.as_str() {
                "end" => return Ok((parts, End::Block(place))),
                "else" => return Ok((parts, End::Else(place, rest.to_vec()))),
                "define" => {
                    let [Token::Text(name)] = rest else {
                        return Err(place.problem("define takes a name in quotes"));
                    };
                    let body = body_until_end(pieces, defined, &place)?;
                    drop(defined.insert(name.clone(), body));
                    continue;
                }
                "if" => condition(pieces, defined, &place, rest)?,
                "with" => {
                    let expression = read(rest, &place)?;
                    let (body, end) = block(pieces, defined)?;
                    let otherwise = match end {
                        End::Block(_) => Vec::new(),
                        End::Else(_, tokens) if tokens.is_empty() => body_until_end(pieces, defined, &place)?,
                        End::Else(..) | End::File => return Err(place.problem("this with has no end")),
                    };
                    Node::With(expression, body, otherwise)
                }
                "range" => range(pieces, defined, &place, rest)?,
                _ => Node::Print(read(&tokens, &place)?),
            },
            Some((Token::Variable(name, path), [Token::Set, value @ ..])) if path.is_empty() => {
                Node::Set(name.clone(), read(value, &place)?)
            }
            Some((Token::Variable(name, path), [Token::Change, value @ ..])) if path.is_empty() => {
                Node::Change(name.clone(), read(value, &place)?)
            }
            Some(_) => Node::Print(read(&tokens, &place)?),
            None => return Err(place.problem("an action is empty")),
        };
        parts.push(Part { place, node });
    }
    Ok((parts, End::File))
}

fn body_until_end(
    pieces: &mut Pieces,
    defined: &mut BTreeMap<String, Vec<Part>>,
    place: &Place,
) -> Result<Vec<Part>, TemplateError> {
    match block(pieces, defined)? {
        (body, End::Block(_)) => Ok(body),
        (_, End::Else(..) | End::File) => Err(place.problem("this block has no end")),
    }
}

fn condition(
    pieces: &mut Pieces,
    defined: &mut BTreeMap<String, Vec<Part>>,
    place: &Place,
    tokens: &[Token],
) -> Result<Node, TemplateError> {
    let mut branches = Vec::new();
    let mut condition = read(tokens, place)?;
    loop {
        let (body, end) = block(pieces, defined)?;
        branches.push((condition, body));
        match end {
            End::Block(_) => return Ok(Node::If(branches, Vec::new())),
            End::Else(_, tokens) if tokens.is_empty() => {
                return Ok(Node::If(branches, body_until_end(pieces, defined, place)?));
            }
            End::Else(at, tokens) => match tokens.split_first() {
                Some((Token::Word(word), rest)) if word == "if" => condition = read(rest, &at)?,
                _ => return Err(at.problem("else takes nothing, or if and a condition")),
            },
            End::File => return Err(place.problem("this if has no end")),
        }
    }
}

fn range(
    pieces: &mut Pieces,
    defined: &mut BTreeMap<String, Vec<Part>>,
    place: &Place,
    tokens: &[Token],
) -> Result<Node, TemplateError> {
    let (names, over) = match tokens.iter().position(|token| *token == Token::Set) {
        Some(at) => {
            let names = tokens[..at].iter().filter_map(|token| match token {
                Token::Variable(name, _) => Some(name.clone()),
                _ => None,
            });
            (names.collect(), &tokens[at + 1..])
        }
        None => (Vec::new(), tokens),
    };
    let over = read(over, place)?;
    let body = body_until_end(pieces, defined, place)?;
    Ok(Node::Range { names, over, body })
}

fn read(tokens: &[Token], place: &Place) -> Result<Expression, TemplateError> {
    expression::read(tokens).map_err(|problem| place.problem(problem))
}
