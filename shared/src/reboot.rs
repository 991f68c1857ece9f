//! How an agent reboots its node: the cycle that decides each step, and what it works with.
//!
//! Not here: the marks on the Node ([`crate::hold`]) and the lock ([`crate::lock`]), which the webhook reads too.

pub mod blocker;
pub mod cycle;
pub mod drain;
pub mod driver;
pub mod expression;
pub mod moment;
pub mod object;
pub mod pod;
pub mod prometheus;
pub mod readiness;
pub mod replacements;
pub mod silence;
pub mod timers;
pub mod watch;
pub mod window;

pub mod api_status;
pub mod line;
pub mod lock_object;
