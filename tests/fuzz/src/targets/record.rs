//! The record in the host's `/run`: it is read as it was written, and names the boot that it was written in.

use cordonhold_shared::host::{Boot, HostFile, RebootDeadline};

pub(super) const WORDS: &[&str] = &[
    "\"record\":{",
    "\"holder\":\"u/2026-11-23T10:00:00Z\"",
    "\"write\":\"7\"",
    "\"before\":\"6\"",
    "\"phase\":\"sealed\"",
    "\"wasUnschedulable\":true",
    "\"attempts\":1",
    "\"boot\":\"b/1.0\"",
    "\"uncordonWanted\":\"2026-11-23T10:00:00Z - jo\"",
    "\"writtenIn\":\"b/12.0\"",
    "\"toldUntil\":100",
    "null",
    "{}",
];

pub(super) fn check(input: &[u8]) {
    let Ok(file) = serde_json::from_slice::<HostFile>(input) else {
        return;
    };
    let text = serde_json::to_string(&file).expect("texts and numbers always render");
    let again: HostFile = serde_json::from_str(&text).expect("it was written by us");
    assert_eq!(again, file);
    drop(file.record.deferred());
    // A boot is never after itself, so that a reboot command of this boot is never forgotten.
    let (id, init) = file.written_in.split_once('/').unwrap_or((&file.written_in, ""));
    let boot = Boot {
        id: id.to_owned(),
        init: init.to_owned(),
    };
    assert_eq!(boot.is_after(&file.written_in), None);
    let told = file.told(&boot, u64::MAX);
    assert_eq!(told, file.told_until.map(|_| RebootDeadline::Passed));
}
