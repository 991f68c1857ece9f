//! The agent's own way into the host's mount namespace, tried on a namespace that the test makes. Nothing here needs an API server.

use std::process::{Command, Output};

/// Makes a mount namespace with a file system of its own, and runs the agent's helper with that namespace's path and the words `"$@"`.
/// The path is `{}` there. `$1` is a directory, `$2` the agent.
const SCRIPT: &str = r#"
directory=$1 agent=$2; shift 2
mkfifo "$directory/ready"
unshare --mount /bin/sh -c '
    mount -t tmpfs none "$1/host" && echo inside > "$1/host/where" && cp /bin/sh "$1/host/program"
    echo > "$1/ready"
    exec sleep 600
' sh "$directory" &
holder=$!
read -r _ < "$directory/ready"
"$agent" enter-host /proc/$holder/ns/mnt -- "$@"
code=$?
kill $holder
exit $code
"#;

/// The output of this command in the namespace, in which `{}` stands for the directory that only the namespace has something in.
/// As root, or in a user namespace of the test's own.
fn entered(words: &[&str]) -> Output {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let host = directory.path().join("host");
    std::fs::create_dir(&host).expect("a directory can be made");
    let host = host.display().to_string();
    let mut unshare = Command::new("unshare");
    let _ = unshare.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        let _ = unshare.args(["--user", "--map-root-user"]);
    }
    let output = unshare
        .args(["/bin/sh", "-c", SCRIPT, "sh"])
        .arg(directory.path())
        .arg(env!("CARGO_BIN_EXE_cordonhold-agent"))
        .args(words.iter().map(|word| word.replace("{}", &host)))
        .output()
        .expect("unshare can be started");
    // Outside of the namespace there is nothing.
    assert!(!directory.path().join("host/where").exists());
    output
}

/// Runs the agent with these words. It must end with this code, and one line that has these parts.
fn fails(code: i32, output: &Output, parts: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("cordonhold-agent: "), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part} is not in {said}");
    }
}

fn agent(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cordonhold-agent"))
        .args(words)
        .output()
        .expect("the agent can be started")
}

#[test]
fn a_command_runs_in_the_other_namespace_and_its_end_is_its_own() {
    let output = entered(&["cat", "{}/where"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.stdout.as_slice(), said.as_ref()), (&b"inside\n"[..], ""));
    assert!(output.status.success());
    // Its program is one of that namespace, and so are its root and its working directory.
    let output = entered(&["{}/program", "-c", "pwd; echo said >&2; exit 77"]);
    assert_eq!(output.stdout, b"/\n");
    assert_eq!(output.stderr, b"said\n");
    assert_eq!(output.status.code(), Some(77));
}

#[test]
fn a_command_that_cannot_be_run_ends_as_in_a_shell() {
    fails(
        127,
        &entered(&["/nowhere/systemctl", "reboot"]),
        &[
            "`/nowhere/systemctl`",
            "/ns/mnt",
            "No such file",
            "check that the host has this program",
        ],
    );
    fails(
        126,
        &entered(&["{}/where"]),
        &["/host/where`", "Permission denied"],
    );
}

#[test]
fn a_namespace_that_cannot_be_entered_is_named_with_the_fix() {
    fails(
        126,
        &agent(&["enter-host", "/nowhere/ns/mnt", "--", "true"]),
        &["/nowhere/ns/mnt", "No such file", "hostPID", "SYS_PTRACE"],
    );
    // A namespace of another kind is not entered by mistake.
    fails(
        126,
        &agent(&["enter-host", "/proc/self/ns/uts", "--", "true"]),
        &["/proc/self/ns/uts", "Invalid argument", "SYS_ADMIN"],
    );
}

#[test]
fn words_that_do_not_fit_are_not_taken_for_a_command() {
    for words in [
        &["enter-host"][..],
        &["enter-host", "/proc/self/ns/mnt"],
        &["enter-host", "/proc/self/ns/mnt", "--"],
        &["enter-host", "/proc/self/ns/mnt", "true", "true"],
        &["enter-host", "--help"],
    ] {
        fails(
            126,
            &agent(words),
            &["enter-host needs a namespace", "--host-exec"],
        );
    }
}

#[test]
fn help_does_not_list_it() {
    let output = agent(&["--help"]);
    let help = String::from_utf8(output.stdout).unwrap();
    let lines = help.lines().filter(|line| line.contains("enter-host"));
    assert!(
        lines.into_iter().all(|line| line.contains("[default: ")),
        "{help}"
    );
}
