//! The recorded figures: `tests/figures.jsonl`, and whether a new run is as good.
//!
//! Ratios are compared and times never, because the machine of the record is not this one. Not here: the page that is made of the record.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::Figure;

/// A figure, and where it was measured: a line of the record, and of `cargo figures --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    #[serde(flatten)]
    pub figure: Figure,
    pub machine: Machine,
    /// The day, in UTC.
    pub on: String,
}

/// What kind of machine it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub cores: usize,
    pub cpu: String,
    pub kernel: String,
}

impl Machine {
    /// This machine.
    pub fn here() -> Result<Self> {
        let cores = std::thread::available_parallelism().context("failed to count the cores")?;
        let kernel = read("/proc/sys/kernel/osrelease")?;
        let model = read("/proc/cpuinfo")?;
        let model = model
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        Ok(Self {
            cores: cores.get(),
            // Some architectures tell no model.
            cpu: model
                .map_or(std::env::consts::ARCH, |(_, name)| name.trim())
                .to_owned(),
            // What its builder adds says nothing about the figures.
            kernel: kernel.trim().split('-').next().unwrap_or_default().to_owned(),
        })
    }
}

/// These figures as lines of a record of this machine.
pub fn of_this_run(figures: &[Figure]) -> Result<Vec<Recorded>> {
    let (machine, on) = (
        Machine::here()?,
        jiff::Timestamp::now().strftime("%F").to_string(),
    );
    let recorded = |figure: &Figure| Recorded {
        figure: figure.rounded(),
        machine: machine.clone(),
        on: on.clone(),
    };
    Ok(figures.iter().map(recorded).collect())
}

/// Reads the record.
pub fn kept() -> Result<Vec<Recorded>> {
    let path = path();
    let text = read(&path)?;
    let understood = |line| {
        serde_json::from_str(line)
            .with_context(|| format!("failed to understand a line of {}: {line}", path.display()))
    };
    text.lines().map(understood).collect()
}

/// Writes the record anew: these, and what it had of other benchmarks.
pub fn keep(new: Vec<Recorded>) -> Result<()> {
    let mut all = kept()?;
    all.retain(|old| {
        new.iter()
            .all(|new| new.figure.benchmark() != old.figure.benchmark())
    });
    all.extend(new);
    all.sort_by(|one, other| one.figure.benchmark().cmp(other.figure.benchmark()));
    let mut text = String::new();
    for recorded in &all {
        text.push_str(&serde_json::to_string(recorded)?);
        text.push('\n');
    }
    fs::write(path(), text).with_context(|| format!("failed to write {}", path().display()))
}

/// What is worse than the record by more than its margin, or in one of the two alone. A sentence each.
pub fn regressions(kept: &[Recorded], measured: &[Figure]) -> Vec<String> {
    let is_measured = |recorded: &Figure| {
        measured
            .iter()
            .any(|figure| figure.benchmark() == recorded.benchmark())
    };
    let lost = kept
        .iter()
        .map(|recorded| &recorded.figure)
        .filter(|recorded| is_measured(recorded));
    let lost = lost.filter(|recorded| measured.iter().all(|figure| figure.name != recorded.name));
    let lost = lost.map(|recorded| {
        format!(
            "{} is recorded and was not measured: record anew with --record",
            recorded.name
        )
    });
    let worse = measured.iter().filter_map(|figure| {
        let recorded = kept.iter().find(|recorded| recorded.figure.name == figure.name);
        match recorded {
            Some(recorded) => regression(&recorded.figure, figure),
            None => Some(format!(
                "{} is not recorded: record it with --record",
                figure.name
            )),
        }
    });
    worse.chain(lost).collect()
}

fn regression(recorded: &Figure, measured: &Figure) -> Option<String> {
    let (was, is) = (recorded.ratio?, measured.ratio.unwrap_or(f64::NAN));
    let worse = if measured.is_more_better() {
        was / is
    } else {
        is / was
    };
    // So that what could not be measured is a regression.
    let is_as_good = worse <= measured.margin;
    (!is_as_good).then(|| {
        format!(
            "{}: the ratio was {was:.3} when it was recorded and is {is:.3} now, {worse:.2} times worse; its margin is {:.2}",
            measured.name, measured.margin
        )
    })
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("figures.jsonl")
}

fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::Goal;
    use super::*;

    fn recorded(figure: Figure) -> Recorded {
        of_this_run(&[figure]).unwrap().remove(0)
    }

    fn found(was: (f64, f64), is: (f64, f64), unit: &str) -> Vec<String> {
        let of = |both| Figure::new("f-x", both, unit, Goal::None).within(2.0);
        regressions(&[recorded(of(was))], &[of(is)])
    }

    #[test]
    fn a_ratio_may_be_worse_than_recorded_up_to_the_margin_on_a_machine_of_any_speed() {
        assert!(found((1.0, 10.0), (19.0, 100.0), "ms").is_empty());
        assert!(found((10.0, 1.0), (51.0, 10.0), "reviews/s").is_empty());
        assert!(
            found((1.0, 10.0), (0.1, 10.0), "ms").is_empty(),
            "better is never worse"
        );
        let worse = found((1.0, 10.0), (21.0, 100.0), "ms");
        assert_eq!(
            worse,
            [
                "f-x: the ratio was 0.100 when it was recorded and is 0.210 now, 2.10 times worse; its margin is 2.00"
            ]
        );
        assert_eq!(found((10.0, 1.0), (4.9, 1.0), "reviews/s").len(), 1);
        assert_eq!(found((10.0, 1.0), (f64::NAN, 1.0), "ms").len(), 1);
    }

    #[test]
    fn a_figure_that_only_the_record_or_only_the_run_has_is_told() {
        let of = |name: &str| Figure::alone(name, 1.0, "MB", Goal::None);
        let kept = [recorded(of("a-1")), recorded(of("b-1"))];
        assert!(
            regressions(&kept, &[of("a-1")]).is_empty(),
            "b was not to be measured"
        );
        let told = regressions(&kept, &[of("a-2")]);
        assert!(
            told.len() == 2
                && told[0].starts_with("a-2 is not recorded")
                && told[1].starts_with("a-1 is recorded")
        );
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let line = recorded(Figure::new("f-x", (1.0, 3.0), "ms", Goal::AtMost(0.5)));
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(serde_json::from_str::<Recorded>(&text).unwrap(), line);
        assert!(
            text.contains("\"ratio\":0.3333,") && text.contains("\"goal\":{\"atMost\":0.5}"),
            "{text}"
        );
    }
}
