//! What is usual for one KPI: the last twenty minutes of undisturbed samples, and the long memory of high values, both
//! on a logarithmic scale that starts near the smallest excess that matters. Judged is not the sample but the value that
//! most of the last few samples held, so that lone spikes neither alarm nor hide what lasts. Samples enter a minute late, so that a fault
//! does not teach its own beginning; what belongs to an anomaly is never learnt.

use serde::{Deserialize, Serialize};

use super::policy::Policy;
use super::runs::Runs;

/// Samples of the recent past that make the band.
const RECENT: usize = 240;
/// From so many samples there is a band to speak of.
pub const KNOWN_BAND: u32 = 20;
/// Before so many samples the band is wider.
const STEADY_FROM: u32 = 200;
/// From so many samples on the highest of them says where the usual ends.
const KNOWN_FROM: u32 = 48;
/// What is held for most of several samples and so far above all that was ever held is no part of the usual: 1.65 times.
const BEYOND_SEEN: f64 = 0.5;
/// Spread taken for granted, in logarithms: nothing is steadier than 4 %.
const SPREAD_FLOOR: f64 = 0.04;
/// Where the scale turns from linear to logarithmic, as a share of the smallest excess that matters.
const SCALE_START: f64 = 0.25;
/// Bins of the long memory: 0.1 in logarithms each, relative to where the series began.
const LONG_BINS: usize = 128;
const LONG_STEP: f64 = 0.1;
/// Samples after which the long memory has forgotten half: a day at 5 s.
const LONG_HALF_LIFE: f64 = 17_280.0;
/// Points are kept as short numbers: one more of something counted must still be one.
const ROUNDING: f64 = 1e-4;
/// Learnt samples between two sorts of the recent past.
const REFRESH: u32 = 4;
/// Learnt samples after which the level of hours begins to lag, and the time in which it comes half way.
const LEVEL_FROM: u32 = 120;
const LEVEL_HALF_LIFE_MS: f64 = 5_400_000.0;
/// Longest time between two samples that counts for it.
const LEVEL_STEP_MS: i64 = 600_000;
/// A client that waits for its answers asks less of whoever gets slower: so much less load, in logarithms, explains nothing.
const FALL_OF_THE_SLOW: f64 = 1.0;

/// Usual range of a number, in its own unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Band {
    pub low: f64,
    pub middle: f64,
    pub high: f64,
}

/// How far a sample lies beyond the band.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Excess {
    /// From the middle, in usual spreads.
    pub spreads: f64,
    /// From the edge of the band, in logarithms, and in the number's own unit.
    pub margin: f64,
    pub beyond: f64,
    /// The usual spread, in logarithms.
    pub spread: f64,
}

/// The band on the scale of the baseline.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Scaled {
    low: f64,
    middle: f64,
    high: f64,
    spread: f64,
    load_high: f64,
    load_middle: f64,
}

/// One sample, scaled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The value that most of the last few samples held.
    pub held: f32,
    pub load: f32,
}

/// Where a number was for hours.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Level {
    held: f64,
    load: f64,
    t_ms: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Baseline {
    start: f64,
    #[serde(default, rename = "past")]
    recent: Runs,
    learnt: u32,
    since_refresh: u32,
    scaled: Option<Scaled>,
    long_origin: f64,
    /// Occupied bins of the long memory, by number.
    #[serde(default, rename = "seen")]
    long: Vec<(u8, f32)>,
    long_total: f64,
    long_weight: f64,
    #[serde(default)]
    level: Option<Level>,
}

impl Baseline {
    pub fn new(policy: &Policy) -> Self {
        Self {
            start: SCALE_START * policy.floor,
            recent: Runs::default(),
            learnt: 0,
            since_refresh: 0,
            scaled: None,
            long_origin: 0.0,
            long: Vec::new(),
            long_total: 0.0,
            long_weight: 1.0,
            level: None,
        }
    }

    /// Samples learnt so far.
    pub fn learnt(&self) -> u32 {
        self.learnt
    }

    pub fn point(&self, held: f64, load: f64) -> Point {
        Point { held: self.scale(held) as f32, load: load.clamp(0.0, f64::MAX).ln_1p() as f32 }
    }

    fn scale(&self, value: f64) -> f64 {
        (value.max(0.0) + self.start).ln()
    }

    fn unscale(&self, scaled: f64) -> f64 {
        (scaled.exp() - self.start).max(0.0)
    }

    /// Takes an undisturbed sample in.
    pub fn learn(&mut self, t_ms: i64, point: Point, policy: &Policy) {
        self.recent.push(point, RECENT);
        self.learnt = self.learnt.saturating_add(1);
        self.learn_long(f64::from(point.held));
        self.since_refresh += 1;
        if self.since_refresh >= REFRESH || self.recent.len() < 30 {
            self.refresh(policy, t_ms);
        }
    }

    /// The usual has changed for good at `t_ms`: only `points` describe it.
    pub fn rebase(&mut self, t_ms: i64, points: Runs, policy: &Policy) {
        // Of few points the band is cautious again; but there is one, and a fault does not teach itself.
        self.learnt = self.learnt.min(u32::try_from(points.len()).unwrap_or(u32::MAX).max(KNOWN_BAND));
        self.recent = points;
        self.level = None;
        self.refresh(policy, t_ms);
    }

    /// The same for another process of the same service: known, but with the caution of few samples.
    pub fn of_another(&self) -> Self {
        Self { learnt: self.learnt.min(KNOWN_FROM), level: None, ..self.clone() }
    }

    fn learn_long(&mut self, value: f64) {
        if self.long.is_empty() {
            self.long_origin = value - LONG_STEP * (LONG_BINS / 4) as f64;
        }
        // Weights grow instead of all bins shrinking; rescaled before they lose precision.
        self.long_weight *= 2f64.powf(1.0 / LONG_HALF_LIFE);
        let bin = ((value - self.long_origin) / LONG_STEP).clamp(0.0, (LONG_BINS - 1) as f64) as usize;
        let (bin, weight) = (bin as u8, self.long_weight as f32);
        match self.long.binary_search_by_key(&bin, |(bin, _)| *bin) {
            Ok(at) => self.long[at].1 += weight,
            Err(at) => self.long.insert(at, (bin, weight)),
        }
        self.long_total += self.long_weight;
        if self.long_weight > 1e6 {
            let by = 1.0 / self.long_weight;
            self.long.iter_mut().for_each(|(_, weight)| *weight = (f64::from(*weight) * by) as f32);
            self.long_total *= by;
            self.long_weight = 1.0;
        }
    }

    /// Upper edge of the bin that holds the long memory's 0.9995-quantile.
    fn long_high(&self) -> Option<f64> {
        let mut above = 0.0;
        let allowed = 0.0005 * self.long_total;
        for (bin, weight) in self.long.iter().rev() {
            above += f64::from(*weight);
            if above > allowed {
                return Some(self.long_origin + LONG_STEP * f64::from(bin + 1));
            }
        }
        None
    }

    fn refresh(&mut self, policy: &Policy, t_ms: i64) {
        self.since_refresh = 0;
        let sorted = |of: fn(Point) -> f32| {
            let mut values: Vec<f32> = self.recent.iter().map(of).collect();
            values.sort_by(f32::total_cmp);
            values
        };
        let values = sorted(|point| point.held);
        let loads = sorted(|point| point.load);
        let Some(last) = values.len().checked_sub(1) else {
            self.scaled = None;
            return;
        };
        let at = |values: &[f32], share: f64| f64::from(values[(share * last as f64).round() as usize]);
        let middle = at(&values, 0.5);
        // The larger half of the spread: latencies lean to one side.
        let spread = (at(&values, 0.84) - middle).max(middle - at(&values, 0.16)).max(SPREAD_FLOOR);
        let caution = if self.learnt < STEADY_FROM { 1.3 } else { 1.0 };
        // A busy host makes a broad middle, mostly downwards; how far up the usual reaches was seen by then.
        let seen = if self.learnt >= KNOWN_FROM { at(&values, 1.0) - middle + BEYOND_SEEN } else { f64::INFINITY };
        let spread = spread.min((seen / (caution * policy.spreads)).max(SPREAD_FLOOR));
        let reach = caution * (policy.spreads * spread).max(policy.factor.ln());
        let long = self.long_high().unwrap_or(middle);
        // Values that occur now and then, unless they are so far out that a fault must have left them.
        let high = (middle + reach).max(middle + 1.5 * (at(&values, 0.98) - middle)).max(long.min(middle + 2.0 * reach));
        let (load_high, load_middle) = (at(&loads, 0.95), at(&loads, 0.5));
        let low = (middle - reach).min(at(&values, 0.02) - 0.1);
        let crept = self.crept(t_ms, middle, load_middle, policy);
        self.scaled =
            Some(Scaled { low: low - crept, middle: middle - crept, high: high - crept, spread, load_high, load_middle });
    }

    /// How far the recent past has crept up from where the number was for hours, beyond what matters and what another load
    /// explains (at night only the heavy jobs may be left): else whatever gets worse slowly enough would always be usual.
    fn crept(&mut self, t_ms: i64, middle: f64, load: f64, policy: &Policy) -> f64 {
        if !policy.slow_ills {
            return 0.0;
        }
        if self.learnt < LEVEL_FROM {
            self.level = None;
        }
        let level = self.level.get_or_insert(Level { held: middle, load, t_ms });
        let passed_ms = (t_ms - level.t_ms).clamp(0, LEVEL_STEP_MS) as f64;
        let nearer = 1.0 - 0.5f64.powf(passed_ms / LEVEL_HALF_LIFE_MS);
        level.held += nearer * (middle - level.held);
        level.load += nearer * (load - level.load);
        level.t_ms = t_ms;
        let change = load - level.load;
        let explained = policy.load_explains * change.max(-change - FALL_OF_THE_SLOW).max(0.0);
        (middle - level.held - explained - policy.factor.ln()).max(0.0)
    }

    /// The usual range; `None` before the first sample is learnt.
    pub fn band(&self) -> Option<Band> {
        self.scaled.map(|scaled| Band {
            low: self.unscale(scaled.low),
            middle: self.unscale(scaled.middle),
            high: self.unscale(scaled.high),
        })
    }

    /// Whether the load is more than twice what it mostly was.
    pub fn is_busier(&self, point: Point) -> bool {
        self.scaled.is_some_and(|scaled| f64::from(point.load).exp_m1() > 2.0 * scaled.load_middle.exp_m1())
    }

    /// Whether the load is so far below the usual that a peer that idles may be all there is to a value.
    pub fn is_idle(&self, value: f64, load: f64, policy: &Policy) -> bool {
        let Some(scaled) = self.scaled.filter(|_| policy.idle_below > 0.0) else { return false };
        let beyond = value - self.unscale(scaled.middle);
        load < policy.idle_below * scaled.load_high.exp_m1() && beyond < policy.floor + policy.idle_explains
    }

    /// How far beyond the band a sample lies; `None` inside the band. A thin sample (of few events) must lie further out.
    pub fn excess(&self, point: Point, policy: &Policy, thin: bool) -> Option<Excess> {
        let scaled = self.scaled?;
        let value = f64::from(point.held);
        if policy.falls {
            let absolute = scaled.middle.exp() - value.exp() >= policy.floor * (1.0 - ROUNDING);
            return (value < scaled.low && absolute).then(|| Excess {
                spreads: (scaled.middle - value) / scaled.spread,
                margin: scaled.low - value,
                beyond: scaled.low.exp() - value.exp(),
                spread: scaled.spread,
            });
        }
        let load = f64::from(point.load);
        let more_load = (load - scaled.load_high).max(0.0) * policy.load_explains;
        // Of a service hardly asked any more only odd requests are left; they need not look like the usual ones.
        let hardly_asked = if !policy.smoothed && load < scaled.load_middle - 2.3 { 3f64.ln() } else { 0.0 };
        let (few, floors) = if thin { (2f64.ln(), 20.0) } else { (0.0, 1.0) };
        let high = scaled.high + more_load + hardly_asked.max(few);
        let absolute = value.exp() - scaled.middle.exp() >= floors * policy.floor * (1.0 - ROUNDING);
        (value > high && absolute).then(|| Excess {
            spreads: (value - scaled.middle) / scaled.spread,
            margin: value - high,
            beyond: value.exp() - high.exp(),
            spread: scaled.spread,
        })
    }
}
