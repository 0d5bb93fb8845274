//! The syntax tree of PromQL. Every node knows the bytes it came from, so that errors and annotations can name the place.

use crate::Matcher;

use super::functions::Function;

/// Bytes of the query text, end excluded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    pub fn to(self, other: Span) -> Span {
        Span { start: self.start, end: other.end }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    Scalar,
    Text,
    Vector,
    Matrix,
}

impl ValueType {
    /// The name users read in the documentation.
    pub fn documented(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Text => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }

    /// The name on the wire (`resultType`).
    pub fn wire(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Text => "string",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Expr {
    pub kind: Kind,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum Kind {
    Number {
        value: f64,
        /// Written as a duration, which matters only for printing.
        duration: bool,
    },
    Text(String),
    Vector(Selector),
    Matrix {
        selector: Selector,
        range: DurationSpec,
    },
    Subquery(Box<Subquery>),
    Call {
        function: &'static Function,
        args: Vec<Expr>,
    },
    Aggregate(Box<Aggregate>),
    Binary(Box<Binary>),
    Unary {
        negative: bool,
        expr: Box<Expr>,
    },
    Paren(Box<Expr>),
    /// Made by preparation: the same at every step, so evaluated once.
    StepInvariant(Box<Expr>),
}

impl Expr {
    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            Kind::Number { .. } => ValueType::Scalar,
            Kind::Text(_) => ValueType::Text,
            Kind::Vector(_) | Kind::Aggregate(_) => ValueType::Vector,
            Kind::Matrix { .. } | Kind::Subquery(_) => ValueType::Matrix,
            Kind::Call { function, .. } => function.returns,
            Kind::Binary(binary) => {
                let both_scalar = binary.lhs.value_type() == ValueType::Scalar && binary.rhs.value_type() == ValueType::Scalar;
                if both_scalar { ValueType::Scalar } else { ValueType::Vector }
            }
            Kind::Unary { expr, .. } | Kind::Paren(expr) | Kind::StepInvariant(expr) => expr.value_type(),
        }
    }
}

/// The `@` modifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum At {
    #[default]
    None,
    /// Milliseconds since 1970.
    Time(i64),
    Start,
    End,
}

/// A duration in nanoseconds, or an expression that preparation turns into one.
#[derive(Clone, Debug, Default)]
pub struct DurationSpec {
    pub ns: i64,
    pub expr: Option<Box<DurationExpr>>,
}

impl DurationSpec {
    pub fn ms(&self) -> i64 {
        self.ns / 1_000_000
    }

    pub fn seconds(&self) -> f64 {
        self.ns as f64 / 1e9
    }

    pub fn is_set(&self) -> bool {
        self.ns != 0 || self.expr.is_some()
    }
}

#[derive(Clone, Debug)]
pub struct DurationExpr {
    pub kind: DurationKind,
    pub span: Span,
    /// Written in parentheses.
    pub wrapped: bool,
}

#[derive(Clone, Debug)]
pub enum DurationKind {
    Number { value: f64, duration: bool },
    Step,
    Range,
    Negate(Box<DurationExpr>),
    Binary(DurationOp, Box<DurationExpr>, Box<DurationExpr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurationOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Min,
    Max,
}

#[derive(Clone, Debug, Default)]
pub struct Selector {
    /// The name before the braces; it is the last of `matchers` then.
    pub name: String,
    pub matchers: Vec<Matcher>,
    pub at: At,
    pub offset: DurationSpec,
    pub anchored: bool,
    pub smoothed: bool,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub struct Subquery {
    pub expr: Expr,
    pub range: DurationSpec,
    /// Not set: the default step of subqueries.
    pub step: DurationSpec,
    pub at: At,
    pub offset: DurationSpec,
}

#[derive(Clone, Debug)]
pub struct Aggregate {
    pub op: AggregateOp,
    pub param: Option<Expr>,
    pub expr: Expr,
    pub grouping: Vec<String>,
    pub without: bool,
}

#[derive(Clone, Debug)]
pub struct Binary {
    pub op: BinaryOp,
    pub lhs: Expr,
    pub rhs: Expr,
    pub return_bool: bool,
    pub matching: Matching,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cardinality {
    #[default]
    OneToOne,
    ManyToOne,
    OneToMany,
    ManyToMany,
}

#[derive(Clone, Debug, Default)]
pub struct Matching {
    pub cardinality: Cardinality,
    pub on: bool,
    pub labels: Vec<String>,
    /// Labels `group_left`/`group_right` takes over from the one side.
    pub include: Vec<String>,
    pub fill_left: Option<f64>,
    pub fill_right: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    TrimUpper,
    TrimLower,
    And,
    Or,
    Unless,
}

impl BinaryOp {
    pub fn text(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }

    pub fn is_comparison(self) -> bool {
        matches!(self, Self::Equal | Self::NotEqual | Self::Less | Self::LessEqual | Self::Greater | Self::GreaterEqual)
    }

    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    /// The result is another quantity, so the metric name goes.
    pub fn drops_name(self) -> bool {
        matches!(self, Self::Add | Self::Sub | Self::Mul | Self::Div | Self::Mod | Self::Pow | Self::Atan2)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    CountValues,
    Quantile,
    Limitk,
    LimitRatio,
}

impl AggregateOp {
    pub const ALL: [AggregateOp; 14] = [
        Self::Sum,
        Self::Avg,
        Self::Count,
        Self::Min,
        Self::Max,
        Self::Group,
        Self::Stddev,
        Self::Stdvar,
        Self::Topk,
        Self::Bottomk,
        Self::CountValues,
        Self::Quantile,
        Self::Limitk,
        Self::LimitRatio,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Count => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::Topk => "topk",
            Self::Bottomk => "bottomk",
            Self::CountValues => "count_values",
            Self::Quantile => "quantile",
            Self::Limitk => "limitk",
            Self::LimitRatio => "limit_ratio",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.name() == name)
    }

    pub fn has_param(self) -> bool {
        matches!(self, Self::Topk | Self::Bottomk | Self::CountValues | Self::Quantile | Self::Limitk | Self::LimitRatio)
    }
}
