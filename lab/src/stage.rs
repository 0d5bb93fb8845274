//! The service under test: one server in memory and one that syncs its log to a disk of its own, each with a steady client.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::harm;
use crate::host::{self, Disk, LANE_PATIENCE, Lane};
use crate::redis::{self, Redis, Wanted};
use crate::say;
use crate::scenario::Fault;
use crate::undo::Undo;
use crate::warden::{self, Warden};
use crate::watch::{end_on_signal, wait_for};

const PORT_MEMORY: u16 = 16_379;
const PORT_DISK: u16 = 16_380;

/// Which of several labs beside each other this is.
#[derive(Args, Clone, Copy)]
pub struct Number {
    /// Labs beside each other need another number each: it is in the names and addresses they take
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(..100))]
    lane: u8,
}

/// A server with its client.
pub struct Stage {
    pub lane: Lane,
    pub redis: Redis,
    pub disk: Option<Disk>,
}

/// The servers that some faults need.
pub struct Stages {
    lane: Lane,
    stages: Vec<Stage>,
}

impl Number {
    fn lane(self) -> Lane {
        Lane::new(self.lane)
    }

    /// Waits for the end of the lab of this lane, and cleans up after it where that was a kill.
    pub fn watch_over(self) -> Result<ExitCode> {
        warden::run(self.lane())
    }

    /// Takes the lane, removes what a killed lab left in it, and starts what these faults need. All of it ends with `undo`.
    pub fn build(self, faults: &[Fault], undo: &mut Undo) -> Result<Stages> {
        if !rustix::process::geteuid().is_root() {
            bail!("faults need root: they make a network namespace, a small disk and control groups; run it with sudo");
        }
        let lane = self.lane();
        let held = lane.claim(LANE_PATIENCE)?;
        let warden = Warden::start(lane)?;
        // First in, last out: the lane is free when all else is undone.
        undo.call_later(move || {
            // What a step before this one could not undo.
            host::sweep(lane);
            warden.dismiss();
            drop(held);
            Ok(())
        });
        let left = host::sweep(lane);
        if !left.is_empty() {
            say(&format!("removed what a lab that was killed had left: {}", left.join(", ")));
        }
        let dir = lane.make_dir(undo)?;
        host::namespace(lane, undo)?;
        let mut stages = Vec::new();
        for with_disk in [false, true] {
            if !faults.iter().any(|fault| fault.needs_disk() == with_disk) {
                continue;
            }
            let disk = if with_disk { Some(host::disk(&dir, undo)?) } else { None };
            let port = if with_disk { PORT_DISK } else { PORT_MEMORY };
            let wanted = Wanted {
                address: SocketAddr::from((lane.server_ip(), port)),
                cpu: host::last_processor()?,
                dir: disk.as_ref().map(|disk| disk.mount.as_path()),
                log: dir.join(format!("redis-{port}.log")),
            };
            let redis = redis::start(wanted, undo)?;
            let stage = Stage { lane, redis, disk };
            stage.add_client(1, undo)?;
            stage.redis.wait_until_asked()?;
            say(&format!(
                "redis-server {} on {}, processor {}, {} requests a second from beyond {}{}",
                stage.redis.pid(),
                stage.redis.address,
                stage.redis.cpu,
                stage.usual_rate(),
                lane.server_link(),
                stage.disk.as_ref().map_or_else(String::new, |disk| format!(", its log on {}", disk.device))
            ));
            stages.push(stage);
        }
        Ok(Stages { lane, stages })
    }
}

impl Stages {
    /// The one that a fault is made at.
    pub fn of(&self, fault: Fault) -> Result<&Stage> {
        let stage = self.stages.iter().find(|stage| stage.disk.is_some() == fault.needs_disk());
        stage.with_context(|| format!("no server for the fault {}", fault.name()))
    }

    pub fn all(&self) -> &[Stage] {
        &self.stages
    }

    /// Where the lab's files are; gone with the rest.
    pub fn dir(&self) -> PathBuf {
        self.lane.dir()
    }
}

impl Stage {
    /// Requests a second.
    pub const fn usual_rate(&self) -> u32 {
        if self.disk.is_some() { 200 } else { 1000 }
    }

    /// A client with so many times the usual rate, until `undo`.
    pub fn add_client(&self, times: u32, undo: &mut Undo) -> Result<()> {
        let (address, rate) = (self.redis.address.to_string(), (times * self.usual_rate()).to_string());
        undo.kill_later(redis::own(&["client", &address, "--rate", &rate], Some(self.lane))?);
        Ok(())
    }
}

/// `gala-lab stage`
#[derive(Args)]
pub struct Show {
    /// Make this fault too
    #[arg(long, value_enum)]
    fault: Option<Fault>,
    #[command(flatten)]
    number: Number,
}

impl Show {
    pub fn run(self) -> Result<ExitCode> {
        say("a Redis with a client, for as long as you like; Ctrl-C ends and removes all of it");
        let mut undo = Undo::default();
        end_on_signal()?;
        let stages = self.number.build(&[self.fault.unwrap_or(Fault::Cpu)], &mut undo)?;
        if let Some(fault) = self.fault {
            let stage = stages.of(fault)?;
            if let Some(why) = harm::missing(fault, stage.lane) {
                bail!("{} cannot be made here: {why}", fault.name());
            }
            let truths = harm::inject(fault, stage, &mut undo)?;
            say(&format!("{}: {}; right is {truths:?}", fault.name(), fault.means()));
        }
        say("ready");
        // Ends by a signal only.
        let _ = wait_for(Duration::MAX, || Ok(None::<()>));
        say("cleaning up");
        Ok(ExitCode::SUCCESS)
    }
}
