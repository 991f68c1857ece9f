//! The policies in files of the API server (`manifests/static-admission`): what is in them holds whatever is deleted through the API, and one of
//! them keeps the webhook configurations and the policies in the API as they are. The API server is started with them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_tests::certificates;
use cordonhold_tests::control_plane::{ControlPlane, Options};
use cordonhold_tests::identity::{Identity, Impersonation};
use cordonhold_tests::install::{install, manifests};
use cordonhold_tests::marks::Marks;
use cordonhold_tests::{NAMESPACE, wait};
use http::{Request, header};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhook, ServiceReference, ValidatingWebhook, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use crate::cluster::alone;
use crate::manifests::overlay;
use crate::policy::{IN_FORCE_TIMEOUT, WITH_POLICY, is_denied_by, is_in_force};
use crate::subject::uncordon;
use crate::wire::{self, Answer, Write};

const HOLD: &str = "cordonhold-hold.static.k8s.io";
const GUARD: &str = "cordonhold-guard.static.k8s.io";
/// Where nobody listens: no replica of the webhook runs.
const NOBODY: &str = "https://127.0.0.1:9";
/// What is ours in the API, by its kind and name.
const OURS: [(&str, &str); 5] = [
    ("validatingwebhookconfigurations", "cordonhold"),
    ("validatingadmissionpolicies", "cordonhold-hold"),
    ("validatingadmissionpolicybindings", "cordonhold-hold"),
    ("validatingadmissionpolicies", "cordonhold-people"),
    ("validatingadmissionpolicybindings", "cordonhold-people"),
];

/// The files as an admin puts them onto the machine of an API server.
struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    fn new() -> Result<Self> {
        let directory = tempfile::tempdir().context("failed to create a directory")?;
        let files = Self { directory };
        let policies = files.policies();
        std::fs::create_dir(&policies).context("failed to create a directory")?;
        for name in ["hold.yaml", "guard.yaml"] {
            let _ = std::fs::copy(
                manifests("static-admission/policies").join(name),
                policies.join(name),
            )?;
        }
        let shipped = std::fs::read_to_string(manifests("static-admission/admission-configuration.yaml"))?;
        let (before, _) = shipped
            .split_once("staticManifestsDir:")
            .context("the configuration names no directory")?;
        let text = format!("{before}staticManifestsDir: {}\n", policies.display());
        std::fs::write(files.configuration(), text).context("failed to write the configuration")?;
        Ok(files)
    }

    fn policies(&self) -> PathBuf {
        self.directory.path().join("policies")
    }

    fn configuration(&self) -> PathBuf {
        self.directory.path().join("admission-configuration.yaml")
    }

    fn flag(&self) -> String {
        format!(
            "--admission-control-config-file={}",
            self.configuration().display()
        )
    }

    /// Puts a file there at once, as the page says.
    fn put(&self, name: &str, text: &str) -> Result<()> {
        let beside = self.directory.path().join("new");
        std::fs::write(&beside, text).context("failed to write a file")?;
        std::fs::rename(&beside, self.policies().join(name)).context("failed to rename a file")
    }
}

#[test]
fn held_stays_cordoned_by_files_of_the_api_server_whatever_is_deleted() -> Result<()> {
    alone(async || {
        let files = Files::new()?;
        let flag = files.flag();
        let plane = ControlPlane::start_with(Options { nodes: 1 }, &[flag.as_str()]).await?;
        let copy = tempfile::tempdir().context("failed to create a directory")?;
        let rendered = install(&plane, &overlay(copy.path(), "policy", WITH_POLICY)?).await?;
        rendered.register_webhook(&plane.client(), NOBODY, None).await?;
        is_in_force(&plane.client(), "node-0", HOLD).await?;

        nobody_changes_what_is_ours(&plane).await?;
        certs_writes_bundles_alone(&plane).await?;
        // What is applied again without a change passes, as GitOps tools do it.
        rendered.register_webhook(&plane.client(), NOBODY, None).await?;
        an_admission_admin_deletes_it(&plane).await?;
        the_node_stays_cordoned(&plane).await?;
        no_object_takes_such_a_name(&plane).await?;
        a_broken_file_changes_nothing(&plane, &files).await?;
        without_its_file_nothing_is_guarded(&plane, &files).await
    })
}

fn object(kind: &str, name: &str) -> String {
    format!("/apis/admissionregistration.k8s.io/v1/{kind}/{name}")
}

async fn delete(client: &Client, path: &str) -> Result<Answer> {
    wire::send(client, Request::delete(path).body(Body::empty())?).await
}

async fn patch(client: &Client, path: &str, body: &Value) -> Result<Answer> {
    let request = Request::patch(path)
        .header(header::CONTENT_TYPE, "application/json-patch+json")
        .body(Body::from(body.to_string().into_bytes()))?;
    wire::send(client, request).await
}

async fn is_there(client: &Client, path: &str) -> Result<bool> {
    Ok(wire::send(client, Request::get(path).body(Body::empty())?)
        .await?
        .code
        == 200)
}

async fn nobody_changes_what_is_ours(plane: &ControlPlane) -> Result<()> {
    let admin = plane.client();
    for (kind, name) in OURS {
        let path = object(kind, name);
        is_denied_by(&delete(&admin, &path).await?, GUARD, "guarded").context(path.clone())?;
        // A deletion of all names none.
        let all = path.trim_end_matches(name).trim_end_matches('/');
        let answer = delete(&admin, all).await?;
        is_denied_by(&answer, GUARD, "guarded").with_context(|| format!("all {kind}"))?;
        ensure!(is_there(&admin, &path).await?, "{path} is gone");
    }
    let weaker = [
        (
            "validatingwebhookconfigurations",
            "cordonhold",
            "/webhooks/0/failurePolicy",
            json!("Ignore"),
        ),
        (
            "validatingwebhookconfigurations",
            "cordonhold",
            "/webhooks/0/rules",
            json!([]),
        ),
        (
            "validatingwebhookconfigurations",
            "cordonhold",
            "/webhooks",
            json!([]),
        ),
        (
            "validatingadmissionpolicies",
            "cordonhold-hold",
            "/spec/failurePolicy",
            json!("Ignore"),
        ),
        (
            "validatingadmissionpolicybindings",
            "cordonhold-hold",
            "/spec/validationActions",
            json!(["Audit"]),
        ),
    ];
    for (kind, name, path, value) in weaker {
        let body = json!([{ "op": "replace", "path": path, "value": value }]);
        let answer = patch(&admin, &object(kind, name), &body).await?;
        is_denied_by(&answer, GUARD, "guarded").with_context(|| format!("{name} {path}"))?;
    }
    let label = json!([{ "op": "add", "path": "/metadata/labels", "value": { "a": "b" } }]);
    patch(
        &admin,
        &object("validatingwebhookconfigurations", "cordonhold"),
        &label,
    )
    .await?
    .passed()
}

async fn certs_writes_bundles_alone(plane: &ControlPlane) -> Result<()> {
    let certs = Impersonation::service_account(NAMESPACE, certificates::ACCOUNT);
    let certs = plane.client_as(&certs).await?;
    let path = object("validatingwebhookconfigurations", "cordonhold");
    let bundle = json!([{ "op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": "" }]);
    let issued =
        cordonhold_certs_dev::issue(&["127.0.0.1".to_owned()]).context("failed to issue a certificate")?;
    let mut written = bundle.clone();
    written[0]["value"] = json!(issued.ca_bundle());
    patch(&certs, &path, &written).await?.passed()?;
    let weaker = json!([{ "op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore" }]);
    is_denied_by(&patch(&certs, &path, &weaker).await?, GUARD, "guarded")?;
    is_denied_by(&patch(&plane.client(), &path, &bundle).await?, GUARD, "guarded")
}

/// The flags that the denial prints.
async fn an_admission_admin_deletes_it(plane: &ControlPlane) -> Result<()> {
    let denial = delete(&plane.client(), &object(OURS[0].0, OURS[0].1)).await?;
    let (_, flags) = denial
        .message()
        .split_once("add to the command: ")
        .context("it says no way")?;
    let flags: Vec<&str> = flags
        .split_whitespace()
        .filter(|word| word.starts_with("--as"))
        .collect();
    ensure!(flags.len() == 3, "{flags:?}");
    for (kind, name) in OURS {
        let mut kubectl = plane.kubectl(Identity::Admin);
        let output = kubectl.args(["delete", kind, name]).args(&flags).output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{kind} {name}: {said}");
    }
    Ok(())
}

/// With no webhook and no policy in the API left.
async fn the_node_stays_cordoned(plane: &ControlPlane) -> Result<()> {
    plane.add_node("held").await?;
    let marks = Marks::of(plane, "held").await?;
    drop(marks.hold(Phase::Delaying).await?);
    let answer = wire::write(&plane.client(), "held", Write::Strategic, &uncordon()).await?;
    is_denied_by(&answer, HOLD, "held")?;
    ensure!(marks.view().await?.spec.unschedulable, "it is uncordoned");
    let created = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "new", "labels": { "cordonhold.dev/phase": "draining" } } });
    let request = Request::post("/api/v1/nodes")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(created.to_string().into_bytes()))?;
    let answer = wire::send(&plane.client(), request).await?;
    is_denied_by(&answer, "cordonhold-hold-creates.static.k8s.io", "spoofed-hold")?;
    marks.finish(Phase::Delaying).await
}

async fn no_object_takes_such_a_name(plane: &ControlPlane) -> Result<()> {
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": { "name": HOLD }, "spec": { "policyName": HOLD, "validationActions": ["Audit"] },
    });
    let request = Request::post(object("validatingadmissionpolicybindings", "").trim_end_matches('/'))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(binding.to_string().into_bytes()))?;
    let answer = wire::send(&plane.client(), request).await?;
    ensure!(
        answer.code == 422 && answer.message().contains(".static.k8s.io"),
        "{answer:?}"
    );
    Ok(())
}

/// How many reloads failed, by the API server's own metric.
async fn failed_reloads(plane: &ControlPlane) -> Result<f64> {
    let request = Request::get("/metrics").body(Vec::new())?;
    let page = plane
        .client()
        .request_text(request)
        .await
        .context("failed to read metrics")?;
    let is_failure = |line: &&str| {
        line.starts_with("apiserver_manifest_admission_config_controller_automatic_reloads_total{")
            && line.contains("status=\"failure\"")
    };
    let count = page
        .lines()
        .find(is_failure)
        .and_then(|line| line.rsplit(' ').next());
    count.map_or(Ok(0.0), |count| count.parse().context("no count"))
}

async fn a_broken_file_changes_nothing(plane: &ControlPlane, files: &Files) -> Result<()> {
    let before = failed_reloads(plane).await?;
    files.put("guard.yaml", "kind: nothing\n")?;
    wait::until("the reload to fail", IN_FORCE_TIMEOUT, || async {
        Ok((failed_reloads(plane).await? > before).then_some(()))
    })
    .await?;
    is_in_force(&plane.client(), "node-0", HOLD).await
}

/// The way to turn it off: the file goes.
async fn without_its_file_nothing_is_guarded(plane: &ControlPlane, files: &Files) -> Result<()> {
    let path = object("validatingadmissionpolicies", "cordonhold-hold-creates");
    is_denied_by(&delete(&plane.client(), &path).await?, GUARD, "guarded")?;
    std::fs::remove_file(files.policies().join("guard.yaml")).context("failed to remove a file")?;
    wait::until("the deletion to pass", IN_FORCE_TIMEOUT, || async {
        let answer = delete(&plane.client(), &path).await?;
        Ok((answer.code == 200).then_some(()))
    })
    .await?;
    is_in_force(&plane.client(), "node-0", HOLD).await
}

/// An API server does not start with a file that it cannot read, and says which.
#[test]
fn a_broken_file_at_the_start_is_named_by_the_api_server() -> Result<()> {
    alone(async || {
        let files = Files::new()?;
        let with_a_slip = std::fs::read_to_string(files.policies().join("hold.yaml"))?
            .replace("variables.isHeld", "variables.isHold");
        files.put("hold.yaml", &with_a_slip)?;
        let flag = files.flag();
        let Err(error) = ControlPlane::start_with(Options { nodes: 0 }, &[flag.as_str()]).await else {
            bail!("it started");
        };
        let said = format!("{error:#}");
        ensure!(said.contains("isHold") && said.contains(HOLD), "{said}");
        says_where(&said, &files.policies())
    })
}

fn says_where(said: &str, directory: &Path) -> Result<()> {
    let directory = directory.to_str().context("a path that is no text")?;
    ensure!(said.contains(directory), "it does not name {directory}: {said}");
    Ok(())
}

/// Every field of a webhook but its `caBundle` is compared, also one that a later Kubernetes adds: the structs below name all of them.
#[test]
fn the_guard_compares_every_field_of_a_webhook() -> Result<()> {
    let client_config = WebhookClientConfig {
        ca_bundle: None,
        service: Some(ServiceReference::default()),
        url: Some(String::new()),
    };
    let validating = ValidatingWebhook {
        admission_review_versions: Vec::new(),
        client_config: client_config.clone(),
        failure_policy: Some(String::new()),
        match_conditions: Some(Vec::new()),
        match_policy: Some(String::new()),
        name: String::new(),
        namespace_selector: Some(LabelSelector::default()),
        object_selector: Some(LabelSelector::default()),
        rules: Some(Vec::new()),
        side_effects: String::new(),
        timeout_seconds: Some(0),
    };
    let mutating = MutatingWebhook {
        admission_review_versions: Vec::new(),
        client_config,
        failure_policy: Some(String::new()),
        match_conditions: Some(Vec::new()),
        match_policy: Some(String::new()),
        name: String::new(),
        namespace_selector: Some(LabelSelector::default()),
        object_selector: Some(LabelSelector::default()),
        reinvocation_policy: Some(String::new()),
        rules: Some(Vec::new()),
        side_effects: String::new(),
        timeout_seconds: Some(0),
    };
    let guard = std::fs::read_to_string(manifests("static-admission/policies/guard.yaml"))?;
    for webhook in [json!(validating), json!(mutating)] {
        let fields = webhook.as_object().context("a webhook is no object")?;
        let of_client = webhook["clientConfig"].as_object().context("no clientConfig")?;
        let others = fields
            .keys()
            .filter(|field| !["name", "clientConfig"].contains(&field.as_str()));
        let compared = others
            .map(|field| format!("?{field}"))
            .chain(of_client.keys().map(|field| format!("clientConfig.?{field}")));
        for field in compared {
            let same = format!("w.{field} == o.{field}");
            ensure!(guard.contains(&same), "guard.yaml does not compare: {same}");
        }
    }
    Ok(())
}
