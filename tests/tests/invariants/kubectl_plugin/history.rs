//! `history` of a real reboot from all its sources, and `ui`: who gets an answer, and what a browser shows.
//!
//! Not here: what is made of each source (`shared/src/history`), and the guard of each request (`kubectl/src/ui`).

use std::path::PathBuf;

use cordonhold_tests::webhook::http_get;
use tokio::process::Child;

use super::*;
use crate::subject::uncordon;

/// Longest time until the webhook has written its Event. It updates a count every 10 s.
const EVENT: Duration = Duration::from_secs(60);

#[test]
fn plugin_history_shows_a_real_reboot_and_each_denied_uncordon_from_every_source() -> Result<()> {
    on_shared(async |cluster| {
        let (name, plugin) = ("plugin-history", Plugin::new(&cluster.plane)?);
        let site = Site::new(&cluster.plane, name, &["--reboot-delay=5s"]).await?;
        site.add_pod(name).await?;
        site.machine.request_reboot()?;
        drop(site.wait_phase(Phase::Delaying).await?);
        for _ in 0..3 {
            let answer = crate::wire::write(&cluster.controller, name, Write::Strategic, &uncordon()).await?;
            answer.denied()?;
        }
        drop(site.wait_over().await?);
        let _settled = cluster.log_length().await?;

        // The logs know each one.
        let audit = cluster.plane.directory().join("logs").join("audit.log");
        let logs = [path(cluster.webhook.log_path().to_path_buf())?, path(audit)?];
        let with_logs = [
            "history",
            name,
            "--webhook-log",
            &logs[0],
            "--audit-log",
            &logs[1],
            "-o",
            "json",
        ];
        let told = plugin.run(&with_logs).await?.ended(0)?;
        let history: Value = serde_json::from_str(&told.text)?;
        let reboot = &history["reboots"][0];
        ensure!(
            reboot["outcome"] == "rebooted" && reboot["why"].is_string(),
            "{history}"
        );
        let phases: Vec<&str> = reboot["spans"]
            .as_array()
            .context("no phases")?
            .iter()
            .filter_map(|span| span["phase"].as_str())
            .collect();
        ensure!(
            phases == ["wanted", "draining", "delaying", "sealed", "returning"],
            "{history}"
        );
        let denied = |reboot: &Value| -> Vec<Value> {
            let all = reboot["uncordons"].as_array().cloned().unwrap_or_default();
            let held = all
                .into_iter()
                .filter(|one| one["answer"] == "denied" && one["reason"] == "held");
            held.collect()
        };
        ensure!(denied(reboot).len() == 3, "{history}");
        // The audit log has the eviction of the pod.
        let on: Vec<u64> = reboot["pods"]
            .as_array()
            .context("no pods")?
            .iter()
            .filter_map(|pods| pods["on"].as_u64())
            .collect();
        ensure!(on.first() == Some(&1) && on.last() == Some(&0), "{history}");

        // The Events know how many.
        let counted = wait::until("the Event of the denials", EVENT, || async {
            let told = plugin.run(&["history", name, "-o", "json"]).await?.ended(0)?;
            let history: Value = serde_json::from_str(&told.text)?;
            let counts = denied(&history["reboots"][0]);
            let count: u64 = counts.iter().filter_map(|one| one["count"].as_u64()).sum();
            Ok((count == 3).then_some(history))
        });
        drop(counted.await?);

        let svg = plugin.run(&["history", name, "-o", "svg"]).await?.ended(0)?;
        svg.says(&["<svg ", "class=\"mark denied\"", "node plugin-history: rebooted"])?;
        let html = plugin.run(&["history", name, "-o", "html"]).await?.ended(0)?;
        html.says(&["<!DOCTYPE html>", "class=\"mark denied\"", "an uncordon by "])?;
        sees_less(cluster, &plugin, name).await
    })
}

/// Whoever may read Nodes alone sees the account, and learns what is hidden.
async fn sees_less(cluster: &Cluster, plugin: &Plugin, name: &str) -> Result<()> {
    bound(cluster, "history-viewer", &["cordonhold-view"]).await?;
    let told = plugin
        .until_allowed(&["history", name, "--as", "history-viewer"])
        .await?
        .ended(0)?;
    told.says(&[
        "node plugin-history: rebooted",
        "could not see what the agents say in Events: needs list events in the namespace default",
        "could not see what the webhook says in Events",
    ])?;
    let nobody = plugin
        .run(&["history", "--as", "history-nobody"])
        .await?
        .ended(2)?;
    nobody.complains(&["bind the ClusterRole cordonhold-view"])
}

fn path(path: PathBuf) -> Result<String> {
    path.into_os_string()
        .into_string()
        .map_err(|path| anyhow::anyhow!("{} is no text", path.display()))
}

/// The server of the pages, and its address.
struct Ui {
    url: String,
    _child: Child,
}

impl Ui {
    async fn start(plugin: &Plugin) -> Result<Self> {
        let mut child = plugin
            .command(&["ui"])
            .stdout(Stdio::piped())
            .spawn()
            .context("failed to start the plugin")?;
        let stdout = child.stdout.take().context("no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(SOON, lines.next_line())
            .await
            .context("no address")??
            .context("the server has ended")?;
        Ok(Self {
            url: line,
            _child: child,
        })
    }
}

/// A held node one of whose uncordons was denied.
async fn denied_node<'a>(cluster: &'a Cluster, name: &str) -> Result<Subject<'a>> {
    let subject = Subject::held(cluster, name, Phase::Delaying).await?;
    drop(
        subject
            .is_denied(&cluster.controller, Write::Strategic, &uncordon(), "held")
            .await?,
    );
    Ok(subject)
}

#[test]
fn plugin_ui_is_there_under_its_secret_path_alone_and_shows_a_held_node_and_a_denied_uncordon() -> Result<()>
{
    on_shared(async |cluster| {
        let plugin = Plugin::new(&cluster.plane)?;
        drop(denied_node(cluster, "plugin-ui").await?);
        let ui = Ui::start(&plugin).await?;
        let (origin, token) = ui
            .url
            .strip_prefix("http://")
            .and_then(|rest| rest.split_once('/'))
            .with_context(|| format!("no address: {}", ui.url))?;
        ensure!(origin.starts_with("127.0.0.1:"), "{}", ui.url);
        let address = origin.parse()?;
        let (status, page) = http_get(address, &format!("/{token}")).await?;
        ensure!(
            status == 200 && page.contains("data-node=\"plugin-ui\" data-state=\"delaying\""),
            "{status}: {page}"
        );
        for hidden in ["/", "/node/plugin-ui", "/00000000000000000000000000000000/"] {
            let (status, page) = http_get(address, hidden).await?;
            ensure!(
                status == 404 && !page.contains("plugin-ui"),
                "{hidden}: {status}: {page}"
            );
        }
        let node = format!("/{token}node/plugin-ui");
        let shown = wait::until("the denial on the page", EVENT, || async {
            let (_, page) = http_get(address, &node).await?;
            Ok(page.contains("class=\"mark denied\"").then_some(page))
        });
        drop(shown.await?);
        Ok(())
    })
}

/// In a browser. Debian's Chromium is 110 MB to fetch and 340 MB on the disk, so `.ci/long` installs it.
#[cfg(feature = "long")]
#[test]
fn plugin_ui_shows_a_held_node_and_a_denied_uncordon_in_a_browser_without_an_error_of_its_script()
-> Result<()> {
    on_shared(async |cluster| {
        let plugin = Plugin::new(&cluster.plane)?;
        let subject = denied_node(cluster, "plugin-browser").await?;
        let ui = Ui::start(&plugin).await?;
        let fleet = dom(&ui.url).await?;
        ensure!(
            fleet.contains("data-node=\"plugin-browser\" data-state=\"delaying\""),
            "{fleet}"
        );
        let url = format!("{}node/{}", ui.url, subject.name);
        let shown = wait::until("the denial in the browser", EVENT, || async {
            let page = dom(&url).await?;
            Ok(page.contains("class=\"mark denied\"").then_some(page))
        });
        let page = shown.await?;
        ensure!(
            page.contains("an uncordon by ") && page.contains("role=\"img\""),
            "{page}"
        );
        // The script has put what came over the stream into its place, and the policy of the page allowed it.
        ensure!(page.contains("data-live-seen"), "{page}");
        Ok(())
    })
}

/// What a browser makes of a page.
#[cfg(feature = "long")]
async fn dom(url: &str) -> Result<String> {
    let profile = tempfile::tempdir().context("failed to create a directory")?;
    let mut browser = Command::new("chromium");
    let _ = browser
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--dump-dom",
            "--timeout=3000",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(url)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(BOUND, browser.output())
        .await
        .context("the browser does not end")?
        .context("failed to run chromium: apt-get install --no-install-recommends chromium")?;
    ensure!(
        output.status.success(),
        "the browser ended with {}",
        output.status
    );
    Ok(String::from_utf8(output.stdout)?)
}
