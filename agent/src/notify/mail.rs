//! Mail: what a `smtp://` URL says, and how a mail is sent with lettre.
//!
//! Unlike shoutrrr, a password is sent only over TLS or to this machine, and a mail without a subject has its text as the subject.
//! Not here: when a mail is tried again ([`super::outbox`]).

use std::sync::Arc;

use lettre::message::header::{ContentType, MIME_VERSION_1_0};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, Message};
use rustls_pki_types::CertificateDer;
use tokio::fs::read_to_string;

use super::http::{Failure, mistrust};
use super::service::{Call, Delivery, needed};

/// A mail, and the server that takes it.
pub(super) struct Mail {
    host: String,
    port: u16,
    encryption: Encryption,
    login: Option<Login>,
    client: String,
    from: Mailbox,
    /// Each has a mail of its own, as in shoutrrr.
    pub(super) to: Vec<Address>,
    subject: String,
    text: String,
    is_html: bool,
}

/// When TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encryption {
    /// Never.
    Off,
    /// After the greeting, if the server offers it.
    IfOffered,
    /// After the greeting, or the mail is not sent.
    Required,
    /// At once.
    FromTheStart,
}

/// How the server knows the sender.
struct Login {
    mechanism: Mechanism,
    user: String,
    password: String,
}

/// The CAs that sign the certificates of mail servers.
pub(super) type Roots = Arc<Vec<CertificateDer<'static>>>;

/// The port of a server that begins with TLS (RFC 8314).
const TLS_PORT: u16 = 465;
/// The port if the URL has none, as in shoutrrr.
const DEFAULT_PORT: u16 = 25;

/// The mail that a URL asks for.
pub(super) fn mail(call: &Call<'_>) -> Result<Delivery, String> {
    let target = call.target;
    let host = needed(&target.host, "the host")?.to_owned();
    let port = target.port.unwrap_or(DEFAULT_PORT);
    let login = login(call)?;
    let encryption = encryption(call, port, login.is_some() && !is_this_machine(&host))?;
    if encryption == Encryption::Off && login.is_some() && !is_this_machine(&host) {
        return Err("a password would be sent without TLS, so starttls cannot be no".to_owned());
    }
    let from = address(needed(
        call.text_of(&["fromaddress", "from"]),
        "the parameter fromAddress",
    )?)
    .ok_or("fromAddress is not an address")?;
    let to = call.list(&["toaddresses", "to"], ',');
    let to: Option<Vec<Address>> = to.iter().map(|text| address(text)).collect();
    let to = to.ok_or("toAddresses has a part that is not an address")?;
    if to.is_empty() {
        return Err("the parameter toAddresses is missing".to_owned());
    }
    let name = call.text_of(&["fromname"]);
    let subject = call.text_of(&["subject", "title"]);
    let first = call.text.lines().next().unwrap_or_default();
    Ok(Delivery::Mail(Mail {
        host,
        port,
        encryption,
        login,
        client: match call.text_of(&["clienthost"]) {
            "" => "localhost".to_owned(),
            name => name.to_owned(),
        },
        from: Mailbox::new((!name.is_empty()).then(|| name.to_owned()), from),
        to,
        subject: if subject.is_empty() { first } else { subject }.to_owned(),
        text: call.text.to_owned(),
        is_html: call.flag("usehtml", false)?,
    }))
}

/// A space stands for `+`, which a query turns into a space.
fn address(text: &str) -> Option<Address> {
    text.trim().replace(' ', "+").parse().ok()
}

fn login(call: &Call<'_>) -> Result<Option<Login>, String> {
    let mechanism = match call.text_of(&["auth"]).to_lowercase().as_str() {
        "" | "unknown" if call.user().is_empty() => return Ok(None),
        "none" => return Ok(None),
        "" | "unknown" | "plain" => Mechanism::Plain,
        "oauth2" => Mechanism::Xoauth2,
        _ => return Err("auth is none of None, Plain, OAuth2; CRAMMD5 is not supported".to_owned()),
    };
    Ok(Some(Login {
        mechanism,
        user: call.user().to_owned(),
        password: call.password().to_owned(),
    }))
}

fn encryption(call: &Call<'_>, port: u16, is_needed: bool) -> Result<Encryption, String> {
    let starts = match call.text_of(&["usestarttls", "starttls"]).to_lowercase().as_str() {
        "" | "true" | "1" | "yes" | "y" => true,
        "false" | "0" | "no" | "n" => false,
        _ => return Err("starttls is neither yes nor no".to_owned()),
    };
    Ok(match call.text_of(&["encryption"]).to_lowercase().as_str() {
        "implicittls" => Encryption::FromTheStart,
        "" | "auto" if port == TLS_PORT => Encryption::FromTheStart,
        "explicittls" => Encryption::Required,
        "" | "auto" | "none" if !starts => Encryption::Off,
        "" | "auto" | "none" if is_needed => Encryption::Required,
        "" | "auto" | "none" => Encryption::IfOffered,
        _ => return Err("encryption is none of None, ExplicitTLS, ImplicitTLS, Auto".to_owned()),
    })
}

fn is_this_machine(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

impl Mail {
    /// Whether the mail is not sent without TLS.
    pub(super) fn needs_tls(&self) -> bool {
        matches!(self.encryption, Encryption::Required | Encryption::FromTheStart)
    }

    /// Sends the mail to one of its receivers, once. `was_sent` is set before the server may have taken it.
    pub(super) async fn send(&self, to: &Address, roots: &Roots, was_sent: &mut bool) -> Result<(), Failure> {
        let message = self.message(to).map_err(Failure::Refused)?;
        let tls = self.tls(roots).map_err(Failure::Later)?;
        let client = ClientId::Domain(self.client().await);
        let at_once = tls
            .clone()
            .filter(|_| self.encryption == Encryption::FromTheStart);
        let place = (self.host.as_str(), self.port);
        // Without a time limit of its own: the whole try has one.
        let connected = AsyncSmtpConnection::connect_tokio1(place, None, &client, at_once, None).await;
        let mut connection = connected.map_err(|error| refusal(&error, Failure::Later))?;
        if let Some(tls) = tls.filter(|_| self.encryption != Encryption::FromTheStart) {
            if connection.can_starttls() {
                connection
                    .starttls(tls, &client)
                    .await
                    .map_err(|error| refusal(&error, Failure::Later))?;
            } else if self.needs_tls() {
                return Err(Failure::Refused("the server offers no STARTTLS".to_owned()));
            }
        }
        if let Some(login) = &self.login {
            let credentials = Credentials::new(login.user.clone(), login.password.clone());
            let answer = connection.auth(&[login.mechanism], &credentials).await;
            drop(answer.map_err(|error| refusal(&error, Failure::Later))?);
        }
        *was_sent = true;
        let sent = connection.send(message.envelope(), &message.formatted()).await;
        drop(sent.map_err(|error| refusal(&error, Failure::Unknown))?);
        // The mail is taken; how the connection ends says nothing more.
        drop(connection.quit().await);
        Ok(())
    }

    fn message(&self, to: &Address) -> Result<Message, String> {
        let builder = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to.clone()))
            .subject(self.subject.clone());
        let built = if self.is_html {
            builder.multipart(MultiPart::alternative_plain_html(
                self.text.clone(),
                self.text.clone(),
            ))
        } else {
            // Without a version, a reader need not decode what is not ASCII (RFC 2045, section 4). Lettre adds one to several parts only.
            builder
                .header(MIME_VERSION_1_0)
                .header(ContentType::TEXT_PLAIN)
                .body(self.text.clone())
        };
        built.map_err(|_| "no mail can be made of its URL".to_owned())
    }

    fn tls(&self, roots: &Roots) -> Result<Option<TlsParameters>, String> {
        if self.encryption == Encryption::Off {
            return Ok(None);
        }
        let mut builder = TlsParameters::builder(self.host.clone()).certificate_store(CertificateStore::None);
        for root in roots.iter() {
            let root = Certificate::from_der(root.to_vec()).map_err(|_| "a CA cannot be read".to_owned())?;
            builder = builder.add_root_certificate(root);
        }
        builder
            .build()
            .map(Some)
            .map_err(|_| "TLS cannot be set up".to_owned())
    }

    /// The name by which the client greets the server.
    async fn client(&self) -> String {
        if self.client != "auto" {
            return self.client.clone();
        }
        let name = read_to_string("/proc/sys/kernel/hostname").await;
        name.map_or_else(|_| "localhost".to_owned(), |name| name.trim().to_owned())
    }
}

/// What an error of lettre says about the mail. `silent` is what it is if the server has not answered. The text of an answer is not
/// repeated, since a server may repeat an address or a login.
fn refusal(error: &lettre::transport::smtp::Error, silent: fn(String) -> Failure) -> Failure {
    let answered = error.status().map(|code| format!("SMTP {code}"));
    match answered {
        Some(code) if error.is_permanent() => Failure::Refused(code),
        Some(code) => Failure::Later(code),
        None if let Some(why) = mistrust(error) => silent(why.to_owned()),
        None if error.is_client() => {
            Failure::Refused("the server does not offer this way to log in".to_owned())
        }
        None if error.is_response() => silent("its answer is not SMTP".to_owned()),
        None => silent("the connection failed or broke off".to_owned()),
    }
}
