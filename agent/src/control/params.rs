//! The parameters of probes: type, default, range, and which probe's answer shows them.

use std::path::Path;
use std::time::Duration;

use serde_json::{Number, Value};

use super::answer::Refusal;

/// How a parameter is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Inclusive range; `zero` means that 0 is accepted besides (off, or default).
    Number {
        min: i64,
        max: i64,
        zero: bool,
    },
    /// Seconds between two reports; how few is said by the [`Situation`].
    Period,
    /// A power of two that may only change while the probe is stopped.
    RingBuffer,
    /// Shorter than this.
    Text {
        limit: usize,
    },
    /// An existing path without unsafe characters; a folder where `folder`.
    Path {
        folder: bool,
    },
    Protocols,
    Channel,
}

/// What a parameter meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    /// The probe runs.
    pub running: bool,
    /// Report periods from here on are taken, in seconds: those the agent itself reports are.
    pub shortest_period: i64,
}

impl Situation {
    /// What was in force before, whatever `--interval` is now.
    pub const KEPT: Self = Self { running: false, shortest_period: 1 };

    /// `interval` is the period of the probes that run unasked.
    pub fn new(running: bool, interval: Duration) -> Self {
        Self { running, shortest_period: period_of(interval).min(SHORTEST_PERIOD) }
    }
}

/// Upstream's range of report periods, seconds.
const SHORTEST_PERIOD: i64 = 5;
const LONGEST_PERIOD: i64 = 600;

/// An interval as a report period.
pub fn period_of(interval: Duration) -> i64 {
    i64::try_from(interval.as_secs()).unwrap_or(LONGEST_PERIOD).clamp(1, LONGEST_PERIOD)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Always,
    NotZero,
    For(&'static [&'static str]),
}

pub struct ParamDef {
    pub name: &'static str,
    pub check: Check,
    number: i64,
    text: &'static str,
    pub shown: Shown,
}

const fn number(name: &'static str, default: i64, min: i64, max: i64, shown: Shown) -> ParamDef {
    ParamDef { name, check: Check::Number { min, max, zero: false }, number: default, text: "", shown }
}

/// 0 switches it off (or means the default), though it is outside the range.
const fn or_zero(name: &'static str, default: i64, min: i64, max: i64, shown: Shown) -> ParamDef {
    ParamDef { name, check: Check::Number { min, max, zero: true }, number: default, text: "", shown }
}

const fn text(name: &'static str, default: &'static str, check: Check, shown: Shown) -> ParamDef {
    ParamDef { name, check, number: 0, text: default, shown }
}

const FLAME: Shown = Shown::For(&["flamegraph"]);

/// Every parameter, by name. All are accepted by every probe.
pub static PARAMS: [ParamDef; 28] = [
    number("cadvisor_port", 8083, 1, 65535, Shown::For(&["container"])),
    number("cluster_ip_backend", 0, 0, 2, Shown::For(&["tcp", "l7", "socket"])),
    number("continuous_sampling", 0, 0, 1, Shown::For(&["ksli"])),
    text("dev_name", "", Check::Text { limit: 32 }, Shown::For(&["io", "kafka", "ksli", "postgre_sli", "baseinfo", "tcp"])),
    or_zero("drops_thr", 0, 10, 100_000, Shown::NotZero),
    text("elf_path", "", Check::Path { folder: false }, Shown::For(&["nginx", "baseinfo", "sermant"])),
    text("flame_dir", "/var/log/gala-gopher/flamegraph", Check::Path { folder: true }, FLAME),
    number("kafka_port", 9092, 1, 65535, Shown::For(&["kafka"])),
    ParamDef { name: "l7_protocol", check: Check::Protocols, number: 0, text: "", shown: Shown::For(&["l7"]) },
    or_zero("latency_thr", 0, 10, 100_000, Shown::NotZero),
    number("min_aggr_dur", 100, 10, 10_000, Shown::For(&["tprofiling"])),
    number("min_exec_dur", 1, 0, 1_000_000, Shown::For(&["tprofiling"])),
    number("multi_instance", 0, 0, 1, FLAME),
    number("native_stack", 0, 0, 1, FLAME),
    or_zero("offline_thr", 0, 10, 100_000, Shown::NotZero),
    text("output_dir", "", Check::Path { folder: true }, Shown::For(&["flamegraph", "tprofiling"])),
    or_zero("perf_sample_period", 10, 10, 1000, FLAME),
    text("profiling_channel", "local", Check::Channel, Shown::For(&[])),
    text("pyroscope_server", "localhost:4040", Check::Text { limit: 64 }, FLAME),
    number("report_cport", 0, 0, 1, Shown::For(&["tcp"])),
    number("report_event", 0, 0, 1, Shown::Always),
    ParamDef { name: "report_period", check: Check::Period, number: 60, text: "", shown: Shown::Always },
    number("res_lower_thr", 0, 0, 100, Shown::Always),
    number("res_upper_thr", 0, 0, 100, Shown::Always),
    ParamDef { name: "ringbuf_map_size", check: Check::RingBuffer, number: 1, text: "", shown: Shown::For(&["tcp", "socket"]) },
    number("sample_period", 5000, 100, 10_000, Shown::For(&["io", "tcp"])),
    number("support_ssl", 0, 0, 1, Shown::For(&["l7"])),
    or_zero("svg_period", 180, 30, 600, FLAME),
];

const PROTOCOLS: [&str; 8] = ["http", "dns", "redis", "mysql", "pgsql", "kafka", "mongo", "crpc"];

const RING_BUFFER_RANGE: (i64, i64) = (1, 32);

impl ParamDef {
    pub fn default(&self) -> Value {
        match self.check {
            Check::Number { .. } | Check::Period | Check::RingBuffer => Value::from(self.number),
            Check::Protocols => Value::Array(Vec::new()),
            Check::Text { .. } | Check::Path { .. } | Check::Channel => Value::from(self.text),
        }
    }

    pub fn is_shown_for(&self, probe: &str, value: &Value) -> bool {
        match self.shown {
            Shown::Always => true,
            Shown::NotZero => value.as_i64() != Some(0),
            Shown::For(probes) => probes.contains(&probe),
        }
    }

    /// Whether the probe does anything with it in this version.
    pub fn is_used_by(&self, probe: &str) -> bool {
        match self.name {
            "report_event" | "report_period" => true,
            "latency_thr" => matches!(probe, "tcp" | "io" | "proc" | "ksli"),
            "drops_thr" | "res_upper_thr" => matches!(probe, "tcp" | "baseinfo"),
            "report_cport" => probe == "tcp",
            _ => false,
        }
    }

    /// The value to store, or upstream's message. What is set already and the default are always accepted, so that every
    /// answer of ours can be sent back.
    pub fn parse(&self, given: &Value, current: &Value, situation: Situation) -> Result<Value, Refusal> {
        let name = self.name;
        let parsed = match self.check {
            Check::Number { min, max, zero } => {
                let number = self.number_of(given)?;
                if !(zero && number == 0) {
                    self.in_range(number, min, max)?;
                }
                Value::from(number)
            }
            Check::Period => {
                let number = self.number_of(given)?;
                if current.as_i64() != Some(number) {
                    self.in_range(number, situation.shortest_period, LONGEST_PERIOD)?;
                }
                Value::from(number)
            }
            Check::RingBuffer => {
                let (min, max) = RING_BUFFER_RANGE;
                let number = self.number_of(given)?;
                self.in_range(number, min, max)?;
                if number.count_ones() != 1 {
                    return Err(format!("params.{name} invalid value {number}, must be power of 2").into());
                }
                if situation.running && current.as_i64() != Some(number) {
                    return Err(format!("params.{name} invalid can only be changed when probe is stopped").into());
                }
                Value::from(number)
            }
            Check::Text { limit } => {
                let text = self.text_of(given)?;
                if text.len() >= limit {
                    return Err(format!("params.{name} value is too long, len must be less than {limit}").into());
                }
                if is_unsafe(text) {
                    return Err(format!("params.{name} contains unsafe characters").into());
                }
                Value::from(text)
            }
            Check::Path { folder } => {
                let text = self.text_of(given)?;
                if current.as_str() == Some(text) || self.text == text {
                    return Ok(Value::from(text));
                }
                if is_unsafe(text) {
                    return Err(format!("params.{name} contains unsafe characters").into());
                }
                let path = Path::new(text);
                let there = if folder { path.is_dir() } else { path.exists() };
                let canonical = path.canonicalize().ok().filter(|_| !text.is_empty() && text.len() < 256 && there);
                let needed = if folder { "folder" } else { "file or folder" };
                let missing = || self.bad(format_args!("{text} is no {needed} that exists, named by less than 256 characters"));
                Value::from(canonical.ok_or_else(missing)?.to_string_lossy().into_owned())
            }
            Check::Protocols => self.parse_protocols(given)?,
            Check::Channel => {
                let text = self.text_of(given)?;
                if !matches!(text, "local" | "kafka") {
                    return Err(self.bad(format_args!("{text} is neither local nor kafka")));
                }
                Value::from(text)
            }
        };
        Ok(parsed)
    }

    /// Where upstream does not say what is wrong.
    fn bad(&self, detail: std::fmt::Arguments<'_>) -> Refusal {
        Refusal::wrong("Bad request", format!("params.{}: {detail}", self.name))
    }

    fn wrong_type(&self, needed: &str) -> Refusal {
        Refusal::wrong(format!("params.{} invalid data type", self.name), format!("{needed} is needed"))
    }

    fn number_of(&self, given: &Value) -> Result<i64, Refusal> {
        as_integer(given).ok_or_else(|| self.wrong_type("a number"))
    }

    fn in_range(&self, number: i64, min: i64, max: i64) -> Result<(), Refusal> {
        let told = || format!("params.{} invalid value {number}, must be in [{min}, {max}]", self.name).into();
        (min..=max).contains(&number).then_some(()).ok_or_else(told)
    }

    fn text_of<'a>(&self, given: &'a Value) -> Result<&'a str, Refusal> {
        given.as_str().ok_or_else(|| self.wrong_type("a text"))
    }

    fn parse_protocols(&self, given: &Value) -> Result<Value, Refusal> {
        let list = given.as_array().ok_or_else(|| self.wrong_type("a list of texts"))?;
        let mut chosen = Vec::new();
        for item in list {
            let text = item.as_str().ok_or_else(|| self.bad(format_args!("a list of texts is needed")))?;
            let known = PROTOCOLS.iter().find(|known| known.eq_ignore_ascii_case(text));
            let names = || format!("known are {}", PROTOCOLS.join(", "));
            let known = known.ok_or_else(|| Refusal::wrong(format!("params.{} invalid value: {text}", self.name), names()))?;
            if !chosen.contains(known) {
                chosen.push(*known);
            }
        }
        Ok(Value::from(chosen))
    }
}

/// The parameter of that name.
pub fn find(name: &str) -> Option<&'static ParamDef> {
    PARAMS.iter().find(|param| param.name == name)
}

/// Numbers as upstream's parser takes them: fractions truncated, `true` and `false` as 1 and 0.
pub fn as_integer(value: &Value) -> Option<i64> {
    match value {
        Value::Bool(flag) => Some(i64::from(*flag)),
        Value::Number(number) => integer_of(number),
        _ => None,
    }
}

fn integer_of(number: &Number) -> Option<i64> {
    number.as_i64().or_else(|| number.as_f64().map(|float| float.trunc() as i64))
}

/// Upstream's filter for paths and names that once went through a shell.
pub fn is_unsafe(text: &str) -> bool {
    text.contains(['|', ';', '&', '$', '>', '<', '(', ')', '?', '*', '\'', '`', '[', ']', '\\', '!', '\n'])
        || text.contains("./")
        || text.contains("/.")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const USUAL: Situation = Situation { running: false, shortest_period: SHORTEST_PERIOD };

    fn parse(name: &str, value: Value) -> Result<Value, String> {
        let param = find(name).unwrap();
        param.parse(&value, &param.default(), USUAL).map_err(|refusal| refusal.message().to_owned())
    }

    #[test]
    fn periods_the_agent_itself_reports_are_accepted_back() {
        let param = find("report_period").unwrap();
        let short = Situation::new(false, Duration::from_secs(2));
        assert_eq!(param.parse(&json!(2), &param.default(), short), Ok(json!(2)), "--interval 2");
        let refused = param.parse(&json!(1), &param.default(), short);
        assert_eq!(refused, Err("params.report_period invalid value 1, must be in [2, 600]".into()));
        assert_eq!(param.parse(&json!(3), &json!(3), USUAL), Ok(json!(3)), "what is set already");
        assert_eq!(param.parse(&json!(1), &param.default(), Situation::KEPT), Ok(json!(1)));
        assert_eq!(Situation::new(false, Duration::from_secs(30)), USUAL, "a long interval forbids nothing");
        assert_eq!((period_of(Duration::ZERO), period_of(Duration::from_secs(9000))), (1, 600));
    }

    #[test]
    fn a_path_goes_back_to_its_default() {
        let param = find("elf_path").unwrap();
        assert_eq!(param.parse(&json!(""), &json!("/proc"), USUAL), Ok(json!("")));
    }

    #[test]
    fn numbers_are_truncated_and_checked_against_their_range() {
        assert_eq!(parse("report_period", json!(10.7)), Ok(json!(10)));
        assert_eq!(parse("report_event", json!(true)), Ok(json!(1)));
        assert_eq!(parse("report_period", json!(4)), Err("params.report_period invalid value 4, must be in [5, 600]".into()));
        assert_eq!(parse("report_period", json!("60")), Err("params.report_period invalid data type".into()));
        let huge = parse("report_period", json!(4_294_967_295u64));
        assert_eq!(huge, Err("params.report_period invalid value 4294967295, must be in [5, 600]".into()));
        assert!(parse("report_period", json!(1e300)).is_err());
    }

    #[test]
    fn thresholds_can_be_switched_off_again() {
        for name in ["latency_thr", "offline_thr", "drops_thr"] {
            assert_eq!(parse(name, json!(0)), Ok(json!(0)));
            assert!(parse(name, json!(9)).is_err());
        }
    }

    #[test]
    fn the_ring_buffer_is_a_power_of_two_and_fixed_while_running() {
        let param = find("ringbuf_map_size").unwrap();
        let running = Situation { running: true, ..USUAL };
        assert_eq!(
            parse("ringbuf_map_size", json!(3)),
            Err("params.ringbuf_map_size invalid value 3, must be power of 2".into())
        );
        assert_eq!(
            parse("ringbuf_map_size", json!(64)),
            Err("params.ringbuf_map_size invalid value 64, must be in [1, 32]".into())
        );
        let refused = param.parse(&json!(8), &json!(1), running);
        assert_eq!(refused, Err("params.ringbuf_map_size invalid can only be changed when probe is stopped".into()));
        assert_eq!(param.parse(&json!(1), &json!(1), running), Ok(json!(1)));
    }

    #[test]
    fn texts_and_paths_are_filtered() {
        assert_eq!(parse("dev_name", json!("eth0;reboot")), Err("params.dev_name contains unsafe characters".into()));
        let long = "x".repeat(40);
        assert_eq!(parse("dev_name", json!(long)), Err("params.dev_name value is too long, len must be less than 32".into()));
        assert_eq!(parse("output_dir", json!("/no/such/folder")), Err("Bad request".into()));
        assert_eq!(parse("output_dir", json!("/proc")), Ok(json!("/proc")));
        assert_eq!(parse("output_dir", json!("")), Ok(json!("")), "what is set is accepted back");
        assert_eq!(parse("elf_path", json!("/proc/../x")), Err("params.elf_path contains unsafe characters".into()));
    }

    #[test]
    fn protocols_are_known_ones_in_any_case() {
        assert_eq!(parse("l7_protocol", json!(["HTTP", "redis"])), Ok(json!(["http", "redis"])));
        assert_eq!(parse("l7_protocol", json!(["smtp"])), Err("params.l7_protocol invalid value: smtp".into()));
        assert_eq!(parse("l7_protocol", json!([1])), Err("Bad request".into()));
        assert_eq!(parse("l7_protocol", json!("http")), Err("params.l7_protocol invalid data type".into()));
    }

    #[test]
    fn names_are_sorted_for_the_answer() {
        assert!(PARAMS.is_sorted_by_key(|param| param.name));
    }
}
