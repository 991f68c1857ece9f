//! A node on which everything is real but the machine: Kubernetes' kubelet, containerd and runc run the pods, with their images, tokens, probes, hooks
//! and grace periods. The machine is a set of namespaces with an init of its own (`machine`), so it really reboots.
//!
//! What it does not show: it shares the kernel, so no boot loader, no driver and no crash of a kernel is part of a reboot; its init is busybox's, not
//! systemd; and there is no kube-proxy, so of all Services pods reach `kubernetes` alone.
//! It needs root, cgroup v1, and the packages that README.md names.
//! Not here: nodes that are played, see [`crate::cluster`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::geteuid;
use tokio::task::JoinSet;

use crate::assets;
use crate::control_plane::{ControlPlane, SERVICE};
use crate::identity::{Credential, Endpoint, Identity};
use crate::install::{Rendered, manifests};
use crate::process::{Process, log_tail};
use crate::programs::{self, Program};
use crate::{tree, wait};

pub use images::BUSYBOX;
use images::Image;
use machine::Machine;
pub use machine::Service;

mod images;
mod machine;
mod network;

/// The name of the node, and of the machine.
pub const NAME: &str = "node-0";
/// Its address. It is in a network of its own, so each node has the same (RFC 5737).
const ADDRESS: &str = "192.0.2.10";
/// The overlay that the agent is installed from: no kube-proxy takes the API server's calls to a webhook.
const OVERLAY: &str = "overlays/agent-alone";
/// Where on the machine's disk everybody writes a line about what happens there: its init, and the pods that tests start.
pub const WITNESS: &str = "var/log/witness";
/// Longest start of containerd, and longest command on the machine: each takes a second, and longer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// What lets the agent reboot the machine: the signal and the check that `docs/agent.md` names for hosts with busybox's init, the signal as a command,
/// so that one runs in the host's namespaces as with systemd. It also looks for its sentinel each second.
pub const AGENT_ARGUMENTS: [&str; 3] = [
    "--period=1s",
    "--reboot-command=/bin/kill -TERM 1",
    "--shutdown-check-command=/bin/sh -c \"[ -e /run/stopping ] && echo stopping || echo running\"",
];

/// A control plane with one real node. Everything ends when it is dropped, and when the calling process ends, even by SIGKILL.
pub struct RealNode {
    // Dropped in this order: the control plane last.
    tasks: JoinSet<()>,
    machine: Machine,
    _network: Process,
    disk: PathBuf,
    pub plane: ControlPlane,
}

impl RealNode {
    /// Starts everything and waits until the node is Ready. Nothing of ours is installed.
    pub async fn start() -> Result<Self> {
        check_machine()?;
        let kubelet = assets::kubelet()?;
        let [agent, leash] = programs::build([Program::Agent, Program::Leash])?;
        let plane = ControlPlane::start_for_real_node().await?;
        let disk = plane.directory().join(NAME);
        write_disk(&disk, &kubelet, &plane)?;
        let images = images::make(plane.directory(), &agent)?;

        let network = plane.kennel().start("network", &network::line())?;
        let mut tasks = JoinSet::new();
        network::serve(&mut tasks, network.id(), &plane).await?;
        let machine = Machine::power_on(&mut tasks, plane.kennel(), &leash, network.id(), &disk)?;
        let node = Self {
            tasks,
            machine,
            _network: network,
            disk,
            plane,
        };
        node.becomes_ready(&images)
            .await
            .map_err(|error| node.explain(error))?;
        Ok(node)
    }

    async fn becomes_ready(&self, images: &[Image]) -> Result<()> {
        wait::until("containerd to answer", PATIENCE, || async {
            Ok(self.run(&["ctr", "version"]).await.ok())
        })
        .await
        .map(drop)?;
        for image in images {
            let _: u64 = std::fs::copy(&image.tar, self.disk.join("var/image.tar"))
                .with_context(|| format!("failed to copy {}", image.tar.display()))?;
            let import = [
                "ctr",
                "--namespace=k8s.io",
                "images",
                "import",
                "--snapshotter=native",
                "/var/image.tar",
            ];
            drop(self.run(&import).await?);
        }
        self.plane.wait_node_ready(NAME, true).await
    }

    /// Installs the agent's manifests as they are, but for these further arguments of the agent.
    pub async fn install_agent(&self, arguments: &[&str]) -> Result<()> {
        let mut rendered =
            Rendered::from_directory(&self.plane.assets().kubectl, &manifests(OVERLAY)).await?;
        rendered.add_agent_arguments(arguments)?;
        rendered.apply_objects(&self.plane.client()).await
    }

    /// Runs a program of the machine there, to its end, and returns what it prints.
    pub async fn run(&self, words: &[&str]) -> Result<String> {
        self.machine.line(words)?.run("", PATIENCE).await
    }

    /// Stops a service as its init would (SIGTERM), and waits until it has ended.
    pub async fn stop(&self, service: Service) -> Result<()> {
        self.write(&service.stopped(), "")?;
        self.end(service).await
    }

    /// Starts a service that was stopped.
    pub fn start_again(&self, service: Service) -> Result<()> {
        let path = self.disk.join(service.stopped());
        std::fs::remove_file(&path).with_context(|| format!("failed to remove {}", path.display()))
    }

    /// Ends a service that its init starts again.
    pub async fn restart(&self, service: Service) -> Result<()> {
        self.end(service).await
    }

    async fn end(&self, service: Service) -> Result<()> {
        let id = self.read(&service.process_id())?;
        let script = format!(
            "kill {0} && while kill -0 {0} 2>/dev/null; do sleep 0.1; done",
            id.trim()
        );
        self.run(&["sh", "-c", &script]).await.map(drop)
    }

    /// Makes the sentinel that the agent looks for.
    pub fn request_reboot(&self) -> Result<()> {
        self.write("run/reboot-required", "")
    }

    /// How often the machine has been started.
    pub fn boots(&self) -> usize {
        self.machine.boots()
    }

    /// The lines about what has happened on the machine, in their order.
    pub fn witness(&self) -> Result<Vec<String>> {
        Ok(self.read(WITNESS)?.lines().map(str::to_owned).collect())
    }

    /// Adds a line to them.
    pub fn testify(&self, line: &str) -> Result<()> {
        use std::io::Write as _;
        let path = self.disk.join(WITNESS);
        let file = std::fs::File::options().append(true).open(&path);
        file.and_then(|mut file| writeln!(file, "{line}"))
            .with_context(|| format!("failed to write {}", path.display()))
    }

    /// Waits until this line is there, at most for `bound`.
    pub async fn wait_witness(&self, line: &str, bound: Duration) -> Result<()> {
        let what = format!("the line '{line}' on the machine");
        let found = wait::until(&what, bound, || async {
            let lines = self.witness()?;
            Ok(lines.iter().any(|seen| seen == line).then_some(()))
        });
        found.await.map_err(|error| self.explain(error))
    }

    /// Lets the kubelet run a static pod.
    pub fn add_static_pod(&self, pod: &serde_json::Value) -> Result<()> {
        self.write("etc/kubernetes/manifests/pod.json", &pod.to_string())
    }

    /// The directory that is the machine's disk.
    pub fn disk(&self) -> &Path {
        &self.disk
    }

    /// Adds to an error how the logs of the node end.
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let logs = [Service::Kubelet, Service::Containerd].map(|service| {
            let path = self.disk.join(service.log());
            format!("{} ends:\n{}", path.display(), log_tail(&path))
        });
        let power = format!(
            "the machine said:\n{}",
            log_tail(&self.plane.kennel().log_path("machine"))
        );
        error.context(format!(
            "{}\n{power}\nwitness: {:?}",
            logs.join("\n"),
            self.witness()
        ))
    }

    fn read(&self, name: &str) -> Result<String> {
        let path = self.disk.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
    }

    fn write(&self, name: &str, content: &str) -> Result<()> {
        write(&self.disk, name, content)
    }
}

impl Drop for RealNode {
    fn drop(&mut self) {
        // Before the machine, which it would start again.
        self.tasks.abort_all();
    }
}

/// Checks that this machine can have a node.
fn check_machine() -> Result<()> {
    ensure!(
        geteuid().is_root(),
        "a real node needs namespaces, mounts and cgroups: run this as root"
    );
    ensure!(
        Path::new("/sys/fs/cgroup/memory").is_dir(),
        "/sys/fs/cgroup has no hierarchies of cgroup v1: a real node was made for no other yet"
    );
    ensure!(
        Path::new("/bin").is_symlink(),
        "the programs of this machine are not all in /usr: a real node shares that directory alone"
    );
    for (program, package) in [
        ("/usr/bin/busybox", "busybox-static"),
        ("/usr/bin/containerd", "containerd"),
        ("/usr/sbin/runc", "runc"),
        ("/usr/lib/cni/ptp", "containernetworking-plugins"),
        ("/usr/sbin/ip", "iproute2"),
    ] {
        ensure!(
            Path::new(program).is_file(),
            "{program} is missing: apt-get install {package}"
        );
    }
    Ok(())
}

/// Writes what is on the machine's disk before its first boot.
fn write_disk(disk: &Path, kubelet: &Path, plane: &ControlPlane) -> Result<()> {
    let made = |what: &Path| format!("failed to make {}", what.display());
    for name in [
        "dev",
        "etc/cni/net.d",
        "etc/kubernetes/manifests",
        "etc/stopped",
        "opt/kubelet",
        "proc",
        "run",
        "sys",
        "tmp",
        "usr",
        "var/lib",
        "var/log",
    ] {
        let path = disk.join(name);
        std::fs::create_dir_all(&path).with_context(|| made(&path))?;
    }
    for (name, to) in [
        ("bin", "usr/bin"),
        ("sbin", "usr/sbin"),
        ("lib", "usr/lib"),
        ("lib64", "usr/lib64"),
        ("var/run", "../run"),
    ] {
        std::os::unix::fs::symlink(to, disk.join(name)).with_context(|| made(&disk.join(name)))?;
    }
    tree::copy(&machine::files().join("etc"), &disk.join("etc"))?;
    let inittab = disk.join("etc/inittab");
    let text = std::fs::read_to_string(&inittab).with_context(|| made(&inittab))?;
    let text = text
        .replace("{name}", NAME)
        .replace("{address}", ADDRESS)
        .replace("{witness}", WITNESS);
    write(disk, "etc/inittab", &text)?;
    for (from, to) in [
        (kubelet, "opt/kubelet/kubelet"),
        (&plane.endpoint().ca_file, "etc/kubernetes/ca.crt"),
    ] {
        let _: u64 = std::fs::copy(from, disk.join(to)).with_context(|| made(&disk.join(to)))?;
    }
    write(disk, WITNESS, "")?;
    let user = Identity::Kubelet.user();
    let token = std::fs::read_to_string(plane.directory().join(format!("{user}.token")))
        .context("failed to read the kubelet's token")?;
    let endpoint = Endpoint {
        url: format!("https://{SERVICE}"),
        ca_file: "/etc/kubernetes/ca.crt".into(),
    };
    endpoint.write_kubeconfig(
        &disk.join("etc/kubernetes/kubelet.kubeconfig"),
        user,
        &Credential::Token(token),
    )
}

fn write(disk: &Path, name: &str, content: &str) -> Result<()> {
    let path = disk.join(name);
    std::fs::write(&path, content).with_context(|| format!("failed to write {}", path.display()))
}
