//! A page with pictures: one HTML file that needs no other, with a table beside each picture that says the same.
//!
//! Not here: the pictures (`picture`), and the page that follows a cluster (the kubectl plugin), which is made of the same parts.

use std::fmt::Write as _;

use super::{History, Line, Other, Timeline, escaped, picture};
use crate::fleet::Unseen;

/// The style sheet of pages.
pub const STYLE: &str = include_str!("page/style.css");
/// Most pictures of one page: a page is for reading.
const PICTURES_MAX: usize = 50;

/// A whole page. `head` goes into its head, `body` into its main part; both are HTML.
pub fn document(title: &str, head: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<link rel=\"icon\" href=\"data:,\">\n{head}</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )
}

/// The style sheets, for the head of a page.
pub fn styles(nonce: Option<&str>) -> String {
    let nonce = nonce.map_or_else(String::new, |nonce| format!(" nonce=\"{nonce}\""));
    format!("<style{nonce}>\n{STYLE}{}</style>\n", picture::STYLE)
}

/// The page of a history.
pub fn of_history(history: &History) -> String {
    let mut body = String::from("<h1>Reboots</h1>\n");
    // Writing into a String cannot fail, here and below.
    writeln!(
        body,
        "<p class=\"faint\">As seen at {:.0}. All times are UTC.</p>",
        history.time
    )
    .unwrap_or_default();
    body.push_str(&of_reboots(&history.reboots));
    body.push_str(&of_others(&history.others));
    body.push_str(&of_unseen(&history.unseen));
    document("Reboots", &styles(None), &body)
}

/// The reboots, each with its picture and its table.
pub fn of_reboots(reboots: &[Timeline]) -> String {
    if reboots.is_empty() {
        return "<p>No reboot is known.</p>\n".to_owned();
    }
    let mut body = String::new();
    for (index, timeline) in reboots.iter().take(PICTURES_MAX).enumerate() {
        body.push_str(&section(timeline, &format!("reboot-{index}"), "", ""));
    }
    body + &more(reboots.len(), PICTURES_MAX, "Older reboots")
}

/// One reboot. `id` is no other's in the page; `title`, if there is one, stands in the place of the node's name; `about` is said below it.
pub fn section(timeline: &Timeline, id: &str, title: &str, about: &str) -> String {
    let heading = if title.is_empty() {
        timeline.title()
    } else {
        title.to_owned()
    };
    let about = if about.is_empty() {
        String::new()
    } else {
        format!("<p>{}</p>\n", escaped(about))
    };
    format!(
        "<section aria-labelledby=\"{id}-h\">\n<h2 id=\"{id}-h\">{}</h2>\n{about}<p class=\"summary\">{}</p>\n<figure>\n{}</figure>\n\
         <details>\n<summary>The same as a table</summary>\n{}</details>\n</section>\n",
        escaped(&heading),
        escaped(&timeline.summary()),
        picture::figure(timeline, id),
        table(&timeline.lines(), &heading)
    )
}

fn table(lines: &[Line], caption: &str) -> String {
    let mut rows = String::new();
    for line in lines {
        let about = if line.about { "about " } else { "" };
        let bad = if line.is_bad { " class=\"bad\"" } else { "" };
        writeln!(
            rows,
            "<tr{bad}><td>{about}<time datetime=\"{}\">{:.0}</time></td><th scope=\"row\">{}</th><td>{}</td></tr>",
            line.at,
            line.at,
            escaped(&line.what),
            escaped(&line.detail)
        )
        .unwrap_or_default();
    }
    format!(
        "<div class=\"scroll\"><table>\n<caption>{}</caption>\n<thead><tr><th scope=\"col\">time</th><th scope=\"col\">what</th><th scope=\"col\">detail</th></tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table></div>\n",
        escaped(caption)
    )
}

/// The uncordons outside of all reboots.
pub fn of_others(others: &[Other]) -> String {
    if others.is_empty() {
        return String::new();
    }
    let mut rows = String::new();
    for other in others.iter().take(PICTURES_MAX) {
        let one = &other.uncordon;
        writeln!(
            rows,
            "<tr><td><time datetime=\"{}\">{:.0}</time></td><th scope=\"row\">{}</th><td>{}: {} {}</td></tr>",
            one.at,
            one.at,
            escaped(&other.node),
            one.answer.as_str(),
            escaped(&one.by),
            escaped(&one.reason)
        )
        .unwrap_or_default();
    }
    format!(
        "<section><h2>Uncordons outside of these reboots</h2>\n<div class=\"scroll\"><table>\n<tbody>\n{rows}</tbody>\n</table></div>\n{}</section>\n",
        more(others.len(), PICTURES_MAX, "More uncordons")
    )
}

/// How many of all are not shown; empty if none.
pub fn more(all: usize, shown_max: usize, what: &str) -> String {
    match all.saturating_sub(shown_max) {
        0 => String::new(),
        more => format!("<p>{what} that are not shown: {more}.</p>\n"),
    }
}

/// What could not be seen.
pub fn of_unseen(unseen: &[Unseen]) -> String {
    let items = unseen
        .iter()
        .map(|one| {
            let needs = one
                .needs
                .as_ref()
                .map_or_else(String::new, |needs| format!("needs {needs}: "));
            let says = format!("could not see {}: {needs}{}", one.what, one.says);
            format!("<li>{}</li>\n", escaped(&says))
        })
        .collect::<Vec<String>>()
        .concat();
    if items.is_empty() {
        String::new()
    } else {
        format!("<section><h2>Not seen</h2>\n<ul>\n{items}</ul></section>\n")
    }
}
