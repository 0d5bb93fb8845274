//! One case on disk: `case.json`, `metrics.csv`, `graph.json` and, where they exist, `calls.csv` and `logs.csv`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::classes::{Class, ColumnKind, Statistic, column_kind};

/// Why a case could not be read or answered.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    #[error("cannot read {path}: {error}; a case folder holds case.json, metrics.csv and graph.json")]
    Read { path: PathBuf, error: std::io::Error },
    #[error("{path} is not valid: {reason}")]
    Invalid { path: PathBuf, reason: String },
    #[error("cannot write {path}: {error}; check that its folder exists and is writable")]
    Write { path: PathBuf, error: std::io::Error },
}

/// The node that stands for the users.
pub const ENTRY: &str = "ENTRY";

#[derive(Debug, Deserialize)]
struct CaseFile {
    case: String,
    interval_s: f64,
    normal: [f64; 2],
    /// Nothing, `{}` or `null` where there was no alert.
    #[serde(default)]
    target: Option<TargetFile>,
    candidates: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct TargetFile {
    node: Option<String>,
    metric: Option<String>,
    statistic: Option<String>,
}

#[derive(Debug, Deserialize)]
struct GraphFile {
    #[serde(default)]
    nodes: Vec<String>,
    #[serde(default)]
    edges: Vec<[String; 2]>,
}

/// A series split at the end of the normal stretch; gaps are NaN.
#[derive(Clone, Debug)]
pub struct Column {
    pub node: usize,
    /// Name without the node, as the file has it.
    pub metric: String,
    pub kind: ColumnKind,
    pub baseline: Vec<f64>,
    pub incident: Vec<f64>,
}

/// Calls of one edge in one minute.
#[derive(Clone, Copy, Debug)]
pub struct Calls {
    pub normal: bool,
    pub caller: usize,
    pub callee: usize,
    pub calls: f64,
    /// Callee's span, seconds.
    pub p90_s: f64,
    /// Caller's span minus callee's, seconds.
    pub gap_s: f64,
}

/// Messages of one template in one minute.
#[derive(Clone, Debug)]
pub struct Messages {
    pub normal: bool,
    pub node: usize,
    pub count: f64,
    pub template: String,
}

/// What to explain.
#[derive(Clone, Debug)]
pub struct Target {
    pub node: usize,
    pub kind: ColumnKind,
}

/// A case in memory. Node indices follow the sorted names, so results do not depend on the order in files.
#[derive(Debug)]
pub struct Case {
    pub name: String,
    pub nodes: Vec<String>,
    pub candidates: Vec<usize>,
    pub target: Option<Target>,
    /// Callees per node, sorted.
    pub callees: Vec<Vec<usize>>,
    pub callers: Vec<Vec<usize>>,
    pub columns: Vec<Column>,
    pub calls: Vec<Calls>,
    pub logs: Vec<Messages>,
}

impl Case {
    pub fn read(dir: &Path) -> Result<Self, CaseError> {
        let case: CaseFile = json(&dir.join("case.json"))?;
        let graph: GraphFile = json(&dir.join("graph.json"))?;
        let metrics_path = dir.join("metrics.csv");
        let metrics = csv(&metrics_path)?;
        let calls = optional_csv(&dir.join("calls.csv"))?;
        let logs = optional_csv(&dir.join("logs.csv"))?;
        let header = metrics.first().ok_or_else(|| invalid(&metrics_path, "it is empty; the header is missing"))?;

        let mut names: BTreeSet<String> = graph.nodes.iter().chain(&case.candidates).cloned().collect();
        names.extend(graph.edges.iter().flatten().cloned());
        names.extend(header.iter().skip(1).map(|column| split_column(column).0.to_owned()));
        let target = case.target.as_ref().and_then(|target| Some((target.node.clone().filter(|node| !node.is_empty())?, target)));
        names.extend(target.iter().map(|(node, _)| node.clone()));
        let nodes: Vec<String> = names.into_iter().collect();
        let index: BTreeMap<&str, usize> = nodes.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();

        let mut edges: BTreeSet<(usize, usize)> =
            graph.edges.iter().map(|[caller, callee]| (index[caller.as_str()], index[callee.as_str()])).collect();
        let calls = read_calls(&dir.join("calls.csv"), &calls, &index, case.normal[1])?;
        edges.extend(calls.iter().map(|call| (call.caller, call.callee)));
        edges.retain(|(caller, callee)| caller != callee);
        let (mut callees, mut callers) = (vec![Vec::new(); nodes.len()], vec![Vec::new(); nodes.len()]);
        for (caller, callee) in edges {
            callees[caller].push(callee);
            callers[callee].push(caller);
        }

        let target = target.map(|(node, target)| {
            let text = |part: &Option<String>| part.clone().unwrap_or_default();
            Target { node: index[node.as_str()], kind: column_kind(&text(&target.metric), &text(&target.statistic)) }
        });
        let mut candidates: Vec<usize> = case.candidates.iter().map(|name| index[name.as_str()]).collect();
        candidates.sort_unstable();
        candidates.dedup();
        let columns = read_columns(&metrics_path, &metrics, &index, &case)?;
        let logs = read_logs(&dir.join("logs.csv"), &logs, &index, case.normal[1])?;
        Ok(Self { name: case.case, candidates, target, callees, callers, columns, calls, logs, nodes })
    }

    /// The column of a class on a node: the same statistic where asked for, percentages before absolute units.
    pub fn column(&self, node: usize, class: Class, statistic: Option<Statistic>) -> Option<&Column> {
        self.columns
            .iter()
            .filter(|column| column.node == node && column.kind.class == class)
            .filter(|column| statistic.is_none_or(|wanted| column.kind.statistic == wanted))
            .max_by_key(|column| column.kind.percent)
    }

    /// The latency of a node at a quantile, else at the one that is nearest.
    pub fn latency_at(&self, node: usize, quantile: u16) -> Option<&Column> {
        let distance = |column: &Column| match column.kind.statistic {
            Statistic::Quantile(own) => Some(own.abs_diff(quantile)),
            _ => None,
        };
        let of_node = self.columns.iter().filter(|column| column.node == node && column.kind.class == Class::Latency);
        of_node
            .filter_map(|column| Some((distance(column)?, column)))
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, column)| column)
    }

    pub fn entry(&self) -> Option<usize> {
        self.nodes.iter().position(|name| name == ENTRY)
    }
}

/// `node|metric` or `node|metric|statistic`; the node itself may contain no `|`.
fn split_column(column: &str) -> (&str, &str, &str) {
    let (node, rest) = column.split_once('|').unwrap_or((column, ""));
    let (metric, statistic) = rest.split_once('|').unwrap_or((rest, ""));
    (node, metric, statistic)
}

fn read_columns(
    path: &Path,
    rows: &[Vec<String>],
    index: &BTreeMap<&str, usize>,
    case: &CaseFile,
) -> Result<Vec<Column>, CaseError> {
    let mut columns: Vec<Column> = rows[0]
        .iter()
        .skip(1)
        .map(|name| {
            let (node, metric, statistic) = split_column(name);
            Column {
                node: index[node],
                metric: name[node.len()..].trim_start_matches('|').to_owned(),
                kind: column_kind(metric, statistic),
                baseline: Vec::new(),
                incident: Vec::new(),
            }
        })
        .collect();
    for (line, row) in rows.iter().enumerate().skip(1) {
        let time = seconds(&row[0])
            .ok_or_else(|| invalid(path, &format!("line {}: the time `{}` is not a number of seconds", line + 1, row[0])))?;
        let is_normal = time <= case.normal[1];
        if time < case.normal[0] {
            continue;
        }
        for (at, column) in columns.iter_mut().enumerate() {
            let kind = &column.kind;
            let factor = match kind.class {
                Class::Latency => kind.seconds,
                _ if kind.per_second => case.interval_s,
                _ => 1.0,
            };
            let value = number(row.get(at + 1).map_or("", String::as_str)) * factor;
            if is_normal { column.baseline.push(value) } else { column.incident.push(value) }
        }
    }
    shares_to_percent(&mut columns);
    columns.sort_by(|left, right| (left.node, &left.metric).cmp(&(right.node, &right.metric)));
    Ok(columns)
}

/// A share of 1 becomes a percentage where no node's ever exceeds it: one node at rest cannot tell.
fn shares_to_percent(columns: &mut [Column]) {
    const MOST_OF_A_SHARE: f64 = 1.5;
    let of_resources = |column: &Column| column.kind.percent && matches!(column.kind.class, Class::Cpu | Class::Memory);
    let mut most: BTreeMap<String, f64> = BTreeMap::new();
    for column in columns.iter().filter(|column| of_resources(column)) {
        let values = column.baseline.iter().chain(&column.incident).copied().filter(|value| value.is_finite());
        let known = most.entry(column.metric.clone()).or_insert(0.0);
        *known = values.fold(*known, f64::max);
    }
    for column in columns.iter_mut().filter(|column| of_resources(column)) {
        if most[&column.metric] <= MOST_OF_A_SHARE {
            column.baseline.iter_mut().chain(&mut column.incident).for_each(|value| *value *= 100.0);
        }
    }
}

fn read_calls(
    path: &Path,
    rows: &[Vec<String>],
    index: &BTreeMap<&str, usize>,
    normal_end: f64,
) -> Result<Vec<Calls>, CaseError> {
    let Some(header) = rows.first() else { return Ok(Vec::new()) };
    let at = |name: &str| header.iter().position(|column| column == name);
    let (Some(time), Some(caller), Some(callee), Some(calls)) = (at("timestamp"), at("caller"), at("callee"), at("calls")) else {
        return Err(invalid(path, "the header needs timestamp, caller, callee and calls"));
    };
    let cell = |row: &Vec<String>, column: Option<usize>| {
        column.and_then(|column| row.get(column)).map_or(f64::NAN, |text| number(text))
    };
    let (p90, gap) = (at("p90_ms"), at("gap_p90_ms"));
    let mut out: Vec<Calls> = rows[1..]
        .iter()
        .filter_map(|row| {
            Some(Calls {
                normal: seconds(row.get(time)?)? <= normal_end,
                caller: *index.get(row.get(caller)?.as_str())?,
                callee: *index.get(row.get(callee)?.as_str())?,
                calls: number(row.get(calls)?),
                p90_s: cell(row, p90) / 1e3,
                gap_s: cell(row, gap) / 1e3,
            })
        })
        .filter(|call| call.calls.is_finite())
        .collect();
    out.sort_by_key(|call| (call.caller, call.callee, !call.normal));
    Ok(out)
}

fn read_logs(
    path: &Path,
    rows: &[Vec<String>],
    index: &BTreeMap<&str, usize>,
    normal_end: f64,
) -> Result<Vec<Messages>, CaseError> {
    let Some(header) = rows.first() else { return Ok(Vec::new()) };
    let at = |name: &str| header.iter().position(|column| column == name);
    let (Some(time), Some(node), Some(count), Some(template)) = (at("timestamp"), at("node"), at("count"), at("template")) else {
        return Err(invalid(path, "the header needs timestamp, node, count and template"));
    };
    Ok(rows[1..]
        .iter()
        .filter_map(|row| {
            Some(Messages {
                normal: seconds(row.get(time)?)? <= normal_end,
                node: *index.get(row.get(node)?.as_str())?,
                count: number(row.get(count)?),
                template: row.get(template)?.clone(),
            })
        })
        .filter(|message| message.count.is_finite())
        .collect())
}

fn number(text: &str) -> f64 {
    seconds(text).unwrap_or(f64::NAN)
}

fn seconds(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|value| value.is_finite())
}

fn invalid(path: &Path, reason: &str) -> CaseError {
    CaseError::Invalid { path: path.to_owned(), reason: reason.to_owned() }
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, CaseError> {
    let text = std::fs::read_to_string(path).map_err(|error| CaseError::Read { path: path.to_owned(), error })?;
    serde_json::from_str(&text).map_err(|error| invalid(path, &error.to_string()))
}

fn csv(path: &Path) -> Result<Vec<Vec<String>>, CaseError> {
    let text = std::fs::read_to_string(path).map_err(|error| CaseError::Read { path: path.to_owned(), error })?;
    Ok(parse_csv(&text))
}

fn optional_csv(path: &Path) -> Result<Vec<Vec<String>>, CaseError> {
    if path.exists() { csv(path) } else { Ok(Vec::new()) }
}

/// Comma-separated text as RFC 4180 has it: quoted fields may hold commas, quotes (doubled) and line ends.
fn parse_csv(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut quoted, mut chars) = (false, text.chars().peekable());
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut field)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            other => field.push(other),
        }
    }
    if !field.is_empty() || !row.is_empty() {
        row.push(field);
        rows.push(row);
    }
    rows.retain(|row| row.len() > 1 || row.first().is_some_and(|cell| !cell.is_empty()));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_fields_keep_commas_quotes_and_line_ends() {
        let rows = parse_csv("a,\"b,\"\"c\"\"\"\r\n1,\"x\ny\"\n");
        assert_eq!(rows, [vec!["a", "b,\"c\""], vec!["1", "x\ny"]]);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = Case::read(Path::new("/nonexistent-case")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent-case/case.json"), "{error}");
    }
}
