//! What an API server lacks, or was told to leave out, is named at the start of agent and webhook, by what the server shows.
//!
//! Not here: releases of Kubernetes that lack it by themselves, see `oldest.rs`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_tests::control_plane::{ControlPlane, Options};
use cordonhold_tests::identity::{Credential, Identity};
use cordonhold_tests::install::{install, manifests};
use cordonhold_tests::wait;
use cordonhold_tests::webhook::{Mode, Protection, Webhook, http_get};
use cordonhold_tests::{AGENT_ACCOUNT, NAMESPACE};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::{Cluster, alone, on_fleet};
use crate::fleet::Site;
use crate::subject::{Subject, uncordon};
use crate::wire::{self, Write};

/// Longest time until the webhook has looked at the API server again, which it does every 10 s.
const LOOKED_TIMEOUT: Duration = Duration::from_secs(40);
/// Leaves out a kind of policy that Kubernetes before 1.36 does not have: both its API and its use.
const WITHOUT_MUTATING_POLICIES: [&str; 2] = [
    "--runtime-config=admissionregistration.k8s.io/v1/mutatingadmissionpolicies=false",
    "--feature-gates=MutatingAdmissionPolicy=false",
];

/// Waits until `/readyz` of the webhook, which is ready, says all of this, or nothing of it.
pub(crate) async fn wait_named(webhook: &Webhook, words: &[&str], is_named: bool) -> Result<()> {
    let what = format!("/readyz to say {words:?}: {is_named}");
    let admin = webhook.admin_address();
    wait::until(&what, LOOKED_TIMEOUT, || async {
        let (code, page) = http_get(admin, "/readyz").await?;
        ensure!(code == 200, "not ready: {page}");
        let is_so = words.iter().all(|word| page.contains(word) == is_named);
        Ok(is_so.then_some(()))
    })
    .await
}

/// A tool that knows an older schema may take them away, and Kubernetes before 1.28 does.
#[test]
fn never_in_the_way_match_conditions_that_are_gone_are_named_with_who_took_them() -> Result<()> {
    alone(async || {
        let cluster = Cluster::start("base", Mode::Enforce, Protection::OwnHolds).await?;
        let configurations: Api<ValidatingWebhookConfiguration> = Api::all(cluster.plane.client());
        let stored = configurations.get("cordonhold").await?;
        ensure!(
            stored
                .webhooks
                .iter()
                .flatten()
                .all(|webhook| webhook.match_conditions.is_some()),
            "shipped without matchConditions: {stored:?}"
        );
        let params = PatchParams {
            field_manager: Some("old-tool".to_owned()),
            ..PatchParams::default()
        };
        let gone = json!({ "webhooks": [{ "name": wire::WEBHOOK, "matchConditions": null }] });
        drop(
            configurations
                .patch("cordonhold", &params, &Patch::Strategic(gone))
                .await
                .context("failed to take the matchConditions away")?,
        );
        let says = [
            "has no matchConditions",
            wire::WEBHOOK,
            "old-tool",
            "apply the manifests again",
        ];
        wait_named(&cluster.webhook, &says, true).await?;
        let (origin, bundle) = (cluster.webhook.origin(), cluster.webhook.ca_bundle());
        cluster
            .rendered
            .register_webhook(&cluster.plane.client(), &origin, Some(bundle))
            .await?;
        wait_named(&cluster.webhook, &says, false).await
    })
}

/// The uncordon is denied, as the message says, and nobody finds out only then.
#[test]
fn last_wish_mode_defer_on_an_api_server_without_such_policies_is_named() -> Result<()> {
    alone(async || {
        let options = Options { nodes: 1 };
        let plane = ControlPlane::start_with(options, &WITHOUT_MUTATING_POLICIES).await?;
        let rendered = install(&plane, &manifests("base")).await?;
        let webhook = Webhook::start(&plane, Mode::Defer, Protection::OwnHolds).await?;
        webhook.register(&plane, &rendered, "node-0").await?;
        let cluster = Cluster {
            webhook,
            rendered,
            admin: plane.client(),
            controller: plane.client_from(&plane.kubeconfig(Identity::Controller)).await?,
            plane,
        };
        let says = [
            "no uncordon is deferred",
            "MutatingAdmissionPolicy",
            "manifests/components/defer",
        ];
        wait_named(&cluster.webhook, &says, true).await?;
        let held = Subject::held(&cluster, "held", Phase::Delaying).await?;
        let answer = wire::write(&cluster.controller, &held.name, Write::Strategic, &uncordon()).await?;
        answer.denied()
    })
}

#[test]
fn one_node_one_agent_a_token_that_names_no_node_is_named_at_the_start() -> Result<()> {
    on_fleet(async |plane| {
        plane.add_node("unbound").await?;
        let token = plane
            .service_account_token(NAMESPACE, AGENT_ACCOUNT, None)
            .await?;
        let kubeconfig = plane.directory().join("unbound.kubeconfig");
        plane
            .endpoint()
            .write_kubeconfig(&kubeconfig, AGENT_ACCOUNT, &Credential::Token(token))?;
        let mut site = Site::without_agent(plane, "unbound").await?;
        site.start_agent(&[&format!("--kubeconfig={}", kubeconfig.display())])
            .await?;
        let said: Value = site.wait_event("token_without_node").await?;
        let why = said["why"].as_str().unwrap_or_default();
        ensure!(
            said["level"] == "WARN" && why.contains("bound to no pod"),
            "{said}"
        );

        // The next one has a token of its pod, as from a kubelet.
        let own = Site::new(plane, "bound", &[]).await?;
        drop(own.wait_event("started").await?);
        own.machine.request_reboot()?;
        own.reboots_once_and_is_given_back().await?;
        let log = std::fs::read_to_string(own.machine.agent_log())?;
        ensure!(!log.contains("token_without_node"), "{log}");
        Ok(())
    })
}
