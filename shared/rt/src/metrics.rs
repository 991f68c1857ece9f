//! Metrics for both programs: counters and gauges with labels, and the page for a scraper in the format that it asks for.
//!
//! The values of labels are closed sets: a name, a message or a user is never the value of a label.
//! `prometheus-client` writes only `OpenMetrics`, which Telegraf, Vector and others cannot read. So its text is converted here, line by
//! line, to the older text format. The two differ in the names of counters, in the types and in the comments about a metric family.
//! Not here: the metrics themselves (each program's own), and exemplars and timestamps, which no metric of ours has and the conversion does
//! not handle.

use std::fmt;

use http::{HeaderMap, header};
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// The labels of a metric, as pairs of name and value.
pub type Labels<const N: usize> = [(&'static str, &'static str); N];
/// A family of counters, one for each set of label values.
pub type Counters<const N: usize> = Family<Labels<N>, Counter>;
/// A family of gauges, one for each set of label values.
pub type Gauges<const N: usize> = Family<Labels<N>, Gauge>;

/// Increments the counter with these labels.
pub fn count<const N: usize>(counters: &Counters<N>, labels: Labels<N>) {
    let _ = counters.get_or_create(&labels).inc();
}

/// Makes the counter with these labels appear with the value 0. Otherwise it first appears with 1, and `rate()` misses that increment.
pub fn begin<const N: usize>(counters: &Counters<N>, labels: Labels<N>) {
    drop(counters.get_or_create(&labels));
}

/// Sets the gauge of each value of a label: to 1 if the value applies now, else to 0.
pub fn show(gauges: &Gauges<1>, label: &'static str, values: impl IntoIterator<Item = (&'static str, bool)>) {
    for (value, is_there) in values {
        let _ = gauges.get_or_create(&[(label, value)]).set(i64::from(is_there));
    }
}

/// Registers the metric that shows the running version.
pub fn register_build(registry: &mut Registry, version: &'static str) {
    registry.register(
        "build",
        "The version that runs",
        Info::new(vec![("version", version)]),
    );
}

/// A metrics page and its `Content-Type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The value of the `Content-Type` header.
    pub content_type: &'static str,
    /// The text of the page.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    OpenMetrics,
    /// Prometheus' text format 0.0.4, which every scraper can read.
    Text,
}

impl Format {
    fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The page with all metrics of the registry, in the format that the request's `Accept` header prefers.
pub fn page(registry: &Registry, headers: &HeaderMap) -> Result<Page, fmt::Error> {
    let mut text = String::new();
    text::encode(&mut text, registry)?;
    let format = accepted(headers);
    if format == Format::Text {
        text = as_text(&text);
    }
    Ok(Page {
        content_type: format.content_type(),
        text,
    })
}

/// The accepted format with the highest quality, the first of equal ones. A request that accepts neither gets the text format, as from
/// Prometheus' own servers (`expfmt.Negotiate`).
fn accepted(headers: &HeaderMap) -> Format {
    let accepts = headers.get_all(header::ACCEPT).iter();
    let ranges = accepts.filter_map(|accept| accept.to_str().ok());
    let offers = ranges.flat_map(|accept| accept.split(',')).filter_map(offer);
    let mut best = (0.0, Format::Text);
    for (quality, format) in offers {
        if quality > best.0 {
            best = (quality, format);
        }
    }
    best.1
}

/// Quality and format of one element of `Accept`, such as `application/openmetrics-text;version=1.0.0;q=0.5`. `None` if it is not one of
/// our formats.
fn offer(range: &str) -> Option<(f32, Format)> {
    let mut parts = range.split(';').map(str::trim);
    let media_type = parts.next()?.to_ascii_lowercase();
    let (mut version, mut quality) = (None, 1.0);
    for parameter in parts {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"');
        if name.trim().eq_ignore_ascii_case("q") {
            quality = value.parse().ok()?;
        } else if name.trim().eq_ignore_ascii_case("version") {
            version = Some(value);
        }
    }
    let format = match (media_type.as_str(), version) {
        ("application/openmetrics-text", None | Some("1.0.0")) => Format::OpenMetrics,
        ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", None) => Format::Text,
        _ => return None,
    };
    Some((quality, format))
}

/// Converts `OpenMetrics` to the text format. There, a family has the same name as its samples, there are fewer types, and neither
/// `# UNIT` nor `# EOF`.
fn as_text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(of_family) = line.strip_prefix("# HELP ") {
            help = of_family.split_once(' ').map(|(_, help)| help);
        } else if let Some(of_family) = line.strip_prefix("# TYPE ") {
            let (family, kind) = of_family.split_once(' ').unwrap_or((of_family, "unknown"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                "stateset" => ("", "gauge"),
                "gauge" | "histogram" | "summary" => ("", kind),
                _ => ("", "untyped"),
            };
            if let Some(help) = help.take() {
                text.extend(["# HELP ", family, suffix, " ", help, "\n"]);
            }
            text.extend(["# TYPE ", family, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            text.extend([line, "\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::registry::Unit;

    use super::*;

    fn accept(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(value))])
    }

    #[test]
    fn found_p13_a_scraper_gets_the_format_that_it_asks_for() {
        for (asked, format) in [
            // Prometheus 3 and 2.
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text; version=1.0.0,application/openmetrics-text; version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            // Telegraf.
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,text/plain;version=0.0.4;q=0.3",
                Format::Text,
            ),
            // Vector, curl, and a browser.
            ("text/plain", Format::Text),
            ("*/*", Format::Text),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            (
                "APPLICATION/OpenMetrics-Text ; Version=\"1.0.0\" ; Q=0.5",
                Format::OpenMetrics,
            ),
            // Preferences.
            (
                "text/plain;q=0.5, application/openmetrics-text;q=0.9",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;q=0.5, text/plain;q=0.9",
                Format::Text,
            ),
            ("application/openmetrics-text;q=0.5, */*", Format::Text),
            ("text/plain, application/openmetrics-text", Format::Text),
            ("application/openmetrics-text, text/plain", Format::OpenMetrics),
            // Refused, an unsupported version, or nonsense.
            ("application/openmetrics-text;q=0", Format::Text),
            ("application/openmetrics-text;q=0, application/json", Format::Text),
            ("application/openmetrics-text;version=0.0.1", Format::Text),
            ("application/openmetrics-text;q=many", Format::Text),
            (",;=", Format::Text),
            ("", Format::Text),
        ] {
            assert_eq!(accepted(&accept(asked)), format, "{asked}");
        }
        assert_eq!(accepted(&HeaderMap::new()), Format::Text);
        let mut two = accept("text/plain;q=0.1");
        let _ = two.append(
            header::ACCEPT,
            HeaderValue::from_static("application/openmetrics-text"),
        );
        assert_eq!(accepted(&two), Format::OpenMetrics);
    }

    fn registry() -> Registry {
        let mut registry = Registry::with_prefix("x");
        let (drains, up, took) = (
            Family::<[(&str, &str); 1], Counter>::default(),
            Gauge::<i64>::default(),
            Histogram::new([0.5]),
        );
        registry.register("drains", "Drains, by result", drains.clone());
        registry.register("up", "Whether it is up", up.clone());
        registry.register_with_unit("took", "How long", Unit::Seconds, took.clone());
        registry.register("build", "What runs", Info::new([("version", "1")]));
        let _ = (
            drains.get_or_create(&[("result", "# TYPE a\nb\"")]).inc(),
            up.set(1),
        );
        took.observe(0.25);
        registry
    }

    #[test]
    fn found_p13_the_text_format_has_the_names_of_the_samples() {
        let page = page(&registry(), &HeaderMap::new()).unwrap();
        assert_eq!(page.content_type, "text/plain; version=0.0.4; charset=utf-8");
        let expected = r##"# HELP x_drains_total Drains, by result.
# TYPE x_drains_total counter
x_drains_total{result="# TYPE a\nb\""} 1
# HELP x_up Whether it is up.
# TYPE x_up gauge
x_up 1
# HELP x_took_seconds How long.
# TYPE x_took_seconds histogram
x_took_seconds_sum 0.25
x_took_seconds_count 1
x_took_seconds_bucket{le="0.5"} 1
x_took_seconds_bucket{le="+Inf"} 1
# HELP x_build_info What runs.
# TYPE x_build_info gauge
x_build_info{version="1"} 1
"##;
        assert_eq!(page.text, expected);
    }

    #[test]
    fn found_p13_open_metrics_is_as_it_was() {
        let page = page(&registry(), &accept("application/openmetrics-text")).unwrap();
        assert_eq!(
            page.content_type,
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        );
        for part in ["# TYPE x_drains counter\n", "# UNIT x_took_seconds seconds\n"] {
            assert!(page.text.contains(part), "{}", page.text);
        }
        assert!(page.text.ends_with("# EOF\n"), "{}", page.text);
    }
}
