//! What the agents send to a real Alertmanager, and what it makes of it: a silence is made, extended, found again and cut.
//!
//! Not here: the agent that does so, see `agent/src/silence/tests.rs` and `invariants/silences.rs`.

use std::time::Duration;

use anyhow::{Result, ensure};
use cordonhold_shared::hold::{Holder, Phase};
use cordonhold_shared::reboot::moment::{Moment, Uptime};
use cordonhold_shared::reboot::silence::{Found, Held, Keeper, LEASE, Matcher, Matchers, Step, wire};
use cordonhold_tests::alertmanager::Alertmanager;
use cordonhold_tests::process::Kennel;
use cordonhold_tests::programs::{Program, build};
use jiff::Timestamp;

const NODE: &str = "ip-10-0-0-1.lan";
const REBOOT_TIMEOUT: Duration = Duration::from_mins(30);

fn sets() -> Vec<Vec<Matcher>> {
    let of = |text: &str| text.parse::<Matchers>().map(|matchers| matchers.of(NODE));
    let texts = [
        r#"node="%s""#,
        r#"instance=~"%s(:[0-9]+)?""#,
        r#"node="%s",severity!="critical",job!~"a|b",path="a\"b\\c""#,
    ];
    texts.into_iter().filter_map(|text| of(text).ok()).collect()
}

fn by(created: &str, phase: Phase) -> Held {
    let holder = Holder {
        node_uid: "4f6fdb7c-uid".to_owned(),
        created: created.to_owned(),
    };
    Held::By(holder, phase)
}

fn now() -> Moment {
    Moment {
        now: Uptime::START,
        wall: Timestamp::now(),
    }
}

/// All silences of agents, each once.
async fn found(there: &Alertmanager) -> Result<Vec<Found>> {
    let mut found: Vec<Found> = Vec::new();
    for set in sets() {
        for silence in there.silences(&set).await? {
            if !found.contains(&silence) {
                found.push(silence);
            }
        }
    }
    Ok(found)
}

/// Looks and acts once, as the agent does. Gives the steps.
async fn act(keeper: &mut Keeper, there: &Alertmanager) -> Result<Vec<Step>> {
    let at = now();
    let mut lists: Vec<Found> = Vec::new();
    for set in sets() {
        lists.extend(there.silences(&set).await?);
    }
    let steps = keeper.steps(&sets(), &lists, at);
    for step in &steps {
        let (status, body) = there.ask(&wire::request(step, NODE, at.wall)).await?;
        ensure!(status == 200, "{step:?}: HTTP {status}: {}", wire::refusal(&body));
        match step {
            Step::Create { .. } | Step::Extend(..) => {
                wire::read_posted(&body).map_err(anyhow::Error::msg)?;
            }
            Step::Cut(_) => {}
        }
    }
    keeper.succeeded(at);
    Ok(steps)
}

fn left(found: &Found) -> i64 {
    found.ends.duration_since(Timestamp::now()).as_secs()
}

#[tokio::test]
async fn a_real_alertmanager_makes_extends_and_cuts_the_silences_that_agents_ask_for() -> Result<()> {
    ensure!(sets().len() == 3, "a set of matchers is not read");
    let [leash] = build([Program::Leash])?;
    let directory = tempfile::tempdir()?;
    let kennel = Kennel::new(&leash, directory.path())?;
    let there = Alertmanager::start(&kennel, directory.path(), "alertmanager").await?;

    let mut keeper = Keeper::new(REBOOT_TIMEOUT);
    let _ = keeper.show("4f6fdb7c-uid", by("2026-11-29T09:00:00Z", Phase::Draining), now());
    let steps = act(&mut keeper, &there).await?;
    ensure!(steps.len() == 3, "{steps:?}");
    let made = found(&there).await?;
    ensure!(made.len() == 3, "{made:?}");
    for silence in &made {
        let left = left(silence);
        ensure!((LEASE.as_secs() - 10..=LEASE.as_secs()).contains(&left), "{left}");
        // A silence that began in the future would silence nothing yet.
        ensure!(silence.starts <= Timestamp::now(), "{silence:?}");
    }
    // It has more than half of its lease.
    let steps = act(&mut keeper, &there).await?;
    ensure!(steps.is_empty(), "{steps:?}");

    // The seal: the same silences end later.
    let _ = keeper.show("4f6fdb7c-uid", by("2026-11-29T09:00:00Z", Phase::Sealed), now());
    let steps = act(&mut keeper, &there).await?;
    ensure!(steps.len() == 3, "{steps:?}");
    let sealed = found(&there).await?;
    let ids = |found: &[Found]| {
        let mut ids: Vec<String> = found.iter().map(|found| found.id.clone()).collect();
        ids.sort();
        ids
    };
    ensure!(ids(&sealed) == ids(&made), "{sealed:?} instead of {made:?}");
    ensure!(sealed.iter().all(|found| left(found) > 29 * 60), "{sealed:?}");

    // Another process finds them by the hold, and cuts them at its end.
    let mut keeper = Keeper::new(REBOOT_TIMEOUT);
    let _ = keeper.show(
        "4f6fdb7c-uid",
        by("2026-11-29T09:00:00Z", Phase::Returning),
        now(),
    );
    let steps = act(&mut keeper, &there).await?;
    ensure!(steps.is_empty(), "{steps:?}");
    let _ = keeper.show("4f6fdb7c-uid", Held::Nothing, now());
    let steps = act(&mut keeper, &there).await?;
    ensure!(steps.len() == 3, "{steps:?}");
    let after = found(&there).await?;
    ensure!(after.is_empty(), "{after:?}");

    // A silence that is gone is cut once more, and one that has expired cannot be extended: a new one is made.
    let gone = Step::Cut(made[0].clone());
    let (status, _) = there.ask(&wire::request(&gone, NODE, Timestamp::now())).await?;
    ensure!(status == 200, "{status}");
    let late = Step::Extend(made[0].clone(), Timestamp::now().saturating_add(LEASE)?);
    let (status, body) = there.ask(&wire::request(&late, NODE, Timestamp::now())).await?;
    ensure!(status == 200, "{status}");
    wire::read_posted(&body).map_err(anyhow::Error::msg)?;
    let anew = found(&there).await?;
    ensure!(anew.len() == 1 && anew[0].id != made[0].id, "{anew:?}");
    Ok(())
}

#[tokio::test]
async fn what_a_real_alertmanager_refuses_is_told_in_its_words() -> Result<()> {
    let [leash] = build([Program::Leash])?;
    let directory = tempfile::tempdir()?;
    let kennel = Kennel::new(&leash, directory.path())?;
    let there = Alertmanager::start(&kennel, directory.path(), "alertmanager").await?;
    let Held::By(holder, _) = by("2026-11-29T09:00:00Z", Phase::Draining) else {
        return Ok(());
    };
    let over = Step::Create {
        holder,
        matchers: sets().remove(0),
        ends: Timestamp::now().saturating_sub(LEASE / 2)?,
    };
    let (status, body) = there.ask(&wire::request(&over, NODE, Timestamp::now())).await?;
    let said = wire::refusal(&body);
    ensure!(
        status == 400 && said.contains("be in the past"),
        "HTTP {status}: {said}"
    );
    Ok(())
}
