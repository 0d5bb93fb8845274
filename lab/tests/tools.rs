//! The scripts behind `make`, with programs that only pretend: what a newcomer is told, and that Ctrl-C ends the tests.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

fn tool(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools").join(name)
}

/// A folder of its own with programs in it.
fn pretend(what: &str, programs: &[(&str, &str)]) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("gala-lab-tools-{}-{what}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    for (name, text) in programs {
        let path = dir.join(name);
        std::fs::write(&path, format!("#!/bin/bash\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    dir
}

fn path_with(dir: &Path) -> String {
    format!("{}:{}", dir.display(), std::env::var("PATH").unwrap())
}

/// What set-up says on standard error when it refuses.
fn refusal(what: &str, programs: &[(&str, &str)]) -> String {
    let dir = pretend(what, programs);
    // `build` would install; the versions are looked at before.
    let output = Command::new(tool("setup.sh")).arg("build").env("PATH", path_with(&dir)).output().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn set_up_names_a_tool_that_is_too_old_and_the_version_that_is_needed() {
    let (cargo, npm) = (("cargo", "echo cargo 1.95.0"), ("npm", "echo 10.8.2"));
    let said = refusal("cargo", &[("cargo", "echo 'cargo 1.63.0 (fd9c4297c 2022-07-01)'"), ("node", "echo v20.20.2"), npm]);
    assert!(said.contains("cargo 1.63.0 is too old, 1.95 is needed"), "{said}");
    let said = refusal("node", &[cargo, ("node", "echo v18.19.0"), npm]);
    assert!(said.contains("node 18.19.0 is too old, 20.19 is needed"), "{said}");
    // Rustup's stand-in without a toolchain.
    let said = refusal("rustup", &[("cargo", "echo 'error: no default toolchain is configured' >&2; exit 1")]);
    assert!(said.contains("cargo does not run") && said.contains("no default toolchain"), "{said}");
}

#[test]
fn ctrl_c_ends_the_tests_with_the_stage_that_runs() {
    let dir = pretend("stop", &[("lint.sh", "echo $$; exec sleep 1000"), ("ui.sh", ""), ("cargo", "")]);
    let tools = dir.join("tools");
    std::fs::create_dir_all(&tools).unwrap();
    for name in ["lint.sh", "ui.sh"] {
        std::fs::rename(dir.join(name), tools.join(name)).unwrap();
    }
    std::fs::copy(tool("test.sh"), tools.join("test.sh")).unwrap();
    let mut command = Command::new(tools.join("test.sh"));
    command.env("PATH", path_with(&dir)).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
    let stage: u32 = lines.find_map(|line| line.parse().ok()).expect("the first stage tells its process");
    kill_process(Pid::from_child(&process), Signal::INT).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(130));
    assert!(!Path::new(&format!("/proc/{stage}")).exists(), "the stage has ended");
    let rest: Vec<String> = lines.collect();
    assert_eq!(rest, ["== stopped"], "no other stage begins");
    std::fs::remove_dir_all(&dir).unwrap();
}
