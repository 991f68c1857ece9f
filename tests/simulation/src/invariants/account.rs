//! The account of a reboot: a reboot that came back leaves it on its Node, and no hold that ends leaves a running one.

use cordonhold_shared::Reading;
use cordonhold_shared::hold::{self, Account, Phase};
use cordonhold_shared::keys;
use jiff::Timestamp;

use super::{Found, Oracle, understood, writes_marks};
use crate::Invariant;
use crate::api_server::Commit;

/// What is known of the account of one node.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    /// The hold that its agent has brought back from a reboot, as long as nobody else has changed its marks since.
    returned: Option<String>,
    /// Whether the agent's clock was ever wrong: then its account may be partial.
    is_clock_wrong: bool,
    /// Whether somebody else has changed marks since the last stamp. Then there may be no account: the agent may end the hold as one that it
    /// has lost, although the host has booted.
    is_tampered: bool,
}

impl Oracle {
    /// Notes that an agent's clock was set to a wrong time.
    pub(crate) fn clock_changed(&mut self, index: usize) {
        if let Some(known) = self.nodes.get_mut(index) {
            known.accounts.is_clock_wrong = true;
        }
    }

    /// Checks the account that an agent leaves when it ends a hold.
    pub(super) fn keeps_account(&mut self, commit: &Commit, index: usize) -> Found {
        let accounts = &mut self.nodes.get_mut(index)?.accounts;
        let (Some(old), Some(new)) = (&commit.old, &commit.new) else {
            accounts.returned = None;
            return None;
        };
        let (old, new) = (old.node(), new.node());
        if commit.caller.process.is_none_or(|(agent, _)| agent != index) {
            // Exempt: an agent whose marks somebody has changed may end the hold as one that it has lost.
            if understood(old) != understood(new) {
                accounts.returned = None;
                accounts.is_tampered = true;
            }
            return None;
        }
        if hold::has_marks(new) {
            accounts.is_tampered &= hold::has_marks(old);
            if writes_marks(commit) {
                let shown = hold::read(new).present();
                let back = shown.filter(|hold| hold.phase == Phase::Returning);
                accounts.returned = back.map(|hold| hold.holder.created);
            }
            return None;
        }
        let returned = accounts.returned.take();
        let wrong = if !hold::has_marks(old) {
            None
        } else if new.annotation(keys::REBOOT_ACCOUNT).is_some() {
            Some("a running account is left".to_owned())
        } else {
            let returned = returned.filter(|_| !accounts.is_tampered);
            returned
                .and_then(|created| wrong_with(&hold::last_reboot(new), &created, accounts.is_clock_wrong))
        };
        wrong.map(|wrong| {
            let what = format!("agent {index} has ended its hold, and {wrong}");
            (Invariant::Account, what)
        })
    }
}

/// What is wrong with the account of the reboot of this hold; `None` if nothing is.
fn wrong_with(shown: &Reading<Account>, created: &str, may_be_partial: bool) -> Option<String> {
    let Reading::Present(account) = shown else {
        return Some(format!("there is no account of the reboot: {shown:?}"));
    };
    let wished = created.parse().map(Timestamp::as_second).unwrap_or_default();
    let ended = account.ended.map(Timestamp::as_second).unwrap_or_default();
    let sum = account.seconds.values().sum::<u64>();
    let is_too_long = u64::try_from(ended - wished).is_ok_and(|all| sum > all);
    if account.created != created {
        Some(format!("the account is not of {created}: {account:?}"))
    } else if account.partial && !may_be_partial {
        Some(format!("the account is partial: {account:?}"))
    } else if is_too_long && !account.partial {
        Some(format!("its phases took longer than the whole: {account:?}"))
    } else {
        None
    }
}
