use super::*;
use crate::image::{self, Image};
use crate::images::NO_REPOSITORY;
use crate::source::Commit;

/// What is in a folder: for each image the name of its file, its commit, and a change of its configuration.
struct Folder(tempfile::TempDir);

fn repository() -> Repository {
    "registry.example/team".parse().unwrap()
}

fn image(program: &str, arch: Arch, commit: Option<&str>) -> Image {
    let row = crate::program::PROGRAMS
        .iter()
        .find(|row| row.name == program)
        .unwrap();
    let commit = commit.map(|id| Commit {
        id: id.to_owned(),
        time: jiff::Timestamp::UNIX_EPOCH,
    });
    image::make(
        row.name,
        row.image.as_ref().unwrap(),
        arch,
        b"program",
        commit.as_ref(),
    )
    .unwrap()
}

impl Folder {
    /// Both programs for both CPUs, from one commit.
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for program in ["cordonhold-agent", "cordonhold-webhook"] {
            for arch in Arch::ALL {
                folder.put(program, arch, &image(program, arch, Some("one")));
            }
        }
        folder
    }

    fn put(&self, program: &str, arch: Arch, image: &Image) {
        let tar = image.to_tar(&name(NO_REPOSITORY, program)).unwrap();
        std::fs::write(self.0.path().join(file_name(program, arch, TAR)), tar).unwrap();
    }

    fn refused(&self, parts: &[&str]) {
        let line = read(self.0.path(), &repository()).unwrap_err().to_string();
        for part in parts {
            assert!(line.contains(part), "{part} is not in {line}");
        }
        assert_eq!(line.lines().count(), 1, "{line}");
    }
}

#[test]
fn images_of_one_commit_and_this_version_are_read() {
    let folder = Folder::new();
    let read = read(folder.0.path(), &repository()).unwrap();
    let counts: Vec<_> = read
        .iter()
        .map(|ready| (ready.program.name, ready.images.len()))
        .collect();
    assert_eq!(counts, [("cordonhold-agent", 2), ("cordonhold-webhook", 2)]);
}

#[test]
fn an_image_of_another_commit_or_of_none_is_refused() {
    for (program, arch) in [
        ("cordonhold-agent", Arch::Arm64),
        ("cordonhold-webhook", Arch::Amd64),
    ] {
        let file = file_name(program, arch, TAR);
        let folder = Folder::new();
        folder.put(program, arch, &image(program, arch, Some("two")));
        folder.refused(&[&file, "the commit one", "from two", "from one commit"]);
        folder.put(program, arch, &image(program, arch, None));
        folder.refused(&[&file, "does not say from which commit", "`cargo images --push`"]);
    }
}

#[test]
fn a_file_that_was_renamed_is_refused() {
    let folder = Folder::new();
    let (agent, webhook) = ("cordonhold-agent", "cordonhold-webhook");
    folder.put(agent, Arch::Arm64, &image(agent, Arch::Amd64, Some("one")));
    folder.refused(&["cordonhold-agent for amd64, not of cordonhold-agent for arm64"]);
    folder.put(agent, Arch::Arm64, &image(webhook, Arch::Arm64, Some("one")));
    folder.refused(&["cordonhold-webhook for arm64, not of cordonhold-agent for arm64"]);
}

#[test]
fn an_image_of_another_version_is_refused() {
    let origin = Origin {
        title: "cordonhold-agent".to_owned(),
        version: "0.0.9".to_owned(),
        revision: Some("one".to_owned()),
        architecture: "amd64".to_owned(),
    };
    let path = PathBuf::from("cordonhold-agent-amd64.tar");
    let refused = commit(path, origin, "cordonhold-agent", Arch::Amd64);
    let line = refused.unwrap_err().to_string();
    assert!(
        line.contains("amd64.tar is version 0.0.9") && line.contains("at the tag v0.0.9"),
        "{line}"
    );
}

#[test]
fn the_images_of_a_release_are_those_of_its_list() {
    let folder = Folder::new();
    let ready = read(folder.0.path(), &repository()).unwrap();
    let lines = ready.iter().map(|ready| {
        let image = name(&repository().to_string(), ready.program.name);
        format!("{}\n", line(&image, &ready.digest().unwrap()))
    });
    std::fs::write(folder.0.path().join(LIST), lines.collect::<String>()).unwrap();
    drop(read(folder.0.path(), &repository()).unwrap());
    let elsewhere = "registry.example/another".parse().unwrap();
    let line = read(folder.0.path(), &elsewhere).unwrap_err().to_string();
    assert!(
        line.contains("lists registry.example/team/") && line.contains("--repository"),
        "{line}"
    );
    // One CPU fewer is another digest.
    let tar = file_name("cordonhold-webhook", Arch::Arm64, TAR);
    std::fs::remove_file(folder.0.path().join(tar)).unwrap();
    folder.refused(&["images.txt lists", "would be pushed as", "`cargo release`"]);
}
