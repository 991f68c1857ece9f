//! What Prometheus answers to an instant query, and which of its alerts postpone a reboot.
//!
//! The answer is that of `GET /api/v1/query` (prometheus/prometheus: docs/querying/api.md), which Thanos, Mimir and `VictoriaMetrics`
//! give too. Which alerts count is kured's rule (kubereboot/kured: pkg/blockers/prometheus.go).
//! Not here: how Prometheus is reached; that is the agent's part.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use regex_lite::Regex;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::quote::{beginning, one_line};

/// The metric that Prometheus keeps of its active alerts, one series each.
const ALERTS: &str = "ALERTS";
/// Most characters that are shown of an answer that cannot be used, and of a series.
const SHOWN_MAX: usize = 200;

/// Which active alerts postpone a reboot.
#[derive(Clone, Debug, Default)]
pub struct AlertFilter {
    /// `--alert-filter-regexp`: alerts whose name this matches are ignored.
    pub names: Option<Regexp>,
    /// `--alert-filter-match-only`: only the alerts that `names` matches count, instead of being ignored.
    pub match_only: bool,
    /// `--alert-firing-only`: pending alerts are ignored.
    pub firing_only: bool,
}

/// A regular expression for names of alerts. It matches anywhere in the name.
#[derive(Clone, Debug)]
pub struct Regexp(Regex);

/// One series of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Series {
    /// Its labels, and its name as `__name__`.
    #[serde(rename = "metric")]
    labels: BTreeMap<String, String>,
    /// Its value as text; `None` for a histogram, and for a series with several values.
    #[serde(default, deserialize_with = "value_of")]
    value: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    status: String,
    data: Option<Data>,
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_type: String,
    /// Of `VictoriaMetrics`: some of its storage did not answer, so series may be missing (its documentation: Cluster availability).
    #[serde(default)]
    is_partial: bool,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(Vec<Series>),
    Matrix(Vec<Series>),
    Scalar(IgnoredAny),
    String(IgnoredAny),
}

/// A time in seconds, and a value.
type Value = (f64, String);

fn value_of<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let value: Option<Value> = Option::deserialize(deserializer)?;
    Ok(value.map(|(_, value)| value))
}

/// Reads the body of an answer. The error says what is wrong with it.
pub fn read(body: &[u8]) -> Result<Vec<Series>, String> {
    let answer: Envelope = serde_json::from_slice(body).map_err(|error| {
        let shown = one_line(&beginning(body, SHOWN_MAX), SHOWN_MAX);
        format!("the answer is not one of Prometheus ({error}): {shown:?}")
    })?;
    match answer.data {
        Some(_) if answer.is_partial && answer.status == "success" => {
            Err("a part of the storage did not answer, so an alert or series may be missing: check the storage".to_owned())
        }
        Some(Data::Vector(series) | Data::Matrix(series)) if answer.status == "success" => Ok(series),
        Some(Data::Scalar(_) | Data::String(_)) if answer.status == "success" => {
            Err("the expression gives a single value and no series: write a comparison of a metric, such as `up == 0`".to_owned())
        }
        _ => {
            let kind = one_line(&answer.error_type, SHOWN_MAX);
            let error = one_line(&answer.error, SHOWN_MAX);
            Err(format!("Prometheus refuses the query ({kind}): {error}"))
        }
    }
}

impl AlertFilter {
    /// The query for the alerts. Where pending alerts do not count, Prometheus leaves them out.
    pub fn query(&self) -> String {
        if self.firing_only {
            format!("{ALERTS}{{alertstate=\"firing\"}}")
        } else {
            ALERTS.to_owned()
        }
    }

    /// The names of the alerts that postpone a reboot.
    pub fn blocking(&self, alerts: &[Series]) -> BTreeSet<String> {
        let counts = |series: &&Series| {
            series.has_value_but_zero()
                && (!self.firing_only || series.label("alertstate") == "firing")
                && self.takes(series.label("alertname"))
        };
        let names = alerts
            .iter()
            .filter(counts)
            .map(|series| series.label("alertname"));
        names.map(str::to_owned).collect()
    }

    fn takes(&self, name: &str) -> bool {
        let is_wanted = |names: &Regexp| names.matches(name) == self.match_only;
        !name.is_empty() && self.names.as_ref().is_none_or(is_wanted)
    }
}

impl Series {
    fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// As Go compares it: a value that is not a number is not zero.
    fn has_value_but_zero(&self) -> bool {
        let value = self.value.as_ref().and_then(|text| text.parse::<f64>().ok());
        value.is_none_or(|value| value != 0.0)
    }
}

/// As `PromQL` writes it: `name{label="value"}`, on one line and within a bound.
impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = self.labels.iter().filter(|(name, _)| *name != "__name__");
        let labels: Vec<String> = labels.map(|(name, value)| format!("{name}={value:?}")).collect();
        let text = format!("{}{{{}}}", self.label("__name__"), labels.join(","));
        f.write_str(&one_line(&text, SHOWN_MAX))
    }
}

impl Regexp {
    /// Compiles an expression. The error says why it cannot be used.
    pub fn new(pattern: &str) -> Result<Regexp, String> {
        Regex::new(pattern).map(Regexp).map_err(|error| error.to_string())
    }

    /// Whether the expression matches anywhere in the text.
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// As it was written.
impl fmt::Display for Regexp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl PartialEq for Regexp {
    fn eq(&self, other: &Regexp) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vector(samples: &serde_json::Value) -> Vec<Series> {
        let body = json!({ "status": "success", "data": { "resultType": "vector", "result": samples, "stats": {} } });
        read(body.to_string().as_bytes()).unwrap()
    }

    fn alert(name: &str, state: &str, value: &str) -> serde_json::Value {
        json!({
            "metric": { "__name__": "ALERTS", "alertname": name, "alertstate": state },
            "value": [1_790_000_000.123, value],
        })
    }

    #[test]
    fn an_error_is_an_error_whatever_comes_with_it() {
        for kind in ["vector", "matrix", "scalar", "string"] {
            let data = json!({ "resultType": kind, "result": [] });
            let body =
                json!({ "status": "error", "errorType": "timeout", "error": "too slow", "data": data });
            assert_eq!(
                read(body.to_string().as_bytes()),
                Err("Prometheus refuses the query (timeout): too slow".to_owned()),
                "{kind}"
            );
        }
    }

    #[test]
    fn an_expression_is_shown_as_it_was_written_and_equals_one_of_the_same_text() {
        let written = |text| Regexp::new(text).unwrap();
        assert_eq!(written("^a|b$").to_string(), "^a|b$");
        assert!(written("a") == written("a"));
        assert!(written("a") != written("b"));
    }

    #[test]
    fn alerts_count_as_in_kured() {
        let alerts = vector(&json!([
            alert("RebootRequired", "firing", "1"),
            alert("NodeDown", "firing", "1"),
            alert("DiskFull", "pending", "1"),
            alert("Resolved", "firing", "0"),
            alert("", "firing", "1"),
            alert("Odd", "firing", "NaN"),
        ]));
        let names = Some(Regexp::new("^(RebootRequired|Odd)$").unwrap());
        for (names, match_only, firing_only, expected) in [
            (
                None,
                false,
                false,
                vec!["DiskFull", "NodeDown", "Odd", "RebootRequired"],
            ),
            (None, false, true, vec!["NodeDown", "Odd", "RebootRequired"]),
            // Without an expression, match-only changes nothing.
            (
                None,
                true,
                false,
                vec!["DiskFull", "NodeDown", "Odd", "RebootRequired"],
            ),
            (names.clone(), false, false, vec!["DiskFull", "NodeDown"]),
            (names.clone(), true, false, vec!["Odd", "RebootRequired"]),
            (names, true, true, vec!["Odd", "RebootRequired"]),
        ] {
            let filter = AlertFilter {
                names,
                match_only,
                firing_only,
            };
            let found: Vec<String> = filter.blocking(&alerts).into_iter().collect();
            assert_eq!(found, expected, "{filter:?}");
        }
    }

    #[test]
    fn pending_alerts_are_left_out_by_prometheus_itself_where_they_do_not_count() {
        let mut filter = AlertFilter::default();
        assert_eq!(filter.query(), "ALERTS");
        filter.firing_only = true;
        assert_eq!(filter.query(), "ALERTS{alertstate=\"firing\"}");
    }

    #[test]
    fn answers_of_all_kinds_are_read() {
        // A range has several values, a histogram none, and what an answer has beside its series is passed over.
        let range = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"b"},"values":[[1,"2"]]}]},"warnings":["x"]}"#;
        let histogram = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"h"},"histogram":[1,{}]}]}}"#;
        let whole = r#"{"status":"success","isPartial":false,"data":{"resultType":"vector","result":[{"metric":{},"value":[1700000000,"1"]}]}}"#;
        for (body, shown) in [(range, "{a=\"b\"}"), (histogram, "h{}"), (whole, "{}")] {
            let series = read(body.as_bytes()).unwrap();
            assert_eq!(series.iter().map(Series::to_string).collect::<Vec<_>>(), [shown]);
        }
        assert_eq!(vector(&json!([])), []);
    }

    /// Answers in the shapes that their documentation and sources show.
    #[test]
    fn thanos_mimir_and_victoria_metrics_answer_as_prometheus_does() {
        let alerts = r#"[{"metric":{"__name__":"ALERTS","alertname":"NodeDown","alertstate":"firing"},"value":VALUE}]"#;
        for (answer, value) in [
            // Thanos adds warnings of stores, and an analysis if it is asked for one.
            (
                r#"{"status":"success","data":{"resultType":"vector","result":SERIES,"analysis":null},"warnings":["no StoreAPIs matched"]}"#,
                r#"[1790000000.123,"1"]"#,
            ),
            // Mimir, like Prometheus since 3.0, tells hints about the expression apart from warnings.
            (
                r#"{"status":"success","data":{"resultType":"vector","result":SERIES},"warnings":[],"infos":["PromQL info: metric might not be a counter"]}"#,
                r#"[1790000000,"1"]"#,
            ),
            // VictoriaMetrics adds what the query cost; its times have no fraction.
            (
                r#"{"status":"success","isPartial":false,"data":{"resultType":"vector","result":SERIES},"stats":{"seriesFetched":"1","executionTimeMsec":2}}"#,
                r#"[1790000000,"1"]"#,
            ),
        ] {
            let answer = answer.replace("SERIES", &alerts.replace("VALUE", value));
            let names = AlertFilter::default().blocking(&read(answer.as_bytes()).unwrap());
            assert_eq!(names.into_iter().collect::<Vec<_>>(), ["NodeDown"], "{answer}");
        }
        for (answer, says) in [
            // Thanos, where a store is down and no partial answer is wanted.
            (
                r#"{"status":"error","errorType":"execution","error":"expanding series: proxy Series(): store gateway-1: unavailable"}"#,
                "(execution): expanding series: proxy Series()",
            ),
            // Mimir, without a tenant and with too large a query.
            ("no org id", "no org id"),
            (
                r#"{"status":"error","errorType":"execution","error":"the query exceeded the maximum number of series (err-mimir-max-series-per-query)"}"#,
                "err-mimir-max-series-per-query",
            ),
            // VictoriaMetrics writes the code where others write a word.
            (
                r#"{"status":"error","errorType":"422","error":"cannot parse query: unparsed data left"}"#,
                "(422): cannot parse query",
            ),
            // A proxy in front of them.
            (
                "<html><head><title>502 Bad Gateway</title></head></html>",
                "502 Bad Gateway",
            ),
        ] {
            let why = read(answer.as_bytes()).unwrap_err();
            assert!(why.contains(says), "{answer}: {why}");
        }
    }

    #[test]
    fn a_partial_answer_is_none_because_an_alert_may_be_missing() {
        for result in ["[]", r#"[{"metric":{},"value":[1,"1"]}]"#] {
            let answer = format!(
                r#"{{"status":"success","isPartial":true,"data":{{"resultType":"vector","result":{result}}}}}"#
            );
            let why = read(answer.as_bytes()).unwrap_err();
            assert!(why.contains("a part of the storage did not answer"), "{why}");
        }
    }

    #[test]
    fn an_answer_that_cannot_be_used_says_why() {
        let long = format!("<html>{}</html>", "x".repeat(10_000));
        for (body, says) in [
            ("", "not one of Prometheus"),
            (long.as_str(), "<html>xxx"),
            ("{}", "missing field `status`"),
            (
                r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:4: parse error"}"#,
                "(bad_data): invalid parameter",
            ),
            (r#"{"status":"error","error":"no such tenant"}"#, "no such tenant"),
            (r#"{"status":"success"}"#, "refuses"),
            (
                r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}"#,
                "no series",
            ),
            (
                r#"{"status":"success","data":{"resultType":"streams","result":[]}}"#,
                "streams",
            ),
        ] {
            let why = read(body.as_bytes()).unwrap_err();
            assert!(why.contains(says) && why.len() < 1_000, "{body:.60}: {why}");
        }
    }
}
