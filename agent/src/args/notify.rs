//! The flags of messages to people: where they go, and their texts.

use std::fmt;

use super::value::{self, Maybe};

/// Who is told, and what.
#[derive(Clone, Debug, PartialEq, clap::Args)]
#[command(next_help_heading = "Messages to people")]
pub struct NotifyConfig {
    /// Where messages go: a URL as shoutrrr writes it, like `slack://A/B/C`; empty is nowhere
    #[arg(long, env = "KURED_NOTIFY_URL", value_name = "URL", default_value = "", value_parser = value::unless_empty(notify_url))]
    pub(super) notify_url: Maybe<NotifyUrl>,
    /// Message when the drain begins; `%s` is the node
    #[arg(long, env = "KURED_MESSAGE_TEMPLATE_DRAIN", value_name = "TEXT", default_value = "Draining node %s", value_parser = template)]
    pub message_template_drain: Template,
    /// Message before the reboot; `%s` is the node
    #[arg(long, env = "KURED_MESSAGE_TEMPLATE_REBOOT", value_name = "TEXT", default_value = "Rebooting node %s", value_parser = template)]
    pub message_template_reboot: Template,
    /// Message when the node is back; `%s` is the node
    #[arg(long, env = "KURED_MESSAGE_TEMPLATE_UNCORDON", value_name = "TEXT", default_value = "Node %s rebooted & uncordoned successfully!", value_parser = template)]
    pub message_template_uncordon: Template,
    /// Deprecated, use --notify-url: the address of a Slack webhook
    #[arg(long, env = "KURED_SLACK_HOOK_URL", value_name = "URL", default_value = "", value_parser = value::unless_empty(slack_hook_url))]
    pub(super) slack_hook_url: Maybe<NotifyUrl>,
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

/// Where messages go. Never shown: it holds a token.
#[derive(Clone, PartialEq, Eq)]
pub struct NotifyUrl(String);

/// A message with the place of the node's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    before: String,
    after: String,
}

/// What kured's shoutrrr speaks (containrrr/shoutrrr v0.8.0).
const SCHEMES: [&str; 21] = [
    "bark",
    "discord",
    "generic",
    "gotify",
    "googlechat",
    "hangouts",
    "ifttt",
    "join",
    "logger",
    "matrix",
    "mattermost",
    "ntfy",
    "opsgenie",
    "pushbullet",
    "pushover",
    "rocketchat",
    "slack",
    "smtp",
    "teams",
    "telegram",
    "zulip",
];

impl fmt::Debug for NotifyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.split(':').next().unwrap_or_default();
        write!(f, "{scheme}://...")
    }
}

impl NotifyUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Template {
    pub fn render(&self, node: &str) -> String {
        format!("{}{node}{}", self.before, self.after)
    }
}

impl NotifyConfig {
    /// --notify-url wins over --slack-hook-url, as in kured.
    pub fn url(&self) -> Option<&NotifyUrl> {
        self.notify_url.as_ref().or(self.slack_hook_url.as_ref())
    }

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

/// The service as shoutrrr's router reads it: what stands before a `+`, in any case (containrrr/shoutrrr: pkg/router/router.go).
fn service(scheme: &str) -> String {
    scheme.split('+').next().unwrap_or_default().to_lowercase()
}

fn notify_url(text: &str) -> Result<NotifyUrl, String> {
    // A Secret made from a file ends with the line.
    let url = unquoted(text.trim());
    // The text is not repeated: it holds a token.
    match url.split_once("://") {
        None => Err("not a URL: write one like slack://A/B/C".to_owned()),
        Some((_, "")) => Err("nothing follows the scheme: write a URL like slack://A/B/C".to_owned()),
        Some((scheme, _)) if SCHEMES.contains(&service(scheme).as_str()) => Ok(NotifyUrl(url.to_owned())),
        Some(("http" | "https", _)) => {
            Err("a web address needs generic+ before it, like generic+https://example.com/hook".to_owned())
        }
        Some((scheme, _)) => Err(format!(
            "{scheme:?} is not a service that messages can go to: use one of {}",
            SCHEMES.join(", ")
        )),
    }
}

/// `https://hooks.slack.com/services/A/B/C` as a URL of shoutrrr.
fn slack_hook_url(text: &str) -> Result<NotifyUrl, String> {
    let path = unquoted(text).strip_prefix("https://").and_then(|rest| {
        let (_, path) = rest.split_once('/')?;
        path.strip_prefix("services/")
    });
    let is_token = |path: &&str| path.split('/').count() == 3 && path.split('/').all(|part| !part.is_empty());
    path.filter(is_token)
        .map(|path| NotifyUrl(format!("slack://{path}")))
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
    fn urls_are_those_of_shoutrrr_and_are_never_shown() {
        let url = notify_url("\"slack://bot@token-a/token-b/token-c\"").unwrap();
        assert_eq!(url.as_str(), "slack://bot@token-a/token-b/token-c");
        assert_eq!(format!("{url:?}"), "slack://...");
        assert!(notify_url("generic+https://example.com/hook?x=y").is_ok());
        assert!(notify_url("smtp://u:p@host:25/?fromAddress=a&toAddresses=b,c").is_ok());
        for (text, says) in [
            ("https://hooks.slack.com/services/secret", "generic+"),
            ("carrier-pigeon://secret", "carrier-pigeon"),
            ("secret", "not a URL"),
            ("slack://", "nothing follows"),
        ] {
            let error = notify_url(text).unwrap_err();
            assert!(
                error.contains(says) && !error.contains("secret"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn the_address_of_a_slack_webhook_becomes_a_url() {
        let url = slack_hook_url("https://hooks.slack.com/services/A/B/C").unwrap();
        assert_eq!(url.as_str(), "slack://A/B/C");
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
