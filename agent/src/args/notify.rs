//! The flags of messages to people: where they go, and their texts.

use super::value::{self, Maybe};
use crate::notify::{NotifyConfig, Target, TargetError, Template};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Messages to people")]
pub(super) struct NotifyArgs {
    /// Where messages go: a URL as shoutrrr writes it, like `slack://A/B/C`; empty is nowhere
    #[arg(long, env = "KURED_NOTIFY_URL", value_name = "URL", default_value = "", value_parser = value::unless_empty(notify_url))]
    pub(super) notify_url: Maybe<Target>,
    /// Message when the drain begins; `%s` is the node
    #[arg(long, env = "KURED_MESSAGE_TEMPLATE_DRAIN", value_name = "TEXT", default_value = "Draining node %s", value_parser = template)]
    pub(super) message_template_drain: Template,
    /// Message before the reboot; `%s` is the node
    #[arg(long, env = "KURED_MESSAGE_TEMPLATE_REBOOT", value_name = "TEXT", default_value = "Rebooting node %s", value_parser = template)]
    pub(super) message_template_reboot: Template,
    /// Message when the node is back; `%s` is the node
    #[arg(long, env = "KURED_MESSAGE_TEMPLATE_UNCORDON", value_name = "TEXT", default_value = "Node %s rebooted & uncordoned successfully!", value_parser = template)]
    pub(super) message_template_uncordon: Template,
    /// Deprecated, use --notify-url: the address of a Slack webhook
    #[arg(long, env = "KURED_SLACK_HOOK_URL", value_name = "URL", default_value = "", value_parser = value::unless_empty(slack_hook_url))]
    pub(super) slack_hook_url: Maybe<Target>,
    /// Deprecated, without effect in kured too: `--notify-url=slack://NAME@A/B/C` names the sender
    #[arg(
        long,
        env = "KURED_SLACK_USERNAME",
        value_name = "NAME",
        default_value = "kured"
    )]
    slack_username: String,
    /// Deprecated, without effect in kured too: a Slack webhook knows its channel
    #[arg(long, env = "KURED_SLACK_CHANNEL", value_name = "NAME", default_value = "")]
    slack_channel: String,
}

impl NotifyArgs {
    /// What each deprecated flag that is set should be instead.
    pub(super) fn deprecated(&self) -> Vec<String> {
        let hook = self.slack_hook_url.as_ref().map(|_| {
            "--slack-hook-url is deprecated: use --notify-url=slack://A/B/C, with the three last parts of its path"
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
        NotifyConfig {
            // The one wins over the other, as in kured.
            target: args.notify_url.or(args.slack_hook_url),
            drain: args.message_template_drain,
            reboot: args.message_template_reboot,
            uncordon: args.message_template_uncordon,
        }
    }
}

fn notify_url(text: &str) -> Result<Target, String> {
    // A Secret made from a file ends with the line.
    let url = unquoted(text.trim());
    url.parse().map_err(|error: TargetError| error.to_string())
}

/// `https://hooks.slack.com/services/A/B/C` as a URL of shoutrrr.
fn slack_hook_url(text: &str) -> Result<Target, String> {
    let path = unquoted(text).strip_prefix("https://").and_then(|rest| {
        let (_, path) = rest.split_once('/')?;
        path.strip_prefix("services/")
    });
    let is_token = |path: &&str| path.split('/').count() == 3 && path.split('/').all(|part| !part.is_empty());
    path.filter(is_token)
        .and_then(|path| format!("slack://{path}").parse().ok())
        .ok_or_else(|| "not the address of a Slack webhook: use --notify-url=slack://A/B/C".to_owned())
}

/// Without one pair of quotes around it, which YAML and shells leave there.
fn unquoted(text: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(text)
}

/// Go's format with one `%s`, and `%%` for a `%`.
fn template(text: &str) -> Result<Template, String> {
    let wrong = |what: &str| format!("{text:?} {what}: write it with one %s for the node, and %% for a %");
    let (mut before, mut after) = (String::new(), None::<String>);
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match (c, if c == '%' { rest.next() } else { None }) {
            ('%', Some('s')) if after.is_none() => after = Some(String::new()),
            ('%', Some('s')) => return Err(wrong("names the node more than once")),
            ('%', verb) if verb != Some('%') => return Err(wrong("has a % that stands for nothing")),
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
            ("%d %s", "stands for nothing"),
            ("%s 100%", "stands for nothing"),
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
        let url = slack_hook_url("https://hooks.slack.com/services/A/B/C").unwrap();
        assert_eq!(url, notify_url("\"slack://A/B/C\"\n").unwrap());
        for text in [
            "https://hooks.slack.com/services/A/B",
            "A/B/C",
            "https://hooks.slack.com/services/A//C",
        ] {
            assert!(
                slack_hook_url(text).unwrap_err().contains("--notify-url"),
                "{text}"
            );
        }
    }
}
