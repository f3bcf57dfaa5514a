//! Files that are no recordings or not whole ones, and files that were there before.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{Recorded, Recording, tidegate};
use crate::equipment::Map::RequestHeaders;
use crate::equipment::{Guest, On, Proxy, Step, Upstream, eventually, forwarding, in_listener, message};

fn guest() -> Guest {
    Guest::new().quiet().on(On::RequestHeaders, [Step::add(RequestHeaders, "x-mark", "1")])
}

/// A recording of three exchanges.
fn recorded() -> Recorded {
    let upstream = Upstream::ok("hello");
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [f]"]);
    let start = Proxy::with(&(config + "filters: {f: {module: ./f.wasm}}\n"));
    let proxy = start.file("f.wasm", guest().build()).start();
    let recording = Recording::of(&proxy, "f", 3, &[]);
    (0..3).for_each(|_| drop(proxy.client().get("/")));
    recording.finish()
}

/// What a replay says that cannot be.
fn refused(content: impl AsRef<[u8]>, why: &str) {
    let recorded = Recorded::written(content);
    let exit = recorded.replay("builtin:fault", &[]);
    assert_eq!(exit.code, Some(1), "{}", exit.stdout);
    assert!(exit.stderr.contains(why), "{why:?} is not in {}", exit.stderr);
}

#[test]
fn what_is_no_recording_is_refused_with_its_line() {
    let head = r#"{"recording":{"format":1,"tidegate":"0.1.0","masked":false}}"#;
    let not_one = "is not a recording: its first line does not say so";
    refused("", not_one);
    refused("{}\n", not_one);
    refused([0, 255, 10], not_one);
    refused(head.replace(":1,", ":99,"), "is a recording of format 99, and this tidegate reads format 1");
    refused(format!("{head}\n{{\"step\":{{\"instance\":1}}}}\n"), "recording.jsonl:2: missing field `did`");
    refused(format!("{head}\nnonsense\n"), "recording.jsonl:2: ");
    let orphan = r#"{"step":{"instance":7,"did":{"at":0,"op":"tick","end":{"answer":"done"}}}}"#;
    refused(format!("{head}\n{orphan}\n"), "a step of instance 7, which never began");
    let exit = tidegate(&["filter", "replay", "/no/such/recording", "builtin:fault"]);
    assert!(exit.stderr.contains("cannot read /no/such/recording"), "{}", exit.stderr);
}

#[test]
fn a_recording_that_was_cut_anywhere_is_replayed_as_far_as_it_goes() {
    let whole = recorded();
    whole.exact_report(&guest().build()).is_identical("the whole", 3);
    let bytes = whole.bytes();
    let lines = whole.lines();
    let opens: Vec<usize> =
        (0..lines.len()).filter(|at| lines[*at]["step"]["did"]["op"]["open"].is_object()).collect();
    let offset =
        |line: usize| bytes.split_inclusive(|byte| *byte == b'\n').take(line).map(<[u8]>::len).sum::<usize>();
    let last = opens[2];
    for cut in [offset(last), offset(last) + 1, offset(last) + 40, offset(last + 1) - 2] {
        let report = Recorded::written(&bytes[..cut]).report(&guest().build());
        report.is_identical("a part", 2);
    }
    let with_reason = [&bytes[..offset(last)], b"{\"cut\":{\"reason\":\"the disk is full\"}}\n"].concat();
    let exit = Recorded::written(with_reason).replay("builtin:fault", &[]);
    assert!(exit.stdout.contains("the recording is not whole: the disk is full"), "{}", exit.stdout);
}

/// Nobody has to hold a file in memory to find that it is none.
#[test]
fn a_line_without_an_end_is_refused_by_its_length() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("huge.jsonl");
    let head = b"{\"recording\":{\"format\":1,\"tidegate\":\"0.1.0\",\"masked\":false}}\n";
    std::fs::write(&file, head).expect("a temporary file can be written");
    let sparse = std::fs::OpenOptions::new().write(true).open(&file).expect("it can be opened");
    sparse.set_len(4 << 30).expect("a file can have a hole");
    let exit = tidegate(&["filter", "replay", super::plain(&file), "builtin:fault"]);
    assert!(
        exit.stderr.contains("huge.jsonl:2: the line is longer than any that is written"),
        "{}",
        exit.stderr
    );
}

pub(in super::super) fn mode(file: &Path) -> u32 {
    fs::symlink_metadata(file).expect("it is there").permissions().mode() & 0o777
}

#[test]
fn a_recording_is_for_its_owner_alone_also_where_the_file_was_there_before() {
    let upstream = Upstream::ok("hello");
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [f]"]);
    let start = Proxy::with(&(config + "filters: {f: {module: ./f.wasm}}\n"));
    let proxy = start.file("f.wasm", guest().build()).start();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("f.jsonl");
    for former in [None, Some("of a former recording\n".repeat(10_000))] {
        if let Some(text) = former {
            fs::write(&file, text).expect("a temporary file can be written");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("it is this process's");
        }
        let recording = Recording::into(&proxy, "f", 1, &file, &["--secrets", "keep"]);
        proxy.wait_for_log("the recording", |event| message(event) == "a recording begins");
        eventually("an exchange in it", || {
            proxy.client().get("/");
            recording.command.is_finished().then_some(())
        });
        let (_, exit) = recording.end();
        assert!(
            exit.stdout.contains("f.jsonl: 1 exchange, ") && exit.stdout.contains(", SECRETS INCLUDED\n")
        );
        assert_eq!(mode(&file), 0o600);
        let text = fs::read_to_string(&file).expect("it is text");
        assert!(text.starts_with("{\"recording\":") && !text.contains("former"), "{text}");
    }
}

#[test]
fn a_disk_that_is_full_ends_the_recording_with_the_file_that_it_was_for() {
    let upstream = Upstream::ok("hello");
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [f]"]);
    let start = Proxy::with(&(config + "filters: {f: {module: ./f.wasm}}\n"));
    let proxy = start.file("f.wasm", guest().build()).start();
    let (_, exit) = Recording::into(&proxy, "f", 1, Path::new("/dev/full"), &[]).end();
    assert_eq!((exit.code, &*exit.stdout), (Some(1), ""));
    assert!(exit.stderr.contains("cannot write /dev/full: No space left on device"), "{}", exit.stderr);
    // Nobody reads it any more, and the next one may begin.
    let ended = "the recording takes no more exchanges";
    proxy.wait_for_log(ended, |event| message(event) == ended);
}

/// It is what others have sent: it may not move a cursor, take a title or hide a line.
#[test]
fn a_recording_of_a_strangers_says_nothing_to_a_terminal() {
    let text = String::from_utf8(recorded().bytes()).expect("a recording is text");
    let control = r"\u001b[2J\u009b2J\r";
    let text = text.replace(r#""x-mark","1""#, &format!(r#""x-mark","{control}1""#));
    let text = text.replace(r#""path":"/""#, &format!(r#""path":"/{control}\n""#));
    let text = text.replace("proxy_on_request_headers", &format!("proxy_on_{control}"));
    let cut = format!("{{\"cut\":{{\"reason\":\"{control}\\nthe end\"}}}}\n");
    let recorded = Recorded::written(text.clone() + &cut);
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("build.wasm");
    std::fs::write(&file, guest().build()).expect("a temporary file can be written");
    let exit = recorded.replay(super::plain(&file), &["--exact"]);
    let is_plain = |text: &str| !text.contains(|letter: char| letter.is_control() && letter != '\n');
    assert!(is_plain(&exit.stdout) && is_plain(&exit.stderr), "{:?}{:?}", exit.stdout, exit.stderr);
    for shown in [
        r"request header x-mark",
        r"- \u{1b}[2J\u{9b}2J\r1",
        r"GET /\u{1b}[2J\u{9b}2J\r\n: request headers",
        r"proxy_on_\u{1b}[2J",
        r"is not whole: \u{1b}[2J\u{9b}2J\r\nthe end",
    ] {
        assert!(exit.stdout.contains(shown), "{shown:?} is not in {}", exit.stdout);
    }
    let wrong = text.replacen(r#"{"step":"#, &format!(r#"{{"{control}":"#), 1);
    let exit = Recorded::written(wrong).replay(super::plain(&file), &[]);
    assert!(is_plain(&exit.stderr) && exit.stderr.contains(r"\u{1b}[2J"), "{:?}", exit.stderr);
}
