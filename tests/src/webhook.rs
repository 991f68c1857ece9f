//! Runs the real webhook as a process, with a development certificate and a token of its own ServiceAccount.
//!
//! Not here: rendering and applying its manifests, see `install`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cordonhold_certs_dev::Issued;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::control_plane::{ControlPlane, free_ports};
use crate::identity::Credential;
use crate::install::Rendered;
use crate::process::{CommandLine, Environment, Process};
use crate::programs::{self, Program};
use crate::wait;
use crate::{AGENT_ACCOUNT, NAMESPACE, WEBHOOK_ACCOUNT};

/// The name of the webhook configurations.
pub const CONFIGURATION: &str = "cordonhold";

/// Longest start: the webhook reads its files and fills its caches. It takes 0.3 s on an idle machine.
const READY_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest time until the API server calls a registered webhook: it learns of the configuration by a watch.
const REGISTERED_TIMEOUT: Duration = Duration::from_secs(20);
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);
const TERMINATE_TIMEOUT: Duration = Duration::from_secs(30);

/// What the webhook does with an update that it would deny.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    Enforce,
    Defer,
    Warn,
    Audit,
}

impl Mode {
    /// The value of the webhook's `--mode`.
    pub fn flag(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Defer => "defer",
            Self::Warn => "warn",
            Self::Audit => "audit",
        }
    }
}

/// What the webhook protects: Cordonhold's holds alone, or stock kured's nodes and lock too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    OwnHolds,
    OwnHoldsAndKured,
}

/// The webhook's process, and what is needed to start it again.
#[derive(Debug)]
pub struct Webhook {
    plane_log: PathBuf,
    kennel: crate::process::Kennel,
    line: CommandLine,
    /// Variables of its environment, beside those that every process has.
    environment: Environment,
    port: u16,
    admin: SocketAddr,
    ca_bundle: String,
    ca_pem: String,
    process: Option<Process>,
}

impl Webhook {
    /// Starts the webhook and waits until it is ready. Its ServiceAccount must exist.
    pub async fn start(plane: &ControlPlane, mode: Mode, protection: Protection) -> Result<Self> {
        Self::start_with(plane, mode, protection, &[]).await
    }

    /// Starts the webhook with these further flags and waits until it is ready. Its ServiceAccount must exist.
    pub async fn start_with(
        plane: &ControlPlane,
        mode: Mode,
        protection: Protection,
        flags: &[&str],
    ) -> Result<Self> {
        let [program] = programs::build([Program::Webhook])?;
        Self::start_program(&program, plane, mode, protection, flags).await
    }

    /// The same, with this program as the webhook.
    pub async fn start_program(
        program: &Path,
        plane: &ControlPlane,
        mode: Mode,
        protection: Protection,
        flags: &[&str],
    ) -> Result<Self> {
        let directory = plane.directory().join("webhook");
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("failed to create {}", directory.display()))?;
        let issued = cordonhold_certs_dev::issue(&["127.0.0.1".to_owned()])
            .context("failed to issue the webhook's certificate")?;
        let token = plane
            .service_account_token(NAMESPACE, WEBHOOK_ACCOUNT, None)
            .await?;
        let kubeconfig = directory.join("kubeconfig");
        plane
            .endpoint()
            .write_kubeconfig(&kubeconfig, WEBHOOK_ACCOUNT, &Credential::Token(token))?;
        let [certificate, key] = write_certificate(&directory, &issued)?;
        let [port, admin_port] = free_ports()?;
        let admin = SocketAddr::from(([127, 0, 0, 1], admin_port));
        let mut line = CommandLine::new(program)
            .args([
                "--listen".to_owned(),
                format!("127.0.0.1:{port}"),
                "--admin-listen".to_owned(),
                admin.to_string(),
            ])
            .arg("--tls-cert-file")
            .arg(certificate)
            .arg("--tls-private-key-file")
            .arg(key)
            .args([
                "--mode",
                mode.flag(),
                "--agent-namespace",
                NAMESPACE,
                "--agent-service-account",
                AGENT_ACCOUNT,
            ])
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(flags.iter().map(|flag| (*flag).to_owned()));
        if protection == Protection::OwnHoldsAndKured {
            line = line.arg("--protect-kured=lock");
        }
        let mut webhook = Self {
            plane_log: plane.kennel().log_path("webhook"),
            kennel: plane.kennel().clone(),
            line,
            environment: Environment::new(),
            port,
            admin,
            ca_bundle: issued.ca_bundle(),
            ca_pem: issued.ca_pem,
            process: None,
        };
        webhook.start_again().await?;
        Ok(webhook)
    }

    /// The URL that reviews are sent to, without the path.
    pub fn origin(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The address that reviews are sent to.
    pub fn admission_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// A line of its process's status, such as `VmHWM`, in KiB (proc(5)).
    pub fn memory_kib(&self, line: &str) -> Result<u64> {
        let process = self.process.as_ref().context("the webhook does not run")?;
        process.memory_kib(line)
    }

    /// The CA of its certificate.
    pub(crate) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The CA bundle for the webhook configuration.
    pub fn ca_bundle(&self) -> &str {
        &self.ca_bundle
    }

    /// The path of its log: JSON lines, one of them for each decision.
    pub fn log_path(&self) -> &Path {
        &self.plane_log
    }

    /// The address that serves `/livez`, `/readyz` and `/metrics` without TLS.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Kills the webhook (SIGKILL).
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Sends SIGTERM and waits for the webhook's end.
    pub async fn stop(&mut self) -> Result<()> {
        match self.process.take() {
            Some(mut process) => process.terminate(TERMINATE_TIMEOUT).await.map(drop),
            None => Ok(()),
        }
    }

    /// Sets variables of its environment from its next start on, in place of those that were set before.
    pub fn set_environment(&mut self, environment: Environment) {
        self.environment = environment;
    }

    /// Ends the webhook by SIGTERM, and starts this program in its place, with the same flags, and waits until it is ready.
    pub async fn replace(&mut self, program: &Path) -> Result<()> {
        self.stop().await?;
        self.line = self.line.clone().of(program);
        self.start_again().await
    }

    /// Starts the webhook again on the same ports, after [`kill`](Self::kill) or [`stop`](Self::stop), and waits until it is ready.
    pub async fn start_again(&mut self) -> Result<()> {
        let mut process = self.begin()?;
        let admin = self.admin;
        let ready = wait::until("the webhook's readyz", READY_TIMEOUT, || {
            let ended = process.check_running();
            async move {
                match ended {
                    Err(error) => Ok(Some(Err(error))),
                    Ok(()) => Ok(is_ready(admin).await.then_some(Ok(()))),
                }
            }
        })
        .await;
        ready.with_context(|| format!("the webhook's log is {}", self.plane_log.display()))??;
        self.process = Some(process);
        Ok(())
    }

    /// Like [`start_again`](Self::start_again), asking as often as it can. Returns how long it took.
    pub(crate) async fn start_timed(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        let mut process = self.begin()?;
        while !is_ready(self.admin).await {
            process.check_running()?;
            ensure!(
                begun.elapsed() < READY_TIMEOUT,
                "the webhook was not ready in {READY_TIMEOUT:?}"
            );
        }
        let time = begun.elapsed();
        self.process = Some(process);
        Ok(time)
    }

    fn begin(&self) -> Result<Process> {
        let line = self.line.clone().envs(&self.environment);
        self.kennel.start("webhook", &line)
    }

    /// Gives the webhook another certificate for the same address, of another CA. Returns that.
    pub(crate) fn change_certificate(&mut self, plane: &ControlPlane) -> Result<String> {
        let issued = cordonhold_certs_dev::issue(&["127.0.0.1".to_owned()])
            .context("failed to issue the webhook's certificate")?;
        drop(write_certificate(&plane.directory().join("webhook"), &issued)?);
        self.ca_bundle = issued.ca_bundle();
        self.ca_pem.clone_from(&issued.ca_pem);
        Ok(issued.ca_pem)
    }

    /// Applies the webhook configuration and waits until the API server calls the webhook.
    pub async fn register(&self, plane: &ControlPlane, rendered: &Rendered, probe_node: &str) -> Result<()> {
        rendered
            .register_webhook(&plane.client(), &self.origin(), Some(&self.ca_bundle))
            .await?;
        let controller = plane
            .client_from(&plane.kubeconfig(crate::identity::Identity::Controller))
            .await?;
        let length = self.log_length();
        wait::until(
            "the API server to ask the webhook",
            REGISTERED_TIMEOUT,
            || async {
                let denied = spoof_hold(&controller, probe_node).await?;
                Ok((denied || self.log_length() > length).then_some(()))
            },
        )
        .await
    }

    fn log_length(&self) -> u64 {
        std::fs::metadata(&self.plane_log).map_or(0, |metadata| metadata.len())
    }
}

/// Writes certificate and key into this directory. Returns their files.
fn write_certificate(directory: &Path, issued: &Issued) -> Result<[PathBuf; 2]> {
    let (certificate, key) = (directory.join("tls.crt"), directory.join("tls.key"));
    std::fs::write(&certificate, &issued.cert_pem).context("failed to write the webhook's certificate")?;
    std::fs::write(&key, &issued.key_pem).context("failed to write the webhook's key")?;
    Ok([certificate, key])
}

async fn is_ready(admin: SocketAddr) -> bool {
    http_status(admin, "/readyz")
        .await
        .is_ok_and(|status| status == 200)
}

/// Tries, as a dry run, to write a mark as somebody who is not an agent; `true` if it is denied. In every mode the attempt
/// leaves a line in the webhook's log.
async fn spoof_hold(client: &Client, node: &str) -> Result<bool> {
    let nodes: Api<Node> = Api::all(client.clone());
    let mark = json!({ "metadata": { "annotations": { "cordonhold.dev/holder": "probe/2000-01-01T00:00:00.000000000Z" } } });
    match nodes
        .patch(
            node,
            &PatchParams {
                dry_run: true,
                ..PatchParams::default()
            },
            &Patch::Merge(mark),
        )
        .await
    {
        Ok(_) => Ok(false),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(true),
        Err(error) => Err(error).context("failed to probe the webhook"),
    }
}

/// Lets what the webhook cannot be asked about pass: so a killed webhook protects nothing.
pub(crate) async fn pass_when_dead(client: &Client) -> Result<()> {
    let configurations: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let mut stored = configurations.get(CONFIGURATION).await?;
    for webhook in stored.webhooks.iter_mut().flatten() {
        webhook.failure_policy = Some("Ignore".to_owned());
    }
    let patch = json!({ "webhooks": stored.webhooks });
    drop(
        configurations
            .patch(CONFIGURATION, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .context("failed to set the failurePolicy")?,
    );
    Ok(())
}

/// The HTTP status of a GET without TLS.
pub async fn http_status(address: SocketAddr, path: &str) -> Result<u16> {
    Ok(http_get(address, path).await?.0)
}

/// The HTTP status and the body of a GET without TLS.
pub async fn http_get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    http_get_as(address, path, "*/*").await
}

/// The HTTP status and the body of a GET without TLS, with this `Accept` header.
pub async fn http_get_as(address: SocketAddr, path: &str, accept: &str) -> Result<(u16, String)> {
    let get = format!("GET {path}");
    let exchange = http_exchange(address, &get, accept, "");
    tokio::time::timeout(STATUS_TIMEOUT, exchange)
        .await
        .with_context(|| format!("{address}{path} took over {STATUS_TIMEOUT:?}"))?
}

/// The HTTP status and the body of the answer to a request such as `POST /path` without TLS, within this time.
pub async fn http_send(
    address: SocketAddr,
    method_and_path: &str,
    body: &str,
    bound: Duration,
) -> Result<(u16, String)> {
    let exchange = http_exchange(address, method_and_path, "*/*", body);
    tokio::time::timeout(bound, exchange)
        .await
        .with_context(|| format!("{method_and_path} of {address} took over {bound:?}"))?
}

/// Whether an answer has as many bytes as its `Content-Length` says.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let length = text.split_once("\r\n\r\n").and_then(|(head, _)| {
        let mut fields = head.lines().filter_map(|line| line.split_once(':'));
        let (_, length) = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
        Some(head.len() + 4 + length.trim().parse::<usize>().ok()?)
    });
    length.is_some_and(|length| answer.len() >= length)
}

async fn http_exchange(
    address: SocketAddr,
    method_and_path: &str,
    accept: &str,
    body: &str,
) -> Result<(u16, String)> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!(
            "{method_and_path} HTTP/1.1\r\nHost: {address}\r\nAccept: {accept}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        // Some programs keep the connection, whatever is asked for.
        while !is_whole(&answer) && stream.read_buf(&mut answer).await? > 0 {}
        std::io::Result::Ok(answer)
    };
    let answer = exchange
        .await
        .with_context(|| format!("failed to send {method_and_path} to {address}"))?;
    let text = String::from_utf8_lossy(&answer);
    ensure!(
        text.starts_with("HTTP/1."),
        "{address} did not answer {method_and_path} in HTTP"
    );
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status =
        status.with_context(|| format!("{address} answered {method_and_path} without an HTTP status"))?;
    Ok((status, body.to_owned()))
}
