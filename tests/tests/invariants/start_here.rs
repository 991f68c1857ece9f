//! Follows `docs/start-here.md` as a newcomer does: runs the commands of the page, in their order, in a shell at the root of the repository, and
//! compares what they print with what the page shows.
//!
//! A block `sh` of the page is one step. A block `console` behind it is what its commands print, both outputs together. There, `…` stands for any
//! text in a line, and alone in a line for any lines; how many spaces there are does not matter.
//! Not here: the same with other settings (`installed`).

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cordonhold_tests::assets::{self, Assets};
use cordonhold_tests::install::manifests;
use cordonhold_tests::programs::{self, Program};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use crate::cluster::alone;
use crate::wire::WEBHOOK;

const PAGE: &str = "../docs/start-here.md";
/// The command that starts the cluster, and the program that it is.
const CLUSTER: &str = "cargo control-plane";
/// Longest step: a reboot, or a release whose pods have yet to be started. On a busy machine.
const STEP_TIMEOUT: Duration = Duration::from_mins(3);
/// Longest end of the cluster.
const END_TIMEOUT: Duration = Duration::from_secs(30);
/// What stands for any text, and alone in a line for any lines.
const ANY: &str = "…";

/// A block of commands, and what the page shows of their output.
#[derive(Debug)]
struct Step {
    commands: String,
    shown: Option<String>,
}

fn steps(page: &str) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut rest = page;
    while let Some((_, fenced)) = rest.split_once("```") {
        let (language, block) = fenced.split_once('\n').context("a fence without an end")?;
        let (block, after) = block.split_once("```").context("a block without an end")?;
        rest = after;
        match language {
            "sh" => steps.push(Step {
                commands: block.to_owned(),
                shown: None,
            }),
            "console" => {
                let step = steps.last_mut().context("an output without a command")?;
                ensure!(step.shown.is_none(), "two outputs of {}", step.commands);
                step.shown = Some(block.to_owned());
            }
            other => anyhow::bail!("a block in {other:?} is not understood"),
        }
    }
    Ok(steps)
}

/// Whether an output is what the page shows.
fn is_shown(shown: &[&str], actual: &[&str]) -> bool {
    match shown {
        [] => actual.is_empty(),
        [first, rest @ ..] if first.trim() == ANY => {
            (0..=actual.len()).any(|count| is_shown(rest, &actual[count..]))
        }
        [first, rest @ ..] => match actual {
            [line, others @ ..] => is_line(first, line) && is_shown(rest, others),
            [] => false,
        },
    }
}

fn is_line(shown: &str, actual: &str) -> bool {
    let spaced = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (shown, actual) = (spaced(shown), spaced(actual));
    let parts: Vec<&str> = shown.split(ANY).collect();
    let [first, middle @ .., last] = parts.as_slice() else {
        return shown == actual;
    };
    let Some(mut rest) = actual
        .strip_prefix(first)
        .and_then(|rest| rest.strip_suffix(last))
    else {
        return false;
    };
    for part in middle {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

/// A shell of the newcomer's.
struct Shell {
    /// Has spaces in its name.
    home: PathBuf,
    /// The lines that the cluster has printed for it.
    exports: String,
}

impl Shell {
    /// Starts a process group with these commands, both outputs together.
    fn start(&self, commands: &str) -> Result<Child> {
        let script = format!("{}\nexec 2>&1\n{commands}", self.exports);
        Command::new("sh")
            .args(["-euc", &script])
            .current_dir(manifests(".."))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").context("no PATH")?)
            .env("HOME", &self.home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("failed to start sh")
    }

    /// Runs a step to its end, or with `--watch` until it has printed what is shown, and returns what it has printed.
    async fn run(&self, step: &Step) -> Result<String> {
        let mut child = self.start(&step.commands)?;
        let shown = step.shown.as_deref().map(lines);
        let is_watch = step.commands.contains("--watch");
        ensure!(!is_watch || shown.is_some(), "the page shows nothing of a watch");
        let mut printed = String::new();
        let output = child.stdout.take().context("no output")?;
        let read = read(output, &mut printed, |printed| {
            is_watch
                && shown
                    .as_ref()
                    .is_some_and(|shown| is_shown(shown, &lines(printed)))
        });
        let is_seen = tokio::time::timeout(STEP_TIMEOUT, read).await;
        let is_seen = is_seen
            .map_err(|_| anyhow::anyhow!("it took over {STEP_TIMEOUT:?}"))
            .flatten()
            .with_context(|| format!("it has printed:\n{printed}"))?;
        if is_watch {
            ensure!(is_seen, "the watch ended, and had printed:\n{printed}");
            press_ctrl_c(&child)?;
            let _ = child.wait().await?;
            return Ok(printed);
        }
        let status = tokio::time::timeout(END_TIMEOUT, child.wait()).await;
        let status = status.context("it does not end")??;
        ensure!(status.success(), "{status}:\n{printed}");
        if let Some(shown) = shown {
            ensure!(
                is_shown(&shown, &lines(&printed)),
                "the page shows another output; it was:\n{printed}"
            );
        }
        Ok(printed)
    }

    /// The same for a command that the page does not have.
    async fn ask(&self, commands: &str) -> Result<String> {
        let step = Step {
            commands: commands.to_owned(),
            shown: None,
        };
        self.run(&step).await.with_context(|| commands.to_owned())
    }
}

/// Reads lines until `is_enough` says so of all of them, or to the end. Returns whether it was enough.
async fn read(
    output: impl AsyncRead + Unpin,
    printed: &mut String,
    is_enough: impl Fn(&str) -> bool,
) -> Result<bool> {
    let mut output = BufReader::new(output).lines();
    while let Some(line) = output.next_line().await? {
        printed.push_str(&line);
        printed.push('\n');
        if is_enough(printed) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Sends SIGINT to the process group, as a terminal does.
fn press_ctrl_c(child: &Child) -> Result<()> {
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let group = id.and_then(Pid::from_raw).context("it has ended already")?;
    kill_process_group(group, Signal::INT).context("failed to send SIGINT")
}

/// Starts the cluster of the first step, and returns it with the shell that its lines are pasted into.
async fn start(step: &Step, home: &Path) -> Result<(Child, Shell)> {
    let words = shlex::split(&step.commands).context("a command that is not understood")?;
    let start: Vec<String> = CLUSTER.split(' ').map(ToOwned::to_owned).collect();
    let arguments = words
        .strip_prefix(start.as_slice())
        .context("the page does not start a cluster first")?;
    let mut cluster = Command::new(env!("CARGO_BIN_EXE_control-plane"))
        .args(arguments)
        .env("TMPDIR", home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context("failed to start the cluster")?;
    let mut printed = String::new();
    let output = cluster.stdout.take().context("no output")?;
    let read = read(output, &mut printed, |printed| printed.ends_with("READY\n"));
    let is_ready = tokio::time::timeout(STEP_TIMEOUT, read)
        .await
        .context("no READY")??;
    ensure!(is_ready, "the cluster ended before READY: {printed}");
    let shown = step.shown.as_deref().context("the page does not show READY")?;
    ensure!(
        is_shown(&lines(shown), &lines(&printed)),
        "the page shows another output; it was:\n{printed}"
    );
    let exports = printed
        .trim_end()
        .strip_suffix("READY")
        .unwrap_or_default()
        .to_owned();
    let shell = Shell {
        home: home.to_owned(),
        exports,
    };
    Ok((cluster, shell))
}

/// What the page must have shown on the way, whatever else stands there.
#[derive(Default)]
struct Seen {
    account: bool,
    denial: bool,
    log: bool,
}

impl Seen {
    /// Looks at a step that was run. `kubectl uncordon` exits with 0 after a denial, so what it has said counts.
    async fn look(&mut self, shell: &Shell, step: &Step, printed: &str) -> Result<()> {
        if step.commands.contains("last-reboot") {
            let account: Value = serde_json::from_str(printed)?;
            ensure!(
                account["seconds"].is_object() && account["ended"].is_string(),
                "{printed}"
            );
            self.account = true;
        }
        if step.commands.contains(" uncordon ") {
            let denied = format!("admission webhook \"{WEBHOOK}\" denied the request");
            ensure!(printed.contains(&denied), "it was not denied: {printed}");
            let cordon = "kubectl get node node-1 -o jsonpath='{.spec.unschedulable}'";
            ensure!(shell.ask(cordon).await?.trim() == "true", "node-1 was uncordoned");
            self.denial = true;
        }
        if step.commands.contains(" logs ") {
            let denials = printed
                .lines()
                .filter(|line| line.contains("\"verdict\":\"deny\""));
            ensure!(denials.clone().count() >= 1, "no denial in the log: {printed}");
            for denial in denials {
                let denial: Value = serde_json::from_str(denial)?;
                ensure!(denial["node"] == "node-1", "{denial}");
            }
            self.log = true;
        }
        Ok(())
    }
}

#[test]
fn each_command_of_start_here_does_what_the_page_says() -> Result<()> {
    alone(async || {
        let aliases = std::fs::read_to_string(manifests("../.cargo/config.toml"))?;
        ensure!(
            aliases.contains("control-plane = \"run --bin control-plane --\""),
            "{CLUSTER} is another program"
        );
        let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE))?;
        let steps = steps(&page)?;
        let (first, others) = steps.split_first().context("a page without commands")?;
        // Without a bound, as the page says: the first start builds them.
        drop((Assets::find()?, assets::helm()?));
        drop(programs::build_all(&[
            Program::Leash,
            Program::Agent,
            Program::Webhook,
        ])?);
        let home = tempfile::Builder::new().prefix("a newcomer ").tempdir()?;
        let (mut cluster, shell) = start(first, home.path()).await?;
        let mut seen = Seen::default();
        for step in others {
            let run = async {
                let printed = shell.run(step).await?;
                seen.look(&shell, step, &printed).await
            };
            run.await.with_context(|| step.commands.clone())?;
        }
        ensure!(
            seen.account && seen.denial && seen.log,
            "the page leaves out a step"
        );
        let nodes = shell.ask("kubectl get nodes --output=json").await?;
        ensure!(!nodes.contains("cordonhold.dev"), "something is left: {nodes}");

        press_ctrl_c(&cluster)?;
        let status = tokio::time::timeout(END_TIMEOUT, cluster.wait()).await;
        let status = status.context("the cluster does not end")??;
        ensure!(status.success(), "{status}");
        let left: Vec<_> = std::fs::read_dir(home.path())?
            .filter_map(|entry| Some(entry.ok()?.file_name()))
            .filter(|name| name.to_string_lossy().starts_with("cordonhold-"))
            .collect();
        ensure!(left.is_empty(), "files are left: {left:?}");
        Ok(())
    })
}

#[test]
fn an_output_is_compared_line_by_line_with_what_the_page_shows() {
    for (shown, actual, expected) in [
        ("a  b\n", "a b\n", true),
        ("a\n", "a\nb\n", false),
        ("a\n…\n", "a\nb\nc\n", true),
        ("a\n…\nc\n", "a\nc\n", true),
        ("…\nc\n", "a\nb\n", false),
        (
            "node-0  Ready … draining",
            "node-0   Ready   <none>  5s   v1   draining",
            true,
        ),
        (
            "node-0  Ready … draining",
            "node-0   Ready   <none>  5s   v1   sealed",
            false,
        ),
        ("a … b … c", "a 1 b 2 c", true),
        ("a … b … c", "a 1 c", false),
        ("a…a", "a", false),
    ] {
        assert_eq!(
            is_shown(&lines(shown), &lines(actual)),
            expected,
            "{shown:?} {actual:?}"
        );
    }
}
