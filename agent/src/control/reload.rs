//! The configuration file read again: every section is tried on a copy first, and one that is wrong leaves all as it was.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::answer::Refusal;
use super::catalogue::{PROBES, ProbeEntry};
use super::config::ProbeConfig;
use super::params::{Situation, period_of};
use super::request::Wish;
use super::{Control, Entry, UNSUPPORTED, draft, known};

/// Each named probe's section of a file.
pub type Sections = BTreeMap<String, Map<String, Value>>;

/// What a file says of the probes.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    pub sections: &'a Sections,
    /// Whether probes run that nobody asked for.
    pub run_unasked: bool,
    pub interval: Duration,
}

/// What is to be done, found right as a whole.
pub struct Plan {
    steps: Vec<Step>,
    run_unasked: bool,
    /// They did not until now.
    begin_unasked: bool,
    interval: Duration,
}

enum Step {
    Take(&'static ProbeEntry, Box<ProbeConfig>, Wish),
    /// Nobody asks for it any more.
    GiveUp(&'static ProbeEntry),
}

/// The probe whose section is refused, and why.
pub type Refused = (String, String);

/// Whether a section would be taken at the start; nothing runs for it. The error says the reason and what to write instead.
pub fn check_section(name: &str, section: &Map<String, Value>, interval: Duration) -> Result<(), String> {
    let checked = known(name).and_then(|entry| draft(entry, section, ProbeConfig::default(), Situation::new(false, interval)));
    checked.map(drop).map_err(|refusal| in_words(&refusal))
}

fn in_words(refusal: &Refusal) -> String {
    match refusal.message() {
        UNSUPPORTED => format!("{UNSUPPORTED}: remove the section"),
        _ => refusal.to_string(),
    }
}

impl Control {
    /// Finds out what a changed file asks for, or which section is wrong; changes nothing.
    pub fn plan(&self, old: Said<'_>, new: Said<'_>) -> Result<Plan, Refused> {
        let mut steps = Vec::new();
        for (name, section) in new.sections.iter().filter(|(name, section)| old.sections.get(*name) != Some(*section)) {
            let refused = |refusal: Refusal| (name.clone(), in_words(&refusal));
            let entry = known(name).map_err(refused)?;
            let _gate = self.gates[entry.name].lock();
            // Where probes run unasked a section changes those; else it says all there is to say, as at the start.
            let base = if new.run_unasked { self.entries.lock()[entry.name].config.clone() } else { ProbeConfig::default() };
            let situation = Situation::new(self.is_running(entry.name), new.interval);
            let (config, wish) = draft(entry, section, base, situation).map_err(refused)?;
            steps.push(Step::Take(entry, Box::new(config), wish));
        }
        for entry in PROBES.iter().filter(|entry| !new.sections.contains_key(entry.name)) {
            // A request under way, or a start, has its say first.
            let _gate = self.gates[entry.name].lock();
            let entries = self.entries.lock();
            let (standing, was_named) = (&entries[entry.name], old.sections.contains_key(entry.name));
            if (was_named && standing.from_file) || (standing.unasked && !new.run_unasked) {
                steps.push(Step::GiveUp(entry));
            } else if was_named {
                tracing::warn!(
                    "probe {}: its section is gone from the configuration file, but it was configured by REST since and stays so",
                    entry.name
                );
            }
        }
        Ok(Plan {
            steps,
            run_unasked: new.run_unasked,
            begin_unasked: new.run_unasked && !old.run_unasked,
            interval: new.interval,
        })
    }

    /// Does what was planned. A probe that does not start is in the ledger and is tried again.
    pub fn carry_out(&self, plan: Plan) {
        *self.interval.lock() = plan.interval;
        for step in plan.steps {
            match step {
                Step::Take(entry, config, wish) => self.take_section(entry, *config, wish),
                Step::GiveUp(entry) => self.give_up(entry),
            }
        }
        if plan.run_unasked {
            self.set_unasked_period(plan.interval);
        }
        if plan.begin_unasked {
            self.want_unasked(|_| true);
            self.start_wanted();
        }
    }

    fn take_section(&self, entry: &'static ProbeEntry, config: ProbeConfig, wish: Wish) {
        let _gate = self.gates[entry.name].lock();
        self.address(entry);
        let before = self.entries.lock()[entry.name].config.clone();
        let running = self.is_running(entry.name);
        let outcome = self.take_effect(entry, config.clone(), &before, wish, running);
        if let Some(known) = self.entries.lock().get_mut(entry.name) {
            (known.unasked, known.from_file) = (false, true);
            if outcome.is_err() {
                (known.config, known.wanted) = (config, true);
            }
        }
        self.forget_kept(entry.name);
        if let Err(reason) = outcome {
            tracing::warn!("probe {}: {reason}", entry.name);
        }
    }

    fn give_up(&self, entry: &'static ProbeEntry) {
        let _gate = self.gates[entry.name].lock();
        self.stop(entry.name);
        self.entries.lock().insert(entry.name, Entry { addressed: true, ..Entry::default() });
        self.forget_kept(entry.name);
        tracing::info!("probe {} is stopped: the configuration file does not name it any more", entry.name);
    }

    /// Gives probes that run unasked, and that nobody configured since, another report period.
    fn set_unasked_period(&self, period: Duration) {
        for entry in PROBES.iter().filter(|entry| entry.start.is_some() && entry.unasked.is_some()) {
            let _gate = self.gates[entry.name].lock();
            let before = match &self.entries.lock()[entry.name] {
                known if known.unasked => known.config.clone(),
                _ => continue,
            };
            let mut config = before.clone();
            config.params.insert("report_period", Value::from(period_of(period)));
            if let Err(reason) = self.take_effect(entry, config, &before, Wish::AsItIs, self.is_running(entry.name)) {
                tracing::warn!("probe {}: {reason}", entry.name);
            }
        }
    }
}
