//! Root cause of cases on files: small applications whose answer is known, each with a trap that a simpler method falls into.

use std::fmt::Write;

use gala_analysis::cause::rca_case;

const NORMAL: i64 = 120;
const INCIDENT: i64 = 5;

/// One column: name and value at a minute; `None` is a gap.
type Column<'a> = (&'a str, &'a dyn Fn(i64) -> Option<f64>);

/// Small, regular, never the same twice in a row.
fn wobble(minute: i64, salt: i64) -> f64 {
    ((minute * 7919 + salt * 104_729) % 101) as f64 / 1010.0
}

/// Whether the minute lies in the fault, whose first two incident samples are still well.
fn in_fault(minute: i64) -> bool {
    minute >= NORMAL + 2
}

/// Nodes in the order of their scores; empty where there is nothing to localise.
fn ranking(target: &str, metric: &str, edges: &[[&str; 2]], columns: &[Column<'_>]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let mut nodes: Vec<&str> = columns.iter().map(|(name, _)| name.split('|').next().unwrap()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let case = serde_json::json!({
        "case": "c", "interval_s": 60, "normal": [0, (NORMAL - 1) * 60],
        "anomaly": [NORMAL * 60, (NORMAL + INCIDENT - 1) * 60],
        "target": {"node": target, "metric": metric, "statistic": "Average"}, "candidates": nodes
    });
    std::fs::write(dir.path().join("case.json"), case.to_string()).unwrap();
    std::fs::write(dir.path().join("graph.json"), serde_json::json!({"nodes": nodes, "edges": edges}).to_string()).unwrap();
    let mut text = String::from("timestamp");
    for (name, _) in columns {
        write!(text, ",{name}").unwrap();
    }
    for minute in 0..NORMAL + INCIDENT {
        write!(text, "\n{}", minute * 60).unwrap();
        for (_, value) in columns {
            match value(minute) {
                Some(value) => write!(text, ",{value}").unwrap(),
                None => text.push(','),
            }
        }
    }
    std::fs::write(dir.path().join("metrics.csv"), text + "\n").unwrap();
    let answer = rca_case(dir.path(), &dir.path().join("ranks.json")).unwrap();
    let written: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.path().join("ranks.json")).unwrap()).unwrap();
    assert_eq!(written["ranking"].as_array().unwrap().len(), answer.ranking.len());
    answer.ranking.into_iter().filter(|ranked| ranked.score > 0.0).map(|ranked| ranked.node).collect()
}

fn steady(level: f64, salt: i64) -> impl Fn(i64) -> Option<f64> {
    move |minute| Some(level * (1.0 + wobble(minute, salt)))
}

fn rising(level: f64, by: f64, salt: i64) -> impl Fn(i64) -> Option<f64> {
    move |minute| Some(level * (1.0 + wobble(minute, salt)) + if in_fault(minute) { by } else { 0.0 })
}

#[test]
fn the_deepest_node_that_explains_the_rise_is_the_cause() {
    let (front, back, store) = (rising(0.2, 0.5, 1), rising(0.1, 0.5, 2), rising(0.05, 0.5, 3));
    let columns: [Column<'_>; 3] =
        [("front|latency|Average", &front), ("back|latency|Average", &back), ("store|latency|Average", &store)];
    assert_eq!(ranking("front", "latency", &[["front", "back"], ["back", "store"]], &columns)[0], "store");
}

#[test]
fn a_tiny_but_sure_change_of_a_leaf_does_not_take_the_blame() {
    // The leaf leaves its range a thousandfold, but by a hundredth of the symptom.
    let (front, back, leaf) = (rising(0.2, 0.5, 1), rising(0.1, 0.5, 2), rising(0.000_01, 0.005, 3));
    let columns: [Column<'_>; 3] =
        [("front|latency|Average", &front), ("back|latency|Average", &back), ("leaf|latency|Average", &leaf)];
    assert_eq!(ranking("front", "latency", &[["front", "back"], ["back", "leaf"]], &columns)[0], "back");
}

#[test]
fn what_was_slow_before_is_not_the_cause() {
    let (front, slow, back) = (rising(0.9, 0.5, 1), steady(0.7, 2), rising(0.1, 0.5, 3));
    let columns: [Column<'_>; 3] =
        [("front|latency|Average", &front), ("slow|latency|Average", &slow), ("back|latency|Average", &back)];
    assert_eq!(ranking("front", "latency", &[["front", "slow"], ["front", "back"]], &columns)[0], "back");
}

#[test]
fn a_node_without_samples_is_transparent() {
    let (front, store) = (rising(0.2, 0.5, 1), rising(0.05, 0.5, 3));
    let gap = |_: i64| None;
    let columns: [Column<'_>; 3] =
        [("front|latency|Average", &front), ("middle|latency|Average", &gap), ("store|latency|Average", &store)];
    assert_eq!(ranking("front", "latency", &[["front", "middle"], ["middle", "store"]], &columns)[0], "store");
}

#[test]
fn a_sparse_or_constant_column_has_no_say() {
    let (front, back) = (rising(0.2, 0.5, 1), rising(0.1, 0.5, 2));
    let constant = |_: i64| Some(0.3);
    let sparse = |minute: i64| (minute % 20 == 0 || minute == NORMAL + 3).then_some(if minute > NORMAL { 40.0 } else { 0.1 });
    let columns: [Column<'_>; 4] = [
        ("front|latency|Average", &front),
        ("back|latency|Average", &back),
        ("constant|latency|Average", &constant),
        ("sparse|latency|Average", &sparse),
    ];
    let found = ranking("front", "latency", &[["front", "back"], ["front", "constant"], ["front", "sparse"]], &columns);
    assert_eq!(found[0], "back");
    assert!(!found.iter().any(|node| node == "constant" || node == "sparse"), "{found:?}");
}

#[test]
fn the_view_of_a_balancer_loses_to_the_service_behind_it() {
    // The balancer's client sees a third of the requests.
    let (front, view, service) = (rising(0.2, 0.5, 1), rising(0.1, 0.5, 2), rising(0.1, 0.5, 3));
    let (all, third) = (steady(900.0, 4), steady(300.0, 5));
    let columns: [Column<'_>; 6] = [
        ("front|latency|Average", &front),
        ("front|requests|Sum", &all),
        ("view|latency|Average", &view),
        ("view|requests|Sum", &third),
        ("service|latency|Average", &service),
        ("service|requests|Sum", &all),
    ];
    assert_eq!(ranking("front", "latency", &[["front", "view"], ["front", "service"]], &columns)[0], "service");
}

#[test]
fn two_nodes_that_call_each_other_still_give_an_answer() {
    let (front, left, right) = (rising(0.2, 0.5, 1), rising(0.1, 0.5, 2), rising(0.08, 0.45, 3));
    let columns: [Column<'_>; 3] =
        [("front|latency|Average", &front), ("left|latency|Average", &left), ("right|latency|Average", &right)];
    let found =
        ranking("front", "latency", &[["front", "left"], ["front", "right"], ["left", "right"], ["right", "left"]], &columns);
    assert!(["left", "right"].contains(&found[0].as_str()), "{found:?}");
}

#[test]
fn more_load_at_the_same_latency_is_no_fault() {
    let (front, back) = (steady(0.2, 1), steady(0.1, 2));
    let load = |minute: i64| Some(if in_fault(minute) { 3000.0 } else { 1000.0 } * (1.0 + wobble(minute, 3)));
    let columns: [Column<'_>; 4] = [
        ("front|latency|Average", &front),
        ("front|requests|Sum", &load),
        ("back|latency|Average", &back),
        ("back|requests|Sum", &load),
    ];
    assert!(ranking("front", "latency", &[["front", "back"]], &columns).is_empty());
}

#[test]
fn failures_are_followed_like_delays() {
    let fails = |salt: i64| move |minute: i64| Some(if in_fault(minute) { 60.0 } else { 100.0 - wobble(minute, salt) });
    let (front, back) = (fails(1), fails(2));
    let load = steady(1000.0, 3);
    let columns: [Column<'_>; 4] = [
        ("front|availability|Average", &front),
        ("front|requests|Sum", &load),
        ("back|availability|Average", &back),
        ("back|requests|Sum", &load),
    ];
    assert_eq!(ranking("front", "availability", &[["front", "back"]], &columns)[0], "back");
}

#[test]
fn what_a_callee_did_in_its_gaps_is_not_left_to_its_caller() {
    // Each lacks another sample of the fault's three.
    let (front, middle, store) = (rising(0.2, 0.5, 1), rising(0.1, 0.5, 2), rising(0.05, 0.5, 3));
    let middle_seen = |minute: i64| middle(minute).filter(|_| minute != NORMAL + 3);
    let store_seen = |minute: i64| store(minute).filter(|_| minute != NORMAL + 4);
    let columns: [Column<'_>; 3] =
        [("front|latency|Average", &front), ("middle|latency|Average", &middle_seen), ("store|latency|Average", &store_seen)];
    assert_eq!(ranking("front", "latency", &[["front", "middle"], ["middle", "store"]], &columns)[0], "store");
}

#[test]
fn without_a_call_graph_times_that_lie_in_each_other_tell_who_calls_whom() {
    let (front, back, store, other) = (rising(0.2, 0.5, 1), rising(0.1, 0.5, 2), rising(0.05, 0.5, 3), steady(0.15, 4));
    let columns: [Column<'_>; 4] = [
        ("front|latency|Average", &front),
        ("a-store|latency|Average", &store),
        ("back|latency|Average", &back),
        ("other|latency|Average", &other),
    ];
    assert_eq!(ranking("front", "latency", &[], &columns)[0], "a-store");
}

#[test]
fn extremes_and_other_units_do_not_lead_astray() {
    let ms = |value: Option<f64>| value.map(|value| value * 1e3);
    let (front, back) = (rising(0.2, 0.5, 1), rising(0.1, 0.5, 2));
    let (front_ms, back_ms) = (|minute: i64| ms(front(minute)), |minute: i64| ms(back(minute)));
    // Now and then one request takes long; it says nothing of the mean.
    let worst = |minute: i64| Some(if minute % 7 == 0 { 9_000.0 } else { 400.0 });
    let columns: [Column<'_>; 4] = [
        ("front|latency_ms|Average", &front_ms),
        ("front|latency_ms|Maximum", &worst),
        ("back|latency_ms|Average", &back_ms),
        ("back|latency_ms|Maximum", &worst),
    ];
    assert_eq!(ranking("front", "latency", &[["front", "back"]], &columns)[0], "back");
}

#[test]
fn a_share_of_a_cpu_counts_like_a_percentage() {
    let (front, busy, idle) = (steady(0.2, 1), rising(0.2, 0.6, 2), steady(0.01, 3));
    let columns: [Column<'_>; 3] = [("front|latency|Average", &front), ("back|cpu_util", &busy), ("other|cpu_util", &idle)];
    assert_eq!(ranking("front", "latency", &[], &columns)[0], "back");
}

#[test]
fn a_circle_of_calls_does_not_lose_the_blame() {
    let (front, back) = (rising(0.2, 0.5, 1), rising(0.1, 0.5, 2));
    let columns: [Column<'_>; 2] = [("front|latency|Average", &front), ("back|latency|Average", &back)];
    let edges = [["front", "back"], ["back", "front"], ["front", "front"]];
    assert_eq!(ranking("front", "latency", &edges, &columns)[0], "back");
}
