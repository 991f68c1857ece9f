//! The request on the Node as a reason for a reboot: it is used by the write that acquires the lock, and never again.
//!
//! What was used is in the lock, because a reboot does not reach it and its writes are compare-and-swaps. This process remembers it too, so
//! that nothing is asked or written for a request that was used.
//! Not here: for how long a request counts ([`crate::hold::RebootRequest`]), which takes a clock.

use jiff::Timestamp;

use super::{Act, CallOff, Cycle, Report, Step, Wanted};
use crate::Reading;
use crate::hold::{self, NodePatch, RebootRequest};
use crate::lock::{Entry, UsedRequests};
use crate::node::NodeView;
use crate::reboot::lock_object::LockView;

impl Cycle {
    /// Whether this request was used, as far as this process knows.
    pub fn has_used(&self, request: &RebootRequest) -> bool {
        self.used_up_to.is_some_and(|used| request.at <= used)
    }

    /// Whether our hold has used this request, and goes on because of it.
    pub fn serves(&self, request: &RebootRequest) -> bool {
        self.serves == Some(request.at)
    }

    /// Takes what asks for a reboot.
    pub(super) fn looked(&mut self, wanted: Option<&Wanted>) {
        self.wanted = Some(wanted.is_some());
        self.is_asked_by_host = wanted.is_none_or(|wanted| wanted.by_host);
        self.request = wanted.and_then(|wanted| wanted.request.clone());
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
        self.serves = self.request.as_ref().map(|request| request.at);
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

    /// Ends the wish if nothing but a request asks for the reboot, and this lock shows that it was used.
    pub(super) fn unless_used(&mut self, lock: &LockView) -> Option<Step> {
        let request = self.request.clone().filter(|request| !self.serves(request))?;
        let mut said = Vec::new();
        // What cannot be read may say that the request was used.
        if let Reading::Malformed(why) = &lock.used {
            said = self.say(Report::LockUnreadable(why.clone()));
            self.used_up_to = self.used_up_to.max(Some(request.at));
        }
        if !self.has_used(&request) {
            return None;
        }
        self.request = None;
        (!self.is_asked_by_host).then(|| self.undo(CallOff::NoLongerWanted).after(said))
    }

    /// What the lock is to say of used requests, if it does not say so yet. `is_acquired`: the write acquires the lock, and so uses the
    /// request.
    pub(super) fn uses(&self, lock: &LockView, is_acquired: bool) -> Option<UsedRequests> {
        let request = self.request.as_ref().filter(|_| is_acquired);
        let up_to = request.map(|request| request.at).max(self.used_up_to)?;
        let used = match &lock.used {
            Reading::Absent => UsedRequests::default(),
            Reading::Present(used) => used.clone(),
            // Only a person can tell what it was to say.
            Reading::Malformed(_) => return None,
        };
        let node = &self.settings.node;
        (!used.has(node, up_to)).then(|| used.with(node, up_to))
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

    /// The patch that ends our hold, which also takes a request off that was used.
    pub(super) fn without_request(&self, patch: NodePatch, node: &NodeView) -> NodePatch {
        let is_used = |at: Timestamp| self.used_up_to.is_some_and(|used| at <= used);
        if hold::requested_at(node).is_some_and(is_used) {
            patch.without_request(node)
        } else {
            patch
        }
    }

    /// What asks for the reboot, for its account. `host` is what asks if the host does.
    pub(super) fn asked_by(&self, host: &str) -> String {
        match (&self.request, self.is_asked_by_host) {
            (None, _) => host.to_owned(),
            (Some(request), false) => request.told(),
            (Some(request), true) => format!("{host}; {}", request.told()),
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
