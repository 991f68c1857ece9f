//! A directory plays the host: paths stay inside it, and commands have a time limit.

use std::os::unix::fs::symlink;

use cordonhold_shared::hold::{Phase, Proof};
use cordonhold_shared::host::RebootDeadline;
use rustix::process::Pid;
use tokio::time::timeout;

use super::sentinel::Meaning;
use super::*;

pub(super) struct Fixture {
    directory: tempfile::TempDir,
}

const RECORD: &str = "run/cordonhold-agent.record";
/// Longer than any test.
pub(super) const LONG: Duration = Duration::from_hours(1);

impl Fixture {
    /// Makes a root like that of a real host, with `var/run` as an absolute symlink to `/run`.
    pub(super) fn new() -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        for path in ["run", "var", "bin", "proc/sys/kernel/random", "proc/1"] {
            std::fs::create_dir_all(directory.path().join(path)).unwrap();
        }
        symlink("/run", directory.path().join("var/run")).unwrap();
        let fixture = Fixture { directory };
        fixture.boot("boot-1", 12);
        fixture
    }

    /// Makes a root with scripts for systemd's programs. The texts are the lines of a `case`: for `systemctl` by its first argument, for
    /// `busctl` by the property.
    fn with_systemd(systemctl: &str, busctl: &str) -> Fixture {
        let fixture = Fixture::new();
        fixture.answers("bin/systemctl", "$1", systemctl);
        fixture.answers("bin/busctl", "$9", busctl);
        fixture
    }

    fn answers(&self, program: &str, asked: &str, cases: &str) {
        let otherwise = "*) echo not understood >&2; exit 9;;";
        let script = format!("case \"{asked}\" in\n{cases}\n{otherwise}\nesac\n");
        self.write(program, &script);
    }

    fn boot(&self, id: &str, ticks: u64) {
        self.write("proc/sys/kernel/random/boot_id", &format!("{id}\n"));
        let stat =
            format!("1 (a) init) S 0 1 1 0 -1 4194560 5 6 7 8 9 10 11 12 20 0 1 0 {ticks} 36278272 2407\n");
        self.write("proc/1/stat", &stat);
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        std::fs::write(self.path(path), text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap()
    }

    pub(super) fn config(&self, shell: &str) -> HostConfig {
        let words = ["/bin/sh", "-c", shell].map(str::to_owned).to_vec();
        HostConfig {
            root: self.directory.path().to_owned(),
            exec: Vec::new(),
            reboot: Reboot::Command(words.clone()),
            shutdown_check: ShutdownCheck::Command(words),
            shutdown_within: Duration::from_mins(30),
        }
    }

    async fn host(&self, shell: &str) -> Host {
        Host::take(self.config(shell)).await.unwrap()
    }

    /// Takes a host whose commands are the scripts that [`Fixture::with_systemd`] writes. `/bin/sh` reads them, because executing a
    /// file fails while another process still has it open for writing.
    async fn systemd_host(&self) -> Host {
        let systemctl = self.path("bin/systemctl").display().to_string();
        let mut config = self.config("");
        config.exec = vec!["/bin/sh".to_owned()];
        config.shutdown_check =
            ShutdownCheck::Command(vec![systemctl.clone(), "is-system-running".to_owned()]);
        config.reboot = Reboot::Command(vec![systemctl, "reboot".to_owned()]);
        Host::take(config).await.unwrap()
    }

    fn file(&self, path: &str) -> HostFile {
        serde_json::from_str(&self.read(path)).unwrap()
    }
}

pub(super) fn record(holder: &str) -> HostRecord {
    HostRecord {
        holder: holder.to_owned(),
        write: Proof::new(7),
        before: Some(Proof::new(6)),
        phase: Some(Phase::Sealed),
        was_unschedulable: Some(false),
        attempts: 1,
        boot: Some("boot-1/12".to_owned()),
        uncordon_wanted: None,
    }
}

fn file(path: &str) -> SentinelConfig {
    SentinelConfig::File(path.into())
}

pub(super) fn later() -> Instant {
    Instant::now() + LONG
}

pub(super) fn why(shutdown: &Shutdown) -> &str {
    match shutdown {
        Shutdown::Unknown(why) => why,
        known => panic!("{known:?}"),
    }
}

/// The answers of `systemctl` on a host that is up.
const RUNS: &str = "is-system-running) echo running;; show) echo SoftRebootsCount=0;; reboot) ;;";
/// The answers of `busctl` if logind neither delays a shutdown nor has scheduled one.
const NOTHING_HELD: &str =
    "PreparingForShutdown) echo 'v b false';; ScheduledShutdown) echo 'v (st) \"\" 0';;";

#[tokio::test]
async fn an_absolute_symlink_is_resolved_inside_the_root() {
    let fixture = Fixture::new();
    let host = fixture.host("true").await;
    let sentinel = host.sentinel(file("/var/run/reboot-required"), "n");
    assert!(!sentinel.is_asking().await.unwrap());
    fixture.write("run/reboot-required", "");
    assert!(sentinel.is_asking().await.unwrap());
}

#[tokio::test]
async fn no_path_leaves_the_root() {
    let fixture = Fixture::new();
    let outside = tempfile::NamedTempFile::new().unwrap();
    let up = format!("/../../../../../../../..{}", outside.path().display());
    symlink(&up, fixture.directory.path().join("run/up")).unwrap();
    symlink(outside.path(), fixture.directory.path().join("run/out")).unwrap();
    // The host has a directory of that name too, so the path is not looked up in the agent's own container.
    let directory = outside.path().parent().unwrap().strip_prefix("/").unwrap();
    std::fs::create_dir_all(fixture.directory.path().join(directory)).unwrap();
    let host = fixture.host("true").await;
    for path in [up.as_str(), "/run/up", "/run/out"] {
        assert!(
            !host.sentinel(file(path), "n").is_asking().await.unwrap(),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_directory_is_no_sentinel() {
    let fixture = Fixture::new();
    let sentinel = fixture.host("true").await.sentinel(file("/run"), "n");
    assert!(!sentinel.is_asking().await.unwrap());
}

#[tokio::test]
async fn what_the_host_says_of_a_shutdown_is_understood() {
    let fixture = Fixture::new();
    let cases = [
        ("echo running", Shutdown::No),
        ("echo degraded; exit 1", Shutdown::No),
        ("echo stopping; exit 1", Shutdown::UnderWay),
    ];
    for (shell, shutdown) in cases {
        let expected = HostState {
            boot: Boot {
                id: "boot-1".to_owned(),
                init: "12".to_owned(),
            },
            shutdown,
            record: None,
            told: None,
        };
        assert_eq!(fixture.host(shell).await.ask().await, expected, "{shell}");
    }
    for shell in ["echo unknown; exit 1", "echo offline; exit 1", "true"] {
        let state = fixture.host(shell).await.ask().await;
        assert!(why(&state.shutdown).contains(shell), "{state:?}");
    }
}

#[tokio::test]
async fn found_p1_a_host_that_does_not_say_which_boot_it_is_cannot_be_asked() {
    let cases = [
        ("proc/sys/kernel/random/boot_id", Some("\n")),
        ("proc/sys/kernel/random/boot_id", None),
        ("proc/1/stat", Some("\n")),
        ("proc/1/stat", Some("1 (init) S 0 1")),
        ("proc/1/stat", None),
    ];
    for (path, text) in cases {
        let fixture = Fixture::new();
        match text {
            Some(text) => fixture.write(path, text),
            None => std::fs::remove_file(fixture.path(path)).unwrap(),
        }
        let state = fixture.host("echo running").await.ask().await;
        assert!(why(&state.shutdown).contains(path), "{state:?}");
    }
}

#[tokio::test]
async fn found_p1_pid_1_that_started_anew_is_another_boot_under_the_same_boot_id() {
    let fixture = Fixture::new();
    let host = fixture.host("echo running").await;
    assert_eq!(
        host.reboot(&record("uid/then"), LONG, Some(later())).await,
        Ok(())
    );
    let before = host.ask().await;
    assert_eq!(before.told, Some(RebootDeadline::Ahead));

    fixture.boot("boot-1", 13);
    let state = host.ask().await;
    assert_eq!(state.boot.id, before.boot.id);
    assert!(state.boot.is_after(&before.boot.to_string()).is_some());
    assert_eq!(state.told, None);
    assert_eq!(state.record, Some(record("uid/then")));
}

#[tokio::test]
async fn found_p2_a_soft_reboot_is_another_boot_and_leaves_the_record_without_its_word() {
    let fixture = Fixture::with_systemd(RUNS, NOTHING_HELD);
    let host = fixture.systemd_host().await;
    assert_eq!(
        host.reboot(&record("uid/then"), LONG, Some(later())).await,
        Ok(())
    );
    let before = host.ask().await;
    assert_eq!(before.boot.init, "12.0");
    assert_eq!(before.told, Some(RebootDeadline::Ahead));
    drop(host);

    let counted = RUNS.replace("SoftRebootsCount=0", "SoftRebootsCount=1");
    fixture.answers("bin/systemctl", "$1", &counted);
    let state = fixture.systemd_host().await.ask().await;
    assert_eq!(state.boot.init, "12.1");
    assert!(state.boot.is_after(&before.boot.to_string()).is_some());
    assert_eq!(
        (state.shutdown, state.told, state.record),
        (Shutdown::No, None, Some(record("uid/then")))
    );
}

#[tokio::test]
async fn found_p2_a_systemd_that_counts_nothing_has_counted_none() {
    for answer in ["true", "echo SoftRebootsCount=", "echo '[no data]'"] {
        let systemctl = RUNS.replace("echo SoftRebootsCount=0", answer);
        let state = Fixture::with_systemd(&systemctl, NOTHING_HELD)
            .systemd_host()
            .await
            .ask()
            .await;
        assert_eq!(state.boot.init, "12.0", "{answer}");
        assert_eq!(state.shutdown, Shutdown::No, "{answer}");
    }
}

#[tokio::test]
async fn found_p2_a_count_that_cannot_be_had_never_looks_like_another_boot() {
    let fails = RUNS.replace("echo SoftRebootsCount=0", "echo no bus >&2; exit 4");
    let fixture = Fixture::with_systemd(&fails, NOTHING_HELD);
    let host = fixture.systemd_host().await;
    let state = host.ask().await;
    let said = why(&state.shutdown);
    assert!(
        said.contains("show --property=SoftRebootsCount") && said.contains("no bus") && said.contains('4'),
        "{said}"
    );
    let unwritten = host.write_record(&record("uid/then")).await;
    assert!(matches!(unwritten, Err(HostError::Command(_))), "{unwritten:?}");

    // A process asks until it gets the count, and never again.
    fixture.answers("bin/systemctl", "$1", &RUNS.replace("Count=0", "Count=3"));
    assert_eq!(host.ask().await.boot.init, "12.3");
    fixture.answers("bin/systemctl", "$1", &fails);
    let state = host.ask().await;
    assert_eq!((state.boot.init.as_str(), state.shutdown), ("12.3", Shutdown::No));
}

#[tokio::test]
async fn found_s3_a_shutdown_that_logind_holds_back_is_under_way() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let soon = (now + Duration::from_mins(29)).as_micros();
    let next_week = (now + Duration::from_hours(7 * 24)).as_micros();
    let cases = [
        (NOTHING_HELD.to_owned(), Shutdown::No),
        (NOTHING_HELD.replace("v b false", "v b true"), Shutdown::UnderWay),
        (
            NOTHING_HELD.replace("\"\" 0", &format!("\"reboot\" {soon}")),
            Shutdown::UnderWay,
        ),
        (
            NOTHING_HELD.replace("\"\" 0", &format!("\"reboot\" {next_week}")),
            Shutdown::No,
        ),
        // No logind or no D-Bus counts as no shutdown.
        (
            "*) echo 'Call failed: Name \"org.freedesktop.login1\" does not exist' >&2; exit 1;;".to_owned(),
            Shutdown::No,
        ),
    ];
    for (busctl, expected) in cases {
        let fixture = Fixture::with_systemd(RUNS, &busctl);
        let state = fixture.systemd_host().await.ask().await;
        assert_eq!(state.shutdown, expected, "{busctl}");
    }
    let garbled = Fixture::with_systemd(RUNS, &NOTHING_HELD.replace("v b false", "maybe"));
    let state = garbled.systemd_host().await.ask().await;
    assert!(why(&state.shutdown).contains("\"maybe\""), "{state:?}");
    // One answer that a shutdown is under way outweighs one that cannot be read.
    garbled.answers("bin/systemctl", "$1", &RUNS.replace("running;;", "stopping;;"));
    let state = garbled.systemd_host().await.ask().await;
    assert_eq!(state.shutdown, Shutdown::UnderWay);

    let without = Fixture::with_systemd(RUNS, NOTHING_HELD);
    std::fs::remove_file(without.path("bin/busctl")).unwrap();
    assert_eq!(without.systemd_host().await.ask().await.shutdown, Shutdown::No);
}

#[tokio::test]
async fn found_s3_a_logind_that_does_not_answer_in_time_is_unknown() {
    let busctl = NOTHING_HELD.replace("echo 'v b false'", "exec sleep 60");
    let fixture = Fixture::with_systemd(RUNS, &busctl);
    let state = fixture.systemd_host().await.ask().await;
    assert!(why(&state.shutdown).contains("PreparingForShutdown"), "{state:?}");
}

#[tokio::test]
async fn found_s3_the_word_of_a_reboot_counts_until_its_deadline_on_the_boot_clock() {
    let fixture = Fixture::new();
    let now = boot_clock().as_secs();
    let host = fixture.host("echo running").await;
    assert_eq!(host.ask().await.told, None);
    for holder in ["uid/first", "uid/second"] {
        assert_eq!(host.reboot(&record(holder), LONG, Some(later())).await, Ok(()));
        let state = host.ask().await;
        assert_eq!(
            (state.record, state.told),
            (Some(record(holder)), Some(RebootDeadline::Ahead))
        );
    }
    let mut file = fixture.file(RECORD);
    let until = file.told_until.unwrap();
    assert!((now + 3600..now + 3660).contains(&until), "{until} after {now}");

    file.told_until = Some(now);
    fixture.write(RECORD, &serde_json::to_string(&file).unwrap());
    let state = host.ask().await;
    assert_eq!(
        (state.record, state.told),
        (Some(record("uid/second")), Some(RebootDeadline::Passed))
    );
    fixture.boot("boot-2", 12);
    let state = host.ask().await;
    assert_eq!((state.record, state.told), (Some(record("uid/second")), None));
}

#[tokio::test]
async fn found_s3_a_command_that_was_seen_to_fail_leaves_no_word() {
    let fixture = Fixture::new();
    let cases = [
        ("exit 3", Some(later()), false, None),
        ("true", None, false, None),
        ("true", Some(later()), true, Some(RebootDeadline::Ahead)),
        // It may have been killed by the shutdown that it began.
        ("kill -TERM $$", Some(later()), false, Some(RebootDeadline::Ahead)),
    ];
    for (shell, deadline, is_accepted, told) in cases {
        let host = fixture.host(&format!("echo running; {shell}")).await;
        let outcome = host.reboot(&record("uid/then"), LONG, deadline).await;
        assert_eq!(outcome.is_ok(), is_accepted, "{shell} {deadline:?}");
        let state = host.ask().await;
        assert_eq!(state.told, told, "{shell} {deadline:?}");
        assert_eq!(state.record, Some(record("uid/then")), "{shell} {deadline:?}");
    }
    let mut config = fixture.config("echo running");
    config.reboot = Reboot::Command(vec!["/nowhere/reboot".to_owned()]);
    let host = Host::take(config).await.unwrap();
    assert!(
        host.reboot(&record("uid/then"), LONG, Some(later()))
            .await
            .is_err()
    );
    assert_eq!(host.ask().await.told, None);
}

#[tokio::test]
async fn found_s3_a_record_that_cannot_be_read_may_be_of_a_reboot() {
    let fixture = Fixture::new();
    let host = fixture.host("echo running").await;
    host.write_record(&record("uid/then")).await.unwrap();
    let whole = fixture.read(RECORD);
    for garbled in ["", "\n", "uid/then\nboot-1\n", "{}", &whole[..whole.len() / 2]] {
        fixture.write(RECORD, garbled);
        let state = host.ask().await;
        let said = why(&state.shutdown);
        assert!(
            said.contains("/run/cordonhold-agent.record") && said.contains("remove it"),
            "{said}"
        );
        assert_eq!((state.record, state.told), (None, None), "{garbled}");
    }
    std::fs::remove_file(fixture.path(RECORD)).unwrap();
    std::fs::create_dir(fixture.path(RECORD)).unwrap();
    assert!(why(&host.ask().await.shutdown).contains("remove it"));
}

#[tokio::test]
async fn the_record_is_replaced_in_one_step_and_inside_the_root() {
    let fixture = Fixture::new();
    std::fs::remove_dir_all(fixture.path("run")).unwrap();
    std::fs::create_dir(fixture.path("tmpfs")).unwrap();
    symlink("/tmpfs", fixture.path("run")).unwrap();
    let host = fixture.host("echo running").await;
    for holder in ["uid/first", "uid/second"] {
        host.write_record(&record(holder)).await.unwrap();
        // The link keeps the old file: a new record must not change it.
        let name = format!("tmpfs/{}", holder.replace('/', "-"));
        std::fs::hard_link(fixture.path("tmpfs/cordonhold-agent.record"), fixture.path(&name)).unwrap();
        let file = fixture.file("tmpfs/cordonhold-agent.record");
        assert_eq!(file.record, record(holder));
        assert_eq!((file.written_in.as_str(), file.told_until), ("boot-1/12", None));
    }
    assert_eq!(fixture.file("tmpfs/uid-first").record, record("uid/first"));
    let names = std::fs::read_dir(fixture.path("tmpfs")).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "cordonhold-agent.lock",
            "cordonhold-agent.record",
            "uid-first",
            "uid-second"
        ]
    );
    // If an agent ended while it wrote, the old record is still there.
    fixture.write("tmpfs/cordonhold-agent.record.new", "{\"rec");
    assert_eq!(host.ask().await.record, Some(record("uid/second")));
    host.write_record(&record("uid/third")).await.unwrap();
    assert_eq!(host.ask().await.record, Some(record("uid/third")));
}

#[tokio::test]
async fn found_p12_a_check_that_cannot_work_says_what_ran_how_it_ended_and_why() {
    for (printed, shown) in [("", "\"\""), ("echo unknown;", "\"unknown\"")] {
        let check = format!("{printed} echo failed to execute systemctl >&2; exit 127");
        let systemctl = RUNS.replace("echo running", &check);
        let fixture = Fixture::with_systemd(&systemctl, NOTHING_HELD);
        let state = fixture.systemd_host().await.ask().await;
        let said = why(&state.shutdown);
        for part in [
            "bin/systemctl is-system-running",
            "exit status: 127",
            shown,
            "failed to execute systemctl",
        ] {
            assert!(said.contains(part), "{part} in {said}");
        }
    }
}

#[tokio::test]
async fn a_second_agent_waits_for_the_first() {
    let fixture = Fixture::new();
    let first = fixture.host("true").await;
    let second = Host::take(fixture.config("true"));
    tokio::pin!(second);
    assert!(timeout(Duration::from_millis(50), &mut second).await.is_err());
    drop(first);
    drop(timeout(Duration::from_secs(5), second).await.unwrap().unwrap());
}

#[tokio::test]
async fn a_reboot_command_runs_before_its_deadline_only() {
    let fixture = Fixture::new();
    let witness = fixture.directory.path().join("witness");
    let host = fixture.host(&format!("touch {}", witness.display())).await;
    for over in [None, Some(Instant::now())] {
        assert_eq!(
            host.reboot(&record("uid/then"), LONG, over).await,
            Err(RebootFailure::Expired)
        );
        assert!(!witness.exists());
    }
    assert_eq!(
        host.reboot(&record("uid/then"), LONG, Some(later())).await,
        Ok(())
    );
    assert!(witness.exists());
}

/// A process that plays the host's init. On signal 39 it writes down whether the record has the word of a reboot by then: 1 or 0.
struct FakeInit(std::process::Child);

impl FakeInit {
    async fn start(fixture: &Fixture) -> FakeInit {
        let path = |name| fixture.path(name).display().to_string();
        let script = format!(
            "trap 'grep -c toldUntil {} > {}' 39; touch {}; while :; do sleep 0.02; done",
            path(RECORD),
            path("signalled"),
            path("up")
        );
        let child = std::process::Command::new("/bin/sh")
            .args(["-c", &script])
            .spawn()
            .unwrap();
        let init = FakeInit(child);
        until_exists(&fixture.path("up")).await;
        init
    }

    fn config(&self, fixture: &Fixture) -> HostConfig {
        let to = Pid::from_raw(self.0.id().try_into().unwrap()).unwrap();
        let signal = InitSignal::numbered(39).unwrap();
        HostConfig {
            reboot: Reboot::Signal(InitSignal { to, ..signal }),
            ..fixture.config("echo running")
        }
    }
}

impl Drop for FakeInit {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        let _ = self.0.wait().unwrap();
    }
}

async fn until_exists(path: &Path) {
    while !path.exists() {
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_reboot_signal_is_sent_before_its_deadline_only_and_after_the_record() {
    let fixture = Fixture::new();
    let init = FakeInit::start(&fixture).await;
    let host = Host::take(init.config(&fixture)).await.unwrap();
    for over in [None, Some(Instant::now())] {
        assert_eq!(
            host.reboot(&record("uid/then"), LONG, over).await,
            Err(RebootFailure::Expired)
        );
        assert_eq!(host.ask().await.told, None);
    }
    // A signal that was sent all the same would have come by the time of the next one.
    let signalled = fixture.path("signalled");
    assert!(!signalled.exists());
    assert_eq!(
        host.reboot(&record("uid/then"), LONG, Some(later())).await,
        Ok(())
    );
    until_exists(&signalled).await;
    while !fixture.read("signalled").ends_with('\n') {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(fixture.read("signalled"), "1\n");
    let state = host.ask().await;
    assert_eq!(
        (state.record, state.told),
        (Some(record("uid/then")), Some(RebootDeadline::Ahead))
    );
}

#[tokio::test]
async fn a_reboot_signal_that_cannot_be_sent_leaves_no_word() {
    let fixture = Fixture::new();
    let init = FakeInit::start(&fixture).await;
    let config = init.config(&fixture);
    drop(init);
    let host = Host::take(config).await.unwrap();
    let failed = host.reboot(&record("uid/then"), LONG, Some(later())).await;
    assert!(
        matches!(&failed, Err(RebootFailure::Failed(why)) if why.contains("signal 39") && why.contains("--reboot-method")),
        "{failed:?}"
    );
    let state = host.ask().await;
    assert_eq!((state.record, state.told), (Some(record("uid/then")), None));
}

#[tokio::test]
async fn a_reboot_command_that_fails_says_why() {
    let fixture = Fixture::new();
    let failed = fixture
        .host("echo no power >&2; exit 3")
        .await
        .reboot(&record("uid/then"), LONG, Some(later()))
        .await;
    assert!(
        matches!(&failed, Err(RebootFailure::Failed(why)) if why.contains("no power") && why.contains('3')),
        "{failed:?}"
    );
    let mut config = fixture.config("true");
    config.reboot = Reboot::Command(vec!["/nowhere/reboot".to_owned()]);
    let missing = Host::take(config)
        .await
        .unwrap()
        .reboot(&record("uid/then"), LONG, Some(later()))
        .await;
    assert!(
        matches!(&missing, Err(RebootFailure::Failed(why)) if why.contains("/nowhere/reboot")),
        "{missing:?}"
    );
}

#[tokio::test]
async fn without_word_on_the_host_there_is_no_reboot() {
    let fixture = Fixture::new();
    let witness = fixture.directory.path().join("witness");
    let host = fixture.host(&format!("touch {}", witness.display())).await;
    std::fs::create_dir(fixture.directory.path().join("run/cordonhold-agent.record")).unwrap();
    let failed = host.reboot(&record("uid/then"), LONG, Some(later())).await;
    assert!(
        matches!(&failed, Err(RebootFailure::Failed(why)) if why.contains("cordonhold-agent.record")),
        "{failed:?}"
    );
    assert!(!witness.exists());
}

#[tokio::test]
async fn a_root_that_is_not_there_is_named() {
    let mut config = Fixture::new().config("true");
    config.root = PathBuf::from("/nowhere/root");
    let error = Host::take(config).await.unwrap_err().to_string();
    assert!(
        error.contains("/nowhere/root") && error.contains("--host-root"),
        "{error}"
    );
}

#[tokio::test]
async fn a_sentinel_command_runs_as_the_other_commands_do() {
    let fixture = Fixture::new();
    let mut config = fixture.config("true");
    config.exec = vec!["/usr/bin/env".to_owned(), "ON_THE_HOST=1".to_owned()];
    let host = Host::take(config).await.unwrap();
    for (script, is_wanted) in [("[ $ON_THE_HOST = 1 ]", true), ("[ $ON_THE_HOST = 2 ]", false)] {
        let command = SentinelConfig::Command {
            words: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            meaning: Meaning::ZeroAsks,
        };
        let sentinel = host.sentinel(command, "n");
        assert_eq!(sentinel.look().await, Some(is_wanted), "{script}");
    }
}

/// kured's manifests mount the host's `/var/run` on `/sentinel`, and name `/sentinel/reboot-required`.
#[tokio::test]
async fn a_sentinel_that_is_mounted_into_the_container_is_seen_as_in_kured() {
    let fixture = Fixture::new();
    let host = fixture.host("true").await;
    let mounted = tempfile::tempdir().unwrap();
    let path = mounted.path().join("reboot-required").display().to_string();
    let sentinel = host.sentinel(file(&path), "n");
    assert_eq!(sentinel.unreachable().await, None);
    assert!(!sentinel.is_asking().await.unwrap());
    std::fs::write(&path, "").unwrap();
    assert!(sentinel.is_asking().await.unwrap());

    // If the host has the directory, the container's is ignored.
    let on_host = fixture
        .directory
        .path()
        .join(mounted.path().strip_prefix("/").unwrap());
    std::fs::create_dir_all(on_host).unwrap();
    assert!(!sentinel.is_asking().await.unwrap());

    let nowhere = host.sentinel(file("/nowhere/reboot-required"), "n");
    assert_eq!(
        nowhere.unreachable().await,
        Some(Path::new("/nowhere/reboot-required"))
    );
    assert!(!nowhere.is_asking().await.unwrap());
}

#[tokio::test]
async fn a_reboot_command_is_waited_for_though_its_caller_is_gone() {
    let fixture = Fixture::new();
    let path = |name: &str| fixture.directory.path().join(name);
    let script = format!(
        "touch {0}/begun; while [ ! -e {0}/go ]; do sleep 0.01; done; touch {0}/done",
        fixture.directory.path().display()
    );
    let host = fixture.host(&script).await;
    let begun = async {
        while !path("begun").exists() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let record = record("uid/created");
    tokio::select! {
        ended = host.reboot(&record, LONG, Some(later())) => panic!("{ended:?}"),
        () = begun => {}
    }
    assert_eq!(host.commands_running(), 1);
    fixture.write("go", "");
    host.commands_ended().await;
    assert!(path("done").exists());
    assert_eq!(host.commands_running(), 0);
}

/// busybox's init as PID 1 of a namespace, with this fixture as its root.
struct Busybox {
    unshare: std::process::Child,
    init: Pid,
}

/// The last line holds up the shutdown until somebody writes into `hold`.
const INITTAB: &str = "\
::sysinit:/bin/touch /run/up
::shutdown:/bin/touch /run/stopping
::shutdown:/bin/cat /hold
";

/// Words that make the next ones those of a root, in a user namespace of their own where the test has none.
fn as_root() -> Vec<&'static str> {
    if rustix::process::geteuid().is_root() {
        Vec::new()
    } else {
        vec!["unshare", "--user", "--map-root-user"]
    }
}

impl Busybox {
    async fn start(fixture: &Fixture) -> Busybox {
        let busybox = ["/bin/busybox", "/usr/bin/busybox"]
            .iter()
            .find(|path| Path::new(path).exists())
            .expect("busybox is installed, as README.md says");
        let _ = std::fs::copy(busybox, fixture.path("bin/busybox")).unwrap();
        for applet in ["init", "sh", "touch", "cat"] {
            symlink("busybox", fixture.path("bin").join(applet)).unwrap();
        }
        std::fs::create_dir(fixture.path("etc")).unwrap();
        fixture.write("etc/inittab", INITTAB);
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(
            rustix::fs::CWD,
            fixture.path("hold"),
            rustix::fs::FileType::Fifo,
            mode,
            0,
        )
        .unwrap();
        let mut words = as_root();
        words.extend(["unshare", "--pid", "--fork", "--kill-child", "chroot"]);
        let unshare = std::process::Command::new(words[0])
            .args(&words[1..])
            .arg(fixture.directory.path())
            .arg("/bin/init")
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        until_exists(&fixture.path("run/up")).await;
        let parent = unshare.id();
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
        let init = Pid::from_raw(children.trim().parse().unwrap()).unwrap();
        Busybox { unshare, init }
    }
}

impl Drop for Busybox {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.unshare.kill());
        let _ = self.unshare.wait().unwrap();
    }
}

#[tokio::test]
async fn a_busybox_init_is_rebooted_and_asked_as_the_manual_says() {
    let fixture = Fixture::new();
    let mut busybox = Busybox::start(&fixture).await;
    let flags = crate::manual::without_systemd().pop().unwrap();
    let line = ["cordonhold-agent", "--node-id=n"].map(str::to_owned);
    let line = line.into_iter().chain(flags).map(std::ffi::OsString::from);
    let crate::args::Parsed::Run(config) = crate::args::parse(line, |_| None).unwrap() else {
        panic!("no configuration")
    };
    let mut config = config.host;
    config.root = fixture.directory.path().to_owned();
    let root = config.root.to_str().unwrap();
    config.exec = [&as_root()[..], &["chroot", root]]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect();
    let Reboot::Signal(signal) = config.reboot else {
        panic!("{config:?}")
    };
    config.reboot = Reboot::Signal(InitSignal {
        to: busybox.init,
        ..signal
    });
    let host = Host::take(config).await.unwrap();
    assert_eq!(host.ask().await.shutdown, Shutdown::No);
    assert_eq!(
        host.reboot(&record("uid/then"), LONG, Some(later())).await,
        Ok(())
    );
    until_exists(&fixture.path("run/stopping")).await;
    assert_eq!(host.ask().await.shutdown, Shutdown::UnderWay);
    fixture.write("hold", "go\n");
    // reboot(2) ends the init of a PID namespace with SIGHUP if it is to restart, and with SIGINT if it is to halt.
    let ended = loop {
        match busybox.unshare.try_wait().unwrap() {
            Some(ended) => break ended,
            None => sleep(Duration::from_millis(10)).await,
        }
    };
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&ended),
        Some(1),
        "{ended}"
    );
}
