use serde_json::{Value, json};

use super::*;

fn pod(name: &str, more: &Value) -> PodView {
    let mut pod = json!({
        "metadata": { "name": name, "namespace": "shop", "uid": name, "labels": { "app": "web", "tier": "front" } },
        "spec": { "nodeName": "node-0" },
        "status": { "phase": "Running", "conditions": [{ "type": "Initialized", "status": "True" }, { "type": "Ready", "status": "True" }] },
    });
    merge(&mut pod, more);
    serde_json::from_value(pod).unwrap()
}

fn budget(name: &str, more: &Value) -> BudgetView {
    let mut budget = json!({
        "metadata": { "name": name, "namespace": "shop", "generation": 2 },
        "spec": { "minAvailable": 2, "selector": { "matchLabels": { "app": "web" } } },
        "status": { "observedGeneration": 2, "disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 2, "expectedPods": 3 },
    });
    merge(&mut budget, more);
    serde_json::from_value(budget).unwrap()
}

fn merge(value: &mut Value, more: &Value) {
    match (value, more) {
        (Value::Object(fields), Value::Object(more)) => {
            for (key, item) in more {
                merge(fields.entry(key).or_insert(Value::Null), item);
            }
        }
        (value, more) => *value = more.clone(),
    }
}

fn refusals(pods: Vec<PodView>, budgets: Vec<BudgetView>) -> Vec<String> {
    let drainable = Drainable {
        pods,
        missing: BTreeSet::new(),
        budgets,
    };
    let refusals = drainable.refusals(None, Timestamp::UNIX_EPOCH);
    refusals.iter().map(Refusal::to_string).collect()
}

#[test]
fn a_budget_that_allows_no_eviction_is_named_with_its_pods() {
    let pods = vec![pod("a", &json!({})), pod("b", &json!({}))];
    let tight = budget("web", &json!({}));
    assert_eq!(
        refusals(pods.clone(), vec![tight]),
        ["the budget shop/web allows no eviction now (shop/a, shop/b)"]
    );
    let loose = budget("web", &json!({ "status": { "disruptionsAllowed": 1 } }));
    assert_eq!(refusals(pods, vec![loose]), [""; 0]);
}

#[test]
fn a_budget_counts_for_the_pods_that_its_selector_selects() {
    let selector = |selector: Value| budget("web", &json!({ "spec": { "selector": selector } }));
    let expression = |key: &str, operator: &str, values: &[&str]| json!({ "matchLabels": {}, "matchExpressions": [{ "key": key, "operator": operator, "values": values }] });
    for (chosen, counts) in [
        (json!({ "matchLabels": { "app": "db" } }), false),
        (json!({ "matchLabels": { "tier": "front" } }), true),
        (json!({ "matchLabels": { "zone": "a" } }), false),
        // Without a selector none, with an empty one all.
        (Value::Null, false),
        (expression("app", "In", &["db", "web"]), true),
        (expression("app", "In", &["db"]), false),
        (expression("app", "NotIn", &["db"]), true),
        (expression("app", "NotIn", &["web"]), false),
        (expression("zone", "NotIn", &["a"]), true),
        (expression("app", "Exists", &[]), true),
        (expression("zone", "Exists", &[]), false),
        (expression("zone", "DoesNotExist", &[]), true),
        (expression("app", "DoesNotExist", &[]), false),
        (expression("app", "Like", &["w"]), true),
    ] {
        let mut budget = selector(Value::Null);
        budget.spec.selector = serde_json::from_value(chosen.clone()).unwrap();
        assert_eq!(
            !refusals(vec![pod("a", &json!({}))], vec![budget]).is_empty(),
            counts,
            "{chosen}"
        );
    }
    let all: LabelSelector = serde_json::from_value(json!({})).unwrap();
    let mut budget = budget("all", &json!({}));
    budget.spec.selector = Some(all);
    assert_eq!(
        refusals(vec![pod("a", &json!({}))], vec![budget.clone()]).len(),
        1
    );
    budget.metadata.namespace = "other".to_owned();
    assert_eq!(refusals(vec![pod("a", &json!({}))], vec![budget]), [""; 0]);
}

#[test]
fn pods_that_no_budget_keeps_do_not_count() {
    let owner =
        |kind: &str| json!([{ "apiVersion": "apps/v1", "kind": kind, "name": "x", "controller": true }]);
    for (what, more, counts) in [
        ("ended", json!({ "status": { "phase": "Succeeded" } }), false),
        ("failed", json!({ "status": { "phase": "Failed" } }), false),
        ("pending", json!({ "status": { "phase": "Pending" } }), false),
        (
            "leaving",
            json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } }),
            false,
        ),
        (
            "of a DaemonSet",
            json!({ "metadata": { "ownerReferences": owner("DaemonSet") } }),
            false,
        ),
        (
            "of a ReplicaSet",
            json!({ "metadata": { "ownerReferences": owner("ReplicaSet") } }),
            true,
        ),
        (
            "static",
            json!({ "metadata": { "annotations": { "kubernetes.io/config.mirror": "x" } } }),
            false,
        ),
    ] {
        let found = refusals(vec![pod("a", &more)], vec![budget("web", &json!({}))]);
        assert_eq!(!found.is_empty(), counts, "{what}: {found:?}");
    }
}

#[test]
fn a_pod_that_is_not_ready_is_evicted_by_its_budgets_policy() {
    let unready = pod(
        "a",
        &json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }] } }),
    );
    let without = pod("a", &json!({ "status": { "conditions": null } }));
    for pod in [unready, without] {
        for (more, counts) in [
            (json!({}), true),
            (
                json!({ "spec": { "unhealthyPodEvictionPolicy": "IfHealthyBudget" } }),
                true,
            ),
            (
                json!({ "spec": { "unhealthyPodEvictionPolicy": "AlwaysAllow" } }),
                false,
            ),
            (json!({ "status": { "currentHealthy": 2 } }), false),
            (
                json!({ "status": { "currentHealthy": 0, "desiredHealthy": 0 } }),
                true,
            ),
        ] {
            let found = refusals(vec![pod.clone()], vec![budget("web", &more)]);
            assert_eq!(!found.is_empty(), counts, "{more}: {found:?}");
        }
    }
    let ready = pod("a", &json!({}));
    let always = budget(
        "web",
        &json!({ "spec": { "unhealthyPodEvictionPolicy": "AlwaysAllow" } }),
    );
    assert_eq!(refusals(vec![ready], vec![always]).len(), 1);
}

#[test]
fn a_budget_that_was_just_changed_and_two_budgets_of_one_pod_are_refusals_too() {
    let stale = budget(
        "web",
        &json!({ "metadata": { "generation": 3 }, "status": { "disruptionsAllowed": 5 } }),
    );
    assert_eq!(
        refusals(vec![pod("a", &json!({}))], vec![stale]),
        ["the budget shop/web was changed, and the disruption controller has yet to look at it (shop/a)"]
    );
    let loose = json!({ "status": { "disruptionsAllowed": 5 } });
    let two = vec![budget("web", &loose), budget("front", &loose)];
    assert_eq!(
        refusals(vec![pod("a", &json!({}))], two),
        [
            "each of these pods has the budgets shop/front, shop/web, and a pod with several is never evicted (shop/a): take it out of all but one"
        ]
    );
}
