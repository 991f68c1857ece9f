//! What the host shows, and what the agent says of it.

use std::os::unix::fs::symlink;

use serde_json::json;

use super::cluster::Cluster;
use super::place::{Parts, Place};

/// What is done to the host, the agent's words, the line's `event` and `reason`, and what it says.
type Row<'a> = (fn(&Place), &'a [&'a str], (&'a str, &'a str), Parts<'a>);

const BOOT_ID: &str = "proc/sys/kernel/random/boot_id";

fn nothing(_: &Place) {}

/// As an agent leaves it that told the host to reboot.
fn told(place: &Place) {
    let record = json!({"holder": "u/2026-01-01T00:00:00Z", "write": "w", "phase": "sealed"});
    let file = json!({"record": record, "writtenIn": "boot/37", "toldUntil": u64::MAX});
    place.write("run/cordonhold-agent.record", &file.to_string());
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn found_e8_whatever_of_the_host_makes_the_agent_wait_is_named_with_the_fix() {
    const ROOT: &str = "let --host-root be the root of a Linux host";
    const CHECK: &str = "needs a --shutdown-check-command of its own";
    let unknown = ("host_busy", "unknown");
    let table: [Row<'_>; 22] = [
        (
            nothing,
            &["--reboot-sentinel=/sentinel/reboot-required"],
            ("sentinel_unreachable", ""),
            [
                "/sentinel/reboot-required",
                "neither on the host nor mounted here",
                "--reboot-sentinel",
            ],
        ),
        (
            |place| symlink("loop", place.root().join("loop")).unwrap(),
            &["--reboot-sentinel=/loop/reboot-required"],
            ("sentinel_unreadable", ""),
            ["/loop", "symbolic links", ROOT],
        ),
        (
            nothing,
            &["--reboot-sentinel-command=/nowhere/needs-restarting -r"],
            ("sentinel_unreadable", ""),
            [
                "`/nowhere/needs-restarting -r`",
                "No such file",
                "check that its program is on the host",
            ],
        ),
        (
            nothing,
            &["--reboot-sentinel-command=/bin/sh -c 'echo odd >&2; kill -KILL $$'"],
            ("sentinel_unreadable", ""),
            ["gave no usable answer", "signal: 9", "odd"],
        ),
        (
            nothing,
            &["--host-exec=/nowhere/nsenter -m --"],
            unknown,
            [
                "`/nowhere/nsenter -m -- /bin/echo running`",
                "No such file",
                "--host-exec fits it",
            ],
        ),
        // Our own way, which is the agent's own program.
        (
            nothing,
            &["--host-exec=/proc/self/exe enter-host /nowhere/ns/mnt --"],
            unknown,
            [
                "`/proc/self/exe enter-host /nowhere/ns/mnt -- /bin/echo running`",
                "exit status: 126",
                "set hostPID",
            ],
        ),
        (
            nothing,
            &["--shutdown-check-command=/nowhere/systemctl is-system-running"],
            unknown,
            ["`/nowhere/systemctl is-system-running`", "No such file", CHECK],
        ),
        (
            nothing,
            &["--shutdown-check-command=/bin/echo offline"],
            unknown,
            ["`/bin/echo offline`", "printed \\\"offline\\\"", CHECK],
        ),
        (
            nothing,
            &["--shutdown-check-command=/bin/sleep 60"],
            unknown,
            ["`/bin/sleep 60`", "did not end within 5s", CHECK],
        ),
        (
            nothing,
            &[
                "--reboot-method=logind",
                "--shutdown-check-command=/bin/systemctl is-system-running",
            ],
            unknown,
            [
                "/run/dbus/system_bus_socket in the host's root",
                "No such file",
                "use --reboot-method=command",
            ],
        ),
        (
            nothing,
            &["--shutdown-check-command=/bin/echo stopping"],
            ("host_busy", "shutdown"),
            [
                "the host is going down",
                "as its init or logind says",
                "shutdown -c",
            ],
        ),
        (
            |place| std::fs::remove_file(place.root().join(BOOT_ID)).unwrap(),
            &[],
            unknown,
            ["/proc/sys/kernel/random/boot_id", "No such file", ROOT],
        ),
        (
            |place| place.write(BOOT_ID, ""),
            &[],
            unknown,
            ["/proc/sys/kernel/random/boot_id", "is empty", ROOT],
        ),
        (
            |place| place.write("proc/1/stat", "1 (init) S"),
            &[],
            unknown,
            ["/proc/1/stat", "does not say when PID 1 started", ROOT],
        ),
        (
            |place| place.write("run/cordonhold-agent.record", "x"),
            &[],
            unknown,
            [
                "/run/cordonhold-agent.record",
                "expected value",
                "remove it if no reboot is under way",
            ],
        ),
        (
            told,
            &[],
            ("host_told", ""),
            [
                "u/2026-01-01T00:00:00Z",
                "told the host to reboot",
                "look at the host",
            ],
        ),
        (
            |place| std::fs::create_dir(place.root().join("run/cordonhold-agent.record.new")).unwrap(),
            &[],
            ("refused", "stamp the wish"),
            [
                "failed to write /run/cordonhold-agent.record",
                "Is a directory",
                "whether the host's /run is full",
            ],
        ),
        (
            nothing,
            &["--reboot-command=/bin/false"],
            ("reboot_failed", ""),
            ["`/bin/false`", "exit status: 1", "--reboot-command"],
        ),
        (
            nothing,
            &["--reboot-command=/nowhere/reboot"],
            ("reboot_failed", ""),
            ["`/nowhere/reboot`", "No such file", "--reboot-command"],
        ),
        (
            nothing,
            &["--reboot-command=/bin/false"],
            ("still_sealed", ""),
            [
                "the host does not go down",
                "came to nothing twice",
                "look at the host, then cancel the hold",
            ],
        ),
        (
            nothing,
            &["--reboot-timeout=1s"],
            ("still_sealed", ""),
            [
                "the host does not go down",
                "came to nothing twice",
                "look at the host, then cancel the hold",
            ],
        ),
        (
            nothing,
            &["--metrics-port=1", "--metrics-host=192.0.2.1"],
            ("metrics_unserved", ""),
            ["192.0.2.1", "Cannot assign", "--metrics-host"],
        ),
    ];
    std::thread::scope(|scope| {
        for (change, words, line, parts) in table {
            drop(scope.spawn(move || {
                let node = ("/api/v1/nodes/n", json!({"metadata": {"uid": "u"}}));
                let place = Place::new(&format!("http://{}", Cluster::start(vec![node], vec![])));
                change(&place);
                place.waits_with(words, line, parts);
            }));
        }
    });
}

#[test]
fn found_e8_an_agent_that_waits_for_another_on_its_host_says_so() {
    let place = Place::new("http://127.0.0.1:1");
    place.write("run/cordonhold-agent.lock", "");
    let taken = std::fs::File::open(place.root().join("run/cordonhold-agent.lock")).unwrap();
    taken.try_lock().unwrap();
    place.waits_with(
        &[],
        ("host_taken", ""),
        ["another agent", "/run/cordonhold-agent.lock", "fuser"],
    );
}
