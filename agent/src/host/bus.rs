//! The host's D-Bus system bus: asks logind and systemd what they have in hand, and tells logind to reboot the host.
//!
//! Each use makes its own connection, so none has to be kept alive. A call goes to the process that has the service's name at that
//! moment, so it neither starts a service nor waits for one that starts later.
//! Not here: what an answer leads to ([`super`]), and the same questions asked by commands ([`super::systemd`]).

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use cordonhold_shared::reboot::blocker::Blocker;
use serde::Serialize;
use tokio::time::timeout;
use tracing::info;
use zbus::connection::Builder;
use zbus::names::UniqueName;
use zbus::wire::as_variant;
use zbus::{Connection, DBusError as _, DynamicType, Message, fdo};

use super::HostError;
use super::command::CommandError;
use super::root::{Files, Root};

/// A connection to the host's system bus.
#[derive(Debug)]
pub(super) struct Bus {
    connection: Connection,
}

/// Why the host's system bus gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    #[error(
        "failed to connect to {SOCKET} in the host's root, the host's D-Bus system bus: let the agent reach the host's /run, or use --reboot-method=command and --shutdown-check=command"
    )]
    Connect(#[source] io::Error),
    #[error(
        "the host's D-Bus system bus did not take the agent's connection: look whether it runs, and run the agent as root, without an AppArmor profile and as SELinux type spc_t"
    )]
    Login(#[source] zbus::Error),
    #[error("{name} is not on the host's D-Bus system bus: {fix}")]
    NotThere { name: &'static str, fix: &'static str },
    #[error(
        "no answer from the host's D-Bus system bus within {0:?}: look at dbus and systemd-logind on the host"
    )]
    TooLong(Duration),
    #[error("{call} failed on the host's D-Bus system bus: look at systemd-logind on the host")]
    Failed { call: &'static str, source: zbus::Error },
    #[error(
        "logind refused {call}: run the agent as root, or see on the host what is under way, or use --reboot-method=command"
    )]
    Refused { call: &'static str, source: zbus::Error },
    #[error("{0}")]
    Inhibited(Blocker),
    #[error("no answer to {call} says whether logind took it")]
    Unclear { call: &'static str, source: zbus::Error },
}

/// A service on the bus, by the object that manages it.
#[derive(Debug)]
struct Service {
    name: &'static str,
    path: &'static str,
    interface: &'static str,
    /// What to do if it is not on the bus.
    fix: &'static str,
}

/// A service, and the process that is this service now.
struct Peer<'a> {
    connection: &'a Connection,
    service: &'static Service,
    owner: UniqueName<'a>,
}

/// One of logind's inhibitors: what, who, why, mode, uid, pid (systemd: man org.freedesktop.login1, `ListInhibitors`).
type Inhibitor = (String, String, String, String, u32, u32);

/// The socket of the system bus, in the host's root (D-Bus Specification: System message bus).
const SOCKET: &str = "/run/dbus/system_bus_socket";
const LOGIND: Service = Service {
    name: "org.freedesktop.login1",
    path: "/org/freedesktop/login1",
    interface: "org.freedesktop.login1.Manager",
    fix: "start systemd-logind on the host, or use --reboot-method=command",
};
const SYSTEMD: Service = Service {
    name: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
    fix: "on a host without systemd use --shutdown-check=command and a --shutdown-check-command of its own",
};
/// Longest time to connect, and for one question. The final check's deadline of 10 s leaves time for a command after it.
const QUESTION_BOUND: Duration = Duration::from_secs(5);
/// Longest wait for logind's word on a reboot. It asks systemd, whose answer it waits for up to 25 s (systemd: `sd_bus_call`).
const REBOOT_BOUND: Duration = Duration::from_secs(30);
/// logind refuses a reboot of root too while a program blocks it (systemd: `SD_LOGIND_ROOT_CHECK_INHIBITORS` in
/// src/basic/login-util.h). Before version 257 programs of root do not count for it, so the agent looks for itself first.
const ROOT_CHECK_INHIBITORS: u64 = 1;
/// Not interactive: nobody is asked for a password.
const NOT_INTERACTIVE: bool = false;
/// Errors with which a call has certainly begun nothing: the bus did not deliver it, or logind refused it before it did anything
/// (D-Bus Specification; systemd: `method_do_shutdown_or_sleep` in src/login/logind-dbus.c). Any other may come from the middle of it.
const REFUSALS: [&str; 11] = [
    "org.freedesktop.DBus.Error.AccessDenied",
    "org.freedesktop.DBus.Error.AuthFailed",
    "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
    "org.freedesktop.DBus.Error.InvalidArgs",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.UnknownInterface",
    "org.freedesktop.DBus.Error.UnknownMethod",
    "org.freedesktop.DBus.Error.UnknownObject",
    "org.freedesktop.login1.BlockedByInhibitorLock",
    "org.freedesktop.login1.OperationInProgress",
];

impl BusError {
    /// Whether it shows that logind was told nothing, or refused.
    pub(super) fn shows_failure(&self) -> bool {
        !matches!(self, BusError::Unclear { .. })
    }

    /// Whether logind is not there, or answered that it does not say.
    pub(super) fn is_no_word(&self) -> bool {
        match self {
            BusError::NotThere { .. } => true,
            BusError::Failed { source, .. } => error_name(source).is_some(),
            BusError::Connect(_)
            | BusError::Login(_)
            | BusError::TooLong(_)
            | BusError::Refused { .. }
            | BusError::Inhibited(_)
            | BusError::Unclear { .. } => false,
        }
    }

    /// Whether there is no bus, or nobody of that name on it.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, BusError::Connect(_) | BusError::NotThere { .. })
    }
}

impl Bus {
    /// Connects to the bus.
    pub(super) async fn open(files: &Files) -> Result<Bus, HostError> {
        let stream = files.run_blocking(SOCKET, Root::connect).await?;
        let connection = timeout(QUESTION_BOUND, Builder::unix_stream(stream).build()).await;
        let connection = connection.map_err(|_| BusError::TooLong(QUESTION_BOUND))?;
        Ok(Bus {
            connection: connection.map_err(BusError::Login)?,
        })
    }

    /// systemd's state, as `systemctl is-system-running` prints it.
    pub(super) async fn state(&self) -> Result<String, BusError> {
        within(async { self.peer(&SYSTEMD).await?.property("SystemState").await }).await
    }

    /// systemd's count of soft reboots. A systemd that does not know the property gives 0: it never gives a number.
    pub(super) async fn soft_reboots(&self) -> Result<u64, BusError> {
        let count = within(async { self.peer(&SYSTEMD).await?.property("SoftRebootsCount").await });
        match count.await.map(u32::into) {
            Err(BusError::Failed { source, .. }) if is_named(&source, "UnknownProperty") => Ok(0),
            counted => counted,
        }
    }

    /// Whether logind has been told to shut down, and waits for inhibitors.
    pub(super) async fn is_preparing(&self) -> Result<bool, BusError> {
        within(async { self.peer(&LOGIND).await?.property("PreparingForShutdown").await }).await
    }

    /// The action that logind has scheduled, and when, since 1970.
    pub(super) async fn scheduled(&self) -> Result<(String, Duration), BusError> {
        let scheduled = within(async { self.peer(&LOGIND).await?.property("ScheduledShutdown").await });
        let (kind, at): (String, u64) = scheduled.await?;
        Ok((kind, Duration::from_micros(at)))
    }

    /// The programs that block a shutdown, each with the reason it gives. Those that only delay one are logind's to wait for; one of mode
    /// `block-weak` does not hold root back.
    pub(super) async fn inhibitors(&self) -> Result<BTreeSet<String>, BusError> {
        within(async { self.peer(&LOGIND).await?.inhibitors().await }).await
    }

    /// Tells logind to reboot the host, unless `is_too_late` says so, which is asked last, or a program blocks it.
    pub(super) async fn reboot(&self, is_too_late: impl Fn() -> bool) -> Result<(), HostError> {
        let ready = async {
            let logind = self.peer(&LOGIND).await?;
            let holders = logind.inhibitors().await?;
            if holders.is_empty() {
                return Ok(logind);
            }
            Err(BusError::Inhibited(Blocker::Inhibitors(holders)))
        };
        let logind = within(ready).await?;
        info!(
            event = "reboot_logind",
            "logind is on the host's bus, and nothing blocks it: telling it to reboot the host"
        );
        if is_too_late() {
            return Err(CommandError::CalledOff.into());
        }
        let told = logind.reboot("RebootWithFlags", &ROOT_CHECK_INHIBITORS).await;
        // Before version 247 logind has only the older method, by which root is not held back: nobody was a moment ago.
        let is_old = |error: &BusError| matches!(error, BusError::Refused { source, .. } if is_named(source, "UnknownMethod"));
        if !told.as_ref().is_err_and(is_old) {
            return Ok(told?);
        }
        if is_too_late() {
            return Err(CommandError::CalledOff.into());
        }
        Ok(logind.reboot("Reboot", &NOT_INTERACTIVE).await?)
    }

    /// Finds the process that is this service now.
    async fn peer(&self, service: &'static Service) -> Result<Peer<'_>, BusError> {
        let call = "GetNameOwner";
        let bus = "org.freedesktop.DBus";
        let asked =
            self.connection
                .call_method(Some(bus), "/org/freedesktop/DBus", Some(bus), call, &service.name);
        let owner = match asked.await {
            Ok(answer) => answer
                .body()
                .deserialize::<UniqueName<'_>>()
                .map(|owner| owner.to_owned()),
            Err(error) if is_named(&error, "NameHasNoOwner") => {
                let Service { name, fix, .. } = service;
                return Err(BusError::NotThere { name, fix });
            }
            Err(error) => Err(error),
        };
        Ok(Peer {
            connection: &self.connection,
            service,
            owner: owner.map_err(|source| BusError::Failed { call, source })?,
        })
    }
}

impl Peer<'_> {
    async fn call(
        &self,
        interface: &str,
        method: &str,
        body: &(impl Serialize + DynamicType),
    ) -> Result<Message, zbus::Error> {
        let path = self.service.path;
        self.connection
            .call_method(Some(&self.owner), path, Some(interface), method, body)
            .await
    }

    async fn property<T>(&self, name: &'static str) -> Result<T, BusError>
    where
        T: for<'de> serde::Deserialize<'de> + zbus::Type,
    {
        let read = async {
            let body = (self.service.interface, name);
            let answer = self.call("org.freedesktop.DBus.Properties", "Get", &body).await?;
            let body = answer.body();
            let value: as_variant::Deserialize<'_, T> = body.deserialize()?;
            Ok(value.0)
        };
        read.await
            .map_err(|source| BusError::Failed { call: name, source })
    }

    async fn inhibitors(&self) -> Result<BTreeSet<String>, BusError> {
        let call = "ListInhibitors";
        let listed = async {
            let answer = self.call(self.service.interface, call, &()).await?;
            answer.body().deserialize::<Vec<Inhibitor>>()
        };
        let listed = listed.await.map_err(|source| BusError::Failed { call, source })?;
        Ok(blocking(listed))
    }

    async fn reboot(
        &self,
        call: &'static str,
        body: &(impl Serialize + DynamicType),
    ) -> Result<(), BusError> {
        match timeout(REBOOT_BOUND, self.call(self.service.interface, call, body)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(source)) if is_refusal(&source) => Err(BusError::Refused { call, source }),
            Ok(Err(source)) => Err(BusError::Unclear { call, source }),
            Err(_) => {
                let slow = io::Error::new(io::ErrorKind::TimedOut, format!("none within {REBOOT_BOUND:?}"));
                let source = slow.into();
                Err(BusError::Unclear { call, source })
            }
        }
    }
}

impl Root {
    /// Connects to a socket inside the root.
    fn connect(&self, path: &Path) -> Result<UnixStream, HostError> {
        let connected = self.open_path(path).and_then(|socket| {
            // connect(2) takes a path. This one leads to what was found inside the root.
            UnixStream::connect(format!("/proc/self/fd/{}", socket.as_raw_fd()))
        });
        Ok(connected.map_err(BusError::Connect)?)
    }
}

/// Gives the question its time.
async fn within<T>(question: impl Future<Output = Result<T, BusError>>) -> Result<T, BusError> {
    timeout(QUESTION_BOUND, question)
        .await
        .unwrap_or(Err(BusError::TooLong(QUESTION_BOUND)))
}

/// Those of the inhibitors that block a shutdown, each with the reason it gives.
fn blocking(listed: Vec<Inhibitor>) -> BTreeSet<String> {
    let blocks = |(what, _, _, mode, ..): &Inhibitor| {
        mode == "block" && what.split(':').any(|what| what == "shutdown")
    };
    let named = |(_, who, why, _, _, pid)| format!("{who}: {why} (process {pid})");
    listed.into_iter().filter(blocks).map(named).collect()
}

/// Whether the error answers a call and has this name among D-Bus' own.
fn is_named(error: &zbus::Error, name: &str) -> bool {
    error_name(error).is_some_and(|said| said.strip_prefix("org.freedesktop.DBus.Error.") == Some(name))
}

fn is_refusal(error: &zbus::Error) -> bool {
    error_name(error).is_some_and(|said| REFUSALS.contains(&said.as_str()))
}

/// The name of an error that answers a call. Any other error is none.
fn error_name(error: &zbus::Error) -> Option<String> {
    match error {
        zbus::Error::MethodError(name, ..) => Some(name.to_string()),
        zbus::Error::FDO(error) if !matches!(**error, fdo::Error::ZBus(_)) => Some(error.name().to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
