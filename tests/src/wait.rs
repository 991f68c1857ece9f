//! Waits for a condition by polling, with a time limit.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Calls `ask` until it returns `Ok(Some(_))`. After `bound` it fails with an error that names `what` and the last `Err` of `ask`.
pub async fn until<T, F>(what: &str, bound: Duration, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let deadline = Instant::now() + bound;
    loop {
        let last = match ask().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => String::new(),
            Err(error) => format!("; the last answer was: {error:#}"),
        };
        if Instant::now() >= deadline {
            bail!("waited {bound:?} in vain for {what}{last}");
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
