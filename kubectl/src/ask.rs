//! Asks a person before something is written.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use crate::Error;
use crate::args::WriteArgs;

/// Whether the person wants it. Nobody is asked with `--yes`, and with `--dry-run`, which writes nothing.
pub(crate) fn may(question: &str, write: WriteArgs) -> Result<bool, Error> {
    if write.yes || write.dry_run {
        return Ok(true);
    }
    if cfg!(test) {
        crate::output::note(&format!("{question} [y/N] y"));
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        let nobody = std::io::Error::other("standard input is no terminal, so nobody can be asked");
        return Err(Error::NoAnswer(nobody));
    }
    let mut out = anstream::stderr();
    write!(out, "{question} [y/N] ").map_err(Error::NoAnswer)?;
    out.flush().map_err(Error::NoAnswer)?;
    let mut answer = String::new();
    let _ = std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(Error::NoAnswer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
