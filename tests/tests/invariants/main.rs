//! The invariants, each proven by name on a real control plane with the real webhook and real agents.
//!
//! `cluster` is the control plane they share, `wire` how requests are sent and answers judged, `subject` a Node under test.

mod cluster;
mod subject;
mod wire;

mod bad_input;
mod held_stays_cordoned;
mod manifests;
mod never_in_the_way;
mod one_node_one_agent;
