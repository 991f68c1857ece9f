//! One change of a Node that a person asks for: it is judged, shown, agreed to, judged anew and written.
//!
//! Not here: the judging ([`cordonhold_shared::release`]), and what follows the write (`cancel`, `reboot`).

use cordonhold_shared::fleet::{Fleet, PLUGIN, Row};
use cordonhold_shared::node::NodeView;
use cordonhold_shared::quote::quoted;
use cordonhold_shared::release::Change;
use jiff::Timestamp;

use crate::args::WriteArgs;
use crate::cluster::Cluster;
use crate::look::{Look, Scope};
use crate::patch::{Kind, Written, node_path, say_done, say_refused, trouble};
use crate::{Ending, Error, ask, clock, output, status};

/// Most looks, of which the first is for the question: each other one is for a write that somebody else's write has outrun.
const TRIES_MAX: usize = 6;

/// What is said about the change, and what it takes.
pub(crate) struct Words {
    /// The question to the person.
    pub(crate) question: &'static str,
    /// What was done, before the node's name.
    pub(crate) done: &'static str,
    /// What RBAC must allow.
    pub(crate) needs: &'static str,
    /// Who has that.
    pub(crate) roles: &'static str,
}

/// What became of the change.
pub(crate) enum Became {
    /// It was written, or would have been. This is what was seen before.
    Written(Look),
    /// It was there already, for this reason.
    There(Look, String),
    /// It was not written; that has been said.
    Not(Ending),
}

impl Cluster {
    /// Changes this node if `judge` and the person agree. `shown` is what the person sees before the question.
    pub(crate) async fn change(
        &self,
        node: &str,
        write: WriteArgs,
        (kind, words): (Kind, &Words),
        mut judge: impl FnMut(&Look, &NodeView, Timestamp) -> Change,
        shown: impl Fn(&Look, &NodeView, String) -> String,
    ) -> Result<Became, Error> {
        let scope = of_node(node);
        let (mut is_agreed, mut said) = (false, String::new());
        for _ in 0..TRIES_MAX {
            let look = self.look(&scope).await?;
            let node = look.node(node)?;
            let (body, then) = match judge(&look, node, self.time().await?) {
                Change::Refused { why, instead } => return trouble(node, &why, &instead).map(Became::Not),
                Change::There { reason } => return Ok(Became::There(look, reason)),
                Change::Write { body, then } => (body, then),
            };
            if !is_agreed {
                output::print(&shown(&look, node, then))?;
                if !ask::may(words.question, write)? {
                    output::line("nothing was written")?;
                    return Ok(Became::Not(Ending::Trouble));
                }
                is_agreed = true;
                // The answer may have taken long: the node is judged anew.
                continue;
            }
            let path = node_path(node.name());
            let rights = (words.needs, words.roles);
            match self.patch(&path, (kind, &body), write.dry_run, rights).await? {
                Written::Done => {
                    say_done(words.done, node.name(), write.dry_run)?;
                    return Ok(Became::Written(look));
                }
                Written::Outrun(why) => said = why,
                Written::Refused => return Ok(Became::Not(Ending::Trouble)),
            }
        }
        say_refused(&format!(
            "the node changes all the time ({said}): look with {PLUGIN} status, then run the command again"
        ));
        Ok(Became::Not(Ending::Trouble))
    }
}

/// What is looked at for one node.
pub(crate) fn of_node(node: &str) -> Scope {
    Scope {
        nodes: vec![node.to_owned()],
        ..Scope::default()
    }
}

/// The fleet as it was seen now.
pub(crate) fn fleet(look: &Look) -> Fleet {
    Fleet::of(&look.seen, clock::now())
}

/// A node and its state, on one line.
pub(crate) fn state(row: &Row) -> String {
    let (name, state) = (quoted(&row.node), row.state.as_str());
    match status::detail(row).as_str() {
        "-" => format!("{name}, {state}"),
        detail => format!("{name}, {state}: {detail}"),
    }
}
