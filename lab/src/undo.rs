//! Everything the lab changes on a host is undone in reverse order, whatever ends it; and how it runs other programs.
//!
//! Programs run in process groups of their own, so that Ctrl-C reaches the lab alone and a second one cannot stop the tidying up.
//! Those that stay end with the lab even when it is killed. The `warden` removes what a killed lab left besides.

use std::cell::RefCell;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use anyhow::{Context, Result, bail};

use crate::say;

/// A program that runs; who holds it may put another one in its place.
pub type Process = Rc<RefCell<Child>>;

/// Steps to take at the end, last first.
#[derive(Default)]
pub struct Undo {
    steps: Vec<Step>,
}

enum Step {
    Run(Vec<String>),
    Kill(Process),
    RemoveDir(PathBuf),
    Call(Box<dyn FnOnce() -> Result<()>>),
}

impl Undo {
    pub fn run_later(&mut self, command: &[&str]) {
        self.steps.push(Step::Run(command.iter().map(|word| (*word).to_owned()).collect()));
    }

    pub fn kill_later(&mut self, child: Child) -> Process {
        let process = Rc::new(RefCell::new(child));
        self.steps.push(Step::Kill(Rc::clone(&process)));
        process
    }

    pub fn remove_later(&mut self, dir: PathBuf) {
        self.steps.push(Step::RemoveDir(dir));
    }

    pub fn call_later(&mut self, call: impl FnOnce() -> Result<()> + 'static) {
        self.steps.push(Step::Call(Box::new(call)));
    }

    /// Whether a program that was to run until now has ended by itself.
    pub fn has_lost_one(&self) -> bool {
        let is_lost = |process: &Process| !matches!(process.borrow_mut().try_wait(), Ok(None));
        self.steps.iter().any(|step| matches!(step, Step::Kill(process) if is_lost(process)))
    }

    /// Takes all steps now.
    pub fn now(&mut self) {
        while let Some(step) = self.steps.pop() {
            match step {
                Step::Run(command) => {
                    // What is gone already need not be undone.
                    let _ = quiet(&command.iter().map(String::as_str).collect::<Vec<_>>()).status();
                }
                Step::Kill(process) => end(&process),
                Step::RemoveDir(dir) => {
                    let _ = std::fs::remove_dir_all(dir);
                }
                Step::Call(call) => {
                    if let Err(error) = call() {
                        say(&format!("  not undone: {error:#}"));
                    }
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

/// Kills a program and waits for its end.
pub fn end(process: &Process) {
    let mut child = process.borrow_mut();
    let _ = child.kill();
    let _ = child.wait();
}

/// A root's shell that came by `su` has no folder of the administrator's programs in its path.
fn path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/local/sbin:/usr/sbin:/sbin")
}

fn command(words: &[&str]) -> Command {
    let mut process = Command::new(words[0]);
    process.args(&words[1..]).env("PATH", path()).stdin(Stdio::null()).process_group(0);
    process
}

fn quiet(words: &[&str]) -> Command {
    let mut process = command(words);
    process.stdout(Stdio::null()).stderr(Stdio::null());
    process
}

/// Runs a command to its end; an error says which and why.
pub fn run(words: &[&str]) -> Result<String> {
    let output = command(words).output().with_context(|| cannot_start(words))?;
    if !output.status.success() {
        bail!("{} failed: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn cannot_start(words: &[&str]) -> String {
    format!("{} cannot be started; is it installed?", words[0])
}

/// The command by way of `exec_tied`.
fn tied(words: &[&str]) -> Result<Command> {
    let program = std::env::current_exe().context("own program")?.display().to_string();
    let parent = std::process::id().to_string();
    Ok(command(&[&[program.as_str(), "tied", &parent], words].concat()))
}

/// Becomes the command, which the kernel kills when its parent, the lab, is gone.
pub fn exec_tied(parent: i32, words: &[String]) -> Result<std::process::ExitCode> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("signal of the parent's death")?;
    // One that died before this would never be told.
    if rustix::process::getppid().is_some_and(|now| now.as_raw_nonzero().get() == parent) {
        let error = Command::new(&words[0]).args(&words[1..]).exec();
        bail!("{}: {error}", cannot_start(&[&words[0]]));
    }
    Ok(std::process::ExitCode::FAILURE)
}

/// Starts a command that runs until it is killed.
pub fn spawn(words: &[&str]) -> Result<Child> {
    let mut process = tied(words)?;
    process.stdout(Stdio::null()).stderr(Stdio::null());
    process.spawn().with_context(|| cannot_start(words))
}

/// Starts a command that outlives this program and hears its end: standard input is a pipe from here.
pub fn spawn_listening(words: &[&str]) -> Result<Child> {
    quiet(words).stdin(Stdio::piped()).spawn().with_context(|| cannot_start(words))
}

/// The same as `spawn`, with what it says kept in a file.
pub fn spawn_logged(words: &[&str], log: &Path) -> Result<Child> {
    let said = std::fs::File::create(log).with_context(|| log.display().to_string())?;
    let also = said.try_clone().with_context(|| log.display().to_string())?;
    let mut process = tied(words)?;
    process.stdout(also).stderr(said).spawn().with_context(|| cannot_start(words))
}

/// What a program said last.
pub fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_said_last_is_shown() {
        let dir = std::env::temp_dir().join(format!("gala-lab-test-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let log = dir.join("log");
        assert_eq!(last_line(&log), "it said nothing");
        std::fs::write(&log, "one\ngala: port 7070 is taken\n\n").unwrap();
        assert_eq!(last_line(&log), "gala: port 7070 is taken");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn steps_are_undone_last_first_and_once() {
        let order = Rc::new(RefCell::new(Vec::new()));
        let mut undo = Undo::default();
        for step in 1..=3 {
            let order = Rc::clone(&order);
            undo.call_later(move || {
                order.borrow_mut().push(step);
                if step == 2 {
                    bail!("one that fails keeps no other from being undone")
                }
                Ok(())
            });
        }
        undo.now();
        drop(undo);
        assert_eq!(*order.borrow(), [3, 2, 1]);
    }

    #[test]
    fn a_program_that_ended_by_itself_is_missed() {
        let mut undo = Undo::default();
        undo.kill_later(command(&["sleep", "1000"]).spawn().unwrap());
        assert!(!undo.has_lost_one());
        let short = undo.kill_later(command(&["true"]).spawn().unwrap());
        short.borrow_mut().wait().unwrap();
        assert!(undo.has_lost_one());
    }

    #[test]
    fn programs_of_the_administrator_are_found_behind_a_plain_su() {
        assert!(path().ends_with(":/usr/sbin:/sbin"), "{}", path());
        let found = run(&["sh", "-c", "echo $PATH"]).unwrap();
        assert!(found.contains("/usr/sbin"), "{found}");
    }
}
