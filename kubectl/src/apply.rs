//! Applies and removes objects of any kind: server-side apply, which sees what others have written of them.
//!
//! Not here: which objects (`install`, `migrate`).

use cordonhold_rt::api::CallError;
use cordonhold_shared::quote::{one_line, quoted};
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::output::SAID_MAX;
use crate::patch::{Written, say_refused};
use crate::{Ending, Error, PROGRAM, output};

/// Why one object was not applied.
enum Refusal {
    /// Another field manager has some of its fields: this is what the API server says.
    Conflict(String),
    /// The API server, or a rule in it, refuses it.
    Refused(String),
}

/// An object for people: `Deployment cordonhold/cordonhold-webhook`.
pub(crate) fn named(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{kind} {}", quoted(&format!("{namespace}/{name}"))),
        None => format!("{kind} {}", quoted(&name)),
    }
}

/// The path of an object. Each kind that the chart renders has the plural that English gives it.
pub(crate) fn path(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let version = text(&object["apiVersion"]);
    let root = if version.contains('/') { "apis" } else { "api" };
    let kind = text(&object["kind"]).to_ascii_lowercase();
    let plural = match kind.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{kind}s"),
    };
    let space = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("/namespaces/{namespace}"),
        None => String::new(),
    };
    format!(
        "/{root}/{version}{space}/{plural}/{}",
        text(&object["metadata"]["name"])
    )
}

impl Cluster {
    /// Applies these objects in their order, and says so of each. Before any is written, all are tried by a dry run, but for the namespace, which
    /// the others need.
    pub(crate) async fn apply(&self, objects: &[Value], is_dry: bool) -> Result<Ending, Error> {
        let is_namespace = |object: &&Value| object["kind"] == "Namespace";
        let (spaces, others): (Vec<&Value>, Vec<&Value>) = objects.iter().partition(is_namespace);
        for space in &spaces {
            // What is in a namespace that is not there yet cannot be tried.
            let is_new = self.at(&path(space)).await?.is_none();
            if self.applied(space, is_dry).await? == Ending::Trouble {
                return Ok(Ending::Trouble);
            }
            if is_new && is_dry {
                output::line("- the namespace is not there yet, so the API server can check nothing else")?;
                return Ok(Ending::Fine);
            }
        }
        for object in &others {
            if let Err(refusal) = self.sent(object, true).await? {
                return Ok(say(object, &refusal));
            }
        }
        for object in others {
            if is_dry {
                output::line(&format!("✓ would apply {}", named(object)))?;
            } else if self.applied(object, false).await? == Ending::Trouble {
                return Ok(Ending::Trouble);
            }
        }
        Ok(Ending::Fine)
    }

    /// Applies one object, and says so.
    async fn applied(&self, object: &Value, is_dry: bool) -> Result<Ending, Error> {
        match self.sent(object, is_dry).await? {
            Ok(()) => {
                let done = if is_dry { "would apply" } else { "applied" };
                output::line(&format!("✓ {done} {}", named(object)))?;
                Ok(Ending::Fine)
            }
            Err(refusal) => Ok(say(object, &refusal)),
        }
    }

    async fn sent(&self, object: &Value, is_dry: bool) -> Result<Result<(), Refusal>, Error> {
        let apply = "application/apply-patch+yaml";
        match self.send_patch(&path(object), apply, object, is_dry).await {
            Ok(()) => Ok(Ok(())),
            Err(error) => match error.code() {
                Some(409) => Ok(Err(Refusal::Conflict(error.to_string()))),
                Some(400 | 403 | 404 | 422) => Ok(Err(Refusal::Refused(error.to_string()))),
                _ => Err(unknown("apply", object, error)),
            },
        }
    }

    /// Removes an object, if it is there, with these preconditions, and says so.
    pub(crate) async fn remove(
        &self,
        object: &Value,
        preconditions: Option<&Value>,
    ) -> Result<Written, Error> {
        let mut options =
            json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background" });
        if let Some(preconditions) = preconditions {
            options["preconditions"] = preconditions.clone();
        }
        let request = http::Request::delete(path(object))
            .header(CONTENT_TYPE, "application/json")
            .body(options.to_string().into_bytes());
        let answer = self
            .send(request)
            .await
            .map_err(|error| unknown("remove", object, error))?;
        let said: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        let said = said["message"].as_str().unwrap_or("the API server says no more");
        match answer.status().as_u16() {
            200 | 202 => {
                output::line(&format!("✓ removed {}", named(object)))?;
                Ok(Written::Done)
            }
            404 => Ok(Written::Done),
            409 => Ok(Written::Outrun(said.to_owned())),
            _ => {
                say_refused(&format!("{} was not removed: {said}", named(object)));
                Ok(Written::Refused)
            }
        }
    }

    /// The object at this path; `None` if there is none.
    pub(crate) async fn at(&self, path: &str) -> Result<Option<Value>, Error> {
        let (parent, name) = path.rsplit_once('/').unwrap_or_default();
        let answer = self.get(parent, name).await;
        answer.map_err(|source| crate::cluster::unreachable(path, source))
    }
}

fn say(object: &Value, refusal: &Refusal) -> Ending {
    let name = named(object);
    match refusal {
        Refusal::Conflict(said) => say_refused(&format!(
            "{name} is kept by somebody else, and nothing of theirs is overwritten: {}: change it with what keeps it (Helm, Flux, Argo CD, \
             kubectl apply), with the same values",
            one_line(said, SAID_MAX / 2)
        )),
        Refusal::Refused(said) => say_refused(&format!("{name} was not applied: {said}")),
    }
    Ending::Trouble
}

fn unknown(what: &str, object: &Value, source: CallError) -> Error {
    Error::Call {
        what: format!("{what} {}", named(object)),
        source,
        fix: format!(
            "whether it was done is not known: look with {PROGRAM} status, then run the command again"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_path() {
        let of = |version: &str, kind: &str, namespace: Value| {
            path(
                &json!({ "apiVersion": version, "kind": kind, "metadata": { "name": "a", "namespace": namespace } }),
            )
        };
        assert_eq!(of("v1", "Service", json!("n")), "/api/v1/namespaces/n/services/a");
        assert_eq!(
            of("networking.k8s.io/v1", "NetworkPolicy", json!("n")),
            "/apis/networking.k8s.io/v1/namespaces/n/networkpolicies/a"
        );
        assert_eq!(
            of(
                "admissionregistration.k8s.io/v1",
                "ValidatingAdmissionPolicy",
                Value::Null
            ),
            "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/a"
        );
    }
}
