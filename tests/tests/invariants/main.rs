//! Tests each invariant by name on a real control plane, with the real webhook and real agents.
//!
//! Helpers: `cluster` is the shared control plane, `wire` sends requests and judges answers, `subject` is a Node under test,
//! `fleet` a Node with a machine and an agent, `desk` the shell of an on-call person, `admission_policy` the policies and webhooks of others, `stock_kured` plays kured.

mod admission_policy;
mod as_shipped;
mod cluster;
mod desk;
mod fleet;
mod stock_kured;
mod subject;
mod wire;

mod adversaries;
mod agent_metrics;
mod alerts;
mod at_most_n;
mod bad_input;
mod blockers;
mod cert_manager;
mod certificates;
mod chart;
#[cfg(feature = "long")]
mod compat;
mod cordon_given_back;
mod crashes;
mod daemonset;
mod dashboard;
mod doctor;
mod drain;
mod emergency;
mod evidence;
mod explain;
mod failures;
mod faults;
mod gitops;
mod good_neighbour;
mod held_stays_cordoned;
mod hostile;
mod idle;
mod installed;
mod kubectl_plugin;
mod kubectl_wait;
mod manifests;
mod messages;
#[cfg(feature = "long")]
mod migration;
mod mtls;
mod never_in_the_way;
mod no_blind_reboot;
#[cfg(feature = "long")]
mod oldest;
mod one_node_one_agent;
mod player;
mod policy;
mod privileges;
mod prometheus;
mod ready_when;
#[cfg(feature = "long")]
mod rehearsal;
mod requests;
mod roles;
mod rollout;
mod server;
mod signs;
mod silences;
#[cfg(feature = "long")]
mod start_here;
mod static_admission;
mod troubleshooting;
mod uninstall;
