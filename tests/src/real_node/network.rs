//! The network of a real node: a network namespace that a process keeps, and two ways across its border. Inside, the Service `kubernetes` leads to the
//! API server; outside, what the API server sends to the node leads to its kubelet. That lets everybody in, because nobody else gets to it.
//!
//! Not here: the pods' own networks inside; containerd makes them, by CNI.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::copy_bidirectional;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::{ADDRESS, SERVICE, machine};
use crate::control_plane::ControlPlane;
use crate::egress::{self, CONNECT_TIMEOUT};
use crate::process::CommandLine;
use crate::wait;

/// The port of the Service `kubernetes`.
const SERVICE_PORT: u16 = 443;
/// The kubelet's port.
pub(super) const KUBELET_PORT: u16 = 10250;
/// Longest time until the network has its addresses.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// What keeps the network.
pub(super) fn line() -> CommandLine {
    CommandLine::new("unshare")
        .arg("--net")
        .arg(machine::files().join("network"))
        .args([ADDRESS, SERVICE])
}

/// Serves both ways across the border of the network that this process keeps.
pub(super) async fn serve(tasks: &mut JoinSet<()>, network: u32, plane: &ControlPlane) -> Result<()> {
    let address: SocketAddr = format!("{SERVICE}:{SERVICE_PORT}").parse()?;
    let listener = wait::until("the network of the node", READY_TIMEOUT, || async {
        inside(network, move || TcpListener::bind(address)).map(Some)
    })
    .await?;
    listener
        .set_nonblocking(true)
        .context("failed to listen in the network of the node")?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let server: SocketAddr = plane.endpoint().url.trim_start_matches("https://").parse()?;
    drop(tasks.spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            drop(tokio::spawn(async move {
                // Either side may end as it likes: the other sees it.
                let mut to = tokio::net::TcpStream::connect(server).await?;
                copy_bidirectional(&mut from, &mut to).await
            }));
        }
    }));
    let socket = plane.egress_socket()?;
    let listener =
        UnixListener::bind(&socket).with_context(|| format!("failed to listen at {}", socket.display()))?;
    drop(tasks.spawn(async move {
        while let Ok((from, _)) = listener.accept().await {
            // Either side may end as it likes: the API server sees it, and says so to who asked.
            drop(tokio::spawn(to_kubelet(from, network)));
        }
    }));
    Ok(())
}

/// Takes a connection of the API server to the kubelet. It calls the node by its name.
async fn to_kubelet(mut from: UnixStream, network: u32) -> Result<()> {
    let target = egress::target(&mut from).await?;
    match tokio::task::spawn_blocking(move || connect(&target, network)).await? {
        Ok(stream) => {
            stream.set_nonblocking(true)?;
            let mut to = tokio::net::TcpStream::from_std(stream)?;
            egress::accept(&mut from).await?;
            let _ = copy_bidirectional(&mut from, &mut to).await?;
            Ok(())
        }
        Err(error) => egress::refuse(&mut from, &error).await,
    }
}

fn connect(target: &str, network: u32) -> Result<TcpStream> {
    if !target.ends_with(&format!(":{KUBELET_PORT}")) {
        bail!("{target} is no kubelet, and nothing on a real node plays kube-proxy");
    }
    // Of a computer too: QEMU listens there.
    let address: SocketAddr = format!("127.0.0.1:{KUBELET_PORT}").parse()?;
    inside(network, move || {
        TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)
    })
}

/// Opens a socket in the network that this process keeps. A socket stays in the network in which it was opened, whoever uses it.
pub(super) fn inside<T: Send + 'static>(
    network: u32,
    open: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    // A thread of its own: it cannot come back.
    let opened = std::thread::spawn(move || {
        let namespace = File::open(format!("/proc/{network}/ns/net"))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        open()
    });
    match opened.join() {
        Ok(opened) => opened.context("failed to open a socket in the network of the node"),
        Err(_) => bail!("a thread in the network of the node has panicked"),
    }
}
