//! Parsers for values on the command line: numbers, booleans and lists as Go's pflag reads them, and Kubernetes' names and
//! selectors.
//!
//! An error names the value and the fix; clap adds nothing.
//! Not here: the flag or variable that an error is about, which [`super::parse`] adds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use cordonhold_rt::argument;
pub(super) use cordonhold_rt::argument::{label_name, name};
use cordonhold_rt::duration;
use cordonhold_shared::keys;
use cordonhold_shared::lock::Share;
use cordonhold_shared::names::{self, PART_MAX};
use cordonhold_shared::selector::Selector;
use http::Uri;

/// An `Option` under another name, so that clap's derive treats it as a plain value and the parser decides when it is `None`.
pub(super) type Maybe<T> = Option<T>;
/// The words of a command, as a shell splits them. An alias, so that clap's derive treats the `Vec` as one value.
pub(super) type Words = Vec<String>;

/// Labels by key.
pub(super) type Labels = BTreeMap<String, String>;

/// Wraps a parser so that an empty text is `None`: for kured's string flags an empty value means the same as no flag.
pub(super) fn unless_empty<T>(
    parse: fn(&str) -> Result<T, String>,
) -> impl Fn(&str) -> Result<Maybe<T>, String> + Clone {
    move |text| match text {
        "" => Ok(None),
        text => parse(text).map(Some),
    }
}

/// Parses a boolean as Go's `strconv.ParseBool` does.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false: write true or false")),
    }
}

/// Parses an integer from `MIN` to `MAX` as Go's `strconv.ParseInt` with base 0 does: `8080`, `0x1f90`, `0o17620`, `017620`, `0b1`, `8_080`.
pub(super) fn integer<const MIN: i64, const MAX: i64>(text: &str) -> Result<i64, String> {
    let number = whole_number(text)
        .ok_or_else(|| format!("{text:?} is not a whole number: write one from {MIN} to {MAX}"))?;
    if (MIN..=MAX).contains(&number) {
        Ok(number)
    } else {
        Err(format!(
            "{text} is out of bounds: write a number from {MIN} to {MAX}"
        ))
    }
}

fn whole_number(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let prefixed = [("0x", 16), ("0o", 8), ("0b", 2), ("0", 8)]
        .into_iter()
        .find_map(|(prefix, base)| Some((lower.strip_prefix(prefix)?, base)));
    // As in Go, an underscore may follow the prefix or stand between two digits.
    let (digits, base) = match prefixed {
        Some(("", 8)) if lower == "0" => ("0", 10),
        Some((digits, base)) => (digits.strip_prefix('_').unwrap_or(digits), base),
        None => (lower.as_str(), 10),
    };
    let is_grouped = digits.split('_').all(|group| !group.is_empty());
    // Checked here, because `from_str_radix` would take a second sign.
    let is_plain = digits.chars().all(|c| c.is_digit(base) || c == '_');
    if !is_grouped || !is_plain {
        return None;
    }
    i64::from_str_radix(&digits.replace('_', ""), base)
        .ok()
        .map(|number| sign * number)
}

/// Parses a count from 0 to 255.
pub(super) fn times(text: &str) -> Result<u8, String> {
    let number = integer::<0, 255>(text)?;
    u8::try_from(number).map_err(|error| error.to_string())
}

/// Parses a TCP port, 0 included.
pub(super) fn port(text: &str) -> Result<u16, String> {
    let number = integer::<0, 65_535>(text)?;
    u16::try_from(number).map_err(|error| error.to_string())
}

/// Parses a number of seconds; one below 0 is `None`.
pub(super) fn seconds_or_none(text: &str) -> Result<Maybe<u32>, String> {
    let number = integer::<{ i64::MIN }, 4_294_967_295>(text)?;
    Ok(u32::try_from(number).ok())
}

/// Parses a number of seconds; one below 0 is 0.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let number = integer::<{ i64::MIN }, 4_294_967_295>(text)?;
    Ok(Duration::from_secs(u64::try_from(number).unwrap_or(0)))
}

/// Parses a duration as Go writes it; 0 is an error.
pub(super) fn duration_above_zero(text: &str) -> Result<Duration, String> {
    match duration::parse(text).map_err(|error| error.to_string())? {
        Duration::ZERO => Err(format!("{text:?} is 0: write a duration above 0, like 1h")),
        duration => Ok(duration),
    }
}

/// Parses a duration that limits something; 0 is `None`, which is no limit.
pub(super) fn limit(text: &str) -> Result<Maybe<Duration>, String> {
    let duration = duration::parse(text).map_err(|error| error.to_string())?;
    Ok(Some(duration).filter(|duration| !duration.is_zero()))
}

/// Parses a number of nodes, like `3`, or a percentage of them, like `25%`.
pub(super) fn amount(text: &str) -> Result<Share, String> {
    let amount = match text.strip_suffix('%') {
        Some(percent) => percent_of(percent),
        None => integer::<0, 65_535>(text)
            .ok()
            .and_then(|count| u16::try_from(count).ok().map(|count| Share::Count(count.into()))),
    };
    amount.ok_or_else(|| format!("{text:?} is neither a count nor a percentage: write one like 3 or 25%"))
}

fn percent_of(text: &str) -> Option<Share> {
    text.parse()
        .ok()
        .filter(|percent| *percent <= 100)
        .map(Share::Percent)
}

/// Parses an [`amount`]; 0 is an error.
pub(super) fn amount_above_zero(text: &str) -> Result<Share, String> {
    match amount(text)? {
        Share::Count(0) | Share::Percent(0) => Err(format!(
            "{text} lets no node reboot: write at least 1, like 1 or 25%"
        )),
        amount => Ok(amount),
    }
}

/// Splits a command into words as a shell does. An empty text is no words.
pub(super) fn words(text: &str) -> Result<Words, String> {
    let words = shlex::split(text)
        .ok_or_else(|| format!("{text:?} cannot be split into words: close its quotes as in a shell"))?;
    match words.first() {
        Some(program) if program.is_empty() => {
            Err(format!("the first word of {text:?} is empty: name a program"))
        }
        _ => Ok(words),
    }
}

/// Splits a command into words as a shell does; no words is an error.
pub(super) fn command(text: &str) -> Result<Words, String> {
    match words(text)? {
        words if words.is_empty() => Err(format!("{text:?} is empty: name a command")),
        words => Ok(words),
    }
}

/// Parses the URL of an HTTP API. No error repeats it, because it may hold a password; `example` is one that could stand there.
pub(super) fn http_url(text: &str, example: &str) -> Result<Uri, String> {
    let uri: Uri = text
        .parse()
        .map_err(|error| format!("not a URL: {error}: write a URL like {example}"))?;
    match uri.scheme_str() {
        Some("http" | "https") => Ok(uri),
        _ => Err(format!(
            "the URL begins with neither http:// nor https://: write a URL like {example}"
        )),
    }
}

/// Parses an absolute path.
pub(super) fn absolute_path(text: &str) -> Result<PathBuf, String> {
    let path = argument::path(text)?;
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(format!("{text:?} is not an absolute path: begin it with /"))
    }
}

/// Splits a list as pflag's stringSlice does: at commas, and a part may be in double quotes.
pub(super) fn parts(text: &str) -> Result<Vec<String>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted
                .split_once('"')
                .ok_or_else(|| format!("{text:?} lacks a closing quote: add it"))?,
            None => rest.split_at(rest.find(',').unwrap_or(rest.len())),
        };
        parts.push(part.trim().to_owned());
        rest = match after.strip_prefix(',') {
            Some("") => return Err(format!("{text:?} ends in a comma: remove it")),
            Some(rest) => rest,
            None if after.is_empty() => after,
            None => {
                return Err(format!(
                    "{text:?} has text after a closing quote: put a comma there"
                ));
            }
        };
    }
    Ok(parts)
}

/// Parses the key of a label, annotation or taint: `name` or `prefix/name`.
pub(super) fn key(text: &str) -> Result<String, String> {
    if names::is_key(text) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is not a key that Kubernetes accepts: write one like example.com/name, with a name of at most {PART_MAX} letters, digits, '-', '_' and '.'"
        ))
    }
}

/// Parses the key of a label or taint that the operator chooses. Keys in [`keys::DOMAIN`] are refused: Cordonhold uses them itself.
pub(super) fn own_key(text: &str) -> Result<String, String> {
    if text.starts_with(keys::DOMAIN) {
        return Err(format!(
            "{text:?} is one of Cordonhold's own keys: choose one in another domain, such as example.com/{}",
            text.trim_start_matches(keys::DOMAIN)
        ));
    }
    key(text)
}

fn label_value(text: &str) -> Result<(), String> {
    if names::is_value(text) {
        Ok(())
    } else {
        Err(format!(
            "{text:?} is not a label's value: use at most {PART_MAX} letters, digits, '-', '_' and '.', and begin and end with a letter or digit"
        ))
    }
}

/// Parses a list of `key=value` labels. kured does not check them at its start, and panics in the drain on a part without `=`.
pub(super) fn labels(text: &str) -> Result<Labels, String> {
    let label = |part: String| {
        let (key_text, value) = part
            .split_once('=')
            .ok_or_else(|| format!("{part:?} is not a label: write it as key=value"))?;
        label_value(value)?;
        Ok((own_key(key_text)?, value.to_owned()))
    };
    parts(text)?.into_iter().map(label).collect()
}

/// Parses a label selector. An empty one is an error: to select every object, leave the flag out.
pub(super) fn selector(text: &str) -> Result<Selector, String> {
    let why = match text.parse::<Selector>() {
        Ok(selector) if selector.is_everything() => "it is empty".to_owned(),
        Ok(selector) => return Ok(selector),
        Err(why) => why.to_string(),
    };
    Err(format!(
        "{text:?} is not a label selector: {why}; write one like app=web,tier in (a, b),!drained"
    ))
}

#[cfg(test)]
mod tests;
