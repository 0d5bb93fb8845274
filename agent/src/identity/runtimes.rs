//! Names of containers from the files their runtimes keep: docker's `config.v2.json`, the OCI bundle of containerd and CRI-O
//! (annotations), the container lists of podman and CRI-O. Only files are read: no runtime is asked, none has to answer.

use std::collections::BTreeMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::cgroup::{ContainerRef, SHORT_ID};

/// No such file is longer in any useful way; a list of containers holds about 1 KiB for each.
const MAX_READ: u64 = 4 << 20;

/// Names longer than this are cut: they go into every series of the container.
const MAX_NAME: usize = 256;

/// Labels kept of a container, and the bytes of them all: an image may carry any number.
const MAX_LABELS: usize = 100;
const MAX_LABEL_BYTES: usize = 16 << 10;

/// Where CRI-O writes a container's labels, as JSON.
const CRIO_LABELS: &str = "io.kubernetes.cri-o.Labels";

/// Where a containerd keeps its bundles, for itself or inside another product.
const CONTAINERD_ROOTS: [&str; 2] = ["run/containerd", "run/k3s/containerd"];

/// Namespaces of a containerd whose bundles tell names: Kubernetes, and nerdctl's default.
const CONTAINERD_NAMESPACES: [&str; 2] = ["k8s.io", "default"];

const STORAGE: &str = "var/lib/containers/storage";

/// Lists of containers kept: those of the host's own runtime and of one user's.
const MAX_LISTS: usize = 4;

/// A list of more containers than any host runs is not kept, so that nobody can make us hold much.
const MAX_LISTED: usize = 4_096;

/// What a runtime says of a container; empty where it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub name: String,
    pub image: String,
    pub pod: String,
    pub pod_namespace: String,
    pub labels: BTreeMap<String, String>,
}

/// The files of the runtimes of one host.
#[derive(Debug)]
pub struct Runtimes {
    /// Where the host's root is mounted.
    host: PathBuf,
    proc_root: PathBuf,
    /// By path: a list names all containers, so it is not read again for each of them.
    lists: HashMap<PathBuf, StoredList>,
}

#[derive(Debug)]
struct StoredList {
    version: FileVersion,
    names: HashMap<String, Names>,
}

/// What differs when a file was written anew.
#[derive(Debug, PartialEq, Eq)]
struct FileVersion {
    inode: u64,
    modified: (i64, i64),
    len: u64,
}

impl FileVersion {
    fn of(about: &Metadata) -> Self {
        Self { inode: about.ino(), modified: (about.mtime(), about.mtime_nsec()), len: about.len() }
    }
}

impl Runtimes {
    pub fn new(host: &Path, proc_root: &Path) -> Self {
        Self { host: host.to_owned(), proc_root: proc_root.to_owned(), lists: HashMap::new() }
    }

    /// Names of the container that a process is in; `None` when no runtime knows it.
    pub fn names(&mut self, container: &ContainerRef, pid: u32) -> Option<Names> {
        let id = container.id.as_str();
        let root = self.storage_root(pid);
        let names = self.docker(id, root.as_deref()).or_else(|| self.bundle(id)).map(Names::bounded);
        names.or_else(|| self.storage(id, root.as_deref()))
    }

    /// The folder below which the runtime keeps the process's root file system, from the options of its overlay mount.
    fn storage_root(&self, pid: u32) -> Option<PathBuf> {
        let (file, _) = open(&self.proc_root.join(format!("{pid}/mountinfo")))?;
        storage_root(BufReader::new(file.take(MAX_READ)))
    }

    fn on_host(&self, path: &Path) -> PathBuf {
        self.host.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn docker(&self, id: &str, root: Option<&Path>) -> Option<Names> {
        let configured = || Some(PathBuf::from(read_json::<DockerDaemon>(&self.host.join("etc/docker/daemon.json"))?.data_root?));
        let file = |root: &Path| self.on_host(root).join("containers").join(id).join("config.v2.json");
        let found: DockerContainer = root
            .and_then(|root| read_json(&file(root)))
            .or_else(|| read_json(&file(Path::new("/var/lib/docker"))))
            .or_else(|| read_json(&file(&configured()?)))?;
        let label = |name: &str| found.config.labels.get(name).cloned().unwrap_or_default();
        Some(Names {
            pod: label("io.kubernetes.pod.name"),
            pod_namespace: label("io.kubernetes.pod.namespace"),
            name: found.name,
            image: found.config.image,
            labels: found.config.labels,
        })
    }

    /// containerd's and CRI-O's description of a container for the program that runs it.
    fn bundle(&self, id: &str) -> Option<Names> {
        let containerd = CONTAINERD_ROOTS.iter().flat_map(|root| {
            CONTAINERD_NAMESPACES.iter().map(move |name| format!("{root}/io.containerd.runtime.v2.task/{name}/{id}/config.json"))
        });
        let crio = format!("run/containers/storage/overlay-containers/{id}/userdata/config.json");
        let bundle: Bundle = containerd.chain([crio]).find_map(|path| read_json(&self.host.join(path)))?;
        let first = |keys: &[&str]| {
            let found = keys.iter().find_map(|key| bundle.annotations.get(*key).filter(|text| !text.is_empty()));
            found.cloned().unwrap_or_default()
        };
        let names = Names {
            name: first(&["io.kubernetes.cri.container-name", "io.kubernetes.container.name", "nerdctl/name"]),
            image: first(&["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName"]),
            pod: first(&["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"]),
            pod_namespace: first(&["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"]),
            labels: bundle.annotations.get(CRIO_LABELS).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default(),
        };
        // podman writes bundles too, without names.
        (names != Names::default()).then_some(names)
    }

    /// The lists of podman and CRI-O; containers that are removed at their end stand in one of their own.
    fn storage(&mut self, id: &str, root: Option<&Path>) -> Option<Names> {
        let standard = self.host.join(STORAGE);
        let roots = root.map(|root| self.on_host(root)).into_iter().chain([standard]);
        let mut lists = roots.flat_map(|root| {
            ["containers.json", "volatile-containers.json"].map(|list| root.join("overlay-containers").join(list))
        });
        lists.find_map(|list| self.listed(&list, id))
    }

    fn listed(&mut self, list: &Path, id: &str) -> Option<Names> {
        let Some((file, about)) = open(list) else {
            self.lists.remove(list);
            return None;
        };
        let version = FileVersion::of(&about);
        if let Some(known) = self.lists.get(list).filter(|known| known.version == version) {
            return known.names.get(id).cloned();
        }
        self.lists.remove(list);
        let stored: Vec<StoredContainer> = serde_json::from_slice(&read_all(file)?).ok()?;
        if stored.len() > MAX_LISTED {
            return stored.into_iter().find(|stored| stored.id == id).map(|stored| stored.names().1);
        }
        if self.lists.len() >= MAX_LISTS {
            self.lists.clear();
        }
        let names: HashMap<String, Names> = stored.into_iter().map(StoredContainer::names).collect();
        let found = names.get(id).cloned();
        self.lists.insert(list.to_owned(), StoredList { version, names });
        found
    }
}

impl Names {
    fn bounded(self) -> Self {
        let cut = |text: String| text.char_indices().nth(MAX_NAME).map_or(text.clone(), |(at, _)| text[..at].to_owned());
        Self {
            image: shown_image(&cut(self.image)),
            name: cut(self.name),
            pod: cut(self.pod),
            pod_namespace: cut(self.pod_namespace),
            labels: bounded_labels(self.labels),
        }
    }

    /// Labels of its pod: those of the container, and what a kubelet attaches to each where the runtime keeps it elsewhere.
    pub fn pod_labels(&self, uid: &str) -> BTreeMap<Arc<str>, Arc<str>> {
        let kubelets = [
            ("io.kubernetes.pod.name", self.pod.as_str()),
            ("io.kubernetes.pod.namespace", &self.pod_namespace),
            ("io.kubernetes.pod.uid", uid),
            ("io.kubernetes.container.name", self.name.trim_start_matches('/')),
        ];
        let kubelets = kubelets.into_iter().filter(|(_, value)| !value.is_empty());
        let own = self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        kubelets.chain(own).map(|(name, value)| (name.into(), value.into())).collect()
    }
}

/// As many as fit, in the order of their names.
fn bounded_labels(labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let fits = |text: &str| text.len() <= MAX_NAME;
    let mut bytes = 0;
    let kept = labels.into_iter().filter(|(name, value)| fits(name) && fits(value)).take(MAX_LABELS);
    let kept = kept.take_while(|(name, value)| {
        bytes += name.len() + value.len();
        bytes <= MAX_LABEL_BYTES
    });
    kept.collect()
}

/// The name without its digest; of a bare id 12 digits.
fn shown_image(image: &str) -> String {
    let hex = image.strip_prefix("sha256:").unwrap_or(image);
    if hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return hex[..SHORT_ID].to_owned();
    }
    image.split_once("@sha256:").map_or(image, |(name, _)| name).to_owned()
}

/// The part of the root mount's `upperdir=` before the folder of overlays. Its line is the first as a rule, and the kernel
/// writes no more lines than are read.
fn storage_root(mountinfo: impl BufRead) -> Option<PathBuf> {
    let mut lines = mountinfo.split(b'\n').map_while(Result::ok).map(|line| String::from_utf8_lossy(&line).into_owned());
    let root = lines.find(|line| line.split(' ').nth(4) == Some("/"))?;
    let options = root.rsplit(' ').next()?;
    let upper = options.split(',').find_map(|option| option.strip_prefix("upperdir="))?;
    ["/overlay2/", "/overlay/"].iter().find_map(|part| Some(PathBuf::from(upper.split_once(part)?.0)))
}

fn open(path: &Path) -> Option<(File, Metadata)> {
    // Files of users' own runtimes are among them: a pipe in their place must not hold us up.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    let about = file.metadata().ok().filter(Metadata::is_file)?;
    Some((file, about))
}

fn read_all(file: File) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_READ + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= MAX_READ).then_some(bytes)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&read_all(open(path)?.0)?).ok()
}

#[derive(Deserialize)]
struct DockerDaemon {
    #[serde(rename = "data-root")]
    data_root: Option<String>,
}

#[derive(Deserialize)]
struct DockerContainer {
    #[serde(rename = "Name", default)]
    name: String,
    #[serde(rename = "Config")]
    config: DockerConfig,
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(rename = "Image", default)]
    image: String,
    #[serde(rename = "Labels", default)]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Bundle {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct StoredContainer {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    image: String,
    #[serde(default)]
    metadata: String,
}

impl StoredContainer {
    /// Its id and how it is called.
    fn names(self) -> (String, Names) {
        let more: StoredMetadata = serde_json::from_str(&self.metadata).unwrap_or_default();
        let name = [more.metadata_name, more.name].into_iter().chain(self.names).find(|name| !name.is_empty());
        let image = if more.image_name.is_empty() { self.image } else { more.image_name };
        (self.id, Names { name: name.unwrap_or_default(), image, ..Names::default() }.bounded())
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct StoredMetadata {
    metadata_name: String,
    name: String,
    image_name: String,
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ID: &str = "3f4b1a9c7d2e4f60819a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f70";

    /// A host with these files, and names of the container in it.
    fn names(files: &[(String, &str)]) -> Option<Names> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let container = ContainerRef { id: ID.to_owned(), pod_uid: None };
        Runtimes::new(root.path(), &root.path().join("proc")).names(&container, 7)
    }

    fn expected(name: &str, image: &str, pod: &str, namespace: &str) -> Option<Names> {
        let labels = BTreeMap::new();
        let (pod, pod_namespace) = (pod.into(), namespace.into());
        Some(Names { name: name.into(), image: image.into(), pod, pod_namespace, labels })
    }

    fn without_labels(names: Option<Names>) -> Option<Names> {
        names.map(|names| Names { labels: BTreeMap::new(), ..names })
    }

    #[test]
    fn docker_names_start_with_a_slash_and_labels_name_the_pod() {
        let text = r#"{"StreamConfig":{},"ID":"x","Name":"/web","Config":{"Hostname":"h","Image":"redis:7@sha256:00","Labels":{"io.kubernetes.pod.name":"p","io.kubernetes.pod.namespace":"n"}}}"#;
        let at = |root: &str| format!("{root}/containers/{ID}/config.v2.json");
        assert_eq!(without_labels(names(&[(at("var/lib/docker"), text)])), expected("/web", "redis:7", "p", "n"));
        let daemon = ("etc/docker/daemon.json".to_owned(), r#"{"data-root":"/srv/d"}"#);
        assert_eq!(without_labels(names(&[(at("srv/d"), text), daemon])), expected("/web", "redis:7", "p", "n"));
        let mounts = "90 80 0:50 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/x/overlay2/l/A,upperdir=/x/overlay2/b/diff,workdir=/x/overlay2/b/work\n";
        let mounted = ("proc/7/mountinfo".to_owned(), mounts);
        assert_eq!(without_labels(names(&[(at("x"), text), mounted])), expected("/web", "redis:7", "p", "n"));
    }

    #[test]
    fn labels_are_kept_as_the_runtime_has_them_within_bounds() {
        let at = format!("var/lib/docker/containers/{ID}/config.v2.json");
        let labels = |text: &str| names(&[(at.clone(), text)]).unwrap().labels;
        let few = labels(r#"{"Name":"/web","Config":{"Labels":{"app.kubernetes.io/name":"shop","io.kubernetes.pod.name":"p"}}}"#);
        assert_eq!(few.get("app.kubernetes.io/name").map(String::as_str), Some("shop"));
        let many: Vec<String> = (0..1000).map(|n| format!(r#""l{n:04}":"{}""#, "x".repeat(200))).collect();
        let many =
            labels(&format!(r#"{{"Name":"/web","Config":{{"Labels":{{{},"long":"{}"}}}}}}"#, many.join(","), "x".repeat(999)));
        let bytes: usize = many.iter().map(|(name, value)| name.len() + value.len()).sum();
        assert!(many.len() <= MAX_LABELS && bytes <= MAX_LABEL_BYTES);
        assert!(many.contains_key("l0000") && !many.contains_key("long"));
        let crio = r#"{"annotations":{"io.kubernetes.container.name":"a","io.kubernetes.cri-o.Labels":"{\"tier\":\"db\"}"}}"#;
        let path = format!("run/containers/storage/overlay-containers/{ID}/userdata/config.json");
        assert_eq!(names(&[(path, crio)]).unwrap().labels.get("tier").map(String::as_str), Some("db"));
    }

    #[test]
    fn bundles_of_containerd_and_crio_name_container_and_pod() {
        let containerd = r#"{"ociVersion":"1","annotations":{"io.kubernetes.cri.container-name":"app","io.kubernetes.cri.image-name":"docker.io/a/b:1","io.kubernetes.cri.sandbox-name":"p-1","io.kubernetes.cri.sandbox-namespace":"shop"}}"#;
        for root in ["run/containerd", "run/k3s/containerd"] {
            let path = format!("{root}/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json");
            assert_eq!(names(&[(path, containerd)]), expected("app", "docker.io/a/b:1", "p-1", "shop"));
        }
        let crio = r#"{"annotations":{"io.kubernetes.container.name":"app","io.kubernetes.cri-o.ImageName":"quay.io/a:2","io.kubernetes.pod.name":"p-2","io.kubernetes.pod.namespace":"shop"}}"#;
        let path = format!("run/containers/storage/overlay-containers/{ID}/userdata/config.json");
        assert_eq!(names(&[(path, crio)]), expected("app", "quay.io/a:2", "p-2", "shop"));
    }

    #[test]
    fn lists_of_podman_are_searched_by_id() {
        let list = format!(
            r#"[{{"id":"0","names":["other"]}},{{"id":"{ID}","names":["db"],"image":"{ID}","metadata":"{{\"image-name\":\"docker.io/library/redis:7\",\"name\":\"db\"}}"}}]"#
        );
        for file in ["containers.json", "volatile-containers.json"] {
            let path = format!("{STORAGE}/overlay-containers/{file}");
            assert_eq!(names(&[(path, &list)]), expected("db", "docker.io/library/redis:7", "", ""), "{file}");
        }
        let mounts = "90 80 0:50 / / rw - overlay overlay rw,lowerdir=/y,upperdir=/home/u/storage/overlay/b/diff\n";
        let own = format!("[{{\"id\":\"{ID}\",\"names\":[\"mine\"],\"image\":\"sha256:{ID}\"}}]");
        let files = [
            ("home/u/storage/overlay-containers/containers.json".to_owned(), own.as_str()),
            ("proc/7/mountinfo".to_owned(), mounts),
        ];
        assert_eq!(names(&files), expected("mine", &ID[..12], "", ""));
    }

    #[test]
    fn a_list_is_read_again_only_when_it_was_written_anew() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(STORAGE).join("overlay-containers/containers.json");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let write = |name: &str| {
            fs::write(&path, format!(r#"[{{"id":"{ID}","names":["{name}"]}}]"#)).unwrap();
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
            file
        };
        let mut runtimes = Runtimes::new(root.path(), &root.path().join("proc"));
        let container = |id: &str| ContainerRef { id: id.to_owned(), pod_uid: None };
        let mut name = |id: &str| runtimes.names(&container(id), 7).map(|names| names.name);
        write("one");
        assert_eq!(name(ID).as_deref(), Some("one"));
        let file = write("two");
        assert_eq!(name(ID).as_deref(), Some("one"), "nothing tells that it was written");
        assert_eq!(name("0"), None);
        file.set_modified(std::time::SystemTime::now()).unwrap();
        assert_eq!(name(ID).as_deref(), Some("two"));
        write("another");
        assert_eq!(name(ID).as_deref(), Some("another"));
        fs::remove_file(&path).unwrap();
        assert_eq!(name(ID), None);
        assert!(runtimes.lists.is_empty(), "what is gone is not kept");
    }

    #[test]
    fn lists_kept_are_few_and_short() {
        let root = tempfile::tempdir().unwrap();
        let mut runtimes = Runtimes::new(root.path(), root.path());
        let list = |containers: usize, at: usize| {
            let all: Vec<String> = (0..containers).map(|id| format!(r#"{{"id":"{id}","names":["n{id}"]}}"#)).collect();
            let path = root.path().join(at.to_string());
            fs::write(&path, format!("[{}]", all.join(","))).unwrap();
            path
        };
        let long = list(MAX_LISTED + 1, 0);
        assert_eq!(runtimes.listed(&long, "4096").unwrap().name, "n4096");
        assert!(runtimes.lists.is_empty());
        for at in 1..=2 * MAX_LISTS {
            assert_eq!(runtimes.listed(&list(1, at), "0").unwrap().name, "n0");
            assert!(runtimes.lists.len() <= MAX_LISTS);
        }
    }

    #[test]
    fn what_is_damaged_or_nobodys_has_no_names() {
        assert_eq!(names(&[]), None);
        let at = format!("var/lib/docker/containers/{ID}/config.v2.json");
        assert_eq!(names(&[(at.clone(), "{\"Name\":")]), None);
        let huge = format!(r#"{{"Name":"/{}","Config":{{}}}}"#, "x".repeat(1000));
        assert_eq!(names(&[(at, &huge)]).unwrap().name.len(), MAX_NAME);
        assert_eq!(
            names(&[(format!("run/containers/storage/overlay-containers/{ID}/userdata/config.json"), "{\"annotations\":{}}")]),
            None
        );
    }
}
