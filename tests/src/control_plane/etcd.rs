//! Which member of etcd leads, as the members say.
//!
//! Not here: starting and stopping them, see [`super`].

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use cordonhold_rt::client::needs_no_ca;
use futures_util::future::try_join_all;
use kube::{Client, Config};
use serde::Deserialize;

use super::ControlPlane;
use super::servers::{Member, etcd_url};
use crate::wait;

/// Longest time until all members agree. An election takes one to two seconds.
const ELECTION_BOUND: Duration = Duration::from_mins(1);
/// Longest wait for one answer.
const ANSWER_BOUND: Duration = Duration::from_secs(5);

/// What a member says (etcd: `api/etcdserverpb/rpc.proto`, as JSON).
#[derive(Deserialize)]
struct Status {
    header: Header,
    /// The id of the leader; empty if it knows none.
    #[serde(default)]
    leader: String,
}

#[derive(Deserialize)]
struct Header {
    member_id: String,
}

impl ControlPlane {
    /// Waits until all members of etcd but the one that is lost say the same about who leads, and returns the number of that one.
    pub(crate) async fn etcd_leader(&self, lost: Option<usize>) -> Result<usize> {
        let all = self.lines.etcd.iter().enumerate();
        let asked: Vec<(usize, Client)> = all
            .filter(|(number, _)| Some(*number) != lost)
            .map(|(number, (member, _))| Ok((number, client(member)?)))
            .collect::<Result<_>>()?;
        let what = format!("{} members of etcd to agree on a leader among them", asked.len());
        wait::until(&what, ELECTION_BOUND, || leader(&asked)).await
    }
}

fn client(member: &Member) -> Result<Client> {
    let url = etcd_url(member.client_port);
    let mut config = needs_no_ca(Config::new(url.parse().context("failed to read a URL")?));
    config.default_retry = false;
    config.connect_timeout = Some(ANSWER_BOUND);
    config.read_timeout = Some(ANSWER_BOUND);
    Client::try_from(config).context("failed to build a client of etcd")
}

/// The number of the member that all of these call their leader; `None` if they do not agree, or if it is none of them.
async fn leader(asked: &[(usize, Client)]) -> Result<Option<usize>> {
    let statuses = try_join_all(asked.iter().map(|(_, client)| status(client))).await?;
    let named: BTreeSet<&str> = statuses.iter().map(|status| status.leader.as_str()).collect();
    if named.len() > 1 {
        return Ok(None);
    }
    let leads = |status: &Status| status.leader == status.header.member_id;
    Ok(statuses.iter().position(leads).map(|place| asked[place].0))
}

async fn status(client: &Client) -> Result<Status> {
    let request = http::Request::post("/v3/maintenance/status").body(b"{}".to_vec())?;
    let status = client.request(request).await;
    status.context("failed to ask etcd who leads")
}
