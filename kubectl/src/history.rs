//! `history`: the last reboots of nodes, and who asked for an uncordon meanwhile, as text, data, a picture or a page.
//!
//! Not here: what is made of it ([`cordonhold_shared::history`]), and the page that follows a cluster (`ui`).

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use cordonhold_shared::fleet::{Told, Unseen};
use cordonhold_shared::history::{History, Line, Logs, Outcome, Record, Timeline, page, picture};
use cordonhold_shared::keys;
use cordonhold_shared::quote::quoted;
use cordonhold_shared::span::short_span;

use crate::args::{Format, HistoryArgs, HistoryFormat};
use crate::cluster::Cluster;
use crate::look::Scope;
use crate::text::{self, BAD, BUSY, Cell, FAINT, GOOD, PLAIN, STRONG};
use crate::{Ending, Error, clock, output};

/// The longest line of a log that is read: the audit entry of one object as large as etcd accepts, twice, and some more.
const LINE_MAX: u64 = 4 * 1024 * 1024;
/// The most that is read of one log: a day of a busy API server's audit log.
const LOG_MAX: u64 = 4 * 1024 * 1024 * 1024;

pub(crate) async fn run(cluster: &Cluster, args: &HistoryArgs) -> Result<Ending, Error> {
    let format = args.output;
    if format == Some(HistoryFormat::Svg) && args.node.is_none() {
        return Err(Error::Usage(
            "a picture shows one node: name it, or use -o html for all".to_owned(),
        ));
    }
    let logs = logs(args)?;
    let mut record = cluster.record(args.node.as_deref()).await?;
    record.logs = logs;
    let history = History::of(&record, args.node.as_deref(), clock::now());
    match format {
        Some(HistoryFormat::Json) => drop(output::document(Some(Format::Json), &history)?),
        Some(HistoryFormat::Yaml) => drop(output::document(Some(Format::Yaml), &history)?),
        Some(HistoryFormat::Html) => output::print(&page::of_history(&history))?,
        Some(HistoryFormat::Svg) => {
            let Some(newest) = history.reboots.first() else {
                output::note(&text::unseen(&history.unseen, None));
                return Err(Error::Usage(format!(
                    "no reboot of node {} is known: give a log with --webhook-log or --audit-log",
                    quoted(args.node.as_deref().unwrap_or_default())
                )));
            };
            output::print(&picture::file(newest))?;
        }
        None => output::print(&rendered(&history, args.node.is_some(), output::width()))?,
    }
    Ok(Ending::Fine)
}

impl Cluster {
    /// What the cluster knows of the past of a node, or of all.
    pub(crate) async fn record(&self, node: Option<&str>) -> Result<Record, Error> {
        let scope = Scope {
            nodes: node.map(str::to_owned).into_iter().collect(),
            ..Scope::default()
        };
        let nodes = self.nodes(&scope).await?;
        let mut unseen = Vec::new();
        let told = self
            .told_by(
                keys::AGENT_CONTROLLER,
                "the agents say",
                &scope.nodes,
                &mut unseen,
            )
            .await?;
        let denials = self.denials(&scope.nodes, &mut unseen).await?;
        Ok(Record {
            nodes,
            told,
            denials,
            logs: Logs::default(),
            unseen,
        })
    }

    /// What the webhook has said about requests for these nodes, or for all.
    pub(crate) async fn denials(
        &self,
        nodes: &[String],
        unseen: &mut Vec<Unseen>,
    ) -> Result<Vec<Told>, Error> {
        self.told_by(keys::WEBHOOK_CONTROLLER, "the webhook says", nodes, unseen)
            .await
    }
}

/// All logs that were given.
fn logs(args: &HistoryArgs) -> Result<Logs, Error> {
    let mut logs = Logs::default();
    let all = || args.webhook_log.iter().chain(&args.audit_log);
    if all().filter(|path| is_input(path)).count() > 1 {
        return Err(Error::Usage(
            "standard input is one log: give the others as files".to_owned(),
        ));
    }
    for path in &args.webhook_log {
        read(path, |line| logs.webhook_line(line))?;
    }
    for path in &args.audit_log {
        read(path, |line| logs.audit_line(line))?;
    }
    Ok(logs)
}

fn is_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn read(path: &PathBuf, take: impl FnMut(&str)) -> Result<(), Error> {
    let read = if is_input(path) {
        each_line(std::io::stdin().lock(), LINE_MAX, LOG_MAX, take)
    } else {
        File::open(path).and_then(|file| each_line(BufReader::new(file), LINE_MAX, LOG_MAX, take))
    };
    read.map_err(|source| Error::Log {
        path: path.display().to_string(),
        source,
    })
}

/// Takes each line; of one that is too long, its beginning, which is then no JSON.
fn each_line(
    log: impl BufRead,
    line_max: u64,
    log_max: u64,
    mut take: impl FnMut(&str),
) -> std::io::Result<()> {
    let mut total: u64 = 0;
    let mut line = Vec::new();
    // One byte more shows that there is more; a line without an end ends there too.
    let mut log = log.take(log_max.saturating_add(1));
    loop {
        line.clear();
        let read = (&mut log).take(line_max).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        take(&String::from_utf8_lossy(&line));
        let mut length = u64::try_from(read).unwrap_or(u64::MAX);
        if line.last() != Some(&b'\n') {
            length = length.saturating_add(skip_line(&mut log)?);
        }
        total = total.saturating_add(length);
        if total > log_max {
            return Err(std::io::Error::other(format!(
                "it has more than {log_max} bytes; give the part that matters"
            )));
        }
    }
}

/// Passes over the rest of a line; returns how long it was.
fn skip_line(log: &mut impl BufRead) -> std::io::Result<u64> {
    let mut passed = 0;
    loop {
        let known = log.fill_buf()?;
        let end = known.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(known.len(), |end| end + 1);
        log.consume(length);
        passed += u64::try_from(length).unwrap_or(u64::MAX);
        if end.is_some() || length == 0 {
            return Ok(passed);
        }
    }
}

/// The text: of one node all that happened, else a line for each reboot.
pub(crate) fn rendered(history: &History, is_one: bool, width: usize) -> String {
    let mut page = String::new();
    if history.reboots.is_empty() {
        page.push_str("no reboot is known\n");
    } else if is_one {
        let of_node: Vec<String> = history
            .reboots
            .iter()
            .map(|timeline| told(timeline, width))
            .collect();
        page.push_str(&of_node.join("\n"));
    } else {
        let rows: Vec<Vec<Cell>> = history.reboots.iter().map(row).collect();
        let heading = ["NODE", "BEGAN", "TOOK", "OUTCOME", "UNCORDONS"];
        page.push_str(&text::table(&heading, &rows, Some(width)));
    }
    if !history.others.is_empty() {
        page.push_str("\nUncordons outside of these reboots:\n");
        let others: Vec<(String, String)> = history
            .others
            .iter()
            .map(|other| {
                let one = &other.uncordon;
                let (node, by) = (quoted(&other.node), quoted(&one.by));
                (
                    format!("{:.0}", one.at),
                    format!("{node}: {} by {by} ({})", one.answer.as_str(), one.reason),
                )
            })
            .collect();
        let others: Vec<(&str, String)> = others
            .iter()
            .map(|(at, says)| (at.as_str(), says.clone()))
            .collect();
        page.push_str(&text::fields(&others, width));
    }
    let unseen = text::unseen(&history.unseen, Some(width));
    if !unseen.is_empty() {
        page.push('\n');
        page.push_str(&unseen);
    }
    page
}

fn row(timeline: &Timeline) -> Vec<Cell> {
    let words = timeline.uncordons_in_words();
    let uncordons = match words.as_str() {
        "" => Cell::new("-", FAINT),
        _ if timeline.uncordons.iter().any(|one| one.answer.lets_through()) => Cell::new(words, BAD),
        _ => Cell::plain(words),
    };
    vec![
        Cell::new(quoted(&timeline.node), STRONG),
        Cell::plain(format!("{:.0}", timeline.from)),
        Cell::plain(short_span(timeline.to.duration_since(timeline.from))),
        Cell::new(timeline.stands(), style(timeline.outcome)),
        uncordons,
    ]
}

fn style(outcome: Outcome) -> anstyle::Style {
    match outcome {
        Outcome::Rebooted => GOOD,
        Outcome::GoesOn => BUSY,
        Outcome::CalledOff => STRONG,
        Outcome::Unknown => PLAIN,
    }
}

/// One reboot, with all that happened.
fn told(timeline: &Timeline, width: usize) -> String {
    let head = format!("node {}: {}", quoted(&timeline.node), timeline.summary());
    let mut page = text::wrap(&head, width).join("\n");
    page.push_str("\n\n");
    let lines: Vec<Vec<Cell>> = timeline.lines().iter().map(cells).collect();
    page.push_str(&text::table(&["TIME", "WHAT", "DETAIL"], &lines, Some(width)));
    page
}

fn cells(line: &Line) -> Vec<Cell> {
    let about = if line.about { "~" } else { "" };
    let style = if line.is_bad { BAD } else { PLAIN };
    vec![
        Cell::plain(format!("{:.0}{about}", line.at)),
        Cell::new(line.what.clone(), if line.is_bad { BAD } else { STRONG }),
        Cell::new(line.detail.clone(), style),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_cut_and_the_next_one_is_whole() {
        let log = b"short\n0123456789abcdef\nlast";
        let mut lines = Vec::new();
        each_line(log.as_slice(), 8, 1000, |line| {
            lines.push(line.trim_end().to_owned());
        })
        .unwrap();
        assert_eq!(lines, ["short", "01234567", "last"]);
        let endless = std::io::BufReader::new(std::io::repeat(b'x'));
        for error in [
            each_line(log.as_slice(), 8, 10, |_| {}).unwrap_err(),
            each_line(endless, 8, 10, |_| {}).unwrap_err(),
        ] {
            assert!(error.to_string().contains("more than 10 bytes"), "{error}");
        }
    }
}
