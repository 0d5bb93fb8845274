//! Workloads: a Redis client with a steady rate, so that what changes is the server's doing and not the load's.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

const TIMEOUT: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(200);

/// Three of four requests read. Keys rotate over a small set, so memory stays as it is.
fn request(number: u64) -> String {
    let key = format!("key:{}", number % 1000);
    if number.is_multiple_of(4) {
        let value = "x".repeat(64);
        format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n$64\r\n{value}\r\n", key.len())
    } else {
        format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len())
    }
}

/// Runs until killed; a connection that breaks is opened again.
pub fn client(address: SocketAddr, connections: usize, rate: f64, reconnect: u64) -> Result<ExitCode> {
    let connections = connections.max(1);
    let interval = Duration::from_secs_f64(connections as f64 / rate.max(0.1));
    let workers: Vec<_> = (0..connections)
        .map(|index| {
            // Spread over the interval, so that requests do not come in volleys.
            let offset = interval.mul_f64(index as f64 / connections as f64);
            std::thread::spawn(move || worker(address, interval, offset, reconnect, Jitter(index as u64 + 1)))
        })
        .collect();
    for worker in workers {
        // A worker only ends by a panic, which was printed.
        let _ = worker.join();
    }
    Ok(ExitCode::FAILURE)
}

/// Times between requests vary by half, in the same way at every start: else the connections keep step with each other,
/// and who waits for whom changes for good with every disturbance.
struct Jitter(u64);

impl Jitter {
    fn around(&mut self, interval: Duration) -> Duration {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        interval.mul_f64(0.5 + (self.0 >> 11) as f64 / (1u64 << 53) as f64)
    }
}

fn worker(address: SocketAddr, interval: Duration, offset: Duration, reconnect: u64, mut jitter: Jitter) {
    let mut next = Instant::now() + offset;
    let mut number = 0u64;
    loop {
        let Ok(mut stream) = TcpStream::connect_timeout(&address, TIMEOUT) else {
            std::thread::sleep(RETRY);
            next = Instant::now();
            continue;
        };
        let usable = stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(TIMEOUT)));
        let mut answers = [0u8; 512];
        let mut on_this = 0;
        while usable.is_ok() && (reconnect == 0 || on_this < reconnect) {
            if let Some(wait) = next.checked_duration_since(Instant::now()) {
                std::thread::sleep(wait);
            }
            next += jitter.around(interval);
            if stream.write_all(request(number).as_bytes()).is_err() || !matches!(stream.read(&mut answers), Ok(1..)) {
                break;
            }
            number += 1;
            on_this += 1;
            // Requests that could not be sent in time are not made up for.
            next = next.max(Instant::now().checked_sub(interval).unwrap_or(next));
        }
    }
}
