//! What the detector tells of itself: usual ranges, and how far it knows them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use gala_store::Labels;
use serde::Serialize;

use super::baseline::Band;
use super::evidence::Evidence;
use super::live::Detector;
use super::meaning::Input;
use super::route::{self, KpiEntry};
use crate::incident::Source;

/// How far detection knows what is usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Warmup {
    pub kpis: usize,
    pub kpis_warm: usize,
    pub entities: usize,
    /// Entities all of whose KPIs are judged.
    pub entities_warm: usize,
    /// When nine of ten of the KPIs will be, or of those that are not yet, milliseconds since 1970; absent if all are or the
    /// pace of none is known. Those of short-lived processes never get there, so all never are.
    pub warm_at_ms: Option<i64>,
}

impl Detector {
    /// The usual range of a series: of the KPI it carries, or its own.
    pub fn band(&self, labels: &Labels) -> Option<Band> {
        let series = self.by_labels.get(labels).map(|index| &self.series[*index])?;
        if let Some((key, _)) = series.kpis.first() {
            return self.kpis.get(key)?.kpi.band();
        }
        let (low, high) = series.evidence.as_ref()?.band()?;
        Some(Band { low, middle: (low + high) / 2.0, high })
    }

    /// Usual ranges that a series bears on: of each KPI it is a part of, with how that comes out of series, else its own.
    /// Of what is counted for ever it is that of the increase per second.
    pub fn bands(&self, labels: &Labels) -> Vec<(Source, Band)> {
        let Some(series) = self.by_labels.get(labels).map(|index| &self.series[*index]) else { return Vec::new() };
        let cumulative = series.meaning.as_ref().is_some_and(|meaning| meaning.is_cumulative());
        let per_second = |band: Band, interval_ms: f64| {
            let by = if cumulative { 1_000.0 / interval_ms } else { 1.0 };
            Band { low: band.low * by, middle: band.middle * by, high: band.high * by }
        };
        let of_kpi = |(key, _): &(Arc<str>, Input)| {
            let entry = self.kpis.get(key)?;
            let band = entry.kpi.band()?;
            match entry.source {
                Source::Number { .. } => Some((entry.source.clone(), per_second(band, entry.kpi.state.interval_ms))),
                _ => Some((entry.source.clone(), band)),
            }
        };
        let own = series.evidence.as_ref().and_then(Evidence::band).map(|(low, high)| {
            let band = per_second(Band { low, middle: (low + high) / 2.0, high }, series.interval_ms);
            (Source::Number { name: labels.metric().to_owned() }, band)
        });
        let known = series.kpis.iter().filter_map(of_kpi).chain(own);
        known.filter(|(_, band)| band.low.is_finite() && band.high.is_finite()).collect()
    }

    /// Usual ranges of a quantile of a metric where it is judged already, each with the labels that select its series.
    pub fn quantile_bands(&self, metric: &str, quantile: u8) -> impl Iterator<Item = (&BTreeMap<String, String>, Band)> {
        let is_it = move |entry: &&KpiEntry| {
            entry.role.metric == metric && matches!(entry.source, Source::Quantile { percent, .. } if percent == quantile)
        };
        let judged = self.kpis.values().filter(is_it).filter(|entry| entry.kpi.is_warm());
        judged.filter_map(|entry| Some((&entry.labels, entry.kpi.band()?)))
    }

    /// How many numbers of each entity are judged by now: KPIs that are warm, and metrics whose usual range is known.
    pub fn judged(&self) -> HashMap<String, usize> {
        let mut judged: HashMap<String, HashSet<&str>> = HashMap::new();
        // One bucket speaks for all of its histogram.
        let is_told = |labels: &Labels| labels.get("le").is_none_or(|le| le == "+Inf");
        for series in self.series.iter().filter(|series| is_told(&series.labels)) {
            let Some(meaning) = &series.meaning else { continue };
            let entries = series.kpis.iter().filter_map(|(key, _)| self.kpis.get(key));
            let warm = entries.filter(|entry| entry.kpi.is_warm()).map(|entry| &*entry.key);
            let own = series.evidence.as_ref().and_then(Evidence::band).map(|_| series.labels.metric());
            let mut numbers = warm.chain(own).peekable();
            if numbers.peek().is_some() {
                judged.entry(route::entity_id(&series.labels, meaning.entity)).or_default().extend(numbers);
            }
        }
        judged.into_iter().map(|(id, numbers)| (id, numbers.len())).collect()
    }

    pub fn warmup(&self, now_ms: i64) -> Warmup {
        let mut entities: BTreeMap<(&str, String), bool> = BTreeMap::new();
        let mut warmup = Warmup::default();
        let mut waits_ms: Vec<i64> = Vec::new();
        for entry in
            self.kpis.values().filter(|entry| now_ms - entry.kpi.state.last_ms < entry.kpi.gone_after_ms(self.config.gone_ms))
        {
            let warm = entry.kpi.is_warm();
            warmup.kpis += 1;
            warmup.kpis_warm += usize::from(warm);
            let labels: Vec<&str> = entry.labels.values().map(String::as_str).collect();
            entities.entry((entry.entity.name, labels.join("\u{1f}"))).and_modify(|all| *all &= warm).or_insert(warm);
            waits_ms.push(if warm { 0 } else { entry.kpi.warm_in_ms().unwrap_or(i64::MAX) });
        }
        waits_ms.sort_unstable();
        // Where nine of ten are warm, or the pace of too many is unknown, what can be said is when the rest will be.
        let is_known = |wait: &i64| (1..i64::MAX).contains(wait);
        let most = |waits: &[i64]| waits.get((waits.len() * 9 / 10).min(waits.len().saturating_sub(1))).copied();
        let known: Vec<i64> = waits_ms.iter().copied().filter(is_known).collect();
        warmup.warm_at_ms = most(&waits_ms).filter(is_known).or_else(|| most(&known)).map(|wait| now_ms + wait);
        warmup.entities = entities.len();
        warmup.entities_warm = entities.values().filter(|warm| **warm).count();
        warmup
    }
}
