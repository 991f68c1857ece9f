//! NEVER-IN-THE-WAY under abuse of the webhook's port: what `cargo abuse` plays, with its figures.
//!
//! It is a test of its own because nothing else may run meanwhile: it measures how long an answer takes.

use anyhow::{Result, ensure};
use cordonhold_tests::abuse::{self, Options};

#[tokio::test(flavor = "multi_thread")]
async fn never_in_the_way_reviews_are_answered_while_ten_thousand_connections_abuse_the_port() -> Result<()> {
    let outcome = abuse::play(Options::default()).await?;
    println!("{outcome}");
    ensure!(outcome.holds(), "the webhook did not hold out:\n{outcome}");
    // That it was abuse: the port was full, and more came.
    ensure!(
        outcome.is_full() && outcome.tried() == 10_000,
        "the abuse did not come about"
    );
    Ok(())
}
