//! What `tidegate dev` leaves behind when it ends, however it ends: nothing.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;
use tempfile::TempDir;

use super::super::recording::files::mode;
use super::{Dev, asking, folder_with};
use crate::equipment::{Answer, Guest, Upstream, eventually};

/// Folders of its own that are there.
fn own_folders(folder: &TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.path()).expect("it is a folder").flatten();
    let mine = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("tidegate-dev-"));
    mine.map(|entry| entry.path()).collect()
}

#[test]
fn the_folder_that_it_works_in_is_for_its_user_alone_and_gone_at_its_end() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let folder = folder_with(&Guest::new().build(), &[]);
        let dev = Dev::start(folder.path(), &["guest.wasm", "--format", "json"]);
        dev.event("serving");
        let own = own_folders(&folder);
        assert_eq!(own.iter().map(|folder| mode(folder)).collect::<Vec<_>>(), [0o700]);
        dev.process.signal(signal);
        assert!(dev.process.wait().success(), "{signal:?}");
        assert_eq!(own_folders(&folder), [] as [PathBuf; 0], "{signal:?}");
    }
}

#[test]
fn settings_that_come_when_it_runs_already_are_taken_over() {
    let auth = Upstream::start(|_| Answer::ok("yes"));
    let cluster = format!("auth={}", auth.address());
    let folder = folder_with(&asking("auth"), &[]);
    let dev = Dev::start(folder.path(), &["guest.wasm", "--cluster", &cluster, "--format", "json"]);
    assert_eq!(dev.get("/").0, 200);
    let told = |word: &str| dev.process.stdout.text().contains(word);
    for (file, text) in [("config.yaml", "key: f1rst\n"), ("dev.yaml", "config: {key: s3cond}\n")] {
        let word = if file == "dev.yaml" { "s3cond" } else { "f1rst" };
        assert!(!told(word));
        fs::write(folder.path().join(file), text).expect("it can be written");
        eventually("the filter to be told its configuration", || told(word).then_some(()));
        assert_eq!(dev.get("/again").0, 200);
    }
    dev.interrupt();
}
