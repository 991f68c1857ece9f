//! Who changes the `caBundle`s: what `managedFields` says of it, and how to tell them to leave the `caBundle`s alone.
//!
//! A removal leaves no entry in `managedFields` by itself, so then only the last writer of the configuration can be named.
//! Not here: reading `managedFields` (the webhook's `trust`).

use std::collections::VecDeque;
use std::time::Duration;

use crate::admission::trust::Write;
use crate::quote::quoted;
use crate::reboot::moment::Uptime;

/// The field manager of our own writes.
pub const MANAGER: &str = "cordonhold-certs";

/// Makes the enum from one row for each program: name, label, how names of its field managers begin, and how it leaves a `caBundle` alone.
macro_rules! meddlers {
    ($($name:ident $label:literal [$($begins:literal),*] $advice:literal)+) => {
        /// A program that changes `caBundle`s.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Meddler {
            $(#[doc = concat!("`", $label, "`")] $name,)+
        }

        impl Meddler {
            /// Every program.
            pub const ALL: &[Meddler] = &[$(Meddler::$name,)+];

            /// The program's name in metrics.
            pub fn label(self) -> &'static str {
                match self { $(Meddler::$name => $label,)+ }
            }

            /// How to make the program leave the `caBundle`s alone.
            pub fn advice(self) -> &'static str {
                match self { $(Meddler::$name => $advice,)+ }
            }

            fn begins(self) -> &'static [&'static str] {
                match self { $(Meddler::$name => &[$($begins),*],)+ }
            }
        }
    };
}

meddlers! {
    // fluxcd/kustomize-controller and helm-controller, by their default field managers.
    Flux "flux" ["kustomize-controller", "helm-controller", "flux"]
        "annotate the configuration with kustomize.toolkit.fluxcd.io/ssa: Merge, and leave caBundle out of its source"
    // argoproj/argo-cd: common/common.go, `ArgoCDSSAManager`, and its client for client-side apply.
    ArgoCd "argocd" ["argocd"]
        "put .webhooks[].clientConfig.caBundle into ignoreDifferences of the Application, with RespectIgnoreDifferences=true in its syncOptions"
    Helm "helm" ["helm"]
        "leave caBundle out of the chart's templates"
    CertManager "cert-manager" ["cainjector", "cert-manager"]
        "take the annotations cert-manager.io/inject-ca-from and …-secret off the configuration, or do not run `cordonhold-webhook certs`"
    Kubectl "kubectl" ["kubectl"]
        "leave caBundle out of the file that is applied, and do not edit it by hand"
    Other "other" []
        "tell that program to leave .webhooks[].clientConfig.caBundle alone"
    Unknown "unknown" []
        "find it in the API server's audit log, and tell it to leave .webhooks[].clientConfig.caBundle alone; with Flux annotate the configuration with kustomize.toolkit.fluxcd.io/ssa: Merge, with Argo CD use ignoreDifferences and RespectIgnoreDifferences=true"
}

impl Meddler {
    /// The program with this field manager.
    pub fn of(manager: &str) -> Meddler {
        let is_its = |meddler: &&Meddler| meddler.begins().iter().any(|begin| manager.starts_with(begin));
        Meddler::ALL
            .iter()
            .find(is_its)
            .copied()
            .unwrap_or(Meddler::Other)
    }
}

/// Who may have changed a `caBundle`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Suspect {
    /// This manager owns the value that stands there now.
    Owner(Write),
    /// Nobody owns it, so it was removed; this manager wrote the configuration last.
    Last(Write),
    /// `managedFields` says nothing.
    Nobody,
}

impl Suspect {
    /// Who changed the `caBundle` of this webhook, by what `managedFields` says now.
    pub fn find(writes: &[Write], webhook: &str) -> Suspect {
        let others = || writes.iter().filter(|write| write.manager != MANAGER);
        let owner = others().filter(|write| write.ca_of.iter().any(|owned| owned == webhook));
        if let Some(owner) = owner.max_by_key(|write| write.at) {
            return Suspect::Owner(owner.clone());
        }
        let last = others().max_by_key(|write| write.at);
        last.map_or(Suspect::Nobody, |last| Suspect::Last(last.clone()))
    }

    /// The program, for the metric and the advice.
    pub fn meddler(&self) -> Meddler {
        match self {
            Suspect::Owner(write) | Suspect::Last(write) => Meddler::of(&write.manager),
            Suspect::Nobody => Meddler::Unknown,
        }
    }

    /// The field manager; empty if it is not known.
    pub fn manager(&self) -> &str {
        match self {
            Suspect::Owner(write) | Suspect::Last(write) => &write.manager,
            Suspect::Nobody => "",
        }
    }

    /// Who it was, for people.
    pub fn text(&self) -> String {
        let of = |write: &Write| {
            let at = write.at.map(|at| format!(" at {at}")).unwrap_or_default();
            format!(
                "the field manager {} ({}){at}",
                quoted(&write.manager),
                write.operation
            )
        };
        match self {
            Suspect::Owner(write) => format!("changed by {}", of(write)),
            Suspect::Last(write) => format!(
                "removed, perhaps by {}, who wrote the configuration last",
                of(write)
            ),
            Suspect::Nobody => "changed, and its managedFields do not say by whom".to_owned(),
        }
    }
}

/// The repairs of the last hour, to say how to end them once they are many, and to slow down once they are a fight.
#[derive(Clone, Debug, Default)]
pub struct Repairs {
    at: VecDeque<Uptime>,
    advised: Option<Uptime>,
    is_fight: bool,
    untold: u64,
}

/// What to do about one more repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Whether to say how to end the repairs.
    pub is_advised: bool,
    /// Whether this repair gets lines of its own.
    pub is_told: bool,
    /// How many repairs before this one got no line since the last advice or the end of a fight.
    pub untold: u64,
    /// How long to wait before the next look at the cluster.
    pub pause: Option<Duration>,
}

/// So many repairs within [`Repairs::SPAN`] are no accident.
const MANY: usize = 3;
/// So many repairs within [`Repairs::PAUSE`] are a fight: some program undoes each at once.
const FIGHT: usize = 10;

impl Repairs {
    /// How long repairs count, and the shortest time between two pieces of advice.
    pub const SPAN: Duration = Duration::from_hours(1);
    /// The pause after each repair in a fight. A fight is over when twice as long has passed between two repairs.
    pub const PAUSE: Duration = Duration::from_mins(1);

    /// Notes a repair: one write, of however many `caBundle`s.
    pub fn note(&mut self, at: Uptime) -> Noted {
        let last = self.at.back().copied();
        if last.is_none_or(|last| at.since(last) > 2 * Repairs::PAUSE) {
            self.is_fight = false;
        }
        self.at.push_back(at);
        // The last ones are enough to tell.
        while self.at.len() > FIGHT {
            let _ = self.at.pop_front();
        }
        let was_fight = self.is_fight;
        self.is_fight |= self.are_within(FIGHT, Repairs::PAUSE);
        let is_new = self.advised.is_none_or(|told| at.since(told) > Repairs::SPAN);
        let is_advised = self.are_within(MANY, Repairs::SPAN) && is_new;
        if is_advised {
            self.advised = Some(at);
        }
        let is_told = !was_fight;
        let untold = self.untold;
        self.untold = match (is_told, is_advised) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => untold.saturating_add(1),
        };
        Noted {
            is_advised,
            is_told,
            untold,
            pause: self.is_fight.then_some(Repairs::PAUSE),
        }
    }

    /// Whether the last `count` repairs were within this time.
    fn are_within(&self, count: usize, span: Duration) -> bool {
        let first = self
            .at
            .len()
            .checked_sub(count)
            .and_then(|place| self.at.get(place));
        let last = self.at.back();
        first
            .zip(last)
            .is_some_and(|(first, last)| last.since(*first) <= span)
    }
}
