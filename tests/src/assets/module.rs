//! Our Go modules: what they are made of, and how Go is called in them.
//!
//! Not here: which programs are built from them, and where these are kept, see [`super`].

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use super::MULTI_CALL;
use super::installed::minor;
use super::progress::Progress;

/// Go's compiler collects no garbage below this size, which saves a fifth of its time.
const FAST: [(&str, &str); 2] = [("GOGC", "off"), ("GOMEMLIMIT", "2GiB")];
/// The linker would throw it away.
const NO_DWARF: &str = "-gcflags=all=-dwarf=false";

/// A Go module: the name of its directory, and of the files there that say what it requires.
#[derive(Debug, Clone, Copy)]
pub(super) struct Module {
    pub(super) folder: &'static str,
    pub(super) go_mod: &'static str,
    pub(super) go_sum: &'static str,
}

impl Module {
    pub(super) const fn new(folder: &'static str) -> Self {
        Self {
            folder,
            go_mod: "go.mod",
            go_sum: "go.sum",
        }
    }

    fn directory(self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(self.folder)
    }

    pub(super) fn read(self, name: &str) -> Result<String> {
        let path = self.directory().join(name);
        std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
    }

    /// The content of its files. A module that only names a program of another has no sources.
    pub(super) fn content(self) -> Result<Vec<u8>> {
        let mut names = vec![self.go_mod.to_owned(), self.go_sum.to_owned()];
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
    pub(super) fn requires(self, module: &str) -> Result<String> {
        let go_mod = self.read(self.go_mod)?;
        let version = go_mod.lines().find_map(|line| {
            let (name, rest) = line.trim_start().split_once(' ')?;
            (name == module).then(|| rest.split(' ').next().unwrap_or(rest).to_owned())
        });
        version.with_context(|| format!("{}/{} does not require {module}", self.folder, self.go_mod))
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

    pub(super) fn check_go(self) -> Result<()> {
        let go_mod = self.read(self.go_mod)?;
        let wanted = go_mod
            .lines()
            .find_map(|line| line.strip_prefix("go "))
            .with_context(|| format!("{}/{} names no Go version", self.folder, self.go_mod))?;
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
    pub(super) fn downloaded(self, other: &str) -> Result<PathBuf> {
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
    pub(super) fn build(
        self,
        title: String,
        flags: Vec<String>,
        packages: &[&str],
        directory: &Path,
    ) -> Result<()> {
        let mut progress = Progress::new(title);
        let missing = self.stale(&flags, packages, &mut progress)?;
        progress.expect(missing);
        let mut child = self
            .go()
            .envs(FAST)
            .args(["build", "-v", NO_DWARF, "-modfile", self.go_mod])
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

    /// How many packages are not built yet of those that these are built from. 0 if Go cannot say: then the build says why.
    fn stale(self, flags: &[String], packages: &[&str], progress: &mut Progress) -> Result<usize> {
        let mut child = self
            .go()
            .args(["list", "-deps", NO_DWARF, "-modfile", self.go_mod])
            .args(flags)
            .args(["-f", "{{if .Stale}}{{.ImportPath}}{{end}}"])
            .args(packages)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("failed to run go list")?;
        let (stdout, stderr) = child
            .stdout
            .take()
            .zip(child.stderr.take())
            .context("go list has no output")?;
        let listed = thread::spawn(|| io::read_to_string(stdout));
        // Whatever is missing is downloaded here.
        drop(progress.follow(stderr));
        let _ = child.wait().context("failed to wait for go list")?;
        let listed = listed.join().ok().and_then(Result::ok).unwrap_or_default();
        Ok(listed.lines().count())
    }
}

/// Major and minor version of a text like `go1.26.8` or `1.26.0`. What cannot be parsed (a development build) counts as newest.
fn version_of(text: &str) -> (u32, u32) {
    let text = text.trim_start_matches("go");
    let end = text.find(['-', ' ', 'r', 'b']).unwrap_or(text.len());
    minor(&text[..end]).unwrap_or((u32::MAX, 0))
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
