//! Every message that ends the agent or makes it wait, as far as no cluster is needed: it names the thing, what was tried,
//! and the fix. What the cycle itself says of a node needs one.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends where something is not as it must be"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// Thing, what was tried, and fix.
type Parts<'a> = [&'a str; 3];
/// Words, variables, and what the message says.
type Row<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], Parts<'a>);

/// A host's root with what the agent opens first, and a kubeconfig.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new(server: &str) -> Place {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("root/run")).unwrap();
        std::fs::create_dir_all(dir.path().join("bare")).unwrap();
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "c", "user": {"token": "t"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        });
        std::fs::write(dir.path().join("kubeconfig"), kubeconfig.to_string()).unwrap();
        Place { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The agent with all that it needs to begin, and these words, which count more.
    fn agent(&self, words: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cordonhold-agent"));
        let _ = command
            .env_clear()
            .env("KURED_NODE_ID", "n")
            .env("KURED_METRICS_PORT", "0")
            .env("CORDONHOLD_HOST_ROOT", self.path().join("root"))
            .env("CORDONHOLD_KUBECONFIG", self.path().join("kubeconfig"))
            .env("CORDONHOLD_HOST_EXEC", "")
            .envs(variables.iter().copied())
            .args(words);
        command
    }

    fn ends_with(&self, words: &[&str], variables: &[(&str, &str)], parts: Parts<'_>) {
        let output = self.agent(words, variables).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{words:?}: {said}");
        assert!(said.starts_with("cordonhold-agent: "), "{words:?}: {said}");
        for part in parts {
            assert!(
                said.contains(part),
                "{words:?} {variables:?}: {part:?} is not in {said}"
            );
        }
    }

    /// Until its log has this event; the agent would go on waiting.
    fn waits_with(&self, words: &[&str], event: &str, parts: Parts<'_>) {
        let mut agent = self
            .agent(words, &[])
            .arg("--log-format=json")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(agent.stdout.take().unwrap()).lines();
        let line = log.find_map(|line| {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            (line["event"] == event).then(|| line.to_string())
        });
        let still_runs = agent.try_wait().unwrap().is_none();
        agent.kill().unwrap();
        let _ = agent.wait().unwrap();
        let line = line.unwrap_or_else(|| panic!("the log ended without {event}"));
        assert!(still_runs, "{line}");
        for part in parts {
            assert!(line.contains(part), "{part:?} is not in {line}");
        }
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn found_e8_every_message_that_ends_the_agent_names_thing_try_and_fix() {
    let place = Place::new("http://127.0.0.1:1");
    let bare = format!("--host-root={}", place.path().join("bare").display());
    let table: [Row<'_>; 18] = [
        (
            &["--node-id="],
            &[],
            ["node's name is missing", "--node-id", "spec.nodeName"],
        ),
        (&["--node-id=N_1"], &[], ["--node-id", "\"N_1\"", "lower case"]),
        (&["--period=5"], &[], ["--period", "\"5\" lacks a unit", "5s"]),
        (
            &[],
            &[("KURED_PERIOD", "5")],
            ["KURED_PERIOD", "\"5\" lacks a unit", "5s"],
        ),
        (&["--period 5m"], &[], ["--period", "one word", "--period=5m"]),
        (
            &["--drain-pod-selector=\"\""],
            &[],
            [
                "--drain-pod-selector",
                "two quote characters",
                "`- --drain-pod-selector=`",
            ],
        ),
        (
            &["--reboot-sentinel=\"/run/x\""],
            &[],
            [
                "--reboot-sentinel",
                "quotes around",
                "`- --reboot-sentinel=/run/x`",
            ],
        ),
        (
            &[],
            &[("KURED_REBOOT_SENTINEL", "/run/x\n")],
            ["KURED_REBOOT_SENTINEL", "line end", "set it to /run/x"],
        ),
        (
            &["--redrains=many"],
            &[],
            ["--redrains", "\"many\"", "from 0 to 255"],
        ),
        (
            &["--force-reboot", "false"],
            &[],
            ["\"false\"", "belongs to no flag", "after ="],
        ),
        (&["-period=1h"], &[], ["-p", "two dashes", "--help"]),
        (
            &["--no-such-flag"],
            &[],
            ["--no-such-flag", "unexpected", "--help"],
        ),
        (
            &["--reboot-days=mon"],
            &[],
            ["--reboot-days", "this version does not do", "at its default"],
        ),
        (
            &["--kubeconfig=/nowhere/k"],
            &[],
            ["/nowhere/k", "No such file", "--kubeconfig"],
        ),
        (
            &["--host-root=/nowhere/root"],
            &[],
            ["/nowhere/root", "No such file", "--host-root"],
        ),
        (
            &[&bare],
            &[],
            ["/run/cordonhold-agent.lock", "No such file", "--host-root"],
        ),
        (
            &[],
            &[("CORDONHOLD_LOG", "info,x=loud")],
            ["CORDONHOLD_LOG", "info,x=loud", "write one like info"],
        ),
        (
            &["--time-zone=Mars"],
            &[],
            ["--time-zone", "\"Mars\"", "Europe/Berlin"],
        ),
    ];
    for (words, variables, parts) in table {
        place.ends_with(words, variables, parts);
    }
    let mut command = place.agent(&[], &[]);
    let output = command.env_remove("CORDONHOLD_KUBECONFIG").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    for part in ["no in-cluster configuration", "environment", "--kubeconfig"] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn found_e8_every_answer_that_ends_the_agent_or_makes_it_wait_names_thing_try_and_fix() {
    let refused = Place::new("http://127.0.0.1:1");
    let words = ["--lock-on=lease"];
    let way = "check the way to the API server";
    refused.waits_with(
        &words,
        "permissions_unknown",
        ["http://127.0.0.1:1", "refused", way],
    );
    for (code, message) in [
        (401, "Unauthorized"),
        (403, "forbidden: no"),
        (503, "shutting down"),
    ] {
        let body = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "message": message});
        let place = Place::new(&format!("http://{}", api_server(code, &body)));
        let said = format!("{message} (code {code})");
        place.waits_with(
            &words,
            "permissions_unknown",
            ["permissions", &said, "ServiceAccount or --kubeconfig"],
        );
    }
    let without_rights = Place::new(&format!(
        "http://{}",
        api_server(200, &json!({"status": {"allowed": false}}))
    ));
    without_rights.ends_with(
        &words,
        &[],
        [
            "permissions are missing",
            "patch nodes",
            "manifests/base/rbac-agent.yaml",
        ],
    );
    let node = json!({"metadata": {"name": "n", "resourceVersion": "1"}, "status": {"allowed": true}});
    let elsewhere = Place::new(&format!("http://{}", api_server(200, &node)));
    let words = ["--lock-on=lease", "--pool=gpu", "--pool-selector=gpu=yes"];
    elsewhere.ends_with(
        &words,
        &[],
        ["not of the pool gpu", "--pool-selector=gpu=yes", "label the Node"],
    );
}

#[test]
fn found_e8_an_agent_that_waits_for_another_on_its_host_says_so() {
    let place = Place::new("http://127.0.0.1:1");
    let path = place.path().join("root/run/cordonhold-agent.lock");
    let taken = std::fs::File::create(path).unwrap();
    taken.try_lock().unwrap();
    place.waits_with(
        &[],
        "host_taken",
        ["another agent", "/run/cordonhold-agent.lock", "fuser"],
    );
}

/// Answers everything alike, until the test ends.
fn api_server(code: u16, body: &Value) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let body = body.to_string();
    drop(std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // The agent is killed while it asks.
            drop(answer(stream, code, &body));
        }
    }));
    address
}

fn answer(stream: TcpStream, code: u16, body: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        let read = reader.read_line(&mut line)?;
        if let Some(text) = line.to_lowercase().strip_prefix("content-length:") {
            length = text.trim().parse().unwrap_or(0);
        }
        if read == 0 || line == "\r\n" {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    let head = format!(
        "HTTP/1.1 {code} Said\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    reader.into_inner().write_all((head + body).as_bytes())
}
