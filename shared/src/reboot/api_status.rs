//! What an error status of the API server means to the cycle and to a drain.
//!
//! Not here: how a request is sent, and what it means if no answer comes (always [`Failure::Unknown`]).

use std::time::Duration;

use crate::reboot::cycle::Failure;
use crate::reboot::drain::Evicted;

/// The `Status` with which the API server answers a request that failed: the fields that are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorStatus<'a> {
    /// The HTTP status code.
    pub code: u16,
    /// `Status.reason`, such as `TooManyRequests`.
    pub reason: &'a str,
    /// `Status.message`, for people.
    pub message: &'a str,
    /// `Status.details.name`: the object that it is about.
    pub name: &'a str,
    /// The first of `Status.details.causes`.
    pub cause: Option<Cause<'a>>,
    /// After how many seconds the API server wants to be asked again; 0 if it does not say.
    pub retry_after_seconds: u32,
}

/// Why a request failed, in detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause<'a> {
    /// The type of the cause, such as `DisruptionBudget`.
    pub reason: &'a str,
    /// The message of the cause, for people.
    pub message: &'a str,
}

/// A call of the API server that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// What the failure means to the cycle.
    pub failure: Failure,
    /// The object that does not exist, if the API server itself says so.
    pub gone: Option<String>,
}

impl Failed {
    /// No answer, or one that is not the API server's. `text` is what an operator reads.
    pub fn unknown(text: String) -> Failed {
        Failed::from(Failure::Unknown(text))
    }

    /// Whether the API server itself says that the object of this name does not exist.
    pub fn is_gone(&self, name: &str) -> bool {
        self.gone.as_deref() == Some(name)
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Failed {
        Failed { failure, gone: None }
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Failure {
        failed.failure
    }
}

/// The cause of an eviction that a budget blocks (k8s.io/api: policy/v1/types.go).
const DISRUPTION_BUDGET: &str = "DisruptionBudget";
/// The cause of a write that is refused in a namespace that is being deleted (k8s.io/api: core/v1/types.go).
const NAMESPACE_TERMINATING: &str = "NamespaceTerminating";
/// How an API server words that it cannot evict a pod, now or ever, because the pod has more than one budget (same file as below).
const TWO_BUDGETS: &str = "This pod has more than one PodDisruptionBudget";
/// How an API server words that a webhook did not answer it. It has written nothing then
/// (kubernetes/apiserver: pkg/admission/plugin/webhook/errors/statuserror.go and validating/dispatcher.go).
const WEBHOOK_FAILED: &str = "Internal error occurred: failed calling webhook ";
/// How the message of [`DISRUPTION_BUDGET`] begins; the budget's name follows
/// (kubernetes/kubernetes: pkg/registry/core/pod/storage/eviction.go).
const BUDGET_PREFIX: &str = "The disruption budget ";

impl<'a> ErrorStatus<'a> {
    /// This status as a failed call. `text` is what an operator reads.
    pub fn failed(&self, text: String) -> Failed {
        Failed {
            failure: self.failure(text),
            gone: self.gone().map(str::to_owned),
        }
    }

    /// The object that does not exist, if the API server itself says so and not a proxy.
    pub fn gone(&self) -> Option<&'a str> {
        let is_gone = self.code == 404 && self.reason == "NotFound" && !self.name.is_empty();
        is_gone.then_some(self.name)
    }

    /// What this status means to the cycle.
    fn failure(&self, text: String) -> Failure {
        match (self.code, self.reason) {
            // A webhook that denies with 409 is no lost race: a try at once would be denied at once.
            (409, "Conflict" | "AlreadyExists") => Failure::Conflict,
            // Only the API server itself knows what does not exist. A proxy's 404 has no such reason.
            (404, "NotFound") => Failure::NotFound,
            (408 | 429, _) => Failure::Unknown(text),
            (400..=499, _) => Failure::Refused(text),
            // Admission comes before the write, so nothing was written.
            (500, "InternalError") if self.message.starts_with(WEBHOOK_FAILED) => Failure::Refused(text),
            _ => Failure::Unknown(text),
        }
    }

    /// What became of an eviction; `text` is what an operator reads.
    ///
    /// Almost every refusal is tried again: a webhook that refuses once may not refuse the next time. Only a pod with two budgets
    /// can never be evicted.
    pub fn evicted(&self, text: String) -> Evicted {
        let cause = self.cause.filter(|cause| !cause.message.is_empty());
        match (self.code, self.reason) {
            (404, "NotFound") => Evicted::Accepted,
            (429, _) => {
                let seconds = self.retry_after_seconds;
                Evicted::Blocked {
                    budget: self.budget().map(str::to_owned),
                    why: cause.map_or(self.message, |cause| cause.message).to_owned(),
                    retry_after: (seconds > 0).then(|| Duration::from_secs(u64::from(seconds))),
                }
            }
            (403, _) if cause.is_some_and(|cause| cause.reason == NAMESPACE_TERMINATING) => {
                Evicted::Failed("its namespace is being deleted, and the pod with it".to_owned())
            }
            (500, _) if self.message.starts_with(TWO_BUDGETS) => Evicted::Never(text),
            _ => Evicted::Failed(text),
        }
    }

    /// The name of the budget that blocks an eviction. The API server names it only in the message.
    fn budget(&self) -> Option<&str> {
        let cause = self.cause.filter(|cause| cause.reason == DISRUPTION_BUDGET)?;
        let name = cause.message.strip_prefix(BUDGET_PREFIX)?.split(' ').next()?;
        (!name.is_empty()).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, reason: &'static str, message: &'static str) -> Evicted {
        let status = ErrorStatus {
            code,
            message: "no",
            cause: Some(Cause { reason, message }),
            ..ErrorStatus::default()
        };
        status.evicted("text".to_owned())
    }

    #[test]
    fn a_blocked_eviction_names_its_budget_whatever_else_its_message_says() {
        let messages = [
            "The disruption budget web needs 3 healthy pods and has 3 currently",
            "The disruption budget web is still being processed by the server.",
            "The disruption budget web does not allow evicting pods currently because it failed sync: x",
        ];
        for message in messages {
            let expected = Evicted::Blocked {
                budget: Some("web".to_owned()),
                why: message.to_owned(),
                retry_after: None,
            };
            assert_eq!(refused(429, DISRUPTION_BUDGET, message), expected);
        }
    }

    #[test]
    fn what_is_no_budget_is_not_named_as_one() {
        for (reason, message) in [
            (DISRUPTION_BUDGET, "Another wording about web"),
            (
                "Other",
                "The disruption budget web needs 3 healthy pods and has 3 currently",
            ),
        ] {
            let Evicted::Blocked { budget, why, .. } = refused(429, reason, message) else {
                panic!("{message}")
            };
            assert_eq!((budget, why.as_str()), (None, message));
        }
        let Evicted::Blocked { why, .. } = refused(429, DISRUPTION_BUDGET, "") else {
            panic!()
        };
        assert_eq!(why, "no");
    }

    #[test]
    fn only_a_lost_race_is_a_conflict() {
        let failure = |reason| {
            let status = ErrorStatus {
                code: 409,
                reason,
                ..ErrorStatus::default()
            };
            status.failure("text".to_owned())
        };
        for reason in ["Conflict", "AlreadyExists"] {
            assert_eq!(failure(reason), Failure::Conflict);
        }
        for reason in ["", "Forbidden"] {
            assert_eq!(failure(reason), Failure::Refused("text".to_owned()));
        }
    }

    #[test]
    fn a_pod_of_a_namespace_that_is_being_deleted_is_tried_again() {
        let evicted = refused(403, NAMESPACE_TERMINATING, "namespace web is being terminated");
        assert!(matches!(evicted, Evicted::Failed(why) if why.contains("namespace")));
    }

    /// As kube-apiserver words them.
    #[test]
    fn found_p16_a_webhook_that_did_not_answer_has_written_nothing() {
        let failure = |code, message| {
            let status = ErrorStatus {
                code,
                reason: "InternalError",
                message,
                ..ErrorStatus::default()
            };
            status.failure("text".to_owned())
        };
        let text = "text".to_owned();
        let failed = "Internal error occurred: failed calling webhook \"validate.kyverno.svc-fail\": failed to call webhook: Post ...";
        assert_eq!(failure(500, failed), Failure::Refused(text.clone()));
        assert_eq!(
            failure(500, "etcdserver: request timed out"),
            Failure::Unknown(text.clone())
        );
        assert_eq!(failure(504, failed), Failure::Unknown(text));
    }

    #[test]
    fn found_p18_two_budgets_are_final() {
        let status = |message| ErrorStatus {
            code: 500,
            reason: "InternalError",
            message,
            ..ErrorStatus::default()
        };
        let text = || "text".to_owned();
        let two = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        assert_eq!(status(two).evicted(text()), Evicted::Never(text()));
        assert_eq!(
            status("Internal error occurred").evicted(text()),
            Evicted::Failed(text())
        );
    }

    /// A proxy has no such reason, and a list no such name.
    #[test]
    fn only_the_api_server_says_what_is_gone() {
        let status = |code, reason, name| ErrorStatus {
            code,
            reason,
            name,
            ..ErrorStatus::default()
        };
        for (status, gone) in [
            (status(404, "NotFound", "a"), Some("a")),
            (status(404, "NotFound", ""), None),
            (status(404, "", "a"), None),
            (status(410, "NotFound", "a"), None),
        ] {
            let failed = status.failed("text".to_owned());
            assert_eq!(
                (status.gone(), failed.gone.as_deref()),
                (gone, gone),
                "{status:?}"
            );
            assert_eq!(failed.is_gone("a"), gone.is_some());
            assert!(!failed.is_gone("b"));
        }
    }

    #[test]
    fn each_code_is_not_found_refused_or_unknown() {
        let text = || "text".to_owned();
        for (code, reason, failure) in [
            (404, "NotFound", Failure::NotFound),
            (404, "", Failure::Refused(text())),
            (400, "", Failure::Refused(text())),
            (403, "Forbidden", Failure::Refused(text())),
            (408, "", Failure::Unknown(text())),
            (429, "TooManyRequests", Failure::Unknown(text())),
            (499, "", Failure::Refused(text())),
            (500, "", Failure::Unknown(text())),
            (200, "", Failure::Unknown(text())),
        ] {
            let status = ErrorStatus {
                code,
                reason,
                ..ErrorStatus::default()
            };
            assert_eq!(status.failed(text()), Failed::from(failure), "{code} {reason}");
        }
    }

    #[test]
    fn an_eviction_of_a_pod_that_is_gone_has_been_done_and_another_refusal_is_told() {
        let evicted = |code, reason| {
            let status = ErrorStatus {
                code,
                reason,
                ..ErrorStatus::default()
            };
            status.evicted("text".to_owned())
        };
        let failed = Evicted::Failed("text".to_owned());
        assert_eq!(evicted(404, "NotFound"), Evicted::Accepted);
        assert_eq!(
            (evicted(404, ""), evicted(403, "Forbidden")),
            (failed.clone(), failed.clone())
        );
        assert_eq!(refused(403, "Other", "no"), failed);
    }

    #[test]
    fn a_blocked_eviction_is_tried_again_when_the_api_server_says() {
        for (retry_after_seconds, expected) in [(0, None), (1, Some(1)), (10, Some(10))] {
            let status = ErrorStatus {
                code: 429,
                retry_after_seconds,
                ..ErrorStatus::default()
            };
            let Evicted::Blocked { retry_after, .. } = status.evicted(String::new()) else {
                panic!("{status:?}")
            };
            assert_eq!(retry_after, expected.map(Duration::from_secs));
        }
    }
}
