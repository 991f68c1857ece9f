//! The smallest privileges for each way to reboot the host, found by taking them away one at a time. The shipped program goes through
//! its whole cycle, up to the reboot, on a host that the test makes.
//!
//! `docs/rbac.md` has the table; a test compares the two.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::place::Place;

/// A way to reboot the host, with the least that it needs.
struct Way {
    /// How the table calls it.
    name: &'static str,
    /// The agent's words.
    words: &'static [&'static str],
    host: Host,
    capabilities: &'static [&'static str],
    /// What fails without each of these: a capability, or `root`.
    without: &'static [(&'static str, &'static str)],
}

/// How the agent reaches its host.
#[derive(Clone, Copy)]
enum Host {
    /// By `/proc/1`: the host is PID 1, which has a mount namespace of its own, as a pod with hostPID sees it.
    Entered,
    /// By directories of the host that are mounted into the pod, which has PIDs of its own. The host has a system bus with logind on it.
    Mounted,
}

/// Far above the agent's own bounds.
const PATIENCE: Duration = Duration::from_secs(60);
/// Each of these commands tells whether it runs on the host: only there is the file.
const ON_HOST: &str = "[ -e /run/reboot-required ]";

const WAYS: [Way; 3] = [
    Way {
        name: "`command`, and a sentinel command",
        words: &[
            "--host-exec=/proc/self/exe enter-host /proc/1/ns/mnt --",
            "--reboot-sentinel-command=/bin/sh -c '[ -e /run/reboot-required ]'",
        ],
        host: Host::Entered,
        capabilities: &["SYS_ADMIN", "SYS_CHROOT", "SYS_PTRACE"],
        without: &[
            ("SYS_ADMIN", "failed to enter the mount namespace /proc/1/ns/mnt"),
            ("SYS_CHROOT", "failed to enter the mount namespace /proc/1/ns/mnt"),
            ("SYS_PTRACE", "failed to open the host's root /proc/1/root"),
        ],
    },
    Way {
        name: "`command` by nsenter",
        words: &["--host-exec=/usr/bin/nsenter -m/proc/1/ns/mnt --"],
        host: Host::Entered,
        capabilities: &["SYS_ADMIN", "SYS_CHROOT", "SYS_PTRACE"],
        without: &[
            ("SYS_ADMIN", "reassociate to namespace"),
            ("SYS_CHROOT", "reassociate to namespace"),
            ("SYS_PTRACE", "failed to open the host's root /proc/1/root"),
        ],
    },
    Way {
        name: "`logind`",
        words: &[
            "--reboot-method=logind",
            "--shutdown-check-command=/bin/systemctl is-system-running",
        ],
        host: Host::Mounted,
        capabilities: &[],
        without: &[("root", "failed to open /run/cordonhold-agent.lock")],
    },
];

/// PID 1 of a namespace, with a `/run` of its own. In another mount namespace, where `/run` is empty, it starts the words `"$@"`.
const ENTERED: &str = r#"
mount -t tmpfs none /run && touch /run/reboot-required
unshare --mount /bin/sh -c 'mount -t tmpfs none /run && exec "$@"' sh "$@"
exit $?
"#;

/// Words before the agent that leave it these capabilities alone, as root or as nobody.
fn limited(host: Host, capabilities: &[&str], is_root: bool) -> Vec<String> {
    let mut words = vec![
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ];
    if !rustix::process::geteuid().is_root() {
        words.extend(["--user", "--map-root-user"]);
    }
    if let Host::Entered = host {
        words.extend(["/bin/sh", "-c", ENTERED, "sh"]);
    }
    words.push("setpriv");
    if !is_root {
        words.extend(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    let kept = capabilities
        .iter()
        .map(|name| format!("+{}", name.to_lowercase()));
    let set: Vec<String> = std::iter::once("-all".to_owned()).chain(kept).collect();
    words.extend([
        format!("--bounding-set={}", set.join(",")),
        "--inh-caps=-all".to_owned(),
    ]);
    words
}

/// Runs the agent until it has told the host to reboot, cannot ask the host, or ends. Gives the line that says so.
fn outcome(way: &Way, capabilities: &[&str], is_root: bool) -> String {
    let node = ("/api/v1/nodes/n", json!({"metadata": {"uid": "u"}}));
    let place = Place::new(&format!("http://{}", Cluster::start(vec![node], vec![])));
    let bus = Bus::start(&place);
    // Nobody, too, gets as far as the host's own permissions allow.
    let directory = place.root().parent().unwrap().to_owned();
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    let check = format!("--shutdown-check-command=/bin/sh -c '{ON_HOST} && echo running'");
    let reboot = format!("--reboot-command=/bin/sh -c '{ON_HOST}'");
    let mut words = vec!["--log-format=json"];
    if let Host::Entered = way.host {
        words.extend(["--host-root=/proc/1/root", &check, &reboot]);
    }
    words.extend(way.words);
    let agent = place.agent(&words, &[]);
    let before = limited(way.host, capabilities, is_root);
    let mut limited = Command::new(&before[0]);
    let _ = limited
        .args(&before[1..])
        .arg(agent.get_program())
        .args(agent.get_args())
        .env_clear()
        .envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut agent = limited.spawn().unwrap();
    let (tell, told) = channel();
    let (log, errors) = (agent.stdout.take().unwrap(), agent.stderr.take().unwrap());
    let tell_end = tell.clone();
    let readers = [
        std::thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                let event: Value = serde_json::from_str(&line).unwrap();
                if ["rebooting", "reboot_failed", "host_busy"]
                    .map(Value::from)
                    .contains(&event["event"])
                {
                    // The first is enough.
                    drop(tell.send(line));
                }
            }
        }),
        std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                drop(tell_end.send(line));
            }
        }),
    ];
    let line = told.recv_timeout(PATIENCE);
    agent.kill().unwrap();
    let _ = agent.wait().unwrap();
    for reader in readers {
        reader.join().unwrap();
    }
    drop(bus);
    line.unwrap_or_else(|_| panic!("{}: nothing was told", way.name))
}

/// The table's row.
fn row(way: &Way) -> String {
    let capabilities = match way.capabilities {
        [] => "none".to_owned(),
        names => names
            .iter()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", "),
    };
    format!("| {} | {capabilities} |", way.name)
}

#[test]
fn each_way_to_reboot_works_with_its_privileges_and_with_none_taken_away() {
    std::thread::scope(|scope| {
        for way in &WAYS {
            drop(scope.spawn(move || {
                let line = outcome(way, way.capabilities, true);
                assert!(line.contains("\"rebooting\""), "{}: {line}", way.name);
                for (taken, fails) in way.without {
                    let kept: Vec<&str> = way
                        .capabilities
                        .iter()
                        .copied()
                        .filter(|name| name != taken)
                        .collect();
                    let line = outcome(way, &kept, *taken != "root");
                    println!("{} without {taken}: {line}", way.name);
                    assert!(line.contains(fails), "{} without {taken}: {line}", way.name);
                }
            }));
        }
    });
}

#[test]
fn the_table_has_what_was_measured() {
    let page = include_str!("../../../docs/rbac.md");
    for way in &WAYS {
        assert!(page.contains(&row(way)), "{} is not in docs/rbac.md", row(way));
        let taken = way
            .without
            .iter()
            .map(|(taken, _)| *taken)
            .filter(|taken| *taken != "root");
        assert!(taken.eq(way.capabilities.iter().copied()), "{}", way.name);
    }
}

/// A signal to PID 1 is between two processes of root: the kernel asks for no capability (kill(2)).
#[test]
fn a_signal_to_init_needs_root_and_no_capability() {
    const INIT: &str = r#"
trap 'echo told; exit 0' 39
"$@" 2>&1 &
while :; do wait; sleep 0.05; kill -0 $! 2>/dev/null || exit 1; done
"#;
    let told = |kept: &[&str], is_root: bool| {
        let mut words = limited(Host::Mounted, kept, is_root);
        let at = words.iter().position(|word| word == "setpriv").unwrap();
        drop(words.splice(at..at, ["/bin/sh", "-c", INIT, "sh"].map(str::to_owned)));
        let output = Command::new(&words[0])
            .args(&words[1..])
            .args(["/bin/sh", "-c", "kill -39 1 && exec sleep 5"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(told(&[], true), "told\n");
    assert!(told(&[], false).contains("not permitted"));
}

/// The place's system bus, with logind and systemd on it.
struct Bus(Child);

impl Bus {
    fn start(place: &Place) -> Bus {
        let socket = place.root().join("run/dbus/system_bus_socket");
        std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let config = include_str!("../system-bus.conf").replace("SOCKET", socket.to_str().unwrap());
        place.write("bus.conf", &config);
        let mut daemon = Command::new("dbus-daemon")
            .arg(format!(
                "--config-file={}",
                place.root().join("bus.conf").display()
            ))
            .args(["--nofork", "--nopidfile", "--print-address"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("dbus-daemon is installed, as README.md says");
        let mut address = String::new();
        let _ = BufReader::new(daemon.stdout.take().unwrap())
            .read_line(&mut address)
            .unwrap();
        let (ready, is_ready) = channel();
        drop(std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let bus = |name: &'static str| {
                    let stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
                    zbus::connection::Builder::unix_stream(stream).name(name)
                };
                let login = bus("org.freedesktop.login1").serve_at("/org/freedesktop/login1", Login);
                let systemd = bus("org.freedesktop.systemd1").serve_at("/org/freedesktop/systemd1", Systemd);
                let services = (login.build().await.unwrap(), systemd.build().await.unwrap());
                ready.send(()).unwrap();
                services.0.closed().await;
            });
        }));
        is_ready.recv_timeout(PATIENCE).unwrap();
        Bus(daemon)
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        let _ = self.0.wait().unwrap();
    }
}

struct Login;
struct Systemd;

#[expect(clippy::unused_self, reason = "an object of the bus has methods")]
#[zbus::interface(name = "org.freedesktop.login1.Manager")]
impl Login {
    fn reboot_with_flags(&self, flags: u64) {
        assert_eq!(flags, 1);
    }

    fn list_inhibitors(&self) -> Vec<(String, String, String, String, u32, u32)> {
        Vec::new()
    }

    #[zbus(property)]
    fn preparing_for_shutdown(&self) -> bool {
        false
    }

    #[zbus(property)]
    fn scheduled_shutdown(&self) -> (String, u64) {
        (String::new(), 0)
    }
}

#[expect(clippy::unused_self, reason = "an object of the bus has methods")]
#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Systemd {
    #[zbus(property)]
    fn system_state(&self) -> String {
        "running".to_owned()
    }

    #[zbus(property)]
    fn soft_reboots_count(&self) -> u32 {
        0
    }
}
