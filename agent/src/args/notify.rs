//! The flags of the group "Messages to people": where messages go, and their texts.
//!
//! Not here: what the URL of each service looks like, and sending them ([`crate::notify`]).

use std::path::PathBuf;

use super::value::{self, Maybe};
use crate::notify::{NotifyConfig, Target, TargetError, Template, Templates};

/// The URLs of one value. An alias, so that clap's derive treats the `Vec` as one value.
type Urls = Vec<Target>;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Messages to people")]
pub(super) struct NotifyArgs {
    /// Where messages go: a shoutrrr URL like `slack://A/B/C`; repeated, or separated by white space. Empty sends none
    #[arg(long, env = "KURED_NOTIFY_URL", value_name = "URL", value_parser = notify_urls)]
    notify_url: Vec<Urls>,
    /// File with the CAs, in PEM, that sign the certificates of the receivers; without one, those of the system
    #[arg(long, env = "CORDONHOLD_NOTIFY_CA_FILE", value_name = "PATH", value_parser = value::absolute_path)]
    notify_ca_file: Option<PathBuf>,
    /// Message when the drain begins; `%s` is the node
    #[arg(long, env = "KURED_MESSAGE_TEMPLATE_DRAIN", value_name = "TEXT", default_value = "Draining node %s", value_parser = template)]
    message_template_drain: Template,
    /// Message before the reboot; `%s` is the node
    #[arg(long, env = "KURED_MESSAGE_TEMPLATE_REBOOT", value_name = "TEXT", default_value = "Rebooting node %s", value_parser = template)]
    message_template_reboot: Template,
    /// Message when the node is back; `%s` is the node
    #[arg(long, env = "KURED_MESSAGE_TEMPLATE_UNCORDON", value_name = "TEXT", default_value = "Node %s rebooted & uncordoned successfully!", value_parser = template)]
    message_template_uncordon: Template,
    /// Message when a blocker postpones the reboot, other than a closed window; `%s` is the node, and the reasons follow. Empty sends none
    #[arg(long, env = "CORDONHOLD_MESSAGE_TEMPLATE_BLOCKED", value_name = "TEXT", default_value = "", value_parser = value::unless_empty(template))]
    message_template_blocked: Maybe<Template>,
    /// Message when the reboot command fails, or the host does not go down; `%s` is the node, and the reasons follow. Empty sends none
    #[arg(long, env = "CORDONHOLD_MESSAGE_TEMPLATE_FAILED", value_name = "TEXT", default_value = "Reboot of node %s failed", value_parser = value::unless_empty(template))]
    message_template_failed: Maybe<Template>,
    /// Message when the reboot is called off; `%s` is the node, and the reasons follow. Empty sends none
    #[arg(long, env = "CORDONHOLD_MESSAGE_TEMPLATE_CALLED_OFF", value_name = "TEXT", default_value = "Reboot of node %s is called off", value_parser = value::unless_empty(template))]
    message_template_called_off: Maybe<Template>,
    /// Deprecated, use --notify-url: URL of a Slack webhook
    #[arg(long, env = "KURED_SLACK_HOOK_URL", value_name = "URL", default_value = "", value_parser = value::unless_empty(|text| Ok(slack_hook(text))))]
    slack_hook_url: Maybe<SlackHook>,
    /// Deprecated and without effect, as in kured: name the sender with `--notify-url=slack://NAME@A/B/C`
    #[arg(
        long,
        env = "KURED_SLACK_USERNAME",
        value_name = "NAME",
        default_value = "kured"
    )]
    slack_username: String,
    /// Deprecated and without effect, as in kured: the Slack webhook decides the channel
    #[arg(long, env = "KURED_SLACK_CHANNEL", value_name = "NAME", default_value = "")]
    slack_channel: String,
}

/// What `--slack-hook-url` names. kured starts with any text there, and sends nothing if it is no webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SlackHook {
    Webhook(Target),
    /// The text is not repeated anywhere, because it may be a secret.
    Another,
}

impl NotifyArgs {
    /// Returns a warning for each deprecated flag that is set, which names what to use instead.
    pub(super) fn deprecated(&self) -> Vec<String> {
        let hook = self.slack_hook_url.as_ref().map(|hook| match hook {
            SlackHook::Webhook(_) => {
                "--slack-hook-url is deprecated: use --notify-url=slack://A/B/C, where A/B/C are the last three parts of the webhook's path"
            }
            SlackHook::Another => {
                "--slack-hook-url is not the URL of a Slack webhook, so no message goes there, as in kured: use --notify-url=slack://A/B/C, with the last three parts of the path of a webhook's URL"
            }
        });
        let name = (self.slack_username != "kured").then_some(
            "--slack-username is deprecated and has no effect, as in kured: use --notify-url=slack://NAME@A/B/C",
        );
        let channel = (!self.slack_channel.is_empty()).then_some(
            "--slack-channel is deprecated and has no effect, as in kured: use --notify-url with the webhook of that channel",
        );
        [hook, name, channel]
            .into_iter()
            .flatten()
            .map(str::to_owned)
            .collect()
    }
}

impl From<NotifyArgs> for NotifyConfig {
    fn from(args: NotifyArgs) -> NotifyConfig {
        let mut targets: Vec<Target> = args.notify_url.into_iter().flatten().collect();
        // `--notify-url` wins, as in kured.
        if targets.is_empty() {
            targets.extend(args.slack_hook_url.and_then(|hook| match hook {
                SlackHook::Webhook(target) => Some(target),
                SlackHook::Another => None,
            }));
        }
        NotifyConfig {
            targets,
            texts: Templates {
                drain: args.message_template_drain,
                reboot: args.message_template_reboot,
                uncordon: args.message_template_uncordon,
                blocked: args.message_template_blocked,
                failed: args.message_template_failed,
                called_off: args.message_template_called_off,
            },
            ca_file: args.notify_ca_file,
        }
    }
}

/// Parses URLs with white space around or between them: a Secret made from a file often ends in a line break. No URL has white space in it.
fn notify_urls(text: &str) -> Result<Urls, String> {
    let urls: Result<Urls, TargetError> = text.split_whitespace().map(str::parse).collect();
    urls.map_err(|error| error.to_string())
}

/// Turns `https://hooks.slack.com/services/A/B/C` into the shoutrrr URL `slack://A/B/C`, as kured does (kubereboot/kured:
/// `cmd/kured/main.go`).
fn slack_hook(text: &str) -> SlackHook {
    let path = text.trim().strip_prefix("https://").and_then(|rest| {
        let (_, path) = rest.split_once('/')?;
        path.strip_prefix("services/")
    });
    let is_token = |path: &&str| path.split('/').count() == 3 && path.split('/').all(|part| !part.is_empty());
    path.filter(is_token)
        .and_then(|path| format!("slack://{path}").parse().ok())
        .map_or(SlackHook::Another, SlackHook::Webhook)
}

/// Parses a Go format that has `%s` once, for the node, and `%%` for each `%`.
fn template(text: &str) -> Result<Template, String> {
    let wrong = |what: &str| format!("{text:?} {what}: write it with one %s for the node, and %% for a %");
    let (mut before, mut after) = (String::new(), None::<String>);
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match (c, if c == '%' { rest.next() } else { None }) {
            ('%', Some('s')) if after.is_none() => after = Some(String::new()),
            ('%', Some('s')) => return Err(wrong("names the node more than once")),
            ('%', verb) if verb != Some('%') => return Err(wrong("has a % that is neither %s nor %%")),
            (c, _) => after.as_mut().unwrap_or(&mut before).push(c),
        }
    }
    match after {
        Some(after) => Ok(Template { before, after }),
        None => Err(wrong("does not name the node")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_names_the_node_once() {
        let rendered = |text: &str| template(text).map(|template| template.render("n"));
        assert_eq!(rendered("Draining node %s").unwrap(), "Draining node n");
        assert_eq!(rendered("%s: 100 %% öde").unwrap(), "n: 100 % öde");
        for (text, says) in [
            ("Draining", "does not name"),
            ("", "does not name"),
            ("%s and %s", "more than once"),
            ("%d %s", "neither %s nor %%"),
            ("%s 100%", "neither %s nor %%"),
        ] {
            let error = template(text).unwrap_err();
            assert!(
                error.contains(says) && error.contains("one %s"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn the_address_of_a_slack_webhook_becomes_a_url() {
        let url = notify_urls("slack://A/B/C\n").unwrap().remove(0);
        assert_eq!(
            slack_hook("https://hooks.slack.com/services/A/B/C"),
            SlackHook::Webhook(url)
        );
        for text in [
            "https://hooks.slack.com/services/A/B",
            "A/B/C",
            "https://hooks.slack.com/services/A//C",
        ] {
            assert_eq!(slack_hook(text), SlackHook::Another, "{text}");
        }
    }
}
