//! How a request of the cycle is carried out as one or more calls, one at a time, and how the replies become its answer.
//!
//! Not here: how a call is sent, and how long its reply may take.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::Setup;
use crate::hold::{self, NodePatch};
use crate::host::HostRecord;
use crate::node::NodeView;
use crate::reboot::api_status::Failed;
use crate::reboot::blocker::pods::PodRule;
use crate::reboot::blocker::{self, Blocker, Facts, Found, Look, Memory, Question};
use crate::reboot::cycle::{Answer, Ask, Failure, HostState, PoolCount, RebootFailure};
use crate::reboot::expression::Expression;
use crate::reboot::lock_object::{self, Carrier, CarrierView, LockView, LockWrite};
use crate::reboot::moment::{Moment, Uptime};
use crate::reboot::object::{ObjectName, ObjectRule};
use crate::reboot::pod::{self, DaemonSet, PodView};
use crate::reboot::readiness::{self, Missing, Readiness};

/// One call of the host or of the API server. Reads of the API server are never served from a cache.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// Ask the host whether it wants a reboot.
    LookAtSentinel,
    /// Ask the host which boot it is in, and whether a shutdown is under way.
    AskHost,
    /// Write the host's record of what is about to be written to the Node.
    WriteRecord(HostRecord),
    /// Remove the host's record. If that fails, the next record replaces it.
    Forget,
    /// Write this record on the host, with the time until which the reboot may come. Then run the reboot command, unless the
    /// deadline is over, which is checked last. No deadline counts as over.
    Reboot {
        /// The record to write.
        record: HostRecord,
        /// How long after the command the reboot may still come.
        timeout: Duration,
        /// Until when the command may run.
        deadline: Option<Uptime>,
    },
    /// GET of the Node of this name.
    ReadNode(String),
    /// LIST of the Nodes that this label selector takes.
    ListNodes(String),
    /// LIST of the Nodes that this label selector takes, of which no more is kept than [`PoolCount`] has.
    CountNodes {
        /// The label selector.
        labels: String,
        /// What is looked for on each Node.
        look: Box<Look>,
    },
    /// PATCH of a Node, as a JSON merge patch.
    PatchNode {
        /// The Node's name.
        name: String,
        /// The patch.
        body: Value,
    },
    /// GET of the object that may carry the lock.
    ReadLock(Carrier),
    /// Server-side apply of the pool's Lease, by force.
    ApplyLease(Value),
    /// PATCH of the object that carries the lock, as a JSON merge patch.
    PatchLock {
        /// Which object.
        carrier: Carrier,
        /// The patch.
        body: Value,
    },
    /// LIST of the pods on our Node that a drain looks at.
    ListPods,
    /// GET of each of these, to find out which do not exist.
    LookUp(BTreeSet<DaemonSet>),
    /// An instant query of Prometheus, with this expression.
    Query(String),
    /// LIST of all pods on our Node.
    ListAllPods,
    /// LIST of the pods on our Node that have not ended and that this selects, up to [`BLOCKING_PODS_MAX`].
    ListBlockingPods(PodRule),
    /// GET of an object, to evaluate an expression about it.
    AskObject(ObjectRule),
    /// LIST of the pods on our Node that a drain looks at, GET of each of their `DaemonSets`, and LIST of the budgets of their
    /// namespaces.
    ListBudgets,
    /// Ask the host which programs block its shutdown.
    ListInhibitors,
}

/// Most pods that are named of those that postpone a reboot, as in kured.
pub const BLOCKING_PODS_MAX: u32 = 10;

/// The reply to a call.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Whether the host wants a reboot; `None` if that could not be found out. Then what the sentinel says of the reason, if it says anything.
    Sentinel(Option<bool>, String),
    /// What the host says of itself.
    Host(HostState),
    /// Whether the host's record was written, or why not.
    Recorded(Result<(), String>),
    /// The removal of the host's record was tried. Whether it is gone does not matter.
    Forgotten,
    /// What became of the reboot command.
    Rebooted(Result<(), RebootFailure>),
    /// The Node as read, or as written.
    Node(Result<NodeView, Failed>),
    /// The Nodes of a list.
    Nodes(Result<Vec<NodeView>, Failed>),
    /// The Nodes of the pool, counted.
    Pool(Result<PoolCount, Failed>),
    /// The lock's object as read, or as written.
    Lock(Result<CarrierView, Failed>),
    /// The pods of a list.
    Pods(Result<Vec<PodView>, Failed>),
    /// Which `DaemonSets` do not exist.
    Missing(Result<BTreeSet<DaemonSet>, Failed>),
    /// What a question about a blocker has found, or why it has no answer, with the fix.
    Found(Result<Found, String>),
}

/// A request that is being carried out.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) ask: Ask,
    stage: Stage,
}

/// Which of its calls is open.
#[derive(Debug)]
enum Stage {
    /// The last one, or the only one.
    Last,
    /// The host's record is written before the Node.
    Recording,
    ReadingLock(Carrier),
    /// What blocks a reboot is read from the Node, then the lock, then the pool.
    BlockersNode,
    BlockersLock {
        node: NodeView,
        carrier: Carrier,
    },
    BlockersPool {
        node: NodeView,
        look: Box<Look>,
    },
    /// The Nodes of entries that are not in the pool are read one by one, this one now.
    BlockersHolder {
        node: NodeView,
        look: Box<Look>,
        pool: PoolCount,
        name: String,
    },
    /// Then others are asked, one question at a time; the open one is at this place.
    BlockersAsked {
        place: usize,
        found: Vec<Blocker>,
        /// Whether the node is drained: the Node that was read shows our hold.
        is_held: bool,
    },
    /// What a node that is back lacks is read from the Node, then asked by the expression at this place, then read from its pods.
    MissingNode,
    MissingExpression(usize),
    MissingPods,
    /// The Lease is created before it is written.
    Registering,
    ListingPods,
    /// Their `DaemonSets` are looked up.
    LookingUp(Vec<PodView>),
}

/// How a request goes on.
pub(super) enum Progress {
    Call(Call),
    Answer(Answer),
}

impl Request {
    /// Begins a request with its first call, or with an answer where no call is needed. `deadline` is that of a reboot command.
    pub(super) fn begin(
        ask: Ask,
        setup: &Setup,
        deadline: Option<Uptime>,
        wall: Timestamp,
    ) -> (Request, Progress) {
        let (stage, progress) = first(&ask, setup, deadline, wall);
        (Request { ask, stage }, progress)
    }

    /// What follows from the reply to the open call; `None` if the reply does not belong to it.
    pub(super) fn replied(
        &mut self,
        reply: Reply,
        setup: &Setup,
        memory: &mut Memory,
        at: Moment,
    ) -> Option<Progress> {
        let wall = at.wall;
        let answer = match (&self.ask, reply) {
            (Ask::ListBlockers, Reply::Found(answer)) => return self.asked(answer, setup, memory, at),
            (Ask::ListBlockers, reply) => return self.list_blockers(reply, setup, memory, at),
            (Ask::ListMissing, reply) => return self.list_missing(reply, setup),
            (Ask::AskHost, Reply::Host(state)) => Answer::Host(state),
            (Ask::Reboot { .. }, Reply::Rebooted(result)) => Answer::RebootIssued(result),
            (Ask::ReadNode, Reply::Node(result)) => Answer::Node(result.map_err(Failure::from)),
            (Ask::ReadPeer(name), Reply::Node(result)) => Answer::Peer(peer(name, result)),
            (Ask::ListHeld, Reply::Nodes(result)) => Answer::Held(result.map_err(Failure::from)),
            (Ask::CountPool, Reply::Pool(result)) => Answer::Pool(result.map_err(Failure::from)),
            (Ask::ReadLock, Reply::Lock(result)) => return self.read_lock(result, setup, wall),
            (Ask::WriteLock(write), Reply::Lock(result)) => match (&self.stage, result) {
                (Stage::Registering, Ok(lease)) => {
                    let swap = swap_once_registered(write, lease, setup, wall);
                    self.stage = Stage::Last;
                    return Some(swap);
                }
                (_, result) => Answer::LockWritten(result.map(drop).map_err(Failure::from)),
            },
            (Ask::PatchNode(patch), Reply::Recorded(result)) => match (&self.stage, result) {
                (Stage::Recording, Ok(())) => {
                    let call = patch_node(patch, setup, wall);
                    self.stage = Stage::Last;
                    return Some(Progress::Call(call));
                }
                // Refused, because nothing was sent: without the record, the next process would not know of the write.
                (Stage::Recording, Err(why)) => Answer::Patched(Err(Failure::Refused(why))),
                _ => return None,
            },
            (Ask::PatchNode(_), Reply::Node(result)) => Answer::Patched(result.map_err(Failure::from)),
            (Ask::ListPods(_), Reply::Pods(Ok(pods))) => {
                // A pod whose DaemonSet is gone has to leave like any other.
                let call = Call::LookUp(pod::daemon_sets(&pods));
                self.stage = Stage::LookingUp(pods);
                return Some(Progress::Call(call));
            }
            (Ask::ListPods(_), Reply::Pods(Err(failed)) | Reply::Missing(Err(failed))) => {
                Answer::PodsLeft(Err(failed.failure))
            }
            (Ask::ListPods(kept), Reply::Missing(Ok(missing))) => {
                let Stage::LookingUp(pods) = &self.stage else {
                    return None;
                };
                let left = pod::left(pods, &missing, kept, setup.drain.skip_wait, wall);
                Answer::PodsLeft(Ok(left))
            }
            _ => return None,
        };
        Some(Progress::Answer(answer))
    }

    /// Takes a read of the object that may carry the lock. An object that does not exist holds nothing.
    ///
    /// If kured's DaemonSet has come or gone since an entry was written, the holder does not find its entry at the confirm and
    /// calls the reboot off. Until then its Node fills a slot by its marks.
    fn read_lock(
        &mut self,
        result: Result<CarrierView, Failed>,
        setup: &Setup,
        wall: Timestamp,
    ) -> Option<Progress> {
        let Stage::ReadingLock(carrier) = self.stage else {
            return None;
        };
        Some(match lock_read(carrier, result, setup, wall) {
            LockRead::Otherwise(otherwise) => {
                self.stage = Stage::ReadingLock(otherwise);
                Progress::Call(Call::ReadLock(otherwise))
            }
            LockRead::Read(lock) => Progress::Answer(Answer::Lock(lock)),
        })
    }

    /// Takes the reads that show what blocks a reboot, one after the other. If one fails, so does the request.
    fn list_blockers(
        &mut self,
        reply: Reply,
        setup: &Setup,
        memory: &mut Memory,
        at: Moment,
    ) -> Option<Progress> {
        let stage = std::mem::replace(&mut self.stage, Stage::Last);
        Some(match (stage, reply) {
            (Stage::BlockersNode, Reply::Node(Ok(node))) => {
                let carrier = setup.lock.first;
                self.stage = Stage::BlockersLock { node, carrier };
                Progress::Call(Call::ReadLock(carrier))
            }
            (Stage::BlockersLock { node, carrier }, Reply::Lock(result)) => {
                match lock_read(carrier, result, setup, at.wall) {
                    LockRead::Otherwise(carrier) => {
                        self.stage = Stage::BlockersLock { node, carrier };
                        Progress::Call(Call::ReadLock(carrier))
                    }
                    LockRead::Read(Ok(lock)) if setup.rules.needs_pool() => {
                        self.count_pool(node, lock, setup)
                    }
                    LockRead::Read(Ok(lock)) => self.found((&node, &lock, None), setup, memory, at),
                    LockRead::Read(Err(failure)) => Progress::Answer(Answer::Blockers(Err(failure))),
                }
            }
            (Stage::BlockersPool { node, look }, Reply::Pool(Ok(pool))) => {
                self.look_at_holders((node, look, pool), setup, memory, at)
            }
            (
                Stage::BlockersHolder {
                    node,
                    look,
                    mut pool,
                    name,
                },
                Reply::Node(result),
            ) => {
                match peer(&name, result) {
                    Ok(holder) => pool.add_holder(&name, holder.as_ref(), &look),
                    // No Node can have that name, which is no evidence that the entry is over.
                    Err(Failure::Refused(_)) => pool.add_unknown(&name, &look),
                    Err(failure) => return Some(Progress::Answer(Answer::Blockers(Err(failure)))),
                }
                self.look_at_holders((node, look, pool), setup, memory, at)
            }
            (_, Reply::Node(Err(failed)) | Reply::Pool(Err(failed))) => {
                Progress::Answer(Answer::Blockers(Err(failed.failure)))
            }
            (stage, _) => {
                self.stage = stage;
                return None;
            }
        })
    }

    /// Lists the pool's Nodes, after the lock.
    fn count_pool(&mut self, node: NodeView, lock: LockView, setup: &Setup) -> Progress {
        let search = Box::new(setup.rules.look(&setup.settings.node, lock));
        self.stage = Stage::BlockersPool {
            node,
            look: search.clone(),
        };
        Progress::Call(Call::CountNodes {
            labels: setup.settings.pool.to_string(),
            look: search,
        })
    }

    /// Reads the next Node of an entry that is not in the pool; after the last one, all facts are there.
    fn look_at_holders(
        &mut self,
        (node, look, mut pool): (NodeView, Box<Look>, PoolCount),
        setup: &Setup,
        memory: &mut Memory,
        at: Moment,
    ) -> Progress {
        let next = setup
            .rules
            .needs_others()
            .then(|| pool.next_holder(&look))
            .flatten();
        let Some(name) = next else {
            return self.found((&node, &look.lock, Some(&pool)), setup, memory, at);
        };
        let call = Call::ReadNode(name.clone());
        self.stage = Stage::BlockersHolder {
            node,
            look,
            pool,
            name,
        };
        Progress::Call(call)
    }

    /// Finds what blocks by what was read. That spares others the questions.
    fn found(
        &mut self,
        (node, lock, pool): (&NodeView, &LockView, Option<&PoolCount>),
        setup: &Setup,
        memory: &mut Memory,
        at: Moment,
    ) -> Progress {
        let facts = Facts {
            node,
            lock,
            pool,
            concurrency: setup.settings.concurrency,
        };
        let mut blockers = blocker::blockers(&facts, &setup.rules);
        blockers.extend(memory.min_interval(&facts, &setup.rules, at));
        if blockers.is_empty() {
            self.next_question(0, blockers, hold::is_held(&hold::read(node)), setup)
        } else {
            Progress::Answer(Answer::Blockers(Ok(blockers)))
        }
    }

    /// Takes the reads that show what a node that is back lacks, one after the other, until something is missing.
    fn list_missing(&mut self, reply: Reply, setup: &Setup) -> Option<Progress> {
        let stage = std::mem::replace(&mut self.stage, Stage::Last);
        let missing = match (stage, reply) {
            (Stage::MissingNode, Reply::Node(Ok(node))) => {
                // This read is younger than what the watch has shown.
                let missing = if node.is_ready() {
                    readiness::missing_on_node(&setup.ready_when, &node)
                } else {
                    vec![Missing::Ready]
                };
                if missing.is_empty() {
                    return Some(self.next_missing(0, setup));
                }
                Ok(missing)
            }
            (Stage::MissingExpression(place), Reply::Found(Ok(Found::Truth(true)))) => {
                return Some(self.next_missing(place + 1, setup));
            }
            (Stage::MissingExpression(place), Reply::Found(answer)) => {
                let text = expressions(setup).nth(place)?.to_string();
                let why = answer.err();
                Ok(vec![Missing::Expression { text, why }])
            }
            (Stage::MissingPods, Reply::Pods(Ok(pods))) => Ok(readiness::missing_pods(&pods)),
            (_, Reply::Node(Err(failed)) | Reply::Pods(Err(failed))) => Err(failed.failure),
            (stage, _) => {
                self.stage = stage;
                return None;
            }
        };
        Some(Progress::Answer(Answer::Missing(missing)))
    }

    /// Asks the expression at this place about our Node; without one, reads the pods if they are to be looked at.
    fn next_missing(&mut self, place: usize, setup: &Setup) -> Progress {
        if let Some(expression) = expressions(setup).nth(place) {
            self.stage = Stage::MissingExpression(place);
            return Progress::Call(Call::AskObject(ObjectRule {
                object: ObjectName::node(&setup.settings.node),
                expression: expression.clone(),
            }));
        }
        if setup.ready_when.contains(&Readiness::DaemonSetPods) {
            self.stage = Stage::MissingPods;
            return Progress::Call(Call::ListAllPods);
        }
        Progress::Answer(Answer::Missing(Ok(Vec::new())))
    }

    /// Asks the question at this place, or gives the blockers that were found where there is none.
    fn next_question(&mut self, place: usize, found: Vec<Blocker>, is_held: bool, setup: &Setup) -> Progress {
        let is_asked = |question: &Question<'_>| !is_held || question.is_asked_at_the_end();
        // Places do not move, because what has no answer is known by its place.
        let questions = setup.rules.questions().enumerate().skip(place);
        let Some((place, question)) = { questions }.find(|(_, question)| is_asked(question)) else {
            return Progress::Answer(Answer::Blockers(Ok(found)));
        };
        self.stage = Stage::BlockersAsked {
            place,
            found,
            is_held,
        };
        Progress::Call(match question {
            Question::Alerts(filter) => Call::Query(filter.query()),
            Question::Promql(expression) => Call::Query(expression.to_owned()),
            Question::Pods(rule) => Call::ListBlockingPods(rule.clone()),
            Question::Object(rule) => Call::AskObject(rule.clone()),
            Question::Budgets(_) => Call::ListBudgets,
            Question::Inhibitors => Call::ListInhibitors,
        })
    }

    /// Takes the answer to the open question.
    fn asked(
        &mut self,
        answer: Result<Found, String>,
        setup: &Setup,
        memory: &mut Memory,
        at: Moment,
    ) -> Option<Progress> {
        let Stage::BlockersAsked {
            place,
            found,
            is_held,
        } = &mut self.stage
        else {
            return None;
        };
        let (place, mut found, is_held) = (*place, std::mem::take(found), *is_held);
        let question = setup.rules.questions().nth(place)?;
        let blocker = memory
            .unanswered
            .judge((place, question), answer, setup.rules.timeout, at);
        found.extend(blocker);
        Some(self.next_question(place + 1, found, is_held, setup))
    }
}

/// The expressions that must be true of a Node that is back.
fn expressions(setup: &Setup) -> impl Iterator<Item = &Expression> {
    setup.ready_when.iter().filter_map(Readiness::expression)
}

/// The first call of a request, and which of its calls that is.
fn first(ask: &Ask, setup: &Setup, deadline: Option<Uptime>, wall: Timestamp) -> (Stage, Progress) {
    let Setup {
        settings,
        timing,
        lock,
        ..
    } = setup;
    let mut stage = Stage::Last;
    let call = match ask {
        Ask::AskHost => Call::AskHost,
        Ask::Reboot { record } => Call::Reboot {
            record: record.clone(),
            timeout: timing.reboot_timeout,
            deadline,
        },
        Ask::ReadNode => Call::ReadNode(settings.node.clone()),
        Ask::ReadPeer(name) => Call::ReadNode(name.clone()),
        Ask::ListHeld => Call::ListNodes(hold::held_selector(&settings.pool)),
        Ask::CountPool => Call::CountNodes {
            labels: settings.pool.to_string(),
            look: Box::default(),
        },
        Ask::ListPods(_) => {
            stage = Stage::ListingPods;
            Call::ListPods
        }
        Ask::ListBlockers => {
            stage = Stage::BlockersNode;
            Call::ReadNode(settings.node.clone())
        }
        Ask::ListMissing => {
            stage = Stage::MissingNode;
            Call::ReadNode(settings.node.clone())
        }
        Ask::ReadLock => {
            stage = Stage::ReadingLock(lock.first);
            Call::ReadLock(lock.first)
        }
        Ask::PatchNode(patch) => match &patch.record {
            Some(record) => {
                stage = Stage::Recording;
                Call::WriteRecord(record.clone())
            }
            None => patch_node(patch, setup, wall),
        },
        Ask::WriteLock(write) => match (&write.version, write.carrier) {
            (Some(version), _) => swap(write, version, setup, wall),
            (None, Carrier::Lease) => {
                stage = Stage::Registering;
                Call::ApplyLease(lock.lease.registration(&settings.pool))
            }
            (None, Carrier::DaemonSet) => {
                let why = format!(
                    "the {} does not exist: name kured's with --ds-namespace and --ds-name, or use --lock-on=lease",
                    lock.daemon_set
                );
                return (
                    stage,
                    Progress::Answer(Answer::LockWritten(Err(Failure::Refused(why)))),
                );
            }
        },
    };
    (stage, Progress::Call(call))
}

/// What a read of an object that may carry the lock leads to.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it lives for a call"
)]
enum LockRead {
    /// It does not exist, and this other object may carry the lock.
    Otherwise(Carrier),
    /// The lock; an object that does not exist holds nothing.
    Read(Result<LockView, Failure>),
}

fn lock_read(
    carrier: Carrier,
    result: Result<CarrierView, Failed>,
    setup: &Setup,
    wall: Timestamp,
) -> LockRead {
    let object = setup.lock.object(carrier);
    LockRead::Read(match result {
        Ok(view) => Ok(object.read(&view, wall)),
        Err(failed) if failed.is_gone(&object.name) => {
            if let Some(otherwise) = setup.lock.otherwise.filter(|otherwise| *otherwise != carrier) {
                return LockRead::Otherwise(otherwise);
            }
            Ok(LockView {
                carrier,
                ..LockView::default()
            })
        }
        Err(failed) => Err(failed.failure),
    })
}

/// Another agent's Node; `None` only if the API server itself says that this very Node does not exist.
fn peer(name: &str, result: Result<NodeView, Failed>) -> Result<Option<NodeView>, Failure> {
    match result {
        Ok(node) => Ok(Some(node)),
        Err(failed) if failed.is_gone(name) => Ok(None),
        Err(failed) => Err(failed.failure),
    }
}

fn patch_node(patch: &NodePatch, setup: &Setup, wall: Timestamp) -> Call {
    Call::PatchNode {
        name: patch.name.clone(),
        body: patch.body(wall, &setup.timing.terms()),
    }
}

/// The compare-and-swap of the lock.
fn swap(write: &LockWrite, version: &str, setup: &Setup, wall: Timestamp) -> Call {
    let key = &setup.lock.object(write.carrier).key;
    let mut write = write.clone();
    write.record.date(&setup.settings.node, wall);
    Call::PatchLock {
        carrier: write.carrier,
        body: lock_object::patch(&write, key, version, wall),
    }
}

/// The write that follows the creation of the Lease. If somebody has written a record or a pause there meanwhile, the
/// compare-and-swap is lost.
fn swap_once_registered(write: &LockWrite, lease: CarrierView, setup: &Setup, wall: Timestamp) -> Progress {
    match lease.version_if_empty() {
        Some(version) => Progress::Call(swap(write, &version, setup, wall)),
        None => Progress::Answer(Answer::LockWritten(Err(Failure::Conflict))),
    }
}
