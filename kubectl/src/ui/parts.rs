//! The parts of the pages, as HTML: what the script of a page puts in the place of the part before.
//!
//! Not here: pictures and their tables ([`cordonhold_shared::history`]), and what is said about nodes ([`cordonhold_shared::fleet`]).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use cordonhold_shared::fleet::{Fleet, PLUGIN, Pool, Row, State, Trouble};
use cordonhold_shared::history::{History, escaped, page};
use cordonhold_shared::span::short_span;

use super::Snapshot;
use super::server::Page;
use crate::status;

/// The script of the pages: it follows the changes.
const SCRIPT: &str = include_str!("page.js");
/// What the pages have beside the styles of every page.
const STYLE: &str = include_str!("page.css");
/// Most nodes that a table shows: a page is for people.
const NODES_MAX: usize = 500;

/// The parts of a page, by the id of their place.
type Parts = BTreeMap<&'static str, String>;

/// Whether there is such a page.
pub(super) fn is_there(page: &Page, snapshot: &Snapshot) -> bool {
    match page {
        Page::Fleet => true,
        Page::Node(name) => snapshot.row(name).is_some(),
    }
}

/// A whole page.
pub(super) fn whole(page: &Page, snapshot: &Snapshot, nonce: &str) -> String {
    let (title, live, head) = match page {
        Page::Fleet => (
            "Cordonhold".to_owned(),
            "live".to_owned(),
            "<h1>Cordonhold</h1>\n".to_owned(),
        ),
        Page::Node(name) => {
            let shown = escaped(name);
            (
                format!("{name} - Cordonhold"),
                // The browser resolves it against the page.
                format!("{}/live", path_of(name)),
                format!("<p><a href=\"../\">All nodes</a></p>\n<h1>{shown}</h1>\n"),
            )
        }
    };
    let mut body = head;
    body.push_str("<p id=\"said\" class=\"unseen\" role=\"status\"></p>\n");
    let parts = parts(page, snapshot);
    for id in order(page) {
        let html = parts.get(id).map_or("", String::as_str);
        writeln!(body, "<div id=\"{id}\">{html}</div>").unwrap_or_default();
    }
    let styles = page::styles(Some(nonce)) + &format!("<style nonce=\"{nonce}\">\n{STYLE}</style>\n");
    let script = format!(
        "<script nonce=\"{nonce}\" data-live=\"{}\">\n{SCRIPT}</script>\n",
        escaped(&live)
    );
    page::document(&title, &styles, &(body + &script))
}

/// The parts as the script takes them.
pub(super) fn as_json(page: &Page, snapshot: &Snapshot) -> String {
    serde_json::to_string(&parts(page, snapshot)).unwrap_or_default()
}

fn order(page: &Page) -> &'static [&'static str] {
    match page {
        Page::Fleet => &["time", "troubles", "pools", "unseen"],
        Page::Node(_) => &["time", "troubles", "node", "reboots", "unseen"],
    }
}

fn parts(page: &Page, snapshot: &Snapshot) -> Parts {
    let mut parts = Parts::from([("time", time(snapshot))]);
    let Some(fleet) = &snapshot.fleet else {
        return parts;
    };
    drop(parts.insert("unseen", page::of_unseen(&fleet.unseen)));
    match page {
        Page::Fleet => {
            drop(parts.insert("troubles", troubles(&fleet.troubles)));
            drop(parts.insert("pools", pools(fleet)));
        }
        Page::Node(name) => {
            let own: Vec<Trouble> = fleet
                .troubles
                .iter()
                .filter(|trouble| trouble.node.as_ref() == Some(name))
                .cloned()
                .collect();
            let history = History::of(&snapshot.record, Some(name), snapshot.time());
            let row = snapshot.row(name);
            drop(parts.insert("troubles", troubles(&own)));
            drop(parts.insert("node", row.map_or_else(gone, |row| of_node(row, fleet))));
            drop(parts.insert(
                "reboots",
                page::of_reboots(&history.reboots) + &page::of_others(&history.others),
            ));
        }
    }
    parts
}

impl Snapshot {
    fn row(&self, name: &str) -> Option<&Row> {
        let nodes = self.fleet.iter().flat_map(|fleet| &fleet.nodes);
        nodes.into_iter().find(|row| row.node == name)
    }
}

fn gone() -> String {
    "<section><p>There is no node of this name.</p></section>\n".to_owned()
}

fn time(snapshot: &Snapshot) -> String {
    let Some(fleet) = &snapshot.fleet else {
        return "<p class=\"faint\">The nodes have not been read yet.</p>\n".to_owned();
    };
    let stale = snapshot
        .stale
        .iter()
        .map(|says| format!(" <strong class=\"bad\">{}</strong>", escaped(says)))
        .collect::<Vec<String>>()
        .concat();
    format!(
        "<p class=\"faint\"><time datetime=\"{}\">{:.0}</time>. Webhook: {}.{stale}</p>\n",
        fleet.time,
        fleet.time,
        escaped(&fleet.webhook.line(fleet.time))
    )
}

fn troubles(troubles: &[Trouble]) -> String {
    if troubles.is_empty() {
        return String::new();
    }
    let items = troubles
        .iter()
        .map(|trouble| {
            format!(
                "<li><strong>{}</strong>: {}<br><code>{}</code></li>\n",
                escaped(&trouble.about),
                escaped(&trouble.says),
                escaped(&trouble.command)
            )
        })
        .collect::<Vec<String>>()
        .concat();
    format!("<section class=\"troubles\"><h2>What is wrong</h2>\n<ul>\n{items}</ul></section>\n")
}

/// Each pool with its nodes; then the nodes that are in none.
fn pools(fleet: &Fleet) -> String {
    let mut html = String::new();
    for pool in &fleet.pools {
        let of_pool = |row: &&Row| row.pool.as_ref() == Some(&pool.name);
        let rows: Vec<&Row> = fleet.nodes.iter().filter(of_pool).collect();
        html.push_str(&group(
            &format!("Pool {}", pool.name),
            &about(pool, fleet),
            &rows,
            fleet,
        ));
    }
    let rest: Vec<&Row> = fleet.nodes.iter().filter(|row| row.pool.is_none()).collect();
    if !rest.is_empty() || fleet.pools.is_empty() {
        html.push_str(&group("Nodes in no pool", "", &rest, fleet));
    }
    html
}

fn about(pool: &Pool, fleet: &Fleet) -> String {
    status::of_pool(pool, fleet.time, true)
}

fn group(title: &str, about: &str, rows: &[&Row], fleet: &Fleet) -> String {
    let (idle, busy): (Vec<&Row>, Vec<&Row>) = rows.iter().copied().partition(|row| row.is_idle());
    let about = if about.is_empty() {
        String::new()
    } else {
        format!("<p>{}</p>\n", escaped(about))
    };
    let mut html = format!("<section><h2>{}</h2>\n{about}{}", escaped(title), states(rows));
    if !busy.is_empty() {
        html.push_str(&table(&busy, fleet));
    }
    if !idle.is_empty() {
        let names = idle
            .iter()
            .take(NODES_MAX)
            .map(|row| format!("<li>{}</li>\n", link(row)))
            .collect::<Vec<String>>()
            .concat();
        let plural = if idle.len() == 1 { "node is" } else { "nodes are" };
        writeln!(
            html,
            "<details><summary>{} {plural} idle</summary>\n<ul class=\"names\">\n{names}</ul>\n{}</details>",
            idle.len(),
            page::more(idle.len(), NODES_MAX, "more nodes")
        )
        .unwrap_or_default();
    }
    html + "</section>\n"
}

/// How many nodes are in each state, as words and as a bar.
fn states(rows: &[&Row]) -> String {
    let items = State::ALL
        .iter()
        .filter_map(|state| {
            let count = rows.iter().filter(|row| row.state == *state).count();
            let word = state.as_str();
            (count > 0).then(|| {
                format!(
                    "<li class=\"{word}\" title=\"{}\"><b>{count}</b> {word}</li>",
                    state.meaning().replace('`', "")
                )
            })
        })
        .collect::<Vec<String>>()
        .concat();
    format!("<ul class=\"states\">{items}</ul>\n")
}

fn table(rows: &[&Row], fleet: &Fleet) -> String {
    let body = rows
        .iter()
        .take(NODES_MAX)
        .map(|row| {
            let since = row
                .since
                .map_or_else(|| "-".to_owned(), |since| short_span(fleet.time.duration_since(since)));
            let word = row.state.as_str();
            format!(
                "<tr data-node=\"{}\" data-state=\"{word}\"><th scope=\"row\">{}</th><td><span class=\"state {word}\">{word}</span></td>\
                 <td>{since}</td><td>{}</td></tr>\n",
                escaped(&row.node),
                link(row),
                escaped(&status::detail(row))
            )
        })
        .collect::<Vec<String>>()
.concat();
    let more = page::more(rows.len(), NODES_MAX, "more nodes");
    format!(
        "<div class=\"scroll\"><table class=\"nodes\">\n<thead><tr><th scope=\"col\">node</th><th scope=\"col\">state</th>\
         <th scope=\"col\">since</th><th scope=\"col\">what it does</th></tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n{more}"
    )
}

fn link(row: &Row) -> String {
    format!(
        "<a href=\"node/{}\">{}</a>",
        path_of(&row.node),
        escaped(&row.node)
    )
}

/// A node's name in a path. The names that Kubernetes allows need nothing; of any other nothing is left that could lead elsewhere.
fn path_of(name: &str) -> String {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || "-.".contains(*c);
    name.chars().filter(is_plain).collect()
}

fn of_node(row: &Row, fleet: &Fleet) -> String {
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let mut fields = vec![
        ("what it does", status::detail(row)),
        ("cordoned", yes(row.cordoned)),
        ("Ready", yes(row.ready)),
    ];
    if let Some(since) = row.since {
        let since = format!("{since:.0}, {} ago", short_span(fleet.time.duration_since(since)));
        fields.insert(0, ("since", since));
    }
    fields.extend(row.pool.clone().map(|pool| ("pool", pool)));
    if !row.asked_by.is_empty() {
        fields.push(("asked by", row.asked_by.clone()));
    }
    fields.push(("to know more", format!("{PLUGIN} why {}", row.node)));
    let word = row.state.as_str();
    let rows = fields
        .iter()
        .map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>\n", escaped(value)))
        .collect::<Vec<String>>()
        .concat();
    format!(
        "<section data-node=\"{}\" data-state=\"{word}\"><h2><span class=\"state {word}\">{word}</span></h2>\n<dl>\n{rows}</dl></section>\n",
        escaped(&row.node)
    )
}
