//! How a program ends: success, or one clear line on standard error and a code that is not 0.

use std::error::Error;
use std::process::ExitCode;

/// Ends `main`: prints the error and all its causes as one line `program: what: why`.
pub fn code<E: Into<Box<dyn Error>>>(program: &str, result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {}", one_line(error.into().as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes on one line, without what a cause repeats of its consequence.
pub fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("failed to read the kubeconfig\n /etc/k")]
    struct Outer(#[source] Middle);
    #[derive(Debug, thiserror::Error)]
    #[error("cannot open: gone")]
    struct Middle(#[source] Inner);
    #[derive(Debug, thiserror::Error)]
    #[error("gone")]
    struct Inner;

    #[test]
    fn a_chain_is_one_line_without_repeats() {
        assert_eq!(
            one_line(&Outer(Middle(Inner))),
            "failed to read the kubeconfig /etc/k: cannot open: gone"
        );
    }
}
