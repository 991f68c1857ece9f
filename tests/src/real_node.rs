//! A node on which everything is real but the machine: Kubernetes' kubelet, containerd and runc run the pods, with their images, tokens, probes, hooks
//! and grace periods. The machine is of one of three kinds (`machine`), from namespaces to an emulated computer, and really reboots.
//!
//! What it does not show: there is no kube-proxy, so of all Services pods reach `kubernetes` alone; and namespaces share the kernel, so that no driver
//! and no crash of a kernel is part of their reboot.
//! It needs root, the packages that README.md names and, for namespaces, cgroup v1.
//! Not here: nodes that are played, see [`crate::cluster`]; scenarios of reboots, see [`crate::reboots`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::geteuid;
use tokio::task::JoinSet;

use crate::assets;
use crate::control_plane::{ControlPlane, SERVICE};
use crate::install::Rendered;
use crate::machine::AtEnd;
use crate::process::{Process, log_tail};
use crate::programs::{self, Program};
use crate::wait;

pub(crate) use disk::HANG;
pub use images::BUSYBOX;
use machine::Machine;
pub use machine::{Kind, Service};

mod computer;
mod disk;
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
/// Where the agent looks for its sentinel by default.
pub(crate) const SENTINEL: &str = "/var/run/reboot-required";
/// Longest start of containerd, and longest command on the machine: each takes a second, and an emulated computer half a minute to get there.
const PATIENCE: Duration = Duration::from_secs(180);
/// What lets the agent reboot a machine with busybox's init: the signal and the check that `docs/agent.md` names for hosts with busybox's init, the signal as a command,
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
    pub async fn start(kind: Kind) -> Result<Self> {
        check_machine(kind)?;
        let kubelet = assets::kubelet()?;
        let [agent, leash] = programs::build([Program::Agent, Program::Leash])?;
        let plane = ControlPlane::start_for_real_node().await?;
        let images = images::make(plane.directory(), &agent)?;
        let disk = disk::make(kind, &plane, &kubelet, &images)?;

        let network = plane.kennel().start("network", &network::line())?;
        let mut tasks = JoinSet::new();
        network::serve(&mut tasks, network.id(), &plane).await?;
        let machine = Machine::power_on(
            &mut tasks,
            kind,
            (plane.kennel(), &leash),
            network.id(),
            &disk,
            plane.client(),
        )?;
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

    async fn becomes_ready(&self, images: &[PathBuf]) -> Result<()> {
        self.until("containerd to answer", PATIENCE, || async {
            self.run(&["ctr", "version"]).await.map(Some)
        })
        .await
        .map(drop)?;
        for image in images {
            let import = [
                "ctr",
                "--namespace=k8s.io",
                "images",
                "import",
                "--snapshotter=native",
                &format!("/{}", disk::image(image)?),
            ];
            drop(self.run(&import).await?);
        }
        // An image that comes right before a power cut may be cut short, and nobody unpacks it again.
        drop(self.run(&["sync"]).await?);
        self.plane.wait_node_ready(NAME, true).await
    }

    /// Installs the agent's manifests as they are, with these components of ours and these further arguments of the agent.
    pub async fn install_agent(&self, components: &[&str], arguments: &[&str]) -> Result<()> {
        let kubectl = &self.plane.assets().kubectl;
        let mut rendered = Rendered::from_overlay(kubectl, OVERLAY, components).await?;
        rendered.add_agent_arguments(arguments)?;
        rendered.apply_objects(&self.plane.client()).await
    }

    /// Runs a program of the machine there, to its end, and returns what it prints.
    pub async fn run(&self, words: &[&str]) -> Result<String> {
        self.machine.run(words, PATIENCE).await
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
    pub async fn request_reboot(&self) -> Result<()> {
        self.run(&["touch", SENTINEL]).await.map(drop)
    }

    /// Waits for something, at most for this long, and no longer than the machine runs or is started again.
    pub async fn until<T, F>(&self, what: &str, bound: Duration, ask: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<Option<T>>>,
    {
        tokio::select! {
            found = wait::until(what, bound, ask) => found,
            off = self.machine.is_off() => Err(off.context(format!("nothing comes of the wait for {what}"))),
        }
    }

    /// Cuts the machine's power, and starts it again.
    pub fn cut_power(&self) {
        self.machine.cut_power();
    }

    /// Lets the next boots of a computer have these further words of the kernel's command line.
    pub(crate) fn set_kernel_words(&self, words: &[&str]) {
        self.machine.set_kernel_words(&self.disk, words);
    }

    /// How the log of the machine itself ends: of a computer, its console.
    pub(crate) fn console(&self) -> String {
        log_tail(&self.plane.kennel().log_path("machine"))
    }

    /// What the Node showed at the end of each boot.
    pub(crate) fn ends(&self) -> Vec<AtEnd> {
        self.machine.ends()
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
        let found = self.until(&what, bound, || async {
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
        let power = format!("the machine said:\n{}", self.console());
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
        disk::write(&self.disk, name, content)
    }
}

impl Drop for RealNode {
    fn drop(&mut self) {
        // Before the machine, which it would start again.
        self.tasks.abort_all();
    }
}

/// Checks that this machine can have such a node.
fn check_machine(kind: Kind) -> Result<()> {
    ensure!(
        geteuid().is_root(),
        "a real node needs namespaces, mounts and a network: run this as root"
    );
    if kind != Kind::Qemu {
        ensure!(
            Path::new("/sys/fs/cgroup/memory").is_dir(),
            "/sys/fs/cgroup has no hierarchies of cgroup v1: a real node in namespaces was made for no other yet; QEMU needs none"
        );
    }
    if kind == Kind::Busybox {
        ensure!(
            Path::new("/bin").is_symlink(),
            "the programs of this machine are not all in /usr: a real node shares that directory alone"
        );
    }
    for (program, package) in needed(kind) {
        ensure!(
            Path::new(program).is_file(),
            "{program} is missing: apt-get install {package}"
        );
    }
    Ok(())
}

/// Programs that such a node needs on this machine, and Debian's packages with them. busybox is in an image for the pods of tests.
fn needed(kind: Kind) -> Vec<(&'static str, &'static str)> {
    let mut needed = vec![
        ("/usr/bin/busybox", "busybox-static"),
        ("/usr/sbin/ip", "iproute2"),
    ];
    needed.extend(match kind {
        Kind::Busybox => vec![
            ("/usr/bin/containerd", "containerd"),
            ("/usr/sbin/runc", "runc"),
            ("/usr/lib/cni/ptp", "containernetworking-plugins"),
        ],
        Kind::Nspawn => vec![
            ("/usr/bin/mmdebstrap", "mmdebstrap"),
            ("/usr/bin/systemd-nspawn", "systemd-container"),
        ],
        Kind::Qemu => vec![
            ("/usr/bin/mmdebstrap", "mmdebstrap"),
            ("/usr/bin/qemu-system-x86_64", "qemu-system-x86"),
            ("/usr/sbin/mke2fs", "e2fsprogs"),
        ],
    });
    needed
}
