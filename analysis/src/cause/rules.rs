//! The causal rules as data: which observations make a class, and which class leads to which. Loaded once, checked
//! whole, readable by people.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use gala_model::entity::entity_type;
use serde::{Deserialize, Serialize};

/// How a number is made of the series of a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The field itself; what grows for ever becomes a rate.
    #[default]
    Value,
    /// Sum over count of a distribution.
    Mean,
    /// Count of a distribution.
    Count,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    #[default]
    Up,
    Down,
}

/// One observation that can show a class to be abnormal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricRule {
    pub entity: String,
    pub field: String,
    #[serde(default)]
    pub measure: Measure,
    /// Field of the same entity to divide by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<String>,
    /// Fields of the same entity that are part of it and told elsewhere: what is left without them counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub less: Vec<String>,
    /// The same, where a part that is not measured is none of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub less_if_there: Vec<String>,
    #[serde(default)]
    pub direction: Direction,
    /// Least range, in the metric's unit.
    pub floor: f64,
    /// Least range as a share of the usual value.
    #[serde(default)]
    pub floor_share: f64,
    /// A level that is bad whatever is usual, unless it was reached before: what is finite and used up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// An entity that did not exist had none of it.
    #[serde(default)]
    pub absent_is_zero: bool,
    /// Counts what happens at a moment: a report without it had none of it, and what it does outlasts the report.
    #[serde(default)]
    pub momentary: bool,
    /// Made of the events of this kind, not of a series: 0 before, 1 from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// Fault category where this number shows best that the class is the cause, instead of the class's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Goes with `category`: how much of what nothing else explains is blamed on it.
    #[serde(default = "one")]
    pub own_weight: f64,
    /// Time lost per report; such causes of one effect are weighed by their amounts.
    #[serde(default)]
    pub time: bool,
    /// Label that names the process the number is about, where that is not the row's own (who ran while another waited).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Label with that process's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_name: Option<String>,
    /// Words instead of the class's, English and Chinese.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<[String; 2]>,
}

impl MetricRule {
    /// Fields that are subtracted; `true` for those that may be missing.
    pub fn parts(&self) -> impl Iterator<Item = (&str, bool)> {
        let always = self.less.iter().map(|part| (part.as_str(), false));
        always.chain(self.less_if_there.iter().map(|part| (part.as_str(), true)))
    }
}

/// Another category of a class while a class that would explain it is measured and usual.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhileUsual {
    /// On the same process.
    pub class: String,
    pub category: String,
}

/// A node of the causal graph, per entity.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassRule {
    pub name: String,
    /// English and Chinese, without the entity.
    pub text: [String; 2],
    /// Fault category when this class is the cause; empty where it never is one.
    pub category: String,
    /// How much of what nothing else explains the class itself is blamed for.
    #[serde(default = "one")]
    pub own_weight: f64,
    /// What all connections of a process show together, and the process is blamed for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_process: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub while_usual: Option<WhileUsual>,
    pub metrics: Vec<MetricRule>,
}

impl ClassRule {
    /// Whether a process without any series of the class simply has nothing of it.
    pub fn absent_is_none(&self) -> bool {
        self.metrics.iter().all(|metric| metric.absent_is_zero || metric.momentary || metric.event.is_some())
    }
}

/// Which entities of the cause class can have caused the effect on an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleScope {
    SameEntity,
    SameProcess,
    OtherProcesses,
    HostProcesses,
    /// Other processes, weighed by how far they run on the same CPUs.
    CpuNeighbours,
    /// CPUs the process runs on.
    SameCpu,
    /// Devices of the host, those the process is known to use before others.
    Devices,
    /// The disk of a block device and the other way round.
    SameDevice,
    /// Processes that ask more of the device, or of any where that is not known.
    DeviceUsers,
    /// Interfaces of the host.
    Nics,
    SameHost,
    /// Connections of the process, and the other ends of them on this host.
    ServiceLinks,
    /// Endpoints of the process, else of the host.
    SameHostEndpoints,
    HostEndpoints,
    HostLinks,
    /// Processes this one is a client of.
    Callees,
    /// Processes of this host that are clients of this one.
    Clients,
    /// Processes of this host that listen, or lately listened, where the connection was to go.
    Listeners,
}

/// How a cause's share of its effect is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeKind {
    /// Same unit: rise over rise.
    Additive,
    /// Time lost: weighed against other times of the same effect.
    Time,
    /// Other unit: how surely it left its own range.
    Cross,
}

/// Cause class to effect class.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeRule {
    pub id: String,
    pub cause: String,
    pub effect: String,
    pub scope: RuleScope,
    pub kind: EdgeKind,
    /// 0 to 1.
    pub prior: f64,
    /// A part of the effect; transparent where it is not measured.
    #[serde(default)]
    pub stage: bool,
    /// Category of the cause under this rule, instead of its class's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// The rule does not hold while this class of the same device is abnormal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unless_abnormal: Option<String>,
    /// Leads to another process, so classes may repeat.
    #[serde(default)]
    pub crosses: bool,
}

/// All rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSet {
    pub version: u32,
    pub classes: Vec<ClassRule>,
    pub rules: Vec<EdgeRule>,
    #[serde(skip)]
    class_index: BTreeMap<String, usize>,
}

fn one() -> f64 {
    1.0
}

/// Why a rule set was refused.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum RuleError {
    #[error("the rule set is not valid JSON for rules: {0}")]
    Syntax(String),
    #[error("{place}: {reason}")]
    Invalid { place: String, reason: String },
}

/// Fault categories: code, English and Chinese name.
pub const CATEGORIES: [(&str, &str, &str); 9] = [
    ("S1", "CPU contention and scheduling", "CPU 争用与调度"),
    ("S2", "memory", "内存"),
    ("S3", "storage I/O and file system", "存储 I/O 与文件系统"),
    ("S4", "network stack", "网络协议栈"),
    ("S5", "process and system resources", "进程与系统资源"),
    ("S6", "application, runtime, dependency", "应用、运行时与依赖"),
    ("H1", "disk hardware", "磁盘硬件"),
    ("H2", "memory hardware", "内存硬件"),
    ("H3", "NIC and link hardware", "网卡与链路硬件"),
];

/// The rules built in.
pub fn rules() -> &'static RuleSet {
    static RULES: OnceLock<RuleSet> = OnceLock::new();
    // The file is part of the program and parsing it is tested; an empty set would explain nothing.
    RULES.get_or_init(|| RuleSet::parse(include_str!("rules.json")).expect("built-in rules are valid"))
}

impl RuleSet {
    /// Parses and checks; the error names the place and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let mut set: Self = serde_json::from_str(text).map_err(|error| RuleError::Syntax(error.to_string()))?;
        for (at, class) in set.classes.iter().enumerate() {
            if set.class_index.insert(class.name.clone(), at).is_some() {
                return Err(invalid(&format!("class {}", class.name), "the name occurs twice"));
            }
        }
        set.check_classes()?;
        set.check_rules()?;
        set.check_cycles()?;
        Ok(set)
    }

    pub fn class(&self, name: &str) -> Option<usize> {
        self.class_index.get(name).copied()
    }

    /// Fields left out of a metric where it stands for the cause under a rule; `true` for those that may be missing.
    pub fn left_out(&self, rule: &str, entity: &str, field: &str) -> impl Iterator<Item = (&str, bool)> {
        let rule = self.rules.iter().find(|known| known.id == rule);
        let class = rule.and_then(|rule| self.class(&rule.cause)).map(|class| &self.classes[class]);
        let metric = class.and_then(|class| class.metrics.iter().find(|one| one.entity == entity && one.field == field));
        metric.into_iter().flat_map(MetricRule::parts)
    }

    /// The class that a metric of an entity type shows.
    pub fn class_of_metric(&self, entity: &str, field: &str) -> Option<usize> {
        let base = ["_sum", "_count", "_max"].iter().find_map(|suffix| field.strip_suffix(suffix));
        let matches = |wanted: &str| {
            self.classes
                .iter()
                .position(|class| class.metrics.iter().any(|metric| metric.entity == entity && metric.field == wanted))
        };
        matches(field).or_else(|| base.and_then(matches))
    }

    fn check_classes(&self) -> Result<(), RuleError> {
        for class in &self.classes {
            let place = format!("class {}", class.name);
            let of_metrics = class.metrics.iter().filter_map(|metric| metric.category.as_deref());
            let instead = class.while_usual.as_ref().map(|instead| instead.category.as_str());
            let own = Some(class.category.as_str()).filter(|own| !own.is_empty());
            for category in of_metrics.chain(instead).chain(own) {
                check_category(&place, category)?;
            }
            if let Some(other) = class.while_usual.as_ref().map(|instead| &instead.class)
                && self.class(other).is_none()
            {
                return Err(invalid(&place, &format!("the class {other} does not exist")));
            }
            let mut weights = class.metrics.iter().map(|metric| metric.own_weight).chain([class.own_weight]);
            if weights.any(|weight| !(0.0..=1.0).contains(&weight)) {
                return Err(invalid(&place, "own_weight must lie between 0 and 1"));
            }
            if class.metrics.is_empty() {
                return Err(invalid(&place, "it has no metrics"));
            }
            for metric in &class.metrics {
                if entity_type(&metric.entity).is_none() {
                    return Err(invalid(
                        &place,
                        &format!("the entity type {} of {} does not exist", metric.entity, metric.field),
                    ));
                }
                if metric.event.is_some() && metric.entity != "proc" {
                    return Err(invalid(&place, &format!("events are of processes; {} is no field of proc", metric.field)));
                }
                if metric.limit.is_some_and(|limit| !limit.is_finite()) {
                    return Err(invalid(&place, &format!("the limit of {} must be a number", metric.field)));
                }
                if !(metric.floor.is_finite() && metric.floor > 0.0 && metric.floor_share >= 0.0) {
                    return Err(invalid(&place, &format!("the floor of {} must be above 0", metric.field)));
                }
            }
        }
        Ok(())
    }

    fn check_rules(&self) -> Result<(), RuleError> {
        let mut ids = BTreeSet::new();
        for rule in &self.rules {
            let place = format!("rule {}", rule.id);
            if !ids.insert(&rule.id) {
                return Err(invalid(&place, "the id occurs twice"));
            }
            for class in [Some(&rule.cause), Some(&rule.effect), rule.unless_abnormal.as_ref()].into_iter().flatten() {
                if self.class(class).is_none() {
                    return Err(invalid(&place, &format!("the class {class} does not exist")));
                }
            }
            if !(rule.prior > 0.0 && rule.prior <= 1.0) {
                return Err(invalid(&place, "the prior must lie above 0 and not above 1"));
            }
            if let Some(category) = &rule.category {
                check_category(&place, category)?;
            }
        }
        Ok(())
    }

    /// Classes must not cause themselves within one process, or flow would run in circles.
    fn check_cycles(&self) -> Result<(), RuleError> {
        let mut causes: BTreeMap<&str, Vec<&EdgeRule>> = BTreeMap::new();
        for rule in self.rules.iter().filter(|rule| !rule.crosses) {
            causes.entry(&rule.effect).or_default().push(rule);
        }
        for class in &self.classes {
            let (mut open, mut seen) = (vec![class.name.as_str()], BTreeSet::new());
            while let Some(effect) = open.pop() {
                for rule in causes.get(effect).into_iter().flatten() {
                    if rule.cause == class.name {
                        return Err(invalid(&format!("rule {}", rule.id), &format!("it closes a circle through {}", class.name)));
                    }
                    if seen.insert(rule.cause.as_str()) {
                        open.push(&rule.cause);
                    }
                }
            }
        }
        Ok(())
    }
}

fn check_category(place: &str, category: &str) -> Result<(), RuleError> {
    if CATEGORIES.iter().any(|(code, ..)| *code == category) {
        return Ok(());
    }
    Err(invalid(place, &format!("the category {category} does not exist; use S1 to S6 or H1 to H3")))
}

fn invalid(place: &str, reason: &str) -> RuleError {
    RuleError::Invalid { place: place.to_owned(), reason: reason.to_owned() }
}

/// Display name of a category, English and Chinese.
pub fn category_name(code: &str) -> (&'static str, &'static str) {
    CATEGORIES.iter().find(|(known, ..)| *known == code).map_or(("unknown", "未知"), |(_, en, zh)| (en, zh))
}

/// Upstream's keyword of an entity type.
pub fn keyword(entity: &str) -> &'static str {
    match entity {
        "proc" | "thread" | "container" | "sli" | "jvm" | "l7" | "l7_api" | "appinstance" | "pod" | "sli_container" => "process",
        "block" | "disk" => "disk",
        "tcp_link" | "nic" | "qdisc" | "endpoint" | "endpoint_tcp" | "endpoint_udp" | "net" | "dns" | "nginx_link"
        | "haproxy_link" | "ipvs_link" => "network",
        "cpu" | "sched" | "sli_node" => "cpu",
        "mem" => "memory",
        "fs" => "file system",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_rules_are_valid() {
        let set = rules();
        assert!(set.rules.len() > 40 && set.classes.len() > 25);
        assert_eq!(set.class_of_metric("sli", "rtt_sum"), set.class("service.latency"));
        assert_eq!(set.class_of_metric("nic", "unheard_of"), None);
    }

    fn error(text: &str) -> String {
        RuleSet::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_bad_rule_is_named_with_its_reason() {
        let class = |name: &str| {
            format!(
                r#"{{"name":"{name}","text":["a","b"],"category":"S1","metrics":[{{"entity":"proc","field":"cpu_util","floor":1}}]}}"#
            )
        };
        let set = |rules: &str| format!(r#"{{"version":1,"classes":[{},{}],"rules":[{rules}]}}"#, class("a"), class("b"));
        let rule = |id: &str, cause: &str, effect: &str, prior: f64| {
            format!(
                r#"{{"id":"{id}","cause":"{cause}","effect":"{effect}","scope":"same_process","kind":"cross","prior":{prior}}}"#
            )
        };
        assert_eq!(error(&set(&rule("r", "c", "b", 0.5))), "rule r: the class c does not exist");
        assert_eq!(error(&set(&rule("r", "a", "b", 1.5))), "rule r: the prior must lie above 0 and not above 1");
        let circle = [rule("r", "a", "b", 0.5), rule("s", "b", "a", 0.5)].join(",");
        assert!(error(&set(&circle)).contains("closes a circle through a"));
        assert!(error(r#"{"version":1,"classes":[],"rules":[],"more":1}"#).contains("unknown field `more`"));
        let unknown = set(&rule("r", "a", "b", 0.5)).replace("\"proc\"", "\"sofa\"");
        assert_eq!(error(&unknown), "class a: the entity type sofa of cpu_util does not exist");
    }
}
