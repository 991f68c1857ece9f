//! The writes of the plugin: a patch with a bound, or a dry run of it, and what a refusal means.
//!
//! Not here: what is written ([`cordonhold_shared::release`], `cancel`, `pause`).

use cordonhold_rt::api::{CallError, within};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use cordonhold_shared::quote::{one_line, quoted};
use http::header::CONTENT_TYPE;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::output::SAID_MAX;
use crate::text::{self, BAD};
use crate::{Ending, Error, output};

/// How a patch is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// RFC 6902.
    Json,
    /// RFC 7396.
    Merge,
    /// Kubernetes' own.
    Strategic,
}

impl Kind {
    fn content_type(self) -> &'static str {
        match self {
            Kind::Json => "application/json-patch+json",
            Kind::Merge => "application/merge-patch+json",
            Kind::Strategic => "application/strategic-merge-patch+json",
        }
    }
}

/// What became of a write.
pub(crate) enum Written {
    /// It was made, or would have been.
    Done,
    /// Somebody else has written meanwhile, so what is to be written must be judged anew. This is what the API server said.
    Outrun(String),
    /// It was refused; that has been said.
    Refused,
}

impl Cluster {
    /// Sends a patch of this object, whose path ends with its name. `needs` is what RBAC must allow, and `roles` says who has it.
    pub(crate) async fn patch(
        &self,
        path: &str,
        (kind, body): (Kind, &Value),
        is_dry: bool,
        (needs, roles): (&str, &str),
    ) -> Result<Written, Error> {
        match self.send_patch(path, kind.content_type(), body, is_dry).await {
            Ok(()) => Ok(Written::Done),
            Err(error) => refusal((path, kind), error, needs, roles),
        }
    }

    /// Sends a patch of this content type. A field that the API server does not know is an error.
    pub(crate) async fn send_patch(
        &self,
        path: &str,
        content_type: &str,
        body: &Value,
        is_dry: bool,
    ) -> Result<(), CallError> {
        let dry = if is_dry { "&dryRun=All" } else { "" };
        let request = http::Request::patch(format!(
            "{path}?fieldManager={}&fieldValidation=Strict{dry}",
            keys::KUBECTL_MANAGER
        ))
        .header(CONTENT_TYPE, content_type)
        .body(body.to_string().into_bytes())
        .map_err(|error| CallError::Request(kube::core::request::Error::BuildRequest(error)))?;
        within(self.bound, self.client.request::<Value>(request))
            .await
            .map(drop)
    }
}

/// What an answer to a write means, if it is no success.
fn refusal((path, kind): (&str, Kind), error: CallError, needs: &str, roles: &str) -> Result<Written, Error> {
    match error.code() {
        Some(409) => Ok(Written::Outrun(one_line(&error.to_string(), SAID_MAX))),
        // A JSON patch whose test fails: the API server says no more than that it cannot be applied. What it says of an object that would not
        // be valid is in apimachinery, NewInvalid.
        Some(422) if kind == Kind::Json && !error.to_string().contains(" is invalid: ") => {
            Ok(Written::Outrun(one_line(&error.to_string(), SAID_MAX)))
        }
        Some(403) => {
            let said = error.to_string();
            // RBAC says which verb is missing; a webhook or a policy says itself what to do.
            let is_rbac = said.contains(" cannot ");
            let fix = if is_rbac {
                format!("it needs {needs}: {roles}")
            } else {
                format!("it needs {needs} ({roles}), and no rule against it")
            };
            say_refused(&format!("refused: {said}: {fix}"));
            Ok(Written::Refused)
        }
        Some(404) => {
            say_refused(&format!("refused: {error}: look for it with {} status", crate::PROGRAM));
            Ok(Written::Refused)
        }
        Some(422 | 400) => {
            say_refused(&format!("refused: {error}"));
            Ok(Written::Refused)
        }
        _ => Err(Error::Call {
            what: format!("write {path}"),
            source: error,
            fix: "whether it was written is not known: look with kubectl cordonhold status, then run the command again".to_owned(),
        }),
    }
}

/// Says on standard error that something was refused.
pub(crate) fn say_refused(says: &str) {
    let sign = text::painted("!", BAD);
    // An API server, or a webhook of others, may have said some of it.
    let says = &one_line(says, SAID_MAX);
    output::note(&format!(
        "{sign} {}",
        text::wrap(says, output::width().saturating_sub(2)).join("\n  ")
    ));
}

/// Says why nothing is done about this node, and what to do instead.
pub(crate) fn trouble(node: &NodeView, why: &str, instead: &str) -> Result<Ending, Error> {
    let says = format!("node {}: {why}", quoted(node.name()));
    output::print(&text::with_command(
        ("!", BAD),
        &says,
        instead,
        Some(output::width()),
    ))?;
    Ok(Ending::Trouble)
}

/// The path of a Node.
pub(crate) fn node_path(name: &str) -> String {
    format!("{}/{name}", crate::cluster::NODES)
}

/// A line about what was done, or would have been.
pub(crate) fn say_done(what: &str, name: &str, is_dry: bool) -> Result<(), Error> {
    let dry = if is_dry {
        " (dry run: nothing was written)"
    } else {
        ""
    };
    let sign = text::painted("✓", text::GOOD);
    output::line(&format!("{sign} {what} {}{dry}", quoted(name)))
}
