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
    let files = files(&pins(), &repository()).unwrap();
    files.into_iter().map(|file| (file.name, file.content)).collect()
}

/// The objects of a release's file for a mode, and all of them as text.
fn installed(mode: &str) -> (Vec<Value>, String) {
    let text = String::from_utf8(made()[&format!("install-{mode}.yaml")].clone()).unwrap();
    let file = File {
        name: mode.to_owned(),
        text: text.clone(),
    };
    (file.objects().unwrap(), text)
}

/// An object as kind and name.
fn called(object: &Value) -> String {
    let words = [&object["kind"], &object["metadata"]["name"]];
    words.map(|word| word.as_str().unwrap()).join(" ")
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
        assert_eq!(called(&objects[0]), "Namespace cordonhold", "{mode}");
        for part in [agent, webhook] {
            assert_eq!(
                objects.iter().any(|object| called(object) == part),
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

/// The rows of each mode are compared with kustomize's own rendering in `tests/tests/invariants/chart.rs`; here, that nothing is lost on the
/// way into one file.
#[test]
fn the_file_of_a_mode_has_each_object_of_the_mode_unchanged() {
    for mode in &MODES {
        let mut with = (mode.values)();
        with["images"] = image_values(&pins());
        let values = kustomize::values(with).unwrap();
        let mut expected = Vec::new();
        for file in chart::render(&values, &kustomize::release()).unwrap() {
            expected.extend(file.objects().unwrap());
        }
        assert!(expected.len() > 10, "{}", mode.name);
        assert_eq!(installed(mode.name).0, expected, "{}", mode.name);
    }
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
    let out = directory.path().join("release");
    let mut all = files(&pins(), &repository()).unwrap();
    seal(&mut all, Some(&Key::read(&key).unwrap()));
    for file in &all {
        file.store(&out).unwrap();
    }
    assert_eq!(all.last().map(|file| file.name.as_str()), Some(SIGNATURE));
    let check = || {
        let status = Command::new("sha256sum")
            .args(["--check", "--strict", "--quiet", CHECKSUMS])
            .current_dir(&out)
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
    std::fs::write(out.join(LIST), "another").unwrap();
    assert!(!check());
}
