//! Who cleans up after a lab that was killed: a process of its own that waits for the lab's end, and sweeps its lane unless the
//! lab said that it did all of it itself. Where the warden is killed too, the next lab of the lane sweeps.

use std::io::{Read, Write};
use std::process::{Child, ExitCode};

use anyhow::{Context, Result};

use crate::host::{LANE_PATIENCE, Lane, sweep};
use crate::undo::spawn_listening;

/// What a lab says that has undone everything.
const DONE: &[u8] = b"done";

/// The warden from the lab's side. The pipe to it closes with the lab, whatever ends that.
pub struct Warden(Child);

impl Warden {
    pub fn start(lane: Lane) -> Result<Self> {
        let program = std::env::current_exe().context("own program")?.display().to_string();
        Ok(Self(spawn_listening(&[&program, "warden", "--lane", &lane.number().to_string()])?))
    }

    /// All is undone. One that was killed itself need not be told.
    pub fn dismiss(mut self) {
        let _ = self.0.stdin.take().map(|mut ear| ear.write_all(DONE));
        let _ = self.0.wait();
    }
}

/// The warden's own life.
pub fn run(lane: Lane) -> Result<ExitCode> {
    let mut word = Vec::new();
    std::io::stdin().read_to_end(&mut word).context("the lab's word")?;
    if word != DONE {
        // A lab that was faster sweeps itself.
        let _held = lane.claim(LANE_PATIENCE)?;
        sweep(lane);
    }
    Ok(ExitCode::SUCCESS)
}
