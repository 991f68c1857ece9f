//! Generates `docs/events.md`, the page of the log's events, and checks that it is up to date. It lists the reports of the cycle, and the
//! log lines that are not reports.
//!
//! A log line that is not a report needs a row in [`LINES`]. Not here: the reports' rows, see [`Report::ROWS`].

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use cordonhold_shared::reboot::blocker::Blocker;
use cordonhold_shared::reboot::cycle::{CallOff, Course, Disturbance, Level, Next, Report, Row};

use crate::manual;

/// A line of the agent's log that is not a report.
struct Line {
    event: &'static str,
    levels: &'static [&'static str],
    /// The line's fields beside `node`.
    fields: &'static [&'static str],
    /// What the line means, and what to do.
    meaning: &'static str,
}

const fn line(
    event: &'static str,
    levels: &'static [&'static str],
    fields: &'static [&'static str],
    meaning: &'static str,
) -> Line {
    Line {
        event,
        levels,
        fields,
        meaning,
    }
}

const DEBUG: &str = "debug";
const INFO: &str = "info";
const WARN: &str = "warn";
const ERROR: &str = "error";

#[rustfmt::skip]
const LINES: &[Line] = &[
    // Start and end.
    line("started", &[INFO], &["version"], "The agent has started. Nothing to do"),
    line("argument_warning", &[WARN], &[], "A flag or variable is accepted, but should be changed. The text says which, and how"),
    line("window", &[INFO], &["window", "is_open", "opens"], "When reboots may begin, said at the start; `opens` is there while no window is open. Nothing to do"),
    line("permission_missing", &[WARN, ERROR], &["permission"], "`warn`: the reboot does not need this permission, and the agent goes on. `error`: the agent does not start without it; grant it as `manifests/base/rbac-agent.yaml` does"),
    line("permissions_unknown", &[WARN], &["why"], "The agent could not ask the API server which permissions it has, and goes on without knowing. If it cannot reach the API server later either, fix the connection or the agent's login"),
    line("token_without_node", &[WARN], &["why"], "The API server cannot tell by the agent's token on which node it runs. Where the webhook is installed, it denies what the agent writes, so the agent waits and says `refused`. `why` says what is wrong and how to fix it. With `overlays/agent-alone` nobody asks for the node, and there is nothing to do"),
    line("stopping", &[INFO], &["signal"], "A signal ends the agent. Nothing is undone: the next agent process goes on from the host's record, else the lock's entry, else the marks on the Node"),
    line("finishing", &[INFO], &["evictions", "commands"], "Before it ends, the agent waits for the answers to this many evictions, and for the end of this many reboot commands. Nothing to do"),
    line("cut_off", &[WARN], &["why", "evictions", "commands"], "The agent ended while this many evictions had no answer and this many reboot commands ran. The PodDisruptionBudget of such an eviction may allow no other for two minutes"),
    // The host.
    line("host_taken", &[WARN], &["file"], "Another agent runs on this host, and this one waits until that one has ended. `fuser -v` on the file names its process: end one of the two"),
    line("sentinel_unreachable", &[WARN], &["path"], "The directory of `--reboot-sentinel` is neither on the host nor mounted in the pod, so nothing can ask for a reboot. Mount it, or name another path"),
    line("sentinel_unreadable", &[WARN], &["why"], "Nobody can tell whether the sentinel asks for a reboot: its file cannot be looked at, or its command cannot be run, was killed, took longer than a minute, or gave an answer that does not fit. Said once, until it can be told again. Fix what `why` says; the agent looks again after `--period`, at a file also for each scrape of the metrics"),
    line("sentinel_readable", &[INFO], &[], "After `sentinel_unreadable`: the sentinel can be told again. Nothing to do"),
    line("reboot_command", &[INFO], &["command"], "The agent runs the reboot command now. Nothing to do"),
    line("reboot_signal", &[INFO], &["signal"], "With `--reboot-method=signal`: the agent sends this signal to the host's init now. Nothing to do"),
    line("reboot_logind", &[INFO], &[], "With `--reboot-method=logind` or `auto`: the agent tells logind on the host to reboot now. Nothing to do"),
    line("reboot_without_logind", &[INFO], &["why"], "With `--reboot-method=auto`: `why` says that logind is not on the host's bus, or that there is no bus. The agent runs `--reboot-command` instead. Nothing to do"),
    line("reboot_inhibited", &[WARN], &["why"], "With `--reboot-method=logind` or `auto`: a program began to block the shutdown after the final check. logind was told nothing; the node is drained again, and its final check waits for the program that `why` names"),
    line("host_output", &[DEBUG, INFO], &["command", "status", "stdout", "stderr"], "What a command on the host printed. `info`: the reboot command; `debug`: a command that only asks the host something"),
    line("record_stays", &[WARN], &["why"], "The agent's record in the host's `/run` could not be removed or changed. An agent that restarts may wait for the rest of `--reboot-timeout`. Fix what `why` says"),
    // The lock and the pool.
    line("lock_chosen", &[INFO], &["lock", "annotation", "pool", "selector"], "`lock` is the object that carries the lock of this pool, in `annotation`. Nothing to do"),
    line("lock_moved", &[WARN], &["lock", "annotation"], "With `--lock-on=auto`: kured's DaemonSet has come or gone, and the lock is on this object now. A reboot that has its lock on the other object is called off at the final check, and tried again"),
    line("pool_unchecked", &[WARN], &["of", "why"], "`of` could not be read, so the agent cannot check whether the Node is in this pool, and in no other. It goes on; fix what `why` says"),
    line("pool_wrong", &[ERROR], &["why"], "The Node is not in this pool, or in another pool too, but it is held. The agent brings the hold to its end; once there is no hold, it refuses to start. Fix the pools' selectors"),
    line("kured_elsewhere", &[WARN], &["lock", "kured"], "A DaemonSet looks like kured's but is not the one that `--lock-on=auto` looks for, so the nodes of that kured have a budget of their own, beside the agents'. To share one budget, name that DaemonSet with `--ds-namespace` and `--ds-name`; to keep two, set `--lock-on=lease`"),
    line("kured_unsearched", &[WARN], &["why"], "The agent could not list the DaemonSets, so it cannot check whether kured runs elsewhere. It goes on; fix what `why` says"),
    // The drain.
    line("pod_evicted", &[DEBUG], &["uid"], "A pod was evicted. Nothing to do"),
    line("eviction_blocked", &[WARN], &["pod", "budget", "reason"], "A PodDisruptionBudget blocks an eviction, which is tried again. It passes once enough of the budget's pods are healthy elsewhere"),
    line("eviction_failed", &[WARN], &["pod", "reason"], "The API server or a webhook refuses an eviction, or does not answer. It is tried again; `reason` says what to fix"),
    line("delay_used", &[INFO], &["missing", "replaced", "still_missing"], "With `--reboot-delay`, at its end: how many evicted pods had no Ready replacement when it began, and how many of them got one in it. It is looked at every 10 s, at pods of Deployments and StatefulSets. If `missing` is always 0, try a shorter delay; if `still_missing` is often above 0, a longer one"),
    line("drained", &[INFO], &[], "All pods that had to leave have left. Nothing to do"),
    // Watches, Events, conditions and metrics.
    line("watch_lost", &[WARN], &["of", "why", "pause"], "A watch failed, and is tried again after the pause. Nothing to do, unless it goes on for minutes"),
    line("notice_lost", &[WARN], &["reason", "why"], "An Event on the Node could not be written. One about a wait is tried again while the node waits, after 30 s and then after twice as long each time, up to 30 min; only its first failure in a row is logged. One about a step is not tried again. The log has the same information"),
    line("conditions_written", &[DEBUG], &[], "The conditions of the Node were written. Nothing to do"),
    line("conditions_lost", &[WARN], &["why"], "The conditions of the Node could not be written. The agent tries again when the Node changes, and after 15 s if there was no answer; fix what `why` says"),
    line("message_sent", &[DEBUG], &["to", "url", "message"], "A message to people was delivered to the `--notify-url` of this number, counted from 1; `to` is its service. Nothing to do"),
    line("message_known", &[DEBUG], &["message"], "The agent has restarted in a step whose message was sent before, so it sends none. Nothing to do"),
    line("message_lost", &[WARN], &["to", "url", "message", "why"], "A message to people was not delivered. `url` counts the `--notify-url`, from 1, `to` is its service, and `why` says what it answered; the URL itself is never shown. The reboot goes on"),
    line("message_unrecorded", &[WARN], &["why"], "The host does not keep which messages were sent, so an agent that restarts may send one again. Fix what `why` says"),
    line("messages_cut_off", &[WARN], &["messages"], "The agent ended while this many messages to people waited to be sent. Nothing to do"),
    line("silence_made", &[INFO], &["alerts", "until"], "With `--silence-url`: Alertmanager silences these alerts until then, unless the silence is extended or cut before. Nothing to do"),
    line("silence_extended", &[DEBUG], &["alerts", "until"], "A silence ends later, because the hold lives. Nothing to do"),
    line("silence_cut", &[INFO], &["alerts"], "A silence has ended, because the cordon is given back, or because an earlier process left it. Nothing to do"),
    line("silence_failed", &[DEBUG, WARN], &["url", "why"], "An Alertmanager could not be asked for the silences of the node, or refused, and the next `--silence-url` is asked at once. `url` counts the `--silence-url`, from 1; `why` says what to fix. `warn`: for the first three different failures in a row. The reboot goes on; a silence that is there ends by itself"),
    line("silence_answered", &[INFO], &[], "After `silence_failed`: Alertmanager answers again. Nothing to do"),
    line("metrics_served", &[INFO], &["host", "port"], "The port for metrics and probes is served now, after `metrics_unserved`. Nothing to do"),
    line("metrics_unserved", &[WARN], &["host", "port", "why"], "The agent cannot listen on the port for metrics and probes, and tries again. Choose another with `--metrics-port` or `--metrics-host`"),
    line("metrics_accept_failed", &[WARN], &["why"], "The agent failed to accept a connection for metrics or probes. Nothing to do, unless it goes on for minutes"),
];

const HEAD: &str = "\
# Events of the agent

Each Event of the agent on a Node, such as `RebootBlocked`, has a section here.
So has each line of the agent's log that is about a reboot.
The log lines about the agent itself are [at the end](#the-agent-itself).
The Events of the webhook, such as `Held`, are in [reasons.md](reasons.md).

`kubectl describe node NAME` shows the Events of a node.
`kubectl get events --namespace default --field-selector reason=RebootBlocked` shows all Events with one reason.

In the commands of this page `NAME` is the node, the namespace is `cordonhold`, and the pool is `default`.

* A section begins with the text of the log line.
  The note of the Event begins with the same text; then the fields that say why follow in parentheses.
* An Event is a Warning if its log line has the level `warn` or `error`.
* [how-it-works.md](how-it-works.md#the-words) explains *hold*, *marks*, *seal* and the other words.

This page is generated from the code: `CORDONHOLD_WRITE_MANUAL=1 cargo test -p cordonhold-agent manual` writes it anew.

## How often an Event comes

* Each step of a reboot is one Event.
* Each reason for waiting is one Event, and so is each report that the agent repeats: its count grows while it goes on.
* The agent may create Events, and may not change them.
  So for a higher count it creates the Event again, with its newest text: after 10 minutes if the text has changed, and after 30 minutes if it has not and the node still waits.
* So one reason makes at most six Events an hour, as long as no step comes in between.
  If the API server keeps Events for an hour, one of them is there for as long as the node waits.
* A closed window alone is told once, because the Event says when the window opens.
* The next step ends a wait, and so does another reason for waiting.
  A reason that comes again after a step is told at once, but not twice within a minute.
  A reason that comes again after another reason is told 10 minutes after the last time.

## The fields of a log line

* `event` says what kind of line it is; only some debug lines have none.
  What an `event` means never changes.
* `node` is in each line.
* `holder` is in each line about [a reboot](#the-reboot): the holder of the last wish or hold that the agent has seen on its Node, if any.
";

/// The words that a field of a report has: the field, the reports by their heading, and the words with what each means.
type Words = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

const WORDS: &[Words] = &[
    ("by", "RebootBlocked", Blocker::REMEDIES),
    ("reason", "RebootCalledOff", CallOff::WORDS),
    ("reason", "RebootDisturbed", Disturbance::WORDS),
    ("next", "RebootDisturbed", Next::WORDS),
];

fn page() -> String {
    let mut page = HEAD.to_owned();
    page += "\n## The reboot\n";
    for row in Report::ROWS {
        page += &section(row);
        for (field, _, words) in WORDS.iter().filter(|(_, of, _)| *of == name(row)) {
            write!(page, "\n#### `{field}` of `{}`\n\n", name(row)).unwrap();
            page += &manual::head(&["word", "meaning"]);
            for (word, meaning) in *words {
                page += &manual::row([code(word), (*meaning).to_owned()]);
            }
        }
    }
    page += "\n## The agent itself\n\n";
    page += &manual::head(&["`event`", "level", "fields", "meaning, and what to do"]);
    for line in LINES {
        page += &manual::row([
            code(line.event),
            line.levels.join(", "),
            codes(line.fields),
            line.meaning.to_owned(),
        ]);
    }
    page
}

/// What people look for: the reason of the Event, or else the name of the log line.
fn name(row: &Row) -> &'static str {
    row.reason.unwrap_or(row.event)
}

/// The section of a report: what people read, where they read it, what it means, where to look, and what to do.
fn section(row: &Row) -> String {
    let texts: Vec<String> = row
        .texts
        .iter()
        .map(|text| format!("```text\n{text}\n```\n"))
        .collect();
    let event = row
        .reason
        .map_or(String::new(), |_| format!(", and {}", course(row.course)));
    let fields = if row.fields.is_empty() {
        String::new()
    } else {
        format!(", with {}", codes(row.fields))
    };
    format!(
        "\n### {}\n\n{}\nLog line `{}` ({}){fields}{event}.\n\n\
         **What it means.** {}.\n\n**How to look.** {}.\n\n**How to mend it.** {}.\n",
        name(row),
        texts.join("\nor\n\n"),
        row.event,
        level(row.level),
        row.meaning,
        row.look,
        row.mend
    )
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Info => INFO,
        Level::Warning => WARN,
        Level::Error => ERROR,
    }
}

/// What kind of Event it is.
fn course(course: Course) -> &'static str {
    match course {
        Course::Step => "an Event for this step",
        Course::Wait => "an Event for as long as the node waits for it",
        Course::Timed => "an Event that says itself until when",
        Course::Repeated => "an Event that is repeated while it goes on",
        Course::Remark => "an Event",
    }
}

fn code(word: &str) -> String {
    format!("`{word}`")
}

fn codes(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| code(word)).collect();
    words.join(", ")
}

/// Finds each event in the sources under this directory, with the level of its log line.
fn logged(directory: &Path) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for path in sources(directory) {
        let text = std::fs::read_to_string(&path).unwrap();
        for (at, key) in text.match_indices("event = \"") {
            let (before, after) = text.split_at(at);
            let event = after[key.len()..].split('"').next().unwrap();
            let call = &before[..before.rfind("!(").unwrap()];
            let level = call.rsplit(|c: char| !c.is_alphanumeric()).next().unwrap();
            found.extend([(event.to_owned(), level.to_owned())]);
        }
    }
    found
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn the_manual_of_events_is_what_the_code_says() {
    manual::assert_written("events.md", &page());
}

#[test]
fn each_report_has_a_section_of_its_own_and_each_set_of_words_a_report() {
    let names: Vec<&str> = Report::ROWS.iter().map(name).collect();
    let distinct: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(
        distinct.len(),
        names.len(),
        "two sections with one heading: {names:?}"
    );
    for (field, of, _) in WORDS {
        let row = Report::ROWS.iter().find(|row| name(row) == *of);
        let has_field = row.is_some_and(|row| row.fields.contains(field));
        assert!(has_field, "no report {of} has a field {field}");
    }
}

#[test]
fn every_line_of_the_log_has_its_row() {
    let listed: BTreeSet<(String, String)> = LINES
        .iter()
        .flat_map(|line| {
            line.levels
                .iter()
                .map(|level| (line.event.to_owned(), (*level).to_owned()))
        })
        .collect();
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let agent = logged(&crate_dir.join("src"));
    let unlisted: Vec<_> = agent.difference(&listed).collect();
    assert!(unlisted.is_empty(), "logged and not listed: {unlisted:?}");
    // `shared/rt` logs for the agent too.
    let runtime = logged(&crate_dir.join("../shared/rt/src"));
    let everywhere: BTreeSet<_> = agent.union(&runtime).cloned().collect();
    let unlogged: Vec<_> = listed.difference(&everywhere).collect();
    assert!(unlogged.is_empty(), "listed and never logged: {unlogged:?}");
    let reports: BTreeSet<&str> = Report::ROWS.iter().map(|row| row.event).collect();
    let twice: Vec<_> = LINES
        .iter()
        .map(|line| line.event)
        .filter(|event| reports.contains(event))
        .collect();
    assert!(twice.is_empty(), "lines and reports: {twice:?}");
}
