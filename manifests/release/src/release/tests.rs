use std::collections::BTreeMap;
use std::io::Read as _;

use cordonhold_manifests::chart::File;

use super::*;

fn repository() -> Repository {
    "registry.example:5000/team".parse().unwrap()
}

fn pins() -> Vec<Pinned> {
    let of = |program: &'static str, digit: &str| Pinned {
        program,
        repository: repository().join(program).to_string(),
        digest: format!("sha256:{}", digit.repeat(64)),
    };
    vec![of("cordonhold-agent", "a"), of("cordonhold-webhook", "b")]
}

fn made() -> BTreeMap<String, Vec<u8>> {
    files(&pins(), &repository()).unwrap().into_iter().collect()
}

/// The objects of a release's file for a mode, as kind and name, and all of them as text.
fn installed(mode: &str) -> (Vec<String>, String) {
    let text = String::from_utf8(made()[&format!("install-{mode}.yaml")].clone()).unwrap();
    let file = File {
        name: mode.to_owned(),
        text: text.clone(),
    };
    let objects = file.objects().unwrap();
    let name = |object: &Value| {
        format!(
            "{} {}",
            object["kind"].as_str().unwrap(),
            object["metadata"]["name"].as_str().unwrap()
        )
    };
    (objects.iter().map(name).collect(), text)
}

#[test]
fn a_release_that_is_made_twice_is_the_same_bit_for_bit() {
    assert_eq!(made(), made());
}

#[test]
fn each_mode_installs_its_parts_and_names_the_images_by_their_digests() {
    let (agent, webhook) = ("DaemonSet cordonhold-agent", "Deployment cordonhold-webhook");
    for (mode, parts) in [
        ("agents", &[agent, webhook][..]),
        ("agents-only", &[agent]),
        ("mixed", &[agent, webhook]),
        ("protect-kured", &[webhook]),
    ] {
        let (objects, text) = installed(mode);
        // Before what is in it.
        assert_eq!(objects[0], "Namespace cordonhold", "{mode}");
        for part in [agent, webhook] {
            assert_eq!(
                objects.iter().any(|object| object == part),
                parts.contains(&part),
                "{mode}: {part}"
            );
        }
        assert!(!text.contains(images::NO_REPOSITORY), "{mode}");
        for image in text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("image: "))
        {
            let is_pinned = pins()
                .iter()
                .any(|pin| image.trim_matches('"') == format!("{}@{}", pin.repository, pin.digest));
            assert!(is_pinned, "{mode}: {image}");
        }
    }
}

/// A kustomization's objects are those of the same mode, so neither way to install lacks anything.
#[test]
fn the_agents_manifest_has_the_objects_of_the_base() {
    let base = cordonhold_manifests::generated().unwrap();
    let base = base
        .iter()
        .filter(|file| file.name.starts_with("base/") && !file.name.ends_with("kustomization.yaml"));
    let mut names = Vec::new();
    for file in base {
        for object in file.objects().unwrap() {
            names.push(format!(
                "{} {}",
                object["kind"].as_str().unwrap(),
                object["metadata"]["name"].as_str().unwrap()
            ));
        }
    }
    assert_eq!(installed("agents").0, names);
}

#[test]
fn the_chart_is_packed_with_the_repositories_and_without_its_tests() {
    let made = made();
    let packed = &made[&format!("cordonhold-{VERSION}.tgz")];
    let mut tar = Vec::new();
    let _ = flate2::read::GzDecoder::new(packed.as_slice())
        .read_to_end(&mut tar)
        .unwrap();
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut text = String::new();
        let _ = entry.read_to_string(&mut text).unwrap();
        drop(files.insert(path, text));
    }
    assert!(files["cordonhold/Chart.yaml"].contains(&format!("appVersion: \"{VERSION}\"")));
    assert!(
        files["cordonhold/values.yaml"].contains("repository: registry.example:5000/team/cordonhold-agent")
    );
    // Helm's schema has the defaults too.
    assert!(!files["cordonhold/values.schema.json"].contains(images::NO_REPOSITORY));
    assert!(files["cordonhold/templates/NOTES.txt"].contains(images::NO_REPOSITORY));
    assert!(files.keys().all(|path| !path.contains("/tests/")));
}

#[test]
fn the_checksums_are_those_that_sha256sum_and_openssl_check() {
    use std::process::Command;
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key.pem");
    let openssl = |words: &[&str]| {
        let status = Command::new("openssl")
            .args(words)
            .current_dir(directory.path())
            .status();
        status.expect("openssl can be run").success()
    };
    assert!(openssl(&["genpkey", "-algorithm", "ed25519", "-out", "key.pem"]));
    assert!(openssl(&[
        "pkey",
        "-in",
        "key.pem",
        "-pubout",
        "-out",
        "public.pem"
    ]));
    let options = Options {
        tag: String::new(),
        repository: repository(),
        out: directory.path().join("release"),
        arches: Vec::new(),
        key: None,
    };
    for (name, content) in files(&pins(), &repository()).unwrap() {
        images::store(&options.out.join(name), &content).unwrap();
    }
    let names = seal(&options, Some(&Key::read(&key).unwrap())).unwrap();
    assert_eq!(names.last().map(String::as_str), Some(SIGNATURE));
    let check = || {
        let status = Command::new("sha256sum")
            .args(["--check", "--strict", "--quiet", CHECKSUMS])
            .current_dir(&options.out)
            .status();
        status.expect("sha256sum can be run").success()
    };
    assert!(check());
    let verify = [
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        "public.pem",
        "-rawin",
        "-in",
        "release/SHA256SUMS",
        "-sigfile",
        "release/SHA256SUMS.sig",
    ];
    assert!(openssl(&verify));
    std::fs::write(options.out.join(IMAGES), "another").unwrap();
    assert!(!check());
}
