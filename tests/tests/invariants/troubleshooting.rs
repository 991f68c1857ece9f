//! What `docs/troubleshooting.md` says that people see is what they see: each text is in our sources, or another program prints it.
//!
//! Not here: whether the advice is right; most texts lead to a page that other tests hold against the code, see also `rehearsal`.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cordonhold_tests::install::manifests;

/// Where our programs and the chart have their texts.
const SOURCES: [&str; 6] = [
    "agent/src",
    "kubectl/src",
    "manifests/chart/templates",
    "manifests/src",
    "shared",
    "webhook/src",
];
/// What others print.
const OF_OTHERS: [(&str, &str); 13] = [
    ("denied the request:", "the API server, before our text"),
    (
        "denied the request: held: node",
        "the API server, and our text without its line",
    ),
    ("ValidatingAdmissionPolicy 'cordonhold-hold'", "the API server"),
    (
        "failed calling webhook \"nodes.cordonhold.dev\"",
        "the API server",
    ),
    ("no endpoints available for service", "the API server"),
    ("connection refused", "the API server"),
    ("context deadline exceeded", "the API server"),
    ("x509: certificate", "the API server"),
    ("Error uncordonning", "kured"),
    ("ErrImagePull", "the kubelet"),
    ("ContainerCreating", "the kubelet"),
    ("HTTP probe failed with statuscode: 503", "the kubelet"),
    ("insufficient quota to match these scopes", "the API server"),
];

/// The content of all files below a directory, but for tests. Lines that a backslash ends go on.
fn read_below(directory: &Path, all: &mut String) -> Result<()> {
    let entries =
        std::fs::read_dir(directory).with_context(|| format!("failed to read {}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            read_below(&path, all)?;
        } else if path
            .extension()
            .is_some_and(|end| ["rs", "tpl", "yaml"].iter().any(|known| end == *known))
        {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("failed to read {}", path.display()))?;
            let lines: Vec<&str> = text.split("\\\n").map(str::trim_start).collect();
            all.push_str(&lines.concat());
        }
    }
    Ok(())
}

/// What is in the first cells of the page's tables as text of a program.
fn seen(page: &str) -> Vec<&str> {
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| you see |"));
    let cells = rows.filter_map(|row| row.split(" | ").next());
    let texts = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let parts = texts.flat_map(|text| text.split('…').map(str::trim));
    parts.filter(|part| !part.is_empty()).collect()
}

#[test]
fn each_text_that_leads_to_a_row_of_troubleshooting_is_printed_by_us_or_by_others() -> Result<()> {
    let page = std::fs::read_to_string(manifests("../docs/troubleshooting.md"))?;
    let mut ours = String::new();
    for directory in SOURCES {
        read_below(&manifests("..").join(directory), &mut ours)?;
    }
    let texts = seen(&page);
    ensure!(texts.len() > 30, "only {} texts were found", texts.len());
    for text in &texts {
        let is_of_others = OF_OTHERS.iter().any(|(other, _)| other == text);
        ensure!(is_of_others || ours.contains(text), "nobody prints {text:?}");
    }
    for (text, who) in OF_OTHERS {
        ensure!(texts.contains(&text), "no row has {text:?}, which {who} prints");
    }
    Ok(())
}
