//! Callers that hold connections or send too much take nothing from the others.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::{agent, request, wait_for};

/// Connections the agent has open.
fn sockets() -> usize {
    let files = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

#[test]
fn idle_connections_make_room_and_are_few() {
    let running = agent(|_| {});
    for address in [running.agent.metrics_address().unwrap(), running.agent.rest_address().unwrap()] {
        let path = if Some(address) == running.agent.rest_address() { "/tcp" } else { "/metrics" };
        let answers = || {
            let mut stream = TcpStream::connect(address).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
            let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            answer.starts_with("HTTP/1.1 200").then_some(())
        };
        // Its thread has its own sockets once it answers.
        wait_for("an answer", || answers().is_some());
        let before = sockets();
        let idle: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(address).unwrap()).collect();
        wait_for("an answer beside 300 idle connections", || answers().is_some());
        let begun: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
        begun.iter().for_each(|mut stream| drop(stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n")));
        wait_for("an answer beside heads that never end", || answers().is_some());
        drop(begun);
        // Both ends are in this process.
        wait_for("the agent closing what is too much", || sockets() <= before + idle.len() + 64 + 1);
        drop(idle);
        wait_for("the agent letting go", || sockets() <= before + 1);
    }
}

#[test]
fn a_body_too_long_is_refused_before_it_is_sent_to_who_asks() {
    let running = agent(|_| {});
    let mut stream = TcpStream::connect(running.agent.rest_address().unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = "PUT /tcp HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\nconnection: close\r\ncontent-length: 1073741824\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("put data size exceeds 1048576"), "{answer}");
}

#[test]
fn other_methods_are_told_which_there_are() {
    let running = agent(|_| {});
    let reply = request(running.agent.rest_address().unwrap(), "DELETE", "/tcp", b"");
    assert_eq!(reply.status, 405);
    assert!(reply.head.contains("\r\nallow: get, put\r\n"), "{}", reply.head);
}
