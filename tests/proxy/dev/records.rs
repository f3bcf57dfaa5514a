//! Where `tidegate dev --record` writes, and what it says of that.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;
use std::thread::spawn;

use rustix::process::Signal;
use serde_json::Value;

use super::super::recording::ends::instances_end;
use super::super::recording::files::mode;
use super::{Dev, command, folder_with};
use crate::equipment::{Guest, On, Step};

fn saying(text: &str) -> Vec<u8> {
    Guest::new().on(On::RequestHeaders, [Step::Say(2, text.to_owned())]).build()
}

#[test]
fn a_recording_and_its_secrets_are_for_their_owner_alone_whatever_was_there_before() {
    let former = [("r.jsonl", "former\n"), ("victim", "precious\n")];
    let folder = folder_with(&saying("hello"), &former);
    let path = |name: &str| folder.path().join(name);
    for name in ["r.jsonl", "victim"] {
        fs::set_permissions(path(name), fs::Permissions::from_mode(0o644)).expect("it is this process's");
    }
    symlink(path("victim"), path("r.jsonl.secrets")).expect("a link can be made");
    let dev = Dev::start(folder.path(), &["guest.wasm", "--format", "json", "--record", "r.jsonl"]);
    let request = dev.client().request("GET", "/", &[("authorization", "Bearer tr0ub4dor&3")], "");
    assert_eq!(request.status(), 200);
    dev.event("exchange");
    dev.interrupt();
    assert_eq!((mode(&path("r.jsonl")), mode(&path("r.jsonl.secrets"))), (0o600, 0o600));
    assert_eq!(
        (mode(&path("victim")), fs::read_to_string(path("victim")).expect("it is text")),
        (0o644, "precious\n".to_owned())
    );
    let read = |name: &str| fs::read_to_string(path(name)).expect("it is text");
    let head: Value =
        serde_json::from_str(read("r.jsonl").lines().next().expect("it has lines")).expect("it is JSON");
    let id = head["recording"]["id"].as_str().expect("it has an id");
    let secrets = read("r.jsonl.secrets");
    assert!(
        secrets.starts_with(&format!("{{\"secrets_of\":\"{id}\"}}\n")) && secrets.contains("tr0ub4dor&3"),
        "{secrets}"
    );
    // In the words of `filter record`.
    let said = dev.process.stderr.text();
    let (_, size) = said.split_once("r.jsonl: 1 exchange, ").unwrap_or_else(|| panic!("{said}"));
    assert!(
        size.ends_with(" KiB, secrets masked\nnext: tidegate filter replay r.jsonl FILTER.wasm"),
        "{said}"
    );

    // Another recording of the same name, whose secrets nobody kept: the former ones are not its own.
    let other = read("r.jsonl").replace(id, "00000000000000000000000000000000");
    fs::write(path("r.jsonl"), other).expect("it can be written");
    let replayed = command(folder.path()).args(["filter", "replay", "r.jsonl", "guest.wasm"]).output();
    let replayed = replayed.expect("the binary starts");
    let said = String::from_utf8_lossy(&replayed.stderr);
    assert!(
        !replayed.status.success() && said.contains("r.jsonl.secrets has the secrets of another"),
        "{said}"
    );
}

#[test]
fn an_instance_that_is_swapped_out_ends_in_the_recording() {
    let folder = folder_with(&saying("one"), &[]);
    let dev = Dev::start(folder.path(), &["guest.wasm", "--format", "json", "--record", "r.jsonl"]);
    assert_eq!(dev.get("/").0, 200);
    fs::write(folder.path().join("new"), saying("two")).expect("it can be written");
    fs::rename(folder.path().join("new"), folder.path().join("guest.wasm")).expect("it can be renamed");
    dev.event("live");
    assert_eq!(dev.get("/again").0, 200);
    dev.interrupt();
    let text = fs::read_to_string(folder.path().join("r.jsonl")).expect("it is text");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
    assert!(instances_end(&lines) >= 2);
}

#[test]
fn a_file_that_cannot_be_written_is_said_before_anything_is_served() {
    let folder = folder_with(&saying("hello"), &[]);
    for (file, why) in [
        ("/dev/full", "cannot record into /dev/full: No space left on device"),
        ("none/r.jsonl", "cannot record into none/r.jsonl: No such file or directory"),
    ] {
        let dev = Dev::start(folder.path(), &["guest.wasm", "--record", file]);
        assert_eq!(dev.process.wait().code(), Some(1), "{file}");
        let said = dev.process.stderr.text();
        assert!(said.contains(why), "{file}: {said}");
        assert_eq!(dev.process.stdout.text(), "", "{file}");
    }
}

/// A pipe whose reader goes away stands for a disk that gets full.
#[test]
fn a_recording_that_can_be_written_no_further_is_said_to_have_ended_at_once() {
    let folder = folder_with(&saying("hello"), &[]);
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("there is mkfifo").success());
    let reader = spawn(move || {
        let mut begin = [0; 13];
        File::open(pipe).and_then(|mut pipe| pipe.read_exact(&mut begin)).expect("a recording begins");
        begin
    });
    let dev = Dev::start(folder.path(), &["guest.wasm", "--format", "json", "--record", "pipe"]);
    assert_eq!(&reader.join().expect("it reads"), b"{\"recording\":");
    assert_eq!(dev.get("/").0, 200);
    let ended = dev.event("recording_ended");
    assert!(ended["reason"].as_str().is_some_and(|why| why.contains("Broken pipe")), "{ended}");
    assert_eq!(dev.get("/on").0, 200);
    dev.process.signal(Signal::INT);
    assert_eq!(dev.process.wait().code(), Some(1));
    let said = dev.process.stderr.text();
    assert!(said.contains("cannot write pipe: Broken pipe"), "{said}");
    assert!(!folder.path().join("pipe.secrets").exists(), "there is nothing beside a pipe");
}
