//! Messages to people: a whole reboot, with an agent that dies on the way, and a receiver that hangs.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_tests::host::RebootCommand;
use cordonhold_tests::wait;

use crate::cluster::on_fleet;
use crate::fleet::Site;

/// Longest time until a message has arrived.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// A web hook on this machine that notes each message.
struct Hook {
    url: String,
    got: Arc<Mutex<Vec<String>>>,
}

impl Hook {
    /// Starts a hook that lives as long as the process. One that hangs takes each message and never answers.
    fn start(hangs: bool) -> Result<Hook> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("--notify-url=generic+http://{}/hook", listener.local_addr()?);
        let got = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&got);
        drop(thread::spawn(move || {
            let mut open = Vec::new();
            for stream in listener.incoming().flatten() {
                let mut stream = stream;
                let body = body(&mut stream);
                noted.lock().unwrap_or_else(PoisonError::into_inner).push(body);
                if hangs {
                    open.push(stream);
                } else {
                    // An agent that is gone reads no answer.
                    drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
                }
            }
        }));
        Ok(Hook { url, got })
    }

    fn got(&self) -> Vec<String> {
        self.got.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn wait(&self, count: usize) -> Result<Vec<String>> {
        wait::until("the messages", MESSAGE_TIMEOUT, || async {
            Ok(Some(self.got()).filter(|got| got.len() >= count))
        })
        .await
    }
}

/// The body of a request with a length; empty if it breaks off.
fn body(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    match stream.read_exact(&mut body) {
        Ok(()) => String::from_utf8_lossy(&body).into_owned(),
        Err(_) => String::new(),
    }
}

#[test]
fn each_step_of_a_reboot_is_told_once_although_the_agent_is_killed_at_two_of_them() -> Result<()> {
    on_fleet(async |plane| {
        let name = "told";
        plane.add_node(name).await?;
        let (hook, hangs) = (Hook::start(false)?, Hook::start(true)?);
        let mut site = Site::without_agent(plane, name).await?;
        site.add_blocked_pod(name).await?;
        site.machine.request_reboot()?;
        site.start_agent(&[&hook.url, &hangs.url, "--soak=10s"]).await?;
        drop(site.wait_phase(Phase::Draining).await?);
        let drain = format!("Draining node {name}");
        ensure!(hook.wait(1).await? == [drain.as_str()], "{:?}", hook.got());

        // The next process drains again, and tells nobody.
        site.machine.restart_agent().await?;
        drop(site.wait_event("resumed").await?);
        drop(site.wait_nth_event("draining", 2).await?);
        site.unblock_pod(name).await?;
        drop(site.wait_clean_reboot().await?);
        drop(site.wait_phase(Phase::Returning).await?);
        site.machine.restart_agent().await?;
        site.reboots_once_and_is_given_back().await?;
        let told = [
            drain,
            format!("Rebooting node {name}"),
            format!("Node {name} rebooted & uncordoned successfully!"),
        ];
        ensure!(hook.wait(3).await? == told, "{:?}", hook.got());
        // The receiver that hangs was tried beside it.
        ensure!(!hangs.got().is_empty(), "nothing was sent to the second URL");
        Ok(())
    })
}

#[test]
fn a_reboot_that_fails_and_is_called_off_is_told_with_its_reason() -> Result<()> {
    on_fleet(async |plane| {
        let name = "told-off";
        plane.add_node(name).await?;
        let hook = Hook::start(false)?;
        let mut site = Site::without_agent(plane, name).await?;
        site.machine.set_reboot_command(RebootCommand::Fails)?;
        site.machine.request_reboot()?;
        site.start_agent(&[&hook.url]).await?;
        // Drain, reboot, failure, and a second reboot: the second failure is of the same step.
        drop(site.wait_event("still_sealed").await?);
        let got = hook.wait(5).await?;
        let failed = format!("Reboot of node {name} failed (");
        let stuck = format!("{failed}the reboot came to nothing twice");
        ensure!(got[0] == format!("Draining node {name}"), "{got:?}");
        ensure!(
            got[1] == format!("Rebooting node {name}") && got[3] == got[1],
            "{got:?}"
        );
        ensure!(
            got[2].starts_with(&failed) && got[4].starts_with(&stuck),
            "{got:?}"
        );
        std::fs::remove_file(site.machine.host().sentinel())?;
        drop(site.wait_event("called_off").await?);
        let got = hook.wait(6).await?;
        ensure!(
            got[5] == format!("Reboot of node {name} is called off (no_longer_wanted)"),
            "{got:?}"
        );
        Ok(())
    })
}
