//! Prometheus remote write 1.0 on the wire: the protobuf messages `WriteRequest`, `TimeSeries`, `Label`, `Sample` and
//! `MetricMetadata`, read without copying and written by hand. Snappy around it is the transport's affair.
//!
//! Reading is strict about structure (lengths, wire types, UTF-8 where text is asked for) and lenient about content it
//! does not know: unknown fields, exemplars and native histograms are skipped, the latter two counted. Every error names
//! the place: series, field, byte.

use std::fmt;

/// What is wrong with a body, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}, byte {offset}: {problem}")]
pub struct WireError {
    /// Byte of the decompressed body.
    pub offset: usize,
    pub place: Place,
    pub problem: Problem,
}

/// The message a problem was met in; numbers count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Request,
    Series(usize),
    Label { series: usize, label: usize },
    Sample { series: usize, sample: usize },
    Metadata(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request => write!(out, "write request"),
            Self::Series(series) => write!(out, "timeseries[{series}]"),
            Self::Label { series, label } => write!(out, "timeseries[{series}].labels[{label}]"),
            Self::Sample { series, sample } => write!(out, "timeseries[{series}].samples[{sample}]"),
            Self::Metadata(index) => write!(out, "metadata[{index}]"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    EndsEarly,
    LongVarint,
    WireType {
        field: u64,
        wire_type: u8,
    },
    NotText {
        field: &'static str,
    },
    /// Symbols and series as remote write 2.0 has them, and none of 1.0.
    Version2 {
        field: u64,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndsEarly => {
                write!(out, "a field is longer than the message that holds it; the body is cut or not a remote-write 1.0 request")
            }
            Self::Version2 { field } => {
                write!(out, "field {field} is one of remote write 2.0, which is not taken; send prometheus.WriteRequest")
            }
            Self::LongVarint => write!(out, "a number takes more than ten bytes; the body is not protobuf"),
            Self::WireType { field, wire_type } => {
                write!(
                    out,
                    "field {field} has wire type {wire_type}, which remote write 1.0 does not have there; send prometheus.WriteRequest"
                )
            }
            Self::NotText { field } => write!(out, "{field} is not UTF-8"),
        }
    }
}

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const FIXED32: u8 = 5;

/// A cursor over one message inside the body.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    body: &'a [u8],
    at: usize,
    end: usize,
}

enum Content {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes { start: usize, end: usize },
}

impl<'a> Cursor<'a> {
    fn fail(&self, place: Place, problem: Problem) -> WireError {
        WireError { offset: self.at, place, problem }
    }

    #[inline]
    fn varint(&mut self, place: Place) -> Result<u64, WireError> {
        let bytes = &self.body[self.at..self.end];
        if let Some(&first) = bytes.first()
            && first < 0x80
        {
            self.at += 1;
            return Ok(u64::from(first));
        }
        let mut value = 0u64;
        for (index, &byte) in bytes.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.at += index + 1;
                return Ok(value);
            }
        }
        Err(self.fail(place, if bytes.len() >= 10 { Problem::LongVarint } else { Problem::EndsEarly }))
    }

    fn fixed<const N: usize>(&mut self, place: Place) -> Result<[u8; N], WireError> {
        let Some(bytes) = self.body[self.at..self.end].first_chunk::<N>() else {
            return Err(self.fail(place, Problem::EndsEarly));
        };
        self.at += N;
        Ok(*bytes)
    }

    /// The next field, or `None` at the end of the message.
    #[inline(always)]
    fn field(&mut self, place: Place) -> Result<Option<(u64, Content)>, WireError> {
        if self.at >= self.end {
            return Ok(None);
        }
        let start = *self;
        let key = self.varint(place)?;
        let (field, wire_type) = (key >> 3, (key & 7) as u8);
        let content = match wire_type {
            VARINT => Content::Varint(self.varint(place)?),
            FIXED64 => Content::Fixed64(u64::from_le_bytes(self.fixed(place)?)),
            FIXED32 => {
                self.fixed::<4>(place)?;
                Content::Fixed32
            }
            BYTES => {
                let length = self.varint(place)?;
                if length > (self.end - self.at) as u64 {
                    return Err(start.fail(place, Problem::EndsEarly));
                }
                let begin = self.at;
                self.at += length as usize;
                Content::Bytes { start: begin, end: self.at }
            }
            _ => return Err(start.fail(place, Problem::WireType { field, wire_type })),
        };
        Ok(Some((field, content)))
    }

    /// End of a label field of less than 128 bytes, the common case, if one begins here.
    #[inline]
    fn short_label(&self) -> Option<usize> {
        match self.body[self.at..self.end] {
            [0x0a, length, ..] if length < 0x80 => Some(self.at + 2 + usize::from(length)).filter(|end| *end <= self.end),
            _ => None,
        }
    }

    fn inside(&self, start: usize, end: usize) -> Self {
        Self { body: self.body, at: start, end }
    }
}

fn wrong_type(offset: usize, place: Place, field: u64, content: &Content) -> WireError {
    let wire_type = match content {
        Content::Varint(_) => VARINT,
        Content::Fixed64(_) => FIXED64,
        Content::Fixed32 => FIXED32,
        Content::Bytes { .. } => BYTES,
    };
    WireError { offset, place, problem: Problem::WireType { field, wire_type } }
}

/// One element of a request, in the order of the body.
#[derive(Clone, Copy)]
pub enum Item<'a> {
    Series(SeriesView<'a>),
    Metadata(Metadata<'a>),
}

/// Type, help and unit of a metric family. `kind` is the number of the protocol: see [`kind_name`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metadata<'a> {
    pub kind: u64,
    pub family: &'a str,
    pub help: &'a str,
    pub unit: &'a str,
}

/// Metric types in the protocol's order.
const KINDS: [&str; 8] = ["unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset"];

/// The word Prometheus uses for a metric type's number; numbers it does not have are "unknown".
pub fn kind_name(kind: u64) -> &'static str {
    usize::try_from(kind).ok().and_then(|index| KINDS.get(index)).copied().unwrap_or(KINDS[0])
}

/// The number for a word; 0 if there is none.
pub fn kind_number(name: &str) -> u64 {
    KINDS.iter().position(|known| *known == name).unwrap_or(0) as u64
}

/// Iterates over the elements of a decompressed body. After an error it ends.
pub struct Items<'a> {
    cursor: Cursor<'a>,
    series: usize,
    metadata: usize,
    /// First field that only remote write 2.0 has, and its byte.
    newer: Option<(u64, usize)>,
}

/// Reads a decompressed remote-write body. One of version 2.0 is an error: skipped fields would make it an empty one of 1.0.
pub fn decode(body: &[u8]) -> Items<'_> {
    Items { cursor: Cursor { body, at: 0, end: body.len() }, series: 0, metadata: 0, newer: None }
}

impl<'a> Items<'a> {
    fn advance(&mut self) -> Result<Option<Item<'a>>, WireError> {
        loop {
            let offset = self.cursor.at;
            match self.cursor.field(Place::Request)? {
                None => {
                    return match self.newer.take() {
                        Some((field, offset)) if self.series == 0 => {
                            Err(WireError { offset, place: Place::Request, problem: Problem::Version2 { field } })
                        }
                        _ => Ok(None),
                    };
                }
                Some((1, Content::Bytes { start, end })) => {
                    let view = SeriesView::parse(self.cursor.inside(start, end), self.series)?;
                    self.series += 1;
                    return Ok(Some(Item::Series(view)));
                }
                Some((3, Content::Bytes { start, end })) => {
                    let item = parse_metadata(self.cursor.inside(start, end), self.metadata)?;
                    self.metadata += 1;
                    return Ok(Some(Item::Metadata(item)));
                }
                Some((field @ (1 | 3), content)) => return Err(wrong_type(offset, Place::Request, field, &content)),
                Some((field @ (4 | 5), _)) => {
                    self.newer.get_or_insert((field, offset));
                }
                Some(_) => {}
            }
        }
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        let outcome = self.advance();
        if outcome.is_err() {
            self.cursor.at = self.cursor.end;
        }
        outcome.transpose()
    }
}

fn text<'a>(cursor: &Cursor<'a>, start: usize, end: usize, place: Place, field: &'static str) -> Result<&'a str, WireError> {
    std::str::from_utf8(&cursor.body[start..end]).map_err(|error| WireError {
        offset: start + error.valid_up_to(),
        place,
        problem: Problem::NotText { field },
    })
}

fn parse_metadata(mut cursor: Cursor<'_>, index: usize) -> Result<Metadata<'_>, WireError> {
    let place = Place::Metadata(index);
    let mut metadata = Metadata::default();
    loop {
        let offset = cursor.at;
        match cursor.field(place)? {
            None => return Ok(metadata),
            Some((1, Content::Varint(kind))) => metadata.kind = kind,
            Some((2, Content::Bytes { start, end })) => metadata.family = text(&cursor, start, end, place, "metric_family_name")?,
            Some((4, Content::Bytes { start, end })) => metadata.help = text(&cursor, start, end, place, "help")?,
            Some((5, Content::Bytes { start, end })) => metadata.unit = text(&cursor, start, end, place, "unit")?,
            Some((field @ (1 | 2 | 4 | 5), content)) => return Err(wrong_type(offset, place, field, &content)),
            Some(_) => {}
        }
    }
}

/// One series of a request. Its structure has been checked; label text is checked when labels are read.
#[derive(Clone, Copy)]
pub struct SeriesView<'a> {
    body: &'a [u8],
    index: usize,
    end: usize,
    labels: (usize, usize),
    contiguous: bool,
    /// Most series of a request have one sample; it is kept from the check.
    first: (i64, f64),
    sample_count: usize,
    after_first: usize,
    /// Exemplars, and native histograms, which the 1.0 text leaves aside.
    pub exemplars: usize,
    pub histograms: usize,
}

impl<'a> SeriesView<'a> {
    #[inline]
    fn parse(mut cursor: Cursor<'a>, index: usize) -> Result<Self, WireError> {
        let place = Place::Series(index);
        let start = cursor.at;
        let mut view = Self {
            body: cursor.body,
            index,
            end: cursor.end,
            labels: (start, start),
            contiguous: true,
            first: (0, 0.0),
            sample_count: 0,
            after_first: start,
            exemplars: 0,
            histograms: 0,
        };
        let mut labels = 0usize;
        loop {
            let offset = cursor.at;
            if let Some(end) = cursor.short_label() {
                cursor.at = end;
                view.note_label(offset, end, labels);
                labels += 1;
                continue;
            }
            match cursor.field(place)? {
                None => return Ok(view),
                Some((1, Content::Bytes { .. })) => {
                    view.note_label(offset, cursor.at, labels);
                    labels += 1;
                }
                Some((2, Content::Bytes { start, end })) => {
                    let sample =
                        parse_sample(cursor.inside(start, end), Place::Sample { series: index, sample: view.sample_count })?;
                    if view.sample_count == 0 {
                        (view.first, view.after_first) = (sample, cursor.at);
                    }
                    view.sample_count += 1;
                }
                Some((3, Content::Bytes { .. })) => view.exemplars += 1,
                Some((4, Content::Bytes { .. })) => view.histograms += 1,
                Some((field @ 1..=4, content)) => return Err(wrong_type(offset, place, field, &content)),
                Some(_) => {}
            }
        }
    }

    #[inline]
    fn note_label(&mut self, start: usize, end: usize, before: usize) {
        if before == 0 {
            self.labels.0 = start;
        } else if self.labels.1 != start {
            self.contiguous = false;
        }
        self.labels.1 = end;
    }

    /// Position of the series in the request.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The bytes of all labels as they were sent, if nothing else lies between them: equal bytes mean equal labels, so
    /// a receiver may recognise a series by them.
    pub fn label_bytes(&self) -> Option<&'a [u8]> {
        self.contiguous.then(|| &self.body[self.labels.0..self.labels.1])
    }

    /// Reads the labels into `out` in the order sent.
    pub fn labels(&self, out: &mut Vec<(&'a str, &'a str)>) -> Result<(), WireError> {
        out.clear();
        let mut cursor = Cursor { body: self.body, at: self.labels.0, end: self.labels.1 };
        while let Some((field, content)) = cursor.field(Place::Series(self.index))? {
            if let (1, Content::Bytes { start, end }) = (field, content) {
                let place = Place::Label { series: self.index, label: out.len() };
                out.push(parse_label(cursor.inside(start, end), place)?);
            }
        }
        Ok(())
    }

    /// Samples in the order sent: milliseconds since 1970, value.
    #[inline]
    pub fn samples(&self) -> impl Iterator<Item = (i64, f64)> + use<'a> {
        let first = (self.sample_count > 0).then_some(self.first);
        let mut left = self.sample_count.saturating_sub(1);
        let mut cursor = Cursor { body: self.body, at: self.after_first, end: self.end };
        let place = Place::Series(self.index);
        let rest = std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            loop {
                if let (2, Content::Bytes { start, end }) = cursor.field(place).ok()?? {
                    return parse_sample(cursor.inside(start, end), place).ok();
                }
            }
        });
        first.into_iter().chain(rest)
    }
}

fn parse_label(mut cursor: Cursor<'_>, place: Place) -> Result<(&str, &str), WireError> {
    let (mut name, mut value) = ("", "");
    loop {
        let offset = cursor.at;
        match cursor.field(place)? {
            None => return Ok((name, value)),
            Some((1, Content::Bytes { start, end })) => name = text(&cursor, start, end, place, "the label name")?,
            Some((2, Content::Bytes { start, end })) => value = text(&cursor, start, end, place, "the label value")?,
            Some((field @ (1 | 2), content)) => return Err(wrong_type(offset, place, field, &content)),
            Some(_) => {}
        }
    }
}

#[inline]
fn parse_sample(mut cursor: Cursor<'_>, place: Place) -> Result<(i64, f64), WireError> {
    // As everybody writes it: value, then a time of six bytes (1978 to 2109).
    if let [0x09, v0, v1, v2, v3, v4, v5, v6, v7, 0x10, t0, t1, t2, t3, t4, t5] = cursor.body[cursor.at..cursor.end]
        && t0 & t1 & t2 & t3 & t4 & 0x80 != 0
        && t5 < 0x80
    {
        let seven = |byte: u8, shift: u32| i64::from(byte & 0x7f) << shift;
        let t_ms = seven(t0, 0) | seven(t1, 7) | seven(t2, 14) | seven(t3, 21) | seven(t4, 28) | seven(t5, 35);
        return Ok((t_ms, f64::from_le_bytes([v0, v1, v2, v3, v4, v5, v6, v7])));
    }
    let (mut t_ms, mut value) = (0, 0.0);
    loop {
        let offset = cursor.at;
        match cursor.field(place)? {
            None => return Ok((t_ms, value)),
            Some((1, Content::Fixed64(bits))) => value = f64::from_bits(bits),
            Some((2, Content::Varint(time))) => t_ms = time as i64,
            Some((field @ (1 | 2), content)) => return Err(wrong_type(offset, place, field, &content)),
            Some(_) => {}
        }
    }
}

/// Builds a request body (before snappy).
#[derive(Debug, Default)]
pub struct Encoder {
    body: Vec<u8>,
    scratch: Vec<u8>,
}

impl Encoder {
    pub fn new() -> Self {
        Self::default()
    }

    /// The body so far.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    pub fn clear(&mut self) {
        self.body.clear();
    }

    /// Adds a series. Labels must be sorted by name and include `__name__`.
    pub fn series<'l>(
        &mut self,
        labels: impl IntoIterator<Item = (&'l str, &'l str)>,
        samples: impl IntoIterator<Item = (i64, f64)>,
    ) {
        let mut message = std::mem::take(&mut self.scratch);
        message.clear();
        encode_labels(labels, &mut message);
        self.message(&mut message, samples);
        self.scratch = message;
    }

    /// Adds a series whose labels were encoded before by [`encode_labels`].
    pub fn series_with(&mut self, label_bytes: &[u8], samples: impl IntoIterator<Item = (i64, f64)>) {
        let mut message = std::mem::take(&mut self.scratch);
        message.clear();
        message.extend_from_slice(label_bytes);
        self.message(&mut message, samples);
        self.scratch = message;
    }

    fn message(&mut self, message: &mut Vec<u8>, samples: impl IntoIterator<Item = (i64, f64)>) {
        for (t_ms, value) in samples {
            let time_bytes = varint_len(t_ms as u64);
            message.extend_from_slice(&[2 << 3 | BYTES, 10 + time_bytes as u8, 1 << 3 | FIXED64]);
            message.extend_from_slice(&value.to_bits().to_le_bytes());
            message.push(2 << 3 | VARINT);
            put_varint(message, t_ms as u64);
        }
        put_bytes(&mut self.body, 1, message);
    }

    pub fn metadata(&mut self, metadata: &Metadata<'_>) {
        let mut message = std::mem::take(&mut self.scratch);
        message.clear();
        message.push(1 << 3 | VARINT);
        put_varint(&mut message, metadata.kind);
        put_bytes(&mut message, 2, metadata.family.as_bytes());
        put_bytes(&mut message, 4, metadata.help.as_bytes());
        put_bytes(&mut message, 5, metadata.unit.as_bytes());
        put_bytes(&mut self.body, 3, &message);
        self.scratch = message;
    }
}

/// Appends the label fields of a series, for [`Encoder::series_with`]; a sender keeps them with the series.
pub fn encode_labels<'l>(labels: impl IntoIterator<Item = (&'l str, &'l str)>, out: &mut Vec<u8>) {
    for (name, value) in labels {
        let length = 2 + varint_len(name.len() as u64) + name.len() + varint_len(value.len() as u64) + value.len();
        out.push(1 << 3 | BYTES);
        put_varint(out, length as u64);
        put_bytes(out, 1, name.as_bytes());
        put_bytes(out, 2, value.as_bytes());
    }
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | BYTES);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests;
