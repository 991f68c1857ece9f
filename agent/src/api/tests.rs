//! What the API server's answers mean to the agent.

use super::*;

fn answered(json: &str) -> CallError {
    serde_json::from_str(json).map(CallError::Answered).unwrap()
}

#[test]
fn each_answer_is_one_kind_of_failure() {
    let cases = [
        (
            r#"{"code":409,"reason":"Conflict","message":"m"}"#,
            Failure::Conflict,
        ),
        (
            r#"{"code":404,"reason":"NotFound","message":"m"}"#,
            Failure::NotFound,
        ),
        // The error page of a proxy, as kube passes it on.
        (
            r#"{"code":404,"reason":"Failed to parse error data","message":"m"}"#,
            Failure::Refused("the API server: m (code 404)".to_owned()),
        ),
        (
            r#"{"code":403,"reason":"Forbidden","message":"no"}"#,
            Failure::Refused("the API server: no (code 403)".to_owned()),
        ),
        (
            r#"{"code":422,"reason":"Invalid","message":"bad"}"#,
            Failure::Refused("the API server: bad (code 422)".to_owned()),
        ),
        (
            r#"{"code":429,"reason":"TooManyRequests","message":"m"}"#,
            Failure::Unknown("the API server: m (code 429)".to_owned()),
        ),
        (
            r#"{"code":408,"reason":"Timeout","message":"m"}"#,
            Failure::Unknown("the API server: m (code 408)".to_owned()),
        ),
        (
            r#"{"code":500,"reason":"InternalError","message":"m"}"#,
            Failure::Unknown("the API server: m (code 500)".to_owned()),
        ),
        (
            r#"{"code":504,"reason":"Timeout","message":"m"}"#,
            Failure::Unknown("the API server: m (code 504)".to_owned()),
        ),
    ];
    for (json, expected) in cases {
        let error = answered(json);
        let with_fix = |text| format!("{text}: {}", fix(&error));
        let expected = match expected {
            Failure::Refused(text) => Failure::Refused(with_fix(text)),
            Failure::Unknown(text) => Failure::Unknown(with_fix(text)),
            expected => expected,
        };
        assert_eq!(error.failure(), expected, "{json}");
    }
    assert!(matches!(
        CallError::Silent(CALLS_BOUND).failure(),
        Failure::Unknown(_)
    ));
}

#[test]
fn a_node_is_gone_only_where_the_api_server_names_it() {
    let gone = r#"{"code":404,"reason":"NotFound","message":"m","details":{"name":"node-1","kind":"nodes"}}"#;
    assert!(answered(gone).is_gone("node-1"));
    assert!(!answered(gone).is_gone("node-2"));
    assert!(!answered(r#"{"code":404,"reason":"NotFound","message":"m"}"#).is_gone("node-1"));
}

#[test]
fn a_blocked_eviction_names_its_budget() {
    let blocked = answered(
        r#"{"code":429,"reason":"TooManyRequests","message":"Cannot evict pod","details":{"causes":
           [{"reason":"DisruptionBudget","message":"The disruption budget web needs 3 healthy pods and has 3 currently"}]}}"#,
    );
    let Evicted::Blocked {
        budget,
        why,
        retry_after,
    } = blocked.evicted()
    else {
        panic!("{blocked:?}")
    };
    assert_eq!((budget.as_deref(), retry_after), (Some("web"), None));
    assert!(why.contains("needs 3 healthy pods"), "{why}");
}

#[test]
fn other_answers_to_an_eviction() {
    assert_eq!(
        answered(r#"{"code":404,"reason":"NotFound","message":"m"}"#).evicted(),
        Evicted::Accepted
    );
    let cases = [
        r#"{"code":409,"message":"uid"}"#,
        r#"{"code":403,"message":"webhook"}"#,
        r#"{"code":500,"message":"two"}"#,
    ];
    for json in cases {
        assert!(matches!(answered(json).evicted(), Evicted::Failed(_)), "{json}");
    }
}
