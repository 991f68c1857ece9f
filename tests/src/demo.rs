//! `cargo demo`: plays three acts on one real control plane, prints them as a timeline, and fails if an act goes differently.
//!
//! This file starts the cluster and plays the acts in order.
//! Not here: what an act does and must show (`acts`), and what is seen of it (`observer`).

use std::path::PathBuf;

use anyhow::{Context, Result};
use tokio::task::JoinHandle;

use crate::control_plane::{ControlPlane, Options};
use crate::identity::Identity;
use crate::install::{Rendered, install, manifests};
use crate::webhook::Webhook;
use crate::workload;

use acts::Seen;
use observer::Observer;
use timeline::{Row, Timeline, Tone, Who};

mod acts;
mod chronicle;
mod controller;
mod observer;
mod pictures;
mod timeline;

pub use pictures::{Scene, page};

/// The acts play on node-0 to node-3. node-4 is never drained, so pods always have a place.
const NODES: usize = 5;
const PODS: u32 = 40;
const DEPLOYMENT: &str = "shop";

/// The cluster after all acts, and what they showed.
pub struct Demo {
    cluster: Cluster,
    seen: Vec<Seen>,
}

/// What the acts play on. The fields are dropped in this order.
struct Cluster {
    observer: Observer,
    webhook: Option<Webhook>,
    plane: ControlPlane,
    rendered: Rendered,
    timeline: Timeline,
    printer: JoinHandle<()>,
    replicas: u32,
}

impl Demo {
    /// Plays all acts and prints what happens.
    pub async fn play() -> Result<Self> {
        let mut cluster = Cluster::start().await?;
        let mut seen = acts::the_hole(&mut cluster).await.context("act 1, the hole")?;
        seen.extend(
            acts::the_agent_alone(&mut cluster)
                .await
                .context("act 2, the agent alone")?,
        );
        seen.extend(
            acts::with_the_webhook(&mut cluster)
                .await
                .context("act 3, with the webhook")?,
        );
        let rows: Vec<Row> = seen.iter().map(|seen| seen.row.clone()).collect();
        cluster.timeline.table(&rows);
        if seen.iter().all(|seen| seen.missing.is_empty()) {
            cluster.timeline.conclude();
        }

        Ok(Self { cluster, seen })
    }

    /// What the acts had to show and did not, one line for each thing.
    pub fn missing(&self) -> Vec<&str> {
        self.seen
            .iter()
            .flat_map(|seen| &seen.missing)
            .map(String::as_str)
            .collect()
    }

    /// What the acts showed, for pictures.
    pub fn scenes(&self) -> Vec<Scene> {
        let chronicle = &self.cluster.timeline.chronicle;
        let of = |seen: &Seen| Scene {
            act: seen.row.act.to_owned(),
            about: acts::about(seen.row.act).to_owned(),
            timeline: chronicle.of(&seen.row.node),
        };
        self.seen.iter().map(of).collect()
    }

    /// The path of a cluster-admin kubeconfig. The cluster lives as long as this value.
    pub fn kubeconfig(&self) -> PathBuf {
        self.cluster.plane.kubeconfig(Identity::Admin)
    }
}

impl Cluster {
    async fn start() -> Result<Self> {
        let (timeline, printer) = Timeline::start();
        timeline.heading(
            "Cordonhold, on a real Kubernetes control plane",
            "etcd, API server, controller manager and scheduler are real, and so are the agents, the webhook,\n\
             their RBAC permissions and their tokens. KWOK plays the kubelets of the nodes and pods.\n\
             Each machine is a directory; when it goes down, it records which pods are on its node.",
        );
        let say = |text: String| timeline.say(Who::Demo, Tone::Plain, text);
        let plane = ControlPlane::start(Options { nodes: NODES }).await?;
        say(format!("the control plane is up: {NODES} nodes Ready"));
        let rendered = install(&plane, &manifests("base")).await?;
        say("the manifests are applied, except the webhook's registration".to_owned());
        workload::deploy(&plane.client(), DEPLOYMENT, PODS).await?;
        say(format!("a Deployment of {PODS} pods runs, spread over the nodes"));
        let observer = Observer::start(&plane.client(), timeline.clone());
        Ok(Self {
            observer,
            webhook: None,
            plane,
            rendered,
            timeline,
            printer,
            replicas: PODS,
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.timeline.finish();
        self.printer.abort();
    }
}
