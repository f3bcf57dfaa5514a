//! Recordings of filters, through the commands that make and replay them.

mod differences;
pub(super) mod ends;
pub(super) mod files;
mod secrets;
pub(super) mod sessions;
mod shipped;
mod world;

use std::path::{Path, PathBuf};
use std::thread::{JoinHandle, spawn};

use serde_json::Value;
use tempfile::TempDir;

use crate::equipment::{Exit, Proxy, eventually};

/// A recording that a running proxy makes, by `tidegate filter record`.
struct Recording {
    folder: TempDir,
    file: PathBuf,
    command: JoinHandle<Exit>,
}

/// A recording that there is.
struct Recorded {
    _folder: Option<TempDir>,
    file: PathBuf,
}

/// Runs a command of tidegate to its end.
fn tidegate(arguments: &[&str]) -> Exit {
    Proxy::with_text("").run_in(arguments)
}

fn plain(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

impl Recording {
    /// Begins one of this filter, and waits until it has begun.
    fn of(proxy: &Proxy, filter: &str, exchanges: usize, more: &[&str]) -> Recording {
        let recording = Recording::asked_for(proxy, filter, exchanges, more);
        eventually("the recording to begin", || {
            let is_there = std::fs::metadata(&recording.file).is_ok_and(|file| file.len() > 0);
            (is_there || recording.command.is_finished()).then_some(())
        });
        recording
    }

    fn asked_for(proxy: &Proxy, filter: &str, exchanges: usize, more: &[&str]) -> Recording {
        Recording::into(proxy, filter, exchanges, Path::new("recording.jsonl"), more)
    }

    /// The same into this file, in a folder of its own where it has no whole path.
    fn into(proxy: &Proxy, filter: &str, exchanges: usize, file: &Path, more: &[&str]) -> Recording {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let file = folder.path().join(file);
        let (exchanges, admin) = (exchanges.to_string(), proxy.address("admin").to_string());
        let mut words = vec!["filter", "record", filter, "--exchanges", &exchanges, "--admin", &admin];
        words.extend(["--output", plain(&file)]);
        words.extend(more);
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        let command = spawn(move || tidegate(&words.iter().map(String::as_str).collect::<Vec<_>>()));
        Recording { folder, file, command }
    }

    /// Waits for its end, and fails the test where it did not end well.
    fn finish(self) -> Recorded {
        let (recorded, exit) = self.end();
        assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
        recorded
    }

    /// Waits for its end.
    fn end(self) -> (Recorded, Exit) {
        let exit = self.command.join().expect("the command is run");
        (Recorded { _folder: Some(self.folder), file: self.file }, exit)
    }
}

impl Recorded {
    /// A file with this content.
    fn written(content: impl AsRef<[u8]>) -> Recorded {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let file = folder.path().join("recording.jsonl");
        std::fs::write(&file, content).expect("a temporary file can be written");
        Recorded { _folder: Some(folder), file }
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.file).expect("a recording can be read")
    }

    fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.bytes()).expect("a recording is text");
        text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
    }

    /// Replays it against what the file or `builtin:` names.
    fn replay(&self, module: &str, more: &[&str]) -> Exit {
        tidegate(&[&["filter", "replay", plain(&self.file), module], more].concat())
    }

    /// The same against these bytes, with the report.
    fn report(&self, module: &[u8]) -> Report {
        self.report_with(module, &["--format", "json"])
    }

    /// The same, with what differs where the same was done.
    fn exact_report(&self, module: &[u8]) -> Report {
        self.report_with(module, &["--format", "json", "--exact"])
    }

    fn report_with(&self, module: &[u8], more: &[&str]) -> Report {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let file = folder.path().join("build.wasm");
        std::fs::write(&file, module).expect("a temporary file can be written");
        self.report_of(plain(&file), more)
    }

    fn report_of(&self, module: &str, more: &[&str]) -> Report {
        let exit = self.replay(module, more);
        let json = serde_json::from_str(&exit.stdout);
        let json = json.unwrap_or_else(|error| panic!("{error}: {}{}", exit.stdout, exit.stderr));
        Report { code: exit.code, json }
    }
}

/// What a replay says in JSON.
struct Report {
    code: Option<i32>,
    json: Value,
}

impl Report {
    fn number(&self, field: &str) -> u64 {
        self.json[field].as_u64().unwrap_or_else(|| panic!("no {field} in {}", self.json))
    }

    /// Fails the test unless every step was the same, bit for bit, of so many exchanges.
    fn is_identical(&self, what: &str, exchanges: usize) {
        let number = |field| self.number(field);
        let all = (number("identical"), number("not_played"), number("different"), number("same_effect"));
        assert_eq!(all, (number("steps"), 0, 0, 0), "{what}: {:#}", self.json);
        assert_eq!(number("exchanges"), exchanges as u64, "{what}");
        assert!(number("callbacks") > 0, "{what}: nothing was played");
        assert!(self.json["cut"].is_null(), "{what}: {}", self.json["cut"]);
        assert_eq!(self.code, Some(0), "{what}");
    }

    /// What was different: the step, what, what the recording has, what the build did.
    fn differences(&self) -> Vec<[String; 4]> {
        let list = self.json["differences"].as_array().expect("a list");
        let text = |value: &Value| value.as_str().unwrap_or("nothing").to_owned();
        let fields = ["step", "what", "recorded", "replayed"];
        list.iter().map(|difference| fields.map(|field| text(&difference[field]))).collect()
    }
}
