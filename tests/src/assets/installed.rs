//! The programs of a control plane that somebody installed on this machine, by a package manager for example: they save the build.
//!
//! Only [`super::Assets::take_installed`] asks for them. Tests run on what is built from `control-plane/`, so that all run on the same.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::{Kubernetes, MULTI_CALL};

/// The oldest etcd that is taken: the minor before the one that is built.
const ETCD_MIN: (u32, u32) = (3, 6);
const KWOK: &str = "kwok";

/// What was found, and a line about it for people.
#[derive(Debug, Default)]
pub(super) struct Installed {
    pub(super) programs: BTreeMap<&'static str, PathBuf>,
    pub(super) said: Vec<String>,
}

/// Looks into the directories of `path`, which has the form of `PATH`.
///
/// etcd and Kubernetes are taken together or not at all, because one build makes all of them. KWOK is taken if it says a version like `kwok`.
pub(super) fn find(path: &OsStr, kubernetes: Kubernetes, kwok: &str) -> Installed {
    let mut installed = Installed::default();
    let found = MULTI_CALL.map(|name| Program::find(path, name));
    let refused: Vec<String> = found
        .iter()
        .zip(MULTI_CALL)
        .filter_map(|(program, name)| match program {
            None => Some(format!("no {name}")),
            Some(program) => program.refused(kubernetes),
        })
        .collect();
    if refused.is_empty() {
        installed.take(found.into_iter().flatten());
    } else if found.iter().flatten().any(|program| program.name != "kubectl") {
        installed.said.push(format!(
            "not using etcd and Kubernetes of PATH, which has {}",
            refused.join(", ")
        ));
    }
    let player = Program::find(path, KWOK).filter(|program| minor(&program.version) == minor(kwok));
    installed.take(player);
    installed
}

impl Installed {
    fn take(&mut self, programs: impl IntoIterator<Item = Program>) {
        for program in programs {
            let shown = program.path.display();
            self.said
                .push(format!("using {} {}, {shown}", program.name, program.version));
            drop(self.programs.insert(program.name, program.path));
        }
    }
}

/// A program, and the version that it says.
#[derive(Debug)]
struct Program {
    name: &'static str,
    path: PathBuf,
    version: String,
}

impl Program {
    fn find(path: &OsStr, name: &'static str) -> Option<Self> {
        let path = env::split_paths(path)
            .map(|directory| directory.join(name))
            .find(|path| path.is_file())?;
        let arguments: &[&str] = if name == "kubectl" {
            &["version", "--client"]
        } else {
            &["--version"]
        };
        let said = Command::new(&path)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .ok()?;
        let version = version(&String::from_utf8_lossy(&said.stdout))?;
        Some(Self { name, path, version })
    }

    /// Why it cannot run in place of what would be built.
    fn refused(&self, kubernetes: Kubernetes) -> Option<String> {
        let (name, version) = (self.name, &self.version);
        let is_good = if name == "etcd" {
            minor(version) >= Some(ETCD_MIN)
        } else {
            minor(version) == minor(kubernetes.minor())
        };
        (!is_good).then(|| format!("{name} {version}"))
    }
}

/// The first version in what a program says: `1.37.2` in `Kubernetes v1.37.2`, `3.6.4` in `etcd Version: 3.6.4`.
fn version(said: &str) -> Option<String> {
    let words = said.split_whitespace().map(|word| word.trim_start_matches('v'));
    words
        .into_iter()
        .find(|word| minor(word).is_some())
        .map(str::to_owned)
}

/// Major and minor of a version.
pub(super) fn minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version
        .trim_start_matches('v')
        .split('.')
        .map(|number| number.parse().ok());
    numbers.next().flatten().zip(numbers.next().flatten())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::{Installed, Kubernetes, find};

    const VERSIONS: [(&str, &str); 6] = [
        ("etcd", "etcd Version: 3.6.4\nGit SHA: 5400cdc"),
        ("kube-apiserver", "Kubernetes v1.37.0"),
        ("kube-controller-manager", "Kubernetes v1.37.0"),
        ("kube-scheduler", "Kubernetes v1.37.0"),
        ("kubectl", "Client Version: v1.37.1\nKustomize Version: v5.7.1"),
        ("kwok", "kwok version v0.8.1 go1.26.0 (linux/amd64)"),
    ];

    /// Installs programs that say these versions.
    fn install(directory: &Path, versions: &[(&str, &str)]) -> Installed {
        for (name, said) in versions {
            let path = directory.join(name);
            fs::write(&path, format!("#!/bin/sh\ncat <<'END'\n{said}\nEND\n")).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
        }
        find(directory.as_os_str(), Kubernetes::Newest, "v0.8.0")
    }

    #[test]
    fn what_a_package_manager_installed_is_used_and_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let installed = install(directory.path(), &VERSIONS);
        let names: Vec<&str> = installed.programs.keys().copied().collect();
        let mut all = VERSIONS.map(|(name, _)| name);
        all.sort_unstable();
        assert_eq!(names, all);
        let shown = directory.path().display();
        assert!(
            installed
                .said
                .contains(&format!("using etcd 3.6.4, {shown}/etcd"))
        );
        assert!(
            installed
                .said
                .contains(&format!("using kubectl 1.37.1, {shown}/kubectl"))
        );
    }

    #[test]
    fn another_release_of_kubernetes_or_an_old_etcd_is_not_used_and_it_says_why() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut versions = VERSIONS;
        versions[0].1 = "etcd Version: 3.4.23";
        versions[1].1 = "Kubernetes v1.36.4";
        let installed = install(directory.path(), &versions);
        assert_eq!(installed.programs.into_keys().collect::<Vec<_>>(), ["kwok"]);
        assert_eq!(
            installed.said[0],
            "not using etcd and Kubernetes of PATH, which has etcd 3.4.23, kube-apiserver 1.36.4"
        );
    }

    #[test]
    fn kubernetes_is_used_whole_or_not_at_all() {
        let directory = tempfile::tempdir().expect("a directory");
        let installed = install(directory.path(), &VERSIONS[..3]);
        assert!(installed.programs.is_empty());
        assert_eq!(
            installed.said,
            ["not using etcd and Kubernetes of PATH, which has no kube-scheduler, no kubectl"]
        );
    }

    #[test]
    fn kubectl_alone_is_no_control_plane_and_another_kwok_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let installed = install(directory.path(), &[VERSIONS[4], ("kwok", "kwok version v0.6.0")]);
        assert!(installed.programs.is_empty());
        assert!(installed.said.is_empty(), "{:?}", installed.said);
    }
}
