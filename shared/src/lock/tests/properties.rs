//! Properties of every record: it is read as it was written, and no change of it lets more nodes in than allowed.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const NODES: [&str; 4] = ["a", "b", "c", "d"];
/// Values of `created`. The first two are the same instant, as we and as Go write it.
const TIMES: [&str; 4] = [
    "2026-11-23T10:00:00.500000000Z",
    "2026-11-23T10:00:00.5Z",
    "2026-11-23T10:00:00.000000001Z",
    "2026-11-23T11:00:00Z",
];

/// Fields that a future version may write into an entry.
fn any_foreign() -> impl Strategy<Value = Map<String, Value>> {
    let value = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
        Just(json!({ "deep": [1, null, { "er": "x" }] })),
    ];
    proptest::collection::btree_map("x-[a-zA-Z]{0,6}", value, 0..3).prop_map(|map| map.into_iter().collect())
}

/// An entry of ours in any state.
fn any_of_ours() -> impl Strategy<Value = Entry> {
    let name = (proptest::sample::select(&NODES), proptest::sample::select(&TIMES));
    let texts = ("[a-f0-9]{0,4}", "[a-f0-9]{0,4}", "(1\\.[0-9])?");
    let numbers = (0..4_u8, proptest::option::of(any::<u128>()));
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (name, texts, numbers, flags, any_foreign()).prop_map(
        |((node, created), (uid, boot_id, init), (attempts, write), flags, rest)| Entry {
            boot_id,
            init,
            attempts,
            write: write.map(Proof::new),
            sealed: flags.0,
            given_back: flags.1,
            uncordon_wanted: if flags.2 {
                format!("{created} - jo")
            } else {
                String::new()
            },
            rest,
            ..Entry::new(node, &uid, created, flags.2)
        },
    )
}

/// An entry of ours, of kured, or the manual lock.
fn any_entry() -> impl Strategy<Value = Entry> {
    let ttl = proptest::sample::select(vec![0, 1_800_000_000_000]);
    let kureds = (any_of_ours(), ttl).prop_map(|(entry, ttl_nanos)| Entry { ttl_nanos, ..entry });
    let created = proptest::sample::select(vec!["", "0001-01-01T00:00:00Z"]);
    let ttl = proptest::sample::select(vec![0, OUR_TTL]);
    let by_hand = (created, ttl).prop_map(|(created, ttl_nanos)| Entry {
        ttl_nanos,
        ..Entry::new("manual", "", created, false)
    });
    prop_oneof![6 => any_of_ours(), 3 => kureds, 1 => by_hand]
}

fn any_record() -> impl Strategy<Value = Record> {
    let entries = proptest::collection::vec(any_entry(), 0..5);
    (entries, proptest::option::of(1..5_i64)).prop_map(|(entries, max_owners)| Record { entries, max_owners })
}

/// The list as kured rewrites it: only the fields that it knows, and no trailing zeros in fractions.
fn as_kured_writes(record: &Record) -> String {
    let entries = record.entries.iter().map(|entry| {
        let time = entry.created.trim_end_matches('Z').to_owned();
        let time = if time.contains('.') {
            time.trim_end_matches('0').to_owned()
        } else {
            time
        };
        json!({
            "nodeID": entry.node,
            "metadata": { "unschedulable": entry.metadata.unschedulable },
            "created": if time.is_empty() { "0001-01-01T00:00:00Z".to_owned() } else { format!("{time}Z") },
            "TTL": entry.ttl_nanos,
        })
    });
    json!({ "maxOwners": record.max_owners, "locks": entries.collect::<Vec<_>>() }).to_string()
}

/// JSON that means the same to Go: with names in any case, and a `null` beside a value.
fn as_go_takes_it(value: &Value, chance: &mut u64) -> String {
    match value {
        Value::Object(object) => {
            let parts = object.iter().map(|(name, value)| {
                // Fields of a newer version stay as they are.
                if name.starts_with("x-") {
                    return format!("{}:{value}", json!(name));
                }
                let letter = |c: char| if flip(chance) { c.to_ascii_uppercase() } else { c };
                let written: String = name.chars().map(letter).collect();
                let value = as_go_takes_it(value, chance);
                match (name.as_str(), flip(chance), flip(chance)) {
                    ("locks", ..) | (_, false, _) => format!("{written:?}:{value}"),
                    (_, true, true) => format!("{name:?}:null,{written:?}:{value}"),
                    (_, true, false) => format!("{written:?}:{value},{name:?}:null"),
                }
            });
            format!("{{{}}}", parts.collect::<Vec<_>>().join(","))
        }
        Value::Array(list) => {
            let parts: Vec<String> = list.iter().map(|value| as_go_takes_it(value, chance)).collect();
            format!("[{}]", parts.join(", "))
        }
        other => other.to_string(),
    }
}

fn flip(chance: &mut u64) -> bool {
    *chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    *chance >> 63 == 1
}

/// Who holds the lock. The manual lock is left without an identity, because kured changes its `created`.
fn holders(record: &Record) -> Vec<(Option<EntryId>, bool)> {
    let name = |entry: &Entry| (!entry.is_by_hand()).then(|| entry.id());
    record
        .entries
        .iter()
        .map(|entry| (name(entry), entry.is_ours()))
        .collect()
}

/// The nodes that have an entry in the record.
fn nodes(record: &Record) -> BTreeSet<&str> {
    record.entries.iter().map(|entry| entry.node.as_str()).collect()
}

/// A change of the lock. Nodes are indexes into [`NODES`], times are indexes into [`TIMES`].
#[derive(Clone, Debug)]
enum Act {
    Acquire(usize, usize),
    Confirm(usize, usize),
    Keep(usize, usize),
    Release(usize, usize),
    /// kured rewrites the list.
    Rewrite,
}

fn any_act() -> impl Strategy<Value = Act> {
    let entry = || (0..NODES.len(), 0..TIMES.len());
    prop_oneof![
        4 => entry().prop_map(|(node, time)| Act::Acquire(node, time)),
        2 => entry().prop_map(|(node, time)| Act::Confirm(node, time)),
        1 => entry().prop_map(|(node, time)| Act::Keep(node, time)),
        2 => entry().prop_map(|(node, time)| Act::Release(node, time)),
        1 => Just(Act::Rewrite),
    ]
}

/// The record after this change, if it changes, and the only node whose entry it may have touched.
fn act(record: &Record, act: &Act, concurrency: usize) -> Option<(Record, &'static str)> {
    let (over, held) = (BTreeSet::new(), BTreeSet::new());
    let id = |node: usize, time: usize| EntryId::new(NODES[node], TIMES[time]);
    match *act {
        Act::Acquire(node, time) => {
            let mine = Entry::new(NODES[node], "u", TIMES[time], false);
            let mine = mine.acquired_in(&boot("b"), 0, Proof::new(1));
            let next = record.acquired(mine, concurrency, &over, &held);
            next.ok().map(|next| (next, NODES[node]))
        }
        Act::Confirm(node, time) => record
            .confirmed(&id(node, time), &boot("b"), 1, None, None)
            .map(|next| (next, NODES[node])),
        Act::Keep(node, time) => record.kept(&id(node, time)).map(|next| (next, NODES[node])),
        Act::Release(node, time) => record.released(&id(node, time)).map(|next| (next, NODES[node])),
        Act::Rewrite => Some((super::record(&as_kured_writes(record)), "")),
    }
}

proptest! {
    #[test]
    fn a_record_is_read_as_it_was_written_and_what_a_newer_version_wrote_is_kept(record in any_record()) {
        let Some(text) = record.render() else {
            prop_assert!(record.entries.is_empty());
            return Ok(());
        };
        let read = super::record(&text);
        prop_assert_eq!(&read.entries, &record.entries);
        let is_single = record.max_owners.is_none() && record.entries.len() == 1;
        prop_assert_eq!(read.max_owners.is_none(), is_single);
        prop_assert_eq!(read.render(), Some(text));
    }

    #[test]
    fn found_p17_every_record_is_read_as_gos_decoder_takes_it(record in any_record(), chance in any::<u64>()) {
        let Some(text) = record.render() else { return Ok(()) };
        let value: Value = serde_json::from_str(&text).unwrap();
        let as_go = as_go_takes_it(&value, &mut chance.clone());
        prop_assert_eq!(super::record(&as_go), super::record(&text), "{}", as_go);
    }

    #[test]
    fn a_list_that_kured_wrote_anew_has_the_same_holders(record in any_record()) {
        let rewritten = super::record(&as_kured_writes(&record));
        prop_assert_eq!(holders(&rewritten), holders(&record));
        for entry in record.entries.iter().filter(|entry| !entry.is_by_hand()) {
            let released = rewritten.released(&entry.id());
            prop_assert!(released.is_some_and(|released| released.entry(&entry.id()).is_none()));
        }
    }

    #[test]
    fn fail_safe_reading_any_text_is_a_record_of_named_nodes_or_malformed(
        text in ".{0,24}|([{}\\[\\],: ]|null|7|\"(nodeID|NODEID|locks|TTL|created|metadata|x)?\"){0,14}",
    ) {
        match Record::read(Some(&text)) {
            Reading::Absent => prop_assert!(false, "a text is there"),
            Reading::Present(record) => prop_assert!(record.entries.iter().all(|entry| !entry.node.is_empty())),
            Reading::Malformed(why) => prop_assert!(!why.is_empty() && !why.contains('\n'), "{}", why),
        }
    }

    #[test]
    fn at_most_n_whatever_is_done_to_the_lock_in_whatever_order(
        acts in proptest::collection::vec(any_act(), 0..40), concurrency in 1..4_usize,
    ) {
        let mut record = Record::default();
        for one in &acts {
            let Some((next, of)) = act(&record, one, concurrency) else { continue };
            let next = Record::read(next.render().as_deref()).present().unwrap_or_default();
            prop_assert!(nodes(&next).len() <= concurrency, "{:?}: {:?}", one, next);
            let others = |record: &Record| record.entries.iter().filter(|entry| entry.node != of).cloned().collect::<Vec<_>>();
            prop_assert!(of.is_empty() || others(&next) == others(&record), "{:?}: {:?}", one, next);
            record = next;
        }
    }

    #[test]
    fn at_most_n_a_lock_is_acquired_only_where_there_is_room(
        record in any_record(), mine in any_of_ours(), concurrency in 0..4_usize,
        over in proptest::collection::btree_set(0..5_usize, 0..3),
        held in proptest::collection::btree_set(proptest::sample::select(&NODES), 0..3),
    ) {
        let over: BTreeSet<EntryId> = over.iter().filter_map(|place| record.entries.get(*place)).map(Entry::id).collect();
        let held: BTreeSet<String> = held.into_iter().map(str::to_owned).collect();
        let is_left = |entry: &&Entry| !over.contains(&entry.id()) && (entry.node != mine.node || !entry.is_ours());
        let left: Vec<Entry> = record.entries.iter().filter(is_left).cloned().collect();
        let mut slots: BTreeSet<String> = left.iter().map(|entry| entry.node.clone()).collect();
        let is_barred = slots.contains(&mine.node) || left.iter().any(Entry::is_by_hand);
        slots.extend(held.iter().filter(|node| **node != mine.node).cloned());
        match record.acquired(mine.clone(), concurrency, &over, &held) {
            Ok(next) => {
                prop_assert!(!is_barred && slots.len() < concurrency.max(1));
                // No other node's entry is lost, and ours is there once.
                prop_assert_eq!(&next.entries[..left.len()], left.as_slice());
                prop_assert_eq!(&next.entries[left.len()..], [mine]);
            }
            Err(holders) => {
                prop_assert!(is_barred || slots.len() >= concurrency.max(1));
                prop_assert_eq!(holders, slots);
            }
        }
    }
}
