//! Notes on telephones and desktops: Bark, Gotify, IFTTT, Join, ntfy, Pushbullet, Pushover.

use http::{HeaderValue, Method};
use serde_json::json;

use super::{Call, Confirms, Delivery, Request, encoded_part, filled, form, needed};

pub(super) fn bark(call: &Call<'_>) -> Result<Delivery, String> {
    let key = needed(call.password(), "the key before @")?;
    let scheme = http_or_https(call)?;
    let path = call.path();
    let url = format!("{scheme}://{}{}/push", call.place()?, path.trim_end_matches('/'));
    let body = json!({
        "body": call.text,
        "device_key": key,
        "title": call.text_of(&["title"]),
        "badge": call.number("badge", 0)?,
    });
    let fields =
        ["sound", "icon", "group", "url", "category", "copy"].map(|name| (name, call.text_of(&[name])));
    let request = Request::json(url, &filled(body, &fields));
    Ok(request.confirmed(Confirms::Number("code", 200)).into())
}

/// The parameter `scheme`.
fn http_or_https<'a>(call: &Call<'a>) -> Result<&'a str, String> {
    match call
        .target
        .parameters
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("scheme"))
    {
        None => Ok("https"),
        Some((_, scheme)) if matches!(scheme.as_str(), "http" | "https") => Ok(scheme),
        Some(_) => Err("scheme is neither http nor https".to_owned()),
    }
}

pub(super) fn gotify(call: &Call<'_>) -> Result<Delivery, String> {
    let path = call.path();
    let path = path.trim_end_matches('/');
    let (before, token) = path.rsplit_once('/').unwrap_or(("", path));
    let token = needed(token, "the token after the host")?;
    let title = match call.text_of(&["title"]) {
        "" => "Shoutrrr notification",
        title => title,
    };
    let body = json!({ "message": call.text, "title": title, "priority": call.number("priority", 0)? });
    // One slash before `message`; kured's library writes two if there is a path.
    let url = format!(
        "{}://{}{before}/message?token={token}",
        call.scheme()?,
        call.place()?
    );
    Ok(Request::json(url, &body).into())
}

pub(super) fn ifttt(call: &Call<'_>) -> Result<Delivery, String> {
    let key = encoded_part(needed(&call.target.host, "the key after ://")?);
    let events = call.list(&["events"], ',');
    if events.is_empty() {
        return Err("the parameter events is missing".to_owned());
    }
    let place = call.number("messagevalue", 2)?;
    if !(1..=3).contains(&place) {
        return Err("messagevalue is not 1, 2 or 3".to_owned());
    }
    let value = |number: i64, name: &str| {
        if number == place {
            call.text
        } else {
            call.text_of(&[name])
        }
        .to_owned()
    };
    let body = json!({
        "value1": value(1, "value1"),
        "value2": value(2, "value2"),
        "value3": value(3, "value3"),
    });
    let url = |event: &String| {
        format!(
            "https://maker.ifttt.com/trigger/{}/with/key/{key}",
            encoded_part(event)
        )
    };
    let requests = events.iter().map(|event| Request::json(url(event), &body));
    Ok(Delivery::Http(requests.collect()))
}

pub(super) fn join(call: &Call<'_>) -> Result<Delivery, String> {
    let key = needed(call.password(), "the key before @")?;
    let devices = needed(call.text_of(&["devices"]), "the parameter devices")?;
    let mut fields = vec![("deviceIds", devices), ("apikey", key), ("text", call.text)];
    let more = ["title", "icon"].map(|name| (name, call.text_of(&[name])));
    fields.extend(more.into_iter().filter(|(_, value)| !value.is_empty()));
    let url = format!(
        "https://joinjoaomgcd.appspot.com/_ah/api/messaging/v1/sendPush?{}",
        form(&fields)
    );
    Ok(Request::new(Method::POST, url)
        .with("content-type", "text/plain")
        .into())
}

pub(super) fn ntfy(call: &Call<'_>) -> Result<Delivery, String> {
    let topic = call.path();
    let topic = needed(topic.trim_matches('/'), "the topic after the host")?;
    let host = match call.target.host.as_str() {
        "" => "ntfy.sh".to_owned(),
        _ => call.place()?,
    };
    let priority = match call.text_of(&["priority"]).to_lowercase().as_str() {
        "min" | "1" => "Min",
        "low" | "2" => "Low",
        "" | "default" | "3" => "Default",
        "high" | "4" => "High",
        "max" | "5" | "urgent" => "Max",
        _ => return Err("priority is none of min, low, default, high, max".to_owned()),
    };
    let no = |name: &str| Ok::<_, String>(if call.flag(name, true)? { "" } else { "no" });
    let headers = [
        ("title", call.text_of(&["title"])),
        ("priority", priority),
        ("tags", call.text_of(&["tags"])),
        ("delay", call.text_of(&["delay", "at", "in"])),
        ("actions", call.text_of(&["actions"])),
        ("click", call.text_of(&["click"])),
        ("attach", call.text_of(&["attach"])),
        ("x-icon", call.text_of(&["icon"])),
        ("filename", call.text_of(&["filename"])),
        ("email", call.text_of(&["email"])),
        ("cache", no("cache")?),
        ("firebase", no("firebase")?),
    ];
    let mut request = Request::new(Method::POST, format!("{}://{host}/{topic}", http_or_https(call)?));
    for (name, value) in headers {
        if HeaderValue::try_from(value).is_err() {
            return Err(format!("{name} holds what no HTTP header can have"));
        }
        if !value.is_empty() {
            request = request.with(name, value);
        }
    }
    call.text.clone_into(&mut request.body);
    let user = if call.password().is_empty() {
        ""
    } else {
        call.user()
    };
    Ok(request.with_login(user, call.password()).into())
}

pub(super) fn pushbullet(call: &Call<'_>) -> Result<Delivery, String> {
    let token = needed(&call.target.host, "the token after ://")?;
    let mut targets = call.segments();
    targets.extend(call.target.fragment.iter().map(|channel| format!("#{channel}")));
    if targets.is_empty() {
        // Every device of the token's owner.
        targets.push(String::new());
    }
    let title = call.text_of(&["title"]);
    let request = |target: &String| {
        let is_mail = target.split_once('@').is_some_and(|(_, host)| host.contains('.'));
        let (email, channel, device) = match target.strip_prefix('#') {
            _ if is_mail => (target.as_str(), "", ""),
            Some(channel) => ("", channel, ""),
            None => ("", "", target.as_str()),
        };
        let body = json!({
            "type": "note",
            "title": title,
            "body": call.text,
            "email": email,
            "channel_tag": channel,
            "device_iden": device,
        });
        Request::json("https://api.pushbullet.com/v2/pushes".to_owned(), &body).with("access-token", token)
    };
    if HeaderValue::try_from(token).is_err() {
        return Err("the token holds what no HTTP header can have".to_owned());
    }
    Ok(Delivery::Http(targets.iter().map(request).collect()))
}

pub(super) fn pushover(call: &Call<'_>) -> Result<Delivery, String> {
    let token = needed(call.password(), "the token before @")?;
    let user = needed(&call.target.host, "the user after @")?;
    let devices = call.text_of(&["devices"]);
    let title = call.text_of(&["title"]);
    let priority = call.number("priority", 0)?;
    let shown = priority.to_string();
    let mut fields = vec![
        ("device", devices),
        ("user", user),
        ("token", token),
        ("message", call.text),
    ];
    if !title.is_empty() {
        fields.push(("title", title));
    }
    // Priority 2 needs an answer of its reader, and is left out, as in shoutrrr.
    if (-2..=1).contains(&priority) {
        fields.push(("priority", &shown));
    }
    Ok(Request::form("https://api.pushover.net/1/messages.json".to_owned(), &fields).into())
}
