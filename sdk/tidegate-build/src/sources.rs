//! What a crate is made of, as cargo's metadata says it: which files to watch, and why it may not be a filter.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::build::BuildError;

/// The files whose change means that a module has to be built again: those of the crate, of the crates on this machine
/// that it depends on, and of their workspaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// Folders of crates.
    folders: BTreeSet<PathBuf>,
    /// Manifests and lock files of workspaces.
    files: BTreeSet<PathBuf>,
    /// Where what is built is put.
    built: Vec<PathBuf>,
}

impl Sources {
    /// `built` are folders that builds write to.
    pub(crate) fn read(metadata: &Value, folder: &Path, mut built: Vec<PathBuf>) -> Sources {
        let mut sources = Sources { folders: BTreeSet::new(), files: BTreeSet::new(), built: Vec::new() };
        let packages = || metadata["packages"].as_array().into_iter().flatten();
        let nodes = || metadata["resolve"]["nodes"].as_array().into_iter().flatten();
        let mut seen = BTreeSet::new();
        let mut pending: Vec<&str> =
            packages().filter(|package| folder_of(package) == Some(whole(folder))).filter_map(id).collect();
        while let Some(next) = pending.pop() {
            if !seen.insert(next) {
                continue;
            }
            // Those of a registry do not change.
            let local = packages().find(|package| id(package) == Some(next) && package["source"].is_null());
            let Some(package) = local else { continue };
            sources.folders.extend(folder_of(package));
            let node = nodes().find(|node| id(node) == Some(next));
            let dependencies = node.and_then(|node| node["deps"].as_array()).into_iter().flatten();
            pending.extend(
                dependencies.filter(|dependency| is_built(dependency)).filter_map(|one| one["pkg"].as_str()),
            );
        }
        if let Some(root) = metadata["workspace_root"].as_str().map(Path::new) {
            let shared = ["Cargo.toml", "Cargo.lock", ".cargo/config.toml", "rust-toolchain.toml"];
            sources.files.extend(shared.map(|name| root.join(name)));
        }
        built.extend(metadata["target_directory"].as_str().map(PathBuf::from));
        sources.built = built.iter().map(|folder| whole(folder)).collect();
        sources
    }

    /// The folders of crates, to be watched with all that is in them.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        self.folders.iter().map(PathBuf::as_path)
    }

    /// The folders of what crates share, of which the files directly in them are to be watched: a workspace's has much
    /// else in it. None of them is in one of [`Sources::folders`].
    pub fn shared_folders(&self) -> impl Iterator<Item = &Path> {
        let folders: BTreeSet<&Path> = self.files.iter().filter_map(|file| file.parent()).collect();
        let is_watched = |folder: &Path| self.folders.iter().any(|whole| folder.starts_with(whole));
        folders.into_iter().filter(move |folder| folder.is_dir() && !is_watched(folder))
    }

    /// Whether a change of this file may mean that these are not the sources any more, but others.
    pub fn depend_on(&self, file: &Path) -> bool {
        let is_manifest = file.file_name().is_some_and(|name| name == "Cargo.toml" || name == "Cargo.lock");
        is_manifest || self.files.contains(file)
    }

    /// Whether a change of this file means that the module has to be built again. What builds write does not, nor does
    /// what editors and version control keep for themselves.
    pub fn concern(&self, file: &Path) -> bool {
        if self.files.contains(file) {
            return true;
        }
        let inside = self.folders.iter().filter_map(|folder| file.strip_prefix(folder).ok());
        let Some(path) = inside.min_by_key(|path| path.components().count()) else { return false };
        let is_hidden = |part: &str| part.starts_with('.') || part.ends_with('~') || part.starts_with('#');
        !path.iter().any(|part| is_hidden(&part.to_string_lossy()))
            && !self.built.iter().any(|folder| file.starts_with(folder))
    }
}

/// What is in a folder with a `Cargo.toml`.
pub(crate) enum Crate {
    /// A crate.
    Package { has_library: bool },
    /// A workspace that is no crate itself, and its crates with a library.
    Workspace { members: Vec<PathBuf> },
}

impl Crate {
    pub(crate) fn look(metadata: &Value, folder: &Path) -> Crate {
        let packages = || metadata["packages"].as_array().into_iter().flatten();
        match packages().find(|package| folder_of(package) == Some(whole(folder))) {
            Some(package) => Crate::Package { has_library: has_library(package) },
            None => {
                let members = packages().filter(|package| has_library(package)).filter_map(folder_of);
                Crate::Workspace { members: members.collect() }
            }
        }
    }
}

/// Asks cargo, and reads what it answers.
pub(crate) fn metadata(mut cargo: Command, folder: &Path) -> Result<Value, BuildError> {
    let failed = |message: String| BuildError::Unknown { folder: folder.to_owned(), message };
    let output = cargo.stdin(Stdio::null()).output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))
}

fn id(value: &Value) -> Option<&str> {
    value["id"].as_str()
}

fn folder_of(package: &Value) -> Option<PathBuf> {
    Some(whole(Path::new(package["manifest_path"].as_str()?).parent()?))
}

/// Without symbolic links, as those who watch report it.
fn whole(folder: &Path) -> PathBuf {
    folder.canonicalize().unwrap_or_else(|_| folder.to_owned())
}

fn has_library(package: &Value) -> bool {
    let mut targets = package["targets"].as_array().into_iter().flatten();
    let is_library =
        |kind: &Value| matches!(kind.as_str(), Some("lib" | "cdylib" | "rlib" | "dylib" | "staticlib"));
    targets.any(|target| target["kind"].as_array().into_iter().flatten().any(is_library))
}

/// Whether a dependency is part of the module or builds it: not one of tests alone.
fn is_built(dependency: &Value) -> bool {
    let mut kinds = dependency["dep_kinds"].as_array().into_iter().flatten();
    kinds.any(|kind| kind["kind"].as_str() != Some("dev"))
}
