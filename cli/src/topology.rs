//! `[topology]` of the configuration file: how the map is built and how long it is remembered.

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use gala_agent::control::file::FileConfig;
use gala_hub::TopologyConfig;

use crate::options::duration;

/// A cycle may come so often; more often it would cost more than it tells.
const PERIODS_S: RangeInclusive<u64> = 10..=300;
/// Nothing is kept longer, so that no time leaves the calendar.
const LONGEST: Duration = Duration::from_secs(3_650 * 86_400);

/// What the file sets, on top of the defaults; `period` is the default of this way to run.
pub fn config(file: &FileConfig, period: Duration) -> Result<TopologyConfig> {
    let default = TopologyConfig::default();
    let time = |name: &str, default_ms: i64| -> Result<i64> {
        let Some(text) = file.option(name) else { return Ok(default_ms) };
        let time = duration(name, text)?;
        if time > LONGEST {
            bail!("{name} {text:?} is too long; give ten years at most");
        }
        Ok(time.as_millis() as i64)
    };
    let count = |name: &str, default: usize, range: RangeInclusive<usize>| -> Result<usize> {
        let Some(text) = file.option(name) else { return Ok(default) };
        let (low, high) = (range.start(), range.end());
        let told = || format!("{name} {text:?} is no whole number from {low} to {high}");
        let number: usize = text.parse().with_context(told)?;
        if range.contains(&number) { Ok(number) } else { bail!(told()) }
    };
    let period_ms = time("topology.period", period.as_millis() as i64)?;
    if file.option("topology.period").is_some() && !PERIODS_S.contains(&(period_ms.unsigned_abs() / 1000)) {
        bail!("topology.period must be {} to {} seconds", PERIODS_S.start(), PERIODS_S.end());
    }
    Ok(TopologyConfig {
        period_ms,
        alive_window_ms: time("topology.alive_window", default.alive_window_ms)?,
        offline_confirm: count("topology.offline_confirm", default.offline_confirm as usize, 1..=100)? as u32,
        offline_retention_ms: time("topology.offline_retention", default.offline_retention_ms)?,
        history_retention_ms: time("topology.history_retention", default.history_retention_ms)?,
        edge_hold_ms: time("topology.edge_hold", default.edge_hold_ms)?,
        query_deadline_ms: time("topology.query_deadline", default.query_deadline_ms)?,
        max_links_per_process: count("topology.max_links_per_process", default.max_links_per_process, 1..=100_000)?,
        ..default
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(text: &str) -> Result<TopologyConfig, String> {
        let file = FileConfig::parse(text, Path::new("gala.toml")).map_err(|error| error.to_string())?;
        config(&file, Duration::from_secs(10)).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn what_the_file_does_not_set_stays_as_it_is() {
        let local = TopologyConfig { period_ms: 10_000, ..TopologyConfig::default() };
        assert_eq!(read("interval = 5\n").unwrap(), local);
        let text = "[topology]\nperiod = 30\nalive_window = \"2m\"\noffline_confirm = 3\noffline_retention = \"1h\"\n\
                    history_retention = \"1d\"\nedge_hold = \"10m\"\nmax_links_per_process = 64\nquery_deadline = 5\n";
        let set = TopologyConfig {
            period_ms: 30_000,
            alive_window_ms: 120_000,
            offline_confirm: 3,
            offline_retention_ms: 3_600_000,
            history_retention_ms: 86_400_000,
            edge_hold_ms: 600_000,
            query_deadline_ms: 5_000,
            max_links_per_process: 64,
            ..local
        };
        assert_eq!(read(text).unwrap(), set);
    }

    #[test]
    fn the_example_says_the_defaults() {
        let example = include_str!("../../deploy/gala.toml");
        let section = example.lines().skip_while(|line| *line != "#[topology]").take_while(|line| line.starts_with('#'));
        let text: String = section.map(|line| format!("{}\n", &line[1..])).collect();
        assert!(text.contains("period"), "{text}");
        assert_eq!(read(&text).unwrap(), TopologyConfig::default());
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (text, words) in [
            ("period = 5", "topology.period must be 10 to 300 seconds"),
            ("period = \"soon\"", "topology.period"),
            ("offline_confirm = 0", "topology.offline_confirm \"0\" is no whole number from 1 to 100"),
            ("max_links_per_process = 1.5", "topology.max_links_per_process"),
            ("history_retention = \"9999w\"", "topology.history_retention \"9999w\" is too long"),
            ("alive_windw = 5", "line 2: unknown key topology.alive_windw; did you mean topology.alive_window?"),
            ("edge_hold = [1]", "line 2: topology.edge_hold must be"),
        ] {
            let error = read(&format!("[topology]\n{text}\n")).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        assert!(read("topology = 5\n").unwrap_err().contains("topology must be a table, [topology]"));
    }
}
