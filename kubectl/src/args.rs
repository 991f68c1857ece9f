//! The command line of the plugin.
//!
//! Not here: kubectl's flags for the cluster and the user ([`cordonhold_rt::client::Access`]).

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use cordonhold_rt::client::Access;
use cordonhold_rt::duration;

mod history;

pub(crate) use history::{HistoryArgs, HistoryFormat, UiArgs};

/// Longest wait for what follows a cancel: the agent answers within seconds, and needs some more if it is evicting.
const FOLLOW_SECONDS: &str = "2m";

/// Shows which nodes are held for a reboot, why, and what they wait for; and lets people pause, cancel and clean up.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl cordonhold",
    bin_name = "kubectl cordonhold",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = EXAMPLES
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) access: Access,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  kubectl cordonhold status                        every node that is not idle, and what is wrong
  kubectl cordonhold status --watch                the same, live; in a pipe, a line for each change
  kubectl cordonhold why worker-17                 who cordoned it, what it waits for, what you can do
  kubectl cordonhold doctor                        what is wrong with the installation
  kubectl cordonhold pause --pool --reason 'sale'  no new reboot begins
  kubectl cordonhold cancel worker-17 --reason 'pg is degraded'

Exit codes: 0 fine or done, 1 refused or not done (with --exit-code: something is wrong), 2 the command line or the
cluster cannot be used.
`kubectl cordonhold COMMAND --help` has examples of each command; --help lists kubectl's own flags too.";

#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Every command")]
pub(crate) struct CommonArgs {
    /// Namespace of Cordonhold, which is not the context's
    #[arg(
        short,
        long,
        value_name = "NAMESPACE",
        global = true,
        default_value = "cordonhold"
    )]
    pub(crate) namespace: String,
    /// Longest wait for one answer of the API server, like 5s; 0 for kubectl's own default of none is taken as an hour
    #[arg(long, value_name = "DURATION", global = true, value_parser = timeout, default_value = "10s", hide_short_help = true)]
    pub(crate) request_timeout: Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show nodes, locks and webhook on one screen
    Status(StatusArgs),
    /// Say why a node is cordoned, what it waits for, what an uncordon would meet, and what you can do
    Why(WhyArgs),
    /// Show the last reboots, and who asked for an uncordon meanwhile
    History(HistoryArgs),
    /// Show the fleet and its reboots in a browser, live
    Ui(UiArgs),
    /// Look for what is wrong with the installation, or with the cluster before one
    Doctor(DoctorArgs),
    /// Say what the webhook answers to a saved review, or to an uncordon of a node
    Explain(ExplainArgs),
    /// Let no new reboot begin on nodes or in a pool
    Pause(PauseArgs),
    /// End a pause
    Resume(ResumeArgs),
    /// Keep a node cordoned after its reboot
    Keep(KeepArgs),
    /// No longer keep a node cordoned after its reboot
    Unkeep(UnkeepArgs),
    /// Call a reboot off, and follow what its agent does
    Cancel(CancelArgs),
    /// Ask for one reboot of a node, within the rules of its pool
    Reboot(RebootArgs),
    /// End the hold of a node whose agent is gone
    Release(ReleaseArgs),
    /// Print or apply what the chart renders, without Helm
    Install(InstallArgs),
    /// Plan the way from stock kured
    Migrate(MigrateArgs),
    /// Write an archive for a bug report, without secrets
    Report(ReportArgs),
    /// Print the script by which kubectl completes the words of this plugin
    Completion,
    /// Print completions for kubectl
    #[command(name = "__complete", hide = true)]
    Complete {
        /// The words after `kubectl cordonhold`; the last one is to be completed
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// JSON; all nodes
    Json,
    /// YAML; all nodes
    Yaml,
    /// More columns, and no line breaks
    Wide,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  kubectl cordonhold status worker-17 worker-18
  kubectl cordonhold status --pool gpu --all
  kubectl cordonhold status -l topology.kubernetes.io/zone=a -o wide
  kubectl cordonhold status -o json | jq '.nodes[] | select(.state==\"sealed\").node'
  kubectl cordonhold status --watch | tee reboots.log")]
pub(crate) struct StatusArgs {
    /// Nodes to show; without any, all that are not idle
    #[arg(value_name = "NODE")]
    pub(crate) nodes: Vec<String>,
    /// Show idle nodes too
    #[arg(long)]
    pub(crate) all: bool,
    /// Show the nodes of these pools alone; may be repeated
    #[arg(long, value_name = "POOL")]
    pub(crate) pool: Vec<String>,
    /// Show the nodes with these labels alone
    #[arg(short = 'l', long, value_name = "SELECTOR", conflicts_with = "nodes")]
    pub(crate) selector: Option<String>,
    /// How it is printed
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
    /// Keep showing it: live on a terminal, else a line for each change
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// End with exit code 1 if something is wrong
    #[arg(long, conflicts_with = "watch")]
    pub(crate) exit_code: bool,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  kubectl cordonhold why worker-17
  kubectl cordonhold why worker-17 --for system:serviceaccount:gpu-operator:nvidia-driver")]
pub(crate) struct WhyArgs {
    /// The node
    pub(crate) node: String,
    /// Whose uncordon is judged; without it, yours
    #[arg(long = "for", value_name = "USER")]
    pub(crate) requester: Option<String>,
    /// Group of that user; may be repeated
    #[arg(long = "for-group", value_name = "GROUP", requires = "requester")]
    pub(crate) groups: Vec<String>,
    /// How it is printed
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
    /// End with exit code 1 if something is wrong
    #[arg(long)]
    pub(crate) exit_code: bool,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
It reads, and sends one dry run to a Node, which the API server asks the webhook about; nothing is written. What you may
not read is a line with the right that it takes. Each finding has a code, which docs/doctor.md explains.

Examples:
  kubectl cordonhold doctor
  kubectl cordonhold doctor --pre
  kubectl cordonhold doctor -o json | jq -r '.findings[] | .code + \" \" + .command'

Exit codes: 0 no problem (there may be warnings), 1 a problem, 2 the cluster cannot be used.")]
pub(crate) struct DoctorArgs {
    /// Look at a cluster before the install
    #[arg(long)]
    pub(crate) pre: bool,
    /// Send no dry run, and only read
    #[arg(long, conflicts_with = "pre")]
    pub(crate) no_probe: bool,
    /// How it is printed
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  kubectl cordonhold explain denied-review.json
  kubectl cordonhold explain --node worker-17 --for jo
  kubectl cordonhold explain review.json --offline -- --mode=defer --protect-kured=lock

The flags after -- are the webhook's own, as `cordonhold-webhook --help` lists them; without any, those of its Deployment
count. Exit codes: 0 it passes, 1 it is denied or may be, 2 the input cannot be used.")]
pub(crate) struct ExplainArgs {
    /// File with the `AdmissionReview` as JSON; - for standard input
    #[arg(
        value_name = "FILE",
        required_unless_present = "node",
        conflicts_with = "node"
    )]
    pub(crate) review: Option<PathBuf>,
    /// Instead of a file: an uncordon of this node now
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<String>,
    /// Whose uncordon it is; without it, yours
    #[arg(long = "for", value_name = "USER", requires = "node")]
    pub(crate) requester: Option<String>,
    /// Group of that user; may be repeated
    #[arg(long = "for-group", value_name = "GROUP", requires = "requester")]
    pub(crate) groups: Vec<String>,
    /// Ask no cluster; what it would say is assumed both ways
    #[arg(long, conflicts_with = "node")]
    pub(crate) offline: bool,
    /// The webhook's own flags
    #[arg(last = true, value_name = "FLAG")]
    pub(crate) flags: Vec<String>,
}

/// How a command writes.
#[derive(Clone, Copy, Debug, ClapArgs)]
pub(crate) struct WriteArgs {
    /// Let the API server check the writes, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// The nodes or the pool that a command is for.
#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
pub(crate) struct TargetArgs {
    /// The nodes
    #[arg(value_name = "NODE")]
    pub(crate) nodes: Vec<String>,
    /// A whole pool, by default the pool default
    #[arg(long, value_name = "POOL", num_args = 0..=1, default_missing_value = "default", require_equals = true)]
    pub(crate) pool: Option<String>,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
A node that is drained already goes on to wait, and its reboot is called off after some time; from `sealed` on a pause
changes nothing.

Examples:
  kubectl cordonhold pause worker-17 --reason 'the disk is being replaced'
  kubectl cordonhold pause --pool --reason 'release freeze'
  kubectl cordonhold pause --pool=gpu --reason 'training' --yes

Needs: patch nodes, or patch leases.coordination.k8s.io; the ClusterRole cordonhold-pause has both.")]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Why, for whoever reads it
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  kubectl cordonhold resume worker-17
  kubectl cordonhold resume --pool

Needs what pause needs.")]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
It counts for a node that is held now and for its next reboots, until unkeep. Then uncordon the node yourself.

Example:
  kubectl cordonhold keep worker-17 --reason 'the disk is next'

Needs: patch nodes; the ClusterRole cordonhold-pause has it.")]
pub(crate) struct KeepArgs {
    /// The nodes
    #[arg(value_name = "NODE", required = true)]
    pub(crate) nodes: Vec<String>,
    /// Why, for whoever reads it
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct UnkeepArgs {
    /// The nodes
    #[arg(value_name = "NODE", required = true)]
    pub(crate) nodes: Vec<String>,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The cancel names the hold that is on the node now, and no other. The agent then stops, gives the cordon back, releases its
place in the lock, and asks for a reboot again after its --backoff: pause the node to prevent that. Once a node is
`sealed` it is too late.

Examples:
  kubectl cordonhold cancel worker-17 --reason 'pg is degraded'
  kubectl cordonhold cancel worker-17 --reason 'pg is degraded' --yes --no-wait

Needs: patch nodes (the ClusterRole cordonhold-pause has it), and with the webhook override rebootholds.cordonhold.dev
(cordonhold-override).")]
pub(crate) struct CancelArgs {
    /// The node
    pub(crate) node: String,
    /// Why, for whoever reads it
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub(crate) reason: String,
    /// Do not follow what the agent does
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// How long to follow it
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = FOLLOW_SECONDS)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The agent takes the request as it takes the host's own wish: windows, blockers, the lock and the budget hold as ever. A
request is used once: what was used is in the lock, so that the same annotation written again does nothing. It lapses after
a day. Agents take requests only with --reboot-requests.

Examples:
  kubectl cordonhold reboot worker-17 --reason 'a new kernel'
  kubectl cordonhold reboot worker-17 --reason 'a new kernel' --dry-run

To take it back before the node is sealed: kubectl annotate node worker-17 cordonhold.dev/reboot-wanted-, or cancel.

Needs: patch nodes (the ClusterRole cordonhold-pause has it), and with the webhook reboot rebootholds.cordonhold.dev
(cordonhold-reboot).")]
pub(crate) struct RebootArgs {
    /// The node
    pub(crate) node: String,
    /// Why, for whoever reads it
    #[arg(long, value_name = "TEXT", value_parser = reason, default_value = "asked for by hand")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
It does what docs/operating.md lists under \"A holder that is dead\": it cancels the hold, gives the cordon back as the agent
would have done, also one that somebody asked for meanwhile, and removes marks, taint, condition and cancel. Before that it
says what it sees and what it will write. It refuses while the agent is alive or the host may be rebooting. It never
touches pods, nor the lock: agents drop an entry themselves once its Node shows that it is over.

Examples:
  kubectl cordonhold release worker-17 --dry-run
  kubectl cordonhold release worker-17

Needs: patch nodes and nodes/status, and with the webhook override rebootholds.cordonhold.dev: cluster-admin, or a role of
yours with these.")]
pub(crate) struct ReleaseArgs {
    /// The node
    pub(crate) node: String,
    /// Why, for whoever reads it
    #[arg(long, value_name = "TEXT", value_parser = reason, default_value = "its agent is gone: released by hand")]
    pub(crate) reason: String,
    /// You know that no agent is at work there, and its pod cannot be looked for
    #[arg(long)]
    pub(crate) agent_is_gone: bool,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
In it are: what doctor and status say; the marks of the Nodes; the Leases, Deployments, DaemonSets, pods and configurations
of Cordonhold; its Events; and the last lines of its logs. Secrets and ConfigMaps are not read, and tokens, passwords,
private keys and all of an address but its host are cut from what is. Look through it before you send it.

Examples:
  kubectl cordonhold report
  kubectl cordonhold report --file /tmp/report.tar.gz

Needs what doctor needs, and list pods, events, leases and pods/log in the namespace; what is missing is told.")]
pub(crate) struct ReportArgs {
    /// The file to write, which must not be there yet; without it, one in this directory, named after the time
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// Values of the chart.
#[derive(Debug, ClapArgs)]
pub(crate) struct ValuesArgs {
    /// File with values of the chart; - for standard input; may be repeated, and the last counts
    #[arg(short = 'f', long, value_name = "FILE")]
    pub(crate) values: Vec<PathBuf>,
    /// One value over those of the files, like webhook.mode=enforce; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// What a dry run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DryRun {
    /// Print what would be applied; no cluster is asked
    Client,
    /// Let the API server check it, and write nothing
    Server,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The objects are those of the chart, without the Job that only helm uninstall runs, and with the namespace. They are applied
by server-side apply; what another tool keeps is not overwritten, and is named.

Examples:
  kubectl cordonhold install -f my-values.yaml --dry-run=client -o yaml
  kubectl cordonhold install -f my-values.yaml --set webhook.mode=enforce
  kubectl cordonhold install -f my-values.yaml --dry-run=client | kubectl diff -f -

Needs: with --dry-run=client, nothing; else the rights that it gives to others, so cluster-admin.")]
pub(crate) struct InstallArgs {
    #[command(flatten)]
    pub(crate) values: ValuesArgs,
    /// Write nothing
    #[arg(long, value_enum, value_name = "WHERE", num_args = 0..=1, require_equals = true, default_missing_value = "client")]
    pub(crate) dry_run: Option<DryRun>,
    /// How a dry run is printed: yaml, which is the default, or json
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct MigrateArgs {
    #[command(subcommand)]
    pub(crate) step: MigrateStep,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MigrateStep {
    /// Print kured's settings as values of the chart, and what changes and why; nothing is written
    Plan(PlanArgs),
    /// Install the webhook in front of kured; it notes what it would deny
    Observe(StageArgs),
    /// Let the webhook keep the nodes cordoned that kured reboots
    Protect(StageArgs),
    /// Give some nodes an agent in kured's place; both use kured's lock
    Canary(CanaryArgs),
    /// Give all nodes an agent; kured stays, on no node
    Fleet(StageArgs),
    /// Remove kured, once nobody is in its lock
    Remove(RemoveArgs),
}

/// How a stage is reached.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Each stage needs the one before, refuses with the reason while it is not safe, and may be run again if it was broken off.
It says what it will do before it asks. The values are those of migrate plan -o yaml, with images and people; give the same
file to each stage.

Examples:
  kubectl cordonhold migrate observe -f my-values.yaml
  kubectl cordonhold migrate protect -f my-values.yaml --dry-run
  kubectl cordonhold migrate protect -f my-values.yaml --undo

Needs: cluster-admin.")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct StageArgs {
    #[command(flatten)]
    pub(crate) values: ValuesArgs,
    /// Go back to the stage before
    #[arg(long)]
    pub(crate) undo: bool,
    /// kured's DaemonSet, if several look like it, or none
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub(crate) kured: Option<String>,
    /// Flux or Argo CD, which keeps kured's DaemonSet, writes nothing now
    #[arg(long)]
    pub(crate) keeper_is_paused: bool,
    /// Longest wait for pods to come, to go and to be replaced
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "10m")]
    pub(crate) timeout: Duration,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Example:
  kubectl cordonhold migrate canary worker-01 worker-02 -f my-values.yaml
  kubectl cordonhold migrate canary --undo worker-01 -f my-values.yaml

With --undo and without nodes, all go back to kured, and the agents are removed.

Needs: cluster-admin.")]
pub(crate) struct CanaryArgs {
    /// The nodes
    #[arg(value_name = "NODE")]
    pub(crate) nodes: Vec<String>,
    #[command(flatten)]
    pub(crate) stage: StageArgs,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
kured's DaemonSet, ServiceAccount and roles are written into a file first; --undo needs it.

Example:
  kubectl cordonhold migrate remove -f my-values.yaml --backup kured.yaml
  kubectl cordonhold migrate remove -f my-values.yaml --backup kured.yaml --undo

Needs: cluster-admin.")]
pub(crate) struct RemoveArgs {
    /// File for kured's objects; it must not be there yet, and with --undo it is read
    #[arg(long, value_name = "FILE", default_value = "kured-backup.yaml")]
    pub(crate) backup: PathBuf,
    #[command(flatten)]
    pub(crate) stage: StageArgs,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
kured is read from its DaemonSet in the cluster, or from a file with its DaemonSet or with the values of its chart.
migrate observe is the step that follows.

Examples:
  kubectl cordonhold migrate plan
  kubectl cordonhold migrate plan -o yaml > my-values.yaml
  helm -n kured get values kured -o yaml | kubectl cordonhold migrate plan --from -

Needs: list daemonsets.apps in the whole cluster; with --from, nothing.")]
pub(crate) struct PlanArgs {
    /// File with kured's DaemonSet, or with the values of its chart; - for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
    /// kured's DaemonSet, if several look like it, or none
    #[arg(long, value_name = "NAMESPACE/NAME", conflicts_with = "from")]
    pub(crate) kured: Option<String>,
    /// Leave what may be a secret in the values, in clear
    #[arg(long)]
    pub(crate) show_secrets: bool,
    /// How it is printed: yaml prints the values alone, for Helm
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
}

/// A reason: it ends in an annotation, and an empty one says nothing.
fn reason(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("it is empty: say why, in a few words".to_owned()),
        text => Ok(text.to_owned()),
    }
}

/// kubectl's `--request-timeout`: a Go duration, or a number of seconds; 0 is no limit there, and an hour here.
fn timeout(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => duration::parse(text).map_err(|error| error.to_string())?,
    };
    Ok(if parsed.is_zero() {
        Duration::from_secs(3600)
    } else {
        parsed
    })
}
