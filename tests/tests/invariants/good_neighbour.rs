//! The lines of `docs/good-neighbour.md`, which wait for the end of a hold, run on a real API server.

use std::path::Path;
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_tests::assets;
use cordonhold_tests::identity::Identity;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, ResourceExt as _};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader, Lines};
use tokio::process::{Child, Command};

use crate::cluster::{Cluster, on_shared};
use crate::subject::Subject;

/// Longest time until a program has looked, and until it sees the end of the hold: each looks every 5 s.
const LOOK_TIMEOUT: Duration = Duration::from_secs(60);

#[test]
fn the_lines_of_the_page_wait_for_the_end_of_a_hold() -> Result<()> {
    on_shared(async |cluster| {
        let subject = Subject::held(cluster, "good-neighbour", Phase::Delaying).await?;
        let length = cluster.log_length().await?;
        let (mut shell, mut looks) = shell(cluster, &subject.name)?;
        let (mut go, mut says) = go(cluster, &subject.name)?;
        // A wait would close it, and the program ends with it.
        let _open = go.stdin.take();
        let mut rust = pin!(wait_in_rust(Api::all(cluster.controller.clone()), &subject.name));
        let looked = async {
            line_with(&mut looks, "sleep 5").await?;
            line_with(&mut says, "waits").await
        };
        tokio::select! {
            looked = looked => looked?,
            ended = &mut rust => bail!("the lines in Rust did not wait: {ended:?}"),
        }
        for child in [&mut shell, &mut go] {
            ensure!(child.try_wait()?.is_none(), "a program did not wait: {child:?}");
        }
        subject.marks().finish(Phase::Delaying).await?;
        rust.await?;
        for child in [&mut shell, &mut go] {
            let ended = tokio::time::timeout(LOOK_TIMEOUT, child.wait()).await;
            let status = ended.context("a program did not see the end of the hold")??;
            ensure!(status.success(), "{status}");
        }
        let denied = cluster.decisions_since(length, "node", &subject.name).await?;
        ensure!(denied.is_empty(), "an uncordon came too early: {denied:?}");
        Ok(())
    })
}

async fn wait_in_rust(nodes: Api<Node>, name: &str) -> Result<()> {
    while nodes
        .get(name)
        .await?
        .labels()
        .get("cordonhold.dev/phase")
        .is_some_and(|phase| phase != "wanted")
    {
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    Ok(())
}

/// The lines in shell as the page has them, and what `sh -x` says of them.
fn shell(cluster: &Cluster, node: &str) -> Result<(Child, Lines<BufReader<impl AsyncRead + use<>>>)> {
    let script = block("sh", "while")?;
    let kubectl = cluster
        .plane
        .assets()
        .kubectl
        .parent()
        .context("kubectl is nowhere")?;
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("sh");
    let _ = command
        .args(["-exc", &script])
        .env("NODE", node)
        .env("KUBECONFIG", cluster.plane.kubeconfig(Identity::Controller))
        .env("HOME", cluster.plane.directory())
        .env("PATH", format!("{}:{path}", kubectl.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().context("failed to run sh")?;
    let stderr = child.stderr.take().context("sh has no standard error")?;
    Ok((child, BufReader::new(stderr).lines()))
}

/// The lines in Go, which are in the module `adversaries`.
fn go(cluster: &Cluster, node: &str) -> Result<(Child, Lines<BufReader<impl AsyncRead + use<>>>)> {
    let mut command = Command::new(assets::adversaries()?);
    let _ = command
        .args(["wait", node])
        .env("KUBECONFIG", cluster.plane.kubeconfig(Identity::Controller))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().context("failed to run the lines in Go")?;
    let stdout = child.stdout.take().context("there is no standard output")?;
    Ok((child, BufReader::new(stdout).lines()))
}

async fn line_with<R>(lines: &mut Lines<BufReader<R>>, text: &str) -> Result<()>
where
    R: AsyncRead + Unpin,
{
    let look = async {
        while let Some(line) = lines.next_line().await? {
            if line.contains(text) {
                return Ok(());
            }
        }
        bail!("a program ended without saying {text:?}")
    };
    let looked = tokio::time::timeout(LOOK_TIMEOUT, look).await;
    looked.with_context(|| format!("no program said {text:?}"))?
}

/// The block of the page in this language with this text.
pub(crate) fn block(language: &str, text: &str) -> Result<String> {
    let page = read("../docs/good-neighbour.md")?;
    let fence = format!("```{language}\n");
    let blocks = page.split(&fence).skip(1);
    let mut blocks = blocks.filter_map(|rest| rest.split("```").next());
    blocks
        .find(|block| block.contains(text))
        .map(ToOwned::to_owned)
        .with_context(|| format!("the page has no block in {language} with {text}"))
}

fn read(name: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
}

#[test]
fn the_lines_of_the_page_are_those_that_are_tested() -> Result<()> {
    let sources = [
        ("go", "adversaries/neighbour.go"),
        ("rust", "tests/invariants/good_neighbour.rs"),
    ];
    for (language, source) in sources {
        let without_spaces = |text: &str| text.split_whitespace().collect::<String>();
        let (lines, source) = (
            without_spaces(&block(language, "")?),
            without_spaces(&read(source)?),
        );
        ensure!(source.contains(&lines), "the page has other lines in {language}");
    }
    Ok(())
}
