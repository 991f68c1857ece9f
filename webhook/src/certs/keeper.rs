//! One look at the cluster, the step that follows from it, and the report of both by log, Event, metric and readiness.
//!
//! Not here: which step follows ([`cordonhold_shared::certificates::decide`]), and when the next look is ([`super`]).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cordonhold_rt::exit::one_line;
use cordonhold_shared::Reading;
use cordonhold_shared::admission::trust::{Name, Validity};
use cordonhold_shared::certificates::record::{self, Stored};
use cordonhold_shared::certificates::{
    Authority, Clocks, Id, Lifetimes, Meddler, Noted, Plan, Problem, Repairs, Settling, Step, Suspect, decide,
};
use cordonhold_shared::reboot::moment::Uptime;
use jiff::Timestamp;
use tracing::{debug, info, warn};

use super::cluster::{Cluster, Configuration, RequestError, SecretOf, Snapshot};
use super::facts::Facts;
use super::metrics::{CertsMetrics, REQUEST_FAILED, StepKind, StepOutcome};
use super::mint::{self, MintError};
use crate::events::{self, Recorder};
use crate::readiness::{Condition, Readiness};
use crate::tls;

/// What came of a look.
#[derive(Debug)]
pub(super) enum Done {
    /// Something was done, and the next look follows.
    Step,
    /// A `caBundle` was repaired that somebody changes again and again, and the next look follows after a pause.
    Fight(Duration),
    /// Nothing is left to do now; how long until something is due.
    Rest(Option<Duration>),
}

/// Why a look came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum PassError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Mint(#[from] MintError),
    #[error("failed to write the JSON of the CAs")]
    Render(#[from] serde_json::Error),
}

/// Looks at the cluster, and does what follows.
pub(super) struct Keeper {
    cluster: Cluster,
    lifetimes: Lifetimes,
    settling: Settling,
    started: Instant,
    /// The webhooks whose `caBundle` was right at an earlier look.
    right: BTreeSet<String>,
    repairs: Repairs,
    /// The uid of the `ValidatingWebhookConfiguration`, for Events.
    uid: Option<String>,
    /// The problem that was reported last.
    told: Option<&'static str>,
    conflicts: Conflicts,
    metrics: CertsMetrics,
    recorder: Option<Recorder>,
    readiness: Arc<Readiness>,
    is_right: Condition,
}

/// Conflicts since something was done last, or nothing was left to do.
#[derive(Debug, Default)]
struct Conflicts(u32);

/// A `caBundle` that was repaired.
struct Repair {
    webhook: String,
    suspect: Suspect,
}

impl Keeper {
    pub(super) fn new(
        cluster: Cluster,
        lifetimes: Lifetimes,
        metrics: CertsMetrics,
        recorder: Option<Recorder>,
        readiness: Arc<Readiness>,
        is_right: Condition,
    ) -> Keeper {
        Keeper {
            cluster,
            lifetimes,
            settling: Settling::default(),
            started: Instant::now(),
            right: BTreeSet::new(),
            repairs: Repairs::default(),
            uid: None,
            told: None,
            conflicts: Conflicts::default(),
            metrics,
            recorder,
            readiness,
            is_right,
        }
    }

    /// Looks once, and does the first step that can be done.
    pub(super) async fn pass(&mut self) -> Result<Done, PassError> {
        let snapshot = self.cluster.read().await?;
        let clocks = Clocks {
            here: Timestamp::now(),
            server: snapshot.server_time,
            uptime: Uptime::after(self.started.elapsed()),
        };
        let facts = Facts::of(&snapshot, self.cluster.names(), clocks.here);
        let known = facts.seen.authorities.as_ref().present().into_iter().flatten();
        self.settling.see(
            known.map(|authority| &authority.id),
            &facts.seen.bundles,
            clocks.uptime,
        );
        let plan = decide(&facts.seen, &self.settling, clocks, &self.lifetimes);
        self.report(&snapshot, &facts, &plan);
        let mut failure = None;
        for step in &plan.steps {
            let kind = StepKind::of(step);
            match self.perform(step, &snapshot, &facts, clocks.uptime).await {
                Ok(pause) => {
                    self.metrics.step(kind, StepOutcome::Done);
                    self.conflicts = Conflicts::default();
                    return Ok(pause.map_or(Done::Step, Done::Fight));
                }
                Err(error) => {
                    self.metrics.step(kind, StepOutcome::Failed);
                    failure = failure.or(Some(error));
                }
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
        self.conflicts = Conflicts::default();
        Ok(Done::Rest(plan.wait))
    }

    /// Reports a look that came to nothing.
    pub(super) fn failed(&mut self, error: &PassError, pause: Duration) {
        let why = one_line(error);
        let is_conflict = matches!(error, PassError::Request(error) if error.is_conflict());
        if is_conflict && !self.conflicts.note() {
            debug!(why, "somebody else has written meanwhile");
            return;
        }
        self.metrics.problem(Some(REQUEST_FAILED));
        self.is_right.unmet(REQUEST_FAILED, &why);
        warn!(
            why,
            ?pause,
            "the certificates cannot be kept, and it is tried again; what is in service stays as it is"
        );
        self.tell_once(REQUEST_FAILED, &why);
    }

    /// Shows what was seen and what is wrong, by metrics and readiness, and a new problem by log and Event.
    fn report(&mut self, snapshot: &Snapshot, facts: &Facts, plan: &Plan) {
        let seen = &facts.seen;
        self.metrics.show(seen);
        self.uid = snapshot
            .configurations()
            .next()
            .and_then(|configuration| configuration.uid.clone());
        let is_nowhere = seen.bundles.is_empty().then(|| {
            format!(
                "no webhook of the configurations {} is ours, so there is no caBundle to write: apply one that calls {}, or name it with \
                 --webhook-configuration, --service and --namespace",
                self.cluster.configuration_name(),
                self.cluster.names().iter().map(Name::as_text).collect::<Vec<_>>().join(" or "),
            )
        });
        self.readiness.warn(is_nowhere.into_iter().collect());
        self.metrics.problem(plan.problem.as_ref().map(Problem::code));
        if let Some(problem) = &plan.problem {
            let (code, why) = (problem.code(), problem.to_string());
            self.is_right.unmet(code, &why);
            if self.told != Some(code) {
                warn!(problem = code, why, "the certificates cannot be renewed");
            }
            self.tell_once(code, &why);
            return;
        }
        if plan.steps.is_empty() {
            self.told = None;
            self.is_right.met();
        }
        let wrong: Vec<&String> = plan.steps.iter().flat_map(Step::webhooks).collect();
        let is_known = matches!(&seen.authorities, Reading::Present(known) if !known.is_empty());
        let right = seen
            .bundles
            .iter()
            .map(|bundle| &bundle.webhook)
            .filter(|name| is_known && !wrong.contains(name));
        self.right.extend(right.cloned());
    }

    fn tell_once(&mut self, code: &'static str, why: &str) {
        if self.told != Some(code) {
            self.told = Some(code);
            self.tell(code, "", true, why);
        }
    }

    /// Writes an Event; those with the same code and series are one.
    fn tell(&self, code: &str, series: &str, is_warning: bool, text: &str) {
        if let Some(recorder) = &self.recorder {
            let name = self.cluster.configuration_name();
            recorder.tell(events::about_configuration(
                name,
                self.uid.as_deref(),
                code,
                series,
                is_warning,
                text,
            ));
        }
    }

    /// Does a step. Returns how long to wait before the next look, if not at once.
    async fn perform(
        &mut self,
        step: &Step,
        snapshot: &Snapshot,
        facts: &Facts,
        at: Uptime,
    ) -> Result<Option<Duration>, PassError> {
        match step {
            Step::WriteBundles { webhooks, also } => {
                return self.write_bundles(webhooks, also, snapshot, facts, at).await;
            }
            Step::Keep(keep) => {
                let mut stored = facts.stored.clone();
                stored.extend(kept(keep, facts));
                self.write_record(snapshot, &stored).await?;
                info!(kept = keep.len(), "kept CAs that have signed what may be served");
            }
            Step::AddAuthority { validity, keep } => self.add(*validity, keep, snapshot, facts).await?,
            Step::SignLeaf { by, validity } => self.sign(by, *validity, snapshot, facts).await?,
            Step::DropAuthorities(over) => {
                let with_id = facts.known().iter().zip(&facts.stored);
                let stays = with_id.filter(|(authority, _)| !over.contains(&authority.id));
                let stored: Vec<Stored> = stays.map(|(_, stored)| stored.clone()).collect();
                self.write_record(snapshot, &stored).await?;
                info!(
                    dropped = over.len(),
                    "dropped CAs: all that they have signed has ended"
                );
            }
        }
        Ok(None)
    }

    async fn add(
        &self,
        validity: Validity,
        keep: &[Authority],
        snapshot: &Snapshot,
        facts: &Facts,
    ) -> Result<(), PassError> {
        let made = mint::authority(validity)?;
        let mut stored = facts.stored.clone();
        stored.extend(kept(keep, facts));
        stored.push(Stored {
            certificate: made.certificate,
            key: Some(made.key),
            signed_until: None,
        });
        self.write_record(snapshot, &stored).await?;
        info!(until = %validity.to, kept = keep.len(), "made a CA");
        self.tell(
            "ca-made",
            &validity.to.to_string(),
            false,
            &format!("made a CA that is valid until {}", validity.to),
        );
        Ok(())
    }

    async fn sign(
        &self,
        by: &Id,
        validity: Validity,
        snapshot: &Snapshot,
        facts: &Facts,
    ) -> Result<(), PassError> {
        let mut stored = facts.stored.clone();
        let with_id = facts.known().iter().zip(&mut stored);
        let entry = with_id
            .into_iter()
            .find_map(|(authority, entry)| (authority.id == *by).then_some(entry));
        let (Some(entry), Some(ca)) = (entry, facts.found.get(by)) else {
            return Err(MintError::Untrusted.into());
        };
        entry.signed_until = entry.signed_until.max(Some(validity.to));
        let key = entry.key.clone().unwrap_or_default();
        // Noted first: if the rest fails, the CA is kept for longer than needed, and never for less.
        self.write_record(snapshot, &stored).await?;
        let leaf = mint::leaf(ca, &key, validity, self.cluster.names())?;
        let data = [
            (tls::CERTIFICATE_KEY, leaf.certificate.as_str()),
            (tls::PRIVATE_KEY_KEY, leaf.key.as_str()),
        ];
        self.cluster
            .write_secret(SecretOf::Served, snapshot.served.as_ref(), &data)
            .await?;
        info!(until = %validity.to, ca = ca.common_name, "signed a certificate");
        self.tell(
            "certificate-signed",
            // One Event that counts, so that two who overwrite each other do not make one each time.
            "",
            false,
            &format!("signed a certificate that is valid until {}", validity.to),
        );
        Ok(())
    }

    async fn write_record(&self, snapshot: &Snapshot, stored: &[Stored]) -> Result<(), PassError> {
        let document = record::render(stored)?;
        let data = [(record::KEY, document.as_str())];
        Ok(self
            .cluster
            .write_secret(SecretOf::Authorities, snapshot.authorities.as_ref(), &data)
            .await?)
    }

    /// Writes all CAs into these webhooks, and reports those whose `caBundle` somebody else has changed. Returns how long to wait before the
    /// next look, if somebody changes them again and again.
    async fn write_bundles(
        &mut self,
        webhooks: &[String],
        also: &[Id],
        snapshot: &Snapshot,
        facts: &Facts,
        at: Uptime,
    ) -> Result<Option<Duration>, PassError> {
        let stored = facts.stored.iter().map(|stored| stored.certificate.as_str());
        let also = also
            .iter()
            .filter_map(|id| Some(facts.found.get(id)?.pem.as_str()));
        let certificates = stored.chain(also).map(str::trim);
        let bundle: String = certificates.flat_map(|certificate| [certificate, "\n"]).collect();
        let (mut repaired, mut failure) = (Vec::new(), None);
        for configuration in snapshot.configurations() {
            let is_wrong = |name: &&str| webhooks.contains(&configuration.label(name));
            let names = configuration.webhooks.iter().map(|webhook| webhook.name.as_str());
            let wrong: Vec<&str> = names.filter(is_wrong).collect();
            if wrong.is_empty() {
                continue;
            }
            if let Err(error) = self.cluster.write_bundle(configuration, &wrong, &bundle).await {
                failure = Some(error);
                break;
            }
            let repairs = wrong
                .iter()
                .filter_map(|name| self.repair(configuration, name, facts));
            let repairs: Vec<Repair> = repairs.collect();
            // A repair has lines of its own, and not always.
            if repairs.is_empty() {
                info!(webhooks = ?wrong, cas = facts.stored.len(), "wrote the CAs into caBundles");
            }
            repaired.extend(repairs);
        }
        let pause = self.report_repairs(&repaired, at);
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(pause),
        }
    }

    /// Says who changed these `caBundle`s, which one write has repaired; in a fight it only counts. Returns the pause of a fight.
    fn report_repairs(&mut self, repaired: &[Repair], at: Uptime) -> Option<Duration> {
        let meddler = repaired.first()?.suspect.meddler();
        let noted = self.repairs.note(at);
        for repair in repaired {
            self.report_repair(repair, noted);
        }
        self.advise(meddler, noted);
        noted.pause
    }

    /// Who changed a `caBundle`; `None`: this program itself, or it was never right.
    fn repair(&mut self, configuration: &Configuration, name: &str, facts: &Facts) -> Option<Repair> {
        let label = configuration.label(name);
        let bundle = facts.seen.bundles.iter().find(|bundle| bundle.webhook == label)?;
        let was_right = self.right.remove(&label);
        bundle.is_repaired(facts.known(), was_right).then(|| Repair {
            suspect: Suspect::find(&configuration.writes, name),
            webhook: label,
        })
    }

    /// Says who changed a `caBundle`; in a fight it only counts.
    fn report_repair(&self, Repair { webhook, suspect }: &Repair, noted: Noted) {
        let meddler = suspect.meddler();
        self.metrics.repaired(meddler);
        let why = format!(
            "repaired the caBundle of the webhook {webhook}, which was {}",
            suspect.text()
        );
        if noted.is_told {
            let meddler = meddler.label();
            warn!(webhook, meddler, why, "repaired a caBundle");
        } else {
            debug!(webhook, why, "repaired a caBundle again");
        }
        let series = format!("{webhook} {}", suspect.manager());
        self.tell("ca-bundle-repaired", &series, true, &why);
    }

    fn advise(&self, meddler: Meddler, noted: Noted) {
        let (advice, untold) = (meddler.advice(), noted.untold);
        let meddler = meddler.label();
        if noted.is_advised {
            warn!(meddler, advice, untold, "caBundles are changed again and again");
            self.tell(
                "ca-bundle-contested",
                "",
                true,
                &format!("caBundles are changed again and again: {advice}"),
            );
        }
        if let (Some(pause), true) = (noted.pause, noted.is_told) {
            warn!(
                meddler,
                ?pause,
                advice,
                "caBundles are changed as soon as they are repaired, so each repair is followed by a pause and only counted"
            );
        }
    }
}

impl Conflicts {
    /// So many in a row are reported like any other failure. Those of two processes that start at once end after a few.
    const MAX: u32 = 5;

    /// Notes one more. Returns whether it is to be reported.
    fn note(&mut self) -> bool {
        self.0 = self.0.saturating_add(1);
        self.0 >= Conflicts::MAX
    }
}

/// CAs from `caBundle`s, as the Secret keeps them.
fn kept(keep: &[Authority], facts: &Facts) -> Vec<Stored> {
    let found = keep
        .iter()
        .filter_map(|authority| Some((authority, facts.found.get(&authority.id)?)));
    let stored = found.map(|(authority, certificate)| Stored {
        certificate: certificate.pem.clone(),
        key: None,
        signed_until: authority.signed_until,
    });
    stored.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fifth_conflict_in_a_row_is_reported_and_each_after_it() {
        let mut conflicts = Conflicts::default();
        let reported = [(); 7].map(|()| conflicts.note());
        assert_eq!(reported, [false, false, false, false, true, true, true]);
    }
}
