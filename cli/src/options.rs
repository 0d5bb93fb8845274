//! Options shared by `up`, `agent` and `hub`. The command line wins over the environment, the environment over the file. Values
//! of the first two are checked while the command line is read: a wrong one is wrong usage.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use gala_agent::control::file::FileConfig;
use tracing_subscriber::EnvFilter;

/// File read when none is named and it exists.
const DEFAULT_CONFIG: &str = "/etc/gala/gala.toml";

/// Probes report at least this often.
const LONGEST_INTERVAL: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Options of every long-running command.
#[derive(Args, Clone, Debug, Default)]
pub struct Common {
    /// Store, models, incidents, agent state [default: /var/lib/gala for root, else below the user's state folder]
    #[arg(long, env = "GALA_DATA_DIR", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Configuration, also gala-gopher's gala-gopher.conf [default: /etc/gala/gala.toml if it exists]
    #[arg(long, short = 'c', alias = "config_path", env = "GALA_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// error, warn, info, debug, trace, or a filter like `info,gala_agent=debug` [default: info]
    #[arg(long, env = "GALA_LOG", value_name = "LEVEL", value_parser = filter_text)]
    pub log: Option<String>,
    /// One line each, as text or JSON [default: text]
    #[arg(long, env = "GALA_LOG_FORMAT", value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Lock and command socket of the agent [default: /run/gala_gopher for root, else below XDG_RUNTIME_DIR or the data folder]
    #[arg(long, env = "GALA_RUN_DIR", value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
}

/// Options of the agent.
#[derive(Args, Clone, Debug, Default)]
pub struct AgentOptions {
    /// Prometheus exporter, `off` for none [default: 127.0.0.1:8888]
    #[arg(long, env = "GALA_METRICS_LISTEN", value_name = "ADDR:PORT", value_parser = address_text)]
    pub metrics_listen: Option<String>,
    /// Histograms at the exporter also as `NAME_bucket` and `NAME_count`
    #[arg(long, env = "GALA_METRICS_BUCKETS", value_parser = BoolishValueParser::new())]
    pub metrics_buckets: bool,
    /// REST API, `off` for none [default: 127.0.0.1:9999]
    #[arg(long, env = "GALA_REST_LISTEN", value_name = "ADDR:PORT", value_parser = address_text)]
    pub rest_listen: Option<String>,
    /// Report period of default probes [default: 5]
    #[arg(long, env = "GALA_INTERVAL", value_name = "SECONDS", value_parser = interval_text)]
    pub interval: Option<String>,
    /// Ceiling of its own CPU time, percent of all cores, at least 10 % of one [default: 2]
    #[arg(long, env = "GALA_BUDGET_CPU", value_name = "PERCENT", value_parser = number_text)]
    pub budget_cpu: Option<String>,
    /// Ceiling of its own memory, BPF maps included [default: 80MiB]
    #[arg(long, env = "GALA_BUDGET_MEMORY", value_name = "BYTES", value_parser = bytes_text)]
    pub budget_memory: Option<String>,
}

/// Options of the hub.
#[derive(Args, Clone, Debug, Default)]
pub struct HubOptions {
    /// Web interface and API [default: 127.0.0.1:7070]
    #[arg(long, env = "GALA_LISTEN", value_name = "ADDR:PORT", value_parser = address_text)]
    pub listen: Option<String>,
    /// Listens beyond loopback without TLS
    #[arg(long, env = "GALA_INSECURE", value_parser = BoolishValueParser::new())]
    pub insecure: bool,
    /// Takes callers beyond loopback without a token
    #[arg(long, env = "GALA_NO_AUTH", value_parser = BoolishValueParser::new())]
    pub no_auth: bool,
    /// How long samples are kept [default: 7d]
    #[arg(long, env = "GALA_RETENTION", value_name = "TIME", value_parser = duration_text)]
    pub retention: Option<String>,
    /// How much disk samples may take [default: 2GiB]
    #[arg(long, env = "GALA_STORE_SIZE", value_name = "BYTES", value_parser = bytes_text)]
    pub store_size: Option<String>,
}

impl Common {
    /// The configuration file in force.
    pub fn file(&self) -> Result<FileConfig> {
        match &self.config {
            Some(path) => Ok(FileConfig::load(path)?),
            None if Path::new(DEFAULT_CONFIG).exists() => Ok(FileConfig::load(Path::new(DEFAULT_CONFIG))?),
            None => Ok(FileConfig::default()),
        }
    }

    pub fn data_dir(&self, file: &FileConfig) -> Result<PathBuf> {
        if let Some(dir) = self.data.clone().or_else(|| file.option("data").map(PathBuf::from)) {
            return Ok(dir);
        }
        if rustix::process::geteuid().is_root() {
            return Ok(PathBuf::from("/var/lib/gala"));
        }
        // Empty or relative ones are to be passed over (XDG Base Directory Specification).
        let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
        let state = folder("XDG_STATE_HOME");
        let home = || folder("HOME").map(|home| home.join(".local/state"));
        match state.or_else(home) {
            Some(dir) => Ok(dir.join("gala")),
            None => bail!("no data folder: neither XDG_STATE_HOME nor HOME is set; name one with --data"),
        }
    }

    /// A container forgets its folders: there only what was named is worth writing to.
    pub fn keeps_configuration(&self, file: &FileConfig) -> bool {
        let in_container = std::env::var_os("GOPHER_HOST_PATH").is_some();
        !in_container || self.data.is_some() || file.option("data").is_some()
    }

    pub fn run_dir(&self, file: &FileConfig) -> Result<PathBuf> {
        let given = self.run_dir.clone().or_else(|| file.option("run_dir").map(PathBuf::from));
        given.map_or_else(|| Ok(gala_agent::runtime::default_run_dir(&self.data_dir(file)?)), Ok)
    }

    /// Somebody named the run folder.
    pub fn names_run_dir(&self, file: &FileConfig) -> bool {
        self.run_dir.is_some() || file.option("run_dir").is_some()
    }
}

/// Value of an option: command line or environment, else file, else default.
pub fn pick<'a>(given: Option<&'a str>, file: &'a FileConfig, name: &str, default: &'a str) -> &'a str {
    given.or_else(|| file.option(name)).unwrap_or(default)
}

/// A level or a filter.
pub fn log_filter(option: &str, text: &str) -> Result<EnvFilter> {
    let told = || format!("{option} {text:?} is no level like `info` and no filter like `info,gala_agent=debug`");
    EnvFilter::try_new(text).with_context(told)
}

/// A report period.
pub fn interval(option: &str, text: &str) -> Result<Duration> {
    let interval = duration(option, text)?;
    if interval > LONGEST_INTERVAL {
        bail!("{option} {text:?} is too long; give 1 to {} seconds", LONGEST_INTERVAL.as_secs());
    }
    Ok(interval)
}

/// `ADDR:PORT`, or `off` where that is taken.
pub fn address(option: &str, text: &str) -> Result<Option<SocketAddr>> {
    if text == "off" {
        return Ok(None);
    }
    SocketAddr::from_str(text).map(Some).with_context(|| format!("{option} {text:?} is no address; give one like 127.0.0.1:7070"))
}

/// `90s`, `15m`, `12h`, `7d`, `2w`, or plain seconds.
pub fn duration(option: &str, text: &str) -> Result<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        unit => bail!("{option} {text:?}: no unit {unit:?}; give a number with s, m, h, d or w"),
    };
    let number: u64 = digits.parse().with_context(|| format!("{option} {text:?} is no time; give one like 7d"))?;
    if number == 0 {
        bail!("{option} {text:?} must be more than zero");
    }
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}

/// `2GiB`, `500MB`, or plain bytes.
pub fn bytes(option: &str, text: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        unit => bail!("{option} {text:?}: no unit {unit:?}; give a number with KiB, MiB or GiB"),
    };
    let number: u64 = digits.trim().parse().with_context(|| format!("{option} {text:?} is no size; give one like 2GiB"))?;
    if number == 0 {
        bail!("{option} {text:?} must be more than zero");
    }
    Ok(number.saturating_mul(factor))
}

/// What the parser of the command line takes: the text as it is, if it can be read. The parser names the option.
fn checked<T>(text: &str, read: impl Fn(&str, &str) -> Result<T>) -> Result<String, String> {
    read("the value", text).map(|_| text.to_owned()).map_err(|error| format!("{error:#}"))
}

fn address_text(text: &str) -> Result<String, String> {
    checked(text, address)
}

fn interval_text(text: &str) -> Result<String, String> {
    checked(text, interval)
}

pub fn duration_text(text: &str) -> Result<String, String> {
    checked(text, duration)
}

fn bytes_text(text: &str) -> Result<String, String> {
    checked(text, bytes)
}

fn number_text(text: &str) -> Result<String, String> {
    checked(text, number)
}

fn filter_text(text: &str) -> Result<String, String> {
    checked(text, log_filter)
}

/// Where a hub is.
pub fn hub_text(text: &str) -> Result<String, String> {
    checked(text, |_, text| Ok(gala_agent::AgentConfig::check_hub(text)?))
}

/// A positive number.
pub fn number(option: &str, text: &str) -> Result<f64> {
    let number: f64 = text.parse().with_context(|| format!("{option} {text:?} is no number"))?;
    if !number.is_finite() || number <= 0.0 {
        bail!("{option} {text:?} must be more than zero");
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_units() {
        assert_eq!(duration("--retention", "7d").unwrap(), Duration::from_secs(604_800));
        assert_eq!(interval("--interval", "5").unwrap(), Duration::from_secs(5));
        assert!(interval("--interval", "601").is_err() && interval("--interval", "10m").is_ok());
        assert_eq!(bytes("--store-size", "2GiB").unwrap(), 2 << 30);
        assert_eq!(bytes("--store-size", "500MB").unwrap(), 500_000_000);
    }

    #[test]
    fn wrong_values_name_the_option() {
        for error in [duration("--retention", "7y"), duration("--retention", "0s"), duration("--retention", "d")] {
            assert!(format!("{:#}", error.unwrap_err()).contains("--retention"));
        }
        for error in [bytes("--store-size", "2 parsecs"), bytes("--store-size", "-1"), bytes("--store-size", "0")] {
            assert!(format!("{:#}", error.unwrap_err()).contains("--store-size"));
        }
        assert!(address("--listen", "nowhere").unwrap_err().to_string().contains("--listen"));
        assert_eq!(address("--listen", "off").unwrap(), None);
    }
}
