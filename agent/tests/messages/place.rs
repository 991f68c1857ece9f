//! The agent's binary on a host of its own: a directory with what the agent looks at, and a kubeconfig.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use serde_json::{Value, json};

/// Thing, what was tried, and fix.
pub(crate) type Parts<'a> = [&'a str; 3];

/// Far above the agent's own bounds.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new(server: &str) -> Place {
        let place = Place {
            dir: tempfile::tempdir().unwrap(),
        };
        place.write("run/reboot-required", "");
        place.write("proc/sys/kernel/random/boot_id", "boot");
        place.write("proc/1/stat", &format!("1 (init) S{} 37", " 0".repeat(18)));
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "c", "user": {"token": "t"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        });
        std::fs::write(place.kubeconfig(), kubeconfig.to_string()).unwrap();
        place
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// A file of the host.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// The agent with all that it needs to begin, and these words, which count more. No command reaches the machine.
    pub(crate) fn agent(&self, words: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cordonhold-agent"));
        let _ = command
            .env_clear()
            .env("KURED_NODE_ID", "n")
            .env("KURED_METRICS_PORT", "0")
            .env("KURED_REBOOT_SENTINEL", "/run/reboot-required")
            .env("KURED_REBOOT_COMMAND", "/bin/true")
            .env("CORDONHOLD_SHUTDOWN_CHECK_COMMAND", "/bin/echo running")
            .env("CORDONHOLD_LOCK_ON", "lease")
            .env("CORDONHOLD_HOST_ROOT", self.root())
            .env("CORDONHOLD_KUBECONFIG", self.kubeconfig())
            .env("CORDONHOLD_HOST_EXEC", "")
            .envs(variables.iter().copied())
            .args(words);
        command
    }

    pub(crate) fn ends_with(&self, code: i32, words: &[&str], variables: &[(&str, &str)], parts: Parts<'_>) {
        let output = self.agent(words, variables).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{words:?}: {said}");
        assert!(said.starts_with("cordonhold-agent: "), "{words:?}: {said}");
        for part in parts {
            assert!(
                said.contains(part),
                "{words:?} {variables:?}: {part:?} is not in {said}"
            );
        }
    }

    /// Until its log has this event, with this reason where it names one; the agent would go on waiting.
    pub(crate) fn waits_with(&self, words: &[&str], (event, reason): (&str, &str), parts: Parts<'_>) {
        let mut agent = self
            .agent(words, &[])
            .arg("--log-format=json")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(agent.stdout.take().unwrap()).lines();
        let (tell, told) = channel();
        let meant = (event.to_owned(), reason.to_owned());
        let reader = std::thread::spawn(move || {
            let mut all = String::new();
            for text in log.map_while(Result::ok) {
                let line: Value = serde_json::from_str(&text).unwrap();
                let is_meant = line["event"] == meant.0 && (meant.1.is_empty() || line["reason"] == meant.1);
                all = all + "\n" + &text;
                if is_meant {
                    // Once is enough, and the test may be over.
                    drop(tell.send(text));
                }
            }
            all
        });
        let line = told.recv_timeout(PATIENCE);
        let still_runs = agent.try_wait().unwrap().is_none();
        agent.kill().unwrap();
        let _ = agent.wait().unwrap();
        let log = reader.join().unwrap();
        let line = line.unwrap_or_else(|_| panic!("{event} {reason} is not in the log:{log}"));
        assert!(still_runs, "{line}");
        for part in parts {
            assert!(line.contains(part), "{part:?} is not in {line}");
        }
    }
}
