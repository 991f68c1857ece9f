//! The webhook's binary, without a cluster behind it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use cordonhold_certs_dev::Issued;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::client::{Answer, ask, get, tls, trusting};
use super::port::PATIENCE;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_cordonhold-webhook");

/// Files of a test, in a directory that goes with it.
pub(crate) struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    /// Writes a certificate with its key, and a kubeconfig of an API server that does not exist: port 1 refuses connections.
    pub(crate) fn new(issued: &Issued) -> Files {
        let files = Files {
            dir: tempfile::tempdir().unwrap(),
        };
        files.write_pair_and_kubeconfig(issued);
        files
    }

    pub(crate) fn write_pair_and_kubeconfig(&self, issued: &Issued) {
        self.write("tls.crt", &issued.cert_pem);
        self.write("tls.key", &issued.key_pem);
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
            "users": [{"name": "c", "user": {"token": "t"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        });
        self.write("kubeconfig", &kubeconfig.to_string());
    }

    /// Gives all required settings through the environment, so that a flag can be tried on top.
    pub(crate) fn given<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env_remove("CORDONHOLD_LOG")
            .env("CORDONHOLD_LISTEN", "127.0.0.1:0")
            .env("CORDONHOLD_ADMIN_LISTEN", "127.0.0.1:0")
            .env("CORDONHOLD_TLS_CERT_FILE", self.path("tls.crt"))
            .env("CORDONHOLD_TLS_PRIVATE_KEY_FILE", self.path("tls.key"))
            .env("CORDONHOLD_KUBECONFIG", self.path("kubeconfig"))
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

pub(crate) fn issue() -> Issued {
    cordonhold_certs_dev::issue(&["localhost".to_owned()]).unwrap()
}

pub(crate) struct Webhook {
    child: Child,
    /// Until nobody looks for lines in it any more.
    log: Option<BufReader<ChildStdout>>,
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) issued: Issued,
}

impl Drop for Webhook {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Webhook {
    pub(crate) fn start(args: &[&str]) -> Webhook {
        let issued = issue();
        let files = Files::new(&issued);
        Webhook::start_on(
            &files.path("tls.crt"),
            &files.path("tls.key"),
            &files,
            issued,
            args,
        )
    }

    /// Starts the webhook with the certificate and the key at these paths.
    pub(crate) fn start_on(cert: &Path, key: &Path, files: &Files, issued: Issued, args: &[&str]) -> Webhook {
        let mut command = Command::new(BINARY);
        let _ = command.args(args);
        Webhook::spawn(command, cert, key, files, issued)
    }

    pub(crate) fn start_with_open_files(open_files: u32, args: &[&str]) -> Webhook {
        let issued = issue();
        let files = Files::new(&issued);
        let mut command = Command::new("sh");
        let limited = format!("ulimit -n {open_files} && exec \"$0\" \"$@\"");
        let _ = command.args(["-c", &limited, BINARY]).args(args);
        Webhook::spawn(
            command,
            &files.path("tls.crt"),
            &files.path("tls.key"),
            &files,
            issued,
        )
    }

    fn spawn(mut command: Command, cert: &Path, key: &Path, files: &Files, issued: Issued) -> Webhook {
        let mut child = files
            .given(&mut command)
            .env("CORDONHOLD_TLS_CERT_FILE", cert)
            .env("CORDONHOLD_TLS_PRIVATE_KEY_FILE", key)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap());
        let listening = next_line(&mut log, "listening");
        let address = |key: &str| listening[key].as_str().unwrap().parse().unwrap();
        Webhook {
            child,
            log: Some(log),
            listen: address("listen"),
            admin: address("admin_listen"),
            issued,
        }
    }

    /// The next line of the log with this message.
    pub(crate) fn log_line(&mut self, message: &str) -> Value {
        next_line(self.log.as_mut().unwrap(), message)
    }

    /// Reads the log and throws it away from now on, because lines that nobody reads are lost.
    pub(crate) fn ignore_log(&mut self) {
        let mut log = self.log.take().unwrap();
        drop(std::thread::spawn(move || {
            std::io::copy(&mut log, &mut std::io::sink())
        }));
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        let killed = Command::new("kill")
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(killed.success());
    }

    pub(crate) async fn wait(&mut self) -> ExitStatus {
        let ended = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.unwrap()
    }

    /// Its resident memory.
    pub(crate) fn resident_kib(&self) -> u32 {
        self.status_kib("VmRSS:")
    }

    /// The peak of its resident memory.
    pub(crate) fn peak_kib(&self) -> u32 {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, field: &str) -> u32 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    pub(crate) async fn connect(&self) -> TlsStream<TcpStream> {
        tls(self.listen, trusting(&self.issued.ca_pem)).await.unwrap()
    }

    /// The answer on a connection of its own.
    pub(crate) async fn ask(&self, request: &str) -> Answer {
        ask(&mut self.connect().await, request).await
    }

    /// Checks that the answer to a request has this status.
    pub(crate) async fn answers_with(&self, request: &str, status: u16) {
        let answer = self.ask(request).await;
        assert_eq!(answer.status, status, "{:?}", request.lines().next());
    }

    /// Status and body of a page of the admin port.
    pub(crate) async fn admin(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        let answer = ask(&mut stream, &get(path)).await;
        (answer.status, answer.text())
    }

    /// Whether a client that trusts this CA gets an answer.
    pub(crate) async fn is_trusted_by(&self, ca_pem: &str) -> bool {
        match tls(self.listen, trusting(ca_pem)).await {
            Ok(mut stream) => ask(&mut stream, &get("/")).await.status == 404,
            Err(_) => false,
        }
    }
}

fn next_line(log: &mut BufReader<ChildStdout>, message: &str) -> Value {
    line_where(log, message, |line| line["message"] == message)
}

fn line_where(log: &mut BufReader<ChildStdout>, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    loop {
        let mut line = String::new();
        assert!(
            log.read_line(&mut line).unwrap() > 0,
            "the log ended before {what:?}"
        );
        let line: Value = serde_json::from_str(&line).unwrap();
        if is_it(&line) {
            return line;
        }
    }
}
