//! Notices that a configuration's files have changed.
//!
//! Folders are watched, not files: a file that is replaced is another one, and what a symbolic link means changes where
//! the link is. Which folders, and which names in them, follows the [`Footprint`] of what was read last
//! (see [`Places`]). An event only says when to look; whether there is anything to do is decided by what is in the files.
//!
//! The events come on a thread of the `notify` crate. Nothing here is on a path of traffic, and nothing fails: where the
//! system does not let this watch, a warning says so, and signals and the admin listener go on working.

mod allowance;
mod places;
mod pulse;

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::{ErrorKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::time::Instant;

use crate::files::Footprint;
use allowance::Allowance;
use places::Places;
use pulse::Pulse;

/// How often the folders are looked up again when links change while they are.
const ROUNDS: usize = 3;

/// Watches the files of the configuration that was read last.
#[derive(Clone)]
pub(crate) struct Watch {
    pulse: Arc<Pulse>,
    armed: Arc<Mutex<Armed>>,
    allowance: Arc<Mutex<Allowance>>,
}

/// What the system tells about.
struct Armed {
    /// None: nothing is watched.
    watcher: Option<RecommendedWatcher>,
    /// The folders that are watched, and which each was then: device and inode.
    folders: HashMap<PathBuf, (u64, u64)>,
    /// Folders that cannot be watched, which was said.
    refused: HashSet<PathBuf>,
}

impl Watch {
    /// A watch of nothing yet.
    pub(crate) fn new(wanted: bool) -> Watch {
        let pulse = Arc::new(Pulse::default());
        let watcher = wanted.then(|| {
            let pulse = pulse.clone();
            notify::recommended_watcher(move |event| pulse.note(event))
        });
        let watcher = match watcher {
            Some(Err(error)) => {
                let hint = hint_for(&error);
                tracing::warn!(%error, hint, "files cannot be watched: a change of them takes SIGHUP or POST /reload");
                None
            }
            Some(Ok(watcher)) => Some(watcher),
            None => None,
        };
        let armed = Armed { watcher, folders: HashMap::new(), refused: HashSet::new() };
        let allowance = Arc::new(Mutex::new(Allowance::new(Instant::now())));
        Watch { pulse, armed: Arc::new(Mutex::new(armed)), allowance }
    }

    /// Whether it watches.
    pub(super) fn is_on(&self) -> bool {
        self.armed().watcher.is_some()
    }

    /// Waits until something may have changed, and then was quiet for a while, or did not become quiet for too long.
    pub(crate) async fn stirred(&self) {
        self.pulse.due().await;
    }

    /// From now on the files of this footprint are watched, and no others. Whether they are as they were read. Blocks.
    pub(crate) fn follow(&self, footprint: &Footprint) -> bool {
        let mut armed = self.armed();
        if armed.watcher.is_some() {
            let mut places = Places::of(footprint);
            for _ in 0..ROUNDS {
                self.pulse.expect(&places);
                armed.watch(&places);
                let now = Places::of(footprint);
                if now == places {
                    break;
                }
                places = now;
            }
        }
        footprint.holds()
    }

    /// Looks again after a while, although nothing was noticed.
    pub(super) fn look_again(&self) {
        self.pulse.look_again();
    }

    /// Notes how long the work took that came of what stirred. After much of it nothing stirs for a while.
    pub(super) fn spend(&self, worked: Duration) {
        let mut allowance = self.allowance.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = allowance.spend(worked, Instant::now());
        self.pulse.rest(pause);
        if !pause.is_zero() && self.is_on() {
            tracing::warn!(
                milliseconds = pause.as_millis() as u64,
                "files change faster than they can be read: for a while no change of them is looked at, unless by SIGHUP or POST /reload"
            );
        }
    }

    fn armed(&self) -> MutexGuard<'_, Armed> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Armed {
    fn watch(&mut self, places: &Places) {
        let Some(watcher) = &mut self.watcher else { return };
        let identity =
            |folder: &Path| std::fs::metadata(folder).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        // What is gone, and what is another folder by now.
        self.folders.retain(|folder, which| {
            let stays = places.has(folder) && identity(folder) == Some(*which);
            if !stays {
                let _ = watcher.unwatch(folder); // a folder that is gone has no watch any more
            }
            stays
        });
        self.refused.retain(|folder| places.has(folder));
        for folder in places.folders() {
            if self.folders.contains_key(folder) {
                continue;
            }
            let Some(which) = identity(folder) else { continue };
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.folders.insert(folder.to_owned(), which);
                    self.refused.remove(folder);
                }
                Err(error) if self.refused.insert(folder.to_owned()) => {
                    let (folder, hint) = (folder.display(), hint_for(&error));
                    tracing::warn!(%folder, %error, hint, "a folder cannot be watched: a change of files in it takes SIGHUP or POST /reload");
                }
                Err(_) => {}
            }
        }
    }
}

/// What to do about it. inotify(7) reports its limits as if files or disk space were short.
pub(crate) fn hint_for(error: &notify::Error) -> &'static str {
    const INSTANCES: &str = "raise fs.inotify.max_user_instances, or the limit on open files";
    const WATCHES: &str = "raise fs.inotify.max_user_watches";
    match &error.kind {
        ErrorKind::MaxFilesWatch => WATCHES,
        ErrorKind::Io(error) => match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => INSTANCES,
            Some(rustix::io::Errno::ACCESS) => "let the user that runs tidegate read the folder",
            _ => "is it on a file system that can be watched?",
        },
        _ => "is it on a file system that can be watched?",
    }
}
