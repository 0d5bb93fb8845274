//! A Redis of a test's own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::wait::wait_for;

/// Starts one without persistence on a free port; `None` if it is not installed.
pub fn start(options: &[&str]) -> Option<(Child, u16)> {
    // A free port may be taken by somebody else before the server has it; then another one.
    for _ in 0..5 {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--save", ""]).args(options);
        let mut server = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let mut has_ended = false;
        wait_for("an answer of redis-server", || {
            has_ended = server.try_wait().is_ok_and(|status| status.is_some());
            has_ended || is_answering(&server, port)
        });
        if !has_ended {
            return Some((server, port));
        }
    }
    panic!("redis-server got no port");
}

/// Not only that a connection is made: it may be to another's server, or without any to itself.
fn is_answering(server: &Child, port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut answer = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(1))).is_ok()
        && stream.write_all(b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n*1\r\n$4\r\nQUIT\r\n").is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.contains(&format!("process_id:{}\r\n", server.id()))
}
