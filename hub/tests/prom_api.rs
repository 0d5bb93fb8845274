//! The Prometheus API over HTTP requests: shapes, error types, status codes and messages.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use gala_hub::prom::{About, Metadata, MetadataSource, PromState, QueryLimits, router};
use gala_store::{Labels, Matcher, Sample, Series, SeriesRead, StoreError, TimeRange};
use parking_lot::RwLock;
use serde_json::{Value, json};
use tower::ServiceExt;

/// Two counters of 5-second samples over ten minutes, and one series with an odd label.
struct Fixture {
    /// How long each read takes.
    delay: Duration,
    /// Met twice by each read: when it has begun and before it ends.
    gate: Option<Arc<Barrier>>,
}

fn series() -> Vec<Series> {
    let counter = |job: &str, step: f64| Series {
        labels: Labels::new([("__name__", "requests_total"), ("job", job)]),
        samples: (0..120).map(|i| Sample { t_ms: i * 5000, value: i as f64 * step }).collect(),
    };
    let odd = Series {
        labels: Labels::new([("__name__", "odd"), ("http.status", "a \"b\"\n")]),
        samples: vec![Sample { t_ms: 599_500, value: f64::INFINITY }],
    };
    vec![odd, counter("a", 1.0), counter("b", 0.5)]
}

impl SeriesRead for Fixture {
    fn select(&self, matchers: &[Matcher], range: TimeRange, _: usize) -> Result<Vec<Series>, StoreError> {
        std::thread::sleep(self.delay);
        if let Some(gate) = &self.gate {
            gate.wait();
            gate.wait();
        }
        let mut found = series();
        found.retain(|one| matchers.iter().all(|matcher| matcher.matches(one.labels.get(&matcher.name).unwrap_or(""))));
        found.iter_mut().for_each(|one| one.samples.retain(|sample| (range.from_ms..=range.to_ms).contains(&sample.t_ms)));
        found.retain(|one| !one.samples.is_empty());
        Ok(found)
    }

    fn series(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Labels>, StoreError> {
        Ok(self.select(matchers, range, usize::MAX)?.into_iter().map(|series| series.labels).collect())
    }

    fn label_names(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, StoreError> {
        let all = self.series(matchers, range)?;
        Ok(all.iter().flat_map(|labels| labels.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>()).collect())
    }

    fn label_values(&self, name: &str, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, StoreError> {
        Ok(self.series(matchers, range)?.iter().filter_map(|labels| labels.get(name).map(str::to_string)).collect())
    }
}

struct Dictionary;

impl MetadataSource for Dictionary {
    fn metadata(&self, metric: Option<&str>) -> Vec<Metadata> {
        let entry = |family: &str| Metadata {
            family: family.into(),
            kind: "counter".into(),
            help: "all of them".into(),
            unit: String::new(),
        };
        ["a_total", "b_total"].into_iter().filter(|family| metric.is_none_or(|metric| metric == *family)).map(entry).collect()
    }
}

fn app_over(fixture: Fixture, limits: QueryLimits) -> axum::Router {
    let about = Arc::new(RwLock::new(About { version: "0.1.0".into(), ..About::default() }));
    router(PromState::new(Arc::new(fixture), Arc::new(Dictionary), limits, about))
}

fn app_with(limits: QueryLimits, delay: Duration) -> axum::Router {
    app_over(Fixture { delay, gate: None }, limits)
}

fn app() -> axum::Router {
    app_with(QueryLimits::default(), Duration::ZERO)
}

fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

async fn send(app: axum::Router, request: Request<Body>) -> (u16, Value) {
    let response = app.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

async fn get(path: &str, params: &[(&str, &str)]) -> (u16, Value) {
    let query: Vec<String> = params.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    send(app(), Request::get(format!("{path}?{}", query.join("&"))).body(Body::empty()).unwrap()).await
}

async fn post(path: &str, params: &[(&str, &str)]) -> (u16, Value) {
    let body: Vec<String> = params.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8");
    send(app(), request.body(Body::from(body.join("&"))).unwrap()).await
}

async fn error_of(path: &str, params: &[(&str, &str)]) -> (u16, String, String) {
    let (status, body) = get(path, params).await;
    assert_eq!(body["status"], "error", "{body}");
    (status, body["errorType"].as_str().unwrap().into(), body["error"].as_str().unwrap().into())
}

#[tokio::test]
async fn instant_queries_give_vectors_scalars_strings_and_matrices() {
    let (status, body) = get("/query", &[("query", "requests_total"), ("time", "595")]).await;
    assert_eq!(status, 200);
    let metric = |job: &str, value: &str| json!({"metric": {"__name__": "requests_total", "job": job}, "value": [595, value]});
    assert_eq!(
        body,
        json!({"status": "success", "data": {"resultType": "vector", "result": [metric("a", "119"), metric("b", "59.5")]}})
    );
    // A number is written without an exponent, the value of a series with one.
    let (_, body) = get("/query", &[("query", "1e21"), ("time", "1.5")]).await;
    assert_eq!(body["data"], json!({"resultType": "scalar", "result": [1.5, "1000000000000000000000"]}));
    let (_, body) = get("/query", &[("query", "1e-7"), ("time", "1.5")]).await;
    assert_eq!(body["data"]["result"], json!([1.5, "0.0000001"]));
    let (_, body) = get("/query", &[("query", "vector(1e-7)"), ("time", "1.5")]).await;
    assert_eq!(body["data"]["result"], json!([{"metric": {}, "value": [1.5, "1e-07"]}]));
    let (_, body) = get("/query", &[("query", "'a\"b'"), ("time", "0")]).await;
    assert_eq!(body["data"], json!({"resultType": "string", "result": [0, "a\"b"]}));
    let (_, body) = get("/query", &[("query", "requests_total{job='a'}[10s]"), ("time", "1970-01-01T00:00:20Z")]).await;
    assert_eq!(body["data"]["result"][0]["values"], json!([[15, "3"], [20, "4"]]));
    let (_, body) = get("/query", &[("query", "odd"), ("time", "599.501")]).await;
    assert_eq!(
        body["data"]["result"],
        json!([{"metric": {"__name__": "odd", "http.status": "a \"b\"\n"}, "value": [599.501, "+Inf"]}])
    );
}

#[tokio::test]
async fn range_queries_are_sorted_and_carry_annotations() {
    let params = [("query", "-requests_total"), ("start", "100"), ("end", "110"), ("step", "5s")];
    let (status, body) = post("/query_range", &params).await;
    assert_eq!(status, 200);
    let row = |job: &str, values: Value| json!({"metric": {"job": job}, "values": values});
    let a = row("a", json!([[100, "-20"], [105, "-21"], [110, "-22"]]));
    let b = row("b", json!([[100, "-10"], [105, "-10.5"], [110, "-11"]]));
    assert_eq!(body["data"], json!({"resultType": "matrix", "result": [a, b]}));
    let params =
        [("query", "rate(odd[5m]) or rate(requests_total[1m])"), ("start", "590"), ("end", "600"), ("step", "5"), ("limit", "1")];
    let (_, body) = get("/query_range", &params).await;
    assert_eq!(body["data"]["result"].as_array().unwrap().len(), 1);
    assert_eq!(body["warnings"], json!(["results truncated due to limit"]));
    let (_, body) =
        get("/query", &[("query", "increase({job='a'}[1m]) and quantile(2, requests_total) * 0"), ("time", "595")]).await;
    let warning = "PromQL warning: quantile value should be between 0 and 1, got 2 (1:38)";
    assert_eq!(body["warnings"], json!([warning]), "{body}");
}

#[tokio::test]
async fn wrong_queries_name_the_place() {
    let (status, kind, error) = error_of("/query", &[("query", "sum(rate(x[5m])")]).await;
    assert_eq!((status, kind.as_str()), (400, "bad_data"));
    assert_eq!(error, "invalid parameter \"query\": 1:16: parse error: unclosed left parenthesis");
    let (_, _, error) = error_of("/query", &[("query", "up +\n  rate(up)")]).await;
    assert_eq!(
        error,
        "invalid parameter \"query\": 2:8: parse error: expected type range vector in call to function \"rate\", got instant vector"
    );
    let (_, _, error) = error_of("/query", &[]).await;
    assert_eq!(error, "invalid parameter \"query\": unknown position: parse error: no expression found in input");
    let (status, kind, error) =
        error_of("/query", &[("query", "-{job=~'.+'} + ignoring(job) requests_total"), ("time", "595")]).await;
    assert_eq!((status, kind.as_str()), (422, "execution"));
    assert!(error.starts_with("found duplicate series for the match group {} on the right hand-side"), "{error}");
}

#[tokio::test]
async fn wrong_parameters_name_themselves() {
    let good = [("query", "1"), ("start", "0"), ("end", "10"), ("step", "1")];
    let with = |name: &'static str, value: &'static str| good.map(|(key, old)| (key, if key == name { value } else { old }));
    for (params, wanted) in [
        (with("start", "x"), "invalid parameter \"start\": cannot parse \"x\" to a valid timestamp"),
        (
            with("step", "0"),
            "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer",
        ),
        (with("step", "1x"), "invalid parameter \"step\": cannot parse \"1x\" to a valid duration"),
        (with("end", "-1"), "invalid parameter \"end\": end timestamp must not be before start time"),
        (
            with("end", "11001"),
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ),
        (
            with("query", "up[5m]"),
            "invalid parameter \"query\": invalid expression type \"range vector\" for range query, must be Scalar or instant Vector",
        ),
    ] {
        assert_eq!(error_of("/query_range", &params).await, (400, "bad_data".into(), wanted.into()));
    }
    let (_, _, error) = error_of("/query", &[("query", "1"), ("time", "x")]).await;
    assert_eq!(error, "invalid parameter \"time\": invalid time value for 'time': cannot parse \"x\" to a valid timestamp");
    let (_, _, error) = error_of("/query", &[("query", "1"), ("limit", "-1")]).await;
    assert_eq!(error, "invalid parameter \"limit\": limit must be non-negative");
}

#[tokio::test]
async fn lookback_and_timeout_are_the_clients_to_shorten() {
    let (_, body) = get("/query", &[("query", "requests_total"), ("time", "605"), ("lookback_delta", "5")]).await;
    assert_eq!(body["data"]["result"], json!([]));
    let request = Request::get("/query?query=requests_total&time=595&timeout=1ms").body(Body::empty()).unwrap();
    let (status, body) = send(app_with(QueryLimits::default(), Duration::from_millis(20)), request).await;
    assert_eq!((status, &body["errorType"]), (503, &json!("timeout")));
    assert_eq!(body["error"], "query timed out in expression evaluation");
}

#[tokio::test]
async fn a_list_that_takes_too_long_is_given_up() {
    let limits = QueryLimits { timeout: Duration::from_millis(1), ..QueryLimits::default() };
    let gate = Arc::new(Barrier::new(2));
    let slow = app_over(Fixture { delay: Duration::ZERO, gate: Some(gate.clone()) }, limits);
    let (status, body) = send(slow, Request::get("/labels").body(Body::empty()).unwrap()).await;
    assert_eq!((status, &body["errorType"]), (503, &json!("timeout")), "{body}");
    // Twice, so that the reader ends.
    gate.wait();
    gate.wait();
}

#[tokio::test]
async fn what_a_query_took_is_told_when_it_is_asked_for() {
    let asked = [("query", "sum(requests_total)"), ("time", "595"), ("stats", "all")];
    for (_, body) in [get("/query", &asked).await, post("/query", &asked).await] {
        let stats = &body["data"]["stats"];
        assert!(stats["samples"]["totalQueryableSamples"].as_u64().is_some_and(|read| read > 2), "{body}");
        assert!(stats["samples"]["peakSamples"].as_u64() >= stats["samples"]["totalQueryableSamples"].as_u64(), "{body}");
        assert!(stats["timings"]["execTotalTime"].as_f64() >= stats["timings"]["evalTotalTime"].as_f64(), "{body}");
    }
    let (_, body) = get("/query", &asked[..2]).await;
    assert_eq!(body["data"].get("stats"), None);
}

#[tokio::test]
async fn a_query_is_parsed_to_its_tree() {
    let (status, body) = post("/parse_query", &[("query", "rate(up[5m])")]).await;
    assert_eq!((status, &body["data"]["type"], &body["data"]["args"][0]["range"]), (200, &json!("call"), &json!(300_000)));
    let (status, kind, _) = error_of("/parse_query", &[("query", "sum(")]).await;
    assert_eq!((status, kind.as_str()), (400, "bad_data"));
}

#[tokio::test]
async fn too_many_samples_and_too_many_queries_are_refused() {
    let limits = QueryLimits { max_samples: 50, ..QueryLimits::default() };
    let request = Request::get("/query?query=requests_total[10m]&time=595").body(Body::empty()).unwrap();
    let (status, body) = send(app_with(limits, Duration::ZERO), request).await;
    assert_eq!((status, &body["errorType"]), (422, &json!("execution")));
    assert!(body["error"].as_str().unwrap().contains("too many samples"));

    let limits = QueryLimits { concurrency: 1, queue_timeout: Duration::from_millis(1), ..QueryLimits::default() };
    let gate = Arc::new(Barrier::new(2));
    let busy = app_over(Fixture { delay: Duration::ZERO, gate: Some(gate.clone()) }, limits);
    let request = || Request::get("/query?query=requests_total&time=595").body(Body::empty()).unwrap();
    let meet = || {
        let gate = gate.clone();
        tokio::task::spawn_blocking(move || gate.wait())
    };
    let first = tokio::spawn(send(busy.clone(), request()));
    meet().await.unwrap();
    // What lists series reads as much as a query does.
    for path in ["/query?query=requests_total&time=595", "/series?match[]=odd", "/labels", "/label/job/values"] {
        let second = busy.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(second.status().as_u16(), 503, "{path}");
        assert!(second.headers().contains_key(header::RETRY_AFTER), "{path}");
    }
    meet().await.unwrap();
    assert_eq!(first.await.unwrap().0, 200);
}

#[tokio::test]
async fn series_and_labels_answer_with_several_matchers() {
    let both = [("match[]", "odd"), ("match[]", "requests_total{job=\"a\"}")];
    let (_, body) = post("/series", &both).await;
    assert_eq!(body["data"].as_array().unwrap().len(), 2);
    assert_eq!(body["data"][1], json!({"__name__": "requests_total", "job": "a"}));
    let (_, body) = get("/labels", &[]).await;
    assert_eq!(body["data"], json!(["__name__", "http.status", "job"]));
    let (_, body) = get("/label/job/values", &[("match[]", "{job!='a'}"), ("match[]", "requests_total")]).await;
    assert_eq!(body["error"], "match[] must contain at least one non-empty matcher");
    let (_, body) = get("/label/job/values", &[("limit", "1")]).await;
    assert_eq!((&body["data"], &body["warnings"]), (&json!(["a"]), &json!(["results truncated due to limit"])));
    let (_, body) = get("/label/U__http_2e_status/values", &[]).await;
    assert_eq!(body["data"], json!(["a \"b\"\n"]));
    assert_eq!(error_of("/series", &[]).await, (400, "bad_data".into(), "no match[] parameter provided".into()));
    // Nothing lies between an end and a later start.
    let never = [("match[]", "requests_total"), ("start", "100"), ("end", "10")];
    for path in ["/series", "/labels", "/label/job/values"] {
        assert_eq!(get(path, &never).await, (200, json!({"status": "success", "data": []})), "{path}");
    }
    let (_, _, error) = error_of("/series", &[("match[]", "x{")]).await;
    assert_eq!(error, "invalid parameter \"match[]\": 1:3: parse error: unexpected end of input inside braces");
}

#[tokio::test]
async fn remote_read_gives_samples_and_refuses_nonsense() {
    use gala_hub::prom::read::{LabelMatcher, Query, ReadRequest, ReadResponse};
    use prost::Message;

    let matcher = |kind, name: &str, value: &str| LabelMatcher { kind, name: name.into(), value: value.into() };
    let matchers = vec![matcher(0, "__name__", "requests_total"), matcher(3, "job", "b|c")];
    let request = ReadRequest { queries: vec![Query { start_timestamp_ms: 10_000, end_timestamp_ms: 20_000, matchers }] };
    let packed = |request: &ReadRequest| snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap();
    let post = |body: Vec<u8>| Request::post("/read").body(Body::from(body)).unwrap();
    let response = app().oneshot(post(packed(&request))).await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_ENCODING], "snappy");
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let plain = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
    let answer = ReadResponse::decode(plain.as_slice()).unwrap();
    let series = &answer.results[0].timeseries;
    assert_eq!(series.len(), 1);
    let samples: Vec<(i64, f64)> = series[0].samples.iter().map(|sample| (sample.timestamp, sample.value)).collect();
    assert_eq!(samples, [(10_000, 2.0), (15_000, 3.0), (20_000, 4.0)]);

    let (status, body) = send(app(), post(b"nonsense".to_vec())).await;
    assert_eq!((status, &body["errorType"]), (400, &json!("bad_data")));
    let bad = ReadRequest { queries: vec![Query { matchers: vec![matcher(2, "job", "(")], ..Query::default() }] };
    let (status, body) = send(app(), post(packed(&bad))).await;
    assert_eq!((status, &body["error"]), (400, &json!("matcher on label job: error parsing regexp: unclosed group: `(`")));
}

#[tokio::test]
async fn dashboards_find_what_they_ask_first() {
    let (_, body) = get("/status/buildinfo", &[]).await;
    assert_eq!(body["data"]["version"], "3.14.0+gala.0.1.0");
    let (_, body) = get("/rules", &[]).await;
    assert_eq!(body["data"], json!({"groups": []}));
    let (_, body) = get("/alerts", &[]).await;
    assert_eq!(body["data"], json!({"alerts": []}));
    let (_, body) = get("/query_exemplars", &[("query", "up")]).await;
    assert_eq!(body["data"], json!([]));
    let (_, body) = get("/metadata", &[("metric", "b_total")]).await;
    assert_eq!(body["data"], json!({"b_total": [{"type": "counter", "help": "all of them", "unit": ""}]}));
    let (_, body) = get("/metadata", &[("limit", "1")]).await;
    assert_eq!(body["data"].as_object().unwrap().len(), 1);
    let (_, body) = get("/format_query", &[("query", "sum  by(a)(x)")]).await;
    assert_eq!(body["data"], "sum by (a) (x)");
    let (_, body) = get("/status/tsdb", &[]).await;
    assert_eq!(body["data"]["headStats"]["numSeries"], 3);
    assert_eq!(body["data"]["seriesCountByMetricName"][0], json!({"name": "requests_total", "value": 2}));
    let (_, body) = get("/status/tsdb", &[("limit", "1")]).await;
    assert_eq!(body["data"]["seriesCountByMetricName"].as_array().unwrap().len(), 1);
    for (limit, message) in [("0", "limit must be a positive number"), ("10001", "limit must not exceed 10000")] {
        assert_eq!(error_of("/status/tsdb", &[("limit", limit)]).await, (400, "bad_data".into(), message.into()));
    }
    for path in ["/targets/metadata", "/notifications"] {
        assert_eq!(get(path, &[]).await.1, json!({"status": "success", "data": []}), "{path}");
    }
    assert_eq!(get("/rules", &[("type", "alert")]).await.0, 200);
    let refused = (400, "bad_data".into(), "invalid parameter \"type\": not supported value \"x\"".into());
    assert_eq!(error_of("/rules", &[("type", "x")]).await, refused);
    let (_, body) = get("/scrape_pools", &[]).await;
    assert_eq!(body["data"], json!({"scrapePools": []}));
    for path in ["/status/config", "/status/flags", "/status/runtimeinfo", "/status/walreplay", "/targets", "/alertmanagers"] {
        assert_eq!(get(path, &[]).await.1["status"], "success", "{path}");
    }
}
