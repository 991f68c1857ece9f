//! A real Alertmanager without receivers, which only keeps silences.
//!
//! Not here: how it is built, see [`crate::assets`].

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use cordonhold_shared::reboot::silence::wire;
use cordonhold_shared::reboot::silence::{Found, Matcher};
use kube::Client;
use kube::client::Body;
use kube::config::Config;
use serde_json::json;

use crate::assets;
use crate::process::{CommandLine, Kennel, Process};
use crate::prometheus::listening;
use crate::wait;

/// Longest start. It takes a second, and longer on a busy machine.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// A running Alertmanager. Its API is below a path of its own, as behind a proxy.
pub struct Alertmanager {
    /// It ends when this is dropped.
    _process: Process,
    address: SocketAddr,
    client: Client,
}

/// The path that the API is below.
const PREFIX: &str = "/alerts";

impl Alertmanager {
    /// Starts an Alertmanager with its files in this directory, and waits until it answers.
    pub async fn start(kennel: &Kennel, directory: &Path, name: &str) -> Result<Self> {
        let directory = directory.join(name);
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("failed to create {}", directory.display()))?;
        let configuration = directory.join("alertmanager.json");
        let content = json!({ "route": { "receiver": "nobody" }, "receivers": [{ "name": "nobody" }] });
        std::fs::write(&configuration, content.to_string())
            .with_context(|| format!("failed to write {}", configuration.display()))?;
        let line = CommandLine::new(assets::alertmanager()?)
            .args(["--web.listen-address=127.0.0.1:0", "--cluster.listen-address="])
            .arg(format!("--web.external-url=http://127.0.0.1{PREFIX}"))
            .arg("--config.file")
            .arg(&configuration)
            .arg("--storage.path")
            .arg(directory.join("data"));
        let mut process = kennel.start(name, &line)?;
        let address = listening(&mut process, "Alertmanager").await?;
        let url = format!("http://{address}{PREFIX}");
        let client = Client::try_from(Config::new(url.parse()?)).context("failed to make a client")?;
        let alertmanager = Self {
            _process: process,
            address,
            client,
        };
        let answered = wait::until("Alertmanager to answer", READY_TIMEOUT, || async {
            alertmanager.silences(&[]).await.map(Some)
        });
        drop(answered.await?);
        Ok(alertmanager)
    }

    /// Its URL, with the path that its API is below.
    pub fn url(&self) -> String {
        format!("http://{}{PREFIX}", self.address)
    }

    /// The agents' silences that have these matchers and have not ended.
    pub async fn silences(&self, matchers: &[Matcher]) -> Result<Vec<Found>> {
        let (status, body) = self.ask(&wire::list(matchers)).await?;
        let read = wire::read_list(&body).map_err(anyhow::Error::msg);
        read.with_context(|| format!("HTTP {status}"))
    }

    /// The status and body of its answer.
    pub async fn ask(&self, request: &wire::Request) -> Result<(u16, Vec<u8>)> {
        let body = request
            .body
            .as_ref()
            .map_or_else(String::new, ToString::to_string);
        let message = http::Request::builder()
            .method(request.method.as_str())
            .uri(&request.path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.into_bytes()))?;
        let answer = self
            .client
            .send(message)
            .await
            .context("Alertmanager does not answer")?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect_bytes().await?;
        Ok((status, body.to_vec()))
    }
}
