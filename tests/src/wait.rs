//! Polling with a bound, for conditions that nothing announces.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Asks until `ask` answers `Ok(Some(_))`; an answer of `Err` is remembered and asked again. After `bound`, an error that says `what`.
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
