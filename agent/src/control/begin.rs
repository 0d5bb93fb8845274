//! How probes begin: what was kept, what the configuration file names and what runs unasked is known before anybody can ask
//! or change it over REST; programs are loaded after that. The same step starts again what broke.

use std::sync::atomic::Ordering;

use serde_json::{Map, Value};

use super::answer::Refusal;
use super::catalogue::{PROBES, ProbeEntry};
use super::config::ProbeConfig;
use super::params::{Situation, period_of};
use super::range::Mode;
use super::request::Wish;
use super::saved::{Saved, SavedProbe};
use super::{Control, Entry, KEPT, draft, known};

impl Control {
    /// What was kept, if anything; a damaged file is set aside and said so.
    pub fn load_saved(&self) -> Option<Saved> {
        let loaded = self.saved.as_ref()?.lock().load();
        if let Ok(Some(saved)) = &loaded {
            self.pending.lock().clone_from(&saved.probes);
        }
        loaded.unwrap_or_else(|problem| {
            let reason = format!("{problem}; what was configured by REST has to be configured again");
            self.ledger.add("control", KEPT, &reason, 1);
            tracing::error!("{reason}");
            None
        })
    }

    /// What was kept of a probe is out of date.
    pub fn forget_kept(&self, name: &str) {
        self.pending.lock().remove(name);
    }

    /// Takes a probe back as it was.
    pub fn restore(&self, name: &str, kept: &SavedProbe) -> Result<(), Refusal> {
        let entry = known(name)?;
        let (config, wish) = draft(entry, &kept.config, ProbeConfig::default(), Situation::KEPT)?;
        self.declare(entry, config, wish == Wish::Running, kept.from_file);
        Ok(())
    }

    /// Takes a section of the configuration file.
    pub fn configure(&self, name: &str, section: &Map<String, Value>) -> Result<(), Refusal> {
        let entry = known(name)?;
        let (base, was_wanted) = {
            let entries = self.entries.lock();
            let known = &entries[entry.name];
            (known.config.clone(), known.wanted)
        };
        let (config, wish) = draft(entry, section, base, self.situation(false))?;
        let wanted = match wish {
            Wish::Running => true,
            Wish::Stopped => false,
            Wish::AsItIs => was_wanted,
        };
        self.declare(entry, config, wanted, true);
        Ok(())
    }

    fn declare(&self, entry: &'static ProbeEntry, config: ProbeConfig, wanted: bool, from_file: bool) {
        self.note_unused(entry, &config);
        self.entries.lock().insert(entry.name, Entry { config, addressed: true, unasked: false, from_file, wanted });
        self.forget_kept(entry.name);
    }

    /// Those of the probes that run unasked that `admitted` names are to run, observing everything.
    pub fn want_unasked(&self, admitted: impl Fn(&str) -> bool) {
        let period = period_of(*self.interval.lock());
        for entry in PROBES.iter().filter(|entry| entry.start.is_some() && admitted(entry.name)) {
            let Some(sub_probes) = entry.unasked else { continue };
            let mut entries = self.entries.lock();
            // What somebody asked for has the last word.
            if entries.get(entry.name).is_some_and(|known| known.wanted || known.config != ProbeConfig::default()) {
                continue;
            }
            let sub_probes = sub_probes.iter().copied().filter(|name| entry.fills(name)).collect();
            let mut config = ProbeConfig { sub_probes, mode: Mode::Black, ..ProbeConfig::default() };
            config.params.insert("report_period", Value::from(period));
            entries.insert(entry.name, Entry { config, addressed: true, unasked: true, from_file: false, wanted: true });
            drop(entries);
            self.forget_kept(entry.name);
        }
    }

    /// Loading programs takes its time: [`Self::start_wanted`] starts nothing further.
    pub fn end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
    }

    /// Starts what is to run and does not. What does not start is in the ledger, and is tried again.
    pub fn start_wanted(&self) {
        for entry in &PROBES {
            if self.is_ending.load(Ordering::Relaxed) {
                return;
            }
            let is_missing = || self.entries.lock()[entry.name].wanted && !self.is_running(entry.name);
            if !is_missing() {
                continue;
            }
            let _gate = self.gates[entry.name].lock();
            // A request that held the gate may have stopped or started it.
            if !is_missing() {
                continue;
            }
            let again = self.has_failed(entry.name);
            let config = self.entries.lock()[entry.name].config.clone();
            match self.start(entry, &config) {
                Err(reason) if again => tracing::debug!("probe {} does not start again: {reason}", entry.name),
                Err(reason) => tracing::warn!("probe {}: {reason}", entry.name),
                Ok(()) => {}
            }
        }
    }
}
