//! `status --watch`: the fleet, live. On a terminal one screen that is drawn anew; else a line, or a JSON object, for each change. It feeds the
//! pages of `ui` too.
//!
//! The Nodes are watched, so a change shows at once. The locks, Events and the webhook are read again when a Node has changed, and every
//! [`READ_EVERY`].
//! Not here: what a screen shows (`status`).

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::pin::pin;
use std::time::Duration;

use cordonhold_rt::watch::{News, Target, Watch};
use cordonhold_rt::{exit, shutdown};
use cordonhold_shared::fleet::{Fleet, Row, Told, Trouble};
use cordonhold_shared::node::NodeView;
use cordonhold_shared::quote::{one_line, quoted};
use cordonhold_shared::watch::Change;
use futures_util::StreamExt as _;
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use crate::args::Format;
use crate::cluster::{Cluster, NODES, unreachable};
use crate::look::{Look, Scope};
use crate::status::{View, detail, known, rendered};
use crate::text::{BAD, FAINT, STRONG, painted, style_of, troubles};
use crate::ui::Feed;
use crate::{Ending, Error, clock, output};

/// How often locks, Events and the webhook are read if no Node changes: they are small, and a waiting agent looks about as often.
const READ_EVERY: Duration = Duration::from_secs(10);
/// Shortest time between two reads of them. A fleet that is busy changes a Node many times in a second.
const READ_PAUSE: Duration = Duration::from_secs(1);
/// Most failures in a row, of the watch or of the reads: with the growing pauses of the watch, some minutes.
const FAILURES_MAX: u32 = 20;
/// The codes by which a terminal keeps what was on it: another screen without a cursor, and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Puts the cursor at the top; the rest of a line and of the screen is cleared as it is drawn.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// How changes are shown.
enum Shown {
    /// On a screen that is drawn anew.
    Screen(Screen),
    /// As lines; what was said last about each node, and the troubles that are known.
    Lines {
        as_json: bool,
        rows: BTreeMap<String, Row>,
        troubles: Vec<Trouble>,
    },
    /// On the pages of a server.
    Pages(Feed),
}

/// The other screen of the terminal, which is left when this is dropped.
struct Screen;

impl Drop for Screen {
    fn drop(&mut self) {
        // If the terminal is gone, there is nothing to restore.
        drop(output::print(LEAVE));
    }
}

/// One change, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gone: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<&'a Trouble>,
}

pub(crate) async fn run(
    cluster: &Cluster,
    scope: &Scope,
    view: &View,
    format: Option<Format>,
) -> Result<Ending, Error> {
    if format == Some(Format::Yaml) {
        return Err(Error::Usage(
            "--watch prints no YAML: use -o json for an object on each line".to_owned(),
        ));
    }
    follow(cluster, scope, view, false, || Shown::begin(format)).await
}

/// Feeds the pages of a server. Once the cluster has answered, `ready` is called.
pub(crate) async fn feed(
    cluster: &Cluster,
    scope: &Scope,
    view: &View,
    feed: Feed,
    ready: impl FnOnce() -> Result<(), Error>,
) -> Result<Ending, Error> {
    follow(cluster, scope, view, true, || {
        ready().map(|()| Shown::Pages(feed))
    })
    .await
}

async fn follow(
    cluster: &Cluster,
    scope: &Scope,
    view: &View,
    is_for_pages: bool,
    begin: impl FnOnce() -> Result<Shown, Error>,
) -> Result<Ending, Error> {
    let mut view = view.clone();
    let mut signals = shutdown::Signals::listen().map_err(std::io::Error::other)?;
    let mut target = Target::new("nodes", NODES.to_owned(), fields(scope));
    target.labels.clone_from(&scope.selector);
    let (mut look, denials) = tokio::select! {
        _ = signals.next() => return Ok(Ending::Fine),
        look = looked(cluster, scope, is_for_pages) => look?,
    };
    known(
        &Fleet::of(&look.seen, clock::now()),
        &scope.pools,
        &cluster.namespace,
    )?;
    let mut news = pin!(Watch::<NodeView>::new(cluster.client.clone(), target, None).news());
    let mut state = State {
        nodes: BTreeMap::new(),
        is_listed: false,
        is_whole: scope.is_whole(),
        shown: begin()?,
        watch: Source::new("the Nodes"),
        reads: Source::new("locks, Events and the webhook"),
    };
    state.shown.has_denials(denials);
    let (mut read, mut is_dirty) = (Instant::now(), false);
    loop {
        let next = read + if is_dirty { READ_PAUSE } else { READ_EVERY };
        tokio::select! {
            _ = signals.next() => return Ok(Ending::Fine),
            one = news.next() => match one {
                Some(Ok(one)) => is_dirty |= state.take(one, scope),
                Some(Err(error)) => state.watch.failed(&state.shown, error)?,
                None => return Ok(Ending::Fine),
            },
            () = sleep_until(next) => {
                // A look may take as long as its bounds; Ctrl-C ends it at once.
                let fresh = tokio::select! {
                    _ = signals.next() => return Ok(Ending::Fine),
                    fresh = looked(cluster, scope, is_for_pages) => fresh,
                };
                match fresh {
                    Ok((fresh, denials)) => {
                        look = fresh;
                        state.shown.has_denials(denials);
                        state.reads.answered();
                    }
                    Err(Error::Call { source, .. }) => state.reads.failed(&state.shown, source)?,
                    Err(error) => return Err(error),
                }
                (read, is_dirty) = (Instant::now(), false);
            }
        }
        if state.is_listed {
            state.show(&mut look, &mut view)?;
        }
    }
}

/// What is read again and again; for the pages also what the webhook has said in Events.
async fn looked(cluster: &Cluster, scope: &Scope, is_for_pages: bool) -> Result<(Look, Vec<Told>), Error> {
    let mut look = cluster.look_around(scope).await?;
    let denials = if is_for_pages {
        cluster.denials(&scope.nodes, &mut look.seen.unseen).await?
    } else {
        Vec::new()
    };
    Ok((look, denials))
}

/// The field selector of the watch: one Node can be asked for by its name.
fn fields(scope: &Scope) -> String {
    match scope.nodes.as_slice() {
        [node] => format!("metadata.name={node}"),
        _ => String::new(),
    }
}

struct State {
    nodes: BTreeMap<String, NodeView>,
    /// Whether the Nodes have been listed.
    is_listed: bool,
    /// Whether all Nodes are followed.
    is_whole: bool,
    shown: Shown,
    /// The watch of the Nodes.
    watch: Source,
    /// The reads of the rest.
    reads: Source,
}

/// Something that is read again and again.
struct Source {
    what: &'static str,
    /// When it was read last.
    read: Timestamp,
    /// Failures since then.
    failures: u32,
}

impl Source {
    fn new(what: &'static str) -> Source {
        Source {
            what,
            read: clock::now(),
            failures: 0,
        }
    }

    fn answered(&mut self) {
        (self.read, self.failures) = (clock::now(), 0);
    }

    /// Says that it could not be read and is tried again; an error once it has failed too often.
    fn failed(&mut self, shown: &Shown, error: cordonhold_rt::api::CallError) -> Result<(), Error> {
        self.failures += 1;
        let is_hopeless = matches!(error.code(), Some(401 | 403));
        if is_hopeless || self.failures >= FAILURES_MAX {
            return Err(unreachable(self.what, error));
        }
        if matches!(shown, Shown::Lines { .. } | Shown::Pages(_)) {
            output::note(&format!(
                "{}: failed to read {}: {}: trying again",
                crate::PROGRAM,
                self.what,
                one_line(&exit::one_line(&error), output::SAID_MAX)
            ));
        }
        Ok(())
    }

    /// What the foot of the screen says, if it is older than it looks.
    fn stale(&self) -> Option<String> {
        (self.failures > 0).then(|| format!("{} not read since {:.0}", self.what, self.read))
    }
}

impl State {
    /// Takes what the watch says; returns whether something has changed.
    fn take(&mut self, news: News<NodeView>, scope: &Scope) -> bool {
        self.watch.answered();
        let is_wanted =
            |node: &NodeView| scope.nodes.is_empty() || scope.nodes.iter().any(|name| name == node.name());
        match news {
            News::Change(Change::Listed(nodes)) => {
                let wanted = nodes.into_iter().filter(is_wanted);
                self.nodes = wanted.map(|node| (node.name().to_owned(), node)).collect();
                self.is_listed = true;
            }
            News::Change(Change::Present(node)) if is_wanted(&node) => {
                drop(self.nodes.insert(node.name().to_owned(), node));
            }
            News::Change(Change::Gone(node)) => drop(self.nodes.remove(node.name())),
            // The list that follows has what was missed.
            News::Change(Change::Present(_) | Change::Gap) | News::Began | News::Bookmark => return false,
        }
        true
    }

    fn show(&mut self, look: &mut Look, view: &mut View) -> Result<(), Error> {
        look.has(self.nodes.values().cloned().collect());
        if !self.is_whole {
            view.only = Some(self.nodes.keys().cloned().collect());
        }
        let fleet = view.cut(Fleet::of(&look.seen, clock::now()));
        let stale: Vec<String> = [&self.watch, &self.reads]
            .into_iter()
            .filter_map(Source::stale)
            .collect();
        if let Shown::Pages(feed) = &self.shown {
            feed.update(fleet, look, self.nodes.values().cloned().collect(), &stale);
            return Ok(());
        }
        self.shown.update(&fleet, view, &stale)
    }
}

impl Shown {
    fn begin(format: Option<Format>) -> Result<Shown, Error> {
        let as_json = format == Some(Format::Json);
        if !as_json && std::io::stdout().is_terminal() {
            output::print(ENTER)?;
            return Ok(Shown::Screen(Screen));
        }
        Ok(Shown::Lines {
            as_json,
            rows: BTreeMap::new(),
            troubles: Vec::new(),
        })
    }

    fn has_denials(&mut self, said: Vec<Told>) {
        if let Shown::Pages(feed) = self {
            feed.denials = said;
        }
    }

    fn update(&mut self, fleet: &Fleet, view: &View, stale: &[String]) -> Result<(), Error> {
        match self {
            // They are made when somebody asks for one.
            Shown::Pages(_) => Ok(()),
            Shown::Screen(Screen) => {
                let colour = if stale.is_empty() { FAINT } else { BAD };
                let mut foot = vec![format!("{:.0}", fleet.time)];
                foot.extend_from_slice(stale);
                foot.push("Ctrl-C ends".to_owned());
                let foot = painted(&foot.join("; "), colour);
                let page = rendered(fleet, view, output::width());
                let height = output::height().unwrap_or(usize::MAX);
                output::print(&drawn(&page, &foot, height))
            }
            Shown::Lines {
                as_json,
                rows,
                troubles,
            } => {
                let lines = changes(fleet, view, rows, troubles, *as_json)?;
                if lines.is_empty() {
                    Ok(())
                } else {
                    output::print(&lines)
                }
            }
        }
    }
}

/// The page over the one before, cut to the height of the terminal. The foot always fits, and says how many lines are cut: among them may be
/// troubles.
fn drawn(page: &str, foot: &str, height: usize) -> String {
    let mut lines: Vec<&str> = page.lines().collect();
    // The foot and the empty line above it.
    let fit = height.saturating_sub(2);
    let cut = lines.len().saturating_sub(fit);
    lines.truncate(fit);
    let foot = if cut > 0 {
        format!("{cut} more lines: make the window higher, or name nodes; {foot}")
    } else {
        foot.to_owned()
    };
    if height > 1 {
        lines.push("");
    }
    lines.push(&foot);
    format!(
        "{HOME}{}{CLEAR_LINE}{CLEAR_BELOW}",
        lines.join(&format!("{CLEAR_LINE}\n"))
    )
}

/// A line for each change since what was said last, which becomes what is said now.
fn changes(
    fleet: &Fleet,
    view: &View,
    rows: &mut BTreeMap<String, Row>,
    known: &mut Vec<Trouble>,
    as_json: bool,
) -> Result<String, Error> {
    let mut text = String::new();
    let mut push = |line: Line<'_>, words: String| {
        if as_json {
            text.push_str(&serde_json::to_string(&line).map_err(std::io::Error::other)?);
            text.push('\n');
        } else {
            text.push_str(&words);
        }
        Ok::<(), Error>(())
    };
    let time = fleet.time;
    let empty = Line {
        time,
        node: None,
        gone: None,
        trouble: None,
    };
    for row in &fleet.nodes {
        let before = rows.get(&row.node);
        // A node that was shown is told about until it is idle again, and then once.
        let is_shown = view.shows(row) || before.is_some_and(|before| view.shows(before));
        if is_shown && before.is_none_or(|before| differs(before, row)) {
            push(
                Line {
                    node: Some(row),
                    ..empty
                },
                words(before, row, time),
            )?;
        }
    }
    for name in rows.keys() {
        if !fleet.nodes.iter().any(|row| row.node == *name) {
            let words = format!(
                "{time:.0} {} {}\n",
                painted(&quoted(name), STRONG),
                painted("is gone", BAD)
            );
            push(
                Line {
                    gone: Some(name),
                    ..empty
                },
                words,
            )?;
        }
    }
    for trouble in fleet.troubles.iter().filter(|trouble| !is_among(trouble, known)) {
        let words = format!("{time:.0} {}", troubles(std::slice::from_ref(trouble), None));
        push(
            Line {
                trouble: Some(trouble),
                ..empty
            },
            words,
        )?;
    }
    *rows = fleet
        .nodes
        .iter()
        .map(|row| (row.node.clone(), row.clone()))
        .collect();
    known.clone_from(&fleet.troubles);
    Ok(text)
}

/// Whether a change of a node is worth a line: anything but `until`, which each renewal sets.
fn differs(before: &Row, now: &Row) -> bool {
    Row {
        until: now.until,
        ..before.clone()
    } != *now
}

/// Whether this trouble is known: of the same kind about the same thing. Its words may have the time in them.
fn is_among(trouble: &Trouble, known: &[Trouble]) -> bool {
    known
        .iter()
        .any(|known| (known.kind, &known.about) == (trouble.kind, &trouble.about))
}

fn words(before: Option<&Row>, row: &Row, time: Timestamp) -> String {
    let state = painted(row.state.as_str(), style_of(row.state));
    let state = match before.filter(|before| before.state != row.state) {
        Some(before) => format!("{} → {state}", before.state.as_str()),
        None => state,
    };
    format!(
        "{time:.0} {} {state}: {}\n",
        painted(&quoted(&row.node), STRONG),
        detail(row)
    )
}

#[cfg(test)]
mod tests;
