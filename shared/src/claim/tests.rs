//! What each kind of token says, and what the agent is told of it.

use super::*;

const NODE: &str = "node-0";

fn claim(extra: &[(&str, &str)]) -> NodeClaim {
    let extra = extra
        .iter()
        .map(|(key, value)| ((*key).to_owned(), vec![(*value).to_owned()]));
    NodeClaim::of(&extra.collect())
}

#[test]
fn one_node_one_agent_only_a_token_that_names_the_node_is_in_order() {
    let pod = (keys::POD_NAME_EXTRA, "cordonhold-agent-x");
    let of_this = claim(&[pod, (keys::NODE_NAME_EXTRA, NODE)]);
    assert_eq!(of_this, NodeClaim::Names(NODE.to_owned()));
    assert_eq!(of_this.flaw(NODE), None);
    for (claim, fix) in [
        (
            claim(&[pod, (keys::NODE_NAME_EXTRA, "node-1")]),
            "\"node-1\": set --node-id",
        ),
        (claim(&[pod]), "ServiceAccountTokenPodNodeInfo"),
        (claim(&[("example.com/else", NODE)]), "bound to no pod"),
        (claim(&[]), "bound to no pod"),
    ] {
        let flaw = claim.flaw(NODE).unwrap();
        assert!(flaw.contains(fix), "{claim:?}: {flaw}");
    }
}
