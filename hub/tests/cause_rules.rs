//! The causal rules over HTTP: read, replaced as a whole, refused with the place, kept over a restart.

mod common;

use common::{Answer, TestHub};
use serde_json::{Value, json};

fn put(hub: &TestHub, rules: &Value) -> Answer {
    hub.with_body("PUT", "/cause/rules", "application/json", rules.to_string().as_bytes())
}

#[test]
fn rules_are_replaced_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let hub = TestHub::start(dir.path());
    let built_in = hub.json("/cause/rules");
    assert!(built_in["rules"].as_array().unwrap().len() > 40);
    let mut own = built_in.clone();
    own["version"] = json!(77);
    own["rules"][0]["prior"] = json!(0.25);
    let answer = put(&hub, &own);
    assert_eq!((answer.status, answer.json()["version"].as_u64()), (200, Some(77)), "{}", answer.body);
    drop(hub);

    let hub = TestHub::start(dir.path());
    let kept = hub.json("/cause/rules");
    assert_eq!(kept, own);
    assert_eq!(hub.with_body("DELETE", "/cause/rules", "application/json", b"").status, 200);
    assert_eq!(hub.json("/cause/rules"), built_in);
}

#[test]
fn a_bad_set_is_refused_whole_and_the_place_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let hub = TestHub::start(dir.path());
    let good = hub.json("/cause/rules");
    let with = |pointer: &str, value: Value| {
        let mut set = good.clone();
        *set.pointer_mut(pointer).unwrap() = value;
        set
    };
    let mut surplus = good.clone();
    surplus["rules"][3]["colour"] = json!("red");
    for (set, field, words) in [
        (with("/rules/2/cause", json!("nothing.known")), "rules[2]", "nothing.known"),
        (with("/rules/2/prior", json!(1.5)), "rules[2]", "prior"),
        (with("/rules/2/prior", json!("high")), "rules[2].prior", "expected f64"),
        (with("/classes/4/category", json!("S9")), "classes[4]", "S1 to S6"),
        (with("/classes/1/metrics/0/entity", json!("sofa")), "classes[1]", "sofa"),
        (with("/rules/1/id", good["rules"][0]["id"].clone()), "rules[1]", "twice"),
        (with("/version", json!(-1)), "version", "u32"),
        (surplus, "rules[3].colour", "colour"),
        (json!({"version": 1, "classes": []}), "", "rules"),
    ] {
        let answer = put(&hub, &set);
        let error = answer.json()["error"].clone();
        assert_eq!((answer.status, error["code"].as_str()), (422, Some("refused")), "{error}");
        let named = error["field"].as_str().unwrap();
        assert!(named == field || field.is_empty(), "{named} is not {field}: {error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    }
    for (body, words) in [(&b"{"[..], "EOF"), (b"\xff\xfe", "UTF-8"), (b"", "EOF"), (b"{} trailing", "")] {
        let answer = hub.with_body("PUT", "/cause/rules", "application/json", body);
        assert!(matches!(answer.status, 400 | 422), "{}", answer.body);
        assert!(answer.json()["error"]["message"].as_str().unwrap().contains(words), "{}", answer.body);
    }
    assert_eq!(hub.with_body("PUT", "/cause/rules", "text/plain", b"{}").status, 415);
    assert_eq!(hub.json("/cause/rules"), good);
}
