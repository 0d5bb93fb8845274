//! Names of containers from the files their runtimes keep: docker's `config.v2.json`, the OCI bundle of containerd and CRI-O
//! (annotations), the container lists of podman and CRI-O. Only files are read: no runtime is asked, none has to answer.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::cgroup::{ContainerRef, SHORT_ID};

/// No such file is longer in any useful way; a list of containers holds about 1 KiB for each.
const MAX_READ: u64 = 4 << 20;

/// Names longer than this are cut: they go into every series of the container.
const MAX_NAME: usize = 256;

/// Where a containerd keeps its bundles, for itself or inside another product.
const CONTAINERD_ROOTS: [&str; 2] = ["run/containerd", "run/k3s/containerd"];

/// Namespaces of a containerd whose bundles tell names: Kubernetes, and nerdctl's default.
const CONTAINERD_NAMESPACES: [&str; 2] = ["k8s.io", "default"];

const STORAGE: &str = "var/lib/containers/storage";

/// What a runtime says of a container; empty where it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub name: String,
    pub image: String,
    pub pod: String,
    pub pod_namespace: String,
}

/// The files of the runtimes of one host.
#[derive(Debug)]
pub struct Runtimes {
    /// Where the host's root is mounted.
    host: PathBuf,
    proc_root: PathBuf,
}

impl Runtimes {
    pub fn new(host: &Path, proc_root: &Path) -> Self {
        Self { host: host.to_owned(), proc_root: proc_root.to_owned() }
    }

    /// Names of the container that a process is in; `None` when no runtime knows it.
    pub fn names(&self, container: &ContainerRef, pid: u32) -> Option<Names> {
        let id = container.id.as_str();
        let root = self.storage_root(pid);
        let names = self.docker(id, root.as_deref()).or_else(|| self.bundle(id)).or_else(|| self.storage(id, root.as_deref()))?;
        Some(names.bounded())
    }

    /// The folder below which the runtime keeps the process's root file system, from the options of its overlay mount.
    fn storage_root(&self, pid: u32) -> Option<PathBuf> {
        let mounts = read(&self.proc_root.join(format!("{pid}/mountinfo")))?;
        parse_storage_root(&String::from_utf8_lossy(&mounts))
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
        };
        // podman writes bundles too, without names.
        (names != Names::default()).then_some(names)
    }

    /// The lists of podman and CRI-O; containers that are removed at their end stand in one of their own.
    fn storage(&self, id: &str, root: Option<&Path>) -> Option<Names> {
        let standard = self.host.join(STORAGE);
        let roots = root.map(|root| self.on_host(root)).into_iter().chain([standard]);
        let mut lists = roots.flat_map(|root| {
            ["containers.json", "volatile-containers.json"].map(|list| root.join("overlay-containers").join(list))
        });
        let found =
            lists.find_map(|list| read_json::<Vec<StoredContainer>>(&list)?.into_iter().find(|stored| stored.id == id))?;
        let more: StoredMetadata = serde_json::from_str(&found.metadata).unwrap_or_default();
        let name = [more.metadata_name, more.name].into_iter().chain(found.names).find(|name| !name.is_empty());
        let image = if more.image_name.is_empty() { found.image } else { more.image_name };
        Some(Names { name: name.unwrap_or_default(), image, ..Names::default() })
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
        }
    }
}

/// The name without its digest; of a bare id 12 digits.
fn shown_image(image: &str) -> String {
    let hex = image.strip_prefix("sha256:").unwrap_or(image);
    if hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return hex[..SHORT_ID].to_owned();
    }
    image.split_once("@sha256:").map_or(image, |(name, _)| name).to_owned()
}

/// The part of the root mount's `upperdir=` before the folder of overlays.
fn parse_storage_root(mountinfo: &str) -> Option<PathBuf> {
    let root = mountinfo.lines().find(|line| line.split(' ').nth(4) == Some("/"))?;
    let options = root.rsplit(' ').next()?;
    let upper = options.split(',').find_map(|option| option.strip_prefix("upperdir="))?;
    ["/overlay2/", "/overlay/"].iter().find_map(|part| Some(PathBuf::from(upper.split_once(part)?.0)))
}

fn read(path: &Path) -> Option<Vec<u8>> {
    // Files of users' own runtimes are among them: a pipe in their place must not hold us up.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    let file = Some(opened).filter(|file| file.metadata().is_ok_and(|about| about.is_file()))?;
    let mut bytes = Vec::new();
    file.take(MAX_READ + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= MAX_READ).then_some(bytes)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&read(path)?).ok()
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
        Some(Names { name: name.into(), image: image.into(), pod: pod.into(), pod_namespace: namespace.into() })
    }

    #[test]
    fn docker_names_start_with_a_slash_and_labels_name_the_pod() {
        let text = r#"{"StreamConfig":{},"ID":"x","Name":"/web","Config":{"Hostname":"h","Image":"redis:7@sha256:00","Labels":{"io.kubernetes.pod.name":"p","io.kubernetes.pod.namespace":"n"}}}"#;
        let at = |root: &str| format!("{root}/containers/{ID}/config.v2.json");
        assert_eq!(names(&[(at("var/lib/docker"), text)]), expected("/web", "redis:7", "p", "n"));
        let daemon = ("etc/docker/daemon.json".to_owned(), r#"{"data-root":"/srv/d"}"#);
        assert_eq!(names(&[(at("srv/d"), text), daemon]), expected("/web", "redis:7", "p", "n"));
        let mounts = "90 80 0:50 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/x/overlay2/l/A,upperdir=/x/overlay2/b/diff,workdir=/x/overlay2/b/work\n";
        let mounted = ("proc/7/mountinfo".to_owned(), mounts);
        assert_eq!(names(&[(at("x"), text), mounted]), expected("/web", "redis:7", "p", "n"));
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
