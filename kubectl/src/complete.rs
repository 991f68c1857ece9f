//! Completions for kubectl, which runs `kubectl_complete-cordonhold` for the words of this plugin
//! (k8s.io/kubectl: `pkg/cmd/plugin/plugin_completion.go`). It prints a line for each completion, and last what the shell does with them
//! (spf13/cobra: `completions.go`).
//!
//! Not here: the commands and flags (`args`), from which everything but the names of nodes and pools is taken.

use clap::{Arg, Command, CommandFactory as _};
use cordonhold_shared::keys;
use kube::api::ListParams;
use serde::Deserialize;

use crate::args::Args;
use crate::cluster::{Cluster, NODES};
use crate::look::Scope;
use crate::{Ending, Error, output};

/// What the shell does: it does not complete names of files (`ShellCompDirectiveNoFileComp`), or does what it always does.
const NO_FILES: &str = ":4";
const DEFAULT: &str = ":0";
/// Most names of nodes that are offered: nobody reads more.
const NODES_MAX: u32 = 500;

/// The script by which kubectl finds the completions.
const SCRIPT: &str = r#"#!/bin/sh
# Completes the words after `kubectl cordonhold`. Put it into a directory of your PATH as kubectl_complete-cordonhold, and make it
# executable: kubectl cordonhold completion > ~/bin/kubectl_complete-cordonhold && chmod +x ~/bin/kubectl_complete-cordonhold
exec kubectl-cordonhold __complete -- "$@"
"#;

pub(crate) fn script() -> Result<Ending, Error> {
    output::print(SCRIPT)?;
    Ok(Ending::Fine)
}

/// What can stand in the place of the last word.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// One of these.
    Words(Vec<String>),
    /// The name of a node.
    Node,
    /// The name of a pool, after this.
    Pool(&'static str),
    /// The name of a file.
    File,
    /// Anything.
    Nothing,
}

pub(crate) async fn run(
    connect: impl AsyncFn() -> Result<Cluster, Error>,
    words: &[String],
) -> Result<Ending, Error> {
    let last = words.last().cloned().unwrap_or_default();
    let (all, directive) = match place(words) {
        Place::Words(words) => (words, NO_FILES),
        // Without a cluster there are no names; a message would be in the way of what is typed.
        Place::Node => (nodes(&connect).await.unwrap_or_default(), NO_FILES),
        Place::Pool(before) => {
            let pools = pools(&connect).await.unwrap_or_default();
            (
                pools.into_iter().map(|pool| format!("{before}{pool}")).collect(),
                NO_FILES,
            )
        }
        Place::File => (Vec::new(), DEFAULT),
        Place::Nothing => (Vec::new(), NO_FILES),
    };
    let mut text: String = all
        .into_iter()
        .filter(|word| word.starts_with(&last))
        .map(|word| word + "\n")
        .collect();
    text.push_str(directive);
    output::line(&text)?;
    Ok(Ending::Fine)
}

/// What the last of these words can be.
fn place(words: &[String]) -> Place {
    let (last, before) = words
        .split_last()
        .map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let mut root = Args::command();
    root.build();
    let chosen = before.iter().find_map(|word| root.find_subcommand(word));
    let command = chosen.unwrap_or(&root);
    if last.starts_with("--pool=") {
        return Place::Pool("--pool=");
    }
    // The value of the flag before it.
    let flag = before.last().and_then(|word| flag(command, word));
    if let Some(flag) = flag.filter(|flag| flag.get_action().takes_values() && !flag.is_require_equals_set())
    {
        return of_value(flag);
    }
    if last.starts_with('-') {
        return Place::Words(flags(command));
    }
    if chosen.is_none() {
        let shown = root.get_subcommands().filter(|command| !command.is_hide_set());
        return Place::Words(shown.map(|command| command.get_name().to_owned()).collect());
    }
    let mut positionals = command.get_positionals().map(|arg| arg.get_id().as_str());
    match positionals.next() {
        Some("nodes" | "node") => Place::Node,
        Some("review") => Place::File,
        Some(_) | None => Place::Nothing,
    }
}

fn flag<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let mut flags = command.get_arguments();
    flags.find(|arg| {
        let long = arg.get_long().is_some_and(|long| word == format!("--{long}"));
        long || arg.get_short().is_some_and(|short| word == format!("-{short}"))
    })
}

fn flags(command: &Command) -> Vec<String> {
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    shown
        .filter_map(Arg::get_long)
        .map(|long| format!("--{long}"))
        .collect()
}

fn of_value(flag: &Arg) -> Place {
    let values: Vec<String> = flag
        .get_possible_values()
        .iter()
        .map(|value| value.get_name().to_owned())
        .collect();
    match flag.get_id().as_str() {
        _ if !values.is_empty() => Place::Words(values),
        "node" => Place::Node,
        "pool" => Place::Pool(""),
        "kubeconfig" | "webhook_log" | "audit_log" | "file" | "from" => Place::File,
        _ => Place::Nothing,
    }
}

/// The field of an object that is read.
#[derive(Deserialize)]
struct Named {
    metadata: Name,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

async fn nodes(connect: &impl AsyncFn() -> Result<Cluster, Error>) -> Option<Vec<String>> {
    let cluster = connect().await.ok()?;
    let params = ListParams::default().limit(NODES_MAX);
    let nodes: Vec<Named> = cluster.list(NODES, params).await.ok()?;
    Some(nodes.into_iter().map(|node| node.metadata.name).collect())
}

async fn pools(connect: &impl AsyncFn() -> Result<Cluster, Error>) -> Option<Vec<String>> {
    let look = connect().await.ok()?.look_around(&Scope::default()).await.ok()?;
    let names = look
        .seen
        .locks
        .iter()
        .filter_map(|lock| lock.object.name.strip_prefix(keys::LEASE_PREFIX));
    Some(names.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: &str) -> Place {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        place(&words)
    }

    #[test]
    fn commands_flags_values_and_names_are_completed_where_they_can_stand() {
        let Place::Words(commands) = at("") else { panic!() };
        assert!(commands.contains(&"status".to_owned()) && !commands.contains(&"__complete".to_owned()));
        let Place::Words(flags) = at("status --") else {
            panic!()
        };
        assert!(
            flags.contains(&"--watch".to_owned()) && flags.contains(&"--context".to_owned()),
            "{flags:?}"
        );
        assert_eq!(
            at("status -o "),
            Place::Words(["json", "yaml", "wide"].map(str::to_owned).to_vec())
        );
        for (line, place) in [
            ("why ", Place::Node),
            ("cancel --yes wor", Place::Node),
            ("reboot --yes wor", Place::Node),
            ("explain ", Place::File),
            ("explain --node ", Place::Node),
            ("history ", Place::Node),
            ("history n --audit-log ", Place::File),
            ("pause --pool=g", Place::Pool("--pool=")),
            ("pause --pool ", Place::Node),
            ("status --pool ", Place::Pool("")),
            ("cancel n --reason ", Place::Nothing),
            ("--context x pause ", Place::Node),
            ("completion ", Place::Nothing),
        ] {
            assert_eq!(at(line), place, "{line:?}");
        }
    }
}
