//! What is wrong with the `caBundle`s of the webhook configuration, and who wrote them last.
//!
//! Not here: the serving certificate ([`super::certificate`]).

use jiff::Timestamp;

use super::{Ca, Finding, Installation, Left, Problem, Webhook, Write, ca_command, joined, last_write, span};

/// The findings about the `caBundle`s: one for each problem, with all the webhooks that have it.
pub(super) fn findings(
    webhooks: &[Webhook],
    writes: &[Write],
    installation: &Installation,
    now: Timestamp,
) -> Vec<Finding> {
    let mut by_problem: Vec<(Problem, String, Vec<&str>)> = Vec::new();
    for webhook in webhooks {
        let Some((problem, what)) = webhook.ca.problem(now) else {
            continue;
        };
        match by_problem.iter_mut().find(|(known, ..)| *known == problem) {
            Some((.., names)) => names.push(&webhook.name),
            None => by_problem.push((problem, what, vec![&webhook.name])),
        }
    }
    let distrusted = webhooks
        .iter()
        .filter(|webhook| webhook.ca.is_refused(now))
        .count();
    let all_distrust = distrusted == webhooks.len();
    let found = by_problem.into_iter().map(|(problem, what, names)| {
        let about = joined(names.iter().copied());
        let who = last_write(writes, &names).map(|write| format!("; {write}"));
        let command = ca_command(&installation.configuration, "'\"$(base64 -w0 ca.crt)\"'");
        let text = format!(
            "the caBundle of {about} in the configuration {} {what}{}: write the CA there: {command}",
            installation.configuration,
            who.unwrap_or_default(),
        );
        Finding {
            problem,
            blocks: all_distrust && problem.is_refused(),
            about,
            text,
        }
    });
    found.collect()
}

impl Ca {
    fn problem(&self, now: Timestamp) -> Option<(Problem, String)> {
        let signed = match self {
            Ca::Unknown => return None,
            Ca::Missing => {
                let what = "is missing, so the API server trusts this webhook only if a CA of its own host signed its certificate";
                return Some((Problem::CaMissing, what.to_owned()));
            }
            Ca::Unreadable(why) => return Some((Problem::CaUnreadable, format!("cannot be read ({why})"))),
            Ca::Stranger => {
                let what = "has not signed the certificate that is served, so the API server refuses it";
                return Some((Problem::CaIsAnother, what.to_owned()));
            }
            Ca::Signed(signed) => signed,
        };
        let begun = || signed.iter().filter(|ca| ca.from <= now);
        let Some(end) = begun().map(|ca| ca.to).max() else {
            return Some((Problem::CaNotYetValid, "is not valid yet".to_owned()));
        };
        let left = span(end.duration_since(now));
        let problem = match Left::until(end, now) {
            Left::Enough => return None,
            Left::Nothing => return Some((Problem::CaEnded, format!("ended {end}, {left} ago"))),
            Left::Days30 => Problem::CaEndsIn30Days,
            Left::Days7 => Problem::CaEndsIn7Days,
            Left::Day1 => Problem::CaEndsIn1Day,
        };
        Some((
            problem,
            format!("ends {end}, in {left}; issue a CA and a certificate anew"),
        ))
    }

    fn is_refused(&self, now: Timestamp) -> bool {
        self.problem(now).is_some_and(|(problem, _)| problem.is_refused())
    }
}
