//! Plays kube-proxy for the API server: takes what it sends to the cluster IP of a Service to a pod behind that Service.
//!
//! It reads Service and `EndpointSlices` for each connection, so it knows of a change sooner than kube-proxy.
//! What is meant for a node, which the API server calls by its name or by the address in its status, goes to the [logs](super::logs).

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::logs::Connections;
use super::{Shared, report};
use crate::control_plane::NODE_ADDRESS;
use crate::egress::{self, CONNECT_TIMEOUT};

/// Pause after an error of the socket: most pass, such as a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Most errors of the socket in a row: three seconds of them. Then it is no lack that passes.
const ACCEPT_ERRORS_MAX: u32 = 60;
/// Most connections at once. The API server keeps a few for each webhook, and one for each log that is read.
const CONNECTIONS_MAX: usize = 256;

/// Takes connections until the socket fails for good.
pub(super) async fn serve(listener: UnixListener, shared: Arc<Shared>, of_nodes: Connections) -> Result<()> {
    let turn = Arc::new(AtomicUsize::new(0));
    let mut relays = JoinSet::new();
    let mut errors = Errors::default();
    loop {
        let accepted = listener.accept().await;
        let Some((stream, _)) = errors.taken(accepted).await? else {
            continue;
        };
        let (shared, turn, of_nodes) = (Arc::clone(&shared), Arc::clone(&turn), of_nodes.clone());
        drop(relays.spawn(async move {
            // Either side may end as it likes: the API server sees it, and says so to who asked.
            drop(relay(stream, &shared, &turn, &of_nodes).await);
        }));
        while let Some(ended) = relays.try_join_next() {
            report("a connection of the API server", ended);
        }
        if relays.len() >= CONNECTIONS_MAX
            && let Some(ended) = relays.join_next().await
        {
            report("a connection of the API server", ended);
        }
    }
}

/// The errors of the socket since it last worked.
#[derive(Default)]
struct Errors(u32);

impl Errors {
    /// Takes in what the socket gave. Without a connection it waits, until there were too many errors in a row.
    async fn taken<S>(&mut self, accepted: std::io::Result<S>) -> Result<Option<S>> {
        let error = match accepted {
            Ok(stream) => {
                self.0 = 0;
                return Ok(Some(stream));
            }
            Err(error) => error,
        };
        if self.0 == ACCEPT_ERRORS_MAX {
            let times = self.0;
            return Err(error).with_context(|| format!("failed to take a connection {times} times in a row"));
        }
        if self.0 == 0 {
            eprintln!("kubelet: failed to take a connection of the API server, and tries again: {error}");
        }
        self.0 += 1;
        tokio::time::sleep(ACCEPT_PAUSE).await;
        Ok(None)
    }
}

async fn relay(
    mut from: UnixStream,
    shared: &Shared,
    turn: &AtomicUsize,
    of_nodes: &Connections,
) -> Result<()> {
    let target = egress::target(&mut from).await?;
    let target = match target.parse::<SocketAddrV4>() {
        Ok(target) if *target.ip() != NODE_ADDRESS => target,
        _ => {
            egress::accept(&mut from).await?;
            return of_nodes.send(from).await.context("nobody serves logs any more");
        }
    };
    let mut is_dropped = shared.is_dropped.subscribe();
    let sent = async {
        let pod = tokio::time::timeout(CONNECT_TIMEOUT, connect(target, shared, turn)).await;
        match pod.context("no answer in time").flatten() {
            Ok(mut pod) => {
                egress::accept(&mut from).await?;
                let _ = copy_bidirectional(&mut from, &mut pod).await?;
            }
            Err(error) => egress::refuse(&mut from, &error).await?,
        }
        anyhow::Ok(())
    };
    tokio::select! {
        biased;
        // What is dropped stays open, and is closed once packets pass again.
        _ = is_dropped.wait_for(|is_dropped| *is_dropped) => {}
        sent = sent => return sent,
    }
    drop(is_dropped.wait_for(|is_dropped| !*is_dropped).await?);
    Ok(())
}

async fn connect(target: SocketAddrV4, shared: &Shared, turn: &AtomicUsize) -> Result<TcpStream> {
    let (service, port) = service_at(target, shared).await?;
    let slices: Api<EndpointSlice> =
        Api::namespaced(shared.client.clone(), &service.namespace().unwrap_or_default());
    let of_service = format!("kubernetes.io/service-name={}", service.name_any());
    let slices = slices
        .list(&ListParams::default().labels(&of_service).match_any())
        .await?;
    let all: Vec<(&Endpoint, u16)> = slices
        .iter()
        .flat_map(|slice| {
            let ports = slice.ports.iter().flatten();
            let number = ports
                .filter(|other| {
                    other.name.as_deref().unwrap_or_default() == port.name.as_deref().unwrap_or_default()
                })
                .find_map(|port| port.port.and_then(|port| u16::try_from(port).ok()));
            slice
                .endpoints
                .iter()
                .filter_map(move |endpoint| Some((endpoint, number?)))
        })
        .collect();
    // As kube-proxy does: only if none is ready, those that end and still serve (kubernetes/kubernetes: `pkg/proxy/topology.go`).
    let mut usable: Vec<_> = all
        .iter()
        .filter(|(endpoint, _)| is(endpoint, Condition::Ready))
        .collect();
    if usable.is_empty() {
        usable = all
            .iter()
            .filter(|(endpoint, _)| is(endpoint, Condition::Serving))
            .collect();
    }
    ensure!(!usable.is_empty(), "{} has no ready endpoint", service.name_any());
    let (endpoint, port) = usable[turn.fetch_add(1, Ordering::Relaxed) % usable.len()];
    let shown = endpoint
        .addresses
        .first()
        .context("an endpoint without an address")?;
    let shown: Ipv4Addr = shown.parse().with_context(|| format!("{shown} is no address"))?;
    let Some(address) = shared.network.find(shown) else {
        bail!("no process plays the endpoint {shown} of {}", service.name_any());
    };
    let stream = TcpStream::connect(SocketAddr::from((address.real(), *port))).await;
    stream.with_context(|| format!("the pod {shown} of {} does not listen", service.name_any()))
}

/// The Service with this cluster IP, and its port.
async fn service_at(target: SocketAddrV4, shared: &Shared) -> Result<(Service, ServicePort)> {
    let services: Api<Service> = Api::all(shared.client.clone());
    let address = target.ip().to_string();
    for service in services.list(&ListParams::default().match_any()).await? {
        let spec = service.spec.clone().unwrap_or_default();
        if spec.cluster_ip.as_deref() != Some(&address) {
            continue;
        }
        let ports = spec.ports.into_iter().flatten();
        let port = ports
            .into_iter()
            .find(|port| port.port == i32::from(target.port()));
        let port = port.with_context(|| format!("{} has no port {}", service.name_any(), target.port()))?;
        return Ok((service, port));
    }
    bail!("no Service has the address {address}")
}

#[derive(Clone, Copy)]
enum Condition {
    Ready,
    Serving,
}

/// Whether an endpoint has this condition; unset counts as true.
fn is(endpoint: &Endpoint, condition: Condition) -> bool {
    let conditions = endpoint.conditions.as_ref();
    let value = conditions.and_then(|conditions| match condition {
        Condition::Ready => conditions.ready,
        Condition::Serving => conditions.serving,
    });
    value.unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_taken_after_errors() {
        let mut errors = Errors::default();
        for _ in 0..ACCEPT_ERRORS_MAX {
            let taken = errors
                .taken::<()>(Err(io::Error::other("no file descriptor")))
                .await;
            assert!(taken.unwrap().is_none());
        }
        assert_eq!(errors.taken(Ok("it")).await.unwrap(), Some("it"));
        // It counts from the beginning again.
        assert!(errors.taken::<()>(Err(io::Error::other("again"))).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_that_always_fails_is_given_up_with_its_error() {
        let mut errors = Errors(ACCEPT_ERRORS_MAX);
        let taken = errors.taken::<()>(Err(io::Error::other("it is gone"))).await;
        let said = format!("{:#}", taken.unwrap_err());
        assert!(said.contains("60 times") && said.contains("it is gone"), "{said}");
    }
}
