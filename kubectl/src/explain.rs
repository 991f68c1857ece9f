//! `explain`: what the webhook answers to a saved review, or to an uncordon of a node, by the webhook's own code.
//!
//! Not here: the explanation itself ([`cordonhold_webhook::explanation`]).

use cordonhold_shared::admission::{Policy, Requester};
use cordonhold_webhook::{ExplainConfig, Subject, explanation, policy_of};

use crate::args::ExplainArgs;
use crate::cluster::Cluster;
use crate::look::Scope;
use crate::{Ending, Error, clock, output};

pub(crate) async fn run(
    connect: impl AsyncFn() -> Result<Cluster, Error>,
    args: ExplainArgs,
) -> Result<Ending, Error> {
    let cluster = if args.offline {
        None
    } else {
        Some(connect().await?)
    };
    let policy = policy(&args, cluster.as_ref()).await?;
    let groups = args.groups;
    let subject = match (args.review, args.node) {
        (_, Some(node)) => Subject::Uncordon {
            node,
            by: args.requester.map(|user| Requester {
                user,
                groups,
                ..Requester::default()
            }),
        },
        (Some(path), None) => Subject::Review(path),
        (None, None) => {
            return Err(Error::Usage(
                "name the file of a review, or a node with --node".to_owned(),
            ));
        }
    };
    let config = ExplainConfig {
        subject,
        policy,
        kubeconfig: None,
        may_override: None,
        may_reboot: None,
        kured_lock: None,
        at: Some(clock::now()),
    };
    let client = cluster.map(|cluster| cluster.client);
    let explained = explanation(&config, client).await.map_err(Error::Explain)?;
    output::print(&explained.text)?;
    Ok(if explained.may_be_denied {
        Ending::Trouble
    } else {
        Ending::Fine
    })
}

/// The policy that the flags after `--` say, else that of the webhook's Deployment, else that of a webhook without flags.
async fn policy(args: &ExplainArgs, cluster: Option<&Cluster>) -> Result<Policy, Error> {
    let namespace = cluster.map_or("cordonhold", |cluster| cluster.namespace.as_str());
    if let Some(cluster) = cluster.filter(|_| args.flags.is_empty()) {
        let look = cluster.look_around(&Scope::default()).await?;
        if let Some(policy) = look.installed.policy {
            return Ok(policy);
        }
        output::note(
            "the webhook's flags were not seen, so it is taken to run with none; give them after --",
        );
    }
    // Files that are needed to serve, and not here.
    let needed = ["--tls-cert-file=-", "--tls-private-key-file=-"].map(str::to_owned);
    let flags: Vec<String> = needed.into_iter().chain(args.flags.iter().cloned()).collect();
    policy_of(&flags, namespace).map_err(|mistake| Error::Usage(format!("the webhook's flags: {mistake}")))
}
