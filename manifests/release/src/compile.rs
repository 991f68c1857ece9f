//! Builds a program as it is shipped: linked statically, and with no path of this machine in it.
//!
//! The C library is glibc. Since 2.34 it resolves names without loading a library at run time, so a program runs on an empty root.
//! Not here: what is made of the program.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::program::{Arch, Program};

/// Why a program was not built.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum CompileError {
    #[error("{tool} cannot be run ({why}): {fix}")]
    NoTool { tool: String, why: String, fix: String },
    #[error(
        "Rust has no standard library for {target} here: run `rustup target add {target}`, or leave out --arch={arch}"
    )]
    NoStd { target: String, arch: &'static str },
    #[error(
        "there is no C library to link statically for {arch} (`{compiler} -print-file-name=libc.a` names none): install it, on Debian with `apt-get install {package}`"
    )]
    NoLibc {
        arch: &'static str,
        compiler: String,
        package: String,
    },
    #[error("failed to build {program} for {arch} ({status}): cargo says why above")]
    Cargo {
        program: &'static str,
        arch: &'static str,
        status: std::process::ExitStatus,
    },
}

/// What programs are built with.
#[derive(Debug)]
pub struct Compilers {
    /// The CPU that they build for.
    pub arch: Arch,
    cargo: OsString,
    /// The C compiler, which also links.
    cc: String,
    /// The C library that is linked.
    pub libc: PathBuf,
}

const SEPARATOR: &str = "\x1f";
/// What every program is built with.
const FLAGS: [&str; 4] = [
    "-Ctarget-feature=+crt-static",
    // The system call for random bits. A static program cannot look for the C library's function at run time, and would read /dev instead.
    "--cfg=getrandom_backend=\"linux_getrandom\"",
    // The linker's own id is a hash of paths too.
    "-Clink-arg=-Wl,--build-id=none",
    // A list of addresses that a program corrects at its start: some hundred kilobytes less.
    "-Clink-arg=-Wl,-z,pack-relative-relocs",
];

impl Compilers {
    /// Finds the compilers for a CPU.
    pub fn find(arch: Arch) -> Result<Self, CompileError> {
        let (cc, package) = if Arch::of_host() == Some(arch) {
            ("cc".to_owned(), "build-essential".to_owned())
        } else {
            let name = arch.rust_name();
            let debian = name.replace('_', "-");
            let package = format!("gcc-{debian}-linux-gnu libc6-dev-{}-cross", arch.name());
            (format!("{name}-linux-gnu-gcc"), package)
        };
        let fix = || {
            format!(
                "install it, on Debian with `apt-get install {package}`, or leave out --arch={}",
                arch.name()
            )
        };
        let libc = PathBuf::from(printed(&cc, &["-print-file-name=libc.a"], fix)?);
        if !libc.is_file() {
            return Err(CompileError::NoLibc {
                arch: arch.name(),
                compiler: cc,
                package,
            });
        }
        let target = arch.target();
        let fix = || "install Rust as README.md says".to_owned();
        let std = printed("rustc", &["--print=target-libdir", "--target", &target], fix)?;
        if !Path::new(&std).is_dir() {
            return Err(CompileError::NoStd {
                target,
                arch: arch.name(),
            });
        }
        Ok(Self {
            arch,
            cargo: std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
            cc,
            libc,
        })
    }

    /// Builds a program of the workspace in `root` below `directory`, and gives its path.
    pub fn build(&self, program: &Program, root: &Path, directory: &Path) -> Result<PathBuf, CompileError> {
        let target = self.arch.target();
        let mut command = Command::new(&self.cargo);
        let _ = command
            .current_dir(root)
            .args([
                "build",
                "--locked",
                "--package",
                program.package,
                "--bin",
                program.name,
            ])
            .args(["--profile", program.profile, "--target", &target])
            .arg("--target-dir")
            .arg(directory)
            .stdin(Stdio::null())
            .env("CARGO_ENCODED_RUSTFLAGS", rust_flags(root))
            .env(
                format!("CFLAGS_{}", target.replace('-', "_")),
                c_flags(root, directory),
            )
            .env(format!("CC_{}", target.replace('-', "_")), &self.cc)
            .env(
                format!("CARGO_TARGET_{}_LINKER", target.replace('-', "_").to_uppercase()),
                &self.cc,
            );
        let status = command.status().map_err(|error| CompileError::NoTool {
            tool: self.cargo.display().to_string(),
            why: error.to_string(),
            fix: "install Rust as README.md says".to_owned(),
        })?;
        if !status.success() {
            return Err(CompileError::Cargo {
                program: program.name,
                arch: self.arch.name(),
                status,
            });
        }
        Ok(directory.join(target).join(program.profile).join(program.name))
    }
}

/// The names by which a program calls the places of its sources, and these places.
fn places(root: &Path) -> Vec<(PathBuf, &'static str)> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let mut places = vec![(root.to_owned(), "/cordonhold")];
    places.extend(home.map(|home| (home, "/cargo")));
    places
}

/// The flags of the compiler, as `CARGO_ENCODED_RUSTFLAGS` separates them.
fn rust_flags(root: &Path) -> OsString {
    let mut flags = OsString::from(FLAGS.join(SEPARATOR));
    for (place, name) in places(root) {
        flags.push(SEPARATOR);
        flags.push("--remap-path-prefix=");
        flags.push(place);
        flags.push("=");
        flags.push(name);
    }
    flags
}

/// The same for the C compiler, which builds the TLS crypto library.
fn c_flags(root: &Path, directory: &Path) -> OsString {
    let mut flags = OsString::new();
    // The last that fits wins.
    for (place, name) in places(root)
        .into_iter()
        .chain([(directory.to_owned(), "/target")])
    {
        flags.push("-ffile-prefix-map=");
        flags.push(place);
        flags.push("=");
        flags.push(name);
        flags.push(" ");
    }
    flags
}

/// What a tool prints, without the line's end.
fn printed(tool: &str, words: &[&str], fix: impl Fn() -> String) -> Result<String, CompileError> {
    let failed = |why: String| CompileError::NoTool {
        tool: tool.to_owned(),
        why,
        fix: fix(),
    };
    let output = Command::new(tool)
        .args(words)
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}
