//! `gala`: the one binary. Parses the command line, sets up logging, hands over to a command.
#![forbid(unsafe_code)]

mod agent_status;
mod check;
mod client;
mod ctl;
mod daemon;
mod doctor;
mod options;
mod query;
mod status;
mod store;
mod topology;
mod view;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory, Parser, Subcommand};

use options::{AgentOptions, Common, HubOptions};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What program this is.
pub const BUILD: gala_hub::Build =
    gala_hub::Build { full: VERSION, version: env!("CARGO_PKG_VERSION"), commit: env!("GALA_COMMIT"), date: env!("GALA_DATE") };
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("GALA_COMMIT"), ", ", env!("GALA_DATE"), ")");

/// Its second line is what gala-gopher's `-v` prints.
const AGENT_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("GALA_COMMIT"),
    ", ",
    env!("GALA_DATE"),
    ")\nCOMMIT_SHA1=",
    env!("GALA_COMMIT")
);

/// Tells why a Linux service got slow, in a minute, without touching it.
#[derive(Parser)]
#[command(name = "gala", version = VERSION, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Agent, hub, store, analysis and web interface in one process on this host
    Up(Box<Up>),
    /// The agent alone: observes this host
    #[command(version = AGENT_VERSION, disable_version_flag = true)]
    Agent(Box<AgentCommand>),
    /// Hub, store, analysis and web interface without an agent
    Hub(Box<HubCommand>),
    /// Talks to a running agent: `ctl probes`, `ctl probe NAME [get | set JSON]`, `ctl metrics`; gopher-ctl's words too
    Ctl(ctl::Ctl),
    /// What this kernel and these rights allow, per hook and per probe
    Doctor(doctor::Doctor),
    /// Health of a running `up`, `agent` or `hub`
    Status(status::Status),
    /// Asks a hub a PromQL question
    Query(query::Query),
    /// Scores a file of series: how anomalous is each row
    Detect(Detect),
    /// Ranks the causes of a recorded fault
    Rca(Rca),
    /// Works on a store folder: check, compact, export, backup
    Store(store::StoreCommand),
}

#[derive(Args)]
struct Up {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    agent: AgentOptions,
    #[command(flatten)]
    hub: HubOptions,
}

#[derive(Args)]
struct AgentCommand {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    agent: AgentOptions,
    /// Pushes what it sees to a hub, e.g. http://hub:7070
    #[arg(long, env = "GALA_HUB", value_name = "URL", value_parser = options::hub_text)]
    hub: Option<String>,
    /// Checks the whole configuration, what only a hub reads too, and ends
    #[arg(long)]
    check_config: bool,
    /// Version and commit
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
}

#[derive(Args)]
struct HubCommand {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    hub: HubOptions,
}

#[derive(Args)]
struct Detect {
    /// Series: `timestamp,<metric>...`, seconds since 1970, ascending
    #[arg(long, value_name = "CSV")]
    input: PathBuf,
    /// Scores: `timestamp,score,alarm,top`
    #[arg(long, value_name = "CSV")]
    output: PathBuf,
}

#[derive(Args)]
struct Rca {
    /// Folder with case.json, metrics.csv, graph.json and, where known, calls.csv and logs.csv
    #[arg(long, value_name = "DIR")]
    case: PathBuf,
    /// Ranking, best first
    #[arg(long, value_name = "JSON")]
    output: PathBuf,
}

fn main() -> ExitCode {
    // The kernel would fill up the allocator's gaps with huge pages: a third more memory after a few minutes, for nothing.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let cli = Cli::parse();
    // Fails only if somebody was faster, and then there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Some(command) = cli.command else {
        return match Cli::command().print_help() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    };
    match run(command) {
        Ok(code) => code,
        Err(error) => {
            eprint(&format!("gala: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up(up) => daemon::up(up.common, up.agent, up.hub),
        Command::Agent(command) if command.check_config => check::run(&command.common, &command.agent, command.hub.as_deref()),
        Command::Agent(command) => daemon::agent(command.common, command.agent, command.hub),
        Command::Hub(command) => daemon::hub(command.common, command.hub),
        Command::Ctl(ctl) => ctl.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Status(status) => status.run(),
        Command::Query(query) => query.run(),
        Command::Detect(files) => {
            gala_analysis::detect::detect_file(&files.input, &files.output).context("detect")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Rca(files) => {
            gala_analysis::cause::rca_case(&files.case, &files.output).context("rca")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Store(command) => command.run(),
    }
}

/// A line for people on standard output; a reader that went away is no error.
pub fn print(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A line for people on standard error.
pub fn eprint(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{text}");
}
