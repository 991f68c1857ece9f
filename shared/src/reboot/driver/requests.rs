//! The request on our Node as the driver knows it: what it says, whether it counts now, and what people were told of it.
//!
//! Not here: what a request must say ([`crate::hold::RebootRequest`]), and when it is used ([`crate::reboot::cycle`]).

use std::time::Duration;

use jiff::Timestamp;

use crate::hold::{self, RebootRequest, RequestFlaw};
use crate::keys;
use crate::node::NodeView;
use crate::reboot::cycle::Cycle;

/// Least time between a look at the sentinel and the one that a change of the request calls for. Whoever changes the annotation all the time
/// must not keep the host busy.
pub(super) const LOOK_GAP: Duration = Duration::from_secs(5);

/// The request on our Node.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Our Node as it was when it first had this request, if it has one.
    node: Option<NodeView>,
    /// Whether the request has changed since that was last asked.
    is_news: bool,
    /// What people were told last: of which text, and what is wrong with it.
    told: Option<(String, RequestFlaw)>,
}

impl Requests {
    /// Takes this version of our Node.
    pub(super) fn show(&mut self, node: &NodeView) {
        let text = node.annotation(keys::REBOOT_WANTED);
        if self.text() != text {
            self.is_news = true;
            self.node = text.map(|_| node.clone());
        }
    }

    /// Whether the request has changed since this was last called.
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.is_news)
    }

    fn text(&self) -> Option<&str> {
        self.node.as_ref()?.annotation(keys::REBOOT_WANTED)
    }

    /// The request, or why it does not count; `None` if there is none. One that our hold has used counts until the hold ends, however old
    /// it is by then.
    pub(super) fn judge(
        &self,
        cycle: &Cycle,
        takes_requests: bool,
        wall: Timestamp,
    ) -> Option<Result<RebootRequest, RequestFlaw>> {
        let request = match hold::reboot_request(self.node.as_ref()?)? {
            _ if !takes_requests => return Some(Err(RequestFlaw::Off)),
            Err(flaw) => return Some(Err(flaw)),
            Ok(request) => request,
        };
        if cycle.serves(&request) {
            return Some(Ok(request));
        }
        Some(match request.judged(cycle.used_up_to(), wall) {
            Some(flaw) => Err(flaw),
            None => Ok(request),
        })
    }

    /// How long it takes until time alone changes whether the request counts.
    pub(super) fn changes_in(&self, wall: Timestamp) -> Option<Duration> {
        hold::reboot_request(self.node.as_ref()?)?.ok()?.changes_in(wall)
    }

    /// What people are to be told of a request with this flaw, unless they were told.
    pub(super) fn ignored(&mut self, flaw: RequestFlaw) -> Option<String> {
        let node = self.node.as_ref()?;
        let told = Some((self.text()?.to_owned(), flaw));
        if self.told == told {
            return None;
        }
        let ignored = hold::ignored_request(node, flaw).to_string();
        self.told = told;
        Some(ignored)
    }
}
