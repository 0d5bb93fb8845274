//! Mounts: `/proc/self/mounts` (fstab(5)) and which of them hold storage of their own.

use super::text::{fields, lines};

/// One line of the mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub source: String,
    pub target: String,
    pub kind: String,
    /// First option: `rw` or `ro`.
    pub access: String,
}

impl Mount {
    /// Behind the mount stands another machine that may hang: never ask it from the reporting thread.
    pub fn is_remote(&self) -> bool {
        const REMOTE: [&str; 12] =
            ["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "gfs2", "ocfs2"];
        REMOTE.contains(&self.kind.as_str()) || self.kind.starts_with("fuse")
    }

    /// A file system with a device or a size of its own, as `df` shows it without being asked for all.
    pub fn has_storage(&self) -> bool {
        const POOLS: [&str; 5] = ["btrfs", "zfs", "bcachefs", "overlay", "virtiofs"];
        let kind = self.kind.as_str();
        // A squashfs or ISO image is always full: its figures say nothing.
        let image = ["squashfs", "iso9660", "erofs"].contains(&kind);
        let inside_kernel = ["/sys/", "/proc/"].iter().any(|folder| self.target.starts_with(folder));
        let own = (self.source.starts_with("/dev/") && !image) || POOLS.contains(&kind) || kind == "tmpfs";
        own && !inside_kernel
    }
}

/// Leaves one mount of each device, the one nearest the root: the others show the same space again (bind mounts).
pub fn one_per_device(mounts: &mut Vec<Mount>) {
    let all = mounts.clone();
    mounts.retain(|mount| {
        let rank = (mount.target.len(), &mount.target);
        let same = |other: &&Mount| other.source == mount.source && mount.source.starts_with("/dev/");
        all.iter().filter(same).all(|other| rank <= (other.target.len(), &other.target))
    });
}

/// The mount table. Of several mounts on one point the last counts: it hides the others.
pub fn parse_mounts(text: &[u8]) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for line in lines(text) {
        let mut columns = fields(line);
        let (Some(source), Some(target), Some(kind), Some(options)) =
            (columns.next(), columns.next(), columns.next(), columns.next())
        else {
            continue;
        };
        let access = options.split(|byte| *byte == b',').next().unwrap_or_default();
        let mount = Mount { source: unescape(source), target: unescape(target), kind: unescape(kind), access: unescape(access) };
        mounts.retain(|other| other.target != mount.target);
        mounts.push(mount);
    }
    mounts
}

/// Blanks, tabs, line ends and backslashes stand as `\` and three octal digits.
fn unescape(field: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = (*first == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    super::text::lossy(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"proc /proc proc rw,relatime 0 0
/dev/vda / ext4 rw,relatime,discard 0 0
tmpfs /dev/shm tmpfs rw,relatime,size=24684092k 0 0
tmpfs /dev/shm tmpfs ro,relatime 0 0
//srv/share /mnt/with\\040blank cifs rw 0 0
server:/x /mnt/nfs nfs4 rw,vers=4.2 0 0
/dev/loop0 /snap/x squashfs ro 0 0
";

    #[test]
    fn storage_is_told_from_the_kernels_own_file_systems() {
        let mounts = parse_mounts(MOUNTS);
        let storage: Vec<&str> = mounts.iter().filter(|mount| mount.has_storage()).map(|mount| mount.target.as_str()).collect();
        assert_eq!(storage, ["/", "/dev/shm"]);
        let remote: Vec<&str> = mounts.iter().filter(|mount| mount.is_remote()).map(|mount| mount.target.as_str()).collect();
        assert_eq!(remote, ["/mnt/with blank", "/mnt/nfs"]);
    }

    #[test]
    fn a_device_mounted_twice_is_shown_once() {
        let mut mounts = parse_mounts(
            b"/dev/vda /run/netns ext4 rw 0 0\n/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\ntmpfs /run tmpfs rw 0 0\n",
        );
        one_per_device(&mut mounts);
        let targets: Vec<&str> = mounts.iter().map(|mount| mount.target.as_str()).collect();
        assert_eq!(targets, ["/", "/tmp", "/run"]);
    }

    #[test]
    fn a_mount_hides_what_lies_below_on_the_same_point() {
        let mounts = parse_mounts(MOUNTS);
        let shm: Vec<&Mount> = mounts.iter().filter(|mount| mount.target == "/dev/shm").collect();
        assert_eq!(shm.len(), 1);
        assert_eq!(shm[0].access, "ro");
    }
}
