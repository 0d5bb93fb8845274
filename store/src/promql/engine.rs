//! Running a query: limits, the range, and the answer in the shape of its type.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crate::{Labels, Sample, Series, SeriesRead, StoreError};

use super::ast::ValueType;
use super::eval::{Evaluator, Failure, Value};
use super::parse::{ParseError, parse};
use super::prepare::{QueryRange, prepare};
use super::rows::{Row, Steps};

/// What a query may cost and how far back an instant selector looks.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    pub lookback_ms: i64,
    /// Samples a query may hold at once, read and computed together.
    pub max_samples: usize,
    pub deadline: Option<Instant>,
    /// Set from elsewhere to stop the query.
    pub cancel: Option<&'a AtomicBool>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { lookback_ms: 300_000, max_samples: 50_000_000, deadline: None, cancel: None }
    }
}

#[derive(Clone, Debug)]
pub struct VectorSample {
    pub labels: Labels,
    pub t_ms: i64,
    pub value: f64,
}

#[derive(Clone, Debug)]
pub enum QueryValue {
    Scalar(Sample),
    Text { t_ms: i64, text: String },
    Vector(Vec<VectorSample>),
    Matrix(Vec<Series>),
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub value: QueryValue,
    pub cost: Cost,
    pub warnings: Vec<String>,
    pub infos: Vec<String>,
}

/// What a query took, in samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Read from the store.
    pub read: usize,
    /// Held at once at most, read and computed together.
    pub peak: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The text is no query.
    #[error("{0}")]
    Parse(#[from] ParseError),
    /// The query is well-formed but not for these parameters.
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Execution(String),
    #[error("query processing would load too many samples into memory in query execution (limit {limit})")]
    TooManySamples { limit: usize },
    #[error("query timed out in expression evaluation")]
    Timeout,
    #[error("query was canceled in expression evaluation")]
    Canceled,
    #[error("expanding series: {0}")]
    Storage(String),
}

impl From<Failure> for QueryError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Execution(message) => Self::Execution(message),
            Failure::TooManySamples(limit) | Failure::Storage(StoreError::TooManySamples { limit }) => {
                Self::TooManySamples { limit }
            }
            // Only what cannot be divided comes here, and that is read with the whole limit.
            Failure::SliceTooLarge => Self::Execution("too many samples at one step".into()),
            Failure::Timeout => Self::Timeout,
            Failure::Canceled => Self::Canceled,
            Failure::Storage(StoreError::BadRequest(message)) => Self::Execution(message),
            Failure::Storage(error) => Self::Storage(error.to_string()),
        }
    }
}

/// Evaluates a query at one time.
pub fn instant(read: &dyn SeriesRead, query: &str, at_ms: i64, options: &Options) -> Result<Answer, QueryError> {
    let expr = parse(query)?;
    let value_type = expr.value_type();
    let expr = prepare(expr, QueryRange { start_ms: at_ms, end_ms: at_ms, step_ms: 0 }).map_err(QueryError::Invalid)?;
    let mut evaluator = Evaluator::new(read, options);
    let value = evaluator.eval(&expr, Steps::once(at_ms))?;
    let value = match value {
        Value::Scalar(values) => QueryValue::Scalar(Sample { t_ms: at_ms, value: values[0] }),
        Value::Text(text) => QueryValue::Text { t_ms: at_ms, text },
        Value::Rows(rows) => QueryValue::Vector(
            rows.into_iter()
                .filter_map(|row| row.get(0).map(|value| VectorSample { labels: row.labels.clone(), t_ms: at_ms, value }))
                .collect(),
        ),
        Value::Ranges(mut series) => {
            series.sort_by(|left, right| left.labels.cmp(&right.labels));
            QueryValue::Matrix(series)
        }
    };
    debug_assert_eq!(matches!(value, QueryValue::Scalar(_)), value_type == ValueType::Scalar);
    let (warnings, infos) = evaluator.notes.render(query);
    Ok(Answer { value, cost: evaluator.cost, warnings, infos })
}

/// Evaluates a query at every step from start to end; the answer is a matrix sorted by labels.
pub fn range(
    read: &dyn SeriesRead,
    query: &str,
    start_ms: i64,
    end_ms: i64,
    step_ms: i64,
    options: &Options,
) -> Result<Answer, QueryError> {
    let expr = parse(query)?;
    if !matches!(expr.value_type(), ValueType::Vector | ValueType::Scalar) {
        let got = expr.value_type().documented();
        let message = format!("invalid expression type \"{got}\" for range query, must be Scalar or instant Vector");
        return Err(QueryError::Invalid(message));
    }
    if step_ms <= 0 {
        return Err(QueryError::Invalid(
            "zero or negative query resolution step widths are not accepted. Try a positive integer".into(),
        ));
    }
    let expr = prepare(expr, QueryRange { start_ms, end_ms, step_ms }).map_err(QueryError::Invalid)?;
    let steps = Steps::between(start_ms, end_ms, step_ms);
    let mut evaluator = Evaluator::new(read, options);
    let rows = match evaluator.eval(&expr, steps)? {
        Value::Rows(rows) => rows,
        Value::Scalar(values) => {
            let mut row = Row::with_capacity(super::labels::empty(), values.len());
            values.into_iter().enumerate().for_each(|(step, value)| row.push(step, value));
            vec![row]
        }
        Value::Text(_) | Value::Ranges(_) => Vec::new(),
    };
    let mut series: Vec<Series> = rows.into_iter().filter(|row| !row.is_empty()).map(|row| into_series(row, steps)).collect();
    series.sort_by(|left, right| left.labels.cmp(&right.labels));
    let (warnings, infos) = evaluator.notes.render(query);
    Ok(Answer { value: QueryValue::Matrix(series), cost: evaluator.cost, warnings, infos })
}

fn into_series(row: Row, steps: Steps) -> Series {
    let samples = row.iter().map(|(step, value)| Sample { t_ms: steps.time(step), value }).collect();
    Series { labels: row.labels, samples }
}
