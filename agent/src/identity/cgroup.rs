//! Container and pod of a process from its cgroup paths (`/proc/<pid>/cgroup`, cgroup versions 1 and 2, proc(5) and
//! cgroups(7)). Knows the path shapes of docker, containerd, CRI-O, podman and iSulad with the cgroupfs and the systemd
//! driver, inside Kubernetes and alone.

/// Hex digits of a full container id.
const ID_DIGITS: usize = 64;

/// Shown length of a container id.
pub const SHORT_ID: usize = 12;

/// Where a process belongs, as its path says; names come from the container runtime.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerRef {
    /// Full id, as the path spells it.
    pub id: String,
    /// Pod uid with hyphens; `None` outside Kubernetes.
    pub pod_uid: Option<String>,
}

impl ContainerRef {
    pub fn short_id(&self) -> &str {
        self.id.get(..SHORT_ID).unwrap_or(&self.id)
    }
}

/// The container of a process, from the text of `/proc/<pid>/cgroup`: the first line whose path names one. Lines of every
/// hierarchy are looked at, for a hybrid host has the containers in version 1 and an empty path in version 2.
pub fn container_of(cgroup_file: &str) -> Option<ContainerRef> {
    cgroup_file.lines().filter_map(|line| line.splitn(3, ':').nth(2)).find_map(parse_path)
}

/// The path of the unified hierarchy, else of the one that accounts CPU time.
pub fn main_path(cgroup_file: &str) -> Option<&str> {
    let mut fallback = None;
    for line in cgroup_file.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        if controllers.is_empty() && path != "/" {
            return Some(path);
        }
        if controllers.split(',').any(|name| name == "cpu" || name == "cpuacct") || fallback.is_none() {
            fallback = Some(path);
        }
    }
    fallback
}

/// The innermost container that a cgroup path names.
pub fn parse_path(path: &str) -> Option<ContainerRef> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let at = parts.iter().rposition(|part| container_in(part).is_some())?;
    let id = container_in(parts[at])?;
    // `<parent>:cri-containerd:<id>` carries the pod in the same part.
    let pod_uid = parts[..=at].iter().rev().find_map(|part| pod_in(part));
    let bare = parts[at] == id;
    // A bare hex name is a container only below a parent that holds containers: other software names groups by hashes too.
    if bare && pod_uid.is_none() && !parts[..at].iter().any(|part| is_container_parent(part)) {
        return None;
    }
    Some(ContainerRef { id: id.to_owned(), pod_uid })
}

fn is_container_parent(part: &str) -> bool {
    matches!(part, "docker" | "k8s.io" | "isulad" | "default" | "moby" | "libpod_parent" | "lxc" | "containerd" | "buildkit")
        || part.starts_with("kubepods")
        || part.starts_with("libpod")
}

/// The 64 hex digits of a container in one part of a path: bare, `<runtime>-<id>.scope`, `<slice>:<runtime>:<id>`.
fn container_in(part: &str) -> Option<&str> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    let name = name.rsplit_once(':').map_or(name, |(_, id)| id);
    let (runtime, id) = match name.rsplit_once('-') {
        Some((runtime, id)) => (runtime, id),
        None => ("", name),
    };
    let known_runtime = runtime.is_empty()
        || matches!(runtime, "docker" | "cri-containerd" | "crio" | "libpod" | "isulad" | "nerdctl" | "containerd");
    // CRI-O and podman run a monitor (`crio-conmon-<id>`) beside the container: it is not in it.
    (known_runtime && id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

/// The pod uid in one part: `pod<uid>`, `kubepods-<qos>-pod<uid with underscores>.slice`, also before `:cri-containerd:`.
fn pod_in(part: &str) -> Option<String> {
    let name = part.split(':').next().unwrap_or(part);
    let name = name.strip_suffix(".slice").unwrap_or(name);
    let at = name.rfind("pod")?;
    let before = &name[..at];
    if !(before.is_empty() || before.ends_with('-')) {
        return None;
    }
    let uid = name[at + 3..].replace('_', "-");
    let digits = uid.bytes().filter(|byte| *byte != b'-').count();
    // 32 digits: static pods are named by a hash of their manifest, without hyphens.
    (digits == 32 && uid.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())).then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f4b1a9c7d2e4f60819a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f70";
    const POD: &str = "b1946ac9-2ad3-4f7e-9c61-0d8a0f3e5c21";
    const POD_UNDERSCORES: &str = "b1946ac9_2ad3_4f7e_9c61_0d8a0f3e5c21";

    fn found(path: &str) -> Option<(String, Option<String>)> {
        parse_path(path).map(|container| (container.id, container.pod_uid))
    }

    #[test]
    fn every_known_shape_gives_its_container_and_pod() {
        let alone = [
            format!("/docker/{ID}"),
            format!("/system.slice/docker-{ID}.scope"),
            format!("/k8s.io/{ID}"),
            format!("/isulad/{ID}"),
            format!("/default/{ID}"),
            format!("/machine.slice/libpod-{ID}.scope"),
            format!("/machine.slice/libpod-{ID}.scope/container"),
            format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container"),
            format!("/libpod_parent/libpod-{ID}"),
            format!("/system.slice/nerdctl-{ID}.scope"),
            format!("/docker/{ID}/system.slice/nginx.service"),
            format!("/../../docker/{ID}"),
        ];
        for path in &alone {
            assert_eq!(found(path), Some((ID.into(), None)), "{path}");
        }
        let in_pods = [
            format!("/kubepods/burstable/pod{POD}/{ID}"),
            format!("/kubepods/pod{POD}/{ID}"),
            format!("/kubepods-besteffort-pod{POD_UNDERSCORES}.slice:cri-containerd:{ID}"),
            format!("/system.slice/containerd.service/kubepods-burstable-pod{POD_UNDERSCORES}.slice:cri-containerd:{ID}"),
            format!("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{POD_UNDERSCORES}.slice/docker-{ID}.scope"),
            format!(
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{POD_UNDERSCORES}.slice/cri-containerd-{ID}.scope"
            ),
            format!("/kubepods.slice/kubepods-pod{POD_UNDERSCORES}.slice/crio-{ID}.scope"),
            format!("/kubepods.slice/kubepods-pod{POD_UNDERSCORES}.slice/crio-{ID}.scope/container"),
            format!("/kubepods/besteffort/pod{POD}/isulad-{ID}"),
            format!(
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{POD_UNDERSCORES}.slice/cri-containerd-{ID}.scope"
            ),
        ];
        for path in &in_pods {
            assert_eq!(found(path), Some((ID.into(), Some(POD.into()))), "{path}");
        }
    }

    #[test]
    fn static_pods_have_a_hash_for_uid() {
        let path = format!("/kubepods/burstable/pod0f5ec4d2a3b14c6e8f7081929a3b4c5d/{ID}");
        assert_eq!(found(&path), Some((ID.into(), Some("0f5ec4d2a3b14c6e8f7081929a3b4c5d".into()))));
    }

    #[test]
    fn what_is_no_container_is_none() {
        for path in [
            "/",
            "",
            "/init.scope",
            "/user.slice/user-0.slice/session-3.scope",
            "/system.slice/ssh.service",
            "/process_api/97eaf85364ac8726f0ddd1deb6b31c69",
            "/podman/abc",
            &format!("/jobs/{ID}"),
            &format!("/kubepods.slice/crio-conmon-{ID}.scope"),
            &format!("/docker/{}", &ID[..63]),
            &format!("/docker/{}g", &ID[..63]),
        ] {
            assert_eq!(found(path), None, "{path}");
        }
    }

    #[test]
    fn docker_in_a_pod_is_the_inner_container() {
        let inner = ID.replace('3', "4");
        let path = format!("/kubepods/burstable/pod{POD}/{ID}/docker/{inner}");
        assert_eq!(found(&path), Some((inner, Some(POD.into()))));
    }

    #[test]
    fn version_1_files_are_read_by_line() {
        let file = format!(
            "12:rdma:/\n11:memory:/docker/{ID}\n10:cpu,cpuacct:/docker/{ID}\n1:name=systemd:/docker/{ID}\n0::/system.slice/containerd.service\n"
        );
        assert_eq!(container_of(&file).unwrap().short_id(), &ID[..12]);
        assert_eq!(main_path(&file), Some("/system.slice/containerd.service"));
    }

    #[test]
    fn hybrid_hosts_have_the_container_in_version_1_only() {
        let file = format!("5:cpuset:/kubepods/pod{POD}/{ID}\n4:cpu,cpuacct:/kubepods/pod{POD}/{ID}\n0::/\n");
        let container = container_of(&file).unwrap();
        assert_eq!(container.pod_uid.as_deref(), Some(POD));
        assert_eq!(main_path(&file), Some(format!("/kubepods/pod{POD}/{ID}").as_str()));
    }

    #[test]
    fn version_2_files_have_one_line() {
        let file = format!("0::/system.slice/docker-{ID}.scope\n");
        assert_eq!(container_of(&file).unwrap().id, ID);
        assert_eq!(container_of("0::/user.slice\n"), None);
        assert_eq!(container_of("garbage"), None);
    }

    #[test]
    fn a_path_with_colons_stays_whole() {
        let file = format!("3:cpuset:/kubepods-besteffort-pod{POD_UNDERSCORES}.slice:cri-containerd:{ID}\n");
        assert_eq!(container_of(&file).unwrap().pod_uid.as_deref(), Some(POD));
    }
}
