//! A terminal is treated well: colours where they are wanted, lines that fit, nothing left behind; and what is no terminal is
//! given plain text.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use super::dev::{Crate, command, running_in};
use super::recording::sessions::prepared;
use crate::equipment::process::Process;
use crate::equipment::{Guest, Proxy, Terminal, Upstream, eventually};

/// Clears what is drawn on a line.
const CLEAR: &str = "\r\u{1b}[K";

/// The environment of a terminal that has colours, whose user says nothing of them.
const PLAIN: [(&str, Option<&str>); 4] =
    [("TERM", Some("xterm-256color")), ("NO_COLOR", None), ("CLICOLOR", None), ("CLICOLOR_FORCE", None)];

/// A folder with what commands complain of.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let cases = "cases: [{name: a, request: GET /, expect: {outcome: replied}}]\n";
    let files = [("bad.yaml", "listeners: 1\n".as_bytes()), ("cases.yaml", cases.as_bytes())];
    for (name, content) in files.into_iter().chain([("guest.wasm", &*Guest::new().build())]) {
        fs::write(folder.path().join(name), content).expect("it can be written");
    }
    folder
}

/// What commands say on a terminal, and the last of it.
fn commands(folder: &Path) -> [(Vec<String>, &'static str); 3] {
    let file = |name: &str| folder.join(name).to_str().expect("it has a plain name").to_owned();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    [
        (words(&["check", &file("bad.yaml")]), "bad.yaml"),
        (words(&["filter", "test", &file("guest.wasm"), &file("cases.yaml")]), "1 failed"),
        (words(&["--help"]), "or for a filter of your own"),
    ]
}

#[test]
fn colours_are_for_terminals_that_have_them_and_whose_users_want_them() {
    let folder = folder();
    for (arguments, last) in commands(folder.path()) {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let shown = |more: &[(&str, Option<&str>)]| {
            let mut terminal = Terminal::start_with(&[&PLAIN, more].concat(), &arguments, 120, 40);
            terminal.wait_for(last);
            terminal.wait();
            terminal.shown()
        };
        assert!(shown(&[]).contains('\u{1b}'), "{arguments:?}");
        for refusal in [("NO_COLOR", Some("1")), ("TERM", Some("dumb"))] {
            for ci in [None, Some("true")] {
                let shown = shown(&[refusal, ("CI", ci)]);
                assert!(!shown.contains('\u{1b}'), "{arguments:?} with {refusal:?}, CI {ci:?}: {shown:?}");
            }
        }
        let exit = Proxy::with_text("").env("TERM", "xterm-256color").run_in(&arguments);
        assert!(!(exit.stdout + &exit.stderr).contains('\u{1b}'), "{arguments:?} into a file");
    }
}

/// A recording waits for exchanges for as long as a test likes.
#[test]
fn what_takes_longer_than_a_second_says_so_in_a_line_that_fits_and_goes_and_not_where_nothing_can_be_drawn_over()
 {
    const COLUMNS: u16 = 30;
    let upstream = Upstream::ok("hello");
    let proxy = prepared(&upstream, "").start();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = |name: &str| folder.path().join(name).to_str().expect("it has a plain name").to_owned();
    let admin = proxy.address("admin").to_string();
    let record = |filter: &str, output: &str, term: &'static str| {
        let arguments =
            ["filter", "record", filter, "--exchanges", "1", "--admin", &admin, "--output", output];
        Terminal::start_with(&[("TERM", Some(term))], &arguments, COLUMNS, 10)
    };
    let mut dumb = record("g", &file("dumb.jsonl"), "dumb");
    let begun = || fs::metadata(file("dumb.jsonl")).is_ok_and(|file| file.len() > 0).then_some(());
    eventually("the recording to begin", begun);
    let mut drawn = record("f", &file("drawn.jsonl"), "xterm");
    drawn.wait_for(" (1 s)");
    proxy.client().get("/");
    for terminal in [&mut dumb, &mut drawn] {
        terminal.wait_for("FILTER.wasm");
        assert!(terminal.wait().success());
    }
    assert!(!dumb.shown().contains('\u{1b}') && !dumb.shown().contains(" s)"), "{:?}", dumb.shown());
    let shown = drawn.shown();
    let (before, said) = shown.rsplit_once(CLEAR).expect("a line is drawn");
    assert!(said.starts_with(&file("drawn.jsonl")), "{said:?}");
    let mut lines = 0;
    for line in before.split(CLEAR).filter(|line| !line.is_empty()) {
        assert!(line.contains(" exchange") && line.ends_with(" s)"), "{line:?}");
        assert!(line.chars().count() < usize::from(COLUMNS) && !line.contains('\n'), "{line:?}");
        lines += 1;
    }
    assert!(lines > 0, "{shown:?}");
}

#[test]
fn ctrl_c_ends_a_recording_with_what_there_is() {
    let upstream = Upstream::ok("hello");
    let proxy = prepared(&upstream, "").start();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("f.jsonl");
    let output = file.to_str().expect("it has a plain name");
    let admin = proxy.address("admin").to_string();
    let arguments = ["filter", "record", "f", "--admin", &admin, "--output", output];
    let mut terminal = Terminal::start(&arguments, 200, 10);
    let holds =
        |text: &str| fs::read_to_string(&file).is_ok_and(|written| written.contains(text)).then_some(());
    eventually("the recording to begin", || holds("{\"recording\":"));
    proxy.client().get("/");
    eventually("the exchange's end in it", || holds("\"release\""));
    terminal.signal(Signal::INT);
    terminal.wait_for(&format!("{output}: 1 exchange, "));
    terminal.wait_for(&format!("next: tidegate filter replay {output} FILTER.wasm"));
    assert!(terminal.wait().success());
}

/// Names of all files below a folder.
fn files(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.path().display().to_string()).collect();
    names.sort();
    names
}

/// The same command, which SIGINT ends also where whoever runs the tests ignores it, as a shell has what it starts in the
/// background do.
fn interruptible(command: &Command) -> Command {
    let mut own = Command::new("env");
    own.arg("--default-signal=INT").arg(command.get_program());
    own.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        own.current_dir(folder);
    }
    own
}

/// The key goes to all processes in the terminal's foreground: to cargo, too.
#[test]
fn ctrl_c_in_the_middle_of_a_build_leaves_no_process_and_no_part_of_a_module() {
    let shop = Crate::new();
    let build = "fn main() { loop { std::thread::park(); } }";
    fs::write(shop.path("build.rs"), build).expect("it can be written");
    let modules = shop.path("target/wasm/modules");
    for words in [["filter", "build"], ["filter", "test"]] {
        let before = files(&modules);
        let mut command = interruptible(&command(&shop.path("")));
        command.args(words).args(["--profile", "dev"]).process_group(0);
        let process = Process::start("tidegate filter", &mut command);
        let ours = shop.path("").display().to_string();
        let running = |links: &[&str]| !running_in(&ours, links, process.id()).is_empty();
        eventually("the build script", || running(&["exe"]).then_some(()));
        let group = Pid::from_raw(process.id() as i32).expect("it is a process");
        kill_process_group(group, Signal::INT).expect("its own group can be signalled");
        assert!(!process.wait().success(), "{words:?}");
        eventually("the end of what it started", || (!running(&["cwd", "exe"])).then_some(()));
        assert_eq!(files(&modules), before, "{words:?}");
    }
}
