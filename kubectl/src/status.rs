//! `status`: the fleet on one screen.
//!
//! Not here: what each node and trouble is ([`cordonhold_shared::fleet`]), and what `--watch` adds (`watch`).

use std::collections::BTreeSet;
use std::fmt::Write as _;

use cordonhold_shared::fleet::{Fleet, PLUGIN, Pool, Row};
use cordonhold_shared::quote::quoted;
use cordonhold_shared::span::short_span;
use jiff::Timestamp;

use crate::args::{Format, StatusArgs};
use crate::cluster::Cluster;
use crate::look::Scope;
use crate::text::{self, BAD, BUSY, Cell, FAINT, GOOD, PLAIN, STRONG, painted, style_of};
use crate::{Ending, Error, clock, output, watch};

/// Most holders of a lock that are named.
const NAMED_MAX: usize = 4;

/// Which nodes are shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// Also those that are idle.
    pub(crate) all: bool,
    /// Those of these pools alone; of all pools if there is none.
    pub(crate) pools: Vec<String>,
    /// These alone, if there are any; their pools have more Nodes.
    pub(crate) only: Option<BTreeSet<String>>,
    /// Whether there are more columns.
    pub(crate) wide: bool,
}

impl View {
    pub(crate) fn of(args: &StatusArgs) -> View {
        View {
            all: args.all || !args.nodes.is_empty(),
            pools: args.pool.clone(),
            only: None,
            wide: args.output == Some(Format::Wide),
        }
    }

    /// Whether a node is shown in a table.
    pub(crate) fn shows(&self, row: &Row) -> bool {
        self.has(row) && (self.all || !row.is_idle())
    }

    /// Whether a node is among those that are asked for.
    fn has(&self, row: &Row) -> bool {
        let of_pool =
            self.pools.is_empty() || row.pool.as_ref().is_some_and(|pool| self.pools.contains(pool));
        of_pool && self.only.as_ref().is_none_or(|only| only.contains(&row.node))
    }

    /// The fleet without the nodes that nobody asked for, and without their troubles.
    pub(crate) fn cut(&self, mut fleet: Fleet) -> Fleet {
        fleet.nodes.retain(|row| self.has(row));
        fleet
            .pools
            .retain(|pool| self.pools.is_empty() || self.pools.contains(&pool.name));
        let nodes: BTreeSet<&String> = fleet.nodes.iter().map(|row| &row.node).collect();
        fleet
            .troubles
            .retain(|trouble| trouble.node.as_ref().is_none_or(|node| nodes.contains(node)));
        fleet
    }
}

pub(crate) async fn run(cluster: &Cluster, args: &StatusArgs) -> Result<Ending, Error> {
    let scope = Scope {
        nodes: args.nodes.clone(),
        selector: args.selector.clone(),
        pools: args.pool.clone(),
    };
    let mut view = View::of(args);
    if args.watch {
        return watch::run(cluster, &scope, &view, args.output).await;
    }
    let mut look = cluster.look_around(&scope).await?;
    let nodes = cluster.nodes(&scope).await?;
    if !scope.is_whole() {
        view.only = Some(nodes.iter().map(|node| node.name().to_owned()).collect());
    }
    look.has(nodes);
    let fleet = Fleet::of(&look.seen, clock::now());
    known(&fleet, &args.pool, &cluster.namespace)?;
    let fleet = view.cut(fleet);
    if !output::document(args.output, &fleet)? {
        output::print(&rendered(&fleet, &view, output::width()))?;
    }
    let is_fine = fleet.troubles.is_empty() || !args.exit_code;
    Ok(if is_fine { Ending::Fine } else { Ending::Trouble })
}

/// Fails if one of these pools is not there.
pub(crate) fn known(fleet: &Fleet, pools: &[String], namespace: &str) -> Result<(), Error> {
    let is_there = |name: &&String| fleet.pools.iter().any(|pool| pool.name == **name);
    let Some(missing) = pools.iter().find(|name| !is_there(name)) else {
        return Ok(());
    };
    let names: Vec<&str> = fleet.pools.iter().map(|pool| pool.name.as_str()).collect();
    Err(Error::NoPool {
        name: quoted(missing),
        namespace: namespace.to_owned(),
        known: if names.is_empty() {
            "those that there are (none was seen)".to_owned()
        } else {
            names.join(", ")
        },
    })
}

/// The screen.
pub(crate) fn rendered(fleet: &Fleet, view: &View, width: usize) -> String {
    let wrapped = (!view.wide).then_some(width);
    let mut heading = vec![("webhook", fleet.webhook.line(fleet.time))];
    let is_whole = view.only.is_none();
    heading.extend(
        fleet
            .pools
            .iter()
            .map(|pool| ("pool", of_pool(pool, fleet.time, is_whole))),
    );
    let mut page = text::fields(&heading, wrapped.unwrap_or(usize::MAX));
    page.push('\n');
    page.push_str(&nodes(fleet, view, wrapped));
    let below = text::troubles(&fleet.troubles, wrapped) + &text::unseen(&fleet.unseen, wrapped);
    if !below.is_empty() {
        page.push('\n');
        page.push_str(&below);
    }
    page
}

/// A pool on one line. `is_whole`: all its Nodes were looked at.
pub(crate) fn of_pool(pool: &Pool, now: Timestamp, is_whole: bool) -> String {
    let mut line = quoted(&pool.name);
    // Writing into a String cannot fail, here and below.
    if is_whole {
        let plural = if pool.nodes == 1 { "" } else { "s" };
        write!(line, ", {} node{plural}", pool.nodes).unwrap_or_default();
    }
    let named: Vec<String> = pool
        .holders
        .iter()
        .take(NAMED_MAX)
        .map(|name| quoted(name))
        .collect();
    let more = pool.holders.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let lock = match pool.holders.len() {
        0 => "nobody has the lock".to_owned(),
        _ => format!("the lock: {}{more}", named.join(", ")),
    };
    write!(line, ": {lock}").unwrap_or_default();
    if pool.wishes > 0 {
        let wait = if pool.wishes == 1 { "waits" } else { "wait" };
        write!(line, "; {} {wait}", pool.wishes).unwrap_or_default();
    }
    if let Some(next) = &pool.next {
        write!(line, ", next: {}", quoted(next)).unwrap_or_default();
    }
    if let Some(ended) = pool.last_reboot {
        write!(
            line,
            "; last reboot {} ago",
            short_span(now.duration_since(ended))
        )
        .unwrap_or_default();
    }
    if let Some(word) = &pool.paused {
        let word = cordonhold_shared::quote::always_quoted(word, 100);
        let flag = if pool.name == "default" {
            String::new()
        } else {
            format!("={}", quoted(&pool.name))
        };
        write!(line, "; paused: {word} → {PLUGIN} resume --pool{flag}").unwrap_or_default();
    }
    line
}

fn nodes(fleet: &Fleet, view: &View, width: Option<usize>) -> String {
    let shown: Vec<&Row> = fleet.nodes.iter().filter(|row| view.shows(row)).collect();
    let hidden = fleet.nodes.len() - shown.len();
    let summary = match (shown.len(), hidden) {
        (0, 0) => "no node\n".to_owned(),
        (0, _) => format!("nothing goes on: {} idle; --all shows them\n", are(hidden)),
        (_, 0) => String::new(),
        (_, 1) => "1 more node is idle; --all shows it\n".to_owned(),
        (_, _) => format!("{hidden} more nodes are idle; --all shows them\n"),
    };
    if shown.is_empty() {
        return summary;
    }
    let rows: Vec<Vec<Cell>> = shown
        .iter()
        .map(|row| cells(row, fleet.time, view.wide))
        .collect();
    let heading: &[&str] = if view.wide {
        &[
            "NODE", "STATE", "SINCE", "LOCK", "POOL", "READY", "CORDONED", "UNTIL", "HOLD", "ASKED BY",
            "DETAIL",
        ]
    } else {
        &["NODE", "STATE", "SINCE", "LOCK", "DETAIL"]
    };
    text::table(heading, &rows, width) + &painted(&summary, PLAIN)
}

fn cells(row: &Row, now: Timestamp, is_wide: bool) -> Vec<Cell> {
    let or_none = |text: Option<String>| Cell::plain(text.unwrap_or_else(|| "-".to_owned()));
    let yes = |is: bool, style| {
        if is {
            Cell::plain("yes")
        } else {
            Cell::new("no", style)
        }
    };
    let since = row.since.map(|since| short_span(now.duration_since(since)));
    let mut cells = vec![
        Cell::new(quoted(&row.node), STRONG),
        Cell::new(row.state.as_str(), style_of(row.state)),
        or_none(since),
        lock(row),
    ];
    if is_wide {
        cells.extend([
            or_none(row.pool.clone()),
            yes(row.ready, BAD),
            yes(row.cordoned, PLAIN),
            or_none(row.until.map(|until| format!("{until:.0}"))),
            or_none(row.hold.clone()),
            or_none(Some(row.asked_by.clone()).filter(|by| !by.is_empty())),
        ]);
    }
    cells.push(Cell::plain(detail(row)));
    cells
}

/// A node's place in the lock or in the queue.
fn lock(row: &Row) -> Cell {
    match (&row.lock, row.queue) {
        (Some(place), _) if !place.ours => Cell::new("kured", BUSY),
        (Some(place), _) if place.sealed => Cell::new("sealed", BUSY),
        (Some(_), _) => Cell::new("held", BUSY),
        (None, Some(1)) => Cell::new("next", GOOD),
        (None, Some(place)) => Cell::plain(format!("{place}.")),
        (None, None) => Cell::new("-", FAINT),
    }
}

/// What a node does or waits for, and what people have written on it.
pub(crate) fn detail(row: &Row) -> String {
    let quote = |text: &String| cordonhold_shared::quote::always_quoted(text, 100);
    let mut parts: Vec<String> = Some(row.detail.clone())
        .filter(|text| !text.is_empty())
        .into_iter()
        .collect();
    // A wish that waits because of a pause says so itself.
    if let Some(word) = row
        .paused
        .as_ref()
        .filter(|_| !row.detail.contains("is paused: "))
    {
        parts.push(format!("paused: {}", quote(word)));
    }
    // What asks for a wish that was written is in its account.
    if let Some(word) = row.requested.as_ref().filter(|_| row.hold.is_none()) {
        parts.push(format!("a reboot is asked for: {}", quote(word)));
    }
    if let Some(word) = &row.keep_cordoned {
        parts.push(format!("to stay cordoned: {}", quote(word)));
    }
    if !row.ready && !row.detail.contains("Ready") && !row.detail.contains("down") {
        parts.push("not Ready".to_owned());
    }
    if parts.is_empty() {
        "-".to_owned()
    } else {
        parts.join("; ")
    }
}

fn are(number: usize) -> String {
    if number == 1 {
        "1 node is".to_owned()
    } else {
        format!("{number} nodes are")
    }
}
