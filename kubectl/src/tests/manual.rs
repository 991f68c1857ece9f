//! Holds `docs/kubectl.md` against the program: each `$ kubectl cordonhold …` of the page is run on a cluster in memory, and what it prints must be
//! what the page shows. The tables of states, troubles and fields are compared too.
//!
//! With `CORDONHOLD_WRITE_MANUAL` set, outputs and tables are written into the page first.

use std::collections::BTreeSet;
use std::path::Path;

use clap::Parser as _;
use cordonhold_shared::fleet::{Fleet, State, TroubleKind};
use cordonhold_shared::history::{Answer, Event, Outcome};
use serde_json::Value;

use super::server;
use crate::args::Args;
use crate::{carried_out, complaint, output};

const PAGE: &str = "../docs/kubectl.md";
/// How a command line of the page begins.
const PROMPT: &str = "$ ";

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE)).unwrap()
}

/// Compares the page with what it should be, or writes it.
fn is_written(text: &str) {
    if std::env::var_os("CORDONHOLD_WRITE_MANUAL").is_some() {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE), text).unwrap();
    }
    let page = page();
    for (is, should) in page.lines().zip(text.lines()) {
        assert_eq!(
            is, should,
            "docs/kubectl.md is out of date: write it anew with `CORDONHOLD_WRITE_MANUAL=1 cargo test -p cordonhold-kubectl manual`"
        );
    }
    assert_eq!(page, text);
}

/// What the program prints for a command line, to either output.
fn printed(line: &str) -> String {
    let mut words = shlex::split(line).unwrap();
    assert_eq!(words[..2], ["kubectl", "cordonhold"], "{line}");
    drop(words.remove(0));
    let args = Args::try_parse_from(&words).unwrap();
    drop(output::PRINTED.take());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let is_beside_kured = matches!(args.command, crate::args::Command::Migrate(_));
    let connect = async || {
        Ok(if is_beside_kured {
            server::changing(&args.common, server::add_kured)
        } else {
            server::cluster(&args.common)
        })
    };
    if let Err(error) = runtime.block_on(carried_out(args.command, &args.common.namespace, connect)) {
        output::note(&complaint(&error));
    }
    output::PRINTED.take()
}

/// The page with the outputs of its commands as they are now.
fn with_outputs(page: &str) -> String {
    let mut text = String::new();
    let mut parts = page.split("```console\n");
    text.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (block, rest) = part.split_once("```\n").unwrap();
        let commands = block.lines().filter_map(|line| line.strip_prefix(PROMPT));
        let outputs: Vec<String> = commands
            .map(|command| format!("{PROMPT}{command}\n{}", printed(command)))
            .collect();
        text.extend(["```console\n", &outputs.join(""), "```\n", rest]);
    }
    text
}

/// The page with this table, between its head and the next empty line.
fn with_table(page: &str, head: &str, rows: &str) -> String {
    let (before, after) = page
        .split_once(head)
        .unwrap_or_else(|| panic!("the page has no table {head:?}"));
    let rest = &after[after.find("\n\n").map_or(after.len(), |end| end + 1)..];
    [before, head, rows, rest].concat()
}

/// The rows of a table with a word and what it means.
fn rows<'a>(of: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let rows: Vec<String> = of
        .map(|(word, means)| format!("| `{word}` | {means} |\n"))
        .collect();
    rows.concat()
}

#[test]
fn the_manual_shows_what_the_program_prints_and_the_tables_of_the_code() {
    let states = rows(State::ALL.iter().map(|state| (state.as_str(), state.meaning())));
    let troubles = rows(TroubleKind::ALL.iter().map(|kind| (kind.code(), kind.when())));
    let text = with_outputs(&page());
    let text = with_table(&text, "| state | means |\n| --- | --- |\n", &states);
    let text = with_table(&text, "| kind | when |\n| --- | --- |\n", &troubles);
    let outcomes = rows(Outcome::MEANINGS.iter().copied());
    let answers = rows(Answer::MEANINGS.iter().copied());
    let events = rows(Event::MEANINGS.iter().copied());
    let text = with_table(&text, "| `outcome` | means |\n| --- | --- |\n", &outcomes);
    let text = with_table(&text, "| `answer` | means |\n| --- | --- |\n", &answers);
    let text = with_table(&text, "| `moments[].what` | means |\n| --- | --- |\n", &events);
    is_written(&text);
}

#[test]
fn no_line_of_an_output_is_wider_than_80_columns_unless_a_command_is() {
    for line in [
        "kubectl cordonhold status",
        "kubectl cordonhold why worker-17",
        "kubectl cordonhold doctor",
        "kubectl cordonhold release worker-31",
        "kubectl cordonhold history",
        "kubectl cordonhold history worker-17",
    ] {
        let text = printed(line);
        for shown in text.lines() {
            // What was done is one line each, as a script reads it.
            let is_one_line = shown.contains('→') || shown.starts_with('✓');
            assert!(is_one_line || shown.chars().count() <= 80, "{line}: {shown}");
        }
        assert!(text.lines().all(|shown| !shown.ends_with(' ')), "{text}");
    }
}

/// Each line that names a trouble ends in a command.
#[test]
fn every_trouble_of_an_output_ends_in_a_command() {
    let text = printed("kubectl cordonhold status -o wide") + &printed("kubectl cordonhold doctor -o wide");
    let troubles: Vec<&str> = text.lines().filter(|line| line.starts_with("! ")).collect();
    assert!(troubles.len() >= 2, "{text}");
    for trouble in troubles {
        assert!(
            trouble
                .rsplit_once(" → ")
                .is_some_and(|(_, command)| command.starts_with("kubectl ")),
            "{trouble}"
        );
    }
}

/// The names of all fields of a document, those of lists as of one of their items.
fn fields(value: &Value, before: &str, all: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let name = if before.is_empty() {
                    key.clone()
                } else {
                    format!("{before}.{key}")
                };
                let _ = all.insert(name.clone());
                fields(value, &name, all);
            }
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| fields(item, &format!("{before}[]"), all)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The names in the first column of a table of the page.
fn documented(head: &str) -> BTreeSet<String> {
    let page = page();
    let (_, after) = page.split_once(head).unwrap();
    let rows = after.lines().take_while(|line| line.starts_with('|'));
    let names = rows.flat_map(|row| {
        row.split('|')
            .nth(1)
            .unwrap_or_default()
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    names.collect()
}

#[test]
fn every_field_that_is_printed_as_json_is_in_the_page() {
    let status: Value = serde_json::from_str(&printed("kubectl cordonhold status -o json")).unwrap();
    let mut printed_fields = BTreeSet::new();
    fields(&status, "", &mut printed_fields);
    let documented_status = documented("| field of `status` | is |\n| --- | --- |\n");
    let missing: Vec<&String> = printed_fields.difference(&documented_status).collect();
    assert!(missing.is_empty(), "not in the page: {missing:?}");
    let yaml: Value = serde_saphyr::from_str(&printed("kubectl cordonhold status -o yaml")).unwrap();
    assert_eq!(yaml, status);

    let doctor: Value = serde_json::from_str(&printed("kubectl cordonhold doctor -o json")).unwrap();
    let mut of_doctor = BTreeSet::new();
    fields(&doctor, "", &mut of_doctor);
    let documented_doctor = documented("| field of `doctor` | is |\n| --- | --- |\n");
    let missing: Vec<&String> = of_doctor.difference(&documented_doctor).collect();
    assert!(missing.is_empty(), "not in the page: {missing:?}");

    let why: Value = serde_json::from_str(&printed("kubectl cordonhold why worker-17 -o json")).unwrap();
    let mut of_why = BTreeSet::new();
    fields(&why, "", &mut of_why);
    let documented_why = documented("| field of `why` | is |\n| --- | --- |\n");
    // The node is a row of status, and so are troubles and what was not seen.
    of_why.retain(|name| {
        !["node.", "troubles[]", "unseen[]"]
            .iter()
            .any(|same| name.starts_with(same))
    });
    let missing: Vec<&String> = of_why.difference(&documented_why).collect();
    assert!(missing.is_empty(), "not in the page: {missing:?}");

    let history: Value = serde_json::from_str(&printed("kubectl cordonhold history -o json")).unwrap();
    let mut of_history = BTreeSet::new();
    fields(&history, "", &mut of_history);
    let documented_history = documented("| field of `history` | is |\n| --- | --- |\n");
    of_history.retain(|name| !name.starts_with("unseen[]"));
    let missing: Vec<&String> = of_history.difference(&documented_history).collect();
    assert!(missing.is_empty(), "not in the page: {missing:?}");
}

/// What the page says of the fields that the cluster in memory does not show is there too.
#[test]
fn every_field_of_the_page_is_one_of_the_code() {
    let whole = everything();
    let mut all = BTreeSet::new();
    fields(&whole, "", &mut all);
    let documented = documented("| field of `status` | is |\n| --- | --- |\n");
    assert_eq!(documented, all);
}

/// A fleet whose every field is there.
fn everything() -> Value {
    use cordonhold_shared::fleet::{Place, Pool, Row, Trouble, Unseen, Webhook};
    let time: jiff::Timestamp = crate::clock::now();
    let text = || "x".to_owned();
    let fleet = Fleet {
        time,
        webhook: Webhook {
            namespace: text(),
            registered: Some(true),
            deployed: Some(true),
            ready: Some(1),
            replicas: Some(1),
            mode: Some(text()),
            exceptions: vec![text()],
            protects_kured: Some(true),
            has_ca: Some(true),
            ca_until: Some(time),
        },
        pools: vec![Pool {
            name: text(),
            nodes: 1,
            lock: vec![text()],
            holders: vec![text()],
            wishes: 1,
            next: Some(text()),
            paused: Some(text()),
            last_reboot: Some(time),
        }],
        nodes: vec![Row {
            node: text(),
            pool: Some(text()),
            state: State::Wanted,
            since: Some(time),
            detail: text(),
            hold: Some(text()),
            until: Some(time),
            asked_by: text(),
            requested: Some(text()),
            lock: Some(Place {
                object: text(),
                ours: true,
                sealed: true,
                since: text(),
            }),
            queue: Some(1),
            paused: Some(text()),
            keep_cordoned: Some(text()),
            cordoned: true,
            ready: true,
        }],
        troubles: vec![Trouble {
            kind: TroubleKind::AgentSilent,
            about: text(),
            node: Some(text()),
            says: text(),
            command: text(),
        }],
        unseen: vec![Unseen {
            what: text(),
            needs: Some(text()),
            says: text(),
        }],
    };
    serde_json::to_value(fleet).unwrap()
}
