//! Which certificates there should be, and what to do next: which CA to add, what to write into the `caBundle`s, which certificate to sign.
//!
//! A change of CAs takes four steps, each of which waits until the one before it has been seen in the cluster:
//!
//! 1. the next CA is written into the Secret of the CAs;
//! 2. each `caBundle` gets all CAs of that Secret;
//! 3. after they have stood there for [`Lifetimes::settle`], because an API server learns of them late, the next serving certificate is
//!    signed by the new CA;
//! 4. a CA leaves the Secret, and then the `caBundle`s, when the last certificate that it has signed has ended.
//!
//! So a certificate that a replica may still serve is trusted by each `caBundle`, and nobody has to know what the replicas serve.
//! A Secret or `caBundle` that somebody has changed is taken as it is found, and brought back from there.
//!
//! Not here: keys, signatures and requests (the webhook's `certs`), and what is wrong with a certificate for the one who serves it
//! ([`crate::admission::trust`]).

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::Reading;
use crate::admission::trust::Validity;
use crate::reboot::moment::Uptime;

mod lifetimes;
mod meddler;
mod problem;
pub mod record;
mod settling;

pub use lifetimes::{BACKDATE, Lifetimes, LifetimesError, SETTLE_MIN};
pub use meddler::{MANAGER, Meddler, Noted, Repairs, Suspect};
pub use problem::Problem;
pub use settling::Settling;

/// Most CAs with which one from a `caBundle` is still kept. Two are usual, three while one of them ends; more come from Secrets that were
/// deleted again and again. A new CA is made however many there are: without it everything would end.
pub const AUTHORITIES_MAX: usize = 16;
/// How far the clock of this machine may be from the API server's for anything to be done by the time. Less than [`BACKDATE`], so that
/// whoever may sign makes certificates that are valid for the API server at once.
pub const CLOCK_TOLERANCE: Duration = Duration::from_mins(5);

/// Identifies a certificate: the SHA-256 of its DER, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub String);

/// What the cluster has, as it was just read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The CAs of the Secret that keeps them.
    pub authorities: Reading<Vec<Authority>>,
    /// The certificate of the Secret that the webhook mounts.
    pub leaf: Reading<Leaf>,
    /// The `caBundle` of each webhook that is ours.
    pub bundles: Vec<Bundle>,
    /// An object that cert-manager writes; nothing is written then.
    pub of_cert_manager: Option<OfCertManager>,
}

/// An object that cert-manager writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfCertManager {
    /// The object's kind and name, for people.
    pub what: String,
    /// The annotation that says so.
    pub annotation: &'static str,
}

/// A CA of the Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Which certificate it is.
    pub id: Id,
    /// When it is valid.
    pub validity: Validity,
    /// Whether the Secret has its key. Without, it can only be trusted.
    pub has_key: bool,
    /// When the last certificate that it has signed ends; `None`: it has signed none.
    pub signed_until: Option<Timestamp>,
}

/// The serving certificate in the Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The CA that has signed it, if that is one of the Secret or of a `caBundle`.
    pub issuer: Option<Id>,
    /// When it is valid.
    pub validity: Validity,
    /// Whether it has the names that the API server asks for, and belongs to the key beside it.
    pub fits: bool,
    /// Whether this program has written the Secret, as `managedFields` says.
    pub is_ours: bool,
    /// The Secret's kind and name, for people.
    pub of: String,
}

/// The `caBundle` of one webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The webhook's name in its configuration.
    pub webhook: String,
    /// The CAs in it, in any order. Absent: it is missing or empty. Malformed: the API server cannot read it either.
    pub trusted: Reading<Vec<Trusted>>,
    /// Whether it was written by this program last, as `managedFields` says.
    pub is_ours: bool,
}

/// A CA in a `caBundle`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// Which certificate it is.
    pub id: Id,
    /// When it is valid.
    pub validity: Validity,
}

/// The same moment on three clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// On the wall clock of this machine.
    pub here: Timestamp,
    /// On the wall clock of the API server.
    pub server: Timestamp,
    /// On the monotonic clock of this process.
    pub uptime: Uptime,
}

/// One thing to do. Whatever was done, the cluster is read again before the next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write all CAs of the Secret into the `caBundle`s of these webhooks.
    WriteBundles {
        /// The webhooks.
        webhooks: Vec<String>,
        /// CAs that are written there too: they are in other `caBundle`s and needed, and cannot be kept in the Secret now.
        also: Vec<Id>,
    },
    /// Keep these CAs, which are in `caBundle`s, in the Secret, without their keys.
    Keep(Vec<Authority>),
    /// Make a CA, and write it into the Secret, beside these which are kept without their keys. If there is no Secret, create it.
    AddAuthority {
        /// When the new CA is valid.
        validity: Validity,
        /// The CAs to keep as well.
        keep: Vec<Authority>,
    },
    /// Note in the Secret until when this CA is needed, then sign a certificate with it and write that into the Secret that the webhook
    /// mounts.
    SignLeaf {
        /// The CA.
        by: Id,
        /// When the certificate is valid.
        validity: Validity,
    },
    /// Take these CAs out of the Secret.
    DropAuthorities(Vec<Id>),
}

/// What to do now, when to look again, and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps, none of which waits for another. The first one is the most urgent.
    pub steps: Vec<Step>,
    /// How long until something is due if nobody changes anything; `None`: unknown.
    pub wait: Option<Duration>,
    /// What keeps something from being done.
    pub problem: Option<Problem>,
}

/// Everything that the decision looks at.
struct View<'a> {
    known: &'a [Authority],
    leaf: Option<&'a Leaf>,
    /// Whether the Secret has a certificate, be it one that cannot be read.
    has_leaf: bool,
    bundles: &'a [Bundle],
    settling: &'a Settling,
    clocks: Clocks,
    lifetimes: &'a Lifetimes,
}

/// What to do next.
pub fn decide(seen: &Seen, settling: &Settling, clocks: Clocks, lifetimes: &Lifetimes) -> Plan {
    let known: &[Authority] = match &seen.authorities {
        Reading::Absent => &[],
        Reading::Present(known) => known,
        Reading::Malformed(why) => {
            return Plan {
                problem: Some(Problem::RecordUnreadable(why.clone())),
                ..Plan::default()
            };
        }
    };
    let view = View {
        known,
        leaf: seen.leaf.as_ref().present(),
        has_leaf: !matches!(seen.leaf, Reading::Absent),
        bundles: &seen.bundles,
        settling,
        clocks,
        lifetimes,
    };
    if let Some(problem) = view.foreign(seen) {
        return Plan {
            problem: Some(problem),
            ..Plan::default()
        };
    }
    let problem = view.clock_problem();
    let keep = view.to_keep(problem.is_none());
    let mut plan = Plan::default();
    // A CA that must be kept is not in the Secret yet, so nothing may be written into a `caBundle` before it is, or without it.
    if keep.is_empty() || problem.is_some() {
        plan.steps.extend(view.bundles_to_write(&keep));
    }
    if problem.is_none() {
        plan.steps.extend(view.change(keep));
        plan.wait = view.next_due();
    }
    Plan { problem, ..plan }
}

impl View<'_> {
    fn now(&self) -> Timestamp {
        self.clocks.here
    }

    /// Who else keeps the certificate, so that nothing may be written.
    fn foreign(&self, seen: &Seen) -> Option<Problem> {
        if let Some(OfCertManager { what, annotation }) = &seen.of_cert_manager {
            return Some(Problem::CertManager {
                what: what.clone(),
                annotation,
            });
        }
        let is_in_use =
            |leaf: &&Leaf| !leaf.is_ours && leaf.issuer.is_none() && self.now() < leaf.validity.to;
        let leaf = self
            .leaf
            .filter(|leaf| self.known.is_empty() && is_in_use(leaf))?;
        Some(Problem::ForeignCertificate {
            served: leaf.of.clone(),
            until: leaf.validity.to,
        })
    }

    /// Why nothing may be done by the time.
    fn clock_problem(&self) -> Option<Problem> {
        let Clocks { here, server, .. } = self.clocks;
        if here.duration_since(server).unsigned_abs() > CLOCK_TOLERANCE {
            return Some(Problem::ClocksDiffer { here, server });
        }
        let made = |authority: &&Authority| authority.has_key;
        let mut begun: Vec<Timestamp> = self
            .known
            .iter()
            .filter(made)
            .map(|ca| ca.validity.from)
            .collect();
        let leaf = self
            .leaf
            .filter(|leaf| self.issuer_of(leaf).is_some_and(|ca| ca.has_key));
        begun.extend(leaf.map(|leaf| leaf.validity.from));
        let latest = begun.into_iter().max()?;
        (latest > here).then_some(Problem::ClockBehind { here, begun: latest })
    }

    /// The one change of a Secret that comes next. One at a time, because each is written on what was read.
    fn change(&self, keep: Vec<Authority>) -> Option<Step> {
        if self
            .newest()
            .is_none_or(|newest| newest.validity.to <= self.now())
        {
            return Some(self.add(keep));
        }
        if !keep.is_empty() {
            return Some(Step::Keep(keep));
        }
        if let Some((by, validity)) = self.leaf_to_sign() {
            return Some(Step::SignLeaf {
                by: by.id.clone(),
                validity,
            });
        }
        let over = self.over();
        if !over.is_empty() {
            return Some(Step::DropAuthorities(over));
        }
        let is_next_due = self.next_authority_at().is_some_and(|at| at <= self.now());
        is_next_due.then(|| self.add(Vec::new()))
    }

    fn add(&self, keep: Vec<Authority>) -> Step {
        Step::AddAuthority {
            validity: self.validity(self.lifetimes.authority()),
            keep,
        }
    }

    fn validity(&self, lifetime: Duration) -> Validity {
        Validity {
            from: whole(shifted(self.now(), -signed(BACKDATE))),
            to: whole(shifted(self.now(), signed(lifetime))),
        }
    }

    fn find(&self, id: &Id) -> Option<&Authority> {
        self.known.iter().find(|authority| authority.id == *id)
    }

    fn issuer_of(&self, leaf: &Leaf) -> Option<&Authority> {
        self.find(leaf.issuer.as_ref()?)
    }

    /// The CA that signs once it has settled: of those with a key, the one that ends last.
    fn newest(&self) -> Option<&Authority> {
        let with_key = self.known.iter().filter(|authority| authority.has_key);
        with_key.max_by_key(|authority| authority.end())
    }

    /// CAs that are only in `caBundle`s, and have signed what may be served: the one of the serving certificate, and, if there is no Secret
    /// of CAs any more, all that this program itself has written; or all, if nobody knows which one has signed what is in the Secret.
    /// At most as many as there is room for, but always the one of the serving certificate.
    fn to_keep(&self, is_clock_right: bool) -> Vec<Authority> {
        let issuer = self.leaf.and_then(|leaf| leaf.issuer.as_ref());
        let is_lost = self.known.is_empty();
        let is_obscure = is_lost && self.has_leaf && issuer.is_none();
        let mut keep: Vec<Authority> = Vec::new();
        for bundle in self.bundles {
            let Reading::Present(trusted) = &bundle.trusted else {
                continue;
            };
            for ca in trusted {
                let is_needed = issuer == Some(&ca.id) || (is_lost && bundle.is_ours) || is_obscure;
                let is_new = self.find(&ca.id).is_none() && keep.iter().all(|kept| kept.id != ca.id);
                if is_needed && is_new && (ca.validity.to > self.now() || !is_clock_right) {
                    keep.push(self.kept(ca));
                }
            }
        }
        let rank = |ca: &Authority| {
            (
                issuer == Some(&ca.id),
                ca.validity.from,
                ca.validity.to,
                ca.id.clone(),
            )
        };
        keep.sort_by_key(|ca| Reverse(rank(ca)));
        let has_issuer = keep.first().is_some_and(|ca| issuer == Some(&ca.id));
        let room = AUTHORITIES_MAX.saturating_sub(self.known.len() + 1);
        keep.truncate(room.max(usize::from(has_issuer)));
        // As in the Secret: the oldest comes first.
        keep.sort_by_key(|ca| (ca.validity.from, ca.id.clone()));
        keep
    }

    fn kept(&self, ca: &Trusted) -> Authority {
        // Nobody knows what else it has signed. A certificate of ours would end by then, and replicas that serve another one get ours.
        let until = shifted(self.now(), signed(self.lifetimes.leaf() + BACKDATE));
        Authority {
            id: ca.id.clone(),
            validity: ca.validity,
            has_key: false,
            signed_until: Some(whole(until.min(ca.validity.to))),
        }
    }

    /// Writes the webhooks whose `caBundle` has not exactly the CAs of the Secret and `also`.
    fn bundles_to_write(&self, also: &[Authority]) -> Option<Step> {
        if self.known.is_empty() {
            return None;
        }
        let wanted: BTreeSet<&Id> = self.known.iter().chain(also).map(|ca| &ca.id).collect();
        let is_wrong = |bundle: &&Bundle| bundle.ids() != wanted;
        let wrong: Vec<String> = self
            .bundles
            .iter()
            .filter(is_wrong)
            .map(|bundle| bundle.webhook.clone())
            .collect();
        (!wrong.is_empty()).then(|| Step::WriteBundles {
            webhooks: wrong,
            also: also.iter().map(|ca| ca.id.clone()).collect(),
        })
    }

    fn is_everywhere(&self, authority: &Authority) -> bool {
        self.bundles
            .iter()
            .all(|bundle| bundle.ids().contains(&authority.id))
    }

    /// The CA and validity of the certificate that is to be signed now.
    fn leaf_to_sign(&self) -> Option<(&Authority, Validity)> {
        let now = self.now();
        let may_sign = |authority: &&Authority| {
            let Validity { from, to } = authority.validity;
            authority.has_key && from <= now && now < to && self.is_everywhere(authority)
        };
        let (settled, fresh): (Vec<&Authority>, Vec<&Authority>) = self
            .known
            .iter()
            .filter(may_sign)
            .partition(|authority| self.unsettled_for(authority).is_zero());
        let served = self.usable_leaf();
        let by = match settled.into_iter().max_by_key(|authority| authority.end()) {
            Some(by) => by,
            // Nothing usable is in the Secret, so nothing is lost by waiting less: for a CA that has signed before, which API servers know.
            None if served.is_none() => {
                let may_hurry =
                    |authority: &&Authority| authority.signed_until.is_some() || !self.is_any_served();
                let fresh = fresh.into_iter().filter(may_hurry);
                fresh.max_by_key(|authority| (authority.signed_until, authority.end()))?
            }
            None => return None,
        };
        let mut validity = self.validity(self.lifetimes.leaf());
        validity.to = validity.to.min(by.validity.to);
        let is_due = match served {
            None => true,
            Some((leaf, issuer)) => !issuer.has_key || self.is_worth_renewing(leaf.validity, validity.to),
        };
        is_due.then_some((by, validity))
    }

    /// Whether it is time to renew, and the new certificate would end much later: one of a CA that ends soon would not.
    fn is_worth_renewing(&self, served: Validity, new_end: Timestamp) -> bool {
        let gain = new_end.duration_since(served.to);
        self.renewal_at(served) <= self.now() && gain >= signed(self.lifetimes.period() / 2)
    }

    /// Whether a replica may still serve a certificate that has not ended, be it no longer in the Secret.
    fn is_any_served(&self) -> bool {
        self.known
            .iter()
            .any(|authority| authority.signed_until.is_some_and(|until| until > self.now()))
    }

    fn renewal_at(&self, served: Validity) -> Timestamp {
        shifted(served.to, -signed(self.lifetimes.renew_before()))
    }

    /// The serving certificate with its CA, if an API server with our `caBundle`s accepts it now.
    fn usable_leaf(&self) -> Option<(&Leaf, &Authority)> {
        let leaf = self
            .leaf
            .filter(|leaf| leaf.fits && leaf.validity.from <= self.now() && self.now() < leaf.validity.to)?;
        let issuer = self.issuer_of(leaf)?;
        (self.now() < issuer.validity.to).then_some((leaf, issuer))
    }

    /// How long this CA must still stand in the `caBundle`s before it signs.
    fn unsettled_for(&self, authority: &Authority) -> Duration {
        self.settling
            .left(&authority.id, self.clocks.uptime, self.lifetimes.settle())
    }

    /// The CAs that nothing needs any more.
    fn over(&self) -> Vec<Id> {
        let newest = self.newest().map(|authority| &authority.id);
        let served = self
            .leaf
            .filter(|leaf| self.now() < leaf.validity.to)
            .and_then(|leaf| leaf.issuer.as_ref());
        let is_over = |authority: &&Authority| {
            let is_needed = Some(&authority.id) == newest
                || Some(&authority.id) == served && self.now() < authority.validity.to;
            !is_needed
                && authority
                    .over_at(self.lifetimes.grace())
                    .is_none_or(|at| at <= self.now())
        };
        self.known
            .iter()
            .filter(is_over)
            .map(|authority| authority.id.clone())
            .collect()
    }

    /// When the next CA is due: one whole period before the newest one could sign no certificate of full length any more.
    fn next_authority_at(&self) -> Option<Timestamp> {
        let ahead = self.lifetimes.leaf() + self.lifetimes.period();
        Some(shifted(self.newest()?.validity.to, -signed(ahead)))
    }

    fn next_due(&self) -> Option<Duration> {
        let now = self.now();
        let renewal = self.leaf.map(|leaf| self.renewal_at(leaf.validity));
        let end = self.leaf.map(|leaf| leaf.validity.to);
        let over = self
            .known
            .iter()
            .filter_map(|authority| authority.over_at(self.lifetimes.grace()));
        let times = over.chain(self.next_authority_at()).chain(renewal).chain(end);
        let waits = times
            .filter(|at| *at > now)
            .map(|at| at.duration_since(now).unsigned_abs());
        let settled = self.known.iter().map(|authority| self.unsettled_for(authority));
        waits.chain(settled.filter(|left| !left.is_zero())).min()
    }
}

impl Authority {
    /// When everything that it has signed has ended, on any API server's clock; `None`: it has signed nothing.
    fn over_at(&self, grace: Duration) -> Option<Timestamp> {
        let end = self.signed_until?.min(self.validity.to);
        Some(shifted(end, signed(grace)))
    }

    /// When it ends. The id is there so that no two are equal.
    fn end(&self) -> (Timestamp, &Id) {
        (self.validity.to, &self.id)
    }
}

impl Step {
    /// The webhooks whose `caBundle` is to be written.
    pub fn webhooks(&self) -> &[String] {
        match self {
            Step::WriteBundles { webhooks, .. } => webhooks,
            Step::Keep(_) | Step::AddAuthority { .. } | Step::SignLeaf { .. } | Step::DropAuthorities(_) => {
                &[]
            }
        }
    }
}

impl Bundle {
    /// Whether writing all of `known` into it undoes what somebody else has done: it is not a first write, and it does not just follow a
    /// change of our CAs.
    pub fn is_repaired(&self, known: &[Authority], was_right: bool) -> bool {
        let is_known = |ca: &Trusted| known.iter().any(|authority| authority.id == ca.id);
        let is_strange = match &self.trusted {
            Reading::Absent => false,
            Reading::Present(trusted) => !trusted.iter().all(is_known),
            Reading::Malformed(_) => true,
        };
        !self.is_ours && (was_right || is_strange)
    }

    fn ids(&self) -> BTreeSet<&Id> {
        match &self.trusted {
            Reading::Present(trusted) => trusted.iter().map(|ca| &ca.id).collect(),
            Reading::Absent | Reading::Malformed(_) => BTreeSet::new(),
        }
    }
}

/// In a certificate, times are whole seconds.
fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

fn shifted(time: Timestamp, by: SignedDuration) -> Timestamp {
    let bound = if by.is_negative() {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    time.checked_add(by).unwrap_or(bound)
}

#[cfg(test)]
mod tests;
