//! Through the API server: what admission adds to the PATCH that uncordons. Nothing, our policies, our webhook and a plain webhook in Go take turns,
//! one PATCH each, so what else the machine does comes upon all of them.
//!
//! Each has Nodes of its own, chosen by a label. All uncordons are dry runs: they go through the same admission, and leave the Nodes as they are.
//! The webhook in Go is registered for the same requests as ours, but without conditions (`matchConditions`), as most are.
//! Not here: the bare hop (`hop.rs`).

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cordonhold_shared::hold::Phase;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::peer::Certificate;
use super::{Figure, Goal, median, review};
use crate::control_plane::ControlPlane;
use crate::identity::{Impersonation, ORDINARY_CONTROLLER};
use crate::install::{Rendered, apply, is_webhook_configuration, manifests, pointed_at};
use crate::marks::Marks;
use crate::process::{CommandLine, Process};
use crate::webhook::{Mode, Protection, Webhook};
use crate::{go_module, programs, wait};

/// The label by which a Node is a [`Setup`]'s.
const LABEL: &str = "cordonhold.test/figure";
/// The label by which a Node is for a [`Case`].
const CASE_LABEL: &str = "cordonhold.test/case";
/// Members of this group have mode `defer`.
const DEFERRED: &str = "deferred";
const FIELD_MANAGER: &str = "cordonhold-figures";
/// Images of a Node, which make it about 20 KiB, a usual size.
const IMAGES: usize = 100;
/// Uncordons of each Node in a round.
const PATCHES: usize = 50;
/// Longest time until the API server applies the policies and calls the webhooks.
const APPLIED_TIMEOUT: Duration = Duration::from_secs(30);

/// What the API server asks about a PATCH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setup {
    Nothing,
    Policies,
    Ours,
    Theirs,
}

/// What becomes of a PATCH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    /// The Node is held.
    Deny,
    /// It is not.
    Allow,
    /// It is held, and the uncordon is kept for later.
    Defer,
}

const SETUPS: [Setup; 4] = [Setup::Nothing, Setup::Policies, Setup::Ours, Setup::Theirs];
const CASES: [Case; 3] = [Case::Deny, Case::Allow, Case::Defer];

impl Setup {
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Policies => "policies",
            Self::Ours => "ours",
            Self::Theirs => "theirs",
        }
    }
}

impl Case {
    fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Allow => "allow",
            Self::Defer => "defer",
        }
    }
}

/// A Node, and whoever uncordons it.
struct Subject {
    setup: Setup,
    case: Case,
    nodes: Api<Node>,
    seen: Vec<f64>,
}

/// Measures it. `rounds`: how often each Node gets its share of uncordons.
pub async fn measure(rounds: u32, tell: impl Fn(&str)) -> Result<Vec<Figure>> {
    tell("building the webhook as it ships, and the peer");
    let mut site = Site::set().await?;
    for round in 1..=rounds {
        tell(&format!("round {round} of {rounds}"));
        for _ in 0..PATCHES {
            for subject in &mut site.subjects {
                subject.uncordon().await?;
            }
        }
    }
    Ok(figures(&site.subjects))
}

fn figures(subjects: &[Subject]) -> Vec<Figure> {
    let of = |setup: Setup, case: Case| {
        let found = subjects.iter().find(|one| (one.setup, one.case) == (setup, case));
        median(found.map_or_else(Vec::new, |one| one.seen.clone()))
    };
    let mut figures = Vec::new();
    for case in CASES {
        let nothing = of(Setup::Nothing, case);
        let added = |setup| of(setup, case) - nothing;
        let theirs = added(Setup::Theirs);
        let rows = [
            (Setup::Ours, format!("api-{}", case.name()), Goal::AtMost(0.5)),
            (
                Setup::Policies,
                format!("api-policies-{}", case.name()),
                Goal::None,
            ),
        ];
        for (setup, name, goal) in rows.into_iter().filter(|(setup, ..)| is_there(*setup, case)) {
            figures.push(Figure::new(name, (added(setup), theirs), "ms added", goal));
        }
        let whole = (of(Setup::Ours, case), nothing);
        figures.push(Figure::new(
            format!("api-whole-{}", case.name()),
            whole,
            "ms",
            Goal::None,
        ));
    }
    figures
}

/// Whether this is measured: our policies keep no uncordon for later.
fn is_there(setup: Setup, case: Case) -> bool {
    (setup, case) != (Setup::Policies, Case::Defer)
}

impl Subject {
    fn name(setup: Setup, case: Case) -> String {
        format!("{}-{}", setup.name(), case.name())
    }

    /// Creates a Node that is cordoned and, unless it is to be allowed, held.
    async fn create(plane: &ControlPlane, setup: Setup, case: Case) -> Result<Self> {
        let name = Self::name(setup, case);
        let images: Vec<Value> = (0..IMAGES).map(review::image).collect();
        let node = serde_json::from_value(json!({
            "metadata": { "name": name, "labels": { LABEL: setup.name(), CASE_LABEL: case.name() } },
            "spec": { "unschedulable": case == Case::Allow },
            "status": { "images": images },
        }))?;
        let admin: Api<Node> = Api::all(plane.client());
        let created = admin.create(&PostParams::default(), &node).await;
        drop(created.with_context(|| format!("failed to create the Node {name}"))?);
        if case != Case::Allow {
            drop(Marks::of(plane, &name).await?.hold(Phase::Draining).await?);
        }
        let somebody = Impersonation::user(ORDINARY_CONTROLLER);
        let somebody = match case {
            Case::Deny | Case::Allow => somebody,
            Case::Defer => somebody.group(DEFERRED),
        };
        Ok(Self {
            setup,
            case,
            nodes: Api::all(plane.client_as(&somebody).await?),
            seen: Vec::new(),
        })
    }

    /// Uncordons the Node, as a dry run, and keeps how long that took, in milliseconds.
    async fn uncordon(&mut self) -> Result<()> {
        let begin = Instant::now();
        let seen = self.try_to().await?;
        let took = begin.elapsed();
        ensure!(
            seen == self.expected(),
            "{}: {seen:?}",
            Self::name(self.setup, self.case)
        );
        self.seen.push(took.as_secs_f64() * 1000.0);
        Ok(())
    }

    async fn try_to(&self) -> Result<Case> {
        let parameters = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        // As kubectl does it.
        let uncordon = Patch::Strategic(json!({ "spec": { "unschedulable": null } }));
        let name = Self::name(self.setup, self.case);
        match self.nodes.patch(&name, &parameters, &uncordon).await {
            Ok(node) => {
                let is_cordoned = node.spec.and_then(|spec| spec.unschedulable).unwrap_or(false);
                Ok(if is_cordoned { Case::Defer } else { Case::Allow })
            }
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(Case::Deny),
            Err(error) => Err(error).with_context(|| format!("failed to uncordon {name}")),
        }
    }

    fn expected(&self) -> Case {
        match self.setup {
            Setup::Nothing => Case::Allow,
            Setup::Policies | Setup::Ours | Setup::Theirs => self.case,
        }
    }
}

/// The API server with all setups at once, and the Nodes.
struct Site {
    subjects: Vec<Subject>,
    /// Ends after the processes that use it.
    _directory: TempDir,
    _peer: Process,
    _webhook: Webhook,
    _plane: ControlPlane,
}

impl Site {
    async fn set() -> Result<Self> {
        let [program] = programs::build_released(["cordonhold-webhook"])?;
        let directory = tempfile::tempdir().context("failed to create a directory")?;
        let peer = go_module::build("plain-webhook", directory.path())?;
        let plane = ControlPlane::start_alone().await?;
        let mut rendered = Rendered::from_directory(&plane.assets().kubectl, &manifests("base")).await?;
        rendered.apply_objects(&plane.client()).await?;
        let mut subjects = Vec::new();
        for case in CASES {
            for setup in SETUPS.into_iter().filter(|setup| is_there(*setup, case)) {
                subjects.push(Subject::create(&plane, setup, case).await?);
            }
        }
        let defers = format!("--mode-for-group={DEFERRED}=defer");
        let flags = [defers.as_str()];
        let webhook =
            Webhook::start_program(&program, &plane, Mode::Enforce, Protection::OwnHolds, &flags).await?;
        let certificate = Certificate::issue(directory.path())?;
        let (peer, server) = certificate
            .serve(&plane, "plain-webhook", CommandLine::new(peer))
            .await?;
        let theirs = format!("https://{}", server.address);
        rendered.add_mode(Mode::Defer)?;
        bind_policies(&plane.client(), &rendered).await?;
        let peer_at = (theirs.as_str(), certificate.ca_bundle.as_str());
        register(&plane.client(), &webhook, peer_at, &rendered).await?;
        for subject in &subjects {
            applied(subject).await?;
        }
        Ok(Self {
            subjects,
            _directory: directory,
            _peer: peer,
            _webhook: webhook,
            _plane: plane,
        })
    }
}

/// Registers ours as it ships with mode `defer`, and theirs for the same requests, each for its own Nodes.
async fn register(
    client: &Client,
    webhook: &Webhook,
    (theirs, their_ca): (&str, &str),
    rendered: &Rendered,
) -> Result<()> {
    for object in rendered
        .objects()
        .iter()
        .filter(|object| is_webhook_configuration(object))
    {
        let mut ours = pointed_at(object.clone(), &webhook.origin(), Some(webhook.ca_bundle()));
        let mut plain = pointed_at(object.clone(), theirs, Some(their_ca));
        plain["metadata"]["name"] = json!("plain");
        for webhook in plain["webhooks"].as_array_mut().into_iter().flatten() {
            webhook["matchConditions"] = json!([]);
        }
        // Without mode `defer`, nothing is asked for changes.
        let cases = match object["kind"].as_str() {
            Some("MutatingWebhookConfiguration") => &[Case::Defer],
            _ => &CASES[..],
        };
        for (configuration, setup) in [(&mut ours, Setup::Ours), (&mut plain, Setup::Theirs)] {
            for webhook in configuration["webhooks"].as_array_mut().into_iter().flatten() {
                webhook["objectSelector"] = selector(&[setup], cases);
            }
        }
        apply(client, ours, FIELD_MANAGER).await?;
        apply(client, plain, FIELD_MANAGER).await?;
    }
    Ok(())
}

/// Applies the policies that take the webhook's place. The policy that stands beside the webhook is for both.
async fn bind_policies(client: &Client, rendered: &Rendered) -> Result<()> {
    let mut policies = Rendered::default();
    policies.add_file("components/policy/policy.yaml")?;
    let alone = policies
        .objects()
        .iter()
        .map(|object| (object, &[Setup::Policies][..]));
    let beside = rendered.objects().iter().filter(|object| is_binding(object));
    let beside = beside.map(|object| (object, &[Setup::Policies, Setup::Ours][..]));
    for (object, setups) in alone.chain(beside) {
        let mut object = object.clone();
        if is_binding(&object) {
            object["spec"]["matchResources"] = json!({ "objectSelector": selector(setups, &CASES) });
        }
        apply(client, object, FIELD_MANAGER).await?;
    }
    Ok(())
}

fn is_binding(object: &Value) -> bool {
    object["kind"] == "ValidatingAdmissionPolicyBinding"
}

/// Selects the Nodes of these setups and cases.
fn selector(setups: &[Setup], cases: &[Case]) -> Value {
    let setups: Vec<&str> = setups.iter().map(|setup| setup.name()).collect();
    let cases: Vec<&str> = cases.iter().map(|case| case.name()).collect();
    json!({ "matchExpressions": [
        { "key": LABEL, "operator": "In", "values": setups },
        { "key": CASE_LABEL, "operator": "In", "values": cases },
    ] })
}

/// Waits until the API server does with the Node what is to be measured.
async fn applied(subject: &Subject) -> Result<()> {
    let what = format!("{} to be asked about", Subject::name(subject.setup, subject.case));
    wait::until(&what, APPLIED_TIMEOUT, || async {
        Ok((subject.try_to().await? == subject.expected()).then_some(()))
    })
    .await
}
