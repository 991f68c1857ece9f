//! If `--lock-on=auto` chose the Lease, the agent warns of each DaemonSet elsewhere that looks like kured's: the nodes of that kured have a
//! budget of their own.

use serde_json::json;

use super::*;
use crate::api::fake;

/// How many warnings an agent with these arguments gives in a cluster where one DaemonSet looks like kured's. The list of `DaemonSets` is
/// answered with this status code.
async fn told_of(words: &[&str], code: u16) -> usize {
    let api = fake::api(words, move |path, _| {
        assert!(path.starts_with("/apis/apps/v1/daemonsets?"), "{path}");
        let other = json!({"metadata": {"name": "other", "namespace": "ops"}});
        let kured = json!({"metadata": {
            "name": "my-release-kured", "namespace": "ops", "labels": {"app.kubernetes.io/name": "kured"},
        }});
        let list = json!({"metadata": {"resourceVersion": "7"}, "items": [other, kured]});
        let refused = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": "Forbidden", "message": "no",
        });
        (code, if code == 200 { list } else { refused })
    });
    kureds_elsewhere(&api, chosen_by(words)).await
}

fn chosen_by(words: &[&str]) -> Carrier {
    if words.contains(&"--lock-on=daemonset") {
        Carrier::DaemonSet
    } else {
        Carrier::Lease
    }
}

#[tokio::test]
async fn found_p8_a_kured_elsewhere_is_seen_where_auto_took_the_lease() {
    assert_eq!(told_of(&[], 200).await, 1);
    assert_eq!(told_of(&["--lock-on=auto"], 200).await, 1);
    // Without `auto` nothing is searched, and an agent that may not list `DaemonSets` goes on.
    assert_eq!(told_of(&["--lock-on=lease"], 200).await, 0);
    assert_eq!(told_of(&["--lock-on=daemonset"], 200).await, 0);
    assert_eq!(told_of(&[], 403).await, 0);
}
