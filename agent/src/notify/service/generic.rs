//! Any web hook: `generic://` and `generic+https://`.

use http::{HeaderName, HeaderValue, Method};
use serde_json::{Map, json};

use super::{Call, Delivery, Request, form};

/// The parameters that say how the request is made, and do not reach the hook.
const OWN: [&str; 7] = [
    "contenttype",
    "disabletls",
    "template",
    "title",
    "titlekey",
    "messagekey",
    "method",
];
/// Before the name of a parameter that reaches the hook although it is one of [`OWN`].
const ESCAPE: &str = "__";

/// The request to the hook. With `generic+https` every parameter but headers (`@`) and extra fields (`$`) reaches the hook.
pub(super) fn generic(call: &Call<'_>) -> Result<Delivery, String> {
    let target = call.target;
    let place = call.place()?;
    let is_own = |name: &str| target.transport.is_none() && OWN.contains(&name);
    let own = |name: &'static str, default: &'static str| match call.text_of(&[name]) {
        text if is_own(name) && !text.is_empty() => text,
        _ => default,
    };
    let scheme = match target.transport.as_deref() {
        None => call.scheme()?,
        Some("http") => "http",
        Some("https") => "https",
        Some(_) => return Err("the text after + is neither http nor https".to_owned()),
    };
    let kind = own("contenttype", "application/json");
    let mut headers = vec![
        ("content-type".to_owned(), kind.to_owned()),
        ("accept".to_owned(), kind.to_owned()),
    ];
    let mut extra = Map::new();
    let mut query = Vec::new();
    for (name, value) in &target.parameters {
        if let Some(name) = name.strip_prefix('@') {
            let name = dashed(name);
            let is_header = HeaderName::try_from(&name).is_ok() && HeaderValue::try_from(value).is_ok();
            if !is_header {
                return Err("a parameter with @ is not a header".to_owned());
            }
            headers.retain(|(known, _)| *known != name);
            headers.push((name, value.clone()));
        } else if let Some(name) = name.strip_prefix('$') {
            drop(extra.insert(name.to_owned(), json!(value)));
        } else if !is_own(&name.to_lowercase()) {
            let plain = name.strip_prefix(ESCAPE).filter(|plain| OWN.contains(plain));
            query.push((plain.unwrap_or(name), value.as_str()));
        }
    }
    let body = match own("template", "") {
        "" => call.text.to_owned(),
        "json" | "JSON" => {
            let mut fields = Map::new();
            drop(fields.insert(own("messagekey", "message").to_owned(), json!(call.text)));
            fields.extend(extra);
            json!(fields).to_string()
        }
        _ => return Err("template is not json".to_owned()),
    };
    let question = if query.is_empty() { "" } else { "?" };
    let url = format!("{scheme}://{place}{}{question}{}", call.path(), form(&query));
    let method =
        Method::try_from(own("method", "POST")).map_err(|_| "method is not an HTTP method".to_owned())?;
    let has_login = headers.iter().any(|(name, _)| name == "authorization");
    let mut request = Request::new(method, url);
    request.headers = headers;
    request.body = body;
    Ok(if has_login {
        request
    } else {
        request.with_login(call.user(), call.password())
    }
    .into())
}

/// The name of a header in lower case, with a `-` before each capital letter.
fn dashed(name: &str) -> String {
    let mut dashed = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !dashed.is_empty() && !dashed.ends_with('-') {
            dashed.push('-');
        }
        dashed.push(c.to_ascii_lowercase());
    }
    dashed
}
