//! What being watched adds to a round trip: `cargo run --release -p gala-agent --example roundtrip_cost`. Needs root.
//!
//! Requests and answers of Redis go to and fro on loopback, within one thread, so both ends and nothing else are timed. The
//! agent with all default probes is started and stopped within this process: blocks without, with, with, without, over and over;
//! compared is the tenth percentile of the blocks' times, which the noise of a busy machine hardly moves.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use gala_agent::control::catalogue::PROBES;
use gala_agent::sinks::Discard;
use gala_agent::{Agent, AgentConfig};
use rustix::thread::{CpuSet, sched_setaffinity};

use figures::Better::Less;
use figures::{also, figure, is_short, title};

#[path = "../../store/benches/figures/mod.rs"]
mod figures;

const REQUEST: &[u8] = b"*2\r\n$3\r\nGET\r\n$5\r\nkey:1\r\n";
const ANSWER: &[u8] = b"$-1\r\n";
const ROUND_TRIPS: u32 = 500;
const BLOCKS: usize = 30;
const WARM_UP: u32 = 2_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// Both ends of a new connection.
fn connection() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    Ok((client, server))
}

/// Microseconds a round trip within this thread, of each block.
fn one_thread() -> Result<Vec<f64>> {
    let (mut client, mut server) = connection()?;
    let mut buffer = [0; 64];
    let mut trips = |count: u32| -> Result<f64> {
        let begun = Instant::now();
        for _ in 0..count {
            client.write_all(REQUEST)?;
            server.read_exact(&mut buffer[..REQUEST.len()])?;
            server.write_all(ANSWER)?;
            client.read_exact(&mut buffer[..ANSWER.len()])?;
        }
        Ok(begun.elapsed().as_secs_f64() * 1e6 / f64::from(count))
    };
    trips(WARM_UP)?;
    (0..BLOCKS).map(|_| trips(ROUND_TRIPS)).collect()
}

/// The same between two threads that share a processor: each round trip switches between them twice.
fn two_threads() -> Result<Vec<f64>> {
    let (mut client, mut server) = connection()?;
    let serving = std::thread::spawn(move || -> Result<()> {
        pin()?;
        let mut buffer = [0; 64];
        // Until the client closes.
        while server.read_exact(&mut buffer[..REQUEST.len()]).is_ok() {
            server.write_all(ANSWER)?;
        }
        Ok(())
    });
    let mut buffer = [0; 64];
    let mut trips = |count: u32| -> Result<f64> {
        let begun = Instant::now();
        for _ in 0..count {
            client.write_all(REQUEST)?;
            client.read_exact(&mut buffer[..ANSWER.len()])?;
        }
        Ok(begun.elapsed().as_secs_f64() * 1e6 / f64::from(count))
    };
    trips(WARM_UP)?;
    let times = (0..BLOCKS).map(|_| trips(ROUND_TRIPS)).collect();
    drop(client);
    serving.join().ok().context("the serving thread panicked")??;
    times
}

/// Binds this thread to the last processor.
fn pin() -> Result<()> {
    let last = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) - 1;
    let mut set = CpuSet::new();
    set.set(last);
    Ok(sched_setaffinity(None, &set)?)
}

/// Times of blocks in one state, by kind of pair.
#[derive(Default)]
struct Times {
    one: Vec<f64>,
    two: Vec<f64>,
}

impl Times {
    /// In a thread of its own, so that the agent's threads do not inherit where it is bound to.
    fn add(&mut self) -> Result<()> {
        let measured = std::thread::spawn(|| -> Result<_> {
            pin()?;
            Ok((one_thread()?, two_threads()?))
        });
        let (one, two) = measured.join().ok().context("the measuring thread panicked")??;
        self.one.extend(one);
        self.two.extend(two);
        Ok(())
    }
}

fn tenth_percentile(times: &[f64]) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 10).copied().unwrap_or(f64::NAN)
}

fn main() -> Result<()> {
    title("a round trip on loopback, all default probes");
    let quads = if is_short() { 2 } else { 10 };
    let folder = tempfile::tempdir()?;
    let (mut before, mut watched, mut after) = (Times::default(), Times::default(), Times::default());
    for _ in 0..quads {
        before.add()?;
        let config = AgentConfig {
            metrics_listen: None,
            rest_listen: None,
            run_dir: folder.path().join("run"),
            state_dir: folder.path().join("state"),
            ..AgentConfig::default()
        };
        let agent = Agent::start(config, Arc::new(Discard))?;
        let wanted = PROBES.iter().filter(|probe| probe.unasked.is_some()).count();
        let begun = Instant::now();
        while agent.probes().iter().filter(|probe| probe.state.is_running() && probe.reports > 0).count() < wanted {
            ensure!(begun.elapsed() < PATIENCE, "the probes did not all start within {} s", PATIENCE.as_secs());
            sleep(Duration::from_millis(10));
        }
        watched.add()?;
        watched.add()?;
        agent.stop();
        drop(agent);
        after.add()?;
    }
    let pick = |kind: fn(&Times) -> &Vec<f64>| {
        let (before, watched, after) = (kind(&before), kind(&watched), kind(&after));
        let unwatched = [before.as_slice(), after].concat();
        let aa = tenth_percentile(after) - tenth_percentile(before);
        (tenth_percentile(&unwatched), tenth_percentile(watched) - tenth_percentile(&unwatched), aa)
    };
    let (unwatched, added, aa) = pick(|times| &times.one);
    figure("added to a round trip, both ends", added, "us", Less, 1.5, 1.0);
    also("round trip unwatched", unwatched, "us");
    also("unwatched against unwatched", aa, "us");
    let (unwatched, added, aa) = pick(|times| &times.two);
    also("added where it switches between two threads twice", added, "us");
    also("round trip unwatched", unwatched, "us");
    also("unwatched against unwatched", aa, "us");
    Ok(())
}
