//! How `tidegate dev` comes to serve what could not be served at first, and what it keeps of instances that have gone.

use std::fs;
use std::net::TcpListener;

use super::{Dev, command, folder_with};
use crate::equipment::{Client, Guest, Map, On, Step, When};

#[test]
fn a_module_that_cannot_be_served_at_first_is_tried_again_when_it_is_built_again() {
    let folder = folder_with(b"no module", &[]);
    let dev = Dev::start(folder.path(), &["guest.wasm", "--format", "json"]);
    assert_eq!(dev.event("refused")["serves"], false);
    // Another that cannot be served is one more try.
    let before = dev.said();
    fs::write(folder.path().join("guest.wasm"), "none either").expect("it can be written");
    dev.event_after(before, "refused", |refused| refused["serves"] == false);
    fs::write(folder.path().join("new"), Guest::new().build()).expect("it can be written");
    fs::rename(folder.path().join("new"), folder.path().join("guest.wasm")).expect("it can be renamed");
    assert_eq!(dev.get("/").0, 200);
    dev.interrupt();
}

#[test]
fn a_file_that_the_settings_name_may_come_after_the_start_and_in_a_folder_that_is_not_there_yet() {
    let echo = Guest::new().on(On::Configure, [Step::Configuration]).build();
    let folder = folder_with(&echo, &[("dev.yaml", "config: {key: {from_file: keys/key.txt}}\n")]);
    let dev = Dev::start(folder.path(), &["guest.wasm", "--format", "json"]);
    let refused = dev.event("refused");
    assert!(refused["reason"].as_str().is_some_and(|reason| reason.contains("key.txt")), "{refused}");
    fs::create_dir(folder.path().join("keys")).expect("it can be made");
    fs::write(folder.path().join("keys/key.txt"), "k3y").expect("it can be written");
    assert_eq!(dev.get("/").0, 200);
    assert!(dev.process.stdout.text().contains("k3y"), "{}", dev.process.stdout.text());
    dev.interrupt();
}

#[test]
fn a_port_that_is_taken_before_it_serves_is_replaced_by_another() {
    let folder = folder_with(b"no module", &[]);
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let wanted = free.expect("there is a port");
    let arguments = ["--listen", &wanted.to_string(), "guest.wasm", "--format", "json"];
    let dev = Dev::run(command(folder.path()), &arguments);
    dev.event("refused");
    let _taken = TcpListener::bind(wanted); // where another test was faster it is taken too
    fs::write(folder.path().join("guest.wasm"), Guest::new().build()).expect("it can be written");
    assert_eq!(dev.get("/").0, 200);
    assert_ne!(dev.event("serving")["address"], wanted.to_string());
    dev.interrupt();
}

#[test]
fn a_recording_says_which_instances_have_gone() {
    let folder = folder_with(&Guest::new().build(), &[("dev.yaml", "isolation: exchange\n")]);
    let dev = Dev::start(folder.path(), &["guest.wasm", "--format", "json", "--record", "all.jsonl"]);
    for path in ["/one", "/two", "/three"] {
        assert_eq!(dev.get(path).0, 200);
    }
    dev.interrupt();
    let recording = fs::read_to_string(folder.path().join("all.jsonl")).expect("it is there");
    let count = |kind: &str| recording.lines().filter(|line| line.starts_with(kind)).count();
    let (begun, gone) = (count("{\"instance\":"), count("{\"gone\":"));
    assert!(begun >= 3, "each exchange has its own: {recording}");
    assert_eq!(begun, gone, "{recording}");
}

#[test]
fn what_a_filter_says_does_nothing_to_the_terminal() {
    let clear = "clear\u{1b}[2J \"it\"\nand\rmore".to_owned();
    let fields = When::Header(Map::RequestHeaders, "x-fail", "yes");
    let saying = [Step::Say(2, clear.clone()), Step::If(fields, vec![Step::Trap])];
    let folder = folder_with(&Guest::new().on(On::RequestHeaders, saying).build(), &[]);
    let dev = Dev::start(folder.path(), &["guest.wasm"]);
    let line = dev.line("serves at http://");
    let address = super::url(&line).strip_prefix("http://").and_then(|address| address.parse().ok());
    let mut client = Client::connect(address.expect("it is an address"));
    assert_eq!(client.get("/").status(), 200);
    dev.line("    info: clear\\u{1b}[2J \"it\"");
    dev.line("      and\\rmore");
    let refusing = Guest::new().on(On::Configure, [Step::Say(4, clear), Step::Return(0)]).build();
    fs::write(folder.path().join("guest.wasm"), refusing).expect("it can be written");
    dev.line("version 1 serves on");
    dev.interrupt();
    let said = dev.process.stdout.text();
    assert!(said.matches("clear\\u{1b}[2J").count() > 1 && !said.contains(['\u{1b}', '\r']), "{said}");
}

#[test]
fn what_is_wrong_with_the_settings_is_said_with_its_place_in_the_file_that_has_it() {
    let settings = "limits:\n  instructions: many\nclusters:\n  auth: {endpoints: [\"127.0.0.1:1\"], retry: 1}\n\
                    buffer_limit: none\n";
    let folder = folder_with(&Guest::new().build(), &[("dev.yaml", settings), ("config.yaml", "a: 1\n")]);
    let dev = Dev::start(folder.path(), &["guest.wasm", "--format", "json"]);
    let reason = |refused: &serde_json::Value| refused["reason"].as_str().unwrap_or_default().to_owned();
    let refused = dev.event("refused");
    let all = reason(&refused);
    let places = ["dev.yaml:2:17: ", "dev.yaml:4:38: ", "dev.yaml:5:15: "];
    let found: Vec<_> = places.iter().map(|place| all.find(place)).collect();
    assert!(found.iter().all(Option::is_some) && found.is_sorted(), "{all}");
    fs::write(folder.path().join("dev.yaml"), "on_fault: open\n").expect("it can be written");
    assert_eq!(dev.get("/").0, 200);
    // The same where another version serves on.
    fs::write(folder.path().join("dev.yaml"), "# a comment\non_fault: ajar\n").expect("it can be written");
    dev.event_after(0, "refused", |refused| {
        reason(refused).contains("dev.yaml:2:11: ") && refused["serves"] == true
    });
    let before = dev.said();
    fs::write(folder.path().join("dev.yaml"), "on_fault: open\n").expect("it can be written");
    let refusing = Guest::new().on(On::Configure, [Step::Return(0)]).build();
    fs::write(folder.path().join("guest.wasm"), refusing).expect("it can be written");
    let refused = dev.event_after(before, "refused", |_| true);
    assert!(reason(&refused).contains("config.yaml:1:1: "), "{}", reason(&refused));
    // What is wrong with the module is nowhere in the settings.
    let before = dev.said();
    fs::write(folder.path().join("guest.wasm"), "no module").expect("it can be written");
    let refused = dev.event_after(before, "refused", |_| true);
    assert!(!reason(&refused).contains(".yaml:"), "{}", reason(&refused));
    dev.interrupt();
}
