//! Names of a real container. Starts a docker daemon of its own; needs root, `dockerd`, `docker` and a static `busybox`.
#![allow(clippy::print_stdout)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gala_agent::identity::Identity;

use wait::{poll, wait_for};

#[path = "common/wait.rs"]
mod wait;

fn is_missing(program: &str) -> bool {
    let found = Command::new("which").arg(program).stdout(Stdio::null()).status();
    !found.is_ok_and(|status| status.success())
}

/// A daemon with folders, socket and nothing else of its own: no bridge, no rules of the firewall.
struct Docker {
    daemon: Child,
    folder: tempfile::TempDir,
}

impl Docker {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let daemon = Command::new("dockerd")
            .args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")])
            .args(["--host", &format!("unix://{}", path("socket")), "--bridge=none", "--iptables=false", "--ip6tables=false"])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(path("log")).unwrap())
            .spawn()
            .unwrap();
        let docker = Self { daemon, folder };
        wait_for("an answer of dockerd", || docker.run(&["version"]).is_some());
        docker
    }

    /// What a command prints; `None` when it failed.
    fn run(&self, arguments: &[&str]) -> Option<String> {
        let socket = format!("unix://{}", self.folder.path().join("socket").display());
        let output = Command::new("docker").args(["--host", &socket]).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// An image of nothing but busybox.
    fn import(&self, image: &str) {
        let root = self.folder.path().join("root");
        std::fs::create_dir_all(root.join("bin")).unwrap();
        let busybox = String::from_utf8(Command::new("which").arg("busybox").output().unwrap().stdout).unwrap();
        std::fs::copy(busybox.trim(), root.join("bin/busybox")).unwrap();
        let tar = self.folder.path().join("image.tar").display().to_string();
        assert!(Command::new("tar").args(["-C", &root.display().to_string(), "-cf", &tar, "."]).status().unwrap().success());
        self.run(&["import", &tar, image]).expect("the image is taken");
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let containers = self.run(&["ps", "-aq"]).unwrap_or_default();
        for container in containers.lines() {
            self.run(&["rm", "-f", container]);
        }
        // SIGTERM, so that it ends its containerd too.
        let _ = Command::new("kill").arg(self.daemon.id().to_string()).status();
        let _ = self.daemon.wait();
        // Its parent groups stay; another daemon's hold containers and cannot be removed.
        let _ = Command::new("sh").args(["-c", "rmdir /sys/fs/cgroup/*/docker /sys/fs/cgroup/docker 2>/dev/null"]).status();
    }
}

#[test]
fn a_container_of_docker_has_its_name_and_image_and_a_new_name_when_it_gets_one() {
    let missing = ["dockerd", "docker", "busybox"].into_iter().find(|program| is_missing(program));
    if let Some(program) = missing {
        println!("skipped: {program} is not installed");
        return;
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: dockerd needs root");
        return;
    }
    let docker = Docker::start();
    docker.import("gala-test:7");
    let id =
        docker.run(&["run", "-d", "--net=none", "--name", "shop-db", "gala-test:7", "/bin/busybox", "sleep", "300"]).unwrap();
    let pid: u32 = docker.run(&["inspect", "-f", "{{.State.Pid}}", &id]).unwrap().parse().unwrap();

    let state = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let mut identity = Identity::new(Path::new("/proc"), state.path(), start);
    let process = identity.process(pid, start).unwrap();
    let container = process.container.as_ref().unwrap();
    assert_eq!((&*container.id, &*container.name, &*container.image), (&id[..12], "/shop-db", "gala-test:7"));

    docker.run(&["rename", "shop-db", "shop-store"]).unwrap();
    // The names are looked at again after a minute: of the cache's time, not of ours.
    let mut now = start;
    let renamed = poll(|| {
        now += Duration::from_secs(10);
        let container = identity.process(pid, now)?.container.clone()?;
        (&*container.name == "/shop-store").then_some(())
    });
    assert!(renamed.is_some(), "the new name is seen");
}
