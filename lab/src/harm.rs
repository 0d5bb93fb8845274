//! How each fault is made and healed.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::groups::{Controller, Group};
use crate::host::{self, Lane, in_namespace};
use crate::redis::{Redis, own};
use crate::scenario::{Fault, Truth};
use crate::stage::Stage;
use crate::undo::{Undo, run};

/// What the slow disk takes; the server writes its log more often than that.
const SLOW_WRITES_PER_SECOND: u64 = 20;
/// How long the server's need of processor time is watched before half of it is withheld.
const WATCHED: Duration = Duration::from_secs(2);
/// Periods of a quota, in microseconds: the usual one, and the longest, for a server that needs little; the kernel takes no
/// quota below a millisecond.
const PERIOD_US: u64 = 100_000;
const LONGEST_PERIOD_US: u64 = 1_000_000;
const LEAST_QUOTA_US: u64 = 1_000;
const DELAY: &str = "30ms";

/// Why a fault cannot be made on this host, if it cannot.
pub fn missing(fault: Fault, lane: Lane) -> Option<String> {
    let mut undo = Undo::default();
    let made = match fault {
        Fault::Disk => Group::new(Controller::Io, lane, &mut undo).map(drop),
        Fault::Quota => Group::new(Controller::Cpu, lane, &mut undo).map(drop),
        // On the namespace's own loopback, which nobody uses.
        Fault::Delay => in_namespace(lane, &["tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", DELAY]).map(|_| {
            let _ = in_namespace(lane, &["tc", "qdisc", "del", "dev", "lo", "root"]);
        }),
        _ => Ok(()),
    };
    made.err().map(|error| format!("{error:#}"))
}

/// Makes the fault and answers what is right to say about it; what is done ends with `undo`.
pub fn inject(fault: Fault, stage: &Stage, undo: &mut Undo) -> Result<Vec<Truth>> {
    let Stage { redis, lane, disk } = stage;
    let lane = *lane;
    let (server, link) = (redis.pid(), lane.server_link());
    let cpu = redis.cpu.to_string();
    let disk = || disk.as_ref().context("this fault needs the lab's disk");
    let neighbour = |words: &[&str], undo: &mut Undo| -> Result<u32> { Ok(undo.kill_later(own(words, None)?).borrow().id()) };
    Ok(match fault {
        Fault::Cpu => {
            let mut truths = vec![Truth::Processor(redis.cpu)];
            for _ in 0..2 {
                truths.push(Truth::Process(neighbour(&["burn", "--cpu", &cpu], undo)?, &["S1"]));
            }
            truths
        }
        Fault::Loss => {
            lose_packets(lane, undo)?;
            vec![Truth::Connection(lane.server_ip().to_string()), Truth::Interface(link, &["S4"])]
        }
        Fault::Disk => {
            let disk = disk()?;
            let number = host::device_number(&disk.device)?;
            let group = Group::new(Controller::Io, lane, undo)?;
            group.add(server, undo)?;
            group.limit_writes(&number, SLOW_WRITES_PER_SECOND)?;
            vec![Truth::Disk(disk.device.clone(), number, &["S3", "H1"])]
        }
        Fault::Fsync => {
            let disk = disk()?;
            let culprit = neighbour(&["fsync-flood", &disk.mount.display().to_string()], undo)?;
            vec![Truth::Process(culprit, &["S3"]), Truth::Disk(disk.device.clone(), host::device_number(&disk.device)?, &["S3"])]
        }
        Fault::Listen => {
            neighbour(&["connect-flood", &redis.address.to_string(), "--cpu", &cpu], undo)?;
            vec![Truth::Listener(server)]
        }
        Fault::Stop => {
            signal(server, Signal::STOP)?;
            undo.call_later(move || signal(server, Signal::CONT));
            vec![Truth::Process(server, &["S5"])]
        }
        Fault::Hang => {
            undo.kill_later(own(&["hang", &redis.address.to_string()], Some(lane))?);
            vec![Truth::Process(server, &["S5", "S6"])]
        }
        Fault::Link => {
            run(&["ip", "link", "set", &link, "down"])?;
            undo.run_later(&["ip", "link", "set", &link, "up"]);
            vec![Truth::Interface(link, &["H3"])]
        }
        Fault::Quota => {
            let group = Group::new(Controller::Cpu, lane, undo)?;
            let (quota, period) = half_of_need(redis)?;
            group.limit_cpu(quota, period)?;
            group.add(server, undo)?;
            vec![Truth::Process(server, &["S1"])]
        }
        Fault::Memory => {
            redis.ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1"])?;
            let redis = redis.clone();
            undo.call_later(move || redis.ask(&["CONFIG", "SET", "maxmemory", "0"]).map(drop));
            vec![Truth::Process(server, &["S6"])]
        }
        Fault::Delay => {
            run(&["tc", "qdisc", "add", "dev", &link, "root", "netem", "delay", DELAY])?;
            undo.run_later(&["tc", "qdisc", "del", "dev", &link, "root"]);
            vec![Truth::Connection(lane.server_ip().to_string()), Truth::Interface(link, &["S4"])]
        }
        Fault::Kill => {
            redis.kill();
            let redis = redis.clone();
            undo.call_later(move || redis.start_again());
            vec![Truth::Process(server, &["S5"])]
        }
    })
}

/// On the receiving side: a drop at the sender would be told to it as an error.
fn lose_packets(lane: Lane, undo: &mut Undo) -> Result<()> {
    let rule = ["INPUT", "-p", "tcp", "-m", "statistic", "--mode", "random", "--probability", "0.1", "-j", "DROP"];
    let with = |action: &'static str| [&["iptables", action], &rule[..]].concat();
    in_namespace(lane, &with("-I"))?;
    undo.run_later(&Lane::inside(&lane.name(), &with("-D")));
    Ok(())
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(pid as i32).context("process id")?;
    kill_process(pid, signal).with_context(|| format!("signal to process {pid:?}"))
}

/// A quota and its period, in microseconds, that leave the server half of what it uses now.
fn half_of_need(redis: &Redis) -> Result<(u64, u64)> {
    let before = redis.run_time()?;
    std::thread::sleep(WATCHED);
    let used_ns = redis.run_time()?.saturating_sub(before);
    quota(used_ns as f64 / WATCHED.as_nanos() as f64)
}

fn quota(share: f64) -> Result<(u64, u64)> {
    for period in [PERIOD_US, LONGEST_PERIOD_US] {
        let quota = (period as f64 * share / 2.0) as u64;
        if quota >= LEAST_QUOTA_US {
            return Ok((quota, period));
        }
    }
    bail!("the server uses {:.2} % of a processor, too little to withhold half of it", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_half_the_need_within_what_the_kernel_takes() {
        assert_eq!(quota(0.06).unwrap(), (3_000, PERIOD_US));
        assert_eq!(quota(0.01).unwrap(), (5_000, LONGEST_PERIOD_US));
        assert!(quota(0.001).is_err());
    }
}
