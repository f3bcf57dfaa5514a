//! `tidegate dev`, as one uses it who writes a filter: sources are saved, requests are sent, and what is shown is read.

mod builds;
mod ends;
mod flood;
mod records;
mod starts;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::filter_new::succeed;
use crate::equipment::process::Process;
use crate::equipment::{Answer, Client, Flow, Guest, Map, On, Step, Terminal, Upstream, When, eventually};

/// A filter as `tidegate filter new` makes it, built once as `dev` builds it.
static MADE: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    succeed(folder.path(), &["filter", "new", "shop"]);
    succeed(&folder.path().join("shop"), &["filter", "build", "--profile", "dev"]);
    folder
});

/// A copy of it.
pub(super) struct Crate(TempDir);

impl Crate {
    pub(super) fn new() -> Crate {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let copied = Command::new("cp").arg("-a").arg(MADE.path().join("shop")).arg(folder.path()).status();
        assert!(copied.expect("there is cp").success());
        Crate(folder)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("shop").join(name)
    }

    /// Saves the source with this text in the place of that.
    #[track_caller]
    fn save(&self, text: &str, other: &str) {
        let source = fs::read_to_string(self.path("src/lib.rs")).expect("it is text");
        assert!(source.contains(text), "{source}");
        fs::write(self.path("src/lib.rs"), source.replacen(text, other, 1)).expect("it can be written");
    }
}

/// `tidegate dev` that runs.
pub(super) struct Dev {
    process: Process,
}

impl Dev {
    pub(super) fn start(folder: &Path, arguments: &[&str]) -> Dev {
        let anywhere = ["--listen", "127.0.0.1:0"];
        Dev::run(command(folder), &[&anywhere, arguments].concat())
    }

    fn run(mut command: Command, arguments: &[&str]) -> Dev {
        command.arg("dev").args(arguments);
        Dev { process: Process::start("tidegate dev", &mut command) }
    }

    /// The first event of this kind behind so many lines for which `holds`.
    #[track_caller]
    fn event_after(&self, first: usize, kind: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let find = |lines: &[String]| {
            let events = lines.iter().skip(first).filter_map(|line| serde_json::from_str::<Value>(line).ok());
            events.filter(|event| event["event"] == kind).find(|event| holds(event))
        };
        let found = self.process.find(&self.process.stdout, &format!("an event {kind}"), find);
        found.unwrap_or_else(|| panic!("it ended before {kind}"))
    }

    fn event(&self, kind: &str) -> Value {
        self.event_after(0, kind, |_| true)
    }

    /// A line of what is shown to people.
    fn line(&self, text: &str) -> String {
        let find = |lines: &[String]| lines.iter().find(|line| line.contains(text)).cloned();
        self.process
            .find(&self.process.stdout, text, find)
            .unwrap_or_else(|| panic!("it ended before {text}"))
    }

    fn said(&self) -> usize {
        self.process.stdout.lines().len()
    }

    pub(super) fn client(&self) -> Client {
        let address = self.event("serving")["address"].as_str().map(str::parse::<SocketAddr>);
        Client::connect(address.expect("there is one").expect("it is one"))
    }

    /// What it shows of the request for this path that comes next.
    fn get(&self, path: &str) -> (u16, Value) {
        let before = self.said();
        let status = self.client().get(path).status();
        (status, self.event_after(before, "exchange", |event| event["path"] == path))
    }

    pub(super) fn interrupt(&self) {
        self.end_by(Signal::INT);
    }

    #[track_caller]
    fn end_by(&self, signal: Signal) {
        self.process.signal(signal);
        assert!(self.process.wait().success());
    }
}

pub(super) fn command(folder: &Path) -> Command {
    let binary = std::env::var("TIDEGATE_BINARY");
    let mut command = Command::new(binary.as_deref().unwrap_or(env!("CARGO_BIN_EXE_tidegate")));
    command.current_dir(folder).env("CARGO_NET_OFFLINE", "true").env("TMPDIR", folder);
    command
}

/// What the filter did in all steps of an exchange.
fn deeds(exchange: &Value) -> Vec<Value> {
    let steps = exchange["steps"].as_array().into_iter().flatten();
    steps.flat_map(|step| step["did"].as_array().cloned().unwrap_or_default()).collect()
}

#[test]
fn what_is_saved_is_swapped_in_and_each_request_is_shown_with_what_the_filter_did() {
    let shop = Crate::new();
    let dev = Dev::start(&shop.path(""), &["--format", "json"]);
    let (status, passed) = dev.get("/hello");
    assert_eq!((status, &passed["outcome"], &passed["status"]), (200, &"passed".into(), &200.into()));
    let change = serde_json::json!({
        "what": "change", "name": "response header x-shop", "from": null, "to": "passed"
    });
    let metric = serde_json::json!({"what": "act", "text": "metric shop_passed +1"});
    assert_eq!(deeds(&passed), [metric, change]);
    assert!(passed["instructions"].as_u64().is_some_and(|count| count > 1000), "{passed}");

    let (status, refused) = dev.get("/admin/x");
    assert_eq!((status, &refused["outcome"]), (403, &"replied".into()));
    let reply = serde_json::json!({
        "what": "reply", "status": 403, "details": "no_team", "body": "say who you are: x-team\n"
    });
    let log = serde_json::json!({"what": "log", "level": "info", "text": "refused target=/admin/x"});
    let did = deeds(&refused);
    assert!(did.contains(&reply) && did.contains(&log), "{did:?}");

    shop.save("\"passed\");", "\"passed, too\");");
    let live = dev.event("live");
    assert_eq!((&live["version"], &live["changed"]), (&2.into(), &"module".into()));
    assert_eq!(dev.client().get("/").field("x-shop"), Some("passed, too"));

    // A build that comes to the same module says so: whoever saved something waits for an answer.
    shop.save("", "");
    dev.event_after(0, "built", |built| built["changed"] == false);
    dev.interrupt();
}

#[test]
fn what_does_not_compile_or_start_or_fails_leaves_the_version_before_serving() {
    let shop = Crate::new();
    let dev = Dev::start(&shop.path(""), &["--format", "json"]);
    assert_eq!(dev.get("/").0, 200);

    shop.save("self.passed.increment();", "self.passed.grow();");
    let failed = dev.event("build_failed");
    assert_eq!((&failed["reason"], &failed["serves"]), (&"it does not compile".into(), &true.into()));
    let said = dev.process.stderr.text();
    assert!(
        said.contains("error[E0599]: no method named `grow`") && said.contains("--> src/lib.rs:"),
        "{said}"
    );
    assert_eq!(dev.get("/").0, 200);

    let bad = "if target == \"/panic\" { None::<u8>.expect(\"a mistake\"); }\n\
        let mut n = target.len();\nwhile target == \"/loop\" { n = n.wrapping_add(1); std::hint::black_box(n); }\n\
        self.passed.increment();";
    shop.save("self.passed.grow();", bad);
    dev.event("live");
    let source = fs::read_to_string(shop.path("src/lib.rs")).expect("it is text");
    let line = |text: &str| source.lines().position(|line| line.contains(text)).expect("it is there") + 1;
    let (status, panicked) = dev.get("/panic");
    let (kind, at) = fault(&panicked);
    assert_eq!((status, &*kind, at[0]["line"].as_u64()), (503, "trap", Some(line("a mistake") as u64)));
    assert_eq!(at[0]["file"], "src/lib.rs");
    assert!(at[0]["source"].as_str().is_some_and(|source| source.contains("a mistake")), "{at:?}");
    assert!(panicked.to_string().contains("a mistake"), "what it said is shown");

    // The next guest is made when the last one's backoff is over.
    let back = || (dev.client().get("/").status() == 200).then_some(());
    eventually("the filter's next guest", back);
    let (_, looped) = dev.get("/loop");
    let (kind, at) = fault(&looped);
    let found = at[0]["line"].as_u64().expect("a line is found near it");
    assert_eq!(kind, "instructions");
    assert!(found.abs_diff(line("while target") as u64) <= 1, "{at:?}");
    eventually("the filter's next guest", back);

    shop.save("config.check()?;", "config.check()?;\nif cfg!(all()) { return Err(\"not today\".into()); }");
    let refused = dev.event("refused");
    assert!(refused["reason"].as_str().is_some_and(|reason| reason.contains("not today")), "{refused}");
    assert_eq!((dev.get("/").0, &refused["serves"]), (200, &true.into()));
    dev.interrupt();
}

/// The kind of an exchange's fault, and where it came from.
fn fault(exchange: &Value) -> (String, Vec<Value>) {
    assert_eq!(exchange["outcome"], "failed", "{exchange}");
    let fault = deeds(exchange).into_iter().find(|deed| deed["what"] == "fault").expect("there is a fault");
    let at = fault["at"].as_array().cloned().unwrap_or_default();
    assert!(!at.is_empty(), "{fault}");
    (fault["kind"].as_str().unwrap_or_default().to_owned(), at)
}

#[test]
fn what_cannot_start_at_first_is_tried_again_when_a_file_changes() {
    let shop = Crate::new();
    fs::write(shop.path("config.yaml"), "path: admin\n").expect("it can be written");
    let dev = Dev::start(&shop.path(""), &["--format", "json"]);
    let refused = dev.event("refused");
    let reason = refused["reason"].as_str().expect("there is one");
    assert!(reason.contains("path: `admin` is none: begin it with `/`"), "{reason}");
    assert_eq!(refused["serves"], false);
    fs::write(shop.path("config.yaml"), "path: /secret\nheader: x-shop\n").expect("it can be written");
    assert_eq!(dev.get("/secret").0, 403);
    fs::write(shop.path("config.yaml"), "path: /other\n").expect("it can be written");
    let live = dev.event("live");
    assert_eq!((&live["version"], &live["changed"]), (&1.into(), &"settings".into()));
    assert_eq!((dev.get("/secret").0, dev.get("/other").0), (200, 403));
    dev.interrupt();
}

#[test]
fn an_end_leaves_nothing_behind_even_in_the_middle_of_a_build() {
    let shop = Crate::new();
    // A build that does not end by itself.
    fs::write(shop.path("build.rs"), "fn main() { loop { std::thread::park(); } }")
        .expect("it can be written");
    let dev = Dev::start(&shop.path(""), &["--format", "json"]);
    let ours = shop.path("").display().to_string();
    let running = |links: &[&str]| !running_in(&ours, links, dev.process.id()).is_empty();
    eventually("the build script", || running(&["exe"]).then_some(()));
    dev.interrupt();
    eventually("the end of what it started", || (!running(&["cwd", "exe"])).then_some(()));
    let left: Vec<_> = fs::read_dir(shop.path("")).expect("it is a folder").flatten().collect();
    let left = left.iter().map(|entry| entry.file_name().to_string_lossy().into_owned());
    assert_eq!(left.filter(|name| name.starts_with("tidegate-dev")).count(), 0);
}

/// Processes other than these that have one of these links of theirs in a folder.
pub(super) fn running_in(folder: &str, links: &[&str], but: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("there is /proc").flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_here = |id: &u32| {
        let mut places = links.iter().filter_map(|name| fs::read_link(format!("/proc/{id}/{name}")).ok());
        places.any(|place| place.starts_with(folder.trim_end_matches('/')))
    };
    ids.filter(|id| *id != but && *id != std::process::id()).filter(is_here).collect()
}

#[test]
fn a_module_in_any_language_is_served_before_a_service_of_ones_own() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let module = folder.path().join("mark.wasm");
    let guest = |mark: &str| {
        let mark = Step::Say(2, format!("marked {mark}"));
        Guest::new().on(On::RequestHeaders, [mark]).build()
    };
    fs::write(&module, guest("one")).expect("it can be written");
    let upstream = Upstream::start(|_| Answer::ok("mine"));
    let address = upstream.address().to_string();
    let dev = Dev::start(folder.path(), &["mark.wasm", "--upstream", &address, "--format", "json"]);
    let (status, shown) = dev.get("/");
    assert_eq!(status, 200);
    assert!(deeds(&shown).iter().any(|deed| deed["text"] == "marked one"), "{shown}");
    assert_eq!(upstream.requests().len(), 1);
    fs::write(folder.path().join("new"), guest("two")).expect("it can be written");
    fs::rename(folder.path().join("new"), module).expect("it can be renamed");
    dev.event("live");
    let (_, shown) = dev.get("/");
    assert!(deeds(&shown).iter().any(|deed| deed["text"] == "marked two"), "{shown}");
    dev.interrupt();
}

#[test]
fn what_is_recorded_is_replayed_and_has_no_secret_in_it() {
    let shop = Crate::new();
    let dev = Dev::start(&shop.path(""), &["--format", "json", "--record", "shop.jsonl"]);
    assert_eq!(dev.get("/").0, 200);
    let mut client = dev.client();
    let response = client.request("GET", "/admin", &[("authorization", "Bearer tr0ub4dor&3")], "");
    assert_eq!(response.status(), 403);
    dev.event_after(0, "exchange", |event| event["path"] == "/admin");
    dev.interrupt();
    let recording = fs::read_to_string(shop.path("shop.jsonl")).expect("it is there");
    assert!(recording.contains("Bearer *0001*") && !recording.contains("tr0ub4dor"), "{recording}");
    let secrets = fs::read_to_string(shop.path("shop.jsonl.secrets")).expect("it is there");
    assert!(secrets.contains("tr0ub4dor&3"), "{secrets}");
    let module = "target/wasm/modules/shop.wasm";
    let said = succeed(&shop.path(""), &["filter", "replay", "shop.jsonl", module, "--exact"]);
    assert!(said.contains("identical"), "{said}");
    let next = dev.process.stderr.text();
    assert!(next.contains("next: tidegate filter replay shop.jsonl"), "{next}");
}

#[test]
fn people_are_told_what_happened_with_colours_on_a_terminal_alone() {
    let shop = Crate::new();
    let dev = Dev::start(&shop.path(""), &[]);
    let line = dev.line("serves at http://");
    assert_eq!(
        line,
        format!("shop serves at {}: save a source and it is swapped in; Ctrl-C ends it", url(&line))
    );
    let address = url(&line).strip_prefix("http://").and_then(|address| address.parse().ok());
    let address: SocketAddr = address.expect("it is an address");
    assert_eq!(Client::connect(address).get("/admin").status(), 403);
    dev.line("answers 403 no_team: \"say who you are: x-team\\n\"");
    let head = dev.line("GET /admin → 403");
    assert!(head.starts_with("GET /admin → 403  answered by the filter  "), "{head}");
    dev.line("    + response header x-shop: passed");
    // Its port is taken: another is found.
    let taken = address.to_string();
    let folder = shop.path("").display().to_string();
    let mut terminal = Terminal::start(&["dev", &folder, "--listen", &taken], 100, 40);
    terminal.wait_for("save a source and it is swapped in");
    terminal.wait_for(&format!("{taken} is taken; --listen names another one"));
    assert!(!terminal.shown().contains(&format!("http://{taken}")), "{}", terminal.shown());
    assert!(terminal.shown().contains("\u{1b}[1mshop\u{1b}[0m"), "{}", terminal.shown());
    terminal.press("\u{3}");
    terminal.signal(Signal::INT);
    assert!(terminal.wait().success());
    dev.interrupt();
    assert!(!dev.process.stdout.text().contains('\u{1b}'));
    assert!(!dev.process.stderr.text().contains('\u{1b}'));
}

fn url(line: &str) -> String {
    let from = &line[line.find("http://").expect("it names its address")..];
    let is_its = |sign: char| sign.is_ascii_alphanumeric() || "./:".contains(sign);
    from[..from.find(|sign| !is_its(sign)).unwrap_or(from.len())].trim_end_matches(':').to_owned()
}

#[test]
fn what_is_no_filter_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    fs::write(folder.path().join("mark.wasm"), Guest::new().build()).expect("it can be written");
    for (arguments, says) in [
        (&["dev"][..], "make one with `tidegate filter new NAME`"),
        (&["dev", "none.wasm"], "there is no module none.wasm"),
        (&["dev", "mark.wasm", "--config", "none.yaml"], "there is no file none.yaml"),
    ] {
        let output = command(folder.path()).args(arguments).output().expect("the binary starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
}

/// A folder with a module in it, and files beside it.
pub(super) fn folder_with(guest: &[u8], files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    fs::write(folder.path().join("guest.wasm"), guest).expect("it can be written");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("it can be written");
    }
    folder
}

/// A guest that asks a cluster on each request and lets it go on when it is answered.
fn asking(cluster: &str) -> Vec<u8> {
    let answered = [Step::EffectiveStream, Step::Resume(Flow::Request)];
    Guest::new()
        .on(On::Configure, [Step::Configuration])
        .on(On::RequestHeaders, [Step::callout(cluster, "/check", 5000), Step::Return(1)])
        .on(On::CalloutResponse, answered)
        .build()
}

#[test]
fn a_filter_is_given_its_clusters_its_limits_and_its_files_beside_its_configuration() {
    let auth = Upstream::start(|_| Answer::ok("yes"));
    let settings = format!(
        "config: {{key: {{from_file: key.txt}}}}\nlimits: {{instructions: 1M}}\nclusters: {{auth: \"{}\"}}\n",
        auth.address()
    );
    let folder = folder_with(&asking("auth"), &[("dev.yaml", &settings), ("key.txt", "k3y")]);
    let dev = Dev::start(folder.path(), &["guest.wasm", "--format", "json"]);
    let (status, shown) = dev.get("/");
    assert_eq!((status, auth.requests().len()), (200, 1), "{shown}");
    let asks = |deed: &Value| deed["text"] == "asks cluster auth: GET /check";
    assert!(deeds(&shown).iter().any(asks), "{shown}");
    assert!(dev.process.stdout.text().contains("k3y"), "{}", dev.process.stdout.text());

    // What is wrong with the settings is said with its place in their own file, and what was served is served on.
    fs::write(folder.path().join("dev.yaml"), format!("{settings}limits: {{}}\n"))
        .expect("it can be written");
    let refused = dev.event("refused");
    assert!(refused["reason"].as_str().is_some_and(|reason| reason.contains("dev.yaml:4:1")), "{refused}");
    let in_cluster = format!("limits: {{}}\nclusters:\n  auth: {{endpoint: [\"{}\"]}}\n", auth.address());
    for (text, place, hint) in [
        (&*settings.replace("limits", "limit"), "dev.yaml:2:1", "did you mean `limits`?"),
        (&*in_cluster, "dev.yaml:3:10", "did you mean `endpoints`?"),
        ("buffer_limit: [1]\n", "dev.yaml:1:15", "such as `64KiB`"),
        ("canary: {percent: 1}\n", "dev.yaml: `canary` is not for here", "for its module"),
    ] {
        fs::write(folder.path().join("dev.yaml"), text).expect("it can be written");
        let says = |event: &Value| {
            event["reason"].as_str().is_some_and(|reason| reason.contains(place) && reason.contains(hint))
        };
        dev.event_after(0, "refused", says);
    }
    assert_eq!(dev.get("/again").0, 200);
    dev.interrupt();
}

#[test]
fn a_cluster_of_the_command_line_is_asked_and_one_that_nobody_named_is_said_how_to_name() {
    let auth = Upstream::start(|_| Answer::ok("yes"));
    let cluster = format!("auth=localhost:{}", auth.address().port());
    let folder = folder_with(&asking("auth"), &[]);
    let dev = Dev::start(folder.path(), &["guest.wasm", "--cluster", &cluster, "--format", "json"]);
    assert_eq!((dev.get("/").0, auth.requests().len()), (200, 1));
    dev.interrupt();
    // Without an address it is the sample service.
    let dev = Dev::start(folder.path(), &["guest.wasm", "--cluster", "auth", "--format", "json"]);
    assert_eq!(dev.get("/").0, 200);
    dev.interrupt();
    let refusing = Guest::new().on(On::RequestHeaders, [Step::callout("auth", "/check", 5000)]).build();
    let folder = folder_with(&refusing, &[]);
    let dev = Dev::start(folder.path(), &["guest.wasm", "--format", "json"]);
    let shown = dev.get("/").1.to_string();
    assert!(
        shown.contains("`--cluster NAME=HOST:PORT` or `clusters` in dev.yaml says where it is"),
        "{shown}"
    );
    dev.interrupt();
}

#[test]
fn what_the_client_got_is_shown_whoever_failed() {
    let marked = When::Header(Map::RequestHeaders, "x-fail", "yes");
    let failing = Guest::new().on(On::RequestHeaders, [Step::If(marked, vec![Step::Trap])]).build();
    let settings = "reload: {base_interval: 30s, max_interval: 30s}\n";
    let folder = folder_with(&failing, &[("dev.yaml", settings)]);
    let (gone, _held) = crate::equipment::refusing_address();
    let gone = gone.to_string();
    let dev = Dev::start(folder.path(), &["guest.wasm", "--upstream", &gone, "--format", "json"]);

    let (status, shown) = dev.get("/gone");
    assert_eq!(
        (status, &shown["status"], &shown["outcome"]),
        (503, &503.into(), &"passed".into()),
        "{shown}"
    );
    assert_eq!((&shown["ended"]["status"], &shown["ended"]["at_fault"]), (&503.into(), &"upstream".into()));
    assert!(shown["ended"]["request_id"].is_string(), "{shown}");

    let fail = |path| dev.client().request("GET", path, &[("x-fail", "yes")], "").status();
    assert_eq!(fail("/fail"), 503);
    let shown = dev.event_after(0, "exchange", |event| event["path"] == "/fail");
    assert_eq!((&shown["outcome"], &shown["status"]), (&"failed".into(), &503.into()), "{shown}");
    // The first that fails has a successor at once, the second has none for a while: what nobody saw is shown too.
    assert_eq!(fail("/again"), 503);
    let (status, shown) = dev.get("/unseen");
    assert_eq!(
        (status, &shown["outcome"], &shown["status"]),
        (503, &"unseen".into(), &503.into()),
        "{shown}"
    );
    assert_eq!(shown["ended"]["at_fault"], "filter", "{shown}");
    dev.interrupt();
}

#[test]
fn a_request_that_the_filter_holds_is_told_of_while_it_is_held() {
    let holding = Guest::new().on(On::RequestHeaders, [Step::Return(1)]).build();
    let folder = folder_with(&holding, &[]);
    let dev = Dev::start(folder.path(), &["guest.wasm", "--format", "json"]);
    let mut client = dev.client();
    client.send("GET /held HTTP/1.1\r\nhost: a.test\r\n\r\n");
    let open = dev.event("open");
    assert_eq!((&open["path"], &open["held_at"]), (&"/held".into(), &"request headers".into()), "{open}");
    dev.interrupt();
}

#[test]
fn of_more_requests_than_anybody_reads_there_is_a_sum() {
    const REQUESTS: u64 = 300;
    let folder = folder_with(&Guest::new().build(), &[]);
    let dev = Dev::start(folder.path(), &["guest.wasm"]);
    let line = dev.line("serves at http://");
    let address = url(&line).strip_prefix("http://").and_then(|address| address.parse::<SocketAddr>().ok());
    let mut client = Client::connect(address.expect("it is an address"));
    for _ in 0..REQUESTS {
        assert_eq!(client.get("/").status(), 200);
    }
    dev.interrupt();
    let said = dev.process.stdout.text();
    let alone = said.lines().filter(|line| line.starts_with("GET / → 200")).count() as u64;
    let sums =
        said.lines().filter_map(|line| line.strip_prefix("… and ")?.split_once(" requests more: 200 ×"));
    let summed: u64 = sums.filter_map(|(count, _)| count.parse::<u64>().ok()).sum();
    assert_eq!((alone + summed, summed > 0), (REQUESTS, true), "{said}");
}

#[test]
fn a_request_in_flight_does_not_keep_it_from_ending() {
    let folder = folder_with(&Guest::new().build(), &[]);
    let dev = Dev::start(folder.path(), &["guest.wasm", "--format", "json"]);
    let mut client = dev.client();
    client.send("GET /delay/60s HTTP/1.1\r\nhost: a.test\r\n\r\n");
    dev.event("open");
    dev.interrupt();
    let shown = dev.event("exchange");
    assert!(shown["ended"]["duration_ms"].as_f64().is_some_and(|time| time < 10_000.0), "{shown}");
}

#[test]
fn a_terminal_that_is_closed_ends_it_and_leaves_nothing_behind() {
    let folder = folder_with(&Guest::new().build(), &[]);
    let dev = Dev::start(folder.path(), &["guest.wasm", "--format", "json"]);
    assert_eq!(dev.get("/").0, 200);
    dev.process.signal(Signal::HUP);
    assert!(dev.process.wait().success());
    let left = fs::read_dir(folder.path()).expect("it is a folder").flatten().map(|entry| entry.file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["guest.wasm"]);
}

#[test]
fn the_settings_that_the_book_shows_are_served() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/developing-filters.md");
    let page = fs::read_to_string(page).expect("the page is text");
    let (_, rest) = page.split_once("```yaml,dev\n").expect("it has such a block");
    let (settings, _) = rest.split_once("```").expect("a block ends");
    let folder = folder_with(&asking("auth"), &[("dev.yaml", settings), ("key.txt", "k3y")]);
    // Port 9001 may be anybody's: who it is, the command line says.
    let dev = Dev::start(folder.path(), &["guest.wasm", "--cluster", "auth", "--format", "json"]);
    assert_eq!(dev.get("/").0, 200);
    dev.interrupt();
}

#[test]
fn the_files_of_the_crate_are_named_from_the_folder_that_one_is_in() {
    let shop = Crate::new();
    let said = succeed(&shop.path(""), &["filter", "test", "--profile", "dev"]);
    assert!(said.starts_with("cases.yaml\n"), "{said}");
    assert!(said.contains("\ntarget/wasm/modules/shop.wasm: 3 passed"), "{said}");
}
