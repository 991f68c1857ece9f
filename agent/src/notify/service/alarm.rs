//! Alarms and short messages: Opsgenie, Pagerduty, Twilio, Signal, Notifiarr.

use http::HeaderValue;
use serde_json::{Map, Value, json};

use super::{Call, Delivery, Request, encoded_part, filled, needed};

/// Longest message of an alert of Opsgenie, in bytes; a longer one becomes its description.
const ALERT_MAX: usize = 130;

pub(super) fn opsgenie(call: &Call<'_>) -> Result<Delivery, String> {
    let key = call.path();
    let key = needed(key.trim_start_matches('/'), "the key after the host")?;
    let text = |name: &str| call.text_of(&[name]);
    let (message, long) = match text("title") {
        "" if call.text.len() > ALERT_MAX => {
            (&call.text[..call.text.floor_char_boundary(ALERT_MAX)], call.text)
        }
        "" => (call.text, ""),
        title => (title, call.text),
    };
    let description = [long, text("description")];
    let description: Vec<&str> = description.into_iter().filter(|part| !part.is_empty()).collect();
    let description = description.join("\n");
    let names = ["alias", "entity", "source", "priority", "user", "note"];
    let mut body = filled(
        json!({ "message": message }),
        &names.map(|name| (name, text(name))),
    );
    body = filled(body, &[("description", &description)]);
    for (field, name) in [("responders", "responders"), ("visibleTo", "visibleto")] {
        let entities: Result<Vec<Value>, String> = call
            .list(&[name], ',')
            .iter()
            .map(|text| entity(text, name))
            .collect();
        let entities = entities?;
        if !entities.is_empty() {
            body[field] = json!(entities);
        }
    }
    for name in ["actions", "tags"] {
        let list = call.list(&[name], ',');
        if !list.is_empty() {
            body[name] = json!(list);
        }
    }
    let details = details(&call.list(&["details"], ','))?;
    if !details.is_empty() {
        body["details"] = json!(details);
    }
    let url = format!("https://{}/v2/alerts", with_port(call, "443")?);
    Ok(Request::json(url, &body)
        .with("authorization", header(&format!("GenieKey {key}"))?)
        .into())
}

/// The host with its port, or this port if it has none.
fn with_port(call: &Call<'_>, port: &str) -> Result<String, String> {
    let place = call.place()?;
    Ok(match call.target.port {
        Some(_) => place,
        None => format!("{place}:{port}"),
    })
}

/// A team or person of Opsgenie: `team:NAME`, `user:NAME`, or any kind with an ID.
fn entity(text: &str, list: &str) -> Result<Value, String> {
    let wrong = || format!("{list} has a part that is not like team:NAME or user:NAME");
    let (kind, name) = text
        .split_once(':')
        .filter(|(_, name)| !name.contains(':'))
        .ok_or_else(wrong)?;
    let lengths = name.split('-').map(str::len);
    let is_id =
        lengths.eq([8, 4, 4, 4, 12]) && name.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f' | '-'));
    match kind {
        kind if is_id => Ok(json!({ "type": kind, "id": name })),
        "team" => Ok(json!({ "type": kind, "name": name })),
        "user" => Ok(json!({ "type": kind, "username": name })),
        _ => Err(wrong()),
    }
}

fn details(pairs: &[String]) -> Result<Map<String, Value>, String> {
    let pair = |pair: &String| {
        let (name, value) = pair.split_once(':')?;
        Some((name.to_owned(), json!(value)))
    };
    let details: Option<Map<String, Value>> = pairs.iter().map(pair).collect();
    details.ok_or_else(|| "details has a part that is not like NAME:VALUE".to_owned())
}

fn header(text: &str) -> Result<String, String> {
    match HeaderValue::try_from(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("the key holds what no HTTP header can have".to_owned()),
    }
}

pub(super) fn pagerduty(call: &Call<'_>) -> Result<Delivery, String> {
    let parts = call.segments();
    let key = parts.first().map_or("", String::as_str);
    let key = needed(key, "the key after the host")?;
    let one_of = |name: &'static str, known: &[&'static str]| match call.text_of(&[name]) {
        "" => Ok(known[0]),
        word => known
            .iter()
            .find(|known| **known == word)
            .copied()
            .ok_or_else(|| format!("{name} is none of {}", known.join(", "))),
    };
    let severity = one_of("severity", &["error", "critical", "warning", "info"])?;
    let action = one_of("action", &["trigger", "acknowledge", "resolve"])?;
    let source = match call.text_of(&["source"]) {
        "" => "default",
        source => source,
    };
    let body = json!({
        "payload": { "summary": call.text, "severity": severity, "source": source },
        "routing_key": key,
        "event_action": action,
    });
    let names = ["dedup_key", "client", "client_url"];
    let mut body = filled(body, &names.map(|name| (name, call.text_of(&[name]))));
    let details = call.text_of(&["details"]);
    if !details.is_empty() {
        body["details"] = serde_json::from_str(details).map_err(|_| "details is not JSON".to_owned())?;
    }
    let contexts = contexts(call.text_of(&["contexts"]))?;
    if !contexts.is_empty() {
        body["contexts"] = json!(contexts);
    }
    // Without a host it is the one of PagerDuty; shoutrrr then sends nowhere.
    let place = match call.target.host.as_str() {
        "" => "events.pagerduty.com:443".to_owned(),
        _ => with_port(call, "443")?,
    };
    Ok(Request::json(format!("https://{place}/v2/enqueue"), &body).into())
}

/// Links and images: `link:URL,image:URL`, or JSON.
fn contexts(text: &str) -> Result<Vec<Value>, String> {
    if let Ok(contexts) = serde_json::from_str(text) {
        return Ok(contexts);
    }
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| match part.split_once(':') {
            Some(("link", url)) => Ok(json!({ "type": "link", "href": url.trim() })),
            Some(("image", url)) => Ok(json!({ "type": "image", "src": url.trim() })),
            _ => Err("contexts has a part that is neither link:URL nor image:URL".to_owned()),
        })
        .collect()
}

pub(super) fn twilio(call: &Call<'_>) -> Result<Delivery, String> {
    let sid = needed(call.user(), "the account's SID before :")?;
    let token = needed(call.password(), "the token before @")?;
    let sender = telephone(needed(&call.target.host, "the sender after @")?);
    let receivers: Vec<String> = call.segments().iter().map(|number| telephone(number)).collect();
    if receivers.is_empty() {
        return Err("the recipient after the sender is missing".to_owned());
    }
    let text = match call.text_of(&["title"]) {
        "" => call.text.to_owned(),
        title => format!("{title}\n{}", call.text),
    };
    // A service of Twilio chooses the sender.
    let from = if sender.starts_with("MG") {
        "MessagingServiceSid"
    } else {
        "From"
    };
    let url = format!(
        "https://api.twilio.com/2010-04-01/Accounts/{}/Messages.json",
        encoded_part(sid)
    );
    let request = |to: &String| {
        Request::form(url.clone(), &[("To", to), ("Body", &text), (from, &sender)]).with_login(sid, token)
    };
    Ok(Delivery::Http(receivers.iter().map(request).collect()))
}

/// A telephone number without what only people need.
fn telephone(number: &str) -> String {
    if number.starts_with("MG") {
        return number.to_owned();
    }
    number.trim().replace([' ', '-', '(', ')', '.'], "")
}

pub(super) fn signal(call: &Call<'_>) -> Result<Delivery, String> {
    let parts = call.segments();
    let Some((sender, rest)) = parts.split_first() else {
        return Err("the sender after the host is missing".to_owned());
    };
    let mut receivers: Vec<String> = Vec::new();
    for part in rest {
        match receivers.last_mut() {
            // The ID of a group may have slashes.
            Some(group)
                if group.starts_with("group.") && !part.starts_with('+') && !part.starts_with("group.") =>
            {
                group.push('/');
                group.push_str(part);
            }
            _ => receivers.push(part.clone()),
        }
    }
    if receivers.is_empty() {
        return Err("the recipient after the sender is missing".to_owned());
    }
    let body = json!({ "message": call.text, "number": sender, "recipients": receivers });
    let url = format!("{}://{}/v2/send", call.scheme()?, with_port(call, "8080")?);
    let request = Request::json(url, &body);
    let or = |given: &'static str, other| match call.text_of(&[given]) {
        "" => other,
        given => given,
    };
    Ok(match call.text_of(&["token", "apikey"]) {
        "" => request
            .with_login(or("user", call.user()), or("password", call.password()))
            .into(),
        token => request
            .with("authorization", header(&format!("Bearer {token}"))?)
            .into(),
    })
}

pub(super) fn notifiarr(call: &Call<'_>) -> Result<Delivery, String> {
    let key = encoded_part(needed(&call.target.host, "the key after ://")?);
    let name = match call.text_of(&["name"]) {
        "" => "Shoutrrr",
        name => name,
    };
    let mut discord = json!({ "text": filled(json!({}), &[("description", call.text)]) });
    discord = filled(discord, &[("color", call.text_of(&["color"]))]);
    let images = ["thumbnail", "image"].map(|name| (name, call.text_of(&[name])));
    let images = filled(json!({}), &images);
    if images.as_object().is_some_and(|images| !images.is_empty()) {
        discord["images"] = images;
    }
    let channel = call.text_of(&["channel"]);
    if !channel.is_empty() {
        let channel: u64 = channel
            .parse()
            .map_err(|_| "channel is not a number".to_owned())?;
        discord["ids"] = json!({ "channel": channel });
    }
    let body = json!({ "notification": { "name": name }, "discord": discord });
    let url = format!("https://notifiarr.com/api/v1/notification/passthrough/{key}");
    Ok(Request::json(url, &body)
        .with("accept", "application/json")
        .into())
}
