//! A real `dbus-daemon` is the host's system bus, and the test plays logind and systemd on it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use cordonhold_shared::host::RebootDeadline;
use cordonhold_shared::reboot::cycle::{RebootFailure, Shutdown};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::*;
use crate::host::tests::{Fixture, LONG, later, record, why};
use crate::host::{Host, HostConfig, Reboot, ShutdownCheck};

/// What logind and systemd have been asked, and what they say.
#[derive(Debug, Default)]
struct Said {
    /// The calls to reboot, in order.
    calls: Vec<String>,
    answer: Answer,
    inhibitors: Vec<Inhibitor>,
    preparing: bool,
    scheduled: (String, u64),
    /// systemd's state. If there is none, it says nothing at all.
    state: Option<&'static str>,
    /// Its count of soft reboots. If there is none, it does not know the property.
    soft_reboots: Option<u32>,
}

/// What a call to reboot is answered.
#[derive(Clone, Copy, Debug, Default)]
enum Answer {
    #[default]
    Taken,
    /// As a logind before version 247, which has `Reboot` alone.
    Older,
    Error(&'static str),
    /// Nothing, for ever.
    Silence,
    /// logind leaves the bus.
    Leaves,
    /// The bus ends.
    BusEnds,
}

#[derive(Clone, Default)]
struct Mock {
    said: Arc<Mutex<Said>>,
    told: Arc<Notify>,
    bus: Option<Pid>,
}

struct Login(Mock);
struct Systemd(Mock);

/// An error of this name.
#[derive(Debug)]
struct Named(&'static str);

impl zbus::DBusError for Named {
    fn create_reply(&self, call: &zbus::message::Header<'_>) -> zbus::Result<Message> {
        Message::error(call, self.name()).build(&("no",))
    }

    fn name(&self) -> zbus::names::ErrorName<'_> {
        self.0.try_into().unwrap()
    }

    fn description(&self) -> Option<&str> {
        Some("no")
    }
}

#[zbus::interface(name = "org.freedesktop.login1.Manager")]
impl Login {
    async fn reboot_with_flags(
        &self,
        #[zbus(connection)] connection: &Connection,
        flags: u64,
    ) -> Result<(), Named> {
        let answer = self.0.said.lock().unwrap().answer;
        if !matches!(answer, Answer::Older) {
            self.0.note(format!("RebootWithFlags({flags})"));
        }
        match answer {
            Answer::Taken => Ok(()),
            Answer::Older => Err(Named("org.freedesktop.DBus.Error.UnknownMethod")),
            Answer::Error(name) => Err(Named(name)),
            Answer::Silence => std::future::pending().await,
            Answer::Leaves => {
                connection.clone().close().await.unwrap();
                std::future::pending().await
            }
            Answer::BusEnds => {
                kill_process(self.0.bus.unwrap(), Signal::KILL).unwrap();
                std::future::pending().await
            }
        }
    }

    fn reboot(&self, interactive: bool) {
        self.0.note(format!("Reboot({interactive})"));
    }

    fn list_inhibitors(&self) -> Vec<Inhibitor> {
        self.0.said.lock().unwrap().inhibitors.clone()
    }

    #[zbus(property)]
    fn preparing_for_shutdown(&self) -> bool {
        self.0.said.lock().unwrap().preparing
    }

    #[zbus(property)]
    fn scheduled_shutdown(&self) -> (String, u64) {
        self.0.said.lock().unwrap().scheduled.clone()
    }
}

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Systemd {
    #[zbus(property)]
    async fn system_state(&self) -> String {
        let state = self.0.said.lock().unwrap().state;
        match state {
            Some(state) => state.to_owned(),
            None => std::future::pending().await,
        }
    }

    #[zbus(property)]
    fn soft_reboots_count(&self) -> fdo::Result<u32> {
        let count = self.0.said.lock().unwrap().soft_reboots;
        count.ok_or(fdo::Error::UnknownProperty("no such property".to_owned()))
    }
}

impl Mock {
    fn note(&self, call: String) {
        self.said.lock().unwrap().calls.push(call);
        self.told.notify_one();
    }
}

/// A host with a system bus.
pub(in crate::host) struct BusHost {
    pub(in crate::host) fixture: Fixture,
    daemon: Child,
    mock: Mock,
    /// Keep the services on the bus.
    services: Vec<Connection>,
}

/// Its `SOCKET` stands for the path.
const CONFIG: &str = include_str!("../../../tests/system-bus.conf");

impl BusHost {
    /// A host with a bus, and nobody on it. `run/dbus` is an absolute symlink, which leads somewhere inside the root.
    pub(in crate::host) fn new() -> BusHost {
        let fixture = Fixture::new();
        std::fs::create_dir(fixture.path("var/bus")).unwrap();
        std::os::unix::fs::symlink("/var/bus", fixture.path("run/dbus")).unwrap();
        let socket = fixture.path("var/bus/system_bus_socket");
        fixture.write("bus.conf", &CONFIG.replace("SOCKET", socket.to_str().unwrap()));
        let mut daemon = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", fixture.path("bus.conf").display()))
            .args(["--nofork", "--nopidfile", "--print-address"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("dbus-daemon is installed, as README.md says");
        let mut address = String::new();
        let mut printed = BufReader::new(daemon.stdout.take().unwrap());
        assert!(
            printed.read_line(&mut address).unwrap() > 0,
            "dbus-daemon has begun"
        );
        let bus = Pid::from_raw(daemon.id().try_into().unwrap());
        let mock = Mock {
            bus,
            ..Mock::default()
        };
        BusHost {
            fixture,
            daemon,
            mock,
            services: Vec::new(),
        }
    }

    /// A host with logind and systemd, which run.
    pub(in crate::host) async fn with_logind() -> BusHost {
        let host = BusHost::new().having_systemd().await.having_login().await;
        let mut said = host.mock.said.lock().unwrap();
        (said.state, said.soft_reboots) = (Some("running"), Some(0));
        drop(said);
        host
    }

    async fn having_login(mut self) -> BusHost {
        let login = self.service().serve_at(LOGIND.path, Login(self.mock.clone()));
        self.services.push(login.name(LOGIND.name).build().await.unwrap());
        self
    }

    async fn having_systemd(mut self) -> BusHost {
        let systemd = self.service().serve_at(SYSTEMD.path, Systemd(self.mock.clone()));
        self.services
            .push(systemd.name(SYSTEMD.name).build().await.unwrap());
        self
    }

    fn service(&self) -> Builder<'static> {
        let socket = self.fixture.path("var/bus/system_bus_socket");
        Builder::unix_stream(UnixStream::connect(socket).unwrap())
    }

    fn says(&self, change: impl FnOnce(&mut Said)) {
        change(&mut self.mock.said.lock().unwrap());
    }

    pub(in crate::host) fn calls(&self) -> Vec<String> {
        self.mock.said.lock().unwrap().calls.clone()
    }

    pub(in crate::host) fn config(&self, reboot: Reboot) -> HostConfig {
        HostConfig {
            reboot,
            shutdown_check: ShutdownCheck::Bus,
            ..self.fixture.config("true")
        }
    }

    async fn host(&self) -> Host {
        Host::take(self.config(Reboot::Logind)).await.unwrap()
    }

    async fn shutdown(&self) -> Shutdown {
        self.host().await.ask().await.shutdown
    }
}

impl Drop for BusHost {
    fn drop(&mut self) {
        // A test may have ended it already.
        drop(self.daemon.kill());
        let _ = self.daemon.wait().unwrap();
    }
}

async fn reboots(host: &Host) -> Result<(), RebootFailure> {
    host.reboot(&record("uid/then"), LONG, Some(later())).await
}

fn inhibitor(what: &str, who: &str, mode: &str) -> Inhibitor {
    let [what, who, why, mode] = [what, who, "it works", mode].map(str::to_owned);
    (what, who, why, mode, 0, 4711)
}

#[tokio::test]
async fn logind_is_told_once_and_before_the_deadline_only_and_after_the_record() {
    let bus = BusHost::with_logind().await;
    let host = bus.host().await;
    for over in [None, Some(Instant::now())] {
        let late = host.reboot(&record("uid/then"), LONG, over).await;
        assert_eq!(late, Err(RebootFailure::Expired));
        assert_eq!(host.ask().await.told, None);
    }
    assert_eq!(bus.calls(), [""; 0]);
    assert_eq!(reboots(&host).await, Ok(()));
    assert_eq!(bus.calls(), ["RebootWithFlags(1)"]);
    let state = host.ask().await;
    assert_eq!(
        (state.record, state.told),
        (Some(record("uid/then")), Some(RebootDeadline::Ahead))
    );
}

#[tokio::test]
async fn an_older_logind_is_told_by_its_only_method() {
    let bus = BusHost::with_logind().await;
    bus.says(|said| said.answer = Answer::Older);
    assert_eq!(reboots(&bus.host().await).await, Ok(()));
    assert_eq!(bus.calls(), ["Reboot(false)"]);
}

#[tokio::test]
async fn a_refusal_is_named_and_leaves_no_word() {
    let bus = BusHost::with_logind().await;
    let host = bus.host().await;
    for name in [
        "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
        "org.freedesktop.DBus.Error.AccessDenied",
        "org.freedesktop.login1.OperationInProgress",
        "org.freedesktop.login1.BlockedByInhibitorLock",
    ] {
        bus.says(|said| said.answer = Answer::Error(name));
        let refused = reboots(&host).await;
        assert!(
            matches!(&refused, Err(RebootFailure::Failed(said)) if said.contains(name) && said.contains("as root")),
            "{refused:?}"
        );
        assert_eq!(host.ask().await.told, None, "{name}");
    }
}

#[tokio::test]
async fn an_answer_that_does_not_tell_leaves_it_unclear() {
    for (answer, part) in [
        (Answer::Error("org.freedesktop.DBus.Error.NoReply"), "NoReply"),
        (Answer::Error("org.freedesktop.DBus.Error.Failed"), "Failed"),
        (Answer::Error("org.freedesktop.login1.Odd"), "login1.Odd"),
        // The bus says that logind has left without a reply.
        (Answer::Leaves, "NoReply"),
    ] {
        let bus = BusHost::with_logind().await;
        let host = bus.host().await;
        bus.says(|said| said.answer = answer);
        let unclear = reboots(&host).await;
        assert!(
            matches!(&unclear, Err(RebootFailure::Unclear(said)) if said.contains(part)),
            "{answer:?}: {unclear:?}"
        );
        assert_eq!(host.ask().await.told, Some(RebootDeadline::Ahead), "{answer:?}");
    }
}

#[tokio::test]
async fn a_bus_that_ends_in_the_middle_of_the_call_leaves_it_unclear() {
    let bus = BusHost::with_logind().await;
    let host = bus.host().await;
    // The record is written while there is somebody to ask for the boot.
    assert_eq!(host.ask().await.shutdown, Shutdown::No);
    bus.says(|said| said.answer = Answer::BusEnds);
    let unclear = reboots(&host).await;
    assert!(matches!(unclear, Err(RebootFailure::Unclear(_))), "{unclear:?}");
    let state = host.ask().await;
    assert_eq!(state.told, Some(RebootDeadline::Ahead));
    // A connection that the kernel has not ended yet fails a moment later than one to no socket.
    assert!(
        why(&state.shutdown).contains("the host's D-Bus system bus"),
        "{state:?}"
    );
}

#[tokio::test]
async fn a_logind_that_hangs_leaves_it_unclear() {
    let bus = BusHost::with_logind().await;
    let host = bus.host().await;
    bus.says(|said| said.answer = Answer::Silence);
    let unclear = tokio::join!(reboots(&host), async {
        bus.mock.told.notified().await;
        // From here on nobody says anything, so the clock may run to the bound.
        tokio::time::pause();
    });
    assert!(
        matches!(&unclear.0, Err(RebootFailure::Unclear(said)) if said.contains("none within 30s")),
        "{unclear:?}"
    );
}

#[tokio::test]
async fn a_program_that_blocks_a_shutdown_is_named_and_nobody_is_told() {
    let bus = BusHost::with_logind().await;
    let host = bus.host().await;
    bus.says(|said| {
        said.inhibitors = vec![
            inhibitor("shutdown:sleep", "kubelet", "delay"),
            inhibitor("sleep:idle", "player", "block"),
            inhibitor("shutdown", "gnome", "block-weak"),
            inhibitor("sleep:shutdown", "apt", "block"),
        ];
    });
    let holders = host.inhibitors().await.unwrap();
    assert_eq!(
        holders,
        BTreeSet::from(["apt: it works (process 4711)".to_owned()])
    );
    // Nothing was told, so it costs no attempt.
    assert_eq!(reboots(&host).await, Err(RebootFailure::Expired));
    assert_eq!((bus.calls().len(), host.ask().await.told), (0, None));
    bus.says(|said| drop(said.inhibitors.pop()));
    assert!(host.inhibitors().await.unwrap().is_empty());
    assert_eq!(reboots(&host).await, Ok(()));
}

#[tokio::test]
async fn a_logind_that_is_not_there_is_told_nothing() {
    let bus = BusHost::new().having_systemd().await;
    bus.says(|said| said.state = Some("running"));
    let host = bus.host().await;
    let absent = reboots(&host).await;
    assert!(
        matches!(&absent, Err(RebootFailure::Failed(said)) if said.contains("login1 is not on") && said.contains("--reboot-method=command")),
        "{absent:?}"
    );
    let asked = host.inhibitors().await.unwrap_err().to_string();
    assert!(asked.contains("login1 is not on"), "{asked}");
    // What is not there holds no shutdown back.
    let state = host.ask().await;
    assert_eq!((state.shutdown, state.told), (Shutdown::No, None));
}

#[tokio::test]
async fn what_systemd_and_logind_say_on_the_bus_of_a_shutdown_is_understood() {
    let bus = BusHost::with_logind().await;
    assert_eq!(bus.shutdown().await, Shutdown::No);
    for state in ["starting", "degraded", "maintenance"] {
        bus.says(|said| said.state = Some(state));
        assert_eq!(bus.shutdown().await, Shutdown::No, "{state}");
    }
    bus.says(|said| said.state = Some("stopping"));
    assert_eq!(bus.shutdown().await, Shutdown::UnderWay);
    bus.says(|said| said.state = Some("offline"));
    assert!(why(&bus.shutdown().await).contains("\"offline\""));

    bus.says(|said| (said.state, said.preparing) = (Some("running"), true));
    assert_eq!(bus.shutdown().await, Shutdown::UnderWay);
    bus.says(|said| (said.preparing, said.scheduled) = (false, ("reboot".to_owned(), 1)));
    assert_eq!(bus.shutdown().await, Shutdown::UnderWay);
    bus.says(|said| said.scheduled.1 = u64::MAX);
    assert_eq!(bus.shutdown().await, Shutdown::No);
}

#[tokio::test]
async fn soft_reboots_are_counted_on_the_bus_as_by_systemctl() {
    let bus = BusHost::with_logind().await;
    for (count, init) in [(Some(0), "12.0"), (Some(3), "12.3"), (None, "12.0")] {
        bus.says(|said| said.soft_reboots = count);
        let state = bus.host().await.ask().await;
        assert_eq!((state.boot.init.as_str(), state.shutdown), (init, Shutdown::No));
    }
}

#[tokio::test]
async fn whoever_does_not_answer_on_the_bus_may_be_going_down() {
    // No bus, no systemd on it, and a systemd that says nothing.
    let none = Fixture::new();
    let config = HostConfig {
        reboot: Reboot::Logind,
        shutdown_check: ShutdownCheck::Bus,
        ..none.config("true")
    };
    let state = Host::take(config).await.unwrap().ask().await;
    assert!(why(&state.shutdown).contains(SOCKET), "{state:?}");

    let without = BusHost::new().having_login().await;
    let shutdown = without.shutdown().await;
    assert!(
        why(&shutdown).contains("systemd1 is not on") && why(&shutdown).contains("--shutdown-check=command"),
        "{shutdown:?}"
    );

    let silent = BusHost::with_logind().await;
    silent.says(|said| said.state = None);
    let shutdown = silent.shutdown().await;
    assert!(why(&shutdown).contains("within 5s"), "{shutdown:?}");
}

#[tokio::test]
async fn a_bus_that_takes_nobody_is_not_waited_for() {
    let fixture = Fixture::new();
    std::fs::create_dir(fixture.path("run/dbus")).unwrap();
    // It takes the connection, and never says a word.
    let listener = std::os::unix::net::UnixListener::bind(fixture.path("run/dbus/system_bus_socket"));
    let config = HostConfig {
        reboot: Reboot::Logind,
        ..fixture.config("echo running")
    };
    let host = Host::take(config).await.unwrap();
    let failed = reboots(&host).await;
    assert!(
        matches!(&failed, Err(RebootFailure::Failed(said)) if said.contains("within 5s")),
        "{failed:?}"
    );
    assert_eq!(host.ask().await.told, None);
    drop(listener.unwrap());
}

/// Reboots this host as `--reboot-method=auto` does. Gives the outcome, and whether the command has run.
async fn automatic(fixture: &Fixture) -> (Result<(), RebootFailure>, bool) {
    let witness = fixture.path("witness");
    let touch = format!("touch {}", witness.display());
    let config = HostConfig {
        reboot: Reboot::Auto(["/bin/sh", "-c", &touch].map(str::to_owned).to_vec()),
        ..fixture.config("echo running")
    };
    let host = Host::take(config).await.unwrap();
    (reboots(&host).await, witness.exists())
}

#[tokio::test]
async fn automatically_logind_is_told_if_it_is_there_and_else_the_command_runs() {
    let bus = BusHost::with_logind().await;
    assert_eq!(automatic(&bus.fixture).await, (Ok(()), false));
    assert_eq!(bus.calls(), ["RebootWithFlags(1)"]);

    let nobody = BusHost::new();
    assert_eq!(automatic(&nobody.fixture).await, (Ok(()), true));
    let no_bus = Fixture::new();
    assert_eq!(automatic(&no_bus).await, (Ok(()), true));
    // A socket that nobody listens on any more.
    std::fs::create_dir(no_bus.path("run/dbus")).unwrap();
    std::fs::remove_file(no_bus.path("witness")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(
        no_bus.path("run/dbus/system_bus_socket"),
    ));
    assert_eq!(automatic(&no_bus).await, (Ok(()), true));
}

#[tokio::test]
async fn automatically_the_command_never_runs_where_logind_may_have_been_told_or_refuses() {
    for answer in [
        Answer::Error("org.freedesktop.DBus.Error.AccessDenied"),
        Answer::Error("org.freedesktop.login1.OperationInProgress"),
        Answer::Error("org.freedesktop.DBus.Error.NoReply"),
        Answer::Leaves,
        Answer::BusEnds,
    ] {
        let bus = BusHost::with_logind().await;
        bus.says(|said| said.answer = answer);
        let (outcome, has_run) = automatic(&bus.fixture).await;
        assert!(outcome.is_err() && !has_run, "{answer:?}: {outcome:?}");
    }
    let bus = BusHost::with_logind().await;
    bus.says(|said| said.inhibitors = vec![inhibitor("shutdown", "apt", "block")]);
    let (outcome, has_run) = automatic(&bus.fixture).await;
    assert!(outcome.is_err() && !has_run, "{outcome:?}");
}

#[tokio::test]
async fn automatically_a_logind_that_is_not_there_blocks_nothing() {
    let config = |fixture: &Fixture| HostConfig {
        reboot: Reboot::Auto(vec!["/bin/true".to_owned()]),
        ..fixture.config("echo running")
    };
    let no_bus = Fixture::new();
    let host = Host::take(config(&no_bus)).await.unwrap();
    assert!(host.inhibitors().await.unwrap().is_empty());
    let bus = BusHost::with_logind().await;
    bus.says(|said| said.inhibitors = vec![inhibitor("shutdown", "apt", "block")]);
    let host = Host::take(config(&bus.fixture)).await.unwrap();
    assert_eq!(host.inhibitors().await.unwrap().len(), 1);
}
