//! Finds the programs of a control plane in `KUBEBUILDER_ASSETS`; builds what is missing there from `control-plane/`, once, into a cache.
//! The kubelet is found in the same way and built from there too, when a test first asks for it.
//! So are Prometheus, Alertmanager, cert-manager, a container registry, the clients that uncordon nodes, and what renders charts and kustomizations, from
//! `prometheus/`, `alertmanager/`, `cert-manager/`, `registry/`, `adversaries/` and `renderers/`.
//!
//! `CORDONHOLD_KUBERNETES` chooses between two releases of Kubernetes: the newest, and the oldest that Cordonhold supports.
//!
//! The key of a cache entry is a hash of what it is built from.
//! Not here: programs of older versions of Cordonhold, see [`crate::compat`].

pub(crate) mod cache;
pub mod debian;
mod installed;
mod kubernetes;
mod module;
mod progress;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

pub use self::kubernetes::Kubernetes;
use self::module::Module;
use crate::tree;

/// Programs built as one binary. The name it is called by selects the program.
const MULTI_CALL: [&str; 5] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
];
const KWOK_PACKAGE: &str = "sigs.k8s.io/kwok/cmd/kwok";
const KWOK_MODULE: &str = "sigs.k8s.io/kwok";
/// KWOK's stages to use; without stages KWOK does nothing. Most of these act without a delay.
const STAGES: [&str; 5] = [
    "node/fast/node-initialize.yaml",
    "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "pod/fast/pod-ready.yaml",
    "pod/fast/pod-complete.yaml",
    "pod/fast/pod-delete.yaml",
];
/// A Go module of this repository, its directory beside this crate's sources.
const CONTROL_PLANE: &str = "control-plane";
/// The kubelet: a package beside the control plane's, which most tests do without.
const KUBELET_PACKAGE: &str = "./kubelet";
const KUBELET_SOURCE: &str = include_str!("../control-plane/kubelet/main.go");
const PROMETHEUS: &str = "prometheus";
const PROMETHEUS_PACKAGES: [&str; 2] = [
    "github.com/prometheus/prometheus/cmd/prometheus",
    "github.com/prometheus/prometheus/cmd/promtool",
];
const ALERTMANAGER: &str = "alertmanager";
const ALERTMANAGER_MODULE: &str = "github.com/prometheus/alertmanager";
const ALERTMANAGER_PACKAGE: &str = "github.com/prometheus/alertmanager/cmd/alertmanager";
/// What Alertmanager's program embeds and its module lacks: the pages of its own front end.
const ALERTMANAGER_PAGE: &str = "ui/app/dist/index.html";
/// Leaves out the clients of the clouds, with which Prometheus finds targets. They are most of its code.
const PROMETHEUS_FLAGS: [&str; 2] = ["-tags", "remove_all_sd"];
const CERT_MANAGER: &str = "cert-manager";
const CERT_MANAGER_MODULE: &str = "github.com/cert-manager/cert-manager";
/// cert-manager's CRDs, in its module.
const CERT_MANAGER_CRDS: [&str; 6] = [
    "acme.cert-manager.io_challenges.yaml",
    "acme.cert-manager.io_orders.yaml",
    "cert-manager.io_certificaterequests.yaml",
    "cert-manager.io_certificates.yaml",
    "cert-manager.io_clusterissuers.yaml",
    "cert-manager.io_issuers.yaml",
];
const REGISTRY: &str = "registry";
const REGISTRY_MODULE: &str = "github.com/distribution/distribution/v3";
const ADVERSARIES: &str = "adversaries";
const RENDERERS: &str = "renderers";
const HELM_MODULE: &str = "helm.sh/helm/v4";
/// The programs of others in that module, beside its own.
const RENDERERS_PACKAGES: [&str; 2] = [
    "helm.sh/helm/v4/cmd/helm",
    "github.com/helm-unittest/helm-unittest/cmd/helm-unittest",
];

/// The programs of this machine that are used: none but after [`Assets::take_installed`].
static INSTALLED: OnceLock<BTreeMap<&'static str, PathBuf>> = OnceLock::new();

/// Paths of the programs and files that a control plane runs with.
#[derive(Debug, Clone)]
pub struct Assets {
    pub etcd: PathBuf,
    pub kube_apiserver: PathBuf,
    pub kube_controller_manager: PathBuf,
    pub kube_scheduler: PathBuf,
    pub kubectl: PathBuf,
    pub kwok: PathBuf,
    /// KWOK's stages: one YAML file with many documents.
    pub stages: PathBuf,
}

impl Assets {
    /// Finds all assets and builds what is missing. The first build takes minutes and shows its progress on standard error.
    pub fn find() -> Result<Self> {
        Self::of(Kubernetes::chosen()?)
    }

    /// From now on takes programs of `PATH` where they are as new as those that would be built, for people who look around rather than test.
    /// Returns a line about each that is used, and about what is there but cannot be used. Not with `KUBEBUILDER_ASSETS` or
    /// `CORDONHOLD_KUBERNETES`: they say what to run.
    pub fn take_installed() -> Result<Vec<String>> {
        if given_directory().is_some() || Kubernetes::is_named() {
            return Ok(Vec::new());
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let kwok = Module::new(CONTROL_PLANE).requires(KWOK_MODULE)?;
        let found = installed::find(&path, Kubernetes::Newest, &kwok);
        let _ = INSTALLED.get_or_init(|| found.programs);
        Ok(found.said)
    }

    /// The same for this release of Kubernetes, whatever `CORDONHOLD_KUBERNETES` says.
    pub fn of(kubernetes: Kubernetes) -> Result<Self> {
        let programs = Entry::Programs(kubernetes);
        Ok(Self {
            etcd: find(programs, "etcd")?,
            kube_apiserver: find(programs, "kube-apiserver")?,
            kube_controller_manager: find(programs, "kube-controller-manager")?,
            kube_scheduler: find(programs, "kube-scheduler")?,
            kubectl: find(programs, "kubectl")?,
            // Last: the control plane's build has compiled most of it.
            kwok: find(Entry::Kwok, "kwok")?,
            stages: find(Entry::Stages, "stages.yaml")?,
        })
    }
}

/// Finds the newest kubelet and builds it if it is missing. The first build takes minutes and shows its progress on standard error.
pub fn kubelet() -> Result<PathBuf> {
    find(Entry::Kubelet, "kubelet")
}

/// Finds Prometheus and builds it if it is missing. The first build takes minutes and shows its progress on standard error.
pub fn prometheus() -> Result<PathBuf> {
    find(Entry::Prometheus, "prometheus")
}

/// Finds promtool and builds it if it is missing, together with [`prometheus`].
pub fn promtool() -> Result<PathBuf> {
    find(Entry::Prometheus, "promtool")
}

/// Finds Alertmanager and builds it if it is missing. The first build takes minutes and shows its progress on standard error.
pub fn alertmanager() -> Result<PathBuf> {
    find(Entry::Alertmanager, "alertmanager")
}

/// Finds cert-manager and builds it if it is missing. The first build takes minutes and shows its progress on standard error.
pub fn cert_manager() -> Result<PathBuf> {
    find(Entry::CertManager, "cert-manager")
}

/// Finds cert-manager's CRDs, one YAML file with many documents, and builds [`cert_manager`] if they are missing.
pub fn cert_manager_crds() -> Result<PathBuf> {
    find(Entry::CertManager, "cert-manager-crds.yaml")
}

/// Finds the container registry and builds it if it is missing. The first build takes a minute and shows its progress on standard error.
pub fn registry() -> Result<PathBuf> {
    find(Entry::Registry, "registry")
}

/// Finds the clients that uncordon nodes and builds them if they are missing. The first build takes minutes and shows its progress on standard
/// error.
pub fn adversaries() -> Result<PathBuf> {
    find(Entry::Adversaries, "adversaries")
}

/// Finds helm and builds it if it is missing. The first build takes minutes and shows its progress on standard error.
pub fn helm() -> Result<PathBuf> {
    find(Entry::Renderers, "helm")
}

/// Finds helm-unittest and builds it if it is missing, together with [`helm`].
pub fn helm_unittest() -> Result<PathBuf> {
    find(Entry::Renderers, "helm-unittest")
}

/// Finds the program that renders as Flux and Argo CD do and builds it if it is missing, together with [`helm`].
pub fn renderers() -> Result<PathBuf> {
    find(Entry::Renderers, "renderers")
}

/// The path of a file: in `KUBEBUILDER_ASSETS` if it is there, else in this entry of the cache.
fn find(entry: Entry, name: &str) -> Result<PathBuf> {
    let is_newest = !matches!(entry, Entry::Programs(Kubernetes::Oldest));
    if let Some(path) = INSTALLED
        .get()
        .and_then(|installed| installed.get(name))
        .filter(|_| is_newest)
    {
        return Ok(path.clone());
    }
    // That directory has the newest Kubernetes, or what its owner takes for that.
    let given = given_directory().filter(|_| is_newest);
    if let Some(directory) = &given {
        ensure!(
            directory.is_dir(),
            "KUBEBUILDER_ASSETS is {}, which is not a directory; correct it, or unset it to build from source",
            directory.display()
        );
    }
    match given
        .map(|directory| directory.join(name))
        .filter(|path| path.is_file())
    {
        Some(path) => Ok(path),
        None => Ok(entry.directory()?.join(name)),
    }
}

/// The directory with ready programs that `KUBEBUILDER_ASSETS` names.
fn given_directory() -> Option<PathBuf> {
    let given = std::env::var_os("KUBEBUILDER_ASSETS").filter(|value| !value.is_empty());
    given.map(PathBuf::from)
}

/// One kind of directory in the cache.
#[derive(Debug, Clone, Copy)]
enum Entry {
    /// The control plane.
    Programs(Kubernetes),
    /// KWOK alone, a client of any Kubernetes: package managers often have the one without the other.
    Kwok,
    /// KWOK's stages. A separate entry, because they need no compiling and a directory of ready programs often lacks them.
    Stages,
    /// The kubelet of the newest Kubernetes alone.
    Kubelet,
    /// Prometheus alone: most tests do without it.
    Prometheus,
    /// Alertmanager alone, likewise.
    Alertmanager,
    /// cert-manager and its CRDs, which one test needs.
    CertManager,
    /// A container registry, to which a test pushes images.
    Registry,
    /// The clients that uncordon nodes, which one test needs.
    Adversaries,
    /// helm, helm-unittest, and what renders as Flux and Argo CD do.
    Renderers,
}

impl Entry {
    fn name(self) -> &'static str {
        match self {
            Self::Programs(_) => "programs",
            Self::Kwok => "kwok",
            Self::Stages => "stages",
            Self::Kubelet => "kubelet",
            Self::Prometheus => "prometheus",
            Self::Alertmanager => "alertmanager",
            Self::CertManager => "cert-manager",
            Self::Registry => "registry",
            Self::Adversaries => "adversaries",
            Self::Renderers => "renderers",
        }
    }

    /// The Go module that it is built from.
    fn module(self) -> Module {
        match self {
            Self::Programs(kubernetes) => kubernetes.module(),
            Self::Kwok | Self::Stages | Self::Kubelet => Kubernetes::Newest.module(),
            Self::Prometheus => Module::new(PROMETHEUS),
            Self::Alertmanager => Module::new(ALERTMANAGER),
            Self::CertManager => Module::new(CERT_MANAGER),
            Self::Registry => Module::new(REGISTRY),
            Self::Adversaries => Module::new(ADVERSARIES),
            Self::Renderers => Module::new(RENDERERS),
        }
    }

    /// What makes its content, beside the files of its module.
    fn recipe(self) -> Vec<String> {
        match self {
            Self::Programs(kubernetes) => kubernetes.build_flags(),
            Self::Kwok => flags(&[KWOK_PACKAGE]),
            Self::Stages => STAGES.map(str::to_owned).to_vec(),
            Self::Kubelet => [Kubernetes::Newest.build_flags(), vec![KUBELET_SOURCE.to_owned()]].concat(),
            Self::Prometheus => flags(&PROMETHEUS_FLAGS),
            Self::Alertmanager => flags(&[ALERTMANAGER_PAGE]),
            Self::CertManager => [flags(&[]), CERT_MANAGER_CRDS.map(str::to_owned).to_vec()].concat(),
            Self::Registry | Self::Adversaries => flags(&[]),
            Self::Renderers => [flags(&[]), RENDERERS_PACKAGES.map(str::to_owned).to_vec()].concat(),
        }
    }

    /// The version that the name of its directory shows.
    fn version(self) -> Result<String> {
        match self {
            Self::Programs(kubernetes) => Ok(kubernetes.version().to_owned()),
            Self::Kwok | Self::Stages => self.module().requires(KWOK_MODULE),
            Self::Kubelet => Ok(Kubernetes::Newest.version().to_owned()),
            Self::Prometheus => self.module().requires("github.com/prometheus/prometheus"),
            Self::Alertmanager => self.module().requires(ALERTMANAGER_MODULE),
            Self::CertManager => self.module().requires(CERT_MANAGER_MODULE),
            Self::Registry => self.module().requires(REGISTRY_MODULE),
            Self::Adversaries => self.module().requires("k8s.io/client-go"),
            Self::Renderers => self.module().requires(HELM_MODULE),
        }
    }

    /// The path of the entry. Fills the entry first if it does not exist.
    fn directory(self) -> Result<PathBuf> {
        let mut content = self.recipe().concat().into_bytes();
        content.extend(self.module().content()?);
        let key = format!(
            "{}-{:016x}-{}",
            self.version()?,
            cache::hash(&content),
            self.name()
        );
        cache::entry(&key, |directory| self.fill(directory))
    }

    fn fill(self, directory: &Path) -> Result<()> {
        self.module().check_go()?;
        match self {
            Self::Programs(kubernetes) => kubernetes.build_programs(directory),
            Self::Kwok => build_kwok(directory),
            Self::Stages => collect_stages(directory),
            Self::Kubelet => build_kubelet(directory),
            Self::Prometheus => build_prometheus(directory),
            Self::Alertmanager => build_alertmanager(directory),
            Self::CertManager => build_cert_manager(directory),
            Self::Registry => build_registry(directory),
            Self::Adversaries => build_adversaries(directory),
            Self::Renderers => build_renderers(directory),
        }
    }
}

/// The flags for a program of somebody else, with these in their midst.
fn flags(others: &[&str]) -> Vec<String> {
    let all = [&["-trimpath", "-buildvcs=false"], others, &["-ldflags", "-s -w"]].concat();
    all.into_iter().map(str::to_owned).collect()
}

fn build_kwok(directory: &Path) -> Result<()> {
    let title = format!(
        "building KWOK {} from source, once (about 4 minutes on 2 cores, seconds after the control plane)",
        Entry::Kwok.version()?
    );
    Entry::Kwok
        .module()
        .build(title, flags(&[]), &[KWOK_PACKAGE], directory)
}

fn build_kubelet(directory: &Path) -> Result<()> {
    let title = format!(
        "building the kubelet {} from source, once (about 3 minutes on 2 cores, 1 after the control plane)",
        Entry::Kubelet.version()?
    );
    let flags = Kubernetes::Newest.build_flags();
    Kubernetes::Newest
        .module()
        .build(title, flags, &[KUBELET_PACKAGE], directory)
}

fn build_prometheus(directory: &Path) -> Result<()> {
    let title = format!(
        "building Prometheus {} from source, once (about 3 minutes on 2 cores)",
        Entry::Prometheus.version()?
    );
    Module::new(PROMETHEUS).build(title, flags(&PROMETHEUS_FLAGS), &PROMETHEUS_PACKAGES, directory)
}

/// Builds Alertmanager from a copy of its module, to which the page is added that it embeds and that its module lacks: Go takes a copy
/// only as a replacement in `go.mod`, and replaces no file below its own cache.
fn build_alertmanager(directory: &Path) -> Result<()> {
    let module = Module::new(ALERTMANAGER);
    let title = format!(
        "building Alertmanager {} from source, once (about 2 minutes on 2 cores)",
        Entry::Alertmanager.version()?
    );
    let place = tempfile::tempdir().context("failed to create a temporary directory")?;
    let source = place.path().join("source");
    tree::copy(&module.downloaded(ALERTMANAGER_MODULE)?, &source)?;
    let page = source.join(ALERTMANAGER_PAGE);
    std::fs::create_dir_all(page.parent().context("a page has a directory")?)
        .and_then(|()| std::fs::write(&page, "<p>This build has no pages.</p>\n"))
        .with_context(|| format!("failed to write {}", page.display()))?;
    let (go_mod, go_sum) = (module.read(module.go_mod)?, module.read(module.go_sum)?);
    let replaced = format!(
        "{go_mod}\nreplace {ALERTMANAGER_MODULE} => {}\n",
        source.display()
    );
    let path = place.path().join("go.mod");
    std::fs::write(&path, replaced)
        .and_then(|()| std::fs::write(place.path().join("go.sum"), go_sum))
        .with_context(|| format!("failed to write {}", path.display()))?;
    let path = path.display().to_string();
    module.build(
        title,
        flags(&["-modfile", &path]),
        &[ALERTMANAGER_PACKAGE],
        directory,
    )
}

fn build_registry(directory: &Path) -> Result<()> {
    let title = format!(
        "building the registry of Distribution {} from source, once (about a minute on 2 cores)",
        Entry::Registry.version()?
    );
    Module::new(REGISTRY).build(title, flags(&[]), &["."], directory)
}

fn build_adversaries(directory: &Path) -> Result<()> {
    let title = "building the clients that uncordon nodes, once (about 5 minutes on 2 cores, 1 after the control plane)";
    Module::new(ADVERSARIES).build(title.to_owned(), flags(&[]), &["."], directory)
}

fn build_renderers(directory: &Path) -> Result<()> {
    let title = "building helm, helm-unittest and what renders as Flux and Argo CD do, once (about 3 minutes on 2 cores)";
    let [helm, unittest] = RENDERERS_PACKAGES;
    Module::new(RENDERERS).build(title.to_owned(), flags(&[]), &[".", helm, unittest], directory)
}

fn build_cert_manager(directory: &Path) -> Result<()> {
    let module = Module::new(CERT_MANAGER);
    let title = format!(
        "building cert-manager {} from source, once (about 2 minutes on 2 cores)",
        Entry::CertManager.version()?
    );
    let source = module
        .downloaded(CERT_MANAGER_MODULE)?
        .join("deploy")
        .join("crds");
    join_documents(
        &source,
        &CERT_MANAGER_CRDS,
        &directory.join("cert-manager-crds.yaml"),
    )?;
    module.build(title, flags(&[]), &["."], directory)
}

fn collect_stages(directory: &Path) -> Result<()> {
    let source = Module::new(CONTROL_PLANE).downloaded(KWOK_MODULE)?;
    let source = source.join("kustomize").join("stage");
    join_documents(&source, &STAGES, &directory.join("stages.yaml"))
}

/// Writes the YAML documents of these files into one.
fn join_documents(source: &Path, names: &[&str], target: &Path) -> Result<()> {
    let mut documents = Vec::new();
    for name in names {
        let path = source.join(name);
        documents.push(
            std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?,
        );
    }
    std::fs::write(target, documents.join("\n---\n"))
        .with_context(|| format!("failed to write {}", target.display()))
}
