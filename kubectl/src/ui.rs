//! `ui`: a page on loopback that follows the fleet: each pool with its nodes, what is wrong, and the last reboots of a node as pictures.
//!
//! It serves what `status --watch` sees, and writes nothing. What a page shows is made here; the browser only puts it in its place.
//! Not here: who may ask, and how much (`server`); the parts of the page (`parts`).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use cordonhold_shared::fleet::{Fleet, Told};
use cordonhold_shared::history::Record;
use cordonhold_shared::node::NodeView;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::watch::Sender;

use crate::args::UiArgs;
use crate::cluster::Cluster;
use crate::look::{Look, Scope};
use crate::status::View;
use crate::{Ending, Error, output, watch};

mod parts;
mod server;

/// What the pages are made of. It is shared, and never changed.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    fleet: Option<Fleet>,
    record: Record,
    /// What is older than it looks.
    stale: Vec<String>,
}

/// Takes what the watch has seen, for the pages.
pub(crate) struct Feed {
    sender: Sender<Arc<Snapshot>>,
    /// What the webhook has said in Events.
    pub(crate) denials: Vec<Told>,
}

impl Feed {
    /// Shows this from now on.
    pub(crate) fn update(&self, fleet: Fleet, look: &Look, nodes: Vec<NodeView>, stale: &[String]) {
        let record = Record {
            nodes,
            told: look.seen.told.clone(),
            denials: self.denials.clone(),
            ..Record::default()
        };
        drop(self.sender.send_replace(Arc::new(Snapshot {
            fleet: Some(fleet),
            record,
            stale: stale.to_vec(),
        })));
    }
}

impl Snapshot {
    fn time(&self) -> Timestamp {
        self.fleet
            .as_ref()
            .map_or_else(crate::clock::now, |fleet| fleet.time)
    }
}

pub(crate) async fn run(cluster: &Cluster, args: &UiArgs) -> Result<Ending, Error> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let listen = async || {
        let listener = TcpListener::bind(address).await?;
        let port = listener.local_addr()?.port();
        let mut bits = [0; 16];
        getrandom::fill(&mut bits).map_err(std::io::Error::other)?;
        Ok::<_, std::io::Error>((listener, port, bits))
    };
    let (listener, port, bits) = listen()
        .await
        .map_err(|source| Error::Listen { address, source })?;
    let token = format!("{:032x}", u128::from_be_bytes(bits));
    let (sender, receiver) = tokio::sync::watch::channel(Arc::default());
    let feed = Feed {
        sender,
        denials: Vec::new(),
    };
    let site = server::Site::new(port, token, receiver);
    let told = format!("{}\nCtrl-C ends it.", site.url());
    let serving = server::serve(listener, site);
    let view = View {
        all: true,
        ..View::default()
    };
    let scope = Scope::default();
    let following = watch::feed(cluster, &scope, &view, feed, || output::line(&told));
    tokio::select! {
        ended = following => ended,
        never = serving => match never {},
    }
}
