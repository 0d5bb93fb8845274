//! What the package carries beside the program says what the program does: example configuration, man page, units.

use std::path::{Path, PathBuf};
use std::process::Command;

use gala_agent::control::file::{FileConfig, OPTIONS, TOPOLOGY};

fn deploy(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn said(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_gala")).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn help(command: &str) -> String {
    said(&[command, "--help"])
}

/// The example with every setting in force: lines that are settings behind their `#`.
fn example_in_force() -> String {
    let is_setting = |line: &str| line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
    let lines = deploy("gala.toml").lines().map(str::to_owned).collect::<Vec<_>>();
    let settings = lines.iter().filter_map(|line| line.strip_prefix('#')).filter(|line| is_setting(line));
    settings.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_example_configuration_is_empty_as_shipped_and_valid_when_uncommented() {
    let shipped = deploy("gala.toml");
    assert_eq!(FileConfig::parse(&shipped, Path::new("gala.toml")).unwrap(), FileConfig::default());
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("gala.toml");
    std::fs::write(&path, example_in_force()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_gala")).args(["agent", "--check-config", "-c"]).arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_example_configuration_names_every_option_with_its_default() {
    let config = FileConfig::parse(&example_in_force(), Path::new("gala.toml")).unwrap();
    assert!(!config.probes.is_empty(), "a probe is shown");
    for name in TOPOLOGY {
        assert!(config.option(name).is_some(), "{name} is missing in deploy/gala.toml");
    }
    let help = [help("up"), help("agent"), help("hub")].concat();
    for name in OPTIONS {
        let value = config.option(name).unwrap_or_else(|| panic!("{name} is missing in deploy/gala.toml"));
        let option = format!("--{}", name.replace('_', "-"));
        let line = help.lines().find(|line| line.split_whitespace().any(|word| word == option));
        let line = line.unwrap_or_else(|| panic!("{option} is no option"));
        // Switches are off, and only the hub's address has no default.
        if let Some((_, default)) = line.split_once("[default: ") {
            let default = default.split([']', ' ']).next().unwrap();
            assert_eq!(value, default, "{name}");
        } else {
            assert!(value == "false" || name == "hub", "{name} has no default, the example says {value}");
        }
    }
}

#[test]
fn the_man_page_names_every_command_and_option() {
    let page = deploy("gala.1").replace("\\-", "-");
    let names = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let commands: Vec<String> =
        said(&["help"]).lines().skip_while(|line| *line != "Commands:").skip(1).map_while(names).collect();
    assert!(commands.len() > 5, "{commands:?}");
    for command in commands {
        let macros = [format!(".B {command}\n"), format!(".BI {command} ")];
        assert!(macros.iter().any(|text| page.contains(text)), "{command} is missing in deploy/gala.1");
    }
    let help = [help("up"), help("agent"), help("hub")].concat();
    for option in help.split_whitespace().filter(|word| word.starts_with("--") && *word != "--help") {
        assert!(page.contains(option), "{option} is missing in deploy/gala.1");
    }
}

#[test]
fn each_unit_starts_a_command_there_is_under_its_own_name() {
    for (unit, command) in [("gala", "up"), ("gala-agent", "agent"), ("gala-hub", "hub")] {
        let text = deploy(&format!("systemd/{unit}.service"));
        assert!(text.contains(&format!("ExecStart=/usr/bin/gala {command}\n")), "{unit}");
        assert!(text.contains("Type=notify\n") && text.contains("WatchdogSec=30\n"), "{unit}");
        assert!(help(command).contains("Usage:"), "{command}");
    }
}
