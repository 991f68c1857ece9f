//! What people ask for by an annotation: what is understood is written again so that it means the same.

use cordonhold_shared::hold::{DeferredUncordon, RebootRequest};
use jiff::{RoundMode, TimestampRound, Unit};

use super::policy::NOW;
use super::text;

pub(super) const WORDS: &[&str] = &[
    "2026-11-23T10:00:00.000000000Z",
    "2026-11-23T10:00:00+01:00",
    "2026-11-23T10:00:00.5Z",
    "done:",
    " - ",
    " jo",
    " why",
    "-",
    "\u{a0}",
];

pub(super) fn check(input: &[u8]) {
    let Some(text) = text(input) else { return };
    if let Some(wish) = DeferredUncordon::parse(text) {
        let again = DeferredUncordon::parse(&wish.to_string());
        // It is written with whole seconds, before the year 1970 too.
        let whole = TimestampRound::new()
            .smallest(Unit::Second)
            .mode(RoundMode::Floor);
        let at = wish.at.map(|at| at.round(whole).unwrap_or(at));
        assert_eq!(again, Some(DeferredUncordon { at, ..wish }));
    }
    if let Ok(request) = RebootRequest::parse(text) {
        assert_eq!(RebootRequest::parse(&request.to_string()), Ok(request.clone()));
        let _ = (request.flaw(NOW), request.changes_in(NOW));
        super::is_one_line(&request.told());
    }
}
