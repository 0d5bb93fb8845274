//! The scripts behind `make`, with programs that only pretend: what a newcomer is told, and that Ctrl-C ends the tests. And the
//! documents in front: what they name is there.

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
    // The versions are looked at before anything is installed.
    let output = Command::new(tool("setup.sh")).args(["build", "demo"]).env("PATH", path_with(&dir)).output().unwrap();
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
fn a_folder_that_libbpf_cannot_be_built_in_is_refused_with_the_way_out() {
    let programs = [("cargo", "echo cargo 1.95.0"), ("node", "echo v22.12.0"), ("npm", "echo 10.8.2")];
    let dir = pretend("space", &programs);
    let mut setup = Command::new(tool("setup.sh"));
    setup.arg("build").env("PATH", path_with(&dir)).env("CARGO_TARGET_DIR", dir.join("my target"));
    let output = setup.output().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("there is a space in ") && said.contains("export CARGO_TARGET_DIR="), "{said}");
}

#[test]
fn without_root_all_that_is_missing_is_named_at_once_and_what_debian_would_start() {
    let installed = "case $* in *redis-server | *clang) exit 1 ;; *) echo install ok installed ;; esac";
    let versions = [("cargo", "echo cargo 1.95.0"), ("node", "echo v22.12.0"), ("npm", "echo 10.8.2")];
    let said = refusal("ordinary", &[&versions[..], &[("id", "echo 1000"), ("dpkg-query", installed)]].concat());
    assert!(said.contains("sudo apt-get install --no-install-recommends clang redis-server\n"), "{said}");
    assert!(said.contains("sudo systemctl disable --now redis-server "), "{said}");
}

#[test]
fn ctrl_c_ends_the_tests_with_the_stage_that_runs() {
    let dir =
        pretend("stop", &[("lint.sh", "grep SigIgn /proc/$$/status; echo $$; exec sleep 1000"), ("ui.sh", ""), ("cargo", "")]);
    let tools = dir.join("tools");
    std::fs::create_dir_all(&tools).unwrap();
    for name in ["lint.sh", "ui.sh"] {
        std::fs::rename(dir.join(name), tools.join(name)).unwrap();
    }
    std::fs::copy(tool("test.sh"), tools.join("test.sh")).unwrap();
    // As at a terminal, also where these tests themselves are deaf to it.
    let mut command = Command::new("env");
    command.arg("--default-signal=INT").arg(tools.join("test.sh"));
    command.env("PATH", path_with(&dir)).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
    let ignored =
        lines.find_map(|line| line.strip_prefix("SigIgn:\t").map(str::to_owned)).expect("the stage tells what it ignores");
    // SIGINT is the second signal.
    assert_eq!(u64::from_str_radix(&ignored, 16).unwrap() & 2, 0, "programs under test hear SIGINT");
    let stage: u32 = lines.find_map(|line| line.parse().ok()).expect("the stage tells its process");
    kill_process(Pid::from_child(&process), Signal::INT).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(130));
    assert!(!Path::new(&format!("/proc/{stage}")).exists(), "the stage has ended");
    let rest: Vec<String> = lines.collect();
    assert_eq!(rest, ["== stopped"], "no other stage begins");
    std::fs::remove_dir_all(&dir).unwrap();
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

/// What stands between two marks, each time.
fn between<'a>(text: &'a str, begin: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(begin).skip(1).filter_map(move |rest| rest.split_once(end).map(|(inside, _)| inside))
}

#[test]
fn what_the_documents_name_is_there() {
    let rooms: Vec<String> = std::fs::read_dir(root())
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && name != "target")
        .collect();
    let readme = text("README.md");
    for room in &rooms {
        assert!(readme.contains(&format!("| `{room}/` |")), "README's house lacks {room}/");
    }
    for name in ["README.md", "ARCHITECTURE.md", "STYLE.md", "docs/install.md", "docs/accuracy.md", "docs/cost.md"] {
        let text = text(name);
        let folder = root().join(name).parent().unwrap().to_owned();
        for link in between(&text, "](", ")").filter(|link| !link.contains("://")) {
            assert!(folder.join(link).exists(), "{name} links to {link}");
        }
        // An even number of marks: what stands in them is every second piece.
        for code in text.split('`').skip(1).step_by(2) {
            let path = code.trim_end_matches("/*");
            let is_ours = path.split_once('/').is_some_and(|(room, _)| rooms.iter().any(|name| name == room));
            let is_made = ["ui/dist", "ui/node_modules"].contains(&path);
            if is_ours && !is_made && !path.contains([' ', '*', '(']) {
                assert!(root().join(path).exists(), "{name} names {path}");
            }
        }
    }
}

#[test]
fn the_pictures_show_what_there_is() {
    let flow = text("docs/flow.svg");
    let places: Vec<&str> =
        between(&flow, "<text class=\"place\"", "</text>").filter_map(|rest| rest.split('>').nth(1)).collect();
    assert!(places.len() > 8, "{places:?}");
    for place in places {
        assert!(root().join(place).is_dir(), "docs/flow.svg names {place}");
    }
    let house = text("docs/house.svg");
    let members = text("Cargo.toml");
    let members = between(&members, "members = [", "]").next().unwrap();
    for room in between(members, "\"", "\"").filter(|member| !member.contains(['/', ','])).chain(["ui"]) {
        assert!(house.contains(&format!(">{room}/</text>")), "docs/house.svg lacks {room}/");
    }
    let (readme, architecture) = (text("README.md"), text("ARCHITECTURE.md"));
    for picture in std::fs::read_dir(root().join("docs")).unwrap().flatten() {
        let name = picture.file_name().into_string().unwrap();
        let is_shown = [&readme, &architecture].iter().any(|page| page.contains(&format!("(docs/{name})")));
        assert!(name.ends_with(".md") || is_shown, "nobody finds docs/{name}");
    }
}

#[test]
fn every_target_that_is_told_is_in_the_makefile_and_helped() {
    let makefile = text("Makefile");
    for name in ["README.md", "docs/install.md", "docs/accuracy.md", "docs/cost.md"] {
        for line in text(name).lines() {
            for rest in line.split("make ").skip(1) {
                let target = rest.split(|c: char| !c.is_ascii_lowercase() && c != '-').next().unwrap();
                let is_told = line.starts_with("make ") || line.contains(&format!("`make {target}"));
                assert!(
                    !is_told || makefile.lines().any(|line| line.starts_with(&format!("{target}: ")) && line.contains("## ")),
                    "{name}: make {target}"
                );
            }
        }
    }
}

#[test]
fn a_fault_nobody_knows_is_refused_before_anything_is_built_and_the_known_are_told() {
    let make = |fault: &str| {
        let words = ["--no-print-directory", "-n", "demo", fault];
        let output = Command::new("make").args(words).current_dir(root()).env_remove("MAKEFLAGS").output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (is_taken, said) = make("FAULT=earthquake");
    assert!(!is_taken && said.contains("there is no fault \"earthquake\""), "{said}");
    let known = said.split("known are ").nth(1).unwrap().split('.').next().unwrap().split_whitespace().collect::<Vec<_>>();
    let help = Command::new(env!("CARGO_BIN_EXE_gala-lab")).args(["demo", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let makeable: Vec<&str> = between(&help, "\n          - ", ":").collect();
    assert_eq!(known, makeable, "{help}");
    assert!(text("Makefile").contains(&format!("FAULT={})", known.join("|"))), "help tells them all");
    assert!(known.iter().all(|fault| make(&format!("FAULT={fault}")).0));
}
