//! The DaemonSet as the manifests ship it.

use anyhow::{Result, ensure};
use cordonhold_tests::real_node::{Kind, NAME, RealNode};
use cordonhold_tests::{AGENT_ACCOUNT, NAMESPACE, wait};
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::Api;

use crate::site::{PATIENCE, Site};

/// Nothing of the manifest is changed. Without systemd on the host, and without flags for its init, the agent would reboot nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_set_as_shipped_is_ready_and_has_no_more_rights_than_its_manifest_gives() -> Result<()> {
    let site = Site(RealNode::start(Kind::Busybox).await?);
    site.0.install_agent(&[], &[]).await?;
    drop(site.agent_is_ready(None).await?);
    let sets: Api<DaemonSet> = Api::namespaced(site.0.plane.client(), NAMESPACE);
    wait::until(
        "the DaemonSet to count its pod as available",
        PATIENCE,
        || async {
            let status = sets.get(AGENT_ACCOUNT).await?.status.unwrap_or_default();
            Ok((status.number_available == Some(1)).then_some(()))
        },
    )
    .await?;

    let id = site.0.run(&["pidof", AGENT_ACCOUNT]).await?.trim().to_owned();
    let status = site.0.run(&["cat", &format!("/proc/{id}/status")]).await?;
    for line in [
        "Uid:\t0\t0\t0\t0",
        // CAP_SYS_CHROOT (18), CAP_SYS_PTRACE (19) and CAP_SYS_ADMIN (21).
        "CapEff:\t00000000002c0000",
        "CapBnd:\t00000000002c0000",
        "Seccomp:\t0",
    ] {
        ensure!(status.lines().any(|seen| seen == line), "no '{line}' in {status}");
    }
    let mounts = site.0.run(&["cat", &format!("/proc/{id}/mounts")]).await?;
    let root = mounts.lines().find(|line| line.split(' ').nth(1) == Some("/"));
    let options = root.and_then(|line| line.split(' ').nth(3)).unwrap_or_default();
    ensure!(
        options.split(',').any(|option| option == "ro"),
        "the root can be written: {mounts}"
    );
    // By hostPID: it sees the machine's init, and its own mounts are others.
    let namespaces =
        async |id: &str, kind: &str| site.0.run(&["readlink", &format!("/proc/{id}/ns/{kind}")]).await;
    ensure!(namespaces(&id, "pid").await? == namespaces("1", "pid").await?);
    ensure!(namespaces(&id, "net").await? == namespaces("1", "net").await?);
    ensure!(namespaces(&id, "mnt").await? != namespaces("1", "mnt").await?);
    // The token is the one that the kubelet asked for: it names the node, and with it the API server takes the agent's writes.
    let asked = site.0.plane.requests_of_agents()?;
    ensure!(
        !asked.is_empty() && asked.iter().all(|asked| asked.node == NAME),
        "{asked:?}"
    );
    ensure!(site.0.boots() == 1);
    Ok(())
}
