//! Finds the programs of a control plane in `KUBEBUILDER_ASSETS`; builds what is missing there from `control-plane/`, once, into a cache.
//! Prometheus, Alertmanager, cert-manager, a container registry, the clients that uncordon nodes, and what renders charts and kustomizations are found in the same
//! way, and built from `prometheus/`, `alertmanager/`, `cert-manager/`, `registry/`, `adversaries/` and `renderers/` when a test first asks for them.
//!
//! The key of a cache entry is a hash of what it is built from. An entry appears by a rename, so it is never half built.
//! Not here: cleaning up old entries; nothing does that.

mod progress;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use self::progress::Progress;
use crate::tree;

const KUBERNETES_VERSION: &str = "v1.37.2";
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
        Ok(Self {
            etcd: find(Entry::Programs, "etcd")?,
            kube_apiserver: find(Entry::Programs, "kube-apiserver")?,
            kube_controller_manager: find(Entry::Programs, "kube-controller-manager")?,
            kube_scheduler: find(Entry::Programs, "kube-scheduler")?,
            kubectl: find(Entry::Programs, "kubectl")?,
            kwok: find(Entry::Programs, "kwok")?,
            stages: find(Entry::Stages, "stages.yaml")?,
        })
    }
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
    let given = std::env::var_os("KUBEBUILDER_ASSETS")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from);
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

/// One kind of directory in the cache.
#[derive(Debug, Clone, Copy)]
enum Entry {
    Programs,
    /// KWOK's stages. A separate entry, because they need no compiling and a directory of ready programs often lacks them.
    Stages,
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
            Self::Programs => "programs",
            Self::Stages => "stages",
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
            Self::Programs | Self::Stages => Module(CONTROL_PLANE),
            Self::Prometheus => Module(PROMETHEUS),
            Self::Alertmanager => Module(ALERTMANAGER),
            Self::CertManager => Module(CERT_MANAGER),
            Self::Registry => Module(REGISTRY),
            Self::Adversaries => Module(ADVERSARIES),
            Self::Renderers => Module(RENDERERS),
        }
    }

    /// What makes its content, beside the files of its module.
    fn recipe(self) -> Vec<String> {
        match self {
            Self::Programs | Self::Stages => [build_flags(), STAGES.map(str::to_owned).to_vec()].concat(),
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
            Self::Programs | Self::Stages => Ok(KUBERNETES_VERSION.to_owned()),
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
        let root = cache_root()?;
        let key = format!(
            "{}-{:016x}-{}",
            self.version()?,
            self.content_hash()?,
            self.name()
        );
        let directory = root.join(&key);
        if directory.is_dir() {
            return Ok(directory);
        }
        std::fs::create_dir_all(&root).with_context(|| {
            format!(
                "failed to create {}; set XDG_CACHE_HOME to a directory that can be written",
                root.display()
            )
        })?;
        let lock_path = root.join(format!("{key}.lock"));
        let lock =
            File::create(&lock_path).with_context(|| format!("failed to create {}", lock_path.display()))?;
        lock.lock()
            .with_context(|| format!("failed to lock {}", lock_path.display()))?;
        // Another process may have filled it while we waited for the lock.
        if !directory.is_dir() {
            let unfinished = tempfile::Builder::new()
                .prefix(&format!("{key}."))
                .tempdir_in(&root)
                .with_context(|| format!("failed to create a directory in {}", root.display()))?;
            self.fill(unfinished.path())?;
            let finished = unfinished.keep();
            std::fs::rename(&finished, &directory).with_context(|| {
                format!(
                    "failed to rename {} to {}",
                    finished.display(),
                    directory.display()
                )
            })?;
        }
        Ok(directory)
    }

    /// The cache key, by FNV-1a: it must not change between compiler versions, and needs no protection against attackers.
    fn content_hash(self) -> Result<u64> {
        let mut content = self.recipe().concat().into_bytes();
        content.extend(self.module().content()?);
        Ok(content.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }

    fn fill(self, directory: &Path) -> Result<()> {
        self.module().check_go()?;
        match self {
            Self::Programs => build_programs(directory),
            Self::Stages => collect_stages(directory),
            Self::Prometheus => build_prometheus(directory),
            Self::Alertmanager => build_alertmanager(directory),
            Self::CertManager => build_cert_manager(directory),
            Self::Registry => build_registry(directory),
            Self::Adversaries => build_adversaries(directory),
            Self::Renderers => build_renderers(directory),
        }
    }
}

fn cache_root() -> Result<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let cache = absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set; set one to keep the built control plane")?;
    Ok(cache.join("cordonhold").join("control-plane"))
}

fn build_flags() -> Vec<String> {
    let package = "k8s.io/component-base/version";
    let number = KUBERNETES_VERSION.trim_start_matches('v');
    let (major, rest) = number.split_once('.').unwrap_or((number, "0"));
    let minor = rest.split('.').next().unwrap_or(rest);
    let ldflags = format!(
        "-s -w -X {package}.gitVersion={KUBERNETES_VERSION} -X {package}.gitMajor={major} -X {package}.gitMinor={minor} \
         -X {package}.gitTreeState=clean"
    );
    vec![
        "-trimpath".to_owned(),
        "-buildvcs=false".to_owned(),
        "-ldflags".to_owned(),
        ldflags,
    ]
}

/// The flags for a program of somebody else, with these in their midst.
fn flags(others: &[&str]) -> Vec<String> {
    let all = [&["-trimpath", "-buildvcs=false"], others, &["-ldflags", "-s -w"]].concat();
    all.into_iter().map(str::to_owned).collect()
}

/// The name of a directory with a Go module.
#[derive(Debug, Clone, Copy)]
struct Module(&'static str);

impl Module {
    fn directory(self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(self.0)
    }

    fn read(self, name: &str) -> Result<String> {
        let path = self.directory().join(name);
        std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
    }

    /// The content of its files. A module that only names a program of another has no sources.
    fn content(self) -> Result<Vec<u8>> {
        let mut names = vec!["go.mod".to_owned(), "go.sum".to_owned()];
        names.extend(self.sources()?);
        let contents = names
            .iter()
            .map(|name| self.read(name))
            .collect::<Result<Vec<_>>>()?;
        Ok(contents.concat().into_bytes())
    }

    /// The names of its Go files, in order.
    fn sources(self) -> Result<Vec<String>> {
        let what = || format!("failed to list {}", self.directory().display());
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.directory()).with_context(what)? {
            let name = entry
                .with_context(what)?
                .file_name()
                .to_string_lossy()
                .into_owned();
            if Path::new(&name)
                .extension()
                .is_some_and(|extension| extension == "go")
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// The version of another module that it requires.
    fn requires(self, module: &str) -> Result<String> {
        let go_mod = self.read("go.mod")?;
        let version = go_mod.lines().find_map(|line| {
            let (name, rest) = line.trim_start().split_once(' ')?;
            (name == module).then(|| rest.split(' ').next().unwrap_or(rest).to_owned())
        });
        version.with_context(|| format!("{}/go.mod does not require {module}", self.0))
    }

    fn go(self) -> Command {
        let mut command = Command::new("go");
        let _ = command
            .current_dir(self.directory())
            .env("CGO_ENABLED", "0")
            .env_remove("GOOS")
            .env_remove("GOARCH");
        command
    }

    fn check_go(self) -> Result<()> {
        let go_mod = self.read("go.mod")?;
        let wanted = go_mod
            .lines()
            .find_map(|line| line.strip_prefix("go "))
            .with_context(|| format!("{}/go.mod names no Go version", self.0))?;
        let advice = format!(
            "what the tests run is built with Go {wanted} or newer: install it from https://go.dev/dl/ and put its bin directory in PATH, \
             or point KUBEBUILDER_ASSETS at a directory with {}, kwok, stages.yaml (KWOK's stages), prometheus and alertmanager",
            MULTI_CALL.join(", ")
        );
        // Run inside the module: if Go may download a newer toolchain, it does so here; if not, it names its version.
        let output = match self.go().args(["env", "GOVERSION"]).output() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!("go is not installed; {advice}")
            }
            other => other.with_context(|| format!("failed to run go; {advice}"))?,
        };
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "go is too old ({}); {advice}",
            errors.trim()
        );
        let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        ensure!(
            version_of(&found) >= version_of(wanted),
            "go is too old (found {found}); {advice}"
        );
        Ok(())
    }

    /// The directory of another module that it requires, which is downloaded first if it has to be.
    fn downloaded(self, other: &str) -> Result<PathBuf> {
        let downloaded = self
            .go()
            .args(["mod", "download", other])
            .output()
            .context("failed to run go mod download")?;
        ensure!(
            downloaded.status.success(),
            "failed to download {other}: {}",
            String::from_utf8_lossy(&downloaded.stderr).trim()
        );
        let listed = self
            .go()
            .args(["list", "-m", "-f", "{{.Dir}}", other])
            .output()
            .context("failed to run go list")?;
        Ok(PathBuf::from(String::from_utf8_lossy(&listed.stdout).trim()))
    }

    /// Builds packages into a directory, and shows on standard error how far it is.
    fn build(self, title: String, flags: Vec<String>, packages: &[&str], directory: &Path) -> Result<()> {
        let mut progress = Progress::new(title);
        let mut child = self
            .go()
            .args(["build", "-v"])
            .args(flags)
            .arg("-o")
            .arg(directory)
            .args(packages)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("failed to run go build")?;
        let stderr = child.stderr.take().context("go build has no standard error")?;
        let said = progress.follow(stderr);
        let status = child.wait().context("failed to wait for go build")?;
        progress.end(if status.success() { "done" } else { "failed" });
        ensure!(
            status.success(),
            "failed to build {} ({status}); go needs the module proxy and about 4 GB of disk; it said:\n{}",
            packages.join(" and "),
            said.join("\n")
        );
        Ok(())
    }
}

/// Major and minor version of a text like `go1.26.8` or `1.26.0`. What cannot be parsed (a development build) counts as newest.
fn version_of(text: &str) -> (u32, u32) {
    let mut numbers = text
        .trim_start_matches("go")
        .split(['.', '-', ' ', 'r', 'b'])
        .map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => (u32::MAX, 0),
    }
}

fn build_programs(directory: &Path) -> Result<()> {
    let title = format!(
        "building etcd, Kubernetes {KUBERNETES_VERSION} and KWOK from source, once (about 10 minutes on 2 cores)"
    );
    Module(CONTROL_PLANE).build(title, build_flags(), &[".", KWOK_PACKAGE], directory)?;
    for name in MULTI_CALL {
        std::os::unix::fs::symlink("control-plane", directory.join(name))
            .with_context(|| format!("failed to link {name}"))?;
    }
    Ok(())
}

fn build_prometheus(directory: &Path) -> Result<()> {
    let title = format!(
        "building Prometheus {} from source, once (about 3 minutes on 2 cores)",
        Entry::Prometheus.version()?
    );
    Module(PROMETHEUS).build(title, flags(&PROMETHEUS_FLAGS), &PROMETHEUS_PACKAGES, directory)
}

/// Builds Alertmanager from a copy of its module, to which the page is added that it embeds and that its module lacks: Go takes a copy
/// only as a replacement in `go.mod`, and replaces no file below its own cache.
fn build_alertmanager(directory: &Path) -> Result<()> {
    let module = Module(ALERTMANAGER);
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
    let (go_mod, go_sum) = (module.read("go.mod")?, module.read("go.sum")?);
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
    Module(REGISTRY).build(title, flags(&[]), &["."], directory)
}

fn build_adversaries(directory: &Path) -> Result<()> {
    let title = "building the clients that uncordon nodes, once (about 5 minutes on 2 cores, 1 after the control plane)";
    Module(ADVERSARIES).build(title.to_owned(), flags(&[]), &["."], directory)
}

fn build_renderers(directory: &Path) -> Result<()> {
    let title = "building helm, helm-unittest and what renders as Flux and Argo CD do, once (about 3 minutes on 2 cores)";
    let [helm, unittest] = RENDERERS_PACKAGES;
    Module(RENDERERS).build(title.to_owned(), flags(&[]), &[".", helm, unittest], directory)
}

fn build_cert_manager(directory: &Path) -> Result<()> {
    let module = Module(CERT_MANAGER);
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
    let source = Module(CONTROL_PLANE).downloaded(KWOK_MODULE)?;
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

#[cfg(test)]
mod tests {
    use super::version_of;

    #[test]
    fn go_versions_compare_by_number() {
        assert!(version_of("go1.9.7") < version_of("1.26.0"));
        assert!(version_of("go1.26.8") >= version_of("1.26.0"));
        assert!(version_of("go1.27rc1") > version_of("1.26.0"));
        assert!(version_of("devel") > version_of("1.26.0"));
    }
}
