use super::*;
use crate::program::{PROGRAMS, with_image};

/// Enough bytes that do not compress, so that a cut falls into the layer.
fn program() -> Vec<u8> {
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..20_000).map(|_| next()).collect()
}

fn made(at: usize) -> Image {
    let row = &PROGRAMS[at];
    make(
        row.name,
        row.image.as_ref().unwrap(),
        Arch::Amd64,
        &program(),
        None,
    )
    .unwrap()
}

const NAME: &str = "registry.example:5000/team/cordonhold-agent:0.1.0";

#[test]
fn an_image_that_is_made_twice_is_the_same_bit_for_bit() {
    let commit = Commit {
        id: "0e3b248".to_owned(),
        time: jiff::Timestamp::UNIX_EPOCH,
    };
    let row = &PROGRAMS[0];
    let twice = || {
        let contents = row.image.as_ref().unwrap();
        make(row.name, contents, Arch::Arm64, &program(), Some(&commit)).unwrap()
    };
    assert_eq!(twice().to_tar(NAME).unwrap(), twice().to_tar(NAME).unwrap());
    assert_eq!(twice().manifest.digest, twice().manifest.digest);
    // What it was made from is part of it.
    assert_ne!(twice().manifest.digest, made(0).manifest.digest);
}

#[test]
fn an_image_is_read_as_it_was_written() {
    for at in 0..with_image().count() {
        let image = made(at);
        assert_eq!(read::image(&image.to_tar(NAME).unwrap()).unwrap(), image);
    }
}

#[test]
fn the_configuration_says_who_starts_what() {
    for (at, user) in [(0, "0:0"), (1, "65532:65532")] {
        let image = made(at);
        let manifest: Manifest = serde_json::from_slice(&image.blobs[&image.manifest.digest]).unwrap();
        let configuration: serde_json::Value =
            serde_json::from_slice(&image.blobs[&manifest.config.digest]).unwrap();
        assert_eq!(configuration["config"]["User"], user);
        assert_eq!(
            configuration["config"]["Entrypoint"][0],
            format!("/usr/bin/{}", PROGRAMS[at].name)
        );
        assert_eq!(configuration["architecture"], "amd64");
    }
}

#[test]
fn the_layer_has_the_program_its_other_names_and_nothing_else() {
    let row = &PROGRAMS[0];
    let layer = layer(row.name, row.image.as_ref().unwrap(), b"program").unwrap();
    let mut read = tar::Archive::new(layer.as_slice());
    let entries = read.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let link = entry.link_name().unwrap().map(|to| to.display().to_string());
        (entry.path().unwrap().display().to_string(), link)
    });
    let entries: Vec<_> = entries.collect();
    let entry = |path: &str, link: Option<&str>| (path.to_owned(), link.map(str::to_owned));
    assert_eq!(
        entries,
        [
            entry("usr/", None),
            entry("usr/bin/", None),
            entry("usr/bin/cordonhold-agent", None),
            entry("usr/bin/kured", Some("cordonhold-agent")),
        ]
    );
}

#[test]
fn a_tar_that_is_cut_off_anywhere_is_refused_in_one_line() {
    let whole = made(0).to_tar(NAME).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.tar");
    // The last kilobyte of a tar is its end, without anything in it.
    for cut in (0..whole.len() - 2048).step_by(509) {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let line = read::file(&path).unwrap_err().to_string();
        assert!(
            line.contains("agent.tar is cut off")
                && line.contains("`cargo images`")
                && line.lines().count() == 1,
            "{cut}: {line}"
        );
    }
}

#[test]
fn bytes_that_were_changed_are_refused() {
    let whole = made(0).to_tar(NAME).unwrap();
    let at = whole.len() - 4096;
    let mut changed = whole.clone();
    changed[at] ^= 1;
    let problem = read::image(&changed).unwrap_err();
    assert!(
        problem.contains("has other bytes than its name says"),
        "{problem}"
    );
}

#[test]
fn an_index_is_the_same_whatever_the_order_of_its_images() {
    let row = &PROGRAMS[0];
    let of = |arch| make(row.name, row.image.as_ref().unwrap(), arch, &program(), None).unwrap();
    let (there, back) = (
        [Arch::Amd64, Arch::Arm64].map(of),
        [Arch::Arm64, Arch::Amd64].map(of),
    );
    assert_eq!(index(&there).unwrap(), index(&back).unwrap());
    assert_ne!(index(&there).unwrap(), index(&there[..1]).unwrap());
}
