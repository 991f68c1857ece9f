//! The fault classes by name, how often each fired, and how often each is to.
//!
//! Each run draws its own mixture: a class that is absent from a run lets others be seen that it would hide.

use crate::random::Random;

/// An enum of names, all of which are known.
macro_rules! names {
    ($(#[$meta:meta])* $kind:ident { $($(#[$of:meta])* $name:ident => $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $kind { $($(#[$of])* $name,)* }

        impl $kind {
            pub const ALL: &[$kind] = &[$($kind::$name,)*];

            pub fn as_str(self) -> &'static str {
                match self { $($kind::$name => $text,)* }
            }
        }
    };
}

pub(crate) use names;

names! {
    /// What goes wrong, or who makes it.
    Fault {
        RequestLost => "request lost",
        RequestLate => "request lands late",
        RequestTwice => "request lands twice",
        ReplyLost => "reply lost",
        ReplyLate => "reply late",
        TooManyRequests => "429",
        ServerError => "500, nothing written",
        ServerErrorAfterWrite => "500, written",
        GatewayTimeout => "504, lands later",
        ProxyNotFound => "404 of a proxy",
        ServerRefuses => "API server down: refused",
        ServerSilent => "API server down: silent",
        CutOff => "agent cut off",
        Conflict => "409",
        WatchClosed => "watch closed",
        WatchTooOld => "watch too old (410)",
        WatchSilent => "watch silent",
        WatchDelayed => "watch delayed",
        WatchError => "watch error",
        AgentClockSkew => "agent's clock off",
        AgentClockJump => "agent's clock jumps",
        WebhookClockSkew => "webhook's clock off",
        RebootFails => "reboot command fails",
        RebootFailsYetGoesDown => "reboot command fails, host goes down",
        RebootHangs => "reboot command hangs",
        RebootDoesNothing => "reboot command does nothing",
        BootIdStays => "boot id stays",
        BootShowsNothing => "nothing shows the boot",
        SoftReboot => "soft reboot",
        RunCleaned => "/run cleaned",
        RecordUnwritable => "host's record cannot be written",
        ShutdownInhibited => "shutdown delayed by an inhibitor",
        ShutdownDrags => "shutdown drags on",
        ShutdownLags => "shutdown shows late",
        HostMute => "host cannot be asked",
        SentinelUnreadable => "sentinel unreadable",
        PowerLoss => "power loss",
        PowerLossForAll => "power loss everywhere",
        SlowBoot => "slow boot",
        NotReadyAgain => "node not Ready again",
        WebhookIgnored => "webhook down, ignored",
        WebhookFailing => "webhook down, failing",
        UncordonRefused => "uncordon of a held node refused",
        UncordonPassed => "uncordon of a held node passed",
        Tampering => "somebody tampers with a node",
        AgentDisabled => "agent disabled by label",
        StrayAgent => "agent writes another node",
        AdminCordons => "admin cordons",
        AdminUncordons => "admin uncordons",
        Cancel => "cancel",
        CancelOfAnother => "cancel of another hold",
        Pause => "node paused",
        PausePool => "pool paused",
        KeepCordoned => "keep cordoned",
        LateBind => "pod lands late",
        PodPutBack => "evicted pod put back",
        BudgetBlocks => "budget blocks",
        NodeDeleted => "node deleted",
        EntryRemoved => "lock entry removed",
        LockGarbled => "lock garbled",
        WishWithdrawn => "wish withdrawn",
    }
}

names! {
    /// What a process may die at.
    Effect {
        AskHost => "ask the host",
        ReadNode => "read the Node",
        ReadPeer => "read a peer",
        ListHeld => "list the held",
        CountPool => "count the pool",
        ListBlockers => "list the blockers",
        ReadLock => "read the lock",
        WriteLock => "write the lock",
        Stamp => "stamp",
        Cordon => "cordon",
        Delay => "begin the delay",
        Renew => "renew",
        Tidy => "tidy",
        Seal => "seal",
        Return => "mark the return",
        GiveBack => "give back",
        ListPods => "list the pods",
        Reboot => "reboot",
        Watch => "watch",
        StartDrain => "start the drain",
        StopDrain => "stop the drain",
        WatchLock => "watch the lock",
        Arm => "arm a timer",
        Disarm => "disarm a timer",
        Report => "report",
        Forget => "remove the host's record",
    }
}

names! {
    /// When, of an effect.
    Moment {
        Before => "before",
        /// The host's record says what is about to be done.
        Recorded => "recorded, before",
        UnderWay => "under way",
        After => "after",
    }
}

impl Effect {
    /// An act has no answer to wait for.
    pub fn is_act(self) -> bool {
        self >= Effect::Watch
    }

    /// What is written down on the host first.
    fn is_recorded(self) -> bool {
        matches!(
            self,
            Effect::Stamp
                | Effect::Cordon
                | Effect::Delay
                | Effect::Seal
                | Effect::Return
                | Effect::GiveBack
                | Effect::Reboot
        )
    }

    fn has(self, moment: Moment) -> bool {
        match moment {
            Moment::Before => true,
            Moment::Recorded => self.is_recorded(),
            Moment::UnderWay | Moment::After => !self.is_act(),
        }
    }
}

/// How often each class fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    faults: Vec<u64>,
    deaths: Vec<u64>,
}

impl Default for Fired {
    fn default() -> Fired {
        Fired {
            faults: vec![0; Fault::ALL.len()],
            deaths: vec![0; Effect::ALL.len() * Moment::ALL.len()],
        }
    }
}

impl Fired {
    pub(crate) fn count(&mut self, fault: Fault) {
        if let Some(count) = self.faults.get_mut(fault as usize) {
            *count += 1;
        }
    }

    pub(crate) fn count_death(&mut self, effect: Effect, moment: Moment) {
        if let Some(count) = self.deaths.get_mut(slot(effect, moment)) {
            *count += 1;
        }
    }

    pub(crate) fn add(&mut self, other: &Fired) {
        let sum = |mine: &mut [u64], theirs: &[u64]| {
            for (mine, theirs) in mine.iter_mut().zip(theirs) {
                *mine += theirs;
            }
        };
        sum(&mut self.faults, &other.faults);
        sum(&mut self.deaths, &other.deaths);
    }

    /// Every class by name, and how often it fired.
    pub fn counts(&self) -> Vec<(String, u64)> {
        let faults = Fault::ALL
            .iter()
            .zip(&self.faults)
            .map(|(fault, count)| (fault.as_str().to_owned(), *count));
        let deaths = deaths().map(|(effect, moment)| {
            let name = format!("death {} {}", moment.as_str(), effect.as_str());
            (name, self.deaths.get(slot(effect, moment)).copied().unwrap_or(0))
        });
        faults.chain(deaths).collect()
    }
}

fn slot(effect: Effect, moment: Moment) -> usize {
    effect as usize * Moment::ALL.len() + moment as usize
}

/// Each effect at each moment that it has.
pub(crate) fn deaths() -> impl Iterator<Item = (Effect, Moment)> {
    Effect::ALL.iter().flat_map(|effect| {
        let moments = Moment::ALL.iter().filter(|moment| effect.has(**moment));
        moments.map(|moment| (*effect, *moment))
    })
}

/// What a run is given of each class.
#[derive(Clone, Debug)]
pub(crate) struct Mixture {
    /// So many times in 10 000, where a class is drawn each time anew.
    rates: Vec<u32>,
    /// Where processes die most of all.
    pub(crate) death: (Effect, Moment),
    pub(crate) death_rate: u32,
    on: bool,
}

impl Mixture {
    pub(crate) fn new(random: &mut Random) -> Mixture {
        let rates = Fault::ALL
            .iter()
            .map(|_| {
                if random.chance(6000) {
                    10 + u32::try_from(random.below(290)).unwrap_or(0)
                } else {
                    0
                }
            })
            .collect();
        let all: Vec<(Effect, Moment)> = deaths().collect();
        Mixture {
            rates,
            death: random
                .pick(&all)
                .copied()
                .unwrap_or((Effect::Reboot, Moment::After)),
            death_rate: u32::try_from(random.below(30)).unwrap_or(0),
            on: true,
        }
    }

    /// A run without this class.
    pub(crate) fn leave_out(&mut self, fault: Fault) {
        if let Some(rate) = self.rates.get_mut(fault as usize) {
            *rate = 0;
        }
    }

    /// Quiet from here on.
    pub(crate) fn end(&mut self) {
        self.on = false;
        self.death_rate = 0;
    }

    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// Whether the run has this class at all.
    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.rate(fault) > 0
    }

    pub(crate) fn rate(&self, fault: Fault) -> u32 {
        if self.on {
            self.rates.get(fault as usize).copied().unwrap_or(0)
        } else {
            0
        }
    }
}
