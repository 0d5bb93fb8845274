//! Whose is it: process -> name, start, container, pod; and which machine this is.
//!
//! Processes are cached by pid and checked again while young (a fork has its parent's name until it execs), after a gap in
//! which a pid may have been reused, and once a minute otherwise. Bounded; what did not fit is counted.

pub mod cgroup;
pub mod machine;
pub mod process;
pub mod runtimes;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use cgroup::ContainerRef;
use machine::Machine;
use process::{ProcessFacts, ProcessReader};
use runtimes::{Names, Runtimes};

/// Processes kept; four times what a busy host of 128 containers runs.
const MAX_PROCESSES: usize = 16_384;

/// Names, labels and pods are read again after this.
const EXPIRY: Duration = Duration::from_secs(60);

/// The runtime of a container nobody knew is looked for again after this: its files come a moment after its process.
const NAMELESS_EXPIRY: Duration = Duration::from_secs(10);

/// A process this young may still change its name by exec.
const YOUNG: Duration = Duration::from_secs(10);

/// How often a young one is read again.
const YOUNG_EXPIRY: Duration = Duration::from_secs(2);

/// Nobody asked for the pid for this long: it may be another process by now.
const GAP: Duration = Duration::from_secs(12);

/// How often a host without an address looks for one.
const ADDRESS_RETRY: Duration = Duration::from_secs(10);

/// Label values of a process. Shared by every row of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Process {
    pub comm: Arc<str>,
    pub cmdline: Arc<str>,
    /// Seconds since 1970.
    pub start_time: Arc<str>,
    pub container: Option<Arc<Container>>,
    /// Differs between any two processes and after any change: what was cached for another one is void.
    pub generation: u64,
}

/// Label values of a container. Names are empty where its runtime does not tell them.
#[derive(Debug, PartialEq, Eq)]
pub struct Container {
    pub id: Arc<str>,
    pub name: Arc<str>,
    pub image: Arc<str>,
    pub pod: Option<Pod>,
    /// What its runtime attached to a container of a pod.
    labels: BTreeMap<Arc<str>, Arc<str>>,
}

impl Container {
    /// A label of its pod, as far as the runtime knows it.
    pub fn label(&self, name: &str) -> Option<&Arc<str>> {
        self.labels.get(name)
    }

    pub(crate) fn new(found: &ContainerRef, names: Names) -> Self {
        let uid = found.pod_uid.as_deref();
        Self {
            id: found.short_id().into(),
            pod: uid.map(|uid| Pod::new(uid, &names.pod, &names.pod_namespace)),
            labels: uid.map(|uid| names.pod_labels(uid)).unwrap_or_default(),
            name: names.name.into(),
            image: names.image.into(),
        }
    }

    /// Estimate of what it holds.
    fn bytes(&self) -> usize {
        256 + self.labels.iter().map(|(name, value)| name.len() + value.len() + 96).sum::<usize>()
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Pod {
    pub id: Arc<str>,
    /// `<namespace>/<name>`.
    pub name: Arc<str>,
    pub namespace: Arc<str>,
}

impl Pod {
    fn new(uid: &str, name: &str, namespace: &str) -> Self {
        let full = if name.is_empty() { String::new() } else { format!("{namespace}/{name}") };
        Self { id: uid.into(), name: full.into(), namespace: namespace.into() }
    }
}

struct Known {
    process: Arc<Process>,
    facts: ProcessFacts,
    first_seen: Instant,
    last_used: Instant,
    check_at: Instant,
}

struct KnownContainer {
    container: Arc<Container>,
    last_seen: Instant,
    check_at: Instant,
}

/// The cache. One per agent, used by the sampling thread alone.
pub struct Identity {
    reader: ProcessReader,
    runtimes: Runtimes,
    proc_root: PathBuf,
    state: PathBuf,
    boot_time_s: u64,
    ticks_per_s: u64,
    processes: HashMap<u32, Known>,
    containers: HashMap<Box<str>, KnownContainer>,
    machine: Machine,
    machine_id: Arc<str>,
    address_check_at: Instant,
    generation: u64,
    evicted: u64,
}

impl Identity {
    /// `proc_root` is `/proc`; `state` is where a made-up machine id is kept.
    pub fn new(proc_root: &Path, state: &Path, now: Instant) -> Self {
        Self::on_host(&host_root(), proc_root, state, now)
    }

    /// `host` is where the host's root is mounted.
    pub(crate) fn on_host(host: &Path, proc_root: &Path, state: &Path, now: Instant) -> Self {
        let stat = std::fs::read_to_string(proc_root.join("stat")).unwrap_or_default();
        let machine = Machine::read(host, state);
        Self {
            reader: ProcessReader::new(proc_root),
            runtimes: Runtimes::new(host, proc_root),
            proc_root: proc_root.to_owned(),
            state: state.to_owned(),
            boot_time_s: process::parse_boot_time(&stat).unwrap_or(0),
            ticks_per_s: rustix::param::clock_ticks_per_second(),
            processes: HashMap::new(),
            containers: HashMap::new(),
            machine_id: machine.id().into(),
            machine,
            address_check_at: now + ADDRESS_RETRY,
            generation: 1,
            evicted: 0,
        }
    }

    pub fn machine_id(&self) -> &Arc<str> {
        &self.machine_id
    }

    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    pub fn proc_root(&self) -> &Path {
        &self.proc_root
    }

    /// Looks for an address while the host has none; answers whether `machine_id` changed.
    pub fn refresh_machine(&mut self, now: Instant) -> bool {
        if self.machine.address.is_some() || now < self.address_check_at {
            return false;
        }
        self.address_check_at = now + ADDRESS_RETRY;
        self.machine = Machine::read(&host_root(), &self.state);
        let id = self.machine.id();
        let changed = *id != *self.machine_id;
        self.machine_id = id.into();
        changed
    }

    /// The process behind a pid; `None` when it ended before anybody saw it.
    pub fn process(&mut self, pid: u32, now: Instant) -> Option<&Arc<Process>> {
        let due = match self.processes.get_mut(&pid) {
            Some(known) => {
                let gap = now.saturating_duration_since(known.last_used) > GAP;
                known.last_used = now;
                gap || now >= known.check_at
            }
            None => true,
        };
        if due {
            self.check(pid, now);
        }
        self.processes.get(&pid).map(|known| &known.process)
    }

    /// Facts of a process, and its container, for matching an observation range.
    pub fn facts(&mut self, pid: u32, now: Instant) -> Option<(&ProcessFacts, Option<&Container>)> {
        self.process(pid, now)?;
        self.processes.get(&pid).map(|known| (&known.facts, known.process.container.as_deref()))
    }

    /// The container with this (shortened) id, if one of its processes was seen.
    pub fn container(&self, id: &str) -> Option<&Arc<Container>> {
        let short = id.get(..cgroup::SHORT_ID).unwrap_or(id);
        self.containers.get(short).map(|known| &known.container)
    }

    /// A process is known to have ended: its pid may be another's from now on.
    pub fn ended(&mut self, pid: u32, now: Instant) {
        if let Some(known) = self.processes.get_mut(&pid) {
            known.check_at = now;
        }
    }

    fn check(&mut self, pid: u32, now: Instant) {
        // Ended: what was known stays for its last rows; the next look tries again, the sweep removes it.
        let Some(facts) = self.reader.read(pid) else { return };
        let container = facts.container.as_ref().map(|found| self.intern_container(found, pid, now));
        match self.processes.get_mut(&pid) {
            Some(known) if known.facts == facts && known.process.container == container => {
                let young = now.saturating_duration_since(known.first_seen) < YOUNG;
                known.check_at = now + if young { YOUNG_EXPIRY } else { EXPIRY };
            }
            _ => self.insert(pid, facts, container, now),
        }
    }

    fn insert(&mut self, pid: u32, facts: ProcessFacts, container: Option<Arc<Container>>, now: Instant) {
        if self.processes.len() >= MAX_PROCESSES && !self.processes.contains_key(&pid) {
            self.evict_oldest();
        }
        self.generation += 1;
        let start_s = self.boot_time_s + facts.start_ticks / self.ticks_per_s.max(1);
        let process = Arc::new(Process {
            comm: facts.comm.as_str().into(),
            cmdline: facts.shown_cmdline().into(),
            start_time: start_s.to_string().into(),
            container,
            generation: self.generation,
        });
        let first_seen = match self.processes.get(&pid) {
            Some(known) if known.facts.start_ticks == facts.start_ticks => known.first_seen,
            _ => now,
        };
        let nameless = process.container.as_ref().is_some_and(|container| container.name.is_empty());
        let young = nameless || now.saturating_duration_since(first_seen) < YOUNG;
        let check_at = now + if young { YOUNG_EXPIRY } else { EXPIRY };
        self.processes.insert(pid, Known { process, facts, first_seen, last_used: now, check_at });
    }

    /// The container by its id, with the names its runtime gives it; the process is one in it.
    fn intern_container(&mut self, found: &ContainerRef, pid: u32, now: Instant) -> Arc<Container> {
        let short = found.short_id();
        if let Some(known) = self.containers.get_mut(short) {
            known.last_seen = now;
            if now < known.check_at {
                return Arc::clone(&known.container);
            }
        }
        let names = self.runtimes.names(found, pid);
        let check_at = now + if names.is_some() { EXPIRY } else { NAMELESS_EXPIRY };
        let known = self.containers.get(short).map(|known| Arc::clone(&known.container));
        let container = match (known, names) {
            // Its runtime may forget a container before its last process ends.
            (Some(known), None) => known,
            (known, names) => {
                let new = Container::new(found, names.unwrap_or_default());
                known.filter(|known| **known == new).unwrap_or_else(|| Arc::new(new))
            }
        };
        let entry = KnownContainer { container: Arc::clone(&container), last_seen: now, check_at };
        self.containers.insert(short.into(), entry);
        container
    }

    fn evict_oldest(&mut self) {
        if let Some(pid) = self.processes.iter().min_by_key(|(_, known)| known.last_used).map(|(pid, _)| *pid) {
            self.processes.remove(&pid);
            self.evicted += 1;
        }
    }

    /// Forgets what nobody asked for within the expiry.
    pub fn sweep(&mut self, now: Instant) {
        self.processes.retain(|_, known| now.saturating_duration_since(known.last_used) < EXPIRY * 2);
        self.containers.retain(|_, known| {
            Arc::strong_count(&known.container) > 1 || now.saturating_duration_since(known.last_seen) < EXPIRY
        });
    }

    /// Processes dropped because the cache was full.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Estimate of what the cache holds.
    pub fn bytes(&self) -> usize {
        let texts: usize =
            self.processes.values().map(|known| 2 * (known.facts.comm.len() + known.facts.cmdline.len()) + 256).sum();
        let containers: usize = self.containers.values().map(|known| known.container.bytes()).sum();
        texts + self.processes.len() * size_of::<Known>() + containers
    }
}

/// Where the host's root is mounted; `/` outside containers.
fn host_root() -> PathBuf {
    std::env::var_os("GOPHER_HOST_PATH").filter(|path| !path.is_empty()).map_or_else(|| PathBuf::from("/"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ID: &str = "3f4b1a9c7d2e4f60819a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f70";

    struct FakeProc(tempfile::TempDir);

    impl FakeProc {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            fs::write(root.path().join("stat"), "btime 1000\n").unwrap();
            Self(root)
        }

        fn process(&self, pid: u32, comm: &str, start_ticks: u64, cgroup: &str) {
            let folder = self.0.path().join(pid.to_string());
            fs::create_dir_all(&folder).unwrap();
            let stat = format!("{pid} ({comm}) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {start_ticks} 0 0");
            fs::write(folder.join("stat"), stat).unwrap();
            fs::write(folder.join("cmdline"), format!("/usr/bin/{comm}\0-v\0")).unwrap();
            fs::write(folder.join("cgroup"), cgroup).unwrap();
        }

        fn identity(&self, now: Instant) -> Identity {
            Identity::on_host(self.0.path(), self.0.path(), self.0.path(), now)
        }

        fn docker(&self, name: &str) {
            let folder = self.0.path().join(format!("var/lib/docker/containers/{ID}"));
            fs::create_dir_all(&folder).unwrap();
            let text = format!(r#"{{"Name":"/{name}","Config":{{"Image":"redis:7"}}}}"#);
            fs::write(folder.join("config.v2.json"), text).unwrap();
        }
    }

    #[test]
    fn start_time_is_boot_time_plus_field_22() {
        let now = Instant::now();
        let fake = FakeProc::new();
        fake.process(7, "redis", 500, "0::/\n");
        let mut identity = fake.identity(now);
        let process = identity.process(7, now).unwrap();
        assert_eq!((&*process.comm, &*process.cmdline, &*process.start_time), ("redis", "/usr/bin/redis -v", "1005"));
        assert_eq!(process.container, None);
    }

    #[test]
    fn a_reused_pid_is_a_new_process() {
        let now = Instant::now();
        let fake = FakeProc::new();
        fake.process(7, "old", 500, "0::/\n");
        let mut identity = fake.identity(now);
        let first = identity.process(7, now).unwrap().generation;
        fake.process(7, "new", 900, "0::/\n");
        let later = now + GAP + Duration::from_secs(1);
        let process = identity.process(7, later).unwrap();
        assert_eq!(&*process.comm, "new");
        assert_ne!(process.generation, first);
    }

    #[test]
    fn a_name_changed_by_exec_is_seen_within_seconds() {
        let now = Instant::now();
        let fake = FakeProc::new();
        fake.process(7, "bash", 500, "0::/\n");
        let mut identity = fake.identity(now);
        assert_eq!(&*identity.process(7, now).unwrap().comm, "bash");
        fake.process(7, "nginx", 500, "0::/\n");
        assert_eq!(&*identity.process(7, now + Duration::from_secs(1)).unwrap().comm, "bash");
        assert_eq!(&*identity.process(7, now + Duration::from_secs(3)).unwrap().comm, "nginx");
    }

    #[test]
    fn an_ended_process_is_known_until_swept() {
        let now = Instant::now();
        let fake = FakeProc::new();
        fake.process(7, "job", 500, "0::/\n");
        let mut identity = fake.identity(now);
        identity.process(7, now).unwrap();
        fs::remove_dir_all(fake.0.path().join("7")).unwrap();
        assert_eq!(&*identity.process(7, now + Duration::from_secs(5)).unwrap().comm, "job");
        identity.sweep(now + Duration::from_secs(600));
        assert!(identity.process(7, now + Duration::from_secs(600)).is_none());
    }

    #[test]
    fn processes_of_one_container_share_it() {
        let now = Instant::now();
        let fake = FakeProc::new();
        let cgroup = format!("0::/kubepods/podb1946ac9-2ad3-4f7e-9c61-0d8a0f3e5c21/{ID}\n");
        fake.process(7, "a", 1, &cgroup);
        fake.process(8, "b", 1, &cgroup);
        let mut identity = fake.identity(now);
        let first = identity.process(7, now).unwrap().container.clone().unwrap();
        let second = identity.process(8, now).unwrap().container.clone().unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!((&*first.id, &*first.name), (&ID[..12], ""));
        assert_eq!(&*first.pod.as_ref().unwrap().id, "b1946ac9-2ad3-4f7e-9c61-0d8a0f3e5c21");
        assert!(identity.container(ID).is_some());
    }

    #[test]
    fn containers_of_pods_have_the_labels_of_their_runtime_and_those_of_the_kubelet() {
        let now = Instant::now();
        let fake = FakeProc::new();
        let in_pod = format!("0::/kubepods/podb1946ac9-2ad3-4f7e-9c61-0d8a0f3e5c21/{ID}\n");
        fake.process(7, "app", 1, &in_pod);
        let bundle = fake.0.path().join(format!("run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}"));
        fs::create_dir_all(&bundle).unwrap();
        let text = r#"{"annotations":{"io.kubernetes.cri.container-name":"app","io.kubernetes.cri.sandbox-name":"p-1","io.kubernetes.cri.sandbox-namespace":"shop"}}"#;
        fs::write(bundle.join("config.json"), text).unwrap();
        let mut identity = fake.identity(now);
        let container = identity.process(7, now).unwrap().container.clone().unwrap();
        let label = |name: &str| container.label(name).map(|text| text.to_string());
        assert_eq!(label("io.kubernetes.pod.name").as_deref(), Some("p-1"));
        assert_eq!(label("io.kubernetes.pod.namespace").as_deref(), Some("shop"));
        assert_eq!(label("io.kubernetes.pod.uid").as_deref(), Some("b1946ac9-2ad3-4f7e-9c61-0d8a0f3e5c21"));
        assert_eq!((label("io.kubernetes.container.name").as_deref(), label("app")), (Some("app"), None));
    }

    #[test]
    fn names_come_when_the_runtime_has_them_and_follow_it() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let name = |identity: &mut Identity, seconds| {
            let process = identity.process(7, at(seconds)).unwrap();
            let container = process.container.as_ref().unwrap();
            (container.name.to_string(), container.image.to_string(), process.generation)
        };
        let fake = FakeProc::new();
        fake.process(7, "redis", 1, &format!("0::/docker/{ID}\n"));
        let mut identity = fake.identity(now);
        let nameless = name(&mut identity, 0);
        assert_eq!((nameless.0.as_str(), nameless.1.as_str()), ("", ""));
        fake.docker("web");
        for seconds in [4, 8] {
            name(&mut identity, seconds);
        }
        let named = name(&mut identity, 11);
        assert_eq!((named.0.as_str(), named.1.as_str()), ("/web", "redis:7"));
        assert_ne!(named.2, nameless.2, "rows of the process get new labels");
        fake.docker("shop");
        for seconds in (15..=130).step_by(5) {
            name(&mut identity, seconds);
        }
        assert_eq!(name(&mut identity, 135).0, "/shop");
        fs::remove_dir_all(fake.0.path().join("var")).unwrap();
        for seconds in (140..=260).step_by(5) {
            name(&mut identity, seconds);
        }
        assert_eq!(name(&mut identity, 265).0, "/shop", "a name is kept when the runtime forgot it");
    }

    #[test]
    fn a_full_cache_lets_the_longest_unused_go() {
        let now = Instant::now();
        let fake = FakeProc::new();
        fake.process(1, "x", 1, "0::/\n");
        let mut identity = fake.identity(now);
        let facts = identity.reader.read(1).unwrap();
        for pid in 0..MAX_PROCESSES as u32 + 10 {
            identity.insert(pid, facts.clone(), None, now + Duration::from_millis(u64::from(pid)));
        }
        assert_eq!(identity.processes.len(), MAX_PROCESSES);
        assert_eq!(identity.evicted(), 10);
        assert!(!identity.processes.contains_key(&0));
    }
}
