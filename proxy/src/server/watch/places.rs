//! Where something has to happen for a path to mean another file.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use crate::files::{self, Footprint};

/// Symbolic links that are followed on one path, as path_resolution(7) has it.
const MAX_LINKS: usize = 40;

/// Folders, without symbolic links in their paths, and what counts in them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Places(BTreeMap<PathBuf, Names>);

/// What counts in a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    exact: BTreeSet<OsString>,
    /// Every module.
    modules: bool,
}

impl Names {
    pub(super) fn contains(&self, name: &OsStr) -> bool {
        self.exact.contains(name) || (self.modules && name.to_str().is_some_and(files::is_module))
    }

    #[cfg(test)]
    pub(super) fn of(exact: &[&str]) -> Names {
        Names { exact: exact.iter().map(OsString::from).collect(), modules: false }
    }
}

impl Places {
    pub(super) fn of(footprint: &Footprint) -> Places {
        let mut places = Places::default();
        for (path, is_folder) in footprint.paths() {
            // Only an empty path or a process without a folder of its own fails here.
            let Ok(path) = std::path::absolute(path) else { continue };
            if let Some(folder) = places.walk(&path).filter(|_| is_folder) {
                places.0.entry(folder).or_default().modules = true;
            }
        }
        places
    }

    pub(super) fn has(&self, folder: &Path) -> bool {
        self.0.contains_key(folder)
    }

    pub(super) fn folders(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&PathBuf, &Names)> {
        self.0.iter()
    }

    /// Goes along a path as the system does. Counts the links on the way, what they end at, or the first that is
    /// missing; gives what they end at.
    fn walk(&mut self, path: &Path) -> Option<PathBuf> {
        let mut at = PathBuf::from("/");
        let mut ahead: VecDeque<OsString> = components(path).collect();
        let mut links = 0;
        while let Some(name) = ahead.pop_front() {
            if name == ".." {
                at.pop();
                continue;
            }
            let entry = at.join(&name);
            let metadata = std::fs::symlink_metadata(&entry);
            let is_link = metadata.as_ref().is_ok_and(std::fs::Metadata::is_symlink);
            if is_link || metadata.is_err() || ahead.is_empty() {
                self.0.entry(at.clone()).or_default().exact.insert(name);
            }
            metadata.ok()?;
            if !is_link {
                at = entry;
                continue;
            }
            links += 1;
            let target = std::fs::read_link(&entry).ok().filter(|_| links <= MAX_LINKS)?;
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            for component in components(&target).collect::<Vec<_>>().into_iter().rev() {
                ahead.push_front(component);
            }
        }
        Some(at)
    }
}

fn components(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// What counts for a path below a folder: with the folder's own path left out.
    fn counted(folder: &Path, path: &str) -> String {
        let folder = folder.canonicalize().unwrap();
        let mut places = Places::default();
        places.walk(&folder.join(path));
        let show = |(at, names): (&PathBuf, &Names)| {
            let names: Vec<_> = names.exact.iter().map(|name| name.to_string_lossy()).collect();
            format!("{}: {}", at.strip_prefix(&folder).unwrap().display(), names.join(" "))
        };
        places.iter().map(show).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_files_own_folder_and_that_of_every_link_on_the_way_count() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        std::fs::create_dir_all(at("volume/..2025_1")).unwrap();
        std::fs::write(at("volume/..2025_1/conf"), "").unwrap();
        symlink("..2025_1", at("volume/..data")).unwrap();
        symlink("..data/conf", at("volume/conf")).unwrap();
        symlink(at("volume"), at("current")).unwrap();
        assert_eq!(counted(folder.path(), "volume/..2025_1/conf"), "volume/..2025_1: conf");
        assert_eq!(counted(folder.path(), "volume/conf"), "volume: ..data conf; volume/..2025_1: conf");
        assert_eq!(
            counted(folder.path(), "current/conf"),
            ": current; volume: ..data conf; volume/..2025_1: conf"
        );
        assert_eq!(
            counted(folder.path(), "volume/../current/../volume/..data/conf").matches("conf").count(),
            1
        );
    }

    #[test]
    fn what_is_missing_counts_where_it_would_be() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(counted(folder.path(), "a/b/c"), ": a");
        std::fs::create_dir(folder.path().join("a")).unwrap();
        assert_eq!(counted(folder.path(), "a/b/c"), "a: b");
        symlink("gone", folder.path().join("dangling")).unwrap();
        assert_eq!(counted(folder.path(), "dangling"), ": dangling gone");
    }

    #[test]
    fn links_in_a_circle_end() {
        let folder = tempfile::tempdir().unwrap();
        symlink("b", folder.path().join("a")).unwrap();
        symlink("a", folder.path().join("b")).unwrap();
        assert_eq!(counted(folder.path(), "a"), ": a b");
    }
}
