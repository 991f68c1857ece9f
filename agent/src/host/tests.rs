//! The host as a directory: paths stay inside it, commands are bounded.

use std::os::unix::fs::symlink;

use super::*;

struct Fixture {
    directory: tempfile::TempDir,
}

impl Fixture {
    /// A root as a host has it: `var/run` is an absolute symlink to `/run`.
    fn new() -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        for path in ["run", "var", "proc/sys/kernel/random"] {
            std::fs::create_dir_all(directory.path().join(path)).unwrap();
        }
        symlink("/run", directory.path().join("var/run")).unwrap();
        let fixture = Fixture { directory };
        fixture.write("proc/sys/kernel/random/boot_id", "boot-1\n");
        fixture
    }

    fn write(&self, path: &str, text: &str) {
        std::fs::write(self.directory.path().join(path), text).unwrap();
    }

    fn config(&self, shell: &str) -> HostConfig {
        let words = ["/bin/sh", "-c", shell].map(str::to_owned).to_vec();
        HostConfig {
            root: self.directory.path().to_owned(),
            exec: Vec::new(),
            reboot: words.clone(),
            shutdown_check: words,
        }
    }

    async fn host(&self, shell: &str) -> Host {
        Host::take(self.config(shell)).await.unwrap()
    }
}

#[tokio::test]
async fn an_absolute_symlink_is_resolved_inside_the_root() {
    let fixture = Fixture::new();
    let host = fixture.host("true").await;
    let sentinel = host.sentinel(PathBuf::from("/var/run/reboot-required"));
    assert!(!sentinel.is_present().await.unwrap());
    fixture.write("run/reboot-required", "");
    assert!(sentinel.is_present().await.unwrap());
}

#[tokio::test]
async fn no_path_leaves_the_root() {
    let fixture = Fixture::new();
    let outside = tempfile::NamedTempFile::new().unwrap();
    let up = format!("/../../../../../../../..{}", outside.path().display());
    symlink(&up, fixture.directory.path().join("run/up")).unwrap();
    symlink(outside.path(), fixture.directory.path().join("run/out")).unwrap();
    // The host has a directory of that name too, so that the agent's own is not asked.
    let directory = outside.path().parent().unwrap().strip_prefix("/").unwrap();
    std::fs::create_dir_all(fixture.directory.path().join(directory)).unwrap();
    let host = fixture.host("true").await;
    for path in [up.as_str(), "/run/up", "/run/out"] {
        assert!(
            !host.sentinel(PathBuf::from(path)).is_present().await.unwrap(),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_directory_is_no_sentinel() {
    let fixture = Fixture::new();
    let sentinel = fixture.host("true").await.sentinel(PathBuf::from("/run"));
    assert!(!sentinel.is_present().await.unwrap());
}

#[tokio::test]
async fn what_the_host_says_of_a_shutdown_is_understood() {
    let fixture = Fixture::new();
    let cases = [
        ("echo running", Shutdown::No),
        ("echo degraded; exit 1", Shutdown::No),
        ("echo stopping; exit 1", Shutdown::UnderWay),
        (
            "echo unknown; exit 1",
            Shutdown::Unknown("/bin/sh -c echo unknown; exit 1 printed \"unknown\"".to_owned()),
        ),
        (
            "echo offline; exit 1",
            Shutdown::Unknown("/bin/sh -c echo offline; exit 1 printed \"offline\"".to_owned()),
        ),
    ];
    for (shell, expected) in cases {
        let state = fixture.host(shell).await.ask().await;
        assert_eq!(
            state,
            HostState {
                boot_id: "boot-1".to_owned(),
                shutdown: expected,
                told_for: None,
            },
            "{shell}"
        );
    }
    let silent = fixture.host("true").await.ask().await;
    assert!(matches!(silent.shutdown, Shutdown::Unknown(_)), "{silent:?}");
}

#[tokio::test]
async fn a_host_without_boot_id_is_unknown() {
    let fixture = Fixture::new();
    fixture.write("proc/sys/kernel/random/boot_id", "\n");
    let state = fixture.host("echo running").await.ask().await;
    assert!(
        matches!(&state.shutdown, Shutdown::Unknown(why) if why.contains("boot_id")),
        "{state:?}"
    );
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
        assert_eq!(host.reboot("uid/then", over).await, Err(RebootFailure::Expired));
        assert!(!witness.exists());
    }
    assert_eq!(
        host.reboot("uid/then", Some(Instant::now() + Duration::from_secs(5)))
            .await,
        Ok(())
    );
    assert!(witness.exists());
}

#[tokio::test]
async fn a_reboot_command_that_fails_says_why() {
    let fixture = Fixture::new();
    let later = Some(Instant::now() + Duration::from_secs(5));
    let failed = fixture
        .host("echo no power >&2; exit 3")
        .await
        .reboot("uid/then", later)
        .await;
    assert!(
        matches!(&failed, Err(RebootFailure::Failed(why)) if why.contains("no power") && why.contains('3')),
        "{failed:?}"
    );
    let mut config = fixture.config("true");
    config.reboot = vec!["/nowhere/reboot".to_owned()];
    let missing = Host::take(config).await.unwrap().reboot("uid/then", later).await;
    assert!(
        matches!(&missing, Err(RebootFailure::Failed(why)) if why.contains("/nowhere/reboot")),
        "{missing:?}"
    );
}

#[tokio::test]
async fn a_host_that_was_told_to_reboot_says_so_in_this_boot_and_not_in_the_next() {
    let fixture = Fixture::new();
    let later = Some(Instant::now() + Duration::from_secs(5));
    let host = fixture.host("echo running").await;
    assert_eq!(host.ask().await.told_for, None);
    for holder in ["uid/first", "uid/second"] {
        assert_eq!(host.reboot(holder, later).await, Ok(()));
        assert_eq!(host.ask().await.told_for.as_deref(), Some(holder));
    }
    fixture.write("proc/sys/kernel/random/boot_id", "boot-2\n");
    assert_eq!(host.ask().await.told_for, None);
    // Begun and not finished: the command never ran.
    fixture.write("run/cordonhold-agent.reboot", "");
    assert_eq!(host.ask().await.told_for, None);
}

#[tokio::test]
async fn without_word_on_the_host_there_is_no_reboot() {
    let fixture = Fixture::new();
    let witness = fixture.directory.path().join("witness");
    let host = fixture.host(&format!("touch {}", witness.display())).await;
    std::fs::create_dir(fixture.directory.path().join("run/cordonhold-agent.reboot")).unwrap();
    let failed = host
        .reboot("uid/then", Some(Instant::now() + Duration::from_secs(5)))
        .await;
    assert!(
        matches!(&failed, Err(RebootFailure::Failed(why)) if why.contains("cordonhold-agent.reboot")),
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

/// kured's manifests mount the host's `/var/run` on `/sentinel`, and name `/sentinel/reboot-required`.
#[tokio::test]
async fn a_sentinel_that_is_mounted_into_the_container_is_seen_as_in_kured() {
    let fixture = Fixture::new();
    let host = fixture.host("true").await;
    let mounted = tempfile::tempdir().unwrap();
    let sentinel = host.sentinel(mounted.path().join("reboot-required"));
    assert!(sentinel.has_place().await.unwrap());
    assert!(!sentinel.is_present().await.unwrap());
    std::fs::write(sentinel.path(), "").unwrap();
    assert!(sentinel.is_present().await.unwrap());

    // A directory that the host has is the host's.
    let on_host = fixture
        .directory
        .path()
        .join(mounted.path().strip_prefix("/").unwrap());
    std::fs::create_dir_all(on_host).unwrap();
    assert!(!sentinel.is_present().await.unwrap());

    let nowhere = host.sentinel(PathBuf::from("/nowhere/reboot-required"));
    assert!(!nowhere.has_place().await.unwrap());
    assert!(!nowhere.is_present().await.unwrap());
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
    tokio::select! {
        ended = host.reboot("uid/created", Some(Instant::now() + Duration::from_hours(1))) => panic!("{ended:?}"),
        () = begun => {}
    }
    assert_eq!(host.commands_running(), 1);
    fixture.write("go", "");
    host.commands_ended().await;
    assert!(path("done").exists());
    assert_eq!(host.commands_running(), 0);
}
