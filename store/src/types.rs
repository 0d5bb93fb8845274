//! What every store offers: labels, matchers, samples, and the two traits analysis and the query engine are written
//! against. The embedded store and a Prometheus-compatible server both stand behind them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Label names and values, sorted by name, `__name__` among them. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels(pub Arc<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// Sorts; an empty value means the label is absent (as in Prometheus); of equal names the last one stays.
    pub fn new<N: Into<Arc<str>>, V: Into<Arc<str>>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut pairs: Vec<(Arc<str>, Arc<str>)> = pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        pairs.reverse();
        pairs.sort_by(|left, right| left.0.cmp(&right.0));
        pairs.dedup_by(|later, earlier| later.0 == earlier.0);
        pairs.retain(|(_, value)| !value.is_empty());
        Self(pairs.into())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let index = self.0.binary_search_by(|(key, _)| (**key).cmp(name)).ok()?;
        Some(&self.0[index].1)
    }

    /// The metric name, empty if there is none.
    pub fn metric(&self) -> &str {
        self.get("__name__").unwrap_or("")
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

impl std::fmt::Display for Labels {
    /// As PromQL writes a series: `metric{name="value"}`.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.metric())?;
        out.write_str("{")?;
        for (index, (name, value)) in self.iter().filter(|(name, _)| *name != "__name__").enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(out, "{comma}{name}={value:?}")?;
        }
        out.write_str("}")
    }
}

/// One sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Milliseconds since 1970.
    pub t_ms: i64,
    pub value: f64,
}

/// Prometheus's marker for "the series ended here": a NaN with this payload.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Whether a value is the staleness marker (an ordinary NaN is not).
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchOp {
    Equal,
    NotEqual,
    Regex,
    NotRegex,
}

/// One label matcher; regular expressions are anchored at both ends, as in PromQL.
#[derive(Clone, Debug)]
pub struct Matcher {
    pub name: String,
    pub op: MatchOp,
    pub value: String,
    pattern: Option<Pattern>,
}

/// What a regular expression accepts. Dashboards put all chosen hosts into one, and thousands of words would make an
/// automaton too large to build.
#[derive(Clone, Debug)]
enum Pattern {
    Words(Arc<HashSet<String>>),
    Regex(regex::Regex),
}

impl Pattern {
    fn new(text: &str) -> Result<Self, String> {
        match words_of(text) {
            Some(words) => Ok(Self::Words(Arc::new(words))),
            None => crate::promql::compile_pattern(text).map(Self::Regex),
        }
    }

    fn is_match(&self, value: &str) -> bool {
        match self {
            Self::Words(words) => words.contains(value),
            Self::Regex(regex) => regex.is_match(value),
        }
    }
}

/// The words of `a|b\.c|d` or `(a|b)`; `None` if there is more in the expression than words.
fn words_of(text: &str) -> Option<HashSet<String>> {
    let inner = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(text);
    let mut words = HashSet::new();
    let mut word = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '|' => {
                words.insert(std::mem::take(&mut word));
            }
            '\\' => word.push(chars.next().filter(char::is_ascii_punctuation)?),
            '.' | '^' | '$' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' => return None,
            c => word.push(c),
        }
    }
    words.insert(word);
    Some(words)
}

impl Matcher {
    /// Errors name the label and say what is wrong with the expression.
    pub fn new(name: impl Into<String>, op: MatchOp, value: impl Into<String>) -> Result<Self, StoreError> {
        let (name, value) = (name.into(), value.into());
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => {
                Some(Pattern::new(&value).map_err(|error| StoreError::BadRequest(format!("matcher on label {name}: {error}")))?)
            }
        };
        Ok(Self { name, op, value, pattern })
    }

    pub fn equal(name: &str, value: &str) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), pattern: None }
    }

    /// `value` is empty where the label is absent.
    pub fn matches(&self, value: &str) -> bool {
        match self.op {
            MatchOp::Equal => self.value == value,
            MatchOp::NotEqual => self.value != value,
            MatchOp::Regex => self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(value)),
            MatchOp::NotRegex => self.pattern.as_ref().is_some_and(|pattern| !pattern.is_match(value)),
        }
    }
}

/// A closed time range, both ends included, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    pub from_ms: i64,
    pub to_ms: i64,
}

/// One series with its samples in the range asked for, ascending in time.
#[derive(Clone, Debug)]
pub struct Series {
    pub labels: Labels,
    pub samples: Vec<Sample>,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The request itself is wrong; the text names the place and the fix.
    #[error("{0}")]
    BadRequest(String),
    /// More samples than allowed were touched.
    #[error("the query touches more than {limit} samples; narrow the matchers or the time range")]
    TooManySamples { limit: usize },
    #[error("{0}")]
    Io(String),
}

/// Why a sample was not taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejected {
    pub labels: Labels,
    pub t_ms: i64,
    /// Ready for a person: names the reason and the bound.
    pub reason: String,
}

/// Samples that were not taken: all are counted, the first few are named. One request may hold millions of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rejections {
    count: usize,
    named: Vec<Rejected>,
}

impl Rejections {
    /// So many are named.
    pub const NAMED: usize = 10;

    /// How many samples there are, named or not.
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn named(&self) -> &[Rejected] {
        &self.named
    }

    pub fn first(&self) -> Option<&Rejected> {
        self.named.first()
    }

    /// Adds samples refused for one reason, which is put into words only if it is going to be named.
    pub fn add(&mut self, count: usize, name: impl FnOnce() -> Rejected) {
        if count > 0 && self.named.len() < Self::NAMED {
            self.named.push(name());
        }
        self.count += count;
    }

    pub fn append(&mut self, other: Self) {
        self.count += other.count;
        let room = Self::NAMED - self.named.len();
        self.named.extend(other.named.into_iter().take(room));
    }
}

/// Result of an append: everything not in `rejected` is taken (and durable once `sync` returned).
#[derive(Debug, Default)]
pub struct Appended {
    pub samples: usize,
    pub rejected: Rejections,
}

/// A series known to the store; stable until restart.
pub type SeriesRef = u64;

/// How many series stand behind metrics and labels; the largest of each kind, largest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cardinality {
    pub series: u64,
    pub label_pairs: u64,
    pub oldest_ms: Option<i64>,
    pub newest_ms: Option<i64>,
    pub series_by_metric: Vec<(String, u64)>,
    pub values_by_label: Vec<(String, u64)>,
    pub bytes_by_label: Vec<(String, u64)>,
    /// By `name=value`.
    pub series_by_pair: Vec<(String, u64)>,
}

impl Cardinality {
    /// From every label pair with its number of series.
    pub fn of<'a>(series: u64, pairs: impl Iterator<Item = (&'a str, &'a str, u64)>, top: usize) -> Self {
        let mut counts = Self { series, ..Self::default() };
        let mut labels: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        let mut by_pair: Vec<(&str, &str, u64)> = Vec::new();
        let mut by_metric: Vec<(&str, u64)> = Vec::new();
        for (name, value, count) in pairs {
            counts.label_pairs += 1;
            let label = labels.entry(name).or_default();
            (label.0, label.1) = (label.0 + 1, label.1 + value.len() as u64);
            if name == "__name__" {
                by_metric.push((value, count));
            }
            by_pair.push((name, value, count));
        }
        by_pair.sort_by(|left, right| right.2.cmp(&left.2).then_with(|| (left.0, left.1).cmp(&(right.0, right.1))));
        let pair = |(name, value, count): (&str, &str, u64)| (format!("{name}={value}"), count);
        counts.series_by_pair = by_pair.into_iter().take(top).map(pair).collect();
        counts.series_by_metric = largest(by_metric, top);
        counts.values_by_label = largest(labels.iter().map(|(name, (values, _))| (*name, *values)).collect(), top);
        counts.bytes_by_label = largest(labels.iter().map(|(name, (_, bytes))| (*name, *bytes)).collect(), top);
        counts
    }
}

fn largest(mut rows: Vec<(&str, u64)>, top: usize) -> Vec<(String, u64)> {
    rows.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(right.0)));
    rows.into_iter().take(top).map(|(name, count)| (name.to_owned(), count)).collect()
}

/// Reading; what analysis, the query engine and the HTTP API use.
pub trait SeriesRead: Send + Sync {
    /// Series that match all matchers and have samples in the range; at most `max_samples` samples in all.
    fn select(&self, matchers: &[Matcher], range: TimeRange, max_samples: usize) -> Result<Vec<Series>, StoreError>;

    /// As `select`; a long read asks now and then whether to go on, and is `None` if not. A store whose reads are never long
    /// need not ask.
    fn select_while(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        max_samples: usize,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<Series>>, StoreError> {
        if go_on() { self.select(matchers, range, max_samples).map(Some) } else { Ok(None) }
    }

    /// Label sets of series with samples in the range.
    fn series(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Labels>, StoreError>;
    fn label_names(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, StoreError>;
    fn label_values(&self, name: &str, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, StoreError>;

    /// Where the series are: at most `top` rows of each kind. A store that knows better than by listing all says so.
    fn cardinality(&self, top: usize) -> Result<Cardinality, StoreError> {
        let all = self.series(&[], TimeRange { from_ms: i64::MIN / 4, to_ms: i64::MAX / 4 })?;
        let mut pairs: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        all.iter().flat_map(Labels::iter).for_each(|pair| *pairs.entry(pair).or_default() += 1);
        Ok(Cardinality::of(all.len() as u64, pairs.into_iter().map(|((name, value), count)| (name, value, count)), top))
    }
}

/// Writing; one writer path for the agent in process, remote write and backfill.
pub trait SeriesWrite: Send + Sync {
    /// Interns a label set; cheap when known. Fails when the series cap is reached.
    fn resolve(&self, labels: &Labels) -> Result<SeriesRef, StoreError>;
    /// Appends `(series, time, value)`; within one series times must ascend over all calls.
    fn append(&self, samples: &[(SeriesRef, i64, f64)]) -> Result<Appended, StoreError>;
    /// Returns once everything appended before is safe from a crash of this process and of the machine.
    fn sync(&self) -> Result<(), StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_the_same_as_the_expression() {
        let values = ["", "a", "b", "ab", "a.b", "axb", "a|b", "(a", "a\nb", "é", "-"];
        for text in [
            "", "a", "a|b", "(a|b)", "|a", "a|", "a\\.b|b", "a\\|b", "\\(a|b", "(a)|(b)", "(a|b", "é|\\-", "(?i)A", "a\\d", "a\\",
        ] {
            let compiled = crate::promql::compile_pattern(text);
            let matcher = Matcher::new("x", MatchOp::Regex, text);
            assert_eq!(compiled.is_ok(), matcher.is_ok(), "{text}");
            let (Ok(compiled), Ok(matcher)) = (compiled, matcher) else { continue };
            values.iter().for_each(|value| assert_eq!(matcher.matches(value), compiled.is_match(value), "{text} on {value}"));
        }
    }

    #[test]
    fn a_list_of_all_hosts_is_no_expression_too_large() {
        let hosts: Vec<String> = (0..20_000).map(|host| format!("host-{host:05}\\.example\\.com")).collect();
        let matcher = Matcher::new("instance", MatchOp::Regex, format!("({})", hosts.join("|"))).unwrap();
        assert!(matcher.matches("host-19999.example.com") && !matcher.matches("host-20000.example.com"));
    }
}
