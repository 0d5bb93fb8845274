//! Everything the lab changes on a host is undone in reverse order, whatever ends it.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

/// Steps to take at the end, last first.
#[derive(Default)]
pub struct Undo {
    steps: Vec<Step>,
}

enum Step {
    Run(Vec<String>),
    Kill(Child),
    RemoveDir(std::path::PathBuf),
}

impl Undo {
    pub fn run_later(&mut self, command: &[&str]) {
        self.steps.push(Step::Run(command.iter().map(|word| (*word).to_owned()).collect()));
    }

    pub fn kill_later(&mut self, child: Child) {
        self.steps.push(Step::Kill(child));
    }

    pub fn remove_later(&mut self, dir: std::path::PathBuf) {
        self.steps.push(Step::RemoveDir(dir));
    }

    /// Takes all steps now.
    pub fn now(&mut self) {
        while let Some(step) = self.steps.pop() {
            match step {
                Step::Run(command) => {
                    // What is gone already need not be undone.
                    let _ = quiet(&command.iter().map(String::as_str).collect::<Vec<_>>()).status();
                }
                Step::Kill(mut child) => {
                    let _ = child.kill();
                    let _ = child.wait();
                }
                Step::RemoveDir(dir) => {
                    let _ = std::fs::remove_dir_all(dir);
                }
            }
        }
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        self.now();
    }
}

fn quiet(command: &[&str]) -> Command {
    let mut process = Command::new(command[0]);
    process.args(&command[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    process
}

/// Runs a command to its end; an error says which and why.
pub fn run(command: &[&str]) -> Result<String> {
    let output = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{} cannot be started; is it installed?", command[0]))?;
    if !output.status.success() {
        bail!("{} failed: {}", command.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Starts a command that runs until it is killed.
pub fn spawn(command: &[&str]) -> Result<Child> {
    quiet(command).spawn().with_context(|| format!("{} cannot be started; is it installed?", command[0]))
}

/// The same, with what it says kept in a file.
pub fn spawn_logged(command: &[&str], log: &std::path::Path) -> Result<Child> {
    let said = std::fs::File::create(log).with_context(|| log.display().to_string())?;
    quiet(command).stderr(said).spawn().with_context(|| format!("{} cannot be started; is it installed?", command[0]))
}
