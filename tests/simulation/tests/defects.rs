//! Checks that the oracle finds each built-in defect, by the invariant that it breaks.

use cordonhold_simulation::{Defect, Invariant, Options, run_many};

const SEEDS: u64 = 1_000;

fn finds(defect: Defect, expected: &[Invariant]) {
    let options = Options {
        defect: Some(defect),
        ..Options::default()
    };
    let report = run_many(0..SEEDS, &options, |_| true);
    let violation = report.violations.first();
    let violation = violation.expect("a defect is found within so many runs");
    assert!(expected.contains(&violation.invariant), "{violation}");
}

#[test]
fn no_blind_reboot_without_verification() {
    finds(Defect::NoVerification, &[Invariant::NoBlindReboot]);
}

#[test]
fn no_blind_reboot_on_a_seal_of_any_version() {
    // A seal that lands late marks a Node whose entry is gone, or whose hold somebody else has taken.
    finds(
        Defect::SealOnAnyVersion,
        &[
            Invariant::NoBlindReboot,
            Invariant::AtMostN,
            Invariant::CordonGivenBack,
        ],
    );
}

#[test]
fn no_blind_reboot_past_the_deadline() {
    finds(Defect::NoDeadline, &[Invariant::NoBlindReboot]);
}

#[test]
fn no_blind_reboot_where_a_shutdown_is_not_seen() {
    finds(Defect::ShutdownUnseen, &[Invariant::NoBlindReboot]);
}

#[test]
fn a_late_give_back_of_any_version() {
    let broken = [Invariant::NoBlindReboot, Invariant::CordonGivenBack];
    finds(Defect::GiveBackOnAnyVersion, &broken);
}

#[test]
fn one_wish_two_reboots_where_nobody_counts_them() {
    finds(Defect::AttemptsUncounted, &[Invariant::OneWishTwoReboots]);
}

#[test]
fn what_somebody_else_writes_passes_for_ours_where_every_proof_is_the_same() {
    let broken = [
        Invariant::NoBlindReboot,
        Invariant::AtMostN,
        Invariant::CordonGivenBack,
    ];
    finds(Defect::SameProof, &broken);
}

#[test]
fn at_most_n_where_the_lock_is_no_compare_and_swap() {
    finds(Defect::LockOnAnyVersion, &[Invariant::AtMostN]);
}

#[test]
fn cordon_given_back_where_it_is_always_taken_off() {
    finds(Defect::AlwaysUncordons, &[Invariant::CordonGivenBack]);
}

#[test]
fn last_wish_where_what_was_before_outweighs_a_deferred_uncordon() {
    finds(Defect::DeferredUndone, &[Invariant::LastWish]);
}

#[test]
fn nothing_stuck_where_an_entry_is_never_released() {
    finds(Defect::NeverReleases, &[Invariant::NothingStuck]);
}

#[test]
fn held_stays_cordoned_where_the_webhook_only_warns() {
    finds(
        Defect::WebhookWarns,
        &[Invariant::HeldStaysCordoned, Invariant::OneNodeOneAgent],
    );
}

#[test]
fn one_node_one_agent_where_the_webhook_trusts_every_agent() {
    finds(Defect::WebhookTrustsEveryAgent, &[Invariant::OneNodeOneAgent]);
}

#[test]
fn spread_by_where_nobody_looks_at_the_zones() {
    finds(Defect::ZonesUnseen, &[Invariant::SpreadBy]);
}

#[test]
fn min_interval_where_nobody_notes_the_end_of_a_reboot() {
    finds(Defect::EndsUnnoted, &[Invariant::MinInterval]);
}

#[test]
fn a_reboot_that_left_no_account() {
    finds(Defect::AccountLost, &[Invariant::Account]);
}

#[test]
fn a_request_is_used_again_where_the_lock_forgets_it() {
    finds(Defect::RequestsForgotten, &[Invariant::RequestUsedOnce]);
}

#[test]
fn silence_where_it_ends_hours_ahead() {
    finds(Defect::SilencesForHours, &[Invariant::Silence]);
}

#[test]
fn silence_where_nobody_cuts_it() {
    finds(Defect::SilencesUncut, &[Invariant::Silence]);
}
