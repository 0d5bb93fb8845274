//! Direct relations: rules as data, matched through hash indexes so that a cycle costs entities plus edges.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;

use super::{Edge, Entity, Observed, Relation};

/// A side's label must equal a value; `None` asks for the label to be absent.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Requirement {
    pub side: Side,
    pub label: &'static str,
    pub value: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    From,
    To,
}

/// One rule of the relation table.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rule {
    pub from: &'static str,
    pub relation: Relation,
    pub to: &'static str,
    /// Label pairs that must be equal; an absent label never matches. Both ends are always on one machine.
    pub matches: &'static [(&'static str, &'static str)],
    pub requires: &'static [Requirement],
}

const fn rule(
    from: &'static str,
    relation: Relation,
    to: &'static str,
    matches: &'static [(&'static str, &'static str)],
) -> Rule {
    Rule { from, relation, to, matches, requires: &[] }
}

const fn rule_if(
    from: &'static str,
    relation: Relation,
    to: &'static str,
    matches: &'static [(&'static str, &'static str)],
    requires: &'static [Requirement],
) -> Rule {
    Rule { from, relation, to, matches, requires }
}

const fn from_absent(label: &'static str) -> Requirement {
    Requirement { side: Side::From, label, value: None }
}

const BY_TGID: &[(&str, &str)] = &[("tgid", "tgid")];
const BY_CONTAINER: &[(&str, &str)] = &[("container_id", "container_id")];

/// The table in force. `is_peer` and `connect` need more than label equality and live in [`super::connect`].
pub const RULES: &[Rule] = &[
    rule_if("container", Relation::RunsOn, "host", &[], &[from_absent("pod_id")]),
    rule("container", Relation::BelongsTo, "pod", &[("pod_id", "pod_id")]),
    rule("pod", Relation::RunsOn, "host", &[]),
    rule_if("proc", Relation::RunsOn, "host", &[], &[from_absent("container_id")]),
    rule("proc", Relation::BelongsTo, "container", BY_CONTAINER),
    rule("proc", Relation::BelongsTo, "appinstance", &[("app_key", "pgid")]),
    rule("thread", Relation::BelongsTo, "proc", BY_TGID),
    rule("tcp_link", Relation::BelongsTo, "proc", BY_TGID),
    rule("endpoint", Relation::BelongsTo, "proc", BY_TGID),
    rule("endpoint_tcp", Relation::BelongsTo, "proc", BY_TGID),
    rule("endpoint_udp", Relation::BelongsTo, "proc", BY_TGID),
    rule("sli", Relation::BelongsTo, "proc", BY_TGID),
    rule("l7", Relation::BelongsTo, "proc", BY_TGID),
    rule("l7_api", Relation::BelongsTo, "proc", BY_TGID),
    rule("sermant_l7", Relation::BelongsTo, "proc", BY_TGID),
    rule("sermant_l7_api", Relation::BelongsTo, "proc", BY_TGID),
    rule("jvm", Relation::BelongsTo, "proc", BY_TGID),
    rule("runtime", Relation::BelongsTo, "proc", BY_TGID),
    rule("dns", Relation::BelongsTo, "proc", BY_TGID),
    rule("proc_flow_perf", Relation::BelongsTo, "proc", BY_TGID),
    rule("other", Relation::BelongsTo, "proc", BY_TGID),
    rule("sli_container", Relation::BelongsTo, "container", BY_CONTAINER),
    rule("net_ns", Relation::BelongsTo, "container", &[("net_ns_id", "net_ns_id")]),
    rule("mnt_ns", Relation::BelongsTo, "container", &[("mnt_ns_id", "mnt_ns_id")]),
    rule("cpu_cgp", Relation::BelongsTo, "container", &[("cpucg_inode", "cpucg_inode")]),
    rule("mem_cgp", Relation::BelongsTo, "container", &[("memcg_inode", "memcg_inode")]),
    rule("cpu", Relation::BelongsTo, "host", &[]),
    rule("mem", Relation::BelongsTo, "host", &[]),
    rule("nic", Relation::BelongsTo, "host", &[]),
    rule("qdisc", Relation::BelongsTo, "nic", &[("dev_name", "dev_name")]),
    rule("disk", Relation::BelongsTo, "host", &[]),
    rule("block", Relation::BelongsTo, "disk", &[("disk_name", "disk_name")]),
    rule("fs", Relation::BelongsTo, "host", &[]),
    rule("net", Relation::BelongsTo, "host", &[]),
    rule("sched", Relation::BelongsTo, "host", &[]),
    rule("sli_node", Relation::BelongsTo, "host", &[]),
    rule("hw", Relation::BelongsTo, "nic", &[("dev_name", "dev_name")]),
    rule_if("hw", Relation::BelongsTo, "mem", &[], &[from_absent("dev_name")]),
];

/// Adds every direct relation that the rules find.
pub fn relate(observed: &mut Observed) {
    let mut by_type: HashMap<&'static str, Vec<usize>> = HashMap::new();
    for (index, entity) in observed.entities.iter().enumerate() {
        by_type.entry(entity.kind.name).or_default().push(index);
    }
    let mut seen: HashSet<(Relation, Arc<str>, Arc<str>)> = HashSet::new();
    for rule in RULES {
        let (Some(subjects), Some(objects)) = (by_type.get(rule.from), by_type.get(rule.to)) else { continue };
        let mut index: HashMap<Vec<&str>, Vec<usize>> = HashMap::new();
        for object in objects {
            let entity = &observed.entities[*object];
            if let Some(key) = match_key(entity, rule, Side::To) {
                index.entry(key).or_default().push(*object);
            }
        }
        let mut found = Vec::new();
        for subject in subjects {
            let entity = &observed.entities[*subject];
            let Some(key) = match_key(entity, rule, Side::From) else { continue };
            for object in index.get(&key).into_iter().flatten().filter(|object| *object != subject) {
                let edge = Edge::direct(rule.relation, &entity.id, &observed.entities[*object].id);
                if seen.insert((edge.relation, edge.from.clone(), edge.to.clone())) {
                    found.push(edge);
                }
            }
        }
        observed.edges.extend(found);
    }
}

/// The values a side must share, machine first; `None` where a label is absent or a requirement fails.
fn match_key<'a>(entity: &'a Entity, rule: &Rule, side: Side) -> Option<Vec<&'a str>> {
    let meets = |requirement: &Requirement| requirement.side != side || entity.label(requirement.label) == requirement.value;
    if !rule.requires.iter().all(meets) {
        return None;
    }
    let mut key = vec![entity.machine()];
    for (from, to) in rule.matches {
        key.push(entity.label(if side == Side::From { from } else { to })?);
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::LabelMap;
    use gala_model::entity::entity_type;

    fn entity(machine: &str, kind: &str, labels: &[(&str, &str)]) -> Entity {
        let labels: LabelMap = labels.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value))).collect();
        let kind = entity_type(kind).unwrap();
        let id = format!("{machine}_{}_{:?}", kind.name, labels.values().collect::<Vec<_>>());
        Entity { id: id.into(), kind, machine_id: machine.into(), labels, metrics: Default::default(), last_sample_ms: 0 }
    }

    fn edges(entities: Vec<Entity>) -> Vec<(Relation, String, String)> {
        let mut observed = Observed { entities, ..Observed::default() };
        relate(&mut observed);
        observed.edges.iter().map(|edge| (edge.relation, edge.from.to_string(), edge.to.to_string())).collect()
    }

    #[test]
    fn a_process_in_a_container_belongs_to_it_and_does_not_run_on_the_host() {
        let found = edges(vec![
            entity("m", "host", &[]),
            entity("m", "container", &[("container_id", "c1")]),
            entity("m", "proc", &[("tgid", "1"), ("container_id", "c1")]),
            entity("m", "proc", &[("tgid", "2")]),
        ]);
        let relations: Vec<_> =
            found.iter().map(|(relation, from, to)| (*relation, from.contains("proc"), to.contains("host"))).collect();
        assert_eq!(
            relations,
            [(Relation::RunsOn, false, true), (Relation::RunsOn, true, true), (Relation::BelongsTo, true, false)]
        );
    }

    #[test]
    fn absent_never_equals_absent_and_machines_never_mix() {
        let found = edges(vec![
            entity("m", "proc", &[("tgid", "1")]),
            entity("m", "container", &[("container_id", "")]),
            entity("n", "sli", &[("tgid", "1")]),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn both_spellings_of_a_machine_match() {
        let found = edges(vec![entity("u-192.0.2.1", "host", &[]), entity("u", "disk", &[("disk_name", "sda")])]);
        assert_eq!(found.len(), 1);
    }
}
