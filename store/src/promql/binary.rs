//! Binary operators: arithmetic and comparison between numbers, vectors and both, matching of vectors by labels, and the
//! set operators. Matching is worked out once per pair of series; the steps follow in a tight loop.

use ahash::{AHashMap, AHashSet};

use crate::Labels;

use super::ast::{Binary, BinaryOp, Cardinality, Matching, ValueType};
use super::eval::{Evaluator, Failure, Value};
use super::labels::{self, keep, matched, show, without_name};
use super::rows::{Row, Steps, merge};

fn truth(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

fn compare(op: BinaryOp, lhs: f64, rhs: f64) -> bool {
    match op {
        BinaryOp::Equal => lhs == rhs,
        BinaryOp::NotEqual => lhs != rhs,
        BinaryOp::Less => lhs < rhs,
        BinaryOp::LessEqual => lhs <= rhs,
        BinaryOp::Greater => lhs > rhs,
        BinaryOp::GreaterEqual => lhs >= rhs,
        _ => false,
    }
}

fn arithmetic(op: BinaryOp, lhs: f64, rhs: f64) -> f64 {
    match op {
        BinaryOp::Add => lhs + rhs,
        BinaryOp::Sub => lhs - rhs,
        BinaryOp::Mul => lhs * rhs,
        BinaryOp::Div => lhs / rhs,
        BinaryOp::Mod => lhs % rhs,
        BinaryOp::Pow => lhs.powf(rhs),
        BinaryOp::Atan2 => lhs.atan2(rhs),
        other => truth(compare(other, lhs, rhs)),
    }
}

/// The result for two samples; comparisons keep the left value or nothing.
#[inline]
fn element(op: BinaryOp, return_bool: bool, lhs: f64, rhs: f64) -> Option<f64> {
    if !op.is_comparison() {
        return Some(arithmetic(op, lhs, rhs));
    }
    let holds = compare(op, lhs, rhs);
    if return_bool { Some(truth(holds)) } else { holds.then_some(lhs) }
}

/// Series of one side by the labels they are matched by.
struct Groups {
    of_row: Vec<usize>,
}

/// Numbers both sides' match groups; the same number means they match.
fn group(lhs: &[Row], rhs: &[Row], matching: &Matching) -> (Groups, Groups, usize) {
    let mut numbers: AHashMap<Labels, usize> = AHashMap::with_capacity(lhs.len());
    let mut number = |rows: &[Row]| {
        let of_row = rows
            .iter()
            .map(|row| {
                let next = numbers.len();
                *numbers.entry(matched(&row.labels, matching.on, &matching.labels)).or_insert(next)
            })
            .collect();
        Groups { of_row }
    };
    let (left, right) = (number(lhs), number(rhs));
    let count = numbers.len();
    (left, right, count)
}

fn members(groups: &Groups, count: usize) -> Vec<Vec<usize>> {
    let mut members = vec![Vec::new(); count];
    for (row, &group) in groups.of_row.iter().enumerate() {
        members[group].push(row);
    }
    members
}

/// Steps at which any of the rows has a value.
fn presence<'a>(rows: impl Iterator<Item = &'a Row>, steps: usize) -> Vec<bool> {
    let mut present = vec![false; steps];
    for row in rows {
        row.iter().for_each(|(step, _)| present[step] = true);
    }
    present
}

impl Evaluator<'_> {
    pub(super) fn binary(&mut self, binary: &Binary, at: usize, steps: Steps) -> Result<Value, Failure> {
        let (left, right) = (binary.lhs.value_type(), binary.rhs.value_type());
        match (left, right) {
            (ValueType::Scalar, ValueType::Scalar) => {
                let (lhs, rhs) = (self.scalar(&binary.lhs, steps)?, self.scalar(&binary.rhs, steps)?);
                if is_trim(binary.op) {
                    let message = format!("operator {:?} not allowed for Scalar operations", binary.op.text());
                    return Err(Failure::Execution(message));
                }
                Ok(Value::Scalar(lhs.iter().zip(&rhs).map(|(lhs, rhs)| arithmetic(binary.op, *lhs, *rhs)).collect()))
            }
            (ValueType::Vector, ValueType::Scalar) => {
                let (rows, scalar) = (self.rows(&binary.lhs, steps)?, self.scalar(&binary.rhs, steps)?);
                self.vector_scalar(binary, rows, &scalar, false, at)
            }
            (ValueType::Scalar, ValueType::Vector) => {
                let (scalar, rows) = (self.scalar(&binary.lhs, steps)?, self.rows(&binary.rhs, steps)?);
                self.vector_scalar(binary, rows, &scalar, true, at)
            }
            _ => {
                let (lhs, rhs) = (self.rows(&binary.lhs, steps)?, self.rows(&binary.rhs, steps)?);
                let out = if binary.op.is_set() {
                    set_operation(binary, &lhs, &rhs, steps)?
                } else if is_trim(binary.op) {
                    self.note_trim(binary.op, at, !lhs.is_empty() && !rhs.is_empty());
                    Vec::new()
                } else {
                    self.vector_vector(binary, &lhs, &rhs, steps)?
                };
                self.release(&lhs);
                self.release(&rhs);
                self.charge_rows(&out)?;
                Ok(Value::Rows(out))
            }
        }
    }

    fn note_trim(&mut self, op: BinaryOp, at: usize, applies: bool) {
        if applies {
            let op = op.text();
            self.notes.info(at, format!("incompatible sample types encountered for binary operator {op:?}: float {op} float"));
        }
    }

    fn vector_scalar(
        &mut self,
        binary: &Binary,
        rows: Vec<Row>,
        scalar: &[f64],
        swapped: bool,
        at: usize,
    ) -> Result<Value, Failure> {
        let (op, return_bool) = (binary.op, binary.return_bool);
        if is_trim(op) {
            self.note_trim(op, at, !rows.is_empty());
            return Ok(Value::Rows(Vec::new()));
        }
        let drops_name = op.drops_name() || return_bool;
        let out = rows
            .iter()
            .map(|row| {
                let labels = if drops_name { without_name(&row.labels) } else { row.labels.clone() };
                row.filter_map(labels, |step, value| {
                    let other = scalar[step];
                    let (lhs, rhs) = if swapped { (other, value) } else { (value, other) };
                    let result = element(op, return_bool, lhs, rhs)?;
                    // A filter keeps the vector's value, whichever side it stands on.
                    Some(if op.is_comparison() && !return_bool { value } else { result })
                })
            })
            .collect();
        let out = merge(out)?;
        self.release(&rows);
        self.charge_rows(&out)?;
        Ok(Value::Rows(out))
    }

    fn vector_vector(&mut self, binary: &Binary, lhs: &[Row], rhs: &[Row], steps: Steps) -> Result<Vec<Row>, Failure> {
        let matching = &binary.matching;
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        if (lhs.is_empty() || rhs.is_empty()) && !fills {
            return Ok(Vec::new());
        }
        // The right side is the "one" side from here on.
        let swapped = matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped { (rhs, lhs) } else { (lhs, rhs) };
        let (many_groups, one_groups, count) = group(many, one, matching);
        let join = Join { binary, many, one, swapped, steps: steps.count };
        let (many_members, one_members) = (members(&many_groups, count), members(&one_groups, count));
        // At steps where one side has nothing at all, duplicates on the other do not matter.
        let (any_many, any_one) = (presence(many.iter(), steps.count), presence(one.iter(), steps.count));
        let relevant: Vec<bool> =
            any_many.iter().zip(&any_one).map(|(many, one)| (*many && *one) || (fills && (*many || *one))).collect();
        let mut out = Vec::with_capacity(many.len());
        for (many_rows, one_rows) in many_members.iter().zip(&one_members) {
            self.pulse()?;
            join.require_one(one_rows, &relevant)?;
            join.group(many_rows, one_rows, &mut out)?;
        }
        merge(out)
    }
}

fn is_trim(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower)
}

struct Join<'a> {
    binary: &'a Binary,
    many: &'a [Row],
    one: &'a [Row],
    swapped: bool,
    steps: usize,
}

impl Join<'_> {
    /// Two series of one match group at one step on the "one" side make it many-to-many.
    fn require_one(&self, rows: &[usize], relevant: &[bool]) -> Result<(), Failure> {
        if rows.len() < 2 {
            return Ok(());
        }
        let mut holder: Vec<Option<usize>> = vec![None; self.steps];
        for &row in rows {
            for (step, _) in self.one[row].iter() {
                if !relevant[step] {
                    continue;
                }
                if let Some(other) = holder[step].replace(row) {
                    let matching = &self.binary.matching;
                    let group = show(&matched(&self.one[row].labels, matching.on, &matching.labels));
                    let side = if self.swapped { "left" } else { "right" };
                    let mut both = [show(&self.one[other].labels), show(&self.one[row].labels)];
                    both.sort();
                    return Err(Failure::Execution(format!(
                        "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{}, {}]\
                         ;many-to-many matching not allowed: matching labels must be unique on one side",
                        both[0], both[1]
                    )));
                }
            }
        }
        Ok(())
    }

    fn group(&self, many_rows: &[usize], one_rows: &[usize], out: &mut Vec<Row>) -> Result<(), Failure> {
        let matching = &self.binary.matching;
        // Prometheus fills by role, not by side: with group_right, "left" is the many side on the right.
        let (fill_many, fill_one) = (matching.fill_left, matching.fill_right);
        let one_to_one = matching.cardinality == Cardinality::OneToOne;
        let check_unique = many_rows.len() > 1 || fill_many.is_some();
        let mut taken = vec![false; if check_unique { self.steps } else { 0 }];
        let mut taken_labels: AHashSet<(Labels, usize)> = AHashSet::new();
        let mut claim = |labels: &Labels, step: usize| {
            if !check_unique {
                return Ok(());
            }
            let again = std::mem::replace(&mut taken[step], true);
            if one_to_one && again {
                let message = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";
                return Err(Failure::Execution(message.into()));
            }
            if !one_to_one && many_rows.len() > 1 && !taken_labels.insert((labels.clone(), step)) {
                let message = "multiple matches for labels: grouping labels must ensure unique matches";
                return Err(Failure::Execution(message.into()));
            }
            Ok(())
        };
        for &many_row in many_rows {
            let left = &self.many[many_row];
            for &one_row in one_rows {
                let right = &self.one[one_row];
                let labels = self.result_labels(&left.labels, &right.labels);
                let mut row = Row::with_capacity(labels.clone(), left.len());
                for (step, value) in left.iter() {
                    if let Some(other) = right.get(step) {
                        claim(&labels, step)?;
                        if let Some(result) = self.element(value, other) {
                            row.push(step, result);
                        }
                    }
                }
                out.push(row);
            }
            if let Some(fill) = fill_one {
                let labels = self.result_labels(&left.labels, &matched(&left.labels, matching.on, &matching.labels));
                let mut row = Row::new(labels.clone());
                for (step, value) in left.iter() {
                    if one_rows.iter().all(|&one_row| self.one[one_row].get(step).is_none()) {
                        claim(&labels, step)?;
                        if let Some(result) = self.element(value, fill) {
                            row.push(step, result);
                        }
                    }
                }
                out.push(row);
            }
        }
        if let Some(fill) = fill_many {
            for &one_row in one_rows {
                let right = &self.one[one_row];
                let labels = self.result_labels(&matched(&right.labels, matching.on, &matching.labels), &right.labels);
                let row = right.filter_map(labels, |step, value| if taken[step] { None } else { self.element(fill, value) });
                out.push(row);
            }
        }
        Ok(())
    }

    fn element(&self, many: f64, one: f64) -> Option<f64> {
        let (lhs, rhs) = if self.swapped { (one, many) } else { (many, one) };
        element(self.binary.op, self.binary.return_bool, lhs, rhs)
    }

    fn result_labels(&self, many: &Labels, one: &Labels) -> Labels {
        let matching = &self.binary.matching;
        let mut labels = if self.binary.op.drops_name() || self.binary.return_bool { without_name(many) } else { many.clone() };
        if matching.cardinality == Cardinality::OneToOne {
            let is_named = |name: &str| matching.labels.iter().any(|label| label == name);
            labels = if matching.on { keep(&labels, is_named) } else { keep(&labels, |name| !is_named(name)) };
        }
        for name in &matching.include {
            labels = labels::set(&labels, name, one.get(name).unwrap_or(""));
        }
        labels
    }
}

fn set_operation(binary: &Binary, lhs: &[Row], rhs: &[Row], steps: Steps) -> Result<Vec<Row>, Failure> {
    let (left_groups, right_groups, count) = group(lhs, rhs, &binary.matching);
    let present = |rows: &[Row], groups: &Groups| -> Vec<Vec<bool>> {
        members(groups, count).iter().map(|members| presence(members.iter().map(|&row| &rows[row]), steps.count)).collect()
    };
    let filter = |rows: &[Row], groups: &Groups, other: &[Vec<bool>], wanted: bool| -> Vec<Row> {
        let filtered = rows.iter().zip(&groups.of_row).map(|(row, &group)| {
            row.filter_map(row.labels.clone(), |step, value| (other[group][step] == wanted).then_some(value))
        });
        filtered.collect()
    };
    let out = match binary.op {
        BinaryOp::And => filter(lhs, &left_groups, &present(rhs, &right_groups), true),
        BinaryOp::Unless => filter(lhs, &left_groups, &present(rhs, &right_groups), false),
        _ => {
            let mut out = lhs.to_vec();
            out.extend(filter(rhs, &right_groups, &present(lhs, &left_groups), false));
            out
        }
    };
    merge(out)
}
