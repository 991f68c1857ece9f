//! A real Prometheus with rules that a test changes while it runs, behind TLS and a password on request; or with a file of rules, for a cluster.
//!
//! Not here: how it is built, see [`crate::assets`].

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::Client;
use kube::config::Config;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::identity::Identity;
use crate::process::{CommandLine, Process};
use crate::{assets, wait};

/// Longest start. It takes a second, and longer on a busy machine.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time until a rule or a target shows in an answer: rules are evaluated and targets are read each second.
const SHOWN_TIMEOUT: Duration = Duration::from_secs(60);

/// Who may ask a Prometheus that is guarded.
pub const USER: &str = "agent";
pub const PASSWORD: &str = "s3cret";
/// The password as Prometheus' configuration has it: bcrypt, with the least cost.
const PASSWORD_HASH: &str = "$2a$04$oIzhWM/VZMSBIOoMH1qqy.Xv4Ug5NuMJfUaCsc/uSU1QqcxofJaKy";

/// Its files, in its directory. Paths in the configuration begin there.
const RULES: &str = "rules.json";
const CONFIGURATION: &str = "prometheus.json";

/// A rule for an alert that is active from its first evaluation on.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    /// It fires.
    Firing(&'static str),
    /// It is pending for an hour.
    Pending(&'static str),
}

impl Rule {
    fn json(self) -> Value {
        match self {
            Self::Firing(alert) => json!({ "alert": alert, "expr": "vector(1)" }),
            Self::Pending(alert) => json!({ "alert": alert, "expr": "vector(1)", "for": "1h" }),
        }
    }
}

/// The files with which a guarded Prometheus is reached.
#[derive(Debug, Clone)]
pub struct Guard {
    pub ca: PathBuf,
    ca_der: Vec<u8>,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// A running Prometheus.
pub struct Prometheus {
    process: Process,
    directory: PathBuf,
    address: SocketAddr,
    guard: Option<Guard>,
    client: Client,
}

impl Prometheus {
    /// Starts a Prometheus and waits until it is ready. `targets` are read as the job `storage`. A guarded one serves TLS only, and asks
    /// for a client certificate and a password.
    pub async fn start(
        plane: &ControlPlane,
        name: &str,
        is_guarded: bool,
        targets: &[SocketAddr],
        rules: &[Rule],
    ) -> Result<Self> {
        let directory = directory(plane, name)?;
        let rules_path = directory.join(RULES);
        write(&rules_path, &rules_file(rules))?;
        let storage = job("storage", targets);
        write(&directory.join(CONFIGURATION), &configuration(&[storage]))?;
        let guard = is_guarded.then(|| guard(&directory)).transpose()?;
        let prometheus = Self::launch(plane, name, directory, guard).await?;
        prometheus.wait_rules(rules).await?;
        Ok(prometheus)
    }

    /// Starts a Prometheus with this file of rules. It reads nothing before [`Self::read_cluster`].
    pub async fn with_rules(plane: &ControlPlane, name: &str, rules: &str) -> Result<Self> {
        let directory = directory(plane, name)?;
        let path = directory.join(RULES);
        std::fs::write(&path, rules).with_context(|| format!("failed to write {}", path.display()))?;
        write(&directory.join(CONFIGURATION), &configuration(&[]))?;
        Self::launch(plane, name, directory, None).await
    }

    /// Reads these pods from now on, and the metrics of the API server about webhooks.
    pub fn read_cluster(&self, plane: &ControlPlane, pods: &[SocketAddr]) -> Result<()> {
        let jobs = [job("pods", pods), api_server(plane)?];
        write(&self.directory.join(CONFIGURATION), &configuration(&jobs))?;
        self.process.signal(Signal::HUP)
    }

    /// Starts it with the files in this directory, and waits until it answers.
    async fn launch(
        plane: &ControlPlane,
        name: &str,
        directory: PathBuf,
        guard: Option<Guard>,
    ) -> Result<Self> {
        let mut line = CommandLine::new(assets::prometheus()?)
            .args(["--web.listen-address=127.0.0.1:0", "--config.file"])
            .arg(directory.join(CONFIGURATION))
            .arg("--storage.tsdb.path")
            .arg(directory.join("data"));
        if guard.is_some() {
            line = line.arg("--web.config.file").arg(directory.join("web.json"));
        }
        let mut process = plane.kennel().start(name, &line)?;
        let address = listening(&mut process, "Prometheus").await?;
        let client = client(address, guard.as_ref())?;
        let prometheus = Self {
            process,
            directory,
            address,
            guard,
            client,
        };
        let answered = wait::until("Prometheus to answer", READY_TIMEOUT, || async {
            prometheus.query("vector(1)").await.map(Some)
        });
        drop(answered.await?);
        Ok(prometheus)
    }

    /// Its host and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The files with which it is reached, if it is guarded.
    pub fn guard(&self) -> Option<&Guard> {
        self.guard.as_ref()
    }

    /// Replaces all rules and waits until exactly these alerts are active.
    pub async fn set_rules(&self, rules: &[Rule]) -> Result<()> {
        write(&self.directory.join(RULES), &rules_file(rules))?;
        self.process.signal(Signal::HUP)?;
        self.wait_rules(rules).await
    }

    async fn wait_rules(&self, rules: &[Rule]) -> Result<()> {
        wait::until("Prometheus to evaluate its rules", SHOWN_TIMEOUT, || async {
            let alerts = self.query("ALERTS").await?;
            Ok((alerts.len() == rules.len()).then_some(()))
        })
        .await
    }

    /// Waits until an expression returns a series.
    pub async fn wait_series(&self, expression: &str) -> Result<()> {
        let what = format!("{expression} in Prometheus");
        wait::until(&what, SHOWN_TIMEOUT, || async {
            let series = self.query(expression).await?;
            Ok((!series.is_empty()).then_some(()))
        })
        .await
    }

    /// The labels of all alerts that fire now, as `/api/v1/alerts` has them.
    pub async fn firing(&self) -> Result<Vec<Value>> {
        let answer = self.ask("/api/v1/alerts").await?;
        let Some(alerts) = answer["data"]["alerts"].as_array() else {
            bail!("no alerts in the answer of Prometheus: {answer}");
        };
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        Ok(firing.map(|alert| alert["labels"].clone()).collect())
    }

    async fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let expression = utf8_percent_encode(expression, NON_ALPHANUMERIC);
        let answer = self.ask(&format!("/api/v1/query?query={expression}")).await?;
        match answer["data"]["result"].as_array() {
            Some(series) => Ok(series.clone()),
            None => bail!("no answer of Prometheus: {answer}"),
        }
    }

    async fn ask(&self, uri: &str) -> Result<Value> {
        let request = http::Request::get(uri).body(Vec::new())?;
        Ok(self.client.request(request).await?)
    }
}

/// Creates the directory with its files.
fn directory(plane: &ControlPlane, name: &str) -> Result<PathBuf> {
    let directory = plane.directory().join(name);
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("failed to create {}", directory.display()))?;
    Ok(directory)
}

fn configuration(jobs: &[Value]) -> Value {
    json!({
        "global": { "scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s" },
        "rule_files": [RULES],
        "scrape_configs": jobs,
    })
}

fn job(name: &str, targets: &[SocketAddr]) -> Value {
    let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
    json!({ "job_name": name, "static_configs": [{ "targets": targets }] })
}

/// Its page has megabytes, so it is read less often, and little of it is kept.
fn api_server(plane: &ControlPlane) -> Result<Value> {
    let endpoint = plane.endpoint();
    let target = endpoint.url.strip_prefix("https://");
    let target = target.with_context(|| format!("{} is without TLS", endpoint.url))?;
    Ok(json!({
        "job_name": "apiserver",
        "scheme": "https",
        "scrape_interval": "3s",
        "scrape_timeout": "3s",
        "tls_config": { "ca_file": endpoint.ca_file },
        "authorization": { "credentials_file": plane.token_file(Identity::Admin) },
        "static_configs": [{ "targets": [target] }],
        "metric_relabel_configs": [{
            "source_labels": ["__name__"], "regex": "apiserver_admission_webhook_.*", "action": "keep",
        }],
    }))
}

fn rules_file(rules: &[Rule]) -> Value {
    let rules: Vec<Value> = rules.iter().map(|rule| rule.json()).collect();
    json!({ "groups": [{ "name": "alerts", "rules": rules }] })
}

/// Writes a file of JSON, which is YAML too.
fn write(path: &Path, content: &Value) -> Result<()> {
    std::fs::write(path, content.to_string()).with_context(|| format!("failed to write {}", path.display()))
}

/// Waits until the log of a program of the Prometheus project says at which address it listens.
pub(crate) async fn listening(process: &mut Process, who: &str) -> Result<SocketAddr> {
    let path = process.log_path().to_owned();
    let what = format!("{who} to listen");
    wait::until(&what, READY_TIMEOUT, || {
        let looked = process.check_running().and_then(|()| listened(&path));
        async { Ok(looked.transpose()) }
    })
    .await?
}

/// The address that the log names, if it does already.
fn listened(log: &Path) -> Result<Option<SocketAddr>> {
    let text = std::fs::read_to_string(log).with_context(|| format!("failed to read {}", log.display()))?;
    let line = text.lines().find(|line| line.contains("msg=\"Listening on\""));
    let address = line.and_then(|line| line.split("address=").nth(1)?.split(' ').next());
    let address = address.map(str::parse).transpose();
    address.with_context(|| format!("{} names no address", log.display()))
}

/// Makes a CA, and certificates of Prometheus and of a client, and writes the configuration of a guarded Prometheus.
fn guard(directory: &Path) -> Result<Guard> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let file = |name: &str, content: String| -> Result<PathBuf> {
        let path = directory.join(name);
        std::fs::write(&path, content).with_context(|| format!("failed to write {}", path.display()))?;
        Ok(path)
    };
    let signed = |name: &str, usage| -> Result<(PathBuf, PathBuf)> {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &ca)?.pem();
        Ok((
            file(&format!("{name}.crt"), certificate)?,
            file(&format!("{name}.key"), key.serialize_pem())?,
        ))
    };
    let ca_path = file("ca.crt", ca.pem())?;
    let (certificate, key) = signed("server", ExtendedKeyUsagePurpose::ServerAuth)?;
    let web = json!({
        "tls_server_config": {
            "cert_file": certificate,
            "key_file": key,
            "client_auth_type": "RequireAndVerifyClientCert",
            "client_ca_file": &ca_path,
        },
        "basic_auth_users": { USER: PASSWORD_HASH },
    });
    write(&directory.join("web.json"), &web)?;
    let (certificate, key) = signed("client", ExtendedKeyUsagePurpose::ClientAuth)?;
    Ok(Guard {
        ca: ca_path,
        ca_der: ca.der().to_vec(),
        certificate,
        key,
    })
}

fn client(address: SocketAddr, guard: Option<&Guard>) -> Result<Client> {
    let scheme = if guard.is_some() { "https" } else { "http" };
    let mut config = Config::new(format!("{scheme}://{address}").parse()?);
    if let Some(guard) = guard {
        config.root_cert = Some(vec![guard.ca_der.clone()]);
        config.auth_info = serde_json::from_value(json!({
            "username": USER,
            "password": PASSWORD,
            "client-certificate": &guard.certificate,
            "client-key": &guard.key,
        }))?;
    }
    Client::try_from(config).context("failed to make a client for Prometheus")
}
