//! What a sentinel command's end and output mean.

use super::super::preset::Preset;
use super::*;
use crate::host::command::CommandError;

/// Runs a script in place of a sentinel command whose answer has this meaning.
async fn looked(meaning: Meaning, script: &str) -> Result<bool, HostError> {
    let words = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    Sentinel::command("n", Command::new(words), meaning)
        .is_asking()
        .await
}

/// Each script, and whether it asks for a reboot; `None` if that cannot be told.
async fn assert_means(meaning: Meaning, cases: &[(&str, Option<bool>)]) {
    for (script, expected) in cases {
        let looked = looked(meaning, script).await;
        match expected {
            Some(is_asking) => assert_eq!(looked.as_ref().ok(), Some(is_asking), "{script}: {looked:?}"),
            None => assert!(
                matches!(&looked, Err(HostError::Command(CommandError::NoAnswer { .. }))),
                "{script}: {looked:?}"
            ),
        }
    }
}

fn meaning(preset: Preset) -> Meaning {
    match preset.sentinel() {
        SentinelConfig::Command { meaning, .. } => meaning,
        SentinelConfig::File(path) => panic!("{path:?}"),
    }
}

#[tokio::test]
async fn a_command_asks_by_exit_code_0_as_in_kured_unless_it_could_not_be_run() {
    let cases = [
        ("exit 0", Some(true)),
        ("exit 1", Some(false)),
        ("echo failed >&2; exit 3", Some(false)),
        ("exit 255", Some(false)),
        ("/nowhere/needs-restarting -r", None),
        ("exit 126", None),
        ("kill -TERM $$", None),
    ];
    assert_means(Meaning::ZeroAsks, &cases).await;
}

#[tokio::test]
async fn each_preset_reads_what_its_distribution_says() {
    let updated = "echo 'Core libraries or services have been updated since boot-up:'; echo '  * kernel'; \
                   echo 'Reboot is required to fully utilize these updates.'; exit 1";
    let rhel = [
        (updated, Some(true)),
        (
            "echo 'No core libraries or services have been updated since boot-up.'",
            Some(false),
        ),
        // dnf's own failures have the same exit code.
        ("echo 'No such command: needs-restarting.' >&2; exit 1", None),
        ("exit 3", None),
        ("exit 127", None),
    ];
    assert_means(meaning(Preset::Rhel), &rhel).await;
    let rpm_ostree = [
        ("echo 'State: idle'; exit 77", Some(true)),
        ("echo 'State: idle'", Some(false)),
        ("echo 'error: Loading sysroot' >&2; exit 1", None),
    ];
    assert_means(meaning(Preset::RpmOstree), &rpm_ostree).await;
    let flatcar = [
        (
            "printf 'LAST_CHECKED_TIME=1\\nPROGRESS=0\\nCURRENT_OP=UPDATE_STATUS_UPDATED_NEED_REBOOT\\nNEW_SIZE=1\\n'",
            Some(true),
        ),
        ("echo CURRENT_OP=UPDATE_STATUS_IDLE", Some(false)),
        ("echo CURRENT_OP=UPDATE_STATUS_DOWNLOADING", Some(false)),
        ("echo 'CURRENT_OP=(null)'", None),
        ("true", None),
        ("echo CURRENT_OP=UPDATE_STATUS_UPDATED_NEED_REBOOT; exit 1", None),
    ];
    assert_means(meaning(Preset::Flatcar), &flatcar).await;
    let bottlerocket = [
        (
            "echo '{\"chosen_update\": null, \"update_state\": \"Ready\"}'",
            Some(true),
        ),
        ("echo '{\"update_state\":\"Staged\"}'", Some(false)),
        ("echo '{\"update_state\":\"Idle\"}'", Some(false)),
        ("echo '{\"update_state\": 1}'", None),
        ("echo '{\"update_st'", None),
        ("echo 'Failed GET request' >&2; exit 1", None),
    ];
    assert_means(meaning(Preset::Bottlerocket), &bottlerocket).await;
    for (preset, path) in [
        (Preset::Debian, "/var/run/reboot-required"),
        (Preset::Suse, "/run/reboot-needed"),
    ] {
        assert_eq!(preset.sentinel(), SentinelConfig::File(path.into()));
    }
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_with_what_it_has_started() {
    let dir = tempfile::tempdir().unwrap();
    let child = dir.path().join("child");
    let script = format!(
        "sleep 600 & echo $! > {0}.new; mv {0}.new {0}; wait",
        child.display()
    );
    let words = ["/bin/sh", "-c", &script].map(str::to_owned).to_vec();
    let command = Command::new(words);
    let mut bound = Duration::from_millis(100);
    let error = loop {
        let error = command.output(bound).await.unwrap_err();
        // It may be given up before it has started anything.
        if child.exists() {
            break error;
        }
        bound *= 2;
    };
    assert!(matches!(error, CommandError::TooLong { .. }), "{error}");
    let id = std::fs::read_to_string(&child).unwrap();
    let words = format!("/proc/{}/cmdline", id.trim());
    // A process that has ended and that nobody has waited for has no words.
    while std::fs::read(&words).is_ok_and(|words| !words.is_empty()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_output_without_end_neither_blocks_the_command_nor_fills_the_log() {
    let flood = "head -c 3000000 /dev/zero | tr '\\0' x";
    assert!(looked(Meaning::ZeroAsks, flood).await.unwrap());
    let failed = format!("{flood}; {flood} >&2; exit 127");
    let why = one_line(&looked(Meaning::ZeroAsks, &failed).await.unwrap_err());
    assert!(
        why.len() < 3000 && why.contains("exit status: 127"),
        "{}",
        why.len()
    );
}

#[test]
fn the_log_says_once_that_the_sentinel_cannot_be_told_and_once_that_it_can() {
    let looks = [
        (Some(false), false),
        (None, true),
        (None, false),
        (Some(true), true),
        (Some(false), false),
        (None, true),
    ];
    let mut seen = Seen::default();
    for (at, (answer, is_news)) in looks.into_iter().enumerate() {
        assert_eq!(seen.learn(answer), is_news, "look {at}");
        assert_eq!(seen.answer, answer);
    }
}

#[tokio::test]
async fn a_sentinel_file_says_because_of_which_packages_it_is_there_as_far_as_that_is_short() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("run")).unwrap();
    let path = PathBuf::from("/run/reboot-required");
    let sentinel = Sentinel::in_root(root.path(), path).unwrap();
    assert_eq!(sentinel.reason().await, "");
    for (list, expected) in [
        ("", ""),
        ("libc6\n\nlinux-base\nlibc6\n", "libc6, linux-base"),
        ("a\nb\nc\nd\ne\nf\n g \n", "a, b, c, d, e and 2 more"),
    ] {
        std::fs::write(root.path().join("run/reboot-required.pkgs"), list).unwrap();
        assert_eq!(sentinel.reason().await, expected);
    }
    std::fs::write(root.path().join("run/reboot-required.pkgs"), [0xff]).unwrap();
    assert_eq!(sentinel.reason().await, "");
    let long = "linux-base\n".repeat(1_000) + "the-last\n";
    std::fs::write(root.path().join("run/reboot-required.pkgs"), long).unwrap();
    assert_eq!(sentinel.reason().await, "linux-base");
    assert_eq!(Sentinel::shell("exit 0").reason().await, "");
}

#[tokio::test]
async fn a_list_of_packages_that_is_no_regular_file_is_not_read_and_holds_up_nothing() {
    let root = tempfile::tempdir().unwrap();
    let run = root.path().join("run");
    std::fs::create_dir(&run).unwrap();
    std::fs::write(run.join("secret"), "a secret").unwrap();
    let list = run.join("reboot-required.pkgs");
    let sentinel = Sentinel::in_root(root.path(), "/run/reboot-required".into()).unwrap();
    std::os::unix::fs::symlink("secret", &list).unwrap();
    assert_eq!(sentinel.reason().await, "");
    std::fs::remove_file(&list).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &list, mode).unwrap();
    assert_eq!(sentinel.reason().await, "");
    // A read that hangs would keep the turn, and this look would time out.
    assert!(!sentinel.is_asking().await.unwrap());
    std::fs::remove_file(&list).unwrap();
    std::fs::write(&list, "libc6").unwrap();
    assert_eq!(sentinel.reason().await, "libc6");
}
