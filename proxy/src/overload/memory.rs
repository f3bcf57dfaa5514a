//! How much memory the process has, and may have.
//!
//! What ends a process in a container is its control group's limit: the kernel counts there what all processes of the
//! group have, file pages included, of which it takes back what was not used lately before it ends anybody. So what
//! counts is what is left without those (`inactive_file`), as for Kubernetes, at each group up to the one at the top,
//! since each has a limit of its own. The files are read each time: a limit may change while a container runs.

use std::fs;
use std::path::{Path, PathBuf};

/// What is in use, and what may be, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) used: u64,
    pub(crate) limit: u64,
}

impl Reading {
    /// The share that is in use, in hundredths of a percent.
    pub(crate) fn share(&self) -> u32 {
        let share = u128::from(self.used) * 10_000 / u128::from(self.limit.max(1));
        u32::try_from(share).unwrap_or(u32::MAX)
    }
}

/// Where the kernel says how much memory the process has.
#[derive(Debug)]
pub(crate) struct Memory {
    /// `/proc`, or what has its place in a test.
    proc: PathBuf,
    /// The process's control group and those above it.
    groups: Vec<Group>,
}

#[derive(Debug, PartialEq, Eq)]
struct Group {
    folder: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Memory {
    /// Finds the process's control groups.
    pub(crate) fn find() -> Memory {
        Memory::within(Path::new("/"))
    }

    fn within(root: &Path) -> Memory {
        let proc = root.join("proc");
        let groups = groups(root, &proc).unwrap_or_default();
        Memory { proc, groups }
    }

    /// What is in use of `limit`, or else of what the machine and the control groups let the process have: of the one
    /// that is nearest to its end. `None` where the system does not say.
    pub(crate) fn read(&self, limit: Option<u64>) -> Option<Reading> {
        if let Some(limit) = limit {
            return Some(Reading { used: self.resident()?, limit });
        }
        let total = kibibytes(&self.proc.join("meminfo"), "MemTotal:").unwrap_or(u64::MAX);
        let groups = self.groups.iter().filter_map(|group| group.read(total));
        let nearest = groups.max_by_key(Reading::share);
        nearest
            .or_else(|| Some(Reading { used: self.resident()?, limit: (total < u64::MAX).then_some(total)? }))
    }

    fn resident(&self) -> Option<u64> {
        kibibytes(&self.proc.join("self/status"), "VmRSS:")
    }
}

impl Group {
    /// `None` without a limit below what the machine has.
    fn read(&self, total: u64) -> Option<Reading> {
        let (limit, used, idle) = match self.version {
            Version::V1 => ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "),
            Version::V2 => ("memory.max", "memory.current", "inactive_file "),
        };
        let number = |name| fs::read_to_string(self.folder.join(name)).ok()?.trim().parse::<u64>().ok();
        let limit = number(limit).filter(|limit| *limit < total)?; // none is `max`, or more than any machine has
        let idle = field(&fs::read_to_string(self.folder.join("memory.stat")).ok()?, idle).unwrap_or(0);
        Some(Reading { used: number(used)?.saturating_sub(idle), limit })
    }
}

/// The process's group for memory, and those above it as far as they can be seen from here.
fn groups(root: &Path, proc: &Path) -> Option<Vec<Group>> {
    let member = fs::read_to_string(proc.join("self/cgroup")).ok()?;
    let mounts = fs::read_to_string(proc.join("self/mountinfo")).ok()?;
    // `4:memory:/path`, or `0::/path` in the second version; where there are both, memory is where it is named.
    let mut lines = member.lines().filter_map(|line| {
        let (_, line) = line.split_once(':')?;
        line.split_once(':')
    });
    let named = lines.clone().find(|(controllers, _)| controllers.split(',').any(|one| one == "memory"));
    let (version, path) = match named {
        Some((_, path)) => (Version::V1, path),
        None => (Version::V2, lines.find(|(controllers, _)| controllers.is_empty())?.1),
    };
    let (top, mount) = mounts.lines().find_map(|line| mount(line, version))?;
    // Within a namespace paths begin at its own group, and the mount is that.
    let below = Path::new(path).strip_prefix(top).unwrap_or(Path::new(""));
    let mount = root.join(mount.trim_start_matches('/'));
    let folder = if below.components().any(|part| part.as_os_str() == "..") {
        mount.clone()
    } else {
        mount.join(below)
    };
    let all = folder.ancestors().take_while(|folder| folder.starts_with(&mount));
    Some(all.map(|folder| Group { folder: folder.to_owned(), version }).collect())
}

/// Which group a mount shows, and where, if it is one of memory's: `36 35 0:31 /group /where options - type source more`.
fn mount(line: &str, version: Version) -> Option<(&str, &str)> {
    let (place, kind) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let (top, mount) = (place.next()?, place.next()?);
    let mut kind = kind.split(' ');
    let (kind, options) = (kind.next()?, kind.nth(1).unwrap_or_default());
    let is_it = match version {
        Version::V1 => kind == "cgroup" && options.split(',').any(|option| option == "memory"),
        Version::V2 => kind == "cgroup2",
    };
    is_it.then_some((top, mount))
}

fn kibibytes(file: &Path, key: &str) -> Option<u64> {
    field(&fs::read_to_string(file).ok()?, key).map(|kib| kib * 1024)
}

/// The first number after `key` at the beginning of a line.
fn field(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A system with these files.
    fn system(files: &[(&str, &str)]) -> (tempfile::TempDir, Memory) {
        let root = tempfile::tempdir().unwrap();
        let usual = [("proc/meminfo", "MemTotal:  1024 kB\n"), ("proc/self/status", "VmRSS:\t  256 kB\n")];
        for (name, text) in usual.iter().chain(files) {
            let file = root.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let memory = Memory::within(root.path());
        (root, memory)
    }

    fn reading(used: u64, limit: u64) -> Option<Reading> {
        Some(Reading { used, limit })
    }

    #[test]
    fn to_shed_by_a_limit_that_is_given_looks_at_the_process_alone() {
        let (_root, memory) = system(&[]);
        assert_eq!(memory.read(Some(1 << 19)), reading(256 << 10, 1 << 19));
        assert_eq!(memory.read(None), reading(256 << 10, 1 << 20), "without a group it is the machine's");
    }

    #[test]
    fn to_shed_in_a_container_looks_at_what_the_kernel_cannot_take_back() {
        let (root, memory) = system(&[
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", "30 24 0:27 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup2 rw\n"),
            ("sys/fs/cgroup/memory.max", "600000\n"),
            ("sys/fs/cgroup/memory.current", "500000\n"),
            ("sys/fs/cgroup/memory.stat", "anon 1\nfile 2\ninactive_anon 7\ninactive_file 100000\n"),
        ]);
        assert_eq!(memory.read(None), reading(400_000, 600_000));
        fs::write(root.path().join("sys/fs/cgroup/memory.max"), "800000\n").unwrap();
        assert_eq!(memory.read(None), reading(400_000, 800_000), "it was given more while it ran");
        fs::write(root.path().join("sys/fs/cgroup/memory.max"), "max\n").unwrap();
        assert_eq!(memory.read(None), reading(256 << 10, 1 << 20));
    }

    #[test]
    fn to_shed_in_groups_within_groups_looks_at_the_one_that_is_nearest_to_its_end() {
        let (_root, memory) = system(&[
            ("proc/self/cgroup", "0::/slice/service\n"),
            ("proc/self/mountinfo", "30 24 0:27 / /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n"),
            ("sys/fs/cgroup/slice/service/memory.max", "max\n"),
            ("sys/fs/cgroup/slice/service/memory.current", "10\n"),
            ("sys/fs/cgroup/slice/service/memory.stat", "inactive_file 0\n"),
            ("sys/fs/cgroup/slice/memory.max", "1000\n"),
            ("sys/fs/cgroup/slice/memory.current", "900\n"),
            ("sys/fs/cgroup/slice/memory.stat", "inactive_file 100\n"),
        ]);
        assert_eq!(memory.read(None), reading(800, 1000));
    }

    #[test]
    fn to_shed_by_the_first_version_of_groups_reads_its_files_where_its_mount_is() {
        let (_root, memory) = system(&[
            ("proc/self/cgroup", "5:cpu,cpuacct:/docker/ab\n4:memory:/docker/ab\n0::/\n"),
            (
                "proc/self/mountinfo",
                "31 24 0:28 /docker/ab /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct\n\
                 32 24 0:29 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "5000\n"),
            ("sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 2000\n"),
        ]);
        assert_eq!(memory.read(None), reading(3000, 9000));
    }
}
