use super::*;
use crate::program::Contents;

fn options() -> Options {
    Options {
        arches: Vec::new(),
        programs: Vec::new(),
        repository: NO_REPOSITORY.to_owned(),
        is_twice: false,
    }
}

static IN_AN_ARCHIVE: Program = Program {
    name: "tool",
    package: "tool",
    profile: "release",
    image: None,
};
static IN_AN_IMAGE: Program = Program {
    name: "server",
    package: "server",
    profile: "release",
    image: Some(Contents {
        user: "0:0",
        also: &[],
    }),
};

#[test]
fn a_program_without_an_image_is_in_an_archive() {
    let directory = tempfile::tempdir().unwrap();
    for (program, name) in [
        (&IN_AN_ARCHIVE, format!("tool-v{VERSION}-linux-arm64.tar.gz")),
        (&IN_AN_IMAGE, "server-arm64.tar".to_owned()),
    ] {
        let made = results(
            program,
            Arch::Arm64,
            b"program",
            "{}".to_owned(),
            None,
            &options(),
        );
        let made = [made.unwrap()];
        assert_eq!(made[0].image.is_some(), program.image.is_some());
        store(&made, directory.path()).unwrap();
        for name in [name, file_name(program.name, Arch::Arm64, BILL)] {
            assert!(directory.path().join(&name).is_file(), "{name}");
        }
    }
}

/// People copy the examples of the page, and `cargo manifests` does not write them.
#[test]
fn the_page_names_the_images_of_this_version() {
    let page = include_str!("../../../../docs/install.md");
    let after = |mark: &str| -> Vec<String> {
        let is_version = |c: char| c.is_ascii_alphanumeric() || ".-+".contains(c);
        let found = page.split(mark).skip(1);
        let words = found.map(|rest| rest.split(|c| !is_version(c)).next());
        words.map(|word| word.unwrap_or_default().to_owned()).collect()
    };
    let mut named = after("newTag: ");
    for program in program::with_image() {
        named.extend(after(&format!("{NO_REPOSITORY}/{}:", program.name)));
    }
    assert_eq!(named, vec![VERSION; 4]);
}

#[test]
fn only_what_was_made_is_pushed() {
    let of = |arch| {
        let row = program::with_image().next().unwrap();
        results(row, arch, b"program", String::new(), None, &options()).unwrap()
    };
    let ready = ready(&[of(Arch::Amd64), of(Arch::Arm64)]);
    let counts: Vec<_> = ready
        .iter()
        .map(|ready| (ready.program.name, ready.images.len()))
        .collect();
    assert_eq!(counts, [("cordonhold-agent", 2), ("cordonhold-webhook", 0)]);
}
