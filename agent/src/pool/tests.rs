//! A kured elsewhere than `auto` looks is told: its nodes would have a budget of their own.

use serde_json::json;

use super::*;
use crate::api::fake;

/// How many are told of in a cluster where this one DaemonSet looks like kured's, if any may be looked at.
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
    // Whoever chose has chosen; and who may not look goes on.
    assert_eq!(told_of(&["--lock-on=lease"], 200).await, 0);
    assert_eq!(told_of(&["--lock-on=daemonset"], 200).await, 0);
    assert_eq!(told_of(&[], 403).await, 0);
}
