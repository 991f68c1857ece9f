//! `cordonhold-webhook explain --node`: compares what the program says with what the live webhook answers to the same uncordon.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cordonhold_shared::admission::Reason;
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use cordonhold_tests::identity::{Credential, Endpoint, Identity, ORDINARY_CONTROLLER};
use cordonhold_tests::programs::{self, Program};
use cordonhold_tests::{NAMESPACE, WEBHOOK_ACCOUNT};
use kube::Client;
use tokio::process::Command;

use crate::cluster::{Cluster, alone};
use crate::stock_kured::{self, Entry, Kured, LONG_AGO};
use crate::subject::{Subject, cordon, uncordon};
use crate::wire::Write;

/// Longest run of `explain`. It sends at most three requests, each with a shorter bound.
const EXPLAIN_TIMEOUT: Duration = Duration::from_secs(60);

#[test]
fn explain_says_what_the_webhook_answers() -> Result<()> {
    alone(async || {
        let cluster = Cluster::start_beside_kured().await?;
        let explain = Explain::new(&cluster)?;
        let controller = &cluster.controller;
        let held = Subject::held(&cluster, "explain-held", Phase::Delaying).await?;
        explain
            .agrees(&held, ORDINARY_CONTROLLER, controller, Reason::Held)
            .await?;
        let free = Subject::new(&cluster, "explain-free").await?;
        explain
            .agrees(&free, ORDINARY_CONTROLLER, controller, Reason::NotHeld)
            .await?;
        let kured = Kured::install(&cluster).await?;
        let named = Subject::new(&cluster, "explain-kured").await?;
        let lock = Entry::new(&named.name, LONG_AGO, 0).to_string();
        kured.set_lock(keys::KURED_LOCK, Some(&lock)).await?;
        explain
            .agrees(&named, ORDINARY_CONTROLLER, controller, Reason::KuredHeld)
            .await?;
        // An impersonation by name has no node claim.
        let nowhere = cluster.plane.client_as(&Kured::impersonation()).await?;
        explain
            .agrees(&named, stock_kured::USER, &nowhere, Reason::KuredHeld)
            .await?;
        who_was_denied_asks(&explain, &held, &named).await?;
        mistakes(&explain, &held).await
    })
}

/// A user who was denied runs `explain` with their own kubeconfig, which may not read kured's lock.
async fn who_was_denied_asks(explain: &Explain<'_>, held: &Subject<'_>, named: &Subject<'_>) -> Result<()> {
    let kubeconfig = explain.cluster.plane.kubeconfig(Identity::Controller);
    let told = explain.run(&held.name, &kubeconfig, &[]).await?;
    ensure!(told.code == Some(1), "{told:?}");
    told.says(&[
        "update of node explain-held (uncordon) by ordinary-controller\n",
        "verdict: denied\nreason:  held\n",
        "\nphase:   delaying\n",
        "Not looked at: the matchConditions",
    ])?;
    drop(
        named
            .passes(&explain.cluster.admin, Write::Merge, &cordon())
            .await?,
    );
    let told = explain.run(&named.name, &kubeconfig, &[]).await?;
    ensure!(told.code == Some(1), "{told:?}");
    told.says(&[
        "\nIf kured's lock names node explain-kured:\nverdict: denied\nreason:  kured-held\n",
        "\nIf kured's lock does not name node explain-kured:\nverdict: passes\nreason:  not-held\n",
        "cannot get resource \"daemonsets\"",
        "--kured-lock",
    ])
}

/// Each mistake leads to one line that says what to do.
async fn mistakes(explain: &Explain<'_>, held: &Subject<'_>) -> Result<()> {
    let plane = &explain.cluster.plane;
    let admin = plane.kubeconfig(Identity::Admin);
    let write = |name: &str, endpoint: &Endpoint, token: String| -> Result<PathBuf> {
        let path = plane.directory().join(name);
        endpoint.write_kubeconfig(&path, name, &Credential::Token(token))?;
        Ok(path)
    };
    let stranger = write("stranger", plane.endpoint(), "nobody's".to_owned())?;
    // The webhook's own ServiceAccount may not read Nodes.
    let token = plane
        .service_account_token(NAMESPACE, WEBHOOK_ACCOUNT, None)
        .await?;
    let without_rights = write("without-rights", plane.endpoint(), token)?;
    let nowhere = Endpoint {
        url: "https://127.0.0.1:1".to_owned(),
        ..plane.endpoint().clone()
    };
    let nowhere = write("nowhere", &nowhere, "any".to_owned())?;
    let missing = plane.directory().join("no-such-file");
    for (node, kubeconfig, parts) in [
        (
            "explain-nowhere",
            &admin,
            &[
                "node explain-nowhere: the API server: nodes \"explain-nowhere\" not found (code 404)",
                "kubectl get nodes",
            ][..],
        ),
        (
            &held.name,
            &stranger,
            &["Unauthorized (code 401)", "give another --kubeconfig"],
        ),
        (
            &held.name,
            &without_rights,
            &[
                "cannot get resource \"nodes\"",
                "--kubeconfig whose user may get nodes",
            ],
        ),
        (
            &held.name,
            &nowhere,
            &["Connection refused", "server of the --kubeconfig"],
        ),
        (&held.name, &missing, &["no-such-file", "--kubeconfig"]),
    ] {
        let told = explain.run(node, kubeconfig, &[]).await?;
        let said = &told.errors;
        let is_one_line = said.lines().count() == 1 && said.starts_with("cordonhold-webhook: ");
        ensure!(
            told.code == Some(2) && told.text.is_empty() && is_one_line,
            "{told:?}"
        );
        for part in parts {
            ensure!(said.contains(part), "{part:?} is missing in {said}");
        }
    }
    Ok(())
}

/// Runs `explain` with the flags of the live webhook.
struct Explain<'a> {
    cluster: &'a Cluster,
    program: PathBuf,
}

#[derive(Debug)]
struct Told {
    code: Option<i32>,
    text: String,
    errors: String,
}

impl Told {
    fn says(&self, parts: &[&str]) -> Result<()> {
        for part in parts {
            ensure!(self.text.contains(part), "{part:?} is missing in {self:?}");
        }
        Ok(())
    }
}

impl<'a> Explain<'a> {
    fn new(cluster: &'a Cluster) -> Result<Self> {
        let [program] = programs::build([Program::Webhook])?;
        Ok(Self { cluster, program })
    }

    async fn run(&self, node: &str, kubeconfig: &Path, words: &[&str]) -> Result<Told> {
        let ended = Command::new(&self.program)
            .args(["explain", "--protect-kured=lock", "--node", node, "--kubeconfig"])
            .arg(kubeconfig)
            .args(["--agent-namespace", NAMESPACE])
            .args(words)
            .env_clear()
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(EXPLAIN_TIMEOUT, ended)
            .await
            .context("explain does not end")?
            .context("failed to run explain")?;
        Ok(Told {
            code: output.status.code(),
            text: String::from_utf8(output.stdout)?,
            errors: String::from_utf8(output.stderr)?,
        })
    }

    /// Checks that `explain` predicts what happens to an uncordon by this user.
    async fn agrees(&self, node: &Subject<'_>, user: &str, client: &Client, reason: Reason) -> Result<()> {
        let (cluster, what) = (self.cluster, format!("{} by {user}", node.name));
        drop(node.passes(&cluster.admin, Write::Merge, &cordon()).await?);
        let admin = cluster.plane.kubeconfig(Identity::Admin);
        let told = self.run(&node.name, &admin, &["--as", user]).await?;
        let length = cluster.log_length().await?;
        let answer = node.write(client, Write::Strategic, &uncordon()).await?;
        let decision = cluster.decision_since(length, &node.name).await?;
        let (is_denied, verdict) = match decision["verdict"].as_str() {
            Some("deny") => (true, "denied"),
            _ => (false, "passes"),
        };
        ensure!(decision["reason"] == reason.code(), "{what}: {decision}");
        told.says(&[
            &format!("\nverdict: {verdict}\nreason:  {}\n", reason.code()),
            &format!("\nrule:    {}\n", reason.rule()),
        ])?;
        ensure!(told.code == Some(i32::from(is_denied)), "{what}: {told:?}");
        if is_denied {
            answer.denied().with_context(|| what.clone())?;
            let (_, message) = answer
                .message()
                .split_once("denied the request: ")
                .context(what)?;
            return told.says(&[message]);
        }
        answer.passed().context(what)
    }
}
