//! The request on the Node as a reason for a reboot: it is used by the write that acquires the lock, and never again.
//!
//! What was used is in the lock, because a reboot does not reach it and its writes are compare-and-swaps. This process remembers it too, so
//! that nothing is asked or written for a request that was used.
//! Not here: for how long a request counts ([`crate::hold::RebootRequest`]), which takes a clock.

use jiff::Timestamp;

use super::{Act, CallOff, Cycle, Report, Step, Timer, Wanted};
use crate::Reading;
use crate::hold::{self, NodePatch, REQUEST_AGE_MAX, REQUEST_AHEAD_MAX, RebootRequest, RequestFlaw};
use crate::keys;
use crate::lock::{Entry, UsedRequests};
use crate::node::NodeView;
use crate::reboot::lock_object::{Carrier, LockView};

impl Cycle {
    /// Whether this request was used, as far as this process knows.
    fn has_used(&self, request: &RebootRequest) -> bool {
        self.used_up_to.is_some_and(|used| request.at <= used)
    }

    /// Up to which time requests were used, as far as this process knows.
    pub fn used_up_to(&self) -> Option<Timestamp> {
        self.used_up_to
    }

    /// Whether our hold has used this request, and goes on because of it.
    pub fn serves(&self, request: &RebootRequest) -> bool {
        self.serves == Some(request.at)
    }

    /// Whether a request asked for a reboot at the last look.
    pub fn is_requested(&self) -> bool {
        self.request.is_some()
    }

    /// Whether this is what asked for a reboot at the last look: the host, and this request.
    pub fn is_asked_by(&self, host: bool, request: Option<&RebootRequest>) -> bool {
        self.wanted == Some(true) && self.by_host == Some(host) && self.request.as_ref() == request
    }

    /// Takes what asks for a reboot.
    pub(super) fn looked(&mut self, wanted: Option<&Wanted>) {
        self.wanted = Some(wanted.is_some());
        self.by_host = Some(wanted.is_some_and(|wanted| wanted.by_host));
        self.request = wanted.and_then(|wanted| wanted.request.clone());
    }

    /// Whether our hold has used a request that this version of our Node no longer shows, and the host is not known to ask as well. A later
    /// request is as good.
    pub(super) fn is_withdrawn(&self, node: &NodeView) -> bool {
        let shown = hold::requested_at(node);
        let is_shown = |at: Timestamp| shown.is_some_and(|shown| shown >= at);
        self.by_host != Some(true) && self.serves.is_some_and(|at| !is_shown(at))
    }

    /// Learns from the lock which requests were used.
    pub(super) fn learn_used(&mut self, lock: &LockView) {
        if let Reading::Present(used) = &lock.used {
            self.used_up_to = self.used_up_to.max(used.up_to(&self.settings.node));
        }
    }

    /// Goes on for the request that our entry names. An entry of an earlier process knows it after a restart.
    pub(super) fn serve(&mut self, entry: Option<&Entry>) {
        self.serves = entry.and_then(Entry::requested_at);
        self.used_up_to = self.used_up_to.max(self.serves);
    }

    /// Our entry has been written, and with it that the request is used.
    pub(super) fn serve_request(&mut self) {
        self.serves = self.request.as_ref().map(|request| request.at).max(self.serves);
        self.used_up_to = self.used_up_to.max(self.serves);
    }

    /// The hold is over, and so is its request.
    pub(super) fn serve_no_more(&mut self) {
        self.used_up_to = self.used_up_to.max(self.serves.take());
    }

    /// A person has cancelled what the request has led to, so the request is used even if the lock was never acquired.
    pub(super) fn cancel_request(&mut self) {
        let cancelled = self.request.as_ref().map(|request| request.at);
        self.used_up_to = self.used_up_to.max(cancelled);
    }

    /// Takes the request on this version of our Node for used if our hold may have come from it: this process has not looked yet, or the
    /// lock has lost what was used.
    pub(super) fn presume_used(&mut self, node: &NodeView) {
        let created = self.created().parse::<Timestamp>().ok();
        let last = created.and_then(|created| created.checked_add(REQUEST_AHEAD_MAX).ok());
        let may_be_it = |at: &Timestamp| last.is_some_and(|last| *at <= last);
        self.used_up_to = self.used_up_to.max(hold::requested_at(node).filter(may_be_it));
    }

    /// Ends the wish if nothing but a request asks for the reboot, and that was used.
    pub(super) fn unless_used(&mut self) -> Option<Step> {
        let request = self.request.as_ref().filter(|request| !self.serves(request))?;
        if !self.has_used(request) {
            return None;
        }
        self.request = None;
        (self.by_host == Some(false)).then(|| self.undo(CallOff::NoLongerWanted))
    }

    /// Looks at our request just before the lock is acquired for it: whether the Node still shows it, and whether the lock can say that it
    /// is used. If not, it asks for nothing, and the wish waits unless the host asks too.
    pub(super) fn unless_unusable(&mut self, lock: &LockView, said: &mut Vec<Act>) -> Option<Step> {
        let request = self.request.clone().filter(|request| !self.serves(request))?;
        let is_alone = self.by_host == Some(false);
        // The next look at the sentinel, which a change of the request calls for, tells what asks for the reboot now.
        if is_alone && self.seen.as_ref().and_then(hold::requested_at) != Some(request.at) {
            return Some(self.rest_until(Timer::Poll));
        }
        let why = self.unusable_in(lock, &request)?;
        said.extend(self.say(Report::LockUnreadable(why)));
        if is_alone {
            return Some(self.rest_until(Timer::Poll).after(said.drain(..)));
        }
        self.request = None;
        None
    }

    /// Why this lock cannot say that this request is used, if it cannot.
    fn unusable_in(&self, lock: &LockView, request: &RebootRequest) -> Option<String> {
        let has_room = |used: &UsedRequests| used.with(&self.settings.node, request.at).is_some();
        match &lock.used {
            Reading::Absent => None,
            // What cannot be read may say that the request was used.
            Reading::Malformed(why) => Some(why.clone()),
            Reading::Present(used) if has_room(used) => None,
            Reading::Present(_) => Some(format!(
                "its annotation {} has no room for another request: wait until the oldest there are {} hours old",
                keys::REQUESTS_USED,
                REQUEST_AGE_MAX.as_hours()
            )),
        }
    }

    /// What the lock is to say of used requests, if it does not say so yet. `is_begun`: the write begins the reboot or confirms it, so the
    /// request that asks for one is used with it.
    pub(super) fn uses(&self, lock: &LockView, is_begun: bool) -> Option<UsedRequests> {
        let request = self.request.as_ref().filter(|_| is_begun);
        let up_to = request.map(|request| request.at).max(self.used_up_to)?;
        let used = match &lock.used {
            // kured's DaemonSet is gone. It is not ours to create.
            _ if lock.version.is_none() && lock.carrier == Carrier::DaemonSet => return None,
            Reading::Absent => UsedRequests::default(),
            Reading::Present(used) => used.clone(),
            // Only a person can tell what it was to say.
            Reading::Malformed(_) => return None,
        };
        let node = &self.settings.node;
        if used.has(node, up_to) {
            return None;
        }
        used.with(node, up_to)
    }

    /// Our entry, which names the request that it uses.
    pub(super) fn naming_request(&self, entry: Entry) -> Entry {
        let request = self.request.as_ref();
        Entry {
            requested_at: request
                .map(|request| format!("{:.9}", request.at))
                .unwrap_or_default(),
            ..entry
        }
    }

    /// Whether this version of our Node has a request that was used.
    pub(super) fn shows_used(&self, node: &NodeView) -> bool {
        let is_used = |at: Timestamp| self.used_up_to.is_some_and(|used| at <= used);
        hold::requested_at(node).is_some_and(is_used)
    }

    /// The patch that ends our hold, which also takes a request off that was used.
    pub(super) fn without_request(&self, patch: NodePatch, node: &NodeView) -> NodePatch {
        if self.shows_used(node) {
            patch.without_request(node)
        } else {
            patch
        }
    }

    /// Tells people that the request on this version of our Node was used for a reboot that is called off.
    pub(super) fn tell_used(&mut self, node: &NodeView) -> Vec<Act> {
        if !self.shows_used(node) {
            return Vec::new();
        }
        let ignored = hold::ignored_request(node, RequestFlaw::Used);
        self.say(Report::Ignored(ignored.to_string()))
    }

    /// What asks for the reboot, for its account. `host` is what asks if the host does.
    pub(super) fn asked_by(&self, host: &str) -> String {
        match (&self.request, self.by_host) {
            (None, _) => host.to_owned(),
            (Some(request), Some(false)) => request.told(),
            (Some(request), Some(true) | None) => format!("{host}; {}", request.told()),
        }
    }

    /// That a reboot is wanted, and by which request.
    pub(super) fn wished(&self) -> Act {
        let holder = self.hold.as_ref().map(|hold| hold.holder.to_string());
        Act::Report(Report::Wished {
            holder: holder.unwrap_or_default(),
            request: self.request.as_ref().map(RebootRequest::told),
        })
    }
}
