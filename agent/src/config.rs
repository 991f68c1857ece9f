//! The agent's configuration: the checked values of the command line, in the form that the modules need.
//!
//! Not here: the flags ([`crate::args`]), and the parts that other modules define: [`HostConfig`], [`NotifyConfig`], and the
//! [`Settings`] and [`Timing`] of the cycle.

use std::path::PathBuf;
use std::time::Duration;

use cordonhold_rt::logging::LogFormat;
use cordonhold_shared::reboot::blocker::Rules;
use cordonhold_shared::reboot::cycle::Settings;
use cordonhold_shared::reboot::drain::Options;
use cordonhold_shared::reboot::lock_object::LockObjects;
use cordonhold_shared::reboot::readiness::Readiness;
use cordonhold_shared::reboot::silence::Matchers;
use cordonhold_shared::reboot::timers::Timing;
use cordonhold_shared::reboot::window::{MustEnd, Windows};
use cordonhold_shared::selector::Selector;
use http::Uri;

use crate::host::HostConfig;
use crate::host::sentinel::SentinelConfig;
use crate::notify::NotifyConfig;

/// The whole configuration of an agent.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the cycle decides by.
    pub settings: Settings,
    /// The lengths of the cycle's timers.
    pub timing: Timing,
    /// How the host is reached, and which commands run on it.
    pub host: HostConfig,
    /// What on the host asks for a reboot.
    pub sentinel: SentinelConfig,
    /// Whether a request on the Node asks for a reboot too.
    pub takes_requests: bool,
    /// The pool, and where its lock is.
    pub lock: LockConfig,
    /// How the node is drained.
    pub drain: DrainConfig,
    /// When a reboot may begin.
    pub windows: Windows,
    /// Whether a reboot must end in a window too, and what is known of how long it takes.
    pub must_end: Option<MustEnd>,
    /// What postpones a reboot.
    pub blockers: BlockerConfig,
    /// What must be there, beside the Node's Ready, before the cordon is given back after a reboot.
    pub ready_when: Vec<Readiness>,
    /// Where messages to people go, and their texts.
    pub notify: NotifyConfig,
    /// The silences of Alertmanager; `None` makes none.
    pub silence: Option<SilenceConfig>,
    /// The agent's metrics, its log, and how it reaches the API server.
    pub process: ProcessConfig,
    /// Warnings about flags that are accepted but should be changed.
    pub warnings: Vec<String>,
}

/// The node's pool, and where the pool's lock is.
#[derive(Clone, Debug)]
pub struct LockConfig {
    /// The name of the pool.
    pub pool: String,
    /// The objects that may carry the lock.
    pub objects: LockObjects,
}

/// Which pods a drain evicts, and how.
#[derive(Clone, Debug)]
pub struct DrainConfig {
    /// The pods that a drain considers; `None` is every pod on the node.
    pub pods: Option<Selector>,
    /// The grace period of evicted pods in seconds; `None` is each pod's own.
    pub grace_period: Option<u32>,
    /// How evictions are sent, and which pods and volumes are waited for.
    pub options: Options,
}

/// What others are asked about before a reboot, and where.
#[derive(Clone, Debug)]
pub struct BlockerConfig {
    /// The questions.
    pub rules: Rules,
    /// The Prometheus that is asked; `None` if there is none to ask.
    pub prometheus: Option<HttpApiConfig>,
}

/// How an HTTP API beside that of Kubernetes is reached, such as Prometheus.
#[derive(Clone, Debug)]
pub struct HttpApiConfig {
    /// Its URL, with the path before `/api`. A user and password in it are used for basic authentication.
    pub url: Uri,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// The file with a bearer token, read for each request.
    pub token_file: Option<PathBuf>,
    /// The file with the CAs that sign its certificate, in PEM; `None` takes those of the system.
    pub ca_file: Option<PathBuf>,
    /// The files with the client certificate and its key, in PEM.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
}

/// Which alerts are silenced, and where.
#[derive(Clone, Debug)]
pub struct SilenceConfig {
    /// The Alertmanagers of one cluster, which tell each other of silences. Each is asked only if the one before fails.
    pub alertmanagers: Vec<HttpApiConfig>,
    /// One silence for each.
    pub matchers: Vec<Matchers>,
}

/// The agent's metrics, its log, and how it reaches the API server.
#[derive(Clone, Debug)]
pub struct ProcessConfig {
    /// Where metrics and probes are served; `None` serves none.
    pub metrics: Option<MetricsConfig>,
    /// The format of log lines.
    pub log_format: LogFormat,
    /// The kubeconfig for the API server; `None` uses the pod's `ServiceAccount`.
    pub kubeconfig: Option<PathBuf>,
}

/// The address and port on which metrics and probes are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// The address or host name; empty is every address.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}
