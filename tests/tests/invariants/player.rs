//! The player of the kubelet itself: what it runs, what it refuses and what it shows, on a cluster whose pods of ours run.
//!
//! Not here: a release on such a cluster (`installed`), and the page that leads through one (`start_here`).

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cordonhold_shared::keys;
use cordonhold_tests::cluster::{Cluster, values};
use cordonhold_tests::helm::{Helm, Release};
use cordonhold_tests::identity::Identity;
use cordonhold_tests::install::manifests;
use cordonhold_tests::kubelet::PodName;
use cordonhold_tests::kubelet::image::repository;
use cordonhold_tests::programs::Program;
use cordonhold_tests::{AGENT_ACCOUNT, NAMESPACE, wait};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::cluster::alone;
use crate::fleet::POD_TIMEOUT;
use crate::installed::{ROLLED_OUT, is_rolled_out_in};

/// A namespace that no manifest names.
const ELSEWHERE: &str = "elsewhere";
/// Longest run of `kubectl logs`.
const LOGS_TIMEOUT: Duration = Duration::from_secs(30);

/// Installs the chart into this namespace, and waits as `helm install --wait` does.
async fn release(cluster: &Cluster, namespace: &str) -> Result<()> {
    let (chart, values) = (manifests("chart"), values().to_string());
    let release = Release {
        chart: &chart,
        name: "cordonhold",
        namespace,
        values: &values,
    };
    let helm = Helm::new()?;
    helm.install(&cluster.admin(), &release, &["--wait"])
        .await
        .map(drop)
}

/// Runs `kubectl logs` with these words.
async fn logs(cluster: &Cluster, words: &[&str]) -> Result<String> {
    let line = cluster.plane.kubectl_line(Identity::Admin).arg("logs");
    line.args(words.iter().copied()).run("", LOGS_TIMEOUT).await
}

#[test]
fn a_release_runs_in_any_namespace_with_its_logs_and_ends_with_the_cluster() -> Result<()> {
    alone(async || {
        let cluster = Cluster::start(1).await?;
        release(&cluster, ELSEWHERE).await?;
        is_rolled_out_in(&cluster.plane.client(), ELSEWHERE, "cordonhold-webhook").await?;
        let of_webhook = ["-n", ELSEWHERE, "deployment/cordonhold-webhook"];
        let line = logs(&cluster, &[&of_webhook[..], &["--tail=1"]].concat()).await?;
        let line: Value = serde_json::from_str(&line).with_context(|| format!("not one line: {line:?}"))?;
        ensure!(line["message"].is_string(), "{line}");

        let refused = logs(&cluster, &[&of_webhook[..], &["--previous"]].concat()).await;
        let said = format!("{:#}", refused.err().context("--previous was ignored")?);
        ensure!(said.contains("option previous is not played"), "{said}");

        let kubelet = cluster.kubelet.clone();
        ensure!(!kubelet.running_on("node-0").is_empty(), "nothing runs");
        drop(cluster);
        ensure!(
            kubelet.running_on("node-0").is_empty(),
            "pods outlive their cluster"
        );
        Ok(())
    })
}

/// A pod of ours on `node-0`, with this container.
fn pod(name: &str, program: Program, container: &Value) -> Result<Pod> {
    let (part_of, ours) = keys::PART_OF;
    let mut pod = json!({
        "metadata": { "name": name, "labels": { part_of: ours } },
        "spec": {
            "nodeName": "node-0",
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 1,
            "containers": [{ "name": "main", "image": repository(program), "volumeMounts": [{ "name": "empty", "mountPath": "/empty" }] }],
            "volumes": [{ "name": "empty", "emptyDir": {} }],
        },
    });
    for (field, value) in container.as_object().into_iter().flatten() {
        pod["spec"]["containers"][0][field] = value.clone();
    }
    Ok(serde_json::from_value(pod)?)
}

/// Waits until the pod's container has this waiting reason, and returns the message.
async fn waits_for(pods: &Api<Pod>, name: &str, reason: &str) -> Result<String> {
    wait::until(&format!("{name} to wait for {reason}"), POD_TIMEOUT, || async {
        let waiting = container(pods, name)
            .await?
            .and_then(|status| status.state?.waiting);
        let waiting = waiting.filter(|waiting| waiting.reason.as_deref() == Some(reason));
        Ok(waiting.map(|waiting| waiting.message.unwrap_or_default()))
    })
    .await
}

async fn container(pods: &Api<Pod>, name: &str) -> Result<Option<ContainerStatus>> {
    let pod = pods.get(name).await?;
    let statuses = pod.status.and_then(|status| status.container_statuses);
    Ok(statuses.and_then(|statuses| statuses.into_iter().next()))
}

#[test]
fn a_pod_that_would_not_run_as_it_says_is_refused_by_the_name_of_the_field_and_leaves_nothing() -> Result<()>
{
    alone(async || {
        let cluster = Cluster::start(1).await?;
        let pods: Api<Pod> = Api::default_namespaced(cluster.plane.client());
        let taken = std::net::TcpListener::bind(("0.0.0.0", 0))?;
        let port = taken.local_addr()?.port();
        let cases = [
            (
                "with-command",
                json!({ "command": ["/bin/sh"] }),
                "spec.containers[].command".to_owned(),
            ),
            (
                "with-port",
                json!({ "ports": [{ "containerPort": port }] }),
                format!("port {port} of 127."),
            ),
        ];
        for (name, container, named) in cases {
            let refused = pod(name, Program::Webhook, &container)?;
            let made = pods.create(&PostParams::default(), &refused).await?;
            let uid = made.metadata.uid.context("a pod without a uid")?;
            let message = waits_for(&pods, name, "CreateContainerError").await?;
            ensure!(message.contains(&named), "{name}: {message}");

            let mounted = cluster.plane.directory().join("pods").join(uid);
            ensure!(mounted.exists() == (name == "with-port"), "{}", mounted.display());
            drop(pods.delete(name, &DeleteParams::default()).await?);
            wait::until("the pod's directory to be removed", POD_TIMEOUT, || async {
                Ok((!mounted.exists()).then_some(()))
            })
            .await?;
        }
        Ok(())
    })
}

#[test]
fn an_agent_that_crashes_as_a_pod_is_not_well() -> Result<()> {
    alone(async || {
        let cluster = Cluster::start(1).await?;
        let machine = &cluster.machines[0];
        machine.check_agent().await?;
        let pods: Api<Pod> = Api::default_namespaced(cluster.plane.client());
        let name = format!("{AGENT_ACCOUNT}-crashes");
        let crashes = pod(&name, Program::Agent, &json!({ "args": ["--no-such-flag"] }))?;
        drop(pods.create(&PostParams::default(), &crashes).await?);
        drop(waits_for(&pods, &name, "CrashLoopBackOff").await?);
        let error = machine.check_agent().await.err().context("it is well")?;
        let said = format!("{error:#}");
        for part in [name.as_str(), "exit status: 2", "--no-such-flag"] {
            ensure!(said.contains(part), "no {part}: {said}");
        }
        Ok(())
    })
}

/// The process of a pod.
fn process(cluster: &Cluster, pod: &PodName) -> Result<Pid> {
    let list = std::fs::read_to_string(cluster.plane.directory().join("processes"))?;
    let mut ids = list.lines().filter_map(|line| line.split_once(' '));
    let id = ids.rfind(|(name, _)| *name == pod.to_string());
    let id = id.and_then(|(_, id)| Pid::from_raw(id.parse().ok()?));
    id.with_context(|| format!("{pod} has no process"))
}

/// The agent's pod on this node.
fn agent(cluster: &Cluster, node: &str) -> Result<PodName> {
    let pods = cluster.kubelet.running_on(node).into_iter();
    let mut agents = pods.filter(|pod| pod.name.starts_with(AGENT_ACCOUNT));
    agents.next().with_context(|| format!("no agent runs on {node}"))
}

async fn delete(client: &Client, pod: &PodName) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
    drop(pods.delete(&pod.name, &DeleteParams::default()).await?);
    Ok(())
}

/// Whether the API server has the pod.
async fn has(client: &Client, pod: &PodName) -> Result<bool> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
    Ok(pods.get_opt(&pod.name).await?.is_some())
}

async fn wait_gone(client: &Client, pod: &PodName) -> Result<()> {
    let what = format!("the pod {pod} to be gone");
    wait::until(&what, ROLLED_OUT, || async {
        Ok((!has(client, pod).await?).then_some(()))
    })
    .await
}

/// The pod's process ends with the power, and nobody tells the API server before the machine is back. And a process that somebody kills is
/// started again, and seen.
#[test]
fn a_pod_that_was_ending_when_the_power_went_is_gone_only_when_the_machine_is_back() -> Result<()> {
    alone(async || {
        let cluster = Cluster::start(2).await?;
        let client = cluster.plane.client();
        release(&cluster, NAMESPACE).await?;
        let (ends, other) = (agent(&cluster, "node-0")?, agent(&cluster, "node-1")?);
        // It does not end by SIGTERM while it is stopped.
        kill_process(process(&cluster, &ends)?, Signal::STOP)?;
        delete(&client, &ends).await?;
        cluster.machines[0].cut_power().await?;
        ensure!(
            cluster.kubelet.running_on("node-0").is_empty(),
            "it outlived the power cut"
        );
        // A whole deletion on another node takes longer than a wrong one on this.
        delete(&client, &other).await?;
        wait_gone(&client, &other).await?;
        ensure!(
            has(&client, &ends).await?,
            "a machine without power has deleted it"
        );
        cluster.machines[0].restore_power().await?;
        wait_gone(&client, &ends).await?;

        let next = wait::until("the next agent", ROLLED_OUT, || async {
            agent(&cluster, "node-0").map(Some)
        });
        let next = next.await?;
        cluster.machines[0].check_agent().await?;
        kill_process(process(&cluster, &next)?, Signal::KILL)?;
        let pods: Api<Pod> = Api::namespaced(client.clone(), &next.namespace);
        wait::until("it to be started again", ROLLED_OUT, || async {
            let status = container(&pods, &next.name).await?.context("no status")?;
            Ok((status.restart_count == 1 && status.ready).then_some(()))
        })
        .await?;
        let crashes = cluster.kubelet.crashes_on("node-0");
        ensure!(
            crashes.len() == 1 && crashes[0].pod == next && crashes[0].status.signal() == Some(9),
            "{crashes:?}"
        );
        cluster.machines[1].check_agent().await
    })
}
