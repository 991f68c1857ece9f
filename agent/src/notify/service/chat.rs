//! Chats: Discord, Google Chat, Lark, Mattermost, Rocket.Chat, Slack, Teams, Telegram, Wecom, Zulip.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};

use super::{Call, Confirms, Delivery, Request, encoded_part, encoded_path, filled, form, needed};

/// Most embeds of a message to Discord.
const EMBEDS_MAX: usize = 10;
/// Most attachments of a message to Slack; the last one takes the lines that are left.
const ATTACHMENTS_MAX: usize = 100;
/// Longest summary of a card of Teams, in bytes, as shoutrrr cuts it.
const SUMMARY_MAX: usize = 21;

pub(super) fn discord(call: &Call<'_>) -> Result<Delivery, String> {
    let token = needed(call.user(), "the token before @")?;
    let id = needed(&call.target.host, "the webhook's ID after @")?;
    let url = format!("https://discord.com/api/webhooks/{id}/{token}");
    let is_raw = match call.target.path.as_str() {
        "" | "/" => call.flag("json", false)?,
        "/raw" => true,
        _ => return Err("the path is not /raw".to_owned()),
    };
    let color = call.number("color", 0x50_d9ff)?;
    if is_raw {
        let request = Request::new(Method::POST, url);
        return Ok(request.with_body("application/json", call.text.to_owned()).into());
    }
    let lines: Vec<&str> = if call.flag("splitlines", true)? {
        call.text
            .lines()
            .filter(|line| !line.is_empty())
            .take(EMBEDS_MAX)
            .collect()
    } else {
        vec![call.text]
    };
    let mut embeds: Vec<Value> = lines
        .into_iter()
        .map(|line| match color {
            0 => json!({ "description": line }),
            color => json!({ "description": line, "color": color }),
        })
        .collect();
    if let Some(first) = embeds.first_mut() {
        *first = filled(first.take(), &[("title", call.text_of(&["title"]))]);
    }
    let fields = [
        ("username", call.text_of(&["username"])),
        ("avatar_url", call.text_of(&["avatar", "avatarurl"])),
    ];
    Ok(Request::json(url, &filled(json!({ "embeds": embeds }), &fields)).into())
}

pub(super) fn googlechat(call: &Call<'_>) -> Result<Delivery, String> {
    let key = needed(call.text_of(&["key"]), "the parameter key")?;
    let token = needed(call.text_of(&["token"]), "the parameter token")?;
    let query = form(&[("key", key), ("token", token)]);
    let url = format!("https://{}{}?{query}", call.place()?, call.path());
    Ok(Request::json(url, &json!({ "text": call.text })).into())
}

pub(super) fn lark(call: &Call<'_>) -> Result<Delivery, String> {
    let host = match call.target.host.as_str() {
        "" => "open.larksuite.com",
        host @ ("open.larksuite.com" | "open.feishu.cn") => host,
        _ => return Err("the host is neither open.larksuite.com nor open.feishu.cn".to_owned()),
    };
    let token = encoded_path(needed(
        call.target.path.trim_matches('/'),
        "the token after the host",
    )?);
    let mut body = match call.text_of(&["title"]) {
        "" => json!({ "msg_type": "text", "content": { "text": call.text } }),
        title => {
            let content = [[json!({ "tag": "text", "text": call.text })]];
            let post = json!({ "en_us": { "title": title, "content": content } });
            json!({ "msg_type": "post", "content": { "post": post } })
        }
    };
    let secret = call.text_of(&["secret"]);
    if !secret.is_empty() {
        let time = call.now.as_second().to_string();
        // Lark's own way: time and secret are the key, and nothing is signed.
        let key = hmac::Key::new(hmac::HMAC_SHA256, format!("{time}\n{secret}").as_bytes());
        body["sign"] = json!(STANDARD.encode(hmac::sign(&key, b"")));
        body["timestamp"] = json!(time);
    }
    let url = format!("https://{host}/open-apis/bot/v2/hook/{token}");
    Ok(Request::json(url, &body)
        .confirmed(Confirms::Number("code", 0))
        .into())
}

pub(super) fn mattermost(call: &Call<'_>) -> Result<Delivery, String> {
    let parts = call.segments();
    let part = |at: usize| parts.get(at).map_or("", String::as_str);
    let token = encoded_part(needed(part(0), "the token after the host")?);
    let body = filled(
        json!({ "text": call.text }),
        &[("username", call.user()), ("channel", part(1)), icon(call)],
    );
    // The port is kept; kured's library drops it.
    let url = format!("{}://{}/hooks/{token}", call.scheme()?, call.place()?);
    Ok(Request::json(url, &body).into())
}

pub(super) fn rocketchat(call: &Call<'_>) -> Result<Delivery, String> {
    let parts = call.segments();
    let [first, second, rest @ ..] = parts.as_slice() else {
        return Err("two tokens after the host are needed".to_owned());
    };
    let channel = match (rest.first(), &call.target.fragment) {
        (None, None) => String::new(),
        (_, Some(fragment)) => format!("#{fragment}"),
        (Some(person), None) if person.starts_with('@') => person.clone(),
        (Some(channel), None) => format!("#{channel}"),
    };
    let fields = [("username", call.user()), ("channel", &channel)];
    let tokens = format!("{}/{}", encoded_part(first), encoded_part(second));
    let url = format!("https://{}/hooks/{tokens}", call.place()?);
    Ok(Request::json(url, &filled(json!({ "text": call.text }), &fields)).into())
}

/// A web hook, `slack://[BOT@]A/B/C`, or a call of the API, `slack://xoxb:A-B-C@CHANNEL`.
pub(super) fn slack(call: &Call<'_>) -> Result<Delivery, String> {
    let target = call.target;
    let (token, channel, user) = if target.path.len() > 1 {
        (format!("{}{}", target.host, target.path), "webhook", call.user())
    } else {
        let login = [target.user.as_deref(), target.password.as_deref()];
        let login: Vec<&str> = login.into_iter().flatten().collect();
        (login.join(":"), target.host.as_str(), "")
    };
    let (kind, tokens) = slack_token(&token)?;
    let named = call.text_of(&["botname", "username"]);
    let fields = [
        ("username", if named.is_empty() { user } else { named }),
        ("thread_ts", call.text_of(&["thread_ts"])),
        ("channel", if channel == "webhook" { "" } else { channel }),
        icon(call),
    ];
    let mut body = filled(json!({ "text": call.text_of(&["title"]) }), &fields);
    let attachments = slack_attachments(call);
    if !attachments.is_empty() {
        body["attachments"] = json!(attachments);
    }
    Ok(if kind == "hook" {
        let url = format!("https://hooks.slack.com/services/{}", tokens.join("/"));
        Request::json(url, &body).confirmed(Confirms::Word).into()
    } else {
        let url = "https://slack.com/api/chat.postMessage".to_owned();
        let bearer = format!("Bearer {kind}-{}", tokens.join("-"));
        let request = Request::json(url, &body).with("authorization", bearer);
        request.confirmed(Confirms::Truth("ok")).into()
    })
}

/// The kind of a token, `hook` or like `xoxb`, and its three parts.
fn slack_token(text: &str) -> Result<(&str, Vec<&str>), String> {
    let kind = text
        .get(..4)
        .filter(|kind| *kind == "hook" || kind.starts_with("xox"));
    let rest = kind.and_then(|kind| text.strip_prefix(kind)?.strip_prefix([':', '-']));
    let (kind, rest) = match (kind, rest) {
        (Some(kind), Some(rest)) => (kind, rest),
        _ => ("hook", text.trim_start_matches(':')),
    };
    let parts: Vec<&str> = rest.trim_end_matches('/').split(['-', '/', ',']).collect();
    let is_part = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric());
    // The token of an API may have more parts, or fewer.
    let is_right = if kind == "hook" {
        parts.len() == 3
    } else {
        !rest.is_empty()
    };
    if is_right && parts.iter().all(is_part) {
        Ok((kind, parts))
    } else {
        Err("the token is not three parts of letters and digits".to_owned())
    }
}

/// An attachment for each line.
fn slack_attachments(call: &Call<'_>) -> Vec<Value> {
    let lines: Vec<&str> = call
        .text
        .trim_end_matches('\n')
        .splitn(ATTACHMENTS_MAX, '\n')
        .collect();
    let color = [("color", call.text_of(&["color"]))];
    let attachments = lines.into_iter().filter(|_| !call.text.is_empty());
    attachments
        .map(|line| filled(json!({ "text": line }), &color))
        .collect()
}

/// The icon as a field: a URL, or the name of an emoji.
fn icon<'a>(call: &Call<'a>) -> (&'static str, &'a str) {
    let icon = ["icon", "icon_emoji", "icon_url"];
    let mut parameters = call.target.parameters.iter();
    let found = parameters.find(|(name, _)| icon.iter().any(|known| name.eq_ignore_ascii_case(known)));
    match found.map_or("", |(_, value)| value.as_str()) {
        url if url.contains("http://") || url.contains("https://") => ("icon_url", url),
        emoji => ("icon_emoji", emoji),
    }
}

/// A card for a workflow (the fork's way), or for a connector (kured's way, which Microsoft has retired).
pub(super) fn teams(call: &Call<'_>) -> Result<Delivery, String> {
    let host = call.text_of(&["host"]);
    if host.starts_with("https://") {
        return Ok(Request::json(encoded_path_and_query(host), &adaptive_card(call)).into());
    }
    let target = call.target;
    let (host, parts) = match target.transport.as_deref() {
        None => (host, connector(call)),
        Some("https") => {
            let parts = call.segments();
            let parts = match parts.as_slice() {
                [_, owner, _, alt, last] => owner
                    .split_once('@')
                    .map(|(group, tenant)| [group, tenant, alt.as_str(), last.as_str()].map(str::to_owned)),
                _ => None,
            };
            (target.host.as_str(), parts)
        }
        Some(_) => return Err("the text after + is not https".to_owned()),
    };
    let parts = parts.filter(|parts| parts.iter().all(|part| !part.is_empty()));
    let [group, tenant, alt, owner] = parts.ok_or("the URL of the webhook is not whole")?;
    let (host, path) = match host {
        "" | "outlook.office.com" => ("outlook.office.com", "webhook"),
        host => (host, "webhookb2"),
    };
    let url = format!("https://{host}/{path}/{group}@{tenant}/IncomingWebhook/{alt}/{owner}");
    Ok(Request::json(encoded_path(&url), &message_card(call)).into())
}

/// The four parts of `teams://GROUP@TENANT/ALT/OWNER`, or of the older `teams://GROUP@TENANT:ALT@OWNER`.
fn connector(call: &Call<'_>) -> Option<[String; 4]> {
    let host = call.target.host.clone();
    if let Some(alt) = &call.target.password {
        let (group, tenant) = call.user().split_once('@')?;
        return Some([group.to_owned(), tenant.to_owned(), alt.clone(), host]);
    }
    let parts = call.segments();
    let [alt, owner, ..] = parts.as_slice() else {
        return None;
    };
    Some([call.user().to_owned(), host, alt.clone(), owner.clone()])
}

/// A URL that came decoded, as a request can have it.
fn encoded_path_and_query(url: &str) -> String {
    match url.split_once('?') {
        Some((path, query)) => format!("{}?{}", encoded_path(path), encoded_path(query)),
        None => encoded_path(url),
    }
}

fn message_card(call: &Call<'_>) -> Value {
    let sections: Vec<Value> = call
        .text
        .split('\n')
        .map(|line| filled(json!({ "startGroup": false }), &[("text", line)]))
        .collect();
    let title = call.text_of(&["title"]);
    let first = call.text.lines().next().unwrap_or_default();
    let summary = if title.is_empty() {
        &first[..first.floor_char_boundary(SUMMARY_MAX)]
    } else {
        title
    };
    let card = json!({
        "@type": "MessageCard",
        "@context": "http://schema.org/extensions",
        "markdown": true,
        "sections": sections,
    });
    filled(
        card,
        &[
            ("title", title),
            ("summary", summary),
            ("themeColor", call.text_of(&["color"])),
        ],
    )
}

fn adaptive_card(call: &Call<'_>) -> Value {
    let color = match call.text_of(&["color"]).to_lowercase().as_str() {
        "red" | "attention" | "danger" => "attention",
        "orange" | "yellow" | "warning" | "warn" => "warning",
        "green" | "good" | "success" => "good",
        "blue" | "accent" => "accent",
        "dark" => "dark",
        "light" => "light",
        _ => "default",
    };
    let title = call.text_of(&["title"]);
    let title = (!title.is_empty()).then(|| {
        json!({ "type": "TextBlock", "text": title, "weight": "Bolder", "size": "Medium", "color": color })
    });
    let lines = call.text.split('\n').filter(|line| !line.trim().is_empty());
    let lines = lines.map(|line| json!({ "type": "TextBlock", "text": line, "wrap": true }));
    let body: Vec<Value> = title.into_iter().chain(lines).collect();
    let card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.2",
        "body": body,
    });
    let kind = "application/vnd.microsoft.card.adaptive";
    json!({
        "type": "message",
        "attachments": [{ "contentType": kind, "contentUrl": null, "content": card }],
    })
}

pub(super) fn telegram(call: &Call<'_>) -> Result<Delivery, String> {
    let number = needed(call.user(), "the number of the bot")?;
    let secret = needed(call.password(), "the token after the number of the bot")?;
    let is_token = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !number.chars().all(|c| c.is_ascii_digit()) || !secret.chars().all(is_token) {
        return Err("the token is not a number, a colon and a text".to_owned());
    }
    let chats = call.list(&["chats", "channels"], ',');
    if chats.is_empty() {
        return Err("the parameter chats is missing".to_owned());
    }
    let title = call.text_of(&["title"]);
    let (mode, text) = match call.text_of(&["parsemode"]).to_lowercase().as_str() {
        "" | "none" if title.is_empty() => ("", call.text.to_owned()),
        "" | "none" => ("HTML", format!("<b>{}</b>\n{}", html(title), html(call.text))),
        "html" => ("HTML", format!("<b>{}</b>\n{}", html(title), call.text)),
        "markdown" => ("Markdown", call.text.to_owned()),
        "markdownv2" => ("MarkdownV2", call.text.to_owned()),
        _ => return Err("parsemode is none of None, Markdown, MarkdownV2, HTML".to_owned()),
    };
    let quiet = !call.flag("notification", true)?;
    let bare = !call.flag("preview", true)?;
    let url = format!("https://api.telegram.org/bot{number}:{secret}/sendMessage");
    let request = |chat: &String| {
        let (chat, thread) = chat.split_once(':').unwrap_or((chat, ""));
        let mut body = json!({
            "text": text,
            "chat_id": chat,
            "disable_web_page_preview": bare,
            "disable_notification": quiet,
            "reply_to_message_id": 0,
        });
        if let Ok(thread) = thread.parse::<i64>() {
            body["message_thread_id"] = json!(thread);
        }
        let body = filled(body, &[("parse_mode", mode)]);
        Request::json(url.clone(), &body).confirmed(Confirms::Truth("ok"))
    };
    Ok(Delivery::Http(chats.iter().map(request).collect()))
}

/// The text with what HTML gives a meaning replaced, as Go's `html.EscapeString` does it.
fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

pub(super) fn wecom(call: &Call<'_>) -> Result<Delivery, String> {
    let given = call.text_of(&["key"]);
    let key = if given.is_empty() {
        call.target.host.as_str()
    } else {
        given
    };
    let key = encoded_part(needed(key, "the key")?);
    let mut text = json!({ "content": call.text });
    for list in ["mentioned_list", "mentioned_mobile_list"] {
        let value = call.text_of(&[list]);
        if !value.is_empty() {
            text[list] = json!([value]);
        }
    }
    let url = format!("https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key={key}");
    let request = Request::json(url, &json!({ "msgtype": "text", "text": text }));
    Ok(request.confirmed(Confirms::Number("errcode", 0)).into())
}

pub(super) fn zulip(call: &Call<'_>) -> Result<Delivery, String> {
    let bot = needed(call.user(), "the bot before @")?;
    let key = needed(call.password(), "the key of the bot")?;
    let stream = call.text_of(&["stream"]);
    let mut fields = vec![("type", "stream"), ("to", stream), ("content", call.text)];
    let topic = call.text_of(&["topic"]);
    if !topic.is_empty() {
        fields.push(("topic", topic));
    }
    // The port is kept; kured's library drops it.
    let url = format!("https://{}/api/v1/messages", call.place()?);
    Ok(Request::form(url, &fields).with_login(bot, key).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_slack_has_a_kind_and_parts() {
        let hook = Ok(("hook", vec!["A1", "B2", "c3"]));
        for text in ["A1/B2/c3", ":A1/B2/c3", "hook:A1-B2-c3", "A1,B2,c3", "A1/B2/c3/"] {
            assert_eq!(slack_token(text), hook, "{text}");
        }
        assert_eq!(slack_token("xoxb:1-2-c").unwrap().0, "xoxb");
        assert_eq!(slack_token("xoxp-1-2-3-c").unwrap().1.len(), 4);
        for text in ["", "A1/B2", "A1/B2/c3/d4", "A1//c3", "xoxb:", "A 1/B2/c3"] {
            assert!(slack_token(text).is_err(), "{text}");
        }
    }
}
