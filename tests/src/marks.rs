//! Writes the marks of a hold on a Node by the same patches and with the same identity as the agent, without an agent.
//!
//! Not here: a real agent, see [`crate::machine`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::{self, Hold, Holder, NodePatch, Phase, Proof, Terms};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};

use crate::control_plane::ControlPlane;
use crate::identity::Impersonation;
use crate::{AGENT_ACCOUNT, NAMESPACE, wait};

/// Longest write. Conflicts with heartbeats and the node controller end within milliseconds.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
const TERMS: Terms = Terms {
    reboot: SignedDuration::from_mins(30),
    release: SignedDuration::ZERO,
};

/// The marks of one Node, written as its agent writes them.
pub struct Marks {
    name: String,
    admin: Client,
    agent: Client,
}

impl Marks {
    /// The marks of this Node, which must exist.
    pub async fn of(plane: &ControlPlane, name: &str) -> Result<Self> {
        let agent = Impersonation::service_account(NAMESPACE, AGENT_ACCOUNT).on_node(name);
        let agent = plane.client_as(&agent).await?;
        Ok(Self::new(name, plane.client(), agent))
    }

    /// Like [`of`](Self::of), with a client that may read the Node and one that is its agent.
    pub fn new(name: &str, admin: Client, agent: Client) -> Self {
        Self {
            name: name.to_owned(),
            admin,
            agent,
        }
    }

    /// The Node as it is now.
    pub async fn view(&self) -> Result<NodeView> {
        let request = http::Request::get(format!("/api/v1/nodes/{}", self.name)).body(Vec::new())?;
        self.admin
            .request(request)
            .await
            .with_context(|| format!("failed to get the Node {}", self.name))
    }

    /// Brings a Node without a hold to this phase, by the agent's steps.
    pub async fn hold(&self, phase: Phase) -> Result<Holder> {
        let holder = Holder {
            node_uid: self.view().await?.metadata.uid,
            created: format!("{:.9}", Timestamp::now()),
        };
        self.go_through(&holder, |step| step <= phase).await?;
        ensure!(
            self.view().await?.label(keys::PHASE) == Some(phase.as_str()),
            "the marks of {} did not come about",
            self.name
        );
        Ok(holder)
    }

    /// Goes on from this phase to the last one, and gives the cordon back.
    pub async fn finish(&self, phase: Phase) -> Result<()> {
        let holder = hold_of(&self.view().await?)?.holder;
        self.go_through(&holder, |step| step > phase).await?;
        self.give_back().await
    }

    async fn go_through(&self, holder: &Holder, is_wanted: impl Fn(Phase) -> bool) -> Result<()> {
        for step in Phase::ALL.into_iter().filter(|step| is_wanted(*step)) {
            self.patch(Timestamp::now(), |node| step_to(step, node, holder))
                .await?;
        }
        Ok(())
    }

    /// Sets `until` as if the last renewal was `age` ago.
    pub async fn renewed_before(&self, age: SignedDuration) -> Result<()> {
        let then = Timestamp::now().checked_sub(age)?;
        self.patch(then, |node| {
            let hold = hold_of(node)?;
            let leaves = hold.written(hold.phase, proof());
            Ok(NodePatch::renew(node, leaves, None))
        })
        .await
    }

    /// Ends the hold, and makes the cordon what it was before.
    pub async fn give_back(&self) -> Result<()> {
        self.patch(Timestamp::now(), |node| {
            Ok(NodePatch::give_back(node, &hold_of(node)?, proof()))
        })
        .await
    }

    /// Writes a patch as the agent. After a conflict the patch is made again for the new version.
    pub async fn patch(&self, now: Timestamp, decide: impl Fn(&NodeView) -> Result<NodePatch>) -> Result<()> {
        let what = format!("the agent's write to {}", self.name);
        let nodes: Api<Node> = Api::all(self.agent.clone());
        let written = wait::until(&what, WRITE_TIMEOUT, || async {
            let body = decide(&self.view().await?)?.body(now, &TERMS);
            match nodes
                .patch(&self.name, &PatchParams::default(), &Patch::Merge(body))
                .await
            {
                Ok(_) => Ok(Some(Ok(()))),
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
                // Not a reason to try again.
                Err(error) => Ok(Some(Err(error))),
            }
        })
        .await?;
        written.with_context(|| format!("the agent's write to {} did not pass", self.name))
    }
}

fn step_to(step: Phase, node: &NodeView, holder: &Holder) -> Result<NodePatch> {
    if step == Phase::Wanted {
        return Ok(NodePatch::stamp(node, Hold::wish(holder.clone(), proof())));
    }
    let hold = hold_of(node)?;
    let leaves = Hold {
        boot_id: Some("11111111-1111-4111-8111-111111111111/1.0".to_owned()),
        was_unschedulable: hold.was_unschedulable.or(Some(node.spec.unschedulable)),
        ..hold.written(step, proof())
    };
    Ok(match step {
        Phase::Draining => NodePatch::cordon(node, leaves, true),
        Phase::Delaying => NodePatch::delay(node, leaves),
        Phase::Sealed => NodePatch::seal(node, leaves),
        Phase::Wanted | Phase::Returning => NodePatch::returning(node, leaves),
    })
}

/// A new proof; each write has its own.
fn proof() -> Proof {
    static WRITES: AtomicU64 = AtomicU64::new(1);
    Proof::new(WRITES.fetch_add(1, Ordering::Relaxed).into())
}

fn hold_of(node: &NodeView) -> Result<Hold> {
    hold::read(node)
        .present()
        .with_context(|| format!("{} carries no hold that can be read", node.name()))
}
