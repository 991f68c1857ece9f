//! The flags that verdicts depend on: modes, the agent's ServiceAccount, exemptions, and stock kured. The server and `explain` share them.
//!
//! Not here: what they mean for a request ([`cordonhold_shared::admission`]).

use clap::ValueEnum;
use cordonhold_rt::argument::{self, text};
use cordonhold_shared::admission::{Exempt, Mode, Modes, OnDelete, Outcome, Policy, Reason, ServiceAccount};

mod kured;

use kured::KuredArgs;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct PolicyArgs {
    /// What happens to a request that should not pass
    #[arg(long, env = "CORDONHOLD_MODE", value_enum, help_heading = None::<&'static str>, default_value_t = ModeArg::Enforce)]
    mode: ModeArg,
    #[arg(
        long,
        env = "CORDONHOLD_MODE_FOR",
        value_name = "REASON=MODE",
        value_delimiter = ',',
        value_parser = parse_mode_for,
        help_heading = "Finer than --mode",
        hide_short_help = true,
        help = "Another mode for one reason, like held-deleted=warn; may be repeated, or separated by commas; the last one for a reason counts. The reasons are at the end of --help"
    )]
    mode_for: Vec<ModeFor>,
    #[arg(
        long,
        env = "CORDONHOLD_MODE_FOR_USER",
        value_name = "USER=MODE",
        value_parser = parse_mode_of,
        help_heading = "Finer than --mode",
        hide_short_help = true,
        help = "Another mode for every reason for one user, like system:serviceaccount:gpu-operator:nvidia-driver=enforce; may be repeated; the last one for a user counts, and it counts before --mode-for-group and --mode-for"
    )]
    mode_for_user: Vec<ModeOf>,
    #[arg(
        long,
        env = "CORDONHOLD_MODE_FOR_GROUP",
        value_name = "GROUP=MODE",
        value_parser = parse_mode_of,
        help_heading = "Finer than --mode",
        hide_short_help = true,
        help = "Another mode for every reason for the members of one group, like system:serviceaccounts:rancher=defer; may be repeated; of several groups of a user the strictest mode counts, and it counts before --mode-for"
    )]
    mode_for_group: Vec<ModeOf>,
    /// Namespace of the agent's `ServiceAccount`
    #[arg(
        long,
        env = "POD_NAMESPACE",
        value_name = "NAME",
        value_parser = argument::label_name,
        help_heading = "The agent",
        hide_short_help = true,
        default_value = "cordonhold"
    )]
    agent_namespace: String,
    /// Name of the agent's `ServiceAccount`
    #[arg(
        long,
        env = "CORDONHOLD_AGENT_SERVICE_ACCOUNT",
        value_name = "NAME",
        value_parser = argument::name,
        help_heading = "The agent",
        hide_short_help = true,
        default_value = "cordonhold-agent"
    )]
    agent_service_account: String,
    #[command(flatten)]
    passing: PassingArgs,
    #[command(flatten)]
    kured: KuredArgs,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Who passes")]
pub(super) struct PassingArgs {
    /// User who is exempt from every rule; may be repeated. Put it into matchConditions too, so that it does not depend on the webhook
    #[arg(long, env = "CORDONHOLD_EXEMPT_USER", value_name = "NAME", hide_short_help = true, value_parser = text)]
    exempt_user: Vec<String>,
    /// Group whose members are exempt from every rule; may be repeated
    #[arg(long, env = "CORDONHOLD_EXEMPT_GROUP", value_name = "NAME", hide_short_help = true, value_parser = text)]
    exempt_group: Vec<String>,
    /// What happens to the DELETE of a held Node
    #[arg(long, env = "CORDONHOLD_ON_DELETE", value_enum, hide_short_help = true, default_value_t = OnDeleteArg::Flag)]
    on_delete: OnDeleteArg,
}

/// [`OnDelete`], as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum OnDeleteArg {
    /// Let it pass with a warning
    Flag,
    /// Deny it
    Deny,
}

/// [`Mode`], as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ModeArg {
    /// Deny it
    Enforce,
    /// Keep an uncordon until the hold ends, and deny everything else. Needs the component defer or defer-by-policy
    Defer,
    /// Let it pass with a warning and audit annotations
    Warn,
    /// Let it pass with audit annotations
    Audit,
}

/// One `REASON=MODE` of `--mode-for`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ModeFor {
    reason: Reason,
    mode: ModeArg,
}

/// One `NAME=MODE` of `--mode-for-user` or `--mode-for-group`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ModeOf {
    name: String,
    mode: ModeArg,
}

impl ModeArg {
    fn mode(self) -> Mode {
        match self {
            ModeArg::Enforce => Mode::Enforce,
            ModeArg::Defer => Mode::Defer,
            ModeArg::Warn => Mode::Warn,
            ModeArg::Audit => Mode::Audit,
        }
    }
}

impl PolicyArgs {
    fn modes(&self) -> Modes {
        let modes = Modes::from(self.mode.mode());
        let modes = self.mode_for.iter().fold(modes, |modes, exception| {
            modes.with(exception.reason, exception.mode.mode())
        });
        let modes = self
            .mode_for_user
            .iter()
            .fold(modes, |modes, of| modes.with_user(&of.name, of.mode.mode()));
        self.mode_for_group
            .iter()
            .fold(modes, |modes, of| modes.with_group(&of.name, of.mode.mode()))
    }

    /// The policy of the replica with this name.
    pub(super) fn policy(&self, replica: &str) -> Policy {
        Policy {
            modes: self.modes(),
            agent: ServiceAccount {
                namespace: self.agent_namespace.clone(),
                name: self.agent_service_account.clone(),
            },
            exempt: Exempt {
                users: self.passing.exempt_user.clone(),
                groups: self.passing.exempt_group.clone(),
            },
            on_delete: match self.passing.on_delete {
                OnDeleteArg::Flag => OnDelete::Flag,
                OnDeleteArg::Deny => OnDelete::Deny,
            },
            kured: self.kured.policy(),
            replica: replica.to_owned(),
        }
    }
}

/// The reasons that have a mode: all but those whose requests simply pass.
fn reasons() -> impl Iterator<Item = Reason> {
    let all = Reason::ALL.iter().copied();
    all.filter(|reason| reason.outcome() != Outcome::Allow)
}

fn parse_mode_for(text: &str) -> Result<ModeFor, String> {
    let (code, mode) = text
        .split_once('=')
        .ok_or_else(|| "write REASON=MODE, like held-deleted=warn".to_owned())?;
    let reason = reasons().find(|reason| reason.code() == code).ok_or_else(|| {
        let codes: Vec<&str> = reasons().map(Reason::code).collect();
        format!(
            "{code:?} is not a reason that has a mode: use one of {}",
            codes.join(", ")
        )
    })?;
    let mode = parse_mode(mode)?;
    if mode == ModeArg::Defer && !reason.is_deferrable() {
        let codes = reasons()
            .filter(|reason| reason.is_deferrable())
            .map(Reason::code);
        let codes: Vec<&str> = codes.collect();
        return Err(format!(
            "{code} cannot be deferred, only an uncordon can: use enforce, warn or audit, or defer one of {}",
            codes.join(", ")
        ));
    }
    Ok(ModeFor { reason, mode })
}

fn parse_mode(text: &str) -> Result<ModeArg, String> {
    ModeArg::from_str(text, false)
        .map_err(|_| format!("{text:?} is not a mode: use one of enforce, defer, warn, audit"))
}

/// Reads a name and a mode. The name of a user may contain `=`, as in `CN=root,O=ops`, so the last one counts.
fn parse_mode_of(text: &str) -> Result<ModeOf, String> {
    let parts = text.rsplit_once('=').filter(|(name, _)| !name.is_empty());
    let (name, mode) = parts.ok_or_else(|| "write NAME=MODE, like jo=defer".to_owned())?;
    Ok(ModeOf {
        name: name.to_owned(),
        mode: parse_mode(mode)?,
    })
}

/// The list of reasons. It comes at the end of `--help`, because it has some 90 lines and a first try needs none of them.
pub(super) fn reasons_help() -> String {
    let reasons: Vec<String> = reasons()
        .map(|reason| format!("\n  {}: {}", reason.code(), reason.rule()))
        .collect();
    format!("Reasons that --mode-for takes:{}", reasons.concat())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};
    use cordonhold_shared::admission::Requester;

    use super::*;

    #[derive(Debug, Parser)]
    #[command(after_long_help = reasons_help())]
    struct Line {
        #[command(flatten)]
        policy: PolicyArgs,
    }

    fn parse(flags: &[&str]) -> Result<Policy, String> {
        Line::try_parse_from(["w"].iter().chain(flags))
            .map(|line| line.policy.policy("webhook-0"))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_reason_has_its_own_mode_and_the_last_word_counts() {
        let modes = parse(&[
            "--mode=warn",
            "--mode-for=held=enforce",
            "--mode-for=kured-held=enforce,kured-held=audit",
        ])
        .unwrap()
        .modes;
        assert_eq!(modes.of(Reason::Held), Mode::Enforce);
        assert_eq!(modes.of(Reason::KuredHeld), Mode::Audit);
        assert_eq!(modes.of(Reason::TamperedHold), Mode::Warn);
    }

    #[test]
    fn a_user_and_a_group_have_modes_of_their_own() {
        let modes = parse(&[
            "--mode=defer",
            "--mode-for=held=warn",
            "--mode-for-user=CN=root,O=ops=enforce",
            "--mode-for-group=ops=audit",
        ])
        .unwrap()
        .modes;
        let of = |user: &str, group: &str| Requester {
            user: user.to_owned(),
            groups: vec![group.to_owned()],
            ..Requester::default()
        };
        for (who, held, too_late) in [
            (of("CN=root,O=ops", "ops"), Mode::Enforce, Mode::Enforce),
            (of("jo", "ops"), Mode::Audit, Mode::Audit),
            (of("jo", ""), Mode::Warn, Mode::Defer),
        ] {
            assert_eq!(modes.of_requester(Reason::Held, &who), held);
            assert_eq!(modes.of_requester(Reason::TooLate, &who), too_late);
        }
    }

    #[test]
    fn a_mistake_is_told_with_what_could_be_written() {
        for (flag, part) in [
            ("--mode-for=held", "REASON=MODE"),
            ("--mode-for=hold=warn", "use one of not-own-node, no-override"),
            (
                "--mode-for=not-held=warn",
                "\"not-held\" is not a reason that has a mode",
            ),
            ("--mode-for=held=deny", "use one of enforce, defer, warn, audit"),
            (
                "--mode-for=tampered-hold=defer",
                "tampered-hold cannot be deferred, only an uncordon can: use enforce, warn or audit, or defer one of too-late, held, tampered-taint",
            ),
            ("--mode-for-user=jo", "write NAME=MODE"),
            ("--mode-for-user==defer", "write NAME=MODE"),
            (
                "--mode-for-user=jo=keep",
                "use one of enforce, defer, warn, audit",
            ),
            ("--mode-for-group=ops:defer", "write NAME=MODE"),
        ] {
            let said = parse(&[flag]).unwrap_err();
            assert!(said.contains(part), "{flag}: {said}");
        }
    }

    #[test]
    fn the_help_lists_every_reason_that_has_a_mode() {
        let help = Line::command().render_long_help().to_string();
        for reason in reasons() {
            assert!(
                help.contains(&format!("{}: ", reason.code())),
                "{}",
                reason.code()
            );
        }
    }
}
