//! Checks that what the pages link to exists, and that settings which must be repeated agree.

use std::fs;
use std::path::{Path, PathBuf};

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

/// The targets of a page's links, except links to the web.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://"))
}

#[test]
fn each_link_of_each_page_leads_to_a_file() {
    let pages = pages(&root());
    assert!(pages.iter().any(|page| page.ends_with("STYLE.md")));
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            let file = link.split('#').next().unwrap_or_default();
            let is_there = page.parent().unwrap().join(file).exists();
            assert!(is_there, "{} names {link}", page.display());
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
