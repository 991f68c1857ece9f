//! May this user cancel the hold of this Node, or ask for its reboot? Asks by SubjectAccessReview, and keeps the answer for seconds.
//!
//! A failure is never kept. Not here: what the decision makes of the answer ([`cordonhold_shared::admission`]).

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use cordonhold_rt::sync::locked;
use cordonhold_shared::admission::{Known, Requester};
use cordonhold_shared::keys;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};

use super::looked_up;

/// How long a "yes" is kept, and so how long a user can still do it after losing the permission.
pub(super) const ALLOWED_TTL: Duration = Duration::from_secs(5);
/// How long a "no" is kept. Shorter, because somebody who was just given the permission tries again at once.
pub(super) const DENIED_TTL: Duration = Duration::from_secs(1);
/// Most answers that are kept: far more than people write within seconds.
pub(super) const MAX_ANSWERS: usize = 256;

/// Most bytes of groups, node claim and extra of a user whose answer is kept.
const QUESTION_MAX: usize = 32 * 1_024;

/// Asks, and keeps the answers.
pub(super) struct Permissions {
    api: Api<SubjectAccessReview>,
    answers: Mutex<Answers>,
}

/// The verb, the requester and the name of the Node.
pub(super) type Question = (&'static str, Requester, String);

/// The kept answers.
#[derive(Default)]
pub(super) struct Answers(HashMap<Question, Answer>);

struct Answer {
    is_allowed: bool,
    end: Instant,
}

impl Permissions {
    pub(super) fn new(client: Client) -> Permissions {
        Permissions {
            api: Api::all(client),
            answers: Mutex::default(),
        }
    }

    /// Whether the requester has this verb on the Node's holds.
    pub(super) async fn may(&self, verb: &'static str, requester: &Requester, node: &str) -> Known<bool> {
        let question = (verb, requester.clone(), node.to_owned());
        if let Some(is_allowed) = self.with_answers(|answers| answers.get(&question, Instant::now())) {
            return Known::Is(is_allowed);
        }
        let what = format!("whether the requester may {verb}");
        let fix = "allow the webhook's ServiceAccount to create subjectaccessreviews";
        let review = review(verb, requester, node);
        match looked_up(&what, fix, self.api.create(&PostParams::default(), &review)).await {
            Ok(answer) => {
                let is_allowed = answer.status.is_some_and(|status| status.allowed);
                self.with_answers(|answers| answers.keep(question, is_allowed, Instant::now()));
                Known::Is(is_allowed)
            }
            Err(why) => Known::Failed(why),
        }
    }

    fn with_answers<T>(&self, look: impl FnOnce(&mut Answers) -> T) -> T {
        look(&mut locked(&self.answers))
    }
}

impl Answers {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, question: &Question, now: Instant) -> Option<bool> {
        let answer = self.0.get(question)?;
        (now < answer.end).then_some(answer.is_allowed)
    }

    /// Keeps an answer, unless there is no room or the question is too large; then it is asked again next time.
    pub(super) fn keep(&mut self, question: Question, is_allowed: bool, now: Instant) {
        self.0.retain(|_, answer| now < answer.end);
        if self.0.len() < MAX_ANSWERS && question.1.identity_bytes() <= QUESTION_MAX {
            let ttl = if is_allowed { ALLOWED_TTL } else { DENIED_TTL };
            let end = now + ttl;
            let _ = self.0.insert(question, Answer { is_allowed, end });
        }
    }
}

/// The question for the API server's authorizers, with all that the request says of the user.
fn review(verb: &str, requester: &Requester, node: &str) -> SubjectAccessReview {
    let mut extra: BTreeMap<String, Vec<String>> = requester.extra.clone();
    if !requester.node_claim.is_empty() {
        drop(extra.insert(keys::NODE_NAME_EXTRA.to_owned(), requester.node_claim.clone()));
    }
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(requester.user.clone()),
            uid: Some(requester.uid.clone()),
            groups: Some(requester.groups.clone()),
            extra: Some(extra),
            resource_attributes: Some(ResourceAttributes {
                group: Some(keys::OVERRIDE_GROUP.to_owned()),
                resource: Some(keys::OVERRIDE_RESOURCE.to_owned()),
                verb: Some(verb.to_owned()),
                name: Some(node.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}
