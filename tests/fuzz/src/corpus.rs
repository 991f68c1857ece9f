//! The kept inputs: a file for each target, an input on each line, in the escapes of Rust.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::Target;

/// The file with the kept inputs of this target.
pub fn file(target: &Target) -> PathBuf {
    let name = format!("corpus/{}.txt", target.name);
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The kept inputs of this target.
pub fn read(target: &Target) -> Result<Vec<Vec<u8>>> {
    let path = file(target);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("failed to read {}: each target has such a file", path.display()))?;
    let inputs = text.lines().map(|line| {
        unescaped(line).with_context(|| {
            format!(
                "{} has a line that is no input: {line}: write \\\\ for a \\, and \\xNN for a byte that is no plain character",
                path.display()
            )
        })
    });
    inputs.collect()
}

/// Writes the inputs to keep.
pub fn write(target: &Target, inputs: &[Vec<u8>]) -> Result<()> {
    let mut lines: Vec<String> = inputs.iter().map(|input| escaped(input)).collect();
    lines.sort();
    lines.dedup();
    let path = file(target);
    let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    std::fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))
}

/// The input as it is kept. Quotes stay as they are, which is easier to read.
pub fn escaped(input: &[u8]) -> String {
    let escape = |byte: &u8| match *byte {
        quote @ (b'"' | b'\'') => char::from(quote).to_string(),
        byte => byte.escape_ascii().to_string(),
    };
    input.iter().map(escape).collect()
}

fn unescaped(line: &str) -> Option<Vec<u8>> {
    let mut input = Vec::new();
    let mut bytes = line.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            input.push(byte);
            continue;
        }
        input.push(match bytes.next()? {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'\\' => b'\\',
            b'x' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            _ => return None,
        });
    }
    Some(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_input_is_read_as_it_was_kept() {
        let all: Vec<u8> = (0..=255).collect();
        for input in [&all[..], b"", b"a \"b\" 'c'\\n\n", "\u{e4}".as_bytes()] {
            let line = escaped(input);
            assert!(line.is_ascii() && !line.contains('\n'), "{line}");
            assert_eq!(unescaped(&line).as_deref(), Some(input), "{line}");
        }
        for line in ["\\", "\\q", "\\x1", "\\xzz"] {
            assert_eq!(unescaped(line), None, "{line}");
        }
    }
}
