//! How long CAs and certificates are valid, and when they are renewed.
//!
//! Not here: the flags (the webhook's `args`).

use std::time::Duration;

/// How long before the present a certificate begins, so that machines whose clock is a little behind accept it at once.
pub const BACKDATE: Duration = Duration::from_mins(10);
/// The shortest lifetime of a certificate. In a certificate, times are whole seconds; shorter ones would end before they are served.
const LEAF_MIN: Duration = Duration::from_secs(5);

/// The shortest time for which a new CA stands in every `caBundle` before it signs. The webhook reads its configuration as often, and is
/// unready while it serves what no `caBundle` that it has read trusts.
pub const SETTLE_MIN: Duration = Duration::from_secs(10);

/// How long CAs and certificates are valid, and when they are renewed. What is in here goes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    authority: Duration,
    leaf: Duration,
    renew_before: Duration,
    settle: Duration,
}

/// Why lifetimes do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum LifetimesError {
    #[error(
        "--leaf-lifetime is {0:?}: write at least {LEAF_MIN:?}, because the times in a certificate are whole seconds"
    )]
    LeafTooShort(Duration),
    #[error(
        "--renew-before is {renew_before:?} and --leaf-lifetime {leaf:?}: write less for the first, or a certificate would be renewed as soon as it is signed"
    )]
    NeverFresh { renew_before: Duration, leaf: Duration },
    #[error(
        "--settle is {settle:?} and --renew-before {renew_before:?}: write less for the first, or a certificate would end before a new CA may sign the next one"
    )]
    SettlesTooLate {
        settle: Duration,
        renew_before: Duration,
    },
    #[error(
        "--settle is {0:?}: write at least {SETTLE_MIN:?}, because the webhook reads its configuration that often, and would not trust what it serves"
    )]
    SettlesTooSoon(Duration),
    #[error(
        "--ca-lifetime is {authority:?}: write at least {least:?}, because a CA must outlive what it signs, and the next one is added one renewal before it cannot"
    )]
    AuthorityTooShort { authority: Duration, least: Duration },
}

impl Lifetimes {
    /// Lifetimes of CA and certificate; how long before its end a certificate is renewed; how long a CA must stand in every `caBundle`
    /// before it signs. An error if these do not go together.
    pub fn new(
        authority: Duration,
        leaf: Duration,
        renew_before: Duration,
        settle: Duration,
    ) -> Result<Lifetimes, LifetimesError> {
        if leaf < LEAF_MIN {
            return Err(LifetimesError::LeafTooShort(leaf));
        }
        if renew_before >= leaf {
            return Err(LifetimesError::NeverFresh { renew_before, leaf });
        }
        if settle < SETTLE_MIN {
            return Err(LifetimesError::SettlesTooSoon(settle));
        }
        if settle >= renew_before {
            return Err(LifetimesError::SettlesTooLate { settle, renew_before });
        }
        // Between two CAs there is at least a quarter of a certificate's lifetime, so there are never more than a few.
        let period = leaf.saturating_sub(renew_before);
        let least = leaf.saturating_add(period).saturating_add(leaf / 4);
        if authority < least {
            return Err(LifetimesError::AuthorityTooShort { authority, least });
        }
        Ok(Lifetimes {
            authority,
            leaf,
            renew_before,
            settle,
        })
    }

    /// How long a CA is valid.
    pub fn authority(&self) -> Duration {
        self.authority
    }

    /// How long a serving certificate is valid.
    pub fn leaf(&self) -> Duration {
        self.leaf
    }

    /// How long before its end a serving certificate is renewed.
    pub fn renew_before(&self) -> Duration {
        self.renew_before
    }

    /// How long a CA must stand in every `caBundle` before it signs.
    pub fn settle(&self) -> Duration {
        self.settle
    }

    /// How long a CA stays after the end of the last certificate that it has signed, for clocks that are behind: [`BACKDATE`], or less if
    /// certificates last only minutes.
    pub fn grace(&self) -> Duration {
        BACKDATE.min(self.leaf / 4)
    }

    /// The age at which a serving certificate is renewed.
    pub fn period(&self) -> Duration {
        self.leaf.saturating_sub(self.renew_before)
    }
}
