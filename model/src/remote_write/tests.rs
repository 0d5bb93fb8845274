use super::*;
use proptest::prelude::*;

type Plain = Vec<(Vec<(String, String)>, Vec<(i64, u64)>)>;

fn encode(request: &Plain) -> Vec<u8> {
    let mut encoder = Encoder::new();
    for (labels, samples) in request {
        let pairs = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        encoder.series(pairs, samples.iter().map(|&(t_ms, bits)| (t_ms, f64::from_bits(bits))));
    }
    encoder.body().to_vec()
}

fn read(body: &[u8]) -> Result<Plain, WireError> {
    let mut request = Vec::new();
    let mut labels = Vec::new();
    for item in decode(body) {
        if let Item::Series(view) = item? {
            view.labels(&mut labels)?;
            let own = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            request.push((own, view.samples().map(|(t_ms, value)| (t_ms, value.to_bits())).collect()));
        }
    }
    Ok(request)
}

/// `up{job="x"}` 1 at 1700000000000, written by hand from the protobuf definition.
const CAPTURED: &[u8] = b"\x0a\x2c\x0a\x0e\x0a\x08__name__\x12\x02up\x0a\x08\x0a\x03job\x12\x01x\x12\x10\x09\x00\x00\x00\x00\x00\x00\xf0\x3f\x10\x80\xd0\x95\xff\xbc\x31";

#[test]
fn a_request_written_by_hand_from_the_definition_is_read() {
    let expected = vec![(
        vec![("__name__".to_owned(), "up".to_owned()), ("job".to_owned(), "x".to_owned())],
        vec![(1_700_000_000_000, 1f64.to_bits())],
    )];
    assert_eq!(read(CAPTURED).unwrap(), expected);
    assert_eq!(encode(&expected), CAPTURED, "and written the same");
}

#[test]
fn labels_after_samples_and_unknown_fields_are_read() {
    // TimeSeries: sample, unknown varint field 9, label, unknown fixed32 field 10, label.
    let mut series = vec![0x12, 0x0b, 0x09, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x10, 0x05];
    series.extend_from_slice(&[0x48, 0x01, 0x0a, 0x06, 0x0a, 0x01, b'a', 0x12, 0x01, b'b', 0x55, 1, 2, 3, 4]);
    series.extend_from_slice(&[0x0a, 0x06, 0x0a, 0x01, b'c', 0x12, 0x01, b'd']);
    let mut body = vec![0x0a, series.len() as u8];
    body.extend_from_slice(&series);
    let pairs = vec![("a".to_owned(), "b".to_owned()), ("c".to_owned(), "d".to_owned())];
    assert_eq!(read(&body).unwrap(), vec![(pairs, vec![(5, 2f64.to_bits())])]);
    let Some(Ok(Item::Series(view))) = decode(&body).next() else { panic!("a series") };
    assert_eq!(view.label_bytes(), None, "interleaved labels are no key");
}

#[test]
fn metadata_comes_back() {
    let sent = Metadata { kind: kind_number("histogram"), family: "latency_seconds", help: "how long", unit: "seconds" };
    let mut encoder = Encoder::new();
    encoder.metadata(&sent);
    let Some(Ok(Item::Metadata(read))) = decode(encoder.body()).next() else { panic!("metadata") };
    assert_eq!(read, sent);
    assert_eq!(kind_name(read.kind), "histogram");
    assert_eq!(kind_name(99), "unknown");
}

#[test]
fn a_request_of_version_2_is_no_empty_one_of_version_1() {
    // Request of 2.0: symbols "", "up"; one series that refers to them.
    let newer = [0x22, 0x00, 0x22, 0x02, b'u', b'p', 0x2a, 0x04, 0x0a, 0x02, 0x00, 0x01];
    let error = read(&newer).unwrap_err();
    assert_eq!((error.offset, error.place, error.problem), (0, Place::Request, Problem::Version2 { field: 4 }));
    assert!(error.to_string().contains("remote write 2.0"), "{error}");
    assert_eq!(decode(&newer).count(), 1, "after the error it ends");
    let mixed = [CAPTURED, &newer].concat();
    assert_eq!(read(&mixed).unwrap().len(), 1, "fields a request of 1.0 does not know are skipped");
    assert_eq!(read(&[]).unwrap(), []);
}

#[test]
fn errors_name_series_field_and_byte() {
    let mut not_text = CAPTURED.to_vec();
    let at = not_text.len() - 19;
    assert_eq!(not_text[at], b'x');
    not_text[at] = 0xff;
    let error = read(&not_text).unwrap_err().to_string();
    assert_eq!(error, format!("timeseries[0].labels[1], byte {at}: the label value is not UTF-8"));
    let error = read(b"\x0a\x7f\x0a").unwrap_err().to_string();
    assert!(error.starts_with("write request, byte 0: a field is longer"), "{error}");
    let error = read(b"{\"not\": \"protobuf\"}").unwrap_err().to_string();
    assert!(error.contains("wire type 3"), "{error}");
    let error = read(&[0xff; 20]).unwrap_err().to_string();
    assert!(error.contains("more than ten bytes"), "{error}");
    let sample_as_number = [0x0a, 0x02, 0x10, 0x01];
    assert!(read(&sample_as_number).unwrap_err().to_string().starts_with("timeseries[0], byte 2: field 2 has wire type 0"));
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(request in prop::collection::vec(
        (prop::collection::vec(("[a-z_]{1,12}", "\\PC{0,20}"), 0..6), prop::collection::vec((any::<i64>(), any::<u64>()), 0..5)), 0..6)) {
        prop_assert_eq!(read(&encode(&request)).unwrap(), request);
    }

    #[test]
    fn any_bytes_are_read_or_refused_but_never_trip_the_reader(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&body);
    }

    #[test]
    fn a_cut_or_changed_request_is_read_or_refused(cut in 0usize..60, at in 0usize..60, byte in any::<u8>()) {
        let mut body = CAPTURED.to_vec();
        let position = at % body.len();
        body[position] = byte;
        body.truncate(cut);
        let _ = read(&body);
    }
}
