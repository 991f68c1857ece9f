//! An agent that has nothing to do costs nothing but its watch.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::cluster::on_fleet;
use crate::fleet::Site;

/// The sentinel is looked at once a second here, so whatever goes with a look would be seen many times.
const WINDOW: Duration = Duration::from_secs(15);

#[test]
fn an_idle_agent_asks_for_nothing_but_its_own_node() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "idle", &[]).await?;
        let of_site = || -> Result<Vec<_>> {
            let mut asked = plane.requests_of_agents()?;
            asked.retain(|asked| asked.node == site.name());
            Ok(asked)
        };
        // Its last question before it idles is whether the lock has an entry of its own left over.
        cordonhold_tests::wait::until("the agent to idle", Duration::from_mins(1), || async {
            let asked = of_site()?;
            let since_watch = asked.iter().skip_while(|asked| asked.verb != "watch");
            let mut locks = since_watch.filter(|asked| asked.verb == "get" && asked.uri.contains("/leases/"));
            Ok(locks.next().map(drop))
        })
        .await?;
        let before = of_site()?;
        // What is measured is this time.
        tokio::time::sleep(WINDOW).await;
        let asked = of_site()?.split_off(before.len());
        let uri = format!("fieldSelector=metadata.name%3D{}", site.name());
        let is_its_watch = |uri_of: &str| uri_of.starts_with("/api/v1/nodes?") && uri_of.contains(&uri);
        ensure!(
            asked.len() <= 1 && asked.iter().all(|asked| is_its_watch(&asked.uri)),
            "an idle agent asked for {asked:?}"
        );
        site.machine.check_agent().await
    })
}
