//! Faults as processes: each does one bad thing until it is killed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::redis::request;

/// A noisy neighbour on one processor, with several threads as a build or a batch job has.
pub fn burn(cpu: usize, threads: usize) -> Result<ExitCode> {
    crate::pin(cpu)?;
    for _ in 1..threads {
        std::thread::spawn(spin);
    }
    spin()
}

fn spin() -> ! {
    let mut value = 1u64;
    loop {
        value = std::hint::black_box(value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

/// Size at which a flooded file begins anew: all of them together must not fill the disk, which would be another fault.
const FILE_BYTES: u64 = 4 << 20;

/// A neighbour that syncs all the time to the same disk.
pub fn fsync_flood(dir: &Path, threads: usize) -> Result<ExitCode> {
    let workers: Vec<_> = (0..threads.max(1))
        .map(|index| {
            let path = dir.join(format!("flood-{index}"));
            std::thread::spawn(move || -> std::io::Result<()> {
                let mut file = std::fs::File::create(path)?;
                let block = vec![0x5au8; 256 * 1024];
                let mut written = 0u64;
                loop {
                    file.write_all(&block)?;
                    file.sync_all()?;
                    written += block.len() as u64;
                    if written > FILE_BYTES {
                        file.set_len(0)?;
                        std::io::Seek::rewind(&mut file)?;
                        written = 0;
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        if let Ok(outcome) = worker.join() {
            outcome?;
        }
    }
    Ok(ExitCode::FAILURE)
}

/// Bursts of connections from the server's own processor: it cannot accept while they come.
pub fn connect_flood(address: SocketAddr, cpu: usize, burst: usize) -> Result<ExitCode> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
    crate::pin(cpu)?;
    loop {
        let mut open = Vec::with_capacity(burst);
        for _ in 0..burst {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let socket = socket_with(family, SocketType::STREAM, flags, None)?;
            // In progress is what is wanted; a refusal is the fault doing its work.
            let _ = connect(&socket, &address);
            open.push(socket);
        }
        std::thread::sleep(Duration::from_millis(100));
        drop(open);
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Between two scripts.
const PAUSE: Duration = Duration::from_secs(1);
/// So many rounds of a loop; the server does nothing else meanwhile.
const SCRIPT: &str = "local sum = 0 for round = 1, tonumber(ARGV[1]) do sum = sum + round % 7 end return sum";
/// Rounds that take a moment on any machine.
const FIRST_ROUNDS: u64 = 1_000_000;

/// A client whose script holds the server for some seconds, lets it go for one, and so on. How many rounds that takes is learnt
/// from the call before: scripts have no clock in every version of Redis.
pub fn hang(address: SocketAddr, seconds: u64) -> Result<ExitCode> {
    let mut stream = TcpStream::connect(address)?;
    let mut answer = [0u8; 512];
    let mut rounds = FIRST_ROUNDS;
    loop {
        let begun = Instant::now();
        stream.write_all(request(&["EVAL", SCRIPT, "0", &rounds.to_string()]).as_bytes())?;
        let length = stream.read(&mut answer)?;
        if !answer[..length].starts_with(b":") {
            bail!("the script was refused: {}", String::from_utf8_lossy(&answer[..length]).trim());
        }
        let took = begun.elapsed().as_secs_f64().max(0.001);
        rounds = (rounds as f64 * seconds as f64 / took).max(1.0) as u64;
        std::thread::sleep(PAUSE);
    }
}
