//! `gala agent --check-config`: everything a start would read is read, nothing is started. Every fault is told, not the first
//! alone: key, reason, what to write instead.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use gala_agent::AgentConfig;
use gala_agent::control::catalogue;
use gala_agent::control::file::{FileConfig, Note};
use gala_agent::control::reload::check_section;

use crate::daemon::{agent_config, configured_filter, hub_config};
use crate::options::{AgentOptions, Common, HubOptions};

/// Tells what is wrong; fails when something is.
pub fn run(common: &Common, options: &AgentOptions, hub: Option<&str>) -> Result<ExitCode> {
    let file = common.file()?;
    let faults = faults(common, options, hub, &file);
    for fault in &faults {
        crate::eprint(&format!("gala: {fault}"));
    }
    for note in file.notes.iter().chain(&unsupported(&file)) {
        crate::eprint(&format!("gala: not supported here: {}: {}", note.what, note.reason));
    }
    if !faults.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    crate::print("configuration is valid");
    Ok(ExitCode::SUCCESS)
}

fn faults(common: &Common, options: &AgentOptions, hub: Option<&str>, file: &FileConfig) -> Vec<String> {
    let mut faults = Vec::new();
    let mut note = |fault: anyhow::Error| {
        let fault = format!("{fault:#}");
        if !faults.contains(&fault) {
            faults.push(fault);
        }
    };
    let _ = configured_filter(common, file).map_err(&mut note);
    let config = agent_config(common, options, file).map_err(&mut note);
    let _ = hub_config(common, &HubOptions::default(), file, Duration::from_secs(1)).map_err(&mut note);
    if let Some(hub) = hub.or_else(|| file.option("hub")) {
        let _ = AgentConfig::check_hub(hub).map_err(|fault| note(fault.into()));
    }
    let interval = config.map_or(Duration::from_secs(5), |config| config.interval);
    let place = |name: &str| if file.is_upstreams { format!("probes.init: {name}") } else { format!("[probes.{name}]") };
    for (name, section) in file.probes.iter().filter(|(name, _)| !(file.is_upstreams && is_later(name))) {
        if let Err(reason) = check_section(name, section, interval) {
            faults.push(format!("{}: {reason}", place(name)));
        }
    }
    faults
}

/// A probe of upstream's that a later version is to have.
fn is_later(probe: &str) -> bool {
    catalogue::find(probe).is_some_and(|entry| entry.start.is_none())
}

/// Upstream's files are taken as they are: what they name in vain is no fault of theirs.
fn unsupported(file: &FileConfig) -> Vec<Note> {
    let later = file.probes.keys().filter(|name| file.is_upstreams && is_later(name));
    let note =
        |name: &String| Note { what: format!("probe {name} of probes.init"), reason: "this version has no such probe".into() };
    later.map(note).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn of(text: &str) -> Vec<String> {
        let file = FileConfig::parse(text, Path::new("gala.toml")).unwrap();
        let common = Common { data: Some("data".into()), ..Common::default() };
        faults(&common, &AgentOptions::default(), None, &file)
    }

    #[test]
    fn every_fault_is_told_with_what_to_write_instead() {
        let text = "listen = \"nowhere\"\nhub = \"ftp://hub\"\nlog = \"gala=loud\"\ninterval = 0\nretention = \"7y\"\n\
            [probes.tcp]\nblacklist = {}\nstate = \"runing\"\n\
            [probes.io]\nparams = { report_period = 1 }\n\
            [probes.proc]\nblacklist = {}\ncmd = { probe = [\"nope\"] }\n\
            [probes.socket]\ncmd = { probe = [\"tcp_socket\"] }\n\
            [probes.jvm]\nstate = \"running\"\n";
        let faults = of(text);
        for words in [
            "log \"gala=loud\" is no level",
            "interval \"0\" must be more than zero",
            "listen \"nowhere\" is no address; give one like",
            "hub ftp://hub is no address to push to: scheme ftp is not http or https; give one like",
            "[probes.tcp]: invalid state runing: must be running or stopped",
            "[probes.io]: params.report_period invalid value 1, must be in [5, 600]",
            "[probes.proc]: unsupported probe range: nope: cmd.probe may name proc_syscall",
            "[probes.socket]: the snooper for socket cannot be empty: an empty `blacklist` observes everything",
            "[probes.jvm]: not supported in the current version: remove the section",
        ] {
            assert!(faults.iter().any(|fault| fault.contains(words)), "{words}: {faults:#?}");
        }
        assert_eq!(of("retention = \"7y\"").len(), 1);
    }

    #[test]
    fn a_right_configuration_has_no_fault() {
        let text = "interval = 2\nhub = \"http://hub:7070\"\n[probes.tcp]\nblacklist = {}\ncmd = { probe = [\"tcp_rtt\"] }\n\
            params = { report_period = 2 }\nstate = \"running\"\n";
        assert_eq!(of(text), Vec::<String>::new());
    }
}
