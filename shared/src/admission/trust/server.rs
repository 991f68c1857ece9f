//! What the API server itself lacks, by what it shows and not by its version: a feature gate may be off, and a version says nothing of that.
//!
//! Not here: asking it (the webhook's `trust`).

use crate::claim::{NODE_IS_LEFT_OUT, NodeClaim};

use super::{Configuration, Finding, Problem, Webhook, joined, last_write};

/// What the API server shows of itself. `None`: it was not asked, or has not answered yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// What it reads out of the webhook's own token. Agents' tokens are made in the same way.
    pub own_token: Option<NodeClaim>,
    /// Whether it has the kind `MutatingAdmissionPolicy`. Asked only if an uncordon may be deferred.
    pub has_mutating_policies: Option<bool>,
}

/// The findings about the API server.
pub(super) fn findings(server: &Server, configuration: &Configuration, name: &str) -> Vec<Finding> {
    let finding = |problem, about: String, text| Finding {
        problem,
        about,
        blocks: false,
        text,
    };
    let mut found = Vec::new();
    if server.own_token == Some(NodeClaim::PodAlone) {
        let text = format!("the agents' writes to their own Nodes are denied: {NODE_IS_LEFT_OUT}");
        found.push(finding(Problem::TokensWithoutNode, String::new(), text));
    }
    let Configuration::Present {
        webhooks,
        writes,
        mutates,
    } = configuration
    else {
        return found;
    };
    let unconditional: Vec<&Webhook> = webhooks
        .iter()
        .filter(|webhook| !webhook.has_conditions)
        .collect();
    if !unconditional.is_empty() {
        let about = joined(unconditional.iter().map(|webhook| webhook.name.as_str()));
        // Who owns a `caBundle` says nothing of this.
        let who = last_write(writes, &[]).map(|write| format!("; {write}"));
        let text = format!(
            "{about} in the configuration {name} has no matchConditions, so each write of any Node waits for this webhook, the agents' own too{}: \
             apply the manifests again; Kubernetes before 1.28 drops the field",
            who.unwrap_or_default()
        );
        found.push(finding(Problem::ConditionsMissing, about, text));
    }
    if *mutates == Some(false) && server.has_mutating_policies == Some(false) {
        let text = format!(
            "no uncordon is deferred, and each one of a held node is denied: there is no MutatingWebhookConfiguration {name}, and this API server has no \
             MutatingAdmissionPolicy (it is there from Kubernetes 1.36 on, unless its feature gate is off): apply manifests/components/defer, or set \
             webhook.deferBy to webhook"
        );
        found.push(finding(Problem::NothingDefers, String::new(), text));
    }
    found
}
