//! The invariants, each proven by name on a real control plane with the real webhook and real agents.
//!
//! `cluster` is the control plane they share, `wire` how requests are sent and answers judged, `subject` a Node under test,
//! `fleet` a Node with its machine and its agent, `admission_policy` who else says no, and `stock_kured` the other daemon.

mod admission_policy;
mod as_shipped;
mod cluster;
mod fleet;
mod stock_kured;
mod subject;
mod wire;

mod at_most_n;
mod bad_input;
mod cordon_given_back;
mod crashes;
mod daemonset;
mod drain;
mod evidence;
mod explain;
mod held_stays_cordoned;
mod idle;
mod manifests;
mod never_in_the_way;
mod no_blind_reboot;
mod one_node_one_agent;
mod rollout;
mod signs;
