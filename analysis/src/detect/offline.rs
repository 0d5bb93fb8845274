//! Detection over a file: one row in, one row out, nothing later than the row looked at. One column is judged by its
//! novelty, several as the joint state of one entity.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::novelty::{ALARM, Novelty};
use super::past::Past;

/// Windows remembered per entity offline, where memory is cheap.
const WINDOWS: usize = 1000;
/// Metrics named in `top`.
const NAMED: usize = 12;
/// Steps looked at for the sampling interval.
const STEPS: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    #[error("{path}: {error}", path = .path.display())]
    Io { path: PathBuf, error: std::io::Error },
    #[error("{path}: line {line}: {reason}", path = .path.display())]
    Format { path: PathBuf, line: usize, reason: String },
}

/// How much was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    pub rows: usize,
    pub alarms: usize,
}

/// Median of the last time steps, hence samples a day.
#[derive(Debug, Default)]
struct Pace {
    last_s: Option<f64>,
    steps: Vec<f64>,
}

impl Pace {
    fn samples_a_day(&mut self, at_s: f64) -> f64 {
        if let Some(last) = self.last_s.filter(|last| at_s > *last) {
            if self.steps.len() == STEPS {
                self.steps.remove(0);
            }
            self.steps.push(at_s - last);
        }
        self.last_s = Some(at_s);
        let mut sorted = self.steps.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).map_or(1440.0, |step| 86_400.0 / step)
    }
}

/// Reads `timestamp,<metric>...` (seconds since 1970, ascending) and writes `timestamp,score,alarm,top`.
pub fn detect_file(input: &Path, output: &Path) -> Result<Judged, DetectError> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |error| DetectError::Io { path, error }
    };
    let format = |line: usize, reason: String| DetectError::Format { path: input.to_path_buf(), line, reason };
    let mut lines = BufReader::new(File::open(input).map_err(io(input))?).lines();
    let header = lines.next().ok_or_else(|| format(1, "the file is empty; expected a header timestamp,<metric>".into()))?;
    let header = header.map_err(io(input))?;
    let mut names = header.trim_end().split(',');
    if names.next() != Some("timestamp") {
        return Err(format(1, "the first column must be named timestamp".into()));
    }
    let names: Vec<&str> = names.collect();
    if names.is_empty() {
        return Err(format(1, "there is no metric column after timestamp".into()));
    }

    let mut out = BufWriter::new(File::create(output).map_err(io(output))?);
    writeln!(out, "timestamp,score,alarm,top").map_err(io(output))?;
    let mut pace = Pace::default();
    let mut novelty = Novelty::new(true);
    let mut past = Past::new(names.len(), WINDOWS);
    let mut judged = Judged { rows: 0, alarms: 0 };
    let mut row = vec![f64::NAN; names.len()];
    for (index, line) in lines.enumerate() {
        let line = line.map_err(io(input))?;
        if line.trim().is_empty() {
            continue;
        }
        let mut cells = line.trim_end().split(',');
        let stamp = cells.next().unwrap_or("").trim();
        let at_s: f64 = stamp
            .parse()
            .ok()
            .filter(|at_s: &f64| at_s.is_finite())
            .ok_or_else(|| format(index + 2, format!("timestamp {stamp:?} is not a number of seconds since 1970")))?;
        for (name, cell) in names.iter().zip(&mut row) {
            let text = cells.next().unwrap_or("").trim();
            *cell = match text {
                "" => f64::NAN,
                text => text.parse().map_err(|_| format(index + 2, format!("{name} holds {text:?}, not a number")))?,
            };
        }
        if cells.next().is_some() {
            return Err(format(index + 2, format!("more cells than the {} columns of the header", names.len() + 1)));
        }
        let samples_a_day = pace.samples_a_day(at_s);
        let (score, alarm, top) = if names.len() == 1 {
            let score = novelty.update(at_s as i64, row[0]);
            (f64::from(score), score >= ALARM, String::new())
        } else {
            let verdict = past.update(&row, samples_a_day);
            let guilty: Vec<&str> = past.blame().into_iter().take(NAMED).map(|index| names[index]).collect();
            (verdict.score, verdict.alarm, guilty.join(";"))
        };
        judged.rows += 1;
        judged.alarms += usize::from(alarm);
        writeln!(out, "{stamp},{score},{},{top}", u8::from(alarm)).map_err(io(output))?;
    }
    out.flush().map_err(io(output))?;
    Ok(judged)
}
