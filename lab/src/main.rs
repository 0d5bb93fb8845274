//! Faults on purpose. `gala-lab demo` runs a real service, hurts it in one known way, and watches whether the product
//! finds the incident and its cause; `accuracy` does so in a row and `quiet` not at all; `stage` is the service alone. The other
//! subcommands are the workloads and injectors it is made of.
//!
//! The product knows nothing of this: no name, path or timing of the lab appears in it.
#![forbid(unsafe_code)]

mod groups;
mod harm;
mod host;
mod injectors;
mod loads;
mod quiet;
mod redis;
mod runner;
mod scenario;
mod stage;
mod undo;
mod warden;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Faults on purpose, and whether they are found")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One fault, shown step by step
    Demo(runner::Demo),
    /// Faults several times in a row against one running hub; prints a table
    Accuracy(runner::Accuracy),
    /// No fault at all, then a tripled load: nothing may be found
    Quiet(quiet::Quiet),
    /// The service without the product, with a fault or without, until Ctrl-C
    Stage(stage::Show),
    /// Becomes another program that ends with the lab, however that ends
    #[command(hide = true)]
    Tied {
        parent: i32,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Cleans up after a lab that was killed
    #[command(hide = true)]
    Warden(stage::Number),
    /// Asks a Redis server at a steady rate
    Client {
        address: SocketAddr,
        #[arg(long, default_value_t = 8)]
        connections: usize,
        /// Requests per second over all connections
        #[arg(long, default_value_t = 2000.0)]
        rate: f64,
        /// A new connection after so many requests; 0 keeps them
        #[arg(long, default_value_t = 0)]
        reconnect: u64,
    },
    /// Uses one processor fully
    Burn {
        #[arg(long)]
        cpu: usize,
        #[arg(long, default_value_t = 4)]
        threads: usize,
    },
    /// Writes and syncs small blocks as fast as the disk takes them
    FsyncFlood {
        dir: PathBuf,
        #[arg(long, default_value_t = 16)]
        threads: usize,
    },
    /// Opens bursts of connections and drops them
    ConnectFlood {
        address: SocketAddr,
        #[arg(long)]
        cpu: usize,
        #[arg(long, default_value_t = 200)]
        burst: usize,
    },
    /// Holds a Redis server by a script that runs for seconds, again and again
    Hang {
        address: SocketAddr,
        #[arg(long, default_value_t = 3)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Demo(demo) => demo.run(),
        Command::Accuracy(accuracy) => accuracy.run(),
        Command::Quiet(quiet) => quiet.run(),
        Command::Stage(show) => show.run(),
        Command::Tied { parent, words } => undo::exec_tied(parent, &words),
        Command::Warden(number) => number.watch_over(),
        Command::Client { address, connections, rate, reconnect } => {
            until_ended(&format!("asks {address} {rate} times a second over {connections} connections"));
            loads::client(address, connections, rate, reconnect)
        }
        Command::Burn { cpu, threads } => {
            until_ended(&format!("takes all it gets of processor {cpu} with {threads} threads"));
            injectors::burn(cpu, threads)
        }
        Command::FsyncFlood { dir, threads } => {
            until_ended(&format!("writes and syncs below {} with {threads} threads", dir.display()));
            injectors::fsync_flood(&dir, threads)
        }
        Command::ConnectFlood { address, cpu, burst } => {
            until_ended(&format!("opens {burst} connections at a time to {address}"));
            injectors::connect_flood(address, cpu, burst)
        }
        Command::Hang { address, seconds } => {
            until_ended(&format!("holds the Redis at {address} for {seconds} s at a time"));
            injectors::hang(address, seconds)
        }
    };
    match outcome {
        Ok(code) => code,
        // As a shell says it of Ctrl-C.
        Err(_) if watch::STOP.load(std::sync::atomic::Ordering::Relaxed) => {
            say("stopped; what was made is removed");
            ExitCode::from(130)
        }
        Err(error) => {
            say(&format!("gala-lab: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn until_ended(does: &str) {
    say(&format!("{does}, until it is ended"));
}

/// A line for people.
pub fn say(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Pins the calling thread.
pub fn pin(cpu: usize) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}
