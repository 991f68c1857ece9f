//! The text of the webhook's Event about a denied or deferred request: whose it is and why, written and read.
//!
//! Not here: when there is such an Event (the webhook).

use std::fmt;
use std::str::FromStr;

use super::Reason;
use crate::quote::quoted;

/// What such an Event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether the request was denied, and not deferred.
    pub is_denied: bool,
    /// Who sent it.
    pub user: String,
    /// The first line of the message; that of a denial begins with the reason's code.
    pub why: String,
}

/// The text is none of such an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no notice of a denied or deferred request")]
pub struct NoNotice;

const DENIED: &str = "Denied ";
const DEFERRED: &str = "Deferred ";

impl Notice {
    /// The code of the reason, as far as the text says it.
    pub fn reason(&self) -> &str {
        if !self.is_denied {
            return Reason::Deferred.code();
        }
        self.why.split_once(": ").map_or("", |(code, _)| code)
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.is_denied { DENIED } else { DEFERRED };
        write!(f, "{verb}{}: {}", quoted(&self.user), self.why)
    }
}

impl FromStr for Notice {
    type Err = NoNotice;

    fn from_str(text: &str) -> Result<Notice, NoNotice> {
        let denied = text.strip_prefix(DENIED).map(|rest| (true, rest));
        let deferred = || text.strip_prefix(DEFERRED).map(|rest| (false, rest));
        let (is_denied, rest) = denied.or_else(deferred).ok_or(NoNotice)?;
        // No quote is inside of quotes, and no space in a plain name.
        let parts = match rest.strip_prefix('\'') {
            Some(inside) => inside.split_once("': "),
            None => rest.split_once(": "),
        };
        let (user, why) = parts.ok_or(NoNotice)?;
        Ok(Notice {
            is_denied,
            user: user.to_owned(),
            why: why.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_again(user in ".{1,40}", is_denied: bool, why in "[a-z -]{1,20}: .{0,40}") {
            let notice = Notice { is_denied, user: user.clone(), why };
            let read: Notice = notice.to_string().parse().unwrap();
            prop_assert_eq!(quoted(&read.user), quoted(&user));
            prop_assert_eq!((read.is_denied, &read.why), (is_denied, &notice.why));
        }
    }

    #[test]
    fn the_code_of_a_denial_is_read_from_its_message() {
        let read: Notice = "Denied system:serviceaccount:a:b: held: node n is held"
            .parse()
            .unwrap();
        assert_eq!(
            (read.user.as_str(), read.reason()),
            ("system:serviceaccount:a:b", "held")
        );
        let read: Notice = "Deferred a: cordonhold: node n stays cordoned".parse().unwrap();
        assert_eq!(read.reason(), "deferred");
        assert_eq!("Evicted a: b".parse::<Notice>(), Err(NoNotice));
    }
}
