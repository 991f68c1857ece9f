//! The form of `krew.yaml`, by krew's rules (kubernetes-sigs/krew: `internal/index/validation/validate.go`, `pkg/index/types.go`).
//!
//! Not here: addresses and checksums, which only a release has.

use std::collections::BTreeSet;

use serde_json::Value;

const MANIFEST: &str = include_str!("../../krew.yaml");

fn manifest() -> Value {
    serde_saphyr::from_str(MANIFEST).unwrap()
}

#[test]
fn the_krew_manifest_has_the_form_that_krew_demands() {
    let manifest = manifest();
    assert_eq!(
        manifest["apiVersion"],
        "krew.googlecontainertools.github.com/v1alpha2"
    );
    assert_eq!(manifest["kind"], "Plugin");
    // The plugin is found as kubectl-NAME, with - as _.
    assert_eq!(manifest["metadata"]["name"], "cordonhold");
    let spec = &manifest["spec"];
    assert_eq!(spec["version"], concat!("v", env!("CARGO_PKG_VERSION")));
    let short = spec["shortDescription"].as_str().unwrap();
    assert!(
        !short.is_empty() && short.chars().count() <= 50 && !short.ends_with('.'),
        "{short}"
    );
    assert!(spec["description"].as_str().is_some_and(|text| text.len() > 80));
    assert!(
        spec["homepage"]
            .as_str()
            .is_some_and(|text| text.starts_with("https://"))
    );
    let allowed = [
        "version",
        "homepage",
        "shortDescription",
        "description",
        "caveats",
        "platforms",
    ];
    let fields: Vec<&String> = spec.as_object().unwrap().keys().collect();
    assert!(
        fields.iter().all(|field| allowed.contains(&field.as_str())),
        "{fields:?}"
    );
}

#[test]
fn each_platform_is_there_once_with_an_archive_of_this_version() {
    let manifest = manifest();
    let version = manifest["spec"]["version"].as_str().unwrap();
    let mut platforms = BTreeSet::new();
    for platform in manifest["spec"]["platforms"].as_array().unwrap() {
        let labels = &platform["selector"]["matchLabels"];
        let (os, arch) = (labels["os"].as_str().unwrap(), labels["arch"].as_str().unwrap());
        assert!(os == "linux" && ["amd64", "arm64"].contains(&arch), "{os} {arch}");
        assert!(platforms.insert((os, arch)), "{os} {arch} is there twice");
        let uri = platform["uri"].as_str().unwrap();
        let name = format!("kubectl-cordonhold-{version}-{os}-{arch}.tar.gz");
        assert!(uri.starts_with("https://") && uri.ends_with(&name), "{uri}");
        let checksum = platform["sha256"].as_str().unwrap();
        assert!(
            checksum.len() == 64
                && checksum
                    .chars()
                    .all(|c| c.is_ascii_hexdigit() && !c.is_ascii_uppercase()),
            "{checksum}"
        );
        assert_eq!(platform["bin"], "kubectl-cordonhold");
        let files: Vec<&str> = platform["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| file["from"].as_str().unwrap())
            .collect();
        assert_eq!(files, ["kubectl-cordonhold", "LICENSE"]);
    }
    assert_eq!(platforms.len(), 2);
}
