//! What a command that writes does if the cluster changes while it works.
//!
//! Not here: which writes there are (`shared/src/release`).

use cordonhold_shared::keys;
use http::Method;
use serde_json::{Value, json};

use super::*;
use server::Objects;

/// Runs a command on a cluster that changes before its requests: how it ends, and what it prints.
fn ran(line: &str, change: server::Change) -> (Ending, String) {
    let args = Args::try_parse_from(shlex::split(line).unwrap()).unwrap();
    drop(output::PRINTED.take());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let connect = async || Ok(server::changing(&args.common, change));
    let ending = runtime
        .block_on(carried_out(args.command, &args.common.namespace, connect))
        .unwrap();
    (ending, output::PRINTED.take())
}

/// The annotations of a node, if this is a read of it.
fn read_of<'a>(name: &str, request: (&Method, &str), objects: &'a mut Objects) -> Option<&'a mut Value> {
    let path = format!("/api/v1/nodes/{name}");
    let is_read = request == (&Method::GET, path.as_str());
    let node = objects.get_mut(&path).filter(|_| is_read)?;
    Some(&mut node["metadata"]["annotations"])
}

/// Whether the node has been read before.
fn is_again(objects: &mut Objects) -> bool {
    objects.insert("again".to_owned(), json!(true)).is_some()
}

#[test]
fn another_hold_than_the_one_that_was_asked_about_is_not_cancelled() {
    let line = "kubectl-cordonhold cancel worker-17 --reason pg";
    let (ending, told) = ran(line, |method, path, objects| {
        if read_of("worker-17", (method, path), objects).is_some() && is_again(objects) {
            let annotations = read_of("worker-17", (method, path), objects).unwrap();
            annotations[keys::HOLDER] = json!("uid-worker-17/2026-11-28T02:59:59.000000001Z");
        }
    });
    assert_eq!(ending, Ending::Trouble, "{told}");
    assert!(told.contains("node worker-17: that hold is over"), "{told}");
    assert!(!told.contains("cancelled the reboot"), "{told}");
}

#[test]
fn a_release_whose_agent_comes_back_stops_and_says_how_to_remove_the_cancel() {
    let line = "kubectl-cordonhold release worker-31 --yes";
    let (ending, told) = ran(line, |method, path, objects| {
        let annotations = read_of("worker-31", (method, path), objects);
        if let Some(annotations) = annotations.filter(|known| known[keys::CANCEL].is_string()) {
            annotations[keys::UNTIL] = json!("2026-11-28T03:10:00Z");
        }
    });
    assert_eq!(ending, Ending::Trouble, "{told}");
    assert!(told.contains("its agent is alive"), "{told}");
    let removes =
        "its cancel is written; to remove it → kubectl annotate node worker-31 cordonhold.dev/cancel-";
    assert!(told.contains(removes), "{told}");
}

#[test]
fn a_release_that_would_write_something_else_than_it_said_stops() {
    let line = "kubectl-cordonhold release worker-31 --yes";
    let (ending, told) = ran(line, |method, path, objects| {
        let annotations = read_of("worker-31", (method, path), objects);
        if let Some(annotations) = annotations.filter(|known| known[keys::CANCEL].is_string()) {
            annotations[keys::WAS_UNSCHEDULABLE] = json!("true");
        }
    });
    assert_eq!(ending, Ending::Trouble, "{told}");
    assert!(
        told.contains("node worker-31: it has changed since you were asked"),
        "{told}"
    );
    assert!(told.contains("its cancel is written"), "{told}");
}

#[test]
fn a_release_in_a_namespace_without_agents_is_refused() {
    let line = "kubectl-cordonhold release worker-31 --yes -n elsewhere";
    let (ending, told) = ran(line, |_, _, _| {});
    assert_eq!(ending, Ending::Trouble, "{told}");
    assert!(
        told.contains("whether its agent is there could not be seen"),
        "{told}"
    );
    let (ending, told) = ran(&format!("{line} --agent-is-gone"), |_, _, _| {});
    assert_eq!(ending, Ending::Fine, "{told}");
}
