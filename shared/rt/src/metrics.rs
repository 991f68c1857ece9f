//! The page that a scraper reads. What is on it is each program's own.

use std::fmt;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

/// Of [`page`] (`OpenMetrics` 1.0).
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of the registry, in the `OpenMetrics` text format.
pub fn page(registry: &Registry) -> Result<String, fmt::Error> {
    let mut page = String::new();
    text::encode(&mut page, registry)?;
    Ok(page)
}
