//! Cordonhold as people install it, on a cluster where its pods really run: Helm's release, two replicas behind the Service, the certificate that
//! `cordonhold-certs` makes, and agents in their DaemonSet. Nothing is put in the place of a part.
//!
//! Not here: each decision by itself; the other tests start the programs beside the cluster, with their own flags.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_tests::certificates::{CA_SECRET, CONFIGURATION, SERVED_SECRET};
use cordonhold_tests::cluster::{Cluster, values};
use cordonhold_tests::helm::{self, Helm};
use cordonhold_tests::identity::Identity;
use cordonhold_tests::install::{Rendered, manifests};
use cordonhold_tests::{NAMESPACE, wait};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::cluster::alone;
use crate::fleet::{POD_TIMEOUT, Site};
use crate::uninstall::nothing_is_left;
use crate::wire::{self, Answer, Write};

/// Longest time until everything runs that was installed or changed. The probes of some pods ask each ten seconds.
pub(crate) const ROLLED_OUT: Duration = Duration::from_mins(2);

/// A cluster, and a release of the chart on it.
pub(crate) struct Installed {
    pub(crate) cluster: Cluster,
    helm: Helm,
    chart: PathBuf,
    /// An ordinary controller that may uncordon.
    pub(crate) controller: Client,
}

impl Installed {
    /// Installs the chart with the cluster's values and these, and waits until all runs.
    pub(crate) async fn by_helm(nodes: usize, more: &Value) -> Result<Self> {
        Self::by_helm_on(Cluster::start(nodes).await?, more).await
    }

    /// The same on this cluster.
    pub(crate) async fn by_helm_on(cluster: Cluster, more: &Value) -> Result<Self> {
        let controller = cluster
            .plane
            .client_from(&cluster.plane.kubeconfig(Identity::Controller))
            .await?;
        let installed = Self {
            cluster,
            helm: Helm::new()?,
            chart: manifests("chart"),
            controller,
        };
        installed.install(more).await?;
        Ok(installed)
    }

    /// Installs the chart with the cluster's values and these, and waits until all runs.
    pub(crate) async fn install(&self, more: &Value) -> Result<()> {
        let text = with_more(more);
        let admin = self.cluster.admin();
        drop(self.helm.install(&admin, &self.release(&text), &[]).await?);
        self.runs().await
    }

    fn release<'a>(&'a self, values: &'a str) -> helm::Release<'a> {
        helm::Release {
            chart: &self.chart,
            name: "cordonhold",
            namespace: NAMESPACE,
            values,
        }
    }

    /// `helm upgrade --reuse-values` with these settings.
    pub(crate) async fn upgrade(&self, settings: &[&str]) -> Result<()> {
        let mut arguments = vec!["--reuse-values"];
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        let admin = self.cluster.admin();
        self.helm
            .upgrade(&admin, &self.release(""), &arguments)
            .await
            .map(drop)
    }

    /// The webhook configuration that the chart renders with the cluster's values and these.
    pub(crate) async fn configuration(&self, more: &Value) -> Result<Rendered> {
        let values = with_more(more);
        let all = self.helm.template(&self.release(&values), &[]).await?;
        let is_it = |object: &&Value| object["kind"] == "ValidatingWebhookConfiguration";
        let configuration = all.objects().iter().find(is_it);
        Rendered::from_yaml(
            &configuration
                .context("the chart has no configuration")?
                .to_string(),
        )
    }

    /// Waits until all pods are ready in their newest version, and each webhook of the configuration has a CA.
    pub(crate) async fn runs(&self) -> Result<()> {
        let client = self.cluster.plane.client();
        wait::until("everything that is installed to run", ROLLED_OUT, || async {
            for name in ["cordonhold-webhook", "cordonhold-certs"] {
                is_rolled_out(&client, name).await?;
            }
            agents_run(&client).await?;
            let configurations: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
            let configuration = configurations.get(CONFIGURATION).await?;
            for webhook in configuration.webhooks.into_iter().flatten() {
                ensure!(
                    webhook.client_config.ca_bundle.is_some(),
                    "{} has no CA",
                    webhook.name
                );
                ensure!(
                    webhook.client_config.service.is_some(),
                    "{} has no Service",
                    webhook.name
                );
            }
            Ok(Some(()))
        })
        .await
    }

    /// Uncordons a node, or with `?dryRun=All` behind its name tries to.
    pub(crate) async fn uncordon(&self, node: &str) -> Result<Answer> {
        let body = json!({ "spec": { "unschedulable": null } });
        wire::write(&self.controller, node, Write::Merge, &body).await
    }

    /// Tries to uncordon a node again and again until it is told to stop. An error unless the webhook has denied each; else how often.
    async fn keeps_denying(&self, node: &str, stopped: watch::Receiver<bool>) -> Result<usize> {
        let target = format!("{node}?dryRun=All");
        let mut asked = 0;
        while !*stopped.borrow() {
            let answer = self.uncordon(&target).await?;
            answer
                .denied()
                .with_context(|| format!("after {asked} denials"))?;
            asked += 1;
        }
        Ok(asked)
    }
}

/// The certificate that the webhook's pods mount.
async fn certificate(client: &Client) -> Result<Vec<u8>> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let secret = secrets.get_opt(SERVED_SECRET).await?.context("no certificate")?;
    let data = secret.data.unwrap_or_default();
    Ok(data.get("tls.crt").context("no tls.crt")?.0.clone())
}

/// The CAs of each webhook. An error unless all have the same.
pub(crate) async fn bundle(client: &Client) -> Result<String> {
    let configurations: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let configuration = configurations.get(CONFIGURATION).await?;
    let webhooks = configuration.webhooks.into_iter().flatten();
    let bundles: BTreeSet<Vec<u8>> = webhooks
        .map(|webhook| webhook.client_config.ca_bundle.unwrap_or_default().0)
        .collect();
    ensure!(bundles.len() == 1, "{} different bundles", bundles.len());
    Ok(String::from_utf8(bundles.into_iter().next().unwrap_or_default())?)
}

/// An error unless all replicas of a Deployment are of its newest version, and ready.
pub(crate) async fn is_rolled_out(client: &Client, name: &str) -> Result<()> {
    is_rolled_out_in(client, NAMESPACE, name).await
}

/// The same in this namespace.
pub(crate) async fn is_rolled_out_in(client: &Client, namespace: &str, name: &str) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let deployment = deployments
        .get(name)
        .await
        .with_context(|| format!("failed to get {name}"))?;
    let wanted = deployment.spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let status = deployment.status.unwrap_or_default();
    ensure!(
        status.observed_generation == deployment.metadata.generation
            && [status.replicas, status.updated_replicas, status.ready_replicas] == [Some(wanted); 3],
        "{name}: {status:?}"
    );
    Ok(())
}

async fn agents_run(client: &Client) -> Result<()> {
    let sets: Api<DaemonSet> = Api::namespaced(client.clone(), NAMESPACE);
    let set = sets
        .get("cordonhold-agent")
        .await
        .context("failed to get the DaemonSet")?;
    let status = set.status.unwrap_or_default();
    ensure!(
        status.observed_generation == set.metadata.generation
            && status.desired_number_scheduled > 0
            && status.updated_number_scheduled == Some(status.desired_number_scheduled)
            && status.number_ready == status.desired_number_scheduled,
        "cordonhold-agent: {status:?}"
    );
    Ok(())
}

/// The cluster's values and these.
fn with_more(more: &Value) -> String {
    let mut all = values();
    merge(&mut all, more);
    all.to_string()
}

/// Adds `more` to nested values.
fn merge(values: &mut Value, more: &Value) {
    match (values, more) {
        (Value::Object(values), Value::Object(more)) => {
            for (key, value) in more {
                merge(values.entry(key).or_insert(Value::Null), value);
            }
        }
        (values, more) => *values = more.clone(),
    }
}

/// The first hour of a new user: install, see a reboot, deny, see an uncordon denied, uninstall.
#[test]
fn held_stays_cordoned_a_release_reboots_a_node_then_denies_an_uncordon_then_leaves_nothing() -> Result<()> {
    alone(async || {
        let installed = Installed::by_helm(2, &json!({})).await?;
        let first = Site::on(&installed.cluster, 0);
        first.machine.request_reboot()?;
        first.reboots_once_and_is_given_back().await?;

        installed.upgrade(&["webhook.mode=enforce"]).await?;
        installed.runs().await?;
        let second = Site::on(&installed.cluster, 1);
        second.add_blocked_pod("blocked").await?;
        second.machine.request_reboot()?;
        drop(second.wait_phase(Phase::Draining).await?);
        let answer = installed.uncordon(second.name()).await?;
        answer.denied()?;
        for words in ["node-1", "draining"] {
            ensure!(
                answer.message().contains(words),
                "it does not say {words}: {answer:?}"
            );
        }

        let admin = installed.cluster.admin();
        let said = installed
            .helm
            .uninstall(&admin, &installed.release(""), &[])
            .await?;
        ensure!(said.contains("uninstalled"), "{said}");
        nothing_is_left(&installed.cluster.plane.client()).await?;
        let node = second.view().await?;
        ensure!(
            !node.spec.unschedulable && second.machine.reboots().is_empty(),
            "{node:?}"
        );
        ensure!(second.has_pod("blocked").await?, "its pod was evicted");
        Ok(())
    })
}

/// What the API server serves meanwhile: an upgrade that replaces all pods, in the middle of a change of CAs.
#[test]
fn held_stays_cordoned_while_a_release_is_upgraded_and_its_cas_change() -> Result<()> {
    alone(async || {
        let soon = json!({ "webhook": { "mode": "enforce" }, "tls": { "extraArgs": ["--settle=10s"] } });
        let installed = Installed::by_helm(2, &soon).await?;
        let client = installed.cluster.plane.client();
        let held = Site::on(&installed.cluster, 0);
        held.add_blocked_pod("blocked").await?;
        held.machine.request_reboot()?;
        drop(held.wait_phase(Phase::Draining).await?);
        let (stop, stopped) = watch::channel(false);
        let changes = async {
            let first = certificate(&client).await?;
            let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
            drop(secrets.delete(CA_SECRET, &DeleteParams::default()).await?);
            let what = "the next CA, beside the one that signed the certificate";
            wait::until(what, ROLLED_OUT, || async {
                Ok((bundle(&client).await?.matches("BEGIN CERTIFICATE").count() == 2).then_some(()))
            })
            .await?;
            let anew = [
                "webhook.podAnnotations.anew=yes",
                "tls.resources.requests.cpu=11m",
            ];
            installed.upgrade(&anew).await?;
            installed.runs().await?;
            wait::until("a certificate of the next CA", ROLLED_OUT, || async {
                Ok((certificate(&client).await? != first).then_some(()))
            })
            .await?;
            // The API server keeps its connections, so only new pods show it the new certificate.
            installed.upgrade(&["webhook.podAnnotations.anew=again"]).await?;
            installed.runs().await?;
            let _: bool = stop.send_replace(true);
            Ok(())
        };
        let (asked, ()) = tokio::try_join!(installed.keeps_denying(held.name(), stopped), changes)?;
        ensure!(asked >= 100, "only {asked} uncordons were tried");
        held.unblock_pod("blocked").await?;
        held.reboots_once_and_is_given_back().await
    })
}

/// A power cut of the whole cluster while each node is held and keeps a replica of the webhook, which a budget of somebody's protects. The
/// webhook comes up on the held nodes; then the budget goes, and each node is rebooted and given back, with the webhook's pods on no node meanwhile.
#[test]
fn cordon_given_back_a_cluster_whose_every_node_is_held_starts_from_cold() -> Result<()> {
    alone(async || {
        let enforce = json!({ "webhook": { "mode": "enforce" }, "configuration": { "concurrency": 2 } });
        let mut installed = Installed::by_helm(2, &enforce).await?;
        let client = installed.cluster.plane.client();
        let budgets: Api<PodDisruptionBudget> = Api::namespaced(client.clone(), NAMESPACE);
        protect_pods(&budgets).await?;
        let sites = [Site::on(&installed.cluster, 0), Site::on(&installed.cluster, 1)];
        for site in &sites {
            let pods = installed.cluster.kubelet.running_on(site.name());
            ensure!(
                pods.iter().any(|pod| pod.name.starts_with("cordonhold-webhook")),
                "{pods:?}"
            );
            site.machine.request_reboot()?;
        }
        for site in &sites {
            drop(site.wait_phase(Phase::Draining).await?);
        }

        installed.cluster.cut_power().await?;
        for site in &sites {
            let left = installed.cluster.kubelet.running_on(site.name());
            ensure!(left.is_empty(), "{left:?} still run");
            // The hosts want their reboot as before: what asked for it asks again.
            site.machine.request_reboot()?;
        }
        installed.cluster.restore_power().await?;
        for site in &sites {
            let target = format!("{}?dryRun=All", site.name());
            wait::until("the webhook to deny an uncordon again", ROLLED_OUT, || async {
                installed.uncordon(&target).await?.denied().map(Some)
            })
            .await?;
            let node = site.view().await?;
            ensure!(
                node.spec.unschedulable && site.machine.reboots().is_empty(),
                "{node:?}"
            );
        }
        drop(budgets.delete("stays", &DeleteParams::default()).await?);
        for site in &sites {
            drop(site.wait_clean_reboot().await?);
            let node = site.wait_over().await?;
            ensure!(!node.spec.unschedulable, "{} stayed cordoned", site.name());
        }
        installed.runs().await
    })
}

/// A budget of a careful person, which keeps the pods of the webhook and of `certs` from being evicted.
async fn protect_pods(budgets: &Api<PodDisruptionBudget>) -> Result<()> {
    let budget: PodDisruptionBudget = serde_json::from_value(json!({
        "metadata": { "name": "stays" },
        "spec": { "maxUnavailable": 0, "selector": { "matchExpressions": [{
            "key": "app.kubernetes.io/name", "operator": "In", "values": ["cordonhold-webhook", "cordonhold-certs"],
        }] } },
    }))?;
    drop(budgets.create(&PostParams::default(), &budget).await?);
    wait::until(
        "the disruption controller to see the budget",
        POD_TIMEOUT,
        || async {
            let status = budgets.get("stays").await?.status;
            Ok(status
                .is_some_and(|status| status.expected_pods == 3)
                .then_some(()))
        },
    )
    .await
}
