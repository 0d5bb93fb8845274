//! Runs the agent for some seconds and prints what it shows and what it cost: `cargo run --example scrape -- 20`.
#![allow(clippy::print_stdout)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gala_agent::sinks::Discard;
use gala_agent::{Agent, AgentConfig};

fn main() -> anyhow::Result<()> {
    let seconds = std::env::args().nth(1).map_or(Ok(10), |text| text.parse())?;
    let folder = std::env::temp_dir().join(format!("gala-scrape-{}", std::process::id()));
    let local = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let config = AgentConfig {
        metrics_listen: local,
        rest_listen: local,
        run_dir: folder.join("run"),
        state_dir: folder.join("state"),
        ..AgentConfig::default()
    };
    let started = Instant::now();
    let agent = Agent::start(config, Arc::new(Discard))?;
    while !agent.is_ready() {
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("ready after {:?}", started.elapsed());
    std::thread::sleep(Duration::from_secs(seconds));
    print!("{}", agent.exposition());
    println!("{}", agent.metrics_text());
    for probe in agent.probes().iter().filter(|probe| probe.state.is_running() || !probe.reason.is_empty()) {
        println!(
            "{:10} {:?} rows {} cpu {:.2} ms/report maps {} {}",
            probe.name,
            probe.state,
            probe.rows,
            probe.cpu_ns as f64 / 1e6 / probe.reports.max(1) as f64,
            probe.map_bytes,
            probe.reason
        );
    }
    println!("{:#?}\n{:#?}", agent.budget(), agent.ledger());
    let stopping = Instant::now();
    agent.stop();
    println!("stopped in {:?}", stopping.elapsed());
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
