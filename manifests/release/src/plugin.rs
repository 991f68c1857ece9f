//! The kubectl plugin as people get it: an archive for each CPU, and the manifest with which krew installs it.
//!
//! Not here: the manifest's text beside addresses and checksums (`kubectl/krew.yaml`), and the program.

use std::fmt;
use std::io;
use std::str::FromStr;

use http::Uri;

use crate::VERSION;
use crate::archive::{Archive, FILE, PROGRAM, gzip};
use crate::program::Arch;

/// The name of krew's manifest in a release.
pub const MANIFEST: &str = "krew.yaml";
/// The manifest as it is in the clone, which tests hold to krew's rules.
const TEMPLATE: &str = include_str!("../../../kubectl/krew.yaml");
/// What each platform's part begins with.
const PLATFORM: &str = "    - selector:\n";
/// What krew puts beside the program.
const LICENCE: &str = "LICENSE";

/// The folder on the web that has the files of a release: an address without a query, and without a `/` at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(String);

/// Why a text is no address.
#[derive(Debug, thiserror::Error)]
#[error("not an https address of a folder without a query, such as https://example.com/v0.1.0")]
pub struct NoAddress;

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let uri: Uri = text.parse().map_err(|_| NoAddress)?;
        // krew takes nothing else than https.
        let is_folder = uri.scheme_str() == Some("https") && uri.query().is_none() && !text.contains('#');
        if is_folder {
            Ok(Self(text.trim_end_matches('/').to_owned()))
        } else {
            Err(NoAddress)
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// An archive with the plugin for one CPU.
#[derive(Debug)]
pub struct Archived {
    /// The name of its file.
    pub name: String,
    /// `sha256:` and its checksum.
    pub sha256: String,
}

/// The name of the archive of a program.
pub fn archive_name(program: &str, arch: Arch) -> String {
    format!("{program}-v{VERSION}-linux-{}.tar.gz", arch.name())
}

/// The archive with a program and the licence.
pub fn archive(program: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.file(LICENCE, FILE, include_bytes!("../../../LICENSE"))?;
    archive.file(program, PROGRAM, bytes)?;
    gzip(&archive.finish()?)
}

/// krew's manifest for these archives, which are published in that folder. Platforms without an archive are left out; without a folder the
/// addresses go on leading nowhere.
pub fn manifest(archives: &[Archived], address: Option<&Address>) -> String {
    let mut parts = TEMPLATE.split(PLATFORM);
    // The lines before it say that the addresses and checksums are none.
    let head = parts.next().unwrap_or_default();
    let head = head.lines().skip_while(|line| line.starts_with('#'));
    let mut text = head.collect::<Vec<_>>().join("\n");
    text.push('\n');
    for part in parts {
        if let Some(archive) = archives.iter().find(|archive| part.contains(&archive.name)) {
            text.push_str(PLATFORM);
            text.extend(part.lines().map(|line| filled(line, archive, address)));
        }
    }
    text
}

/// A line of a platform's part, with the archive's address or checksum if it is the line for it.
fn filled(line: &str, archive: &Archived, address: Option<&Address>) -> String {
    let sum = archive.sha256.trim_start_matches("sha256:");
    match (line.trim_start(), address) {
        (field, Some(address)) if field.starts_with("uri: ") => {
            format!("      uri: {address}/{}\n", archive.name)
        }
        (field, _) if field.starts_with("sha256: ") => format!("      sha256: \"{sum}\"\n"),
        _ => format!("{line}\n"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    const NAME: &str = "kubectl-cordonhold";

    fn archived(arch: Arch, digit: &str) -> Archived {
        Archived {
            name: archive_name(NAME, arch),
            sha256: format!("sha256:{}", digit.repeat(64)),
        }
    }

    #[test]
    fn the_manifest_names_each_archive_with_its_checksum() {
        let archives = [archived(Arch::Amd64, "a"), archived(Arch::Arm64, "b")];
        let address: Address = "https://example.com/v1/".parse().unwrap();
        let text = manifest(&archives, Some(&address));
        for archive in &archives {
            let lines = format!(
                "      uri: https://example.com/v1/{}\n      sha256: \"{}\"\n",
                archive.name,
                archive.sha256.trim_start_matches("sha256:")
            );
            assert!(text.contains(&lines), "{text}");
        }
        assert!(
            text.starts_with("apiVersion: ") && text.ends_with("          to: .\n"),
            "{text}"
        );
        assert_eq!(text.matches(PLATFORM).count(), 2);
        // Nothing else is changed.
        let kept = |text: &str| -> Vec<String> {
            let is_kept = |line: &&str| {
                !["#", "      uri:", "      sha256:"]
                    .iter()
                    .any(|start| line.starts_with(start))
            };
            text.lines().filter(is_kept).map(str::to_owned).collect()
        };
        assert_eq!(kept(&text), kept(TEMPLATE));
    }

    #[test]
    fn a_platform_without_an_archive_is_left_out_of_the_manifest() {
        let text = manifest(&[archived(Arch::Arm64, "b")], None);
        assert!(text.contains("arch: arm64") && !text.contains("amd64"), "{text}");
        assert!(text.contains("https://repository-not-set.invalid/"), "{text}");
    }

    #[test]
    fn only_a_folder_on_the_web_is_an_address() {
        for bad in [
            "",
            "x",
            "http://example.com/v1",
            "https://example.com/?v=1",
            "https://example.com/#v1",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    /// As krew and people unpack it.
    #[test]
    fn tar_unpacks_the_archive_to_a_program_and_the_licence() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("plugin.tar.gz");
        std::fs::write(&path, archive(NAME, b"program").unwrap()).unwrap();
        let status = Command::new("tar")
            .args(["--extract", "--gzip", "--file"])
            .arg(&path)
            .arg("--directory")
            .arg(directory.path())
            .status();
        assert!(status.expect("tar can be run").success());
        let program = directory.path().join(NAME);
        let mode = std::fs::metadata(&program).unwrap().permissions().mode();
        assert_eq!(
            (std::fs::read(&program).unwrap(), mode & 0o777),
            (b"program".to_vec(), 0o755)
        );
        let licence = std::fs::read_to_string(directory.path().join(LICENCE)).unwrap();
        assert!(licence.contains("Apache License"), "{licence}");
    }
}
