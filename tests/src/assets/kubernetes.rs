//! The releases of Kubernetes that a control plane can be built of, from `control-plane/`, and how one is chosen.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::module::Module;
use super::{CONTROL_PLANE, MULTI_CALL, given_directory};

/// The environment variable that chooses one by its minor version.
const VARIABLE: &str = "CORDONHOLD_KUBERNETES";

/// A release of Kubernetes that a control plane can be built of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kubernetes {
    /// The oldest that Cordonhold supports.
    Oldest,
    /// The one that everything is tested on.
    Newest,
}

impl Kubernetes {
    const ALL: [Self; 2] = [Self::Oldest, Self::Newest];

    /// The one that `CORDONHOLD_KUBERNETES` names, else the newest.
    pub fn chosen() -> Result<Self> {
        let Some(named) = named() else {
            return Ok(Self::Newest);
        };
        ensure!(
            given_directory().is_none(),
            "both {VARIABLE} and KUBEBUILDER_ASSETS say which Kubernetes to run; unset one of them"
        );
        let known = Self::ALL.iter().find(|known| *known.minor() == named);
        known.copied().with_context(|| {
            format!(
                "{VARIABLE} is {}; the control plane can be built as {}",
                named.display(),
                Self::ALL.map(Self::minor).join(" or ")
            )
        })
    }

    /// Whether somebody has chosen one.
    pub(super) fn is_named() -> bool {
        named().is_some()
    }

    /// The newest patch that the module proxy serves.
    pub(super) fn version(self) -> &'static str {
        match self {
            Self::Oldest => "v1.32.13",
            Self::Newest => "v1.37.2",
        }
    }

    /// Its minor version, such as `1.37`.
    pub fn minor(self) -> &'static str {
        let number = self.version().trim_start_matches('v');
        number.rsplit_once('.').map_or(number, |(minor, _)| minor)
    }

    /// What it is built from. Both have the same sources.
    pub(super) fn module(self) -> Module {
        match self {
            Self::Oldest => Module {
                folder: CONTROL_PLANE,
                go_mod: "oldest.mod",
                go_sum: "oldest.sum",
            },
            Self::Newest => Module::new(CONTROL_PLANE),
        }
    }

    pub(super) fn build_flags(self) -> Vec<String> {
        let package = "k8s.io/component-base/version";
        let (major, minor) = self.minor().split_once('.').unwrap_or_default();
        let version = self.version();
        let ldflags = format!(
            "-s -w -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor} \
             -X {package}.gitTreeState=clean"
        );
        vec![
            "-trimpath".to_owned(),
            "-buildvcs=false".to_owned(),
            "-ldflags".to_owned(),
            ldflags,
        ]
    }

    pub(super) fn build_programs(self, directory: &Path) -> Result<()> {
        let title = format!(
            "building etcd and Kubernetes {} from source, once (about 8 minutes on 2 cores)",
            self.version()
        );
        self.module()
            .build(title, self.build_flags(), &["."], directory)?;
        for name in MULTI_CALL {
            std::os::unix::fs::symlink("control-plane", directory.join(name))
                .with_context(|| format!("failed to link {name}"))?;
        }
        Ok(())
    }
}

fn named() -> Option<OsString> {
    std::env::var_os(VARIABLE).filter(|value| !value.is_empty())
}
