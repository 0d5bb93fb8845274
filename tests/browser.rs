//! The interface in a real browser against a real `gala up`: every page, both themes and languages, two widths.
//! Needs root, Node and Chromium; what is missing is said.
#![allow(clippy::print_stdout)] // says what it skips

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

fn ui() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ui")
}

/// Why the browser cannot be used here, if it cannot.
fn missing() -> Option<&'static str> {
    if !Path::new("/usr/bin/chromium").exists() {
        return Some("chromium is not installed");
    }
    if !ui().join("node_modules").exists() || !ui().join("dist/index.html").exists() {
        return Some("the interface is not built; run `make build`");
    }
    None
}

/// One browser at a time: two on a small machine only wait for each other.
static BROWSER: Mutex<()> = Mutex::new(());

/// Runs the cases whose name holds one of `only`, against a hub or, without one, against the recorded story.
fn run_cases(only: &[&str], hub: Option<&str>) {
    let _turn = BROWSER.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut node = Command::new("node");
    node.arg("e2e/run.mjs").args(only.iter().flat_map(|text| ["--only", *text])).current_dir(ui()).env_remove("GALA_URL");
    if let Some(hub) = hub {
        node.env("GALA_URL", hub);
    }
    let output = node.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{text}");
    assert!(output.status.success(), "{text}");
}

/// Ends with the test, also with one that fails.
struct Gala(Child);

impl Drop for Gala {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn journeys_and_broken_states_work_on_the_recorded_story() {
    if let Some(reason) = missing() {
        println!("skipped: {reason}");
        return;
    }
    // A live hub in its first minutes has no incident.
    run_cases(&["journey", "state", "url ", "unknown", "shell", "page incident "], None);
}

#[test]
fn every_page_of_a_live_hub_works_in_both_themes_languages_and_widths() {
    if let Some(reason) = missing() {
        println!("skipped: {reason}");
        return;
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: a live hub needs root for kernel hooks");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let gala = Command::new(env!("CARGO_BIN_EXE_gala"))
        .args(["up", "--listen", &format!("127.0.0.1:{port}"), "--metrics-listen", "off", "--rest-listen", "off"])
        .arg("--data")
        .arg(dir.path().join("data"))
        .arg("--run-dir")
        .arg(dir.path().join("run"))
        .stderr(Stdio::null())
        .spawn();
    let mut gala = Gala(gala.unwrap());
    let begun = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begun.elapsed() < PATIENCE, "the hub does not listen");
        std::thread::sleep(Duration::from_millis(100));
    }
    run_cases(&["page "], Some(&format!("http://127.0.0.1:{port}")));
    let _ = Command::new("kill").args(["-TERM", &gala.0.id().to_string()]).status();
    assert!(gala.0.wait().unwrap().success());
}
