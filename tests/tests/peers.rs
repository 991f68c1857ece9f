//! What is read here beside what others read of the same text: selectors by Kubernetes' own parser, the lock by kured's types. The texts are
//! the kept inputs of `tests/fuzz` and changes of them, and the Go module `fuzz-peer` reads them all in one run.
//!
//! Not here: reviews, beside the API's types (`tests/fuzz/src/targets/review.rs`).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use cordonhold_fuzz::mutation::Mutator;
use cordonhold_fuzz::{Target, corpus};
use cordonhold_shared::Reading;
use cordonhold_shared::lock::{Entry, EntryId, Record};
use cordonhold_shared::selector::Selector;
use cordonhold_tests::go_module;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// How many changed texts are read beside the kept ones. All together take some seconds, most of it the module's start.
const CHANGED: usize = 20_000;
const SEED: u64 = 21;
/// How many differences are told.
const TOLD: usize = 20;

/// The kept inputs of a target that are texts, and changes of them.
fn texts(target: &str) -> Result<BTreeSet<String>> {
    let target = Target::named(target).with_context(|| format!("no target {target}"))?;
    let kept = corpus::read(&target)?;
    let changed = Mutator::new(SEED, &kept, target.words).take(CHANGED);
    let all = kept.iter().cloned().chain(changed);
    Ok(all.filter_map(|input| String::from_utf8(input).ok()).collect())
}

/// What the Go module answers to each question.
fn answers<Q: Serialize, A: DeserializeOwned>(what: &str, questions: &[Q]) -> Result<Vec<A>> {
    let mut input = String::new();
    for question in questions {
        input += &serde_json::to_string(question)?;
        input.push('\n');
    }
    let (output, sent) = go_module::run("fuzz-peer", &[what], &input)?;
    ensure!(
        output.status.success(),
        "fuzz-peer ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    sent?;
    let answers: Vec<A> = String::from_utf8(output.stdout)?
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    ensure!(answers.len() == questions.len(), "{} answers", answers.len());
    Ok(answers)
}

/// Fails with the first of these.
fn none(differences: &[String]) -> Result<()> {
    ensure!(
        differences.is_empty(),
        "{} differences, such as\n{}",
        differences.len(),
        differences[..differences.len().min(TOLD)].join("\n")
    );
    Ok(())
}

type Labels = BTreeMap<String, String>;

#[derive(Serialize)]
struct SelectorQuestion {
    selector: String,
    labels: Vec<Labels>,
}

#[derive(Deserialize)]
struct SelectorAnswer {
    error: String,
    matches: Vec<bool>,
}

/// Sets of labels that the words of a selector can be about.
fn labels(selector: &str) -> Vec<Labels> {
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || "-_./+".contains(c);
    let mut words: Vec<&str> = selector
        .split(|c| !is_of_word(c))
        .filter(|word| !word.is_empty())
        .take(12)
        .collect();
    words.extend(["a", "zone", "6"]);
    let of = |value: &dyn Fn(usize) -> String| -> Labels {
        let named = words.iter().enumerate();
        named
            .map(|(index, key)| ((*key).to_owned(), value(index)))
            .collect()
    };
    let next = |by: usize| of(&|index| words[(index + by) % words.len()].to_owned());
    let number = |number: &str| of(&|_| number.to_owned());
    let mut sets = vec![
        Labels::new(),
        number(""),
        number("5"),
        number("-1"),
        number("+7"),
        number("10x"),
    ];
    sets.extend((0..4).map(next));
    sets
}

#[test]
fn selectors_are_read_and_match_as_in_kubernetes() -> Result<()> {
    let mut questions = Vec::new();
    // No argument has a NUL, which ends the text for Kubernetes' parser.
    for text in texts("selector")?.into_iter().filter(|text| !text.contains('\0')) {
        let labels = labels(&text);
        // The text that a query gets, which must mean the same.
        if let Ok(selector) = text.parse::<Selector>() {
            questions.push(SelectorQuestion {
                selector: selector.to_string(),
                labels: labels.clone(),
            });
        }
        questions.push(SelectorQuestion {
            selector: text,
            labels,
        });
    }
    let answers: Vec<SelectorAnswer> = answers("selectors", &questions)?;
    let mut differences = Vec::new();
    let (mut taken, mut matched) = (0, 0);
    for (question, answer) in questions.iter().zip(answers) {
        let told = |what: String| format!("{:?}: {what}", question.selector);
        match question.selector.parse::<Selector>() {
            Ok(_) if !answer.error.is_empty() => {
                differences.push(told(format!("taken, and there {}", answer.error)));
            }
            Err(error) if answer.error.is_empty() => differences.push(told(format!("refused: {error}"))),
            Err(_) => {}
            Ok(selector) => {
                let ours: Vec<bool> = question
                    .labels
                    .iter()
                    .map(|labels| selector.matches(labels))
                    .collect();
                taken += 1;
                matched += ours.iter().filter(|matches| **matches).count();
                if ours != answer.matches {
                    differences.push(told(format!(
                        "{:?}: {ours:?}, there {:?}",
                        question.labels, answer.matches
                    )));
                }
            }
        }
    }
    println!("{} selectors, {taken} taken, {matched} matches", questions.len());
    ensure!(taken > 1_000 && matched > 1_000, "too few selectors are one");
    none(&differences)
}

#[derive(Serialize)]
struct LockQuestion {
    text: String,
    now: Timestamp,
}

/// What a kured with one owner reads, and what one with several does.
#[derive(Deserialize)]
struct LockAnswer {
    single: KuredsReading,
    multi: KuredsReading,
}

#[derive(Deserialize)]
struct KuredsReading {
    error: String,
    entries: Vec<KuredsEntry>,
    /// The same, as kured writes it.
    rewritten: String,
}

#[derive(Deserialize)]
struct KuredsEntry {
    node: String,
    unschedulable: bool,
    created: String,
    ttl: i64,
    is_expired: bool,
}

impl LockAnswer {
    /// The reading of a kured that writes this shape.
    fn in_shape_of(&self, record: &Record) -> &KuredsReading {
        if record.max_owners.is_some() {
            &self.multi
        } else {
            &self.single
        }
    }
}

/// What kured sees of an entry.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    node: String,
    unschedulable: bool,
    /// `None` for the manual lock.
    created: Option<Timestamp>,
    ttl: i64,
    is_expired: bool,
}

impl Seen {
    fn here(entry: &Entry, now: Timestamp) -> Seen {
        Seen {
            node: entry.node.clone(),
            unschedulable: entry.metadata.unschedulable,
            created: entry.created.parse().ok().filter(|_| !entry.is_by_hand()),
            ttl: entry.ttl_nanos,
            // Without a time, an entry with a TTL ended in the year 1 to kured. Here it is a person's, who removes it.
            is_expired: entry.has_expired(now) || entry.is_by_hand() && entry.ttl_nanos > 0,
        }
    }

    fn by_kured(entry: &KuredsEntry) -> Seen {
        let is_zero = entry.created.starts_with("0001-01-01T00:00:00");
        Seen {
            node: entry.node.clone(),
            unschedulable: entry.unschedulable,
            created: entry.created.parse().ok().filter(|_| !is_zero),
            ttl: entry.ttl,
            is_expired: entry.is_expired,
        }
    }
}

/// The present records among these texts, with what kured reads of each.
fn records(
    texts: impl IntoIterator<Item = String>,
    now: Timestamp,
) -> Result<Vec<(String, Record, LockAnswer)>> {
    let questions: Vec<LockQuestion> = texts.into_iter().map(|text| LockQuestion { text, now }).collect();
    let answers: Vec<LockAnswer> = answers("locks", &questions)?;
    let read = |(question, answer): (LockQuestion, LockAnswer)| match Record::read(Some(&question.text)) {
        Reading::Present(record) => Some((question.text, record, answer)),
        Reading::Absent | Reading::Malformed(_) => None,
    };
    Ok(questions.into_iter().zip(answers).filter_map(read).collect())
}

/// Whether each time can be read here. One with more digits than nanoseconds, which nobody writes, counts as no time: such an entry is held until
/// a person removes it.
fn is_timed(record: &Record) -> bool {
    let is_time = |entry: &Entry| entry.is_by_hand() || entry.created.parse::<Timestamp>().is_ok();
    record.entries.iter().all(is_time)
}

/// The beginnings of what kured says of texts that are read here: it then takes no lock, and here the entries hold.
const KURED_STOPS: [&str; 4] = [
    // Another time than RFC 3339 has, or another value in a list.
    "parsing time ",
    "Time.UnmarshalJSON: ",
    "json: cannot unmarshal ",
    // The manual lock in the quotes of a shell.
    "invalid character '\\'' looking for beginning of value",
];

#[test]
fn at_most_n_the_lock_is_read_as_kured_reads_it() -> Result<()> {
    let now: Timestamp = "2026-11-23T10:20:00Z".parse()?;
    let mut differences = Vec::new();
    let mut stopped = 0;
    let records = records(texts("lock")?, now)?;
    for (text, record, answer) in &records {
        let theirs = answer.in_shape_of(record);
        if !theirs.error.is_empty() {
            stopped += 1;
            if !KURED_STOPS.iter().any(|why| theirs.error.starts_with(why)) {
                differences.push(format!("{text}: kured {}", theirs.error));
            }
            continue;
        }
        if !is_timed(record) {
            continue;
        }
        let ours: Vec<Seen> = record
            .entries
            .iter()
            .map(|entry| Seen::here(entry, now))
            .collect();
        let of_kured: Vec<Seen> = theirs.entries.iter().map(Seen::by_kured).collect();
        if ours != of_kured {
            differences.push(format!("{text}: {ours:?}, kured {of_kured:?}"));
        }
    }
    println!("{} records, {stopped} of which stop kured", records.len());
    ensure!(records.len() - stopped > 100, "too few are read by both");
    none(&differences)
}

/// What must be left of an entry: whose it is, which hold's, and when it ends.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    node: String,
    created: Option<EntryId>,
    ttl: i64,
    unschedulable: bool,
    is_ours: bool,
}

impl Left {
    fn of(entry: &Entry) -> Left {
        Left {
            node: entry.node.clone(),
            created: (!entry.is_by_hand()).then(|| entry.id()),
            ttl: entry.ttl_nanos,
            unschedulable: entry.metadata.unschedulable,
            is_ours: entry.is_ours(),
        }
    }
}

#[test]
fn at_most_n_what_is_written_here_is_left_after_kured_has_rewritten_it() -> Result<()> {
    let now: Timestamp = "2026-11-23T10:20:00Z".parse()?;
    let written = texts("lock")?.into_iter().filter_map(|text| {
        Record::read(Some(&text))
            .present()
            .and_then(|record| record.render())
    });
    let written: BTreeSet<String> = written.collect();
    let mut differences = Vec::new();
    let mut compared = 0;
    for (text, record, answer) in records(written, now)? {
        let theirs = answer.in_shape_of(&record);
        if !theirs.error.is_empty() || !is_timed(&record) {
            continue;
        }
        compared += 1;
        let left = |record: &Record| -> Vec<Left> { record.entries.iter().map(Left::of).collect() };
        match Record::read(Some(&theirs.rewritten))
            .present()
            .map(|again| left(&again))
        {
            Some(again) if again == left(&record) => {}
            other => differences.push(format!("{text}, rewritten {}: {other:?}", theirs.rewritten)),
        }
    }
    println!("{compared} records rewritten");
    ensure!(compared > 100, "too few are read by kured");
    none(&differences)
}
