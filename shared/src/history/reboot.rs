//! The reboots of one node: their times and phases, from the accounts on the Node and the agent's Events.
//!
//! Not here: who asked for an uncordon meanwhile, and the pods (`join`).

use jiff::{SignedDuration, Timestamp};

use super::{Event, Moment, Outcome, Span, TEXT_MAX, Timeline, later};
use crate::fleet::Told;
use crate::hold::{self, Account, Phase};
use crate::node::NodeView;
use crate::quote::one_line;

/// What an Event of the agent says of the course of a reboot.
#[derive(Clone, Copy)]
enum Step {
    /// A phase begins.
    Begins(Phase),
    /// Something happens.
    Happens(Event),
}

/// The Events of the agent that are part of a history, by their reason.
const STEPS: [(&str, Step); 16] = [
    ("RebootWanted", Step::Begins(Phase::Wanted)),
    ("RebootLocked", Step::Happens(Event::Locked)),
    ("RebootDraining", Step::Begins(Phase::Draining)),
    ("RebootDrainBlocked", Step::Happens(Event::Blocked)),
    ("RebootForced", Step::Happens(Event::Forced)),
    ("RebootDrained", Step::Begins(Phase::Delaying)),
    ("RebootDisturbed", Step::Happens(Event::Disturbed)),
    ("RebootSealed", Step::Begins(Phase::Sealed)),
    ("Rebooting", Step::Happens(Event::Reboot)),
    ("RebootFailed", Step::Happens(Event::Failed)),
    ("RebootStuck", Step::Happens(Event::Failed)),
    ("Rebooted", Step::Begins(Phase::Returning)),
    ("RebootNodeReady", Step::Happens(Event::Ready)),
    ("RebootReturnOverdue", Step::Happens(Event::Failed)),
    ("RebootCalledOff", Step::Happens(Event::CalledOff)),
    ("RebootGivenBack", Step::Happens(Event::GivenBack)),
];

/// An Event of the agent that is a step.
struct Said<'a> {
    at: Timestamp,
    step: Step,
    told: &'a Told,
}

/// The reboots of a node that its Node and these Events tell of.
pub(super) fn timelines(
    name: &str,
    view: Option<&NodeView>,
    told: Vec<&Told>,
    now: Timestamp,
) -> Vec<Timeline> {
    let mut said: Vec<Said<'_>> = told.into_iter().filter_map(said).collect();
    said.sort_by_key(|said| said.at);
    let accounts = view.map(|view| {
        let over = hold::last_reboot(view).present();
        let open = hold::account(view).present().or_else(|| bare(view));
        [over, open]
    });
    let mut timelines = Vec::new();
    for account in accounts.into_iter().flatten().flatten() {
        let Some(begun) = Timeline::begun(name, &account, now) else {
            continue;
        };
        let (own, rest): (Vec<_>, Vec<_>) = said
            .into_iter()
            .partition(|said| begun.from <= later(said.at, 2) && said.at <= later(begun.to, 2));
        said = rest;
        timelines.push(begun.told(Some(&account), &own));
    }
    // What no account tells of: each wish begins another reboot.
    let mut groups: Vec<Vec<Said<'_>>> = Vec::new();
    for said in said {
        let is_first = matches!(said.step, Step::Begins(Phase::Wanted));
        match groups.last_mut() {
            Some(group) if !is_first && !is_over(group) => group.push(said),
            Some(_) | None => groups.push(vec![said]),
        }
    }
    timelines.extend(groups.iter().filter_map(|group| {
        let (first, last) = (group.first()?, group.last()?);
        let begun = Timeline {
            node: name.to_owned(),
            from: first.at,
            to: last.at,
            ..Timeline::default()
        };
        Some(begun.told(None, group))
    }));
    timelines
}

/// The account of a hold that has none: of its phase only the beginning of the hold is known.
fn bare(view: &NodeView) -> Option<Account> {
    let hold = hold::read(view).present()?;
    Some(Account {
        since: hold.holder.created.parse().ok(),
        created: hold.holder.created,
        phase: Some(hold.phase),
        partial: true,
        ..Account::default()
    })
}

/// The step that an Event tells of.
fn said(told: &Told) -> Option<Said<'_>> {
    let (_, step) = STEPS.iter().find(|(reason, _)| *reason == told.reason)?;
    Some(Said {
        at: told.since,
        step: *step,
        told,
    })
}

/// Whether the cordon was given back, which ends a reboot.
fn is_over(group: &[Said<'_>]) -> bool {
    let mut steps = group.iter().map(|said| said.step);
    steps.any(|step| matches!(step, Step::Happens(Event::GivenBack)))
}

impl Timeline {
    /// The reboot of an account, without its course.
    fn begun(name: &str, account: &Account, now: Timestamp) -> Option<Timeline> {
        let from: Timestamp = account.created.parse().ok()?;
        let to = account.ended.unwrap_or(now);
        Some(Timeline {
            node: name.to_owned(),
            hold: Some(account.created.clone()),
            why: account.why.clone(),
            from,
            to: to.max(from),
            evicted: Some(account.evicted),
            refused: Some(account.refused),
            ..Timeline::default()
        })
    }

    /// With its course, from its account and the Events about it.
    fn told(mut self, account: Option<&Account>, said: &[Said<'_>]) -> Timeline {
        let mut begins = Vec::new();
        for said in said {
            match said.step {
                Step::Begins(phase) => begins.push((said.at, phase)),
                Step::Happens(what) => self.moments.push(Moment {
                    at: said.at,
                    what,
                    says: one_line(&said.told.note, TEXT_MAX),
                }),
            }
        }
        if let Some(over) = self.moments.iter().find(|moment| moment.what == Event::GivenBack) {
            self.to = self.to.max(over.at);
        }
        let by_account = account.map(|account| derived(account, self.from, self.to));
        self.spans = joined(by_account.unwrap_or_default(), &begins, self.to);
        self.outcome = self.came_to(account);
        if account.is_some() && self.outcome != Outcome::GoesOn && !is_over(said) {
            self.moments.push(Moment {
                at: self.to,
                what: Event::GivenBack,
                says: String::new(),
            });
        }
        self
    }

    fn came_to(&self, account: Option<&Account>) -> Outcome {
        let happened = |what| self.moments.iter().any(|moment| moment.what == what);
        let is_over = account.map(|account| account.ended.is_some());
        if is_over == Some(false) {
            return Outcome::GoesOn;
        }
        if self.began(Phase::Returning).is_some() {
            Outcome::Rebooted
        } else if is_over == Some(true) || happened(Event::CalledOff) {
            Outcome::CalledOff
        } else {
            Outcome::Unknown
        }
    }
}

/// The phases of an account: it knows how long each took, and of the one that goes on, since when. The order is that of a reboot; if the drain
/// was disturbed, phases came again, and were shorter.
fn derived(account: &Account, from: Timestamp, to: Timestamp) -> Vec<Span> {
    let about = account.partial || !account.disturbed.is_empty();
    let mut spans = Vec::new();
    let mut at = from;
    for phase in Phase::ALL {
        let seconds = account.seconds.get(&phase).copied().unwrap_or_default();
        let is_last = account.phase == Some(phase);
        if seconds == 0 && !account.seconds.contains_key(&phase) && !is_last {
            continue;
        }
        let length = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
        let end = at.saturating_add(length).unwrap_or(to).min(to);
        if !is_last {
            spans.push(Span {
                phase,
                from: at,
                to: end,
                about,
            });
            at = end;
        }
    }
    if let Some((phase, since)) = account.phase.zip(account.since) {
        let since = since.max(from).min(to);
        if let Some(before) = spans.last_mut() {
            before.to = since.max(before.from);
        }
        spans.push(Span {
            phase,
            from: since,
            to,
            about: account.partial,
        });
    } else if let Some(last) = spans.last_mut() {
        last.to = to;
    }
    spans
}

/// The phases that Events tell of, and before the first of these what the account knows.
fn joined(by_account: Vec<Span>, begins: &[(Timestamp, Phase)], to: Timestamp) -> Vec<Span> {
    let Some((first, phase)) = begins.first().copied() else {
        return by_account;
    };
    let is_before = |span: &Span| span.from < first && span.phase < phase;
    let mut spans: Vec<Span> = by_account.into_iter().filter(is_before).collect();
    if let Some(last) = spans.last_mut() {
        last.to = first;
    }
    let ends = begins.iter().skip(1).map(|(at, _)| *at).chain([to]);
    spans.extend(begins.iter().zip(ends).map(|((from, phase), to)| Span {
        phase: *phase,
        from: *from,
        to: to.max(*from),
        about: false,
    }));
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reboot::cycle::Report;

    #[test]
    fn every_step_is_an_event_of_the_agent() {
        for (reason, _) in STEPS {
            let mut rows = Report::ROWS.iter();
            assert!(rows.any(|row| row.reason == Some(reason)), "{reason}");
        }
    }
}
