//! Notify URLs: nothing of one is ever said but its service.

use cordonhold_agent::notify::Target;

use super::{is_one_line, text};

pub(super) const WORDS: &[&str] = &[
    SECRET,
    "slack://",
    "smtp://",
    "generic+https://",
    "gotify://",
    "telegram://",
    "matrix://",
    "teams://",
    "discord://",
    "ntfy://",
    "rocketchat://",
    "zulip://",
    "opsgenie://",
    "pushover://",
    "bark://",
    "://",
    "@",
    ":",
    "/",
    "?",
    "&",
    "=",
    "#",
    "%",
    "%20",
    "%ff",
    "[::1]",
    "host=",
    "from=a@b.c",
    "to=d@e.f",
    "chats=1",
    "disabletls=yes",
    "template=json",
    "70000",
];
/// Stands for a token.
const SECRET: &str = "5ecre7";

pub(super) fn check(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    match text.parse::<Target>() {
        Ok(target) => {
            let said = format!("{target} {target:?}");
            let name = target.service.name();
            assert_eq!(said, format!("{name}://... {name}://..."));
        }
        Err(error) => {
            let said = error.to_string();
            is_one_line(&said);
            assert!(scheme.contains(SECRET) || !said.contains(SECRET), "{said}");
        }
    }
}
