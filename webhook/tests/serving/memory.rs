//! What idle connections cost. `cargo test -p cordonhold-webhook --test serving memory -- --nocapture` prints it.

use super::client::{ask, get};
use super::process::Webhook;

/// Below [`cordonhold_webhook::Limits::connections`], and what the process may have open by default.
const CONNECTIONS: u32 = 400;
/// With all connections open, this leaves room in the 128 MiB of the Deployment.
const MOST_KIB_EACH: u32 = 60;

#[tokio::test]
async fn an_idle_connection_costs_little() {
    let webhook = Webhook::start(&[]);
    // The first one brings what all share.
    assert!(webhook.is_trusted_by(&webhook.issued.ca_pem).await);
    let before = webhook.resident_kib();
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = webhook.connect().await;
        assert_eq!(ask(&mut stream, &get("/")).await.status, 404);
        open.push(stream);
    }
    let after = webhook.resident_kib();
    let each = (after - before) / CONNECTIONS;
    println!("{before} KiB resident, {after} KiB with {CONNECTIONS} idle TLS connections: {each} KiB each");
    assert!(each <= MOST_KIB_EACH, "{each} KiB each");
}
