//! The functions of PromQL: names, types, and what each does to one value or one window of a series. Functions on whole
//! vectors are marked here and done by the evaluator.

pub(super) mod histogram;
pub(super) mod math;
pub(super) mod over_time;
pub(super) mod rate;

use super::ast::ValueType;
use math::Civil;
use rate::Window;

/// What a range function makes of one window; the scalars are its other arguments in order.
pub(super) type RangeFunction = fn(&Window, &[f64]) -> Result<Option<f64>, String>;

#[derive(Clone, Copy)]
pub(super) enum Body {
    Range(RangeFunction),
    Math(fn(f64) -> f64),
    Date(fn(Civil) -> f64),
    Special(Special),
}

/// Functions the evaluator does itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Special {
    Absent,
    AbsentOverTime,
    Clamp,
    ClampMax,
    ClampMin,
    HistogramFraction,
    HistogramQuantile,
    HistogramQuantiles,
    Info,
    LabelJoin,
    LabelReplace,
    MaxOf,
    MinOf,
    /// Defined on native histograms only, of which there are none here: nothing comes out.
    NativeOnly,
    Pi,
    /// `start()`, `end()`, `range()`, `step()`: numbers by the time a query runs.
    QueryContext,
    Round,
    Scalar,
    Sort,
    SortByLabel,
    SortByLabelDesc,
    SortDesc,
    Time,
    Timestamp,
    Vector,
}

pub struct Function {
    pub name: &'static str,
    pub args: &'static [ValueType],
    /// How many arguments more than the last of `args` may follow or be missing; negative: any number.
    pub variadic: i32,
    pub returns: ValueType,
    pub(super) body: Body,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Function {
    /// Whether the result depends on the time of evaluation even if the arguments do not.
    pub(super) fn depends_on_time(&self) -> bool {
        matches!(
            self.name,
            "days_in_month"
                | "day_of_month"
                | "day_of_week"
                | "day_of_year"
                | "end"
                | "hour"
                | "minute"
                | "month"
                | "year"
                | "predict_linear"
                | "range"
                | "start"
                | "step"
                | "time"
                | "timestamp"
        )
    }

    /// Range functions that keep the metric name.
    pub(super) fn keeps_name(&self) -> bool {
        matches!(self.name, "first_over_time" | "last_over_time")
    }
}

use ValueType::{Matrix as M, Scalar as S, Text as T, Vector as V};

const fn range(name: &'static str, function: RangeFunction) -> Function {
    Function { name, args: &[M], variadic: 0, returns: V, body: Body::Range(function) }
}

const fn math_of(name: &'static str, function: fn(f64) -> f64) -> Function {
    Function { name, args: &[V], variadic: 0, returns: V, body: Body::Math(function) }
}

const fn date(name: &'static str, function: fn(Civil) -> f64) -> Function {
    Function { name, args: &[V], variadic: 1, returns: V, body: Body::Date(function) }
}

const fn special(name: &'static str, args: &'static [ValueType], variadic: i32, returns: ValueType, what: Special) -> Function {
    Function { name, args, variadic, returns, body: Body::Special(what) }
}

static FUNCTIONS: [Function; 91] = [
    math_of("abs", f64::abs),
    special("absent", &[V], 0, V, Special::Absent),
    special("absent_over_time", &[M], 0, V, Special::AbsentOverTime),
    math_of("acos", f64::acos),
    math_of("acosh", f64::acosh),
    math_of("asin", f64::asin),
    math_of("asinh", f64::asinh),
    math_of("atan", f64::atan),
    math_of("atanh", f64::atanh),
    range("avg_over_time", over_time::avg),
    math_of("ceil", f64::ceil),
    range("changes", rate::changes),
    special("clamp", &[V, S, S], 0, V, Special::Clamp),
    special("clamp_max", &[V, S], 0, V, Special::ClampMax),
    special("clamp_min", &[V, S], 0, V, Special::ClampMin),
    math_of("cos", f64::cos),
    math_of("cosh", f64::cosh),
    range("count_over_time", over_time::count),
    date("day_of_month", |t| t.day as f64),
    date("day_of_week", |t| t.weekday as f64),
    date("day_of_year", |t| t.year_day as f64),
    date("days_in_month", |t| t.days_in_month as f64),
    math_of("deg", |radians| radians * 180.0 / std::f64::consts::PI),
    range("delta", rate::delta),
    range("deriv", over_time::deriv),
    Function {
        name: "double_exponential_smoothing",
        args: &[M, S, S],
        variadic: 0,
        returns: V,
        body: Body::Range(over_time::double_exponential_smoothing),
    },
    special("end", &[], 0, S, Special::QueryContext),
    math_of("exp", f64::exp),
    range("first_over_time", over_time::first),
    math_of("floor", f64::floor),
    special("histogram_avg", &[V], 0, V, Special::NativeOnly),
    special("histogram_count", &[V], 0, V, Special::NativeOnly),
    special("histogram_fraction", &[S, S, V], 0, V, Special::HistogramFraction),
    special("histogram_quantile", &[S, V], 0, V, Special::HistogramQuantile),
    special("histogram_quantiles", &[V, T, S, S], 9, V, Special::HistogramQuantiles),
    special("histogram_stddev", &[V], 0, V, Special::NativeOnly),
    special("histogram_stdvar", &[V], 0, V, Special::NativeOnly),
    special("histogram_sum", &[V], 0, V, Special::NativeOnly),
    // The name of double_exponential_smoothing before Prometheus 3; dashboards still use it.
    Function {
        name: "holt_winters",
        args: &[M, S, S],
        variadic: 0,
        returns: V,
        body: Body::Range(over_time::double_exponential_smoothing),
    },
    date("hour", |t| t.hour as f64),
    range("idelta", rate::idelta),
    range("increase", rate::increase),
    special("info", &[V, V], 1, V, Special::Info),
    range("irate", rate::irate),
    special("label_join", &[V, T, T, T], -1, V, Special::LabelJoin),
    special("label_replace", &[V, T, T, T, T], 0, V, Special::LabelReplace),
    range("last_over_time", over_time::last),
    math_of("ln", f64::ln),
    math_of("log10", f64::log10),
    math_of("log2", f64::log2),
    range("mad_over_time", over_time::mad),
    special("max_of", &[S, S], 0, S, Special::MaxOf),
    range("max_over_time", over_time::max),
    special("min_of", &[S, S], 0, S, Special::MinOf),
    range("min_over_time", over_time::min),
    date("minute", |t| t.minute as f64),
    date("month", |t| t.month as f64),
    special("pi", &[], 0, S, Special::Pi),
    Function { name: "predict_linear", args: &[M, S], variadic: 0, returns: V, body: Body::Range(over_time::predict_linear) },
    range("present_over_time", over_time::present),
    Function { name: "quantile_over_time", args: &[S, M], variadic: 0, returns: V, body: Body::Range(over_time::quantile) },
    math_of("rad", |degrees| degrees * std::f64::consts::PI / 180.0),
    special("range", &[], 0, S, Special::QueryContext),
    range("rate", rate::rate),
    range("resets", rate::resets),
    special("round", &[V, S], 1, V, Special::Round),
    special("scalar", &[V], 0, S, Special::Scalar),
    math_of("sgn", math::sign),
    math_of("sin", f64::sin),
    math_of("sinh", f64::sinh),
    special("sort", &[V], 0, V, Special::Sort),
    special("sort_by_label", &[V, T], -1, V, Special::SortByLabel),
    special("sort_by_label_desc", &[V, T], -1, V, Special::SortByLabelDesc),
    special("sort_desc", &[V], 0, V, Special::SortDesc),
    math_of("sqrt", f64::sqrt),
    special("start", &[], 0, S, Special::QueryContext),
    // Samples carry no start timestamps here.
    special("start_timestamp", &[V], 0, V, Special::NativeOnly),
    range("stddev_over_time", over_time::stddev),
    range("stdvar_over_time", over_time::stdvar),
    special("step", &[], 0, S, Special::QueryContext),
    range("sum_over_time", over_time::sum),
    math_of("tan", f64::tan),
    math_of("tanh", f64::tanh),
    special("time", &[], 0, S, Special::Time),
    special("timestamp", &[V], 0, V, Special::Timestamp),
    range("ts_of_first_over_time", over_time::time_of_first),
    range("ts_of_last_over_time", over_time::time_of_last),
    range("ts_of_max_over_time", over_time::time_of_max),
    range("ts_of_min_over_time", over_time::time_of_min),
    special("vector", &[S], 0, V, Special::Vector),
    date("year", |t| t.year as f64),
];

pub fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// All functions, for completion in an editor.
pub fn all() -> &'static [Function] {
    &FUNCTIONS
}
