//! What `install` prints, and what it refuses before it asks a cluster.
//!
//! Not here: whether that is what Helm renders, and applying it (the invariants of the crate `tests`).

use std::io::Read as _;

use serde_json::{Value, json};

use super::*;

/// Runs a command for which there is no cluster.
fn ran(line: &str) -> Result<String, String> {
    let args = Args::try_parse_from(shlex::split(line).unwrap()).unwrap();
    drop(output::PRINTED.take());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let connect = async || Err(Error::Usage("no cluster is to be asked".to_owned()));
    match runtime.block_on(carried_out(args.command, &args.common.namespace, connect)) {
        Ok(_) => Ok(output::PRINTED.take()),
        Err(error) => Err(complaint(&error)),
    }
}

#[test]
fn a_dry_run_at_the_client_prints_the_objects_and_asks_no_cluster() {
    let set = "--set webhook.mode=enforce --set images.webhook.repository=r.example/w -n elsewhere";
    let yaml = ran(&format!("x install --dry-run=client {set}")).unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&yaml).unwrap();
    let values =
        json!({ "webhook": { "mode": "enforce" }, "images": { "webhook": { "repository": "r.example/w" } } });
    assert_eq!(
        objects,
        cordonhold_manifests::install::objects(&values, "elsewhere").unwrap()
    );
    let list: Value =
        serde_json::from_str(&ran(&format!("x install --dry-run -o json {set}")).unwrap()).unwrap();
    assert_eq!(list["items"], Value::Array(objects));
}

#[test]
fn an_install_is_refused_with_what_is_missing() {
    for (line, says) in [
        ("x install --yes", "set images.webhook.repository"),
        (
            "x install --dry-run=client --set mode=mixed",
            "set kured.namespace and kured.name",
        ),
        (
            "x install --dry-run=client --set configuration.perid=1h",
            "has no flag perid",
        ),
        ("x install -o yaml", "--dry-run=client"),
        (
            "x install -f /no/such/file --dry-run=client",
            "failed to read /no/such/file",
        ),
        (
            "x install --dry-run=server --set images.webhook.repository=a --set images.agent.repository=b",
            "no cluster is to be asked",
        ),
    ] {
        let said = ran(line).unwrap_err();
        assert!(said.contains(says), "{line}: {said}");
    }
}

#[test]
fn a_file_that_is_too_long_is_refused_and_not_cut() {
    let read = |length| crate::install::bounded(std::io::repeat(b'#').take(length));
    assert_eq!(read(crate::install::FILE_MAX).unwrap().len(), 1_048_576);
    let said = read(crate::install::FILE_MAX + 1).unwrap_err().to_string();
    assert_eq!(said, "it has over 1048576 bytes");
}
