//! Asks Prometheus: instant queries.
//!
//! Not here: how it is reached ([`crate::http_api`]), and what the answers mean ([`cordonhold_shared::reboot::prometheus`]).

use cordonhold_shared::reboot::prometheus::{self, Series};
use http::Request;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::config::HttpApiConfig;
use crate::http_api::{About, HttpApi, HttpApiError};

const ABOUT: About = About {
    who: "Prometheus",
    flags: "prometheus",
    if_slow: "check its load, or allow more with --prometheus-timeout",
    if_not_found: "check the path in --prometheus-url: /api/v1/query is added to it, so Mimir needs …/prometheus",
    // An alert has some hundred bytes, and a large cluster has some thousands of them.
    answer_max: 4 * 1024 * 1024,
};

/// The Prometheus that is asked.
#[derive(Clone)]
pub(crate) struct Prometheus(HttpApi);

impl Prometheus {
    /// Makes the client. It sends nothing.
    pub(crate) fn new(config: &HttpApiConfig) -> Result<Prometheus, HttpApiError> {
        HttpApi::new(&ABOUT, config).map(Prometheus)
    }

    /// The series that an expression returns now, or why there is no answer, with what to check.
    pub(crate) async fn query(&self, expression: &str) -> Result<Vec<Series>, String> {
        let query = utf8_percent_encode(expression, NON_ALPHANUMERIC);
        // Thanos then answers with an error if a store is down; the others ignore it (thanos-io/thanos: docs/components/query.md).
        let path = format!("/api/v1/query?query={query}&partial_response=false");
        let request = Request::get(path)
            .body(Vec::new())
            .map_err(|error| error.to_string())?;
        let (status, body) = self.0.ask(request).await?;
        prometheus::read(&body).map_err(|why| format!("{why} {}", self.0.status(status)))
    }
}

#[cfg(test)]
mod tests;
