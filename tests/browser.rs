//! The interface in a real browser against a real `gala up`: every page, both themes and languages, two widths.
//! Needs root, Node and Chromium; what is missing is said.
#![allow(clippy::print_stdout)] // says what it skips

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn every_page_works_in_a_browser() {
    let ui = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ui");
    if !rustix::process::geteuid().is_root() {
        println!("skipped: the browser test needs root for kernel hooks");
        return;
    }
    if !Path::new("/usr/bin/chromium").exists() || !ui.join("node_modules").exists() || !ui.join("dist/index.html").exists() {
        println!("skipped: the browser test needs chromium, the interface's modules and its build");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut gala = Command::new(env!("CARGO_BIN_EXE_gala"))
        .args(["up", "--listen", &format!("127.0.0.1:{port}"), "--metrics-listen", "off", "--rest-listen", "off"])
        .arg("--data")
        .arg(dir.path().join("data"))
        .arg("--run-dir")
        .arg(dir.path().join("run"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the hub does not listen");
        std::thread::sleep(Duration::from_millis(100));
    }
    let output = Command::new("node")
        .args(["e2e/run.mjs"])
        .current_dir(&ui)
        .env("GALA_URL", format!("http://127.0.0.1:{port}"))
        .output()
        .unwrap();
    let _ = Command::new("kill").args(["-TERM", &gala.id().to_string()]).status();
    let _ = gala.wait();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    println!("{text}");
}
