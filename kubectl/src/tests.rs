//! What is printed, word for word, and the pages that show it.

use clap::CommandFactory as _;

use super::*;

mod install;
mod krew;
mod manual;
mod server;
mod writes;

#[test]
fn the_command_line_is_whole() {
    Args::command().debug_assert();
}

#[test]
fn a_pool_is_named_after_an_equals_sign_or_is_the_default_one_and_nodes_and_a_pool_exclude_each_other() {
    let pool = |words: &[&str]| {
        let line = ["kubectl-cordonhold", "resume"].iter().chain(words);
        let args = Args::try_parse_from(line).ok()?;
        match args.command {
            Command::Resume(args) => Some((args.target.nodes, args.target.pool)),
            _ => None,
        }
    };
    let nodes = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(pool(&["--pool"]), Some((Vec::new(), Some("default".to_owned()))));
    assert_eq!(pool(&["--pool=gpu"]), Some((Vec::new(), Some("gpu".to_owned()))));
    assert_eq!(pool(&["a", "b"]), Some((nodes(&["a", "b"]), None)));
    for wrong in [&[][..], &["--pool", "a"], &["a", "--pool=gpu"]] {
        assert_eq!(pool(wrong), None, "{wrong:?}");
    }
}

#[test]
fn a_reason_says_something_and_a_timeout_is_kubectls() {
    let parses = |words: &[&str]| Args::try_parse_from(["kubectl-cordonhold"].iter().chain(words));
    assert!(parses(&["pause", "n", "--reason", " "]).is_err());
    assert!(parses(&["pause", "n"]).is_err());
    for (text, seconds) in [("5", 5), ("1m", 60), ("0", 3600)] {
        let args = parses(&["status", "--request-timeout", text]).unwrap();
        assert_eq!(args.common.request_timeout.as_secs(), seconds, "{text}");
    }
    assert!(parses(&["status", "--request-timeout", "soon"]).is_err());
}

/// The flags of a command and those of every command have names of their own in clap too: one would set the other.
#[test]
fn no_flag_of_a_command_sets_one_of_kubectls() {
    let line = [
        "kubectl-cordonhold",
        "why",
        "n",
        "--for",
        "jo",
        "--for-group",
        "g",
    ];
    let args = Args::try_parse_from(line).unwrap();
    assert_eq!((args.access.user, args.access.as_user), (None, None));
    let line = ["kubectl-cordonhold", "explain", "--node", "n", "--for", "jo"];
    let args = Args::try_parse_from(line).unwrap();
    assert_eq!(args.access.user, None);
}
