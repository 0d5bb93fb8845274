//! Joint state of one entity against its own past: the newest rows of all its metrics are compared with remembered
//! windows; far from every remembered one is abnormal. Four lengths are mixed: in units of the standard deviation (few
//! metrics far out), of the usual step (many metrics slightly off), of what usually is left of each metric beside its nearest
//! windows (what the others do not explain), and against the last hours. The memory is the model: no training run, scores
//! from the first rows on, rising to full strength at row 300.

/// Rows in a window.
const LAGS: usize = 3;
/// Largest deviation of one metric that counts, in its unit.
const CAP: f32 = 20.0;
const FAST_HALF_LIFE_ROWS: f64 = 700.0;
const STRIDE_ROWS: u64 = 8;
const DELAY_ROWS: u64 = 100;
const FULL_STRENGTH_ROWS: f64 = 300.0;
/// What was seen is held and fades, fast at first and slowly then: the mean of three.
const HOLD_HALF_LIVES_ROWS: [f64; 3] = [5.0, 20.0, 80.0];
/// What the four lengths typically reach.
const TYPICAL: [f64; 4] = [17.0, 60.0, 16.0, 50.0];
/// Smallest part of a metric's range that is a unit; of its steps it is larger.
const LEAST_UNIT: f64 = 0.001;
const LEAST_STEP: f64 = 0.01;
/// Largest distance from a metric's first value, for short numbers.
const FURTHEST: f64 = 1e18;
const LEVEL_QUANTILE: f64 = 0.9;
const LEVEL_POWER: f64 = 0.8;
const LEVEL_PRIOR_ROWS: f64 = 1000.0;
const LANES: usize = 8;

/// One row's verdict.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verdict {
    /// 1 is where an alarm is due; held for a while after the row that raised it.
    pub score: f64,
    pub alarm: bool,
}

/// Welford's mean and variance, range and mean step of one metric, with a faster mean and deviation beside.
#[derive(Clone, Copy, Debug, Default)]
struct Spread {
    /// Since its first value.
    rows: u64,
    mean: f64,
    m2: f64,
    low: f64,
    high: f64,
    step_sum: f64,
    /// Sum of what was left beside the nearest windows.
    left_sum: f64,
    fast_mean: f64,
    fast_square: f64,
}

/// The model of one entity with a fixed number of metrics.
#[derive(Clone, Debug)]
pub struct Past {
    metrics: usize,
    capacity: usize,
    rows: u64,
    spread: Vec<Spread>,
    /// First value of each metric: numbers are kept as distances from it, for short ones lose the small steps of large numbers. A
    /// metric that is not there yet counts as one that stays where it will begin.
    origin: Vec<Option<f64>>,
    last: Vec<f32>,
    /// Newest windows, `DELAY_ROWS` of them, as a ring of rows of padded width.
    ring: Vec<f32>,
    memory: Vec<f32>,
    remembered: usize,
    random: u64,
    held: [f64; HOLD_HALF_LIVES_ROWS.len()],
    histogram: Vec<u32>,
    width: usize,
    blame: Vec<f64>,
}

impl Past {
    /// `capacity` windows of `metrics` metrics are remembered: `capacity * metrics * 12` bytes.
    pub fn new(metrics: usize, capacity: usize) -> Self {
        let width = (metrics * LAGS).div_ceil(LANES) * LANES;
        Self {
            metrics,
            capacity: capacity.max(2),
            rows: 0,
            spread: vec![Spread::default(); metrics],
            origin: vec![None; metrics],
            last: vec![0.0; metrics],
            ring: vec![0.0; width * (DELAY_ROWS as usize + 1)],
            memory: Vec::new(),
            remembered: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            held: [0.0; HOLD_HALF_LIVES_ROWS.len()],
            histogram: vec![0; 400],
            width,
            blame: vec![0.0; metrics],
        }
    }

    /// Takes one row; a missing or non-finite value repeats the metric's last one.
    pub fn update(&mut self, row: &[f64], samples_a_day: f64) -> Verdict {
        let window = self.window(row);
        let units = self.units();
        let raw = if self.remembered >= 2 { self.length(&window, &units) } else { 0.0 };
        let strength = raw * (self.rows as f64 / FULL_STRENGTH_ROWS).min(1.0);
        for (held, half_life) in self.held.iter_mut().zip(HOLD_HALF_LIVES_ROWS) {
            *held = strength.max(*held * 0.5f64.powf(1.0 / half_life));
        }
        let held = self.held.iter().sum::<f64>() / self.held.len() as f64;
        let level = self.level().powf(LEVEL_POWER);
        let bar = 0.25 * samples_a_day.max(std::f64::consts::E).ln();
        let verdict = Verdict { score: held / level / bar, alarm: strength / level >= bar };
        self.learn(&window, held);
        verdict
    }

    /// Metrics by their share in the last verdict, most guilty first.
    pub fn blame(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.metrics).filter(|index| self.blame[*index] > 0.0).collect();
        order.sort_by(|left, right| self.blame[*right].total_cmp(&self.blame[*left]).then(left.cmp(right)));
        order
    }

    /// The window that ends with `row`: for each lag all metrics, newest first.
    fn window(&mut self, row: &[f64]) -> Vec<f32> {
        let previous = if self.rows > 0 { Some(self.ring_at(self.rows - 1).to_vec()) } else { None };
        for (index, last) in self.last.iter_mut().enumerate() {
            let value = row.get(index).copied().unwrap_or(f64::NAN);
            if value.is_finite() {
                let origin = *self.origin[index].get_or_insert(value);
                *last = (value - origin).clamp(-FURTHEST, FURTHEST) as f32;
            }
        }
        let mut window = vec![0.0; self.width];
        window[..self.metrics].copy_from_slice(&self.last);
        for lag in 1..LAGS {
            let (from, to) = ((lag - 1) * self.metrics, lag * self.metrics);
            match &previous {
                Some(previous) => window[to..to + self.metrics].copy_from_slice(&previous[from..from + self.metrics]),
                None => window[to..to + self.metrics].copy_from_slice(&self.last),
            }
        }
        window
    }

    fn ring_at(&self, row: u64) -> &[f32] {
        let slot = (row % (DELAY_ROWS + 1)) as usize * self.width;
        &self.ring[slot..slot + self.width]
    }

    /// Per metric 1 / standard deviation, 1 / usual step; 0 for a metric without range.
    fn units(&self) -> Vec<[f32; 2]> {
        let unit = |spread: &Spread| {
            let range = spread.high - spread.low;
            let rows = spread.rows.max(1) as f64;
            // One that came later is not known as soon as it is there.
            if range <= 0.0 || spread.rows < self.rows && rows < FULL_STRENGTH_ROWS {
                return [0.0, 0.0];
            }
            let deviation = (spread.m2 / rows).sqrt().max(LEAST_UNIT * range);
            let step = (spread.step_sum / rows).max(LEAST_STEP * range);
            [(1.0 / deviation) as f32, (1.0 / step) as f32]
        };
        self.spread.iter().map(unit).collect()
    }

    fn length(&mut self, window: &[f32], units: &[[f32; 2]]) -> f64 {
        let mut weights = vec![0.0f32; self.width];
        for lag in 0..LAGS {
            for (index, unit) in units.iter().enumerate() {
                weights[lag * self.metrics + index] = (unit[0] * unit[1]).sqrt();
            }
        }
        let (first, second) = nearest_two(&self.memory, self.width, window, &weights);
        let first = &self.memory[first * self.width..(first + 1) * self.width];
        let second = &self.memory[second * self.width..(second + 1) * self.width];
        let rows = self.rows.max(1) as f64;
        let fast_keep = 0.5f64.powf(1.0 / FAST_HALF_LIFE_ROWS);
        let fast_weight = 1.0 - fast_keep.powf(rows);
        let mut sums = [0.0f64; 4];
        self.blame.fill(0.0);
        for (index, unit) in units.iter().enumerate() {
            if unit[0] == 0.0 {
                continue;
            }
            let spread = self.spread[index];
            let range = spread.high - spread.low;
            let usually_left = (spread.left_sum / spread.rows.max(1) as f64).max(LEAST_UNIT * range);
            let mut left = 0.0;
            for lag in 0..LAGS {
                let at = lag * self.metrics + index;
                let distance = (window[at] - 0.5 * (first[at] + second[at])).abs();
                let in_deviations = f64::from((distance * unit[0]).min(CAP).powi(2));
                let in_steps = f64::from((distance * unit[1]).min(CAP).powi(2));
                sums[0] += in_deviations;
                sums[1] += in_steps;
                sums[3] += (f64::from(distance) / usually_left).min(f64::from(CAP)).powi(2);
                left += f64::from(distance);
                self.blame[index] += in_deviations + 0.3 * in_steps;
            }
            self.spread[index].left_sum += left / LAGS as f64;
            let mean = spread.fast_mean / fast_weight;
            let deviation = (spread.fast_square / fast_weight - mean * mean).max(0.0).sqrt().max(LEAST_UNIT * range);
            let z = ((f64::from(window[index]) - mean).abs() / deviation).min(f64::from(CAP)).powi(2);
            sums[2] += z;
            self.blame[index] += 3.0 * z;
        }
        let mixed: f64 = sums.iter().zip(TYPICAL).map(|(sum, typical)| sum / (typical * typical)).sum();
        (mixed / TYPICAL.len() as f64).sqrt()
    }

    /// The 0.9-quantile of what was held so far, drawn to 1 while there is little history.
    fn level(&self) -> f64 {
        let total: u64 = self.histogram.iter().map(|count| u64::from(*count)).sum();
        if total == 0 {
            return 1.0;
        }
        let wanted = LEVEL_QUANTILE * total as f64;
        let mut below = 0u64;
        let bin = self.histogram.iter().position(|count| {
            below += u64::from(*count);
            below as f64 >= wanted
        });
        let log = bin.unwrap_or(0) as f64 * 0.05 - 10.0 + 0.025;
        (log * total as f64 / (total as f64 + LEVEL_PRIOR_ROWS)).exp()
    }

    fn learn(&mut self, window: &[f32], held: f64) {
        let bin = ((held.max(1e-9).ln() + 10.0) / 0.05).clamp(0.0, self.histogram.len() as f64 - 1.0);
        self.histogram[bin as usize] = self.histogram[bin as usize].saturating_add(1);
        let slot = (self.rows % (DELAY_ROWS + 1)) as usize * self.width;
        self.ring[slot..slot + self.width].copy_from_slice(window);
        if self.rows < DELAY_ROWS {
            if self.rows.is_multiple_of(2) {
                self.remember(window);
            }
        } else if self.rows.is_multiple_of(STRIDE_ROWS) {
            let old = self.ring_at(self.rows - DELAY_ROWS).to_vec();
            self.remember(&old);
        }
        let keep = 0.5f64.powf(1.0 / FAST_HALF_LIFE_ROWS);
        self.rows += 1;
        for (index, spread) in self.spread.iter_mut().enumerate().filter(|(index, _)| self.origin[*index].is_some()) {
            let value = f64::from(window[index]);
            spread.rows += 1;
            if spread.rows == 1 {
                (spread.low, spread.high) = (value, value);
            }
            let delta = value - spread.mean;
            spread.mean += delta / spread.rows as f64;
            spread.m2 += delta * (value - spread.mean);
            spread.low = spread.low.min(value);
            spread.high = spread.high.max(value);
            spread.step_sum += (value - f64::from(window[self.metrics + index])).abs();
            spread.fast_mean = keep * spread.fast_mean + (1.0 - keep) * value;
            spread.fast_square = keep * spread.fast_square + (1.0 - keep) * value * value;
        }
    }

    fn remember(&mut self, window: &[f32]) {
        if self.remembered < self.capacity {
            self.memory.extend_from_slice(window);
            self.remembered += 1;
            return;
        }
        // xorshift64: the same input gives the same memory.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let at = (self.random % self.capacity as u64) as usize * self.width;
        self.memory[at..at + self.width].copy_from_slice(window);
    }
}

/// Indices of the two remembered windows with the smallest capped distance.
fn nearest_two(memory: &[f32], width: usize, window: &[f32], weights: &[f32]) -> (usize, usize) {
    let mut best = [(f32::INFINITY, 0usize); 2];
    for (index, candidate) in memory.chunks_exact(width).enumerate() {
        let mut lanes = [0.0f32; LANES];
        for ((candidate, window), weights) in
            candidate.chunks_exact(LANES).zip(window.chunks_exact(LANES)).zip(weights.chunks_exact(LANES))
        {
            for lane in 0..LANES {
                let distance = ((window[lane] - candidate[lane]).abs() * weights[lane]).min(CAP);
                lanes[lane] += distance * distance;
            }
        }
        let distance: f32 = lanes.iter().sum();
        if distance < best[0].0 {
            best[1] = best[0];
            best[0] = (distance, index);
        } else if distance < best[1].0 {
            best[1] = (distance, index);
        }
    }
    (best[0].1, best[1].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three metrics that sway with each other, and noise of their own.
    fn row(index: usize) -> [f64; 3] {
        let noise = |salt: usize| ((index * 7_919 + salt * 104_729) % 1_013) as f64 / 1_013.0 - 0.5;
        let sway = (index as f64 / 60.0).sin();
        [sway + 0.2 * noise(1), 3.0 * sway + 0.3 * noise(2), 10.0 + noise(3)]
    }

    fn run(rows: usize, change: impl Fn(usize, [f64; 3]) -> [f64; 3]) -> Vec<Verdict> {
        let mut past = Past::new(3, 300);
        (0..rows).map(|index| past.update(&change(index, row(index)), 1_440.0)).collect()
    }

    fn alarms(verdicts: &[Verdict]) -> Vec<usize> {
        verdicts.iter().enumerate().filter(|(_, verdict)| verdict.alarm).map(|(index, _)| index).collect()
    }

    #[test]
    fn neither_unit_nor_offset_of_a_metric_matters() {
        let fault = |index, row: [f64; 3]| if (1_500..1_520).contains(&index) { [row[0], row[1], row[2] + 9.0] } else { row };
        let plain = run(2_000, fault);
        let other = run(2_000, |index, row| fault(index, row).map(|value| 4e9 + 1_000.0 * value));
        assert_eq!(alarms(&plain).first(), Some(&1_500));
        assert_eq!(alarms(&plain), alarms(&other));
        assert!(plain.iter().zip(&other).all(|(plain, other)| (plain.score - other.score).abs() < 0.05));
    }

    #[test]
    fn a_metric_that_comes_later_or_pauses_is_no_event_and_is_watched_in_the_end() {
        let verdicts = run(2_000, |index, row| {
            let late = if index < 700 || (1_200..1_300).contains(&index) { f64::NAN } else { 5e6 + row[2] };
            [row[0], row[1], if index >= 1_800 { late + 40.0 } else { late }]
        });
        assert_eq!(alarms(&verdicts).first(), Some(&1_800));
    }

    #[test]
    fn nonsense_does_not_blind_it_for_ever() {
        let verdicts = run(3_000, |index, row| match index {
            400 => [f64::MAX, f64::NEG_INFINITY, f64::NAN],
            2_500.. => [row[0], row[1] + 30.0, row[2] + 30.0],
            _ => row,
        });
        assert!(verdicts.iter().all(|verdict| verdict.score.is_finite()));
        assert!(alarms(&verdicts).contains(&2_500));
    }
}
