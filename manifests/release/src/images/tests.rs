use super::*;
use crate::program::Contents;

fn options() -> Options {
    Options {
        arches: Vec::new(),
        repository: NO_REPOSITORY.to_owned(),
        is_twice: false,
    }
}

static FILE_ALONE: Program = Program {
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
fn a_program_without_an_image_is_a_file_that_can_be_run() {
    let directory = tempfile::tempdir().unwrap();
    for (program, name, mode) in [
        (&FILE_ALONE, "tool-arm64", 0o755),
        (&IN_AN_IMAGE, "server-arm64.tar", 0o644),
    ] {
        let made = results(
            program,
            Arch::Arm64,
            b"program".to_vec(),
            "{}".to_owned(),
            None,
            &options(),
        );
        let made = [made.unwrap()];
        assert_eq!(made[0].image.is_some(), program.image.is_some());
        store(&made, directory.path()).unwrap();
        let kept = |name: &str| {
            let metadata = std::fs::metadata(directory.path().join(name)).unwrap();
            metadata.permissions().mode() & 0o777
        };
        assert_eq!(kept(name), mode, "{name}");
        assert_eq!(kept(&file_name(program.name, Arch::Arm64, BILL)), 0o644);
    }
}

/// People copy the examples of the page, and `cargo manifests` does not write them.
#[test]
fn the_page_names_the_images_of_this_version() {
    let page = include_str!("../../../README.md");
    let after = |mark: &str| -> Vec<String> {
        let is_version = |c: char| c.is_ascii_alphanumeric() || ".-+".contains(c);
        let found = page.split(mark).skip(1);
        let words = found.map(|rest| rest.split(|c| !is_version(c)).next());
        words.map(|word| word.unwrap_or_default().to_owned()).collect()
    };
    let mut named = after("newTag: ");
    for program in PROGRAMS.iter().filter(|program| program.image.is_some()) {
        named.extend(after(&format!("{NO_REPOSITORY}/{}:", program.name)));
    }
    assert_eq!(named, vec![VERSION; 4]);
}

#[test]
fn only_what_was_made_is_pushed() {
    let of = |arch| {
        let row = &PROGRAMS[0];
        results(row, arch, b"program".to_vec(), String::new(), None, &options()).unwrap()
    };
    let ready = ready(&[of(Arch::Amd64), of(Arch::Arm64)]);
    let counts: Vec<_> = ready
        .iter()
        .map(|ready| (ready.program.name, ready.images.len()))
        .collect();
    assert_eq!(counts, [(PROGRAMS[0].name, 2), (PROGRAMS[1].name, 0)]);
}
