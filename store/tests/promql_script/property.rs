//! Nothing a client can send makes the engine panic: arbitrary text, soups of real tokens, and well-formed queries of all
//! shapes over series with gaps, resets, NaN and infinities.

use gala_store::promql::{self, Options, QueryError, QueryValue};
use gala_store::{Labels, Matcher, STALE_NAN_BITS, Sample, Series, SeriesRead, StoreError, TimeRange};
use proptest::prelude::*;

use super::memory::Memory;

const TOKENS: [&str; 64] = [
    "up",
    "m",
    "sum",
    "topk",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "fill",
    "bool",
    "offset",
    "@",
    "start",
    "end",
    "step",
    "range",
    "and",
    "or",
    "unless",
    "atan2",
    "rate",
    "histogram_quantile",
    "label_replace",
    "info",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "=",
    "!=",
    "=~",
    "!~",
    "==",
    ">",
    "<=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "5m",
    "1h30m",
    "0x1f",
    "1e3",
    "Inf",
    "NaN",
    "\"a\"",
    "'b\\n'",
    "`c`",
    "# note\n",
    " ",
    ".5",
    "anchored",
    "smoothed",
    "</",
    "max_of",
    "1",
];

fn store() -> Memory {
    let mut store = Memory::default();
    let values = [1.0, 3.0, f64::NAN, 2.0, f64::from_bits(STALE_NAN_BITS), f64::INFINITY, -1.0, 0.0, 1e308, 1e308, 5.0];
    for (index, (name, le)) in
        [("m", ""), ("m_total", ""), ("m_bucket", "0.5"), ("m_bucket", "+Inf"), ("up", "")].into_iter().enumerate()
    {
        for group in ["a", "b"] {
            let labels = Labels::new([("__name__", name), ("le", le), ("g", group), ("job", "j"), ("instance", "i")]);
            let samples = values.iter().enumerate().filter(|(at, _)| (at + index) % 4 != 3);
            store.series.insert(labels, samples.map(|(at, value)| Sample { t_ms: at as i64 * 15_000, value: *value }).collect());
        }
    }
    store
}

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?[0-9]{1,3}",
        Just("NaN".to_string()),
        Just("-Inf".into()),
        Just("time()".into()),
        Just("scalar(m)".into()),
        Just("0.5".into())
    ]
}

fn selector() -> impl Strategy<Value = String> {
    let names = prop_oneof![Just("m"), Just("m_total"), Just("m_bucket"), Just("up"), Just("{g=\"a\"}"), Just("none")];
    let tails = prop_oneof![
        Just(""),
        Just(" offset 30s"),
        Just(" @ 60"),
        Just(" @ end()"),
        Just(" offset -1m"),
        Just(" @ start() offset 15s")
    ];
    (names, tails).prop_map(|(name, tail)| format!("{name}{tail}"))
}

fn query() -> impl Strategy<Value = String> {
    let range_functions = proptest::sample::select(
        promql::all_functions().iter().filter(|f| f.args == [promql::ValueType::Matrix]).map(|f| f.name).collect::<Vec<_>>(),
    );
    let vector_functions = proptest::sample::select(
        promql::all_functions()
            .iter()
            .filter(|f| f.args == [promql::ValueType::Vector] && f.returns == promql::ValueType::Vector)
            .map(|f| f.name)
            .collect::<Vec<_>>(),
    );
    let leaf = prop_oneof![
        selector(),
        (range_functions.clone(), selector(), "[1-9][05]s").prop_map(|(function, selector, range)| {
            let (name, tail) = selector.split_at(selector.find(" ").unwrap_or(selector.len()));
            format!("{function}({name}[{range}]{tail})")
        }),
    ];
    leaf.prop_recursive(4, 24, 3, move |inner| {
        let operators = prop_oneof![
            Just("+"),
            Just("-"),
            Just("*"),
            Just("/"),
            Just("%"),
            Just("^"),
            Just("atan2"),
            Just("=="),
            Just("> bool"),
            Just("and"),
            Just("or"),
            Just("unless"),
            Just("+ on(g)"),
            Just("* ignoring(g) group_left()"),
            Just("/ on() group_right(g)"),
            Just("- fill(1)"),
            Just("or on(g)"),
        ];
        let aggregations = prop_oneof![
            Just("sum"),
            Just("avg"),
            Just("count"),
            Just("min"),
            Just("max"),
            Just("group"),
            Just("stddev"),
            Just("stdvar"),
        ];
        let with_number = prop_oneof![Just("topk"), Just("bottomk"), Just("quantile"), Just("limitk"), Just("limit_ratio")];
        let grouping = prop_oneof![Just(""), Just("by (g)"), Just("without (g)"), Just("by (le)")];
        prop_oneof![
            (inner.clone(), operators, inner.clone()).prop_map(|(lhs, op, rhs)| format!("({lhs}) {op} ({rhs})")),
            (inner.clone(), scalar()).prop_map(|(lhs, rhs)| format!("({lhs}) <= ({rhs})")),
            (aggregations, grouping.clone(), inner.clone()).prop_map(|(op, by, inner)| format!("{op} {by} ({inner})")),
            (with_number, grouping, scalar(), inner.clone()).prop_map(|(op, by, k, inner)| format!("{op} {by} ({k}, {inner})")),
            (vector_functions.clone(), inner.clone()).prop_map(|(function, inner)| format!("{function}({inner})")),
            (range_functions.clone(), inner.clone(), "[1-9]0s").prop_map(|(f, inner, step)| format!("{f}(({inner})[2m:{step}])")),
            inner.clone().prop_map(|inner| format!("histogram_quantile(0.9, {inner})")),
            inner.clone().prop_map(|inner| format!("label_replace({inner}, \"g\", \"$1\", \"g\", \"(.).*\")")),
            inner.clone().prop_map(|inner| format!("count_values(\"v\", {inner})")),
            inner.clone().prop_map(|inner| format!("info({inner}, {{g=~\".*\"}})")),
            (inner, scalar()).prop_map(|(inner, n)| format!("clamp_max(-({inner}), {n})")),
        ]
    })
}

/// An answer or an error that a client's query may cause; anything else is our fault.
fn is_fair(result: Result<promql::Answer, QueryError>) -> Option<QueryValue> {
    match result {
        Ok(answer) => Some(answer.value),
        Err(QueryError::Storage(error)) => panic!("{error}"),
        Err(_) => None,
    }
}

/// A quick look by default; `PROPTEST_CASES` asks for a longer one.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_is_parsed_or_refused(text in any::<String>()) {
        let _ = promql::parse(&text);
        let _ = promql::parse_selector(&text);
    }

    #[test]
    fn token_soup_is_parsed_or_refused(tokens in proptest::collection::vec(proptest::sample::select(TOKENS.to_vec()), 0..40)) {
        if let Ok(expr) = promql::parse(&tokens.concat()) {
            let printed = expr.to_string();
            let again = promql::parse(&printed).unwrap_or_else(|error| panic!("{printed}: {error}"));
            prop_assert_eq!(again.to_string(), printed);
            let _ = promql::pretty(&expr);
        }
    }

    #[test]
    fn well_formed_queries_give_an_answer_or_an_error(query in query()) {
        let store = store();
        let options = Options { max_samples: 200_000, ..Options::default() };
        promql::parse(&query).unwrap_or_else(|error| panic!("{query}: {error}"));
        is_fair(promql::instant(&store, &query, 90_000, &options));
        if let Some(QueryValue::Matrix(series)) = is_fair(promql::range(&store, &query, 0, 300_000, 20_000, &options)) {
            for pair in series.windows(2) {
                prop_assert!(pair[0].labels < pair[1].labels, "{} is not sorted or has one series twice", query);
            }
            for one in &series {
                prop_assert!(one.samples.windows(2).all(|pair| pair[0].t_ms < pair[1].t_ms));
            }
        }
    }
}

#[test]
fn deep_queries_are_refused_before_they_exhaust_the_stack() {
    let deep = 100_000;
    let chains = [
        format!("{}m{}", "(".repeat(deep), ")".repeat(deep)),
        format!("m{}", " + m".repeat(deep)),
        format!("{}m", "-".repeat(deep)),
        format!("1{}", " ^ 1".repeat(deep)),
        format!("m{}", "[1m:]".repeat(deep)),
        format!("{}m{}", "abs(".repeat(deep), ")".repeat(deep)),
        format!("m[1s{}]", " + 1s".repeat(deep)),
        format!("m[{}1s{}]", "(".repeat(deep), ")".repeat(deep)),
        format!("sum({})", "(1 + (m)) * ".repeat(deep)),
    ];
    for query in chains {
        assert!(promql::parse(&query).is_err(), "{}", &query[..20]);
    }
    // What is allowed fits a small stack.
    for allowed in [
        format!("{}m{}", "abs(".repeat(90), ")".repeat(90)),
        format!("m{}", " or m".repeat(280)),
        format!("m{}", " * 1".repeat(280)),
    ] {
        let run = move || promql::instant(&store(), &allowed, 90_000, &Options::default()).map(|_| ());
        std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap().unwrap();
    }
}

#[test]
fn long_ranges_are_worked_through_in_slices_with_the_same_answer() {
    let mut store = Memory::default();
    for index in 0..20 {
        let labels = Labels::new([("__name__", "n_total".to_string()), ("i", index.to_string())]);
        let value = |at: i64| if at % 90 == 0 { f64::from_bits(STALE_NAN_BITS) } else { (at % (37 + index)) as f64 };
        store.series.insert(labels, (0..400).map(|at| Sample { t_ms: at * 5000, value: value(at) }).collect());
    }
    // 8000 samples are there, of which these options allow half at once.
    let limited = Options { max_samples: 4000, lookback_ms: 30_000, ..Options::default() };
    let ample = Options { max_samples: 1_000_000, ..limited };
    for query in [
        "n_total",
        "timestamp(n_total)",
        "rate(n_total[1m])",
        "sum(increase(n_total[45s] offset 10s))",
        "quantile_over_time(0.5, n_total[20s])",
        "absent_over_time(n_total{i=\"3\"}[5s])",
        "n_total smoothed",
        "increase(n_total[30s] anchored)",
        "predict_linear(n_total[1m], time())",
    ] {
        let answer = |options: &Options| match promql::range(&store, query, 0, 2_000_000, 50_000, options) {
            Ok(promql::Answer { value: QueryValue::Matrix(series), .. }) => {
                series.into_iter().map(|s| (s.labels, s.samples)).collect::<Vec<_>>()
            }
            other => panic!("{query}: {other:?}"),
        };
        let whole = answer(&ample);
        assert!(!whole.is_empty(), "{query}");
        assert_eq!(format!("{:?}", answer(&limited)), format!("{whole:?}"), "{query}");
    }
    // A single step that needs more than the limit is refused.
    let result = promql::range(&store, "sum_over_time(n_total[1h])", 0, 2_000_000, 50_000, &limited);
    assert!(matches!(result, Err(QueryError::TooManySamples { .. })), "{result:?}");
}

#[test]
fn costly_queries_end_at_their_limit() {
    let store = store();
    let limited = Options { max_samples: 1000, ..Options::default() };
    for query in ["m[1h:1ms]", "sum_over_time(m[10y:1s])", "sum(m) + sum(sum_over_time(m[5m:100ms]))"] {
        let result = promql::instant(&store, query, 90_000, &limited);
        assert!(matches!(result, Err(QueryError::TooManySamples { .. })), "{query}: {result:?}");
    }
    let late = Options { deadline: Some(std::time::Instant::now()), ..Options::default() };
    assert!(matches!(promql::instant(&store, "m", 90_000, &late), Err(QueryError::Timeout)));
    let stopped = std::sync::atomic::AtomicBool::new(true);
    let canceled = Options { cancel: Some(&stopped), ..Options::default() };
    assert!(matches!(promql::instant(&store, "m", 90_000, &canceled), Err(QueryError::Canceled)));
}

#[test]
fn short_queries_cannot_make_long_labels() {
    let mut replaced = "label_replace(vector(1), \"a\", \"0123456789\", \"\", \"\")".to_owned();
    let mut joined = replaced.clone();
    for _ in 0..40 {
        replaced = format!("label_replace({replaced}, \"a\", \"$1$1\", \"a\", \"(.*)\")");
        joined = format!("label_join({joined}, \"a\", \"\", \"a\", \"a\")");
    }
    for query in [replaced, joined] {
        let result = promql::instant(&Memory::default(), &query, 0, &Options::default());
        let Err(QueryError::Execution(message)) = &result else { panic!("{query}: {result:?}") };
        assert!(message.contains("label \"a\"") && message.contains("longer than"), "{message}");
    }
}

#[test]
fn numbers_count_as_samples_held() {
    let limited = Options { max_samples: 10_000, ..Options::default() };
    let numbers = vec!["vector(time())"; 20].join(" or ");
    let result = promql::instant(&Memory::default(), &format!("count_over_time(({numbers})[1000s:1s])"), 1_000_000, &limited);
    assert!(matches!(result, Err(QueryError::TooManySamples { .. })), "{result:?}");
    let clamped = (0..20).fold("vector(1)".to_owned(), |inner, _| format!("clamp({inner}, -1, time())"));
    let result = promql::instant(&Memory::default(), &format!("count_over_time({clamped}[1000s:1s])"), 1_000_000, &limited);
    assert!(matches!(result, Err(QueryError::TooManySamples { .. })), "{result:?}");
}

#[test]
fn a_text_too_long_to_be_a_query_is_refused_unread() {
    let query = "1+".repeat(1 << 20);
    let error = promql::parse(&query).unwrap_err().to_string();
    assert!(error.contains("2097152 bytes long"), "{error}");
    assert!(promql::parse_selector(&query).unwrap_err().to_string().contains("bytes long"));
}

/// A store that is asked to stop while it reads.
struct Interrupted(std::sync::atomic::AtomicBool);

impl SeriesRead for Interrupted {
    fn select(&self, _: &[Matcher], _: TimeRange, _: usize) -> Result<Vec<Series>, StoreError> {
        unreachable!("a query reads in a way that can be stopped")
    }

    fn select_while(
        &self,
        _: &[Matcher],
        _: TimeRange,
        _: usize,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<Series>>, StoreError> {
        assert!(go_on());
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        Ok(go_on().then(Vec::new))
    }

    fn series(&self, _: &[Matcher], _: TimeRange) -> Result<Vec<Labels>, StoreError> {
        Ok(Vec::new())
    }

    fn label_names(&self, _: &[Matcher], _: TimeRange) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    fn label_values(&self, _: &str, _: &[Matcher], _: TimeRange) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }
}

#[test]
fn a_query_can_be_stopped_within_one_read() {
    let store = Interrupted(false.into());
    let options = Options { cancel: Some(&store.0), ..Options::default() };
    assert!(matches!(promql::instant(&store, "sum_over_time(m[1d])", 90_000, &options), Err(QueryError::Canceled)));
}
