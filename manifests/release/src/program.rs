//! What is released: a row for each program. Images, bills of materials and the files of a release follow from it.
//!
//! Not here: how a program is built ([`crate::compile`]) and packed ([`crate::image`]).

use clap::ValueEnum;

/// A program of this workspace.
#[derive(Debug)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// The package of this workspace that has it.
    pub package: &'static str,
    /// The cargo profile that it is shipped in.
    pub profile: &'static str,
    /// The image that it is shipped in; without one it is shipped as an archive, see [`crate::plugin`].
    pub image: Option<Contents>,
}

/// What is in an image beside the program, and how it is started.
#[derive(Debug)]
pub struct Contents {
    /// User and group, as numbers, because the image has no `/etc/passwd`.
    pub user: &'static str,
    /// Other names of the program in its folder, see [`FOLDER`].
    pub also: &'static [&'static str],
}

/// The CPU that a program is built for. The names are those of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Arch {
    /// x86-64
    Amd64,
    /// 64-bit Arm
    Arm64,
}

/// The folder of an image that the program is in.
pub const FOLDER: &str = "usr/bin";

pub const PROGRAMS: [Program; 3] = [
    Program {
        name: "cordonhold-agent",
        package: "cordonhold-agent",
        profile: "agent",
        image: Some(Contents {
            // The agent enters the host's namespaces and writes its `/run`.
            user: "0:0",
            // What kured's manifest and chart start, so that they also start the agent.
            also: &["kured"],
        }),
    },
    Program {
        name: "cordonhold-webhook",
        package: "cordonhold-webhook",
        profile: "release",
        image: Some(Contents {
            user: "65532:65532",
            also: &[],
        }),
    },
    Program {
        name: "kubectl-cordonhold",
        package: "cordonhold-kubectl",
        profile: "release",
        image: None,
    },
];

/// The programs that are shipped in images.
pub fn with_image() -> impl Iterator<Item = &'static Program> {
    PROGRAMS.iter().filter(|program| program.image.is_some())
}

/// The name of a file for a program and a CPU.
pub fn file_name(program: &str, arch: Arch, ending: &str) -> String {
    format!("{program}-{}{ending}", arch.name())
}

impl Arch {
    pub const ALL: [Arch; 2] = [Arch::Amd64, Arch::Arm64];

    /// The CPU of this machine, if programs can be built for it.
    pub fn of_host() -> Option<Arch> {
        Arch::ALL
            .into_iter()
            .find(|arch| arch.rust_name() == std::env::consts::ARCH)
    }

    /// Its name in an image, as Go has it.
    pub fn name(self) -> &'static str {
        match self {
            Arch::Amd64 => "amd64",
            Arch::Arm64 => "arm64",
        }
    }

    /// Rust's name for it.
    pub fn rust_name(self) -> &'static str {
        match self {
            Arch::Amd64 => "x86_64",
            Arch::Arm64 => "aarch64",
        }
    }

    /// The target that programs are built for.
    pub fn target(self) -> String {
        format!("{}-unknown-linux-gnu", self.rust_name())
    }
}
