//! Builds a program as it is shipped: linked statically, with no path of this machine in it, and whatever the caller's environment says.
//!
//! The C library is glibc, and new enough to resolve names without loading a library at run time, so a program runs on an empty root.
//! Not here: what is made of the program.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::linked::{Glibc, Linked, OLDEST_GLIBC};
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
    #[error(
        "{} is not glibc ({problem}), with which programs are built: install it, on Debian with `apt-get install {package}`", .path.display()
    )]
    NoGlibc {
        path: PathBuf,
        problem: String,
        package: String,
    },
    #[error(
        "{} is glibc {version}, with which a static program cannot resolve names on an empty root: build where glibc is {}.{} or newer, such as on Debian 12",
        .path.display(), OLDEST_GLIBC.0, OLDEST_GLIBC.1
    )]
    OldGlibc { path: PathBuf, version: String },
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
    /// What is linked beside the crates.
    pub linked: Linked,
}

/// The variables that change what is built, by their names or by what these begin with. Settings that a release needs are in the workspace.
const SETTINGS: [&str; 12] = [
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_INCREMENTAL",
    "CC",
    "AR",
    "CFLAGS",
    "CPPFLAGS",
    "LDFLAGS",
];
const SETTINGS_BEGIN: [&str; 14] = [
    "CARGO_PROFILE_",
    "CARGO_TARGET_",
    "CARGO_UNSTABLE_",
    // Not all of `CARGO_BUILD_`: how many jobs run at once changes nothing.
    "CARGO_BUILD_RUST",
    "CARGO_BUILD_TARGET",
    "AWS_LC_",
    "CC_",
    "AR_",
    "CFLAGS_",
    "HOST_",
    "TARGET_",
    // Where the C compiler looks for headers and libraries.
    "C_INCLUDE_PATH",
    "CPATH",
    "LIBRARY_PATH",
];

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
        let glibc = glibc(&libc, &package)?;
        let gcc = printed(&cc, &["-dumpfullversion"], fix)?;
        let target = arch.target();
        let rust = printed("rustc", &["--version"], rust_fix)?;
        let std = printed("rustc", &["--print=target-libdir", "--target", &target], rust_fix)?;
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
            linked: Linked {
                glibc,
                gcc,
                // `rustc 1.95.0 (hash date)`
                rust: rust.split(' ').nth(1).unwrap_or(&rust).to_owned(),
            },
        })
    }

    /// Builds a program of the workspace in `root` below `directory`, and gives its path.
    pub fn build(&self, program: &Program, root: &Path, directory: &Path) -> Result<PathBuf, CompileError> {
        let target = self.arch.target();
        let mut command = Command::new(&self.cargo);
        for name in std::env::vars_os()
            .map(|(name, _)| name)
            .filter(|name| is_setting(name))
        {
            let _ = command.env_remove(name);
        }
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
            .env("CARGO_ENCODED_RUSTFLAGS", rust_flags(root, directory))
            // Else a space in a path would end a flag.
            .env("CC_SHELL_ESCAPED_FLAGS", "1")
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
            fix: rust_fix(),
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

/// Whether a variable of this name changes what is built.
fn is_setting(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    SETTINGS.contains(&&*name) || SETTINGS_BEGIN.iter().any(|begin| name.starts_with(begin))
}

/// The C library in this file, if it is one to build with.
fn glibc(path: &Path, package: &str) -> Result<Glibc, CompileError> {
    let failed = |problem: String| CompileError::NoGlibc {
        path: path.to_owned(),
        problem,
        package: package.to_owned(),
    };
    let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let glibc =
        Glibc::read(&bytes).ok_or_else(|| failed("it does not say which version of it".to_owned()))?;
    if glibc.is_new_enough() {
        return Ok(glibc);
    }
    Err(CompileError::OldGlibc {
        path: path.to_owned(),
        version: glibc.version,
    })
}

fn rust_fix() -> String {
    "install Rust as README.md says".to_owned()
}

/// The places of sources, and the names by which a program calls them. Where several fit, both compilers take the last.
fn places(root: &Path, directory: &Path) -> Vec<(PathBuf, &'static str)> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let mut places = vec![(root.to_owned(), "/cordonhold")];
    places.extend(home.map(|home| (home, "/cargo")));
    // What build scripts write.
    places.push((directory.to_owned(), "/target"));
    places
}

/// The flags of the compiler, as `CARGO_ENCODED_RUSTFLAGS` separates them.
fn rust_flags(root: &Path, directory: &Path) -> OsString {
    let mut flags = OsString::from(FLAGS.join(SEPARATOR));
    for (place, name) in places(root, directory) {
        flags.push(SEPARATOR);
        flags.push("--remap-path-prefix=");
        flags.push(place);
        flags.push("=");
        flags.push(name);
    }
    flags
}

/// The same for the C compiler, which builds the TLS crypto library; each flag in quotes of the shell.
fn c_flags(root: &Path, directory: &Path) -> String {
    let flags = places(root, directory).into_iter().map(|(place, name)| {
        let flag = format!("-ffile-prefix-map={}={name}", place.display());
        format!("'{}'", flag.replace('\'', "'\\''"))
    });
    flags.collect::<Vec<_>>().join(" ")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_caller_has_set_for_other_builds_does_not_reach_a_release() {
        for name in [
            "RUSTFLAGS",
            "RUSTC_WRAPPER",
            "CARGO_PROFILE_RELEASE_LTO",
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            "CARGO_BUILD_RUSTFLAGS",
            "CFLAGS",
            "CFLAGS_aarch64-unknown-linux-gnu",
            "TARGET_CC",
            "AWS_LC_SYS_CFLAGS",
        ] {
            assert!(is_setting(OsStr::new(name)), "{name}");
        }
        for name in [
            "PATH",
            "CARGO",
            "CARGO_HOME",
            "CARGO_BUILD_JOBS",
            "RUSTUP_TOOLCHAIN",
            "HTTPS_PROXY",
        ] {
            assert!(!is_setting(OsStr::new(name)), "{name}");
        }
    }

    /// As a shell splits them, which the crate `cc` does too.
    #[test]
    fn the_flags_of_the_c_compiler_are_whole_whatever_is_in_a_path() {
        let flags = c_flags(Path::new("/home/you/my clones/it's"), Path::new("/build here"));
        let script = format!("printf '%s\\n' {flags}");
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(
            lines.first(),
            Some(&"-ffile-prefix-map=/home/you/my clones/it's=/cordonhold")
        );
        assert_eq!(lines.last(), Some(&"-ffile-prefix-map=/build here=/target"));
    }

    #[test]
    fn a_c_library_that_cannot_be_used_is_refused_with_the_fix() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("libc.a");
        for (text, part) in [
            (None, "build-essential"),
            (Some("musl"), "libc.a is not glibc"),
            (
                Some("GNU C Library (x) stable release version 2.33."),
                "is glibc 2.33, with which a static program cannot resolve names on an empty root: build where glibc is 2.34 or newer",
            ),
        ] {
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            let line = glibc(&path, "build-essential").unwrap_err().to_string();
            assert!(line.contains(part), "{line}");
        }
        std::fs::write(&path, "GNU C Library (x) stable release version 2.34.").unwrap();
        assert_eq!(glibc(&path, "").unwrap().version, "2.34");
    }
}
