//! The agent in a PID namespace of its own, as in a pod without hostPID, where PID 1 is not the host's init.

use std::process::Command;

/// An agent that is not refused waits for its API server for ever.
const PATIENCE_SECS: &str = "60";

/// With root, or in a user namespace of the test's own.
fn in_another_pid_namespace() -> Command {
    let mut command = Command::new("timeout");
    let _ = command.args([PATIENCE_SECS, "unshare", "--pid", "--fork", "--mount-proc"]);
    if !rustix::process::geteuid().is_root() {
        let _ = command.args(["--user", "--map-root-user"]);
    }
    command
}

#[test]
fn a_pid_1_that_is_not_the_hosts_init_gets_no_signal() {
    let host = tempfile::tempdir().unwrap();
    let kubeconfig = tempfile::NamedTempFile::new().unwrap();
    let text = r#"{"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "c", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}]}"#;
    std::fs::write(kubeconfig.path(), text).unwrap();
    // The agent is not PID 1 here: a shell is, as it may be in an image.
    let output = in_another_pid_namespace()
        .args(["/bin/sh", "-c", "\"$@\"; exit $?", "sh"])
        .arg(env!("CARGO_BIN_EXE_cordonhold-agent"))
        .args(["--node-id=n", "--metrics-port=0", "--reboot-method=signal"])
        .arg(format!("--host-root={}", host.path().display()))
        .arg(format!("--kubeconfig={}", kubeconfig.path().display()))
        .env_clear()
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    for part in [
        "PID 1 is not the host's init",
        "hostPID: true",
        "--reboot-method=command",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
}
