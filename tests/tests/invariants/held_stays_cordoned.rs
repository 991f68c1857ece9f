//! HELD-STAYS-CORDONED: while a node is held and the webhook answers, nobody but its agent clears the cordon or changes the marks.

mod among_webhooks;
mod bypasses;
mod cancel;
mod create;
mod deferred;
mod delete;
mod exempt;
mod kured;
mod modes;
mod race;
mod sizes;
mod uncordons;

pub(crate) use uncordons::ways;
