//! Remote-write bodies into the store: what is kept, what is refused, and what a wrong body changes (nothing).

use gala_model::remote_write::{Encoder, Metadata, kind_number};
use gala_store::remote_write::{Ingested, WriteError, ingest};
use gala_store::{Matcher, SeriesRead, Store, StoreOptions, TimeRange, now_ms};

const ALL: TimeRange = TimeRange { from_ms: i64::MIN, to_ms: i64::MAX };

/// Labels and samples of one series.
type Sent<'a> = (&'a [(&'a str, &'a str)], &'a [(i64, f64)]);

fn body(series: &[Sent<'_>]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    for (labels, samples) in series {
        encoder.series(labels.iter().copied(), samples.iter().copied());
    }
    snap::raw::Encoder::new().compress_vec(encoder.body()).unwrap()
}

fn send(store: &Store, series: &[Sent<'_>]) -> Result<Ingested, WriteError> {
    ingest(store, &body(series))
}

fn samples(store: &Store, metric: &str) -> usize {
    store.select(&[Matcher::equal("__name__", metric)], ALL, 1_000_000).unwrap().iter().map(|series| series.samples.len()).sum()
}

#[test]
fn labels_may_come_in_any_order_and_mean_the_same_series() {
    let store = Store::in_memory();
    for round in 0..3 {
        send(&store, &[(&[("__name__", "up"), ("host", "a")], &[(round * 10, 1.0)])]).unwrap();
        send(&store, &[(&[("host", "a"), ("empty", ""), ("__name__", "up")], &[(round * 10 + 5, 1.0)])]).unwrap();
    }
    assert_eq!(store.stats().series, 1);
    assert_eq!(samples(&store, "up"), 6);
}

#[test]
fn out_of_order_samples_are_named_and_the_rest_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(StoreOptions::new(folder.path())).unwrap();
    let now = now_ms();
    let up: &[(&str, &str)] = &[("__name__", "up"), ("host", "a")];
    send(&store, &[(up, &[(now, 1.0)])]).unwrap();
    let old: &[(&str, &str)] = &[("__name__", "old")];
    let ingested = send(&store, &[(up, &[(now - 10, 1.0), (now + 10, 2.0)]), (old, &[(now - 86_400_000, 1.0)])]).unwrap();
    assert_eq!(ingested.samples, 2);
    assert_eq!(ingested.rejected.len(), 1);
    assert!(ingested.rejected.named()[0].reason.contains(r#"up{host="a"}"#));
    assert_eq!((samples(&store, "up"), samples(&store, "old")), (2, 1));
}

#[test]
fn a_wrong_body_says_where_and_changes_nothing() {
    let store = Store::in_memory();
    let good: Sent<'_> = (&[("__name__", "up")], &[(1, 1.0)]);
    let wrong = [
        (
            body(&[good, (&[("__name__", "x"), ("a", "1"), ("a", "2")], &[(1, 1.0)])]),
            r#"timeseries[1]: label "a" is given twice"#,
        ),
        (body(&[good, (&[("job", "x")], &[(1, 1.0)])]), "timeseries[1]: no metric name"),
        (body(&[good, (&[("__name__", "x"), ("", "y")], &[(1, 1.0)])]), "timeseries[1]: a label has an empty name"),
        (b"not snappy at all".to_vec(), "snappy"),
        (snap::raw::Encoder::new().compress_vec(b"{\"json\": 1}").unwrap(), "write request, byte 0"),
    ];
    for (body, expected) in wrong {
        let error = ingest(&store, &body).unwrap_err();
        assert!(matches!(error, WriteError::Malformed(_)));
        assert!(error.to_string().contains(expected), "{error} should contain {expected}");
    }
    assert_eq!(store.stats().samples, 0);
    assert_eq!(store.stats().series, 0);
}

#[test]
fn a_body_that_grows_beyond_the_bound_is_refused_unread() {
    // The length a snappy block announces is in its first bytes.
    let error = ingest(&Store::in_memory(), &[0xff, 0xff, 0xff, 0xff, 0x0f, 0]).unwrap_err();
    assert!(matches!(error, WriteError::TooLarge(_)), "{error}");
}

#[test]
fn a_refused_series_does_not_keep_out_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = StoreOptions::new(folder.path());
    options.max_series = 1;
    let store = Store::open(options).unwrap();
    let now = now_ms();
    let ingested = send(&store, &[(&[("__name__", "a")], &[(now, 1.0)]), (&[("__name__", "b")], &[(now, 1.0)])]).unwrap();
    assert_eq!((ingested.samples, ingested.rejected.len()), (1, 1));
    assert!(ingested.rejected.named()[0].reason.contains("cap of 1 series"), "{}", ingested.rejected.named()[0].reason);
}

#[test]
fn a_payload_in_a_label_is_refused_and_the_rest_is_stored() {
    let store = Store::in_memory();
    let long = "x".repeat(100_000);
    let ingested =
        send(&store, &[(&[("__name__", "a"), ("body", &long)], &[(1, 1.0)]), (&[("__name__", "b")], &[(1, 1.0)])]).unwrap();
    assert_eq!((ingested.samples, ingested.rejected.len(), store.stats().series), (1, 1, 1));
    let reason = &ingested.rejected.named()[0].reason;
    assert!(reason.contains("more than the 65536 taken") && reason.len() < 400, "{reason}");
}

#[test]
fn a_series_without_samples_takes_no_place() {
    let store = Store::in_memory();
    let ingested = send(&store, &[(&[("__name__", "a")], &[]), (&[("__name__", "b")], &[(1, 1.0)])]).unwrap();
    assert_eq!((ingested.samples, ingested.rejected.len(), store.stats().series), (1, 0, 1));
    assert!(send(&store, &[(&[("host", "a")], &[])]).is_err(), "its labels are looked at all the same");
}

#[test]
fn metadata_is_kept_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    {
        let store = Store::open(StoreOptions::new(folder.path())).unwrap();
        let mut encoder = Encoder::new();
        encoder.metadata(&Metadata { kind: kind_number("counter"), family: "requests_total", help: "requests", unit: "" });
        ingest(&store, &snap::raw::Encoder::new().compress_vec(encoder.body()).unwrap()).unwrap();
    }
    let store = Store::open(StoreOptions::new(folder.path())).unwrap();
    let metadata = store.metadata();
    assert_eq!((metadata["requests_total"].kind.as_str(), metadata["requests_total"].help.as_str()), ("counter", "requests"));
}

#[test]
fn of_many_refused_samples_all_are_counted_and_ten_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = StoreOptions::new(folder.path());
    options.max_series = 1;
    let store = Store::open(options).unwrap();
    let now = now_ms();
    let up: &[(&str, &str)] = &[("__name__", "up")];
    let backwards: Vec<(i64, f64)> = (0..1_000).map(|step| (now - step, 1.0)).collect();
    let ingested = send(&store, &[(up, &backwards), (&[("__name__", "down")], &[(now, 1.0), (now + 1, 1.0)])]).unwrap();
    assert_eq!((ingested.samples, ingested.rejected.len(), ingested.rejected.named().len()), (1, 1_001, 10));
    assert!(ingested.rejected.named()[0].reason.contains("cap of 1 series"));
    assert!(ingested.rejected.named()[9].reason.contains("out of order"));
    assert_eq!(store.stats().rejected_total, 999);
}

#[test]
fn a_body_of_more_samples_than_taken_is_refused_whole() {
    // Samples without time and value take two bytes each.
    let samples = gala_store::remote_write::MAX_BODY_SAMPLES + 1;
    let name = [0x0a, 14, 0x0a, 8, b'_', b'_', b'n', b'a', b'm', b'e', b'_', b'_', 0x12, 2, b'u', b'p'];
    let mut timeseries = name.to_vec();
    timeseries.extend([0x12, 0].repeat(samples));
    let mut request = vec![0x0a];
    let mut length = timeseries.len();
    while length >= 0x80 {
        request.push(length as u8 | 0x80);
        length >>= 7;
    }
    request.push(length as u8);
    request.extend(timeseries);
    let store = Store::in_memory();
    let error = ingest(&store, &snap::raw::Encoder::new().compress_vec(&request).unwrap()).unwrap_err();
    assert!(matches!(error, WriteError::TooLarge(_)), "{error}");
    assert_eq!(store.stats().series, 0);
}
