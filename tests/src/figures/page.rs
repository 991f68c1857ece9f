//! The page `docs/figures.md` and its pictures, made of the record alone.
//!
//! Not here: the record (`record`), and how a bar is drawn (`picture`).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::record::{Recorded, kept};
use super::{Benchmark, Figure, picture};

const HEAD: &str = "\
# Figures

Each figure is ours beside a peer's, measured in the same run, by turns, because machines differ and are never alone.
The ratio is ours over the peer's; only ratios say something about another machine.
A goal with `×` is about the ratio, one without about our value.
A figure without a peer says so: none was to be had, and none is taken from elsewhere.

In a picture, a bar to the right is how many times better than the peer ours is, and one to the left how many times worse; the small mark is the goal.

`cargo figures` measures again, and `cargo figures --check` compares with these figures: it fails if a ratio is worse by more than the margin of its row.
This page is generated from `tests/figures.jsonl`, which `cargo figures NAME --record` writes anew; `cargo figures --write` writes the page alone.
";

/// A file of the manual: its name and its text.
pub type File = (String, String);

/// Writes the page and its pictures. Returns their names.
pub fn write() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for (name, text) in files(&kept()?) {
        let path = docs().join(&name);
        std::fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        names.push(name);
    }
    Ok(names)
}

/// The page and its pictures as this record gives them.
fn files(recorded: &[Recorded]) -> Vec<File> {
    let mut page = HEAD.to_owned();
    let mut files = Vec::new();
    for benchmark in Benchmark::ALL {
        let of: Vec<&Recorded> = recorded
            .iter()
            .filter(|recorded| recorded.figure.benchmark() == benchmark.name())
            .collect();
        let Some(first) = of.first() else { continue };
        let figures: Vec<&Figure> = of.iter().map(|recorded| &recorded.figure).collect();
        page.push_str(&section(benchmark, first, &figures));
        if let Some(drawn) = picture::of(benchmark, &figures) {
            files.push((picture_name(benchmark), drawn));
        }
    }
    files.push(("figures.md".to_owned(), page));
    files
}

fn picture_name(benchmark: Benchmark) -> String {
    format!("figures-{}.svg", benchmark.name())
}

fn section(benchmark: Benchmark, Recorded { machine, on, .. }: &Recorded, figures: &[&Figure]) -> String {
    let name = benchmark.name();
    let missed: Vec<String> = figures
        .iter()
        .filter(|figure| !figure.met)
        .map(|figure| format!("`{}`", figure.name))
        .collect();
    let missed = if missed.is_empty() {
        String::new()
    } else {
        format!("Not met: {}.\n", missed.join(", "))
    };
    let image = if figures.iter().any(|figure| figure.ratio.is_some()) {
        format!(
            "![{name}: ours beside its peer's, as in the table]({})\n\n",
            picture_name(benchmark)
        )
    } else {
        String::new()
    };
    format!(
        "\n## {name}\n\n{}\nThe peer: {}.\nMeasured on {on}, on a machine with {} cores, {}, Linux {}.\n{missed}\n{image}{}",
        // A sentence a line, as in every page.
        benchmark.about().replace(". ", ".\n"),
        benchmark.peer(),
        machine.cores,
        machine.cpu,
        machine.kernel,
        table(figures)
    ) + &spent(benchmark)
}

fn spent(benchmark: Benchmark) -> String {
    match benchmark.spent() {
        "" => String::new(),
        spent => format!("\n**Where it goes.** {}\n", spent.replace(". ", ".\n")),
    }
}

fn table(figures: &[&Figure]) -> String {
    let mut table = "| figure | ours | the peer's | ratio | unit | goal | met | margin |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n".to_owned();
    for figure in figures {
        let met = match (figure.goal, figure.met) {
            (super::Goal::None, _) => "",
            (_, true) => "yes",
            (_, false) => "**no**",
        };
        // Writing into a String cannot fail.
        writeln!(
            table,
            "| `{}` | {} | {} | {} | {} | {} | {met} | {} |",
            figure.name,
            figure.ours,
            figure
                .theirs
                .map_or_else(|| "none".to_owned(), |theirs| theirs.to_string()),
            figure
                .ratio
                .map_or_else(|| "-".to_owned(), |ratio| ratio.to_string()),
            figure.unit,
            figure.goal,
            figure
                .ratio
                .map_or_else(|| "-".to_owned(), |_| figure.margin.to_string()),
        )
        .unwrap_or_default();
    }
    table
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_the_record_gives() {
        for (name, text) in files(&kept().unwrap()) {
            assert!(
                std::fs::read_to_string(docs().join(&name)).is_ok_and(|kept| kept == text),
                "docs/{name} is out of date: write it anew with `cargo figures --write`"
            );
        }
    }

    #[test]
    fn every_recorded_figure_is_on_the_page_with_its_values_and_of_a_benchmark() {
        let kept = kept().unwrap();
        let page = files(&kept).pop().unwrap().1;
        for Recorded { figure, .. } in &kept {
            let row = format!("| `{}` | {} | ", figure.name, figure.ours);
            assert_eq!(page.matches(&row).count(), 1, "{row}");
        }
    }

    #[test]
    fn no_other_picture_of_figures_is_in_the_manual() {
        let drawn: Vec<String> = files(&kept().unwrap())
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        for entry in std::fs::read_dir(docs()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(
                !name.starts_with("figures") || drawn.contains(&name),
                "docs/{name} is nobody's"
            );
        }
    }
}
