//! Checks that the links, pages and flags of the manual are there, and that settings which must be repeated agree.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The folder of the manual, and the list of its pages, as mdBook reads it.
const MANUAL: &str = "docs";
const SUMMARY: &str = "docs/SUMMARY.md";

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every page, wherever it is.
fn pages(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory of the repository");
    let entries = entries.map(|entry| entry.expect("an entry of it").path());
    let is_ours = |path: &PathBuf| !path.ends_with("target") && !path.ends_with(".git");
    entries
        .filter(is_ours)
        .flat_map(|path| match path.extension() {
            _ if path.is_dir() => pages(&path),
            Some(extension) if extension == "md" => vec![path],
            _ => Vec::new(),
        })
        .collect()
}

/// The text of every page, by its path from the root.
fn texts() -> BTreeMap<PathBuf, String> {
    let of = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a page that can be read");
        let path = path.strip_prefix(root()).expect("a page below the root");
        (path.to_owned(), text)
    };
    pages(&root()).into_iter().map(of).collect()
}

/// The targets of a page's links, except links to the web.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://"))
}

/// What a link of this page leads to: a path from the root, and the heading there.
fn target<'a>(page: &Path, link: &'a str) -> (PathBuf, Option<&'a str>) {
    let (file, heading) = match link.split_once('#') {
        Some((file, heading)) => (file, Some(heading)),
        None => (link, None),
    };
    let folder = page.parent().expect("a page in a folder");
    let path = if file.is_empty() {
        page.to_owned()
    } else {
        folder.join(file)
    };
    let mut plain = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            let _ = plain.pop();
        } else {
            plain.push(part);
        }
    }
    (plain, heading)
}

/// The names of a page's headings in links, as GitHub and mdBook make them. Of equal headings only the first has this name.
fn headings(page: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let mut found = BTreeSet::new();
    for line in page.lines() {
        is_code ^= line.trim_start().starts_with("```");
        let text = line.trim_start_matches('#');
        if is_code || text.len() == line.len() || !text.starts_with(' ') {
            continue;
        }
        let letters = text
            .trim()
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let name = letters.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() });
        let _ = found.insert(name.collect());
    }
    found
}

#[test]
fn each_link_of_each_page_leads_to_a_file_and_a_heading() {
    let texts = texts();
    assert!(texts.contains_key(Path::new("STYLE.md")));
    for (page, text) in &texts {
        for link in links(text) {
            let (path, heading) = target(page, link);
            assert!(root().join(&path).exists(), "{} names {link}", page.display());
            let (Some(heading), Some(text)) = (heading, texts.get(&path)) else {
                continue;
            };
            assert!(
                headings(text).contains(heading),
                "{} names {link}",
                page.display()
            );
        }
    }
}

/// Without this a page would be in the folder and not in the book.
#[test]
fn the_summary_lists_each_page_of_the_manual_once() {
    let texts = texts();
    let summary = Path::new(SUMMARY);
    let mut listed: Vec<PathBuf> = links(&texts[summary])
        .map(|link| target(summary, link).0)
        .collect();
    listed.sort();
    let in_folder = texts
        .keys()
        .filter(|page| page.starts_with(MANUAL) && *page != summary);
    assert_eq!(listed, in_folder.cloned().collect::<Vec<_>>());
}

/// A rendered book has only its own pages.
#[test]
fn no_link_of_the_manual_leads_out_of_it() {
    for (page, text) in texts().iter().filter(|(page, _)| page.starts_with(MANUAL)) {
        for link in links(text) {
            let (path, _) = target(page, link);
            assert!(
                path.starts_with(MANUAL),
                "{} names {link}: name the file without a link",
                page.display()
            );
        }
    }
}

/// Flags that the manual names and that are another program's, or a tool's of this repository.
const OF_OTHERS: [&str; 14] = [
    "admission-control-config-file",
    "arch",
    "authorization-mode",
    "auto-prune",
    "field-selector",
    "from",
    "help",
    "key",
    "overwrite",
    "push",
    "repository",
    "self-heal",
    "set",
    "sync-policy",
];

/// The flags that a page names by themselves, as in `--period` or `--period=1h`.
fn flags(page: &str) -> impl Iterator<Item = &str> {
    let named = page.split("`--").skip(1);
    named.filter_map(|rest| {
        rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .next()
    })
}

/// The pages of flags are generated from the code. `kubectl.md` is about another program, whose command lines are tested there.
#[test]
fn each_flag_that_the_manual_names_is_a_flag() {
    let texts = texts();
    let generated = ["docs/flags.md", "docs/webhook-flags.md"].map(Path::new);
    let rows = generated.iter().flat_map(|page| texts[*page].lines());
    let known: BTreeSet<&str> = rows
        .filter(|line| line.starts_with("| `--"))
        .flat_map(|line| flags(line).take(1))
        .collect();
    for (page, text) in texts.iter().filter(|(page, _)| page.starts_with(MANUAL)) {
        if page.ends_with("kubectl.md") {
            continue;
        }
        for flag in flags(text) {
            assert!(
                known.contains(flag) || OF_OTHERS.contains(&flag),
                "{} names --{flag}",
                page.display()
            );
        }
    }
}

#[test]
fn style_names_a_file_for_nearly_every_rule() {
    let style = fs::read_to_string(root().join("STYLE.md")).unwrap();
    let rules = style.lines().filter(|line| line.starts_with("* ")).count();
    assert!(links(&style).count() * 4 > rules * 3, "{rules} rules");
}

/// clippy reads only the nearest clippy.toml, so the core's must repeat the workspace's settings.
#[test]
fn the_core_keeps_the_workspaces_settings_of_clippy() {
    let settings = |place: &str| fs::read_to_string(root().join(place).join("clippy.toml")).unwrap();
    let core = settings("shared");
    for line in settings(".").lines() {
        assert!(
            core.lines().any(|ours| ours == line),
            "shared/clippy.toml lacks {line}"
        );
    }
    assert_eq!(settings("shared/rt"), settings("."));
}

#[test]
fn what_the_pages_of_faults_and_failures_name_is_in_the_file_before_it() {
    for (page, least) in [("tests/faults.md", 55), ("tests/failures.md", 20)] {
        let named = check_names(Path::new(page));
        assert!(named >= least, "{page}: {named}");
    }
}

/// Checks that each name behind a link is in that file, and returns how many.
fn check_names(page: &Path) -> usize {
    let text = fs::read_to_string(root().join(page)).expect("a page");
    let mut named = 0;
    for rest in text.split("](").skip(1) {
        let (link, after) = rest.split_once(')').expect("a link that ends");
        let until = after.find(['[', ';', '|', '\n']).unwrap_or(after.len());
        let (file, _) = target(page, link);
        for name in after[..until].split('`').skip(1).step_by(2) {
            let content = fs::read_to_string(root().join(&file)).expect("a file that is linked");
            assert!(content.contains(name), "{} has no {name}", file.display());
            named += 1;
        }
    }
    named
}
