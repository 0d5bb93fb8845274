//! Every other series, cheaply: a mean and a usual deviation that outliers hardly move, the range seen, and a flag that
//! rises when three of four samples lie far outside both. What it finds explains incidents; it never opens one.

use gala_model::Bad;
use serde::{Deserialize, Serialize};

/// Samples before anything is judged.
pub(super) const FIRST_SAMPLE: u32 = 60;
/// Samples over which the mean forgets.
const MEMORY: u32 = 240;
/// Deviations from the mean that stand out.
const REACH: f32 = 6.0;
/// Smallest departure that matters, on the scale: a factor of 1.6 for large numbers, half a unit for small ones.
const SMALLEST: f32 = 0.5;
/// Samples in a block of the range; a block counts when it is over.
const BLOCK: u32 = 24;
/// Share of its distance from the mean that the range loses per block: half in about six hours.
const RANGE_FORGETS: f32 = 0.004;
const CALM_SAMPLES: u8 = 6;
/// Samples after which a departure has become usual: an hour at 5 s.
const USUAL_AFTER: u32 = 720;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Up,
    Down,
}

/// State of one series; 72 bytes.
#[derive(Clone, Debug)]
pub struct Evidence {
    unit: f32,
    samples: u32,
    mean: f32,
    deviation: f32,
    low: f32,
    high: f32,
    block: [(f32, f32); 2],
    flags: u8,
    calm: u8,
    abnormal_samples: u32,
    first_flag_ms: i64,
    /// Zero while the series is as usual.
    onset_ms: i64,
    excess: f32,
}

/// What the state says about the newest sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Departure {
    pub onset_ms: i64,
    pub direction: Direction,
    /// Deviations from the mean.
    pub excess: f64,
    pub low: f64,
    pub high: f64,
}

impl Evidence {
    /// `unit` is the smallest change a person would notice.
    pub fn new(unit: f64) -> Self {
        Self {
            unit: unit.max(1e-12) as f32,
            samples: 0,
            mean: 0.0,
            deviation: 0.0,
            low: 0.0,
            high: 0.0,
            block: [(f32::INFINITY, f32::NEG_INFINITY); 2],
            flags: 0,
            calm: 0,
            abnormal_samples: 0,
            first_flag_ms: 0,
            onset_ms: 0,
            excess: 0.0,
        }
    }

    pub fn samples(&self) -> u32 {
        self.samples
    }

    /// Usual range in the metric's own unit, once it is known.
    pub fn band(&self) -> Option<(f64, f64)> {
        (self.samples >= FIRST_SAMPLE).then(|| {
            let (low, high) = self.edges();
            (self.unscale(low), self.unscale(high))
        })
    }

    pub fn departure(&self) -> Option<Departure> {
        let (low, high) = self.band()?;
        let direction = if self.excess >= 0.0 { Direction::Up } else { Direction::Down };
        (self.onset_ms != 0).then(|| Departure {
            onset_ms: self.onset_ms,
            direction,
            excess: f64::from(self.excess.abs()),
            low,
            high,
        })
    }

    fn scale(&self, value: f64) -> f32 {
        (value / f64::from(self.unit)).asinh() as f32
    }

    fn unscale(&self, scaled: f32) -> f64 {
        f64::from(scaled).sinh() * f64::from(self.unit)
    }

    fn edges(&self) -> (f32, f32) {
        let reach = (REACH * self.deviation).max(SMALLEST);
        ((self.mean - reach).min(self.low - 0.1), (self.mean + reach).max(self.high + 0.1))
    }

    /// Takes the next sample in.
    pub fn update(&mut self, t_ms: i64, value: f64, bad: Bad) {
        if !value.is_finite() {
            return;
        }
        let scaled = self.scale(value);
        if self.samples == 0 {
            (self.mean, self.low, self.high) = (scaled, scaled, scaled);
        }
        let (low, high) = self.edges();
        let wanted = match bad {
            Bad::Up => scaled > high,
            Bad::Down => scaled < low,
            Bad::Both | Bad::Never => scaled > high || scaled < low,
        };
        let stands_out = self.samples >= FIRST_SAMPLE && wanted;
        if stands_out && self.flags & 0b111 == 0 {
            self.first_flag_ms = t_ms;
        }
        self.flags = self.flags << 1 | u8::from(stands_out);
        self.calm = if stands_out { 0 } else { self.calm.saturating_add(1) };
        let excess = (scaled - self.mean) / self.deviation.max(SMALLEST / REACH);
        if self.onset_ms == 0 {
            if stands_out && (self.flags & 0b1111).count_ones() >= 3 {
                self.onset_ms = self.first_flag_ms.max(1);
                self.excess = excess;
                self.abnormal_samples = 0;
            }
        } else if self.calm >= CALM_SAMPLES {
            self.onset_ms = 0;
        } else {
            if stands_out {
                self.excess = excess;
            }
            self.abnormal_samples += 1;
            if self.abnormal_samples > USUAL_AFTER {
                self.onset_ms = 0;
                (self.mean, self.low, self.high) = (scaled, scaled, scaled);
                self.block = [(scaled, scaled); 2];
            }
        }
        self.learn(scaled);
    }

    fn learn(&mut self, scaled: f32) {
        self.samples = self.samples.saturating_add(1);
        let mut rate = 1.0 / self.samples.min(MEMORY) as f32;
        if self.onset_ms != 0 {
            rate /= 20.0;
        }
        let reach = if self.samples > 20 { (REACH * self.deviation).max(SMALLEST) } else { f32::INFINITY };
        let step = (scaled - self.mean).clamp(-reach, reach);
        self.mean += rate * step;
        self.deviation += rate * (1.25 * step.abs() - self.deviation);
        if self.onset_ms == 0 {
            self.block[0] = (self.block[0].0.min(scaled), self.block[0].1.max(scaled));
        }
        if self.samples.is_multiple_of(BLOCK) || self.samples < FIRST_SAMPLE && self.samples.is_multiple_of(4) {
            self.low += RANGE_FORGETS * (self.mean - self.low).max(0.0);
            self.high -= RANGE_FORGETS * (self.high - self.mean).max(0.0);
            self.low = self.low.min(self.block[1].0);
            self.high = self.high.max(self.block[1].1);
            self.block[1] = std::mem::replace(&mut self.block[0], (f32::INFINITY, f32::NEG_INFINITY));
        }
    }
}
