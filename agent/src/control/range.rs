//! The observation range of a probe: which processes, containers and pods it looks at, as `snoopers` and `blacklist` say.
//! Entries are compared again before each report, so processes that appear or end are followed for every kind.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashMap;
use regex::{RegexBuilder, RegexSet, RegexSetBuilder};

use super::catalogue::Observes;
use crate::identity::process::{ProcessFacts, all_pids};
use crate::identity::{Identity, cgroup};
use crate::runtime::enrich::{Filter, RowContext};

/// Objects a probe is given at most.
const MAX_PROCESSES: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// Only what is listed.
    #[default]
    White,
    /// Everything but what is listed.
    Black,
}

/// One `proc_name` entry.
#[derive(Clone, Debug, PartialEq)]
pub struct NameEntry {
    /// Regular expression of the process's name.
    pub pattern: String,
    /// Part of the command line.
    pub cmdline: String,
    pub label: Option<(&'static str, String)>,
}

/// What all patterns of a probe may take together when compiled: some hundred bytes each as a rule, megabytes on purpose.
const MAX_COMPILED: usize = 4 << 20;

/// `proc_name` entries with one automaton for all their patterns: each name is read once, however many there are.
#[derive(Clone, Debug, Default)]
pub struct Names {
    entries: Vec<NameEntry>,
    patterns: RegexSet,
}

impl PartialEq for Names {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl Names {
    /// The error names the pattern that is wrong.
    pub fn new(entries: Vec<NameEntry>) -> Result<Self, String> {
        let patterns = || entries.iter().map(|entry| &entry.pattern);
        let built = RegexSetBuilder::new(patterns()).size_limit(MAX_COMPILED).dfa_size_limit(MAX_COMPILED / 4).build();
        match built {
            Ok(patterns) => Ok(Self { entries, patterns }),
            Err(regex::Error::Syntax(_)) => {
                let is_wrong = |pattern: &String| {
                    let built = RegexBuilder::new(pattern).size_limit(MAX_COMPILED / 64).build();
                    matches!(built, Err(regex::Error::Syntax(_)))
                };
                let at = patterns().position(is_wrong).unwrap_or_default();
                Err(format!("entry {}: comm is no regular expression", at + 1))
            }
            Err(_) => Err("the patterns together take too much room: write fewer or simpler ones".to_owned()),
        }
    }

    pub fn entries(&self) -> &[NameEntry] {
        &self.entries
    }

    fn find(&self, facts: &ProcessFacts) -> Option<&NameEntry> {
        let matched = self.patterns.matches(&facts.comm);
        // `"` is compared as upstream escapes it.
        let has = |part: &str| part.is_empty() || facts.cmdline.replace('"', "\\\"").contains(part);
        matched.iter().filter_map(|at| self.entries.get(at)).find(|entry| has(&entry.cmdline))
    }
}

/// What is listed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects {
    pub proc_id: Vec<u32>,
    pub proc_name: Names,
    pub pod_id: Vec<String>,
    /// At most 12 digits each.
    pub container_id: Vec<String>,
    /// Parts of names.
    pub container_name: Vec<String>,
}

impl Objects {
    pub fn len(&self) -> usize {
        self.proc_id.len()
            + self.proc_name.entries.len()
            + self.pod_id.len()
            + self.container_id.len()
            + self.container_name.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether one entry names the process; the entry's label comes with it. `container` is how its container is called.
    fn admits(&self, pid: u32, facts: &ProcessFacts, container: Option<&str>) -> Option<Option<&(&'static str, String)>> {
        if let Some(entry) = self.proc_name.find(facts) {
            return Some(entry.label.as_ref());
        }
        let in_container = facts.container.as_ref().is_some_and(|container| {
            let pod = container.pod_uid.as_deref().unwrap_or_default();
            self.container_id.iter().any(|id| id == container.short_id())
                || self.pod_id.iter().any(|id| !pod.is_empty() && same_uid(id, pod))
        });
        let in_named = container.is_some_and(|name| self.container_name.iter().any(|part| name.contains(part.as_str())));
        (in_container || in_named || self.proc_id.contains(&pid)).then_some(None)
    }
}

fn same_uid(a: &str, b: &str) -> bool {
    let digits = |text: &str| text.bytes().filter(|byte| *byte != b'-').map(|byte| byte.to_ascii_lowercase()).collect::<Vec<_>>();
    digits(a) == digits(b)
}

/// The range with what it resolved to last.
#[derive(Clone, Debug, Default)]
pub struct Range {
    mode: Mode,
    objects: Objects,
    everything: bool,
    resolved: Arc<HashSet<u32>>,
}

impl Range {
    pub fn new(mode: Mode, objects: &Objects, observes: Observes) -> Self {
        // Probes that need no range take one all the same: of rows that belong to a process those of others are left out.
        let everything = objects.is_empty() && (mode == Mode::Black || observes == Observes::Nothing);
        Self { mode, objects: objects.clone(), everything, resolved: Arc::default() }
    }

    /// Compares all processes again; answers whether the range changed, which is then in the context too.
    pub fn refresh(&mut self, identity: &mut Identity, now: Instant, context: &mut RowContext) -> bool {
        if self.everything {
            return false;
        }
        let mut found = HashSet::new();
        let mut labels = HashMap::new();
        let own = std::process::id();
        for pid in all_pids(identity.proc_root()) {
            let Some((facts, container)) = identity.facts(pid, now) else { continue };
            let name = container.map(|container| &*container.name);
            let Some(label) = self.objects.admits(pid, facts, name) else { continue };
            if pid == own || found.len() >= MAX_PROCESSES {
                continue;
            }
            found.insert(pid);
            if let Some((name, value)) = label {
                labels.insert(pid, (*name, Arc::<str>::from(value.as_str())));
            }
        }
        let first = matches!(context.filter, Filter::All);
        if found == *self.resolved && labels == *context.selector_labels && !first {
            return false;
        }
        self.resolved = Arc::new(found);
        context.filter = match self.mode {
            Mode::White => Filter::Only(Arc::clone(&self.resolved)),
            Mode::Black => Filter::Except(Arc::clone(&self.resolved)),
        };
        context.selector_labels = Arc::new(labels);
        context.version += 1;
        true
    }

    /// For the probe itself: the processes to look at; `None` is all. What a black list names is filtered from its rows.
    pub fn processes(&self) -> Option<Arc<HashSet<u32>>> {
        (!self.everything && self.mode == Mode::White).then(|| Arc::clone(&self.resolved))
    }
}

/// A container id as it is stored and compared.
pub fn short_id(id: &str) -> String {
    id.get(..cgroup::SHORT_ID).unwrap_or(id).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::cgroup::ContainerRef;

    fn facts(comm: &str, cmdline: &str, container: Option<(&str, Option<&str>)>) -> ProcessFacts {
        let container = container.map(|(id, pod)| ContainerRef { id: id.into(), pod_uid: pod.map(Into::into) });
        ProcessFacts { comm: comm.into(), cmdline: cmdline.into(), main: None, start_ticks: 1, container }
    }

    fn name(pattern: &str, cmdline: &str) -> Objects {
        let entry = |cmdline: &str, label: &str| NameEntry {
            pattern: pattern.into(),
            cmdline: cmdline.into(),
            label: Some(("task", label.into())),
        };
        let entries = vec![entry("no process has this", "t0"), entry(cmdline, "t1")];
        Objects { proc_name: Names::new(entries).unwrap(), ..Objects::default() }
    }

    #[test]
    fn names_are_searched_anywhere_and_command_lines_are_substrings() {
        let objects = name("java", "app1");
        assert!(objects.admits(7, &facts("myjava", "java -jar app1.jar", None), None).is_some());
        assert!(objects.admits(7, &facts("myjava", "java -jar app2.jar", None), None).is_none());
        assert!(name("^java$", "").admits(7, &facts("myjava", "", None), None).is_none());
        assert_eq!(objects.admits(7, &facts("java", "app1", None), None).unwrap().unwrap().1, "t1");
    }

    #[test]
    fn containers_and_pods_name_all_their_processes() {
        let id = "3f4b1a9c7d2e4f60819a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f70";
        let process = facts("x", "", Some((id, Some("b1946ac9-2ad3-4f7e-9c61-0d8a0f3e5c21"))));
        let by_container = Objects { container_id: vec![short_id(id)], ..Objects::default() };
        let by_pod = Objects { pod_id: vec!["B1946AC92AD34F7E9C610D8A0F3E5C21".into()], ..Objects::default() };
        assert!(by_container.admits(7, &process, None).is_some());
        assert!(by_pod.admits(7, &process, None).is_some());
        assert!(by_pod.admits(7, &facts("x", "", None), None).is_none());
    }

    #[test]
    fn every_entry_of_container_names_is_a_part_of_them() {
        let objects = Objects { container_name: vec!["nothing".into(), "shop-db".into()], ..Objects::default() };
        let admits = |name: Option<&str>| objects.admits(7, &facts("x", "", None), name).is_some();
        assert!(admits(Some("/shop-db")) && admits(Some("old-shop-db-2")));
        assert!(!admits(Some("/shop")) && !admits(Some("")) && !admits(None));
    }

    #[test]
    fn processes_of_a_named_container_are_in_the_range() {
        let id = "3f4b1a9c7d2e4f60819a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f70";
        let (now, root) = (Instant::now(), tempfile::tempdir().unwrap());
        let write = |path: String, text: String| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        for (pid, cgroup) in [(7, format!("0::/docker/{id}\n")), (8, "0::/\n".to_owned())] {
            write(format!("proc/{pid}/stat"), format!("{pid} (x) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0"));
            write(format!("proc/{pid}/cgroup"), cgroup);
        }
        let text = r#"{"Name":"/shop-db","Config":{"Image":"redis:7"}}"#;
        write(format!("var/lib/docker/containers/{id}/config.v2.json"), text.to_owned());
        let mut identity = Identity::on_host(root.path(), &root.path().join("proc"), root.path(), now);
        let objects = Objects { container_name: vec!["shop".into()], ..Objects::default() };
        let (mut white, mut black) = (RowContext::default(), RowContext::default());
        assert!(Range::new(Mode::White, &objects, Observes::Processes).refresh(&mut identity, now, &mut white));
        assert!(Range::new(Mode::Black, &objects, Observes::Processes).refresh(&mut identity, now, &mut black));
        let only = |set: &HashSet<u32>| *set == HashSet::from([7]);
        assert!(matches!(&white.filter, Filter::Only(set) if only(set)), "{:?}", white.filter);
        assert!(matches!(&black.filter, Filter::Except(set) if only(set)), "{:?}", black.filter);
    }

    #[test]
    fn a_white_list_follows_processes_and_a_black_list_filters_rows() {
        let now = Instant::now();
        let state = tempfile::tempdir().unwrap();
        let mut identity = Identity::new(std::path::Path::new("/proc"), state.path(), now);
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let objects = Objects { proc_id: vec![child.id()], ..Objects::default() };

        let mut context = RowContext::default();
        let mut range = Range::new(Mode::White, &objects, Observes::Processes);
        assert!(range.refresh(&mut identity, now, &mut context));
        assert!(range.processes().unwrap().contains(&child.id()));
        assert!(!range.refresh(&mut identity, now, &mut context), "nothing changed");

        let mut black = Range::new(Mode::Black, &objects, Observes::Processes);
        let mut black_context = RowContext::default();
        assert!(black.refresh(&mut identity, now, &mut black_context));
        assert!(black.processes().is_none() && matches!(&black_context.filter, Filter::Except(set) if set.contains(&child.id())));

        child.kill().unwrap();
        child.wait().unwrap();
        assert!(range.refresh(&mut identity, now, &mut context));
        assert!(range.processes().unwrap().is_empty());
    }

    #[test]
    fn an_empty_black_list_is_everything() {
        let range = Range::new(Mode::Black, &Objects::default(), Observes::Processes);
        assert!(range.everything && range.processes().is_none());
        assert!(!Range::new(Mode::White, &Objects::default(), Observes::Processes).everything);
        assert!(Range::new(Mode::White, &Objects::default(), Observes::Nothing).everything);
        let one = Objects { proc_id: vec![1], ..Objects::default() };
        for mode in [Mode::White, Mode::Black] {
            assert!(!Range::new(mode, &one, Observes::Nothing).everything, "what is listed is meant");
        }
    }
}
