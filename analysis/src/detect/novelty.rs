//! Novelty of one series: how far a sample lies from every value seen before, judged on the value itself, on its
//! departure from the time of day, and on its departure from the last hours. A value never seen, by a margin, is rare
//! whatever the distribution, and no longer new once seen; one emission per incident. About 700 bytes a series, 500 more with its week, no
//! allocation, one pass.

use serde::{Deserialize, Serialize};

/// What is emitted when there is nothing to say.
pub const SILENT: f32 = -9.0;
/// From here a series on its own may alarm: a gap of half a unit.
pub const ALARM: f32 = -0.7;

const BINS: u32 = 128;
/// Rows after which a block of pending values becomes known; a value enters 20 to 40 rows late.
const BLOCK_ROWS: u32 = 20;
/// Share of the distance from the signal's mean added to the unit: far out, gaps must be wider to count.
const UNIT_SLOPE: f64 = 0.1;
const BIAS: [f64; 3] = [0.0, -0.5, -0.5];
const SEASON_HALF_LIFE_ROWS: f64 = 3.0;
const LEVEL_HALF_LIFE_ROWS: f64 = 150.0;
const FIRST_ROW: u32 = 100;
const SEASON_FROM_S: i64 = 7 * 86_400;
const EPISODES: usize = 32;
const EPISODE_ROWS: u32 = 30;
const EPISODE_FROM: f32 = -4.0;
const RARITY_STRENGTH: f32 = 0.5;
const RARITY_HALF_LIFE_ROWS: f32 = 2000.0;
const PEAK_TOLERANCE: f32 = 0.5;
const EMITTED_FROM: f32 = -2.5;
const EMIT_MARGIN: f32 = 0.5;

/// Which values were seen: 128 bins over `[low, low + 128 width)`, doubling its width when a value falls outside.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct ValueMemory {
    known: u128,
    pending: [u128; 2],
    low: f64,
    /// Zero until two different values were seen; `low` is then the only value, if `started`.
    width: f64,
    started: bool,
}

impl ValueMemory {
    /// Distance to the nearest known bin, 0 inside one; `None` while nothing is known.
    fn gap(&self, value: f64) -> Option<f64> {
        if self.known == 0 {
            return None;
        }
        if self.width == 0.0 {
            return Some((value - self.low).abs());
        }
        let bins = f64::from(BINS);
        let at = ((value - self.low) / self.width).floor();
        let index = at.clamp(-1.0, bins) as i32;
        let below = match index {
            ..=0 => 0,
            _ => self.known & (u128::MAX >> (BINS as i32 - index)),
        };
        let from_here = match index {
            ..=0 => self.known,
            _ if index >= BINS as i32 => 0,
            _ => self.known & (u128::MAX << index),
        };
        // Counted in bins, so that the answer does not depend on where in its bin a value lies.
        let down = if below != 0 { at - f64::from(BINS - 1 - below.leading_zeros()) } else { f64::INFINITY };
        let up = if from_here != 0 { f64::from(from_here.trailing_zeros()) - at } else { f64::INFINITY };
        Some(down.min(up).max(0.0) * self.width)
    }

    fn insert(&mut self, value: f64) {
        if !self.started {
            self.started = true;
            self.low = value;
            self.pending[0] = 1;
            return;
        }
        if self.width == 0.0 {
            if value == self.low {
                self.pending[0] |= 1;
                return;
            }
            self.width = (value - self.low).abs() / 16.0;
            if !(self.width > 0.0 && self.width.is_finite()) {
                self.width = 0.0;
                return;
            }
            // The first value moves to the middle of the map, so that either side has room.
            self.low -= 64.0 * self.width;
            for map in std::iter::once(&mut self.known).chain(&mut self.pending) {
                *map = if *map == 0 { 0 } else { 1 << 64 };
            }
        }
        for _ in 0..2200 {
            let at = (value - self.low) / self.width;
            if (0.0..f64::from(BINS)).contains(&at) {
                self.pending[0] |= 1 << (at as u32).min(BINS - 1);
                return;
            }
            let upwards = at >= 0.0;
            if !upwards {
                self.low -= f64::from(BINS) * self.width;
            }
            self.width *= 2.0;
            for map in std::iter::once(&mut self.known).chain(&mut self.pending) {
                *map = halve(*map) << if upwards { 0 } else { 64 };
            }
        }
    }

    fn next_block(&mut self) {
        self.known |= self.pending[1];
        self.pending[1] = std::mem::take(&mut self.pending[0]);
    }
}

/// Or-es pairs of bins into the lower 64.
fn halve(map: u128) -> u128 {
    const MASKS: [u128; 6] = [
        0x5555_5555_5555_5555_5555_5555_5555_5555,
        0x3333_3333_3333_3333_3333_3333_3333_3333,
        0x0f0f_0f0f_0f0f_0f0f_0f0f_0f0f_0f0f_0f0f,
        0x00ff_00ff_00ff_00ff_00ff_00ff_00ff_00ff,
        0x0000_ffff_0000_ffff_0000_ffff_0000_ffff,
        0x0000_0000_ffff_ffff_0000_0000_ffff_ffff,
    ];
    let mut packed = (map | map >> 1) & MASKS[0];
    for (step, mask) in MASKS.iter().enumerate().skip(1) {
        packed = (packed | packed >> (1 << (step - 1))) & mask;
    }
    (packed | packed >> 32) & u128::from(u64::MAX)
}

/// Mean value per half hour of a working day or weekend day.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Profile {
    /// 96 levels and how often each was seen (saturating).
    level: Vec<f32>,
    count: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Episode {
    start_row: u32,
    peak: f32,
}

/// The state of one series.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Novelty {
    rows: u32,
    mean: f64,
    m2: f64,
    signal_mean: [f64; 3],
    memory: [ValueMemory; 3],
    profile: Option<Profile>,
    first_s: i64,
    season: f64,
    level: f64,
    level_weight: f64,
    episodes: [Episode; EPISODES],
    episode_count: u32,
    last_emission: Option<(u32, f32)>,
}

impl Default for Novelty {
    fn default() -> Self {
        Self::new(true)
    }
}

impl Novelty {
    /// `seasonal` keeps a profile of the week's half hours (480 bytes more).
    pub fn new(seasonal: bool) -> Self {
        let profile = seasonal.then(|| Profile { level: vec![0.0; 96], count: vec![0; 96] });
        Self {
            rows: 0,
            mean: 0.0,
            m2: 0.0,
            signal_mean: [0.0; 3],
            memory: Default::default(),
            profile,
            first_s: i64::MAX,
            season: 0.0,
            level: 0.0,
            level_weight: 0.0,
            episodes: Default::default(),
            episode_count: 0,
            last_emission: None,
        }
    }

    /// Takes one finite sample at `at_s` (seconds since 1970) and answers its score in logarithms of typical deviations:
    /// [`SILENT`] or roughly -4 (nothing much) to 2 (very new). The score looks at earlier samples only.
    pub fn update(&mut self, at_s: i64, value: f64) -> f32 {
        if !value.is_finite() {
            return SILENT;
        }
        let sigma = if self.rows > 1 { (self.m2 / f64::from(self.rows)).sqrt() } else { 0.0 };
        self.first_s = self.first_s.min(at_s);
        let signals = self.signals(at_s, value);
        let mut strongest = SILENT;
        if self.rows >= FIRST_ROW {
            for (index, signal) in signals.iter().enumerate() {
                let Some(signal) = signal else { continue };
                if index == 1 && at_s - self.first_s < SEASON_FROM_S {
                    continue;
                }
                let Some(gap) = self.memory[index].gap(*signal) else { continue };
                let unit = sigma + UNIT_SLOPE * (signal - self.signal_mean[index]).abs();
                if gap > 0.0 && unit > 0.0 {
                    strongest = strongest.max(((gap / unit).ln() + BIAS[index]) as f32);
                }
            }
        }
        let score = self.emit(strongest);
        self.learn(value, &signals);
        score
    }

    fn signals(&mut self, at_s: i64, value: f64) -> [Option<f64>; 3] {
        let season = self.profile.as_mut().map(|profile| {
            let slot = week_slot(at_s);
            let count = &mut profile.count[slot];
            let known = if *count == 0 { value } else { f64::from(profile.level[slot]) };
            *count = count.saturating_add(1);
            let rate = (1.0 / f64::from(*count)).max(0.1);
            profile.level[slot] = (known + rate * (value - known)) as f32;
            let keep = 0.5f64.powf(1.0 / SEASON_HALF_LIFE_ROWS);
            self.season = keep * self.season + (1.0 - keep) * (value - known);
            self.season
        });
        let residual = (self.level_weight > 0.0).then(|| value - self.level / self.level_weight);
        [Some(value), season, residual]
    }

    fn learn(&mut self, value: f64, signals: &[Option<f64>; 3]) {
        self.rows = self.rows.saturating_add(1);
        let delta = value - self.mean;
        self.mean += delta / f64::from(self.rows);
        self.m2 += delta * (value - self.mean);
        let keep = 0.5f64.powf(1.0 / LEVEL_HALF_LIFE_ROWS);
        self.level = keep * self.level + (1.0 - keep) * value;
        self.level_weight = keep * self.level_weight + (1.0 - keep);
        let block_ends = self.rows.is_multiple_of(BLOCK_ROWS);
        for (index, signal) in signals.iter().enumerate() {
            if let Some(signal) = signal {
                self.signal_mean[index] += (signal - self.signal_mean[index]) / f64::from(self.rows);
                self.memory[index].insert(*signal);
            }
            if block_ends {
                self.memory[index].next_block();
            }
        }
    }

    /// Lowers what happened before, and lets one incident speak once.
    fn emit(&mut self, strongest: f32) -> f32 {
        let row = self.rows;
        let kept = (self.episode_count as usize).min(EPISODES);
        let mut alike = 0.0f32;
        let mut open = None;
        for (index, episode) in self.episodes[..kept].iter().enumerate() {
            let age = row.saturating_sub(episode.start_row);
            if age <= EPISODE_ROWS {
                open = Some(index);
            } else if episode.peak >= strongest - PEAK_TOLERANCE {
                alike += 0.5f32.powf(age as f32 / RARITY_HALF_LIFE_ROWS);
            }
        }
        if strongest <= EPISODE_FROM {
            return SILENT;
        }
        match open {
            Some(index) => self.episodes[index].peak = self.episodes[index].peak.max(strongest),
            None => {
                self.episodes[self.episode_count as usize % EPISODES] = Episode { start_row: row, peak: strongest };
                self.episode_count = self.episode_count.wrapping_add(1).max(1);
            }
        }
        let score = strongest - RARITY_STRENGTH * alike.ln_1p();
        let speaks =
            self.last_emission.is_none_or(|(at, last)| row.saturating_sub(at) > EPISODE_ROWS || score > last + EMIT_MARGIN);
        if !speaks {
            return SILENT;
        }
        if score > EMITTED_FROM {
            self.last_emission = Some((row, score));
        }
        score
    }
}

/// 0..48 half hours of a working day, 48..96 of a weekend day, in UTC.
fn week_slot(at_s: i64) -> usize {
    let half_hour = at_s.rem_euclid(86_400) / 1800;
    // 1970-01-01 was a Thursday.
    let weekday = (at_s.div_euclid(86_400) + 3).rem_euclid(7);
    half_hour as usize + if weekday >= 5 { 48 } else { 0 }
}
