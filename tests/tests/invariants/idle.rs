//! An agent that starts asks little of the API server, and an idle one nothing except its watch.

use std::time::Duration;

use anyhow::Result;

use crate::cluster::on_fleet;
use crate::fleet::Site;

/// How long the agent is watched. It looks at the sentinel every second, so a request at each look would show many times.
const WINDOW: Duration = Duration::from_secs(15);
/// How many windows the agent has to become idle.
const WINDOWS: usize = 3;

/// Most requests by which an agent learns which permissions it has: one for the cluster, and one for each namespace with a `Role` for it.
const PERMISSION_REQUESTS_MAX: usize = 3;

#[test]
fn an_agent_with_the_shipped_role_asks_for_its_rules_and_for_no_single_permission() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "permissions", &[]).await?;
        let asked = cordonhold_tests::wait::until("the agent's watch", Duration::from_mins(1), || async {
            let mut asked = plane.requests_of_agents()?;
            asked.retain(|asked| asked.node == site.name());
            let is_at_work = asked.iter().any(|asked| asked.verb == "watch");
            Ok(is_at_work.then_some(asked))
        })
        .await?;
        let to = |resource: &str| -> Vec<&str> {
            let uris = asked.iter().map(|asked| asked.uri.as_str());
            uris.filter(|uri| uri.contains(resource)).collect()
        };
        anyhow::ensure!(to("/selfsubjectaccessreviews").is_empty(), "{asked:?}");
        let of_rules = to("/selfsubjectrulesreviews").len();
        anyhow::ensure!((1..=PERMISSION_REQUESTS_MAX).contains(&of_rules), "{asked:?}");
        site.machine.check_agent().await
    })
}

#[test]
fn an_idle_agent_asks_for_nothing_but_its_own_node() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "idle", &[]).await?;
        let of_site = || -> Result<Vec<_>> {
            let mut asked = plane.requests_of_agents()?;
            asked.retain(|asked| asked.node == site.name());
            Ok(asked)
        };
        cordonhold_tests::wait::until("the agent's watch", Duration::from_mins(1), || async {
            let asked = of_site()?;
            Ok(asked.iter().any(|asked| asked.verb == "watch").then_some(()))
        })
        .await?;
        let uri = format!("fieldSelector=metadata.name%3D{}", site.name());
        let is_its_watch = |uri_of: &str| uri_of.starts_with("/api/v1/nodes?") && uri_of.contains(&uri);
        // Requests of the start may still fall into the first window.
        let mut asked = Vec::new();
        for _ in 0..WINDOWS {
            let before = of_site()?;
            // The test measures what happens in a fixed time, so it cannot wait for a condition.
            tokio::time::sleep(WINDOW).await;
            asked = of_site()?.split_off(before.len());
            if asked.len() <= 1 && asked.iter().all(|asked| is_its_watch(&asked.uri)) {
                return site.machine.check_agent().await;
            }
        }
        anyhow::bail!("an idle agent asked for {asked:?}")
    })
}
