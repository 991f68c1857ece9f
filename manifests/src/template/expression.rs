//! What stands between the braces: paths, literals, calls, pipes.

use serde_json::Value;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Word(String),
    /// `$name.path`; the whole context, `$`, has an empty name.
    Variable(String, Vec<String>),
    /// `.path`; the dot itself has an empty path.
    Path(Vec<String>),
    Text(String),
    Number(i64),
    Open,
    /// With the path behind it, as in `(include "x" .).name`.
    Close(Vec<String>),
    Pipe,
    /// `:=`
    Set,
    /// `=`
    Change,
    Comma,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    Literal(Value),
    Path(Root, Vec<String>),
    Of(Box<Expression>, Vec<String>),
    Call(String, Vec<Expression>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Root {
    Dot,
    /// `$`
    Whole,
    Named(String),
}

/// The value at a path; null where something on the way is missing, as in Go's maps.
pub(super) fn follow(start: &Value, path: &[String]) -> Value {
    let found = path.iter().try_fold(start, |value, name| value.get(name));
    found.cloned().unwrap_or(Value::Null)
}

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, after) = token(first, rest)?;
        tokens.push(token);
        rest = after.trim_start();
    }
    Ok(tokens)
}

fn token(first: char, text: &str) -> Result<(Token, &str), String> {
    match first {
        '(' => Ok((Token::Open, &text[1..])),
        ')' => {
            let (path, rest) = path(&text[1..]);
            Ok((Token::Close(path), rest))
        }
        '|' => Ok((Token::Pipe, &text[1..])),
        ',' => Ok((Token::Comma, &text[1..])),
        '=' => Ok((Token::Change, &text[1..])),
        ':' => match text.strip_prefix(":=") {
            Some(rest) => Ok((Token::Set, rest)),
            None => Err("a colon without an equals sign".to_owned()),
        },
        '"' => quoted(text),
        '`' => {
            let (inside, rest) = text[1..].split_once('`').ok_or("a string has no end")?;
            Ok((Token::Text(inside.to_owned()), rest))
        }
        '$' => {
            let (name, rest) = word(&text[1..]);
            let (path, rest) = path(rest);
            Ok((Token::Variable(name.to_owned(), path), rest))
        }
        '.' => {
            let (path, rest) = path(text);
            let rest = if path.is_empty() { &rest[1..] } else { rest };
            Ok((Token::Path(path), rest))
        }
        '0'..='9' | '-' => {
            let end = text[1..]
                .find(|letter: char| !letter.is_ascii_digit())
                .map_or(text.len(), |at| at + 1);
            let number = text[..end]
                .parse()
                .map_err(|_| format!("{} is no whole number", &text[..end]))?;
            Ok((Token::Number(number), &text[end..]))
        }
        _ => match word(text) {
            ("", _) => Err(format!("{first} is not known here")),
            (name, rest) => Ok((Token::Word(name.to_owned()), rest)),
        },
    }
}

/// A string in double quotes, whose escapes are those of JSON.
fn quoted(text: &str) -> Result<(Token, &str), String> {
    let mut strings = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let string = strings.next().ok_or("a string has no end")?;
    let string = string.map_err(|error| format!("a string cannot be read: {error}"))?;
    Ok((Token::Text(string), &text[strings.byte_offset()..]))
}

fn word(text: &str) -> (&str, &str) {
    let end = text
        .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .unwrap_or(text.len());
    text.split_at(end)
}

/// The names of `.a.b`, as long as each dot has one behind it.
fn path(text: &str) -> (Vec<String>, &str) {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(after) = rest.strip_prefix('.') {
        let (name, behind) = word(after);
        if name.is_empty() {
            break;
        }
        names.push(name.to_owned());
        rest = behind;
    }
    (names, rest)
}

/// Reads a whole pipeline.
pub(super) fn read(tokens: &[Token]) -> Result<Expression, String> {
    let mut rest = tokens;
    let expression = pipeline(&mut rest)?;
    match rest.first() {
        None => Ok(expression),
        Some(token) => Err(format!("{token:?} is not expected here")),
    }
}

fn pipeline(rest: &mut &[Token]) -> Result<Expression, String> {
    let mut expression = command(rest)?;
    while let Some((Token::Pipe, after)) = rest.split_first() {
        *rest = after;
        // The value comes last, behind the arguments that are written.
        match command(rest)? {
            Expression::Call(name, mut arguments) => {
                arguments.push(expression);
                expression = Expression::Call(name, arguments);
            }
            Expression::Literal(_) | Expression::Path(..) | Expression::Of(..) => {
                return Err("only a function can stand behind a pipe".to_owned());
            }
        }
    }
    Ok(expression)
}

/// A function with its arguments, or one operand.
fn command(rest: &mut &[Token]) -> Result<Expression, String> {
    if let Some((Token::Word(name), after)) = rest.split_first()
        && !matches!(name.as_str(), "true" | "false" | "nil")
    {
        *rest = after;
        let mut arguments = Vec::new();
        while let Some(argument) = operand(rest)? {
            arguments.push(argument);
        }
        return Ok(Expression::Call(name.clone(), arguments));
    }
    operand(rest)?.ok_or_else(|| "an expression is missing".to_owned())
}

fn operand(rest: &mut &[Token]) -> Result<Option<Expression>, String> {
    let Some((token, after)) = rest.split_first() else {
        return Ok(None);
    };
    let expression = match token {
        Token::Text(text) => Expression::Literal(Value::from(text.as_str())),
        Token::Number(number) => Expression::Literal(Value::from(*number)),
        Token::Path(path) => Expression::Path(Root::Dot, path.clone()),
        Token::Variable(name, path) if name.is_empty() => Expression::Path(Root::Whole, path.clone()),
        Token::Variable(name, path) => Expression::Path(Root::Named(name.clone()), path.clone()),
        Token::Word(name) => match name.as_str() {
            "true" => Expression::Literal(Value::Bool(true)),
            "false" => Expression::Literal(Value::Bool(false)),
            "nil" => Expression::Literal(Value::Null),
            _ => Expression::Call(name.clone(), Vec::new()),
        },
        Token::Open => {
            *rest = after;
            let inner = pipeline(rest)?;
            let Some((Token::Close(path), after)) = rest.split_first() else {
                return Err("a parenthesis has no end".to_owned());
            };
            *rest = after;
            return Ok(Some(if path.is_empty() {
                inner
            } else {
                Expression::Of(Box::new(inner), path.clone())
            }));
        }
        Token::Close(_) | Token::Pipe => return Ok(None),
        Token::Set | Token::Change | Token::Comma => return Err(format!("{token:?} is not expected here")),
    };
    *rest = after;
    Ok(Some(expression))
}
