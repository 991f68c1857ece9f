//! The benchmarks: what each measures, and beside what. The help of `cargo figures` and the page say the same.
//!
//! Not here: how each measures.

/// A benchmark. Its figures are named after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Benchmark {
    Compute,
    Quick,
    Hop,
    Api,
    Drain,
    Rollout,
    Size,
    Agent,
}

impl Benchmark {
    pub const ALL: [Self; 8] = [
        Self::Compute,
        Self::Quick,
        Self::Hop,
        Self::Api,
        Self::Drain,
        Self::Rollout,
        Self::Size,
        Self::Agent,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Quick => "quick",
            Self::Hop => "hop",
            Self::Api => "api",
            Self::Drain => "drain",
            Self::Rollout => "rollout",
            Self::Size => "size",
            Self::Agent => "agent",
        }
    }

    /// What it measures, and what it takes.
    pub fn about(self) -> &'static str {
        match self {
            Self::Compute => {
                "One review without network, in time of one core: the bytes of the review in, the decision, the log line, the bytes of the answer out, as it ships. \
                 In the rows with `lock`, kured is protected too, and its lock is as large as an annotation can be."
            }
            Self::Quick => "The same for the usual size, built as the tests are, for `.ci/run`.",
            Self::Hop => {
                "Reviews over TLS 1.3 and HTTP/1.1, one core for the server and one for the load, as it ships. \
                 First as many as each can take; then at a constant rate, 20, 50 and 80 percent of what the peer can take."
            }
            Self::Api => {
                "What admission adds to the PATCH that uncordons a node of 20 KiB, through a real API server, as a dry run: \
                 a node that is held (`deny`), one that is not (`allow`), and one whose uncordon is kept for later (`defer`). `policies`: our two policies alone."
            }
            Self::Size => {
                "The programs as they ship: bytes of the program, and of the image as a file; resident memory after the start (`idle`), and the most while 32 \
                 connections send reviews of 40 KiB (`busy`); from the start to ready; from a changed certificate file to its being served."
            }
            Self::Agent => {
                "An agent as it ships, which waits for a reboot (`idle`), and whose reboot something of each kind blocks (`blocked`): its memory, and its requests, \
                 from the API server's audit log."
            }
            Self::Rollout => {
                "All nodes of a pool want a reboot at once, and one at a time is rebooted, as KWOK and directories play it: from the release of the lock to the \
                 next node's cordon (`handover`), and the requests of all agents for each rebooted node, those that wait included, once 32 nodes are rebooted. The nodes are empty, so no \
                 pod is evicted. The agent is built as the tests are."
            }
            Self::Drain => {
                "The drain of a node that KWOK plays, on a real control plane: 250 bare pods that end at once, so that the requests are measured; \
                 as many that take their 30 s of grace; 50 of a Deployment whose budget lets 5 be away at a time. The agent is built as the tests are."
            }
        }
    }

    /// What ours is beside.
    pub fn peer(self) -> &'static str {
        match self {
            Self::Compute | Self::Quick => {
                "decoding the same review into Kubernetes' types with serde_json, and nothing else; for `allocated`, the bytes of the review itself"
            }
            Self::Hop => {
                "a plain webhook in Go, which logs nothing; for `floor`, a server that does nothing but TLS and HTTP"
            }
            Self::Api => "a plain webhook in Go that is registered for the same requests, without conditions",
            Self::Drain => {
                "`kubectl drain` with the options that kured sets in its library; for `floor`, a bare client that asks for 50 evictions at a time, \
                 again every 100 ms where a budget refuses, and watches the pods go"
            }
            Self::Size => {
                "for the webhook a plain webhook in Go, stripped and packed in the same way, which reads its certificate once and asks no API server; \
                 the agent has none, because kured's module could not be had"
            }
            Self::Rollout => "none, because kured could not be had; it looks at the lock once in its period",
            Self::Agent => "none, as for the agent's size",
        }
    }

    /// What the time or the requests are spent on, what was done about it, and what is left; empty if nobody has looked.
    pub fn spent(self) -> &'static str {
        match self {
            Self::Compute => {
                "The rows with `lock` are slow because the lock is parsed anew for each uncordon: as large as an annotation can be it has more than a thousand entries, \
                 and a lock has as many as nodes reboot at once."
            }
            Self::Hop => {
                "By `perf record` on the webhook while the load runs: of a denial of 5 KiB TLS and TCP take a third, reading the JSON and the decision a sixth each, \
                 and the log line a tenth; of one of 40 KiB TLS and TCP take two fifths. \
                 Each line of the log woke the thread that writes it, which was a quarter of the time: now lines are gathered for a millisecond. \
                 Left: of 200 KiB a sixth is the growth of the buffer that takes the body, which is not made at once for whatever size a client claims."
            }
            Self::Rollout => {
                "Those that wait read the lock when their watch shows a free slot, and seldom otherwise; before, they read it at each change, \
                 so that the requests grew with the square of the nodes. \
                 When it was recorded, about 19 requests of a reboot were the agent's check of its own permissions at its start, which takes at most \
                 three now. Left: ten are Events, and each read of the lock is two where kured's DaemonSet may appear (`--lock-on=auto`)."
            }
            Self::Quick | Self::Api | Self::Drain | Self::Size | Self::Agent => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn a_benchmark_is_asked_for_by_the_name_that_its_figures_begin_with() {
        assert_eq!(Benchmark::value_variants(), Benchmark::ALL);
        for benchmark in Benchmark::ALL {
            assert_eq!(
                benchmark.to_possible_value().unwrap().get_name(),
                benchmark.name()
            );
        }
    }
}
