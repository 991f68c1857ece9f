//! A request on the Node, from the annotation to the lock and over a boot.

use super::*;
use crate::hold::{self, RebootRequest, RequestFlaw};
use crate::lock::{Entry, Record, UsedRequests};
use crate::reboot::cycle::CallOff;

mod off;

const REQUEST: &str = "2026-11-23T09:59:00.000000001Z jo: a new kernel";

/// A driver at rest whose host asks for nothing, and whose boots are numbered.
struct Node {
    shell: Shell,
    reports: Vec<Report>,
    reboots: usize,
    /// Whether a drain finds nothing to wait for.
    drains: bool,
    /// Whether the Lease is lost while the host is down.
    loses_lock: bool,
    /// Whether the request is taken off while the lock is about to be acquired.
    withdraws: bool,
}

impl Node {
    fn idle() -> Node {
        Node::with(setup())
    }

    fn with(setup: Setup) -> Node {
        let mut shell = Shell::new(setup);
        shell.wall = "2026-11-23T10:00:00Z".parse().unwrap();
        let mut node = Node {
            shell,
            reports: Vec::new(),
            reboots: 0,
            drains: true,
            loses_lock: false,
            withdraws: false,
        };
        node.run();
        node
    }

    /// Carries out everything up to the next pause. A reboot command is followed by the boot of a new process.
    fn run(&mut self) {
        while let Some(effect) = self.shell.next() {
            match effect {
                Effect::Report(report) => self.reports.push(report),
                Effect::Call(Call::Reboot { .. }) => {
                    self.reboots += 1;
                    return self.boot();
                }
                Effect::Call(call) => {
                    let reply = self.carry_out(call);
                    self.shell.replied(reply);
                }
                Effect::Watch {
                    source: Source::Pods, ..
                } if self.drains => self.shell.observed(Observed::Pods(Change::Listed(Vec::new()))),
                Effect::Watch {
                    source: Source::Node, ..
                } => self.show(),
                _ => {}
            }
        }
    }

    /// Carries out a call as the API server would: a patch of another version is a conflict, and the watch shows one that landed.
    fn carry_out(&mut self, call: Call) -> Reply {
        if matches!(call, Call::ListNodes(_)) && std::mem::take(&mut self.withdraws) {
            self.annotate(keys::REBOOT_WANTED, None);
            self.show();
        }
        let version = &self.shell.node.metadata.resource_version;
        match &call {
            Call::PatchNode { body, .. } if body["metadata"]["resourceVersion"] != json!(version) => {
                Reply::Node(Err(Failed {
                    failure: Failure::Conflict,
                    gone: None,
                }))
            }
            Call::PatchNode { .. } => {
                let reply = self.shell.carry_out(call);
                self.show();
                reply
            }
            _ => self.shell.carry_out(call),
        }
    }

    /// The watch shows the Node as it is.
    fn show(&mut self) {
        let node = self.shell.node.clone();
        self.shell.observed(Observed::Node(Change::Present(node)));
    }

    /// The host comes up in another boot, with a new process and nothing in its `/run`.
    fn boot(&mut self) {
        self.shell.boot = if self.shell.boot == BOOT { "boot-b" } else { BOOT };
        // It is in `/run`.
        self.shell.is_wanted = false;
        if self.loses_lock {
            self.shell.lease["metadata"]["annotations"] = json!({});
        }
        self.restart();
        self.shell.node.status.node_info.boot_id = self.shell.boot.to_owned();
        let ready = json!([{ "type": "Ready", "status": "True" }]);
        self.shell.node.status.conditions = serde_json::from_value(ready).unwrap();
        self.bump();
        self.run();
        self.pass(1);
    }

    fn restart(&mut self) {
        self.shell.driver = Driver::new(self.shell.driver.setup.clone(), self.shell.now);
        self.shell.chances = 0;
    }

    fn bump(&mut self) {
        self.shell.version += 1;
        self.shell.node.metadata.resource_version = self.shell.version.to_string();
    }

    /// Somebody writes the request.
    fn write(&mut self, text: Option<&str>) {
        self.annotate(keys::REBOOT_WANTED, text);
        self.show();
        self.run();
        self.pass(10);
    }

    /// Somebody writes an annotation of the Node, which the watch has yet to show.
    fn annotate(&mut self, key: &str, text: Option<&str>) {
        let annotations = &mut self.shell.node.metadata.annotations;
        drop(match text {
            Some(text) => annotations.insert(key.to_owned(), text.to_owned()),
            None => annotations.remove(key),
        });
        self.bump();
    }

    /// A person cancels the hold that is on the Node.
    fn cancel(&mut self) {
        let cancel = format!("{} not now", hold::cancel_name(&self.shell.node));
        self.annotate(keys::CANCEL, Some(&cancel));
    }

    /// How often people were told that the lock cannot say what was used.
    fn unreadable(&self) -> usize {
        let told =
            |report: &&Report| matches!(report, Report::LockUnreadable(why) if why.contains("requests-used"));
        self.reports.iter().filter(told).count()
    }

    fn pass(&mut self, seconds: u64) {
        let span = Duration::from_secs(seconds);
        self.shell.now += span;
        let wall = self
            .shell
            .wall
            .saturating_add(SignedDuration::try_from(span).unwrap());
        self.shell.wall = wall.unwrap();
        self.shell.chances = 0;
        self.run();
    }

    fn request(&self) -> Option<&str> {
        self.shell.node.annotation(keys::REBOOT_WANTED)
    }

    fn phase(&self) -> Option<&str> {
        self.shell.node.label(keys::PHASE)
    }

    fn used(&self) -> Option<Timestamp> {
        let lease = self.shell.lease();
        let used = UsedRequests::read(lease.annotation(keys::REQUESTS_USED));
        used.present().and_then(|used| used.up_to("node-0"))
    }

    fn record(&self) -> Record {
        Record::read(self.shell.lease().annotation(keys::LOCK))
            .present()
            .unwrap_or_default()
    }

    /// What people were told of requests that lead to nothing.
    fn ignored(&self) -> Vec<&str> {
        let ignored = self.reports.iter().filter_map(|report| match report {
            Report::Ignored(why) => Some(why.as_str()),
            _ => None,
        });
        ignored.collect()
    }

    /// Fills the lock by another node.
    fn fill_lock(&mut self) {
        let other = r#"{"nodeID":"manual"}"#;
        self.shell.lease["metadata"]["annotations"][keys::LOCK] = json!(other);
    }

    fn free_lock(&mut self) {
        self.shell.lease["metadata"]["annotations"][keys::LOCK] = Value::Null;
        let annotations = self.shell.lease["metadata"]["annotations"].as_object_mut();
        annotations.unwrap().retain(|_, value| !value.is_null());
    }
}

fn at(text: &str) -> Timestamp {
    RebootRequest::parse(text).unwrap().at
}

#[test]
fn a_request_reboots_the_node_once_and_the_lock_says_so() {
    let mut node = Node::idle();
    assert_eq!((node.reboots, node.phase()), (0, None));
    node.write(Some(REQUEST));
    assert_eq!(node.reboots, 1);
    assert_eq!((node.phase(), node.request()), (None, None));
    assert_eq!(node.used(), Some(at(REQUEST)));
    assert_eq!(node.record(), Record::default());
    let by = Some("a request, 'jo: a new kernel'".to_owned());
    let wished = |report: &Report| matches!(report, Report::Wished { request, .. } if *request == by);
    assert!(node.reports.iter().any(wished), "{:?}", node.reports);
}

#[test]
fn a_request_that_is_written_again_reboots_nothing_and_is_told_once() {
    let mut node = Node::idle();
    node.write(Some(REQUEST));
    for _ in 0..3 {
        node.write(Some(REQUEST));
        assert_eq!(node.request(), Some(REQUEST));
        node.write(None);
    }
    // An older one was not used itself, and is no way around it.
    node.write(Some("2026-11-23T09:00:00Z jo: before"));
    assert_eq!(
        (node.reboots, node.ignored().len()),
        (1, 2),
        "{:?}",
        node.ignored()
    );
    assert!(node.ignored()[0].contains(RequestFlaw::Used.as_str()));
    // Nor is a new process, which remembers nothing itself.
    node.restart();
    node.write(Some(REQUEST));
    node.pass(2 * 60 * 60);
    assert_eq!((node.reboots, node.phase()), (1, None));
    // A new request is another one.
    let now = node.shell.wall;
    node.write(Some(&format!("{now:.9} jo: again")));
    assert_eq!(node.reboots, 2);
}

#[test]
fn a_request_that_cannot_count_is_told_and_leads_to_nothing() {
    for (text, flaw) in [
        ("please", RequestFlaw::NoTime),
        ("2026-11-23T09:59:00Z", RequestFlaw::NoReason),
        ("2026-11-22T09:59:59Z jo: late", RequestFlaw::Stale),
        ("2026-11-23T10:16:00Z jo: early", RequestFlaw::Ahead),
    ] {
        let mut node = Node::idle();
        node.write(Some(text));
        node.pass(60);
        let ignored = node.ignored();
        assert_eq!((node.reboots, ignored.len()), (0, 1), "{text}: {ignored:?}");
        assert!(ignored[0].contains(flaw.as_str()), "{text}: {ignored:?}");
        assert_eq!((node.phase(), node.used()), (None, None), "{text}");
    }
}

#[test]
fn an_agent_without_the_flag_takes_no_request() {
    let mut node = Node::with(Setup {
        takes_requests: false,
        ..setup()
    });
    node.write(Some(REQUEST));
    // Long before the next period.
    assert_eq!(node.ignored().len(), 1);
    assert!(node.ignored()[0].contains("--reboot-requests"));
    node.pass(2 * 60 * 60);
    assert_eq!((node.reboots, node.phase(), node.used()), (0, None, None));
    assert_eq!(node.ignored().len(), 1);
}

#[test]
fn a_request_that_is_taken_off_while_it_waits_ends_the_wish_and_stays_unused() {
    let mut node = Node::idle();
    node.fill_lock();
    node.write(Some(REQUEST));
    assert_eq!(node.phase(), Some("wanted"));
    node.write(None);
    assert_eq!((node.phase(), node.used(), node.reboots), (None, None, 0));
    let off = Report::CalledOff(CallOff::NoLongerWanted);
    assert!(node.reports.contains(&off), "{:?}", node.reports);
}

#[test]
fn a_request_whose_wish_was_cancelled_is_used() {
    let mut node = Node::idle();
    node.fill_lock();
    node.write(Some(REQUEST));
    node.cancel();
    node.show();
    node.run();
    assert_eq!((node.phase(), node.request()), (None, None));
    assert_eq!(node.used(), Some(at(REQUEST)));
    // The annotation is gone, so people are told what became of it.
    assert_eq!(node.ignored().len(), 1, "{:?}", node.ignored());
    assert!(node.ignored()[0].contains("kubectl cordonhold reboot node-0"));
    node.free_lock();
    node.restart();
    node.write(Some(REQUEST));
    node.pass(2 * 60 * 60);
    assert_eq!((node.reboots, node.phase()), (0, None));
}

#[test]
fn a_request_and_the_sentinel_together_lead_to_one_reboot() {
    let mut node = Node::idle();
    node.fill_lock();
    node.shell.is_wanted = true;
    node.write(Some(REQUEST));
    node.free_lock();
    node.pass(60);
    node.pass(2 * 60 * 60);
    assert_eq!(node.reboots, 1);
    assert_eq!(node.used(), Some(at(REQUEST)));
}

#[test]
fn a_used_request_does_not_keep_the_sentinel_from_its_reboot() {
    let mut node = Node::idle();
    node.write(Some(REQUEST));
    node.write(Some(REQUEST));
    assert_eq!(node.reboots, 1);
    node.shell.is_wanted = true;
    node.pass(2 * 60 * 60);
    assert_eq!(node.reboots, 2, "{:?}", node.reports);
}

#[test]
fn where_the_lock_cannot_say_what_was_used_nothing_is_rebooted() {
    let mut node = Node::idle();
    node.shell.lease["metadata"]["annotations"][keys::REQUESTS_USED] = json!("yesterday");
    node.write(Some(REQUEST));
    node.pass(2 * 60 * 60);
    // The request is neither used nor lost: it waits.
    assert_eq!((node.reboots, node.phase()), (0, Some("wanted")));
    assert_eq!((node.request(), node.unreadable()), (Some(REQUEST), 1));
    // Whoever mends it as the message says asks anew: what was made before counts as used.
    let now = node.shell.wall;
    let used = json!({ "up_to": format!("{now:.0}"), "nodes": {} }).to_string();
    node.shell.lease["metadata"]["annotations"][keys::REQUESTS_USED] = json!(used);
    node.pass(60 * 60);
    assert_eq!((node.reboots, node.phase(), node.request()), (0, None, None));
    node.pass(60 * 60);
    let now = node.shell.wall;
    node.write(Some(&format!("{now:.9} jo: again")));
    assert_eq!(node.reboots, 1);
}

#[test]
fn where_the_lock_cannot_say_what_was_used_the_host_still_reboots() {
    let mut node = Node::idle();
    node.shell.lease["metadata"]["annotations"][keys::REQUESTS_USED] = json!("yesterday");
    node.shell.is_wanted = true;
    node.write(Some(REQUEST));
    node.pass(60);
    // Told before the reboot, and again because the request waits after it.
    assert_eq!((node.reboots, node.unreadable()), (1, 2), "{:?}", node.reports);
    assert_eq!((node.phase(), node.request()), (Some("wanted"), Some(REQUEST)));
    // What cannot be read is left to a person.
    assert_eq!(
        node.shell.lease().annotation(keys::REQUESTS_USED),
        Some("yesterday")
    );
}

#[test]
fn where_the_lock_has_no_room_for_another_request_it_waits_and_takes_none_from_others() {
    let mut node = Node::idle();
    let mut used = UsedRequests::default();
    // The last ones are no longer than the name of the node.
    for width in [253, 40, 6] {
        let mut names = (100..).map(|index: usize| format!("{index:0>width$}"));
        while let Some(more) = used.with(&names.next().unwrap(), at(REQUEST)) {
            used = more;
        }
    }
    node.shell.lease["metadata"]["annotations"][keys::REQUESTS_USED] = json!(used.render());
    node.write(Some(REQUEST));
    node.pass(2 * 60 * 60);
    assert_eq!((node.reboots, node.phase()), (0, Some("wanted")));
    assert_eq!((node.request(), node.unreadable()), (Some(REQUEST), 1));
    // There is room again once the others' are a day old.
    node.pass(22 * 60 * 60);
    let now = node.shell.wall;
    node.write(Some(&format!("{now:.9} jo: again")));
    node.pass(60 * 60);
    assert_eq!(node.reboots, 1, "{:?}", node.reports);
}

#[test]
fn an_agent_that_dies_after_the_acquire_goes_on_with_the_request_that_its_entry_names() {
    let mut node = Node::idle();
    node.write(None);
    // An earlier process has acquired the lock for the request, and died before it cordoned the node.
    let created = "2026-11-23T09:59:30.000000000Z";
    let annotations = &mut node.shell.node.metadata.annotations;
    drop(annotations.insert(keys::REBOOT_WANTED.to_owned(), REQUEST.to_owned()));
    drop(annotations.insert(keys::HOLDER.to_owned(), format!("uid/{created}")));
    drop(annotations.insert(keys::WRITE.to_owned(), "0f".to_owned()));
    let labels = &mut node.shell.node.metadata.labels;
    drop(labels.insert(keys::PHASE.to_owned(), "wanted".to_owned()));
    let mut entry = Entry::new("node-0", "uid", created, false);
    entry.requested_at = format!("{:.9}", at(REQUEST));
    let record = Record {
        entries: vec![entry],
        max_owners: None,
    };
    let used = UsedRequests::default().with("node-0", at(REQUEST)).unwrap();
    node.shell.lease["metadata"]["annotations"] =
        json!({ keys::LOCK: record.render(), keys::REQUESTS_USED: used.render() });
    node.bump();
    node.restart();
    node.run();
    node.pass(10);
    assert_eq!((node.reboots, node.phase(), node.request()), (1, None, None));
}

#[test]
fn whoever_changes_the_request_all_the_time_does_not_keep_the_host_busy() {
    let mut node = Node::idle();
    node.shell.log.clear();
    for count in 0..600 {
        let annotations = &mut node.shell.node.metadata.annotations;
        drop(annotations.insert(keys::REBOOT_WANTED.to_owned(), format!("x{count}")));
        node.bump();
        node.show();
        node.shell.now += Duration::from_millis(100);
        node.shell.chances = 0;
        node.run();
    }
    let looks = node.shell.log.iter().filter(|call| *call == "LookAtSentinel");
    let looks = looks.count();
    assert!(
        (60 / 5 - 1..=60 / 5 + 1).contains(&looks),
        "{looks}: {:?}",
        node.shell.log
    );
}
