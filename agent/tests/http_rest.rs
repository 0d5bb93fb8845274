//! The REST API of a real agent: every answer of the protocol, and bodies meant to hurt.

mod common;

use std::collections::BTreeSet;

use common::{Reply, Running, agent, request, wait_for};
use gala_agent::control::catalogue::PROBES;
use gala_agent::ledger::LedgerLine;

const SUCCESS: &str = "{ \"result\": \"success\", \"message\":\"New config takes effect\" }\n";

struct Rest(Running);

impl Rest {
    fn new() -> Self {
        Self(agent(|_| {}))
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Reply {
        request(self.0.agent.rest_address().unwrap(), method, path, body)
    }

    fn get(&self, probe: &str) -> String {
        let reply = self.ask("GET", &format!("/{probe}"), b"");
        assert_eq!(reply.status, 200, "{probe}");
        assert!(reply.head.contains("content-type: application/json"));
        reply.body
    }

    fn put(&self, probe: &str, json: &str) -> (u16, String) {
        let reply = self.ask("PUT", &format!("/{probe}"), format!("json={json}").as_bytes());
        (reply.status, reply.body)
    }

    fn refused(&self, probe: &str, json: &str) -> String {
        let (status, body) = self.put(probe, json);
        assert_eq!(status, 400, "{probe} {json}: {body}");
        message(&body)
    }
}

fn message(body: &str) -> String {
    assert!(body.starts_with("{ \"result\": \"failed\", \"message\":") && body.ends_with(" }\n"), "{body}");
    serde_json::from_str::<serde_json::Value>(body).unwrap()["message"].as_str().unwrap().to_owned()
}

#[test]
fn all_names_answer_in_any_case_and_others_are_not_found() {
    let rest = Rest::new();
    for entry in &PROBES {
        assert_eq!(rest.get(entry.name), "{}\n");
        assert_eq!(rest.get(&entry.name.to_uppercase()), "{}\n");
    }
    for path in ["/", "/dnsmasq", "/tcp/", "/t%63p"] {
        let reply = rest.ask("GET", path, b"");
        assert_eq!((reply.status, message(&reply.body).as_str()), (404, "url not found"), "{path}");
    }
    assert_eq!(rest.ask("GET", "/tcp?x=1", b"").body, "{}\n", "a query is ignored");
    assert_eq!(rest.ask("PUT", "/", b"json={}").status, 404);
    assert_eq!(rest.refused("dnsmasq", "{}"), "invalid probe name dnsmasq");
    for method in ["POST", "DELETE", "PATCH", "OPTIONS"] {
        let reply = rest.ask(method, "/tcp", b"json={}");
        assert_eq!((reply.status, message(&reply.body).as_str()), (405, "method not allowed"), "{method}");
    }
}

#[test]
fn each_wrong_body_gets_upstreams_words_and_changes_nothing() {
    let rest = Rest::new();
    let all = r#""blacklist":{}"#;
    let cases = [
        ("tcp", "{}".to_owned(), "Bad request"),
        ("tcp", r#"{"cmd":{"bin":"x"}}"#.into(), "Bad request"),
        ("tcp", r#"{"unknown":1}"#.into(), "Bad request"),
        ("tcp", format!(r#"{{{all},"params":{{"unknown":1}}}}"#), "Bad request"),
        ("tcp", format!(r#"{{{all},"params":{{"elf_path":"/no/such"}}}}"#), "Bad request"),
        ("tcp", "{".into(), "invalid json format"),
        ("tcp", "[]".into(), "invalid json format"),
        ("tcp", "\"x\"".into(), "invalid json format"),
        ("tcp", r#"{"params":{"report_period":60,}}"#.into(), "invalid json format"),
        ("tcp", r#"{"cmd":{"probe":[1]}}"#.into(), "Invalid probe range: must be string."),
        ("tcp", r#"{"cmd":{"probe":[""]}}"#.into(), "The lengh of probe name must range from 0 to 64."),
        ("tcp", format!(r#"{{"cmd":{{"probe":["{}"]}}}}"#, "x".repeat(65)), "The lengh of probe name must range from 0 to 64."),
        ("tcp", r#"{"cmd":{"probe":["nope"]}}"#.into(), "unsupported probe range: nope."),
        ("tcp", r#"{"cmd":{"probe":[]}}"#.into(), "invalid probe ranges: at least one must be set"),
        ("tcp", r#"{"cmd":{"probe":"tcp_rtt"}}"#.into(), "invalid probe ranges: at least one must be set"),
        ("tcp", format!(r#"{{{all},"state":"running"}}"#), "invalid probe ranges: at least one must be set"),
        ("ksli", r#"{"cmd":{"probe":["x"]}}"#.into(), "unsupported probe range: x."),
        ("tcp", r#"{"cmd":{"probe":["tcp_rtt"]}}"#.into(), "the snooper for tcp cannot be empty"),
        ("tcp", r#"{"state":"stopped"}"#.into(), "the snooper for tcp cannot be empty"),
        ("tcp", r#"{"snoopers":{"proc_id":[4294967295]}}"#.into(), "Error occurs when parsing snooper proc_id"),
        ("tcp", r#"{"snoopers":{"proc_id":{"a":1}}}"#.into(), "Error occurs when parsing snooper proc_id"),
        ("tcp", r#"{"snoopers":{"proc_id":["x"]}}"#.into(), "Error occurs when parsing snooper proc_id"),
        ("tcp", r#"{"snoopers":{"proc_name":[{"comm":"["}]}}"#.into(), "Error occurs when parsing snooper proc_name"),
        ("tcp", r#"{"snoopers":{"proc_name":[{"cmdline":"x"}]}}"#.into(), "Error occurs when parsing snooper proc_name"),
        ("tcp", r#"{"snoopers":{"pod_id":["xyz"]}}"#.into(), "Error occurs when parsing snooper pod_id"),
        ("tcp", r#"{"snoopers":{"container_id":["xyz"]}}"#.into(), "Error occurs when parsing snooper container_id"),
        ("tcp", r#"{"snoopers":{"container_name":["a;b"]}}"#.into(), "Error occurs when parsing snooper container_name"),
        (
            "tcp",
            r#"{"snoopers":{"proc_id":[1],"custom_labels":{"a":1}}}"#.into(),
            "Error occurs when parsing snooper custom_labels",
        ),
        ("tcp", r#"{"snoopers":{"proc_id":[1],"pod_labels":[1]}}"#.into(), "Error occurs when parsing snooper pod_labels"),
        ("tcp", r#"{"snoopers":{"proc_id":[1],"pod_labels":["le"]}}"#.into(), "Error occurs when parsing snooper pod_labels"),
        ("tcp", r#"{"snoopers":{"proc_id":[1]},"blacklist":{}}"#.into(), "snoopers and blacklist are mutually exclusive"),
        ("tcp", format!(r#"{{{all},"params":{{"report_period":"x"}}}}"#), "params.report_period invalid data type"),
        (
            "tcp",
            format!(r#"{{{all},"params":{{"report_period":601}}}}"#),
            "params.report_period invalid value 601, must be in [5, 600]",
        ),
        (
            "tcp",
            format!(r#"{{{all},"params":{{"ringbuf_map_size":3}}}}"#),
            "params.ringbuf_map_size invalid value 3, must be power of 2",
        ),
        ("tcp", format!(r#"{{{all},"params":{{"dev_name":"a`b"}}}}"#), "params.dev_name contains unsafe characters"),
        ("tcp", format!(r#"{{{all},"params":{{"l7_protocol":["smtp"]}}}}"#), "params.l7_protocol invalid value: smtp"),
        ("tcp", format!(r#"{{{all},"state":1}}"#), "invalid state: must be string"),
        ("tcp", format!(r#"{{{all},"state":"on"}}"#), "invalid state on: must be running or stopped"),
        ("tcp", r#"{"cmd":"x"}"#.into(), "cmd must be an object"),
        ("tcp", r#"{"params":[]}"#.into(), "params must be an object"),
        ("tcp", r#"{"snoopers":null}"#.into(), "snoopers must be an object"),
    ];
    let mut before = None;
    for (probe, body, words) in &cases {
        assert_eq!(&rest.refused(probe, body), words, "{body}");
        if *probe == "tcp" {
            let now = rest.get(probe);
            assert_eq!(before.get_or_insert(now.clone()), &now, "{body} changed something");
        }
    }
    let defaults = r#"{"cmd":{"bin":"/opt/gala-gopher/extend_probes/tcpprobe","probe":[]},"params":{"cluster_ip_backend":0,"dev_name":"","report_cport":0,"report_event":0,"report_period":60,"res_lower_thr":0,"res_upper_thr":0,"ringbuf_map_size":1,"sample_period":5000},"snoopers":{},"state":"stopped"}"#;
    assert_eq!(before.unwrap(), format!("{defaults}\n"));
}

#[test]
fn bodies_meant_to_hurt_are_refused_and_the_agent_lives() {
    let rest = Rest::new();
    let put = |body: &[u8]| rest.ask("PUT", "/tcp", body);
    let deep = format!("json={}{}", "[".repeat(200_000), "]".repeat(200_000));
    let deep_inside = format!("json={{\"params\":{}1{}}}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let mut huge = b"json={\"params\":{\"x\":\"".to_vec();
    huge.resize(1_048_577, b'x');
    let mut bad_text = b"json={\"params\":{\"dev_name\":\"".to_vec();
    bad_text.extend_from_slice(&[0xff, 0xfe, b'"', b'}', b'}']);
    let cases: [(&[u8], &str); 8] = [
        (b"", "put data must start with json="),
        (b"hello", "put data must start with json="),
        (b"jsn={}", "put data must start with json="),
        (b"json=", "invalid json format"),
        (deep.as_bytes(), "invalid json format"),
        (deep_inside.as_bytes(), "invalid json format"),
        (&huge, "put data size exceeds 1048576"),
        (&bad_text, "invalid json format"),
    ];
    for (body, words) in cases {
        let reply = put(body);
        assert_eq!((reply.status, message(&reply.body).as_str()), (400, words));
    }
    let words = put(b"json={\"cmd\":{\"probe\":[\"a\\\"b\\\\c\"]}}");
    assert_eq!(message(&words.body), "unsupported probe range: a\"b\\c.", "messages are escaped and whole");
    let long = format!("json={{\"cmd\":{{\"probe\":[\"{}\"]}}}}", "x".repeat(64));
    assert!(message(&put(long.as_bytes()).body).contains(&"x".repeat(64)));
    let twice = put(br#"json={"blacklist":{},"params":{"report_period":4},"params":{"report_period":30}}"#);
    assert_eq!(twice.body, SUCCESS, "of equal keys the last counts");
    assert!(rest.get("tcp").contains("\"report_period\":30"));
}

#[test]
fn a_refusal_says_where_and_what_to_write_behind_upstreams_words() {
    let rest = Rest::new();
    let detail = |body: &str| {
        let (status, body) = rest.put("tcp", body);
        assert_eq!(status, 400);
        message(&body);
        serde_json::from_str::<serde_json::Value>(&body).unwrap()["detail"].as_str().unwrap().to_owned()
    };
    assert!(detail("{\"cmd\":{\"probe\":[\"tcp_rtt\"]\n,}").contains("line 2 column 2"));
    assert!(detail("{\"blacklist\":{},\"params\":{\"report_perod\":1}}").contains("did you mean report_period?"));
    assert!(detail("{\"snoopers\":{\"proc_id\":[1,-1]}}").starts_with("entry 2: "));
}

#[test]
fn a_page_of_the_web_changes_nothing() {
    use std::io::{Read, Write};
    let rest = Rest::new();
    let before = rest.get("baseinfo");
    let mut stream = std::net::TcpStream::connect(rest.0.agent.rest_address().unwrap()).unwrap();
    let body = "json={\"state\":\"stopped\"}";
    let head = "PUT /baseinfo HTTP/1.1\r\nhost: rebound.example\r\norigin: http://rebound.example\r\nconnection: close";
    write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("\"failed\""), "{answer}");
    assert_eq!(rest.get("baseinfo"), before);
}

#[test]
fn whoever_asks_first_finds_every_probe_that_runs_unasked() {
    let rest = Rest(agent(|config| config.run_unasked = true));
    for probe in ["tcp", "socket", "io", "proc", "baseinfo", "ksli"] {
        assert!(rest.get(probe).starts_with("{\"blacklist\":{},"), "{}", rest.get(probe));
    }
    // Loaded last: its start has not come yet.
    assert_eq!(rest.put("ksli", r#"{"state":"stopped"}"#), (200, SUCCESS.into()));
    assert_eq!(rest.put("tcp", r#"{"params":{"report_period":9}}"#), (200, SUCCESS.into()));
    wait_for("all others", || rest.0.agent.status().probes_running == 5);
    assert!(rest.get("ksli").ends_with("\"state\":\"stopped\"}\n"), "{}", rest.get("ksli"));
    assert!(rest.get("tcp").contains("\"report_period\":9"), "{}", rest.get("tcp"));
}

#[test]
fn what_upstream_tolerates_is_taken() {
    let rest = Rest::new();
    let object = r#"{"blacklist":{},"params":{"report_period":10.7,"report_event":true}}"#;
    let encoded: String = object.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for body in [
        format!("json={object}"),
        format!("json={object} and more"),
        format!("json=/* first */ {object}"),
        format!("json={encoded}"),
        object.to_owned(),
        format!("json={}", object.replace("{\"blacklist", "{ // all of them\n\"blacklist")),
    ] {
        let reply = rest.ask("PUT", "/baseinfo", body.as_bytes());
        assert_eq!((reply.status, reply.body.as_str()), (200, SUCCESS), "{body}");
        let answer = rest.get("baseinfo");
        assert!(answer.contains(r#""report_event":1,"report_period":10,"#), "{answer}");
    }
}

#[test]
fn sections_replace_and_absent_ones_keep() {
    let rest = Rest::new();
    let body = r#"{"cmd":{"probe":["TCP_RTT","tcp_rtt"]},"snoopers":{"proc_id":[1,2],"proc_name":[{"comm":"bash","cmdline":"x","label":{"task":"t1"}}],"container_id":["ABCDEF0123456789"],"custom_labels":{"zone":"b","app":"a"}},"params":{"latency_thr":20}}"#;
    assert_eq!(rest.put("tcp", body), (200, SUCCESS.into()));
    let expected = r#"{"cmd":{"bin":"/opt/gala-gopher/extend_probes/tcpprobe","probe":["tcp_rtt"]},"params":{"cluster_ip_backend":0,"dev_name":"","latency_thr":20,"report_cport":0,"report_event":0,"report_period":60,"res_lower_thr":0,"res_upper_thr":0,"ringbuf_map_size":1,"sample_period":5000},"snoopers":{"container_id":["abcdef012345"],"container_name":[],"custom_labels":{"app":"a","zone":"b"},"pod_id":[],"proc_id":[1,2],"proc_name":[{"cmdline":"x","comm":"bash","label":{"task":"t1"}}]},"state":"stopped"}"#;
    assert_eq!(rest.get("tcp"), format!("{expected}\n"));
    assert_eq!(rest.put("tcp", rest.get("tcp").trim()), (200, SUCCESS.into()), "an answer is accepted back");
    assert_eq!(rest.get("tcp"), format!("{expected}\n"));
    assert_eq!(rest.put("tcp", r#"{"params":{"latency_thr":0},"cmd":{}}"#), (200, SUCCESS.into()));
    assert!(!rest.get("tcp").contains("latency_thr"));
    assert!(rest.get("tcp").contains(r#""probe":["tcp_rtt"]"#));
    assert_eq!(rest.put("tcp", r#"{"snoopers":{"proc_id":[7]}}"#), (200, SUCCESS.into()));
    let answer = rest.get("tcp");
    assert!(answer.contains(r#""proc_id":[7],"proc_name":[]"#) && answer.contains(r#""custom_labels":{"app":"a""#), "{answer}");
    assert_eq!(rest.put("tcp", r#"{"blacklist":{}}"#), (200, SUCCESS.into()));
    let answer = rest.get("tcp");
    assert!(answer.starts_with(r#"{"blacklist":{"custom_labels":{"app":"a","zone":"b"}},"cmd""#), "{answer}");
    let changed = answer.replace("\"report_period\":60", "\"report_period\":30");
    assert_eq!(rest.put("tcp", changed.trim()), (200, SUCCESS.into()));
    assert_eq!(rest.get("tcp"), changed, "labels in force are shown and kept");
}

#[test]
fn every_answer_is_accepted_back() {
    let rest = Rest::new();
    for entry in PROBES.iter().filter(|entry| entry.start.is_some()) {
        rest.put(entry.name, "{}");
        let first = rest.get(entry.name);
        assert_eq!(rest.put(entry.name, first.trim()), (200, SUCCESS.into()), "{first}");
        assert_eq!(rest.get(entry.name), first);
        for sub_probe in entry.sub_probes {
            for spelling in [(*sub_probe).to_owned(), sub_probe.to_uppercase()] {
                let body = format!(r#"{{"cmd":{{"probe":["{spelling}"]}},"blacklist":{{}}}}"#);
                assert_eq!(rest.put(entry.name, &body), (200, SUCCESS.into()), "{body}");
                let answer = rest.get(entry.name);
                assert!(answer.contains(&format!(r#""probe":["{sub_probe}"]"#)), "{answer}");
                assert_eq!(rest.put(entry.name, answer.trim()), (200, SUCCESS.into()), "{answer}");
                let place = format!("probe.{}", entry.name);
                let is_it = |line: &LedgerLine| line.place == place && line.what == "sub-probes without effect";
                assert_eq!(rest.0.agent.ledger().iter().any(is_it), !entry.fills(sub_probe), "{sub_probe}");
            }
        }
    }
}

#[test]
fn what_is_accepted_without_effect_is_warned_of_beside_the_answer() {
    let rest = Rest::new();
    let warning = |json: &str| {
        let reply = rest.ask("PUT", "/tcp", format!("json={json}").as_bytes());
        assert_eq!((reply.status, reply.body.as_str()), (200, SUCCESS));
        reply.head.lines().find_map(|line| line.strip_prefix("warning: ")).map(str::to_owned)
    };
    assert_eq!(warning(r#"{"blacklist":{},"cmd":{"probe":["tcp_rtt"]}}"#), None);
    let told = warning(r#"{"cmd":{"probe":["tcp_rtt","tcp_delay"]},"params":{"cluster_ip_backend":2}}"#);
    assert_eq!(told.as_deref(), Some("299 gala \"without effect in this version: tcp_delay, cluster_ip_backend\""));
    assert_eq!(warning(r#"{"cmd":{"probe":["tcp_rtt"]},"params":{"cluster_ip_backend":0}}"#), None);
}

#[test]
fn probes_of_later_versions_say_so() {
    let rest = Rest::new();
    for entry in PROBES.iter().filter(|entry| entry.start.is_none()) {
        let words = rest.refused(entry.name, r#"{"state":"running"}"#);
        assert_eq!(words, "not supported in the current version", "{}", entry.name);
        assert!(rest.get(entry.name).contains(entry.program));
    }
}

#[test]
fn a_probe_starts_changes_stops_and_reports_while_it_runs() {
    let rest = Rest::new();
    // No observation list: `baseinfo` does not need one.
    let body = r#"{"cmd":{"probe":["cpu","host"]},"params":{"report_period":5},"state":"running"}"#;
    assert_eq!(rest.put("baseinfo", body), (200, SUCCESS.into()));
    assert!(rest.get("baseinfo").ends_with("\"state\":\"running\"}\n"));
    wait_for("a first report", || rest.0.agent.exposition().contains("gala_gopher_"));
    let answer = rest.get("baseinfo");
    assert_eq!(rest.put("baseinfo", answer.trim()), (200, SUCCESS.into()));
    assert_eq!(rest.put("baseinfo", r#"{"state":"RUNNING","cmd":{"probe":["mem"]}}"#), (200, SUCCESS.into()));
    wait_for("memory in the next report", || rest.0.agent.exposition().contains("gala_gopher_mem_"));
    assert_eq!(rest.put("baseinfo", r#"{"state":"stopped"}"#), (200, SUCCESS.into()));
    assert!(rest.get("baseinfo").contains(r#""probe":["mem"]"#) && rest.get("baseinfo").contains("stopped"));
    assert_eq!(rest.put("baseinfo", r#"{"state":"stopped"}"#), (200, SUCCESS.into()), "stopping twice is no error");
    assert_eq!(rest.put("baseinfo", r#"{"state":"running"}"#), (200, SUCCESS.into()), "the old settings serve again");
    assert!(rest.get("baseinfo").contains("running"));
}

#[test]
fn only_what_belongs_to_the_chosen_sub_probes_is_reported() {
    let rest = Rest::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let peer = listener.accept().unwrap();
    let port = format!("server_port=\"{}\"", client.peer_addr().unwrap().port());
    let put = |parts: &str| {
        let body =
            format!(r#"{{"cmd":{{"probe":[{parts}]}},"blacklist":{{}},"params":{{"report_period":5}},"state":"running"}}"#);
        assert_eq!(rest.put("tcp", &body), (200, SUCCESS.into()));
    };
    let shown = || {
        let text = rest.0.agent.exposition();
        let lines = text.lines().filter(|line| line.starts_with("gala_gopher_tcp_link_") && line.contains(&port));
        lines.filter_map(|line| Some(line.split_once('{')?.0.to_owned())).collect::<BTreeSet<_>>()
    };
    put(r#""tcp_stats""#);
    wait_for("the connection", || !shown().is_empty());
    let names = ["rx_bytes", "segs_in", "segs_out", "tx_bytes"].map(|field| format!("gala_gopher_tcp_link_{field}"));
    assert_eq!(shown(), BTreeSet::from(names));
    put(r#""tcp_stats","tcp_abnormal""#);
    wait_for("retransmissions", || shown().contains("gala_gopher_tcp_link_retran_packets"));
    assert!(!shown().iter().any(|name| name.contains("rtt") || name.contains("wnd")), "{:?}", shown());
    drop((client, peer));
}

#[test]
fn a_reload_changes_what_may_change_and_refuses_the_rest() {
    let mut first = None;
    let running = agent(|config| {
        config.run_unasked = true;
        first = Some(config.clone());
    });
    let rest = Rest(running);
    let mut config = first.unwrap();
    wait_for("all probes", || rest.0.agent.status().probes_running == 6);
    config.interval = std::time::Duration::from_secs(7);
    let section = serde_json::json!({"params": {"report_period": 11}});
    config.probes.insert("io".to_owned(), section.as_object().unwrap().clone());
    rest.0.agent.reload(config.clone()).unwrap();
    assert!(rest.get("tcp").contains("\"report_period\":7"), "{}", rest.get("tcp"));
    assert!(rest.get("io").contains("\"report_period\":11"), "{}", rest.get("io"));
    config.hub = Some("http://127.0.0.1:1".to_owned());
    config.interval = std::time::Duration::from_secs(9);
    let words = rest.0.agent.reload(config).unwrap_err().to_string();
    assert_eq!(words, "hub cannot change while the agent runs: restart it");
    assert!(rest.get("tcp").contains("\"report_period\":7"), "a refused reload changes nothing");
}
