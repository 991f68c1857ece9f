//! The `Status` object that answers a failed request.

use cordonhold_shared::reboot::api_status::{self, ErrorStatus};

use super::{Key, Resource};

/// The fields of a `Status` that are modelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    /// The name in `details`.
    pub name: String,
    pub causes: Vec<Cause>,
    pub retry_after_seconds: u32,
}

/// An entry of `details.causes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub reason: &'static str,
    pub message: String,
}

impl Status {
    pub(crate) fn new(code: u16, reason: &'static str, message: &str) -> Status {
        Status {
            code,
            reason,
            message: message.to_owned(),
            name: String::new(),
            causes: Vec::new(),
            retry_after_seconds: 0,
        }
    }

    fn about(key: &Key, code: u16, reason: &'static str, message: &str) -> Status {
        Status {
            name: key.name.clone(),
            ..Status::new(code, reason, message)
        }
    }

    pub(crate) fn not_found(key: &Key) -> Status {
        Status::about(key, 404, "NotFound", "not found")
    }

    pub(crate) fn already_exists(key: &Key) -> Status {
        Status::about(key, 409, "AlreadyExists", "already exists")
    }

    pub(crate) fn conflict(key: &Key, why: &str) -> Status {
        Status::about(key, 409, "Conflict", why)
    }

    pub(crate) fn invalid(key: &Key, why: &str) -> Status {
        Status::about(key, 422, "Invalid", why)
    }

    pub(crate) fn forbidden(name: &str, why: &str) -> Status {
        let key = Key::new(Resource::Nodes, "", name);
        Status::about(&key, 403, "Forbidden", why)
    }

    pub(crate) fn internal(why: &str) -> Status {
        Status::new(500, "InternalError", why)
    }

    pub(crate) fn expired() -> Status {
        Status::new(410, "Expired", "too old resource version")
    }

    /// The status in the form that the agent's code reads.
    pub fn error_status(&self) -> ErrorStatus<'_> {
        ErrorStatus {
            code: self.code,
            reason: self.reason,
            message: &self.message,
            name: &self.name,
            cause: self.causes.first().map(|cause| api_status::Cause {
                reason: cause.reason,
                message: &cause.message,
            }),
            retry_after_seconds: self.retry_after_seconds,
        }
    }
}
