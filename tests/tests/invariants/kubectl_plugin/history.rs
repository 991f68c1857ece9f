//! `history` of a real reboot from all its sources, and `ui`: who gets an answer, and what a browser shows.
//!
//! Not here: what is made of each source (`shared/src/history`), and the guard of each request (`kubectl/src/ui`).

#[cfg(feature = "long")]
use std::net::SocketAddr;
use std::path::PathBuf;

use cordonhold_tests::webhook::http_get;
#[cfg(feature = "long")]
use cordonhold_tests::webhook::http_send;
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
        let browser = Browser::start().await?;
        let shown = shows(&browser, &ui, &subject.name).await;
        browser.end().await?;
        shown
    })
}

/// Checks the page of the fleet and that of a node, once the script has put what came over the stream into its place, as their policy allows it.
#[cfg(feature = "long")]
async fn shows(browser: &Browser, ui: &Ui, node: &str) -> Result<()> {
    let fleet = browser.page(&ui.url, &["data-live-seen"]).await?;
    let row = format!("data-node=\"{node}\" data-state=\"delaying\"");
    ensure!(fleet.contains(&row), "{fleet}");
    let url = format!("{}node/{node}", ui.url);
    let has = ["data-live-seen", "class=\"mark denied\""];
    let page = browser.page(&url, &has).await?;
    ensure!(
        page.contains("an uncordon by ") && page.contains("role=\"img\""),
        "{page}"
    );
    Ok(())
}

/// A browser, by `WebDriver` (W3C).
#[cfg(feature = "long")]
struct Browser {
    driver: SocketAddr,
    session: String,
    _child: Child,
}

#[cfg(feature = "long")]
impl Browser {
    async fn start() -> Result<Self> {
        let mut child = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("failed to run chromedriver: apt-get install --no-install-recommends chromium-driver")?;
        let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let port = loop {
            let line = tokio::time::timeout(BOUND, lines.next_line())
                .await
                .context("chromedriver says no port")??;
            let line = line.context("chromedriver has ended")?;
            if let Some((_, port)) = line.rsplit_once("successfully on port ") {
                break port
                    .trim_end_matches('.')
                    .parse()
                    .context("its port is no number")?;
            }
        };
        let driver = SocketAddr::from(([127, 0, 0, 1], port));
        let options = json!({ "args": ["--headless", "--no-sandbox", "--disable-gpu"] });
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } });
        let (code, answer) = http_send(driver, "POST /session", &wanted.to_string(), BOUND).await?;
        ensure!(code == 200, "{answer}");
        let answer: Value = serde_json::from_str(&answer)?;
        Ok(Self {
            driver,
            session: format!(
                "/session/{}",
                answer["value"]["sessionId"].as_str().context("no session")?
            ),
            _child: child,
        })
    }

    /// Ends the browser. The driver alone would leave it running.
    async fn end(self) -> Result<()> {
        let (code, answer) = http_send(self.driver, &format!("DELETE {}", self.session), "", BOUND).await?;
        ensure!(code == 200, "{answer}");
        Ok(())
    }

    /// Opens a page, and returns what the browser has made of it once all of this is there.
    async fn page(&self, url: &str, has: &[&str]) -> Result<String> {
        let (code, answer) = http_send(
            self.driver,
            &format!("POST {}/url", self.session),
            &json!({ "url": url }).to_string(),
            BOUND,
        )
        .await?;
        ensure!(code == 200, "{answer}");
        wait::until(&format!("{has:?} in the browser"), EVENT, || async {
            let (_, answer) =
                http_send(self.driver, &format!("GET {}/source", self.session), "", BOUND).await?;
            let answer: Value = serde_json::from_str(&answer)?;
            let page = answer["value"].as_str().unwrap_or_default();
            Ok(has
                .iter()
                .all(|part| page.contains(part))
                .then(|| page.to_owned()))
        })
        .await
    }
}
