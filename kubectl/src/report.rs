//! `report`: an archive for a bug report, with what is known of the installation and without secrets.
//!
//! Secrets and `ConfigMaps` are not read. Not here: what is cut from what was read ([`cordonhold_shared::redaction`]), and the diagnosis that is
//! in it too (`doctor`).

use std::io::Write as _;
use std::path::PathBuf;

use cordonhold_rt::api::CallError;
use cordonhold_shared::fleet::{Fleet, Unseen};
use cordonhold_shared::keys;
use cordonhold_shared::redaction;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use kube::api::ListParams;
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::ReportArgs;
use crate::cluster::{Cluster, NODES, Sight, seen};
use crate::look::{Scope, of_ours};
use crate::text::{self, GOOD};
use crate::{Ending, Error, clock, output};

/// Most pods whose logs are read: those of a small fleet, and enough of a large one, because those that are not Ready come first.
const PODS_MAX: usize = 40;
/// Most lines of one log, and most bytes: a cycle of an agent has some hundred lines of some hundred bytes.
const LOG_LINES: u32 = 2_000;
const LOG_BYTES: u32 = 1_048_576;
/// Most objects of one kind: a fleet of thousands of nodes is told by its first thousand.
const OBJECTS_MAX: usize = 1_000;
/// The directory of the logs, which are cut when they are read.
const LOGS: &str = "logs/";
const VIEW: &str = "view in the whole cluster";

/// A file of the archive.
struct File {
    name: String,
    content: Vec<u8>,
}

/// Our containers. The logs of others in our pods are other people's.
const CONTAINERS: [&str; 4] = ["agent", "certs", "uninstall", "webhook"];

/// What is collected: how it is called, where it is, and how it is cut.
struct Kind {
    name: &'static str,
    path: String,
    params: ListParams,
    cut: fn(&Value) -> Value,
}

pub(crate) async fn run(cluster: &Cluster, args: &ReportArgs) -> Result<Ending, Error> {
    let now = clock::now();
    let (files, unseen) = Box::pin(cluster.collected(now)).await?;
    let root = format!("cordonhold-report-{}", now.strftime("%Y%m%dT%H%M%SZ"));
    let archive = archive(&root, &files, now).map_err(Error::Archive)?;
    let path = args
        .file
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{root}.tar.gz")));
    // Nothing that is there is overwritten.
    let written = std::fs::File::create_new(&path).and_then(|mut file| file.write_all(&archive));
    written.map_err(|source| Error::Write {
        path: path.clone(),
        source,
    })?;
    let says = format!(
        "wrote {}: {} files, {} KiB. Secrets are not in it, and addresses are cut to their hosts; look through it before you send it: tar -xzf {}",
        path.display(),
        files.len(),
        archive.len().div_ceil(1024),
        path.display()
    );
    let width = Some(output::width());
    output::print(&(text::signed(("✓", GOOD), &says, width) + &text::unseen(&unseen, width)))?;
    Ok(Ending::Fine)
}

impl Cluster {
    async fn collected(&self, now: Timestamp) -> Result<(Vec<File>, Vec<Unseen>), Error> {
        let diagnosis = self.diagnosis(true).await?;
        let look = self.look_around(&Scope::default()).await?;
        let mut unseen = diagnosis.unseen.clone();
        let mut files = vec![document("doctor.json", &diagnosis)?];
        let mut seen_fleet = look.seen;
        for kind in self.kinds() {
            let sight = Sight {
                what: format!("{}, for the report", kind.name),
                needs: format!("list {}", kind.name),
                role: VIEW,
            };
            let Some(objects) = seen(
                self.list::<Value>(&kind.path, kind.params).await,
                &sight,
                &mut unseen,
            )?
            else {
                continue;
            };
            if kind.path == NODES {
                let views = objects
                    .iter()
                    .filter_map(|node| serde_json::from_value(node.clone()).ok());
                seen_fleet.nodes = views.collect();
            }
            let cut: Vec<Value> = objects.iter().take(OBJECTS_MAX).map(kind.cut).collect();
            let whole = json!({ "of": objects.len(), "items": cut });
            files.push(document(
                &format!("{}.json", kind.name.replace(' ', "-")),
                &whole,
            )?);
        }
        files.push(document("status.json", &Fleet::of(&seen_fleet, now))?);
        files.extend(self.logs(&mut unseen).await?);
        unseen.dedup();
        files.push(document("unseen.json", &unseen)?);
        // What the errors of the API server and the notes of people say is text of others, too.
        for file in files.iter_mut().filter(|file| !file.name.starts_with(LOGS)) {
            let whole: Value = serde_json::from_slice(&file.content).map_err(std::io::Error::other)?;
            file.content =
                serde_json::to_vec_pretty(&redaction::value(&whole)).map_err(std::io::Error::other)?;
        }
        Ok((files, unseen))
    }

    /// What is collected of objects. Those of the whole cluster are listed by name, so that others of their kind stay where they are.
    fn kinds(&self) -> Vec<Kind> {
        let all = ListParams::default;
        let named = |name: &str| ListParams::default().fields(&format!("metadata.name={name}"));
        let own = |group: &str, plural: &str| format!("/{group}/namespaces/{}/{plural}", self.namespace);
        let kind = |name, path: String, params, cut| Kind {
            name,
            path,
            params,
            cut,
        };
        let object: fn(&Value) -> Value = redaction::object;
        let admission = "/apis/admissionregistration.k8s.io/v1";
        let by_agents =
            ListParams::default().fields(&format!("reportingComponent={}", keys::AGENT_CONTROLLER));
        vec![
            kind("nodes", NODES.to_owned(), all(), redaction::node),
            kind(
                "leases",
                own("apis/coordination.k8s.io/v1", "leases"),
                all(),
                object,
            ),
            kind("deployments", self.apps("deployments"), of_ours(), object),
            kind("daemonsets", self.apps("daemonsets"), of_ours(), object),
            kind("pods", own("api/v1", "pods"), of_ours(), object),
            kind(
                "events in the namespace",
                own("api/v1", "events"),
                all(),
                redaction::event,
            ),
            kind(
                "events of the agents",
                "/api/v1/namespaces/default/events".to_owned(),
                by_agents,
                redaction::event,
            ),
            kind(
                "validatingwebhookconfigurations",
                format!("{admission}/validatingwebhookconfigurations"),
                named("cordonhold"),
                object,
            ),
            kind(
                "mutatingwebhookconfigurations",
                format!("{admission}/mutatingwebhookconfigurations"),
                named("cordonhold"),
                object,
            ),
            kind(
                "validatingadmissionpolicies",
                format!("{admission}/validatingadmissionpolicies"),
                of_ours(),
                object,
            ),
        ]
    }

    async fn logs(&self, unseen: &mut Vec<Unseen>) -> Result<Vec<File>, Error> {
        let path = format!("/api/v1/namespaces/{}/pods", self.namespace);
        let sight = self.sight("the logs", "list pods", VIEW);
        let pods = seen(self.list::<Value>(&path, of_ours()).await, &sight, unseen)?;
        let mut pods = pods.unwrap_or_default();
        pods.sort_by_key(is_ready);
        let mut files = Vec::new();
        for pod in pods.iter().take(PODS_MAX) {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            for container in pod["status"]["containerStatuses"]
                .as_array()
                .into_iter()
                .flatten()
            {
                let of = container["name"].as_str().unwrap_or_default();
                if !CONTAINERS.contains(&of) {
                    continue;
                }
                let restarted = container["restartCount"].as_u64().unwrap_or_default() > 0;
                for previous in [false, true]
                    .into_iter()
                    .filter(|previous| restarted || !previous)
                {
                    let log = self.log(&format!("{path}/{name}/log"), of, previous).await;
                    match log {
                        Ok(content) => files.push(File {
                            name: format!("{LOGS}{name}/{of}{}.log", if previous { ".previous" } else { "" }),
                            content,
                        }),
                        Err(why) => unseen.push(Unseen {
                            what: format!("the log of {name}"),
                            needs: why
                                .is_none()
                                .then(|| format!("get pods/log in the namespace {}", self.namespace)),
                            says: why.unwrap_or_else(|| format!("bind the ClusterRole {VIEW}")),
                        }),
                    }
                }
            }
        }
        Ok(files)
    }

    /// The last lines of a log, cut. The error is what the API server said; `None`: the right is missing.
    async fn log(&self, path: &str, container: &str, previous: bool) -> Result<Vec<u8>, Option<String>> {
        let query =
            format!("container={container}&previous={previous}&tailLines={LOG_LINES}&limitBytes={LOG_BYTES}");
        let answer = self
            .send(http::Request::get(format!("{path}?{query}")).body(Vec::new()))
            .await;
        let answer = answer.map_err(|error: CallError| Some(error.to_string()))?;
        let said = String::from_utf8_lossy(answer.body());
        if answer.status() == http::StatusCode::FORBIDDEN {
            return Err(None);
        }
        if !answer.status().is_success() {
            let status: Value = serde_json::from_str(&said).unwrap_or_default();
            let message = status["message"].as_str().unwrap_or_default();
            return Err(Some(cordonhold_shared::quote::one_line(
                message,
                output::SAID_MAX,
            )));
        }
        Ok(redaction::text(&said).into_bytes())
    }
}

/// Whether the pod is Ready.
fn is_ready(pod: &Value) -> bool {
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn document(name: &str, value: &impl Serialize) -> Result<File, Error> {
    let content = serde_json::to_vec(value).map_err(std::io::Error::other)?;
    Ok(File {
        name: name.to_owned(),
        content,
    })
}

/// The files below one directory, as `tar` writes and `gzip` packs them.
fn archive(root: &str, files: &[File], now: Timestamp) -> std::io::Result<Vec<u8>> {
    let packed = GzEncoder::new(Vec::new(), Compression::default());
    let mut builder = tar::Builder::new(packed);
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(file.content.len()).unwrap_or(u64::MAX));
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(now.as_second()).unwrap_or_default());
        builder.append_data(
            &mut header,
            format!("{root}/{}", file.name),
            file.content.as_slice(),
        )?;
    }
    builder.into_inner()?.finish()
}
