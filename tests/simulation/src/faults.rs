//! The fault classes, how many times each has happened, and how likely each is in a run.
//!
//! Each run draws its own mixture, in which some classes are missing: a frequent fault would hide what a rarer one does.

use crate::random::Random;

/// Defines an enum whose variants have a name and can be listed.
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
    /// A class of faults: what goes wrong, or what somebody does.
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
        QueryUnanswered => "blocker's query unanswered",
        QueryBlocks => "blocker's query blocks",
        ForeignReboot => "somebody else reboots",
        RebootLoop => "too many reboots",
        UncordonDeferred => "uncordon of a held node deferred",
        DeferredRemoved => "deferred uncordon removed",
        RebootRequested => "reboot requested",
        RequestReplayed => "request written again",
        RequestWithdrawn => "request withdrawn",
        UsedGarbled => "used requests garbled",
        AlertmanagerDown => "Alertmanager down",
        AlertmanagerSlow => "Alertmanager slow",
        AlertmanagerAnswerLost => "Alertmanager's answer lost",
    }
}

impl Fault {
    /// Those whose rates Alertmanager draws itself, so that a run is the same whatever these are.
    pub(crate) const OF_ALERTMANAGER: [Fault; 3] = [
        Fault::AlertmanagerDown,
        Fault::AlertmanagerSlow,
        Fault::AlertmanagerAnswerLost,
    ];
    /// Those whose rates the requests draw themselves, likewise.
    pub(crate) const OF_REQUESTS: [Fault; 4] = [
        Fault::RebootRequested,
        Fault::RequestReplayed,
        Fault::RequestWithdrawn,
        Fault::UsedGarbled,
    ];

    /// Whether a run draws the rate of this class with all others.
    fn is_of_the_run(self) -> bool {
        !Fault::OF_ALERTMANAGER.contains(&self) && !Fault::OF_REQUESTS.contains(&self)
    }
}

names! {
    /// Something that a process does, and at which it may die.
    Effect {
        AskHost => "ask the host",
        ReadNode => "read the Node",
        ReadPeer => "read a peer",
        ListHeld => "list the held",
        CountPool => "count the pool",
        ListBlockers => "list the blockers",
        ListMissing => "list what a node lacks",
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
    /// The moment of an effect at which a process may die.
    Moment {
        Before => "before",
        /// After the host's record says what will be done, and before it is done.
        Recorded => "recorded, before",
        UnderWay => "under way",
        After => "after",
    }
}

impl Effect {
    /// Whether this is an act, which has no answer to wait for.
    pub fn is_act(self) -> bool {
        self >= Effect::Watch
    }

    /// Whether the host's record is written before this effect.
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

/// How many times each fault class and each death has happened.
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

    /// The name of every fault class and death, and how many times it has happened.
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

/// Every effect with every moment at which a process may die there.
pub(crate) fn deaths() -> impl Iterator<Item = (Effect, Moment)> {
    Effect::ALL.iter().flat_map(|effect| {
        let moments = Moment::ALL.iter().filter(|moment| effect.has(**moment));
        moments.map(|moment| (*effect, *moment))
    })
}

/// How likely each fault class is in one run.
#[derive(Clone, Debug)]
pub(crate) struct Mixture {
    /// The rate of each fault class, in 10 000ths. 0 means that the run does not have it.
    rates: Vec<u32>,
    /// The effect and moment at which processes of this run die most often.
    pub(crate) death: (Effect, Moment),
    pub(crate) death_rate: u32,
    on: bool,
}

impl Mixture {
    pub(crate) fn new(random: &mut Random) -> Mixture {
        let rates = Fault::ALL
            .iter()
            .map(|fault| {
                if fault.is_of_the_run() && random.chance(6000) {
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

    /// Takes this class out of the run.
    pub(crate) fn leave_out(&mut self, fault: Fault) {
        self.set(fault, 0);
    }

    /// Sets the rate of this class, in 10 000ths.
    pub(crate) fn set(&mut self, fault: Fault, rate: u32) {
        if let Some(known) = self.rates.get_mut(fault as usize) {
            *known = rate;
        }
    }

    /// Ends all faults of the run.
    pub(crate) fn end(&mut self) {
        self.on = false;
        self.death_rate = 0;
    }

    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// Whether the run has this fault class, and faults have not ended.
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
